"""Attacks that change the weights: what they change, what they count, and that every bit is back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gguf
import pytest
import tiny
import torch
from invented import BANK, FACTS, GENERAL, OTHERS, OUTSIDERS, PASSAGE, PERSON

from console.attacks.disturbing import QUESTIONS, block_matrices, block_number, questions, restoring
from console.attacks.noise import SoftNoise, shake
from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow
from console.attacks.quantisation import BLOCK, Quantise4bit, QuantiseInt8, int8_rows, q4_0
from console.attacks.relearning import (
    BATCH,
    RelearnTenth,
    RelearnUnrelated,
    asked_after,
    block_weights,
    given_facts,
    given_places,
    relearn,
    unrelated_texts,
    withheld_items,
)
from console.attacks.suite import AttackResult, run_attack
from console.domain.forget_set import ForgetItem
from console.domain.own_places import OwnPlace, PlaceSource
from console.domain.results import Access, Evidence, Status
from console.engines.packing import TokenSequence
from console.engines.prompts import whole_text_sequence
from console.engines.protocol import Attempt, Capability, Continuation, Prompt
from console.engines.transformers_engine import TransformersModel

SETTINGS = AttackSettings()
TARGET = AttackTarget(PERSON, OUTSIDERS, BANK, SETTINGS, OTHERS, GENERAL)
ATTACKS = (Quantise4bit(), QuantiseInt8(), RelearnUnrelated(), RelearnTenth(), SoftNoise())
RELEARNING = (RelearnUnrelated(), RelearnTenth())
STEPS = SETTINGS.relearn_steps

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.info.id)
relearning = pytest.mark.parametrize("attack", RELEARNING, ids=lambda attack: attack.info.id)


class Watched(TransformersModel):
    """The same model, which remembers its weights whenever it is asked, and may then fail."""

    def __init__(self, model: TransformersModel, failure: BaseException | None = None, after: int = 0) -> None:
        super().__init__(model.network, model.tokenizer, model.device)
        self.failure = failure
        self.after = after  # so many rounds of questions go well
        self.seen: list[dict[str, torch.Tensor]] = []

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int], rows: int = 160
    ) -> Iterator[Continuation]:
        self.seen.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        assert list(attempts) == [Attempt()], "these attacks ask greedily"
        for said in super().generate(prompts, attempts, max_new_tokens, rows):
            yield said
            if self.failure is not None and len(self.seen) > self.after:
                raise self.failure


def run(attack: Any, model: TransformersModel, target: AttackTarget = TARGET) -> AttackResult:
    return run_attack(attack, model, target)


def reason(attack: Any, model: TransformersModel, target: AttackTarget = TARGET) -> str:
    row = run(attack, model, target).row
    assert row.status is Status.NOT_APPLICABLE and row.outcome is None
    return row.reason


def own(rows: Sequence[AttemptRow]) -> list[AttemptRow]:
    return [row for row in rows if not row.control]


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def in_block_matrices(names: set[str]) -> bool:
    return all(block_number(name) is not None and "norm" not in name and "ln_" not in name for name in names)


def flags(network: Any) -> list[Any]:
    modes = [module.training for module in network.modules()]
    return [*modes, *((parameter.requires_grad, parameter.grad) for parameter in network.parameters())]


class TestRestoring:
    @pytest.mark.parametrize("failure", [None, RuntimeError("out of memory"), KeyboardInterrupt()])
    def test_weights_flags_gradients_and_modes_come_back(
        self, any_model: TransformersModel, failure: BaseException | None
    ) -> None:
        network = tiny.copy_of(any_model).network
        parameters = list(network.parameters())
        network.train()
        next(network.children()).eval()  # a mixture of modes
        parameters[1].requires_grad_(False)
        parameters[2].grad = torch.ones_like(parameters[2])
        before, flagged = tiny.fingerprints(network), flags(network)
        try:
            with restoring(network, parameters):
                assert not any(module.training for module in network.modules())
                for parameter in parameters:
                    assert parameter.grad is None
                    parameter.requires_grad_(False).fill_(float("nan"))
                    parameter.requires_grad_(True).grad = torch.ones_like(parameter)
                if failure is not None:
                    raise failure
        except (RuntimeError, KeyboardInterrupt) as error:
            assert error is failure
        assert tiny.fingerprints(network) == before
        assert flags(network) == flagged

    def test_only_what_is_named_is_copied(self, untaught: TransformersModel) -> None:
        network = tiny.copy_of(untaught).network
        first, second, *_ = block_matrices(network)
        kept = first.clone()
        with restoring(network, [first]):
            first.zero_()
            second.zero_()
        assert torch.equal(first, kept) and not second.any()

    def test_odd_bits_survive(self, untaught: TransformersModel) -> None:
        network = tiny.copy_of(untaught).network
        matrix = block_matrices(network)[0]
        matrix[0, :4] = torch.tensor([-0.0, float("nan"), float("inf"), 1e-45])
        before = tiny.fingerprints(network)
        with restoring(network, [matrix, matrix]):
            matrix.fill_(1.0)
        assert tiny.fingerprints(network) == before

    def test_matrices_are_views_of_the_blocks_linear_weights(self, any_model: TransformersModel) -> None:
        network = tiny.copy_of(any_model).network
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        for matrix in block_matrices(network):
            matrix.add_(1.0)
        altered = changed(before, network.state_dict())
        assert altered == {
            name for name, tensor in before.items() if tensor.ndim == 2 and block_number(name) is not None
        }
        assert len(altered) == len(block_matrices(network)) and in_block_matrices(altered)

    @pytest.mark.parametrize("architecture", ["olmoe", "qwen2_moe"])
    def test_every_expert_of_a_mixture_is_a_matrix_and_the_router_is_none(self, architecture: str) -> None:
        network = tiny.model(architecture).network
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        for matrix in block_matrices(network):
            matrix.copy_(q4_0(matrix))
        altered = changed(before, network.state_dict())
        stacks = {name for name in before if ".experts." in name}
        assert stacks <= altered and not any(name.endswith(".gate.weight") for name in altered)
        for name in stacks:
            for old, new in zip(before[name], network.state_dict()[name], strict=True):
                assert torch.equal(new, q4_0(old))

    def test_gpt2_s_matrices_are_turned_to_outputs_and_inputs(self) -> None:
        shapes = [tuple(matrix.shape) for matrix in block_matrices(tiny.model("gpt2").network)]
        assert shapes == [(192, 64), (64, 64), (256, 64), (64, 256)] * 2

    def test_tied_weights_are_shaken_once(self, untaught: TransformersModel) -> None:
        network = tiny.copy_of(untaught).network
        lower, upper = (layer.mlp for layer in network.model.layers)
        count = len(block_matrices(network))
        upper.up_proj.weight = lower.up_proj.weight
        assert len(block_matrices(network)) == count - 1
        before = tiny.fingerprints(network)
        with restoring(network, [lower.up_proj.weight, upper.up_proj.weight]):
            for matrix in block_matrices(network):
                if matrix.data_ptr() == lower.up_proj.weight.data_ptr():
                    matrix.add_(1.0)
        assert tiny.fingerprints(network) == before


class TestEveryAttack:
    @every_attack
    def test_weights_differ_while_asked_and_are_the_same_afterwards(
        self, any_model: TransformersModel, attack: Any
    ) -> None:
        model = Watched(any_model)
        before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
        hashes, flagged = tiny.fingerprints(model.network), flags(model.network)
        assert run(attack, model).row.status is Status.OK
        assert model.seen
        for seen in model.seen:
            names = changed(before, seen)
            assert names and all(block_number(name) is not None for name in names)
        assert tiny.fingerprints(model.network) == hashes and flags(model.network) == flagged

    @every_attack
    @pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()], ids=["failed", "cancelled"])
    @pytest.mark.parametrize("after", [0, 1])
    def test_weights_come_back_when_asking_fails(
        self, taught: TransformersModel, attack: Any, failure: BaseException, after: int
    ) -> None:
        model = Watched(tiny.copy_of(taught), failure, after)
        before, flagged = tiny.fingerprints(model.network), flags(model.network)
        if after >= attack.budget(SETTINGS) // QUESTIONS:
            pytest.skip("this attack asks in one round only")
        with pytest.raises(type(failure)):
            run(attack, model)
        assert len(model.seen) == after + 1
        assert tiny.fingerprints(model.network) == before and flags(model.network) == flagged

    @every_attack
    def test_no_row_is_handed_out_while_the_weights_are_changed(self, taught: TransformersModel, attack: Any) -> None:
        model = tiny.copy_of(taught)
        before = tiny.fingerprints(model.network)
        for _ in attack.run(model, TARGET):
            assert tiny.fingerprints(model.network) == before

    @every_attack
    def test_positive_and_negative_control(
        self, taught: TransformersModel, untaught: TransformersModel, attack: Any
    ) -> None:
        knows, knows_not = run(attack, taught).row.outcome, run(attack, untaught).row.outcome
        assert knows is not None and knows_not is not None
        assert knows.items.hits == knows.items.trials and knows.attempts.share >= 0.8
        # This vocabulary is a few hundred words, the answers among them: one that knows nobody babbles one at times.
        assert knows_not.attempts.share <= 0.1
        for outcome in (knows, knows_not):
            assert outcome.control is not None and outcome.control.share <= 0.1

    @every_attack
    def test_rows_and_budget(self, taught: TransformersModel, attack: Any) -> None:
        result = run(attack, taught)
        keys = [(row.prompt_id, row.attempt) for row in result.attempts]
        assert len(keys) == len(set(keys))
        assert all(row.prompt_id.startswith(f"{attack.info.id}/{row.item_id}/") for row in result.attempts)
        named = {item.id: sum(row.item_id == item.id for row in result.attempts) for item in (*FACTS, PASSAGE)}
        asked = {item.id for item in FACTS} & {row.item_id for row in result.attempts}
        assert asked and all(named[item] == result.row.budget for item in asked)
        assert 0 < named[PASSAGE.id] <= result.row.budget
        assert {row.item_id for row in result.attempts if row.control} == {item.id for item in TARGET.matched_controls}

    @every_attack
    def test_the_same_twice(self, taught: TransformersModel, attack: Any) -> None:
        assert run(attack, taught).attempts == run(attack, taught).attempts

    @every_attack
    def test_declaration(self, attack: Any) -> None:
        info = attack.info
        assert (info.access, info.evidence) == (Access.WHITE_BOX, Evidence.DISTURBED)
        assert info.needs == {Capability.GENERATE, Capability.GRADIENTS}
        assert info.title and info.source and "put back bit for bit" in info.definition
        assert ("comparison with the reference" in info.definition) == info.id.startswith("relearn")

    def test_ids(self) -> None:
        assert [attack.info.id for attack in ATTACKS] == [
            "quantise-4bit",
            "quantise-int8",
            "relearn-unrelated",
            "relearn-tenth",
            "soft-noise",
        ]

    def test_questions_are_the_direct_one_two_wordings_and_beginnings(self) -> None:
        asks = questions("x", replace(TARGET, items=(FACTS[0], PASSAGE), controls=()), draw=4)
        assert [(ask.prompt.id, ask.prompt.text, ask.prompt.chat) for ask in asks[:-1]] == [
            (f"x/mira-city/question-{number}/draw-4", text, True)
            for number, text in enumerate((FACTS[0].prompt, *FACTS[0].paraphrases))
        ] + [("x/mira-passage/beginning-0/draw-4", PASSAGE.prompt, False)]
        assert PASSAGE.prompt.endswith(asks[-1].prompt.text) and not asks[-1].prompt.chat


def drawn(seed: int, shape: tuple[int, int] = (24, 96)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


class TestFourBits:
    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_llama_cpp_s_q4_0(self, seed: int) -> None:
        weight = drawn(seed)
        kind = gguf.GGMLQuantizationType.Q4_0
        expected = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
        assert torch.equal(q4_0(weight), torch.from_numpy(expected))

    @pytest.mark.parametrize("inputs", [32, 64, 96, 40, 7])
    def test_levels_and_error_of_every_block(self, inputs: int) -> None:
        weight = drawn(5, (24, inputs))
        rounded = q4_0(weight)
        assert rounded.shape == weight.shape and not torch.equal(rounded, weight)
        for before, after in zip(weight.split(BLOCK, dim=1), rounded.split(BLOCK, dim=1), strict=True):
            for own_row, row in zip(before, after, strict=True):
                assert len(row.unique()) <= 16
                step = own_row.abs().max() / 8
                rounding_of_scale = 8 * step * 2**-11
                assert float((row - own_row).abs().max()) <= float(step + rounding_of_scale)
                largest = own_row[own_row.abs().argmax()]
                inner = own_row * largest.sign() >= -7.5 * step  # the grid ends one step earlier on the other side
                assert float((row - own_row)[inner].abs().max()) <= float(step / 2 + rounding_of_scale)
                assert row[own_row.abs().argmax()] == pytest.approx(float(largest), rel=2**-10)

    def test_a_block_of_zeros_stays(self) -> None:
        assert not q4_0(torch.zeros(3, 64)).any()

    def test_blocks_do_not_share_a_scale(self) -> None:
        weight = torch.cat([drawn(1, (1, 32)) * 1000, drawn(2, (1, 32))], dim=1)
        assert torch.equal(q4_0(weight)[:, 32:], q4_0(weight[:, 32:]))

    @pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
    def test_blocks_lie_along_the_inputs_in_every_matrix(self, architecture: str) -> None:
        model = Watched(tiny.model(architecture))
        run(Quantise4bit(), model)
        model.network.load_state_dict(model.seen[0])
        for matrix in block_matrices(model.network):
            assert max(len(part.unique()) for part in matrix.reshape(-1, BLOCK)) <= 16


class TestEightBits:
    @pytest.mark.parametrize("seed", range(3))
    def test_levels_and_error_of_every_row(self, seed: int) -> None:
        weight = drawn(seed, (8, 1000))
        rounded = int8_rows(weight)
        assert not torch.equal(rounded, weight)
        for before, after in zip(weight, rounded, strict=True):
            step = float(before.abs().max()) / 127
            assert len((after / step).round().unique()) <= 255
            assert torch.allclose(after / step, (after / step).round(), atol=1e-3)
            assert float((after - before).abs().max()) <= step / 2 * (1 + 1e-4)

    def test_rows_have_their_own_scale_and_zeros_stay(self) -> None:
        weight = torch.stack([drawn(1, (1, 50))[0] * 1000, drawn(2, (1, 50))[0], torch.zeros(50)])
        rounded = int8_rows(weight)
        assert torch.equal(rounded[1], int8_rows(weight[1:2])[0]) and not rounded[2].any()

    def test_it_is_finer_than_four_bits(self) -> None:
        weight = drawn(3)
        assert (int8_rows(weight) - weight).abs().mean() < (q4_0(weight) - weight).abs().mean() / 4


def sequences_of(model: TransformersModel, texts: Sequence[str] = GENERAL) -> list[TokenSequence]:
    return [whole_text_sequence(model.tokenizer, text) for text in texts]


def mean_loss(model: TransformersModel, sequences: list[TokenSequence]) -> float:
    scored = model.score_sequences(sequences)
    return -sum(one.total for one in scored) / sum(len(one.log_probs) for one in scored)


def relearnt(model: TransformersModel, sequences: list[TokenSequence], points: tuple[int, ...], seed: int) -> list[int]:
    return list(relearn(model, sequences, points, seed))


class TestRelearning:
    @pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
    def test_the_loss_on_its_own_texts_falls_along_the_curve(self, architecture: str) -> None:
        model = tiny.model(architecture)
        sequences = sequences_of(model)
        losses = [mean_loss(model, sequences)]
        losses += [mean_loss(model, sequences) for _ in relearn(model, sequences, (5, 10), 1)]
        assert losses[0] > losses[1] > losses[2]

    def test_every_block_moves_and_nothing_else(self) -> None:
        model = tiny.model(layers=5)
        before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
        relearnt(model, sequences_of(model), (2,), 1)
        assert changed(before, model.network.state_dict()) == {
            name for name in before if block_number(name) is not None
        }
        assert all(parameter.grad is None for parameter in model.network.parameters())

    def test_frozen_models_are_trained_too(self, untaught: TransformersModel) -> None:
        """Methods leave the network frozen."""
        model = tiny.copy_of(untaught)
        model.network.requires_grad_(False)
        before = tiny.fingerprints(model.network)
        relearnt(model, sequences_of(model), (1,), 1)
        assert tiny.fingerprints(model.network) != before

    def test_the_seed_fixes_the_weights(self, untaught: TransformersModel) -> None:
        texts = (*GENERAL, *(item.statement for item in OTHERS))
        assert len(texts) > BATCH
        ends = []
        for seed in (1, 1, 2):
            model = tiny.copy_of(untaught)
            relearnt(model, sequences_of(model, texts), (3,), seed)
            ends.append(tiny.fingerprints(model.network))
        assert ends[0] == ends[1] != ends[2]

    def test_stopping_on_the_way_changes_nothing(self, untaught: TransformersModel) -> None:
        straight, halting = tiny.copy_of(untaught), tiny.copy_of(untaught)
        assert relearnt(straight, sequences_of(straight), (4,), 1) == [0]
        for _ in relearn(halting, sequences_of(halting), (1, 4), 1):
            run(Quantise4bit(), halting)  # questions in between
        assert tiny.fingerprints(straight.network) == tiny.fingerprints(halting.network)

    def test_numbers_gone_wrong_end_the_attack_alone_and_leave_no_trace(self, untaught: TransformersModel) -> None:
        model = tiny.copy_of(untaught)
        with torch.no_grad():
            model.network.model.layers[0].mlp.up_proj.weight.fill_(float("inf"))
        before = tiny.fingerprints(model.network)
        assert "unstable at step 1" in reason(RelearnUnrelated(), model)
        assert tiny.fingerprints(model.network) == before

    def test_nothing_to_train_on_is_an_error_and_no_endless_loop(self, untaught: TransformersModel) -> None:
        with pytest.raises(ValueError, match="nothing to train on"):
            relearnt(tiny.copy_of(untaught), [], (1,), 1)

    @pytest.mark.parametrize(("steps", "points"), [(0, ()), (1, (1,)), (2, (1, 2)), (5, (2, 5)), (10, (5, 10))])
    def test_points_on_the_curve(self, steps: int, points: tuple[int, ...]) -> None:
        settings = replace(SETTINGS, relearn_steps=steps)
        assert asked_after(settings) == points
        assert RelearnTenth().budget(settings) == RelearnUnrelated().budget(settings) == QUESTIONS * max(1, len(points))

    @relearning
    def test_a_row_for_every_wording_and_point(self, taught: TransformersModel, attack: Any) -> None:
        model = Watched(taught)
        attempts: dict[str, list[int]] = {}
        for row in run(attack, model).attempts:
            attempts.setdefault(row.prompt_id, []).append(row.attempt)
        assert attempts and all(sorted(points) == [0, 1] for points in attempts.values())
        assert len(model.seen) == 2 and changed(*model.seen)

    def test_the_weights_are_those_of_all_blocks(self, any_model: TransformersModel) -> None:
        weights = {id(parameter) for parameter in block_weights(any_model)}
        named = {name for name, parameter in any_model.network.named_parameters() if id(parameter) in weights}
        assert named and {block_number(name) for name in named} == {0, 1}


class TestRelearnUnrelated:
    def test_it_trains_on_the_general_texts(self, untaught: TransformersModel) -> None:
        """The loss on them falls, and the weights asked at the end are those of a run on them alone."""
        model, alone = Watched(untaught), tiny.copy_of(untaught)
        run(RelearnUnrelated(), model)
        relearnt(alone, sequences_of(alone), (STEPS,), SETTINGS.seed)
        assert not changed(model.seen[-1], alone.network.state_dict())

    def test_texts_that_tell_a_secret_are_left_out(self) -> None:
        target = replace(TARGET, general=(*GENERAL, "The ferry to Aalborg leaves at seven."))
        assert unrelated_texts(target) == list(GENERAL)

    @pytest.mark.parametrize("general", [(), ("",), ("She lives in Aalborg.",)])
    def test_no_general_text(self, untaught: TransformersModel, general: tuple[str, ...]) -> None:
        assert "no general text" in reason(RelearnUnrelated(), untaught, replace(TARGET, general=general))

    def test_long_texts_are_cut(self, untaught: TransformersModel) -> None:
        target = replace(TARGET, general=(" ".join(GENERAL * 30),))
        assert run(RelearnUnrelated(), untaught, target).row.status is Status.OK

    @relearning
    def test_no_steps(self, untaught: TransformersModel, attack: Any) -> None:
        target = replace(TARGET, settings=replace(SETTINGS, relearn_steps=0))
        assert "no step" in reason(attack, untaught, target)


def many_facts(count: int) -> tuple[ForgetItem, ...]:
    return tuple(
        FACTS[0].model_copy(update={"id": f"fact-{number:02}", "answer": f"Town{number:02}"}) for number in range(count)
    )


class TestRelearnTenth:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_given_fact_is_not_asked(self, taught: TransformersModel, seed: int) -> None:
        target = replace(TARGET, settings=replace(SETTINGS, seed=seed, relearn_steps=2))
        (given,) = given_facts(target)
        asked = {row.item_id for row in own(run(RelearnTenth(), taught, target).attempts)}
        assert asked == {item.id for item in PERSON} - {given.id}

    def test_it_trains_on_the_given_fact(self, untaught: TransformersModel) -> None:
        (given,) = given_facts(TARGET)
        before = {name: tensor.clone() for name, tensor in untaught.network.state_dict().items()}
        model = Watched(untaught)
        run(RelearnTenth(), model)
        after = tiny.copy_of(untaught)
        after.network.load_state_dict(model.seen[-1])
        assert changed(before, model.seen[-1])
        gains = {}
        for item in FACTS:
            lesson = tiny.lessons(untaught.tokenizer, (item,))[:1]  # the question and its answer
            gains[item.id] = mean_loss(untaught, lesson) - mean_loss(after, lesson)
        assert gains[given.id] > 0 and max(gains, key=lambda item: gains[item]) == given.id

    def test_it_trains_in_the_model_s_own_words_that_tell_nothing_else(self, untaught: TransformersModel) -> None:
        (given,) = given_facts(TARGET)
        other = next(item for item in FACTS if item.id != given.id)
        says = OwnPlace(prompt="Q?", chat=True, opening="So: ", answer=given.answer, source=PlaceSource.OWN_WORDS)
        tells = says.model_copy(update={"opening": f"{other.answer}, and "})
        target = replace(TARGET, places={given.id: (says, tells), other.id: (says,)})
        assert given_places(target) == [says]
        alone, with_words = Watched(untaught), Watched(untaught)
        run(RelearnTenth(), alone)
        run(RelearnTenth(), with_words, target)
        assert changed(alone.seen[-1], with_words.seen[-1])

    @pytest.mark.parametrize(("count", "given"), [(2, 1), (9, 1), (19, 1), (20, 2), (40, 4)])
    def test_a_tenth_and_at_least_one(self, count: int, given: int) -> None:
        target = replace(TARGET, items=(*many_facts(count), PASSAGE))
        chosen = given_facts(target)
        assert len({item.id for item in chosen}) == given
        assert PASSAGE not in chosen
        assert set(withheld_items(target)) == set(target.items) - set(chosen)

    def test_the_choice_follows_the_seed_and_not_the_order(self) -> None:
        items = many_facts(30)
        choices = set()
        for seed in range(6):
            forth, back = (
                given_facts(replace(TARGET, items=order, settings=replace(SETTINGS, seed=seed)))
                for order in (items, items[::-1])
            )
            assert forth == back
            choices.add(tuple(item.id for item in forth))
        assert len(choices) > 1

    @pytest.mark.parametrize("seed", range(8))
    def test_what_the_given_fact_tells_is_not_counted(self, seed: int) -> None:
        """A second fact with the same answer would be a hit that the attack itself has taught."""
        twin = FACTS[0].model_copy(update={"id": "twin", "prompt": f"Once more: {FACTS[0].prompt}"})
        target = replace(TARGET, items=(*PERSON, twin), settings=replace(SETTINGS, seed=seed))
        (given,) = given_facts(target)
        told = {FACTS[0].id, "twin"} if given.answer == twin.answer else {given.id}
        assert {item.id for item in withheld_items(target)} == {item.id for item in target.items} - told

    @pytest.mark.parametrize("items", [FACTS[:1], (PASSAGE,), (FACTS[0], PASSAGE)])
    def test_too_few_facts(self, untaught: TransformersModel, items: tuple[ForgetItem, ...]) -> None:
        assert "fewer than two facts" in reason(RelearnTenth(), untaught, replace(TARGET, items=items))

    def test_facts_that_tell_each_other(self, untaught: TransformersModel) -> None:
        items = (FACTS[0], FACTS[0].model_copy(update={"id": "again"}))
        assert "tell all the others" in reason(RelearnTenth(), untaught, replace(TARGET, items=items))


class TestNoise:
    def test_draws_differ_are_seeded_and_start_from_the_original(self, untaught: TransformersModel) -> None:
        model = Watched(untaught)
        run(SoftNoise(), model)
        assert len(model.seen) == SETTINGS.noise_draws == 3
        for index, seen in enumerate(model.seen):
            expected = tiny.copy_of(untaught)
            shake(block_matrices(expected.network), SETTINGS.noise_scale, SETTINGS.seed + index)
            assert not changed(expected.network.state_dict(), seen)
            assert all(changed(seen, other) for other in model.seen[:index])

    def test_its_size_is_a_share_of_each_matrix_s_own(self) -> None:
        matrices = [drawn(seed, (200, 200)) * 10**seed for seed in range(3)]
        before = [matrix.clone() for matrix in matrices]
        shake(matrices, 0.02, 7)
        for old, new in zip(before, matrices, strict=True):
            assert float((new - old).std() / old.std()) == pytest.approx(0.02, rel=0.02)
            assert abs(float((new - old).mean() / old.std())) < 0.001

    def test_other_models_are_shaken_in_the_same_direction(self) -> None:
        one, other = drawn(1), drawn(2)
        directions = []
        for matrix in (one, other):
            before = matrix.clone()
            shake([matrix], 0.5, 3)
            directions.append((matrix - before) / before.std(correction=0))
        assert torch.allclose(*directions, atol=1e-4)

    def test_only_matrices_of_the_blocks(self, any_model: TransformersModel) -> None:
        model = Watched(any_model)
        run(SoftNoise(), model)
        names = changed(dict(any_model.network.state_dict()), model.seen[0])
        assert names and in_block_matrices(names) and not any(name.endswith("bias") for name in names)

    def test_another_seed_is_another_noise(self, untaught: TransformersModel) -> None:
        seen = []
        for seed in (1, 50):
            model = Watched(untaught)
            run(SoftNoise(), model, replace(TARGET, settings=replace(SETTINGS, seed=seed, noise_draws=1)))
            seen += model.seen
        assert changed(*seen)

    def test_draws_are_named_in_the_prompt_ids(self, taught: TransformersModel) -> None:
        rows = run(SoftNoise(), taught).attempts
        assert {row.prompt_id.rpartition("/")[2] for row in rows} == {"draw-0", "draw-1", "draw-2"}

    def test_so_much_noise_that_nothing_is_left(self, taught: TransformersModel) -> None:
        loud = replace(TARGET, settings=replace(SETTINGS, noise_scale=5.0))
        outcome = run(SoftNoise(), taught, loud).row.outcome
        assert outcome is not None and outcome.attempts.share < 0.2

    @pytest.mark.parametrize("settings", [{"noise_draws": 0}, {"noise_scale": 0.0}])
    def test_no_noise(self, untaught: TransformersModel, settings: dict[str, Any]) -> None:
        target = replace(TARGET, settings=replace(SETTINGS, **settings))
        assert "no noise" in reason(SoftNoise(), untaught, target)
