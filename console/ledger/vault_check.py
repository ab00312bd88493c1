"""Does the vault hold what the events say of it, and does everything in it open?

Events commit to the vault in three ways: they name sealed items by id, they carry keyed hashes of sealed values
(``commitment``), and the event of a shredding names the key and, by a digest, the items that it destroyed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from console.domain.visible import quoted
from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger.chain import Event, parse_instant
from console.ledger.checkpoint import verifier_key
from console.ledger.findings import Finding, FindingCode
from console.ledger.schema import required_meta
from console.ledger.store import read_events
from console.ledger.tables import VaultItemRow, VaultKeyRow, VaultTombstoneRow
from console.ledger.transaction import SHREDDED_KIND
from console.ledger.vault import Shredded, Vault
from console.ledger.walk import CLOCK_TOLERANCE

_ITEM_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


def vault_findings(session: Session, sealed_by: Mapping[str, str]) -> list[Finding]:
    """What is wrong with the vault; empty when all is well.

    Args:
        sealed_by: for a kind of event whose body commits to a sealed item without its id, the item's kind.

    Raises:
        LedgerDamagedError: the events cannot be read.
    """
    check = _VaultCheck(session, sealed_by)
    check.keys()
    check.items()
    for event in read_events(session):
        check.event(event)
    check.tombstones()
    return check.findings


class _VaultCheck:
    """One pass over the vault and the events. Values are opened one at a time and not kept."""

    def __init__(self, session: Session, sealed_by: Mapping[str, str]) -> None:
        self.findings: list[Finding] = []
        self._session = session
        self._sealed_by = sealed_by
        self._vault = Vault(session)
        self._items: dict[str, str] = {}  # id: request
        self._by_kind: dict[tuple[str, str], list[str]] = {}  # (request, kind): ids
        self._misdated: list[str] = []  # requests of items whose time is none
        columns = select(VaultItemRow.id, VaultItemRow.request_id, VaultItemRow.kind, VaultItemRow.created_at)
        for item, request, kind, created_at in session.exec(columns.order_by(col(VaultItemRow.id))):
            self._items[item] = request
            self._by_kind.setdefault((request, kind), []).append(item)
            if not _is_instant(created_at):
                self._misdated.append(request)
        self._keys = set(session.exec(select(VaultKeyRow.request_id)))
        self._broken: set[str] = set()  # requests whose key does not open
        self._gone: dict[str, set[str]] = {}  # request: ids of what was destroyed
        self._gone_at: dict[str, set[str]] = {}  # request: when, as the marks say
        for mark in session.exec(select(VaultTombstoneRow)):
            self._gone.setdefault(mark.request_id, set()).add(mark.id)
            self._gone_at.setdefault(mark.request_id, set()).add(mark.shredded_at)
        self._destroyed = {id for ids in self._gone.values() for id in ids}
        self._shredded: set[str] = set()

    def keys(self) -> None:
        """The ledger's own keys, and that every request's key opens."""
        try:
            public = verifier_key(required_meta(self._session, "origin"), self._vault.signing_key().public_key())
            if public != required_meta(self._session, "verifier_key"):
                self._add("The key that signs checkpoints is not the one that the ledger names.")
        except (LedgerDamagedError, ValueError) as error:
            self._add(f"The key that signs checkpoints does not open: {error}")
        for request in sorted(self._keys):
            try:
                self._vault.open_key(request)
            except LedgerDamagedError:
                self._add(f"The key of {quoted(request)} was changed outside the console; its data cannot be read.")
                self._broken.add(request)

    def items(self) -> None:
        """That every sealed item has a time and its key, and opens under it."""
        for request in self._misdated:
            self._add(f"The time of a sealed item of {quoted(request)} was changed outside the console; it is none.")
        for request in sorted(set(self._items.values()) - self._keys):
            count = sum(owner == request for owner in self._items.values())
            self._add(f"The key of {quoted(request)} is missing; {count} sealed items of it cannot be read.")
        for item, request in self._items.items():
            if request in self._keys - self._broken and self._value(item) is None:
                self._add(f"A sealed item of {quoted(request)} was changed outside the console and cannot be read.")

    def event(self, event: Event) -> None:
        """That what one event says of the vault is so."""
        if event.kind == SHREDDED_KIND:
            self._shredding(event)
            return
        for holder in _holders(event.body):
            named = [text for text in holder.values() if isinstance(text, str) and _ITEM_ID.fullmatch(text)]
            for item in named:
                if item not in self._items and item not in self._destroyed:
                    message = f"A sealed item that event {event.seq} names is missing, and nothing says why."
                    self._add(message, event.seq)
            committed = holder.get("commitment")
            if not isinstance(committed, str) or event.request_id is None:
                continue
            by_kind = self._sealed_by.get(event.kind) if holder is event.body else None
            if by_kind is not None:
                named = self._by_kind.get((event.request_id, by_kind), [])
            if named or by_kind is not None:
                self._committed(event.seq, event.request_id, committed, named)

    def tombstones(self) -> None:
        """That whatever counts as destroyed was destroyed by an event."""
        for request in sorted(self._gone.keys() - self._shredded):
            self._add(f"The data of {quoted(request)} is marked as destroyed, but no event says that it was.")

    def _shredding(self, event: Event) -> None:
        request = event.request_id or ""
        self._shredded.add(request)
        gone = self._gone.get(request, set())
        key = str(event.body.get("key_id"))
        destroyed = Shredded(key, tuple(gone - {key}))
        said = (event.body.get("item_count"), event.body.get("items_digest"))
        if key not in gone or said != (len(destroyed.item_ids), destroyed.items_digest()):
            self._add(f"What event {event.seq} destroyed is not what is marked as destroyed.", event.seq)
        if not all(_is_about(at, event.at) for at in self._gone_at.get(request, ())):
            self._add(f"The data of {quoted(request)} is marked as destroyed at another time than event {event.seq}.")
        if request in self._keys or request in self._items.values():
            self._add(f"Event {event.seq} destroyed the data of {quoted(request)}, and there is some.", event.seq)

    def _committed(self, seq: int, request: str, committed: str, candidates: list[str]) -> None:
        if request in self._gone:
            return  # destroyed, and nobody can test it any more; whether that was recorded is looked at elsewhere
        if request in self._broken:
            return  # said already
        if request not in self._keys:
            if request not in self._items.values():  # else it was said that the key is missing
                self._add(f"The data that event {seq} committed to is missing, and nothing says why.", seq)
            return
        if not any(self._commits(item, committed) for item in candidates):
            self._add(f"No sealed item of {quoted(request)} is what event {seq} committed to.", seq)

    def _commits(self, item: str, committed: str) -> bool:
        value = self._value(item)
        try:
            return value is not None and self._vault.commitment(self._items[item], value[0]) == committed
        except (InputError, NotPossibleError):
            return False  # a value that no commitment can be made of

    def _value(self, item: str) -> tuple[Any] | None:
        """The value in an item, or None where it does not open."""
        try:
            return (self._vault.unseal(item),)
        except (LedgerDamagedError, InputError, NotPossibleError, ValueError):
            return None

    def _add(self, message: str, seq: int | None = None) -> None:
        self.findings.append(Finding(FindingCode.VAULT, seq, message))


def _is_instant(text: str) -> bool:
    try:
        parse_instant(text)
    except InputError:
        return False
    return True


def _is_about(text: str, at: datetime) -> bool:
    return _is_instant(text) and abs(parse_instant(text) - at) <= CLOCK_TOLERANCE


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in an event's body, the outermost first."""
    if isinstance(value, dict):
        yield value
        for entry in value.values():
            yield from _holders(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _holders(entry)
