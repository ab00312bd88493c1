"""The seal of a report, checked byte by byte without a PDF parser.

A PDF signature covers the whole file except its own value, a run of hex digits. A strict reader still
accepts changes there: another case of a digit, other padding, a re-encoded or extended signature. This
module accepts exactly the form that the console writes, so that no byte of a report can change unseen:

* the covered ranges are everything but the value, to the last byte of the file;
* the value is upper-case hex of one DER object and zero padding;
* that object is, byte for byte, what its meaning encodes to: one signer, SHA-256 and ECDSA, two
  certificates, no extra attribute (RFC 5652, RFC 5035, ETSI EN 319 142-1 baseline B-B);
* the digest, the signature and both certificates verify.

What a PDF reader makes of the file (fields, allowed changes, the chain) is judged in ``verify``.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass

from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from asn1crypto.parser import peek
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

END_OF_FILE = b"%%EOF\n"
_SEAL = re.compile(rb"/Contents <([0-9A-F]+)>\n/ByteRange \[0 (\d+) (\d+) (\d+)\] *\n")
_SIGNED_ATTRIBUTES = {"content_type", "message_digest", "signing_certificate_v2"}


class SealError(Exception):
    """The seal is broken; the message says where, in words for the person who verifies."""


class OtherFormError(Exception):
    """No seal of a console: another program signed, or nobody did. Whether the file is intact is another question."""


@dataclass(frozen=True)
class Seal:
    """One signature value.

    Attributes:
        byte_range: the four numbers of ``/ByteRange``.
        end: length of the revision that this signature closes; ``sha256`` is of these bytes.
    """

    byte_range: tuple[int, int, int, int]
    end: int
    sha256: str
    certificate: x509.Certificate
    ca_certificate: x509.Certificate


@dataclass(frozen=True)
class _SignedMessage:
    signer: cms.SignerInfo
    certificates: tuple[bytes, ...]


def _der(value: bytes) -> bytes:
    """The one DER object in a hex value; what follows it must be zeros."""
    if len(value) % 2:
        raise SealError("The signature value has an odd number of digits.")
    padded = bytes.fromhex(value.decode("ascii"))
    try:
        length = peek(padded)
    except ValueError as error:
        raise SealError("The signature value is not readable.") from error
    if any(padded[length:]):
        raise SealError("Something was written into the padding of the signature.")
    return padded[:length]


def _message(der: bytes) -> _SignedMessage:
    """The parts of a CMS message, if it is exactly what these parts encode to."""
    content = cms.ContentInfo.load(der, strict=True)
    if content["content_type"].native != "signed_data":
        raise OtherFormError("The signature value holds something else than a signature.")
    signed = content["content"]
    if len(signed["signer_infos"]) != 1 or len(signed["certificates"]) != 2:
        raise OtherFormError("The signature value holds more or fewer parts than a report's.")
    signer = signed["signer_infos"][0]
    certificates = tuple(choice.chosen.dump() for choice in signed["certificates"])
    by_serial = {
        certificate.serial_number: certificate for certificate in map(asn1_x509.Certificate.load, certificates)
    }
    named = signer["sid"]
    own = by_serial.get(named.chosen["serial_number"].native) if named.name == "issuer_and_serial_number" else None
    if own is None:
        raise OtherFormError("The signature names a certificate that is not in it.")
    sha256 = {"algorithm": "sha256"}
    rebuilt = cms.ContentInfo(
        {
            "content_type": "signed_data",
            "content": cms.SignedData(
                {
                    "version": "v1",
                    "digest_algorithms": [cms.DigestAlgorithm(sha256)],
                    "encap_content_info": {"content_type": "data"},
                    "certificates": [asn1_x509.Certificate.load(certificate) for certificate in certificates],
                    "signer_infos": [
                        cms.SignerInfo(
                            {
                                "version": "v1",
                                "sid": cms.SignerIdentifier(
                                    "issuer_and_serial_number",
                                    cms.IssuerAndSerialNumber(
                                        {"issuer": own.issuer, "serial_number": own.serial_number}
                                    ),
                                ),
                                "digest_algorithm": cms.DigestAlgorithm(sha256),
                                "signed_attrs": signer["signed_attrs"],
                                "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                                "signature": signer["signature"].native,
                            }
                        )
                    ],
                }
            ),
        }
    )
    if rebuilt.dump() != der:
        raise OtherFormError("The signature value is not in the form in which it was written.")
    return _SignedMessage(signer, certificates)


def _check_signature(message: _SignedMessage, digest: bytes) -> tuple[x509.Certificate, x509.Certificate]:
    """Digest, signature and both certificates; the personal certificate and its issuer."""
    attributes = {attribute["type"].native: attribute["values"] for attribute in message.signer["signed_attrs"]}
    if attributes.keys() != _SIGNED_ATTRIBUTES:
        raise OtherFormError("The signature holds other attributes than a report's.")
    if attributes["message_digest"][0].native != digest:
        raise SealError("The file was changed after it was signed.")
    certificates = [x509.load_der_x509_certificate(der) for der in message.certificates]
    issuers = [certificate for certificate in certificates if certificate.issuer == certificate.subject]
    own = [certificate for certificate in certificates if certificate.issuer != certificate.subject]
    if len(issuers) != 1 or len(own) != 1:
        raise OtherFormError("The signature does not hold one personal certificate and its issuer.")
    reference: tsp.SigningCertificateV2 = attributes["signing_certificate_v2"][0]
    stated = reference["certs"][0]["cert_hash"].native
    if stated != hashlib.sha256(message.certificates[certificates.index(own[0])]).digest():
        raise SealError("The signature was made with another certificate than the one it holds.")
    key = own[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise OtherFormError("The signature was made with a key of another kind than a report's.")
    try:
        own[0].verify_directly_issued_by(issuers[0])
        issuers[0].verify_directly_issued_by(issuers[0])
    except (ValueError, TypeError, InvalidSignature) as error:
        raise OtherFormError("The certificate was not issued by the one that is beside it.") from error
    # Signed is the SET OF attributes (RFC 5652, 5.4), which stands in the message under the tag [0]; taking its
    # bytes as they are, and not encoding it anew, leaves no freedom in how it is written.
    attributes_der = b"\x31" + message.signer["signed_attrs"].dump()[1:]
    key.verify(message.signer["signature"].native, attributes_der, ec.ECDSA(hashes.SHA256()))
    return own[0], issuers[0]


def _seal(data: bytes, found: re.Match[bytes]) -> Seal:
    before, after, rest = (int(found.group(number)) for number in (2, 3, 4))
    value_start, value_end = found.start(1) - 1, found.end(1) + 1
    end = after + rest
    if (before, after) != (value_start, value_end) or end > len(data):
        raise SealError("A signature does not cover the bytes around it.")
    if not data[:end].endswith(END_OF_FILE):
        raise OtherFormError("A signature does not reach to the end of its revision of the file.")
    digest = hashlib.sha256(data[:before] + data[after:end]).digest()
    try:
        with warnings.catch_warnings():
            # Odd certificates draw warnings from the library before they fail; the failure is all that is needed.
            warnings.simplefilter("ignore")
            certificate, ca_certificate = _check_signature(_message(_der(found.group(1))), digest)
    except (ValueError, TypeError, KeyError, IndexError, InvalidSignature) as error:
        raise SealError("The signature does not verify.") from error
    return Seal((0, before, after, rest), end, hashlib.sha256(data[:end]).hexdigest(), certificate, ca_certificate)


def seals(data: bytes) -> tuple[Seal, ...]:
    """Every signature of a report, oldest first, all of them intact and the last one covering the whole file.

    Raises:
        SealError: a signature does not hold for every byte it must hold for.
        OtherFormError: there is no signature, or one that no console makes.
    """
    found = tuple(_seal(data, match) for match in _SEAL.finditer(data))
    if not found:
        raise OtherFormError("The file carries no signature of a report.")
    if found[-1].end != len(data):
        raise SealError("Something was added to the file after the last signature.")
    return found
