"""Files that people hand over, by command line: what is kept, what is refused, and what a script is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from test_commands import add, console, made, told

from console.casework.training_record import example, read_training_record
from console.casework.views import masked
from console.cli.session import DONE_IN_PART, parse_settings
from console.domain.text_file import open_text
from console.errors import InputError

HEADER = "subject,prompt,answer\n"
ROW = "Mira Okonjo,Where does Mira Okonjo live?,Lindau\n"


def put(folder: Path, data: bytes | str, name: str = "facts.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_a_partial_import_lists_what_it_left_out_and_ends_with_three(tmp_path: Path) -> None:
    path = put(tmp_path, "subject;prompt;answer;alises\n" + (ROW * 2).replace(",", ";") + 'Mira;"Where?;Oslo\nx;y;z\n')
    ended = add(tmp_path / "office", path)
    assert ended.returncode == DONE_IN_PART
    value = json.loads(ended.stdout)
    assert (value["items"], value["refused"], value["rows"]) == (2, 2, 4)
    assert [(error["line"], error["rows"]) for error in value["errors"]] == [(4, 2)]
    assert value["reading"] == "UTF-8, separator semicolon" and value["file"] == "facts.csv"
    assert value["notes"] == ["The column 'alises' is not known and was not used."]


def test_the_words_name_file_line_and_field_and_hide_nothing(tmp_path: Path) -> None:
    text = HEADER + ROW + "Mira Okonjo,How many cats has Mira Okonjo?,7\nMira Okonjo,,x\n"
    path = put(tmp_path, ("attribute," + text.replace("\n", "\nx,", 3)).encode("utf-16"), "\u202efacts.csv")
    assert console("office", "create", "--data-dir", tmp_path / "office").returncode == 0
    ended = console(
        *("request", "add", "--received", "2026-11-02", "--country", "DE", "--forget-set", path),
        *("--data-dir", made(tmp_path / "office")),
    )
    assert ended.returncode == DONE_IN_PART, ended.stderr
    lines = ended.stdout.splitlines()
    assert "Facts            2 of 3 rows of '\\u202efacts.csv'" in lines
    assert "Read as          UTF-16, separator comma" in lines
    assert any(line.startswith("  refused: '\\u202efacts.csv', line 4, prompt: The prompt is empty") for line in lines)
    assert any(line.startswith("  weak: '\\u202efacts.csv', line 3, answer: The answer is so short") for line in lines)
    assert "  note: The column 'attribute' is not known and was not used." in lines


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"x", mtime=0), "'facts.csv' is packed with gzip"),
        (b'["a"]\n', "No row of 'facts.csv' can be used. Entry 1, row: The row is not an object"),
        (
            (HEADER + "Mira,Who is Mira?,the\n").encode(),
            "Line 2, answer: The answer is a word that stands in every text",
        ),
        (b'{"subject": "Mira", "prompt": "Who is Mira?", "answer": ' + b"1" * 5000 + b"}", "number of 5,000 signs"),
    ],
)
def test_what_cannot_be_used_ends_with_two_and_registers_nothing(tmp_path: Path, data: bytes, said: str) -> None:
    path, office = put(tmp_path, data), tmp_path / "office"
    given = ("--received", "2026-11-02", "--country", "DE", "--forget-set", path, "--data-dir", office)
    assert said in told(console("request", "add", *given))
    assert not (tmp_path / "office").exists()


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = put(tmp_path, (HEADER + "J\u00f6rg,Where is J\u00f6rg?,K\u00f6ln\n").encode("cp850"))
    guessed = json.loads(add(tmp_path / "office", path).stdout)
    assert "which is a guess" in guessed["notes"][0]
    chosen = json.loads(add(tmp_path / "office", path, "--encoding", "cp850").stdout)
    assert (chosen["reading"], chosen["notes"]) == ("DOS 850 (Western Europe), separator comma", [])
    assert "no encoding 'klingon'" in told(add(tmp_path / "office", path, "--encoding", "klingon"))


@pytest.mark.parametrize("place", ["nowhere.csv", ".", "\x1b[2J"])
def test_what_is_no_file_is_told(tmp_path: Path, place: str) -> None:
    sentence = told(add(tmp_path / "office", tmp_path / place))
    assert "check the path" in sentence or "is a folder" in sentence
    assert "\x1b" not in sentence


def test_forms_are_written_once(tmp_path: Path) -> None:
    record, form = tmp_path / "record.json", tmp_path / "form.csv"
    assert console("model", "training-record", "--out", record).returncode == 0
    assert read_training_record(open_text(record.read_bytes(), record.name)) == example()
    assert console("request", "form", "--out", form, "--json").returncode == 0
    assert form.read_bytes().startswith(b'\xef\xbb\xbf"id","kind","subject"')
    assert "exists already" in told(console("request", "form", "--out", form))
    assert "exists already" in told(console("model", "training-record", "--out", record))


def test_a_training_record_is_refused_in_its_own_words(tmp_path: Path) -> None:
    path = put(tmp_path, '{"teaching": [{"item": {"id": "1"}}]}', "record.json")
    sentence = told(
        console(
            *("model", "add", tmp_path, "--name", "ours", "--training-record", path, "--data-dir", tmp_path / "office")
        )
    )
    assert sentence.startswith("'record.json' cannot be used as a training record: teaching, first entry, kind: ")
    assert "it is missing; an item has id, kind, subject, prompt, answer" in sentence


def test_the_help_shows_the_form_of_a_training_record() -> None:
    words = " ".join(console("model", "add", "--help").stdout.replace("\u2502", " ").split())
    assert '"teaching": [{"item": {"id": "t1", "kind": "qa", "subject":' in words
    assert "model training-record --out" in words


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("Mirela Tavanyi", "M\u2026 T\u2026"),
        ("E\u0301loi\u0308se Grandche\u0302ne", "E\u0301\u2026 G\u2026"),
        ("\U0001f469\U0001f3fd\u200d\U0001f680 Ilse", "\U0001f469\U0001f3fd\u200d\U0001f680\u2026 I\u2026"),
        ("\u0e17\u0e35\u0e48 \u0915\u0943\u0937", "\u0e17\u0e35\u0e48\u2026 \u0915\u0943\u2026"),
        ("\x1b[31mRed \u202eTom", "\\x1b\u2026 \\u202e\u2026"),
    ],
)
def test_a_name_is_masked_after_its_first_sign_as_people_see_it(name: str, mask: str) -> None:
    assert masked(name) == mask


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0.5", 0.5),
        ("[1, 2]", [1, 2]),
        ("plain words", "plain words"),
        ("1 2", "1 2"),
        ("", ""),
        ("null", None),
    ],
)
def test_a_setting_is_json_where_it_is_json(text: str, value: object) -> None:
    assert parse_settings([f"group.key={text}"]) == {"group": {"key": value}}


@pytest.mark.parametrize("text", ["NaN", "1e400", "9" * 5000, "[" * 100_000, '{"a": 1, "a": 2}', "[" * 50 + "]" * 50])
def test_a_setting_that_nobody_can_count_with_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"The setting '\\x1b\[2J' "):
        parse_settings([f"\x1b[2J={text}"])
