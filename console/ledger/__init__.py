"""The record room: an encrypted, append-only, hash-chained ledger with signed checkpoints and a vault of personal data.

Layers of tamper evidence, and what each does not stop:

* triggers, an authorizer and one writer: accidents; not somebody with the file and the passphrase;
* the hash chain: a silent edit, insertion or reordering; not a complete rewrite or a cut end;
* Ed25519 checkpoints over a Merkle tree, and a high-water mark beside the file: a rewrite or a cut below them; not
  somebody who holds the passphrase (and so the signing key) and replaces the mark too;
* checkpoints in reports that left the house: all of the above, because the rewritten ledger no longer fits them.
"""

from console.ledger.chain import Event, Head
from console.ledger.findings import Finding, FindingCode, VerificationResult
from console.ledger.ledger import Ledger
from console.ledger.merkle import InclusionProof
from console.ledger.projections import Projector
from console.ledger.transaction import Transaction
from console.ledger.vault import SealedItem

__all__ = [
    "Event",
    "Finding",
    "FindingCode",
    "Head",
    "InclusionProof",
    "Ledger",
    "Projector",
    "SealedItem",
    "Transaction",
    "VerificationResult",
]
