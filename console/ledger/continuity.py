"""Is this the ledger that was here last time? Compares the file with the mark beside it and with its checkpoints."""

from __future__ import annotations

from pathlib import Path

from sqlmodel import Session

from console.errors import InputError, LedgerDamagedError
from console.ledger.findings import Finding, FindingCode
from console.ledger.headmark import HeadMark, mark_path, read_mark
from console.ledger.store import hash_at, latest_checkpoint, read_head


def existing_ledger(path: Path) -> Path:
    """The resolved path of a ledger that is there.

    Raises:
        InputError: there is nothing, and nothing says that there was.
        LedgerDamagedError: there was a ledger, and it is missing or emptied.
    """
    path = path.resolve()
    if not path.is_file():
        refuse_lost(path)
        raise InputError(f"There is no ledger at {path}: choose the folder it is in.")
    if path.stat().st_size == 0:
        raise LedgerDamagedError(f"The ledger file {path.name} is empty: restore the newest backup.")
    return path


def refuse_lost(path: Path) -> None:
    """Refuse to go on where the mark says that there was a ledger, and there is none.

    Raises:
        LedgerDamagedError: that is so.
    """
    if mark_path(path).exists():
        raise LedgerDamagedError(
            f"The ledger {path.name} is missing, but {mark_path(path).name} beside it shows that there was one: "
            "restore the newest backup."
        )


def continuity_finding(session: Session, ledger: Path, origin: str, verifier_key: str) -> Finding | None:
    """Why the ledger does not continue what the mark beside it (or its last checkpoint) says, or None if it does."""
    head = read_head(session, origin)
    checkpoint = latest_checkpoint(session)
    if checkpoint is not None and checkpoint[0] > head.size:
        return _truncated(head.size, f"A checkpoint covers {checkpoint[0]} events, but the ledger has {head.size}.")
    try:
        mark = read_mark(ledger)
    except InputError as error:
        return _truncated(None, f"{error} Without it nobody can say whether the newest events are missing.")
    if mark is None:
        return _missing_mark(ledger, head.size)
    return _compare(session, mark, head.size, origin, verifier_key)


def _compare(session: Session, mark: HeadMark, size: int, origin: str, verifier_key: str) -> Finding | None:
    if (mark.origin, mark.verifier_key) != (origin, verifier_key):
        return Finding(FindingCode.FORK, None, "The high-water mark beside this ledger belongs to another ledger.")
    if mark.head.size > size:
        return _truncated(size, f"The ledger once had {mark.head.size} events and now has {size}.")
    if hash_at(session, mark.head.size, origin) != mark.head.hash:
        message = f"Event {mark.head.size} is not the one that was recorded here before."
        return Finding(FindingCode.FORK, mark.head.size, message)
    return None


def _missing_mark(ledger: Path, size: int) -> Finding | None:
    if size == 0:
        return None
    name = mark_path(ledger).name
    return _truncated(None, f"The file {name} is missing, so nobody can say whether the newest events are missing.")


def _truncated(seq: int | None, message: str) -> Finding:
    return Finding(FindingCode.TRUNCATED, seq, message)
