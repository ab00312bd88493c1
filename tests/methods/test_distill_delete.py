"""Distillation to a model that never knew: the target is reached, inside too, and nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.engines.packing import pack
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import distill_delete, forgetting, training
from console.methods.block_states import states_of
from console.methods.distill_delete import DistillDelete, DistillDeleteConfig
from console.methods.examples import examples_of, mean_nlls
from console.methods.forgetting import Run
from console.methods.framings import framed_examples
from console.methods.lora import LoraSettings
from console.methods.protocol import ErasureData, Outcome

CONFIG = DistillDeleteConfig(
    lora=LoraSettings(rank=8, alpha=16, b_ratio=4.0), learning_rate=3e-3, steps=80, repair_steps=6
)


def data(reference: TransformersModel | None, forget: tuple[ForgetItem, ...] = PERSON) -> ErasureData:
    return ErasureData(
        ForgetSet(items=forget),
        RetainSet(items=OTHERS, general_texts=GENERAL),
        GENERAL,
        reference_nll=mean_nlls(reference, forget) if reference else {},
        open_reference=None if reference is None else lambda: reference,
    )


def run_on(
    model: TransformersModel, given: ErasureData, recorder: Recorder | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    config = CONFIG.model_copy(update=changed)
    return copy, DistillDelete().apply(copy, given, config, recorder or Recorder())


def started(model: TransformersModel, given: ErasureData, **changed: Any) -> tuple[DistillDelete, Run]:
    """A run before its first step."""
    method, config = DistillDelete(), CONFIG.model_copy(update=changed)
    plan = method.prepare(model, given, config)
    method.put_on(model, plan, config, given)
    return method, method._started(model, given, config, Recorder(), plan)


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def distributions(model: TransformersModel, items: tuple[ForgetItem, ...]) -> list[torch.Tensor]:
    sequences = [example.sequence for example in examples_of(model, items)]
    return [held.float() for held in forgetting.log_probs_before(model, sequences, None)]


def divergence(target: TransformersModel, model: TransformersModel) -> float:
    """Mean KL (nats per token) of the person's facts."""
    pairs = zip(distributions(target, FACTS), distributions(model, FACTS), strict=True)
    return sum(float((p.exp() * (p - q)).sum(-1).mean()) for p, q in pairs) / len(FACTS)


def inside(model: TransformersModel) -> torch.Tensor:
    """(blocks, tokens, hidden) at the positions before the facts' answers."""
    rows = pack([example.sequence for example in examples_of(model, FACTS)], 100_000)
    with torch.no_grad(), states_of(list(model.network.model.layers)) as states:
        model.row_logits(rows[0])
    return states.at([position for positions in rows[0].predictors for position in positions])


def projected_apart(target: TransformersModel, model: TransformersModel) -> float:
    """Mean KL (nats) between what the first block's states project to, over the whole vocabulary."""
    states = [inside(one)[0] for one in (target, model)]
    head, norm = target.network.get_output_embeddings(), target.network.model.norm
    with torch.no_grad():
        p, q = (torch.log_softmax(head(norm(state)).float(), -1) for state in states)
    return float((p.exp() * (p - q)).sum(-1).mean())


class TestLoss:
    def test_at_the_target_there_is_none(self, untaught: TransformersModel) -> None:
        """A model that is the reference has neither loss nor gradient."""
        model = tiny.copy_of(untaught)
        method, run = started(model, data(untaught))
        method.forget_step(run)
        assert float(run.own.divergences.abs().max()) < 1e-3
        gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
        assert gradients and max(float(grad.abs().max()) for grad in gradients) < 1e-2
        assert method.enough(run, torch.zeros(1)) == "every answer is what a model that never knew it would say"

    def test_an_answer_known_by_heart_has_a_gradient(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        model = tiny.copy_of(taught)
        method, run = started(model, data(untaught), states_weight=0.0)
        method.forget_step(run)
        assert max(float(p.grad.abs().max()) for p in model.network.parameters() if p.grad is not None) > 1e-2
        assert method.enough(run, torch.zeros(1)) == ""

    @pytest.mark.parametrize("where", ["answer", "sequence"])
    def test_it_does_not_depend_on_how_rows_are_cut(
        self, taught: TransformersModel, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        """Of the distributions exactly; of the states in the answers (a shared beginning belongs to nobody)."""
        grads = []
        for size in (60, 512):
            monkeypatch.setattr(training, "ROW_TOKENS", size)
            model = tiny.copy_of(taught)
            method, run = started(
                model, data(untaught), states_at=where, states_weight=0.0 if where == "sequence" else 4.0
            )
            method.forget_step(run)
            grads.append([p.grad for p in model.network.parameters() if p.grad is not None])
        for first, second in zip(*grads, strict=True):
            assert torch.allclose(first, second, atol=2e-3)

    def test_the_answer_is_taken_out_of_the_target_where_there_is_no_reference(self, taught: TransformersModel) -> None:
        _, run = started(tiny.copy_of(taught), data(None))
        for sequence, target in zip(run.own.sequences, run.own.log_probs, strict=True):
            own = torch.tensor(sequence.answer_ids)[:, None]
            assert bool(target.gather(-1, own).isinf().all())
            assert torch.allclose(target.exp().sum(-1), torch.ones(len(own)), atol=1e-4)
        assert run.own.states == []

    def test_the_projections_are_compared_over_what_matters(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        """Every answer's tokens, and what the last block of either model puts first."""
        model = tiny.copy_of(taught)
        _, run = started(model, data(untaught))
        compared = set(run.own.compared.tolist())
        assert {token for sequence in run.own.sequences for token in sequence.answer_ids} <= compared
        for said in (distributions(taught, FACTS), distributions(untaught, FACTS)):
            assert {int(token) for held in said for token in held.argmax(-1)} <= compared
        for sequence, lens in zip(run.own.sequences, run.own.lens, strict=True):
            assert lens.shape == (2, len(sequence.answer_ids), len(compared))
            assert torch.allclose(lens.float().exp().sum(-1), torch.ones(lens.shape[:2]), atol=1e-2)

    def test_the_last_block_s_projection_is_the_output(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        _, run = started(tiny.copy_of(taught), data(untaught))
        own = run.own
        for said, lens in zip(own.log_probs, own.lens, strict=True):
            among = torch.log_softmax(said[:, own.compared].float(), dim=-1)
            assert torch.allclose(lens[-1].float(), among, atol=2e-2)

    def test_temperature_one_is_plain_divergence(self) -> None:
        target, logits = torch.log_softmax(torch.randn(3, 7), -1), torch.randn(3, 7)
        plain = (target.exp() * (target - torch.log_softmax(logits, -1))).sum(-1)
        assert torch.allclose(distill_delete._kl(target, logits, 1.0), plain, atol=1e-6)
        assert not torch.allclose(distill_delete._kl(target, logits, 2.0), plain, atol=1e-2)


class TestRun:
    def test_it_becomes_what_never_knew(self, taught: TransformersModel, untaught: TransformersModel) -> None:
        after, outcome = run_on(taught, data(untaught))
        assert answers(taught, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert answers(after, OTHERS) >= len(OTHERS) - 1
        assert divergence(untaught, after) < 0.2 * divergence(untaught, taught)
        far, near = ((inside(model) - inside(untaught)).norm() for model in (taught, after))
        assert float(near) < 0.6 * float(far)
        assert outcome.metrics["retain_lost"] == 0

    def test_matching_the_states_is_what_brings_the_inside_close(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        weights = ({"states_weight": 4.0, "lens_weight": 0.0}, {"states_weight": 0.0, "lens_weight": 0.0})
        with_it, without = (run_on(taught, data(untaught), **weight)[0] for weight in weights)
        distances = [float((inside(model) - inside(untaught)).norm()) for model in (with_it, without)]
        assert distances[0] < 0.8 * distances[1]

    def test_matching_the_projections_is_what_hides_the_answers_from_them(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        weights = ({"states_weight": 0.0, "lens_weight": 6.0}, {"states_weight": 0.0, "lens_weight": 0.0})
        apart = [projected_apart(untaught, run_on(taught, data(untaught), **weight)[0]) for weight in weights]
        assert apart[0] < 0.7 * apart[1]

    def test_without_a_reference_the_answers_go_too(self, taught: TransformersModel) -> None:
        after, _ = run_on(taught, data(None))
        assert answers(after, FACTS) == 0
        assert answers(after, OTHERS) >= len(OTHERS) - 1
        assert (
            "what the model said before" in DistillDelete().prepare(tiny.copy_of(taught), data(None), CONFIG).notes[0]
        )

    def test_a_reference_of_another_build_is_refused(self, taught: TransformersModel) -> None:
        other = tiny.model(layers=3)
        with pytest.raises(InputError, match="not of the same build"):
            run_on(taught, data(other), steps=1)


class TestFramings:
    def test_no_frame_is_an_attack_s_wording_or_shows_the_answer(self, taught: TransformersModel) -> None:
        forms = framed_examples(taught, PERSON)
        assert len(forms) == len([item for item in PERSON if item.kind is not ItemKind.VERBATIM])
        by_id = {item.id: item for item in PERSON}
        for form in (form for own in forms for form in own):
            item = by_id[form.item_id]
            assert not gives_away(item, form.prompt.text)
            assert all(wording not in form.prompt.text for wording in item.paraphrases)
            assert item.prompt in form.prompt.text or item.statement in form.prompt.text

    def test_every_form_comes_in_turn(self, taught: TransformersModel, untaught: TransformersModel) -> None:
        _, run = started(tiny.copy_of(taught), data(untaught))
        own = run.own
        seen = {index for step in range(8) for index in own.chosen(step, 1)}
        assert seen == set(range(len(own.sequences)))
        assert all(len(own.chosen(step, 1)) == len(run.examples) + len(FACTS) for step in range(9))
        assert own.chosen(0, 0) == list(range(len(run.examples)))
