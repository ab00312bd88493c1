"""Hearing what a model says: where its thought begins and ends, how much room is left, and what it said in all.

One rule for both engines. Turn marks are cut and every other token is kept; a mark inside the text becomes a line
break, because two words that a mark stood between are two words. A thought has room of its own, the answer's room
begins behind it, and both are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.domain.reading import LEAST_TOKENS, THOUGHT_TOKENS
from console.engines.turn_marks import COMMON_THOUGHT, ThoughtMarks, Tokenizer, TurnMarks
from console.errors import InputError

_TAIL = 24  # tokens in which a closing mark is looked for; where none of it is one token, the longest has about 15
_FIRST = 12  # tokens within which a model that opens a thought by itself has spelt the opening mark


@dataclass(frozen=True)
class Heard:
    """What a model said after one prompt in one attempt.

    Attributes:
        text: all of it, the thought included.
        answer_start: where in the text the answer behind the thought begins; its end where there is only a thought.
    """

    text: str
    answer_start: int


@dataclass(frozen=True)
class Listener:
    """How the answers to one prompt are heard.

    Attributes:
        answer_tokens: room for an answer, counted from the end of the thought.
        thought_tokens: room for a thought; 0 where the template knows none.
        opened: the thought that the prompt leaves open.
    """

    tokenizer: Tokenizer
    marks: TurnMarks
    answer_tokens: int
    thought_tokens: int = 0
    opened: ThoughtMarks | None = None

    @classmethod
    def to(
        cls, tokenizer: Tokenizer, marks: TurnMarks, asked: int, wanted: int, context: int, *, chat: bool
    ) -> Listener:
        """A listener to a prompt of ``asked`` tokens with room for ``wanted`` more, as far as the context goes.

        Raises:
            InputError: the context leaves no room for an answer; past it a model writes noise.
        """
        left = context - asked
        if left < min(wanted, LEAST_TOKENS):
            raise InputError(
                f"A prompt of {asked} tokens leaves {max(left, 0)} for an answer in the model's context of {context}, "
                f"and fewer than {min(wanted, LEAST_TOKENS)} are none; shorten the item's question."
            )
        answer = min(wanted, left)
        thought = min(THOUGHT_TOKENS, left - answer) if marks.thoughts else 0
        return cls(tokenizer, marks, answer, thought, marks.opened if chat else None)

    @property
    def most(self) -> int:
        """Most tokens that a thought and its answer take."""
        return self.answer_tokens + self.thought_tokens

    def begun(self, tokens: Sequence[int]) -> ThoughtMarks | None:
        """The thought that the model has opened by itself and not closed yet, if these are its first tokens."""
        if not 0 < len(tokens) <= _FIRST:
            return None
        said = self._spelt(tokens).lstrip()
        for thought in (*self.marks.thoughts, COMMON_THOUGHT):
            if said.startswith(thought.opening) and thought.closing not in said:
                return thought
        return None

    def ends(self, thought: ThoughtMarks, tokens: Sequence[int]) -> bool:
        """Whether the last tokens close the thought."""
        return thought.closing in self._spelt(tokens[-_TAIL:])

    def heard(self, tokens: Sequence[int]) -> Heard:
        """The text without turn marks, and where the answer begins in it."""
        parts: list[list[int]] = [[]]
        for token in tokens:
            if token in self.marks.ids:
                parts.append([])
            else:
                parts[-1].append(token)
        text = "\n".join(self._spelt(part) for part in parts if part)
        opened = self.opened
        if opened is None:
            begins = text.lstrip()
            opened = next(
                (one for one in (*self.marks.thoughts, COMMON_THOUGHT) if begins.startswith(one.opening)), None
            )
        if opened is None:
            return Heard(text, 0)
        place = text.find(opened.closing)
        return Heard(text, len(text) if place < 0 else place + len(opened.closing))

    def _spelt(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))
