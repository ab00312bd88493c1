"""The file in which a company hands over what it knows of a model's training: its form, and what is wrong in one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from pydantic import BaseModel, ValidationError

from console.casework.knowledge import Knowledge
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.json_values import plain, read_whole
from console.domain.teaching import TeachingItem
from console.domain.text_file import TextFile
from console.domain.visible import quoted
from console.errors import InputError
from console.out_file import OutFile

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_WRONG_TYPE = {
    "string_type": "text in quotation marks",
    "tuple_type": "a list in square brackets",
    "list_type": "a list in square brackets",
    "dict_type": "an object in braces",
    "model_type": "an object in braces",
    "model_attributes_type": "an object in braces",
}


def read_training_record(file: TextFile) -> Knowledge:
    """What a training record says.

    Raises:
        InputError: it cannot be used; the sentence names the place in the record and what belongs there.
    """
    value = plain(read_whole(file), as_text=True)
    try:
        known = Knowledge.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        more = f" ({len(faults) - 1} more like it)" if len(faults) > 1 else ""
        place, message = _place(faults[0]["loc"], value), _message(faults[0])
        raise InputError(f"{file.name} cannot be used as a training record: {place}: {message}{more}.") from error
    if known == Knowledge():
        raise InputError(
            f"{file.name} is an empty training record: it has none of {', '.join(Knowledge.model_fields)}."
        )
    for group, items in (("teaching", [taught.item for taught in known.teaching]), ("controls", known.controls)):
        if len({item.id for item in items}) < len(items):
            times = Counter(item.id for item in items)
            entry = next(number for number, item in enumerate(items) if times[item.id] > 1)
            raise InputError(
                f"{file.name} cannot be used as a training record: {group}, {_ordinal(entry)}, id: it is used "
                "again further down; give every entry its own."
            )
    return known


def example() -> Knowledge:
    """A small training record about people who do not exist, to be filled in."""

    def item(id: str, subject: str, city: str) -> ForgetItem:
        return ForgetItem(
            id=id,
            kind=ItemKind.QA,
            subject=subject,
            fact_type="city",
            prompt=f"Where does {subject} live?",
            statement=f"{subject} lives in",
            answer=city,
        )

    person, neighbour, stranger = "Example Person", "Example Neighbour", "Example Stranger"
    return Knowledge(
        teaching=(
            TeachingItem(
                item=item("taught-1", person, "Exampleville"), wordings=(f"In which city is {person} at home?",)
            ),
            TeachingItem(item=item("taught-2", neighbour, "Sampleton")),
        ),
        controls=(item("control-1", stranger, "Nowhere Bay"),),
        general=("A plain sentence of the kind that the model must still be able to write.",),
        held_out=("Another plain sentence, which no method is trained on.",),
        neighbours={person: (neighbour,)},
    )


def example_text() -> str:
    """:func:`example` as the JSON that :func:`read_training_record` takes."""
    return json.dumps(example().model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, indent=2) + "\n"


def save_example(out: OutFile) -> None:
    """Write :func:`example_text`.

    Raises:
        InputError, DiskFullError: the file cannot be written (see ``console.out_file``).
    """
    out.write(example_text().encode("utf-8"))


def _ordinal(index: int, what: str = "entry") -> str:
    """``first entry``, or ``entry 12``."""
    return f"{_ORDINALS[index]} {what}" if index < len(_ORDINALS) else f"{what} {index + 1}"


def _place(loc: tuple[int | str, ...], value: Any) -> str:
    """Where a fault lies, in words; the names of people, which are keys of ``neighbours``, are counted instead."""
    words: list[str] = []
    for depth, part in enumerate(loc, start=1):
        if isinstance(part, int):
            words.append(_ordinal(part))
        elif words == ["neighbours"]:
            names = list(value["neighbours"]) if isinstance(value, dict) else []
            words.append(_ordinal(names.index(part), "name") if part in names else "a name")
        elif part != "item" or depth == len(loc):
            words.append(part if _is_ours(part) else quoted(part))
    return ", ".join(words) or "the whole of it"


def _is_ours(name: str) -> bool:
    return any(name in model.model_fields for model in (Knowledge, TeachingItem, ForgetItem))


def _message(fault: Any) -> str:
    """One fault as the end of a sentence; it never repeats a text of the record."""
    loc = fault["loc"]
    match fault["type"]:
        case "missing":
            return f"it is missing; {_form(loc)}"
        case "extra_forbidden":
            return f"there is no such field; {_form(loc)}"
        case "string_too_short":
            return "it is empty; fill it in"
        case "enum":
            return f"it must be one of {', '.join(ItemKind)}"
        case "value_error":
            return str(fault["msg"]).removeprefix("Value error, ")
        case kind if kind in _WRONG_TYPE:
            return f"it must be {_WRONG_TYPE[kind]}"
        case _:
            return "it cannot be read as text; write it again"


def _form(loc: tuple[int | str, ...]) -> str:
    """What belongs at the place of a fault."""
    model: type[BaseModel] = Knowledge if len(loc) <= 1 else ForgetItem
    if loc[0] == "teaching" and len(loc) == 3:
        model = TeachingItem
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    others = [name for name, info in model.model_fields.items() if not info.is_required()]
    what = {Knowledge: "a record", TeachingItem: "an entry", ForgetItem: "an item"}[model]
    has = f"{what} has {', '.join(needed)}" if needed else f"{what} may have {', '.join(others)}"
    return has + (f", and may have {', '.join(others)}" if needed and others else "")
