"""Checking and exporting the ledger, for the officer and the auditor."""

from __future__ import annotations

from pathlib import Path

from console.casework.office import Office
from console.domain.roles import Duty
from console.ledger import VerificationResult
from console.ledger.export import export_events
from console.ledger.verify import verify_chain
from console.out_file import OutFile


def verify_records(office: Office) -> VerificationResult:
    """Recompute the chain, the checkpoints and the end of the ledger."""
    office.require(Duty.CHECK_LEDGER)
    return verify_chain(office.ledger)


def export_records(office: Office, out: Path, *, replace: bool = False) -> int:
    """Write every event with a fresh checkpoint; returns their number. A file at ``out`` is replaced only if asked.

    Raises:
        InputError, DiskFullError: the file cannot be written.
    """
    office.require(Duty.CHECK_LEDGER)
    return export_events(office.ledger, OutFile.named(out, office.places, replace=replace))
