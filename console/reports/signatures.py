"""What a PDF reader makes of the signatures in a file, a console's or anybody's: intact or not, and who signed.

A second opinion beside :mod:`console.reports.envelope`. Whether a file is what was signed, whether its certificate is
one that a console makes, and whether it was valid at the time are separate questions: each has its own answer here.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import enumerate_sig_fields
from pyhanko.sign.general import CMSExtractionError, CMSStructuralError
from pyhanko.sign.validation import EmbeddedPdfSignature, validate_pdf_signature
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.generic_cms import validate_sig_integrity
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from console.reports.certificates import SHORTEST_RSA, certificate_doubt, fingerprint
from console.reports.envelope import Seal, SealError
from console.reports.verification import ReportSignature

CHANGED = "The file was changed after it was signed."
_WEAK_HASHES = frozenset({"md2", "md5", "sha1"})

# A certificate out of its time is an answer here and no incident: pyHanko logs it with a traceback, which Python
# prints where nobody has set up logging.
for _library in ("pyhanko", "pyhanko_certvalidator"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


@dataclass(frozen=True)
class SignedFile:
    """The signatures of a file, oldest first, and the names of signature fields that wait for one.

    Attributes:
        broken: why the file is not what was signed; empty where it is.
        weak_hash: the hash by which the file matches its signature, where another file can be made to match it too.
    """

    signatures: tuple[ReportSignature, ...]
    unsigned_fields: tuple[str, ...]
    broken: str = ""
    weak_hash: str = ""


def _stated_time(signature: EmbeddedPdfSignature) -> datetime | None:
    try:
        stated = signature.self_reported_timestamp
    except (PdfError, ValueError):
        return None
    return stated.astimezone(UTC) if stated is not None and stated.tzinfo is not None else None


def _name(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""


def _fields(reader: PdfFileReader) -> dict[str, bool]:
    """Names of the signature fields, and whether each is signed."""
    return {name: value is not None for name, value, _ in enumerate_sig_fields(reader)}


# -- signatures of consoles ---------------------------------------------------------------------------


def read_sealed(data: bytes, sealed: Sequence[Seal]) -> SignedFile:
    """The signatures of a file whose seals hold.

    Raises:
        SealError: a PDF reader sees other signatures than the raw bytes show, or changes that are not allowed.
    """
    reader = PdfFileReader(io.BytesIO(data))
    embedded = reader.embedded_signatures
    if len(embedded) != len(sealed):
        raise SealError("A PDF reader sees another number of signatures than the file shows.")
    last = len(embedded) - 1
    signatures = tuple(
        _of_console(signature, seal, number == 0, number == last)
        for number, (signature, seal) in enumerate(zip(embedded, sealed, strict=True))
    )
    return SignedFile(signatures, tuple(name for name, filled in _fields(reader).items() if not filled))


def _of_console(signature: EmbeddedPdfSignature, seal: Seal, first: bool, newest: bool) -> ReportSignature:
    if tuple(signature.byte_range) != seal.byte_range:
        raise SealError("A PDF reader sees a signature over other bytes than the file shows.")
    certificates = (seal.certificate, seal.ca_certificate)
    begins = max(certificate.not_valid_before_utc for certificate in certificates)
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    signed_at = _stated_time(signature)
    # The chain is judged at a moment in its own time; whether the stated time lies in it, the time light says.
    moment = min(max(signed_at or begins, begins), ends)
    authority = asn1_x509.Certificate.load(seal.ca_certificate.public_bytes(Encoding.DER))
    context = ValidationContext(trust_roots=[authority], allow_fetching=False, moment=moment)
    status = validate_pdf_signature(signature, context)
    wanted = SignatureCoverageLevel.ENTIRE_FILE if newest else SignatureCoverageLevel.ENTIRE_REVISION
    if not (status.intact and status.valid) or status.coverage < wanted:
        raise SealError(CHANGED)
    if not status.docmdp_ok:
        raise SealError("The file was changed after it was signed, in a way that the first signature forbids.")
    doubt = certificate_doubt(seal.certificate, seal.ca_certificate)
    if not doubt and not status.trusted and begins <= ends:
        doubt = "a check of its certificate refuses it."
    if not doubt and first and signature.docmdp_level is None:
        doubt = "the first signature does not certify the report."
    return ReportSignature(
        field=signature.field_name,
        signer=_name(seal.certificate, NameOID.COMMON_NAME),
        organisation=_name(seal.certificate, NameOID.ORGANIZATION_NAME),
        reason=str(signature.sig_object.get("/Reason", "")),
        signed_at=signed_at,
        fingerprint=fingerprint(seal.certificate),
        ca_fingerprint=fingerprint(seal.ca_certificate),
        valid_from=begins,
        valid_until=ends,
        revision_sha256=seal.sha256,
        doubt=doubt,
    )


# -- signatures of anybody ----------------------------------------------------------------------------


def read_signed(data: bytes, reason: str) -> SignedFile:
    """The signatures of a file that no console sealed; none where it carries none.

    Args:
        reason: what makes it another's.
    """
    reader = PdfFileReader(io.BytesIO(data), strict=False)
    embedded = reader.embedded_signatures
    broken = next((found for found in map(_broken, embedded) if found), "")
    if not broken and embedded and embedded[-1].coverage != SignatureCoverageLevel.ENTIRE_FILE:
        broken = "What was signed is unchanged, but something was added to the file after the last signature."
    waiting = tuple(name for name, filled in _fields(reader).items() if not filled)
    weak = next((signature.md_algorithm for signature in embedded if signature.md_algorithm in _WEAK_HASHES), "")
    return SignedFile(tuple(_of_anybody(signature, reason) for signature in embedded), waiting, broken, weak.upper())


def _broken(signature: EmbeddedPdfSignature) -> str:
    """Why the file is not what was signed; empty where it is."""
    try:
        signature.compute_integrity_info()
        intact, valid = validate_sig_integrity(
            signature.signer_info, signature.signer_cert, "data", signature.compute_digest()
        )
    except (PdfError, SignatureValidationError, CMSExtractionError, CMSStructuralError, ValueError, TypeError) as error:
        return f"The signature cannot be read, so nothing shows that the file is what was signed ({_kind(error)})."
    allowed = signature.summarise_integrity_info()["docmdp_ok"] is not False
    return "" if intact and valid and allowed else CHANGED


def _kind(error: Exception) -> str:
    return type(error).__name__


def _of_anybody(signature: EmbeddedPdfSignature, reason: str) -> ReportSignature:
    certificate = signature.signer_cert
    names = certificate.subject.native
    validity = certificate["tbs_certificate"]["validity"]
    return ReportSignature(
        field=str(signature.field_name),
        signer=_one(names, "common_name") or certificate.subject.human_friendly,
        organisation=_one(names, "organization_name"),
        reason=str(signature.sig_object.get("/Reason", "")),
        signed_at=_stated_time(signature),
        fingerprint=certificate.sha256.hex(),
        ca_fingerprint="",
        valid_from=validity["not_before"].native,
        valid_until=validity["not_after"].native,
        doubt=f"{_weak_key(signature)}{reason}",
    )


def _one(names: dict[str, object], key: str) -> str:
    value = names.get(key, "")
    return str(value[0]) if isinstance(value, list) else str(value)


def _weak_key(signature: EmbeddedPdfSignature) -> str:
    """A sentence for a key that somebody else may have found by now; empty for a sound one."""
    key = signature.signer_cert.public_key
    if key.algorithm not in {"rsa", "rsassa_pss", "dsa"} or key.bit_size >= SHORTEST_RSA:
        return ""
    return f"The key is weak ({key.algorithm.upper()}, {key.bit_size} bits). "
