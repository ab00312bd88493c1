"""PDFs that no console made or signed: by somebody's own key, with something that acts, or far too large."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta

import pikepdf
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def blank() -> bytes:
    """One empty page."""
    return changed(b"", lambda document: document.add_blank_page())


def changed(pdf: bytes, change: Callable[[pikepdf.Pdf], object]) -> bytes:
    """The PDF after a change that an editor might make."""
    target = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) if pdf else pikepdf.new() as document:
        change(document)
        document.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    return target.getvalue()


def self_signed(
    pdf: bytes, now: datetime, *, key: Key | None = None, name: str = "A Stranger", md_algorithm: str = "sha256"
) -> bytes:
    """Signed in a field of its own by somebody whose certificate nobody issued."""
    secret = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(secret, hashes.SHA256())
    )
    private = secret.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    signer = signers.SimpleSigner(
        signing_cert=asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER)),
        signing_key=asn1_keys.PrivateKeyInfo.load(private),
        cert_registry=None,
    )
    target = io.BytesIO()
    metadata = signers.PdfSignatureMetadata(field_name="Mine", md_algorithm=md_algorithm)
    signers.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)), metadata, signer, output=target)
    return target.getvalue()


def with_open_field(pdf: bytes, name: str) -> bytes:
    """With one more signature field, which nobody has signed."""
    target = io.BytesIO()
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    fields.append_signature_field(writer, fields.SigFieldSpec(name, on_page=0))
    writer.write(target)
    return target.getvalue()


def packed_twice(pdf: bytes, page: bytes) -> bytes:
    """With a page that has to be unpacked twice; a library would unpack it once while writing."""

    def padded(document: pikepdf.Pdf) -> None:
        stream = document.make_stream(b"")
        stream.write(zlib.compress(zlib.compress(page, 9), 9), filter=pikepdf.Name.FlateDecode)
        stream.stream_dict.Room = pikepdf.String("x" * 30)
        document.pages[0].obj.Contents = stream

    whole = changed(pdf, padded)
    start = whole.rindex(b" obj", 0, whole.index(b"/Room"))
    end = whole.index(b"stream", start)
    entry = whole[start:end].replace(b"/FlateDecode", b"[/FlateDecode /FlateDecode]").replace(b"x" * 30, b"x" * 15)
    return whole[:start] + entry + whole[end:]
