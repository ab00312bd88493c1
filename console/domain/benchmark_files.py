"""Benchmark files that people bring: their layouts, and how a line becomes a typed row.

A file is JSON lines (an object a line), one JSON array, or for plain texts also a ``.txt`` whose paragraphs are parted
by blank lines; it comes through :mod:`console.domain.text_file`. Every benchmark has *roles*, the fields of its class
below; a file takes the role that the person names (``retain=mine.jsonl``) or that its name begins with
(``retain_perturbed.jsonl``). Messages name the line and the field and never repeat a cell, because a cell may be
personal and messages are logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from console.domain.json_values import JsonEntry, plain, read_entries, read_whole
from console.domain.text_file import LONGEST_TEXT, TextFile
from console.domain.visible import quoted
from console.errors import InputError


class Benchmark(StrEnum):
    """The benchmarks that run on a user's own files."""

    TOFU = "tofu"
    MUSE = "muse"
    RWKU = "rwku"
    RESTOR = "restor"
    EVOKE = "evoke"
    PRIMING = "priming"
    WMDP = "wmdp"
    TRACES = "traces"


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


class _Row(BaseModel):
    # Public files carry columns that no measure needs (ids, levels, links); they are not kept.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class TofuQuestion(_Row):
    """A question of TOFU's ``*_perturbed`` files; real authors and world facts have no paraphrase."""

    question: Text
    answer: Text
    paraphrased_answer: Text | None = None
    perturbed_answer: Texts


class PlainText(_Row):
    """A text, as an object or as a bare JSON string."""

    text: Text

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value


class Passage(_Row):
    """The beginning of a text and how it truly goes on (MUSE calls it ``gt``)."""

    prompt: Text
    continuation: Text = Field(validation_alias=AliasChoices("continuation", "gt"))


class QuestionAnswer(_Row):
    question: Text
    answer: Text


class Probe(_Row):
    """A probe of RWKU; ``type`` is read on level 3 only, where it names the kind of attack."""

    target: Text = Field(validation_alias=AliasChoices("target", "subject"))
    query: Text = Field(validation_alias=AliasChoices("query", "question"))
    answer: Text
    type: str = ""


class AttackProbe(Probe):
    """A probe of level 3: its ``type`` is one of the nine kinds, in any of the usual spellings."""

    KINDS: ClassVar[tuple[str, ...]] = (
        "prefix-injection",
        "affirmative-suffix",
        "role-playing",
        "multiple-choice",
        "reverse-query",
        "synonym-manipulation",
        "background-hint",
        "in-context-learning",
        "cross-lingual",
    )

    @model_validator(mode="before")
    @classmethod
    def _kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = re.sub(r"[\s_-]+", "-", str(value.get("type", "")).strip().casefold())
        if kind not in cls.KINDS:
            raise ValueError(f"the type is not one of {', '.join(cls.KINDS)}")
        return {**value, "type": kind}


class RestorFact(_Row):
    """A question whose true answers false documents had displaced, with what those documents say."""

    subject: Text
    relation: Text
    question: Text
    answers: Texts
    false_answers: tuple[Text, ...] = ()


class ContextFact(_Row):
    """A solved question of a relation, to be shown before a question of that relation."""

    subject: Text
    relation: Text
    question: Text
    answer: Text


class OverfitPrompt(_Row):
    """A prompt to which an edit's target is not the answer (EVOKE)."""

    task: Literal["prefix-distraction", "multi-hop", "subject-specificity", "relation-specificity"]
    prompt: Text
    correct: Text
    target: Text
    original: Text | None = None


class PrimingKeyword(_Row):
    """A word that was written into a model, its own context, and beginnings that only share its theme."""

    keyword: Text
    context: Text | None = None
    prefixes: Texts


class ChoiceQuestion(_Row):
    """Four options and the right one, as a number from 0 or as a letter."""

    question: Text
    choices: tuple[Text, Text, Text, Text]
    answer: Literal["A", "B", "C", "D"]
    topic: str = Field("", validation_alias=AliasChoices("topic", "subject"))

    @model_validator(mode="before")
    @classmethod
    def _letter(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        answer = value.get("answer")
        if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < 4:
            return {**value, "answer": "ABCD"[answer]}
        return {**value, "answer": answer.strip().upper()} if isinstance(answer, str) else value


class ConceptVector(_Row):
    """A value vector that is known to hold a concept: column ``dim`` of the down projection of ``layer``, from 0."""

    layer: int = Field(ge=0)
    dim: int = Field(ge=0)
    concept: str = ""


class EarlierResult(_Row):
    """What an earlier MUSE run says of one point of a curve; read from the file that ``--out`` wrote.

    Attributes:
        forget_size: texts or questions that were to be forgotten.
        utility: KnowMem on the retain set, 0 to 100.
        forgotten: KnowMem on the forget set; None where it was not measured.
    """

    forget_size: int = Field(ge=1)
    utility: float = Field(ge=0, le=100)
    forgotten: float | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _from_result(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "figures" not in value:
            return value
        if value.get("benchmark") != Benchmark.MUSE:
            raise ValueError("the file is not the result of a MUSE run")
        values = {figure.get("id"): figure.get("value") for figure in value["figures"] if isinstance(figure, dict)}
        if values.get("retain-knowledge") is None:
            raise ValueError("the earlier run measured no utility, so that it is no point of a curve")
        return {
            "forget_size": value.get("forget_size"),
            "utility": values["retain-knowledge"],
            "forgotten": values.get("forget-knowledge"),
        }


class _Files(BaseModel):
    """The rows of a benchmark by role.

    Attributes:
        main: role of a file whose name says nothing; none where several roles are alike.
        spellings: other beginnings of file names, by the role that they mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    main: ClassVar[str | None] = None
    spellings: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.model_fields if name != "benchmark")

    @classmethod
    def row_class(cls, role: str) -> type[_Row]:
        """The layout of one line of a role's file."""
        return get_args(cls.model_fields[role].annotation)[0]


class TofuFiles(_Files):
    benchmark: Literal[Benchmark.TOFU] = Benchmark.TOFU
    forget: tuple[TofuQuestion, ...] = ()
    retain: tuple[TofuQuestion, ...] = ()
    real_authors: tuple[TofuQuestion, ...] = ()
    world_facts: tuple[TofuQuestion, ...] = ()


class MuseFiles(_Files):
    benchmark: Literal[Benchmark.MUSE] = Benchmark.MUSE
    spellings: ClassVar[Mapping[str, str]] = {
        "forget": "forget_text",
        "retain": "retain_text",
        "holdout": "holdout_text",
    }
    verbmem: tuple[Passage, ...] = ()
    forget_qa: tuple[QuestionAnswer, ...] = ()
    retain_qa: tuple[QuestionAnswer, ...] = ()
    forget_qa_icl: tuple[QuestionAnswer, ...] = ()
    retain_qa_icl: tuple[QuestionAnswer, ...] = ()
    forget_text: tuple[PlainText, ...] = ()
    retain_text: tuple[PlainText, ...] = ()
    holdout_text: tuple[PlainText, ...] = ()
    scalability: tuple[EarlierResult, ...] = ()
    sustainability: tuple[EarlierResult, ...] = ()


class RwkuFiles(_Files):
    benchmark: Literal[Benchmark.RWKU] = Benchmark.RWKU
    spellings: ClassVar[Mapping[str, str]] = {
        "level1": "forget_level1",
        "level2": "forget_level2",
        "level3": "forget_level3",
        "neighbor_level1": "neighbour_level1",
        "neighbor_level2": "neighbour_level2",
    }
    forget_level1: tuple[Probe, ...] = ()
    forget_level2: tuple[Probe, ...] = ()
    forget_level3: tuple[AttackProbe, ...] = ()
    neighbour_level1: tuple[Probe, ...] = ()
    neighbour_level2: tuple[Probe, ...] = ()
    mia_forget: tuple[PlainText, ...] = ()
    mia_retain: tuple[PlainText, ...] = ()


class RestorFiles(_Files):
    benchmark: Literal[Benchmark.RESTOR] = Benchmark.RESTOR
    main: ClassVar[str | None] = "facts"
    facts: tuple[RestorFact, ...] = ()
    context: tuple[ContextFact, ...] = ()


class EvokeFiles(_Files):
    benchmark: Literal[Benchmark.EVOKE] = Benchmark.EVOKE
    main: ClassVar[str | None] = "prompts"
    prompts: tuple[OverfitPrompt, ...] = ()


class PrimingFiles(_Files):
    benchmark: Literal[Benchmark.PRIMING] = Benchmark.PRIMING
    main: ClassVar[str | None] = "keywords"
    keywords: tuple[PrimingKeyword, ...] = ()


class WmdpFiles(_Files):
    benchmark: Literal[Benchmark.WMDP] = Benchmark.WMDP
    main: ClassVar[str | None] = "questions"
    questions: tuple[ChoiceQuestion, ...] = ()


class TracesFiles(_Files):
    benchmark: Literal[Benchmark.TRACES] = Benchmark.TRACES
    main: ClassVar[str | None] = "concepts"
    concepts: tuple[ConceptVector, ...] = ()


BenchmarkFiles = Annotated[
    TofuFiles | MuseFiles | RwkuFiles | RestorFiles | EvokeFiles | PrimingFiles | WmdpFiles | TracesFiles,
    Field(discriminator="benchmark"),
]
_CLASSES: Mapping[Benchmark, type[_Files]] = {
    files.model_fields["benchmark"].default: files
    for files in (TofuFiles, MuseFiles, RwkuFiles, RestorFiles, EvokeFiles, PrimingFiles, WmdpFiles, TracesFiles)
}
Row = TypeVar("Row", bound=_Row)


@dataclass(frozen=True)
class NamedFile:
    """A file as the person gave it.

    Attributes:
        role: what it is in the benchmark.
    """

    role: str
    file: TextFile


def benchmark_named(name: str) -> Benchmark:
    """Raises:
    InputError: there is no such benchmark.
    """
    try:
        return Benchmark(name.casefold())
    except ValueError as error:
        raise InputError(f"There is no benchmark {quoted(name)}; use one of {', '.join(Benchmark)}.") from error


def roles_of(benchmark: Benchmark) -> tuple[str, ...]:
    """The files that a benchmark reads."""
    return _CLASSES[benchmark].roles()


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def role_and_path(benchmark: Benchmark, argument: str) -> tuple[str, str]:
    """Role and path of ``ROLE=PATH``, or of a bare path whose file name begins with its role.

    Raises:
        InputError: the name fits no role.
    """
    files = _CLASSES[benchmark]
    beginnings = {**{role: role for role in files.roles()}, **files.spellings}
    before, sign, after = argument.partition("=")
    if sign and _plain(before) in beginnings:
        return beginnings[_plain(before)], after
    stem = _plain(PurePath(argument).stem)
    fitting = sorted((name for name in beginnings if stem.startswith(name)), key=len)
    if fitting:
        return beginnings[fitting[-1]], argument
    if files.main is not None:
        return files.main, argument
    roles = ", ".join(files.roles())
    raise InputError(
        f"What {quoted(PurePath(argument).name)} is for cannot be told: write ROLE=PATH with one of {roles}."
    )


def read_files(benchmark: Benchmark, files: Sequence[NamedFile]) -> BenchmarkFiles:
    """The rows of all files, by role; several files of one role follow each other.

    Raises:
        InputError: a line that cannot be used, or a file without rows.
    """
    kind = _CLASSES[benchmark]
    rows: dict[str, list[_Row]] = {}
    for file in files:
        rows.setdefault(file.role, []).extend(read_rows(file.file, kind.row_class(file.role)))
    return kind.model_validate({role: tuple(found) for role, found in rows.items()})


def read_rows(file: TextFile, row_class: type[Row]) -> list[Row]:
    """The rows of one file.

    Raises:
        InputError: the first line that cannot be used, with its number, or a file without rows.
    """
    rows = [_row(row_class, value, f"{place} of {file.name}") for place, value in _values(file, row_class)]
    if not rows:
        raise InputError(f"The file {file.name} has no rows: choose a file with at least one.")
    return rows


def _values(file: TextFile, row_class: type[_Row]) -> Iterator[tuple[str, Any]]:
    """Where each row stands, and what was read there."""
    if row_class is PlainText and file.ending == ".txt":
        paragraphs = [part for part in re.split(r"\n[^\S\n]*\n", file.text) if part.strip()]
        yield from (
            (f"Paragraph {number}", _paragraph(file, number, part)) for number, part in enumerate(paragraphs, 1)
        )
    elif row_class is EarlierResult:
        value = plain(read_whole(file))
        entries = value if isinstance(value, list) else [value]
        yield from ((f"Entry {number}", entry) for number, entry in enumerate(entries, start=1))
    else:
        # The numbers of an array's entries are their own: an array has no fixed lines.
        for entry in read_entries(file):
            place = f"{'Line' if entry.is_line else 'Entry'} {entry.number}"
            yield place, _checked(entry, row_class, f"{place} of {file.name}")


def _paragraph(file: TextFile, number: int, text: str) -> str:
    fault = file.broken_text(text, "The text")
    if len(text) > LONGEST_TEXT:
        fault = f"The text is longer than {LONGEST_TEXT:,} characters: part it by a blank line."
    if fault:
        raise InputError(f"Paragraph {number} of {file.name}: {fault}")
    return text


def _checked(entry: JsonEntry, row_class: type[_Row], where: str) -> Any:
    """The value of an entry in which nothing is given twice."""
    if entry.fault is not None:
        raise InputError(f"{where}: {entry.fault.message}")
    if isinstance(entry.value, dict):
        for info in row_class.model_fields.values():
            names = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else []
            given = [str(name) for name in names if entry.value.get(str(name)) is not None]
            if len(given) > 1:
                raise InputError(f"{where}: '{given[0]}' and '{given[1]}' mean the same; keep one of them.")
    return plain(entry.value)


def _row(row_class: type[Row], value: Any, where: str) -> Row:
    try:
        return row_class.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{where}: {_fault(error, row_class)}") from error


def _fault(error: ValidationError, row_class: type[_Row]) -> str:
    """The first fault of a row as a sentence; it names the field and never what stands there."""
    fault = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    needed = ", ".join(key for key, info in row_class.model_fields.items() if info.is_required())
    match fault["type"]:
        case "missing":
            return f"the field '{field}' is missing; a row has {needed}."
        case "string_too_short":
            return f"the field '{field}' is empty; fill it in or leave the row out."
        case "value_error":
            return fault["msg"].removeprefix("Value error, ") + "."
        case "model_type" | "model_attributes_type":
            return f"it is not an object; a row has {needed}."
        case "literal_error":
            return f"the field '{field}' is none of {fault['ctx']['expected']}."
        case _:
            return f"the field '{field}' cannot be used ({fault['msg']})."
