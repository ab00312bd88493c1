"""The hash chain: what an event is and how it is bound to the one before it.

The hash of an event is::

    SHA-256( EVENT_TAG ‖ canonical({actor, at, body, event_id, kind, prev_hash, request_id, seq}) )

where ``canonical`` is RFC 8785 (see ``canonical.py``) and the text of ``body`` is taken byte for byte as it is stored.
The first event's ``prev_hash`` is ``SHA-256(GENESIS_TAG ‖ origin)``, so that the chains of two offices never share a
prefix. The tags separate these hashes from any other use of SHA-256 over similar bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from console.errors import InputError
from console.ledger.canonical import canonical_scalar, canonical_text, canonical_value, parse_canonical

EVENT_TAG = b"erasure-console/ledger/event/v1\n"
GENESIS_TAG = b"erasure-console/ledger/genesis/v1\n"
MAX_BODY_BYTES = 64 * 1024
MAX_CODE_LENGTH = 40
_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
MAX_NAME_LENGTH = 200

_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
_ORIGIN = re.compile(r"[^\s+]{1,200}")


@dataclass(frozen=True)
class Event:
    """One recorded fact. ``at`` is an aware UTC instant with microseconds; hashes are 64 lower-case hex digits."""

    seq: int
    event_id: str
    at: datetime
    kind: str
    request_id: str | None
    actor: str
    body: dict[str, Any]
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class StoredEvent:
    """An event as its row or export line holds it: texts, not yet trusted. ``body`` is the canonical text."""

    seq: int
    event_id: str
    at: str
    kind: str
    request_id: str | None
    actor: str
    body: str
    prev_hash: str
    hash: str

    def to_event(self) -> Event:
        """The typed event.

        Raises:
            InputError: the time or the body is not in canonical form, or the body is larger than it can have been.
        """
        if len(self.body.encode("utf-8")) > MAX_BODY_BYTES:
            raise InputError("The body of a recorded event is larger than the console records.")
        body = parse_canonical(self.body)
        if not isinstance(body, dict):
            raise InputError("The body of a recorded event is not an object.")
        at = parse_instant(self.at)
        return Event(
            self.seq, self.event_id, at, self.kind, self.request_id, self.actor, body, self.prev_hash, self.hash
        )


@dataclass(frozen=True)
class Head:
    """Where the chain ends: how many events it has and the hash of the last (of the genesis, when it is empty)."""

    size: int
    hash: str


def instant_text(at: datetime) -> str:
    """``at`` in UTC with exactly six digits of fraction, for example ``2026-03-01T08:00:00.000000Z``.

    Raises:
        ValueError: ``at`` has no time zone (a programming error: clocks are aware).
    """
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_instant(text: str) -> datetime:
    """The instant of a text that ``instant_text`` wrote.

    Raises:
        InputError: the text has another shape or names a day that does not exist.
    """
    if not _INSTANT.fullmatch(text):
        raise InputError("A recorded time is not written as UTC with six digits of fraction.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError("A recorded time names a day or hour that does not exist.") from error


def check_origin(origin: str) -> str:
    """The ledger's name as it stands in every checkpoint: no spaces, no ``+`` (C2SP signed note key names).

    Raises:
        InputError: the name is empty, longer than 200 characters, or holds a space or a plus sign.
    """
    if not _ORIGIN.fullmatch(origin) or not origin.isprintable():
        raise InputError("The ledger's name must have 1 to 200 characters, without spaces and plus signs.")
    return str(canonical_value(origin))


def genesis_hash(origin: str) -> str:
    """The ``prev_hash`` of the first event of the ledger named ``origin``."""
    return hashlib.sha256(GENESIS_TAG + origin.encode("utf-8")).hexdigest()


def body_text(body: object) -> str:
    """The canonical text of an event body.

    Raises:
        InputError: the body is no object, cannot be canonical, or is longer than ``MAX_BODY_BYTES``.
    """
    if not isinstance(body, dict):
        raise InputError("The body of an event must be an object.")
    text = canonical_text(body)
    if len(text.encode("utf-8")) > MAX_BODY_BYTES:
        raise InputError(f"An event body is larger than {MAX_BODY_BYTES // 1024} KiB: record a hash, not the content.")
    return text


def check_name(value: str, what: str) -> str:
    """``value`` in NFC: a short printable text that is safe as kind, actor or request id.

    Raises:
        InputError: it is empty, longer than ``MAX_NAME_LENGTH`` or holds control characters.
    """
    text = str(canonical_value(value)) if isinstance(value, str) else ""
    if not 0 < len(text) <= MAX_NAME_LENGTH or not text.isprintable():
        raise InputError(f"The {what} of an event must have 1 to {MAX_NAME_LENGTH} printable characters.")
    return text


def check_code(value: str, what: str) -> str:
    """``value``, if it is a code of a few small words such as ``retention-expired``, which can tell of nobody.

    Raises:
        InputError: it is anything else, such as a sentence.
    """
    if len(value) > MAX_CODE_LENGTH or not _CODE.fullmatch(value):
        raise InputError(
            f"The {what} is a code such as 'retention-expired': words could name a person, and nothing can be taken "
            "out of the chain."
        )
    return value


def event_text(stored: StoredEvent) -> str:
    """The text that is hashed: RFC 8785 of the envelope, with every stored text, body included, taken unchanged."""
    # canonical_scalar leaves out the NFC step: an NFD text in the file must not hash like the NFC text recorded.
    members = (
        ("actor", canonical_scalar(stored.actor)),
        ("at", canonical_scalar(stored.at)),
        ("body", stored.body),
        ("event_id", canonical_scalar(stored.event_id)),
        ("kind", canonical_scalar(stored.kind)),
        ("prev_hash", canonical_scalar(stored.prev_hash)),
        ("request_id", canonical_scalar(stored.request_id)),
        ("seq", canonical_scalar(stored.seq)),
    )
    return "{" + ",".join(f'"{name}":{text}' for name, text in members) + "}"


def event_hash(stored: StoredEvent) -> str:
    """The hash that ``stored`` must carry (its own ``hash`` field takes no part)."""
    return hashlib.sha256(EVENT_TAG + event_text(stored).encode("utf-8")).hexdigest()
