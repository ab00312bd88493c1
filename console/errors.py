"""Errors that reach a person.

Each class stands for one thing the person can do about it. The message is one
clear sentence in plain English: what is wrong and what to do. The technical
cause travels as ``__cause__`` (``raise ... from error``) for the engineer's log.
"""

from __future__ import annotations


class ConsoleError(Exception):
    """Something a person has to act on; the command line turns it into exit code 2."""


class InputError(ConsoleError):
    """What was typed or handed over cannot be used: correct it and try again."""


class PassphraseError(ConsoleError):
    """The ledger could not be unlocked: give the right passphrase or key file."""


class LedgerBusyError(ConsoleError):
    """Another console has the ledger open: close it first."""


class LedgerDamagedError(ConsoleError):
    """The ledger file is not what this console wrote: restore a backup, tell the auditor."""


class ModelFileError(ConsoleError):
    """A model file or folder is missing, damaged or of a kind that is not supported: choose another."""


class DiskFullError(ConsoleError):
    """There is no room to write: free space or choose another folder."""


class NotPossibleError(ConsoleError):
    """The step does not fit the state the case is in, or the person's role: do the named step first."""


class JobFailedError(ConsoleError):
    """A background job ended without a result: read the reason and start it again."""


class SetupError(ConsoleError):
    """A program or library is missing on this machine: install the named one."""
