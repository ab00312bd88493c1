"""Writing and signing the report of a case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from console.casework.case_evidence import build_evidence
from console.casework.office import Office
from console.casework.requests import append_status
from console.domain.case_state import REQUESTS
from console.domain.events import ReportSigned
from console.domain.request_terms import RequestStatus
from console.domain.requests import TransitionFacts
from console.domain.roles import Duty
from console.out_file import OutFile
from console.reports import evidence as parts
from console.reports.certificates import SigningIdentity, ensure_identity
from console.reports.export import ReportFile, write_report

S = RequestStatus
_SIGNER = "Preparer"


def signing_identity(office: Office) -> SigningIdentity:
    """The key that signs this office's reports; made on first use, protected by a secret in the ledger file."""
    return ensure_identity(
        office.places.keys, office.secret("signing-key"), office.organisation, _SIGNER, office.clock()
    )


@dataclass(frozen=True)
class SignedReport:
    """A report on disk, and the record in it."""

    file: ReportFile
    evidence: parts.Evidence
    authority: str


def make_report(office: Office, number: str, out: Path, *, replace: bool = False) -> SignedReport:
    """Write and sign the report of a case, and put its hash into the ledger.

    Args:
        replace: whether a file that lies at ``out`` is replaced.

    Raises:
        NotPossibleError: nothing has been measured, or the role may not sign.
        DiskFullError, InputError: the file cannot be written (see ``console.out_file``).
    """
    actor = office.require(Duty.SIGN_REPORT)
    target = OutFile.named(out, office.places, replace=replace)
    evidence = build_evidence(office, number)
    identity = signing_identity(office)
    file = write_report(evidence, target, identity, now=office.clock())
    body = ReportSigned(
        report_id=evidence.report_id,
        sha256=file.sha256,
        size=file.size,
        evidence_sha256=file.evidence_sha256,
        signer=file.signer_fingerprint,
        authority=identity.ca_fingerprint,
    )
    office.ledger.set_setting(f"report:{evidence.report_id}", str(out.resolve()))
    with office.ledger.transaction() as transaction:
        state = transaction.projected(REQUESTS, number)
        assert state is not None
        status = S(state["status"])
        if status in {S.VERIFIED, S.RESIDUAL, S.FAILED, S.NO_MATCH}:
            append_status(transaction, state, S.REPORT_DRAFT, TransitionFacts(), actor)
        transaction.append(ReportSigned.kind, body.to_body(), request_id=number, actor=actor)
        drafted = transaction.projected(REQUESTS, number)
        assert drafted is not None
        if S(drafted["status"]) is S.REPORT_DRAFT:
            append_status(transaction, drafted, S.REPORT_SIGNED, TransitionFacts(), actor)
    return SignedReport(file, evidence, identity.ca_fingerprint)
