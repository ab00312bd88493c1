"""Pure rules: requests, legal clock, forget sets, verdicts, roles. No I/O, no Qt, no torch, no SQL."""
