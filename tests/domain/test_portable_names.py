"""Names that every system can hold."""

from __future__ import annotations

import pytest

from console.domain.portable_names import why_not_a_name


@pytest.mark.parametrize(
    "name", ["ours", "Ours-2", "qwen2.5-0.5b", "console", "auxiliary", "com10", "a" * 64, "nullam.1"]
)
def test_a_usable_name(name: str) -> None:
    assert why_not_a_name(name, ["other"]) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CON", "for a device"),
        ("aux", "for a device"),
        ("nul.gguf", "for a device"),
        ("LPT1", "for a device"),
        ("com0.tar.gz", "for a device"),
        ("ours.", "drops a dot"),
        ("ours ", "cannot name"),
        ("a/b", "cannot name"),
        ("a\\b", "cannot name"),
        ("..", "cannot name"),
        ("", "Give the model a name"),
        ("x" * 65, "cannot name"),
        ("ours\n", "cannot name"),
        ("\u202egguf", r"cannot name"),
        ("ours", "already registered"),
        ("Ours", "same name"),
    ],
)
def test_one_that_is_none_is_refused_in_a_sentence(name: str, says: str) -> None:
    sentence = why_not_a_name(name, ["ours"])
    assert sentence is not None and says in sentence and sentence.endswith(".") and sentence.isprintable()
