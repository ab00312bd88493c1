"""TOFU's files as one forget set, one retain set, and the rows that are measured.

mini-TOFU is the ten tasks of ``forget01_tasks.jsonl`` (two authors each): the first is forgotten, the others stay.
TOFU proper teaches ``full.jsonl`` and forgets one of its splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict

from console.casework.text_files import read_text_file
from console.domain.bench_results import SetRows
from console.domain.benchmark_files import QuestionAnswer, TofuFiles, TofuQuestion, read_rows
from console.domain.forget_set import ForgetItem
from console.domain.importers import read_items
from console.domain.text_file import TextFile
from console.errors import InputError

FORGET_TASK = "1"
SPLITS = ("forget01", "forget05", "forget10")


class _TaskQuestion(TofuQuestion):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    task_id: str


@dataclass(frozen=True)
class TofuData:
    """What is taught, what is forgotten, and what is measured.

    Attributes:
        forget, retain: together all that the model is taught.
        measured: the rows that are measured, after a limit.
        sets: how many rows those are, of how many.
    """

    forget: tuple[ForgetItem, ...]
    retain: tuple[ForgetItem, ...]
    measured: TofuFiles
    sets: dict[str, SetRows]
    notes: tuple[str, ...] = ()


def _file(folder: Path, name: str) -> TextFile:
    try:
        return read_text_file(folder / name)
    except InputError as error:
        raise InputError(f"{error} Name a folder with TOFU's files by --data.") from error


def _questions(folder: Path, name: str) -> list[TofuQuestion]:
    return read_rows(_file(folder, name), TofuQuestion)


def _items(folder: Path, name: str) -> tuple[dict[int, ForgetItem], tuple[str, ...]]:
    """Items by their place in the file, from 0, and a note on rows that are about nobody."""
    found = read_items(_file(folder, name))
    # An item is named by its row (item-0001 is the first), because rows without a subject are left out.
    items = {int(item.id.rpartition("-")[2]) - 1: item for item in found.items}
    left_out = found.total - len(items)
    note = f"{left_out} of {found.total} rows of {name} were left out of the teaching, most because they name nobody."
    return items, (note,) if left_out else ()


def _cut(
    groups: dict[str, Sequence[TofuQuestion]], rows: int | None
) -> tuple[dict[str, tuple[TofuQuestion, ...]], dict[str, SetRows]]:
    """The first rows of every set."""
    measured = {name: tuple(group[:rows]) for name, group in groups.items()}
    return measured, {
        name: SetRows(measured=len(measured[name]), available=len(group)) for name, group in groups.items()
    }


def _both(name: str, forget: Sequence[ForgetItem], retain: Sequence[ForgetItem]) -> None:
    for items, what in ((forget, "forgotten"), (retain, "kept")):
        if not items:
            raise InputError(f"'{name}' has no row that is to be {what}; use the file as the benchmark has it.")


def mini_tofu(folder: Path, rows: int | None = None) -> TofuData:
    """Task 1 of ``forget01_tasks.jsonl`` is forgotten, the other tasks stay.

    Args:
        rows: most rows of a set that are measured.

    Raises:
        InputError: a file is missing, or has a row that cannot be used.
    """
    name = "forget01_tasks.jsonl"
    questions = read_rows(_file(folder, name), _TaskQuestion)
    items, notes = _items(folder, name)
    forgotten = [place for place in items if questions[place].task_id == FORGET_TASK]
    kept = [place for place in items if questions[place].task_id != FORGET_TASK]
    forget, retain = tuple(items[place] for place in forgotten), tuple(items[place] for place in kept)
    _both(name, forget, retain)
    measured, sets = _cut(
        {
            "forget": [questions[place] for place in forgotten],
            "retain": [questions[place] for place in kept],
            **_utility_sets(folder),
        },
        rows,
    )
    return TofuData(forget, retain, TofuFiles(**measured), sets, notes)


def tofu(folder: Path, split: str = "forget01", rows: int | None = None) -> TofuData:
    """All of ``full.jsonl``, of which one split is forgotten.

    Args:
        rows: most rows of a set that are measured.

    Raises:
        InputError: no such split, a file is missing, or has a row that cannot be used.
    """
    if split not in SPLITS:
        raise InputError(f"There is no split '{split}'; use one of {', '.join(SPLITS)}.")
    items, notes = _items(folder, "full.jsonl")
    file = f"{split}.jsonl"
    leaving = {(row.question, row.answer) for row in read_rows(_file(folder, file), QuestionAnswer)}
    forget = tuple(item for item in items.values() if (item.prompt, item.answer) in leaving)
    retain = tuple(item for item in items.values() if (item.prompt, item.answer) not in leaving)
    _both("full.jsonl", forget, retain)
    measured, sets = _cut(
        {
            "forget": _questions(folder, f"{split}_perturbed.jsonl"),
            "retain": _questions(folder, "retain_perturbed.jsonl"),
            **_utility_sets(folder),
        },
        rows,
    )
    return TofuData(forget, retain, TofuFiles(**measured), sets, notes)


def _utility_sets(folder: Path) -> dict[str, Sequence[TofuQuestion]]:
    return {name: _questions(folder, f"{name}_perturbed.jsonl") for name in ("real_authors", "world_facts")}
