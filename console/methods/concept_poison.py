"""Concept poisoning: find what the answers hang on, and teach a neutral answer wherever it is asked about.

Carried over from image classifiers (Class Machine Unlearning for Complex Data via Concepts Inference and Data
Poisoning, 2024, arXiv 2405.15662) to language models:

1. Which words of a question the answer hangs on is read off by integrated gradients (Sundararajan et al. 2017, arXiv
   1703.01365): with e the embeddings of the question's tokens, b a baseline and F = log p(answer | question),

       IG_i = (e_i - b_i) . integral over t in [0, 1] of dF/de_i at b + t (e - b).

   They add up to F(e) - F(b), and are used only where they do within a few per cent.
2. A word's score is its mean share over what is to be forgotten less its mean share over what is kept; the best are
   the concepts. Every example holds at least one, and the officer may name them instead.
3. Those examples are taught a neutral answer in place of their own, while the retained ones are rehearsed.

It changes what is said rather than what is known. Random answers of other people in place of the neutral one, which
the paper also uses, would make the model say false things about the person; the plan warns of it.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from console.domain.forget_set import ForgetItem
from console.engines.packing import PackedRow, TokenSequence
from console.engines.prompts import answer_sequence, answer_text, render
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import Example, examples_of
from console.methods.forgetting import Run
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import accumulate

_CAPITALISED = r"[^\W\d_a-z][\w'’-]*"
_SPAN = re.compile(rf"{_CAPITALISED}(?: {_CAPITALISED})*|\w[\w'’-]*")
_POINTS = 8  # of each stretch of the way
_MOST_STRETCHES = 64
_FEWEST_LETTERS = 4  # of a word in Latin letters: shorter ones are the language's, not the person's
_SMALLEST_CHANGE = 1e-2  # nats; a smaller difference between text and baseline is not worth a share


class ConceptPoisonConfig(GradientSettings):
    """Attributes:
    concepts: words or names that the answers hang on; found by attribution where there are none here.
    concept_count: most concepts that are found.
    contrast: most retained questions and statements that are looked at for words that are not the person's own.
    completeness: largest part of F(e) - F(b) that the attributions of a text may miss.
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
    completeness: float = Field(default=0.05, gt=0, lt=1)
    poison: Literal["neutral", "random"] = "neutral"
    neutral_answer: str = Field(default="I have no information about that.", min_length=1)
    learned_nll: float = Field(default=0.1, gt=0)


# -- which words the answers hang on ---------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """What each token of a question contributes to the answer's log-likelihood.

    Attributes:
        tokens: (prompt tokens,) integrated gradients, nats.
        change: F(e) - F(b), nats.
    """

    tokens: torch.Tensor
    change: float

    @property
    def missed(self) -> float:
        """Part of the change that the tokens do not add up to."""
        return abs(float(self.tokens.sum()) - self.change) / max(abs(self.change), _SMALLEST_CHANGE)


def _answer_log_probs(model: TransformersModel, embeds: torch.Tensor, sequence: TokenSequence) -> torch.Tensor:
    """(points,) log p(answer | question) with these embeddings (points, tokens, d) in place of the tokens'."""
    first, answer = sequence.answer_start, torch.tensor(sequence.answer_ids, device=model.device)
    kept = torch.arange(first - 1, len(sequence.ids) - 1, device=model.device)
    logits = model.network(inputs_embeds=embeds, use_cache=False, logits_to_keep=kept).logits.float()
    own = torch.log_softmax(logits, dim=-1).gather(-1, answer.expand(len(embeds), -1)[..., None])
    return own.squeeze(-1).sum(dim=-1)


@dataclass(frozen=True)
class _Stretch:
    """A part of the way from the baseline to the text.

    Attributes:
        tokens: (tokens,) what it contributes to each token's attribution.
        missed: by how much these miss the answer's gain on this stretch, nats.
    """

    start: float
    stop: float
    start_value: float
    stop_value: float
    tokens: torch.Tensor

    @property
    def missed(self) -> float:
        return abs(float(self.tokens.sum()) - (self.stop_value - self.start_value))


class _Way:
    """The straight way from the baseline to the text.

    The baseline is the text with the embedding of the end token in place of every token of the question; the answer
    stays as it is.
    """

    def __init__(self, model: TransformersModel, sequence: TokenSequence) -> None:
        table = model.network.get_input_embeddings()
        with torch.no_grad():
            whole = table(torch.tensor(sequence.ids, device=model.device)).float()
            end = table(torch.tensor(model.tokenizer.eos_token_id or 0, device=model.device)).float()
        self._base = whole.clone()
        self._base[: sequence.answer_start] = end
        self._step = whole - self._base
        self._model, self._sequence = model, sequence
        places, weights = np.polynomial.legendre.leggauss(_POINTS)
        self._places, self._weights = torch.from_numpy(places).float(), torch.from_numpy(weights).float()

    @torch.no_grad()
    def value(self, at: float) -> float:
        """F at a place between 0 (baseline) and 1 (text)."""
        return float(_answer_log_probs(self._model, (self._base + at * self._step)[None], self._sequence)[0])

    def stretch(self, start: float, stop: float, start_value: float, stop_value: float) -> _Stretch:
        half = (stop - start) / 2
        ways = (start + half * (self._places + 1)).to(self._base.device)[:, None, None]
        embeds = (self._base + ways * self._step).requires_grad_(True)
        total = _answer_log_probs(self._model, embeds, self._sequence).sum()
        (gradient,) = torch.autograd.grad(total, embeds)
        weights = half * self._weights.to(gradient.device)[:, None, None]
        tokens = ((weights * gradient).sum(dim=0) * self._step).sum(dim=-1)
        return _Stretch(start, stop, start_value, stop_value, tokens)

    def halves(self, part: _Stretch) -> list[_Stretch]:
        middle = (part.start + part.stop) / 2
        value = self.value(middle)
        return [
            self.stretch(part.start, middle, part.start_value, value),
            self.stretch(middle, part.stop, value, part.stop_value),
        ]


def attribution(model: TransformersModel, sequence: TokenSequence, tolerance: float) -> Attribution:
    """Integrated gradients, by a Gauss-Legendre rule on ever shorter stretches of the way.

    F itself tells what every stretch must add up to, so the one that misses most is cut in two until all together
    miss no more than the tolerance, or there are too many; ``missed`` says how it ended.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.network.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            way = _Way(model, sequence)
            first, last = way.value(0.0), way.value(1.0)
            parts = [way.stretch(0.0, 1.0, first, last)]
            allowed = tolerance * max(abs(last - first), _SMALLEST_CHANGE)
            while sum(part.missed for part in parts) > allowed and len(parts) < _MOST_STRETCHES:
                parts.sort(key=lambda part: part.missed)
                parts += way.halves(parts.pop())
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    tokens = torch.stack([part.tokens for part in parts]).sum(dim=0)[: sequence.answer_start]
    return Attribution(tokens.detach().cpu(), last - first)


def spans_of(text: str) -> list[tuple[str, int, int]]:
    """Words of a text with their first and last place; capitalised words beside each other are one (a name)."""
    return [(found[0], found.start(), found.end()) for found in _SPAN.finditer(text)]


def span_tokens(model: TransformersModel, example: Example) -> dict[str, list[int]]:
    """For every word of the question the indices of its tokens, wherever it occurs."""
    prompt, tokenizer = example.prompt, model.tokenizer
    text, special = render(tokenizer, prompt)
    offsets = tokenizer(
        text + answer_text(tokenizer, prompt, example.answer), add_special_tokens=special, return_offsets_mapping=True
    )["offset_mapping"][: example.sequence.answer_start]
    start = text.rfind(prompt.text)
    found: dict[str, list[int]] = defaultdict(list)
    for word, first, stop in spans_of(prompt.text) if start >= 0 else ():
        found[word] += [i for i, (a, b) in enumerate(offsets) if a < b and a < start + stop and b > start + first]
    return {word: tokens for word, tokens in found.items() if tokens}


def span_shares(model: TransformersModel, example: Example, found: Attribution) -> dict[str, float]:
    """Of each word of the question: mean attribution of its tokens, as share of all tokens' attributions in size."""
    sizes = found.tokens.abs() / found.tokens.abs().sum().clamp(min=1e-12)
    return {word: float(sizes[tokens].mean()) for word, tokens in span_tokens(model, example).items()}


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


def _holds(example: Example, concepts: Iterable[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(concept)}(?!\w)", example.prompt.text) for concept in concepts)


def _best(scores: Mapping[str, float], examples: Sequence[Example], count: int) -> tuple[str, ...]:
    """The best-scored words, and of each example that holds none of them the best, or else the longest, of its own."""
    wordy = [word for word in scores if len(word) >= _FEWEST_LETTERS or not word.isascii()]
    ranked = sorted(wordy, key=lambda word: (-scores[word], word))
    chosen = ranked[:count]
    for example in examples:
        if not _holds(example, chosen):
            words = [word for word, _, _ in spans_of(example.prompt.text)]
            chosen += sorted(words, key=lambda word: (-scores.get(word, 0.0), -len(word), word))[:1]
    return tuple(chosen)


def infer_concepts(
    model: TransformersModel, data: ErasureData, config: ConceptPoisonConfig, before_each: Callable[[], None]
) -> tuple[str, ...]:
    """The words that the answers hang on and those of others do not, best first. They are personal data.

    Args:
        before_each: called before every text, for stopping.

    Raises:
        JobFailedError: no text's attributions add up, or a text has no words.
    """
    examples = examples_of(model, data.forget.items)
    kept = examples_of(model, data.retain.items)
    drawn = random.Random(config.seed).sample(kept, min(config.contrast, len(kept)))

    def shares(of: Sequence[Example]) -> list[dict[str, float]]:
        found = []
        for example in of:
            before_each()
            one = attribution(model, example.sequence, config.completeness)
            if one.missed <= config.completeness:
                found.append(span_shares(model, example, one))
        return found

    own = shares(examples)
    if not own:
        raise JobFailedError(
            "The attributions of no answer add up, so what the answers hang on cannot be told; nothing was written. "
            "Name the concepts yourself."
        )
    chosen = _best(concept_scores(own, shares(drawn)), examples, config.concept_count)
    _require_covered(examples, chosen)
    return chosen


def concept_mass(
    model: TransformersModel,
    examples: Sequence[Example],
    concepts: tuple[str, ...],
    tolerance: float,
    before_each: Callable[[], None],
) -> float:
    """How far the concepts' words speak for the answers (nats; below 0: against), mean over the examples that add up.

    Not a number where none does.
    """
    found = []
    for example in examples:
        before_each()
        one = attribution(model, example.sequence, tolerance)
        if one.missed <= tolerance:
            spans = span_tokens(model, example).items()
            tokens = {token for word, own in spans if any(concept in word for concept in concepts) for token in own}
            found.append(float(one.tokens[sorted(tokens)].sum()))
    return sum(found) / len(found) if found else float("nan")


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
            "Class Machine Unlearning via Concepts Inference and Data Poisoning, 2024, arXiv 2405.15662, carried over "
            "to language models; attribution by Sundararajan et al. 2017, arXiv 1703.01365, eq. 1"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = ConceptPoisonConfig

    def notes(self, data: ErasureData, config: ConceptPoisonConfig) -> tuple[str, ...]:
        if config.poison == "neutral":
            return super().notes(data, config)
        return (
            *super().notes(data, config),
            "Random answers of other people are taught in place of the person's: the model will say false things about "
            "the person, which the accuracy principle (Art. 5(1)(d) GDPR) speaks against. Prefer the neutral answer.",
        )

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
        concepts = config.concepts or infer_concepts(model, data, config, control.check_cancelled)
        examples = examples_of(model, data.forget.items)

        def mass() -> float:
            return concept_mass(model, examples, concepts, config.completeness, control.check_cancelled)

        before = mass()
        outcome = super().apply(model, data, config.model_copy(update={"concepts": concepts}), control)
        measured = {"concepts": float(len(concepts)), "concept_mass_before": before, "concept_mass_after": mass()}
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
