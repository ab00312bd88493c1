"""What a colour may say. Qt-free, so that the words and their tone are chosen together."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Tone(StrEnum):
    """The meaning of a colour; it never stands without an icon and a word."""

    PLAIN = "plain"
    QUIET = "quiet"
    INFO = "info"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Mark(NamedTuple):
    """An icon's name and its tone."""

    icon: str
    tone: Tone
