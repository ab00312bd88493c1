"""What the bench of methods says: one line a method, and where on two axes it lands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from console.domain.regimes import Regime
from console.domain.results import Evidence


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """95 % interval of a number: exact for a rate, bootstrap over rows for a mean."""

    low: float
    high: float


class Difference(_Frozen):
    """Of two models on the same rows, with the 95 % interval of the paired bootstrap; None where it has none."""

    value: float
    interval: Interval | None = None


class Axis(_Frozen):
    """One of the two numbers that a method is judged by; more is better on both.

    Attributes:
        acceptable: least value of the acceptable corner.
        why: where that limit comes from, as part of a sentence.
    """

    title: str
    scale: Literal["linear", "log"] = "linear"
    acceptable: float
    why: str


class Baseline(_Frozen):
    """A model that no method made: the one that holds the data, and the one that never did.

    Attributes:
        forgetting, utility: None where the measure does not apply to this model.
        forgetting_interval, utility_interval: None where there is none, as for a p-value.
        regime, person: as a line's.
        found: attacks that find the data in this model, by kind of evidence; the office's bench only.
    """

    name: str
    title: str
    regime: str = Regime.OFFICE.value
    person: str = ""
    found: dict[str, tuple[str, ...]] = {}
    forgetting: float | None
    forgetting_interval: Interval | None = None
    utility: float | None
    utility_interval: Interval | None = None
    measures: dict[str, Any]


class Cost(_Frozen):
    """Wall time (seconds) and most memory held (MiB) of the erasure, and of the measuring after it."""

    erase_seconds: float
    erase_peak_mb: int
    measure_seconds: float
    measure_peak_mb: int


class MethodLine(_Frozen):
    """One method with its settings.

    Attributes:
        name: what the line is called; a method may have several lines with different settings.
        settings: as they were given; ``config`` has the defaults too and is empty for a method that failed.
        reason: why there is no result; empty for a method that ran.
        forgetting, utility: where it lands on the two axes.
        forgetting_interval, utility_interval: None where there is none, as for a p-value.
        utility_difference: from the model that the bench compares with (``against``), row by row.
        measures: everything that was measured after it.
        regime: how the model was taught; files from before this field came are all of ``office``.
        person: who was erased, by id; empty on TOFU and in files from before this field came (there it was s01).
        use: what the line may be used for: people on whom methods and settings are chosen are never reported.
        code: version of the program text that ran it, shortened.
    """

    name: str
    method: str
    regime: str = Regime.OFFICE.value
    person: str = ""
    use: Literal["", "choosing", "reported"] = ""
    code: str = ""
    settings: dict[str, Any]
    status: Literal["done", "failed"]
    reason: str = ""
    config: dict[str, Any] = {}
    forgetting: float | None = None
    forgetting_interval: Interval | None = None
    utility: float | None = None
    utility_interval: Interval | None = None
    utility_difference: Difference | None = None
    steps: int | None = None
    stop_reason: str = ""
    cost: Cost | None = None
    measures: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """The name, with whom and how where a table or picture has several."""
        return " ".join((self.name, self.regime, self.person)) if self.person else self.name


class SetRows(_Frozen):
    """Rows of a set that were measured, of those that there are."""

    measured: int = Field(ge=0)
    available: int = Field(ge=0)


class MethodsBench(_Frozen):
    """The same forget set through every method, and the same measurements after each.

    Attributes:
        on: what was erased: ``office``, ``mini-tofu``, ``tofu``.
        model: name of the model that was taught.
        settings: what holds for all lines: suite, teaching, limits of the measuring.
        sets: rows by set; a limit on the rows shows here.
        against: name of the line or baseline that the differences are from; empty where none are taken.
        notes: what a reader of all numbers must know.
    """

    on: str
    model: str
    settings: dict[str, Any]
    sets: dict[str, SetRows]
    forgetting: Axis
    utility: Axis
    baselines: tuple[Baseline, ...]
    lines: tuple[MethodLine, ...]
    against: str = ""
    notes: tuple[str, ...] = ()

    def has(self, name: str, settings: Mapping[str, Any], regime: str, person: str) -> bool:
        """Whether a line of this name and these settings is there, and did not fail."""
        return any(
            (line.name, line.regime, line.person, line.status) == (name, regime, person, "done")
            and line.settings == settings
            for line in self.lines
        )

    def with_line(self, line: MethodLine) -> MethodsBench:
        """With a line more, in place of an earlier one of the same name, regime and person."""
        others = (one for one in self.lines if one.label != line.label)
        return self.model_copy(update={"lines": (*others, line)})

    def with_baselines(self, baselines: Sequence[Baseline]) -> MethodsBench:
        """With the models of a trial, in place of earlier ones of the same regime and person."""
        places = {(one.regime, one.person) for one in baselines}
        others = (one for one in self.baselines if (one.regime, one.person) not in places)
        return self.model_copy(update={"baselines": (*others, *baselines)})

    def acceptable(self, line: MethodLine) -> bool:
        """Whether a line lies in the acceptable corner."""
        return self._in_corner(line.forgetting, line.utility)

    def perhaps_chance(self, line: MethodLine) -> bool:
        """Whether the intervals lie on both sides of a limit, so that other rows might have given the other word."""
        if line.forgetting is None or line.utility is None:
            return False
        forgetting = line.forgetting_interval or Interval(low=line.forgetting, high=line.forgetting)
        utility = line.utility_interval or Interval(low=line.utility, high=line.utility)
        return self._in_corner(forgetting.low, utility.low) != self._in_corner(forgetting.high, utility.high)

    def _in_corner(self, forgetting: float | None, utility: float | None) -> bool:
        if forgetting is None or utility is None:
            return False
        return forgetting >= self.forgetting.acceptable and utility >= self.utility.acceptable


def found_names(found: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Attacks that bring the data back, and attacks that only recognise it, from names by kind of evidence."""
    only = list(found.get(Evidence.MEMBERSHIP.value, ()))
    return [name for kind, names in found.items() if kind != Evidence.MEMBERSHIP.value for name in names], only


def parse_methods_bench(text: str) -> MethodsBench:
    """A result file, of this version or an earlier one.

    Raises:
        ValueError: it is none.
    """
    value = json.loads(text)
    if not isinstance(value, dict) or not isinstance(value.get("lines"), list):
        raise ValueError("this is no result of a bench of methods")
    for line in value["lines"]:
        line.pop("acceptable", None)  # follows from the rest, and is written for the reader
    return MethodsBench.model_validate(value)
