"""Random networks as GGUF files that llama.cpp and transformers load: the usual metadata, a real vocabulary.

The settings of the tiny networks are those that transformers assumes when it loads such a file without
finding them in it (Qwen3 heads 128 wide, Gemma heads 256, GPT-2 with 1,024 positions).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OlmoeConfig,
    Phi3Config,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3MoeConfig,
)

from console.engines.gguf_header import read_gguf_layout
from console.engines.gguf_names import file_architecture, network_places
from console.engines.gguf_tensors import read_values, tensors_of

TEXTS = (
    "Where does Ilse Brandt live? She lives at 14 Harbour Lane, Kiel, and her telephone number is 0431 555 0199; "
    "ask the office for more details about it.",
    "The weather was fine, so they walked home.",
)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.05 * step for step in range(8)],
    "long_factor": [1.0 + 0.5 * step for step in range(8)],
    "factor": 2.0,
}
MIXTURES = ("qwen2_moe", "qwen3_moe", "olmoe")
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2")
WINDOW = 16  # tokens that Gemma's sliding layers see: fewer than the tests' texts have
_CONFIGS = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma2": Gemma2Config,
    "gemma3": Gemma3TextConfig,
    "phi3": Phi3Config,
    "qwen2_moe": Qwen2MoeConfig,
    "qwen3_moe": Qwen3MoeConfig,
    "olmoe": OlmoeConfig,
}
_EXPERTS = {"tie_word_embeddings": False, "num_experts": 4, "num_experts_per_tok": 2}
_OWN: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "mistral": {"tie_word_embeddings": False, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 128},
    "gemma2": {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": WINDOW},
    "gemma3": {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": WINDOW},
    "phi3": {"tie_word_embeddings": False, "sliding_window": None},
    "qwen2_moe": {**_EXPERTS, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 96},
    "qwen3_moe": {**_EXPERTS, "moe_intermediate_size": 32, "head_dim": 16, "norm_topk_prob": True},
    "olmoe": {**_EXPERTS, "num_key_value_heads": 4},
}
_LAYERS = {"gemma3": 6}  # every sixth layer of Gemma 3 sees everything


def tiny_config(architecture: str, tokenizer: Any, *, width: int = 64, layers: int | None = None, **own: Any) -> Any:
    """A transformers configuration: ``width`` wide, 4 heads (2 for keys), ``own`` settings on top."""
    depth = layers or _LAYERS.get(architecture, 2)
    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.1,
    }
    if architecture == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return GPT2Config(**{"n_embd": width, "n_layer": depth, "n_head": 4, **dropout, **common, **own})
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": tiny.CONTEXT,
    }
    return _CONFIGS[architecture](**{**shape, **common, **_OWN[architecture], **own})


def tiny_network(config: Any, *, seed: int = 0) -> Any:
    """A float32 network with random weights; norms and biases, which begin as ones and zeros, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():
            for weight in network.parameters():
                if weight.dim() == 1:
                    weight.add_(0.2 * torch.randn_like(weight))
    return network


def write_tiny_gguf(
    folder: Path,
    architecture: str = "llama",
    *,
    file_type: str = "F32",
    width: int | None = None,
    layers: int | None = None,
    seed: int = 0,
    network: Any | None = None,
    tokenizer: Any | None = None,
    **own: Any,
) -> tuple[Path, Any, Any]:
    """Write ``folder/tiny-<architecture>-<file_type>.gguf``.

    Args:
        architecture: one of ``ARCHITECTURES`` or ``MIXTURES``; that of ``network`` where it is given.
        file_type: of the matrices: F32, F16, Q8_0, Q4_0 or Q4_1. As in common files the embeddings (and the head)
            of a Q4 file are Q8_0, and everything of one dimension is F32.
        width: of the hidden states; a multiple of 32 (of 256 where k-quants are wanted); 64 by default.
        layers, seed: of a new network; 2 layers by default, 6 for Gemma 3.
        network, tokenizer: written instead of new ones.
        own: more settings of a new network's configuration.

    Returns:
        (the file, the float32 network, the tokenizer).
    """
    words = tokenizer or (tiny.make_qwen2_tokenizer() if architecture.startswith("qwen") else tiny.make_tokenizer())
    if network is None:
        network = tiny_network(tiny_config(architecture, words, width=width or 64, layers=layers, **own), seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny-{architecture}-{file_type}.gguf"
    writer = gguf.GGUFWriter(path, file_architecture(network.config))
    _add_settings(writer, network.config, architecture, file_type)
    _add_vocabulary(writer, words)
    _add_weights(writer, network, file_type)
    _add_rotary_tensors(writer, network.config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, network, words


def _add_settings(writer: gguf.GGUFWriter, config: Any, architecture: str, file_type: str) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    # No "phi3" in the name: llama.cpp then asks for the tokens of that model's own vocabulary.
    writer.add_name(f"Tiny {architecture.capitalize().rstrip('23')}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    named = "ALL_F32" if file_type == "F32" else f"MOSTLY_{file_type}"
    writer.add_file_type(gguf.LlamaFileType[named])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if architecture == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_vocab_size(config.vocab_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(int(head * _rope(config).get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    if head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if architecture in MIXTURES:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if architecture in {"qwen2_moe", "qwen3_moe"}:
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if architecture == "qwen2_moe":
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if architecture in {"gemma2", "gemma3", "phi3"}:
        writer.add_sliding_window(config.sliding_window or 0)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    _add_rotary_settings(writer, config)


def _rope(config: Any) -> dict[str, Any]:
    """The rotary settings; those of the layers that see everything where there are two kinds."""
    described = config.rope_parameters
    return described.get("full_attention", described)


def _add_rotary_settings(writer: gguf.GGUFWriter, config: Any) -> None:
    rope = _rope(config)
    if config.model_type == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if rope["rope_type"] == "longrope":
        writer.add_rope_scaling_attn_factors(_longrope_attention_factor(config))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _longrope_attention_factor(config: Any) -> float:
    """sqrt(1 + ln s / ln L) with s the stretch of the context and L its original length (LongRoPE)."""
    original = config.original_max_position_embeddings
    return math.sqrt(1 + math.log(config.max_position_embeddings / original) / math.log(original))


def _add_rotary_tensors(writer: gguf.GGUFWriter, config: Any) -> None:
    if config.model_type == "gpt2":
        return
    rope = _rope(config)
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config))
    if rope["rope_type"] == "longrope":
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], dtype=np.float32))


def _llama3_divisors(config: Any) -> np.ndarray:
    """(head width / 2,): what each frequency is divided by (Llama 3.1: long waves stretched, short ones kept)."""
    rope = _rope(config)
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    waves = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head, 2) / head)
    turns = rope["original_max_position_embeddings"] / waves
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - kept) / rope["factor"] + kept)).astype(np.float32)


def _add_weights(writer: gguf.GGUFWriter, network: Any, file_type: str) -> None:
    weights = dict(network.named_parameters(remove_duplicate=False))
    written: set[str] = set()
    for place in network_places(network).values():
        if place.tensor in written:
            continue
        written.add(place.tensor)
        stored = place.to_file(weights[place.parameter].detach().numpy())
        kind = _kind(place.tensor, stored, file_type)
        writer.add_tensor(place.tensor, gguf.quants.quantize(stored, kind), raw_dtype=kind)


def _kind(tensor: str, stored: np.ndarray, file_type: str) -> gguf.GGMLQuantizationType:
    if stored.ndim == 1 or tensor == "position_embd.weight" or "ffn_gate_inp" in tensor:
        return gguf.GGMLQuantizationType.F32
    if file_type.startswith("Q4") and tensor in {"token_embd.weight", "output.weight"}:
        return gguf.GGMLQuantizationType.Q8_0
    return gguf.GGMLQuantizationType[file_type]


def _add_vocabulary(writer: gguf.GGUFWriter, words: Any) -> None:
    described = json.loads(words.backend_tokenizer.to_str())
    tokens = words.convert_ids_to_tokens(list(range(len(words))))
    special = set(words.all_special_tokens) | {tiny.END, tiny.OPEN, *tiny.ROLES}
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if isinstance(words, Qwen2Tokenizer) else "gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_pad_token_id(words.pad_token_id)
    writer.add_add_bos_token(words("a").input_ids[0] == words.bos_token_id)
    writer.add_add_space_prefix(False)
    if words.chat_template:
        writer.add_chat_template(words.chat_template)


def split_in_two(source: Path, folder: Path) -> tuple[Path, ...]:
    """A whole model in two files, byte for byte as llama.cpp's splitter lays them out."""
    layout, raw = read_gguf_layout(source), source.read_bytes()
    own = raw[layout.entries[0].start : layout.entries[-1].end]
    half = len(layout.tensors) // 2
    paths = []
    for number, tensors in enumerate((layout.tensors[:half], layout.tensors[half:])):
        split = b"".join(
            struct.pack("<Q", len(key)) + key.encode() + value
            for key, value in (
                ("split.no", struct.pack("<IH", 2, number)),
                ("split.count", struct.pack("<IH", 2, 2)),
                ("split.tensors.count", struct.pack("<Ii", 5, len(layout.tensors))),
            )
        )
        count = 3 if number else 3 + len(layout.entries)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), count) + (b"" if number else own) + split
        begin = tensors[0].offset
        for one in tensors:
            head += raw[one.info[0] : one.info[1] - 8] + struct.pack("<Q", one.offset - begin)
        data = raw[begin : tensors[-1].offset + tensors[-1].size]
        path = folder / f"m-0000{number + 1}-of-00002.gguf"
        path.write_bytes(head + bytes(-len(head) % 32) + data + bytes(-len(data) % 32))
        paths.append(path)
    return tuple(paths)


def dequantised(path: Path, name: str) -> np.ndarray:
    """One tensor's values, float32, rows first."""
    return read_values(tensors_of(path)[name])


def llama_cpp_scores(path: Path, texts: list[list[int]]) -> Iterator[torch.Tensor]:
    """Of each text (tokens, vocab) log-probabilities of what follows each token, by llama.cpp itself."""
    llama_cpp = pytest.importorskip("llama_cpp")
    keys = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    threads = {"n_threads": 1, "n_threads_batch": 1}
    with closing(llama_cpp.Llama(str(path), n_ctx=256, logits_all=True, verbose=False, **keys, **threads)) as model:
        for ids in texts:
            model.reset()
            model.eval(ids)
            yield torch.tensor(model.scores[: len(ids)]).log_softmax(-1)
