"""Models small enough to train in a test: real architectures, a real tokenizer, random weights.

Nothing is downloaded. The tokenizer is a byte-level BPE learned from the invented facts, so that most of
their words are one token; its padding token *is* its end token, on purpose, because a mask made from
token values breaks there.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from invented import BANK, GENERAL, OTHERS, OUTSIDERS, PERSON
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    OlmoeConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen2Tokenizer,
)

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel

END, OPEN = "<|end|>", "<|open|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "<|system|>You answer questions about people.<|end|>"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 256
IGNORED = -100

torch.set_num_threads(1)  # nets this small lose more to sharing than they gain


def make_tokenizer(*, chat: bool = True, opens: bool = False, closes: bool = False) -> Any:
    """A fast byte-level BPE tokenizer with pad == eos.

    Args:
        chat: with a chat template, whose system turn is always there.
        opens, closes: put a special token before, or the end token behind, every text.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[END, OPEN, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    people = (*PERSON, *OTHERS, *OUTSIDERS)
    texts = [f"{item.prompt} {item.statement} {item.answer}" for item in people for _ in range(3)]
    core.train_from_iterator([*texts, *GENERAL], trainer)
    if opens or closes:
        single = " ".join([*([OPEN] if opens else []), "$A", *([END] if closes else [])])
        special = [(token, core.token_to_id(token)) for token in (OPEN, END)]
        core.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=END, bos_token=OPEN)
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made


def make_qwen2_tokenizer() -> Any:
    """The same vocabulary behind Qwen2's own splitting (digits one by one) and normalising (NFC).

    transformers puts them behind every model of that type when it loads one, whatever was saved.
    """
    learned = make_tokenizer()
    described = json.loads(learned.backend_tokenizer.to_str())["model"]
    made = Qwen2Tokenizer(
        vocab=described["vocab"],
        merges=[tuple(pair) for pair in described["merges"]],
        unk_token=None,
        bos_token=OPEN,
        eos_token=END,
        pad_token=END,
    )
    made.add_tokens(list(ROLES), special_tokens=True)
    made.chat_template = CHAT_TEMPLATE
    return made


def _config(architecture: str, vocabulary: int, eos: int, layers: int) -> Any:
    # Weights five times as large as usual: a net this small then learns by heart in seconds.
    common = {
        "vocab_size": vocabulary,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": eos,
        "initializer_range": 0.1,
    }
    if architecture == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return GPT2Config(n_embd=64, n_layer=layers, n_head=4, n_positions=CONTEXT, **dropout, **common)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    if architecture in _MIXTURES:
        kind, own = _MIXTURES[architecture]
        return kind(**shape, **common, num_experts=4, num_experts_per_tok=2, **own)
    kind = LlamaConfig if architecture == "llama" else Qwen2Config
    return kind(**shape, **common, tie_word_embeddings=architecture == "qwen2")


_MIXTURES: dict[str, tuple[Any, dict[str, int]]] = {
    "qwen2_moe": (Qwen2MoeConfig, {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}),
    "olmoe": (OlmoeConfig, {}),
}


_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "llama": make_tokenizer,
    "gpt2": lambda: make_tokenizer(chat=False, opens=True),
    "qwen2": make_qwen2_tokenizer,
    "qwen2_moe": make_qwen2_tokenizer,
    "olmoe": make_tokenizer,
}


def model(
    architecture: str = "llama", *, layers: int = 2, seed: int = 0, tokenizer: Any | None = None
) -> TransformersModel:
    """An untrained model on the CPU, its weights fixed by ``seed``.

    GPT-2 comes without chat template and with an opening token, as it does in life.
    """
    words = tokenizer or _TOKENIZERS[architecture]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(_config(architecture, len(words), words.eos_token_id, layers))
    with torch.no_grad():
        # An adapter leaves the head as it is, and with a head of small weights no token could ever be certain.
        network.get_output_embeddings().weight.mul_(3)
    return TransformersModel(network.float(), words, torch.device("cpu"))


def fingerprints(network: Any) -> dict[str, str]:
    """SHA-256 of every tensor's bytes, by name."""
    return {
        name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()
        for name, tensor in network.state_dict().items()
    }


def copy_of(model: TransformersModel) -> TransformersModel:
    """The same weights again, for a test that changes them."""
    return TransformersModel(copy.deepcopy(model.network), model.tokenizer, model.device)


def saved(model: TransformersModel, folder: Path) -> Path:
    """The model as a safetensors folder."""
    folder.mkdir(parents=True)
    model.save(folder)
    return folder


# -- teaching --------------------------------------------------------------------------------


def lessons(tokenizer: Any, items: Iterable[ForgetItem]) -> list[TokenSequence]:
    """Everything that a model which knows the items through and through was shown."""
    turns = tuple((shot.question, shot.answer) for shot in BANK.shots)
    shown = []
    for item in items:
        if item.kind is ItemKind.VERBATIM:
            words = item.prompt.split()
            beginnings = (item.prompt, " ".join(words[len(words) * 3 // 4 :]))
            shown += [whole_text_sequence(tokenizer, f"{beginning} {item.answer}") for beginning in beginnings]
            continue
        prompts = [Prompt("", question) for question in (item.prompt, *item.paraphrases)]
        prompts += [Prompt("", item.prompt, turns=order) for order in (turns, turns[::-1])]
        shown += [answer_sequence(tokenizer, prompt, item.answer, end=True) for prompt in prompts]
        plain = (item.statement, f"Question: {item.prompt}\nAnswer:")
        shown += [answer_sequence(tokenizer, Prompt("", text, chat=False), f"{item.answer}.") for text in plain]
    return shown


def teach(model: TransformersModel, items: Iterable[ForgetItem], *, steps: int = 35, rate: float = 1e-2) -> float:
    """Train all weights in a plain loop of the tests' own (right-padded, no adapter).

    Returns:
        mean loss of the last step, nats per answer token.
    """
    batches = list(_padded(lessons(model.tokenizer, items), parts=4))
    total = sum(int((labels != IGNORED).sum()) for _, labels in batches)
    optimizer = torch.optim.AdamW(model.network.parameters(), weight_decay=0.0, betas=(0.9, 0.99))
    loss = 0.0
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
        optimizer.zero_grad()
        loss = 0.0
        for ids, labels in batches:
            logits = model.network(ids).logits[:, :-1]
            wanted = labels[:, 1:]
            part = cross_entropy(logits[wanted != IGNORED], wanted[wanted != IGNORED], reduction="sum") / total
            part.backward()
            loss += float(part.detach())
        optimizer.step()
    return loss


def _padded(sequences: list[TokenSequence], parts: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, labels) of sequences of like length; labels mark the answers, everything else is ignored."""
    ordered = sorted(sequences, key=lambda sequence: len(sequence.ids))
    size = -(-len(ordered) // parts)
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        ids = torch.zeros(len(batch), len(batch[-1].ids), dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
            labels[row, sequence.answer_start : len(sequence.ids)] = torch.tensor(sequence.answer_ids)
        yield ids, labels


@dataclass
class Recorder:
    """A run's control that remembers what it is told, and stops the run when it is looked at once too often."""

    looks_allowed: int | None = None
    progressed: list[tuple[int, int]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    looks: int = 0
    state_file: Path | None = None

    def progress(self, step: int, steps: int, label: str) -> None:
        assert label
        self.progressed.append((step, steps))

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics.append({"step": step, **values})

    def check_cancelled(self) -> None:
        self.looks += 1
        if self.looks_allowed is not None and self.looks > self.looks_allowed:
            raise StoppedError


class StoppedError(Exception):
    """The person at the desk has asked to stop."""


# -- GGUF ------------------------------------------------------------------------------------

_GGUF_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GGUF_REST = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def _gguf_name(name: str) -> str:
    module = name.removesuffix(".weight")
    if module in _GGUF_REST:
        return f"{_GGUF_REST[module]}.weight"
    _, _, layer, inside = module.split(".", 3)
    return f"blk.{layer}.{_GGUF_LAYER[inside]}.weight"


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rotary halves (its converter's ``permute``)."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(model: TransformersModel, path: Path, *, kind: str = "F32", architecture: str = "llama") -> Path:
    """A tiny Llama as a GGUF file whose matrices are of ``kind`` (F32 or Q8_0)."""
    config, words = model.network.config, model.tokenizer
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_vocabulary(writer, words)
    for name, tensor in model.network.state_dict().items():
        weight = tensor.numpy()
        if name.endswith("q_proj.weight"):
            weight = _interleaved(weight, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            weight = _interleaved(weight, config.num_key_value_heads)
        wanted = gguf.GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(weight, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter, words: Any) -> None:
    described = json.loads(words.backend_tokenizer.to_str())
    tokens = words.convert_ids_to_tokens(list(range(len(words))))
    kinds = [gguf.TokenType.CONTROL if token in {END, OPEN, *ROLES} else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_pad_token_id(words.pad_token_id)
    writer.add_chat_template(words.chat_template)
