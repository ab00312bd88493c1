"""Whatever the file: refused within seconds, in bounded memory, in one sentence."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pikepdf
import psutil
import pytest
from conftest import NOW, Office
from strangers import blank, changed, packed_twice, self_signed

from console.errors import InputError
from console.reports import pdf_limits, watched_check
from console.reports.signing import sign_report
from console.reports.verification import LightState
from console.reports.verify import verify_bytes, verify_report
from console.reports.watched_check import WatchedCheck

MIB = 1024 * 1024


def page_entries(document: pikepdf.Pdf) -> None:
    """One page, entered 200,000 times."""
    document.Root.Pages.Kids = pikepdf.Array([document.pages[0].obj] * 200_000)


def text_operators(document: pikepdf.Pdf) -> None:
    """Five million operators that show a text, on one page."""
    document.pages[0].obj.Contents = document.make_stream(b"BT /F1 9 Tf " + b"(a) Tj " * 5_000_000 + b"ET")


def shared_operators(document: pikepdf.Pdf) -> None:
    """A long page, entered a thousand times."""
    document.pages[0].obj.Contents = document.make_stream(b"BT " + b"(a) Tj " * 50_000 + b"ET")
    document.Root.Pages.Kids = pikepdf.Array([document.pages[0].obj] * 1_000)


def blanks_as_evidence(document: pikepdf.Pdf) -> None:
    """300 MB of blanks where the evidence should be."""
    document.Root.AF[0].EF.F.write(b" " * (300 * MIB))


def long_evidence(document: pikepdf.Pdf) -> None:
    """Evidence that unpacks to no more than a file may, and to more than evidence may."""
    document.Root.AF[0].EF.F.write(b" " * (20 * MIB))


def many_values(document: pikepdf.Pdf) -> None:
    """An array of 301,000 numbers."""
    document.Root.Many = pikepdf.Array([0] * 301_000)


def deep_values(document: pikepdf.Pdf) -> None:
    """Arrays in arrays, 300 deep."""
    value = pikepdf.Array([])
    for _ in range(300):
        value = pikepdf.Array([value])
    document.Root.Deep = value


def many_objects(document: pikepdf.Pdf) -> None:
    """Thirty thousand objects."""
    document.Root.Many = pikepdf.Array([document.make_indirect(pikepdf.Dictionary()) for _ in range(30_000)])


def refusal(pdf: bytes) -> str:
    """What is said of a file, after no more than 10 s and 1 GB."""
    started, memory = time.process_time(), psutil.Process().memory_info().rss
    with pytest.raises(InputError) as refused:
        verify_bytes(pdf, now=NOW)
    assert time.process_time() - started < 10
    assert psutil.Process().memory_info().rss - memory < 1024 * MIB
    assert str(refused.value).endswith("no report of a console does, so it was not read and not judged.")
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (text_operators, "has pages of more than 6 MB of instructions"),
        (shared_operators, "has pages of more than 6 MB of instructions"),
        (long_evidence, "holds evidence of more than 8 MB"),
        (deep_values, "nests its values deeper than 100"),
    ],
)
def test_a_signed_file_beyond_the_limits_is_not_read(
    base_pdf: bytes, office: Office, change: Callable[[pikepdf.Pdf], None], said: str
) -> None:
    """In due form, by the right person: only the limits are between it and the readers."""
    assert said in refusal(sign_report(changed(base_pdf, change), office.preparer, reason="a trap", now=NOW))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (page_entries, "has more than 2000 pages"),
        (blanks_as_evidence, "unpacks to more than 64 MB"),
        (many_values, "has more than 300000 values"),
        (many_objects, "has more than 20000 objects"),
    ],
)
def test_a_file_beyond_the_limits_is_not_read(
    base_pdf: bytes, change: Callable[[pikepdf.Pdf], None], said: str
) -> None:
    """Nobody has to have signed it."""
    assert said in refusal(changed(base_pdf, change))


def test_a_page_that_is_packed_twice_is_not_unpacked(base_pdf: bytes, office: Office) -> None:
    pdf = packed_twice(base_pdf, bytes(60 * MIB))
    with pytest.raises(InputError, match="has pages that are packed in an unusual way"):
        verify_bytes(sign_report(pdf, office.preparer, reason="a trap", now=NOW), now=NOW)


def with_previous(pdf: bytes, offset: int) -> bytes:
    """An update whose list of objects says that an older one stands at ``offset``."""
    start = len(pdf)
    return pdf + b"xref\n0 0\ntrailer\n<< /Size 9 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (offset, start)


@pytest.mark.parametrize(
    "pdf",
    [
        with_previous(blank(), len(blank())),
        b"%PDF-1.7\n1 0 obj\n" + b"[" * 100_000 + b"]" * 100_000 + b"\nendobj\n%%EOF\n",
        b"%PDF-1.7\n1 0 obj\n" + b"<</A" * 100_000 + b">>" * 100_000 + b"\nendobj\n%%EOF\n",
        b"%PDF-1.7\n" + b"trailer\n<</Root 1 0 R>>\n" * 50_000 + b"%%EOF\n",
        b"%PDF-1.7\n" + b"stream\n\x78\x9c\xff" * 10_000 + b"%%EOF\n",
    ],
    ids=["a loop of lists", "deep arrays", "deep dictionaries", "many trailers", "many false streams"],
)
def test_a_file_that_leads_readers_astray_ends(pdf: bytes) -> None:
    started = time.process_time()
    try:
        assert not verify_bytes(pdf, now=NOW).ok
    except InputError as refused:
        assert str(refused).endswith(".")
    assert time.process_time() - started < 10


def test_a_file_that_was_saved_too_often_is_not_read() -> None:
    with pytest.raises(InputError, match="saved on top of itself more than 32 times"):
        verify_bytes(b"%PDF-1.7\n" + b"%%EOF\n" * 40, now=NOW)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pdf"
    with path.open("wb") as stream:
        stream.write(b"%PDF-1.7\n")
        stream.truncate(200 * MIB)
    started = time.process_time()
    with pytest.raises(InputError, match="has more than 64 MB"):
        verify_report(path, now=NOW)
    assert time.process_time() - started < 5


def test_a_report_is_far_below_every_limit(signed_pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(signed_pdf)) as document:
        assert len(document.objects) * 50 < pdf_limits.MOST_OBJECTS
    assert len(signed_pdf) * 100 < pdf_limits.LARGEST_FILE
    assert signed_pdf.count(b"%%EOF") * 4 < pdf_limits.MOST_REVISIONS


# -- the watched process --------------------------------------------------------------------------


@pytest.fixture
def report(tmp_path: Path, signed_pdf: bytes) -> Path:
    path = tmp_path / "a report – Bericht.pdf"
    path.write_bytes(signed_pdf)
    return path


def test_the_watched_process_finds_the_same(report: Path, tmp_path: Path) -> None:
    assert WatchedCheck(report, now=NOW).wait() == verify_report(report, now=NOW)
    (tmp_path / "letter.pdf").write_text("Dear Madam", encoding="utf-8")
    with pytest.raises(InputError, match="not a PDF"):
        WatchedCheck(tmp_path / "letter.pdf", now=NOW).wait()
    with pytest.raises(InputError, match="There is no file"):
        WatchedCheck(tmp_path / "absent.pdf", now=NOW)
    with pytest.raises(InputError, match="There is no file"):
        WatchedCheck(tmp_path, now=NOW)


def test_a_process_that_takes_too_much_is_ended(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watched_check, "MOST_MEMORY", 1)
        with pytest.raises(InputError, match="takes more than 1 GB of memory"):
            WatchedCheck(report, now=NOW).wait()
    with monkeypatch.context() as patch:
        patch.setattr(watched_check, "START_SECONDS", 0.0)
        check = WatchedCheck(report, now=NOW)
        with pytest.raises(InputError, match="takes more than 10 seconds"):
            check.wait()
    assert not psutil.pid_exists(check.pid)


def test_a_process_that_crashes_is_no_answer(report: Path) -> None:
    check = WatchedCheck(report, now=NOW)
    psutil.Process(check.pid).kill()
    with pytest.raises(InputError, match="crashed on 'a report – Bericht"):
        check.wait()


def test_a_check_that_is_dropped_leaves_nothing(report: Path) -> None:
    check = WatchedCheck(report, now=NOW)
    check.close()
    check.close()
    assert not psutil.pid_exists(check.pid)


def test_a_stranger_is_looked_at_too(base_pdf: bytes) -> None:
    """The limits hold whoever signed."""
    pdf = self_signed(changed(base_pdf, deep_values), NOW)
    with pytest.raises(InputError, match="deeper"):
        verify_bytes(pdf, now=NOW)
    assert verify_bytes(self_signed(base_pdf, NOW), now=NOW).record.state is LightState.NOT_JUDGED
