"""The one door for text: how a file is read, and the true cause where it cannot be."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.domain.importers import read_items
from console.domain.text_file import CUT, ENCODINGS, LARGEST_FILE, TextFile, encoding_named, open_text
from console.domain.visible import visible
from console.errors import InputError

# How many files the fuzzers make up; set the variable to make more.
EXAMPLES = int(os.environ.get("ERASURE_CONSOLE_FUZZ_EXAMPLES", "200"))
fuzz = settings(database=None, deadline=None, max_examples=EXAMPLES)
fast = settings(database=None, deadline=None, max_examples=80)

TEXT = "id,prompt\n1,Where is M\u00fcller \u2013 \u5317\u4eac?\n"
HEADER = "subject,prompt,answer\n"
GERMAN = HEADER + "K\u00e4the S\u00fc\u00dfm\u00fcller,Wo wohnt K\u00e4the S\u00fc\u00dfm\u00fcller?,Z\u00fcrich\n"


def is_safe(sentence: str) -> bool:
    """Whether a sentence can be printed as it is."""
    return visible(sentence) == sentence


def refusal(data: bytes, name: str = "facts.csv", encoding: str | None = None) -> str:
    with pytest.raises(InputError) as raised:
        read_items(open_text(data, name, encoding))
    sentence = str(raised.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


class TestEncoding:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_a_unicode_file_is_known_by_itself(self, encoding: str) -> None:
        file = open_text(TEXT.encode(encoding), "facts.csv")
        assert (file.text, file.is_guess, file.is_cut) == (TEXT, False, False)
        assert file.encoding.startswith("UTF-" + encoding.split("-")[1])

    @fast
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=40))
    def test_utf_8_is_always_itself(self, text: str) -> None:
        assert open_text(("x" + text).encode("utf-8-sig"), "facts.csv").text == "x" + text

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("cp1252", GERMAN),
            ("cp1250", "\u0141ucja \u015awierszczyk, Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144\n"),
            (
                "cp1251",
                "\u0406\u0432\u0430\u043d \u043c\u0435\u0448\u043a\u0430\u0454 \u0443 \u041a\u0438\u0454\u0432\u0456\n",
            ),
            ("cp932", "\u7530\u4e2d\u3055\u3093\u306f\u6771\u4eac\u306b\u4f4f\u3093\u3067\u3044\u307e\u3059\u3002\n"),
        ],
    )
    def test_another_encoding_is_guessed_and_called_a_guess(self, encoding: str, text: str) -> None:
        file = open_text((text * 3).encode(encoding), "facts.csv")
        assert (file.text, file.is_guess) == (text * 3, True)
        assert file.reading.endswith("(a guess)") and "choose another encoding" in file.caution

    @pytest.mark.parametrize(
        ("encoding", "person", "place"),
        [
            ("cp1250", "Jan Kowalski", "Zamość"),
            ("cp1250", "Jan Kowalski", "Łódź"),
            ("cp1250", "Grażyna Wąs", "Kraków"),
            ("cp1250", "Tomáš Dvořák", "Plzeň"),
            ("cp1250", "Győző Kovács", "Győr"),
            ("cp852", "Bogusława Wąs", "Łódź"),
            ("cp1252", "Jörg Müller", "Köln"),
            ("cp1252", "Søren Ærø", "Århus"),
            ("cp1252", "Élodie Lœuvre", "Besançon"),
            ("cp1252", "Íñigo Núñez", "Logroño"),
            ("cp850", "Käthe Süßmüller", "Zürich"),
        ],
    )
    def test_one_name_is_enough(self, encoding: str, person: str, place: str) -> None:
        text = f"{HEADER}{person},Where does {person} live?,{place}\n"
        file = open_text(text.encode(encoding), "facts.csv")
        assert (file.text, file.is_guess) == (text, True)

    def test_a_guess_shows_what_to_look_at(self) -> None:
        file = open_text(f"{HEADER}Jan,Where is Jan?,Zamość\n".encode("cp1250"), "facts.csv")
        assert "names with accents, for instance 'Zamość', and choose" in file.caution

    def test_a_guess_is_a_note_of_the_import(self) -> None:
        result = read_items(open_text(GERMAN.encode("cp1252"), "facts.csv"))
        assert result.reading == "Windows-1252 (Western Europe) (a guess), separator comma"
        assert "which is a guess" in result.notes[0] and result.items[0].answer == "Z\u00fcrich"

    def test_the_person_s_choice_goes_first(self) -> None:
        file = open_text(GERMAN.encode("cp850"), "facts.csv", "CP850")
        assert (file.text, file.is_guess, file.caution) == (GERMAN, False, "")

    @pytest.mark.parametrize("name", ["martian", "rot13", "base64", "unicode_escape", "", "a\0b"])
    def test_a_name_that_is_no_encoding(self, name: str) -> None:
        assert "There is no encoding" in refusal(b"x", encoding=name)

    @pytest.mark.parametrize("name", ["utf-8-sig", "utf_8_sig", "U8", "ascii", "latin1", "shift_jis", "euc-kr", "gbk"])
    def test_the_names_that_python_knows_are_taken(self, name: str) -> None:
        data = "id,prompt\n1,Mira\n".encode(name)
        assert open_text(data, "facts.csv", name).text == "id,prompt\n1,Mira\n"

    def test_every_encoding_can_be_named(self) -> None:
        assert [encoding_named(name.upper()) for name in ENCODINGS] == list(ENCODINGS)


class TestBrokenText:
    def test_one_latin_1_row_costs_that_row(self) -> None:
        rows = "".join(f"J\u00f6rgen {n},Where does J\u00f6rgen {n} live?,\u00c5storp\n" for n in range(3))
        data = (HEADER + rows).encode() + "K\u00e4the,Where does K\u00e4the live?,K\u00f6ln\n".encode("latin-1")
        result = read_items(open_text(data, "facts.csv"))
        assert (len(result.items), result.refused, result.total) == (3, 1, 4)
        (error,) = result.errors
        assert (error.line, error.field) == (5, "subject")
        assert error.message == "The subject holds bytes that are not UTF-8: save the whole file again as UTF-8."

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-16-be"])
    def test_a_file_that_is_cut_inside_a_character_says_so(self, encoding: str) -> None:
        whole = (GERMAN + "\u00d6rjan,Where does \u00d6rjan live?,\u00c5storp\u00fc").encode(encoding)
        file = open_text(whole[:-1], "facts.csv")
        assert file.is_cut and file.text.endswith(CUT)
        result = read_items(file)
        assert (len(result.items), result.total) == (1, 2)
        assert "ends in the middle of a character: it was cut off" in result.errors[0].message

    def test_json_lines_lose_the_bad_line_only(self) -> None:
        line = '{"subject": "J\u00f6rg", "prompt": "Where is J\u00f6rg?", "answer": "K\u00f6ln"}\n'
        result = read_items(open_text(line.encode() + line.encode("latin-1") + line.encode(), "facts.jsonl"))
        assert (len(result.items), [error.line for error in result.errors]) == (2, [2])
        assert "bytes that are not UTF-8" in result.errors[0].message

    def test_a_cut_list_is_called_cut(self) -> None:
        data = '[{"subject": "J\u00f6rg", "prompt": "Where is J\u00f6rg?", "answer": "K\u00f6'.encode()[:-1]
        assert "ends in the middle of a character" in refusal(data, "facts.json")

    def test_a_heading_that_lacks_columns_does_not_hide_the_other_fault(self) -> None:
        data = "request_no,subject\n1,J\u00f6rg\u00fc".encode()[:-1]
        sentence = refusal(data)
        assert (
            "lacks the columns prompt, answer" in sentence
            and "Besides, line 2: The file ends in the middle" in sentence
        )


def packed(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


class TestTrueCause:
    @pytest.mark.parametrize(
        ("data", "cause"),
        [
            (b"", "is empty (0 bytes)"),
            (b" \r\n\t\n", "is empty but for blanks"),
            (b"\xef\xbb\xbf", "is empty but for blanks"),
            (gzip.compress(b"subject,prompt,answer", mtime=0), "is packed with gzip"),
            (packed("facts.csv"), "is a zip archive"),
            (packed("xl/workbook.xml"), "is an Excel workbook"),
            (packed("word/document.xml"), "is a word processor's document"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office document"),
            (b"%PDF-1.7\n", "is a PDF"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "'git lfs pull'"),
            (b"<!doctype html><html><body>Please sign in to download requests.csv</body></html>", "is a web page"),
            (b"\n <!-- hello -->\n<HTML>", "is a web page"),
            (b"<?xml version='1.0'?><a/>", "is XML"),
            (b"abc\0def", "is not text"),
            (b"\xff\xfea", "is not text"),
            (b"\xff\xfe\0\0\xff\xff\xff\xff", "is not text in UTF-32"),
        ],
    )
    def test_it_is_named_with_the_file(self, data: bytes, cause: str) -> None:
        sentence = refusal(data)
        assert sentence.startswith("The file 'facts.csv' ") and cause in sentence

    def test_a_file_name_is_escaped(self) -> None:
        assert "'gpj.\\u202e\\x1b[2J.csv'" in refusal(b"", "gpj.\u202e\x1b[2J.csv")

    def test_a_file_that_is_far_too_large(self) -> None:
        assert "larger than 64 MB" in refusal(bytes(LARGEST_FILE + 1))


# -- whatever the bytes are -------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *(
            b"subject,prompt,answer\n",
            b"subject;prompt;answer\r\n",
            b"sep=;\n",
            b'"sep=\t"\r',
            b"id\tquestion\tvalue\n",
        ),
        *(b"Ann,Where is Ann?,Oslo\n", b'Ann,"Where is, Ann?",Oslo\n', b'Ann,"Where\nis Ann?",Oslo\n', b'"', b'",\n'),
        *(b'{"subject":"Ann","prompt":"Where is Ann?","answer":"Oslo"}\n', b'{"answer":1e400}', b'{"a":1,"a":2}\n'),
        *(
            b"[",
            b"]",
            b",",
            b"{",
            b"}",
            b"\n",
            b"\r",
            b"\0",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\xc3",
            b"\xe4",
            b"\xe2\x80",
        ),
        *(b"NaN", b"-Infinity", b'"\\ud800"', b"1" * 5000, b"[" * 2000, b'{"a":' * 40, b"x" * 140_000, b"PK\x03\x04"),
    ]
)
files = st.one_of(
    st.binary(max_size=60),
    st.lists(st.one_of(pieces, st.binary(max_size=6)), max_size=12).map(b"".join),
    st.tuples(st.text(max_size=60), st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32"])).map(
        lambda pair: pair[0].encode(pair[1], "ignore")
    ),
)
names = st.sampled_from(["facts.csv", "facts.jsonl", "facts.json", "facts", "\u202e.\x1b"])


@fuzz
@given(files, names, st.one_of(st.none(), st.sampled_from([*ENCODINGS, "martian"])))
@example(b'subject,prompt,answer\nAnn,"Where', "facts.csv", None)
@example(b"subject,prompt,answer\n" + b"Ann,Where is Ann?,Oslo\n" * 3 + b'"' + b"a,b\n" * 40_000, "facts.csv", None)
def test_any_file_is_read_or_refused_and_its_rows_add_up(data: bytes, name: str, encoding: str | None) -> None:
    try:
        result = read_items(open_text(data, name, encoding))
    except InputError as error:
        assert is_safe(str(error))
        return
    refused = {error.line: error.rows for error in result.errors}
    assert len(result.items) + sum(refused.values()) == result.total
    assert all(is_safe(error.message) and error.message.endswith(".") for error in result.errors)


rows_of_a_table = st.lists(
    st.sampled_from(["Ann,Where is Ann?,Oslo", "Ann,Where is he?,Oslo", ",,", "Ann,Where is Ann?", "a,b,c,d", "  "]),
    max_size=8,
)


@fuzz
@given(rows_of_a_table, rows_of_a_table, st.booleans())
def test_the_rows_that_a_person_sees_are_all_accounted_for(before: list[str], after: list[str], is_open: bool) -> None:
    """Also where a quotation mark is opened and never closed."""
    broken = ['Ann,"Where is Ann?,Oslo'] if is_open else []
    lines = [*before, *broken, *after]
    shown = sum(bool(line.replace(",", "").strip()) for line in before)
    shown += (
        sum(bool(line.strip()) for line in (*broken, *after))
        if is_open
        else sum(bool(line.replace(",", "").strip()) for line in after)
    )
    if not shown:
        return
    result = read_items(open_text((HEADER + "\n".join(lines)).encode(), "facts.csv"))
    assert result.total == shown
    assert len(result.items) == before.count(line := "Ann,Where is Ann?,Oslo") + (0 if is_open else after.count(line))


def file(text: str, name: str = "facts.csv") -> TextFile:
    return open_text(text.encode(), name)


class TestTables:
    def test_a_sep_line_is_honoured_and_counted(self) -> None:
        result = read_items(file("sep=;\r\nsubject;prompt;answer\r\nAnn;Where is Ann?;Oslo\r\nAnn;;\r\n"))
        assert (len(result.items), result.reading) == (1, "UTF-8, separator semicolon")
        assert {error.line for error in result.errors} == {4}

    @pytest.mark.parametrize("first", ["sep=^\n", '"sep=^"\n', "SEP=^\n"])
    def test_any_separator_can_be_named(self, first: str) -> None:
        result = read_items(file(first + "subject^prompt^answer\nAnn^Where is Ann?^Oslo, and more\n"))
        assert (result.items[0].answer, result.reading) == ("Oslo, and more", "UTF-8, separator '^'")

    def test_an_open_quotation_mark_in_a_large_file(self) -> None:
        rows = [f"Ann {n},Where does Ann {n} live?,Town {n}" for n in range(10_000)]
        rows[4000] = rows[4000].replace("Where", '"Where')
        result = read_items(file(HEADER + "\n".join(rows)))
        assert (len(result.items), result.refused, result.total) == (4000, 6000, 10_000)
        (error,) = result.errors
        assert (error.where, error.rows) == ("lines 4002 to 10001", 6000)
        assert error.message.startswith("From line 4002 on nothing was read (6000 rows): a quotation mark")

    def test_a_quotation_mark_that_another_row_closes(self) -> None:
        text = (
            HEADER
            + 'Ann,"Where is Ann?,Oslo\nBo,Where is Bo?,Rome\nCy,"Where, now, is Cy?",Bern\nDi,Where is Di?,Kiel\n'
        )
        result = read_items(file(text))
        assert ([item.subject for item in result.items], result.total) == (["Di"], 4)
        assert result.errors[0].message.startswith("Lines 2 to 4 were not read")

    def test_columns_without_a_name_are_told_where_they_hold_something(self) -> None:
        assert read_items(file("subject,prompt,answer,\nAnn,Where is Ann?,Oslo,\n")).notes == ()
        notes = read_items(file("subject,prompt,answer,\nAnn,Where is Ann?,Oslo,x\n")).notes
        assert notes == ("The column '' is not known and was not used.",)

    def test_column_names_are_escaped(self) -> None:
        (note,) = read_items(file("subject,prompt,answer,\x1b[31m\nAnn,Where is Ann?,Oslo,x\n")).notes
        assert note == "The column '\\x1b[31m' is not known and was not used."


def json_errors(*lines: str) -> list[tuple[int, str, str]]:
    result = read_items(file("\n".join(lines), "facts.jsonl"))
    assert result.total == len(lines) and len(result.items) == len(lines) - len({error.line for error in result.errors})
    return [(error.line, error.field, error.message) for error in result.errors]


GOOD = '{"subject": "Ann", "prompt": "Where is Ann?", "answer": "Oslo"}'


class TestJson:
    @pytest.mark.parametrize(
        ("answer", "text"),
        [("1.50", "1.50"), ("1e2", "1e2"), ("-0.0", "-0.0"), ("0.1000", "0.1000"), ("10" * 60, "10" * 60)],
    )
    def test_numbers_stay_as_they_are_written(self, answer: str, text: str) -> None:
        (item,) = read_items(file(GOOD.replace('"Oslo"', answer), "facts.jsonl")).items
        assert item.answer == text

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000])
    @pytest.mark.parametrize("key", ["answer", "weight"])
    def test_a_number_that_no_one_can_count_with_costs_its_row(self, number: str, key: str) -> None:
        row = GOOD.replace("}", f', "{key}": {number}}}') if key == "weight" else GOOD.replace('"Oslo"', number)
        ((line, field, message),) = json_errors(GOOD, row, GOOD)
        assert (line, field) == (2, key) and "write it as text" in message.lower()

    @pytest.mark.parametrize(
        ("row", "field", "said"),
        [
            ('{"subject": "Ann", "answer": "a", "answer": "b"}', "answer", "'answer' is given twice"),
            (GOOD.replace("}", ', "value": "x"}'), "answer", "the answer twice, as 'answer' and 'value'"),
            (GOOD.replace("}", ', "author": "x"}'), "subject", "the subject twice, as 'subject' and 'author'"),
            (GOOD.replace("}", ', "SUBJECT": "x"}'), "subject", "as 'subject' and 'SUBJECT'"),
            (GOOD.replace("}", ', "\\u202e x": 1, "\\u202e-x": 2}'), "\u202e_x", "twice, as '\\u202e x'"),
            (GOOD.replace("}", ', "deep": ' + "[" * 40 + "]" * 40 + "}"), "deep", "nested too deeply"),
            (GOOD.replace("Oslo", "x" * 1_000_001), "answer", "longer than 1,000,000 characters"),
            ("[1]", "row", "not an object"),
            ("[" * 100_000, "row", "nested too deeply"),
        ],
    )
    def test_what_would_be_decided_in_silence_costs_its_row(self, row: str, field: str, said: str) -> None:
        ((line, where, message),) = json_errors(GOOD, row, GOOD)
        assert (line, where) == (2, field) and said in message and is_safe(message)

    def test_a_synonym_without_a_value_is_no_double(self) -> None:
        assert json_errors(GOOD.replace("}", ', "value": null}')) == []

    def test_lines_of_which_the_first_is_a_list_are_lines(self) -> None:
        errors = json_errors('["Ann","Oslo"]', '"text"', "42", "null", "true", "{}", GOOD)
        assert sorted({line for line, _, _ in errors}) == [1, 2, 3, 4, 5, 6]

    def test_in_a_list_each_entry_answers_for_itself(self) -> None:
        text = f'[{GOOD}, {{"answer": 1, "answer": 2}},\n{GOOD}, {GOOD.replace(chr(34) + "Oslo" + chr(34), "NaN")}]'
        result = read_items(file(text, "facts.json"))
        assert (len(result.items), result.total) == (2, 4)
        assert [(error.where, error.field) for error in result.errors] == [("entry 2", "answer"), ("entry 4", "answer")]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"[{GOOD},\n {GOOD}", "Line 2 of 'facts.json' is not valid JSON"),
            (f"[{GOOD},\n]", "Line 2 of 'facts.json' is not valid JSON at column 1"),
            (f"[{GOOD}] x", "Extra data"),
            ("[" * 5000, "nested too deeply"),
            ("[]", "has no rows"),
        ],
    )
    def test_a_broken_list_is_refused_with_the_place(self, text: str, said: str) -> None:
        assert said in refusal(text.encode(), "facts.json")

    def test_json_in_a_file_that_is_named_csv_is_read_as_json(self) -> None:
        assert read_items(file(GOOD)).reading == "UTF-8, JSON lines"


class TestMeasurable:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"answer": "Mira Okonjo"}, "answer"),
            ({"answer": "mira okonjo."}, "answer"),
            ({"prompt": "Does Mira Okonjo live in Bergsee? She lives in", "answer": "Bergsee"}, "prompt"),
            ({"statement": "Mira Okonjo lives in Lindau"}, "statement"),
            ({"answer": "the"}, "answer"),
            ({"answer_aliases": ["The"]}, "answer_aliases"),
            ({"answer": "\u2026?"}, "answer"),
            ({"answer": "verbatim " * 9000}, "answer"),
            ({"prompt": "Where does Mira Okonjo live?" + " Now?" * 1000}, "prompt"),
            ({"aliases": ["x" * 301]}, "aliases"),
            ({"paraphrases": [f"Where, {n}?" for n in range(201)]}, "paraphrases"),
        ],
    )
    def test_what_never_can_be_measured_is_refused(self, changes: dict[str, Any], field: str) -> None:
        result = self.imported(changes)
        assert (result.items, result.total, [error.field for error in result.errors]) == ((), 1, [field])
        assert "Okonjo" not in result.errors[0].message

    @pytest.mark.parametrize(
        ("changes", "field", "said"),
        [
            ({"answer": "7"}, "answer", "turns up by chance"),
            ({"answer": "yes"}, "answer", "half of the time"),
            ({"answer": "Okonjo"}, "answer", "part of the person's name"),
            ({"answer": "a long answer " * 40}, "answer", "word for word"),
            ({"paraphrases": ["Is it Lindau where Mira Okonjo lives?"]}, "paraphrases", "already holds"),
        ],
    )
    def test_weak_evidence_is_kept_with_a_warning(self, changes: dict[str, Any], field: str, said: str) -> None:
        result = self.imported(changes)
        assert (len(result.items), result.errors) == (1, ())
        ((warned, message),) = [(warning.field, warning.message) for warning in result.warnings]
        assert warned == field and said in message

    @pytest.mark.parametrize("answer", ["Lindau", "555-0183", "\u738b\u5c0f", "\U0001f9d1\u200d\U0001f680", "Das"])
    def test_ordinary_facts_come_without_a_word(self, answer: str) -> None:
        result = self.imported({"answer": answer})
        assert (len(result.items), result.errors, result.warnings) == (1, (), ())

    @staticmethod
    def imported(changes: dict[str, Any]) -> Any:
        row = {"subject": "Mira Okonjo", "prompt": "Where does Mira Okonjo live?", "answer": "Lindau"}
        return read_items(file(json.dumps({**row, **changes}), "facts.jsonl"))
