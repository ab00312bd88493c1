"""A report is handed over whole and checked, or not at all."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import NOW, Office
from sample_evidence import sample

from console.domain.verdict import Verdict, Word
from console.errors import DiskFullError, InputError, JobFailedError
from console.out_file import OutFile
from console.paths import Places
from console.reports import export
from console.reports.certificates import trust_in
from console.reports.encoding import evidence_sha256
from console.reports.evidence import Evidence
from console.reports.export import approve_report, write_report
from console.reports.verify import verify_report


def at(path: Path) -> OutFile:
    """The place for a report; one that is there may be replaced."""
    return OutFile.named(path, Places(path.parent / "no office", path.parent / "no cache"), replace=True)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_case_is_written_and_approved(office: Office, tmp_path: Path) -> None:
    evidence = sample()
    written = write_report(evidence, at(tmp_path / "report.pdf"), office.preparer, now=NOW)
    assert written.size == written.path.stat().st_size
    assert written.evidence_sha256 == evidence_sha256(evidence)
    assert written.signer_fingerprint == office.preparer.fingerprint
    result = verify_report(written.path, trust=trust_in([office.ca]), expected_sha256=written.sha256, now=NOW)
    assert result.ok
    assert result.evidence == evidence

    approved = approve_report(written.path, at(written.path), office.approver, now=NOW + timedelta(minutes=5))
    result = verify_report(
        written.path, trust=trust_in([office.ca]), expected_sha256=approved.sha256, expected_signatures=2, now=NOW
    )
    assert result.ok
    assert [signature.field for signature in result.signatures] == ["Prepared", "Approved"]
    assert result.unsigned_fields == ()
    assert leftovers(written.path.parent) == ["report.pdf"]


def test_evidence_that_contradicts_itself_makes_no_report(
    office: Office, small_evidence: Evidence, tmp_path: Path
) -> None:
    lie = Verdict(word=Word.REMOVED, rule="V1.7-at-reference-level", reasons=("All is well.",))
    with pytest.raises(InputError, match="No report was made"):
        write_report(
            small_evidence.model_copy(update={"verdict": lie}), at(tmp_path / "r.pdf"), office.preparer, now=NOW
        )
    assert leftovers(tmp_path) == []


def test_a_report_that_fails_its_own_check_is_not_handed_over(
    office: Office, small_evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.pdf").write_bytes(b"the old report")
    real = export.sign_report
    monkeypatch.setattr(export, "sign_report", lambda *a, **k: real(*a, **k)[:-1])
    with pytest.raises(JobFailedError, match="did not pass its own check"):
        write_report(small_evidence, at(tmp_path / "r.pdf"), office.preparer, now=NOW)
    assert (tmp_path / "r.pdf").read_bytes() == b"the old report"
    assert leftovers(tmp_path) == ["r.pdf"]


def test_signing_before_the_evidence_was_made_is_refused(
    office: Office, small_evidence: Evidence, tmp_path: Path
) -> None:
    late = small_evidence.model_copy(update={"created_at": "2026-12-01T00:00:00Z"})
    with pytest.raises(JobFailedError, match="before the report was made"):
        write_report(late, at(tmp_path / "r.pdf"), office.preparer, now=NOW)
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_the_old_report(
    office: Office, small_evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.pdf").write_bytes(b"the old report")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="No space left"):
        write_report(small_evidence, at(tmp_path / "r.pdf"), office.preparer, now=NOW)
    assert (tmp_path / "r.pdf").read_bytes() == b"the old report"
    assert leftovers(tmp_path) == ["r.pdf"]


def test_four_eyes_are_two_people(office: Office, signed_pdf: bytes, countersigned_pdf: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.pdf"
    path.write_bytes(signed_pdf)
    with pytest.raises(InputError, match="second person"):
        approve_report(path, at(path), office.preparer, now=NOW)
    path.write_bytes(countersigned_pdf)
    with pytest.raises(InputError, match="approved already"):
        approve_report(path, at(path), office.approver, now=NOW)
    path.write_bytes(signed_pdf[:-1])
    with pytest.raises(InputError, match="cannot be approved"):
        approve_report(path, at(path), office.approver, now=NOW)
