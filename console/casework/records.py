"""Checking and exporting the ledger, for the officer and the auditor."""

from __future__ import annotations

from pathlib import Path

from console.casework.office import Office
from console.domain.roles import Duty
from console.ledger import VerificationResult
from console.ledger.export import export_events
from console.ledger.verify import verify_chain


def verify_records(office: Office) -> VerificationResult:
    """Recompute the chain, the checkpoints and the end of the ledger."""
    office.require(Duty.CHECK_LEDGER)
    return verify_chain(office.ledger)


def export_records(office: Office, out: Path) -> int:
    """Write every event with a fresh checkpoint; returns their number.

    Raises:
        InputError, DiskFullError: the file cannot be written.
    """
    office.require(Duty.CHECK_LEDGER)
    office.ledger.checkpoint()
    return export_events(office.ledger, out)
