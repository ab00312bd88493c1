"""The snapshot of a GGUF file computes what llama.cpp computes on that file, or the file is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import tiny_gguf
import torch
from tiny_gguf import LLAMA3, LONGROPE, TEXTS, llama_cpp_scores, split_in_two
from transformers import AutoModelForCausalLM

from console.engines.gguf_header import GgufHeader, GgufTensor
from console.engines.gguf_settings import FileSettings, completed, llama3_divisors
from console.engines.gguf_snapshot import snapshot_of
from console.errors import ModelFileError

AGREED = 1e-3  # nats per token

_DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_STRETCHED = {
    "sliding_attention": _DEFAULT,
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}
_HEADS = {"head_dim": 32, "query_pre_attn_scalar": 32}
_WIDE = {"head_dim": 32, "num_hidden_layers": 46, "num_attention_heads": 2, "num_key_value_heads": 1}


def _longrope(original: int) -> dict[str, Any]:
    return {
        "rope_parameters": {**LONGROPE, "original_max_position_embeddings": original},
        "original_max_position_embeddings": original,
        "max_position_embeddings": 2 * original,
    }


# name -> (architecture, settings of the network, more entries of the file)
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{architecture: (architecture, {}, {}) for architecture in (*tiny_gguf.ARCHITECTURES, *tiny_gguf.MIXTURES)},
    "llama, tied": ("llama", {"tie_word_embeddings": True}, {}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "llama, wide heads": ("llama", {"head_dim": 32}, {}),
    "llama, 3.1's rotation": ("llama", {"rope_parameters": LLAMA3}, {}),
    "llama, 3.2's rotation": ("llama", {"rope_parameters": {**LLAMA3, "factor": 32.0}}, {}),
    "llama, linear": ("llama", {"rope_parameters": _LINEAR}, {}),
    "llama, linear by its old name": ("llama", {}, {"rope.scale_linear": 4.0}),
    "llama, scaling switched off": ("llama", {}, {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
    "llama, a window that llama.cpp does not use": ("llama", {}, {"attention.sliding_window": 4}),
    "llama, another base": ("llama", {"rope_parameters": {**_DEFAULT, "rope_theta": 500.0}}, {}),
    "llama, yarn": (
        "llama",
        {},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64},
    ),
    "qwen2, yarn with its own amplitude": (
        "qwen2",
        {},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 8.0,
            "rope.scaling.original_context_length": 64,
            "rope.scaling.yarn_beta_fast": 32.0,
            "rope.scaling.yarn_beta_slow": 1.0,
            "rope.scaling.attn_factor": 0.8,
        },
    ),
    "qwen3, yarn": (
        "qwen3",
        {},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32},
    ),
    "mistral, linear": ("mistral", {"rope_parameters": _LINEAR}, {}),
    "mistral by its name, with a window": ("mistral", {"sliding_window": 8}, {"general.name": "mistral"}),
    "qwen2, linear": ("qwen2", {"rope_parameters": _LINEAR}, {}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False}, {}),
    "qwen3, narrow heads": ("qwen3", {"head_dim": 32}, {}),
    "gemma2, narrow heads": ("gemma2", _HEADS, {}),
    "gemma2, heads whose width is not said": ("gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16}, {}),
    "gemma2, 27B's layers": ("gemma2", {**_WIDE, "query_pre_attn_scalar": 64 // 2, "head_dim": 16}, {}),
    "gemma2, other caps": ("gemma2", {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0}, {}),
    "gemma2, linear": ("gemma2", {"rope_parameters": _LINEAR}, {}),
    "gemma2, another pattern": ("gemma2", {"num_hidden_layers": 4}, {"attention.sliding_window_pattern": 4}),
    "gemma3, narrow heads": ("gemma3", _HEADS, {}),
    "gemma3, heads whose width is not said": ("gemma3", {"head_dim": 16, "query_pre_attn_scalar": 16}, {}),
    "gemma3, untied": ("gemma3", {"tie_word_embeddings": False}, {}),
    "gemma3, stretched": ("gemma3", {"rope_parameters": _STRETCHED}, {}),
    "gemma3, another local base": ("gemma3", {}, {"rope.freq_base_swa": 500.0}),
    "gemma3, another pattern": ("gemma3", {}, {"attention.sliding_window_pattern": 2}),
    "gemma3, capped logits": ("gemma3", {}, {"final_logit_softcapping": 3.0}),
    "phi3, half of each head turned": ("phi3", {"rope_parameters": {**_DEFAULT, "partial_rotary_factor": 0.5}}, {}),
    # llama.cpp takes the factors by the context it is opened with, transformers by the text's length.
    "phi3, short factors": ("phi3", _longrope(256), {}),
    "phi3, long factors": ("phi3", _longrope(8), {}),
    "phi3, a window that llama.cpp does not use": ("phi3", {"sliding_window": 8}, {}),
    "gpt2, untied": ("gpt2", {"tie_word_embeddings": False}, {}),
    "gpt2, few positions": ("gpt2", {"n_positions": 256}, {}),
    "gpt2, rotation that has no part in it": ("gpt2", {}, {"rope.freq_base": 10.0, "rope.scaling.factor": 2.0}),
    "gpt2, narrow inside": ("gpt2", {"n_inner": 96}, {}),
}


_KINDS: dict[type, tuple[gguf.GGUFValueType, ...]] = {
    bool: (gguf.GGUFValueType.BOOL,),
    int: (gguf.GGUFValueType.UINT32,),
    float: (gguf.GGUFValueType.FLOAT32,),
    str: (gguf.GGUFValueType.STRING,),
    list: (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32),
}


def _with(entries: dict[str, Any], drop: tuple[str, ...] = ()) -> Callable[..., None]:
    """``tiny_gguf._add_settings``, and then ``entries`` under the architecture's name (general ones as they are)."""
    usual = tiny_gguf._add_settings

    def add(writer: gguf.GGUFWriter, config: Any, *others: Any) -> None:
        usual(writer, config, *others)
        held = writer.kv_data[0]
        for setting, value in entries.items():
            key = setting if setting.startswith("general.") else f"{writer.arch}.{setting}"
            held.pop(key, None)
            writer.add_key_value(key, value, *_KINDS[type(value)])
        for setting in drop:
            held.pop(f"{writer.arch}.{setting}", None)

    return add


def _without(tensors: tuple[str, ...]) -> Callable[..., None]:
    """``tiny_gguf._add_rotary_tensors``, the last that adds any, and then those that end so are taken out."""
    usual = tiny_gguf._add_rotary_tensors

    def add(writer: gguf.GGUFWriter, config: Any) -> None:
        usual(writer, config)
        for name in [name for name in writer.tensors[0] if name.endswith(tensors)]:
            del writer.tensors[0][name]

    return add


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def written(
        architecture: str,
        own: dict[str, Any],
        entries: dict[str, Any],
        *,
        drop: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        **how: Any,
    ) -> Path:
        with monkeypatch.context() as patched:
            patched.setattr(tiny_gguf, "_add_settings", _with(entries, drop))
            if without:
                patched.setattr(tiny_gguf, "_add_rotary_tensors", _without(without))
            own = dict(own)
            layers = own.pop("num_hidden_layers", None)
            return tiny_gguf.write_tiny_gguf(tmp_path / "file", architecture, layers=layers, **how, **own)[0]

    return written


def gap(path: Path, folder: Path) -> float:
    """The larger of the two texts' mean |log-probability by llama.cpp - by the snapshot|, nats per token."""
    words = tiny.make_qwen2_tokenizer() if "-qwen" in path.name else tiny.make_tokenizer()
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [words(text).input_ids for text in TEXTS]
    found = []
    for ids, theirs in zip(texts, llama_cpp_scores(path, texts), strict=True):
        with torch.no_grad():
            ours = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        chosen = (range(len(ids) - 1), ids[1:])
        found.append(float((theirs - ours)[chosen].abs().mean()))
    return max(found)


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_snapshot_computes_what_llama_cpp_computes(
    variant: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(*VARIANTS[variant])

    found = gap(path, snapshot_of(path, tmp_path / "cache"))

    # ggml looks GELU up in a table of half precision; all else is float32 on both sides.
    table = VARIANTS[variant][0] in {"gpt2", "gemma2", "gemma3"}
    assert found < (AGREED if table else AGREED / 100)


@pytest.mark.parametrize(
    ("architecture", "own", "missing"),
    [
        ("llama", {}, ("rope.dimension_count", "rope.freq_base", "vocab_size")),
        ("llama", {"num_key_value_heads": 4}, ("attention.head_count_kv",)),
        ("qwen2", {"num_key_value_heads": 4}, ("attention.head_count_kv", "rope.freq_base")),
        ("gemma2", {}, ("rope.freq_base", "attn_logit_softcapping", "final_logit_softcapping")),
        (
            "gemma3",
            {"rope_parameters": {"full_attention": _DEFAULT, "sliding_attention": _DEFAULT}},
            ("rope.freq_base",),
        ),
        ("phi3", {}, ("rope.dimension_count", "rope.scaling.original_context_length")),
    ],
)
def test_what_a_file_does_not_say_is_as_llama_cpp_takes_it(
    architecture: str, own: dict[str, Any], missing: tuple[str, ...], write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(architecture, own, {}, drop=missing)

    assert gap(path, snapshot_of(path, tmp_path / "cache")) < AGREED


@pytest.mark.parametrize("file_type", ["F16", "Q8_0", "Q4_1"])
def test_a_quantised_file_is_the_same_model(file_type: str, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("llama", {"rope_parameters": LLAMA3, "attention_bias": True}, {}, file_type=file_type)

    # llama.cpp rounds what goes into a product with quantised weights to 8 bits.
    assert gap(path, snapshot_of(path, tmp_path / "cache")) < (AGREED if file_type == "F16" else 0.03)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_bias_that_the_file_has_not_is_nought(architecture: str, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(architecture, {"attention_bias": True}, {}, without=("attn_output.bias",))

    assert gap(path, snapshot_of(path, tmp_path / "cache")) < AGREED / 100


def test_a_model_in_several_files_is_read_whole(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("llama", {}, {})
    (tmp_path / "parts").mkdir()
    parts = split_in_two(path, tmp_path / "parts")

    folder = snapshot_of(parts[0], tmp_path / "cache")

    whole = AutoModelForCausalLM.from_pretrained(snapshot_of(path, tmp_path / "cache")).state_dict()
    read = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert config_of(folder)["tie_word_embeddings"] is False
    assert read.keys() == whole.keys()
    assert all(torch.equal(read[name], whole[name]) for name in whole)


# -- published models --------------------------------------------------------------------------


def described_file(architecture: str, entries: dict[str, Any], tensors: dict[str, np.ndarray]) -> FileSettings:
    usual = {
        "context_length": 8192,
        "block_count": 2,
        "feed_forward_length": 64,
        "attention.head_count": 4,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": 512,
        "embedding_length": 1024,
    }
    metadata: dict[str, object] = {f"{architecture}.{key}": value for key, value in {**usual, **entries}.items()}
    names = {"token_embd.weight": (1024, 100), "output_norm.weight": (1024,)}
    names |= {name: array.shape for name, array in tensors.items()}
    header = GgufHeader(
        {"general.architecture": architecture, **metadata},
        tuple(GgufTensor(name, shape, "F32", 0) for name, shape in names.items()),
    )
    return FileSettings("file.gguf", header, tensors.__getitem__)


@pytest.mark.parametrize(
    ("architecture", "layers", "width", "heads", "key_length", "scalar"),
    [  # query_pre_attn_scalar as the published configurations have it
        ("gemma2", 26, 2304, 8, 256, 256),
        ("gemma2", 42, 3584, 16, 256, 256),
        ("gemma2", 46, 4608, 32, 128, 144),
        ("gemma3", 18, 640, 4, 256, 256),
        ("gemma3", 26, 1152, 4, 256, 256),
        ("gemma3", 34, 2560, 8, 256, 256),
        ("gemma3", 48, 3840, 16, 256, 256),
        ("gemma3", 62, 5376, 32, 128, 168),
    ],
)
def test_published_gemmas_scale_attention_as_published(
    architecture: str, layers: int, width: int, heads: int, key_length: int, scalar: int
) -> None:
    sizes = {"block_count": layers, "embedding_length": width, "attention.head_count": heads}
    lengths = {"attention.key_length": key_length, "attention.value_length": key_length}

    settings = completed({"head_dim": 256}, described_file(architecture, {**sizes, **lengths}, {}))

    assert settings["query_pre_attn_scalar"] == scalar
    assert settings["head_dim"] == key_length


@pytest.mark.parametrize(("head", "factor"), [(128, 8.0), (64, 32.0), (128, 32.0)])  # 3.1 8B, 3.2 1B, 3.2 3B
def test_published_llamas_turn_positions_as_published(head: int, factor: float) -> None:
    stored = llama3_divisors(500000.0, head, factor, 8192).astype(np.float32)
    entries = {"rope.freq_base": 500000.0, "rope.dimension_count": head, "attention.head_count": 1024 // head}

    settings = completed({}, described_file("llama", entries, {"rope_freqs.weight": stored}))

    assert settings["rope_parameters"] == {
        **LLAMA3,
        "rope_theta": 500000.0,
        "factor": factor,
        "original_max_position_embeddings": 8192,
    }


def test_divisors_of_one_are_no_stretch() -> None:
    file = described_file("llama", {}, {"rope_freqs.weight": np.ones(128, np.float32)})

    assert completed({}, file)["rope_parameters"] == _DEFAULT


# -- refusals ----------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "llama.attention.scale": ("llama", {}, {"attention.scale": 0.1}, {}),
    "llama.attention.temperature_scale": ("llama", {}, {"attention.temperature_scale": 0.1}, {}),
    "llama.rope.scaling.yarn_ext_factor": ("llama", {}, {"rope.scaling.yarn_ext_factor": 0.5}, {}),
    "llama.rope.scaling.type": ("llama", {}, {"rope.scaling.type": "ntk"}, {}),
    "llama.rope.scaling.attn_factor": ("llama", {}, {"rope.scaling.attn_factor": 1.2}, {}),
    "llama.rope.scaling.factor": ("llama", {"rope_parameters": LLAMA3}, {"rope.scaling.factor": 2.0}, {}),
    "llama.rope.freq_base": ("llama", {}, {"rope.freq_base": float("nan")}, {}),
    "llama.rope.dimension_count": ("llama", {}, {"rope.dimension_count": 8}, {}),
    "llama.attention.value_length": ("llama", {}, {"attention.value_length": 8}, {}),
    "llama.attention.causal": ("llama", {}, {"attention.causal": False}, {}),
    "llama.attention.head_count_kv": ("llama", {}, {"attention.head_count_kv": [2, 2]}, {}),
    "llama.attention.head_count": ("llama", {}, {"attention.head_count": "four"}, {}),
    "llama.block_count": ("llama", {}, {"block_count": 1_000_000}, {}),
    "llama.embedding_length": ("llama", {}, {"embedding_length": 128}, {}),
    "llama.feed_forward_length": ("llama", {}, {"feed_forward_length": 2**31}, {}),
    "llama.logit_scale": ("llama", {}, {"logit_scale": 0.5}, {}),
    "llama.attention.layer_norm_rms_epsilon": ("llama", {}, {}, {"drop": ("attention.layer_norm_rms_epsilon",)}),
    "rope_freqs.weight": ("llama", {"rope_parameters": {**LLAMA3, "high_freq_factor": 3.0}}, {}, {}),
    "qwen3.rope.dimension_count": ("qwen3", {}, {"rope.dimension_count": 64}, {}),
    "qwen2.rope.dimension_sections": ("qwen2", {}, {"rope.dimension_sections": [2, 3, 3]}, {}),
    "gemma2.rope.freq_base_swa": ("gemma2", {}, {"rope.freq_base_swa": 500.0}, {}),
    "gemma2.final_logit_softcapping": ("gemma2", {}, {"final_logit_softcapping": 0.0}, {}),
    "gemma3.attention.sliding_window": ("gemma3", {}, {}, {"drop": ("attention.sliding_window",)}),
    "gemma3.attn_logit_softcapping": ("gemma3", {}, {"attn_logit_softcapping": 50.0}, {}),
    "gemma3.rope.scaling.type": ("gemma3", {}, {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, {}),
    "phi3.rope.scaling.factor": ("phi3", {}, {"rope.scaling.factor": 4.0}, {}),
    "rope_factors_short.weight": ("phi3", _longrope(256), {}, {"without": ("rope_factors_short.weight",)}),
    "phi3.attention.key_length": ("phi3", {}, {"attention.key_length": 32, "attention.value_length": 32}, {}),
    "qwen2moe.expert_used_count": ("qwen2_moe", {}, {"expert_used_count": 5}, {}),
    "qwen3moe.expert_weights_scale": ("qwen3_moe", {}, {"expert_weights_scale": 2.5}, {}),
    "gpt2.attention.head_count_kv": ("gpt2", {}, {"attention.head_count_kv": 2}, {}),
    "qwen2.rope.scaling.yarn_beta_slow": (
        "qwen2",
        {},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.yarn_beta_slow": 2.0},
        {},
    ),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_a_setting_that_cannot_be_carried_over_is_named(
    setting: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    architecture, own, entries, how = REFUSED[setting]
    path = write(architecture, own, entries, **how)

    with pytest.raises(ModelFileError) as refused:
        snapshot_of(path, tmp_path / "cache")

    sentence = str(refused.value)
    assert f"The setting '{setting}' of {path.name} " in sentence
    assert sentence.endswith("without this setting.")
    assert list((tmp_path / "cache" / "snapshots").iterdir()) == []


def test_rotation_tensors_of_another_architecture_are_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("qwen3", {"rope_parameters": LLAMA3}, {})

    with pytest.raises(ModelFileError, match=r"'rope_freqs\.weight' of .* has no meaning in the architecture 'qwen3'"):
        snapshot_of(path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("blk.1.ffn_up.weight", "lacks the tensor 'blk.1.ffn_up.weight'"),
        ("token_embd.weight", "holds no 'token_embd.weight'"),
    ],
)
def test_a_weight_that_the_file_lacks_is_refused(
    missing: str, complaint: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write("llama", {}, {}, without=(missing,))

    with pytest.raises(ModelFileError, match=complaint):
        snapshot_of(path, tmp_path / "cache")


def test_a_weight_that_the_network_lacks_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    """transformers takes a file of this name to be a Mistral, whose layers have no biases."""
    path = write("llama", {"attention_bias": True}, {"general.name": "mistral"})

    with pytest.raises(ModelFileError, match=r"holds 'blk\.0\.attn_.*\.bias', which belongs to no weight"):
        snapshot_of(path, tmp_path / "cache")


def test_a_mixture_of_experts_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("llama", {}, {"expert_count": 8})

    with pytest.raises(ModelFileError, match="mixture of experts"):
        snapshot_of(path, tmp_path / "cache")


def test_entries_about_other_things_do_no_harm(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(
        "llama", {}, {"expert_count": 0, "tensor_data_layout": "Meta AI original pth", "attention.causal": True}
    )

    assert gap(path, snapshot_of(path, tmp_path / "cache")) < AGREED / 100
