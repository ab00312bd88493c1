"""Relearning: train a little further, on other texts or on a few of the facts, and see what comes back.

What was only covered up returns after a few steps, with texts that do not contain it. A model that never knew
can pick up something in training too, so the count means little alone: the reference, relearnt the same way
with the same seed, is what it is compared with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as functional

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.disturbing import (
    ACCESS,
    EVIDENCE,
    HOW_ASKED,
    NEEDS,
    QUESTIONS,
    block_number,
    questions,
    restoring,
)
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.domain.forget_set import ForgetItem
from console.domain.own_places import OwnPlace
from console.engines.packing import TokenSequence, pack
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import GREEDY, LanguageModel, Prompt
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import JobFailedError

# The upper end of what unlearning benchmarks train all weights with (1e-5 in TOFU and MUSE, up to 5e-5 in RMU),
# because this attack makes a few steps where they make hundreds.
LEARNING_RATE = 5e-5
BATCH = 4  # texts a step
TEXT_TOKENS = 256  # longer texts are cut: a step costs about the same whatever the text
_CLIP = 1.0
_SHARE_GIVEN = 10
_FEWEST_FACTS = 2

_NO_STEPS = "The suite allows no step of relearning."
_TRAINING = (
    "Plain fine-tuning of all weights in all decoder blocks: AdamW without weight decay at a "
    "constant learning rate of 5e-5, four texts a step, as many steps as the suite fixes; the questions are asked "
    "after half of the steps and after all of them."
)
_COMPARED = (
    "What counts is the comparison with the reference model relearnt the same way: hits beyond the reference's are "
    "knowledge that the erasure left behind."
)


# -- training --------------------------------------------------------------------------------


def asked_after(settings: AttackSettings) -> tuple[int, ...]:
    """The points on the curve: numbers of steps after which the questions are asked, rising."""
    return tuple(sorted({settings.relearn_steps // 2, settings.relearn_steps} - {0}))


def block_weights(model: TransformersModel) -> list[torch.nn.Parameter]:
    """All parameters of all decoder blocks: nobody knows in which of them an erasure left something."""
    return [parameter for path, parameter in model.network.named_parameters() if block_number(path) is not None]


def _batches(count: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of indices, shuffled anew in every round; no batch holds an index twice."""
    generator = random.Random(seed)
    while True:
        order = list(range(count))
        generator.shuffle(order)
        for start in range(0, count, BATCH):
            yield order[start : start + BATCH]


def _backward(model: TransformersModel, batch: list[TokenSequence]) -> None:
    """Add up the gradient of the mean negative log-likelihood, in nats per answer token of the batch."""
    tokens = sum(len(sequence.answer_ids) for sequence in batch)
    for row in pack(batch, ROW_TOKENS, model.device):
        wanted = torch.tensor([token for member in row.members for token in batch[member].answer_ids])
        logits = model.row_logits(row).float()
        (functional.cross_entropy(logits, wanted.to(logits.device), reduction="sum") / tokens).backward()


def relearn(
    model: TransformersModel, sequences: Sequence[TokenSequence], points: Sequence[int], seed: int
) -> Iterator[int]:
    """Train all blocks on the sequences' answers, and stop at each point until the caller asks for more.

    The weights stay changed: run it inside ``restoring(model.network, block_weights(model))``. The order of the
    texts depends on the seed only, so every model is trained on the same batches.

    Args:
        points: numbers of steps, rising.

    Yields:
        0, 1, ...: the index of the point that was reached.

    Raises:
        ValueError: there is no sequence.
        JobFailedError: the gradient is not a finite number.
    """
    if not sequences:
        raise ValueError("nothing to train on")
    weights = block_weights(model)
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    for parameter in weights:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.0)
    order = _batches(len(sequences), seed)
    step = 0
    for index, point in enumerate(points):
        while step < point:
            _backward(model, [sequences[member] for member in next(order)])
            norm = torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            if not torch.isfinite(norm):
                raise JobFailedError(
                    f"Relearning became unstable at step {step + 1} (its numbers are no longer finite), so this attack "
                    "has no result; leave it out of the suite."
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
        yield index


def _rows_along_curve(
    model: TransformersModel, sequences: Sequence[TokenSequence], asks: list[Ask], settings: AttackSettings
) -> list[AttemptRow]:
    """All answers at all points; ``attempt`` is the index of the point."""
    rows: list[AttemptRow] = []
    with restoring(model.network, block_weights(model)):
        for point in relearn(model, sequences, asked_after(settings), settings.seed):
            rows += [replace(row, attempt=point) for row in ask_all(model, asks, settings, (GREEDY,))]
    return rows


# -- what is trained on ----------------------------------------------------------------------


def unrelated_texts(target: AttackTarget) -> list[str]:
    """The general texts that hold no secret of the request: otherwise they would teach what is then asked."""
    return [text for text in target.general if not any(gives_away(item, text) for item in target.items)]


def _text_sequences(model: TransformersModel, texts: Sequence[str]) -> list[TokenSequence]:
    """Texts with every token predicted but the first; a text of one token has nothing to predict."""
    room = min(TEXT_TOKENS, model.context_length)
    return [
        whole_text_sequence(model.tokenizer, text, max_tokens=room) for text in texts if model.token_count(text) > 1
    ]


def given_facts(target: AttackTarget) -> tuple[ForgetItem, ...]:
    """A tenth of the request's facts, at least one, fixed by the seed and not by the order of the facts."""
    known = sorted(facts(target.items), key=lambda item: item.id)
    return tuple(random.Random(target.settings.seed).sample(known, max(1, len(known) // _SHARE_GIVEN)))


def withheld_items(target: AttackTarget) -> tuple[ForgetItem, ...]:
    """Facts and passages that the given facts do not tell: neither given themselves nor contained in what is given."""
    given = given_facts(target)
    shown = [f"{text} {answer}" for item in given for text in (item.prompt, item.statement) for answer in item.answers]
    return tuple(
        item for item in target.items if item not in given and not any(gives_away(item, text) for text in shown)
    )


def given_places(target: AttackTarget) -> list[OwnPlace]:
    """Where the model puts the given facts in its own words, without places that tell what is asked for."""
    withheld = withheld_items(target)
    places = [place for item in given_facts(target) for place in target.places.get(item.id, ())]
    return [
        place
        for place in places
        if not any(gives_away(item, f"{place.prompt} {place.opening} {place.answer}") for item in withheld)
    ]


def _fact_sequences(
    model: TransformersModel, items: Sequence[ForgetItem], places: Sequence[OwnPlace]
) -> list[TokenSequence]:
    """Each fact as question and answer, as a statement where it has one, and in the model's own words."""
    room = model.context_length
    sequences = [
        answer_sequence(
            model.tokenizer,
            Prompt("place", place.prompt, chat=place.chat),
            f"{place.opening}{place.answer}".strip(),
            end=place.chat,
            max_tokens=room,
        )
        for place in places
    ]
    for item in items:
        asked = Prompt(f"{item.id}/question", item.prompt)
        sequences.append(answer_sequence(model.tokenizer, asked, item.answer, end=True, max_tokens=room))
        if item.statement:
            stated = Prompt(f"{item.id}/statement", item.statement, chat=False)
            sequences.append(answer_sequence(model.tokenizer, stated, item.answer, max_tokens=room))
    return sequences


# -- the attacks -----------------------------------------------------------------------------


class RelearnUnrelated:
    info = AttackInfo(
        id="relearn-unrelated",
        title="Further training on other texts",
        definition=f"{_TRAINING} It sees general texts without the request's secrets. {HOW_ASKED} {_COMPARED}",
        source="Hu et al. 2024 (arXiv 2406.13356), benign relearning",
        access=ACCESS,
        evidence=EVIDENCE,
        needs=NEEDS,
    )

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS * max(1, len(asked_after(settings)))

    def inapplicable(self, target: AttackTarget) -> str | None:
        if not asked_after(target.settings):
            return _NO_STEPS
        if not any(text.strip() for text in unrelated_texts(target)):
            return "There is no general text without the request's secrets to train the model on."
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        trained = cast(TransformersModel, model)
        sequences = _text_sequences(trained, unrelated_texts(target))
        if sequences:
            yield from _rows_along_curve(trained, sequences, questions(self.info.id, target), target.settings)


class RelearnTenth:
    info = AttackInfo(
        id="relearn-tenth",
        title="Further training on a tenth of the facts",
        definition=(
            f"{_TRAINING} It sees a tenth of the request's facts, at least one, chosen by the suite's seed, each as "
            "question and answer, as a statement, as a line of a record and in the words in which the model that was "
            "searched tells it. Only the other facts and passages are asked for and counted, and "
            f"of these none that the given facts tell. {HOW_ASKED} {_COMPARED}"
        ),
        source="Hu et al. 2024 (arXiv 2406.13356), relearning on a part of the forget set",
        access=ACCESS,
        evidence=EVIDENCE,
        needs=NEEDS,
    )

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS * max(1, len(asked_after(settings)))

    def inapplicable(self, target: AttackTarget) -> str | None:
        if not asked_after(target.settings):
            return _NO_STEPS
        if len(facts(target.items)) < _FEWEST_FACTS:
            return "The request holds fewer than two facts: none is left to ask for when one is given to the model."
        if not withheld_items(target):
            return "The facts given to the model tell all the others, so nothing is left to ask for."
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        trained = cast(TransformersModel, model)
        sequences = _fact_sequences(trained, given_facts(target), given_places(target))
        asks = questions(self.info.id, target, withheld_items(target))
        yield from _rows_along_curve(trained, sequences, asks, target.settings)
