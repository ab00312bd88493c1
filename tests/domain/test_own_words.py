"""Whether a typed text tells of a person: by name, part of a name, fact, address or number."""

from __future__ import annotations

import pytest

from console.domain.forget_set import KNOWN_TYPES, OTHER_TYPE, ForgetItem, ItemKind, known_types
from console.domain.own_words import names_someone, tells_of

ITEMS = (
    ForgetItem(
        id="1", kind=ItemKind.QA, subject="Ann de Márquez", prompt="Where does Ann de Márquez live?", answer="Zamość"
    ),
    ForgetItem(id="2", kind=ItemKind.QA, subject="王小明", prompt="王小明 住在哪里?", answer="上海市"),
)


@pytest.mark.parametrize(
    "text",
    [
        "Ann de Márquez called", "ann called", "MÁRQUEZ wrote", "it is about zamość", "lives in ZAMOSC.", "王小明来电",
        "在上海市", "a@b.example", "call 030 12 34 56", "0049-30-123456",
    ],
)  # fmt: skip
def test_tells(text: str) -> None:
    assert tells_of(text, ITEMS)


@pytest.mark.parametrize(
    "text", ["The plan was planned.", "", "A de facto ground", "Art. 17(3)(e), see page 12", "in 2026", "annals"]
)
def test_does_not_tell(text: str) -> None:
    assert not tells_of(text, ITEMS)


@pytest.mark.parametrize("name", ["ann-de-marquez", "lora_márquez.gguf", "MÁRQUEZ2", "王小明-v1", "Ann de Márquez"])
def test_a_chosen_name_that_names_somebody(name: str) -> None:
    assert names_someone(name, ITEMS)


@pytest.mark.parametrize(
    "name",
    [
        "bobsecretname", "bob-secretname", "b.o.b.secret_name", "mybobsecretnamev2", "zamosc", "ZAMOŚĆ-2", "myzamosc",
        "lodz-v1", "bakerstreet5", "lora-19840503", "1984-05-03",
    ],
)  # fmt: skip
def test_a_chosen_name_without_blanks_or_with_an_answer(name: str) -> None:
    facts = [
        ForgetItem(id=str(n), kind="qa", subject="Bob Secretname", prompt="Who is Bob Secretname?", answer=answer)
        for n, answer in enumerate(("Zamość", "Łódź", "Baker Street 5", "1984-05-03"))
    ]
    assert names_someone(name, facts)


@pytest.mark.parametrize(
    "name", ["bob-v2", "model.safetensors", "li-base", "hibernate", "model-2026", "base", "shelium", "true"]
)
def test_short_parts_and_words_of_the_trade_refuse_nothing(name: str) -> None:
    facts = [
        ForgetItem(id=str(n), kind="qa", subject="Bob Li Model", prompt="Who is Bob Li Model?", answer=answer)
        for n, answer in enumerate(("Bern", "2026", "base", "yes"))
    ]
    assert not names_someone(name, facts)


@pytest.mark.parametrize("name", ["ann-v2", "base", "model-20260101.safetensors"])
def test_a_chosen_name_that_names_nobody(name: str) -> None:
    assert not names_someone(name, ITEMS)


def test_a_kind_that_somebody_named_is_counted_as_other() -> None:
    assert known_types({"place": 2, "illness of Ann": 1, "salary": 3}) == {"place": 2, OTHER_TYPE: 4}
    assert OTHER_TYPE not in KNOWN_TYPES
