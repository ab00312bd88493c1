"""The layouts in which facts come, told apart by their keys, and how each becomes the fields of an item.

- the console's own: one column or key for each field of :class:`ForgetItem`, or a usual synonym;
- TOFU: ``question`` and ``answer`` without a subject, with paraphrased and perturbed answers;
- CounterFact: ``requested_rewrite`` with prompt template, subject, true and new object;
- RWKU (``query``, ``answer``, ``subject``) and MUSE (``prompt``, ``gt``) through the synonyms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from console.domain.forget_set import ItemKind
from console.domain.json_values import WrittenNumber
from console.domain.tofu_subjects import RowSubject
from console.domain.visible import quoted

LIST_FIELDS = frozenset({"aliases", "answer_aliases", "paraphrases", "perturbed_answers"})
REQUIRED_FIELDS = ("subject", "prompt", "answer")
COLUMNS_OF_FIELD: dict[str, tuple[str, ...]] = {
    "id": ("id", "item_id", "no", "number"),
    "kind": ("kind", "item_kind"),
    "subject": ("subject", "name", "person", "data_subject", "entity", "author"),
    "aliases": ("aliases", "alias", "other_names", "subject_aliases"),
    "fact_type": ("fact_type", "type", "category", "relation"),
    "prompt": ("prompt", "question", "query"),
    "answer": ("answer", "value", "secret", "object", "target", "gt", "continuation"),
    "answer_aliases": ("answer_aliases", "answer_alias", "other_answers", "accepted_answers"),
    "paraphrases": (
        "paraphrases",
        "paraphrase",
        "paraphrased_question",
        "paraphrased_questions",
        "paraphrased_prompts",
    ),
    "statement": ("statement", "cloze", "prefix"),
    "perturbed_answers": ("perturbed_answers", "perturbed_answer", "wrong_answers", "distractors"),
}
FIELD_OF_COLUMN = {column: field for field, columns in COLUMNS_OF_FIELD.items() for column in columns}
_COUNTERFACT_KEY = "requested_rewrite"
_TOFU_KEYS = frozenset({"paraphrased_answer", "original_answer", "task_id"})


class RowFaultError(Exception):
    """One row cannot be used: the field at fault and a sentence with what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def column_name(name: str) -> str:
    """A column's name in its compared form: ``Fact Type`` and ``fact-type`` are ``fact_type``."""
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def unknown_columns(values: Mapping[str, Any]) -> set[str]:
    """Columns of a row that no layout reads."""
    if _COUNTERFACT_KEY in values:
        return set()
    return {column for column in values if column not in FIELD_OF_COLUMN and column not in _TOFU_KEYS}


def by_column(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an object by the compared form of their names.

    Raises:
        RowFaultError: two names mean the same, so that one value would be taken in silence.
    """
    named: dict[str, str] = {}
    for name, value in values.items():
        column = column_name(name)
        meaning = FIELD_OF_COLUMN.get(column, column)
        if value is None:
            continue
        if meaning in named and _COUNTERFACT_KEY not in values:
            both = f"{quoted(named[meaning])} and {quoted(name)}"
            raise RowFaultError(meaning, f"The row gives the {shown_name(meaning)} twice, as {both}: keep one of them.")
        named[meaning] = name
    return {column_name(name): value for name, value in values.items()}


def shown_name(column: str) -> str:
    """A column's name as it may stand in a sentence: one of ours as it is, a foreign one quoted."""
    return column if column in COLUMNS_OF_FIELD else quoted(column)


def is_tofu(values: Mapping[str, Any]) -> bool:
    """Whether a row is a question and an answer about nobody in particular."""
    names_subject = any(column in values for column in COLUMNS_OF_FIELD["subject"])
    return not names_subject and isinstance(values.get("question"), str) and isinstance(values.get("answer"), str)


def tofu_fields(values: Mapping[str, Any], subject: RowSubject | None) -> dict[str, Any]:
    """The fields of a TOFU row whose subject was found in its neighbourhood.

    Raises:
        RowFaultError: the question points at nobody, or a value is not text.
    """
    if subject is None:
        raise RowFaultError("subject", "The question points at nobody: name the person in it, or add a subject.")
    return {
        "kind": ItemKind.QA,
        "subject": subject.name,
        "aliases": [subject.alias] if subject.alias else [],
        "prompt": values["question"],
        "answer": values["answer"],
        "answer_aliases": [*_texts("paraphrased_answer", values), *_texts("original_answer", values)],
        "perturbed_answers": _texts("perturbed_answer", values),
    }


def row_fields(values: Mapping[str, Any], subject: str, aliases: Sequence[str]) -> dict[str, Any]:
    """The fields of a row in the console's own or the CounterFact layout.

    Args:
        subject: whom a row without a subject is about; empty if nobody was named.
        aliases: other spellings of that subject.

    Raises:
        RowFaultError: a value is not text, or a CounterFact record is incomplete.
    """
    if _COUNTERFACT_KEY in values:
        return _counterfact_fields(values)
    return _console_fields(values, subject, aliases)


def _console_fields(values: Mapping[str, Any], subject: str, aliases: Sequence[str]) -> dict[str, Any]:
    is_passage = "gt" in values  # MUSE: a beginning and its "ground truth" continuation
    fields: dict[str, Any] = (
        {"kind": ItemKind.VERBATIM, "fact_type": "passage"} if is_passage else {"kind": ItemKind.QA}
    )
    for column, value in values.items():
        field = FIELD_OF_COLUMN.get(column)
        if field in LIST_FIELDS:
            fields[field] = _texts(column, values)
        elif field is not None and (text := _text(column, value)).strip():
            fields[field] = text.strip().casefold() if field == "kind" else text
    if "subject" not in fields and subject:
        fields["subject"] = subject
        fields["aliases"] = [*fields.get("aliases", []), *aliases]
    return fields


def _counterfact_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    rewrite = values[_COUNTERFACT_KEY]
    try:
        subject = _text("subject", rewrite["subject"])
        sentence = _text("prompt", rewrite["prompt"]).replace("{}", subject)
        return {
            "id": f"counterfact-{_text('case_id', values['case_id'])}",
            "kind": ItemKind.ATTRIBUTE,
            "subject": subject,
            "fact_type": _text("relation_id", rewrite["relation_id"]),
            "prompt": sentence,
            "statement": sentence,
            "answer": _text("target_true", rewrite["target_true"]["str"]),
            "perturbed_answers": [_text("target_new", rewrite["target_new"]["str"])],
            "paraphrases": _texts("paraphrase_prompts", values),
        }
    except (KeyError, TypeError) as error:
        message = "The row is not a complete CounterFact record: it needs prompt, subject, target_true and target_new."
        raise RowFaultError(_COUNTERFACT_KEY, message) from error


def _text(column: str, value: Any) -> str:
    """A single value as text; numbers are taken as written, because a phone number may come as one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, WrittenNumber):
        return value.text
    field = FIELD_OF_COLUMN.get(column, column)
    raise RowFaultError(field, f"The {shown_name(field)} is not text: write it in quotation marks.")


def _texts(column: str, values: Mapping[str, Any]) -> list[str]:
    """A list of values without blank ones; a single value counts as a list of one."""
    value = values.get(column)
    entries = value if isinstance(value, list) else [value]
    return [text for text in (_text(column, entry) for entry in entries) if text.strip()]
