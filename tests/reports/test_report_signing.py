"""PAdES B-B: certified by the preparer, approved in a field that was there, valid for other judges too."""

from __future__ import annotations

import io
from pathlib import Path

import pikepdf
import pytest
from conftest import NOW, Office
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm
from test_report_archive import run

from console.errors import InputError
from console.reports.signing import APPROVED, PREPARED, countersign_report, sign_report


def test_the_preparer_certifies(signed_pdf: bytes) -> None:
    reader = PdfFileReader(io.BytesIO(signed_pdf))
    (signature,) = reader.embedded_signatures
    assert signature.field_name == PREPARED
    assert signature.docmdp_level is MDPPerm.FILL_FORMS
    assert signature.sig_object["/SubFilter"] == "/ETSI.CAdES.detached"
    assert signature.md_algorithm == "sha256"
    assert signature.self_reported_timestamp == NOW
    assert signature.sig_object["/Reason"] == "I stand up for this report."


def test_both_fields_are_there_named_and_invisible(signed_pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(signed_pdf)) as pdf:
        fields = list(pdf.Root.AcroForm.Fields)
        assert [str(field.T) for field in fields] == [PREPARED, APPROVED]
        assert [str(field.TU) for field in fields] == ["Signature of the preparer", "Signature of the approver"]
        for field in fields:
            assert [int(number) for number in field.Rect] == [0, 0, 0, 0]
            assert int(field.F) & 4  # print flag, which PDF/A asks for
            assert not int(field.F) & 2  # hidden, which PDF/A forbids


def test_signing_leaves_the_archive_as_it_was(base_pdf: bytes, countersigned_pdf: bytes) -> None:
    """Metadata byte for byte; no step up to PDF 2.0, on which PDF/A-3 is not defined."""
    assert countersigned_pdf.startswith(base_pdf)
    with pikepdf.open(io.BytesIO(base_pdf)) as before, pikepdf.open(io.BytesIO(countersigned_pdf)) as after:
        assert before.Root.Metadata.read_bytes() == after.Root.Metadata.read_bytes()
        assert dict(before.trailer.Info) == dict(after.trailer.Info)
        assert "/Version" not in after.Root
        assert list(after.Root.Extensions.keys()) == ["/ESIC"]


def test_the_approver_signs_the_field_that_was_there(countersigned_pdf: bytes) -> None:
    reader = PdfFileReader(io.BytesIO(countersigned_pdf))
    assert [signature.field_name for signature in reader.embedded_signatures] == [PREPARED, APPROVED]


def test_a_report_is_signed_once_by_each(office: Office, signed_pdf: bytes, countersigned_pdf: bytes) -> None:
    with pytest.raises(InputError):
        sign_report(signed_pdf, office.preparer, reason="again", now=NOW)
    with pytest.raises(InputError):
        countersign_report(countersigned_pdf, office.approver, reason="again", now=NOW)


def test_only_a_report_can_be_signed(office: Office, base_pdf: bytes) -> None:
    for data in (b"", b"%PDF-1.7\n", base_pdf[: len(base_pdf) // 2]):
        with pytest.raises(InputError):
            sign_report(data, office.preparer, reason="no", now=NOW)
    with pytest.raises(InputError):
        countersign_report(base_pdf, office.approver, reason="no preparer", now=NOW)


def test_poppler_finds_the_signatures_valid(countersigned_pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(countersigned_pdf)
    output = run("pdfsig", tmp_path / "report.pdf")
    assert output.count("Signature is Valid") == 2
    assert output.count("Total document signed") == 1
    assert "Signature is Invalid" not in output
    assert "Žofie Řehořová" in output
