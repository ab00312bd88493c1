"""Checking and exporting the ledger, for the officer and the auditor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from console.casework.office import Office, check_there
from console.casework.requests import FORGET_SET
from console.domain.case_state import CaseProjector
from console.domain.events import OfficeOpened, RequestRegistered
from console.domain.forget_set import KNOWN_TYPES, OTHER_TYPE
from console.domain.roles import Duty
from console.ledger import VerificationResult
from console.ledger.export import export_events
from console.ledger.passphrase import find_passphrase
from console.ledger.verify import verify_ledger
from console.out_file import OutFile
from console.paths import Places

_SEALED_BY = {RequestRegistered.kind: FORGET_SET}


def verify_records(office: Office) -> VerificationResult:
    """Verify the whole ledger of an open office."""
    office.require(Duty.CHECK_LEDGER)
    return verify_ledger(
        office.ledger, projector=office.ledger.projector, sealed_by=_SEALED_BY, opening=OfficeOpened.kind
    )


def verify_office(
    places: Places,
    *,
    prompt: Callable[[], str | None] | None = None,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> VerificationResult:
    """Verify the whole ledger at ``places`` without opening the office: a damaged one opens for nothing else.

    Nothing is written, so a copy on a medium that cannot be written to will do.

    Raises:
        InputError: there is no office at ``places``.
        LedgerDamagedError: there was one and its ledger is missing, or the file is no ledger at all.
        PassphraseError: no passphrase was given, or not the right one.
    """
    check_there(places)
    passphrase = find_passphrase(places, prompt=prompt, env=os.environ if env is None else env, say=say)
    return verify_ledger(
        places.ledger, passphrase.value, projector=CaseProjector(), sealed_by=_SEALED_BY, opening=OfficeOpened.kind
    )


def export_records(office: Office, out: Path, *, replace: bool = False) -> int:
    """Write every event with a fresh checkpoint; returns their number. A file at ``out`` is replaced only if asked.

    Raises:
        InputError, DiskFullError: the file cannot be written.
    """
    office.require(Duty.CHECK_LEDGER)
    return export_events(office.ledger, OutFile.named(out, office.places, replace=replace))


_TYPED = ("reason", "summary", "beyond_limits")
_WITH_A_CODE = frozenset({"clock_suspended", "vault_shredded", "ledger_reanchored"})  # their reason is one of a few


def clear_words(office: Office) -> tuple[int, ...]:
    """Numbers of the entries in which an older console kept words that people typed, or kinds of facts they named."""
    return tuple(event.seq for event in office.ledger.events() if _holds_words(event.kind, event.body))


def _holds_words(kind: str, body: dict[str, Any]) -> bool:
    typed = [field for field in _TYPED if not (field == "reason" and kind in _WITH_A_CODE)]
    return any(body.get(field) for field in typed) or bool(set(body.get("by_type", ())) - KNOWN_TYPES - {OTHER_TYPE})
