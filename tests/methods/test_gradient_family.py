"""The methods on the gradient loop: what their losses are on paper, and what they do to a tiny model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PASSAGE, PERSON
from tiny import Recorder, StoppedError
from torch.nn.functional import cross_entropy

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import dpo_idk, gradient, training
from console.methods.abstention import abstaining, abstentions
from console.methods.ce_u import CeU, unlearned_tokens, without_answer
from console.methods.dpo_idk import DpoIdk, preference_loss
from console.methods.examples import mean_nlls
from console.methods.forgetting import ForgetRow, Run
from console.methods.ga import GaConfig, GradientAscent
from console.methods.graddiff import GradDiff, GradDiffKl
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import known_by_heart
from console.methods.lora import LoraSettings
from console.methods.losses import answer_tokens, log_odds, member_nll
from console.methods.protocol import ErasureData, Outcome
from console.methods.refusal import Refusal, _refusals
from console.methods.simnpo import SimNpo, simnpo_loss
from console.methods.undial import Undial
from console.methods.wga import Wga

BOUND = 3.0
DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
LORA = LoraSettings(rank=8, alpha=16)
SATIMP = {"beta1": 5.0, "beta2": 1.0, "forget_weight": 70.0}
Settings = dict[str, Any]
METHODS: tuple[tuple[type[GradientMethod], Settings], ...] = (
    (GradDiff, {}),
    (GradDiffKl, {}),
    (SimNpo, {}),
    (Wga, {}),
    (Wga, SATIMP),
    (CeU, {}),
    (Undial, {}),
    (DpoIdk, {}),
)
NAMES = [f"{method.__name__}{'-satimp' if settings else ''}" for method, settings in METHODS]
EVERY = pytest.mark.parametrize(("method", "settings"), METHODS, ids=NAMES)
FOLLOW_THE_LIKELIHOOD = pytest.mark.parametrize(
    ("method", "settings"),
    [(GradDiff, {}), (SimNpo, {}), (Wga, {}), (Wga, SATIMP), (Undial, {})],
    ids=["GradDiff", "SimNpo", "Wga", "SatImp", "Undial"],
)


@pytest.fixture
def short_abstention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny tokenizer spells the sentences letter by letter; this one is about as long as they are to a real one."""
    monkeypatch.setattr(dpo_idk, "abstentions", lambda: ("I do not know.",))


# -- losses by hand ------------------------------------------------------------------------------


def row_of(answers: list[tuple[int, ...]], logits: torch.Tensor, before: torch.Tensor | None = None) -> ForgetRow:
    """A row of answers (prompts of one token) whose logits are chosen: (tokens of all answers, vocab)."""
    sequences = [TokenSequence((0, *answer), 1) for answer in answers]
    (row,) = pack(sequences, 10_000)
    targets, owner = answer_tokens(row, sequences)
    before = logits.detach() if before is None else before
    return ForgetRow(
        row=row,
        logits=logits,
        targets=targets,
        owner=owner,
        nll=member_nll(logits, row, sequences),
        before_nll=member_nll(before, row, sequences),
        before_log_probs=torch.log_softmax(before, dim=-1),
        lengths=torch.tensor([len(answer) for answer in answers]),
        pushing=torch.ones(len(answers), dtype=torch.bool),
    )


def random_logits(tokens: int, seed: int = 1) -> torch.Tensor:
    drawn = torch.randn(tokens, 5, generator=torch.Generator().manual_seed(seed))
    return drawn.requires_grad_(True)


def certain_logits(*answer: int, lead: float = 60.0) -> torch.Tensor:
    """Logits under which each answer token is certain beyond what float32 can say."""
    logits = torch.zeros(len(answer), 5)
    logits[range(len(answer)), list(answer)] = lead
    return logits.requires_grad_(True)


def slope(method: GradientMethod, row: ForgetRow, **settings: Any) -> torch.Tensor:
    """Gradient of the forget losses' sum with respect to the row's logits."""
    loss = method.forget_loss(row, method.config_class(**settings)).sum()
    return torch.autograd.grad(loss, row.logits, retain_graph=True)[0]


class TestOnPaper:
    def test_gradient_difference_is_minus_the_mean_nll(self) -> None:
        row = row_of([(1, 2, 3), (4,)], random_logits(4))
        config = GradDiff.config_class(certain_below=0)
        torch.testing.assert_close(GradDiff().forget_loss(row, config), -row.nll / row.lengths)
        expected = -torch.autograd.grad((row.nll / row.lengths).sum(), row.logits, retain_graph=True)[0]
        torch.testing.assert_close(slope(GradDiff(), row, certain_below=0), expected)

    def test_its_twin_holds_by_divergence(self) -> None:
        assert (GradDiff.config_class().retain_loss, GradDiffKl.config_class().retain_loss) == ("nll", "kl")

    def test_weighted_ascent_without_weights_is_ascent(self) -> None:
        row = row_of([(1, 2, 3), (4,)], random_logits(4))
        found = Wga().forget_loss(row, Wga.config_class(beta1=0, beta2=0, certain_below=0))
        torch.testing.assert_close(found, GradientAscent().forget_loss(row, GaConfig()))
        torch.testing.assert_close(slope(Wga(), row, beta1=0, beta2=0, certain_below=0), slope(GradientAscent(), row))

    @pytest.mark.parametrize(("beta1", "beta2"), [(1.0, 0.0), (5.0, 1.0), (0.0, 2.0)])
    def test_no_gradient_flows_through_the_weights(self, beta1: float, beta2: float) -> None:
        row = row_of([(1, 2, 3)], random_logits(3))
        likely = torch.softmax(row.logits.detach(), dim=-1)
        own = likely[range(3), row.targets]
        weight = own**beta1 * (1 - own) ** beta2
        by_hand = weight[:, None] * (torch.eye(5)[row.targets] - likely) / 3
        found = slope(Wga(), row, beta1=beta1, beta2=beta2, certain_below=0)
        torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=1e-4)

    def test_simnpo_looks_at_the_mean_alone(self) -> None:
        """Twice as long with the same likelihood per token is the same; what the model said before plays no part."""
        logits = random_logits(3)
        row, twice = row_of([(1, 2, 3)], logits), row_of([(1, 2, 3, 1, 2, 3)], torch.cat([logits, logits]))
        elsewhere = row_of([(1, 2, 3)], logits, before=random_logits(3, seed=2))
        config = SimNpo.config_class()
        found = [float(SimNpo().forget_loss(one, config).detach()) for one in (row, twice, elsewhere)]
        assert found == pytest.approx([found[0]] * 3, rel=1e-6)
        assert float(twice.nll.detach()) == pytest.approx(2 * float(row.nll.detach()))

    @pytest.mark.parametrize("delta", [0.0, 1.5])
    def test_simnpo_at_delta_is_two_over_beta_ln_2(self, delta: float) -> None:
        at = torch.tensor([delta, delta + 3.0], requires_grad=True)
        loss = simnpo_loss(at, 4.5, delta)
        (gradient,) = torch.autograd.grad(loss.sum(), at)
        assert float(loss[0].detach()) == pytest.approx(2 / 4.5 * math.log(2))
        assert gradient.tolist() == pytest.approx([-1.0, -2 / (1 + math.exp(13.5))], rel=1e-4)

    def test_undial_without_demotion_rests_at_the_model_before(self) -> None:
        row = row_of([(1, 2, 3), (4,)], random_logits(4))
        assert float(slope(Undial(), row, beta=0, certain_below=0).abs().max()) < 1e-6
        assert float(slope(Undial(), row, beta=1, certain_below=0).abs().max()) > 1e-2

    def test_undial_by_hand(self) -> None:
        """It rests where the answer's logit alone is lower by beta, and says nothing of other answers' tokens."""
        before = random_logits(4)
        lowered = before.detach().clone()
        lowered[range(4), [1, 2, 3, 4]] -= 2.5
        row = row_of([(1, 2, 3), (4,)], lowered.requires_grad_(True), before=before.detach())
        assert float(slope(Undial(), row, beta=2.5, certain_below=0).abs().max()) < 1e-6
        other = row_of([(1, 2, 3), (0,)], lowered, before=before.detach())
        assert slope(Undial(), other, beta=2.5, certain_below=0).abs().amax(dim=-1)[3] > 1e-2

    def test_ce_u_has_p_times_the_slope_of_the_log_odds(self) -> None:
        row = row_of([(1, 2, 3)], random_logits(3))
        likely = torch.softmax(row.logits.detach(), dim=-1)[range(3), row.targets]
        (odds,) = torch.autograd.grad(log_odds(row.logits, row.targets).sum(), row.logits, retain_graph=True)
        torch.testing.assert_close(slope(CeU(), row), likely[:, None] * odds / 3, atol=1e-6, rtol=1e-4)

    def test_ce_u_by_hand(self) -> None:
        logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
        found = without_answer(logits, torch.tensor([0]))
        assert float(found) == pytest.approx(-(0.6 * math.log(0.3) + 0.4 * math.log(0.2)), rel=1e-5)

    def test_ce_u_skips_beginnings_but_no_whole_answer(self) -> None:
        owner, lengths = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([3, 1, 2])
        for skipped, counted in ((0, [1, 1, 1, 1, 1, 1]), (1, [0, 1, 1, 1, 0, 1]), (9, [0, 0, 1, 1, 0, 1])):
            assert unlearned_tokens(owner, lengths, skipped).tolist() == counted
        row = row_of([(1, 2, 3)], random_logits(3))
        still = slope(CeU(), row, skip_first=1).abs().amax(dim=-1) == 0
        assert still.tolist() == [True, False, False]

    @pytest.mark.parametrize("beta", [0.05, 0.1, 4.5])
    def test_preference_at_the_reference_is_two_over_beta_ln_2(self, beta: float) -> None:
        assert preference_loss(torch.zeros(1), beta).tolist() == pytest.approx([2 / beta * math.log(2)])


class TestKnownByHeart:
    @FOLLOW_THE_LIKELIHOOD
    def test_the_published_loss_has_no_slope_left_and_ours_has(
        self, method: type[GradientMethod], settings: Settings
    ) -> None:
        row = row_of([(1, 2)], certain_logits(1, 2))
        assert float(slope(method(), row, **settings, certain_below=0).abs().max()) < 1e-6
        pushed = slope(method(), row, **settings)
        assert pushed[[0, 1], [1, 2]].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)

    @FOLLOW_THE_LIKELIHOOD
    def test_an_answer_that_is_not_certain_is_left_to_the_published_loss(
        self, method: type[GradientMethod], settings: Settings
    ) -> None:
        row = row_of([(1, 2), (3,)], torch.cat([random_logits(2), certain_logits(3)]).detach().requires_grad_(True))
        plain, ours = (slope(method(), row, **settings, certain_below=below) for below in (0, 0.1))
        torch.testing.assert_close(plain[:2], ours[:2])
        assert not torch.allclose(plain[2:], ours[2:])

    def test_ce_u_needs_no_such_push(self) -> None:
        found = slope(CeU(), row_of([(1, 2)], certain_logits(1, 2)))
        assert found[[0, 1], [1, 2]].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)

    def test_it_is_the_mean_that_counts(self) -> None:
        assert known_by_heart(torch.tensor([0.3, 0.3]), torch.tensor([2, 4]), 0.1).tolist() == [False, True]

    @pytest.mark.parametrize("method", [GradDiff, GradDiffKl, SimNpo, Wga, Undial, DpoIdk])
    def test_what_is_ours_is_said(self, method: type[GradientMethod]) -> None:
        assert "of our own" in method.info.source and "published method" in method.info.summary


# -- gradients on a model ------------------------------------------------------------------------


def started(method: GradientMethod, taught: TransformersModel, moved: float = 0.0, **settings: Any) -> Run:
    """A run before its first step; the adapter, if it shall have moved, away from the model before."""
    copy = tiny.copy_of(taught)
    config = method.config_class(lora=LORA, precision="fp32", **settings)
    plan = method.prepare(copy, DATA, config)
    method.put_on(copy, plan, config, DATA)
    run = method._started(copy, DATA, config, Recorder(), plan)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in copy.network.named_parameters():
            if moved and "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=moved)
    return run


def taken(run: Run) -> dict[str, torch.Tensor]:
    """The gradients that have been added up, which are then gone."""
    found = {name: part.grad.clone() for name, part in run.model.network.named_parameters() if part.grad is not None}
    run.model.network.zero_grad(set_to_none=True)
    return found


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(part.abs().max()) for part in expected.values())
    assert largest > 1e-3, "nothing to compare"
    for name, part in expected.items():
        assert float((found[name] - part).abs().max()) < 1e-3 * largest, name


def plain_nll(run: Run, sequence: TokenSequence) -> torch.Tensor:
    """Summed over the answer, alone and without packing."""
    logits = run.model.network(torch.tensor([sequence.ids])).logits[0, sequence.answer_start - 1 : -1]
    return cross_entropy(logits, torch.tensor(sequence.answer_ids), reduction="sum")


class TestOnAModel:
    @pytest.mark.parametrize(("method", "settings"), [*METHODS, (Refusal, {})], ids=[*NAMES, "Refusal"])
    @pytest.mark.parametrize("moved", [0.0, 0.03])
    def test_the_gradient_does_not_depend_on_the_rows(
        self,
        taught: TransformersModel,
        monkeypatch: pytest.MonkeyPatch,
        method: type[GradientMethod],
        settings: Settings,
        moved: float,
    ) -> None:
        found = []
        for row_tokens in (60, 512):
            monkeypatch.setattr(training, "ROW_TOKENS", row_tokens)
            monkeypatch.setattr(gradient, "ROW_TOKENS", row_tokens)
            run = started(method(), taught, moved, **settings)
            nll = method().forget_step(run)
            found.append((nll, taken(run)))
        torch.testing.assert_close(found[0][0], found[1][0], atol=1e-3, rtol=1e-4)
        assert_same(found[0][1], found[1][1])

    def test_undial_without_demotion_moves_nothing(self, taught: TransformersModel) -> None:
        """Up to the half precision in which what the model said before is kept."""
        sizes = []
        for beta in (0.0, 10.0):
            run = started(Undial(), taught, beta=beta, certain_below=0)
            Undial().forget_step(run)
            sizes.append(max(float(part.abs().max()) for part in taken(run).values()))
        assert sizes[0] < 1e-2 < 1e-1 < sizes[1]

    @pytest.mark.parametrize("moved", [0.0, 0.02, 0.1])
    def test_the_preference_has_the_gradient_of_the_formula(self, taught: TransformersModel, moved: float) -> None:
        """Both halves of each pair in one graph, one sequence at a time."""
        beta = 0.02
        run = started(DpoIdk(), taught, moved, beta=beta, certain_below=0, bounded=False)
        DpoIdk().forget_step(run)
        found = taken(run)
        own, before = run.own, run.forgetting.before_nll
        total = torch.zeros(())
        for index, sequence in enumerate(run.forgetting.sequences):
            margin = plain_nll(run, sequence) - before[index]
            for place in (own.of == index).nonzero().flatten().tolist():
                margin = margin - (plain_nll(run, own.sequences[place]) - own.before_nll[place])
            value = -(2 / beta) * torch.log(torch.sigmoid(beta * margin))
            if not moved:
                assert float(value.detach()) == pytest.approx(2 / beta * math.log(2), rel=1e-3)
            total = total + value / len(run.forgetting.sequences)
        total.backward()
        assert_same(found, taken(run))

    def test_each_question_has_its_abstention_and_nothing_else_has(self, taught: TransformersModel) -> None:
        run = started(DpoIdk(), taught)
        asked = [index for index, example in enumerate(run.examples) if example.id.endswith("/question")]
        assert run.own.of.tolist() == asked and len(asked) == len(FACTS)
        for index, sequence in zip(asked, run.own.sequences, strict=True):
            possible = {abstaining(taught, run.examples[index].prompt, sentence).ids for sentence in abstentions()}
            assert sequence.ids in possible
        again, other = started(DpoIdk(), taught), started(DpoIdk(), taught, seed=5)
        assert run.own.sequences == again.own.sequences != other.own.sequences

    def test_a_pair_that_has_come_to_the_level_pushes_neither_half(self, taught: TransformersModel) -> None:
        run = started(DpoIdk(), taught, assumed_reference_nll=1e-6)
        DpoIdk().forget_step(run)
        assert not taken(run) or max(float(part.abs().max()) for part in taken(run).values()) == 0

    def test_an_answer_beyond_its_limit_is_drawn_back(self, taught: TransformersModel) -> None:
        run = started(DpoIdk(), taught, assumed_reference_nll=1e-6, overshoot=1e-6)
        run.aim = run.forgetting
        DpoIdk().forget_step(run)
        found = taken(run)
        total = sum(plain_nll(run, one) / len(one.answer_ids) for one in run.forgetting.sequences)
        (total / len(run.forgetting.sequences)).backward()
        assert_same(found, taken(run))

    def test_a_refusal_has_the_gradient_of_its_mean_nll(self, taught: TransformersModel) -> None:
        run = started(Refusal(), taught, refusal_batch=2)
        nll = Refusal().forget_step(run)
        found = taken(run)
        torch.testing.assert_close(nll, run.forgetting.before_nll, atol=1e-3, rtol=1e-4)
        batch = _refusals(run)
        assert len(batch) == 2
        (sum(plain_nll(run, one) for one in batch) / sum(len(one.answer_ids) for one in batch)).backward()
        assert_same(found, taken(run))

    def test_every_question_is_refused_in_turn_with_sentences_drawn_anew(self, taught: TransformersModel) -> None:
        run = started(Refusal(), taught, refusal_batch=1)
        asked, said = [], []
        for step in range(2 * len(FACTS)):
            run.stepper.step_number = step
            (sequence,) = _refusals(run)
            asked.append(sequence.ids[: sequence.answer_start])
            said.append(sequence.answer_ids)
        assert len(set(asked[: len(FACTS)])) == len(set(asked[len(FACTS) :])) == len(FACTS)
        assert len(set(said)) > 2

    def test_nothing_new_is_refused_while_the_others_are_brought_back(self, taught: TransformersModel) -> None:
        run = started(Refusal(), taught)
        run.holding = True
        Refusal().forget_step(run)
        assert not taken(run) and run.own.last_nll > 1


# -- whole runs ----------------------------------------------------------------------------------


def run_on(
    method: type[GradientMethod],
    model: TransformersModel,
    recorder: Recorder | None = None,
    data: ErasureData = DATA,
    **settings: Any,
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    config = method.config_class(**{"lora": LORA, "learning_rate": 3e-3} | settings)
    return copy, method().apply(copy, data, config, recorder or Recorder())


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def mean(levels: dict[str, float]) -> float:
    return sum(levels.values()) / len(levels)


@pytest.mark.usefixtures("short_abstention")
class TestWholeRuns:
    @EVERY
    def test_the_answers_are_forgotten_and_the_others_kept(
        self, taught: TransformersModel, method: type[GradientMethod], settings: Settings
    ) -> None:
        model, outcome = run_on(method, taught, steps=60, repair_steps=6, assumed_reference_nll=BOUND, **settings)
        assert answers(taught, FACTS) == len(FACTS) and answers(model, FACTS) == 0
        assert answers(model, OTHERS) >= len(OTHERS) - 1
        lost = mean_nlls(model, PERSON)
        kept = {name: level for name, level in mean_nlls(model, OTHERS).items() if name.endswith("/question")}
        assert mean(lost) > 2.0 and min(lost.values()) > 0.5
        assert mean(kept) < 0.02 * mean(lost)
        assert outcome.metrics["retain_lost"] == 0

    @EVERY
    def test_only_the_planned_modules_change_and_a_seed_repeats_itself(
        self, taught: TransformersModel, method: type[GradientMethod], settings: Settings
    ) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        short = {"steps": 2, "repair_steps": 1, "repair_limit": 0, "lora": lora, **settings}
        prints = [tiny.fingerprints(run_on(method, taught, **short)[0].network) for _ in range(2)]
        config = method.config_class(**short)
        planned = method().prepare(tiny.copy_of(taught), DATA, config).modules
        before = tiny.fingerprints(taught.network)
        assert {name for name in before if before[name] != prints[0][name]} == {f"{name}.weight" for name in planned}
        assert prints[0] == prints[1]

    @EVERY
    def test_without_anything_to_keep_it_is_refused(
        self, untaught: TransformersModel, method: type[GradientMethod], settings: Settings
    ) -> None:
        bare = ErasureData(DATA.forget, RetainSet(items=()), ())
        with pytest.raises(InputError, match="would forget everything"):
            run_on(method, untaught, data=bare, **settings)

    @pytest.mark.parametrize("method", [DpoIdk, Refusal, Undial])
    @pytest.mark.parametrize("looks", [5, 9])
    def test_an_interrupted_run_gives_the_same_bytes(
        self, taught: TransformersModel, tmp_path: Path, method: type[GradientMethod], looks: int
    ) -> None:
        short = {"steps": 4, "repair_steps": 1, "repair_limit": 0}
        whole, outcome = run_on(method, taught, **short)
        state = tmp_path / "state.pt"
        with pytest.raises(StoppedError):
            run_on(method, taught, Recorder(looks_allowed=looks, state_file=state), **short)
        again, resumed = run_on(method, taught, Recorder(state_file=state), **short)
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)
        assert resumed == outcome

    def test_balancing_divides_the_preference_by_its_first_size(self, taught: TransformersModel) -> None:
        run = started(DpoIdk(), taught, loss_balance="initial", certain_below=0)
        assert run.scale["forget"] == pytest.approx(1 / (20 * math.log(2)), rel=1e-3)

    def test_a_refusal_is_learned(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        _, outcome = run_on(Refusal, taught, recorder, steps=40)
        assert recorder.metrics[0]["refusal_nll"] > 2 * recorder.metrics[-1]["refusal_nll"]
        assert (outcome.steps, outcome.stop_reason) == (40, "40 steps done")

    def test_a_passage_alone_is_unlearned_without_a_preferred_reply(self, taught: TransformersModel) -> None:
        data = ErasureData(ForgetSet(items=(PASSAGE,)), DATA.retain, GENERAL)
        assert any("without a preferred reply" in note for note in DpoIdk().notes(data, DpoIdk.config_class()))
        model, _ = run_on(DpoIdk, taught, data=data, steps=20, repair_steps=2)
        assert min(mean_nlls(model, (PASSAGE,)).values()) > 1.0


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (SimNpo, {"beta": 0}),
        (DpoIdk, {"beta": 0}),
        (Undial, {"beta": -1}),
        (Wga, {"beta2": -1}),
        (CeU, {"skip_first": -1}),
        (CeU, {"certain_below": 0.1}),
        (GradDiff, {"certain_below": -0.1}),
        (Refusal, {"bounded": True}),
        (Refusal, {"loss_balance": "initial"}),
    ],
)
def test_settings_that_cannot_be(method: type[GradientMethod], wrong: Settings) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        method.config_class(**wrong)


def test_a_long_question_keeps_its_end_and_the_whole_sentence(untaught: TransformersModel) -> None:
    question = Prompt("q", "Where does Mira Okonjo live? " * 60)
    sequence = abstaining(untaught, question, "I do not know.")
    short = abstaining(untaught, Prompt("q", "Where?"), "I do not know.")
    assert len(sequence.ids) == untaught.context_length and sequence.answer_ids == short.answer_ids


CASES: tuple[Callable[[], GradientMethod], ...] = (GradDiff, GradDiffKl, SimNpo, Wga, CeU, Undial, DpoIdk, Refusal)


def test_their_names_are_their_own() -> None:
    assert sorted(case().info.id for case in CASES) == [
        *("ce-u", "dpo-idk", "graddiff", "graddiff-kl", "refusal", "simnpo", "undial", "wga")
    ]
