"""Make the golden reports: ``python tests/reports/golden_report.py`` once for a schema or layout, then never again.

The files are signed, so they cannot be made twice with the same bytes; tests verify them for ever. When a new
version of the schema or the layout comes, add files with a new name and leave the old ones.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sample_evidence import sample

from console.out_file import OutFile
from console.paths import Places
from console.reports.certificates import ensure_identity
from console.reports.export import approve_report, write_report

GOLDEN = Path(__file__).parents[1] / "golden" / "reports"
NAME = "evidence-1"


def make(folder: Path) -> None:
    """A report with one signature, the same with two, and the certificate that both rest on."""
    now = datetime(2026, 11, 25, 9, 20, 11, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as keys:
        preparer = ensure_identity(Path(keys), "golden", "Office of the golden report", "Preparer Ř.", now)
        approver = ensure_identity(Path(keys), "golden", "Office of the golden report", "Approver Ø.", now)
        (folder / f"{NAME}-ca.cer").write_bytes(preparer.ca_cer_path.read_bytes())
        no_office = Places(Path(keys), Path(keys))
        prepared, approved = (folder / f"{NAME}-{state}.pdf" for state in ("prepared", "approved"))
        write_report(sample(), OutFile.named(prepared, no_office), preparer, now=now)
        approve_report(prepared, OutFile.named(approved, no_office), approver, now=now)


if __name__ == "__main__":
    if list(GOLDEN.glob(f"{NAME}-*")):
        raise SystemExit(f"{NAME} exists already; golden reports are never replaced. Choose a new name.")
    make(GOLDEN)
