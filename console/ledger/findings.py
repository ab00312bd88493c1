"""What a verification says: closed codes, one sentence each, and the place in the chain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingCode(StrEnum):
    """Why a ledger does not verify. Each code asks for another reaction, so they are never merged."""

    LINK = "LINK"  # an event does not name the one before it
    CONTENT = "CONTENT"  # an event's recomputed hash is not the recorded one
    GAP = "GAP"  # sequence numbers are missing or rows were not read
    TRUNCATED = "TRUNCATED"  # the ledger once had more events than it has now
    SIGNATURE = "SIGNATURE"  # a checkpoint is not signed by the ledger's key
    FORK = "FORK"  # the ledger's history is not the one a checkpoint or report witnessed
    CLOCK = "CLOCK"  # an event is dated clearly before the one it follows
    PAGE = "PAGE"  # a page of the file is not as it was written
    VAULT = "VAULT"  # a sealed item or key is missing, changed, or not what the events say of it
    PROJECTION = "PROJECTION"  # a list that is kept beside the events is not what the events say
    EMPTY = "EMPTY"  # there is no event at all, or the first is not the opening
    SCHEMA = "SCHEMA"  # a row or table is not in the form this console writes, or its protection was taken off


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, at event ``seq`` (or the size of the checkpoint), or in general (None)."""

    code: FindingCode
    seq: int | None
    message: str


@dataclass(frozen=True)
class VerificationResult:
    """``checked`` events were recomputed; ``findings`` are in the order in which they were met.

    ``not_checked`` says in sentences what the verification has not looked at, so that nobody takes it for whole.
    """

    checked: int
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing at all was found."""
        return not self.findings

    @property
    def altered(self) -> bool:
        """Something other than a clock that was set back: the record is not what the console wrote."""
        return any(finding.code is not FindingCode.CLOCK for finding in self.findings)
