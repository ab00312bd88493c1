"""The model's own file in other number formats: what people make of it who run it on a smaller or larger machine.

An eraser that moves the weights only a little leaves them, once rounded, where they were before (Zhang et al. 2024).
Here nothing is imitated: llama.cpp's own quantiser writes a real file, and llama.cpp answers from it. The model before
the erasure is the positive control in every type: where even it no longer answers, the type proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, cast

from console.attacks.asking import ask_all
from console.attacks.disturbing import QUESTIONS, questions
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.domain.results import Access, Evidence
from console.engines.file_conversion import converted
from console.engines.llama_engine import LlamaModel
from console.engines.protocol import GREEDY, Capability, LanguageModel

_NEEDS = frozenset({Capability.GENERATE, Capability.CONVERT})
_ASKED = (
    "Every fact is then asked for by the request's own question and two other wordings, and every passage is continued "
    "from its beginning, all greedily. An attempt hits as for the direct question or the continuation."
)
_SOURCE = "Zhang et al. 2024 (arXiv 2410.16454), failure of unlearning by quantisation; llama.cpp, {}"


class _InType:
    """Write the file in another type, then ask it."""

    info: AttackInfo
    file_type: ClassVar[str]

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        with converted(cast(LlamaModel, model), self.file_type) as other:
            rows = list(ask_all(other, questions(self.info.id, target), target.settings, (GREEDY,)))
        yield from rows


def _info(file_type: str, words: str) -> AttackInfo:
    return AttackInfo(
        id=f"gguf-{file_type.lower().replace('_', '-')}",
        title=f"The file as {file_type}",
        definition=f"llama.cpp writes the model's file anew as {file_type} ({words}) and runs it. {_ASKED}",
        source=_SOURCE.format(f"file type {file_type}"),
        access=Access.WHITE_BOX,
        evidence=Evidence.DISTURBED,
        needs=_NEEDS,
    )


class AsF16(_InType):
    info = _info("F16", "16-bit floating point")
    file_type = "F16"


class AsQ8(_InType):
    info = _info("Q8_0", "8 bits, 32 weights to a scale")
    file_type = "Q8_0"


class AsQ4KM(_InType):
    info = _info("Q4_K_M", "4 bits and 6 bits; 5 or 8 bits where a row does not fill a block of 256")
    file_type = "Q4_K_M"


class AsItIs:
    """The same questions to the file as it is, to compare the types with."""

    info = AttackInfo(
        id="gguf-own",
        title="The file in its own type",
        definition=f"llama.cpp runs the model's file as it is. {_ASKED}",
        source=_SOURCE.format("the file's own types"),
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=_NEEDS,
    )

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        yield from ask_all(model, questions(self.info.id, target), target.settings, (GREEDY,))
