"""What people type: sealed in the vault when it is recorded, opened when it is shown.

A reason or a summary can hold a name, and nothing can be taken out of the chain. So the event holds the id of a
sealed item and a commitment, and shredding the request destroys the words with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.casework.office import Office
from console.domain.events import Sealed
from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger import Transaction

NOTE = "note"
NOBODY_NAMED = "No second person was named to approve."  # all that is known where nobody gives a reason
# Sentences that the console itself writes where nobody types a reason, now and in older versions; they tell of nobody.
OWN_SENTENCES = (NOBODY_NAMED, "This office has one person at the desk; nobody else could approve.")
DESTROYED = "the words were destroyed with the person's data"
UNREADABLE = "the words cannot be opened; verify the ledger"


def seal_note(transaction: Transaction, scope: str, text: str) -> Sealed | None:
    """Seal what somebody typed; None where nothing was.

    Args:
        scope: the request whose key seals it.

    Raises:
        NotPossibleError: the request's data was shredded, so nothing can be sealed for it any more.
    """
    if not text.strip():
        return None
    item = transaction.seal(scope, NOTE, text.strip())
    return Sealed(item=item, commitment=transaction.commitment(scope, text.strip()))


def note_text(office: Office, holder: Mapping[str, Any], field: str = "reason") -> str:
    """The words of an event's body or of a state's entry: opened, or as they stand in an event of version 1."""
    sealed = holder.get(f"sealed_{field}")
    if not sealed:
        return str(holder.get(field) or "")
    try:
        return str(office.ledger.unseal(sealed["item"]))
    except NotPossibleError:
        return DESTROYED
    except (InputError, LedgerDamagedError):
        return UNREADABLE  # the case is shown without them; verifying the ledger says what happened
