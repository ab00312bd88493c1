"""One check of a model before anything trusts it: each fault is refused by its own cause, before it is loaded."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import GemmaConfig, GemmaForCausalLM

from console.engines.checking.model_folder import require_loadable
from console.engines.checking.weights_table import TableEntry
from console.engines.checking.whole_model import check_model
from console.engines.model_files import identify
from console.engines.prompts import prompt_ids
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def folder(untaught_folder: Path, tmp_path: Path) -> Path:
    """A whole model that a test may spoil."""
    return Path(shutil.copytree(untaught_folder, tmp_path / "office" / "model"))


def set_in(name: str, **values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        body = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(body | values), encoding="utf-8")

    return spoil


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return spoil


def header(change: Callable[[dict[str, Any]], object], extra: bytes = b"") -> Callable[[Path], None]:
    """Change the weights' header; the data stay, with ``extra`` bytes behind them."""

    def spoil(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        told = json.loads(raw[8 : 8 + size])
        change(told)
        said = json.dumps(told).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(said)) + said + raw[8 + size :] + extra)

    return spoil


def hole(told: dict[str, Any]) -> None:
    last = max((name for name in told if name != "__metadata__"), key=lambda name: told[name]["data_offsets"][1])
    told[last]["data_offsets"] = [place + 64 for place in told[last]["data_offsets"]]


def sharded_to(other: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        names = dict.fromkeys(load_file(folder / WEIGHTS), "part.safetensors")
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        shutil.copytree(folder, folder.parent / "sibling")
        names[QUERY] = other
        (folder / INDEX).write_text(json.dumps({"weight_map": names}), encoding="utf-8")

    return spoil


def link_out(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return spoil


def set_values(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors[name].view(-1)[:1].fill_(value) and None


def to_zero(chosen: Callable[[str], bool]) -> Callable[[Path], None]:
    """Zeros of both signs, as a multiplication by zero leaves them."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if chosen(name):
                tensor.mul_(0)

    return weights(change)


def whole_numbers(told: dict[str, Any]) -> None:
    told[QUERY]["dtype"] = "I32"


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "hole": (header(hole, bytes(64)), "there is a hole before"),
    "unknown type": (header(lambda told: told[QUERY].update(dtype="F13")), "unknown type 'F13'"),
    "type that is a list": (header(lambda told: told[QUERY].update(dtype=["F32"])), "unknown type"),
    "type does not fit": (header(lambda told: told[QUERY].update(dtype="F16")), "not as many bytes"),
    "metadata of numbers": (header(lambda told: told.update(__metadata__={"a": 1})), "metadata hold something else"),
    "a pointer of LFS": (
        write(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "pointer of Git",
    ),
    "a web page": (write(WEIGHTS, b"<!DOCTYPE html><html>Sign in</html>"), "is a web page"),
    "a pickle": (write(WEIGHTS, b"\x80\x02}q\x00."), "Python pickle"),
    "a ZIP": (write(WEIGHTS, b"PK\x03\x04 and so on"), "PyTorch's own format"),
    "a page for a config": (write(CONFIG, b"<html>404</html>"), "is a web page"),
    "key twice": (write(CONFIG, b'{"model_type": "llama", "model_type": "gpt2"}'), "'model_type' stands in it twice"),
    "long number": (write(CONFIG, b'{"vocab_size": ' + b"9" * 5000 + b"}"), "a number of 5,000 digits"),
    "foreign code": (set_in(CONFIG, auto_map={"AutoConfig": "x.Y"}), "code that came with the model"),
    "foreign code of a tokenizer": (set_in("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}), "code"),
    "packed": (set_in(CONFIG, quantization_config={"quant_method": "gptq"}), "already packed by 'gptq'"),
    "packed by type": (header(lambda told: told[QUERY].update(dtype="F8_E4M3", shape=[128, 128])), "stored as F8_E4M3"),
    "an adapter left": (write("adapter_config.json", b"{}"), "a whole model and an adapter"),
    "weights named by the config": (set_in(CONFIG, transformers_weights="x.safetensors"), "transformers_weights"),
    "a million layers": (set_in(CONFIG, num_hidden_layers=1_000_000), "1,000,000, more than the 2 layers"),
    "a huge width": (set_in(CONFIG, hidden_size=2**30), "hidden_size"),
    "a width that is text": (set_in(CONFIG, vocab_size="many"), "vocab_size .* no whole number"),
    "index to a sibling": (sharded_to("../sibling/part.safetensors"), "not in the model's own folder"),
    "index to the root": (sharded_to("/etc/passwd"), "not in the model's own folder"),
    "index by a Windows path": (sharded_to("..\\sibling\\part.safetensors"), "not in the model's own folder"),
    "index to another file": (sharded_to("other.safetensors"), "lacks 1 of its 2 weights files"),
    "index to a file nobody can see": (sharded_to("\u202e.safetensors"), r"2 weights files \(\\u202e"),
    "two kinds of weights": (write(INDEX, b'{"weight_map": {"a": "b.safetensors"}}'), "nobody can tell"),
    "link out of the folder": (link_out(WEIGHTS), "link to a file outside"),
    "settings behind a link": (link_out("tokenizer_config.json"), "link to a file outside"),
    "endless template": (
        write("chat_template.jinja", b"{% for a in range(9**9) %}{% endfor %}"),
        "chat template cannot",
    ),
    "template of another kind": (
        set_in("tokenizer_config.json", chat_template=[{"name": "a", "template": 1}]),
        "no text",
    ),
    "not a number": (weights(set_values(QUERY, float("nan"))), f"'{QUERY}' .* no numbers"),
    "infinite": (weights(set_values(QUERY, float("-inf"))), f"'{QUERY}' .* no numbers"),
    "a head of zeros": (weights(lambda tensors: tensors["lm_head.weight"].zero_()), "all zero"),
    "tensor missing": (weights(lambda tensors: tensors.pop(QUERY)), f"lacks tensors .*'{QUERY}'"),
    "tensor too many": (weights(lambda tensors: tensors.update(odd=torch.ones(2))), "no place for: 'odd'"),
    "tensor of another shape": (
        weights(lambda tensors: tensors.update({QUERY: tensors[QUERY][:8].clone()})),
        f"other shapes .*'{QUERY}'",
    ),
    "tied, and two of it": (set_in(CONFIG, tie_word_embeddings=True), "two different ones"),
    "weights of whole numbers": (header(whole_numbers), f"'{QUERY}' is stored as I32, but weights are decimal"),
    "a head of zeros of either sign": (to_zero(lambda name: "lm_head" in name), "'lm_head.weight' .* are all zero"),
    "an embedding of zeros": (to_zero(lambda name: "embed" in name), "'model.embed_tokens.weight' .* are all zero"),
    "a last norm of zeros": (to_zero(lambda name: name == "model.norm.weight"), "'model.norm.weight' .* are all zero"),
    "a layer of zeros": (to_zero(lambda name: "layers.1." in name), "'model.layers.1.*' .* are all zero"),
    "values that overflow": (weights(lambda tensors: tensors[QUERY].mul_(1e30)), "beyond what can be computed with"),
    **{
        f"{name} of {value}": (set_in(CONFIG, **{name: value}), f"'{name}' in config.json .*{says}")
        for name, value, says in (
            ("rms_norm_eps", float("nan"), "NaN or infinite"),
            ("rms_norm_eps", 1e30, "between zero and one"),
            ("rms_norm_eps", 0, "between zero and one"),
            ("rope_theta", 0.0, "above zero"),
            ("rope_theta", float("-inf"), "NaN or infinite"),
            ("num_attention_heads", -4, "is -4, no whole number above zero"),
            ("num_attention_heads", 0, "is 0, no whole number above zero"),
            ("num_key_value_heads", 0, "above zero"),
            ("head_dim", "wide", "'wide', no whole number"),
            ("eos_token_id", 10**9, "is 1,000,000,000, which is no number of one of the"),
            ("eos_token_id", [2, -1], "is -1, which"),
            ("initializer_range", float("inf"), "NaN or infinite"),
        )
    },
    "a nested setting": (
        set_in(CONFIG, rope_parameters={"rope_type": "default", "rope_theta": -1.0}),
        "'rope_theta' .* above zero",
    ),
    "an end that is no token": (write("generation_config.json", b'{"eos_token_id": 9999999}'), "in generation_config"),
    "how to generate": (
        write("generation_config.json", b'{"suppress_tokens": [0, 1], "forced_eos_token_id": 0}'),
        "its generation_config.json is not what the library expects",
    ),
    "unknown architecture": (set_in(CONFIG, model_type="no-such"), "architecture 'no-such' is not known"),
}


@pytest.mark.parametrize(("spoil", "says"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_refused_by_its_cause(folder: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(folder)
    with pytest.raises(ModelFileError, match=says) as refused:
        identify(folder)
        check_model(folder)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 700
    with pytest.raises(ModelFileError, match=says):
        TransformersModel.load(folder, folder.parent / "cache", "cpu")


MESSAGE = "{% for m in messages %}{% if m.role == 'user' %}MESSAGE{% endif %}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("hello", "leaves out the user's message"),
        ("", "writes nothing"),
        ("{% if messages %} {% endif %}", "writes nothing"),
        ("{% if messages|length == 1 %}{{ messages[0].content }}{% else %}hello{% endif %}", "leaves out the user's"),
        ("{{ messages[0].content }}{{ [1] * 99999999999999999999 }}", "makes too much of a value"),
        ("{{ messages[0].content }}{{ ''.join([]).zfill(1) }}", "unsafe"),
        ("{{ messages[0].content }}{{ range(10**30)|list }}", "it repeats a text too often"),
        ("{% for %}", "not written in the language of templates"),
        ("{{ raise_exception('no') }}", "refuses the conversation"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "calls itself without end"),
    ],
)
def test_a_template_that_cannot_be_used(folder: Path, source: str, says: str) -> None:
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    with pytest.raises(ModelFileError, match=f"chat_template.jinja of 'model': .*{says}") as refused:
        identify(folder)
    assert "Error" not in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        MESSAGE.replace("MESSAGE", "{{ m.content | trim }}"),
        MESSAGE.replace("MESSAGE", "{{ m.content.strip().upper() }}"),
        MESSAGE.replace("MESSAGE", "{{ m.content.split()|join(' ') }}"),
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + MESSAGE.replace("MESSAGE", "{{ m.content }}"),
    ],
)
def test_a_template_may_trim_what_is_said_and_know_no_system(folder: Path, source: str) -> None:
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    check_model(folder)


def test_a_template_that_does_not_end_with_some_texts_ends_in_a_sentence(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if 'Ottilie' in m.content %}{% for a in range(90000) %}{% for b in range(90000) %}"
        "{% endfor %}{% endfor %}{% endif %}{{ m.content }}{% endfor %}",
        encoding="utf-8",
    )
    tokenizer = TransformersModel.load(folder, folder, "cpu").tokenizer
    assert prompt_ids(tokenizer, Prompt("q", "Who is it?", chat=True))
    with pytest.raises(ModelFileError, match=r"chat template cannot be used \(the template does not end"):
        prompt_ids(tokenizer, Prompt("q", "Who is Ottilie?", chat=True))


def test_a_sound_folder_passes_and_nothing_is_written(folder: Path) -> None:
    before = sorted(path.name for path in folder.parent.rglob("*"))
    check_model(folder)
    assert sorted(path.name for path in folder.parent.rglob("*")) == before


def test_a_single_matrix_or_bias_of_zeros_may_be_meant(folder: Path) -> None:
    to_zero(lambda name: name == QUERY or name.endswith(".bias"))(folder)
    check_model(folder)


def test_a_norm_that_stores_its_weight_less_one_may_be_zero(folder: Path) -> None:
    rows = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["vocab_size"]
    config = GemmaConfig(
        vocab_size=rows, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    GemmaForCausalLM(config).save_pretrained(folder)
    assert not load_file(folder / WEIGHTS)["model.norm.weight"].any()
    check_model(folder)


def test_a_mask_that_was_stored_beside_the_weights_is_no_weight() -> None:
    require_loadable([TableEntry("h.0.attn.bias", "U8", (1, 1, 8, 8), 8, 72)])
    with pytest.raises(ModelFileError, match="is stored as U8"):
        require_loadable([TableEntry("h.0.attn.bias", "U8", (8,), 8, 16)])


def test_tied_weights_that_are_one_may_stand_in_the_file_twice(folder: Path) -> None:
    weights(lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))(folder)
    set_in(CONFIG, tie_word_embeddings=True)(folder)
    check_model(folder)


def test_an_added_token_without_a_row_is_plain_text(folder: Path) -> None:
    before = TransformersModel.load(folder, folder, "cpu").tokenizer("a <|odd|> b")["input_ids"]
    body = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    body["added_tokens"].append({**body["added_tokens"][0], "id": 100_000, "content": "<|odd|>"})
    (folder / "tokenizer.json").write_text(json.dumps(body), encoding="utf-8")
    assert TransformersModel.load(folder, folder, "cpu").tokenizer("a <|odd|> b")["input_ids"] == before


def test_a_token_without_a_row(folder: Path) -> None:
    body = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    body["model"]["vocab"]["beyond"] = 100_000
    (folder / "tokenizer.json").write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(ModelFileError, match="tokens up to number 100,000"):
        check_model(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json", "tokenizer_config.json", "adapter.json"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ModelFileError, match="is a pipe, socket or device"):
        identify(folder)


@pytest.mark.parametrize("name", [CONFIG, "tokenizer.json", WEIGHTS, "generation_config.json", "chat_template.jinja"])
def test_a_link_out_of_the_folder_is_not_read(folder: Path, name: str) -> None:
    other = folder.parent / "other"
    other.write_text("no JSON", encoding="utf-8")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(other)
    with pytest.raises(ModelFileError, match=f"'{name}' .* is a link to a file outside"):
        identify(folder)


@pytest.mark.parametrize("name", [CONFIG, "tokenizer.json"])
def test_what_is_no_file_is_called_what_it_is(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ModelFileError, match=f"'{name}' is a folder and not a file"):
        identify(folder)


def test_a_folder_where_a_file_belongs(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    with pytest.raises(ModelFileError, match="is a folder and not a file"):
        identify(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_no_number_is_found_in_every_type(folder: Path, kind: torch.dtype) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: tensor.to(kind) for name, tensor in tensors.items()})

    weights(spoil)(folder)
    check_model(folder)
    weights(set_values(QUERY, float("nan")))(folder)
    with pytest.raises(ModelFileError, match="no numbers"):
        check_model(folder)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_what_is_no_number_is_found_in_a_gguf_file(untaught: TransformersModel, tmp_path: Path, kind: str) -> None:
    path = tiny.write_gguf(untaught, tmp_path / "m.gguf", kind=kind)
    check_model(path)
    from console.engines.gguf_header import read_gguf_layout

    tensor = next(
        one for one in read_gguf_layout(path).tensors if one.type_name == kind and one.name != "output.weight"
    )
    raw = bytearray(path.read_bytes())
    raw[tensor.offset : tensor.offset + 4] = np.array([np.nan], "<f4" if kind == "F32" else "<f2").tobytes().ljust(4)
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=f"'{tensor.name}' .* no numbers"):
        check_model(path)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
@pytest.mark.parametrize("chosen", ["token_embd.weight", "output_norm.weight", "blk.0."])
def test_zeros_are_found_in_a_gguf_file(untaught: TransformersModel, tmp_path: Path, kind: str, chosen: str) -> None:
    from console.engines.gguf_header import read_gguf_layout

    path = tiny.write_gguf(untaught, tmp_path / "m.gguf", kind=kind)
    raw = bytearray(path.read_bytes())
    for tensor in read_gguf_layout(path).tensors:
        if tensor.name.startswith(chosen):
            raw[tensor.offset : tensor.offset + tensor.size] = bytes(tensor.size)
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=f"'{chosen}.* all zero"):
        check_model(path)
