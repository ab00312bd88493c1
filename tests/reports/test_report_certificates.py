"""Keys and certificates: the right kind, reused, renewed, and never opened without the passphrase."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import NOW, PASSPHRASE, Office
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from console.errors import DiskFullError, InputError, PassphraseError, SetupError
from console.reports.certificates import CA_COMMON_NAME, ensure_identity, fingerprint

ORGANISATION = "Žofie Řehořová & Søn"


def test_the_authority_signs_certificates_and_nothing_else(office: Office) -> None:
    authority = x509.load_der_x509_certificate(office.ca)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert authority.not_valid_after_utc == NOW.replace(year=NOW.year + 10)
    assert authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == CA_COMMON_NAME
    authority.verify_directly_issued_by(authority)
    assert fingerprint(authority) == office.preparer.ca_fingerprint == office.approver.ca_fingerprint


def test_a_person_signs_documents_and_nothing_else(office: Office) -> None:
    certificate = office.preparer.certificate
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.content_commitment, usage.key_cert_sign) == (True, True, False)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc == NOW.replace(year=NOW.year + 3)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert office.preparer.key.curve.name == "secp256r1"
    certificate.verify_directly_issued_by(office.preparer.ca_certificate)
    assert office.preparer.fingerprint != office.approver.fingerprint


def test_the_identity_is_kept(office: Office) -> None:
    again = ensure_identity(office.folder, PASSPHRASE, ORGANISATION, "Žofie Řehořová", NOW + timedelta(days=100))
    assert (again.fingerprint, again.ca_fingerprint) == (office.preparer.fingerprint, office.preparer.ca_fingerprint)


def test_a_certificate_near_its_end_is_replaced(tmp_path: Path) -> None:
    first = ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW)
    later = first.certificate.not_valid_after_utc - timedelta(days=29)
    second = ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", later)
    assert second.fingerprint != first.fingerprint
    assert second.ca_fingerprint == first.ca_fingerprint
    assert second.certificate.not_valid_after_utc > later + timedelta(days=1000)


def test_a_person_does_not_outlive_the_authority(tmp_path: Path) -> None:
    ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW)
    late = ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW.replace(year=NOW.year + 9))
    assert late.certificate.not_valid_after_utc == late.ca_certificate.not_valid_after_utc
    with pytest.raises(SetupError, match="expired"):
        ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW.replace(year=NOW.year + 11))


def test_a_wrong_passphrase_opens_nothing(office: Office) -> None:
    with pytest.raises(PassphraseError, match=r"console-ca\.p12"):
        ensure_identity(office.folder, "wrong", ORGANISATION, "Žofie Řehořová", NOW)
    with pytest.raises(PassphraseError, match="signer-"):
        ensure_identity(office.folder, "wrong", ORGANISATION, "Jürgen Ø.", NOW, ca_passphrase=PASSPHRASE)


def test_a_damaged_key_file_is_not_replaced(tmp_path: Path) -> None:
    ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW)
    store = tmp_path / "console-ca.p12"
    store.write_bytes(store.read_bytes()[:-40])
    damaged = store.read_bytes()
    with pytest.raises(PassphraseError):
        ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW)
    assert store.read_bytes() == damaged


def test_the_exported_certificate_comes_back(tmp_path: Path) -> None:
    identity = ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW)
    exported = identity.ca_cer_path.read_bytes()
    identity.ca_cer_path.unlink()
    assert ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "DPO", NOW).ca_cer_path.read_bytes() == exported


def test_file_names_and_files_name_nobody(office: Office) -> None:
    for path in office.folder.iterdir():
        assert not {"žofie", "jürgen", "řehořová"} & set(path.name.lower().split("-"))
        if path.suffix == ".p12":
            assert "Žofie".encode() not in path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX notion")
def test_key_files_are_private(office: Office) -> None:
    for path in office.folder.glob("*.p12"):
        assert path.stat().st_mode & 0o077 == 0


def test_names_and_passphrases_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="passphrase"):
        ensure_identity(tmp_path, "", ORGANISATION, "DPO", NOW)
    with pytest.raises(InputError, match="empty"):
        ensure_identity(tmp_path, PASSPHRASE, ORGANISATION, "   ", NOW)


def test_long_names_are_fitted(tmp_path: Path) -> None:
    identity = ensure_identity(tmp_path, PASSPHRASE, "Ř" * 200, "D" * 200, NOW)
    assert len(identity.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value) == 64


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(DiskFullError):
        ensure_identity(tmp_path / "file", PASSPHRASE, ORGANISATION, "DPO", NOW)


def test_guessing_a_passphrase_is_slow(quick_key_files: int) -> None:
    assert quick_key_files >= 600_000  # OWASP, PBKDF2 with SHA-256


def test_secrets_do_not_show_in_a_log(office: Office) -> None:
    assert "PrivateKey" not in repr(office.preparer)
