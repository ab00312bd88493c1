"""Benchmark files: what each layout takes, which file is what, and one sentence with the line for every bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from console.domain.benchmark_files import (
    AttackProbe,
    Benchmark,
    ChoiceQuestion,
    ConceptVector,
    EarlierResult,
    NamedFile,
    OverfitPrompt,
    Passage,
    PlainText,
    PrimingKeyword,
    Probe,
    QuestionAnswer,
    RestorFact,
    TofuFiles,
    TofuQuestion,
    benchmark_named,
    read_files,
    read_rows,
    role_and_path,
    roles_of,
)
from console.domain.text_file import TextFile, open_text
from console.errors import InputError
from console.evaluation.rwku import AdversarialKind
from console.jobs.spec import JobPayload

SECRET = "Mira Okonjo 555-0183"
QUESTION = {"question": "Who?", "answer": SECRET, "perturbed_answer": ["Tom", "Ana"]}


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def file(text: str, name: str) -> TextFile:
    return open_text(text.encode("utf-8"), name)


class TestLayouts:
    def test_tofu_keeps_what_it_needs_and_leaves_the_rest(self) -> None:
        (row,) = read_rows(file(lines({**QUESTION, "original_answer": "x"}), "f.jsonl"), TofuQuestion)
        assert (row.answer, row.paraphrased_answer, row.perturbed_answer) == (SECRET, None, ("Tom", "Ana"))

    def test_json_lines_and_an_array_are_the_same(self) -> None:
        rows = [QUESTION, {**QUESTION, "paraphrased_answer": "It is she."}]
        assert read_rows(file(lines(*rows), "f"), TofuQuestion) == read_rows(
            file(json.dumps(rows, indent=1), "f"), TofuQuestion
        )

    def test_texts_may_be_bare(self) -> None:
        expected = [PlainText(text="One."), PlainText(text="Two.")]
        assert read_rows(file('["One.", "Two."]', "f.json"), PlainText) == expected
        assert read_rows(file(lines("One.", {"text": "Two.", "id": 3}), "f.jsonl"), PlainText) == expected
        assert read_rows(file("One.\n \n\n\nTwo.\n", "f.txt"), PlainText) == expected

    def test_a_byte_order_mark_and_blank_lines_do_not_matter(self) -> None:
        assert len(read_rows(file("\ufeff\n" + lines(QUESTION) + "\n\n", "f"), TofuQuestion)) == 1

    def test_line_separators_inside_a_text_are_no_line_breaks(self) -> None:
        (row,) = read_rows(file(lines({"text": "a\u2028b"}), "f"), PlainText)
        assert row.text == "a\u2028b"

    def test_the_papers_names_are_known(self) -> None:
        (passage,) = read_rows(file(lines({"prompt": "a", "gt": "b"}), "f"), Passage)
        assert passage.continuation == "b"
        (probe,) = read_rows(file(lines({"subject": "S", "query": "q", "answer": "a", "level": "1"}), "f"), Probe)
        assert probe.target == "S"

    @pytest.mark.parametrize("spelling", ["prefix injection", "Prefix_Injection", "prefix-injection"])
    def test_adversarial_kinds_in_any_spelling(self, spelling: str) -> None:
        row = {"subject": "S", "query": "q", "answer": "a", "type": spelling}
        (probe,) = read_rows(file(lines(row), "f"), AttackProbe)
        assert probe.type == "prefix-injection"

    def test_the_kinds_are_those_of_the_metric(self) -> None:
        assert set(AttackProbe.KINDS) == {kind.value for kind in AdversarialKind}

    @pytest.mark.parametrize(("given", "letter"), [(0, "A"), (3, "D"), ("c", "C"), (" B ", "B")])
    def test_the_right_option_as_number_or_letter(self, given: Any, letter: str) -> None:
        row = {"question": "q", "choices": list("wxyz"), "answer": given}
        assert read_rows(file(lines(row), "f"), ChoiceQuestion)[0].answer == letter

    def test_an_earlier_result_is_one_object_over_many_lines(self) -> None:
        figures = [{"id": "retain-knowledge", "value": 40.0}, {"id": "forget-knowledge", "value": None}]
        text = json.dumps({"benchmark": "muse", "forget_size": 7, "figures": figures}, indent=2)
        assert read_rows(file(text, "f"), EarlierResult) == [EarlierResult(forget_size=7, utility=40.0, forgotten=None)]


BAD = [
    (TofuQuestion, {"question": "q", "answer": SECRET}, "'perturbed_answer' is missing"),
    (TofuQuestion, {**QUESTION, "perturbed_answer": []}, "'perturbed_answer'"),
    (TofuQuestion, {**QUESTION, "answer": "  "}, "'answer' is empty"),
    (TofuQuestion, {**QUESTION, "perturbed_answer": SECRET}, "'perturbed_answer'"),
    (TofuQuestion, [SECRET], "not an object"),
    (QuestionAnswer, {"question": SECRET}, "'answer' is missing; a row has question, answer"),
    (QuestionAnswer, {"question": 7, "answer": SECRET}, "'question'"),
    (PlainText, 7, "not an object"),
    (AttackProbe, {"subject": SECRET, "query": "q", "answer": "a", "type": "magic"}, "the type is not one of prefix"),
    (ChoiceQuestion, {"question": SECRET, "choices": ["a", "b", "c"], "answer": 0}, "'choices.3'"),
    (ChoiceQuestion, {"question": SECRET, "choices": list("abcd"), "answer": 4}, "'answer' is none of"),
    (ChoiceQuestion, {"question": SECRET, "choices": list("abcd"), "answer": True}, "'answer' is none of"),
    (OverfitPrompt, {"task": "x", "prompt": SECRET, "correct": "a", "target": "b"}, "'task' is none of"),
    (PrimingKeyword, {"keyword": SECRET, "prefixes": []}, "'prefixes'"),
    (RestorFact, {"subject": SECRET, "relation": "r", "question": "q", "answers": []}, "'answers'"),
    (ConceptVector, {"layer": -1, "dim": 0, "concept": SECRET}, "'layer'"),
]


class TestBadLines:
    @pytest.mark.parametrize(("layout", "row", "says"), BAD)
    def test_one_sentence_with_the_line_and_without_the_cell(self, layout: Any, row: Any, says: str) -> None:
        blank_and_good = "\n" if layout is not TofuQuestion else lines(QUESTION)
        with pytest.raises(InputError) as raised:
            read_rows(file(blank_and_good + lines(row), "mine.jsonl"), layout)
        sentence = str(raised.value)
        assert sentence.startswith("Line 2 of 'mine.jsonl': ") and says in sentence
        assert SECRET not in sentence and "\n" not in sentence and sentence.endswith(".")

    def test_broken_json_names_its_line(self) -> None:
        with pytest.raises(InputError, match="Line 2 of 'f': The line is not valid JSON: correct it at column 14"):
            read_rows(file(lines(QUESTION) + '{"question": ', "f"), TofuQuestion)
        with pytest.raises(InputError, match="Line 3 of 'f' is not valid JSON"):
            read_rows(file('[\n"a",\nb]', "f"), PlainText)

    def test_an_entry_of_an_array_is_counted(self) -> None:
        with pytest.raises(InputError, match="Entry 2 of 'f'"):
            read_rows(file(json.dumps([QUESTION, {}]), "f"), TofuQuestion)

    @pytest.mark.parametrize("text", ["", "\n \n", "[]", "\ufeff"])
    def test_a_file_without_rows(self, text: str) -> None:
        with pytest.raises(InputError, match=r"has no rows|is empty"):
            read_rows(file(text, "f"), TofuQuestion)

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ({"benchmark": "tofu", "figures": []}, "not the result of a MUSE run"),
            ({"benchmark": "muse", "forget_size": 2, "figures": []}, "measured no utility"),
            ({"forget_size": 2}, "'utility' is missing"),
        ],
    )
    def test_a_result_that_is_no_point_of_a_curve(self, value: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            read_rows(file(json.dumps(value), "f"), EarlierResult)

    @given(some.text(max_size=60))
    def test_nothing_but_an_input_error_comes_out_of_any_text(self, text: str) -> None:
        for layout in (TofuQuestion, PlainText, EarlierResult):
            try:
                read_rows(file(text, "f.jsonl"), layout)
            except InputError as error:
                assert str(error)


class TestRoles:
    @pytest.mark.parametrize(
        ("benchmark", "argument", "role"),
        [
            (Benchmark.TOFU, "x/forget01_perturbed.jsonl", "forget"),
            (Benchmark.TOFU, "real-authors_perturbed.jsonl", "real_authors"),
            (Benchmark.TOFU, "World Facts.json", "world_facts"),
            (Benchmark.MUSE, "forget_qa_icl.json", "forget_qa_icl"),
            (Benchmark.MUSE, "forget_qa.json", "forget_qa"),
            (Benchmark.MUSE, "forget.txt", "forget_text"),
            (Benchmark.RWKU, "neighbor_level2.json", "neighbour_level2"),
            (Benchmark.WMDP, "anything.jsonl", "questions"),
        ],
    )
    def test_the_name_tells(self, benchmark: Benchmark, argument: str, role: str) -> None:
        assert role_and_path(benchmark, argument) == (role, argument)

    def test_the_person_s_word_goes_first(self) -> None:
        assert role_and_path(Benchmark.TOFU, "retain=forget.jsonl") == ("retain", "forget.jsonl")
        assert role_and_path(Benchmark.RESTOR, "context=a=b.jsonl") == ("context", "a=b.jsonl")

    def test_a_sign_in_a_path_is_no_role(self) -> None:
        assert role_and_path(Benchmark.WMDP, "a=b.jsonl") == ("questions", "a=b.jsonl")

    def test_a_name_that_says_nothing(self) -> None:
        with pytest.raises(InputError, match=r"What 'mine.jsonl' is for .* forget, retain, real_authors"):
            role_and_path(Benchmark.TOFU, "x/mine.jsonl")

    def test_every_benchmark_has_roles_with_layouts(self) -> None:
        assert all(roles_of(benchmark) for benchmark in Benchmark)
        assert benchmark_named("TOFU") is Benchmark.TOFU
        with pytest.raises(InputError, match="no benchmark 'mmlu'; use one of tofu"):
            benchmark_named("mmlu")

    def test_files_of_one_role_follow_each_other(self) -> None:
        other = {**QUESTION, "question": "Where?"}
        files = [NamedFile("forget", file(lines(QUESTION), "a")), NamedFile("forget", file(lines(other), "b"))]
        read = read_files(Benchmark.TOFU, files)
        assert isinstance(read, TofuFiles)
        assert [row.question for row in read.forget] == ["Who?", "Where?"] and not read.retain


class TestPayload:
    def test_it_comes_back_from_the_wire_as_what_it_was(self) -> None:
        sent = JobPayload(benchmark=read_files(Benchmark.TOFU, [NamedFile("forget", file(lines(QUESTION), "a"))]))
        assert JobPayload.model_validate_json(sent.model_dump_json()) == sent

    def test_aliases_survive_the_wire(self) -> None:
        files = [NamedFile("verbmem", file(lines({"prompt": "a", "gt": "b"}), "a"))]
        sent = JobPayload(benchmark=read_files(Benchmark.MUSE, files))
        assert JobPayload.model_validate_json(sent.model_dump_json()) == sent

    def test_a_payload_without_one_does_not_mention_it(self) -> None:
        assert "benchmark" not in JobPayload().model_dump()
        assert "benchmark" not in JobPayload().model_dump_json()
