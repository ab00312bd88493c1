"""Concept poisoning: words left out, attributions that add up, words that are the person's, and a neutral answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON, SUBJECT
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import TokenSequence
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import concept_poison, occlusion, training
from console.methods.concept_poison import (
    ByIntegratedGradients,
    ByOcclusion,
    ConceptPoison,
    ConceptPoisonConfig,
    concept_mass,
    concept_scores,
    concept_tokens,
    infer_concepts,
    reading_of,
    span_tokens,
    spans_of,
)
from console.methods.examples import Example, examples_of
from console.methods.integrated_gradients import Attribution, attribution
from console.methods.lora import LoraSettings
from console.methods.occlusion import Occlusions, occluded_log_probs
from console.methods.protocol import Claim, ErasureData, Outcome

DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
NAMED = (SUBJECT,)
CONFIG = ConceptPoisonConfig(
    lora=LoraSettings(rank=8, alpha=16), learning_rate=3e-3, steps=60, repair_steps=6, concepts=NAMED, completeness=0.5
)
NOTHING: frozenset[int] = frozenset()
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


def go_on() -> None:
    """Nobody has asked to stop."""


def occlusions_of(model: TransformersModel, example: Example) -> list[frozenset[int]]:
    """Nothing, every word alone, two words that are apart, and the whole question."""
    words = list(span_tokens(model, example).values())
    return [NOTHING, *words, words[0] | words[-1], frozenset(range(example.sequence.answer_start))]


def alone(model: TransformersModel, sequence: TokenSequence, tokens: frozenset[int]) -> float:
    """log p(answer) of the occluded text as one row of its own, end tokens written into it."""
    end = model.tokenizer.eos_token_id
    ids = torch.tensor([[end if place in tokens else token for place, token in enumerate(sequence.ids)]])
    with torch.no_grad():
        log_probs = torch.log_softmax(model.network(ids).logits[0, sequence.answer_start - 1 : -1], dim=-1)
    return float(log_probs.gather(-1, torch.tensor(sequence.answer_ids)[:, None]).sum())


def count_passes(model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every run of the network."""
    passes: list[int] = []
    whole = model.network.forward

    def counted(*args: Any, **named: Any) -> Any:
        passes.append(1)
        return whole(*args, **named)

    monkeypatch.setattr(model.network, "forward", counted)
    return passes


class TestOcclusion:
    def test_each_is_what_the_text_has_alone(self, any_model: TransformersModel) -> None:
        for example in examples_of(any_model, PERSON):
            asked = occlusions_of(any_model, example)
            found = occluded_log_probs(any_model, example.sequence, asked, go_on)
            expected = [alone(any_model, example.sequence, tokens) for tokens in asked]
            assert found == pytest.approx(expected, abs=2e-3, rel=1e-4), example.id

    def test_nothing_occluded_changes_nothing(self, taught: TransformersModel) -> None:
        for example in examples_of(taught, PERSON):
            assert Occlusions(taught, go_on).drops(example.sequence, [NOTHING, NOTHING]) == [0.0, 0.0]
            assert ByOcclusion(taught, go_on).mass(example, ("Nobody",)) == 0.0
            (text,) = occluded_log_probs(taught, example.sequence, [NOTHING], go_on)
            assert text == pytest.approx(taught.score_sequences([example.sequence])[0].total, abs=1e-3)

    def test_everything_occluded_is_the_baseline_of_the_gradients(self, taught: TransformersModel) -> None:
        for example in examples_of(taught, PERSON):
            everything = frozenset(range(example.sequence.answer_start))
            (drop,) = Occlusions(taught, go_on).drops(example.sequence, [everything])
            assert drop == pytest.approx(attribution(taught, example.sequence, 0.9, go_on).change, abs=1e-3)

    def test_how_passes_are_cut_does_not_show(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        (example, *_) = examples_of(taught, PERSON)
        asked, looks, found = occlusions_of(taught, example), [], []
        for most in (10_000, 90, 1):
            monkeypatch.setattr(occlusion, "PASS_TOKENS", most)
            seen: list[int] = []
            found.append(occluded_log_probs(taught, example.sequence, asked, lambda seen=seen: seen.append(1)))
            looks.append(len(seen))
        assert looks[0] == 1 < looks[1] < looks[2] == len(asked)
        assert found[1] == pytest.approx(found[0], abs=1e-3) and found[2] == pytest.approx(found[0], abs=1e-3)

    def test_order_and_company_do_not_show(self, taught: TransformersModel) -> None:
        (example, *_) = examples_of(taught, PERSON)
        asked = occlusions_of(taught, example)
        together = occluded_log_probs(taught, example.sequence, asked, go_on)
        turned = occluded_log_probs(taught, example.sequence, asked[::-1], go_on)
        assert turned[::-1] == pytest.approx(together, abs=1e-3)
        assert len({round(value, 3) for value in together}) > 3, "values all alike would hide a wrong order"

    def test_only_the_question_can_be_occluded(self, untaught: TransformersModel) -> None:
        (example, *_) = examples_of(untaught, FACTS)
        for place in (-1, example.sequence.answer_start):
            with pytest.raises(ValueError, match="the question, can be occluded"):
                occluded_log_probs(untaught, example.sequence, [frozenset({place})], go_on)

    def test_nothing_is_computed_twice(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        (example, *_) = examples_of(taught, PERSON)
        passes = count_passes(taught, monkeypatch)
        reading = ByOcclusion(taught, go_on)
        shares = reading.shares(example, None)
        done = len(passes)
        assert done and reading.shares(example, {SUBJECT}) == {SUBJECT: shares[SUBJECT]}
        mass = reading.mass(example, NAMED)
        assert len(passes) == done
        assert mass == pytest.approx(shares[SUBJECT] * len(example.sequence.answer_ids))
        reading.mass(example, (SUBJECT, "Where"))
        assert len(passes) == done + 1

    def test_it_leaves_the_model_alone(self, untaught: TransformersModel) -> None:
        before = tiny.fingerprints(untaught.network)
        ByOcclusion(untaught, go_on).shares(examples_of(untaught, PERSON)[0], None)
        assert tiny.fingerprints(untaught.network) == before
        assert all(parameter.requires_grad and parameter.grad is None for parameter in untaught.network.parameters())

    def test_a_word_that_speaks_against_has_no_share(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (example, *_) = examples_of(taught, PERSON)
        monkeypatch.setattr(Occlusions, "drops", lambda _self, _sequence, asked: [-2.0, *[6.0] * (len(asked) - 1)])
        shares = list(ByOcclusion(taught, go_on).shares(example, None).values())
        assert shares[0] == 0.0 and set(shares[1:]) == {6.0 / len(example.sequence.answer_ids)}
        assert ByOcclusion(taught, go_on).mass(example, NAMED) == -2.0


class TestAttribution:
    def test_it_adds_up_on_a_model_that_knows(self, taught: TransformersModel) -> None:
        """Completeness: what the tokens contribute is what the answer gains, within a twentieth."""
        for example in examples_of(taught, PERSON):
            found = attribution(taught, example.sequence, 0.05, go_on)
            assert len(found.tokens) == example.sequence.answer_start
            assert abs(float(found.tokens.sum()) - found.change) < 0.05 * abs(found.change), example.id

    def test_it_adds_up_on_every_architecture_and_leaves_the_model_alone(self, any_model: TransformersModel) -> None:
        example = examples_of(any_model, FACTS[:1])[0]
        assert attribution(any_model, example.sequence, 0.05, go_on).missed < 0.05
        assert all(parameter.requires_grad and parameter.grad is None for parameter in any_model.network.parameters())

    def test_the_change_is_the_answer_s_own_likelihood_over_the_baseline_s(self, taught: TransformersModel) -> None:
        example = examples_of(taught, FACTS[:1])[0]
        start, end = example.sequence.answer_start, taught.tokenizer.eos_token_id
        values = []
        for ids in (example.sequence.ids, (end,) * start + example.sequence.answer_ids):
            with torch.no_grad():
                log_probs = torch.log_softmax(taught.network(torch.tensor([ids])).logits[0, start - 1 : -1], dim=-1)
            values.append(float(log_probs.gather(-1, torch.tensor(example.sequence.answer_ids)[:, None]).sum()))
        found = attribution(taught, example.sequence, 0.05, go_on)
        assert found.change == pytest.approx(values[0] - values[1], abs=1e-3)

    def test_it_can_be_stopped_within_a_stretch(self, taught: TransformersModel) -> None:
        control = Recorder(looks_allowed=3)
        with pytest.raises(StoppedError):
            attribution(taught, examples_of(taught, FACTS[:1])[0].sequence, 0.05, control.check_cancelled)
        assert all(parameter.requires_grad for parameter in taught.network.parameters())

    def test_nothing_is_computed_twice(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        (example, *_) = examples_of(taught, PERSON)
        passes = count_passes(taught, monkeypatch)
        reading = ByIntegratedGradients(taught, 0.5, go_on)
        assert reading.shares(example, None) and passes
        done = len(passes)
        assert reading.mass(example, NAMED) is not None and len(passes) == done

    def test_a_text_that_does_not_add_up_says_nothing(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missed = Attribution(torch.ones(80), 40.0)
        monkeypatch.setattr(concept_poison, "attribution", lambda *_: missed)
        (example, *_) = examples_of(taught, PERSON)
        strict, lenient = (ByIntegratedGradients(taught, tolerance, go_on) for tolerance in (0.5, 1.5))
        assert strict.shares(example, None) is None and strict.mass(example, NAMED) is None
        assert lenient.shares(example, None) and lenient.mass(example, NAMED) > 0
        assert math.isnan(concept_mass(strict, [example], NAMED, Recorder()))
        with pytest.raises(JobFailedError, match="attributions of no answer add up"):
            infer_concepts(taught, DATA, ConceptPoisonConfig(), strict, Recorder())

    def test_what_is_missed_is_told(self) -> None:
        assert Attribution(torch.tensor([1.0, 2.0]), 4.0).missed == pytest.approx(0.25)


class TestConcepts:
    def test_names_are_one_span(self) -> None:
        words = [word for word, _, _ in spans_of("Where does Mira Okonjo live in 2024?")]
        assert words == ["Where", "does", "Mira Okonjo", "live", "in", "2024"]

    def test_a_span_s_tokens_are_the_word_s(self, any_model: TransformersModel) -> None:
        example = examples_of(any_model, FACTS[:1])[0]
        tokens = span_tokens(any_model, example)[SUBJECT]
        text = any_model.tokenizer.decode([example.sequence.ids[index] for index in sorted(tokens)])
        assert text.strip() == SUBJECT

    def test_a_word_said_twice_is_occluded_in_both_places(self, taught: TransformersModel) -> None:
        (item, *_) = FACTS
        twice = item.model_copy(update={"prompt": f"Where does {SUBJECT} live when {SUBJECT} works?"})
        example = examples_of(taught, (twice,))[0]
        tokens = span_tokens(taught, example)[SUBJECT]
        text = taught.tokenizer.decode([example.sequence.ids[index] for index in sorted(tokens)])
        assert text.count(SUBJECT) == 2 and concept_tokens(taught, example, NAMED) == tokens

    def test_what_others_hang_on_as_well_is_no_concept(self) -> None:
        own = [{"Mira": 0.4, "live": 0.3}, {"Mira": 0.2, "phone": 0.2}]
        scores = concept_scores(own, [{"live": 0.2}, {"phone": 0.0}])
        assert scores == pytest.approx({"Mira": 0.3, "phone": 0.1})

    def test_a_concept_of_several_words_is_found_and_part_of_a_word_is_not(self, taught: TransformersModel) -> None:
        (example,) = (one for one in examples_of(taught, FACTS) if one.id == "mira-phone/question")
        spans = span_tokens(taught, example)
        both = concept_tokens(taught, example, ("phone number",))
        assert both == spans["phone"] | spans["number"] and both
        assert concept_tokens(taught, example, ("hone", "Okon")) == NOTHING
        assert concept_tokens(taught, example, (SUBJECT, "phone")) == spans[SUBJECT] | spans["phone"]

    @pytest.mark.parametrize(("way", "contrast"), [("occlusion", 24), ("integrated", 4)])
    def test_the_person_s_name_comes_first(self, taught: TransformersModel, way: str, contrast: int) -> None:
        config = ConceptPoisonConfig(concept_count=3, attribution=way, contrast=contrast)
        control = Recorder()
        found = infer_concepts(taught, DATA, config, reading_of(taught, config, control.check_cancelled), control)
        assert found[0] == SUBJECT and len(found) == 3
        texts = len(examples_of(taught, PERSON)) + min(config.contrast, len(examples_of(taught, OTHERS)))
        assert control.progressed == [(done, texts) for done in range(texts + 1)]
        assert control.looks >= 2 * texts

    def test_occlusion_is_the_default_and_gives_the_name_the_most(self, taught: TransformersModel) -> None:
        config = ConceptPoisonConfig()
        reading = reading_of(taught, config, go_on)
        assert isinstance(reading, ByOcclusion)
        own = [reading.shares(example, None) for example in examples_of(taught, PERSON)]
        others = [reading.shares(example, None) for example in examples_of(taught, OTHERS)]
        scores = concept_scores(own, others)
        assert max(scores, key=scores.__getitem__) == SUBJECT

    def test_words_that_nothing_hangs_on_do_not_fill_up_the_list(self, taught: TransformersModel) -> None:
        class OnlyTheName(ByOcclusion):
            def shares(self, example: Example, words: Any) -> dict[str, float]:
                return {word: 1.0 if SUBJECT in word else 0.0 for word in span_tokens(taught, example)}

        config = ConceptPoisonConfig(concept_count=5)
        assert infer_concepts(taught, DATA, config, OnlyTheName(taught, go_on), Recorder()) == NAMED

    def test_words_left_unread_in_others_texts_change_nothing(self, taught: TransformersModel) -> None:
        config, control = ConceptPoisonConfig(concept_count=4), Recorder()

        class Whole(ByOcclusion):
            def shares(self, example: Example, words: Any) -> dict[str, float]:
                return super().shares(example, None)

        found = [infer_concepts(taught, DATA, config, kind(taught, go_on), control) for kind in (ByOcclusion, Whole)]
        assert found[0] == found[1]

    @pytest.mark.parametrize("concepts", [(), NAMED])
    def test_a_stop_is_heard_between_two_passes(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, concepts: tuple[str, ...]
    ) -> None:
        monkeypatch.setattr(occlusion, "PASS_TOKENS", 1)
        copy = tiny.copy_of(taught)
        passes = count_passes(copy, monkeypatch)
        with pytest.raises(StoppedError):
            config = CONFIG.model_copy(update={"concepts": concepts})
            ConceptPoison().apply(copy, DATA, config, Recorder(looks_allowed=2))
        assert len(passes) == 1, "one look before the text, one before each pass"
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)

    def test_an_answer_hangs_on_the_name_only_where_it_is_known(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        examples = examples_of(taught, PERSON)
        known, unknown = (
            concept_mass(ByOcclusion(model, go_on), examples, NAMED, Recorder()) for model in (taught, untaught)
        )
        assert known > 3 and known > 3 * abs(unknown)

    def test_concepts_that_miss_an_item_are_refused(self, untaught: TransformersModel) -> None:
        config = CONFIG.model_copy(update={"concepts": ("phone",)})
        with pytest.raises(InputError, match="occurs in the text of item mira-city"):
            ConceptPoison().prepare(untaught, DATA, config)

    def test_part_of_a_word_is_not_the_word(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="None of the concepts"):
            ConceptPoison().prepare(untaught, DATA, CONFIG.model_copy(update={"concepts": ("Mir", "kon")}))


def before_the_first_step(model: TransformersModel) -> int:
    """How often a run with named concepts looks whether it must stop before it trains."""
    control = Recorder()
    concept_mass(ByOcclusion(model, control.check_cancelled), examples_of(model, PERSON), NAMED, control)
    return control.looks


class TestForgetting:
    def test_the_neutral_answer_is_said_and_the_others_are_kept(self, taught: TransformersModel) -> None:
        after, outcome, _ = run_on(taught)
        assert answers(taught, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert all(text.startswith("I have no information") for text in said(after, FACTS).values())
        assert answers(after, OTHERS) == answers(taught, OTHERS) == len(OTHERS)
        assert outcome.stop_reason.startswith("the neutral answer is learned")
        assert outcome.metrics["concept_mass_after"] < outcome.metrics["concept_mass_before"]
        assert outcome.metrics["taught_nll"] < 2 * CONFIG.learned_nll

    def test_how_it_is_read_changes_no_weight_where_the_concepts_are_named(self, taught: TransformersModel) -> None:
        one, by_occlusion, _ = run_on(taught, **SHORT)
        other, by_gradients, _ = run_on(taught, attribution="integrated", **SHORT)
        assert tiny.fingerprints(one.network) == tiny.fingerprints(other.network)
        masses = {"concept_mass_before", "concept_mass_after"}
        rest = [{k: v for k, v in run.metrics.items() if k not in masses} for run in (by_occlusion, by_gradients)]
        assert rest[0] == rest[1] and by_occlusion.stop_reason == by_gradients.stop_reason

    def test_concepts_that_are_found_are_used_and_counted(self, taught: TransformersModel) -> None:
        _, outcome, recorder = run_on(taught, concepts=(), concept_count=2, **SHORT)
        assert outcome.metrics["concepts"] == 2.0
        assert outcome.metrics["concept_mass_before"] > 3
        assert recorder.progressed[0][0] == 0 and recorder.progressed[-1] == (len(examples_of(taught, PERSON)),) * 2

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

    def test_the_plan_says_that_integrated_gradients_are_slow(self, untaught: TransformersModel) -> None:
        slow = CONFIG.model_copy(update={"attribution": "integrated"})
        plans = [ConceptPoison().prepare(untaught, DATA, config).notes for config in (CONFIG, slow)]
        assert [any("minutes for every text" in note for note in notes) for notes in plans] == [False, True]

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
        looks = before_the_first_step(taught) + 6
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
