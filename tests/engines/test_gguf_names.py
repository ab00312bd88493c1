"""Every weight has its place in a GGUF file, and what llama.cpp then computes is what the network computes."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import tiny_gguf
import torch
from tiny_gguf import LLAMA3, LONGROPE, TEXTS, llama_cpp_scores
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, MixtralConfig

from console.engines import gguf_names
from console.engines.gguf_names import (
    FILE_ARCHITECTURES,
    TENSORS_WITHOUT_PARAMETER,
    WeightPlace,
    check_architecture,
    check_file,
    file_architecture,
    network_places,
    unplaced,
    weight_places,
)
from console.errors import ModelFileError

AGREED = 1e-3  # nats per token

_STRETCHED = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{architecture: (architecture, {}) for architecture in (*tiny_gguf.ARCHITECTURES, *tiny_gguf.MIXTURES)},
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, as many key heads": ("llama", {"num_key_value_heads": 4}),
    "llama, wide heads": ("llama", {"head_dim": 32}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, 3.1's rotation": ("llama", {"rope_parameters": LLAMA3}),
    "mistral, window wider than the text": ("mistral", {"sliding_window": 128}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3, narrow heads": ("qwen3", {"head_dim": 32}),
    "gemma2, narrow heads": ("gemma2", {"head_dim": 32, "query_pre_attn_scalar": 32}),
    "gemma3, narrow heads": ("gemma3", {"head_dim": 32, "query_pre_attn_scalar": 32}),
    "gemma3, stretched rotation": ("gemma3", {"rope_parameters": _STRETCHED}),
    "phi3, half of each head turned": (
        "phi3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    ),
    # llama.cpp takes the factors by the context it is opened with, at least 256; transformers by the text's length.
    "phi3, short factors": (
        "phi3",
        {
            "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 256},
            "original_max_position_embeddings": 256,
            "max_position_embeddings": 512,
        },
    ),
    "phi3, long factors": (
        "phi3",
        {
            "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 8},
            "original_max_position_embeddings": 8,
            "max_position_embeddings": 16,
        },
    ),
    "gpt2, untied": ("gpt2", {"tie_word_embeddings": False}),
}
NOT_LOADED = {
    "llama, biases": "transformers reads no Llama biases from a GGUF file",
    "qwen3, narrow heads": "transformers takes Qwen3's heads to be 128 wide",
    **dict.fromkeys(tiny_gguf.MIXTURES, "transformers reads no width of experts, and no OLMoE file at all"),
}


def variants(*, loadable: bool = False) -> Any:
    """Every variant as a parameter; those that transformers' loader cannot load are skipped with the reason."""
    return pytest.mark.parametrize(
        "variant",
        [
            pytest.param(
                name, marks=pytest.mark.skip(reason=NOT_LOADED[name]) if loadable and name in NOT_LOADED else ()
            )
            for name in VARIANTS
        ],
    )


def written(folder: Path, variant: str, **how: Any) -> tuple[Path, Any, Any]:
    architecture, own = VARIANTS[variant]
    return tiny_gguf.write_tiny_gguf(folder, architecture, **how, **own)


def network_of(variant: str) -> Any:
    architecture, own = VARIANTS[variant]
    words = tiny.make_tokenizer()
    return tiny_gguf.tiny_network(tiny_gguf.tiny_config(architecture, words, **own))


def arrays(network: Any) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy() for name, weight in network.named_parameters(remove_duplicate=False)}


def stored(path: Path) -> dict[str, np.ndarray]:
    """The file's tensors de-quantised, (rows, inputs)."""
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}


def differences(path: Path, network: Any, tokenizer: Any) -> list[float]:
    """Of each text, the mean over its tokens of |log-probability by llama.cpp - by torch|, nats per token."""
    texts = [tokenizer(text).input_ids for text in TEXTS]
    found = []
    for ids, theirs in zip(texts, llama_cpp_scores(path, texts), strict=True):
        with torch.no_grad():
            ours = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        chosen = (range(len(ids) - 1), ids[1:])
        found.append(float((theirs - ours)[chosen].abs().mean()))
    return found


# -- the same numbers on both sides ------------------------------------------------------------


@variants()
def test_llama_cpp_computes_what_the_network_computes(variant: str, tmp_path: Path) -> None:
    path, network, tokenizer = written(tmp_path, variant)

    found = differences(path, network, tokenizer)

    # ggml looks GELU up in a table of half precision; all else is float32 on both sides.
    table = VARIANTS[variant][0] in {"gpt2", "gemma2", "gemma3"}
    assert max(found) < (AGREED if table else AGREED / 100)


@pytest.mark.parametrize(
    ("architecture", "ending", "wrong"),
    [
        ("llama", "q_proj.weight", {"rotary_heads": 0}),
        ("llama", "k_proj.weight", {"rotary_heads": 4}),
        ("qwen2", "q_proj.weight", {"rotary_heads": 4}),
        ("gemma2", "post_attention_layernorm.weight", {"shifted": False}),
        ("gemma3", "k_norm.weight", {"shifted": False}),
        ("gpt2", "attn.c_proj.weight", {"transposed": False}),
    ],
)
def test_a_wrong_place_shows(
    architecture: str, ending: str, wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misplaced(network: Any) -> dict[str, WeightPlace]:
        places = network_places(network)
        return {name: replace(place, **wrong) if name.endswith(ending) else place for name, place in places.items()}

    monkeypatch.setattr(tiny_gguf, "network_places", misplaced)
    path, network, tokenizer = written(tmp_path, architecture)

    assert min(differences(path, network, tokenizer)) > 5 * AGREED


@variants()
def test_there_and_back_changes_no_bit(variant: str) -> None:
    network = network_of(variant)
    places = network_places(network)

    weights = arrays(network)
    for place in places.values():
        there, weight = place.to_file(weights[place.parameter]), place.part(weights[place.parameter])
        assert there.flags.c_contiguous
        assert there.dtype == np.float32
        assert there.shape == place.file_shape
        back = place.from_file(there)
        if place.shifted:  # W + 1 is rounded once, and then stays
            assert np.abs(back - weight).max() <= 2.0**-23
            np.testing.assert_array_equal(place.to_file(back), there)
        else:
            assert back.tobytes() == weight.tobytes()


def test_a_shifted_norm_of_a_file_comes_back_unchanged() -> None:
    place = WeightPlace("model.norm.weight", "output_norm.weight", (4096,), shifted=True)
    held = np.random.default_rng(0).uniform(0.5, 90.0, 4096).astype(np.float32)

    assert place.to_file(place.from_file(held)).tobytes() == held.tobytes()


@variants(loadable=True)
def test_transformers_loads_the_same_weights(variant: str, tmp_path: Path) -> None:
    path, network, _ = written(tmp_path, variant)
    places = network_places(network)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)

    theirs = arrays(loaded)
    assert theirs.keys() == places.keys()
    for name, weight in arrays(network).items():
        place = places[name]
        np.testing.assert_array_equal(theirs[name], place.from_file(place.to_file(weight)), err_msg=name)


@pytest.mark.parametrize("architecture", tiny_gguf.ARCHITECTURES)
@pytest.mark.parametrize("file_type", ["F16", "Q8_0", "Q4_0", "Q4_1"])
def test_blocks_are_read_as_transformers_reads_them(architecture: str, file_type: str, tmp_path: Path) -> None:
    path, network, _ = written(tmp_path, architecture, file_type=file_type)
    held = stored(path)

    loaded = arrays(AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32))

    for name, place in network_places(network).items():
        np.testing.assert_array_equal(place.from_file(held[place.tensor]), loaded[name], err_msg=name)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    assert kinds["blk.0.attn_output.weight"] == file_type
    assert kinds["token_embd.weight"] == ("Q8_0" if file_type.startswith("Q4") else file_type)


# -- nothing left out, nothing guessed ---------------------------------------------------------


@variants()
def test_every_tensor_is_a_weight_or_a_named_setting(variant: str, tmp_path: Path) -> None:
    path, network, _ = written(tmp_path, variant)
    places = network_places(network)
    shapes = {name: array.shape for name, array in stored(path).items()}

    assert unplaced(places, shapes) == ()
    check_file(places, shapes)
    settings = set(shapes) - {place.tensor for place in places.values()}
    expected = {
        "llama, 3.1's rotation": {"rope_freqs.weight"},
        "phi3, short factors": {"rope_factors_long.weight", "rope_factors_short.weight"},
        "phi3, long factors": {"rope_factors_long.weight", "rope_factors_short.weight"},
    }
    assert settings == expected.get(variant, set())
    assert settings <= TENSORS_WITHOUT_PARAMETER


@variants()
def test_a_configuration_is_enough(variant: str) -> None:
    network = network_of(variant)

    assert weight_places(file_architecture(network.config), network.config) == network_places(network)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda shapes: shapes.pop("blk.1.ffn_up.weight"), "no tensor 'blk.1.ffn_up.weight'"),
        (lambda shapes: shapes.update({"output_norm.weight": (96,)}), "'output_norm.weight' has shape"),
        (lambda shapes: shapes.update({"blk.0.attn_q.lora": (64, 64)}), "'blk.0.attn_q.lora', which belongs to no"),
    ],
)
def test_a_file_of_another_model_is_refused(change: Any, complaint: str) -> None:
    places = network_places(network_of("llama"))
    shapes = {place.tensor: place.file_shape for place in places.values()}
    check_file(places, shapes)

    change(shapes)

    with pytest.raises(ModelFileError, match=complaint):
        check_file(places, shapes)


def test_tied_embeddings_are_one_tensor() -> None:
    tied = network_places(network_of("llama, tied"))
    untied = network_places(network_of("llama"))

    assert tied["lm_head.weight"].tensor == tied["model.embed_tokens.weight"].tensor == "token_embd.weight"
    assert untied["lm_head.weight"].tensor == "output.weight"
    assert tied["lm_head.weight"].embedding
    assert not untied["lm_head.weight"].embedding


def test_only_llama_files_have_rotary_order() -> None:
    for architecture in tiny_gguf.ARCHITECTURES:
        heads = {place.rotary_heads for place in network_places(network_of(architecture)).values()}
        assert heads == ({0, 2, 4} if FILE_ARCHITECTURES.get(architecture) == "llama" else {0})


# -- low-rank changes --------------------------------------------------------------------------


@variants()
def test_a_low_rank_change_in_the_files_order_is_the_same_change(variant: str) -> None:
    random = np.random.default_rng(1)
    places = network_places(network_of(variant)).values()
    linear = [place for place in places if len(place.file_shape) == 2 and not place.embedding]
    assert len(linear) >= 8

    for place in linear:
        rows, inputs = place.file_shape
        down = random.standard_normal((3, inputs), dtype=np.float32)
        up = random.standard_normal((rows, 3), dtype=np.float32)
        change = (up @ down).T if place.transposed else up @ down  # as an adapter adds it to the network's weight
        file_down, file_up = place.lora_to_file(down, up)
        np.testing.assert_allclose(file_up @ file_down, place.to_file(change), rtol=1e-5, atol=1e-6)


def test_a_low_rank_change_that_does_not_fit_is_refused() -> None:
    places = network_places(network_of("llama, tied"))
    pair = np.zeros((3, 64), np.float32), np.zeros((64, 3), np.float32)
    query = places["model.layers.0.self_attn.q_proj.weight"]
    query.lora_to_file(*pair)

    for place in (places["model.embed_tokens.weight"], places["lm_head.weight"], places["model.norm.weight"]):
        with pytest.raises(ModelFileError, match="cannot be written for llama"):
            place.lora_to_file(*pair)
    with pytest.raises(ModelFileError, match="64 inputs and 64 outputs"):
        query.lora_to_file(pair[0], pair[1][:32])


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", sorted(set(FILE_ARCHITECTURES.values())))
def test_supported_architectures_pass(architecture: str) -> None:
    check_architecture(architecture, tensors=["blk.0.ffn_gate.weight"])


@pytest.mark.parametrize("architecture", ["mamba", "deepseek2", "mistral3", "gemma3n"])
def test_an_unknown_architecture_is_named(architecture: str) -> None:
    with pytest.raises(ModelFileError, match=f"'{architecture}'.*Gemma 3 .text., Phi-3 and GPT-2"):
        check_architecture(architecture)


@pytest.mark.parametrize("signs", [{"experts": 8}, {"tensors": ["output.weight", "blk.0.ffn_gate_exps.weight"]}])
def test_a_mixture_of_experts_is_refused(signs: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="mixture of experts"):
        check_architecture("llama", **signs)


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelFileError, match="'mixtral'"):
        file_architecture(MixtralConfig())
    with pytest.raises(ModelFileError, match="'gpt_neox'"):
        weight_places("llama", GPTNeoXConfig())
    with pytest.raises(ModelFileError, match="is 'llama' but the network is a 'gpt2'"):
        weight_places("llama", network_of("gpt2").config)


def test_a_weight_without_a_place_is_named() -> None:
    network = network_of("llama")
    network.model.layers[0].mlp.extra = torch.nn.Linear(4, 4)

    with pytest.raises(ModelFileError, match=r"'model\.layers\.0\.mlp\.extra\.weight' has no place"):
        network_places(network)


def test_two_weights_in_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneName:
        def get_name(self, *_: Any, **__: Any) -> str:
            return "token_embd.weight"

    monkeypatch.setattr(gguf_names.gguf, "get_tensor_name_map", lambda *_: OneName())

    with pytest.raises(ModelFileError, match=r"would both be 'token_embd.weight'"):
        network_places(network_of("llama"))


def test_a_weight_of_another_shape_is_refused() -> None:
    place = WeightPlace("transformer.h.0.mlp.c_fc.weight", "blk.0.ffn_up.weight", (64, 256), transposed=True)
    assert place.to_file(np.zeros((64, 256), np.float32)).shape == (256, 64)

    with pytest.raises(ModelFileError, match=r"'blk.0.ffn_up.weight' was expected"):
        place.to_file(np.zeros((256, 64), np.float32))
    with pytest.raises(ModelFileError, match=r"'blk.0.ffn_up.weight' was expected"):
        place.from_file(np.zeros((64, 256), np.float32))


# -- the tests' own files ----------------------------------------------------------------------


@pytest.mark.parametrize("architecture", tiny_gguf.ARCHITECTURES)
def test_both_sides_split_texts_alike(architecture: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    path, _, tokenizer = written(tmp_path, architecture)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who is it?"}], tokenize=False, add_generation_prompt=True
    )

    loaded = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    with closing(llama_cpp.Llama(str(path), vocab_only=True, verbose=False)) as model:
        for text in (*TEXTS, chat):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert loaded(text, add_special_tokens=False).input_ids == ids
            assert model.tokenize(text.encode(), add_bos=False, special=True) == ids
        assert model.metadata["tokenizer.chat_template"] == tokenizer.chat_template == loaded.chat_template
        assert model.token_eos() == tokenizer.eos_token_id


def test_the_header_is_as_common_files_have_it(tmp_path: Path) -> None:
    path, network, tokenizer = written(tmp_path, "mistral", file_type="Q4_1", width=256)
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}

    assert fields["general.architecture"] == "llama"
    assert fields["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_1
    assert fields["llama.embedding_length"] == network.config.hidden_size == 256
    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    kinds = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], strict=True))
    assert {token for token, kind in kinds.items() if kind == gguf.TokenType.CONTROL} == {
        tiny.END,
        tiny.OPEN,
        *tiny.ROLES,
    }
    assert len(kinds) == len(tokenizer)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    assert fields["tokenizer.ggml.merges"] == [" ".join(pair) for pair in merges]


def test_a_given_network_is_written(tmp_path: Path) -> None:
    model = tiny.model("llama", seed=3)

    path, network, words = tiny_gguf.write_tiny_gguf(tmp_path, network=model.network, tokenizer=model.tokenizer)

    assert network is model.network
    assert words is model.tokenizer
    held = stored(path)
    for name, place in network_places(network).items():
        np.testing.assert_array_equal(place.from_file(held[place.tensor]), arrays(network)[name])
