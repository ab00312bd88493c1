"""The ledger: the one record of what was asked, done, found and approved.

Opening it for writing takes the writer lock; the passphrase opens the encrypted file. Everything that is recorded is an
event in a hash chain. Personal data lies in the vault beside it and can be destroyed without breaking the chain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlmodel import Session

from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger.chain import Event, Head, check_code, check_origin, instant_text
from console.ledger.checkpoint import Checkpoint, sign_checkpoint
from console.ledger.continuity import continuity_finding, existing_ledger, refuse_lost
from console.ledger.creation import PROJECTOR_VERSION, create_database
from console.ledger.database import Database
from console.ledger.findings import Finding
from console.ledger.headmark import HeadMark, read_mark, write_mark
from console.ledger.lock import WriterLock
from console.ledger.merkle import InclusionProof, inclusion_proof, tree_root
from console.ledger.projections import Key, Projections, Projector, State, fold
from console.ledger.schema import meta, migrate, required_meta, schema_version, set_meta
from console.ledger.side_files import open_read_only, refuse_foreign_journal, refuse_foreign_logs
from console.ledger.store import (
    add_checkpoint,
    can_be_stored,
    event_hashes,
    first_kind,
    latest_checkpoint,
    read_events,
    read_head,
)
from console.ledger.tables import SettingRow
from console.ledger.transaction import Clock, Transaction
from console.ledger.vault import SealedItem, Vault

REANCHORED_KIND = "ledger_reanchored"

_log = logging.getLogger(__name__)


class Ledger:
    """An open ledger. Use ``create`` or ``open``, and close it (or use it in a ``with`` block)."""

    def __init__(self, database: Database, resources: ExitStack, *, clock: Clock, projector: Projector) -> None:
        self._database = database
        self._resources = resources
        self._clock = clock
        self._projector = projector
        self._mark: HeadMark | None = None
        with database.reading() as session:
            schema_version(session)
            self.origin = required_meta(session, "origin")
            self.verifier_key = required_meta(session, "verifier_key")
            self._folded = self._fold_if_stale(session)
            self._continuity = continuity_finding(session, database.path, self.origin, self.verifier_key)

    @classmethod
    def create(cls, path: Path, passphrase: str, *, clock: Clock, projector: Projector, origin: str) -> Ledger:
        """A new, empty ledger, open for writing.

        ``origin`` is its name for ever (for example ``office.example/erasure``): it stands in every checkpoint.

        Raises:
            InputError: there is already something at ``path``, the folder cannot be used, or the name has spaces.
            LedgerDamagedError: the mark beside it says that there was a ledger here.
            LedgerBusyError: a console has this ledger open.
            PassphraseError: the passphrase is empty or holds control characters.
            DiskFullError: nothing was created.
        """
        path = path.resolve()
        name = check_origin(origin)
        if not path.exists() or path.stat().st_size == 0:
            refuse_lost(path)
        refuse_foreign_logs(path)
        with ExitStack() as undo:
            lock = WriterLock(path)
            undo.callback(lock.release)
            database = create_database(path, passphrase, origin=name, projector_version=projector.version)
            undo.callback(database.close)
            return cls._start(database, undo.pop_all(), clock=clock, projector=projector)

    @classmethod
    def open(
        cls, path: Path, passphrase: str, *, clock: Clock, projector: Projector, read_only: bool = False
    ) -> Ledger:
        """An existing ledger; for reading only, it may be open in another console at the same time.

        Raises:
            InputError: there is no ledger at ``path``.
            PassphraseError: the passphrase does not open it.
            LedgerBusyError: another console has it open for writing (said at once).
            LedgerDamagedError: the file is no ledger, is missing or empty where one was, or what lies beside it would
                damage it.
            SetupError: it was written by a newer console.
        """
        path = existing_ledger(path)
        with ExitStack() as undo:
            if read_only:
                database = open_read_only(path, passphrase)
                undo.callback(database.close)
                return cls._start(database, undo.pop_all(), clock=clock, projector=projector)
            lock = WriterLock(path)
            undo.callback(lock.release)
            refuse_foreign_logs(path)
            refuse_foreign_journal(path, passphrase)
            database = Database(path, passphrase, read_only=False)
            undo.callback(database.close)
            with database.writing() as session:
                migrate(session)
            return cls._start(database, undo.pop_all(), clock=clock, projector=projector)

    @classmethod
    def _start(cls, database: Database, resources: ExitStack, *, clock: Clock, projector: Projector) -> Ledger:
        """The ledger over an open database. ``resources`` are closed with it, or now if this fails."""
        with ExitStack() as undo:
            undo.callback(resources.close)
            database.protect()
            ledger = cls(database, resources, clock=clock, projector=projector)
            if not database.read_only:
                ledger._catch_up()
            undo.pop_all()
            return ledger

    def close(self) -> None:
        """Close the file and give the writer lock back; doing so twice is harmless."""
        self._resources.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The ledger file."""
        return self._database.path

    @property
    def projector(self) -> Projector:
        """How the events become what the screens read."""
        return self._projector

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded through this object."""
        return self._database.read_only

    @property
    def continuity(self) -> Finding | None:
        """Why this file is not the continuation of what was here before (an old copy, a cut end), or None.

        As long as it is not None nothing can be recorded; ``reanchor`` accepts the file as it is.
        """
        return self._continuity

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One write transaction: when the block ends, all of it is safely on the disk; on any exception, none of it.

        Raises:
            NotPossibleError: the ledger is open for reading only.
            LedgerDamagedError: the file does not continue what was here before (see ``continuity``).
            LedgerBusyError, DiskFullError: nothing was recorded.
        """
        self._refuse_if_discontinued()
        with self._database.turn:
            with self._transaction() as transaction:
                yield transaction
            self._advance_mark()

    def events(self, request_id: str | None = None, after_seq: int = 0) -> list[Event]:
        """The recorded events after ``after_seq``, of one request or of all, in the order of the chain."""
        with self._database.reading() as session:
            return list(read_events(session, request_id, after_seq))

    def head(self) -> Head:
        """Where the chain ends now."""
        with self._database.reading() as session:
            return read_head(session, self.origin)

    @property
    def first_kind(self) -> str | None:
        """The kind of the event that the ledger begins with; None where it holds none."""
        with self._database.reading() as session:
            return first_kind(session)

    def projection(self, table: str, unreadable: dict[str, LedgerDamagedError] | None = None) -> dict[str, State]:
        """All states of a projection table by key.

        Args:
            unreadable: gets the keys whose states cannot be read, and why; the others are still returned.

        Raises:
            LedgerDamagedError: a state cannot be read, and ``unreadable`` is not given.
        """
        if self._folded is not None:
            return {key: state for (name, key), state in sorted(self._folded.items()) if name == table}
        with self._database.reading() as session:
            return Projections(session, self._projector).table(table, unreadable)

    def projected(self, table: str, key: str) -> State | None:
        """The state of one key; None where there is none.

        Raises:
            LedgerDamagedError: it was changed outside the console and cannot be read.
        """
        if self._folded is not None:
            return self._folded.get((table, key))
        with self._database.reading() as session:
            return Projections(session, self._projector).get(table, key)

    def rebuild_projections(self) -> None:
        """Drop all projections and fold the events again."""
        with self._database.writing() as session:
            Projections(session, self._projector).rebuild(read_events(session))
            set_meta(session, PROJECTOR_VERSION, str(self._projector.version))
        self._folded = None

    def differing_projections(self) -> list[Key]:
        """The (table, key) pairs whose stored state is not what the events fold to; empty when all is well."""
        with self._database.reading() as session:
            return Projections(session, self._projector).differing(read_events(session))

    def unseal(self, item_id: str) -> Any:
        """The value of a sealed item.

        Raises:
            NotPossibleError: it was shredded.
            InputError: there is no such item.
            LedgerDamagedError: it was changed outside the console.
        """
        with self._database.reading() as session:
            return Vault(session).unseal(item_id)

    def sealed_items(self, request_id: str, kind: str | None = None) -> list[SealedItem]:
        """What is sealed for a request, without the contents, in the order in which it was sealed."""
        with self._database.reading() as session:
            return Vault(session).items(request_id, kind)

    def commitment(self, request_id: str, value: object) -> str:
        """The keyed hash of ``value`` under the request's key (made now if the request has none yet), hex.

        Raises:
            InputError: ``value`` cannot be canonical.
            NotPossibleError: the request's key was shredded.
        """
        with self._database.reading() as session:
            vault = Vault(session)
            if vault.has_key(request_id):
                return vault.commitment(request_id, value)
        with self.transaction() as transaction:
            return transaction.commitment(request_id, value)

    def shred(self, request_id: str, actor: str, reason: str) -> Event:
        """Destroy a request's key and sealed items for ever and record that (see ``Transaction.shred``)."""
        with self.transaction() as transaction:
            return transaction.shred(request_id, actor=actor, reason=reason)

    def checkpoint(self) -> str:
        """The signed note over all events so far; a new one only if events were added since the last.

        Raises:
            NotPossibleError: open for reading only.
        """
        self._refuse_if_discontinued()
        with self._database.turn:
            with self._database.writing() as session:
                note = self._checkpoint(session)
            self._advance_mark()
        return note

    def latest_checkpoint(self) -> str | None:
        """The newest signed note, or None before the first."""
        with self._database.reading() as session:
            latest = latest_checkpoint(session)
        return None if latest is None else latest[1]

    def inclusion_proof(self, seq: int, size: int | None = None) -> InclusionProof:
        """The proof that event ``seq`` is in the tree of the first ``size`` events (all of them if not given).

        Its root is the one in the checkpoint of the same size.

        Raises:
            InputError: there is no such event or the ledger is shorter than ``size``.
        """
        with self._database.reading() as session:
            head = read_head(session, self.origin)
            size = head.size if size is None else size
            if not 1 <= seq <= size <= head.size:
                raise InputError(f"The ledger has {head.size} events: there is no proof of {seq} in the first {size}.")
            leaves = event_hashes(session, size)
        path = tuple(node.hex() for node in inclusion_proof(leaves, seq - 1))
        return InclusionProof(seq, size, leaves[seq - 1].hex(), path, tree_root(leaves).hex())

    def reanchor(self, actor: str, reason: str) -> Event:
        """Accept a file that does not continue what was here before, and record that, visible to every later reader.

        For a restored backup. ``reason`` is a code, such as ``restored-from-backup``.

        Raises:
            InputError: it is no code (see ``check_code``).
            NotPossibleError: the ledger continues as it should, so there is nothing to accept.
        """
        finding = self._continuity
        if finding is None:
            raise NotPossibleError("This ledger continues where it ended, so there is nothing to accept.")
        with self._database.turn:
            with self._transaction() as transaction:
                body = {
                    "expected": self._expected(),
                    "finding": finding.code.value,
                    "found": _head_json(self.head()),
                    "reason": check_code(reason, "reason of accepting a file"),
                }
                event = transaction.append(REANCHORED_KIND, body, actor=actor)
            self._continuity = None
            self._advance_mark()
        return event

    def setting(self, key: str) -> str | None:
        """A local setting, or None."""
        with self._database.reading() as session:
            row = session.get(SettingRow, key) if can_be_stored(key) else None
            return None if row is None else row.value

    def set_setting(self, key: str, value: str) -> None:
        """Keep a local setting (where a file lies, for example). It is encrypted but not part of the record."""
        with self._database.writing() as session:
            session.merge(SettingRow(key=key, value=value))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent read of the raw tables, for verification and export inside this package."""
        with self._database.reading() as session:
            yield session

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._database.writing() as session:
            transaction = Transaction(session, clock=self._clock, projector=self._projector, origin=self.origin)
            try:
                yield transaction
            finally:
                transaction.finish()

    def _catch_up(self) -> None:
        """Bring what hangs on the events up to date: projections of another version, a mark that lags after a crash."""
        if self._folded is not None:
            self.rebuild_projections()
        if self._continuity is None:
            self._mark = read_mark(self.path)  # a mark that is right needs no room on a full disk
            self._advance_mark()

    def _checkpoint(self, session: Session) -> str:
        head = read_head(session, self.origin)
        latest = latest_checkpoint(session)
        if latest is not None and latest[0] == head.size:
            return latest[1]
        root = tree_root(event_hashes(session, head.size)).hex()
        statement = Checkpoint(self.origin, head.size, root, head.hash, instant_text(self._clock()))
        note = sign_checkpoint(statement, Vault(session).signing_key())
        add_checkpoint(session, head.size, note)
        return note

    def _advance_mark(self) -> None:
        """Write the high-water mark, if it changed."""
        with self._database.reading() as session:
            head, latest = read_head(session, self.origin), latest_checkpoint(session)
        note = None if latest is None else latest[1]
        mark = HeadMark(self.origin, head, self.verifier_key, note, self._database.salt)
        if mark == self._mark:
            return
        try:
            write_mark(self.path, mark)
        except OSError as error:
            # The events are recorded, so this is no failure of the step: a caller that repeated it would record it
            # twice. The old mark stays true (it only lags), and the next commit tries again.
            _log.warning("the high-water mark beside the ledger could not be written: %s", error)
            return
        self._mark = mark

    def _expected(self) -> dict[str, Any] | None:
        try:
            mark = read_mark(self.path)
        except InputError:
            return None  # the finding in the same event says that the mark was damaged
        return None if mark is None else _head_json(mark.head)

    def _refuse_if_discontinued(self) -> None:
        if self._continuity is not None and not self.read_only:
            raise LedgerDamagedError(
                f"{self._continuity.message} Nothing is recorded until you restore a newer backup or accept this file."
            )

    def _fold(self, session: Session) -> dict[Key, State]:
        return {key: state for key, (state, _) in fold(read_events(session), self._projector).items()}

    def _fold_if_stale(self, session: Session) -> dict[Key, State] | None:
        """The states folded in memory if the stored ones are another projector's; a read-only ledger keeps to them."""
        if meta(session, PROJECTOR_VERSION) == str(self._projector.version):
            return None
        return self._fold(session)


def _head_json(head: Head) -> dict[str, Any]:
    return {"hash": head.hash, "size": head.size}
