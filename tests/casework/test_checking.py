"""A report against its own office, another one, and one that has signed nothing yet."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from invented import PERSON

from console.casework.checking import check_report, judge, named_trust, verification_json
from console.casework.office import Office
from console.casework.reporting import signing_identity
from console.casework.requests import register
from console.domain.events import ReportSigned
from console.errors import InputError
from console.out_file import OutFile
from console.paths import Places
from console.reports import certificates
from console.reports.export import write_report
from console.reports.verification import Headline, LightState, ReportVerification
from console.reports.verify import verify_report

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
from sample_evidence import sample

GOLDEN = Path(__file__).parents[1] / "golden" / "reports"


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Office]:
    """An office with the same name and another key."""
    with Office.create(Places(data=tmp_path / "stranger", cache=tmp_path / "cache"), env={}) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_key_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "KEY_DERIVATION_ROUNDS", 1000)


def checked(path: Path, office: Office | None = None, authorities: Iterable[Path] = ()) -> ReportVerification:
    """As :func:`check_report` does, without a process of its own."""
    now = datetime.now(UTC) if office is None else office.clock()
    return judge(verify_report(path, now=now), office, named_trust(authorities))


def signed(office: Office, number: str, out: Path, report_id: str, *, recorded: bool = True) -> Path:
    """A report of a case, written with the office's key and put into its ledger as ``make_report`` does."""
    evidence = sample()
    instant = office.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    evidence = evidence.model_copy(
        update={
            "report_id": report_id,
            "created_at": instant,
            "request": evidence.request.model_copy(update={"number": number}),
        }
    )
    identity = signing_identity(office)
    file = write_report(evidence, OutFile.named(out, office.places), identity, now=office.clock())
    if recorded:
        body = ReportSigned(
            report_id=report_id,
            sha256=file.sha256,
            size=file.size,
            evidence_sha256=file.evidence_sha256,
            signer=file.signer_fingerprint,
            authority=identity.ca_fingerprint,
        )
        with office.ledger.transaction() as transaction:
            transaction.append(ReportSigned.kind, body.to_body(), request_id=number, actor=office.actor.id)
    return out


def case(office: Office) -> str:
    return register(office, received=office.today(), country="DE", items=PERSON)


def test_the_office_knows_its_own_report_and_the_newer_one(office: Office, tmp_path: Path) -> None:
    number = case(office)
    first = signed(office, number, tmp_path / "first.pdf", "R-1")
    found = check_report(first, office)
    assert found.ledger is not None and found.ledger.state is LightState.OK
    assert found.signer.state is LightState.OK and "this office's own" in found.signer.sentence
    assert found.headline is Headline.FIELDS_OPEN and found.ok

    second = signed(office, number, tmp_path / "second.pdf", "R-2")
    outdated = checked(first, office)
    assert outdated.ledger is not None and "A newer report of the case, R-2" in outdated.ledger.sentence
    assert outdated.headline is Headline.LEDGER_RESERVED and outdated.ok
    assert checked(second, office).ledger.state is LightState.OK  # type: ignore[union-attr]

    told = verification_json(found)
    assert (told["ok"], told["headline"], told["request"]) == (True, "fields-open", number)
    assert told["sentence"] == found.headline.sentence
    assert told["ledger"]["state"] == "ok"


def test_a_report_that_the_ledger_never_recorded_is_red(office: Office, tmp_path: Path) -> None:
    number = case(office)
    signed(office, number, tmp_path / "first.pdf", "R-1")
    unrecorded = signed(office, number, tmp_path / "second.pdf", "R-2", recorded=False)
    found = checked(unrecorded, office)
    assert found.signer.state is LightState.OK
    assert found.ledger is not None
    assert (found.ledger.state, found.ledger.sentence) == (
        LightState.FAILED,
        "This office's ledger has no such report.",
    )
    assert found.headline is Headline.NOT_RECORDED and not found.ok


def test_a_stranger_with_our_name_is_red(office: Office, stranger: Office, tmp_path: Path) -> None:
    number = case(office)
    signed(office, number, tmp_path / "ours.pdf", "R-1")
    forged = signed(stranger, case(stranger), tmp_path / "forged.pdf", "R-1")
    found = checked(forged, office)
    assert found.integrity.state is LightState.OK
    assert "this office's name, but not its key" in found.signer.sentence
    assert found.headline is Headline.SIGNER_REFUSED
    assert checked(forged).headline is Headline.SIGNER_NOT_CONFIRMED


def test_an_office_that_has_signed_nothing_says_so(office: Office) -> None:
    """And it makes no key for looking."""
    report = GOLDEN / "evidence-1-approved.pdf"
    found = checked(report, office)
    assert "This office has signed no report yet" in found.signer.sentence
    assert found.headline is Headline.SIGNER_REFUSED
    assert not list(office.places.keys.glob("*.p12"))
    known = checked(report, office, [GOLDEN / "evidence-1-ca.cer"])
    assert known.signer.state is LightState.OK and "'evidence-1-ca.cer'" in known.signer.sentence
    assert known.headline is Headline.NOT_RECORDED


def test_a_named_authority_confirms_the_signer(tmp_path: Path) -> None:
    report = GOLDEN / "evidence-1-approved.pdf"
    found = checked(report, authorities=[GOLDEN / "evidence-1-ca.cer"])
    assert found.headline is Headline.TIME_NOT_CONFIRMED
    with pytest.raises(InputError, match="cannot be read"):
        checked(report, authorities=[tmp_path / "absent.cer"])
    with pytest.raises(InputError, match="holds no certificate"):
        checked(report, authorities=[report])


def test_a_report_that_nobody_called_own_is_refused_only_under_this_office_s_name(
    office: Office, stranger: Office, tmp_path: Path
) -> None:
    """In the window anybody's report is handed in; against its own office a stranger's stays refused."""
    number = case(office)
    signed(office, number, tmp_path / "own.pdf", "R-1")
    other = signed(stranger, number, tmp_path / "other.pdf", "R-2")
    found = verify_report(other, now=office.clock())
    same_name = judge(found, office, expected_own=False)
    assert same_name.headline is Headline.SIGNER_REFUSED and "this office's name" in same_name.signer.sentence
    assert same_name.ledger is not None and same_name.ledger.state is LightState.FAILED
    office.name_organisation("Another house")
    elsewhere = judge(found, office, expected_own=False)
    assert elsewhere.headline is Headline.SIGNER_NOT_CONFIRMED and elsewhere.ok
    assert elsewhere.ledger is not None and elsewhere.ledger.state is LightState.NOT_JUDGED
    assert judge(found, office).headline is Headline.SIGNER_REFUSED
    alike = verify_report(signed(stranger, number, tmp_path / "alike.pdf", "R-1"), now=office.clock())
    ledger = judge(alike, office, expected_own=False).ledger
    assert ledger is not None and ledger.state is LightState.WARNING and "under a number" in ledger.sentence
