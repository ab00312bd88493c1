"""Projections: what the screens read, folded from the events and never the truth itself.

The record room does not know what the events mean; a ``Projector`` does. Its tables can be dropped and folded again at
any time, and a new ``version`` of the projector makes that happen when the ledger is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import delete
from sqlmodel import Session, col, select

from console.domain.visible import quoted
from console.errors import LedgerDamagedError
from console.ledger.chain import Event
from console.ledger.store import can_be_stored
from console.ledger.tables import ProjectionRow
from console.ledger.vault import plain_json

State = dict[str, Any]
Key = tuple[str, str]


class Projector(Protocol):
    """How events become the state of cases, models, runs. Both methods are pure: no clock, no I/O, nothing kept."""

    version: int

    def keys(self, event: Event) -> Sequence[Key]:
        """The (table, key) pairs that the event changes."""
        ...

    def apply(self, table: str, state: State | None, event: Event) -> State | None:
        """The new state of one key in ``table`` (JSON values); None takes the key away."""
        ...


@runtime_checkable
class Checker(Protocol):
    """A projector that can tell whether the state that an event makes can be read.

    What is recorded is folded for ever, so this is asked of new events only, before they are.
    """

    def check(self, table: str, state: State | None, event: Event) -> None:
        """Refuse the event by an ``InputError`` if no reader could use the state."""
        ...


class Projections:
    """The stored projections through one open session."""

    def __init__(self, session: Session, projector: Projector) -> None:
        self._session = session
        self._projector = projector

    def get(self, table: str, key: str) -> State | None:
        """The state of one key; None where there is none.

        Raises:
            LedgerDamagedError: the row was changed outside the console and cannot be read.
        """
        row = self._session.get(ProjectionRow, (table, key)) if can_be_stored(key) else None
        return None if row is None else _state(row)

    def table(self, table: str, unreadable: dict[str, LedgerDamagedError] | None = None) -> dict[str, State]:
        """All states of a table by key, in the order of the keys.

        Args:
            unreadable: gets the keys whose rows cannot be read, and why; the other rows are still returned.

        Raises:
            LedgerDamagedError: a row cannot be read, and ``unreadable`` is not given.
        """
        statement = select(ProjectionRow).where(ProjectionRow.name == table).order_by(col(ProjectionRow.key))
        states = {}
        for row in self._session.exec(statement):
            try:
                states[row.key] = _state(row)
            except LedgerDamagedError as error:
                if unreadable is None:
                    raise
                unreadable[row.key] = error
        return states

    def differing(self, events: Iterable[Event]) -> list[Key]:
        """The (table, key) pairs whose stored row is not what ``events`` fold to; one that cannot be read differs."""
        stored = {(row.name, row.key): row for row in self._session.exec(select(ProjectionRow))}
        folded = fold(events, self._projector)
        return sorted(key for key in stored.keys() | folded.keys() if not _is(stored.get(key), folded.get(key)))

    def apply(self, event: Event) -> None:
        """Fold one more event in.

        Raises:
            InputError: the projector says that no reader could use the state that it makes.
            LedgerDamagedError: the state before it was changed outside the console and cannot be read.
        """
        for table, key in self._projector.keys(event):
            row = self._session.get(ProjectionRow, (table, key))
            state = self._projector.apply(table, None if row is None else _state(row), event)
            if isinstance(self._projector, Checker):
                self._projector.check(table, state, event)
            if state is not None:
                self._session.merge(ProjectionRow(name=table, key=key, state_json=plain_json(state), seq=event.seq))
            elif row is not None:
                self._session.delete(row)
            self._session.flush()

    def rebuild(self, events: Iterable[Event]) -> None:
        """Drop everything and fold ``events`` from the first on."""
        self._session.execute(delete(ProjectionRow))
        self._session.expire_all()
        for (table, key), (state, seq) in fold(events, self._projector).items():
            self._session.add(ProjectionRow(name=table, key=key, state_json=plain_json(state), seq=seq))
        self._session.flush()


def fold(events: Iterable[Event], projector: Projector) -> dict[Key, tuple[State, int]]:
    """The state of every key, and the event that changed it last, from the events alone."""
    states: dict[Key, tuple[State, int]] = {}
    for event in events:
        for table, key in projector.keys(event):
            known = states.pop((table, key), None)
            # The stored text is what the next event sees in a running ledger, so the fold passes through it as well.
            before = None if known is None else json.loads(plain_json(known[0]))
            state = projector.apply(table, before, event)
            if state is not None:
                states[(table, key)] = (state, event.seq)
    return states


def _state(row: ProjectionRow) -> State:
    try:
        state = json.loads(row.state_json)
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise LedgerDamagedError(
            f"What the lists keep of {row.name} {quoted(row.key)} was changed outside the console and cannot be read: "
            "verify the ledger and restore the newest backup."
        )
    return state


def _is(row: ProjectionRow | None, folded: tuple[State, int] | None) -> bool:
    """Whether a stored row is a folded state, and names the event that changed it last."""
    if row is None or folded is None:
        return row is folded
    try:
        return (_state(row), row.seq) == folded
    except LedgerDamagedError:
        return False
