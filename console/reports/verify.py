"""Verify a report: three lights (integrity, signer, time), and the evidence against the pages.

Every doubt counts against the file. Whatever a reader raises on a broken file is a failure with a reason,
never an exception for the caller: a changed byte surfaces as anything from a decompression error to a wrong
digest. Trust is separate from integrity: a report of an unknown console is intact and unconfirmed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import enumerate_sig_fields
from pyhanko.sign.validation import EmbeddedPdfSignature, validate_pdf_signature
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from console.reports.certificates import CLOCK_SKEW, fingerprint
from console.reports.envelope import Seal, SealError, seals
from console.reports.evidence import Evidence
from console.reports.evidence_checks import Check, check_evidence
from console.reports.signing import APPROVED, PREPARED
from console.reports.wording import date_text, instant_text

LARGEST_REPORT = 256 * 1024 * 1024


class LightState(StrEnum):
    """Green, amber, red."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Light:
    """One of the three lights, with its sentence."""

    state: LightState
    sentence: str


@dataclass(frozen=True)
class ReportSignature:
    """One signature, as the file states it; fingerprints are SHA-256, ``signed_at`` is the signer's own clock."""

    field: str
    signer: str
    organisation: str
    reason: str
    signed_at: datetime
    fingerprint: str
    ca_fingerprint: str
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True)
class ReportVerification:
    """What verification found.

    Attributes:
        ok: no light is red and every check on the evidence holds. Amber lights do not take it away.
        unsigned_fields: fields that still wait for a signature.
        sha256: of the file as it was read; empty when it could not be read.
        evidence: the attached record, where it could be read.
    """

    ok: bool
    integrity: Light
    signer: Light
    time: Light
    checks: tuple[Check, ...] = ()
    signatures: tuple[ReportSignature, ...] = ()
    unsigned_fields: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0
    evidence: Evidence | None = None
    evidence_sha256: str = ""


_NOT_JUDGED = Light(LightState.FAILED, "Not judged, because the file is not intact.")


def _broken(reason: str, data: bytes = b"") -> ReportVerification:
    return ReportVerification(
        ok=False,
        integrity=Light(LightState.FAILED, reason),
        signer=_NOT_JUDGED,
        time=_NOT_JUDGED,
        sha256=hashlib.sha256(data).hexdigest() if data else "",
        size=len(data),
    )


def _name(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""


def _check_with_reader(signature: EmbeddedPdfSignature, seal: Seal, newest: bool) -> ReportSignature:
    """A second opinion on one signature: fields, permitted changes and the certificate chain, at signing time.

    Raises:
        SealError: the PDF reader sees another signature than the raw bytes show, or does not accept it.
    """
    if tuple(signature.byte_range) != seal.byte_range:
        raise SealError("A PDF reader sees a signature over other bytes than the file shows.")
    signed_at = signature.self_reported_timestamp
    if signed_at is None or signed_at.tzinfo is None:
        raise SealError("A signature states no time.")
    authority = asn1_x509.Certificate.load(seal.ca_certificate.public_bytes(Encoding.DER))
    # Judged at signing time: without an independent time stamp nothing else lets a report outlive its certificate.
    context = ValidationContext(trust_roots=[authority], allow_fetching=False, moment=signed_at)
    status = validate_pdf_signature(signature, context)
    wanted = SignatureCoverageLevel.ENTIRE_FILE if newest else SignatureCoverageLevel.ENTIRE_REVISION
    if not (status.intact and status.valid) or status.coverage < wanted:
        raise SealError("The file was changed after it was signed.")
    if not status.docmdp_ok:
        raise SealError("The file was changed after it was signed, in a way that the first signature forbids.")
    if not status.bottom_line:
        raise SealError(f"The signature in “{signature.field_name}” is not acceptable: {status.summary()}.")
    return ReportSignature(
        field=signature.field_name,
        signer=_name(seal.certificate, NameOID.COMMON_NAME),
        organisation=_name(seal.certificate, NameOID.ORGANIZATION_NAME),
        reason=str(signature.sig_object.get("/Reason", "")),
        signed_at=signed_at.astimezone(UTC),
        fingerprint=fingerprint(seal.certificate),
        ca_fingerprint=fingerprint(seal.ca_certificate),
        valid_from=seal.certificate.not_valid_before_utc,
        valid_until=seal.certificate.not_valid_after_utc,
    )


def _signatures(data: bytes, expected: int) -> tuple[tuple[ReportSignature, ...], tuple[str, ...]]:
    """All signatures, and the names of fields that wait for one.

    Raises:
        SealError: any signature fails, or there are fewer than expected.
    """
    sealed = seals(data)
    reader = PdfFileReader(io.BytesIO(data))
    embedded = reader.embedded_signatures
    if len(embedded) != len(sealed):
        raise SealError("A PDF reader sees another number of signatures than the file shows.")
    fields = {name: value is not None for name, value, _ in enumerate_sig_fields(reader)}
    if list(fields) != [PREPARED, APPROVED] or embedded[0].field_name != PREPARED:
        raise SealError("The file does not have the signature fields of a report.")
    if embedded[0].docmdp_level is None:
        raise SealError("The preparer's signature does not certify the report.")
    if len(embedded) < expected:
        raise SealError(
            f"The file carries {len(embedded)} of {expected} signatures; it is an earlier state of the report."
        )
    last = len(embedded) - 1
    signed = tuple(
        _check_with_reader(signature, seal, index == last)
        for index, (signature, seal) in enumerate(zip(embedded, sealed, strict=True))
    )
    return signed, tuple(name for name, filled in fields.items() if not filled)


def _trusted_fingerprints(trusted: Sequence[bytes]) -> frozenset[str]:
    """Fingerprints of certificates given as DER or PEM."""
    ders = (pem.unarmor(given)[2] if pem.detect(given) else given for given in trusted)
    return frozenset(fingerprint(x509.load_der_x509_certificate(der)) for der in ders)


def _signer_light(signatures: Sequence[ReportSignature], trusted: Sequence[bytes]) -> Light:
    who = " and ".join(f"{signature.signer} ({signature.organisation})" for signature in signatures)
    authorities = {signature.ca_fingerprint for signature in signatures}
    if len(authorities) != 1:
        return Light(LightState.FAILED, "The signatures come from different consoles.")
    authority = authorities.pop()
    if not trusted:
        return Light(
            LightState.WARNING,
            f"Signed by {who}. The identity is not confirmed on this machine: compare the fingerprint {authority} with "
            "the controller by another way, such as by telephone.",
        )
    if authority not in _trusted_fingerprints(trusted):
        return Light(
            LightState.FAILED,
            f"The certificate with the fingerprint {authority} was not issued by a console that you trust.",
        )
    return Light(LightState.OK, f"Signed by {who}; the certificate was issued by a console that you trust.")


def _time_light(signatures: Sequence[ReportSignature], evidence: Evidence | None, now: datetime | None) -> Light:
    for signature in signatures:
        at = instant_text(signature.signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        if not signature.valid_from <= signature.signed_at <= signature.valid_until:
            return Light(LightState.FAILED, f"The stated signing time, {at}, lies outside the certificate's period.")
        if now is not None and signature.signed_at > now + CLOCK_SKEW:
            return Light(LightState.FAILED, f"The stated signing time, {at}, lies in the future.")
        if evidence is not None:
            made = datetime.fromisoformat(evidence.created_at.replace("Z", "+00:00"))
            if signature.signed_at < made - CLOCK_SKEW:
                return Light(LightState.FAILED, f"The stated signing time, {at}, lies before the report was made.")
    last = instant_text(signatures[-1].signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    sentence = f"Signed on {last} by the signer's own clock; no independent service confirmed the time."
    ends = min(signature.valid_until for signature in signatures)
    if now is not None and ends < now:
        sentence += f" The certificate has ended since, on {date_text(ends.date())}; it was valid at the stated time."
    return Light(LightState.WARNING, sentence)


def _verify(
    data: bytes, trusted: Sequence[bytes], expected_sha256: str | None, expected: int, now: datetime | None
) -> ReportVerification:
    digest = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and digest != expected_sha256.lower():
        return _broken("This is not the file that was recorded: its SHA-256 differs.", data)
    try:
        signatures, unsigned = _signatures(data, expected)
    except SealError as error:
        return _broken(str(error), data)
    found = check_evidence(data, signatures[0].ca_fingerprint)
    integrity = Light(LightState.OK, "The file is exactly the one that was signed.")
    signer = _signer_light(signatures, trusted)
    time = _time_light(signatures, found.evidence, now)
    lights_ok = all(light.state is not LightState.FAILED for light in (integrity, signer, time))
    return ReportVerification(
        ok=lights_ok and all(check.ok for check in found.checks),
        integrity=integrity,
        signer=signer,
        time=time,
        checks=found.checks,
        signatures=signatures,
        unsigned_fields=unsigned,
        sha256=digest,
        size=len(data),
        evidence=found.evidence,
        evidence_sha256=found.sha256,
    )


def verify_bytes(
    data: bytes,
    *,
    trusted_ca: Sequence[bytes] = (),
    expected_sha256: str | None = None,
    expected_signatures: int = 1,
    now: datetime | None = None,
) -> ReportVerification:
    """Verify a report held in memory; arguments as for :func:`verify_report`. Never raises."""
    try:
        return _verify(data, trusted_ca, expected_sha256, max(1, expected_signatures), now)
    except Exception as error:  # readers raise anything on broken files, and all of it is a "no"
        return _broken(f"The file is damaged or is not a report ({type(error).__name__}).", data)


def verify_report(
    path: Path,
    *,
    trusted_ca: Sequence[bytes] = (),
    expected_sha256: str | None = None,
    expected_signatures: int = 1,
    now: datetime | None = None,
) -> ReportVerification:
    """Verify a report file.

    Args:
        trusted_ca: certificates (DER or PEM) of the consoles that this machine trusts; with none given, the
            signer light stays amber.
        expected_sha256: the file's hash as the ledger recorded it.
        expected_signatures: how many signatures the ledger says there are; fewer is a failure, because a
            report that is cut back to an earlier state is valid in itself.
        now: to tell signing times in the future and certificates that have ended.

    Returns:
        The result; a file that cannot be read is a failure with a reason. Never raises.
    """
    try:
        if path.stat().st_size > LARGEST_REPORT:
            return _broken("The file is far larger than any report.")
        data = path.read_bytes()
    except OSError as error:
        return _broken(f"The file cannot be read ({error.strerror or type(error).__name__}).")
    return verify_bytes(
        data,
        trusted_ca=trusted_ca,
        expected_sha256=expected_sha256,
        expected_signatures=expected_signatures,
        now=now,
    )
