"""The console's own certificate authority and the personal certificates it issues.

Self-issued and local: a recipient trusts it by comparing a fingerprint, not because a public
authority vouches for it. Keys are ECDSA P-256 (Ed25519 signatures are refused by common PDF readers).
Private keys lie in PKCS#12 files under a passphrase of the caller's; file names say nothing about people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

from console.atomic_file import write_atomically
from console.errors import InputError, PassphraseError, SetupError
from console.reports.verification import Trust

CA_COMMON_NAME = "Erasure Console CA"
CA_YEARS = 10
SIGNER_YEARS = 3
RENEW_BEFORE = timedelta(days=30)
# A recipient's clock may run a little behind ours; a certificate from the future would frighten for nothing.
CLOCK_SKEW = timedelta(minutes=5)
KEY_DERIVATION_ROUNDS = 600_000

_CA_STORE = "console-ca.p12"
_CA_CERTIFICATE = "console-ca.cer"
_LONGEST_NAME = 64  # RFC 5280, ub-common-name and ub-organization-name
SHORTEST_RSA = 2048  # bits; NIST SP 800-131A, revision 2, table 2


@dataclass(frozen=True)
class SigningIdentity:
    """A person's key, certificate and issuer.

    Attributes:
        fingerprint: SHA-256 of the personal certificate, lower-case hex.
        ca_fingerprint: the same of the certificate authority; what recipients compare.
        ca_cer_path: the authority's certificate (DER), to hand to recipients.
    """

    fingerprint: str
    ca_fingerprint: str
    ca_cer_path: Path
    label: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)
    ca_certificate: x509.Certificate = field(repr=False)


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hex SHA-256 of the certificate's DER bytes."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def trust_in(certificates: Iterable[bytes], known_as: str = "one that you named as trusted") -> Trust:
    """Trust in the authorities with these certificates, DER or PEM.

    Raises:
        InputError: no certificate.
    """
    return Trust({fingerprint(_parsed(certificate)): known_as for certificate in certificates})


def _parsed(certificate: bytes) -> x509.Certificate:
    try:
        if b"-----BEGIN" in certificate:
            return x509.load_pem_x509_certificate(certificate)
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise InputError("The trusted certificate is none; give the authority's .cer file (DER or PEM).") from error


def _name(organisation: str, common_name: str) -> x509.Name:
    attributes = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, common_name)]
    try:
        return x509.Name([x509.NameAttribute(oid, value.strip()[:_LONGEST_NAME]) for oid, value in attributes])
    except ValueError as error:
        raise InputError("The organisation's name or the person's label is empty; type it in Settings.") from error


def _usage(*, digital_signature: bool, content_commitment: bool, certificate_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _years_later(moment: datetime, years: int) -> datetime:
    """The same civil date ``years`` later; 29 February becomes 28 February."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, day=28)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _new_authority(organisation: str, now: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(organisation, CA_COMMON_NAME)
    certificate = (
        _builder(name, name, key, now, _years_later(now, CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(digital_signature=False, content_commitment=False, certificate_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Authority(key, certificate)


def _new_signer(
    authority: _Authority, organisation: str, label: str, now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(_years_later(now, SIGNER_YEARS), authority.certificate.not_valid_after_utc)
    certificate = (
        _builder(_name(organisation, label), authority.certificate.subject, key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, content_commitment=True, certificate_sign=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return key, certificate


def _store(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, passphrase: str) -> None:
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(KEY_DERIVATION_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(passphrase.encode("utf-8"))
    )
    data = pkcs12.serialize_key_and_certificates(b"erasure-console", key, certificate, None, encryption)
    write_atomically(path, data, private=True)


def _load(path: Path, passphrase: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """
    Raises:
        PassphraseError: wrong passphrase, or a damaged file, which PKCS#12 cannot tell apart.
        InputError: a key of another kind than this console makes.
    """
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(path.read_bytes(), passphrase.encode("utf-8"))
    except ValueError as error:
        raise PassphraseError(f"The key file {path.name} could not be opened; give the right passphrase.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate is None:
        raise InputError(f"The key file {path.name} holds no key made by this console; restore it from a backup.")
    return key, certificate


def _authority(folder: Path, passphrase: str, organisation: str, now: datetime) -> _Authority:
    path = folder / _CA_STORE
    if path.exists():
        authority = _Authority(*_load(path, passphrase))
        if authority.certificate.not_valid_after_utc <= now:
            raise SetupError(
                f"The console's certificate expired on {authority.certificate.not_valid_after_utc:%d %B %Y}; move the "
                "key folder to an archive and start the console again to make a new one."
            )
    else:
        authority = _new_authority(organisation, now)
        _store(path, authority.key, authority.certificate, passphrase)
    exported = folder / _CA_CERTIFICATE
    der = authority.certificate.public_bytes(Encoding.DER)
    if not exported.exists() or exported.read_bytes() != der:
        write_atomically(exported, der)
    return authority


def _signer_path(folder: Path, label: str) -> Path:
    return folder / f"signer-{hashlib.sha256(label.strip().encode('utf-8')).hexdigest()[:16]}.p12"


def _is_usable(certificate: x509.Certificate, authority: _Authority, now: datetime) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate.not_valid_after_utc - RENEW_BEFORE > now


def ensure_identity(
    folder: Path,
    passphrase: str,
    organisation: str,
    person_label: str,
    now: datetime,
    *,
    ca_passphrase: str | None = None,
) -> SigningIdentity:
    """A person's signing identity: the stored one, or a new one from the console's authority.

    A certificate that ends within :data:`RENEW_BEFORE` is replaced by a new key and certificate.

    Args:
        folder: where key files lie; made when it is missing.
        passphrase: protects the person's key.
        person_label: name or role as recipients shall see it; staff, never the requester.
        now: aware instant.
        ca_passphrase: protects the authority's key, where it is not the person's passphrase.

    Raises:
        PassphraseError: a passphrase does not open its key file.
        InputError: empty names, or a foreign key file.
        SetupError: the authority has expired.
        DiskFullError: the key files cannot be written.
    """
    if not passphrase or ca_passphrase == "":
        raise InputError("A signing key needs a passphrase; type one.")
    moment = now.replace(microsecond=0)
    authority = _authority(folder, passphrase if ca_passphrase is None else ca_passphrase, organisation, moment)
    path = _signer_path(folder, person_label)
    stored = _load(path, passphrase) if path.exists() else None
    if stored is None or not _is_usable(stored[1], authority, moment):
        stored = _new_signer(authority, organisation, person_label, moment)
        _store(path, *stored, passphrase)
    key, certificate = stored
    return SigningIdentity(
        fingerprint=fingerprint(certificate),
        ca_fingerprint=fingerprint(authority.certificate),
        ca_cer_path=folder / _CA_CERTIFICATE,
        label=person_label.strip(),
        key=key,
        certificate=certificate,
        ca_certificate=authority.certificate,
    )


def certificate_doubt(certificate: x509.Certificate, issuer: x509.Certificate) -> str:
    """Why this pair is not what a console issues, apart from its dates; empty where it is."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        issuing = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return "the certificates don't say what they are for."
    if not (usage.digital_signature and usage.content_commitment):
        return "the certificate is not made for signing documents."
    if not (constraints.ca and issuing.key_cert_sign):
        return "the issuer's certificate is not an authority's."
    return ""
