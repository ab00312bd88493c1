"""The codes of a request as somebody types them, in any case and with or without the article's number."""

from __future__ import annotations

import re
from typing import Any

from console.domain.jurisdiction import SuspensionReason
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis
from console.domain.visible import quoted
from console.errors import InputError


def _parse(kind: Any, value: str, what: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in kind)
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(f"{quoted(value)} is not {article} {what}; choose one of {known}.") from error


def parse_ground(text: str) -> Ground:
    """A ground from ``17(1)(b)`` or just ``b``.

    Raises:
        InputError: not one of the six.
    """
    written = text.strip().lower()
    return _parse(Ground, f"17(1)({written})" if len(written) == 1 else written, "ground of Art. 17(1)")


def parse_channel(text: str) -> Channel:
    """A channel by its code.

    Raises:
        InputError: unknown.
    """
    return _parse(Channel, re.sub(r"[-\s]+", "_", text.strip().lower()), "channel")


def parse_basis(text: str) -> RefusalBasis:
    """What a refusal rests on, by its code.

    Raises:
        InputError: unknown.
    """
    try:
        return RefusalBasis(text.strip().lower())
    except ValueError as error:
        known = ", ".join(member.value for member in RefusalBasis)
        raise InputError(f"Name what the refusal rests on with --basis ({known}).") from error


def parse_exception(text: str) -> Exception17:
    """An exception from ``17(3)(e)`` or just ``e``.

    Raises:
        InputError: not one of the five.
    """
    written = text.strip().lower()
    return _parse(Exception17, f"17(3)({written})" if len(written) == 1 else written, "exception of Art. 17(3)")


def parse_suspension(text: str) -> SuspensionReason:
    """What the person is asked for, by its code.

    Raises:
        InputError: unknown.
    """
    return _parse(SuspensionReason, text.strip().lower(), "thing that the person can be asked for")
