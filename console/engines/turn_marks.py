"""A model's own turn marks and thinking marks, told from its tokenizer and its chat template.

Which tokens are control tokens is not what a vocabulary flags as special: an office that adds its customer numbers or
names to a vocabulary often adds them as special tokens, and a model that says them was never heard. A turn mark is what
opens, closes or fills a text by the tokenizer's own word, or what the template itself writes between the turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import jinja2

from console.errors import ModelFileError

Tokenizer = Any  # transformers' fast tokenizer; its class hierarchy carries no usable type

_NAMED = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id")
_WORD = r"[\w:]*(?:think|thought|reason)\w*"
# A thought's opening and closing mark, each found by either of them: <think> </think>, [THINK] [/THINK],
# <|START_THINKING|> <|END_THINKING|>, and the channels of gpt-oss.
_FORMS = (
    (rf"</?({_WORD})>", "<{}>", "</{}>"),
    (rf"\[/?({_WORD})\]", "[{}]", "[/{}]"),
    (rf"\u25c1/?({_WORD})\u25b7", "\u25c1{}\u25b7", "\u25c1/{}\u25b7"),
    (rf"<\|(?:start|end)_({_WORD})\|>", "<|START_{}|>", "<|END_{}|>"),
    (rf"<\|(?:begin|end)_of_({_WORD})\|>", "<|begin_of_{}|>", "<|end_of_{}|>"),
    (r"<\|channel\|>(analysis)", "<|channel|>{}", "<|channel|>final"),
)
_PROBES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("system", "x"), ("user", "x"), ("assistant", "x"), ("user", "x")),
    (("user", "x"), ("assistant", "x"), ("user", "x")),
)


@dataclass(frozen=True)
class ThoughtMarks:
    """How a model writes where its thinking begins and ends."""

    opening: str
    closing: str


COMMON_THOUGHT = ThoughtMarks("<think>", "</think>")
"""What is looked for in answers of models whose template says nothing of thinking."""


@dataclass(frozen=True)
class TurnMarks:
    """What belongs to the conversation's form, and never to what is said in it.

    Attributes:
        ids: tokens that are cut from what a model said.
        texts: how these tokens and the thinking marks are spelt; in a user's text they are text. Longest first.
        thoughts: the thinking marks that the template knows; empty where it knows none.
        opened: the thought that the template leaves open when it asks for an answer, or None.
    """

    ids: frozenset[int]
    texts: tuple[str, ...]
    thoughts: tuple[ThoughtMarks, ...]
    opened: ThoughtMarks | None

    @property
    def pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self.texts))) if self.texts else None


_known: WeakKeyDictionary[Any, tuple[Any, TurnMarks]] = WeakKeyDictionary()
"""A memo of a pure function; an entry goes with its tokenizer, and is made anew when the template was changed."""


def turn_marks(tokenizer: Tokenizer) -> TurnMarks:
    """The marks of a tokenizer and its template."""
    key = (tokenizer.chat_template, len(_added(tokenizer)))
    found = _known.get(tokenizer)
    if found is None or found[0] != key:
        found = _known[tokenizer] = (key, _marks(tokenizer))
    return found[1]


def thoughts_in(texts: Iterable[str]) -> tuple[ThoughtMarks, ...]:
    """The thinking marks that stand in a template or in what it writes."""
    found: dict[ThoughtMarks, None] = {}
    for text in texts:
        for form, opening, closing in _FORMS:
            for match in re.finditer(form, text, re.IGNORECASE):
                found[ThoughtMarks(opening.format(match[1]), closing.format(match[1]))] = None
    return tuple(found)


def _added(tokenizer: Tokenizer) -> Mapping[int, str]:
    """Tokens that were put beside the learned vocabulary, with their spelling."""
    return {token: str(added) for token, added in tokenizer.added_tokens_decoder.items()}


def _marks(tokenizer: Tokenizer) -> TurnMarks:
    added = _added(tokenizer)
    source = _source(tokenizer.chat_template)
    written = _written(tokenizer)
    thoughts = thoughts_in((source, *written))
    thinking = {text for marks in thoughts for text in (marks.opening, marks.closing)}
    named = {token for name in _NAMED if (token := getattr(tokenizer, name, None)) is not None}
    used = set(tokenizer("".join(written), add_special_tokens=False)["input_ids"])
    ids = {
        token
        for token, text in added.items()
        if token in named or ((token in used or text in source) and _bracketed(text) and text not in thinking)
    }
    texts = {added[token] for token in ids} | {text for text in added.values() if text in thinking}
    return TurnMarks(
        ids=frozenset(ids | named),
        texts=tuple(sorted(texts, key=lambda text: (-len(text), text))),
        thoughts=thoughts,
        opened=_left_open(written[-1] if written else "", thoughts),
    )


def _source(template: Any) -> str:
    """The template's own text; a tokenizer may carry several by name."""
    if isinstance(template, Mapping):
        return "\n".join(str(part) for part in template.values())
    return template or ""


def _written(tokenizer: Tokenizer) -> list[str]:
    """What the template writes around turns that say nothing; a template that refuses a system turn goes without."""
    if not tokenizer.chat_template:
        return []
    written = []
    for turns in _PROBES:
        messages: Sequence[dict[str, str]] = [{"role": role, "content": content} for role, content in turns]
        try:
            written.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except (ModelFileError, jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError):
            continue  # whoever asks in chat form meets the same failure, with its sentence
    return written


def _bracketed(text: str) -> bool:
    """Whether a token looks like a mark: no letter or digit at its ends. A word that the template uses is a word."""
    return not (text[:1].isalnum() or text[-1:].isalnum())


def _left_open(written: str, thoughts: Sequence[ThoughtMarks]) -> ThoughtMarks | None:
    for marks in thoughts:
        if written.rfind(marks.opening) > written.rfind(marks.closing):
            return marks
    return None
