"""The editors: what they may touch, where they take hold, and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PASSAGE, SUBJECT
from tiny import Recorder, StoppedError
from transformers import MixtralConfig, MixtralForCausalLM

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import TokenSequence
from console.engines.prompts import Written, answer_sequence
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.alphaedit import AlphaEdit, confined, null_spaces
from console.methods.edit_sites import (
    Context,
    DownProjection,
    down_projections,
    edit_rows,
    edited_token,
    read_at,
    run_row,
    values_changed,
)
from console.methods.editing import ValueSearch, ValueSettings, edit_request, kept_positions, lens_indices
from console.methods.editing_objectives import Objective
from console.methods.ft_m import FtM
from console.methods.key_statistics import KeySettings, second_moments, solve
from console.methods.memit import Memit, least_squares
from console.methods.protocol import Claim, ErasureData, Outcome
from console.methods.rome import Rome, rank_one

EDITORS = (Rome, Memit, AlphaEdit, FtM)
LOCATING = (Rome, Memit, AlphaEdit)
SHORT = {"prefixes": ("Thank you. ",), "norm_limit": 50.0}
QUICK: dict[Any, dict[str, Any]] = {
    Rome: {**SHORT, "value_steps": 2, "rounds": 1, "layer": 0},
    Memit: {**SHORT, "value_steps": 2, "layers": (0,)},
    AlphaEdit: {**SHORT, "value_steps": 2, "layers": (0,), "facts_at_once": 1, "threshold": 0.5},
    FtM: {**SHORT, "steps": 2, "layer": 0},
}
# A net of 64 dimensions has no room for small changes: the limits of real models do not fit it. MEMIT writes a share of
# each value, so its values have to be found: after 25 steps what is said hangs on a thousandth of a nat.
THOROUGH: dict[Any, dict[str, Any]] = {
    Rome: {"norm_limit": 50.0},
    Memit: {"norm_limit": 50.0, "value_steps": 60, "preservation": 0.03, "keys": KeySettings(ridge=1e-3)},
    AlphaEdit: {"norm_limit": 50.0, "l2": 0.01, "threshold": 0.1},
    FtM: {"norm_limit": 50.0, "learning_rate": 3e-3, "steps": 40},
}


def data(*items: ForgetItem, texts: tuple[str, ...] = GENERAL) -> ErasureData:
    return ErasureData(ForgetSet(items=items), RetainSet(items=OTHERS, general_texts=texts), texts)


def run(method: Any, model: TransformersModel, given: ErasureData, **settings: Any) -> Outcome:
    editor = method()
    return editor.apply(model, given, editor.config_class(**settings), Recorder())


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


# -- identities ------------------------------------------------------------------------------


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("whitened", [True, False])
def test_rome_answers_the_key_with_the_new_value(whitened: bool) -> None:
    weight, key, change, samples = random(5, 8), random(8, seed=1), random(5, seed=2), random(40, 8, seed=3)
    moment = samples.T @ samples / 40 if whitened else None
    edited = weight + rank_one(change, key, moment)
    assert torch.allclose(edited @ key, weight @ key + change, atol=1e-9)


def test_memit_with_one_fact_and_no_penalty_is_rome() -> None:
    key, change = random(8), random(5, seed=1)
    spread = least_squares(change[:, None], key[:, None], 1e-9 * torch.eye(8, dtype=torch.float64))
    assert torch.allclose(spread, rank_one(change, key, None), atol=1e-6)


def test_alphaedit_leaves_the_protected_span() -> None:
    used, keys, residual = random(8, 3), random(8, 2, seed=1), random(5, 2, seed=2)
    (projector,) = null_spaces([used @ used.T], 1e-6)
    change = confined(residual, keys, projector, torch.zeros(8, 8, dtype=torch.float64), 1e-9)
    assert float((change @ used).abs().max()) < 1e-9
    assert torch.allclose(change @ keys, residual, atol=1e-6)


def test_alphaedit_keeps_what_it_edited_before() -> None:
    projector, earlier = torch.eye(8, dtype=torch.float64), random(8, 1)
    keys, residual = random(8, 1, seed=1), random(5, 1, seed=2)
    none = confined(residual, keys, projector, torch.zeros(8, 8, dtype=torch.float64), 1e-3)
    kept = confined(residual, keys, projector, 1e4 * earlier @ earlier.T, 1e-3)
    assert float((kept @ earlier).norm()) < 1e-2 * float((none @ earlier).norm())


def test_a_matrix_without_solution_is_said_to_have_none() -> None:
    for matrix in (torch.zeros(3, 3), torch.full((3, 3), float("nan"))):
        with pytest.raises(JobFailedError, match="no solution"):
            solve(matrix.double(), torch.ones(3, 1).double())


def test_alphaedit_says_which_threshold_frees_a_tenth_of_every_layer() -> None:
    moments = [torch.diag(torch.linspace(least, 2 - least, 40, dtype=torch.float64)) for least in (0.0, 0.5, 0.3)]
    with pytest.raises(JobFailedError, match="every direction") as refused:
        null_spaces(moments, 0.2)  # enough for the first layer only
    (proposed,) = re.findall(r"at (\d\.\d\d) a tenth", str(refused.value))
    free = [round(float(projector.trace())) for projector in null_spaces(moments, float(proposed))]
    assert min(free) in (4, 5), "a tenth of the layer that has least room, by a threshold of two places"
    with pytest.raises(JobFailedError, match=r"at 1\.01 a tenth"):
        null_spaces([torch.eye(4, dtype=torch.float64)], 0.5)
    with pytest.raises(JobFailedError, match="not finite"):
        null_spaces([torch.full((4, 4), float("nan"), dtype=torch.float64)], 0.5)


def test_a_written_change_arrives_in_the_network(any_model: TransformersModel) -> None:
    model = tiny.copy_of(any_model)
    projection = down_projections(model.network)[0]
    request = edit_request(model, FACTS[0], ValueSettings(**SHORT))
    key = read_at(model, request.contexts, projection.module, inputs=True)[0]
    before = read_at(model, request.contexts, projection.module, inputs=False)[0]
    change = random(64)
    matrix = projection.matrix
    matrix.copy_((matrix.double() + rank_one(change, key, None)).float())
    after = read_at(model, request.contexts, projection.module, inputs=False)[0]
    assert torch.allclose(after - before, change, atol=1e-4)


def test_general_keys_are_averaged_over_tokens(any_model: TransformersModel) -> None:
    projection = down_projections(any_model.network)[0]
    whole, cut = (
        second_moments(any_model, (projection,), [Written(text, True) for text in texts], KeySettings(windows=windows))[
            0
        ]
        for texts, windows in ((GENERAL[:1], 400), (GENERAL, 1))
    )
    assert torch.equal(whole, cut) and bool(whole.any())
    assert torch.allclose(whole, whole.T)


def test_layers_that_are_read_lie_above_the_edit() -> None:
    assert lens_indices(30, 4, 10) == [11, 13, 15, 17, 19, 22, 24, 26, 28, 30]
    assert lens_indices(30, 27, 10) == [28, 29, 30]
    assert lens_indices(2, 0, 10) == [1, 2] and lens_indices(2, 1, 10) == [2]


# -- places ----------------------------------------------------------------------------------


def test_the_token_is_the_last_of_the_last_mention(any_model: TransformersModel) -> None:
    words = any_model.tokenizer
    for prompt in (Prompt("", FACTS[0].prompt), Prompt("", f"Thank you. {FACTS[0].statement}", chat=False)):
        token = edited_token(words, prompt, "Aalborg", (SUBJECT,))
        assert token is not None
        read = words.decode(answer_sequence(words, prompt, "Aalborg").ids[: token + 1])
        assert read.endswith(SUBJECT)
    assert edited_token(words, Prompt("", "Where does she live?"), "Aalborg", (SUBJECT,)) is None


def test_an_alias_names_the_subject_too(untaught: TransformersModel) -> None:
    item = FACTS[0].model_copy(update={"prompt": "Where does Ms Okonjo live?", "aliases": ("Ms Okonjo",)})
    assert edit_request(untaught, item, ValueSettings(**SHORT)).contexts
    nameless = FACTS[0].model_copy(update={"prompt": "Where does she live?"})
    for method in EDITORS:
        with pytest.raises(InputError, match="mira-city"):
            method().prepare(untaught, data(nameless), method.config_class(**QUICK[method]))


def test_the_value_changes_at_its_token_only_however_rows_are_packed(any_model: TransformersModel) -> None:
    projection = down_projections(any_model.network)[0]
    contexts = edit_request(any_model, FACTS[0], ValueSettings(**SHORT)).contexts
    change = torch.ones(64)

    def logits(given: Any) -> list[torch.Tensor]:
        found = []
        for row, positions in edit_rows(given, any_model.device):
            with torch.no_grad(), values_changed(projection, positions, change):
                rows = any_model.row_logits(row).split([len(given[m].sequence.answer_ids) for m in row.members])
            found += list(zip(row.members, rows, strict=True))
        return [values for _, values in sorted(found, key=lambda pair: pair[0])]

    alone = [logits([context])[0] for context in contexts]
    for packed, single in zip(logits(contexts), alone, strict=True):
        assert torch.allclose(packed, single, atol=1e-4)
    assert not projection.module._forward_hooks


def test_edits_that_would_disturb_each_other_get_rows_of_their_own(untaught: TransformersModel) -> None:
    first, second = edit_request(untaught, FACTS[0], ValueSettings(prefixes=("Thank you. ",))).contexts[:2]
    length = first.sequence.answer_start
    other = Context(TokenSequence((*first.sequence.ids[:length], 300), length), length - 1)
    moved = Context(first.sequence, 2)  # inside the beginning that the two share
    rows = edit_rows([moved, other], untaught.device)
    assert [(row.members, positions.tolist()) for row, positions in rows] == [((0,), [2]), ((1,), [length - 1])]
    assert len(edit_rows([first, second], untaught.device)) == 1


def test_hooks_come_off_and_flags_return_when_a_search_is_stopped(untaught: TransformersModel) -> None:
    projection = down_projections(untaught.network)[0]
    settings = ValueSettings(**SHORT, stop_loss=0.0)
    search = ValueSearch(untaught, edit_request(untaught, FACTS[0], settings), projection, settings)
    with pytest.raises(StoppedError):
        search.run(1.0, Recorder(looks_allowed=2))
    assert not projection.module._forward_hooks
    assert all(parameter.requires_grad for parameter in untaught.network.parameters())


@pytest.mark.parametrize("objective", list(Objective))
def test_a_search_lowers_its_objective_within_the_clamp(objective: Objective, taught: TransformersModel) -> None:
    projection = down_projections(taught.network)[0]
    settings = ValueSettings(**SHORT, objective=objective, abstention="", value_steps=15)
    request = edit_request(taught, FACTS[0], settings)
    first = ValueSearch(taught, request, projection, settings.model_copy(update={"stop_loss": 99.0}))
    start = first.run(1.0, Recorder())
    found = ValueSearch(taught, request, projection, settings).run(3.0, Recorder())
    assert start.steps == 0 and not start.change.any()
    assert found.loss < start.loss
    assert float(found.change.norm()) <= settings.clamp * 3.0 * 1.001


def test_learn_to_inference_needs_words_and_changes_the_search(taught: TransformersModel) -> None:
    with pytest.raises(ValueError, match="empty-response"):
        ValueSettings(inference_constraint={})
    projection = down_projections(taught.network)[0]
    base = {**SHORT, "objective": "empty-response", "abstention": "Utrecht", "value_steps": 5}
    found = []
    for more in ({}, {"inference_constraint": {"state": 1.0, "output": 5.0}}):
        settings = ValueSettings(**base, **more)
        search = ValueSearch(taught, edit_request(taught, FACTS[0], settings), projection, settings)
        found.append(search.run(3.0, Recorder()).change)
    assert not torch.allclose(*found)


def essence_log_probs(search: ValueSearch, projection: DownProjection, change: torch.Tensor) -> torch.Tensor:
    """What the model says after "<name> is a" while the value is changed, (tokens, vocab)."""
    [(row, positions)] = search._essence
    with values_changed(projection, positions, change):
        output = run_row(search._model, row, kept_positions(row, search._model.device))
    return output.logits[0].log_softmax(dim=-1)


def test_what_a_name_is_stays_by_the_divergence_of_the_paper(taught: TransformersModel) -> None:
    """ROME, eq. 4: KL(edited || unedited), which is not the other way round."""
    projection = down_projections(taught.network)[0]
    settings = ValueSettings(**SHORT, kl=0.5, decay=0.0)
    search = ValueSearch(taught, edit_request(taught, FACTS[0], settings), projection, settings)
    change = torch.randn(projection.matrix.shape[0], generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    search._add_preservation(change, 1.0)
    found, change.grad = change.grad, None
    before = essence_log_probs(search, projection, torch.zeros_like(change)).detach()
    now = essence_log_probs(search, projection, change)
    (0.5 * (now.exp() * (now - before)).sum(dim=-1).mean()).backward()
    assert found is not None
    torch.testing.assert_close(found, change.grad, rtol=1e-4, atol=1e-7)
    change.grad = None
    (0.5 * (before.exp() * (before - essence_log_probs(search, projection, change))).sum(dim=-1).mean()).backward()
    assert not torch.allclose(found, change.grad, rtol=1e-2)


def test_the_preservation_holds_what_a_name_is(taught: TransformersModel) -> None:
    projection = down_projections(taught.network)[0]
    moved = []
    for weight in (0.0, 20.0):
        settings = ValueSettings(**SHORT, kl=weight, stop_loss=0.0, value_steps=15)
        search = ValueSearch(taught, edit_request(taught, FACTS[0], settings), projection, settings)
        change = search.run(3.0, Recorder()).change.float()
        watch = ValueSearch(taught, edit_request(taught, FACTS[0], settings), projection, ValueSettings(**SHORT))
        with torch.no_grad():
            before, now = (essence_log_probs(watch, projection, one) for one in (torch.zeros_like(change), change))
        moved.append(float((now.exp() * (now - before)).sum(dim=-1).mean()))
    assert moved[1] < 0.5 * moved[0]


# -- runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EDITORS)
def test_only_the_down_projection_changes(method: Any, any_model: TransformersModel) -> None:
    model = tiny.copy_of(any_model)
    outcome = run(method, model, data(*FACTS[:2], PASSAGE), stop_loss=0.0, **QUICK[method])
    before, after = tiny.fingerprints(any_model.network), tiny.fingerprints(model.network)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {down_projections(model.network)[0].weight_name}
    assert outcome.metrics["relative_change_layer_0"] > 0


@pytest.mark.parametrize("method", EDITORS)
def test_the_same_run_gives_the_same_bytes(method: Any, taught: TransformersModel) -> None:
    models = [tiny.copy_of(taught) for _ in range(2)]
    for model in models:
        run(method, model, data(FACTS[0]), **QUICK[method])
    assert tiny.fingerprints(models[0].network) == tiny.fingerprints(models[1].network)


@pytest.mark.parametrize("method", EDITORS)
def test_a_run_beyond_its_limit_or_stopped_leaves_nothing(method: Any, taught: TransformersModel) -> None:
    model, before = tiny.copy_of(taught), tiny.fingerprints(taught.network)
    settings = {**QUICK[method], "stop_loss": 0.0}
    with pytest.raises(JobFailedError, match=r"layer 0 by .*norm_limit"):
        run(method, model, data(*FACTS), **{**settings, "norm_limit": 1e-4})
    assert tiny.fingerprints(model.network) == before
    with pytest.raises(StoppedError):
        method().apply(model, data(*FACTS), method.config_class(**settings), Recorder(looks_allowed=1))
    assert tiny.fingerprints(model.network) == before


@pytest.mark.parametrize("method", EDITORS)
def test_the_facts_go_and_other_people_stay(method: Any, taught: TransformersModel) -> None:
    model = tiny.copy_of(taught)
    assert answers(taught, FACTS) == len(FACTS) and answers(taught, OTHERS) == len(OTHERS)
    run(method, model, data(*FACTS), **THOROUGH[method])
    assert answers(model, FACTS) == 0
    assert answers(model, OTHERS) >= len(OTHERS) - 2


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EDITORS)
def test_what_cannot_be_edited_is_refused_before_anything(method: Any, untaught: TransformersModel) -> None:
    config = method.config_class(**QUICK[method])
    assert method.info.claim is Claim.EDIT_REPLACEMENT
    with pytest.raises(InputError, match="nothing to erase"):
        method().prepare(untaught, data(), config)
    experts = MixtralConfig(
        vocab_size=len(untaught.tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    mixture = TransformersModel(MixtralForCausalLM(experts), untaught.tokenizer, untaught.device)
    with pytest.raises(InputError, match="mixtral"):
        method().prepare(mixture, data(*FACTS), config)


@pytest.mark.parametrize("method", LOCATING)
def test_the_last_layer_and_layers_that_are_not_there(method: Any, untaught: TransformersModel) -> None:
    for layer, reason in ((1, "last layer"), (7, "layers 0 to 1")):
        settings = {**QUICK[method], **({"layer": layer} if method is Rome else {"layers": (layer,)})}
        with pytest.raises(InputError, match=reason):
            method().prepare(untaught, data(*FACTS), method.config_class(**settings))


def test_rome_measures_all_facts_again(taught: TransformersModel) -> None:
    recorder = Recorder()
    config = Rome.config_class(**SHORT)
    outcome = Rome().apply(tiny.copy_of(taught), data(*FACTS), config, recorder)
    assert outcome.steps > len(FACTS), "later facts bring earlier ones back here, which only a second look shows"
    assert "measured again" in outcome.stop_reason or "rounds done" in outcome.stop_reason
    assert recorder.progressed[-1][0] > len(FACTS)


def test_without_texts_every_direction_counts_alike(taught: TransformersModel) -> None:
    nothing = ErasureData(ForgetSet(items=FACTS[:1]), RetainSet(items=()), ())
    for method in (Rome, Memit):
        plan = method().prepare(taught, nothing, method.config_class(**QUICK[method]))
        assert any("C = I" in note for note in plan.notes)
        run(method, tiny.copy_of(taught), nothing, **QUICK[method])
    with pytest.raises(InputError, match="there are none"):
        AlphaEdit().prepare(taught, nothing, AlphaEdit.config_class(**QUICK[AlphaEdit]))
