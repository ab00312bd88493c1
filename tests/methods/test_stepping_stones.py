"""Answers that are led up to: what leads to them, when it is used, and what it does to a run."""

from __future__ import annotations

import pytest
import tiny
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder

from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.engines.protocol import Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel
from console.methods.examples import examples_of, mean_nlls
from console.methods.forgetting import Run
from console.methods.lora import LoraSettings
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData
from console.methods.stepping_stones import stepping_stones, stone_for, with_levels

CONFIG = NpoConfig(
    lora=LoraSettings(rank=4, alpha=8, b_ratio=4.0), learning_rate=3e-3, steps=6, repair_steps=2, repair_limit=0
)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("mira@example.org", "e-mail"),
        ("+49 30 1234-5678", "several digits"),
        ("14 March 1987", "date"),
        ("March 1987", "date"),
        ("1987", "year"),
        ("48,200 euros", "a number, namely"),
        ("Port Elara", "capital letter"),
        ("the Institute of Marine Biology", "capital letter"),
        ("beekeeping", "single word"),
        ("a rare blood disorder", "few words"),
        ("first line\nsecond line", "few words"),
    ],
)
def test_the_form_of_an_answer_names_its_kind(answer: str, kind: str) -> None:
    assert kind in stone_for(answer)
    assert answer not in stone_for(answer)


@pytest.mark.parametrize("known", [True, False])
def test_only_forms_in_which_the_answer_is_likelier(
    taught: TransformersModel, untaught: TransformersModel, known: bool
) -> None:
    """A model that says the answers by heart may be led off its way; a form is kept only where it helps."""
    model = taught if known else untaught
    chosen = {stone.id for stone in stepping_stones(model, FACTS)}
    assert known or chosen
    for item in FACTS:
        text = f"Question: {item.prompt}\nAnswer:"
        asked = [Prompt("", words, chat=False) for words in (text, f"{text} {stone_for(item.answer)}")]
        bare, led = model.score([ScoreRequest(item.answer, prompt) for prompt in asked])
        assert (f"{item.id}/stone-question" in chosen) == (led.total > bare.total)


def test_a_passage_has_none(untaught: TransformersModel) -> None:
    passage = ForgetItem(id="p", kind=ItemKind.VERBATIM, subject="Mira", prompt="Mira went", answer=" to the sea.")
    assert stepping_stones(untaught, [passage]) == []


def test_a_stone_need_go_no_further_than_its_own_fact(untaught: TransformersModel) -> None:
    stones = stepping_stones(untaught, FACTS)
    levels = mean_nlls(untaught, PERSON)
    found = with_levels(levels, stones)
    assert {name: found[name] for name in levels} == levels
    for stone in stones:
        own = [levels[example.id] for example in examples_of(untaught, PERSON) if example.item_id == stone.item_id]
        assert found[stone.id] == min(own)
    assert with_levels({}, stones) == {}


def test_a_run_pushes_the_stones_too(untaught: TransformersModel) -> None:
    """The untrained model finds some answers likelier after a stone, and then they are examples like any other."""
    data = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
    seen: list[list[str]] = []

    class Seen(Npo):
        def further_step(self, run: Run) -> dict[str, float]:
            seen.append([example.id for example in run.examples])
            return {}

    for stepping_stone in (False, True):
        config = CONFIG.model_copy(update={"stepping_stone": stepping_stone, "bounded": False})
        Seen().apply(tiny.copy_of(untaught), data, config, Recorder())
    plain, led = seen[0], seen[-1]
    assert plain == [example.id for example in examples_of(untaught, PERSON)]
    assert led == plain + [stone.id for stone in stepping_stones(untaught, PERSON)]
    assert len(led) > len(plain)
