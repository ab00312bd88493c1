"""A filter on what a model says: answers that hold a listed phrase are replaced by a refusal.

The list lies beside the weights as salted hashes of word sequences, so the deployed folder does not spell the
data out. It is no secret either: whoever has the file can test guesses against it, and an answer with few
possible values (a house number, a telephone number) is soon guessed. Nothing is taken out of the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from console.domain.matching import normalise
from console.errors import ModelFileError

FILE_NAME = "output-filter.json"
PASSAGE_WORDS = 8  # a longer answer is recognised by any run of this many of its words
_DIGITS = re.compile(r"\d")


def _digest(salt: str, words: Iterable[str]) -> str:
    return hashlib.sha256(f"{salt}\0{' '.join(words)}".encode()).hexdigest()


def _forms(answer: str) -> list[tuple[str, ...]]:
    """The word sequences by which an answer is recognised; a number also in one piece, however it was grouped."""
    words = normalise(answer).split()
    if len(words) > PASSAGE_WORDS:
        return [tuple(words[start : start + PASSAGE_WORDS]) for start in range(len(words) - PASSAGE_WORDS + 1)]
    forms = [tuple(words)]
    if len(words) > 1 and all(_DIGITS.search(word) for word in words):
        forms.append(("".join(words),))
    return [form for form in forms if form]


class OutputFilter(BaseModel):
    """Hashes of what must not be said, and what is said instead.

    Attributes:
        lengths: numbers of words of the listed sequences.
        hashes: hex SHA-256 of salt and words, sorted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    salt: str
    lengths: tuple[int, ...]
    hashes: tuple[str, ...]
    refusal: str

    @classmethod
    def of(cls, answers: Iterable[str], salt: str, refusal: str) -> OutputFilter:
        """A filter for these answers; passages are recognised by any eight words in a row."""
        forms = {form for answer in answers for form in _forms(answer)}
        return cls(
            salt=salt,
            lengths=tuple(sorted({len(form) for form in forms})),
            hashes=tuple(sorted({_digest(salt, form) for form in forms})),
            refusal=refusal,
        )

    def holds(self, text: str) -> bool:
        """Whether a text contains a listed sequence."""
        words, listed = normalise(text).split(), set(self.hashes)
        return any(
            _digest(self.salt, words[start : start + length]) in listed
            for length in self.lengths
            for start in range(len(words) - length + 1)
        )

    def apply(self, text: str) -> str:
        """The text, or the refusal in its place."""
        return self.refusal if self.holds(text) else text

    def write(self, folder: Path) -> None:
        (folder / FILE_NAME).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def beside(cls, folder: Path) -> OutputFilter | None:
        """The filter of a model folder, or None where it has none.

        Raises:
            ModelFileError: the file is damaged; without it the model would say what it must not.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{FILE_NAME} in {folder.name} cannot be read; copy the model again.") from error
