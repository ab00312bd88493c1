"""Checking and exporting the ledger, for the officer and the auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.casework.office import Office
from console.domain.forget_set import KNOWN_TYPES, OTHER_TYPE
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


_TYPED = ("reason", "summary", "beyond_limits")


def clear_words(office: Office) -> tuple[int, ...]:
    """Numbers of the entries in which an older console kept words that people typed, or kinds of facts they named."""
    return tuple(event.seq for event in office.ledger.events() if _holds_words(event.body))


def _holds_words(body: dict[str, Any]) -> bool:
    return any(body.get(field) for field in _TYPED) or bool(set(body.get("by_type", ())) - KNOWN_TYPES - {OTHER_TYPE})
