"""One pass over a chain of events that nobody trusts: every hash, link, form and date, and the tree over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.errors import InputError
from console.ledger.chain import StoredEvent, check_name, event_hash, genesis_hash
from console.ledger.checkpoint import Checkpoint
from console.ledger.findings import Finding, FindingCode, VerificationResult
from console.ledger.merkle import TreeBuilder

# What a network time correction moves a desk's clock; no legal term is shorter than a day.
CLOCK_TOLERANCE = timedelta(minutes=2)

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Witness:
    """A checkpoint that the chain must fit, and where it comes from (for the message)."""

    checkpoint: Checkpoint
    source: str


def verify_events(
    events: Iterable[StoredEvent], *, count: int, origin: str, witnesses: Sequence[Witness] = ()
) -> VerificationResult:
    """Recompute a chain of ``count`` untrusted events that begins with the first event of the ledger ``origin``."""
    walk = _Walk(origin, witnesses)
    for event in events:
        walk.step(event)
    return walk.finish(count)


class _Walk:
    """One pass over the chain from its beginning."""

    def __init__(self, origin: str, witnesses: Sequence[Witness]) -> None:
        self._origin = origin
        self._previous_hash = genesis_hash(origin)
        self._previous_seq = 0
        self._previous_at: datetime | None = None
        self._tree = TreeBuilder()
        self._tree_complete = True
        self._checked = 0
        self._findings: list[Finding] = []
        self._witnesses: dict[int, list[Witness]] = {}
        for witness in witnesses:
            self._witnesses.setdefault(witness.checkpoint.size, []).append(witness)
        self._compare_with_witnesses(0)

    def step(self, event: StoredEvent) -> None:
        self._checked += 1
        if not _well_typed(event):
            self._add(FindingCode.SCHEMA, self._previous_seq + 1, "An event has a field of the wrong type.")
            self._tree_complete = False
            self._previous_seq += 1
            return
        if event.seq != self._previous_seq + 1:
            self._gap(event.seq)
        if event.prev_hash != self._previous_hash:
            self._add(FindingCode.LINK, event.seq, f"Event {event.seq} does not follow the event before it.")
        if event_hash(event) != event.hash:
            self._add(FindingCode.CONTENT, event.seq, f"The content of event {event.seq} is not what was recorded.")
        self._check_form(event)
        self._tree.append(bytes.fromhex(event.hash))
        self._previous_seq, self._previous_hash = event.seq, event.hash
        self._compare_with_witnesses(event.seq)

    def finish(self, count: int) -> VerificationResult:
        if self._checked != count:
            self._add(FindingCode.GAP, None, f"Only {self._checked} of {count} recorded events could be read.")
        for size, witnesses in sorted(self._witnesses.items()):
            if size > self._previous_seq:
                message = f"The chain ends at event {self._previous_seq}, but {witnesses[0].source} covers {size}."
                self._add(FindingCode.TRUNCATED, self._previous_seq, message)
        return VerificationResult(self._checked, tuple(self._findings))

    def _gap(self, seq: int) -> None:
        self._tree_complete = False
        expected = self._previous_seq + 1
        missing = (
            f"Events {expected} to {seq - 1} are missing." if seq - 1 > expected else f"Event {expected} is missing."
        )
        self._add(FindingCode.GAP, expected, missing if seq > expected else f"Event {seq} is out of order.")

    def _check_form(self, event: StoredEvent) -> None:
        """Canonical body and time, names that could have been recorded, and a clock that does not run backwards."""
        try:
            at = event.to_event().at
            for value, what in ((event.kind, "kind"), (event.actor, "actor"), (event.request_id, "request")):
                if value is not None and check_name(value, what) != value:
                    raise InputError(f"The {what} of an event is not in its canonical form.")
        except InputError as error:
            self._add(FindingCode.SCHEMA, event.seq, f"Event {event.seq} is not in the form that is recorded: {error}")
            return
        if self._previous_at is not None and at < self._previous_at - CLOCK_TOLERANCE:
            message = f"Event {event.seq} is dated {event.at}, before the event it follows: the clock was set back."
            self._add(FindingCode.CLOCK, event.seq, message)
        self._previous_at = at

    def _compare_with_witnesses(self, seq: int) -> None:
        for witness in self._witnesses.get(seq, ()):
            statement = witness.checkpoint
            same_root = not self._tree_complete or statement.root == self._tree.root().hex()
            if statement.origin != self._origin or statement.head != self._previous_hash or not same_root:
                message = f"The history up to event {seq} is not the one that {witness.source} saw."
                self._add(FindingCode.FORK, seq, message)

    def _add(self, code: FindingCode, seq: int | None, message: str) -> None:
        self._findings.append(Finding(code, seq, message))


def _well_typed(event: StoredEvent) -> bool:
    texts = (event.event_id, event.at, event.kind, event.actor, event.body, event.prev_hash, event.hash)
    return (
        type(event.seq) is int
        and all(isinstance(text, str) for text in texts)
        and (event.request_id is None or isinstance(event.request_id, str))
        and _DIGEST.fullmatch(event.hash) is not None
    )
