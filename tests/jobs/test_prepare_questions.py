"""The job that lets a helper model write questions; its result is what an attack job is given as a bank."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from invented import FACTS, GENERAL, OTHERS, OUTSIDERS, PERSON, SUBJECT

from console.attacks.helper_questions import TOO_WEAK
from console.engines.model_files import identify
from console.jobs import worker
from console.jobs.events import Done, Failed, decode
from console.jobs.spec import BankPayload, JobKind, JobPayload, JobSpec, ModelReference, WrittenPayload
from console.jobs.tasks.attack import prompt_bank
from console.jobs.worker import EventWriter

PAYLOAD = JobPayload(forget=PERSON, controls=OUTSIDERS)
FEW = {"paraphrases": 2, "steps": 2, "rounds": 1, "max_new_tokens": 24}
EACH = 2 + 2 + 1 + 1


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whatever fails goes to the engineer's log, not to this process's handler."""
    monkeypatch.setattr("console.engines.devices.os.cpu_count", lambda: 1)
    monkeypatch.setattr(sys, "excepthook", lambda *_error: None)


def run(folder: Path, tmp_path: Path, payload: JobPayload = PAYLOAD, **settings: Any) -> Any:
    spec = JobSpec(
        job_id="prepare-questions-1",
        kind=JobKind.PREPARE_QUESTIONS,
        model=ModelReference(path=str(folder)),
        cache=str(tmp_path / "cache"),
        device="cpu",
        settings=FEW | settings,
    )
    stream = io.StringIO()
    worker.run(spec, payload, EventWriter(stream))
    return [decode(line) for line in stream.getvalue().splitlines()][-1]


def test_a_helper_that_cannot_write_is_said_to_be_weak(taught_folder: Path, tmp_path: Path) -> None:
    final = run(taught_folder, tmp_path)
    assert isinstance(final, Done), final
    found = final.result
    assert found["helper"] == identify(taught_folder).tree_hash
    # Three facts and the three strangers beside them; the passage has no question.
    assert found["wanted"] == EACH * 6 and found["count"] < found["wanted"] / 2
    assert found["weak"] and found["sentence"].endswith(TOO_WEAK)
    assert f"{found['count']} of {found['wanted']}" in found["sentence"]
    assert found["config"]["rounds"] == 1 and isinstance(found["config"]["weak_below"], str)


def test_the_same_seed_gives_the_same_questions(taught_folder: Path, tmp_path: Path) -> None:
    one, two = (run(taught_folder, tmp_path).result["written"] for _ in range(2))
    assert one == two


def test_what_cannot_be_set_is_refused(taught_folder: Path, tmp_path: Path) -> None:
    final = run(taught_folder, tmp_path, rounds=0)
    assert isinstance(final, Failed) and "rounds" in final.reason
    final = run(taught_folder, tmp_path, PAYLOAD.model_copy(update={"forget": PERSON[3:], "controls": ()}))
    assert isinstance(final, Failed) and "passages only" in final.reason


def test_the_bank_carries_what_was_written_to_the_attacks() -> None:
    written = WrittenPayload(paraphrases=(f"Where is {SUBJECT} at home?",), steps=(f"Who is {SUBJECT}?",))
    bank = prompt_bank(JobPayload(bank=BankPayload(written={FACTS[0].id: written})))
    assert bank.written[FACTS[0].id].paraphrases == written.paraphrases
    assert bank.written[FACTS[0].id].steps == written.steps


def test_a_payload_without_a_helper_has_the_form_that_it_had() -> None:
    body = JobPayload(forget=PERSON, retain=OTHERS, general=GENERAL).model_dump(mode="json")
    assert "written" not in body["bank"]
    with_helper = JobPayload(bank=BankPayload(written={"a": WrittenPayload(indirect="Who is {person}?")}))
    assert JobPayload.model_validate_json(with_helper.model_dump_json()) == with_helper
