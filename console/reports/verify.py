"""Verify a report: read the file within bounds, then light one light for each question.

Every doubt counts against the file. Whatever a reader raises on a broken file is a failure with a reason, never an
exception for the caller: a changed byte surfaces as anything from a decompression error to a wrong digest. What cannot
be judged at all (no PDF, encrypted, beyond the limits) is refused in one sentence and is no answer.

A file from somewhere else belongs into the watched process of :mod:`console.reports.watched_check`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from console.domain.visible import quoted
from console.errors import InputError
from console.reports.document_survey import DamagedError, Survey, survey
from console.reports.envelope import OtherFormError, SealError, seals
from console.reports.evidence_checks import EvidenceFinding, check_evidence
from console.reports.lights import (
    NOT_INTACT,
    content_light,
    fields_light,
    integrity_light,
    record_light,
    signer_light,
    time_light,
)
from console.reports.pdf_limits import LARGEST_FILE, check_limits
from console.reports.signatures import SignedFile, read_sealed, read_signed
from console.reports.verification import Light, LightState, ReportVerification, Trust

_NO_REPORT = Light(LightState.NOT_JUDGED, "Not judged, because no console signed the file.")


def _broken(data: bytes, reason: str, *, is_signed: bool = True) -> ReportVerification:
    return ReportVerification(
        integrity=Light(LightState.FAILED, reason),
        signer=NOT_INTACT,
        time=NOT_INTACT,
        content=NOT_INTACT,
        fields=NOT_INTACT,
        record=NOT_INTACT,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        is_signed=is_signed,
    )


def _of_console(data: bytes, trust: Trust | None, expected: int, now: datetime) -> ReportVerification:
    """A file whose form is a console's.

    Raises:
        SealError: it is not what was signed.
        OtherFormError: no console signed it.
        InputError: beyond a limit.
    """
    sealed = seals(data)
    if len(sealed) < expected:
        raise SealError(
            f"The file carries {len(sealed)} of {expected} signatures; it is an earlier state of the report."
        )
    found = survey(data)
    signed = read_sealed(data, sealed)
    return _lit(data, signed, found, check_evidence(data, signed.signatures[0].ca_fingerprint), trust, now)


def _lit(
    data: bytes, signed: SignedFile, found: Survey, evidence: EvidenceFinding | None, trust: Trust | None, now: datetime
) -> ReportVerification:
    record = evidence.evidence if evidence else None
    return ReportVerification(
        integrity=integrity_light(signed.weak_hash),
        signer=signer_light(signed.signatures, trust),
        time=time_light(signed.signatures, record, now),
        content=content_light(found.active),
        fields=fields_light(
            [signature.field for signature in signed.signatures], signed.unsigned_fields, found.open_fields
        ),
        record=record_light(evidence.checks) if evidence else _NO_REPORT,
        checks=evidence.checks if evidence else (),
        signatures=signed.signatures,
        unsigned_fields=signed.unsigned_fields,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        evidence=record,
        evidence_sha256=evidence.sha256 if evidence else "",
    )


def _of_anybody(data: bytes, reason: str, trust: Trust | None, now: datetime) -> ReportVerification:
    """A file that no console signed: intact or not, and whose it is.

    Raises:
        DamagedError: it cannot be opened.
        InputError: encrypted, or beyond a limit.
    """
    found = survey(data)
    signed = read_signed(data, reason)
    if not signed.signatures:
        return _broken(data, "The file carries no signature, so nothing shows who made it.", is_signed=False)
    if signed.broken:
        return _broken(data, signed.broken)
    return _lit(data, signed, found, None, trust, now)


def verify_bytes(
    data: bytes,
    *,
    now: datetime,
    trust: Trust | None = None,
    expected_sha256: str | None = None,
    expected_signatures: int = 1,
) -> ReportVerification:
    """Verify a report held in memory; arguments and errors as for :func:`verify_report`."""
    check_limits(data)
    if expected_sha256 is not None and hashlib.sha256(data).hexdigest() != expected_sha256.lower():
        return _broken(data, "This is not the file that was recorded: its SHA-256 differs.")
    try:
        try:
            return _of_console(data, trust, expected_signatures, now)
        except OtherFormError as error:
            return _of_anybody(data, str(error), trust, now)
    except InputError:
        raise
    except SealError as error:
        return _broken(data, str(error))
    except DamagedError:
        return _broken(data, "The file is damaged: no PDF reader can open it.")
    except Exception as error:  # readers raise anything on broken files, and all of it is a "no"
        return _broken(data, f"The file is damaged or is not a report ({type(error).__name__}).")


def verify_report(
    path: Path,
    *,
    now: datetime,
    trust: Trust | None = None,
    expected_sha256: str | None = None,
    expected_signatures: int = 1,
) -> ReportVerification:
    """Verify a report file.

    Args:
        now: aware instant, to tell signing times in the future and certificates that have ended.
        trust: the authorities that whoever verifies knows; None leaves the signer amber, an empty one makes it red.
        expected_sha256: the file's hash as it was written down.
        expected_signatures: how many signatures there must be; fewer is a failure, because a report that is cut
            back to an earlier state is valid in itself.

    Raises:
        InputError: the file cannot be read, is no PDF, is encrypted, or is beyond the limits of a report.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"The file {quoted(path.name)} cannot be read ({reason}); check the path.") from error
    return verify_bytes(
        data, now=now, trust=trust, expected_sha256=expected_sha256, expected_signatures=expected_signatures
    )
