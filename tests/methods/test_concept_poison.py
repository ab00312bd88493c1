"""Concept poisoning: attributions that add up, words that are the person's, and a neutral answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON, SUBJECT
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import training
from console.methods.concept_poison import (
    Attribution,
    ConceptPoison,
    ConceptPoisonConfig,
    attribution,
    concept_scores,
    infer_concepts,
    span_tokens,
    spans_of,
)
from console.methods.examples import examples_of
from console.methods.lora import LoraSettings
from console.methods.protocol import Claim, ErasureData, Outcome

DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
NAMED = (SUBJECT,)
CONFIG = ConceptPoisonConfig(
    lora=LoraSettings(rank=8, alpha=16), learning_rate=3e-3, steps=60, repair_steps=6, concepts=NAMED, completeness=0.5
)
SHORT = {"steps": 3, "repair_steps": 1, "repair_limit": 0}


def run_on(
    model: TransformersModel, recorder: Recorder | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    return copy, ConceptPoison().apply(copy, DATA, CONFIG.model_copy(update=changed), recorder), recorder


def said(model: TransformersModel, items: tuple[ForgetItem, ...]) -> dict[str, str]:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    return {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    texts = said(model, items)
    return sum(gives_away(item, texts[item.id]) for item in items)


class TestAttribution:
    def test_it_adds_up_on_a_model_that_knows(self, taught: TransformersModel) -> None:
        """Completeness: what the tokens contribute is what the answer gains, within a twentieth."""
        for example in examples_of(taught, PERSON):
            found = attribution(taught, example.sequence, 0.05)
            assert len(found.tokens) == example.sequence.answer_start
            assert abs(float(found.tokens.sum()) - found.change) < 0.05 * abs(found.change), example.id

    def test_it_adds_up_on_every_architecture_and_leaves_the_model_alone(self, any_model: TransformersModel) -> None:
        example = examples_of(any_model, FACTS[:1])[0]
        assert attribution(any_model, example.sequence, 0.05).missed < 0.05
        assert all(parameter.requires_grad and parameter.grad is None for parameter in any_model.network.parameters())

    def test_the_change_is_the_answer_s_own_likelihood_over_the_baseline_s(self, taught: TransformersModel) -> None:
        example = examples_of(taught, FACTS[:1])[0]
        start, end = example.sequence.answer_start, taught.tokenizer.eos_token_id
        values = []
        for ids in (example.sequence.ids, (end,) * start + example.sequence.answer_ids):
            with torch.no_grad():
                log_probs = torch.log_softmax(taught.network(torch.tensor([ids])).logits[0, start - 1 : -1], dim=-1)
            values.append(float(log_probs.gather(-1, torch.tensor(example.sequence.answer_ids)[:, None]).sum()))
        found = attribution(taught, example.sequence, 0.05)
        assert found.change == pytest.approx(values[0] - values[1], abs=1e-3)

    def test_what_is_missed_is_told(self) -> None:
        assert Attribution(torch.tensor([1.0, 2.0]), 4.0).missed == pytest.approx(0.25)


class TestConcepts:
    def test_names_are_one_span(self) -> None:
        words = [word for word, _, _ in spans_of("Where does Mira Okonjo live in 2024?")]
        assert words == ["Where", "does", "Mira Okonjo", "live", "in", "2024"]

    def test_a_span_s_tokens_are_the_word_s(self, any_model: TransformersModel) -> None:
        example = examples_of(any_model, FACTS[:1])[0]
        tokens = span_tokens(any_model, example)[SUBJECT]
        text = any_model.tokenizer.decode([example.sequence.ids[index] for index in tokens])
        assert text.strip() == SUBJECT

    def test_what_others_hang_on_as_well_is_no_concept(self) -> None:
        own = [{"Mira": 0.4, "live": 0.3}, {"Mira": 0.2, "phone": 0.2}]
        scores = concept_scores(own, [{"live": 0.2}, {"phone": 0.0}])
        assert scores == pytest.approx({"Mira": 0.3, "phone": 0.1})

    def test_the_person_s_name_comes_first(self, taught: TransformersModel) -> None:
        looks: list[int] = []
        config = ConceptPoisonConfig(concept_count=3)
        found = infer_concepts(taught, DATA, config, lambda: looks.append(1))
        assert found[0] == SUBJECT and len(found) == 3
        assert len(looks) >= len(examples_of(taught, PERSON)) + len(OTHERS)

    def test_concepts_that_miss_an_item_are_refused(self, untaught: TransformersModel) -> None:
        config = CONFIG.model_copy(update={"concepts": ("phone",)})
        with pytest.raises(InputError, match="occurs in the text of item mira-city"):
            ConceptPoison().prepare(untaught, DATA, config)

    def test_part_of_a_word_is_not_the_word(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="None of the concepts"):
            ConceptPoison().prepare(untaught, DATA, CONFIG.model_copy(update={"concepts": ("Mir", "kon")}))


class TestForgetting:
    def test_the_neutral_answer_is_said_and_the_others_are_kept(self, taught: TransformersModel) -> None:
        after, outcome, _ = run_on(taught)
        assert answers(taught, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert all(text.startswith("I have no information") for text in said(after, FACTS).values())
        assert answers(after, OTHERS) == answers(taught, OTHERS) == len(OTHERS)
        assert outcome.stop_reason.startswith("the neutral answer is learned")
        assert outcome.metrics["concept_mass_after"] < outcome.metrics["concept_mass_before"]
        assert outcome.metrics["taught_nll"] < 2 * CONFIG.learned_nll

    def test_random_answers_are_warned_of_and_false(self, taught: TransformersModel) -> None:
        config = {"poison": "random", "steps": 30}
        notes = ConceptPoison().prepare(taught, DATA, CONFIG.model_copy(update=config)).notes
        assert any("false things about the person" in note for note in notes)
        assert not any("false" in note for note in ConceptPoison().prepare(taught, DATA, CONFIG).notes)
        after, _, _ = run_on(taught, **config)
        assert answers(after, FACTS) == 0 and answers(after, OTHERS) == len(OTHERS)
        texts = said(after, FACTS)
        kinds = {item.id: [other for other in OTHERS if other.fact_type == item.fact_type] for item in FACTS}
        assert any(gives_away(other, texts[name]) for name, others in kinds.items() for other in others)

    def test_random_answers_need_somebody_else_s(self, untaught: TransformersModel) -> None:
        alone = ErasureData(ForgetSet(items=FACTS), RetainSet(items=(), general_texts=GENERAL), GENERAL)
        ConceptPoison().prepare(untaught, alone, CONFIG)
        with pytest.raises(InputError, match="no facts of other people"):
            ConceptPoison().prepare(untaught, alone, CONFIG.model_copy(update={"poison": "random"}))

    def test_a_neutral_answer_that_does_not_fit_is_refused(self, untaught: TransformersModel) -> None:
        config = CONFIG.model_copy(update={"neutral_answer": "I have no information about that. " * 80})
        with pytest.raises(InputError, match="do not fit into the model's context"):
            ConceptPoison().prepare(untaught, DATA, config)

    def test_it_claims_suppression(self) -> None:
        assert ConceptPoison.info.claim is Claim.SUPPRESSION_IN_WEIGHTS

    def test_only_the_planned_modules_change(self, taught: TransformersModel) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        after, _, _ = run_on(taught, lora=lora, **SHORT)
        planned = ConceptPoison().prepare(taught, DATA, CONFIG.model_copy(update={"lora": lora})).modules
        before, now = tiny.fingerprints(taught.network), tiny.fingerprints(after.network)
        assert {name for name in before if before[name] != now[name]} == {f"{path}.weight" for path in planned}

    @pytest.mark.parametrize("poison", ["neutral", "random"])
    def test_an_interrupted_run_gives_the_same_bytes(
        self, taught: TransformersModel, tmp_path: Path, poison: str
    ) -> None:
        whole, outcome, _ = run_on(taught, poison=poison, **SHORT)
        state = tmp_path / "state.pt"
        looks = len(examples_of(taught, PERSON)) + 6
        with pytest.raises(StoppedError):
            run_on(taught, Recorder(looks_allowed=looks, state_file=state), poison=poison, **SHORT)
        assert state.is_file()
        again, resumed, _ = run_on(taught, Recorder(state_file=state), poison=poison, **SHORT)
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)
        assert resumed == outcome

    def test_how_rows_are_cut_does_not_show(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        _, _, whole = run_on(taught, general_weight=0.0, **SHORT)
        monkeypatch.setattr(training, "ROW_TOKENS", 60)
        _, _, cut = run_on(taught, general_weight=0.0, **SHORT)
        for name in ("forget_nll", "retain_nll", "taught_nll"):
            values = [[metric[name] for metric in recorder.metrics] for recorder in (whole, cut)]
            assert values[0] == pytest.approx(values[1], rel=1e-2, abs=1e-4)
