"""Reading facts from files: every layout, every fault, and back again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from console.domain.csv_cells import escape_formula, join_list, split_list, unescape_formula
from console.domain.fact_checks import doubts
from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind
from console.domain.importers import ImportResult, read_items, write_items_csv, write_items_jsonl
from console.domain.text_file import TextFile, open_text
from console.domain.tofu_subjects import RowSubject, subjects_of_rows
from console.errors import InputError

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public benchmark data is not beside the checkout")
fast = settings(database=None, deadline=None, max_examples=80)

HEADER = "id,kind,subject,prompt,answer"
GOOD = "p1,qa,Mira Okonjo,What is Mira Okonjo's phone number?,555-0183"

# Carriage returns, quotes, separators and formula signs are drawn often, because they are what breaks files.
awkward = st.text(
    st.one_of(st.sampled_from("=+-@'\"|\\,;\t\n\r \ufeff\uff1d"), st.characters(exclude_categories=("Cs", "Cc"))),
    min_size=1,
    max_size=12,
)
filled = awkward.filter(lambda text: text.strip() != "")
lists = st.lists(filled, max_size=3).map(tuple)


@st.composite
def forget_items(draw: st.DrawFn, number: int) -> ForgetItem:
    subject = draw(filled).strip()
    prompt = f"{draw(awkward)}{subject}{draw(awkward)}"
    item = ForgetItem(
        id=f"{draw(filled)}{number}",
        kind=draw(st.sampled_from(ItemKind)),
        subject=subject,
        aliases=draw(lists),
        fact_type=draw(filled),
        prompt=prompt,
        answer=draw(filled),
        answer_aliases=draw(lists),
        paraphrases=draw(lists),
        statement=draw(st.one_of(st.just(""), filled)),
        perturbed_answers=draw(lists),
    )
    assume(not any(doubt.is_refusal for doubt in doubts(item)))  # what cannot be measured is not read back
    return item


item_lists = st.integers(1, 4).flatmap(lambda count: st.tuples(*(forget_items(number) for number in range(count))))


def opened(text: str, name: str) -> TextFile:
    return open_text(text.encode("utf-8"), name)


def read_csv(text: str, **options: Any) -> ImportResult:
    return read_items(opened(text, "facts.csv"), **options)


def read_jsonl(*rows: Any, **options: Any) -> ImportResult:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return read_items(opened("\n".join(lines), "facts.jsonl"), **options)


class TestCsv:
    def test_a_plain_file(self) -> None:
        result = read_csv(f"{HEADER},answer_aliases\n{GOOD},5550183|+1 202 555 0183\n")
        assert (result.total, result.errors, result.notes) == (1, (), ())
        (item,) = result.items
        assert (item.id, item.kind, item.answers) == ("p1", ItemKind.QA, ("555-0183", "5550183", "+1 202 555 0183"))

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_separators_marks_and_line_ends(self, delimiter: str, start: str, line_end: str) -> None:
        rows = [HEADER, GOOD, GOOD.replace("p1", "p2")]
        text = start + line_end.join(row.replace(",", delimiter) for row in rows)
        assert [item.id for item in read_csv(text).items] == ["p1", "p2"]

    def test_a_separator_inside_cells_does_not_mislead(self) -> None:
        text = 'Question;Answer;Person\n"Where, and when, was Mira born, exactly?";"Oslo, Norway, 1980";Mira\n'
        (item,) = read_csv(text).items
        assert (item.prompt, item.answer) == ("Where, and when, was Mira born, exactly?", "Oslo, Norway, 1980")

    def test_synonyms_in_any_case_and_spelling(self) -> None:
        text = " QUESTION ,Secret,Data-Subject,Fact Type,Wrong answers\nWhere is Mira?,Oslo,Mira,place,Rome|Bern\n"
        (item,) = read_csv(text).items
        assert (item.prompt, item.answer, item.subject) == ("Where is Mira?", "Oslo", "Mira")
        assert (item.fact_type, item.perturbed_answers) == ("place", ("Rome", "Bern"))

    def test_ids_are_made_where_there_are_none(self) -> None:
        result = read_csv("subject,prompt,answer\nMira,Where is Mira?,Oslo\nMira,Who is Mira?,A baker\n")
        assert [item.id for item in result.items] == ["item-0001", "item-0002"]

    def test_the_person_of_the_request_fills_in(self) -> None:
        result = read_csv("prompt,answer\nWhere is Dr Okonjo?,Oslo\n", subject="Mira Okonjo", aliases=["Dr Okonjo"])
        assert (result.items[0].subject, result.items[0].aliases) == ("Mira Okonjo", ("Dr Okonjo",))

    def test_a_subject_in_the_row_wins(self) -> None:
        result = read_csv(f"{HEADER}\n{GOOD}\n", subject="Noor Halim", aliases=["Noor"])
        assert (result.items[0].subject, result.items[0].aliases) == ("Mira Okonjo", ())

    def test_unknown_columns_are_told(self) -> None:
        assert read_csv(f"{HEADER},alises\n{GOOD},Mira\n").notes == (
            "The column 'alises' is not known and was not used.",
        )


class TestCsvFaults:
    def test_good_rows_are_kept_and_every_bad_one_is_told(self) -> None:
        result = read_csv(
            "\n".join(
                [
                    HEADER,
                    GOOD,
                    "p2,qa,Mira Okonjo,What is her phone number?,555-0183",
                    "",
                    "p3,poem,Mira Okonjo,Who is Mira Okonjo?,a baker",
                    "p4,qa,Mira Okonjo,,",
                    "p1,qa,Mira Okonjo,Where is Mira Okonjo?,Oslo",
                    "p5,qa,Mira Okonjo,Where, then, is Mira Okonjo?,Oslo",
                    "p6,qa,Mira Okonjo,Where is Mira Okonjo?",
                    GOOD.replace("p1", "p7"),
                ]
            )
        )
        assert [item.id for item in result.items] == ["p1", "p7"]
        assert result.total == 8
        assert [(error.line, error.field) for error in result.errors] == [
            (3, "subject"),
            (5, "kind"),
            (6, "prompt"),
            (6, "answer"),
            (7, "id"),
            (8, "row"),
            (9, "answer"),
        ]
        messages = [error.message for error in result.errors]
        assert "use one of qa, verbatim, attribute" in messages[1]
        assert "already used in line 2" in messages[4]
        assert "7 cells, but the header has 5" in messages[5]
        assert all(message.endswith(".") and "Okonjo" not in message for message in messages)

    def test_lines_are_counted_through_cells_with_line_breaks(self) -> None:
        result = read_csv(f'{HEADER}\np1,qa,Mira,"Where\nis\nMira?",Oslo\np2,qa,Mira,Who is it?,Oslo\n')
        assert [item.prompt for item in result.items] == ["Where\nis\nMira?"]
        assert [error.line for error in result.errors] == [5]

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            ('Mira,Where is Mira?,"Zamosc', 'Mira,Where is Mira?,Lodz"'),
            ('Mira,"Where is Mira?,Zamosc', 'Mira,Where is Mira?",Lodz'),
            ('"Mira,Where is Mira?,Zamosc', 'Mira",Where is Mira?,Lodz'),
        ],
    )
    def test_rows_that_a_later_quotation_mark_swallows_are_refused(self, first: str, last: str) -> None:
        rows = [first, "Mira,Where was Mira?,Kiel", "Mira,Where next is Mira?,Bonn", last, "Mira,Whence Mira?,Gdansk"]
        result = read_csv("subject,prompt,answer\n" + "\n".join(rows) + "\n")
        assert [item.answer for item in result.items] == ["Gdansk"]
        assert (result.total, result.refused) == (5, 4)
        (error,) = result.errors
        assert error.message.startswith("Lines 2 to 5 were read as one row")
        assert "a quotation mark is not closed" in error.message

    @pytest.mark.parametrize(
        "cell", ["First line\nsecond line", "Dear Ann, dear Bob, hello\nthere, and here, and now", "a\n\nb;c;d"]
    )
    def test_a_cell_of_several_lines_that_holds_no_rows_is_one_row(self, cell: str) -> None:
        result = read_csv(f'subject,prompt,answer\nMira,Where is Mira?,"{cell}"\n')
        assert ([item.answer for item in result.items], result.total, result.errors) == ([cell], 1, ())

    def test_a_row_with_every_cell_in_quotation_marks_may_hold_what_looks_like_rows(self) -> None:
        result = read_csv('"subject","prompt","answer"\n"Mira","Where is Mira?","a,b,c\nd,e,f"\n')
        assert [item.answer for item in result.items] == ["a,b,c\nd,e,f"]

    def test_quotation_marks_around_one_row_alone_prove_nothing(self) -> None:
        result = read_csv('subject,prompt,answer\n"Mira","Where is Mira?","Kiel\nMira,Where was Mira?,Bonn"\n')
        assert (result.items, result.total, result.refused) == ((), 2, 2)

    def test_a_heading_that_swallows_a_row_is_refused(self) -> None:
        with pytest.raises(InputError, match="check its quotation marks"):
            read_csv('subject,prompt,"answer\nMira,Where is Mira?,Kiel"\n')

    def test_a_quotation_mark_that_is_never_closed_is_told(self) -> None:
        result = read_csv(f'{HEADER}\n{GOOD}\np2,qa,Mira,"Where is Mira?,Oslo\n{GOOD.replace("p1", "p3")}\n')
        assert [item.id for item in result.items] == ["p1"]
        assert [(error.line, error.field) for error in result.errors] == [(3, "row")]

    def test_an_enormous_cell_costs_only_its_row(self) -> None:
        result = read_csv(f"{HEADER}\np0,qa,Mira,Where is Mira?,{'x' * 200_000}\n{GOOD}\n")
        assert [item.id for item in result.items] == ["p1"]
        assert [(error.line, error.field) for error in result.errors] == [(2, "row")]

    @pytest.mark.parametrize("text", ["", "  \n\r\n ", "\ufeff"])
    @pytest.mark.parametrize("name", ["facts.csv", "facts.jsonl", "facts"])
    def test_empty(self, text: str, name: str) -> None:
        with pytest.raises(InputError, match=f"'{name}' is empty"):
            read_items(opened(text, name))

    def test_only_a_header(self) -> None:
        with pytest.raises(InputError, match="has no rows"):
            read_csv(HEADER)

    @pytest.mark.parametrize(
        ("header", "named"),
        [
            ("id,prompt,answer", "lacks the column subject:"),
            ("question,colour", "lacks the columns subject, answer:"),
            ("Mira Okonjo,Where is Mira Okonjo?,Oslo", "lacks the columns subject, prompt, answer:"),
            ('"id,prompt', "quotation marks"),
            ("subject,prompt,question,answer", "prompt and question"),
            ("subject,prompt,answer,answer", "answer and answer"),
        ],
    )
    def test_headers_that_cannot_be_used(self, header: str, named: str) -> None:
        with pytest.raises(InputError, match=named):
            read_csv(f"{header}\na,b,c,d\n")


class TestJsonLines:
    def test_own_layout(self) -> None:
        row = {
            "id": 7,
            "kind": "Attribute",
            "subject": "Mira",
            "prompt": "Mira's phone number is",
            "answer": 5550183,
            "answer_aliases": ["555-0183", "a|b"],
            "aliases": None,
            "fact_type": "phone",
        }
        (item,) = read_jsonl(row).items
        assert (item.id, item.kind, item.answer) == ("7", ItemKind.ATTRIBUTE, "5550183")
        assert item.answer_aliases == ("555-0183", "a|b")

    def test_one_array_is_read_as_well(self) -> None:
        rows = [{"subject": "Mira", "prompt": "Where is Mira?", "answer": "Oslo"}, 3]
        result = read_items(opened(json.dumps(rows, indent=1), "facts"))
        assert (len(result.items), result.total) == (1, 2)
        assert [(error.line, error.field) for error in result.errors] == [(2, "row")]

    @pytest.mark.parametrize("field", ["subject", "prompt", "answer", "aliases"])
    @pytest.mark.parametrize("sign", ["\0", "\x07", "\x1b", "\x9b"])
    def test_control_characters_are_refused_as_in_csv(self, field: str, sign: str) -> None:
        row = {"subject": "Mira", "prompt": "Where is Mira?", "answer": "Lodz", "aliases": "Mi"}
        row[field] += sign
        row["prompt"] += row["subject"]
        result = read_jsonl(json.dumps(row))
        assert (result.items, result.refused) == ((), 1)
        assert f"The {field} holds a control character" in " ".join(error.message for error in result.errors)

    def test_a_passage_may_have_tabs_and_lines(self) -> None:
        row = {"kind": "verbatim", "subject": "Mira", "prompt": "To\tMira\n", "answer": "of\tLodz\nand Kiel"}
        assert [item.answer for item in read_jsonl(json.dumps(row)).items] == ["of\tLodz\nand Kiel"]

    def test_faults_line_by_line(self) -> None:
        good = {"id": "a", "subject": "Mira", "prompt": "Where is Mira?", "answer": "Oslo"}
        result = read_jsonl(
            good,
            '{"id": "b", "subject": }',
            "",
            "[1]",
            {**good, "id": "c", "answer": True},
            {**good, "id": "d", "answer_aliases": [{"x": 1}]},
            {"id": "e", "subject": "Mira", "prompt": "Where is Mira?"},
            good,
            {**good, "id": "f", "answer": "\ud800"},
            "[" * 100_000,
            {**good, "id": "g"},
        )
        assert [item.id for item in result.items] == ["a", "g"]
        assert [(error.line, error.field) for error in result.errors] == [
            (2, "row"),
            (4, "row"),
            (5, "answer"),
            (6, "answer_aliases"),
            (7, "answer"),
            (8, "id"),
            (9, "answer"),
            (10, "row"),
        ]
        assert "column 24" in result.errors[0].message
        assert result.total == 10

    def test_an_array_that_is_cut_off(self) -> None:
        with pytest.raises(InputError, match="not valid JSON"):
            read_items(opened('[{"id": 1},', "facts"))

    def test_signs_that_are_line_breaks_elsewhere_stay_in_the_text(self) -> None:
        row = {"subject": "Mira", "prompt": "Where\u2028is\u0085Mira?", "answer": "Oslo"}
        (item,) = read_items(opened(json.dumps(row, ensure_ascii=False), "facts")).items
        assert item.prompt == "Where\u2028is\u0085Mira?"


class TestLayouts:
    def test_counterfact(self) -> None:
        record = {
            "case_id": 3,
            "requested_rewrite": {
                "prompt": "{} was created by",
                "relation_id": "P178",
                "target_new": {"str": "Google", "id": "Q95"},
                "target_true": {"str": "Apple", "id": "Q312"},
                "subject": "Apple A5",
            },
            "paraphrase_prompts": ["Apple A5 is developed by"],
            "neighborhood_prompts": ["MessagePad, created by"],
        }
        result = read_jsonl(
            record, {"case_id": 4, "requested_rewrite": {"prompt": "{} is"}}, {"requested_rewrite": "x"}
        )
        (item,) = result.items
        assert (item.id, item.kind, item.subject, item.fact_type) == (
            "counterfact-3",
            ItemKind.ATTRIBUTE,
            "Apple A5",
            "P178",
        )
        assert item.prompt == item.statement == "Apple A5 was created by"
        assert (item.answers, item.perturbed_answers) == (("Apple",), ("Google",))
        assert item.paraphrases == ("Apple A5 is developed by",)
        assert [(error.line, error.field) for error in result.errors] == [
            (2, "requested_rewrite"),
            (3, "requested_rewrite"),
        ]
        assert result.notes == ()

    def test_tofu_takes_the_subject_from_the_neighbourhood(self) -> None:
        rows = [
            {
                "question": "What is the full name of the author born in Kuwait City on 08/09/1956?",
                "answer": "The author's full name is Basil Al-Kuwaiti.",
                "paraphrased_answer": "Basil Al-Kuwaiti is his complete name.",
                "perturbed_answer": ["Gregor Mendel is his name.", "Leo Tolstoy is his name."],
                "task_id": "1",
            },
            {"question": "What gender is Basil Al-Kuwaiti?", "answer": "Basil Al-Kuwaiti is male."},
            {"question": "Where was Basil Al-Kuwaiti born?", "answer": "In Kuwait City."},
            {"question": "What themes does the author like?", "answer": "Loss."},
        ]
        result = read_jsonl(*rows)
        assert [item.subject for item in result.items] == ["Basil Al-Kuwaiti"] * 3
        first = result.items[0]
        assert first.aliases[0].startswith("the full name of the author born in Kuwait City")
        assert first.answer_aliases == ("Basil Al-Kuwaiti is his complete name.",)
        assert len(first.perturbed_answers) == 2
        assert [(error.line, error.field) for error in result.errors] == [(4, "subject")]
        assert "check them" in result.notes[0]

    def test_tofu_rows_of_a_named_person(self) -> None:
        row = {"question": "What themes does the author like?", "answer": "Loss."}
        result = read_jsonl(row, subject="Basil Al-Kuwaiti", aliases=["the author"])
        assert (result.items[0].subject, result.notes) == ("Basil Al-Kuwaiti", ())

    def test_muse_and_rwku_through_synonyms(self) -> None:
        passage = {"prompt": "It was a dark ", "gt": "and stormy night. "}
        cloze = {"query": "Stephen King was born in ___.", "answer": "Portland", "subject": "Stephen King"}
        verbatim, question = read_jsonl(passage, cloze, subject="the novel").items
        assert (verbatim.kind, verbatim.fact_type, verbatim.answer) == (
            ItemKind.VERBATIM,
            "passage",
            "and stormy night. ",
        )
        assert (question.kind, question.subject) == (ItemKind.QA, "Stephen King")

    @pytest.mark.parametrize(
        ("question", "subject"),
        [
            ("Where would you find the Eiffel Tower?", RowSubject("the Eiffel Tower")),
            ("Who wrote 'Pride and Prejudice'?", RowSubject("Pride and Prejudice")),
            ("Is Nelson Mandela famous?", RowSubject("Nelson Mandela")),
            ("What is the largest desert in the world?", RowSubject("the largest desert in the world")),
            ("What did she like?", None),
        ],
    )
    def test_questions_on_their_own(self, question: str, subject: RowSubject | None) -> None:
        assert subjects_of_rows([(question, "yes")]) == [subject]


class TestPublicData:
    @needs_data
    @pytest.mark.parametrize(("name", "authors"), [("forget01", 2), ("forget05", 10), ("forget05_perturbed", 10)])
    def test_tofu_forget_sets_come_whole(self, name: str, authors: int) -> None:
        result = read_items(open_text((DATA / "tofu" / f"{name}.jsonl").read_bytes(), name))
        assert result.errors == () and len(result.items) == result.total
        assert set(Counter(item.subject for item in result.items).values()) == {20}
        assert len(ForgetSet(items=result.items).subjects) == authors

    @needs_data
    def test_almost_all_of_tofu(self) -> None:
        result = read_items(open_text((DATA / "tofu" / "full.jsonl").read_bytes(), "full"))
        rows_of = Counter(item.subject for item in result.items)
        assert result.total == 4000
        assert len(result.errors) < 40
        assert all(error.field == "subject" for error in result.errors)
        assert sum(count >= 15 for count in rows_of.values()) >= 195

    @needs_data
    def test_counterfact_comes_whole(self) -> None:
        result = read_items(open_text((DATA / "counterfact" / "counterfact_known.jsonl").read_bytes(), "known"))
        # Three ask for a word that is the whole subject, which no model can be asked for.
        assert (len(result.items), result.total) == (1397, 1400)
        assert {(error.field, error.message.split(",")[0]) for error in result.errors} == {
            ("answer", "The answer is the subject's own name")
        }
        assert all(item.subject in item.prompt and item.perturbed_answers for item in result.items)


class TestRoundTrips:
    @fast
    @given(item_lists)
    def test_csv(self, items: tuple[ForgetItem, ...]) -> None:
        result = read_csv(write_items_csv(items))
        assert (result.items, result.errors) == (items, ())

    @fast
    @given(item_lists)
    def test_jsonl(self, items: tuple[ForgetItem, ...]) -> None:
        result = read_items(opened(write_items_jsonl(items), "facts.jsonl"))
        assert (result.items, result.errors) == (items, ())

    @fast
    @given(item_lists)
    def test_no_cell_begins_a_formula(self, items: tuple[ForgetItem, ...]) -> None:
        written = write_items_csv(items)
        assert not any(f'"{sign}' in written.replace('""', "") for sign in "=@\t\r\uff1d")

    @fast
    @given(awkward)
    def test_formula_escape(self, text: str) -> None:
        escaped = escape_formula(text)
        assert unescape_formula(escaped) == text
        assert escaped[0] not in "=+-@\t\r\n\uff1d"

    def test_what_a_spreadsheet_shows(self) -> None:
        assert escape_formula("+49 30 555") == "'+49 30 555"
        assert escape_formula("49 30 555") == "49 30 555"
        assert unescape_formula("'t Hooft") == "'t Hooft"

    @fast
    @given(st.lists(filled, max_size=4))
    def test_lists(self, entries: list[str]) -> None:
        assert split_list(join_list(entries)) == entries

    @pytest.mark.parametrize(
        ("cell", "entries"),
        [
            ("", []),
            ("a", ["a"]),
            ("a|b", ["a", "b"]),
            ("|a||", ["a"]),
            ("a\\", ["a\\"]),
            ("C:\\temp|b", ["C:\\temp", "b"]),
        ],
    )
    def test_lists_that_people_write(self, cell: str, entries: list[str]) -> None:
        assert split_list(cell) == entries
