"""The settings with which a network computes what llama.cpp computes on a GGUF file.

transformers reads the sizes from a GGUF file's metadata, but leaves out how positions are turned, how
attention is scaled and whether there are biases, without an error; the network then computes something
else than the file. Here the configuration is completed from metadata and tensors, and a file with a
setting that has no counterpart is refused by that setting's name.

What llama.cpp computes, with θ the base, d the number of rotated values of a head, i the pair's number
and f_i = θ^(-2i/d) the angle per position:

- *linear*: f_i / s with s = ``rope.scaling.factor``; the sliding layers of Gemma 3 keep f_i;
- *yarn*: f_i / s for slow pairs, f_i for fast ones, a ramp from 1 turn in the original
  context to 32; sine and cosine times (1 + 0.1·ln s)·``rope.scaling.attn_factor``;
- ``rope_freqs.weight`` (Llama 3.1): f_i / r_i; with t_i = L·f_i / 2π turns in the original context L and
  k_i = (t_i - low) / (high - low) cut to 0..1, r_i = 1 / ((1 - k_i) / s + k_i);
- ``rope_factors_long.weight`` and ``rope_factors_short.weight`` (Phi-3's LongRoPE): f_i / r_i, sine and cosine
  times ``rope.scaling.attn_factor``; llama.cpp takes the long ones if the context it is opened with is
  longer than the original one, transformers if the text is;
- attention scores of Gemma 2 and 3 times a^(-1/2): a is the width of a head, but of the 27B models (which
  llama.cpp tells by their 46 and 62 layers) the width of the hidden states divided by the heads.

Source: llama.cpp's ``load_hparams`` and graphs of each architecture; ``tests/engines/test_gguf_settings.py``
compares log-probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from console.engines.gguf_header import GgufHeader, shown
from console.engines.gguf_names import MIXTURES
from console.errors import ModelFileError

_LARGEST_SIZE = 2**24  # more than any model has; the file may come from anywhere
_GEMMA = frozenset({"gemma2", "gemma3"})
_LARGEST_GEMMA = MappingProxyType({"gemma2": 46, "gemma3": 62})  # layers of the 27B models
_STRETCHED_BY_YARN = frozenset({"llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe"})
_YARN_TURNS = MappingProxyType({"fast": 32.0, "slow": 1.0})
_LLAMA3_FACTORS = (8.0, 32.0)  # Llama 3.1 and 3.3; Llama 3.2
_LLAMA3_CONTEXTS = (8192, *(2**power for power in range(5, 21)))
_LONG, _SHORT, _DIVISORS = "rope_factors_long.weight", "rope_factors_short.weight", "rope_freqs.weight"

# Carried over below, or by transformers, or without a part in what is computed.
_KNOWN = frozenset(
    {
        "attention.causal",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_epsilon",
        "attention.layer_norm_rms_epsilon",
        "attention.sliding_window",  # of Gemma; llama.cpp does not use it in the other architectures
        "attention.value_length",
        "expert_count",
        "expert_used_count",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
        "rope.scaling.factor",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
        "rope.scaling.type",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    }
)
_KNOWN_OF_GEMMA = frozenset({"attention.sliding_window_pattern", "rope.freq_base_swa", "final_logit_softcapping"})
_WIDTHS_OF_EXPERTS = frozenset({"expert_feed_forward_length", "expert_shared_feed_forward_length"})
_KNOWN_OF = MappingProxyType(
    {
        "gemma2": _KNOWN_OF_GEMMA | {"attn_logit_softcapping"},
        "gemma3": _KNOWN_OF_GEMMA,
        "qwen2moe": _WIDTHS_OF_EXPERTS,
        "qwen3moe": _WIDTHS_OF_EXPERTS,
    }
)
_COMPUTING = ("attention.", "expert_", "rope.")
# Keys outside those groups that change what some architecture computes.
_ALSO_COMPUTING = frozenset(
    {
        "attn_logit_softcapping",
        "embedding_scale",
        "final_logit_softcapping",
        "logit_scale",
        "residual_scale",
        "use_parallel_residual",
    }
)


@dataclass(frozen=True)
class FileSettings:
    """What a GGUF file says of how its model computes.

    Attributes:
        name: of the file, as it may stand in a sentence.
        header: over all parts of the file.
        tensor: gives the tensor of a name de-quantised, (rows, inputs).
    """

    name: str
    header: GgufHeader
    tensor: Callable[[str], np.ndarray]

    @property
    def architecture(self) -> str:
        return self.header.architecture

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(rows, inputs) of every tensor; ggml writes it the other way round."""
        return {tensor.name: tensor.shape[::-1] for tensor in self.header.tensors}

    def refusal(self, setting: str, reason: str) -> ModelFileError:
        return ModelFileError(
            f"The setting '{shown(setting)}' of {self.name} {reason}, so the model that would be changed would not "
            "compute what this file computes; choose another file of the model, or a model without this setting."
        )

    def key(self, setting: str) -> str:
        return f"{self.architecture}.{setting}"

    def number(self, setting: str, otherwise: float | None = None) -> float:
        """A number; ``otherwise`` where the file has none.

        Raises:
            ModelFileError: it is no finite number, or is missing without an ``otherwise``.
        """
        value = self.header.metadata.get(self.key(setting), otherwise)
        if value is None:
            raise self.refusal(self.key(setting), "is missing")
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self.refusal(self.key(setting), "is not a number")
        return value

    def size(self, setting: str, otherwise: int | None = None) -> int:
        """A whole number from 1 to ``_LARGEST_SIZE``, as ``number``."""
        value = self.number(setting, otherwise)
        if value != int(value) or not 1 <= value <= _LARGEST_SIZE:
            raise self.refusal(self.key(setting), f"is no whole number from 1 to {_LARGEST_SIZE:,}")
        return int(value)

    def has(self, setting: str) -> bool:
        return self.key(setting) in self.header.metadata

    @property
    def heads(self) -> int:
        return self.size("attention.head_count")

    @property
    def width(self) -> int:
        return self.size("embedding_length")

    @property
    def head_width(self) -> int:
        return self.size("attention.key_length", self.usual_head_width)

    @property
    def usual_head_width(self) -> int:
        return self.width // self.heads


def check_settings(file: FileSettings) -> None:
    """Refuse a file with a setting of attention, positions or scales that is not known to be carried over.

    Raises:
        ModelFileError: names the setting; or a size is missing or no size.
    """
    prefix = f"{file.architecture}."
    known = _KNOWN | _KNOWN_OF.get(file.architecture, frozenset())
    for key in (*file.header.metadata, *file.header.array_lengths):
        setting = key.removeprefix(prefix)
        if setting == key:
            continue
        if key in file.header.array_lengths:
            raise file.refusal(key, "differs from layer to layer")
        if (setting.startswith(_COMPUTING) or setting in _ALSO_COMPUTING) and setting not in known:
            raise file.refusal(key, "is not known here")
    if file.header.metadata.get(f"{prefix}attention.causal", True) is not True:
        raise file.refusal(f"{prefix}attention.causal", "lets tokens see later ones")
    _check_sizes(file)


def _check_sizes(file: FileSettings) -> None:
    """The sizes are there, and those that decide how much is built are those of the tensors."""
    epsilon = "attention.layer_norm_epsilon" if file.architecture == "gpt2" else "attention.layer_norm_rms_epsilon"
    file.number(epsilon)
    for size in ("context_length", "feed_forward_length"):
        file.size(size)
    shapes = file.shapes
    for needed in ("token_embd.weight", "output_norm.weight"):
        if needed not in shapes:
            raise ModelFileError(f"{file.name} holds no '{needed}'; download or copy it again.")
    layers = {name.split(".")[1] for name in shapes if name.startswith("blk.")}
    if file.size("block_count") != len(layers):
        raise file.refusal(file.key("block_count"), f"does not fit the {len(layers)} layers in the file")
    if shapes["token_embd.weight"][1:] != (file.width,):
        raise file.refusal(file.key("embedding_length"), "does not fit the file's embeddings")
    if file.heads > file.width:
        raise file.refusal(file.key("attention.head_count"), "is above the width of the hidden states")


def completed(described: Mapping[str, Any], file: FileSettings) -> dict[str, Any]:
    """The configuration that transformers made of ``file``, with what it leaves out.

    Args:
        described: the configuration as a dictionary, with ``model_type``.
        file: one that passed ``check_settings``, of an architecture in ``gguf_names.FILE_ARCHITECTURES``.

    Raises:
        ModelFileError: a setting that the network cannot have (named).
    """
    settings = {**described, **_vocabulary(file)}
    if file.architecture == "gpt2":
        return {**settings, **_gpt2(file)}
    settings.update(_heads(file, described))
    settings.update(_biases(file, described))
    if file.architecture in MIXTURES:
        settings.update(_experts(file))
    if file.architecture in _GEMMA:
        settings.update(_gemma(file))
    elif "sliding_window" in described:
        settings["sliding_window"] = None  # as llama.cpp; MistralConfig has a window where the file names none
    settings["rope_parameters"] = _positions(file)
    if file.architecture == "phi3" and "original_max_position_embeddings" in settings["rope_parameters"]:
        settings["original_max_position_embeddings"] = settings["rope_parameters"]["original_max_position_embeddings"]
    return settings


def _vocabulary(file: FileSettings) -> dict[str, Any]:
    shapes = file.shapes
    return {"vocab_size": shapes["token_embd.weight"][0], "tie_word_embeddings": "output.weight" not in shapes}


def _gpt2(file: FileSettings) -> dict[str, Any]:
    """GPT-2's learned positions and inner width, which transformers takes to be 1,024 and four times the width."""
    for setting in ("attention.key_length", "attention.value_length"):
        if file.size(setting, file.usual_head_width) * file.heads != file.width:
            raise file.refusal(file.key(setting), "makes heads that together are not as wide as the hidden states")
    if file.size("attention.head_count_kv", file.heads) != file.heads:
        raise file.refusal(file.key("attention.head_count_kv"), "differs from the number of heads")
    places = file.shapes.get("position_embd.weight")
    if places is None:
        raise ModelFileError(f"{file.name} holds no 'position_embd.weight'; download or copy it again.")
    inner = file.size("feed_forward_length")
    return {"n_positions": places[0], "n_inner": None if inner == 4 * file.width else inner}


def _heads(file: FileSettings, described: Mapping[str, Any]) -> dict[str, Any]:
    head, usual = file.head_width, file.usual_head_width
    for setting in ("attention.value_length", "rope.dimension_count"):
        if setting.startswith("rope.") and file.architecture == "phi3":
            continue
        if file.size(setting, head) != head:
            raise file.refusal(file.key(setting), f"differs from the width of a head, {head}")
    if file.architecture == "phi3" and head != usual:
        raise file.refusal(file.key("attention.key_length"), "makes heads that are not as wide as the hidden states")
    settings = {"num_key_value_heads": file.size("attention.head_count_kv", file.heads)}
    if "head_dim" in described or head != usual:
        settings["head_dim"] = head
    return settings


def _biases(file: FileSettings, described: Mapping[str, Any]) -> dict[str, bool]:
    """Whether attention and the feed-forward layers have biases; transformers' own name of it, where it has one."""
    names = [name for name in file.shapes if name.startswith("blk.") and name.endswith(".bias")]
    kinds = {"attention_bias": ".attn_", "mlp_bias": ".ffn_"}
    return {flag: any(kind in name for name in names) for flag, kind in kinds.items() if flag in described}


def _experts(file: FileSettings) -> dict[str, Any]:
    """Number and width of the experts, and whether the weights of those chosen are made to add up to 1.

    llama.cpp has the last fixed by architecture (its graphs' ``norm_w``).
    """
    count, used = file.size("expert_count"), file.size("expert_used_count")
    if used > count:
        raise file.refusal(file.key("expert_used_count"), f"is above the number of experts, {count}")
    settings: dict[str, Any] = {"num_experts": count, "num_experts_per_tok": used}
    settings["norm_topk_prob"] = file.architecture == "qwen3moe"
    widths = {"moe_intermediate_size": "ffn_down_exps", "shared_expert_intermediate_size": "ffn_down_shexp"}
    shapes = file.shapes
    for name, tensor in widths.items():
        # As llama.cpp takes them from other settings where a file names none, the tensors themselves are asked.
        if file.architecture != "olmoe" and (shape := shapes.get(f"blk.0.{tensor}.weight")):
            settings[name] = shape[-1]
    return settings


def _gemma(file: FileSettings) -> dict[str, Any]:
    """Scale of the attention scores, caps of scores and logits, and which layers see a window only."""
    largest = file.size("block_count") == _LARGEST_GEMMA[file.architecture]
    settings: dict[str, Any] = {"query_pre_attn_scalar": file.usual_head_width if largest else file.head_width}
    if file.architecture == "gemma2":
        settings["sliding_window"] = file.size("attention.sliding_window", 4096)
        settings["attn_logit_softcapping"] = _cap(file, "attn_logit_softcapping", 50.0)
        settings["final_logit_softcapping"] = _cap(file, "final_logit_softcapping", 30.0)
    else:
        settings["sliding_window"] = file.size("attention.sliding_window")
        if file.number("final_logit_softcapping", 0.0):
            settings["final_logit_softcapping"] = _cap(file, "final_logit_softcapping", 0.0)
    if file.has("attention.sliding_window_pattern"):
        period = file.size("attention.sliding_window_pattern")
        kinds = ("sliding_attention", "full_attention")
        settings["layer_types"] = [kinds[layer % period == period - 1] for layer in range(file.size("block_count"))]
    return settings


def _cap(file: FileSettings, setting: str, otherwise: float) -> float:
    value = file.number(setting, otherwise)
    if value <= 0:
        raise file.refusal(file.key(setting), "is not above 0")
    return value


def _positions(file: FileSettings) -> dict[str, Any]:
    """``rope_parameters`` of the configuration."""
    theta = file.number("rope.freq_base", 10000.0)
    if theta <= 1:
        raise file.refusal(file.key("rope.freq_base"), "is not above 1")
    whole = {"rope_theta": theta, **_stretch(file, theta)}
    if file.architecture == "gemma3":
        local = file.number("rope.freq_base_swa", 10000.0)
        return {
            "full_attention": whole,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        }
    if file.number("rope.freq_base_swa", theta) != theta:
        raise file.refusal(file.key("rope.freq_base_swa"), "differs from 'rope.freq_base'")
    if file.architecture == "phi3":
        whole["partial_rotary_factor"] = _rotated_part(file)
    return whole


def _rotated_part(file: FileSettings) -> float:
    head = file.head_width
    rotated = file.size("rope.dimension_count", head)
    if rotated > head or rotated % 2:
        raise file.refusal(file.key("rope.dimension_count"), f"does not fit heads that are {head} wide")
    part = rotated / head
    return part if int(head * part) == rotated else math.nextafter(part, 1.0)  # transformers rounds down


def _stretch(file: FileSettings, theta: float) -> dict[str, Any]:
    """``rope_type`` and its parameters."""
    held = file.shapes.keys() & {_LONG, _SHORT, _DIVISORS}
    kind = file.header.metadata.get(file.key("rope.scaling.type"), "linear")
    if kind not in {"none", "linear", "yarn", "longrope"}:
        raise file.refusal(file.key("rope.scaling.type"), "is of a kind that is not known here")
    factor = _factor(file) if kind != "none" else 1.0
    attention = file.number("rope.scaling.attn_factor", 1.0)
    if held & {_LONG, _SHORT} or kind == "longrope":
        return _longrope(file, str(kind), factor, attention)
    if _DIVISORS in held:
        if file.architecture != "llama":
            raise file.refusal(_DIVISORS, f"has no meaning in the architecture '{file.architecture}'")
        if factor != 1 or attention != 1:
            raise file.refusal(file.key("rope.scaling.factor"), f"stands beside '{_DIVISORS}'")
        return _llama3(file, theta)
    if kind == "yarn" and factor != 1:
        return _yarn(file, factor, attention)
    if attention != 1:
        raise file.refusal(file.key("rope.scaling.attn_factor"), "stands in it without the kind it belongs to")
    if factor == 1:
        return {"rope_type": "default"}
    if file.architecture == "phi3":
        raise file.refusal(file.key("rope.scaling.factor"), "has no counterpart in a Phi-3 network")
    return {"rope_type": "linear", "factor": factor}


def _factor(file: FileSettings) -> float:
    """What positions are divided by; 0 stands for none, and the second name is an older one."""
    name = next((one for one in ("rope.scaling.factor", "rope.scale_linear") if file.has(one)), "rope.scaling.factor")
    factor = file.number(name, 1.0) or 1.0
    if factor < 1:
        raise file.refusal(file.key(name), "is below 1")
    return factor


def _original_context(file: FileSettings) -> int:
    return file.size("rope.scaling.original_context_length", file.size("context_length"))


def _yarn(file: FileSettings, factor: float, attention: float) -> dict[str, Any]:
    if file.architecture not in _STRETCHED_BY_YARN:
        raise file.refusal(file.key("rope.scaling.type"), "is 'yarn', which this network does not have")
    # llama.cpp reads the file's bounds in no architecture that is supported here, but a later one may.
    for bound, usual in _YARN_TURNS.items():
        if file.number(f"rope.scaling.yarn_beta_{bound}", usual) != usual:
            raise file.refusal(file.key(f"rope.scaling.yarn_beta_{bound}"), f"differs from the usual {usual:g}")
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": _original_context(file),
        "attention_factor": attention * (1 + 0.1 * math.log(factor)),
        "beta_fast": _YARN_TURNS["fast"],
        "beta_slow": _YARN_TURNS["slow"],
    }


def _longrope(file: FileSettings, kind: str, factor: float, attention: float) -> dict[str, Any]:
    if file.architecture != "phi3":
        raise file.refusal(_LONG, f"or the kind '{kind}' of its positions has no counterpart in this network")
    if kind == "yarn" or factor != 1:
        raise file.refusal(file.key("rope.scaling.factor"), f"or the kind '{kind}' stands beside '{_LONG}'")
    pairs = file.size("rope.dimension_count", file.head_width) // 2
    lists: dict[str, list[float]] = {}
    for tensor, parameter in ((_LONG, "long_factor"), (_SHORT, "short_factor")):
        if file.shapes.get(tensor) != (pairs,):
            raise file.refusal(tensor, f"is missing or has not {pairs} values")
        lists[parameter] = [float(value) for value in file.tensor(tensor)]
        if not all(math.isfinite(value) and value > 0 for value in lists[parameter]):
            raise file.refusal(tensor, "holds values that are not above 0")
    original = _original_context(file)
    return {
        "rope_type": "longrope",
        **lists,
        "factor": max(1.0, file.size("context_length") / original),
        "attention_factor": attention,
        "original_max_position_embeddings": original,
    }


def _llama3(file: FileSettings, theta: float) -> dict[str, Any]:
    """The parameters of Llama 3.1's rotation that give exactly the file's divisors.

    Only L/low and L/high matter, so low is 1 and high 4 as in every published model, and L is looked for.
    """
    head = file.head_width
    if file.shapes[_DIVISORS] != (head // 2,):
        raise file.refusal(_DIVISORS, f"has not {head // 2} values")
    held = file.tensor(_DIVISORS).astype(np.float64)
    if np.array_equal(held, np.ones_like(held)):
        return {"rope_type": "default"}
    largest = round(float(held.max()), 4) if np.isfinite(held).all() else 0.0
    for factor in dict.fromkeys((*_LLAMA3_FACTORS, largest)):
        for original in _LLAMA3_CONTEXTS:
            if factor > 1 and np.allclose(llama3_divisors(theta, head, factor, original), held, rtol=1e-5, atol=0):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": original,
                }
    raise file.refusal(_DIVISORS, "turns positions in no way that is known here")


def llama3_divisors(theta: float, head: int, factor: float, original: int) -> np.ndarray:
    """(head / 2,): r_i of the module's description, with low 1 and high 4."""
    turns = original * theta ** (-np.arange(0, head, 2) / head) / (2 * np.pi)
    kept = np.clip((turns - 1) / 3, 0, 1)
    return np.asarray(1 / ((1 - kept) / factor + kept))
