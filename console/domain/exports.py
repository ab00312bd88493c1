"""The ways out of an erasure: which file the erased model becomes, and whether that file says the same.

A change of weights can leave the console as a folder of tensors, as a GGUF file in which only the changed tensors are
new, or as a small GGUF adapter for the untouched base. Rounding and conversion can bring erased knowledge back or
damage the model, so the written file is read back by the engine that will run it, and 20 neutral texts must be about
as likely in it as in the model that the erasure left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from console.domain.results import decimal_text

GATE_TEXTS = 20


class ExportForm(StrEnum):
    """What an erased model is written as."""

    GGUF = "gguf"
    ADAPTER = "gguf-adapter"
    SAFETENSORS = "safetensors"

    @property
    def label(self) -> str:
        return {
            ExportForm.GGUF: "GGUF file, changed tensors rewritten",
            ExportForm.ADAPTER: "GGUF adapter for the untouched base",
            ExportForm.SAFETENSORS: "safetensors folder",
        }[self]


class Place(StrEnum):
    """Where a written file first says something else than the model it was made from."""

    NONE = ""
    TOKENS = "tokens"
    READING = "reading"
    ROUNDING = "rounding"


# Most that the mean log-likelihood of a text may differ, in nats per token, by the coarsest type that holds a changed
# tensor. *Reading*: the same weights in two engines; llama.cpp rounds activations where weights are quantised.
# *Rounding*: the file's weights against those that the erasure left. Fixed before anything was measured with them;
# the value for 16 bits is the one usual in the field (0.02).
_READING = {"F32": "0.02", "F16": "0.02", "BF16": "0.02"}
_READING_QUANTISED = "0.10"
_ROUNDING = {
    "F32": "0.005",
    "F16": "0.02",
    "BF16": "0.03",
    "Q8_0": "0.05",
    "Q6_K": "0.08",
    "Q5_0": "0.15",
    "Q5_1": "0.15",
    "Q5_K": "0.15",
    "Q4_0": "0.30",
    "Q4_1": "0.30",
    "Q4_K": "0.30",
}
_ROUNDING_COARSER = "0.60"


def reading_tolerance(types: Sequence[str]) -> Decimal:
    """Nats per token by which two engines may differ on the same weights; ``types`` are all that the file holds."""
    return max((Decimal(_READING.get(kind, _READING_QUANTISED)) for kind in types), default=Decimal(_READING["F32"]))


def rounding_tolerance(types: Sequence[str]) -> Decimal:
    """Nats per token by which writing may move a text; ``types`` are those of the rewritten tensors."""
    return max((Decimal(_ROUNDING.get(kind, _ROUNDING_COARSER)) for kind in types), default=Decimal(_ROUNDING["F32"]))


class Gate(BaseModel):
    """What the round trip found.

    Attributes:
        texts: neutral texts whose likelihood was compared; ``tokens`` in all of them.
        reading, rounding: largest difference of a text's mean log-likelihood (nats per token, decimal text): the file
            in llama.cpp against the file's weights in torch, and those against the weights that the erasure left.
        whole: the same from end to end, the file in llama.cpp against the weights that the erasure left.
        failed: where it went wrong; empty where nothing did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int = Field(ge=0)
    tokens: int = Field(ge=0)
    reading: str
    reading_tolerance: str
    rounding: str
    rounding_tolerance: str
    whole: str
    failed: Place = Place.NONE
    sentence: str


@dataclass(frozen=True)
class Likelihoods:
    """Mean log-likelihood (nats per token) of the same texts.

    Attributes:
        trained: in torch, with the weights that the erasure left.
        stored: in torch, with the weights that the file holds.
        read: in llama.cpp, from the file.
    """

    trained: tuple[float, ...]
    stored: tuple[float, ...]
    read: tuple[float, ...]
    tokens: int


def _furthest(left: Sequence[float], right: Sequence[float]) -> float:
    """Not a number where any of them is none: ``max`` would pass it over."""
    distances = [abs(one - other) for one, other in zip(left, right, strict=True)]
    return max(distances, default=0.0) if all(map(math.isfinite, distances)) else math.nan


def _text(distance: float) -> str:
    return decimal_text(round(distance, 6)) if math.isfinite(distance) else "NaN"


def judged(found: Likelihoods, held: Sequence[str], rewritten: Sequence[str]) -> Gate:
    """The gate's verdict.

    Args:
        held: types of all tensors of the file; ``rewritten`` those of the tensors that were written anew.
    """
    reading, rounding = _furthest(found.read, found.stored), _furthest(found.stored, found.trained)
    reads, rounds = reading_tolerance(held), rounding_tolerance(rewritten)
    failed, sentence = Place.NONE, "The written file says what the model says that it was made from."
    # Not "greater than": a likelihood that is no number must not pass.
    if not reading <= float(reads):
        failed = Place.READING
        sentence = (
            f"llama.cpp reads the written file otherwise than torch reads the same weights ({reading:.3f} nats per "
            f"token, at most {reads} allowed): a tensor's name, order or settings do not fit this architecture. The "
            "file was not kept; write the erased model as a safetensors folder instead."
        )
    elif not rounding <= float(rounds):
        failed = Place.ROUNDING
        sentence = (
            f"Rounding to {', '.join(dict.fromkeys(rewritten))} moved the model too far ({rounding:.3f} nats per "
            f"token, at most {rounds} allowed). The file was not kept; write the changed tensors in a higher type, "
            "such as Q8_0 or F16."
        )
    return Gate(
        texts=len(found.trained),
        tokens=found.tokens,
        reading=_text(reading),
        reading_tolerance=str(reads),
        rounding=_text(rounding),
        rounding_tolerance=str(rounds),
        whole=_text(_furthest(found.read, found.trained)),
        failed=failed,
        sentence=sentence,
    )
