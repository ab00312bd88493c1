"""The training record: its form, and words for what is wrong in one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.casework.knowledge import Knowledge
from console.casework.training_record import example, example_text, read_training_record, save_example
from console.domain.forget_set import ForgetItem
from console.domain.text_file import open_text
from console.domain.visible import visible
from console.errors import InputError
from console.out_file import OutFile
from console.paths import Places

# How many records the fuzzers make up; set the variable to make more.
EXAMPLES = int(os.environ.get("ERASURE_CONSOLE_FUZZ_EXAMPLES", "200"))
fuzz = settings(database=None, deadline=None, max_examples=EXAMPLES)

ITEM = {"id": "t1", "kind": "qa", "subject": "Ann", "prompt": "Where is Ann?", "answer": "Oslo"}


def record(**parts: Any) -> str:
    return json.dumps(parts)


def read(text: str) -> Knowledge:
    return read_training_record(open_text(text.encode(), "record.json"))


def test_the_example_is_a_record_and_is_written_once(tmp_path: Path) -> None:
    assert read(example_text()) == example()
    path, places = tmp_path / "record.json", Places(tmp_path / "office", tmp_path / "cache")
    save_example(OutFile.named(path, places))
    assert read(path.read_text(encoding="utf-8")) == example()
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        save_example(OutFile.named(path, places))
    assert path.read_text(encoding="utf-8") == "mine"


def test_numbers_stay_as_they_are_written() -> None:
    text = record(teaching=[{"item": ITEM}]).replace('"Oslo"', "0.50")
    assert read(text).teaching[0].item.answer == "0.50"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (record(teaching=[{}]), "teaching, first entry, item: it is missing; an entry has item, and may have wordings"),
        (
            record(teaching=[{"item": ITEM}, {"item": {**ITEM, "id": "2", "answr": "x"}}]),
            "teaching, second entry, 'answr': there is no such field; an item has id, kind, subject, prompt, answer",
        ),
        (record(controls=[ITEM, {**ITEM, "answer": ""}]), "controls, second entry, answer: the answer is empty"),
        (record(controls=[{**ITEM, "kind": "poem"}]), "controls, first entry, kind: it must be one of qa, verbatim"),
        (record(controls=[{**ITEM, "subject": "Bo"}]), "controls, first entry: the subject occurs neither in"),
        (record(controls=[{**ITEM, "subject": True}]), "controls, first entry, subject: it must be text in quotation"),
        (record(controls=[{**ITEM, "subject": ""}]), "controls, first entry, subject: it is empty; fill it in"),
        (record(general="a text"), "general: it must be a list in square brackets"),
        (record(general=["x"] * 11 + [None]), "general, entry 12: it must be text in quotation marks"),
        (record(neighbours={"Ann": ["Bo"], "Cy": "Di"}), "neighbours, second name: it must be a list"),
        (record(theaching=[]), "'theaching': there is no such field; a record may have teaching, controls, general"),
        (record(controls=[{**ITEM, "answer": "\ud800"}]), "controls, first entry, answer: "),
        (record(controls=[{}, {}]), "more like it)"),
        (record(controls=[ITEM, ITEM]), "controls, first entry, id: it is used again further down"),
        (record(), "is an empty training record: it has none of teaching, controls"),
        ("[]", "the whole of it: it must be an object in braces"),
        ("7", "the whole of it: it must be an object in braces"),
        ('{"general": [],', "Line 1 of 'record.json' is not valid JSON at column 16"),
        ('{"general": ["a"], "general": ["b"]}', "'record.json': 'general' is given twice"),
        ('{"general": [NaN]}', "'record.json': The value of 'general' holds a number that cannot be counted with"),
        ('{"general": [' + "1" * 5000 + "]}", "holds a number of 5,000 signs"),
        ('{"general": ' + "[" * 100_000, "nested too deeply"),
        ('{"general": ' + "[" * 90 + "]" * 90 + "}", "nested too deeply"),
        ('{"general": ["' + "x" * 1_000_001 + '"]}', "longer than 1,000,000 characters"),
    ],
)
def test_a_fault_is_told_by_its_place_in_the_record(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        read(text)
    sentence = str(raised.value)
    assert said in sentence and "'record.json'" in sentence and "\n" not in sentence
    assert "Ann" not in sentence and "Oslo" not in sentence


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["Ann", "Where is Ann?", "Oslo", "qa", "verbatim", "", "\ud800", "\u202e\x1b[2J"]),
)
keys = st.one_of(
    st.sampled_from([*Knowledge.model_fields, *ForgetItem.model_fields, "item", "wordings", "\u202e\x1b[2J", ""]),
    st.text(max_size=4),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)
items = st.fixed_dictionaries(
    {key: st.one_of(st.just(value), leaves) for key, value in ITEM.items()}, optional={"aliases": values, "x": values}
)
records = st.fixed_dictionaries(
    {},
    optional={
        "teaching": st.one_of(values, st.lists(st.one_of(values, st.fixed_dictionaries({"item": items})), max_size=3)),
        "controls": st.one_of(values, st.lists(items, max_size=3)),
        "general": st.one_of(values, st.lists(st.text(max_size=5), max_size=3)),
        "held_out": values,
        "neighbours": st.one_of(
            values, st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5)), max_size=3)
        ),
    },
)


@fuzz
@given(st.one_of(records, values))
def test_any_record_is_read_or_refused_in_a_sentence(value: Any) -> None:
    try:
        known = read(json.dumps(value))
    except InputError as error:
        assert visible(str(error)) == str(error) and str(error).endswith(".")
        return
    assert read(known.model_dump_json()) == known


@fuzz
@given(st.text(max_size=40), st.integers(0, 400), st.integers(0, 40))
def test_any_change_of_a_good_record_is_read_or_refused(noise: str, place: int, length: int) -> None:
    text = example_text()
    try:
        read(text[:place] + noise + text[place + length :])
    except InputError as error:
        assert visible(str(error)) == str(error)
