"""From a question to the exact text and tokens a model sees.

What a user wrote is text: where it spells one of the model's turn marks (``<|im_end|>``), it is cut inside the mark,
so that no tokenizer takes it for one. Words that an office added to the vocabulary stay the tokens that they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from console.engines.packing import TokenSequence
from console.engines.protocol import Prompt, ScoreRequest
from console.engines.turn_marks import TurnMarks, turn_marks

Tokenizer = Any  # transformers' fast tokenizer; its class hierarchy carries no usable type

_NONCHARACTERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # Unicode keeps them out of every text that is exchanged


@dataclass(frozen=True)
class Written:
    """A text as a model reads it.

    Attributes:
        special: whether the tokenizer has still to add its special tokens.
        cuts: places in the text at which no token may reach from one side to the other.
    """

    text: str
    special: bool
    cuts: tuple[int, ...] = ()

    def followed_by(self, marks: TurnMarks, more: str) -> Written:
        """The text and a user's text behind it."""
        own = cuts_in(marks, more)
        return Written(self.text + more, self.special, (*self.cuts, *(len(self.text) + place for place in own)))


def cuts_in(marks: TurnMarks, text: str) -> tuple[int, ...]:
    """Behind the first sign of every turn mark that a user's text spells."""
    pattern = marks.pattern
    return tuple(found.start() + 1 for found in pattern.finditer(text)) if pattern else ()


def render(tokenizer: Tokenizer, prompt: Prompt) -> Written:
    """The prompt as the model reads it, with the words in which its answer has begun.

    Those are the model's own: what they spell is what they are, and nothing in them is cut.
    """
    asked = _asked(tokenizer, prompt)
    if not prompt.opening:
        return asked
    # Some tokenizers decode an answer with the blank that it begins with, and some without.
    joined = prompt.opening if prompt.opening[0].isspace() else _following(tokenizer, prompt, prompt.opening)
    return Written(asked.text + joined, asked.special, asked.cuts)


def _asked(tokenizer: Tokenizer, prompt: Prompt) -> Written:
    """The prompt before any answer.

    A chat prompt goes through the model's own template (EasyEdit #374: without it, instruct models
    invent); a model without one is asked in a plain question-and-answer form.
    """
    marks = turn_marks(tokenizer)
    if not prompt.chat:
        return Written(prompt.text, True, cuts_in(marks, prompt.text))
    if tokenizer.chat_template:
        return _in_chat(tokenizer, marks, prompt)
    shots = "".join(f"Question: {user}\nAnswer: {assistant}\n\n" for user, assistant in prompt.turns)
    text = f"{shots}Question: {prompt.text}\nAnswer:"
    return Written(text, True, cuts_in(marks, text))


def _in_chat(tokenizer: Tokenizer, marks: TurnMarks, prompt: Prompt) -> Written:
    """Through the template, which may move, trim and repeat what it is given: so the cuts travel inside the text."""
    turns = [(role, text) for turn in prompt.turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    turns.append(("user", prompt.text))
    whole = "".join(text for _, text in turns)
    cut = next((sign for sign in _NONCHARACTERS if sign not in whole), _NONCHARACTERS[0])
    pattern = marks.pattern
    if pattern is not None:
        turns = [(role, pattern.sub(lambda found: found[0][0] + cut + found[0][1:], text)) for role, text in turns]
    messages = [{"role": role, "content": text} for role, text in turns]
    pieces = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True).split(cut)
    places, reached = [], 0
    for piece in pieces[:-1]:
        reached += len(piece)
        places.append(reached)
    return Written("".join(pieces), False, tuple(places))


def encoded(tokenizer: Tokenizer, written: Written) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text, and the characters (from, to) that each came from; (0, 0) for a token that was added."""
    if not written.cuts:
        found = tokenizer(written.text, add_special_tokens=written.special, return_offsets_mapping=True)
        return list(found["input_ids"]), [tuple(pair) for pair in found["offset_mapping"]]
    edges = [0, *written.cuts, len(written.text)]
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, stop in pairwise(edges):
        part = tokenizer(written.text[start:stop], add_special_tokens=False, return_offsets_mapping=True)
        ids += part["input_ids"]
        offsets += [(start + first, start + last) for first, last in part["offset_mapping"]]
    opening, closing = _around(tokenizer) if written.special else ([], [])
    return [*opening, *ids, *closing], [*[(0, 0)] * len(opening), *offsets, *[(0, 0)] * len(closing)]


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind every text."""
    bare, whole = (list(tokenizer("x", add_special_tokens=special)["input_ids"]) for special in (False, True))
    start = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def answer_text(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> str:
    """The answer as it follows the prompt: after an opening as it is, else with a space in front where one belongs."""
    return answer if prompt.opening else _following(tokenizer, prompt, answer)


def _following(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> str:
    """What comes first after a prompt: a space in front unless a chat turn or a line was just opened."""
    opened = prompt.chat and bool(tokenizer.chat_template)
    return answer if opened or prompt.text[-1:].isspace() else f" {answer}"


def prompt_ids(tokenizer: Tokenizer, prompt: Prompt) -> tuple[int, ...]:
    """Token ids to generate from."""
    written = render(tokenizer, prompt)
    if written.cuts:
        return tuple(encoded(tokenizer, written)[0])
    return tuple(tokenizer(written.text, add_special_tokens=written.special)["input_ids"])


def with_answer(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> tuple[Written, int]:
    """Prompt and answer as one text, and the length of the prompt in it."""
    before = render(tokenizer, prompt)
    whole = before.followed_by(turn_marks(tokenizer), answer_text(tokenizer, prompt, answer))
    return whole, len(before.text)


def answer_sequence(
    tokenizer: Tokenizer, prompt: Prompt, answer: str, *, end: bool = False, max_tokens: int | None = None
) -> TokenSequence:
    """Prompt and answer tokenised as one text, split by character offsets.

    Tokenising the two apart and joining them gives other tokens at the seam (open-unlearning #101,
    #36); the answer is every token that reaches past the prompt's last character.

    Args:
        end: append the end-of-sequence token, so that a trained answer knows where it stops.
        max_tokens: cut the prompt's beginning so that the whole fits; the answer is never cut.
    """
    whole, seam = with_answer(tokenizer, prompt, answer)
    ids, offsets = encoded(tokenizer, whole)
    reaches = [stop > seam for _, stop in offsets]
    start = reaches.index(True)
    # A tokenizer may close the text with a special token of its own (offset 0, 0).
    ids = ids[: len(reaches) - reaches[::-1].index(True)]
    if end and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if max_tokens is not None and len(ids) > max_tokens:
        cut = min(len(ids) - max_tokens, start - 1)
        ids, start = ids[cut:], start - cut
    return TokenSequence(tuple(ids), start)


def request_sequences(tokenizer: Tokenizer, requests: Iterable[ScoreRequest]) -> list[TokenSequence]:
    """The token sequences that score requests stand for."""
    return [
        whole_text_sequence(tokenizer, request.continuation)
        if request.prompt is None
        else answer_sequence(tokenizer, request.prompt, request.continuation)
        for request in requests
    ]


def whole_text_sequence(tokenizer: Tokenizer, text: str, *, max_tokens: int | None = None) -> TokenSequence:
    """A text scored from its second token on (or from its first where the tokenizer opens with a special one).

    Args:
        max_tokens: cut the text's end so that it fits.
    """
    return TokenSequence(prompt_ids(tokenizer, Prompt("", text, chat=False))[:max_tokens], 1)
