"""A case from registration to a report that verifies, with real workers on a tiny model."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from invented import OTHERS, OUTSIDERS, PERSON

from console.casework import cases, requests, views
from console.casework.checking import check_report
from console.casework.comparing import compare
from console.casework.office import Office
from console.casework.operation import Operation, settle_orphans
from console.casework.records import export_records, verify_records
from console.casework.replay import replay
from console.casework.reporting import make_report
from console.casework.transcripts import transcript
from console.domain.case_state import JOBS, MODELS, REQUESTS
from console.domain.events import JobStarted
from console.domain.matching import answer_in
from console.domain.request_terms import Channel, Ground, RequestStatus
from console.domain.suites import SUITES
from console.errors import ConsoleError, InputError, NotPossibleError


def granted(office: Office) -> str:
    number = requests.register(
        office,
        received=date(2026, 11, 2),
        country="DE",
        items=PERSON,
        channel=Channel.EMAIL,
        grounds=(Ground.CONSENT_WITHDRAWN,),
        letter="Please erase everything about me.",
    )
    requests.confirm_identity(office, number)
    requests.grant(office, number, (Ground.CONSENT_WITHDRAWN,))
    return number


def run(office: Office, use_case: cases.UseCase) -> object:
    return Operation(office, use_case).start().wait()


def settings() -> dict[str, object]:
    return {"steps": 12, "learning_rate": 5e-3, "lora": {"rank": 8, "alpha": 16}}


def test_the_whole_walk(stocked: Office, tmp_path: Path) -> None:
    office = stocked
    number = granted(office)

    with pytest.raises(InputError, match="known are quick, brief, standard, full"):
        run(office, cases.locate(office, number, "taught", suite_name="gentle"))
    located = run(office, cases.locate(office, number, "taught", suite_name="standard"))
    assert located.found
    assert {"direct", "quantise-4bit"} <= set(located.by)

    erased = run(office, cases.erase(office, number, "taught", "npo", settings()))
    assert erased.hash_after != erased.hash_before
    assert erased.path.is_dir()
    assert not list(office.places.models.glob("*.part"))

    outcome = run(office, cases.attack(office, number, erased.artefact))
    assert outcome.after.battery.model_hash == erased.hash_after
    assert outcome.reference is not None
    state = requests.request_state(office, number)
    plan, verdict = state["plan"], state["verdict"]
    assert plan["seq"] < verdict["seq"]
    assert verdict["word"] == outcome.verdict.word.value

    assert [row.attack for row in outcome.after.battery.rows] == list(SUITES["standard"].attacks)
    assert located.before.behaviour is not None and located.reference.behaviour is None
    (again,) = replay(office)
    assert again.same and again.again == outcome.verdict and again.seq == verdict["seq"]
    (older,) = replay(office, 1)
    assert older.again.rules_version == 1
    with pytest.raises(InputError, match="known are 1, 2"):
        replay(office, 99)
    compared = compare(office, "taught", erased.artefact)
    (direct,) = [row for row in compared.rows if row.attack == "direct"]
    assert direct.left == located.before.battery.row("direct")
    assert direct.right == outcome.after.battery.row("direct")
    assert direct.p_value is not None and direct.p_value < 0.05
    lines = transcript(office, number, "taught")
    assert sum(line.hit and not line.control for line in lines if line.attack == "direct") == (
        located.before.battery.row("direct").outcome.attempts.hits
    )
    shown = " ".join(f"{line.asked} {line.said}" for line in lines)
    known = [value for item in (*PERSON, *OTHERS, *OUTSIDERS) for value in (item.subject, *item.answers)]
    assert not [value for value in known if answer_in(shown, [value])]
    assert all(line.hit for line in transcript(office, number, "taught", "direct", hits_only=True))
    with pytest.raises(InputError, match="not in this battery"):
        transcript(office, number, "taught", "gossip")
    with pytest.raises(InputError, match="nobody"):
        compare(office, "taught", "nobody")

    out = tmp_path / "report.pdf"
    made = make_report(office, number, out)
    assert made.evidence.verdict == outcome.verdict
    assert made.evidence.batteries.after == outcome.after.battery
    assert made.evidence.behaviour_after == outcome.after.behaviour is not None
    assert check_report(out, office).ok
    assert requests.request_state(office, number)["status"] == RequestStatus.REPORT_SIGNED.value

    broken = bytearray(out.read_bytes())
    broken[len(broken) // 2] ^= 1
    (tmp_path / "broken.pdf").write_bytes(broken)
    assert not check_report(tmp_path / "broken.pdf", office).ok

    assert verify_records(office).ok
    before = {table: office.ledger.projection(table) for table in (REQUESTS, MODELS, JOBS)}
    office.ledger.rebuild_projections()
    assert before == {table: office.ledger.projection(table) for table in (REQUESTS, MODELS, JOBS)}
    page = views.case_page(office, number)
    assert page.verdict_word == outcome.verdict.word.value
    assert page.artefact == erased.artefact

    written = export_records(office, tmp_path / "ledger.jsonl")
    assert written == office.ledger.head().size
    secrets = {item.subject for item in PERSON} | {item.answer for item in PERSON if len(item.answer) > 6}
    exported = (tmp_path / "ledger.jsonl").read_text(encoding="utf-8")
    assert not [secret for secret in secrets if secret in exported]
    evidence = json.dumps(made.evidence.model_dump(mode="json"))
    assert not [secret for secret in secrets if secret in evidence]
    files = [path for path in office.places.data.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert not [
        (path.name, secret)
        for path in files
        if path.name != "tokenizer.json"
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]


def test_retrain_does_not_see_the_person(stocked: Office) -> None:
    number = granted(stocked)
    run(stocked, cases.locate(stocked, number, "taught"))
    config = {"epochs": 2, "batch": 8, "lora": {"rank": 4, "alpha": 8}}
    erased = run(stocked, cases.erase(stocked, number, "taught", "retrain", config))
    assert erased.method == "retrain"
    outcome = run(stocked, cases.attack(stocked, number, erased.artefact))
    assert outcome.after.battery.row("direct").outcome.items.hits == 0


def test_what_must_come_first_is_named(stocked: Office) -> None:
    number = requests.register(stocked, received=date(2026, 11, 2), country="DE", items=PERSON)
    with pytest.raises(NotPossibleError, match="request decide"):
        run(stocked, cases.erase(stocked, number, "taught", "npo"))
    requests.confirm_identity(stocked, number)
    requests.grant(stocked, number, (Ground.CONSENT_WITHDRAWN,))
    with pytest.raises(NotPossibleError, match="run locate"):
        run(stocked, cases.erase(stocked, number, "taught", "npo"))
    with pytest.raises(NotPossibleError, match="run locate"):
        make_report(stocked, number, stocked.places.reports / "early.pdf")


@pytest.mark.parametrize(
    ("method", "config", "said"),
    [
        ("sorcery", {}, "no method .sorcery.; known are alphaedit, "),
        ("npo", {"speed": 9}, "Settings are"),
        ("npo", {"steps": 0}, "steps"),
    ],
)
def test_a_bad_method_or_setting_leaves_the_case_ready_to_run(
    stocked: Office, method: str, config: dict[str, object], said: str
) -> None:
    number = granted(stocked)
    run(stocked, cases.locate(stocked, number, "taught"))
    with pytest.raises(InputError, match=said):
        run(stocked, cases.erase(stocked, number, "taught", method, config))
    status = RequestStatus(requests.request_state(stocked, number)["status"])
    assert status in {RequestStatus.GRANTED, RequestStatus.PLANNED}
    assert not any(stocked.places.models.iterdir())


def test_a_changed_model_file_is_refused(stocked: Office, tmp_path: Path, taught_folder: Path) -> None:
    import shutil

    from console.casework.models import add_model

    copy = tmp_path / "copy"
    shutil.copytree(taught_folder, copy)
    run(stocked, add_model(stocked, copy, "copy", "base"))
    with (copy / "config.json").open("a", encoding="utf-8") as stream:
        stream.write("\n")
    number = granted(stocked)
    with pytest.raises(ConsoleError, match="not the one that was registered"):
        run(stocked, cases.locate(stocked, number, "copy"))


def test_jobs_of_a_console_that_went_away_are_settled(office: Office) -> None:
    body = JobStarted(job_id="attack-1", job="attack", model="taught")
    with office.ledger.transaction() as transaction:
        transaction.append(JobStarted.kind, body.to_body(), actor=office.actor.id)
    assert settle_orphans(office) == ["attack-1"]
    assert office.ledger.projected(JOBS, "attack-1")["outcome"] == "failed"
    assert settle_orphans(office) == []


def test_without_knowledge_membership_is_not_applicable_and_named(
    office: Office, untaught_folder: Path, taught_folder: Path
) -> None:
    from console.casework.models import add_model

    run(office, add_model(office, taught_folder, "alone"))
    number = granted(office)
    located = run(office, cases.locate(office, number, "alone"))
    row = located.before.battery.row("membership")
    assert row.status.value == "not-applicable"
    assert "never saw" in row.reason
    assert located.reference is None
