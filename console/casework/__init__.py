"""Use cases: the only code that changes anything. Windows and command line both come through here."""
