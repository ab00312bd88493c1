"""What a benchmark says: figures with their number of cases and interval, or the reason why there is none."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Wanted = Literal["low", "high", "zero", "flat", ""]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Frozen):
    """One number of a benchmark.

    Attributes:
        n: rows that it rests on; 0 where there is no value.
        value: None where it is not applicable; ``reason`` says why then.
        low, high: 95 % interval: exact for a rate, Newcombe's for an area, bootstrap over rows for the others; None
            where there is none.
        hits: of a rate only; ``value`` is hits / n then.
        wanted: which way is better; empty where neither is.
        note: what a reader must know about a value that is there.
    """

    id: str
    title: str
    n: int = Field(default=0, ge=0)
    value: float | None = None
    low: float | None = None
    high: float | None = None
    hits: int | None = None
    wanted: Wanted = ""
    reason: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Figure:
        if (self.value is None) != bool(self.reason):
            raise ValueError("a figure has either a value or the reason why it has none")
        return self


class BenchmarkResult(_Frozen):
    """A benchmark on one model.

    Attributes:
        models: tree hash of every model that took part, by its part (model, reference, before).
        figures: in the order in which they are shown.
        rows: every question with what the model made of it, by set; may be personal.
        forget_size: rows that were to be forgotten, for curves over several runs; None where the idea is foreign.
        notes: what holds for all figures.
    """

    benchmark: str
    models: dict[str, str]
    settings: dict[str, Any]
    figures: tuple[Figure, ...]
    rows: dict[str, list[dict[str, Any]]]
    forget_size: int | None = None
    notes: tuple[str, ...] = ()
