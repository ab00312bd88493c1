"""The report's sentences: the verdict in plain words, the sentence of the first page, numbers as text.

"Erased" and "removed" are said of the data only where the verdict is *removed*; a report never
promises, and never claims conformity with a law.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from console.domain.results import Battery, Rate, Status
from console.domain.results import Evidence as Kind
from console.domain.verdict import Word, located
from console.domain.verdict_words import WORDS
from console.reports.evidence import Evidence

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_COUNT = re.compile(r"(?<![\d.])(\d+) of (\d+)(?![\d])")


def count_text(rate: Rate) -> str:
    """``3 of 240``: counts first, everywhere."""
    return f"{rate.hits} of {rate.trials}"


def percent_text(share: float | Decimal) -> str:
    """A share as a percentage with one decimal place, rounded half up from the four places of the evidence."""
    value = Decimal(str(share)).quantize(Decimal("0.0001"), ROUND_HALF_UP) * 100
    return f"{value.quantize(Decimal('0.1'), ROUND_HALF_UP)} %"


def interval_text(rate: Rate) -> str:
    """``93.1 to 98.2 %``, the exact 95 % interval."""
    return f"{percent_text(rate.low).removesuffix(' %')} to {percent_text(rate.high)}"


def date_text(day: date) -> str:
    """``25 November 2026``, in English whatever the machine's locale is."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def instant_text(instant: str) -> str:
    """``25 November 2026, 09:12 UTC`` from the evidence's UTC text."""
    moment = datetime.fromisoformat(instant.replace("Z", "+00:00"))
    return f"{date_text(moment.date())}, {moment:%H:%M} UTC"


def thousands(number: int) -> str:
    """A whole number in groups of three, parted by no-break spaces (thin spaces are missing in some fonts)."""
    return f"{number:,}".replace(",", "\u00a0")


def size_text(size: int) -> str:
    """Bytes in the unit that reads best; one decimal place above a kilobyte."""
    value, unit = Decimal(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size} bytes" if unit == "bytes" else f"{value.quantize(Decimal('0.1'), ROUND_HALF_UP)} {unit}"


def counts_in(text: str) -> frozenset[tuple[int, int]]:
    """Every "k of n" in a text."""
    return frozenset((int(hits), int(trials)) for hits, trials in _COUNT.findall(" ".join(text.split())))


@dataclass(frozen=True)
class _Extraction:
    """An extraction attack with its attempts on the model now, and on the model before where both are known."""

    now: Rate
    then: Rate | None


_DEEPER = (Kind.ELICITED, Kind.INSIDE, Kind.DISTURBED)


def _extractions(now: Battery, then: Battery | None, kinds: tuple[Kind, ...]) -> list[_Extraction]:
    found: list[_Extraction] = []
    for row in now.rows:
        if row.outcome is None or row.outcome.area is not None or row.evidence not in kinds:
            continue
        earlier = then.row(row.attack) if then is not None else None
        before = earlier.outcome.attempts if earlier is not None and earlier.outcome is not None else None
        if then is None or before is not None:
            found.append(_Extraction(row.outcome.attempts, before))
    return found


def _severity(extraction: _Extraction) -> tuple[float, float]:
    return extraction.now.share, extraction.then.share if extraction.then is not None else 0.0


def summary_sentence(word: Word, before: Battery, after: Battery | None, reference: Battery | None) -> str:
    """The first page's one plain sentence, from the counts.

    It speaks of the ordinary way of asking that finds most now (before, where nothing was run after);
    where no ordinary question was run, of the strongest attack that was. A suppressed model adds
    the deeper attack that finds more than it finds in a model that never knew the data.
    """
    now, then = (before, None) if after is None else (after, before)
    deeper = _extractions(now, then, _DEEPER)
    worst = max(_extractions(now, then, (Kind.ASKED,)) or deeper, key=_severity, default=None)
    if worst is None and after is None:
        return "No attack could be counted on this model."
    if worst is None:
        return "No attack could be counted on the model both before and after the erasure."
    if worst.then is None:
        return f"The model gave the person's data in {count_text(worst.now)} attempts."
    sentence = (
        f"After the erasure the model gave the person's data in {count_text(worst.now)} attempts; "
        f"before, in {count_text(worst.then)}."
    )
    found = now.model_copy(update={"rows": located(now, reference)})
    hidden = max(_extractions(found, then, _DEEPER), key=_severity, default=None)
    if word is not Word.SUPPRESSED or hidden is None:
        return sentence
    return f"{sentence} A deeper attack still finds it in {count_text(hidden.now)} attempts."


def verdict_meaning(evidence: Evidence) -> str:
    """What the verdict means for this case; where no attack could be counted, nobody may say that none found it."""
    counted = any(row.status is Status.OK for row in evidence.batteries.before.rows)
    if evidence.verdict.word is Word.NOT_LOCATED and not counted:
        return (
            "No attack could be counted on this model, so nothing can be said about whether it holds the person's "
            "data. This is a gap in the evidence, not a finding."
        )
    return WORDS[evidence.verdict.word].meaning


@dataclass(frozen=True)
class DueDateStatement:
    """Whether the request was answered in time: the short word and the sentence."""

    met: bool | None
    word: str
    sentence: str


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def due_date_statement(evidence: Evidence) -> DueDateStatement:
    """Judged by the binding due date and the number of days to the answer; open requests are judged by neither."""
    request, clock = evidence.request, evidence.clock
    due = date_text(clock.binding_due)
    if clock.answered_in_days is None:
        return DueDateStatement(None, "Open", f"Not yet answered; due on {due}.")
    days = counted(clock.answered_in_days, "day")
    met = clock.answered_in_days <= (clock.binding_due - request.received_on).days
    word = "Met" if met else "Not met"
    return DueDateStatement(met, word, f"Answered in {days}; due on {due}.")
