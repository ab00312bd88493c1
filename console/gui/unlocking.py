"""Opening the office: ask for the passphrase until it fits or the person gives up. Qt-free."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from console.casework.office import Office
from console.casework.operation import settle_orphans
from console.errors import PassphraseError
from console.paths import Places

Ask = Callable[[str], str | None]
"""Asks for the passphrase; gets what was wrong the last time (empty at first), gives None to leave."""


def open_office(places: Places, ask: Ask, env: Mapping[str, str] | None = None) -> Office | None:
    """The open office, or None if the person gave up.

    A new office gets a generated key file, because there is nothing to protect yet and nobody to have chosen
    a passphrase. Jobs that a console left running when it went away are recorded as failed.

    Raises:
        PassphraseError: a key file or the keyring holds a wrong passphrase; asking would not help.
        LedgerBusyError, LedgerDamagedError, DiskFullError, InputError, SetupError: as the ledger says.
    """
    wrong = ""
    while True:
        asked: list[str | None] = []

        def prompt(sentence: str = wrong, asked: list[str | None] = asked) -> str | None:
            asked.append(ask(sentence))
            return asked[-1]

        try:
            office = Office.open(
                places,
                prompt=prompt if places.ledger.exists() else None,
                env=os.environ if env is None else env,
            )
        except PassphraseError as error:
            if not asked:
                raise
            if asked[-1] is None:
                return None
            wrong = str(error)
            continue
        if office.ledger.continuity is None:
            settle_orphans(office)
        return office
