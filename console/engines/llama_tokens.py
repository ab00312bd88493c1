"""A GGUF file's own tokenizer and chat template, behind the few calls that prompts are made with.

The tokens come from the native library, so what is scored is what the file's own vocabulary makes of a text. The
template comes from the file as well and runs within the limits of ``checking.chat_template``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from console.engines.checking.chat_template import ChatTemplate
from console.engines.prompts import Tokenizer, answer_sequence, prompt_ids
from console.engines.protocol import Prompt
from console.errors import InputError, ModelFileError

_SENTENCEPIECE = 1  # LLAMA_VOCAB_TYPE_SPM
_NO_VOCABULARY = 0
_SPACE = "\u2581"  # how a SentencePiece vocabulary writes a space


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
