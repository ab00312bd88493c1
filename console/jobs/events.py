"""The event stream: one JSON object a line on the worker's standard output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from console.errors import JobFailedError


class _Event(BaseModel):
    # A run that goes wrong measures infinities; they must arrive, not break the stream.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Progress(_Event):
    """``step`` of ``steps`` of what ``label`` names in words."""

    type: Literal["progress"] = "progress"
    step: int
    steps: int
    label: str


class Metric(_Event):
    """A live measure of a running method."""

    type: Literal["metric"] = "metric"
    step: int
    values: dict[str, float]


class Log(_Event):
    """A line for the engineer; never personal data."""

    type: Literal["log"] = "log"
    text: str


class Artefact(_Event):
    """A model that was written, whole, under its final name."""

    type: Literal["artefact"] = "artefact"
    path: str
    identity: dict[str, Any]


class Finished(_Event):
    """One part of a job is done; its result stays good if the rest is interrupted. May hold personal data."""

    type: Literal["finished"] = "finished"
    part: str
    result: dict[str, Any]


class Done(_Event):
    """The job's result, and what it cost."""

    type: Literal["done"] = "done"
    result: dict[str, Any]
    seconds: float
    peak_rss_mb: int


class Failed(_Event):
    """The job ended without a result; ``kind`` is the class of error that the parent raises."""

    type: Literal["failed"] = "failed"
    kind: str
    reason: str


class CancelledEvent(_Event):
    """The job stopped because it was asked to."""

    type: Literal["cancelled"] = "cancelled"


JobEvent = Annotated[
    Progress | Metric | Log | Artefact | Finished | Done | Failed | CancelledEvent, Field(discriminator="type")
]
_ADAPTER: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)
_FINAL = (Done, Failed, CancelledEvent)


def encode(event: BaseModel) -> str:
    """One line, without the newline."""
    return event.model_dump_json()


def decode(line: str) -> JobEvent:
    """Read one line.

    Raises:
        JobFailedError: something other than an event was written to the stream.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise JobFailedError("The background job sent something that is not an event; its log tells more.") from error


def is_final(event: BaseModel) -> bool:
    """Whether nothing follows this event."""
    return isinstance(event, _FINAL)
