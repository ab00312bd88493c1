"""What can be done to a ledger inside one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlmodel import Session

from console.ledger.chain import Event, StoredEvent, body_text, check_code, check_name, instant_text
from console.ledger.projections import Projections, Projector, State
from console.ledger.store import append_event, read_head
from console.ledger.vault import Vault

SHREDDED_KIND = "vault_shredded"

Clock = Callable[[], datetime]


class Transaction:
    """Events, their projections and sealed items that are recorded together or not at all.

    Got from ``Ledger.transaction()`` and usable only inside that block. The chain's head is read inside the write
    transaction, so that two writers can never continue from the same event.
    """

    def __init__(self, session: Session, *, clock: Clock, projector: Projector, origin: str) -> None:
        self._open_session: Session | None = session
        self._clock = clock
        self._projector = projector
        self._origin = origin

    def append(self, kind: str, body: dict[str, Any], *, request_id: str | None = None, actor: str) -> Event:
        """Record one event and fold it into the projections.

        ``body`` holds ids, enums, counts, hashes and commitments, never personal data, and no floats.

        Raises:
            InputError: the body or a name cannot be recorded (see ``canonical_text``, ``check_name``, ``body_text``),
                or the projector says that its readers could not read the state that it makes. The transaction is
                then rolled back as after any other exception, and nothing is recorded.
        """
        head = read_head(self._session, self._origin)
        stored = StoredEvent(
            seq=head.size + 1,
            event_id=str(uuid.uuid4()),
            at=instant_text(self._clock()),
            kind=check_name(kind, "kind"),
            request_id=None if request_id is None else check_name(request_id, "request"),
            actor=check_name(actor, "actor"),
            body=body_text(body),
            prev_hash=head.hash,
            hash="",
        )
        event = append_event(self._session, stored)
        Projections(self._session, self._projector).apply(event)
        return event

    def seal(self, request_id: str, kind: str, value: object) -> str:
        """Put personal data (any JSON value) into the vault; returns the item's id, which an event may carry.

        Raises:
            InputError: the value is not JSON, or a name cannot be recorded.
            NotPossibleError: the request's data was shredded.
        """
        names = check_name(request_id, "request"), check_name(kind, "kind of sealed item")
        return Vault(self._session).seal(*names, value, self._clock())

    def commitment(self, request_id: str, value: object) -> str:
        """A keyed hash of ``value`` (hex) that an event may carry; see ``Vault.commitment``."""
        return Vault(self._session).commitment(check_name(request_id, "request"), value)

    def shred(self, request_id: str, *, actor: str, reason: str) -> Event:
        """Destroy the request's key and sealed items and record that, with ``reason`` as a code.

        Raises:
            InputError: ``reason`` is no code (see ``check_code``).
            NotPossibleError: there is nothing to shred (any more).
        """
        code = check_code(reason, "reason of a shredding")
        shredded = Vault(self._session).shred(check_name(request_id, "request"), self._clock())
        body = {
            "item_count": len(shredded.item_ids),
            "items_digest": shredded.items_digest(),
            "key_id": shredded.key_id,
            "reason": code,
        }
        return self.append(SHREDDED_KIND, body, request_id=request_id, actor=actor)

    def projected(self, table: str, key: str) -> State | None:
        """The state of one key after the events so far, those of this transaction included."""
        return Projections(self._session, self._projector).get(table, key)

    def finish(self) -> None:
        """The block has ended; any later call is a programming error and raises RuntimeError."""
        self._open_session = None

    @property
    def _session(self) -> Session:
        if self._open_session is None:
            raise RuntimeError("this ledger transaction has ended")
        return self._open_session
