"""The words that attacks, methods and engines share.

``LanguageModel`` is what every engine offers; ``WhiteBoxModel`` adds what only an engine with
access to the network's inside can. An engine says what it can do in ``capabilities``; whoever
needs more reports *not applicable* with the reason, and never guesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Capability(StrEnum):
    GENERATE = "generate"
    SCORE = "score"
    HIDDEN_STATES = "hidden-states"
    GRADIENTS = "gradients"
    SAVE = "save"
    CONVERT = "convert"  # its file can be written in another number format


@dataclass(frozen=True)
class Prompt:
    """A text to put before a model.

    Attributes:
        id: names the prompt in result rows and seeds its samples, so that a draw depends neither on
            the batch it is in nor on the order of prompts.
        text: the question, or in plain style the text to continue.
        chat: render through the model's chat template (where it has one) as a user's turn.
        turns: earlier (user, assistant) turns of the conversation, oldest first.
        opening: words with which the answer has begun, up to and with the blank before what comes next; what follows
            is read exactly there.
    """

    id: str
    text: str
    chat: bool = True
    turns: tuple[tuple[str, str], ...] = ()
    opening: str = ""


@dataclass(frozen=True)
class Attempt:
    """One way to draw an answer: greedy where ``seed`` is None, else nucleus sampling."""

    seed: int | None = None
    temperature: float = 0.8
    top_p: float = 0.95


GREEDY = Attempt()


def greedy_and_samples(samples: int, seed: int) -> tuple[Attempt, ...]:
    """One greedy attempt and ``samples`` seeded draws at the usual leak@k setting (T 0.8, top-p 0.95)."""
    return (GREEDY, *(Attempt(seed=seed + index) for index in range(samples)))


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt in one attempt, without its own turn marks.

    Attributes:
        text: all of it; a thought stands in front of the answer.
        answer_start: where in the text the answer behind the thought begins; 0 without one, the end where none came.
        cut_off: the room ended inside a thought, so that there is no answer.
    """

    prompt_id: str
    attempt: int
    text: str
    answer_start: int = 0
    cut_off: bool = False

    @property
    def answer(self) -> str:
        """What the model said behind its thought."""
        return self.text[self.answer_start :].lstrip() if self.answer_start else self.text


@dataclass(frozen=True)
class Scored:
    """Log-probabilities (natural, float) of a continuation's tokens, teacher-forced.

    All run over the continuation only and are of equal length.

    Attributes:
        means, deviations: mean and standard deviation of the log-probability of a token drawn from the model's
            own distribution at each position (Min-K%++); empty where the engine did not compute them.
    """

    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        return sum(self.log_probs)

    @property
    def mean(self) -> float:
        return self.total / len(self.log_probs)


@dataclass(frozen=True)
class ScoreRequest:
    """A continuation to score after a prompt; ``prompt=None`` scores the whole text from its second token on."""

    continuation: str
    prompt: Prompt | None = None


@dataclass(frozen=True)
class CapabilityReport:
    """What an engine can do with the model it holds, and why it cannot do the rest."""

    engine: str
    device: str
    dtype: str
    can: frozenset[Capability]
    cannot: dict[Capability, str] = field(default_factory=dict)


@runtime_checkable
class LanguageModel(Protocol):
    """A local model, whatever runs it."""

    @property
    def capabilities(self) -> CapabilityReport: ...

    @property
    def vocabulary_size(self) -> int:
        """How many tokens a guess chooses from."""
        ...

    def token_count(self, text: str) -> int:
        """Number of tokens of a text, without special tokens."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int]
    ) -> Iterator[Continuation]:
        """Every attempt on every prompt, batch by batch; ``max_new_tokens`` is per prompt and for the answer alone.

        A thought has room of its own (``console.domain.reading``).
        """
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """Teacher-forced log-probabilities, in the order of the requests."""
        ...


@runtime_checkable
class WhiteBoxModel(LanguageModel, Protocol):
    """A model whose inside can be read."""

    @property
    def layers(self) -> int: ...

    def layer_candidates(self, prompts: Sequence[Prompt], targets: Sequence[str], top: int) -> list[list[LayerTails]]:
        """For every prompt and layer, the tokens at both ends of the projected distribution.

        Each hidden state of the prompt's last token goes through the final norm and the
        unembedding (the last entry is normed already and is not normed twice).
        """
        ...

    def layer_deltas(self, prompts: Sequence[Prompt], targets: Sequence[str], top: int) -> list[list[LayerTails]]:
        """For every prompt and layer but the first, the tokens whose projected probability rose or fell most there."""
        ...

    def gradient_norms(self, requests: Sequence[ScoreRequest]) -> list[float]:
        """Norm of the gradient of each text's mean loss by the last block's parameters; changes nothing."""
        ...

    def first_answer_token(self, prompt: Prompt, answer: str) -> int:
        """Id of the first token that the answer has after the prompt."""
        ...

    @property
    def network(self) -> Any:
        """The torch module, for methods that train or edit it."""
        ...


@dataclass(frozen=True)
class LayerTails:
    """The likeliest and unlikeliest tokens that one layer's hidden state projects to, best first."""

    layer: int
    top: tuple[int, ...]
    bottom: tuple[int, ...]
