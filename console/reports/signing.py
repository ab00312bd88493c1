"""Sign a report: PAdES baseline B-B, first by the preparer, then by the approver.

Both signature fields are made before anybody signs, because a field that is added after a certification
signature breaks it. The preparer's signature certifies the document and allows form filling only, which
is what the approver's signature in the existing field is. Signatures do not show on the page.

This is the only module that signs with pyHanko, so that its changes of interface stay here.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.sign import fields, signers
from pyhanko.sign.signers.constants import ESIC_EXTENSION_1
from pyhanko_certvalidator.registry import SimpleCertificateStore

from console.errors import InputError
from console.reports.certificates import SigningIdentity
from console.reports.verification import APPROVED, PREPARED

_READABLE = {PREPARED: "Signature of the preparer", APPROVED: "Signature of the approver"}


class _UntouchedMetadata(IncrementalPdfFileWriter):
    """An incremental update that leaves the document's metadata alone.

    pyHanko would write the time of its own clock and re-serialise the XMP packet, which has cost documents
    their PDF/A conformance before (pyHanko #755).
    """

    def _update_meta(self) -> None:
        return


class _SignerWithClock(signers.PdfSigner):
    """A signer that takes the signing time from its caller."""

    def __init__(self, now: datetime, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._now = now

    def init_signing_session(self, pdf_out, existing_fields_only=False):  # type: ignore[no-untyped-def]
        session = super().init_signing_session(pdf_out, existing_fields_only)
        session.system_time = self._now
        return session

    def register_extensions(self, pdf_out, *, md_algorithm):  # type: ignore[no-untyped-def]
        """Declare the PAdES extension only.

        pyHanko also declares ISO/TS 32002 for the curve, which raises the document to PDF 2.0; PDF/A-3 is
        defined on PDF 1.7, and readers of 1.7 have verified P-256 since long before that declaration existed.
        """
        pdf_out.register_extension(ESIC_EXTENSION_1)


def _cms_signer(identity: SigningIdentity) -> signers.SimpleSigner:
    """The key and the chain of two certificates, in the forms that pyHanko takes."""

    def certificate(der: bytes) -> asn1_x509.Certificate:
        return asn1_x509.Certificate.load(der)

    authority = certificate(identity.ca_certificate.public_bytes(Encoding.DER))
    private = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    registry = SimpleCertificateStore()
    registry.register(authority)
    return signers.SimpleSigner(
        signing_cert=certificate(identity.certificate.public_bytes(Encoding.DER)),
        signing_key=asn1_keys.PrivateKeyInfo.load(private),
        cert_registry=registry,
        embed_roots=True,
    )


def _prepare_fields(pdf: bytes) -> bytes:
    target = io.BytesIO()
    writer = _UntouchedMetadata(io.BytesIO(pdf))
    for name in (PREPARED, APPROVED):
        spec = fields.SigFieldSpec(name, on_page=0, readable_field_name=_READABLE[name])
        fields.append_signature_field(writer, spec)
    writer.write(target)
    return target.getvalue()


def _sign(pdf: bytes, identity: SigningIdentity, field: str, reason: str, now: datetime) -> bytes:
    certifies = field == PREPARED
    metadata = signers.PdfSignatureMetadata(
        field_name=field,
        md_algorithm="sha256",
        reason=reason,
        subfilter=fields.SigSeedSubFilter.PADES,
        certify=certifies,
        docmdp_permissions=fields.MDPPerm.FILL_FORMS,
    )
    signer = _SignerWithClock(now.astimezone(UTC).replace(microsecond=0), metadata, _cms_signer(identity))
    target = io.BytesIO()
    signer.sign_pdf(_UntouchedMetadata(io.BytesIO(pdf)), existing_fields_only=True, output=target)
    return target.getvalue()


def sign_report(base_pdf: bytes, identity: SigningIdentity, *, reason: str, now: datetime) -> bytes:
    """The preparer's signature, which certifies the report.

    Args:
        base_pdf: an unsigned report, from :func:`console.reports.archive.build_archive`.
        reason: the fixed statement that is signed; staff text, shown by PDF readers.
        now: aware instant; the signing time is the signer's own clock.

    Raises:
        InputError: not an unsigned report.
    """
    try:
        return _sign(_prepare_fields(base_pdf), identity, PREPARED, reason, now)
    except (PdfError, ValueError) as error:
        raise InputError("The report could not be signed; make it again from the case.") from error


def countersign_report(signed_pdf: bytes, identity: SigningIdentity, *, reason: str, now: datetime) -> bytes:
    """The approver's signature, beside the preparer's.

    Raises:
        InputError: the report has no preparer's signature, or is approved already.
    """
    try:
        return _sign(signed_pdf, identity, APPROVED, reason, now)
    except (PdfError, ValueError) as error:
        raise InputError(
            "The report could not be countersigned; it must carry the preparer's signature and no other."
        ) from error
