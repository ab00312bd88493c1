"""Foreign text is shown without the power to change what stands around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain.visible import LONGEST_QUOTE, quoted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Mira Okonjo", "Mira Okonjo"),
        ("Grüße 東京 👩🏽‍🚀", "Grüße 東京 👩🏽‍🚀"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("name\nIntegrity ok", "name\\x0aIntegrity ok"),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("half \ud800", "half \\ud800"),
        ("\x9b2J", "\\x9b2J"),
        ("one\u2028two", "one\\u2028two"),
    ],
)
def test_what_could_act_is_escaped_and_the_rest_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_kept_characters_stay() -> None:
    assert visible("one\ntwo\x07", keep="\n") == "one\ntwo\\x07"


@given(st.text())
def test_nothing_shown_can_break_a_line_or_steer_a_terminal(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown and "\x9b" not in shown
    shown.encode("utf-8")


def test_a_quote_is_short_and_in_quotes() -> None:
    assert quoted("x" * 500) == f"'{'x' * (LONGEST_QUOTE - 1)}…'"
    assert quoted("a\tb") == "'a\\x09b'"
