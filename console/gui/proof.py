"""The proof as bars and sentences: every attack before, after, and on a model that never knew. Qt-free."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from console.casework.views import AttackLine, CasePage, SearchResult
from console.domain.behaviour_lines import NOT_COMPARABLE, NOT_MEASURED, behaviour_lines, comparable
from console.domain.results import AttackRow, Battery, Evidence, Outcome, Rate, Stage, Status
from console.domain.verdict import Word, located
from console.gui.tones import Mark, Tone

_DEEPER = frozenset({Evidence.ELICITED, Evidence.INSIDE, Evidence.DISTURBED})
STAGES = ("Before", "After", "Never knew")
_ACCESS = {
    "black-box": "what any user of the model can try",
    "log-probabilities": "needs the probabilities that a server can give",
    "white-box": "needs the model's files",
}


@dataclass(frozen=True)
class Bar:
    """One stage of one attack on an axis from 0 to 1.

    Attributes:
        stage: index into ``STAGES``.
        value, low, high: the rate or area and its 95 % interval.
        label: the counts.
        is_point: an area under the curve, which has no zero to grow from.
    """

    stage: int
    value: float
    low: float
    high: float
    label: str
    is_point: bool = False

    @property
    def interval(self) -> str:
        if self.is_point:
            return f"95 % interval {self.low:.2f} to {self.high:.2f}"
        return f"95 % interval {self.low * 100:.1f} to {self.high * 100:.1f} %"


@dataclass(frozen=True)
class BarGroup:
    """One attack; ``reason`` greys it out."""

    title: str
    subtitle: str
    bars: tuple[Bar, ...]
    reason: str = ""

    @property
    def words(self) -> str:
        """The group for somebody who cannot see it."""
        if self.reason:
            return f"{self.title}: not counted. {self.reason}"
        parts = ", ".join(f"{STAGES[bar.stage].lower()} {bar.label}" for bar in self.bars)
        return f"{self.title}: {parts}."


def _counts(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials}"


def _bar(stage: int, outcome: Outcome) -> Bar:
    if outcome.area is not None:
        area = outcome.area
        value, low, high = (float(Decimal(text)) for text in (area.value, area.low, area.high))
        return Bar(stage, value, low, high, f"{value:.2f}", is_point=True)
    rate = outcome.attempts
    return Bar(stage, rate.share, rate.low, rate.high, _counts(rate))


def _group(line: AttackLine) -> BarGroup:
    rows = (line.before, line.after, line.reference)
    bars = tuple(
        _bar(stage, row.outcome)
        for stage, row in enumerate(rows)
        if row is not None and row.status is Status.OK and row.outcome is not None
    )
    subtitle = _ACCESS.get(line.access, line.access)
    if any(bar.is_point for bar in bars):
        subtitle = "0.50 is guessing: the person's texts do not stand out; " + subtitle
    return BarGroup(line.title, subtitle, bars, line.reason)


def _worst(line: AttackLine) -> tuple[bool, float, float]:
    """Sort key: countable first, then what is left, then what was there."""
    after, before = _share(line.after), _share(line.before)
    return (bool(line.reason), -(after if after is not None else before or 0.0), -(before or 0.0))


def _share(row: AttackRow | None) -> float | None:
    if row is None or row.outcome is None:
        return None
    area = row.outcome.area
    return float(Decimal(area.value)) - 0.5 if area is not None else row.outcome.attempts.share


def bar_groups(page: CasePage) -> tuple[BarGroup, ...]:
    """Every attack, the worst result on top and those that do not count at the end."""
    return tuple(_group(line) for line in sorted(page.attacks, key=_worst))


@dataclass(frozen=True)
class SearchWords:
    """What the search of a case found, for whoever decides: a title, a sentence, and how it looks."""

    title: str
    sentence: str
    mark: Mark


def search_words(page: CasePage) -> SearchWords:
    """The result of the newest search, with its counts; or that there is none, and what is kept of one."""
    search = page.search
    if search is None and page.line.is_stopped:
        return SearchWords("The search was stopped before its end", kept_words(page), Mark("pause", Tone.WARN))
    if search is None:
        return SearchWords("The model has not been searched", _NOT_SEARCHED, Mark("open-circle", Tone.QUIET))
    told = _capital(search.counts.words)
    if search.by:
        by = ", ".join(f"“{title}” ({counts})" for title, counts in search.by)
        title = f"The search found the data in “{search.model}”"
        return SearchWords(title, f"Found by {by}. {told}.{_recognised(search)}", Mark("soon", Tone.WARN))
    if search.found:
        title = f"The search recognised the person's texts in “{search.model}”"
        return SearchWords(
            title, f"No attack brings the data out. {told}.{_recognised(search)}", Mark("soon", Tone.WARN)
        )
    title = f"The search did not find the data in “{search.model}”"
    weak = " It was a short search: a deeper one asks in more ways." if search.missing else ""
    meaning = f"{told}: no more than luck gives.{weak} That nothing was found does not prove that nothing is there."
    return SearchWords(title, meaning, Mark("info", Tone.INFO))


_NOT_SEARCHED = "Nobody knows yet whether it holds this person's data; a decision does not need to wait for that."


def _capital(clause: str) -> str:
    return clause[:1].upper() + clause[1:]


def _recognised(search: SearchResult) -> str:
    if not search.recognised_by:
        return ""
    return f" The person's texts are recognised as training texts by {', '.join(search.recognised_by)}."


def kept_words(page: CasePage) -> str:
    """What a search that was stopped leaves behind."""
    kept = page.kept_attacks
    if not kept:
        return "No attack was finished, so the next search begins anew."
    are = "1 attack that was finished is" if kept == 1 else f"{kept} attacks that were finished are"
    return f"{are} kept; the next search of the same kind goes on from there."


def proof_sentence(page: CasePage) -> str:
    """The result in one sentence: after an erasure from the ordinary way of asking that finds most now."""
    if not page.attacks:
        return "Nothing has been measured yet. Locate looks for the person's data in the model as it is now."
    asked = [line for line in page.attacks if line.before is not None and line.before.evidence is Evidence.ASKED]
    telling = asked or [line for line in page.attacks if not _only_recognises(line)]
    counted = sorted((line for line in telling if not line.reason), key=_worst)
    if not counted and all(line.reason for line in page.attacks):
        return "No attack could be counted on this model."
    after = _attempts(counted[0].after) if counted else None
    before = _attempts(counted[0].before) if counted else None
    if after is None or before is None:
        words = search_words(page)
        return f"{words.title}. {words.sentence} Nothing has been erased yet."
    return (
        f"After the erasure the model gave the person's data in {_counts(after)} attempts of “{counted[0].title}”; "
        f"before, in {_counts(before)}.{_still_found_deeper(page)}{_still_recognised(page)}"
    )


def _still_found_deeper(page: CasePage) -> str:
    """Attacks that go beyond asking and still find the data in a model that is only suppressed, as the report says."""
    if page.verdict_word != Word.SUPPRESSED.value:
        return ""
    after, reference = (
        Battery(stage=stage, model_hash="", suite_hash="", rows=tuple(row for row in rows if row is not None))
        for stage, rows in (
            (Stage.AFTER, [line.after for line in page.attacks if not line.reason]),
            (Stage.REFERENCE, [line.reference for line in page.attacks]),
        )
    )
    found = {row.attack for row in located(after, reference) if row.evidence in _DEEPER}
    lines = sorted((line for line in page.attacks if line.attack in found), key=_worst)
    told = [f"“{line.title}” ({_counts(rate)})" for line in lines if (rate := _attempts(line.after)) is not None]
    if not told:
        return ""
    finds = "A deeper attack still finds" if len(told) == 1 else "Deeper attacks still find"
    return f" {finds} it: {', '.join(told)}."


def _only_recognises(line: AttackLine) -> bool:
    return line.before is not None and line.before.evidence is Evidence.MEMBERSHIP


def _still_recognised(page: CasePage) -> str:
    """Membership attacks in a sentence of their own: they recognise, and bring nothing out."""
    lines = [line for line in page.attacks if _only_recognises(line) and not line.reason and line.after is not None]
    still = [line.title for line in lines if line.after.outcome is not None and _stands_out(line.after.outcome)]
    if not still:
        return ""
    return f" Membership attacks still recognise the person's texts ({', '.join(still)}); that brings no data out."


def _stands_out(outcome: Outcome) -> bool:
    """Whether the person's texts stand out from others, with 95 % confidence."""
    return outcome.area is not None and Decimal(outcome.area.low) > Decimal("0.5")


def _attempts(row: AttackRow | None) -> Rate | None:
    return row.outcome.attempts if row is not None and row.outcome is not None else None


@dataclass(frozen=True)
class NumberRow:
    """One line of the table of numbers behind the bars."""

    attack: str
    stage: str
    counts: str
    interval: str
    facts: str
    budget: str


def in_words(sentence: str, page: CasePage) -> str:
    """A sentence of the verdict with the attacks' titles in place of their ids."""
    for line in page.attacks:
        sentence = sentence.replace(f"'{line.attack}'", f"“{line.title}”")
        if sentence.startswith(f"{line.attack}: "):
            sentence = f"{line.title}: {sentence.removeprefix(f'{line.attack}: ')}"
    return sentence


def number_rows(page: CasePage) -> tuple[NumberRow, ...]:
    """Every count with its interval, for the engineer."""
    rows = []
    for line in page.attacks:
        for stage, row in enumerate((line.before, line.after, line.reference)):
            if row is None:
                continue
            if row.outcome is None or row.status is not Status.OK:
                rows.append(NumberRow(line.attack, STAGES[stage], row.status.value, "", "", str(row.budget)))
                continue
            bar = _bar(stage, row.outcome)
            interval = bar.interval.removeprefix("95 % interval ")
            facts = _counts(row.outcome.items)
            rows.append(NumberRow(line.attack, STAGES[stage], bar.label, interval, facts, str(row.budget)))
    return tuple(rows)


@dataclass(frozen=True)
class BehaviourRow:
    """One measure of how the model behaves besides, as ``6 of 8 → 0 of 8``; ``words`` is the row read out."""

    title: str
    change: str

    @property
    def words(self) -> str:
        return f"{self.title}: {self.change.replace(' → ', ' before, ')}{' after' if ' → ' in self.change else ''}"


def behaviour_rows(page: CasePage) -> tuple[BehaviourRow, ...]:
    """What the model does besides, before and after; empty where it was not measured."""
    return tuple(
        BehaviourRow(line.title, line.before if line.after == NOT_MEASURED else f"{line.before} → {line.after}")
        for line in behaviour_lines(*page.behaviour)
    )


def behaviour_note(page: CasePage) -> str:
    """What a reader of these rows must know."""
    before, after = page.behaviour
    told = "These measures are no part of the verdict."
    if after is None:
        told += " Nothing has been erased yet."
    return told if comparable(before, after) else f"{told} {NOT_COMPARABLE}"
