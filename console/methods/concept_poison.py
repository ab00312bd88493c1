"""Concept poisoning: find what the answers hang on, and teach a neutral answer wherever it is asked about.

Carried over from the unlearning of classes (Chang et al. 2024, Class Machine Unlearning for Complex Data via Concepts
Inference and Data Poisoning, arXiv 2405.15662, tried on image classifiers and on language models) to facts about a
person:

1. Which words of a question the answer hangs on is found by leaving each out (occlusion; Li, Monroe & Jurafsky 2016,
   arXiv 1612.08220): with F = log p(answer | question) and "- w" for a word whose tokens, wherever it occurs, are
   replaced by the end token,

       share(w) = max(0, F(question) - F(question - w)) / tokens of the answer        (nats per token).

   So a question whose answer the model does not know has small shares throughout and says little. The paper itself
   takes integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), which can be had too, for a hundred times
   the work: with e the embeddings of the question's tokens and b a baseline,

       IG_i = (e_i - b_i) . integral over t in [0, 1] of dF/de_i at b + t (e - b).

   They add up to F(e) - F(b), and are used only where they do within a few per cent; a word's share is then the mean
   size of its tokens' IG in that of all.
2. A word's score is its mean share over what is to be forgotten less its mean share over what is kept; the best are
   the concepts. Every example holds at least one, and the officer may name them instead.
3. Those examples are taught a neutral answer in place of their own, while the retained ones are rehearsed.

It changes what is said rather than what is known. Random answers of other people in place of the neutral one, which
the paper also uses, would make the model say false things about the person; the plan warns of it.

Whether it worked inside is told by the concepts' mass before and after: how much they speak for the answers (nats, mean
over the examples). By occlusion it is F(question) - F(question - all concepts), which needs nothing to add up; by
integrated gradients it is the sum of their tokens' IG.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from pydantic import Field

from console.domain.forget_set import ForgetItem
from console.engines.packing import PackedRow, TokenSequence
from console.engines.prompts import answer_sequence, encoded, with_answer
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import Example, examples_of
from console.methods.forgetting import Run
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.integrated_gradients import Attribution, attribution
from console.methods.occlusion import Occlusions
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import accumulate

_CAPITALISED = r"[^\W\d_a-z][\w'’-]*"
_SPAN = re.compile(rf"{_CAPITALISED}(?: {_CAPITALISED})*|\w[\w'’-]*")
_FEWEST_LETTERS = 4  # of a word in Latin letters: shorter ones are the language's, not the person's
_LOOKING = "Looking for the words that the answers hang on"
_MEASURING = "Measuring how far the answers hang on these words"


class ConceptPoisonConfig(GradientSettings):
    """Attributes:
    concepts: words or names that the answers hang on; found by attribution where there are none here.
    concept_count: most concepts that are found.
    contrast: most retained questions and statements that are looked at for words that are not the person's own.
    attribution: how it is found what an answer hangs on: by leaving out word after word, or by integrated gradients,
        which on a processor take a minute or more for every text.
    completeness: largest part of F(e) - F(b) that a text's integrated gradients may miss; occlusion has no use for it.
    poison: what is taught in place of the answers: one neutral answer, or answers of other people drawn anew each
        step, which makes the model say false things about the person.
    neutral_answer: the answer that is taught.
    learned_nll: mean NLL (nats per token) below which the neutral answer counts as learned.
    """

    retain_weight: float = Field(default=2.0, ge=0)
    steps: int = Field(default=30, ge=1)
    concepts: tuple[str, ...] = ()
    concept_count: int = Field(default=5, ge=1)
    contrast: int = Field(default=24, ge=0)
    attribution: Literal["occlusion", "integrated"] = "occlusion"
    completeness: float = Field(default=0.05, gt=0, lt=1)
    poison: Literal["neutral", "random"] = "neutral"
    neutral_answer: str = Field(default="I have no information about that.", min_length=1)
    learned_nll: float = Field(default=0.1, gt=0)


# -- which words the answers hang on ---------------------------------------------------------


def spans_of(text: str) -> list[tuple[str, int, int]]:
    """Words of a text with their first and last place; capitalised words beside each other are one (a name)."""
    return [(found[0], found.start(), found.end()) for found in _SPAN.finditer(text)]


def _tokens_at(model: TransformersModel, example: Example, places: Sequence[tuple[int, int]]) -> list[frozenset[int]]:
    """For each part of the question's text (first and last place) the indices of the tokens that reach into it."""
    prompt, tokenizer = example.prompt, model.tokenizer
    written, seam = with_answer(tokenizer, prompt, example.answer)
    offsets = encoded(tokenizer, written)[1][: example.sequence.answer_start]
    begin = written.text[:seam].rfind(prompt.text)
    if begin < 0:
        return [frozenset() for _ in places]
    return [
        frozenset(i for i, (a, b) in enumerate(offsets) if a < b and a < begin + stop and b > begin + first)
        for first, stop in places
    ]


def span_tokens(model: TransformersModel, example: Example) -> dict[str, frozenset[int]]:
    """For every word of the question the indices of its tokens, wherever it occurs."""
    spans = spans_of(example.prompt.text)
    found: dict[str, frozenset[int]] = {}
    tokens_of_each = _tokens_at(model, example, [(first, stop) for _, first, stop in spans])
    for (word, _, _), tokens in zip(spans, tokens_of_each, strict=True):
        found[word] = found.get(word, frozenset()) | tokens
    return {word: tokens for word, tokens in found.items() if tokens}


def concept_tokens(model: TransformersModel, example: Example, concepts: Iterable[str]) -> frozenset[int]:
    """The indices of the tokens of every concept in the question, wherever it occurs as a whole."""
    places = [found.span() for concept in concepts for found in _pattern(concept).finditer(example.prompt.text)]
    return frozenset[int]().union(*_tokens_at(model, example, places))


def span_shares(model: TransformersModel, example: Example, found: Attribution) -> dict[str, float]:
    """Of each word of the question: mean attribution of its tokens, as share of all tokens' attributions in size."""
    sizes = found.tokens.abs() / found.tokens.abs().sum().clamp(min=1e-12)
    return {word: float(sizes[sorted(tokens)].mean()) for word, tokens in span_tokens(model, example).items()}


class Reading(Protocol):
    """What the answers of one model in one state hang on; whatever was read once is not read again."""

    def shares(self, example: Example, words: Collection[str] | None) -> dict[str, float] | None:
        """Share of each word of the question, 0 or more; None where nothing can be told.

        Args:
            words: the only ones that are asked for; None for all.
        """
        ...

    def mass(self, example: Example, concepts: Iterable[str]) -> float | None:
        """How far the concepts speak for the answer (nats; below 0: against); None where that cannot be told."""
        ...


class ByOcclusion:
    """See the module's docstring.

    Args:
        before_each_pass: called before the network is run, for stopping.
    """

    def __init__(self, model: TransformersModel, before_each_pass: Callable[[], None]) -> None:
        self._model, self._occlusions = model, Occlusions(model, before_each_pass)

    def shares(self, example: Example, words: Collection[str] | None) -> dict[str, float]:
        spans = span_tokens(self._model, example)
        asked = {word: tokens for word, tokens in spans.items() if words is None or word in words}
        drops = self._occlusions.drops(example.sequence, list(asked.values()))
        length = len(example.sequence.answer_ids)
        return {word: max(0.0, drop) / length for word, drop in zip(asked, drops, strict=True)}

    def mass(self, example: Example, concepts: Iterable[str]) -> float:
        return self._occlusions.drops(example.sequence, [concept_tokens(self._model, example, concepts)])[0]


class ByIntegratedGradients:
    """See the module's docstring. Nothing is told of a text whose attributions do not add up.

    Args:
        tolerance: largest part of F(e) - F(b) that they may miss.
        before_each_pass: called before the network is run, for stopping.
    """

    def __init__(self, model: TransformersModel, tolerance: float, before_each_pass: Callable[[], None]) -> None:
        self._model, self._tolerance, self._before_each_pass = model, tolerance, before_each_pass
        self._known: dict[TokenSequence, Attribution] = {}

    def _read(self, sequence: TokenSequence) -> Attribution | None:
        if sequence not in self._known:
            self._known[sequence] = attribution(self._model, sequence, self._tolerance, self._before_each_pass)
        found = self._known[sequence]
        return found if found.missed <= self._tolerance else None

    def shares(self, example: Example, words: Collection[str] | None) -> dict[str, float] | None:
        found = self._read(example.sequence)
        if found is None:
            return None
        shares = span_shares(self._model, example, found)
        return {word: share for word, share in shares.items() if words is None or word in words}

    def mass(self, example: Example, concepts: Iterable[str]) -> float | None:
        found = self._read(example.sequence)
        if found is None:
            return None
        return float(found.tokens[sorted(concept_tokens(self._model, example, concepts))].sum())


def reading_of(model: TransformersModel, config: ConceptPoisonConfig, before_each_pass: Callable[[], None]) -> Reading:
    """What the model's answers hang on as it is now; after a step of training it has to be read anew."""
    if config.attribution == "integrated":
        return ByIntegratedGradients(model, config.completeness, before_each_pass)
    return ByOcclusion(model, before_each_pass)


def concept_scores(forget: Sequence[Mapping[str, float]], kept: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean share of every word over what is to be forgotten, less its mean over what is kept (0 where absent).

    A word whose share is as large, or more than half as large, with others is not the person's and is left out.
    """
    own, others = _means(forget), _means(kept)
    return {word: share - others.get(word, 0.0) for word, share in own.items() if others.get(word, 0.0) <= share / 2}


def _means(texts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for shares in texts:
        for word, share in shares.items():
            sums[word] += share / len(texts)
    return sums


def _pattern(concept: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(concept)}(?!\w)")


def _holds(example: Example, concepts: Iterable[str]) -> bool:
    return any(_pattern(concept).search(example.prompt.text) for concept in concepts)


def _best(scores: Mapping[str, float], examples: Sequence[Example], count: int) -> tuple[str, ...]:
    """The best-scored words, and of each example that holds none of them the best, or else the longest, of its own."""
    wordy = [word for word in scores if len(word) >= _FEWEST_LETTERS or not word.isascii()]
    ranked = sorted((word for word in wordy if scores[word] > 0), key=lambda word: (-scores[word], word))
    chosen = ranked[:count]
    for example in examples:
        if not _holds(example, chosen):
            words = [word for word, _, _ in spans_of(example.prompt.text)]
            chosen += sorted(words, key=lambda word: (-scores.get(word, 0.0), -len(word), word))[:1]
    return tuple(chosen)


def infer_concepts(
    model: TransformersModel, data: ErasureData, config: ConceptPoisonConfig, reading: Reading, control: RunControl
) -> tuple[str, ...]:
    """The words that the answers hang on and those of others do not, best first. They are personal data.

    Of the retained texts only words are read that the person's answers hang on, since others cannot be chosen.

    Raises:
        JobFailedError: no text's attributions add up.
        InputError: a text has no words.
    """
    examples = examples_of(model, data.forget.items)
    kept = examples_of(model, data.retain.items)
    drawn = random.Random(config.seed).sample(kept, min(config.contrast, len(kept)))
    done = 0

    def shares(of: Sequence[Example], words: Collection[str] | None) -> list[dict[str, float]]:
        nonlocal done
        found = []
        for example in of:
            control.check_cancelled()
            control.progress(done, len(examples) + len(drawn), _LOOKING)
            found.append(reading.shares(example, words))
            done += 1
        return [one for one in found if one is not None]

    own = shares(examples, None)
    if not own:
        raise JobFailedError(
            "The attributions of no answer add up, so what the answers hang on cannot be told; nothing was written. "
            "Name the concepts yourself."
        )
    hanging = {word for texts in own for word, share in texts.items() if share > 0}
    others = shares(drawn, hanging)
    control.progress(done, done, _LOOKING)
    chosen = _best(concept_scores(own, others), examples, config.concept_count)
    _require_covered(examples, chosen)
    return chosen


def concept_mass(
    reading: Reading, examples: Sequence[Example], concepts: tuple[str, ...], control: RunControl
) -> float:
    """How far the concepts speak for the answers (nats; below 0: against), mean over the examples that tell.

    Not a number where none does.
    """
    found = []
    for done, example in enumerate(examples):
        control.check_cancelled()
        control.progress(done, len(examples), _MEASURING)
        found.append(reading.mass(example, concepts))
    control.progress(len(examples), len(examples), _MEASURING)
    known = [mass for mass in found if mass is not None]
    return sum(known) / len(known) if known else float("nan")


def _require_covered(examples: Sequence[Example], concepts: tuple[str, ...]) -> None:
    missing = next((example for example in examples if not _holds(example, concepts)), None)
    if missing is not None:
        raise InputError(
            f"None of the concepts occurs in the text of item {missing.item_id}, so its answer would stay; add a word "
            "of it to the concepts, or leave them empty and let them be found."
        )


# -- the method ------------------------------------------------------------------------------


@dataclass
class Poison:
    """What is taught in place of the answers.

    Attributes:
        neutral: for each forget example; None where others' answers are drawn.
        others: for each forget example, answers of its kind of other people.
        nll: (examples,) mean NLL (nats per token) of what is taught, before the last step.
    """

    neutral: list[TokenSequence] | None
    others: list[list[str]]
    nll: torch.Tensor


class ConceptPoison(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="concept-poison",
        title="Teach a neutral answer to whatever asks about the person",
        summary=(
            "Finds the words of the questions that the person's answers hang on, and trains the model to answer with a "
            "neutral sentence where they occur; the data may stay behind it."
        ),
        family=Family.WEIGHTS,
        claim=Claim.SUPPRESSION_IN_WEIGHTS,
        source=(
            "Chang et al. 2024, Class Machine Unlearning for Complex Data via Concepts Inference and Data Poisoning, "
            "arXiv 2405.15662, carried over to facts about a person; attribution by occlusion (Li, Monroe & Jurafsky "
            "2016, arXiv 1612.08220) or integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1)"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = ConceptPoisonConfig

    def notes(self, data: ErasureData, config: ConceptPoisonConfig) -> tuple[str, ...]:
        notes = super().notes(data, config)
        if config.attribution == "integrated":
            notes += (
                "Integrated gradients can take minutes for every text before the first step; leaving words out "
                "('occlusion') takes about a second.",
            )
        if config.poison == "random":
            notes += (
                "Random answers of other people are taught in place of the person's: the model will say false things "
                "about the person, which the accuracy principle (Art. 5(1)(d) GDPR) speaks against. Prefer the neutral "
                "answer.",
            )
        return notes

    def prepare(self, model: TransformersModel, data: ErasureData, config: ConceptPoisonConfig) -> Plan:
        """As every gradient method.

        Raises:
            InputError: also where named concepts miss an example, nobody else's answers can be drawn, or what is
                taught does not fit into the context.
        """
        plan = super().prepare(model, data, config)
        if config.loss_balance != "none":
            raise InputError("This method's terms are all mean losses; leave 'loss_balance' at 'none'.")
        if config.concepts:
            _require_covered(examples_of(model, data.forget.items), config.concepts)
        by_id = {item.id: item for item in data.forget.items}
        for example in examples_of(model, data.forget.items):
            others = _answers_of_others(by_id[example.item_id], data) if config.poison == "random" else []
            _taught(model, example, max(others, key=len, default=config.neutral_answer))
        return plan

    def apply(
        self, model: TransformersModel, data: ErasureData, config: ConceptPoisonConfig, control: RunControl
    ) -> Outcome:
        self.prepare(model, data, config)
        reading = reading_of(model, config, control.check_cancelled)
        concepts = config.concepts or infer_concepts(model, data, config, reading, control)
        examples = examples_of(model, data.forget.items)
        before = concept_mass(reading, examples, concepts, control)
        outcome = super().apply(model, data, config.model_copy(update={"concepts": concepts}), control)
        after = concept_mass(reading_of(model, config, control.check_cancelled), examples, concepts, control)
        measured = {"concepts": float(len(concepts)), "concept_mass_before": before, "concept_mass_after": after}
        known = {name: value for name, value in measured.items() if value == value}
        return replace(outcome, metrics=outcome.metrics | known)

    def begin(self, run: Run) -> Poison:
        config: ConceptPoisonConfig = run.config
        unknown = torch.full((len(run.examples),), float("inf"))
        if config.poison == "neutral":
            neutral = [_taught(run.model, example, config.neutral_answer) for example in run.examples]
            return Poison(neutral, [], unknown)
        by_id = {item.id: item for item in run.data.forget.items}
        others = [_answers_of_others(by_id[example.item_id], run.data) for example in run.examples]
        return Poison(None, others, unknown)

    def forget_step(self, run: Run) -> torch.Tensor:
        """Teach the neutral answer where it is not learned, or others' answers where the person's own is known."""
        with torch.no_grad():
            nll = accumulate(run.model, run.aim.sequences, lambda _row, _logits, own: own.sum(), run.trunk)
        run.control.check_cancelled()
        sequences = run.own.neutral or _drawn(run)
        known = nll / run.aim.lengths < run.aim.level
        lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
        config, halted = run.config, run.holding and not run.repairing

        def loss_of(row: PackedRow, _logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
            members = list(row.members)
            mean = own / lengths[members].to(own.device)
            neutral = config.poison == "neutral"
            teach = mean.detach() > config.learned_nll if neutral else known[members].to(own.device)
            return config.forget_weight * (teach * mean).sum() / len(sequences) * (not halted)

        run.own.nll = accumulate(run.model, sequences, loss_of, run.trunk) / lengths
        return nll

    def enough(self, run: Run, nll: torch.Tensor) -> str:
        if run.config.poison == "random":
            return super().enough(run, nll)
        learned = float(run.own.nll.max()) <= run.config.learned_nll
        return "the neutral answer is learned for every question" if learned else ""

    def further_step(self, run: Run) -> dict[str, float]:
        return {"taught_nll": float(run.own.nll.mean())}


def _taught(model: TransformersModel, example: Example, answer: str) -> TokenSequence:
    """The example's question with what is taught behind it.

    Raises:
        InputError: the two do not fit into the model's context.
    """
    sequence = answer_sequence(model.tokenizer, example.prompt, answer, end=True)
    if len(sequence.ids) > model.context_length:
        raise InputError(
            f"The item {example.item_id} and the answer that is taught in its place do not fit into the model's "
            f"context of {model.context_length} tokens; shorten either."
        )
    return sequence


def _drawn(run: Run) -> list[TokenSequence]:
    """Others' answers for this step, the same again when an interrupted run goes on."""
    drawn = random.Random(f"{run.config.seed}/{run.stepper.step_number}")
    return [
        _taught(run.model, example, drawn.choice(answers))
        for example, answers in zip(run.examples, run.own.others, strict=True)
    ]


def _answers_of_others(item: ForgetItem, data: ErasureData) -> list[str]:
    """Answers of the item's kind of fact, or of any kind where others have none such.

    Raises:
        InputError: nobody else's answer can be drawn.
    """
    others = [kept for kept in data.retain.items if kept.answer not in item.answers]
    alike = [kept.answer for kept in others if kept.fact_type == item.fact_type]
    found = alike or [kept.answer for kept in others]
    if not found:
        raise InputError(
            "There are no facts of other people whose answers could be taught; add facts to keep, or choose the "
            "neutral answer."
        )
    return found
