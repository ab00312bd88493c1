"""A GGUF file's own tokenizer and chat template, behind the few calls that prompts are made with.

The tokens come from the native library, so what is scored is what the file's own vocabulary makes of a text. The
template comes from the file as well and is a small program: it runs in Jinja's sandbox, with what it may do counted.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from console.engines.prompts import Tokenizer, answer_sequence, prompt_ids
from console.engines.protocol import Prompt
from console.errors import InputError, ModelFileError

MOST_TEMPLATE_CHARACTERS = 60_000  # the longest in common use have about 10,000
MOST_RENDERED_CHARACTERS = 2_000_000
MOST_STEPS = 2_000_000  # lines of Python that one rendering may run; a second or two
_MOST_REPEATED = 100_000  # of a text or number that a template multiplies
_NO_WORD = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})
_SENTENCEPIECE = 1  # LLAMA_VOCAB_TYPE_SPM
_NO_VOCABULARY = 0
_SPACE = "\u2581"  # how a SentencePiece vocabulary writes a space


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without the operations that make something huge in a single step."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        size = max(abs(side) if isinstance(side, int) else len(side) for side in (left, right) if _measurable(side))
        if (operator != "%" and size > _MOST_REPEATED) or (operator == "%" and isinstance(left, str)):
            raise jinja2.exceptions.SecurityError("the template makes too much of a value")
        if operator == "**" and isinstance(right, int) and abs(right) > 64:
            raise jinja2.exceptions.SecurityError("the template makes too much of a value")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _NO_WORD:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _measurable(value: Any) -> bool:
    return isinstance(value, int | str | list | tuple)


@contextmanager
def _counted_steps() -> Iterator[None]:
    """Stop whatever runs inside after ``MOST_STEPS`` lines of Python; the tracer of a debugger is put back."""
    before = sys.gettrace()
    left = MOST_STEPS

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise jinja2.exceptions.SecurityError("the template does not end")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class ChatTemplate:
    """A file's chat template, rendered as transformers renders it.

    Bounded: the template's length, what it writes, the lines of Python it runs, and products. Not bounded: a single
    built-in step on a text that the template has grown to many megabytes by joining or replacing; a worker that
    hangs or runs out of memory there is a process of its own and can be stopped.
    """

    def __init__(self, source: str, names: dict[str, str]) -> None:
        """Compile.

        Args:
            names: what the template may read beside the messages (``bos_token``, ``eos_token``).

        Raises:
            ModelFileError: too long, or no template.
        """
        if len(source) > MOST_TEMPLATE_CHARACTERS:
            raise ModelFileError(
                f"The model's chat template has {len(source):,} characters, more than the {MOST_TEMPLATE_CHARACTERS:,} "
                "that are allowed; choose a file from another source."
            )
        sandbox = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        for name in ("center", "format"):
            del sandbox.filters[name]
        sandbox.filters["tojson"] = _to_json
        sandbox.globals["raise_exception"] = _refuse
        sandbox.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        self._names = names
        try:
            with _counted_steps():
                self._template = sandbox.from_string(source)
        except (jinja2.exceptions.TemplateError, RecursionError, ValueError, TypeError) as error:
            raise self._unusable(error) from error

    @staticmethod
    def _unusable(error: Exception) -> ModelFileError:
        return ModelFileError(
            f"The model's chat template cannot be used ({type(error).__name__}); choose a file from another source."
        )

    def render(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> str:
        """The conversation as one text.

        Raises:
            ModelFileError: the template fails, refuses this conversation, writes too much or does not end.
        """
        written: list[str] = []
        size = 0
        try:
            with _counted_steps():
                for part in self._template.generate(
                    messages=[dict(message) for message in messages],
                    add_generation_prompt=add_generation_prompt,
                    tools=None,
                    documents=None,
                    **self._names,
                ):
                    size += len(part)
                    if size > MOST_RENDERED_CHARACTERS:
                        raise jinja2.exceptions.SecurityError("the template writes too much")
                    written.append(part)
        # A template is a program of a stranger's: whatever it fails with is the file's fault.
        except (MemoryError, RecursionError, jinja2.exceptions.TemplateError, ArithmeticError) as error:
            raise self._unusable(error) from error
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise self._unusable(error) from error
        return "".join(written)


def _refuse(message: object) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent if indent is None else min(indent, 16))


class LlamaTokens:
    """The tokenizer of a loaded GGUF model, as far as ``console.engines.prompts`` uses one."""

    def __init__(self, library: Any, vocab: Callable[[], Any], template: str | None) -> None:
        """Wrap a loaded model's vocabulary.

        Args:
            library: the module ``llama_cpp.llama_cpp``.
            vocab: gives the model's ``llama_vocab``, keeps it alive, and raises when it was closed.
            template: the file's chat template.

        Raises:
            ModelFileError: the file has no vocabulary, or a template that cannot be used.
        """
        self._library, self._open_vocab = library, vocab
        self._pieces: dict[int, tuple[bytes, bytes]] = {}
        kind = library.llama_vocab_type(self._vocab)
        if kind == _NO_VOCABULARY:
            raise ModelFileError("The GGUF file carries no vocabulary; choose a file that does.")
        self._sentencepiece = kind == _SENTENCEPIECE
        self.size: int = library.llama_vocab_n_tokens(self._vocab)
        self.bos_token_id = self._known(library.llama_vocab_bos(self._vocab))
        self.eos_token_id = self._known(library.llama_vocab_eos(self._vocab))
        self.added_tokens_decoder = self._added()
        self.chat_template = template or None
        self._template = ChatTemplate(template, self._special_names()) if template else None

    @property
    def _vocab(self) -> Any:
        return self._open_vocab()

    @staticmethod
    def _known(token: int) -> int | None:
        return token if token >= 0 else None

    def _special_names(self) -> dict[str, str]:
        named = {"bos_token": self.bos_token_id, "eos_token": self.eos_token_id}
        return {
            name: self._piece(token)[0].decode("utf-8", errors="replace")
            for name, token in named.items()
            if token is not None
        }

    def _added(self) -> dict[int, str]:
        """The tokens that a text's tokeniser looks for before all others, with their spelling."""
        wanted = self._library.LLAMA_TOKEN_ATTR_CONTROL | self._library.LLAMA_TOKEN_ATTR_USER_DEFINED
        return {
            token: self._piece(token)[0].decode("utf-8", errors="replace")
            for token in range(self.size)
            if self._library.llama_vocab_get_attr(self._vocab, token) & wanted
        }

    def stop_ids(self) -> frozenset[int]:
        """Every token that ends an answer, by the file's own word."""
        ends = {token for token in range(self.size) if self._library.llama_vocab_is_eog(self._vocab, token)}
        return frozenset(ends if self.eos_token_id is None else ends | {self.eos_token_id})

    # -- text to tokens ---------------------------------------------------------------------

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; names of special tokens in it are such tokens, as in transformers.

        Args:
            special: add what the file says belongs before and behind every text.
        """
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 8
        found = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(self._vocab, data, len(data), found, room, special, True)
        if count < 0:
            room = -count
            found = (ctypes.c_int32 * room)()
            count = self._library.llama_tokenize(self._vocab, data, len(data), found, room, special, True)
        return list(found[:count])

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, return_offsets_mapping: bool = False
    ) -> dict[str, list[Any]]:
        """Token ids of a text and, if asked for, the characters (from, to) that each came from."""
        ids = self.ids(text, special=add_special_tokens)
        if not return_offsets_mapping:
            return {"input_ids": ids}
        return {"input_ids": ids, "offset_mapping": self._offsets(text, ids, special=add_special_tokens)}

    def _offsets(self, text: str, ids: Sequence[int], *, special: bool) -> list[tuple[int, int]]:
        """The characters of each token, from the bytes of its piece; (0, 0) for a token that was added.

        A token that holds part of a character counts as reaching all of it.

        Raises:
            InputError: the pieces do not spell the text, because the vocabulary rewrites it.
        """
        opened = special and self._library.llama_vocab_get_add_bos(self._vocab) and ids[:1] == [self.bos_token_id]
        closed = special and self._library.llama_vocab_get_add_eos(self._vocab) and ids[-1:] == [self.eos_token_id]
        data = (text.replace(_SPACE, " ") if self._sentencepiece else text).encode("utf-8", errors="replace")
        counted = text.replace(_SPACE, " ") if self._sentencepiece else text
        character = [index for index, letter in enumerate(counted) for _ in letter.encode("utf-8", errors="replace")]
        found, place = [], 0
        last = len(ids) - 1
        for number, token in enumerate(ids):
            if (opened and number == 0) or (closed and number == last):
                found.append((0, 0))
                continue
            start, stop = self._match(data, place, self._piece(token)[0])
            place = stop
            found.append((character[start], character[stop - 1] + 1) if stop > start else (found[-1][1],) * 2)
        return found

    @staticmethod
    def _match(data: bytes, place: int, piece: bytes) -> tuple[int, int]:
        """Where a token's bytes stand in the text from ``place`` on.

        A vocabulary may put a space before the text, or drop the white space around a special token.
        """
        if data.startswith(piece, place):
            return place, place + len(piece)
        if place == 0 and piece[:1] == b" " and data.startswith(piece[1:]):
            return 0, len(piece) - 1
        start = place
        while data[start : start + 1].isspace():
            start += 1
            if data.startswith(piece, start):
                return start, start + len(piece)
        raise InputError(
            "The tokenizer of this GGUF file rewrites the text it reads, so an answer's tokens cannot be found again; "
            "use the model in its safetensors form."
        )

    # -- tokens to text ---------------------------------------------------------------------

    def _piece(self, token: int) -> tuple[bytes, bytes]:
        """A token's bytes with special tokens spelt out, and without them."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = (self._spelt(token, True), self._spelt(token, False))
        return known

    def _spelt(self, token: int, special: bool) -> bytes:
        room = 64
        buffer = ctypes.create_string_buffer(room)
        size = self._library.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
        if size < 0:
            room = -size
            buffer = ctypes.create_string_buffer(room)
            size = self._library.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
        return buffer.raw[:size]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text that tokens spell; bytes that are no UTF-8 become the replacement character."""
        text = b"".join(self._piece(token)[1 if skip_special_tokens else 0] for token in ids)
        if self._sentencepiece and text[:1] == b" ":
            text = text[1:]
        return text.decode("utf-8", errors="replace")

    def apply_chat_template(
        self, messages: Sequence[dict[str, str]], *, tokenize: bool = False, add_generation_prompt: bool = False
    ) -> str:
        """The conversation in the model's own form.

        Raises:
            ModelFileError: the file has no template, or one that fails.
            ValueError: tokens were asked for; prompts are rendered first and then tokenised.
        """
        if tokenize:
            raise ValueError("render first, then tokenise the text")
        if self._template is None:
            raise ModelFileError("The GGUF file carries no chat template; ask it in plain style.")
        return self._template.render(messages, add_generation_prompt=add_generation_prompt)


def _first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    if tuple(left) == tuple(right):
        return None
    pairs = zip(left, right, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))


def token_mismatch(
    tokens: LlamaTokens, tokenizer: Tokenizer, prompts: Sequence[tuple[Prompt, Sequence[str]]]
) -> str | None:
    """How the two tokenizers first disagree on the request's own prompts and answers, or None where they agree.

    A token too many at the beginning spoils every score and says nothing (llama.cpp #7062), so a comparison between
    the two engines means something only where this finds nothing. The sentence holds no text of a prompt.

    Args:
        prompts: each prompt, rendered by each side through its own template, with its answers.
    """
    for prompt, answers in prompts:
        place = _first_difference(prompt_ids(tokens, prompt), prompt_ids(tokenizer, prompt))
        if place is not None:
            return (
                f"The GGUF file makes other tokens of prompt '{prompt.id}' than the model's tokenizer does, "
                f"first at token {place + 1}."
            )
        for number, answer in enumerate(answers, start=1):
            left, right = answer_sequence(tokens, prompt, answer), answer_sequence(tokenizer, prompt, answer)
            place = _first_difference(left.ids, right.ids)
            if place is None and left.answer_start != right.answer_start:
                place = min(left.answer_start, right.answer_start)
            if place is not None:
                return (
                    f"The GGUF file makes other tokens of answer {number} to prompt '{prompt.id}' than the model's "
                    f"tokenizer does, first at token {place + 1}."
                )
    return None
