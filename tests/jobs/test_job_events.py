"""The event stream and the two parts of a job: what is written is what is read, and nothing else is accepted."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented import GENERAL, OTHERS, OUTSIDERS, PERSON, teaching_of
from pydantic import BaseModel, ValidationError

from console.errors import JobFailedError
from console.jobs.events import Artefact, CancelledEvent, Done, Failed, Log, Metric, Progress, decode, encode, is_final
from console.jobs.spec import BankPayload, JobKind, JobPayload, JobSpec, ModelReference

EVENTS = (
    Progress(step=1, steps=3, label="Öffnen\nand \u2028 more"),
    Metric(step=4, values={"loss": 0.25, "still_known": 3.0}),
    Log(text="a \"line\" with 'quotes' and \\"),
    Artefact(path="/m/ER-1-a1", identity={"tree_hash": "aa", "files": [{"name": "x", "size": 1}]}),
    Done(result={"rows": [], "perplexity": None}, seconds=1.5, peak_rss_mb=700),
    Failed(kind="DiskFullError", reason="There is no room."),
    CancelledEvent(),
)
SPEC = JobSpec(
    job_id="erase-1",
    kind=JobKind.ERASE,
    model=ModelReference(path="/models/m", tree_hash="ab"),
    cache="/cache",
    output="/models/m-a1",
    reference=ModelReference(path="/models/base"),
    method="npo",
    settings={"steps": 3, "lora": {"rank": 4}},
)
PAYLOAD = JobPayload(
    forget=PERSON,
    retain=OTHERS,
    controls=OUTSIDERS,
    general=GENERAL,
    held_out=("A line\nand \u2028 another.",),
    teaching=teaching_of(OTHERS),
    bank=BankPayload(
        paraphrases={"city": ("Where is {subject}?",)}, wrappers=("{question}",), shots=(("a", "b", "c"),)
    ),
)


class TestStream:
    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
    def test_one_line_there_and_back(self, event: BaseModel) -> None:
        line = encode(event)
        assert len(line.splitlines()) == 1 or "\n" not in line
        assert decode(line + "\n") == event

    @given(step=st.integers(-(2**40), 2**40), values=st.dictionaries(st.text(max_size=5), st.floats(), max_size=3))
    def test_any_measure_arrives(self, step: int, values: dict[str, float]) -> None:
        """Also one that is not a number: a run that goes wrong must not end as a broken stream."""
        arrived = decode(encode(Metric(step=step, values=values)))
        assert isinstance(arrived, Metric) and arrived.step == step and arrived.values.keys() == values.keys()
        for name, value in values.items():
            assert arrived.values[name] == value or (math.isnan(value) and math.isnan(arrived.values[name]))

    @given(st.text(st.characters(exclude_categories=("Cs",))))
    def test_any_text_stays_on_one_line(self, text: str) -> None:
        line = encode(Log(text=text))
        assert "\n" not in line and "\r" not in line
        assert decode(line) == Log(text=text)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "Loading weights: 100%",
            "{}",
            "[]",
            "null",
            '{"type": "unknown"}',
            '{"type": "progress", "step": 1}',
            '{"type": "done", "result": {}, "seconds": 1, "peak_rss_mb": 1, "more": 1}',
            '{"type": "cancelled"} {"type": "cancelled"}',
            '{"type": "cancelled"',
            "\x00",
        ],
    )
    def test_anything_else_is_refused_without_quoting_it(self, line: str) -> None:
        with pytest.raises(JobFailedError, match="not an event") as caught:
            decode(line)
        assert len(line) < 3 or line not in str(caught.value)

    def test_what_ends_a_stream(self) -> None:
        assert [event.type for event in EVENTS if is_final(event)] == ["done", "failed", "cancelled"]


class TestSpec:
    def test_there_and_back(self) -> None:
        assert JobSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
        assert JobPayload.model_validate_json(encode(PAYLOAD)) == PAYLOAD

    def test_the_payload_is_one_line(self) -> None:
        """The worker reads it with ``readline``."""
        assert "\n" not in encode(PAYLOAD)

    def test_the_spec_has_no_place_for_what_the_payload_holds(self) -> None:
        assert not set(JobSpec.model_fields) & set(JobPayload.model_fields)
        written = SPEC.model_dump_json()
        assert not any(text in written for item in PERSON for text in (item.subject, item.answer, item.prompt))

    @pytest.mark.parametrize(
        ("kind", "changed"),
        [
            (JobSpec, {"forget": []}),
            (JobSpec, {"kind": "format the disk"}),
            (JobPayload, {"letters": ["x"]}),
        ],
    )
    def test_unknown_fields_are_refused(self, kind: type[BaseModel], changed: dict[str, Any]) -> None:
        known = json.loads((SPEC if kind is JobSpec else PAYLOAD).model_dump_json())
        with pytest.raises(ValidationError):
            kind.model_validate(known | changed)
