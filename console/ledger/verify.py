"""Verification: does the record say today what it said when it was written?

``verify_chain`` reads the raw rows and recomputes everything; it trusts neither the writer's code path nor the types in
the file. It can be given witnesses: checkpoints out of old reports, which catch what nothing inside the folder can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sqlmodel import Session

from console.domain.visible import quoted
from console.errors import InputError, LedgerDamagedError
from console.ledger.checkpoint import verify_checkpoint
from console.ledger.continuity import continuity_finding, existing_ledger
from console.ledger.creation import PROJECTOR_VERSION
from console.ledger.database import DamagedPageError, damaged_pages, plain_errors
from console.ledger.findings import Finding, FindingCode, VerificationResult
from console.ledger.ledger import Ledger
from console.ledger.projections import Projections, Projector
from console.ledger.schema import meta, required_meta, schema_findings, schema_version
from console.ledger.side_files import open_read_only
from console.ledger.store import checkpoint_notes, count_events, first_kind, read_events, read_untrusted_events
from console.ledger.vault_check import vault_findings
from console.ledger.walk import Witness, verify_events

_EMPTY = "The ledger holds no event, not even the office's opening: it was emptied, or never finished."
_NOTHING_ELSE = "Nothing else: the file is too damaged to be read. Restore the newest backup."
_NEVER_OPENED = (
    "The ledger does not begin with the office's opening: the making of the office was never finished, or the "
    "beginning was taken away."
)
_NOT_COMPARED = "Vault and lists were not compared with the events, because those are not as they were recorded."
_NOT_COMPARED_DAMAGED = "Vault and lists were not compared with the events, because the file is damaged."
_OTHER_VERSION = "The lists, which another version of the console made; they are made anew when it next writes."
_SETTINGS = "The settings of this desk (who sits here, where models lie): they are no part of the record."
_ITEM_TIMES = "When each sealed item was put into the vault: no event records it."
_FILES = "Models and reports outside the ledger file: 'erasure-console verify' looks at a report."
_PAIR = (
    "Whether ledger and mark were both replaced by an older or another pair: only a checkpoint that left the house, in "
    "a report or an export, can tell."
)


def verify_chain(
    source: Ledger | Path,
    passphrase: str | None = None,
    *,
    verifier_key: str | None = None,
    witnesses: Sequence[str] = (),
) -> VerificationResult:
    """Recompute the whole chain of an open ledger, or of the file at a path (opened for reading only).

    ``verifier_key`` is the public key that the ledger must have, if it is known from elsewhere; ``witnesses`` are
    signed checkpoint notes from outside the ledger, for example out of reports.

    Raises:
        InputError: there is no ledger at the path.
        PassphraseError, LedgerDamagedError, SetupError: the file could not be opened at all.
    """
    if isinstance(source, Ledger):
        with source.reading() as session:
            return _verify_session(session, source.path, verifier_key, witnesses).result
    path = existing_ledger(source)
    with closing(open_read_only(path, passphrase or "")) as database, database.reading() as session:
        return _verify_session(session, path, verifier_key, witnesses).result


def verify_ledger(
    source: Ledger | Path,
    passphrase: str | None = None,
    *,
    projector: Projector,
    sealed_by: Mapping[str, str] = MappingProxyType({}),
    opening: str | None = None,
    verifier_key: str | None = None,
    witnesses: Sequence[str] = (),
) -> VerificationResult:
    """Verify the whole file: every page, the chain, the vault and the projections against the events.

    Arguments as ``verify_chain``; ``sealed_by`` as ``vault_findings``; ``opening`` is the kind of event that the ledger
    has to begin with, if it is known. A file with damaged pages is a result and no error, as far as the passphrase is
    known to be right.

    Raises:
        InputError: there is no ledger at the path.
        PassphraseError, LedgerDamagedError, SetupError: the file could not be opened at all.
    """

    def whole(session: Session, path: Path) -> VerificationResult:
        return _verify_whole(session, path, projector, sealed_by, opening, verifier_key, witnesses)

    if isinstance(source, Ledger):
        with source.reading() as session:
            return whole(session, source.path)
    path = existing_ledger(source)
    try:
        with closing(open_read_only(path, passphrase or "")) as database, database.reading() as session:
            return whole(session, path)
    except DamagedPageError as error:
        return VerificationResult(0, (_page(str(error)),), (_NOTHING_ELSE,))


def _verify_whole(
    session: Session,
    path: Path,
    projector: Projector,
    sealed_by: Mapping[str, str],
    opening: str | None,
    verifier_key: str | None,
    witnesses: Sequence[str],
) -> VerificationResult:
    try:
        pages = [_page(f"The file is damaged: {words}.") for words in damaged_pages(session)]
    except LedgerDamagedError as error:
        pages = [_page(str(error))]
    try:
        with plain_errors():
            chain = _verify_session(session, path, verifier_key, witnesses)
    except LedgerDamagedError as error:
        if not pages:
            raise
        return VerificationResult(0, (*pages, _unreadable(error)), (_NOTHING_ELSE,))
    not_checked = [_SETTINGS, _ITEM_TIMES, _FILES] if witnesses else [_SETTINGS, _ITEM_TIMES, _FILES, _PAIR]
    checked, found = chain.result.checked, [*pages, *chain.result.findings]
    if pages or not chain.recomputes:
        words = _NOT_COMPARED_DAMAGED if pages else _NOT_COMPARED
        return VerificationResult(checked, tuple(found), (words, *not_checked))
    if not checked:
        if not chain.result.altered:
            found.append(Finding(FindingCode.EMPTY, None, _EMPTY))
    elif opening is not None and first_kind(session) != opening:
        found.append(Finding(FindingCode.EMPTY, None, _NEVER_OPENED))
    found += _as_findings(FindingCode.VAULT, "The vault", lambda: vault_findings(session, sealed_by))
    if _is_of_earlier_version(session, projector):
        not_checked.insert(0, _OTHER_VERSION)
    else:
        found += _as_findings(FindingCode.PROJECTION, "The lists", lambda: _projection_findings(session, projector))
    return VerificationResult(checked, tuple(found), tuple(not_checked))


def _as_findings(code: FindingCode, what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What ``look`` finds; one finding where the tables it looks at cannot be read at all."""
    try:
        with plain_errors():
            return look()
    except LedgerDamagedError as error:
        return [Finding(code, None, f"{what} cannot be read: {error}")]


def _is_of_earlier_version(session: Session, projector: Projector) -> bool:
    """Whether the lists say that an earlier projector made them, so that today's has nothing to say of them."""
    claimed = meta(session, PROJECTOR_VERSION)
    return claimed is not None and claimed in {str(version) for version in range(1, projector.version)}


def _projection_findings(session: Session, projector: Projector) -> list[Finding]:
    found = []
    claimed = meta(session, PROJECTOR_VERSION)
    if claimed != str(projector.version):
        version = "none" if claimed is None else quoted(claimed)
        found.append(
            _list_finding(
                f"The lists name {version} as the version that made them, which this console does not know: that was "
                "changed outside the console, or a newer console made them."
            )
        )
    return found + [
        _list_finding(
            f"What the lists show of {table} {quoted(key)} is not what the events say: it was changed outside the "
            "console."
        )
        for table, key in Projections(session, projector).differing(read_events(session))
    ]


def _list_finding(message: str) -> Finding:
    return Finding(FindingCode.PROJECTION, None, message)


@dataclass(frozen=True)
class _Chain:
    """What the chain's verification says; ``recomputes``: the events themselves are as they were recorded, whatever
    else was found around them, so that vault and lists can be held against them."""

    result: VerificationResult
    recomputes: bool


def _verify_session(session: Session, path: Path, verifier_key: str | None, witnesses: Sequence[str]) -> _Chain:
    schema_version(session)
    origin, own_key = required_meta(session, "origin"), required_meta(session, "verifier_key")
    findings = schema_findings(session)
    if verifier_key not in (None, own_key):
        findings.append(_signature(None, "The ledger has another public key than the one you know."))
    accepted = accept_witnesses(
        ((note, "a checkpoint from outside the ledger") for note in witnesses), own_key, findings
    )
    try:
        with plain_errors():
            accepted += _own_checkpoints(session, own_key, findings)
            count = count_events(session)
            walked = verify_events(read_untrusted_events(session), count=count, origin=origin, witnesses=accepted)
    except LedgerDamagedError as error:
        return _Chain(VerificationResult(0, (*findings, _unreadable(error))), recomputes=False)
    findings += walked.findings
    continuity = _continuity(session, path, origin, own_key)
    if continuity is not None and all(_key(continuity) != _key(finding) for finding in findings):
        findings.append(continuity)
    return _Chain(VerificationResult(walked.checked, tuple(findings)), recomputes=not walked.altered)


def _continuity(session: Session, path: Path, origin: str, verifier_key: str) -> Finding | None:
    try:
        with plain_errors():
            return continuity_finding(session, path, origin, verifier_key)
    except LedgerDamagedError as error:
        return _unreadable(error)


def accept_witnesses(notes: Iterable[tuple[str, str]], verifier_key: str, findings: list[Finding]) -> list[Witness]:
    """The (note, source) pairs that the key signed, as witnesses; a SIGNATURE finding is added for each other one."""
    accepted = []
    for note, source in notes:
        try:
            accepted.append(Witness(verify_checkpoint(note, verifier_key), source))
        except InputError as error:
            findings.append(_signature(None, f"{error} ({source})"))
    return accepted


def _own_checkpoints(session: Session, verifier_key: str, findings: list[Finding]) -> list[Witness]:
    own = []
    for size, note in checkpoint_notes(session):
        source = f"the ledger's checkpoint of {size} events"
        for witness in accept_witnesses([(note, source)], verifier_key, findings):
            if witness.checkpoint.size == size:
                own.append(witness)
            else:  # an old note that was put in again for a newer size
                findings.append(
                    _signature(size, f"The signature of {source} is over {witness.checkpoint.size} events.")
                )
    return own


def _key(finding: Finding) -> tuple[FindingCode, int | None]:
    return finding.code, finding.seq


def _unreadable(error: LedgerDamagedError) -> Finding:
    return Finding(FindingCode.SCHEMA, None, f"The recorded events cannot be read: {error}")


def _page(message: str) -> Finding:
    return Finding(FindingCode.PAGE, None, message)


def _signature(seq: int | None, message: str) -> Finding:
    return Finding(FindingCode.SIGNATURE, seq, message)
