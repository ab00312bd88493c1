"""No byte of a report can change, and no tail can go, without verification saying no."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from conftest import NOW, Office

from console.errors import InputError
from console.reports.certificates import trust_in
from console.reports.envelope import seals
from console.reports.verify import verify_bytes

SEED = 20261125


def refused(data: bytes, office: Office) -> bool:
    try:
        return not verify_bytes(data, trust=trust_in([office.ca]), now=NOW).ok
    except InputError:
        return True


def flipped(data: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


def boundary_positions(data: bytes) -> Iterator[int]:
    """Header, every byte of the byte ranges, both ends of each signature value, xrefs, trailers, ends of file."""
    yield from range(16)
    for pattern in (rb"/ByteRange \[[^\]]*\] *\n", rb"startxref\n\d+\n%%EOF\n", rb"trailer", rb"xref\n\d+ \d+\n"):
        for match in re.finditer(pattern, data):
            yield from range(match.start() - 1, min(match.end() + 1, len(data)))
    for match in re.finditer(rb"/Contents <([0-9A-F]+)>", data):
        yield from range(match.start(), match.start(1) + 40)
        yield from range(match.end() - 40, match.end())
    yield from (len(data) - 1, len(data) - 2)


def test_the_report_itself_is_accepted(signed_pdf: bytes, countersigned_pdf: bytes, office: Office) -> None:
    assert verify_bytes(signed_pdf, trust=trust_in([office.ca]), now=NOW).ok
    assert verify_bytes(countersigned_pdf, trust=trust_in([office.ca]), expected_signatures=2, now=NOW).ok


@pytest.mark.parametrize("number", [1, 2])
def test_any_flipped_bit_is_found(number: int, signed_pdf: bytes, countersigned_pdf: bytes, office: Office) -> None:
    data = signed_pdf if number == 1 else countersigned_pdf
    chance = random.Random(SEED)
    positions = {*boundary_positions(data), *(chance.randrange(len(data)) for _ in range(400))}
    passed = [
        position for position in sorted(positions) if not refused(flipped(data, position, chance.randrange(8)), office)
    ]
    assert passed == []


def test_any_other_digit_in_the_signature_value_is_found(signed_pdf: bytes, office: Office) -> None:
    """The one stretch that no signature covers: every digit replaced, by another value and by the other case."""
    (value,) = re.finditer(rb"/Contents <([0-9A-F]+)>", signed_pdf)
    chance = random.Random(SEED)
    passed = []
    for position in range(value.start(1), value.end(1), 5):
        old = signed_pdf[position : position + 1]
        digits = [digit for digit in b"0123456789ABCDEF" if digit != old[0]]
        for new in {chance.choice(digits), *old.lower()} - {old[0]}:
            if not refused(signed_pdf[:position] + bytes([new]) + signed_pdf[position + 1 :], office):
                passed.append(position)
    assert passed == []


def test_any_cut_tail_is_found(signed_pdf: bytes, office: Office) -> None:
    chance = random.Random(SEED)
    cuts = {1, 2, 6, 7, *(chance.randrange(1, len(signed_pdf)) for _ in range(200)), len(signed_pdf)}
    assert [cut for cut in cuts if not refused(signed_pdf[:-cut], office)] == []


def test_any_added_tail_is_found(signed_pdf: bytes, office: Office) -> None:
    for tail in (b"\n", b" ", b"\0", b"%", b"%%EOF\n", b"\r\n%%EOF\n", signed_pdf):
        assert refused(signed_pdf + tail, office)
    assert refused(b"\n" + signed_pdf, office)


def test_bytes_that_are_inserted_or_taken_out_are_found(signed_pdf: bytes, office: Office) -> None:
    chance = random.Random(SEED)
    for _ in range(60):
        position = chance.randrange(len(signed_pdf))
        assert refused(signed_pdf[:position] + signed_pdf[position + 1 :], office)
        assert refused(signed_pdf[:position] + b"0" + signed_pdf[position:], office)


def test_an_earlier_revision_is_not_the_report(countersigned_pdf: bytes, signed_pdf: bytes, office: Office) -> None:
    """Cut back to the preparer's signature the file is valid in itself: only the expected number tells."""
    first, last = seals(countersigned_pdf)
    assert last.end == len(countersigned_pdf)
    earlier = countersigned_pdf[: first.end]
    assert earlier == signed_pdf
    result = verify_bytes(earlier, trust=trust_in([office.ca]), expected_signatures=2, now=NOW)
    assert not result.ok
    assert "1 of 2 signatures" in result.integrity.sentence
    revisions = [match.end() for match in re.finditer(rb"%%EOF\n", countersigned_pdf)]
    assert len(revisions) == 4
    for end in revisions[:2]:
        assert "no signature" in verify_bytes(countersigned_pdf[:end], now=NOW).integrity.sentence


def test_rubbish_is_refused_without_an_exception(office: Office) -> None:
    for data in (b"%PDF-1.7\n%%EOF\n", b"%PDF-1.7\n/Contents <00>\n/ByteRange [0 1 2 3]\n%%EOF\n"):
        result = verify_bytes(data, trust=trust_in([office.ca]), now=NOW)
        assert not result.ok
        assert result.integrity.sentence


def test_what_is_no_pdf_is_no_answer() -> None:
    with pytest.raises(InputError, match="empty"):
        verify_bytes(b"", now=NOW)
    for data in (random.Random(SEED).randbytes(5000), b"a letter\n", b"PK\x03\x04 an archive"):
        with pytest.raises(InputError, match="not a PDF"):
            verify_bytes(data, now=NOW)
