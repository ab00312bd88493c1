"""Three lights and the evidence: what is confirmed, what is only unknown, and what is a forgery."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pikepdf
import pytest
from asn1crypto import pem
from conftest import NOW, Office
from pyhanko.pdf_utils.generic import pdf_name, pdf_string
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from sample_evidence import sample

from console.domain.verdict import Verdict, Word
from console.errors import InputError
from console.reports import archive
from console.reports.archive import build_archive
from console.reports.certificates import trust_in
from console.reports.encoding import evidence_bytes
from console.reports.evidence import Evidence
from console.reports.signing import countersign_report, sign_report
from console.reports.verification import LightState, ReportVerification
from console.reports.verify import verify_bytes, verify_report


def failed_check(result: ReportVerification) -> str:
    """The name of the one check that says no."""
    (name,) = [check.name for check in result.checks if not check.ok]
    return name


def with_attachment(pdf: bytes, data: bytes) -> bytes:
    """An unsigned report whose pages and attachment are of different minds."""
    target = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        archive._attach(document, data, NOW)
        document.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    return target.getvalue()


def signed(pdf: bytes, office: Office) -> bytes:
    return sign_report(pdf, office.preparer, reason="signed all the same", now=NOW)


def test_a_trusted_report_has_green_lights_but_for_the_time(signed_pdf: bytes, office: Office) -> None:
    result = verify_bytes(signed_pdf, trust=trust_in([office.ca]), now=NOW)
    assert result.ok
    assert (result.integrity.state, result.signer.state) == (LightState.OK, LightState.OK)
    assert result.time.state is LightState.WARNING
    assert "own clock" in result.time.sentence
    assert all(check.ok for check in result.checks)
    assert [check.name for check in result.checks] == ["attachment", "schema", "record", "verdict", "sentence", "pages"]
    assert result.unsigned_fields == ("Approved",)
    assert result.signatures[0].signer == "Žofie Řehořová"
    assert result.signatures[0].fingerprint == office.preparer.fingerprint


def test_an_unknown_console_is_amber_and_names_the_fingerprint(signed_pdf: bytes, office: Office) -> None:
    result = verify_bytes(signed_pdf, now=NOW)
    assert result.ok
    assert result.signer.state is LightState.WARNING
    assert office.preparer.ca_fingerprint in result.signer.sentence


def test_another_console_is_red(signed_pdf: bytes, other_office: Office) -> None:
    result = verify_bytes(signed_pdf, trust=trust_in([other_office.ca]), now=NOW)
    assert not result.ok
    assert result.integrity.state is LightState.OK
    assert result.signer.state is LightState.FAILED


def test_trust_may_be_given_as_pem_among_others(signed_pdf: bytes, office: Office, other_office: Office) -> None:
    trusted = [other_office.ca, pem.armor("CERTIFICATE", office.ca)]
    assert verify_bytes(signed_pdf, trust=trust_in(trusted), now=NOW).signer.state is LightState.OK


def test_a_second_signer_from_elsewhere_is_red(signed_pdf: bytes, office: Office, other_office: Office) -> None:
    mixed = countersign_report(signed_pdf, other_office.approver, reason="from elsewhere", now=NOW)
    result = verify_bytes(mixed, trust=trust_in([office.ca, other_office.ca]), now=NOW)
    assert not result.ok
    assert "different consoles" in result.signer.sentence


def test_the_ledgers_hash_decides(signed_pdf: bytes, countersigned_pdf: bytes) -> None:
    known = verify_bytes(signed_pdf, now=NOW).sha256
    assert verify_bytes(signed_pdf, expected_sha256=known.upper(), now=NOW).ok
    result = verify_bytes(countersigned_pdf, expected_sha256=known, now=NOW)
    assert not result.ok
    assert "not the file that was recorded" in result.integrity.sentence


def test_time_that_cannot_be_is_red(base_pdf: bytes, signed_pdf: bytes, office: Office) -> None:
    assert verify_bytes(signed_pdf, now=NOW - timedelta(days=1)).time.state is LightState.FAILED
    early = sign_report(base_pdf, office.preparer, reason="too early", now=NOW - timedelta(minutes=20))
    result = verify_bytes(early, trust=trust_in([office.ca]), now=NOW)
    assert not result.ok


def test_time_before_the_report_was_made_is_red(office: Office, small_evidence: Evidence) -> None:
    future = small_evidence.model_copy(update={"created_at": "2026-12-01T00:00:00Z"})
    pdf = build_archive(future, office.preparer.ca_fingerprint)
    result = verify_bytes(signed(pdf, office), trust=trust_in([office.ca]), now=NOW)
    assert not result.ok
    assert "before the report was made" in result.time.sentence


def test_a_report_outlives_its_certificate(signed_pdf: bytes, office: Office) -> None:
    result = verify_bytes(signed_pdf, trust=trust_in([office.ca]), now=NOW + timedelta(days=20 * 365))
    assert result.ok
    assert "The certificate has ended since" in result.time.sentence


def test_a_verdict_that_does_not_follow_is_found(office: Office, small_evidence: Evidence) -> None:
    """Signed in due form, by the right person, and still a lie."""
    lie = Verdict(word=Word.REMOVED, rule="V1.7-at-reference-level", reasons=("All is well.",))
    forged = small_evidence.model_copy(update={"verdict": lie})
    result = verify_bytes(
        signed(build_archive(forged, office.preparer.ca_fingerprint), office), trust=trust_in([office.ca]), now=NOW
    )
    assert result.integrity.state is LightState.OK
    assert not result.ok
    assert failed_check(result) == "verdict"


def test_a_sentence_with_other_numbers_is_found(office: Office, small_evidence: Evidence) -> None:
    forged = small_evidence.model_copy(update={"sentence": "The model gave the data in 0 of 999 attempts."})
    result = verify_bytes(signed(build_archive(forged, office.preparer.ca_fingerprint), office), now=NOW)
    assert failed_check(result) == "sentence"
    assert not result.ok


def test_pages_of_another_case_are_found(office: Office, base_pdf: bytes) -> None:
    result = verify_bytes(signed(with_attachment(base_pdf, evidence_bytes(sample())), office), now=NOW)
    assert failed_check(result) == "pages"
    assert not result.ok


def test_pages_that_print_another_authority_are_found(other_office: Office, base_pdf: bytes) -> None:
    result = verify_bytes(signed(base_pdf, other_office), now=NOW)
    assert failed_check(result) == "pages"
    assert "fingerprint" in result.checks[-1].sentence


@pytest.mark.parametrize(("data", "name"), [(b"{}", "schema"), (b"[", "schema"), (b"\xff", "schema")])
def test_an_attachment_that_is_no_evidence_is_found(office: Office, base_pdf: bytes, data: bytes, name: str) -> None:
    result = verify_bytes(signed(with_attachment(base_pdf, data), office), now=NOW)
    assert not result.ok
    assert failed_check(result) == name


def test_evidence_in_another_form_is_found(office: Office, base_pdf: bytes, small_evidence: Evidence) -> None:
    spaced = evidence_bytes(small_evidence).replace(b",", b", ")
    result = verify_bytes(signed(with_attachment(base_pdf, spaced), office), now=NOW)
    assert failed_check(result) == "record"


def test_a_report_without_attachment_is_found(office: Office, base_pdf: bytes) -> None:
    target = io.BytesIO()
    with pikepdf.open(io.BytesIO(base_pdf)) as document:
        del document.Root.AF
        document.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    result = verify_bytes(signed(target.getvalue(), office), now=NOW)
    assert not result.ok
    assert failed_check(result) == "attachment"


def test_a_change_after_signing_is_found_even_in_due_form(signed_pdf: bytes, office: Office) -> None:
    """An incremental update with a new catalogue entry, as an editor would write it, then approved."""
    target = io.BytesIO()
    writer = IncrementalPdfFileWriter(io.BytesIO(signed_pdf))
    writer.root[pdf_name("/Lang")] = pdf_string("de-DE")
    writer.update_root()
    writer.write(target)
    assert not verify_bytes(target.getvalue(), now=NOW).ok
    resigned = countersign_report(target.getvalue(), office.approver, reason="approved unseen", now=NOW)
    result = verify_bytes(resigned, trust=trust_in([office.ca]), now=NOW)
    assert not result.ok
    assert result.integrity.state is LightState.FAILED


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """No answer, for nothing was read: a script must not take it for "the report is false"."""
    for path in (tmp_path / "missing.pdf", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            verify_report(path, now=NOW)


def test_a_file_is_verified_from_the_disk(signed_pdf: bytes, office: Office, tmp_path: Path) -> None:
    path = tmp_path / "with space – Bericht.pdf"
    path.write_bytes(signed_pdf)
    result = verify_report(path, trust=trust_in([office.ca]), now=NOW)
    assert result.ok
    assert result.size == len(signed_pdf)


def test_a_certificate_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="The trusted certificate is none"):
        trust_in([b"not a certificate"])
