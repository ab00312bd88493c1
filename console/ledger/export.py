"""Export: the whole chain as a text file that can be verified without the ledger, its passphrase or this console.

One canonical JSON object (RFC 8785) a line::

    {"engine":{...},"format":"erasure-console-ledger-export/1","origin":"office.example/erasure"}
    {"event":{"actor":...,"at":...,"body":{...},...,"seq":1},"hash":"3f9c..."}
    ...
    {"checkpoint":"...","head":{"hash":"...","size":1204},"verifier_key":"..."}

``event`` is exactly the text that is hashed (see ``chain.py``). Nothing from the vault is exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from console.errors import InputError
from console.ledger.canonical import canonical_text, parse_canonical
from console.ledger.chain import StoredEvent, event_text
from console.ledger.database import engine_versions
from console.ledger.findings import Finding, FindingCode, VerificationResult
from console.ledger.ledger import Ledger
from console.ledger.store import latest_checkpoint, read_head, read_untrusted_events
from console.ledger.verify import accept_witnesses
from console.ledger.walk import verify_events
from console.out_file import OutFile

FORMAT = "erasure-console-ledger-export/1"
_ENVELOPE = frozenset({"actor", "at", "body", "event_id", "kind", "prev_hash", "request_id", "seq"})


def export_events(ledger: Ledger, out: OutFile) -> int:
    """Write all events to a file (all of it in one step); returns how many.

    A ledger that is open for writing signs a checkpoint over all of them first.

    Raises:
        InputError, DiskFullError: the file could not be written; an older one is untouched.
    """
    if not ledger.read_only:
        ledger.checkpoint()
    with ledger.reading() as session:
        head = read_head(session, ledger.origin)
        latest = latest_checkpoint(session)
        lines = [canonical_text({"engine": asdict(engine_versions()), "format": FORMAT, "origin": ledger.origin})]
        lines += [_event_line(stored) for stored in read_untrusted_events(session)]
    lines.append(
        canonical_text(
            {
                "checkpoint": None if latest is None else latest[1],
                "head": {"hash": head.hash, "size": head.size},
                "verifier_key": ledger.verifier_key,
            }
        )
    )
    out.write(("\n".join(lines) + "\n").encode("utf-8"))
    return head.size


def verify_export(path: Path, *, verifier_key: str | None = None, witnesses: Sequence[str] = ()) -> VerificationResult:
    """Recompute an exported chain.

    Without ``verifier_key`` the key inside the file is taken, which shows that the file is whole but not whose it is.

    Raises:
        InputError: the file cannot be read or is no export of this format.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file {path.name} cannot be read as a ledger export: choose another file.") from error
    if len(lines) < 3 or lines[-1]:
        raise InputError(f"The file {path.name} is not a complete ledger export: export it again.")
    origin = _read_header(lines[0], path)
    trailer = _read_trailer(lines[-2], path)
    findings: list[Finding] = []
    events = [event for line in lines[1:-2] if (event := _read_event(line, findings)) is not None]
    if verifier_key not in (None, trailer["verifier_key"]):
        findings.append(
            Finding(FindingCode.SIGNATURE, None, "The export has another public key than the one you know.")
        )
    notes = [(note, "a checkpoint from outside the export") for note in witnesses]
    if trailer["checkpoint"] is not None:
        notes.append((trailer["checkpoint"], "the export's checkpoint"))
    accepted = accept_witnesses(notes, verifier_key or trailer["verifier_key"], findings)
    size = trailer["head"]["size"]
    walked = verify_events(events, count=len(lines) - 3, origin=origin, witnesses=accepted)
    findings += walked.findings
    findings += _compare_head(events, size, trailer["head"]["hash"])
    return VerificationResult(walked.checked, tuple(findings))


def _event_line(stored: StoredEvent) -> str:
    return f'{{"event":{event_text(stored)},"hash":{canonical_text(stored.hash)}}}'


def _read_header(line: str, path: Path) -> str:
    header = _read_object(line, path)
    if header.get("format") != FORMAT or not isinstance(header.get("origin"), str):
        raise InputError(f"The file {path.name} is not a ledger export of this console: choose another file.")
    return str(header["origin"])


def _read_trailer(line: str, path: Path) -> dict[str, Any]:
    trailer = _read_object(line, path)
    head, checkpoint = trailer.get("head"), trailer.get("checkpoint")
    if not (
        isinstance(head, dict)
        and type(head.get("size")) is int
        and isinstance(head.get("hash"), str)
        and isinstance(trailer.get("verifier_key"), str)
        and (checkpoint is None or isinstance(checkpoint, str))
    ):
        raise InputError(f"The file {path.name} is not a complete ledger export: export it again.")
    return trailer


def _read_object(line: str, path: Path) -> dict[str, Any]:
    try:
        value = parse_canonical(line)
    except InputError as error:
        raise InputError(
            f"The file {path.name} is not a ledger export of this console: choose another file."
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"The file {path.name} is not a ledger export of this console: choose another file.")
    return value


def _read_event(line: str, findings: list[Finding]) -> StoredEvent | None:
    try:
        value = parse_canonical(line)
        if set(value) != {"event", "hash"} or set(value["event"]) != _ENVELOPE:
            raise InputError("A line does not have the fields of an event.")
    except (InputError, TypeError) as error:
        findings.append(Finding(FindingCode.SCHEMA, None, f"A line is not in the form that is exported: {error}"))
        return None
    envelope = value["event"]
    # The line is canonical, so the canonical text of the body is the text that stands in it.
    return StoredEvent(**{**envelope, "body": canonical_text(envelope["body"])}, hash=value["hash"])


def _compare_head(events: list[StoredEvent], size: int, head: str) -> list[Finding]:
    if size > len(events):
        message = f"The export names {size} events and holds {len(events)}."
        return [Finding(FindingCode.TRUNCATED, len(events), message)]
    if events and (size < len(events) or events[-1].hash != head):
        return [Finding(FindingCode.FORK, size, "The export does not end where it says it does.")]
    return []
