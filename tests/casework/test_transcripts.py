"""Redaction: no name and no fact is left, whatever its writing, and the rest stays readable."""

from __future__ import annotations

import pytest
from invented import OTHERS, PERSON

from console.casework.transcripts import BLOT, _said, redacted, secrets_of
from console.domain.matching import answer_in

SECRETS = secrets_of((*PERSON, *OTHERS))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Where does Mira Okonjo live?", f"Where does {BLOT} live?"),
        ("OKONJO'S number is 555 0183.", f"{BLOT}'S number is {BLOT}."),
        ("Mira said nothing.", f"{BLOT} said nothing."),
        ("Nobody knows 12 of 24 streets.", "Nobody knows 12 of 24 streets."),
        ("", ""),
    ],
)
def test_names_and_facts_are_blotted_out(text: str, shown: str) -> None:
    assert redacted(text, SECRETS) == shown


def test_nothing_that_the_matcher_would_find_is_left() -> None:
    text = " ".join(f"{item.subject}: {item.prompt} {item.answer};" for item in (*PERSON, *OTHERS))
    shown = redacted(text, SECRETS)
    assert not [item.id for item in (*PERSON, *OTHERS) if answer_in(shown, (item.subject, *item.answers))]


@pytest.mark.parametrize(
    ("said", "hit", "shown"),
    [
        ("A a l b o r g", True, f"{BLOT} (in another writing)"),
        ("312 13556 35894", True, f"{BLOT} (in another writing)"),
        ("I do not know.", False, "I do not know."),
        ("", True, ""),
    ],
)
def test_a_hit_in_another_writing_is_not_shown(said: str, hit: bool, shown: str) -> None:
    assert _said({"answer": said, "hit": hit}, SECRETS) == shown
