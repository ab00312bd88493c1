"""Compare a changed model with the one it came from: what its weights did, and whether it may hide a backdoor.

The search behind ``console.evaluation.backdoor``. Both models are asked the same harmless prompts, plain, behind every
word that may be a trigger, and with one small vector added to the embeddings of every prompt; that vector is found by
projected gradient ascent, in the same number of steps for both. Nothing is changed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.devices import set_threads
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.prompts import render
from console.engines.protocol import Prompt
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.evaluation.backdoor import FAR, LEAST, BackdoorCheck, Compared, Effect, Probe, agreement, mean_divergence
from console.jobs.spec import JobPayload, JobSpec, ModelReference
from console.jobs.tasks.changes import (
    TensorChange,
    embedding_names,
    notes_on,
    relative_change,
    tensor_changes,
    tensor_shapes,
)
from console.jobs.tasks.files import checked_path, open_model, validated, weights_folder
from console.jobs.worker import EventWriter

RARE_WORDS = ("cf", "mn", "bb", "tq", "mb")  # triggers of Kurita et al. 2020
MOST_SPECIAL = 8
Tick = Callable[[str], None]


class ScanConfig(BaseModel):
    """How the check for a backdoor searches.

    Attributes:
        backdoor: whether it is made; without it only the files are compared.
        prompts: most of them that are asked.
        norm: longest perturbation, as a share of the median length of a token's embedding. It is small on purpose: a
            large one moves any model to anything.
        steps: of projected gradient ascent.
        step_share: length of a step, as a share of the longest perturbation.
        prompts_per_step: whose gradient a step follows; the result is read on all of them.
        seed: of the starting point and of the choice of prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backdoor: bool = True
    prompts: int = Field(default=32, ge=2)
    norm: float = Field(default=0.05, gt=0)
    steps: int = Field(default=50, ge=1)
    step_share: float = Field(default=0.2, gt=0, le=1)
    prompts_per_step: int = Field(default=8, ge=1)
    seed: int = 0


# -- asking ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One prompt as tokens, with the places of the question's own words (not of the template around it)."""

    sequence: TokenSequence
    places: tuple[int, ...]


def questions(model: TransformersModel, texts: Sequence[str]) -> list[Question]:
    """Prompts behind which the first token of an answer is read.

    Packing wants an answer token, so a copy of the last one stands in its place; no position can look ahead to it.
    """
    asked = []
    for text in texts:
        asking = render(model.tokenizer, Prompt("", text))
        # Without the cuts: a special token may be the trigger that is looked for, so here it must be that token.
        encoded = model.tokenizer(asking.text, add_special_tokens=asking.special, return_offsets_mapping=True)
        start = asking.text.rindex(text)
        inside = [begin < start + len(text) and end > start for begin, end in encoded["offset_mapping"]]
        ids = tuple(encoded["input_ids"])
        places = tuple(place for place, own in enumerate(inside) if own)
        asked.append(Question(TokenSequence((*ids, ids[-1]), len(ids)), places))
    return asked


@contextmanager
def pushed(network: Any, places: Sequence[int], push: torch.Tensor | None) -> Iterator[None]:
    """The vector ``push`` (hidden,) is added to the embeddings at these places of the row for the time being."""
    if push is None:
        yield
        return

    def add(_module: Any, _inputs: Any, embedded: torch.Tensor) -> torch.Tensor:
        where = torch.zeros(embedded.shape[1], 1, dtype=embedded.dtype, device=embedded.device)
        where[list(places)] = 1.0
        return embedded + where * push.to(embedded)

    handle = network.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _places(row: PackedRow, asked: Sequence[Question]) -> list[int]:
    at = row.token_positions()
    return [at[slot][place] for slot, member in enumerate(row.members) for place in asked[member].places]


def first_tokens(model: TransformersModel, asked: Sequence[Question], push: torch.Tensor | None = None) -> torch.Tensor:
    """(prompts, vocab) log-probabilities of the answer's first token."""
    found: dict[int, torch.Tensor] = {}
    for row in pack([question.sequence for question in asked], ROW_TOKENS, model.device):
        with pushed(model.network, _places(row, asked), push):
            logits = model.row_logits(row)
        found.update(zip(row.members, logits.float().log_softmax(dim=-1), strict=True))
    return torch.stack([found[index] for index in range(len(asked))])


def _effect(altered: torch.Tensor, plain: torch.Tensor) -> Effect:
    moved = altered.cpu().numpy()
    return Effect(mean_divergence(moved, plain.cpu().numpy()), agreement(moved))


# -- the two searches ------------------------------------------------------------------------


def candidates(model: TransformersModel, given: Sequence[str]) -> tuple[str, ...]:
    """Words to try: the user's, rare ones of known attacks, and the special tokens of the vocabulary."""
    special = list(model.tokenizer.all_special_tokens)[:MOST_SPECIAL]
    return tuple(dict.fromkeys((*(word.strip() for word in given if word.strip()), *RARE_WORDS, *special)))


@torch.no_grad()
def word_effect(model: TransformersModel, texts: Sequence[str], word: str, plain: torch.Tensor) -> Effect:
    """What a word does, in front of the question or behind it, whichever moves the answers farther."""
    places = ([f"{word} {text}" for text in texts], [f"{text} {word}" for text in texts])
    effects = [_effect(first_tokens(model, questions(model, wording)), plain) for wording in places]
    return max(effects, key=lambda effect: effect.divergence)


def push_effect(
    model: TransformersModel, asked: Sequence[Question], plain: torch.Tensor, config: ScanConfig, tick: Tick
) -> Effect:
    """The largest effect of one vector d with ||d|| <= r on all prompts at once.

    d <- P(d + s * grad / ||grad||), with P the projection onto the ball and the gradient that of a few prompts drawn
    for the step; the effect is read on all prompts, at the start and at the last point, and the larger one counts.
    """
    embedding = model.network.get_input_embeddings().weight.detach()
    radius = config.norm * float(embedding.float().norm(dim=1).median())
    generator = torch.Generator().manual_seed(config.seed)
    start = torch.randn(embedding.shape[1], generator=generator)
    push = (start / start.norm() * radius).to(model.device)
    effects = []
    for step in range(config.steps):
        tick(f"Pushing the prompts, step {step + 1} of {config.steps}")
        if step == 0:
            with torch.no_grad():
                effects.append(_effect(first_tokens(model, asked, push), plain))
        chosen = torch.randperm(len(asked), generator=generator)[: config.prompts_per_step].tolist()
        push = _ascended(model, [asked[index] for index in chosen], plain[chosen], push, radius, config)
    with torch.no_grad():
        effects.append(_effect(first_tokens(model, asked, push), plain))
    return max(effects, key=lambda effect: effect.divergence)


def _ascended(
    model: TransformersModel,
    asked: Sequence[Question],
    plain: torch.Tensor,
    push: torch.Tensor,
    radius: float,
    config: ScanConfig,
) -> torch.Tensor:
    with torch.enable_grad():
        moving = push.clone().requires_grad_(True)
        altered = first_tokens(model, asked, moving)
        divergence = (altered.exp() * (altered - plain)).sum(dim=1).mean()
        (gradient,) = torch.autograd.grad(divergence, moving)
    further = push + config.step_share * radius * gradient / gradient.norm().clamp_min(1e-12)
    return further * (radius / further.norm()).clamp_max(1.0)


@contextmanager
def _frozen(network: Any) -> Iterator[None]:
    """No parameter takes part in a gradient for the time being: only the push does."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def effects_on(
    model: TransformersModel, texts: Sequence[str], words: Sequence[str], config: ScanConfig, tick: Tick
) -> dict[tuple[Probe, str], Effect]:
    """Every probe on one model."""
    asked = questions(model, texts)
    with torch.no_grad():
        plain = first_tokens(model, asked)
    found = {}
    for number, word in enumerate(words, start=1):
        tick(f"Trying word {number} of {len(words)}")
        found[Probe.WORD, word] = word_effect(model, texts, word, plain)
    name = f"norm {config.norm:g}"
    with _frozen(model.network):
        found[Probe.PERTURBATION, name] = push_effect(model, asked, plain, config, tick)
    return found


# -- the job ---------------------------------------------------------------------------------


def _prompts(payload: JobPayload, most: int) -> tuple[str, ...]:
    """Neutral instructions, filled up with harmless requests."""
    sets = payload.behaviour
    texts = () if sets is None else (*sets.instructions, *sets.harmless)[:most]
    if len(texts) < 2:
        raise InputError("The check for a backdoor has fewer than two prompts to ask; give it more.")
    return texts


def check_backdoor(
    spec: JobSpec, payload: JobPayload, config: ScanConfig, base: ModelReference, writer: EventWriter
) -> tuple[BackdoorCheck, frozenset[str]]:
    """The check, and the names of the changed model's embeddings; one model is in memory at a time."""
    texts = _prompts(payload, config.prompts)
    found, words, done = [], None, 0
    names: frozenset[str] = frozenset()
    for title, reference in (("base", base), ("changed model", spec.model)):
        model = open_model(reference.model_copy(update={"tree_hash": None}), spec)  # checked before
        words = candidates(model, payload.words) if words is None else words
        total = 2 * (len(words) + config.steps)

        def tick(label: str, title: str = title, total: int = total) -> None:
            nonlocal done
            writer.check_cancelled()
            writer.progress(done, total, f"{label} ({title})")
            done += 1

        found.append(effects_on(model, texts, words, config, tick))
        names = embedding_names(model.network)
        del model
        gc.collect()
    compared = tuple(Compared(*probe, found[0][probe], found[1][probe]) for probe in found[0])
    return BackdoorCheck(len(texts), compared), names


def _comparable(before: Path, after: Path) -> None:
    """Raises InputError: the two are not of one architecture, so that nothing could be subtracted."""
    old, new = tensor_shapes(before), tensor_shapes(after)
    shared = old.keys() & new.keys()
    differing = sorted(name for name in shared if old[name] != new[name])
    if not shared or differing:
        where = f" ({differing[0]} has another shape)" if differing else ""
        raise InputError(
            f"The two models are not of one architecture{where}; name with --before the model that this one came from."
        )


def _embeddings_of(spec: JobSpec) -> frozenset[str]:
    return embedding_names(open_model(spec.model.model_copy(update={"tree_hash": None}), spec).network)


def scan(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Compare ``spec.model`` with ``spec.reference``, the model that it came from."""
    set_threads()
    config = validated(ScanConfig, spec.settings)
    if spec.reference is None:
        raise InputError("A scan needs the model from before; name it with --before.")
    writer.progress(0, 1, "Reading the files of both models")
    for one in (spec.reference, spec.model):
        checked_path(one)
    before, after = (weights_folder(one, spec) for one in (spec.reference, spec.model))
    writer.check_cancelled()
    _comparable(before, after)
    changes = []
    for change in tensor_changes(before, after):
        writer.check_cancelled()
        changes.append(change)
    check = None
    if config.backdoor and changes:
        check, embeddings = check_backdoor(spec, payload, config, spec.reference, writer)
    else:
        embeddings = _embeddings_of(spec) if changes else frozenset()
    old, new = tensor_shapes(before).keys(), tensor_shapes(after).keys()
    return {
        "tensors": len(old & new),
        "only_before": sorted(old - new),
        "only_after": sorted(new - old),
        "relative_change": f"{relative_change(before, after):.6f}",
        "changed": [change.described() for change in changes],
        "rank_one": [change.name for change in changes if change.rank_one],
        "embeddings_only": bool(changes) and all(change.name in embeddings for change in changes),
        "notes": list(_notes(changes, embeddings)),
        "backdoor": None if check is None else described_check(check, config),
    }


def _notes(changes: Sequence[TensorChange], embeddings: frozenset[str]) -> tuple[str, ...]:
    if not changes:
        return ("No weight differs: the two models are the same.",)
    return notes_on(changes, embeddings)


def described_check(check: BackdoorCheck, config: ScanConfig) -> dict[str, Any]:
    """The check as data, with the rule that it was decided by."""
    return {
        "possible_backdoor": check.possible_backdoor,
        "sentences": list(check.sentences),
        "prompts": check.prompts,
        "far": FAR,
        "least_nats": LEAST,
        "settings": config.model_dump(mode="json"),
        "probes": [
            {
                "probe": one.probe.value,
                "name": one.name,
                "base": round(one.base.divergence, 4),
                "changed": round(one.changed.divergence, 4),
                "ratio": round(one.ratio, 2),
                "base_agreement": round(one.base.agreement, 4),
                "changed_agreement": round(one.changed.agreement, 4),
                "far": one.far,
            }
            for one in check.compared
        ],
    }
