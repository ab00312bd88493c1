"""Random mutations of signed reports: each is refused, or every signed byte is still there.

``ERASURE_CONSOLE_MUTATIONS=2000`` runs as many as a release asks for.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import psutil
import pytest
from conftest import NOW, Office

from console.errors import InputError
from console.reports.certificates import trust_in
from console.reports.envelope import seals
from console.reports.verify import verify_bytes

SEED = 20261130
MUTATIONS = int(os.environ.get("ERASURE_CONSOLE_MUTATIONS", "150"))
LONGEST_S = 20.0  # a mutation; the watched process ends it much earlier
MOST_MEMORY = 1536 * 1024 * 1024  # bytes, of this process


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 16, 400, len(data)))]


def repeat(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[chance.randrange(len(data)) :] = data[start : start + 4000] * chance.choice((1, 2, 30))


def copy_over(data: bytearray, chance: random.Random) -> None:
    start, place, size = chance.randrange(len(data)), chance.randrange(len(data)), chance.choice((4, 60, 900))
    data[place : place + size] = data[start : start + size]


def other_number(data: bytearray, chance: random.Random) -> None:
    """A length, an offset or a count becomes another one."""
    digits = [place for place, byte in enumerate(data) if byte in b"0123456789"]
    place = chance.choice(digits)
    data[place : place + 1] = chance.choice((b"0", b"9", b"99999999", b"-1", b"4294967296", b"1e9"))


def other_word(data: bytearray, chance: random.Random) -> None:
    """A word of the format becomes another one."""
    words = [
        f"/{name}".encode() for name in ("Length", "Filter", "FlateDecode", "Kids", "Prev", "Contents", "ByteRange")
    ]
    words += [b"endobj", b"stream", b"xref", b"trailer", b"startxref", b"%%EOF", b"/Encrypt", b"/JavaScript", b"/Type"]
    old = chance.choice([word for word in words if word in data])
    place = data.index(old, chance.randrange(data.rindex(old) + 1))
    data[place : place + len(old)] = chance.choice(words)


def append(data: bytearray, chance: random.Random) -> None:
    data += chance.choice((b"\n", b"%%EOF\n", chance.randbytes(200), bytes(data)))


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, cut, repeat, copy_over, other_number, other_word, append,
)  # fmt: skip


def signed_bytes(data: bytes) -> list[bytes]:
    """What the signatures cover."""
    ranges = [seal.byte_range for seal in seals(data)]
    return [data[:first] + data[after : after + rest] for _, first, after, rest in ranges]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [1, 2])
def test_a_mutated_report_is_refused_or_the_same(
    number: int, signed_pdf: bytes, countersigned_pdf: bytes, office: Office
) -> None:
    report = signed_pdf if number == 1 else countersigned_pdf
    trust = trust_in([office.ca])
    chance = random.Random(SEED + number)
    accepted, slowest = [], 0.0
    for attempt in range(MUTATIONS // 2):
        data = bytearray(report)
        kind = KINDS[attempt % len(KINDS)]
        kind(data, chance)
        started = time.monotonic()
        try:
            ok = verify_bytes(bytes(data), trust=trust, expected_signatures=number, now=NOW).ok
        except InputError:
            ok = False
        slowest = max(slowest, time.monotonic() - started)
        if ok and signed_bytes(bytes(data)) != signed_bytes(report):
            accepted.append((attempt, kind.__name__))
    assert accepted == []
    assert slowest < LONGEST_S
    assert psutil.Process().memory_info().rss < MOST_MEMORY
