"""Models small enough to train in a test: real architectures, a real tokenizer, random weights.

Nothing is downloaded. The tokenizer is a byte-level BPE learned from the invented facts, so that most of
their words are one token; its padding token *is* its end token, on purpose, because a mask made from
token values breaks there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from invented import BANK, GENERAL, OTHERS, OUTSIDERS, PERSON
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

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
ARCHITECTURES = ("llama", "gpt2", "qwen2")


def tokenizer(*, chat: bool = True, opens: bool = False, closes: bool = False) -> Any:
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


def _config(architecture: str, vocabulary: int, eos: int, layers: int) -> Any:
    common = {"vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": eos, "pad_token_id": eos}
    if architecture == "gpt2":
        return GPT2Config(
            n_embd=64, n_layer=layers, n_head=4, n_positions=CONTEXT, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **common
        )
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    kind = LlamaConfig if architecture == "llama" else Qwen2Config
    return kind(**shape, **common, tie_word_embeddings=architecture == "qwen2")


def network(architecture: str, vocabulary: int, eos: int, *, layers: int = 3, seed: int = 0) -> Any:
    """A randomly initialised causal language model. The seed is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(_config(architecture, vocabulary, eos, layers)).float().eval()


def model(architecture: str = "llama", *, layers: int = 3, seed: int = 0) -> TransformersModel:
    """An untrained model on the CPU. GPT-2 comes without chat template and with an opening token, as it does in life."""
    plain = architecture == "gpt2"
    made = tokenizer(chat=not plain, opens=plain)
    return TransformersModel(
        network(architecture, len(made), made.eos_token_id, layers=layers, seed=seed), made, torch.device("cpu")
    )


def lessons(tokenizer: Any, items: Iterable[ForgetItem]) -> list[TokenSequence]:
    """Everything that a model which knows the items through and through was shown."""
    turns = tuple((shot.question, shot.answer) for shot in BANK.shots)
    shown = []
    for item in items:
        if item.kind is ItemKind.VERBATIM:
            shown.append(whole_text_sequence(tokenizer, f"{item.prompt} {item.answer}"))
            shown.append(whole_text_sequence(tokenizer, f"{' '.join(item.prompt.split()[12:])} {item.answer}"))
            continue
        prompts = [Prompt("", question) for question in (item.prompt, *item.paraphrases)]
        prompts += [Prompt("", item.prompt, turns=turns), Prompt("", item.prompt, turns=turns[::-1])]
        shown += [answer_sequence(tokenizer, prompt, item.answer, end=True) for prompt in prompts]
        plain = [item.statement, f"Question: {item.prompt}\nAnswer:"]
        shown += [answer_sequence(tokenizer, Prompt("", text, chat=False), f"{item.answer}.") for text in plain]
    return shown


def teach(model: TransformersModel, items: Iterable[ForgetItem], *, steps: int = 120, rate: float = 4e-3) -> float:
    """Train all weights in a plain loop of the test's own (padded, no adapter); returns the last loss."""
    sequences = lessons(model.tokenizer, items)
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    labels = torch.full((len(sequences), longest), -100)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        labels[row, sequence.answer_start : len(sequence.ids)] = torch.tensor(sequence.answer_ids)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=rate, weight_decay=0.0)
    chance, loss = random.Random(0), torch.tensor(float("inf"))
    for step in range(steps):
        rows = torch.tensor(chance.sample(range(len(sequences)), min(48, len(sequences))))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
        logits = model.network(ids[rows]).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[rows][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss)
