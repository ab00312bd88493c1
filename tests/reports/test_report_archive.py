"""PDF/A-3b: declared, self-contained, with one attachment, and accepted by the tools at hand."""

from __future__ import annotations

import io
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pikepdf
import pytest
from PIL import ImageCms
from sample_evidence import sample

from console.paths import resource
from console.reports.archive import build_archive
from console.reports.encoding import evidence_bytes
from console.reports.evidence import Evidence
from console.reports.evidence_checks import attached_evidence

PDFAID = "{http://www.aiim.org/pdfa/ns/id/}"
DC = "{http://purl.org/dc/elements/1.1/}"


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(name: str, *arguments: str | Path) -> str:
    finished = subprocess.run(
        [tool(name), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return finished.stdout


def every_font(pdf: pikepdf.Pdf) -> list[pikepdf.Object]:
    return [item for item in pdf.objects if isinstance(item, pikepdf.Dictionary) and item.get("/Type") == "/Font"]


def test_same_evidence_same_bytes(base_pdf: bytes, small_evidence: Evidence, office) -> None:  # type: ignore[no-untyped-def]
    assert build_archive(small_evidence, office.preparer.ca_fingerprint) == base_pdf


def test_it_declares_pdf_a(base_pdf: bytes, small_evidence: Evidence) -> None:
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        packet = ElementTree.fromstring(pdf.Root.Metadata.read_bytes())
        texts = {element.tag: (element.text or "").strip() for element in packet.iter()}
        assert (texts[f"{PDFAID}part"], texts[f"{PDFAID}conformance"]) == ("3", "B")
        title = packet.find(f".//{DC}title//*[@{{http://www.w3.org/XML/1998/namespace}}lang]")
        assert title is not None
        assert title.text == str(pdf.trailer.Info.Title) == f"Erasure report {small_evidence.report_id}"
        assert str(pdf.Root.Lang) == "en-GB"
        assert pdf.pdf_version == "1.7"
        assert not pdf.is_encrypted
        assert "/Filter" not in pdf.Root.Metadata  # archives must find the packet without decoding


def test_metadata_dates_are_the_evidences(base_pdf: bytes, small_evidence: Evidence) -> None:
    made = datetime.fromisoformat(small_evidence.created_at.replace("Z", "+00:00")).astimezone(UTC)
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        assert str(pdf.trailer.Info.CreationDate) == f"D:{made:%Y%m%d%H%M%S}+00'00'"
        assert f"{made:%Y-%m-%dT%H:%M:%S}+00:00".encode() in pdf.Root.Metadata.read_bytes()


def test_metadata_survives_any_name() -> None:
    evidence = sample(organisation="A & B <Ltd> \x01 “東京”")
    with pikepdf.open(io.BytesIO(build_archive(evidence, "0" * 64))) as pdf:
        packet = ElementTree.fromstring(pdf.Root.Metadata.read_bytes())
        creator = packet.find(f".//{DC}creator//{{http://www.w3.org/1999/02/22-rdf-syntax-ns#}}li")
        assert creator is not None
        assert creator.text == "A & B <Ltd>  “東京”"


def test_colours_have_a_profile(base_pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        (intent,) = pdf.Root.OutputIntents
        assert intent.S == "/GTS_PDFA1"
        profile = ImageCms.ImageCmsProfile(io.BytesIO(bytes(intent.DestOutputProfile.read_bytes())))
    assert profile.profile.xcolor_space.strip() == "RGB"
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert resource("report", "srgb.icc").read_bytes()[36:40] == b"acsp"


def test_every_font_is_embedded(base_pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        fonts = every_font(pdf)
        assert {str(font.BaseFont).partition("+")[2] for font in fonts} == {
            "NotoSans-Regular", "NotoSans-Bold", "NotoSans-Italic", "NotoSansMono-Regular",
        }  # fmt: skip
        assert all("/FontFile2" in font.FontDescriptor and "/ToUnicode" in font for font in fonts)


def test_no_transparency_script_or_link(base_pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        assert not {"/OpenAction", "/AA", "/JavaScript"} & set(pdf.Root.keys())
        assert all("/Group" not in page and "/Annots" not in page for page in pdf.pages)


def test_the_evidence_is_attached_once(base_pdf: bytes, small_evidence: Evidence) -> None:
    assert attached_evidence(base_pdf) == evidence_bytes(small_evidence)
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        (file,) = pdf.Root.AF
        assert file.AFRelationship == "/Data"
        assert file.EF.F.Subtype == "/application/json"
        assert int(file.EF.F.Params.Size) == len(evidence_bytes(small_evidence))
        assert "/ModDate" in file.EF.F.Params
        assert list(pdf.attachments) == ["evidence.json"]


def test_no_personal_data_in_the_metadata(base_pdf: bytes, small_evidence: Evidence) -> None:
    with pikepdf.open(io.BytesIO(base_pdf)) as pdf:
        packet = pdf.Root.Metadata.read_bytes().decode()
        info = "".join(str(value) for value in pdf.trailer.Info.values())
    assert small_evidence.request.subject_ref not in packet + info


def test_qpdf_accepts_it(signed_pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(signed_pdf)
    assert "No syntax or stream encoding errors" in run("qpdf", "--check", tmp_path / "report.pdf")


def test_pdffonts_finds_all_fonts_embedded(signed_pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(signed_pdf)
    lines = run("pdffonts", tmp_path / "report.pdf").splitlines()[2:]
    assert len(lines) == 4
    assert all(line.split()[-5:-2] == ["yes", "yes", "yes"] for line in lines)  # embedded, subset, Unicode
