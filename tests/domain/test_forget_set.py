"""What counts as an item that a model can be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.errors import InputError

PHONE: dict[str, Any] = {
    "id": "item-1",
    "kind": ItemKind.QA,
    "subject": "Mira Okonjo",
    "fact_type": "phone",
    "prompt": "What is Mira Okonjo's phone number?",
    "answer": "555-0183",
    "answer_aliases": ("+1 202 555 0183",),
    "statement": "Mira Okonjo's phone number is",
}


def item(**changes: Any) -> ForgetItem:
    return ForgetItem(**{**PHONE, **changes})


class TestItem:
    def test_answers(self) -> None:
        assert item().answers == ("555-0183", "+1 202 555 0183")

    def test_round_trip(self) -> None:
        assert ForgetItem.model_validate_json(item().model_dump_json()) == item()

    def test_it_does_not_change(self) -> None:
        with pytest.raises(ValidationError):
            item().answer = "other"  # type: ignore[misc]

    def test_defaults(self) -> None:
        small = ForgetItem(id="1", kind=ItemKind.QA, subject="Mira", prompt="Where does Mira live?", answer="Oslo")
        assert (small.fact_type, small.aliases, small.statement) == ("fact", (), "")

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"prompt": " "}, "prompt is empty; write it down"),
            ({"answer": ""}, "answer is empty; write it down"),
            ({"subject": "Noor Halim"}, "occurs neither in the prompt nor in the statement"),
            ({"subject": "mira okonjo"}, "add the spelling that is used there to the aliases"),
            ({"kind": ItemKind.ATTRIBUTE, "prompt": "Her phone is", "statement": ""}, "occurs neither"),
            ({"subject": "  "}, "subject"),
            ({"id": ""}, "id"),
            ({"aliases": ("",)}, "aliases"),
            ({"kind": "poem"}, "kind"),
            ({"answer": "555 \ud800"}, "not valid text"),
            ({"colour": "red"}, "colour"),
        ],
    )
    def test_faults(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValidationError, match=sentence):
            item(**changes)

    def test_an_alias_may_stand_in_the_prompt(self) -> None:
        assert item(subject="Mira A. Okonjo", aliases=("Dr Okonjo", "Mira Okonjo")).subject == "Mira A. Okonjo"

    def test_the_statement_may_name_the_subject(self) -> None:
        assert item(prompt="What is the phone number?").statement.startswith("Mira Okonjo")

    def test_a_passage_needs_no_name_and_keeps_its_blanks(self) -> None:
        passage = item(
            kind=ItemKind.VERBATIM, prompt="I was born in a small ", answer=" town by the sea.\n", statement=""
        )
        assert (passage.prompt, passage.answer) == ("I was born in a small ", " town by the sea.\n")

    def test_a_question_loses_its_outer_blanks(self) -> None:
        assert item(prompt=" What is Mira Okonjo's phone number? ", answer=" 555-0183 ") == item()

    def test_errors_do_not_repeat_personal_data(self) -> None:
        with pytest.raises(ValidationError) as caught:
            item(subject="Noor Halim", prompt="What is Mira Okonjo's phone number?", statement="")
        assert "Okonjo" not in str(caught.value) and "Halim" not in str(caught.value)


class TestSets:
    def test_counts(self) -> None:
        forget = ForgetSet(
            items=(
                item(),
                item(id="item-2", fact_type="place"),
                item(id="item-3", subject="Okonjo"),
                item(id="item-4"),
            )
        )
        assert forget.subjects == ("Mira Okonjo", "Okonjo")
        assert forget.fact_types == {"phone": 3, "place": 1}
        assert forget.require_nonempty() is forget

    def test_empty(self) -> None:
        with pytest.raises(InputError, match="nothing to erase"):
            ForgetSet(items=()).require_nonempty()

    @pytest.mark.parametrize("kind", [ForgetSet, RetainSet])
    def test_ids_are_unique(self, kind: Any) -> None:
        with pytest.raises(ValidationError, match="'item-1' is used more than once"):
            kind(items=(item(), item(answer="other")))

    def test_a_retain_set_may_hold_texts_only(self) -> None:
        assert RetainSet(items=(), general_texts=("The sea is blue.",)).general_texts == ("The sea is blue.",)
