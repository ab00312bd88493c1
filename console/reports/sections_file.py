"""Sections on the file that is deployed: how it was written and read back, and what it says in other number formats."""

from __future__ import annotations

from decimal import Decimal

from reportlab.platypus import Flowable

from console.domain.results import Battery, Status
from console.domain.suites import FILE_TYPES
from console.reports.evidence import Evidence, Exported, WrittenTensor
from console.reports.layout import data_table, heading, key_values, mono, note, small, subheading, text
from console.reports.wording import count_text, interval_text, thousands

_USUAL_ENDING = ".weight"


def deployed(evidence: Evidence) -> list[Flowable]:
    """How the erased model became the file that was attacked; nothing where that is what the erasure wrote."""
    made = evidence.exported
    if made is None:
        return []
    flowables: list[Flowable] = [
        *heading("The file that is deployed"),
        text(
            "The erased model was written in the form in which it is run, and that file was attacked: rounding and "
            f"conversion can bring erased data back. It was then read back with {made.texts} texts that are about "
            f"nobody ({thousands(made.tokens)} tokens), which must be about as likely in it as in the erased model."
        ),
        key_values(
            [
                ("Form", made.form),
                ("Made from", f"{made.base} with the change of {made.source}"),
                ("Hash of the base", made.base_hash),
                ("Hash of the erased model", made.source_hash),
                ("Tensors", f"{made.rewritten_count} hold the change, {made.untouched} stand as in the base"),
                ("llama.cpp against torch, same weights", _difference(made.reading, made.reading_tolerance)),
                ("Rounding", _difference(made.rounding, made.rounding_tolerance)),
                ("From end to end", f"{_short(made.whole)} nats per token at most"),
                ("Ledger entry", str(made.seq)),
            ]
        ),
    ]
    if made.vanished:
        flowables.append(
            text(
                f"Rounding took the change of {made.vanished} further tensors away whole; they are as they were before "
                "the erasure."
            )
        )
    return [*flowables, *_tensors(made)]


def _short(number: str) -> str:
    return f"{Decimal(number):.3f}"


def _difference(found: str, allowed: str) -> str:
    return f"{_short(found)} nats per token at most, {allowed} allowed"


def _percent(share: str) -> str:
    return f"{Decimal(share):.2%}"


def _kind(tensor: WrittenTensor) -> str:
    same = tensor.type_before == tensor.type_after
    return tensor.type_after if same else f"{tensor.type_before} to {tensor.type_after}"


def _cells(tensor: WrittenTensor | None) -> list[Flowable | str]:
    if tensor is None:
        return [""] * 4
    return [
        mono(tensor.tensor.removesuffix(_USUAL_ENDING)),
        small(_kind(tensor)),
        mono(_percent(tensor.stored)),
        mono(_percent(tensor.missed)),
    ]


def _tensors(made: Exported) -> list[Flowable]:
    """In two columns side by side, which halves the pages."""
    listed = list(made.rewritten)
    if not listed:
        return []
    half = (len(listed) + 1) // 2
    left, right = listed[:half], [*listed[half:], *[None] * (2 * half - len(listed))]
    rows = [[*_cells(one), *_cells(other)] for one, other in zip(left, right, strict=True)]
    closing = (
        f"{len(listed)} of {made.rewritten_count} tensors that hold the change, without the ending {_USUAL_ENDING}. "
        "Stored: norm of the change that the file holds, over the tensor's. Missed: norm of what rounding added or "
        "took, over that of the change; above 100 % the rounding is larger than the change itself. What the attacks "
        "find in the file is what counts."
    )
    return [
        *subheading("What the file holds of the change"),
        data_table(["Tensor", "Type", "Stored", "Missed"] * 2, rows, [100, 54, 42, 46] * 2),
        note(closing),
    ]


def number_formats(evidence: Evidence) -> list[Flowable]:
    """Hits per number format, with the model before as the positive control of each; nothing where no file was run."""
    batteries = evidence.batteries
    rows = [row for row in evidence.attack_rows() if row.attack in FILE_TYPES]
    if not rows:
        return []
    cells: list[list[Flowable | str]] = [
        [
            small(evidence.attack_title(row.attack), bold=True),
            *(_cell(battery, row.attack) for battery in (batteries.before, batteries.after, batteries.reference)),
        ]
        for row in rows
    ]
    return [
        *heading("The file in other number formats"),
        text(
            "People who run a model on a smaller machine write it anew with fewer bits, and an erasure can be rounded "
            "away with them. llama.cpp wrote each file below and answered from it; the same questions were put to all. "
            "The model before shows what each format lets through at all."
        ),
        data_table(["Format", "Before", "After", "Never knew the data"], cells, [5, 4, 4, 4]),
    ]


def _cell(battery: Battery | None, attack: str) -> Flowable:
    row = battery.row(attack) if battery is not None else None
    if row is None:
        return small("not run", greyed=True)
    if row.outcome is None or row.status is not Status.OK:
        return small(row.reason or "not applicable", greyed=True)
    return small(f"{count_text(row.outcome.attempts)} ({interval_text(row.outcome.attempts)})")
