"""What a change did to a model, and whether it may hide something: for an officer, with the numbers behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from console.gui.pieces import Card, Disclosure, IconMark, Text
from console.gui.presenter import breakable
from console.gui.sheet import Sheet
from console.gui.theme import GRID
from console.gui.tones import Mark, Tone

_TENSORS = 12  # the most changed, in the details; the command line has them all


@dataclass(frozen=True)
class ScanWords:
    """A scan for the officer.

    Attributes:
        title: the result in a line.
        sentences: what it rests on, in everyday words.
        details: the numbers, for the engineer.
    """

    title: str
    mark: Mark
    sentences: tuple[str, ...]
    details: tuple[str, ...]

    @property
    def notice(self) -> str:
        return f"{self.title}."


def scan_words(value: Mapping[str, Any], model: str, before: str) -> ScanWords:
    """The result of a scan in words.

    Args:
        value: see ``console.jobs.tasks.scan``.
        model, before: names of the changed model and of the one that it came from.
    """
    check, changed = value["backdoor"], value["changed"]
    if not changed:
        return ScanWords(f"“{model}” is the same as “{before}”", Mark("info", Tone.INFO), ("No part differs.",), ())
    details = [*value["notes"]]
    details += [f"{row['tensor']}: changed by {row['relative_norm']} of its norm" for row in changed[:_TENSORS]]
    details += [f"and {len(changed) - _TENSORS} more"] if len(changed) > _TENSORS else []
    title, mark, tried = f"“{model}” was compared with “{before}”", Mark("info", Tone.INFO), []
    if check is not None:
        details = [*check["sentences"], *details]
        words = sum(one["probe"] == "word" for one in check["probes"])
        what = f"{words} word{'' if words == 1 else 's'} that may be triggers, and one small push on every word"
        what = f"On {check['prompts']} questions, {what} were tried"
        if check["possible_backdoor"]:
            title, mark = f"“{model}” may hide a trigger", Mark("failed", Tone.BAD)
            far = [one["name"] if one["probe"] == "word" else "the push" for one in check["probes"] if one["far"]]
            tried = [
                f"{what}. The model changes its answers far more than the one it came from at: "
                f"{', '.join(f'“{one}”' for one in far)}. Show this to an engineer before the model is used."
            ]
        else:
            title = f"No sign of a hidden trigger in “{model}”"
            tried = [
                f"{what}. Nothing moves its answers much more than those of the model it came from. A "
                "trigger that was not tried would not be seen."
            ]
    return ScanWords(title, mark, (*tried, _change(value, before), *_shape(value)), tuple(details))


def _change(value: Mapping[str, Any], before: str) -> str:
    share = f"{float(value['relative_change']) * 100:.2g} %"
    return (
        f"{len(value['changed'])} of {value['tensors']} parts of the model differ from “{before}”; together the change "
        f"is {share} of the size of all weights."
    )


def _shape(value: Mapping[str, Any]) -> tuple[str, ...]:
    said = []
    if count := len(value["rank_one"]):
        parts = "One part has" if count == 1 else f"{count} parts have"
        said.append(f"{parts} changed in one direction only, as where a single statement was written in.")
    if value["embeddings_only"]:
        said.append("Only the list of words changed; the layers behind it are as they were.")
    return tuple(said)


class ScanSheet(Sheet):
    """Result, sentences, numbers."""

    def __init__(self, parent: QWidget | None, words: ScanWords) -> None:
        super().__init__(parent, "Hidden changes")
        card = Card()
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(IconMark(words.mark.icon, words.mark.tone), 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(Text(words.title, bold=True), 1)
        card.column.addLayout(line)
        for sentence in words.sentences:
            card.column.addWidget(Text(sentence))
        self.page.column.addWidget(card)
        self.page.column.addWidget(
            Text("This check is no part of the verdict, and its result is not recorded.", tone=Tone.QUIET)
        )
        if words.details:
            listed = Text(breakable("\n".join(f"•  {line}" for line in words.details)), tone=Tone.QUIET, scale=0.9)
            self.page.column.addWidget(Disclosure("Details: every number", listed))
        self.page.column.addStretch(1)
