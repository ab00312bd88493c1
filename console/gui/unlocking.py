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

    Jobs that a console left running when it went away are recorded as failed.

    Raises:
        PassphraseError: a key file or the keyring holds a wrong passphrase; asking would not help.
        LedgerBusyError, LedgerDamagedError, DiskFullError, InputError, SetupError: as the ledger says.
    """
    wrong = ""
    remarks: list[str] = []
    while True:
        remarks.clear()
        asked: list[str | None] = []

        def prompt(wrong: str = wrong, asked: list[str | None] = asked) -> str | None:
            asked.append(ask(" ".join((wrong, *remarks)).strip()))
            return asked[-1]

        try:
            office = Office.open(places, prompt=prompt, env=os.environ if env is None else env, say=remarks.append)
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


def make_office(places: Places, organisation: str, env: Mapping[str, str] | None = None) -> Office:
    """A new office, open.

    It gets a generated key file where no passphrase file is named, because there is nothing to protect yet and nobody
    to have chosen a passphrase.

    Raises:
        InputError, LedgerDamagedError: there is an office already, or there was one.
        PassphraseError, DiskFullError, SetupError: nothing was made.
    """
    return Office.create(places, organisation=organisation, env=os.environ if env is None else env)
