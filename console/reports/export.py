"""From evidence to a finished file: build, sign, check the result as a stranger would, and only then hand it over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from console.errors import InputError, JobFailedError
from console.out_file import OutFile
from console.reports.archive import build_archive
from console.reports.certificates import SigningIdentity, trust_in
from console.reports.evidence import Evidence
from console.reports.evidence_checks import consistency
from console.reports.signing import countersign_report, sign_report
from console.reports.verification import LightState, ReportVerification, Trust
from console.reports.verify import verify_report

PREPARER_STATEMENT = "I prepared this report from the case's evidence and stand up for it."
APPROVER_STATEMENT = "I did not prepare this report; I have read it and approve it."


@dataclass(frozen=True)
class ReportFile:
    """A report on the disk; ``size`` in bytes, hashes are lower-case hex SHA-256."""

    path: Path
    sha256: str
    size: int
    evidence_sha256: str
    signer_fingerprint: str


def _first_failure(result: ReportVerification) -> str:
    failed = (light.sentence for light in result.lights.values() if light.state is LightState.FAILED)
    return next(failed, "The signed evidence is not the evidence of the case.")


def _trust(identity: SigningIdentity) -> Trust:
    return trust_in([identity.ca_certificate.public_bytes(Encoding.DER)], "the signer's own")


def _hand_over(
    data: bytes,
    out: OutFile,
    identity: SigningIdentity,
    signatures: int,
    now: datetime,
    evidence: Evidence | None = None,
) -> ReportFile:
    """Check the file as it lies on the disk, then move it into place."""
    trust = _trust(identity)
    digest = hashlib.sha256(data).hexdigest()
    results: list[ReportVerification] = []

    def check(path: Path) -> None:
        result = verify_report(path, now=now, trust=trust, expected_sha256=digest, expected_signatures=signatures)
        if not result.ok or (evidence is not None and result.evidence != evidence):
            raise JobFailedError(
                f"The signed report did not pass its own check: {_first_failure(result)} Make it again."
            )
        results.append(result)

    out.write(data, check=check)
    return ReportFile(
        path=out.path,
        sha256=digest,
        size=len(data),
        evidence_sha256=results[0].evidence_sha256,
        signer_fingerprint=identity.fingerprint,
    )


def write_report(
    evidence: Evidence, out: OutFile, identity: SigningIdentity, *, now: datetime, reason: str = PREPARER_STATEMENT
) -> ReportFile:
    """Write the report of one case, signed by its preparer.

    Args:
        out: the PDF file; replaced as a whole, or left as it was.
        now: aware instant of signing; not before the evidence was made.
        reason: the statement that the preparer signs.

    Raises:
        InputError: the evidence contradicts itself, or holds text that cannot be written.
        JobFailedError: the signed file did not pass verification; nothing was written.
        DiskFullError: there is no room, or the folder cannot be written.
    """
    for check in consistency(evidence):
        if not check.ok:
            raise InputError(f"No report was made: {check.sentence} Verify the case again.")
    signed = sign_report(build_archive(evidence, identity.ca_fingerprint), identity, reason=reason, now=now)
    return _hand_over(signed, out, identity, 1, now, evidence)


def approve_report(
    path: Path, out: OutFile, identity: SigningIdentity, *, now: datetime, reason: str = APPROVER_STATEMENT
) -> ReportFile:
    """Add the approver's signature to a report that carries the preparer's.

    Args:
        path: the signed report.
        out: where the approved report goes; may be ``path``, to be replaced.

    Raises:
        InputError: the report does not verify, is approved already, or the approver is the preparer.
        JobFailedError: the result did not pass verification; nothing was written.
        DiskFullError: there is no room, or the folder cannot be written.
    """
    before = verify_report(path, now=now, trust=_trust(identity))
    if not before.ok:
        raise InputError(f"This report cannot be approved: {_first_failure(before)} Ask the preparer for a new one.")
    if len(before.signatures) != 1:
        raise InputError("This report is approved already; it needs no other signature.")
    if before.signatures[0].fingerprint == identity.fingerprint:
        raise InputError("The preparer cannot approve the same report; ask a second person.")
    signed = countersign_report(path.read_bytes(), identity, reason=reason, now=now)
    return _hand_over(signed, out, identity, 2, now)
