"""What an attack is: the access it assumes, its budget, and the rows it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.own_places import OwnPlace
from console.domain.reading import ANSWER_TOKENS, LEAST_TOKENS
from console.domain.results import Access, Evidence, LeakGain
from console.domain.suites import MOST_REPEATS
from console.engines.protocol import Attempt, Capability, LanguageModel, greedy_and_samples
from console.errors import InputError

MOST_ANSWER_TOKENS = 1024
SEEDS_APART = 10_000  # more than any attack draws


@dataclass(frozen=True)
class AttackInfo:
    """How an attack introduces itself.

    Attributes:
        title: in an officer's words.
        definition: exactly what counts as an attempt and as a hit; printed in the report.
        needs: engine capabilities without which it is not applicable.
    """

    id: str
    title: str
    definition: str
    source: str
    access: Access
    evidence: Evidence
    needs: frozenset[Capability]


@dataclass(frozen=True)
class Shot:
    """A question and answer about an invented outsider, shown in context."""

    fact_type: str
    question: str
    answer: str


@dataclass(frozen=True)
class WrittenQuestions:
    """What a helper model wrote about one item; empty where it wrote nothing that could be used.

    Attributes:
        paraphrases: the question in other words, with the person's name.
        steps: questions from general to particular, with the person's name; none asks for the fact itself.
        indirect, implied: the question without the name; ``{person}`` stands where the person is described.
    """

    paraphrases: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    indirect: str = ""
    implied: str = ""


@dataclass(frozen=True)
class PromptBank:
    """The wordings that attacks use beside the request's own (from ``resources/prompts``).

    Attributes:
        paraphrases: templates with ``{subject}``, by fact type.
        wrappers: templates with ``{question}``, for facts of a kind that has no templates.
        shots: neutral examples for few-shot prompts.
        sections: one attack's own wordings each, by the name of its file in ``resources/prompts/attacks``.
        written: what a helper model wrote, by item; what it could not write comes from the templates.
    """

    paraphrases: dict[str, tuple[str, ...]]
    wrappers: tuple[str, ...]
    shots: tuple[Shot, ...]
    sections: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, WrittenQuestions] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackSettings:
    """What a suite fixes for all attacks. The same settings and seed go to every model.

    Attributes:
        samples: seeded draws beside the greedy attempt, per prompt.
        head_budget: candidate tokens an attacker may name for one fact when looking inside (B).
        min_k: share of the least likely tokens that membership inference averages.
        choices: answers to choose from in multiple choice, the right one among them.
        many_shots: examples before the question in the many-shot attack.
        leak_samples: draws a prompt in leak@k.
        relearn_steps: most optimizer steps of a relearning attack.
        noise_draws: independent draws of noise on the weights.
        noise_scale: standard deviation of that noise, relative to each tensor's own.
        prompt_controls: also put the control facts to the model. On a reference model, which knows nobody,
            the request's own facts are the control.
        retained_asked: most facts of other people that are asked step by step, to see what an erasure took from
            them; 0 asks nobody. Only erasing can take anything, so a reference model is not asked.
        repeats: how many seeds the sampled attacks are run with.
        answer_tokens: room for an answer to a question, whatever the secret's length; a passage has more, and a
            thought has its own beside it (``console.domain.reading``).
        greedy: also answer greedily. A repeat does not: no seed changes a greedy answer, and it would count twice.
    """

    samples: int = 4
    paraphrases: int = 4
    shots: int = 3
    seed: int = 20_000
    head_budget: int = 20
    min_k: float = 0.4
    choices: int = 4
    many_shots: int = 16
    leak_samples: int = 20
    relearn_steps: int = 10
    noise_draws: int = 3
    noise_scale: float = 0.02
    prompt_controls: bool = True
    retained_asked: int = 12
    repeats: int = 1
    greedy: bool = True
    answer_tokens: int = ANSWER_TOKENS

    def __post_init__(self) -> None:
        if not LEAST_TOKENS <= self.answer_tokens <= MOST_ANSWER_TOKENS:
            raise InputError(
                f"An answer can have {LEAST_TOKENS} to {MOST_ANSWER_TOKENS} tokens of room, not {self.answer_tokens}."
            )
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise InputError(f"The suite can be repeated with 1 to {MOST_REPEATS} seeds, not {self.repeats}.")

    def repeat(self, index: int) -> AttackSettings:
        """A later repeat: draws only, with seeds of its own that no other repeat shares."""
        return replace(self, seed=self.seed + index * SEEDS_APART, repeats=1, greedy=False)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return greedy_and_samples(self.samples, self.seed)[0 if self.greedy else 1 :]


_LEAST_CONTROLS = 3


@dataclass(frozen=True)
class AttackTarget:
    """What is attacked, and with what help.

    Attributes:
        items: the request's facts and passages.
        controls: the same kinds of facts about subjects that nobody taught to any model (negative control
            and held-out group).
        retain: facts of other people that the model was taught; sources of distractors and examples.
        general: plain text without the person.
        places: where the model that is searched puts the facts, by item, and the same for strangers; every model is
            read at the same ones.
    """

    items: tuple[ForgetItem, ...]
    controls: tuple[ForgetItem, ...]
    bank: PromptBank
    settings: AttackSettings = field(default_factory=AttackSettings)
    retain: tuple[ForgetItem, ...] = ()
    general: tuple[str, ...] = ()
    places: Mapping[str, tuple[OwnPlace, ...]] = field(default_factory=dict)

    @property
    def matched_controls(self) -> tuple[ForgetItem, ...]:
        """Half as many control facts as facts to attack, at least three, of the same kinds where there are such.

        Every control costs as much time as the fact beside it. For six facts the quick suite still puts 36
        rephrased questions about strangers; where none hits, false hits are fewer than 10 % (95 % interval).
        """
        left = list(self.controls) if self.settings.prompt_controls else []
        wanted = max(_LEAST_CONTROLS, (len(self.items) + 1) // 2)
        matched = []
        for item in [*self.items[::2], *self.items[1::2]][:wanted]:
            same = next((control for control in left if control.fact_type == item.fact_type), None)
            chosen = same if same is not None else (left[0] if left else None)
            if chosen is not None:
                left.remove(chosen)
                matched.append(chosen)
        return tuple(matched)


@dataclass(frozen=True)
class AttemptRow:
    """One attempt: which fact, which wording, whether it hit.

    ``shown`` and ``answer`` are personal data; they leave the worker only to be sealed in the vault.
    ``cut_off``: the room ended inside a thought, so that there is no answer and no finding of absence.
    ``score`` is the membership score where there is one; ``chance`` is the probability that somebody who
    knows nothing hits, where the attempt offers answers to choose from.
    """

    item_id: str
    prompt_id: str
    attempt: int
    hit: bool
    candidates: int = 1
    score: float | None = None
    chance: float = 0.0
    control: bool = False
    shown: str = ""
    answer: str = ""
    cut_off: bool = False


class Attack(Protocol):
    """An attack: one file, an ``info`` and a ``run``."""

    info: AttackInfo

    def budget(self, settings: AttackSettings) -> int:
        """Candidate answers an attacker may name for one fact."""
        ...

    def inapplicable(self, target: AttackTarget) -> str | None:
        """Why the attack cannot say anything about this target, or None."""
        ...

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        """All attempts on the items and the controls (flagged as such)."""
        ...


def leak_gains_of(attack: Attack, attempts: Sequence[AttemptRow]) -> tuple[LeakGain, ...]:
    """What asking in several ways adds; nothing for an attack that asks in one way."""
    measure = getattr(attack, "leak_gains", None)
    return measure(attempts) if measure is not None else ()


def retained_of(attack: Attack, model: LanguageModel, target: AttackTarget) -> dict[str, bool]:
    """Other people's facts that the model told when the attack asked for them; nothing for most attacks."""
    ask = getattr(attack, "retained", None)
    return ask(model, target) if ask is not None else {}


def evidence_of(attack: Attack, target: AttackTarget) -> Evidence:
    """Which question an attack answers for this request; an attack with a method ``evidence`` decides by the target."""
    decide = getattr(attack, "evidence", None)
    return decide(target) if decide is not None else attack.info.evidence


def facts(items: Sequence[ForgetItem]) -> tuple[ForgetItem, ...]:
    """Items that have a question, which a passage has not."""
    return tuple(item for item in items if item.kind is not ItemKind.VERBATIM)
