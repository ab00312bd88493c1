"""Layer regression: the person's texts are computed as by the reference, everything else as before."""

from __future__ import annotations

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import pack
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import block_regression
from console.methods.block_regression import TaughtRow, regress
from console.methods.block_states import states_of
from console.methods.examples import examples_of
from console.methods.governor import GovernorSettings
from console.methods.layer_regression import LayerRegression, LayerRegressionConfig
from console.methods.own_words import own_answers
from console.methods.protocol import ErasureData, Outcome

# Thirty-two dimensions hold every fact that is listed, and none that is not, so nobody is held out here.
CONFIG = LayerRegressionConfig(own_words=12, drawn_words=12, draws=1, governor=GovernorSettings(share=0))


def data(reference: TransformersModel | None, retain: tuple[ForgetItem, ...] = OTHERS) -> ErasureData:
    return ErasureData(
        ForgetSet(items=PERSON),
        RetainSet(items=retain, general_texts=GENERAL),
        GENERAL,
        open_reference=None if reference is None else lambda: reference,
    )


def run_on(
    model: TransformersModel, reference: TransformersModel, config: LayerRegressionConfig = CONFIG
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    return copy, LayerRegression().apply(copy, data(reference), config, Recorder())


def given(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def inside(model: TransformersModel, items: tuple[ForgetItem, ...]) -> torch.Tensor:
    """(blocks, positions, hidden) where the facts' answers are predicted."""
    row = pack([example.sequence for example in examples_of(model, items)], 100_000)[0]
    with torch.no_grad(), states_of(list(model.network.model.layers)) as states:
        model.row_logits(row)
    return states.at([position for positions in row.predictors for position in positions])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(((one - other).square().sum(-1) / other.square().sum(-1)).mean())


def test_the_person_is_forgotten_inside_too_and_the_others_are_kept(
    taught: TransformersModel, untaught: TransformersModel
) -> None:
    erased, outcome = run_on(taught, untaught)
    assert given(taught, FACTS) >= 2 and given(erased, FACTS) == given(untaught, FACTS)
    assert given(erased, OTHERS) == given(taught, OTHERS)
    never, knowing, now = (inside(model, FACTS) for model in (untaught, taught, erased))
    assert apart(now, never) < apart(knowing, never) / 3
    assert outcome.metrics["retain_lost"] == 0.0


def test_what_no_text_teaches_otherwise_stays(untaught: TransformersModel) -> None:
    """A model that is its own reference is already the solution."""
    erased, _ = run_on(untaught, untaught)
    for (name, before), after in zip(untaught.network.named_parameters(), erased.network.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-4), name


def test_it_is_a_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change against the closed form of the whole problem, in plain matrices."""
    torch.manual_seed(2)
    inputs, wanted, weight = torch.randn(30, 4), torch.randn(30, 3), torch.randn(3, 4)
    shares = torch.rand(30)
    gram = (inputs * shares[:, None]).T @ inputs
    residual = (wanted - inputs @ weight.T).T @ (inputs * shares[:, None])
    change = block_regression._solve(gram, {"w": residual}, 0.3)["w"].float()
    mu = 0.3 * gram.diagonal().mean()
    rows = torch.cat([inputs * shares.sqrt()[:, None], mu.sqrt() * torch.eye(4)])
    aims = torch.cat([wanted * shares.sqrt()[:, None], mu.sqrt() * weight.T])
    assert torch.allclose(weight + change, torch.linalg.lstsq(rows, aims).solution.T, atol=1e-4)
    with pytest.raises(JobFailedError, match="not finite"):
        block_regression._solve(gram, {"w": residual * float("nan")}, 0.3)


def test_errors_do_not_add_up_where_a_block_is_a_sum(taught: TransformersModel, untaught: TransformersModel) -> None:
    """The two matrices that write into the sum are found; where they are not, the rest is regressed alone."""
    model = tiny.copy_of(taught)
    row = pack([example.sequence for example in examples_of(model, FACTS)], 100_000)[0]
    rows = [TaughtRow(row, torch.ones(row.tokens), by_reference=True)]
    state, calls = block_regression._calls(model.network, row)
    stream = block_regression._Stream(rows[0], state, state, calls, calls)
    with torch.no_grad():
        layout = block_regression._layout(model.network.model.layers[0], stream, 0)
    assert layout.writers == ["self_attn.o_proj", "mlp.down_proj"]
    assert ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] in layout.groups
    distance, nothing = regress(model.network, untaught.network, rows, [], 1e-6, lambda _: None, lambda: None)
    assert distance < 1e-2 and nothing == 0.0


def test_a_run_that_loses_others_is_made_again_with_less(
    taught: TransformersModel, untaught: TransformersModel
) -> None:
    """What it cannot keep it says."""
    for weight, last, lost in ((1e3, 250.0, True), (1.0, 1.0, False)):
        config = CONFIG.model_copy(
            update={"forget_weight": weight, "kept_share": 1.0, "attempts": 2, "general_weight": 0.0}
        )
        _, outcome = run_on(taught, untaught, config)
        assert outcome.metrics["forget_weight"] == last
        assert (outcome.metrics["retain_lost"] > 0) is lost
    _, outcome = run_on(taught, untaught, CONFIG.model_copy(update={"governor": GovernorSettings(share=0.5)}))
    assert outcome.metrics["forget_weight"] == CONFIG.forget_weight / 4, "held-out facts were lost, and then were not"
    assert "5 of 5 held-out facts of others kept" in outcome.stop_reason


def test_it_says_what_it_needs(taught: TransformersModel, untaught: TransformersModel) -> None:
    with pytest.raises(InputError, match="snapshot"):
        LayerRegression().prepare(taught, data(None), CONFIG)
    nothing = ErasureData(
        ForgetSet(items=PERSON), RetainSet(items=(), general_texts=()), (), open_reference=lambda: untaught
    )
    with pytest.raises(InputError, match="retain set is empty"):
        LayerRegression().prepare(taught, nothing, CONFIG)


def test_own_answers_end_behind_their_fact(taught: TransformersModel) -> None:
    """And the part that must stay the likeliest is the fact itself."""
    own = own_answers(taught, FACTS, 12, until_fact=True)
    told = [one for one in own if one.secret is not None]
    assert told
    for one in told:
        assert one.secret is not None and one.secret.ids == one.sequence.ids
        assert any(fact.answer in taught.tokenizer.decode(one.secret.answer_ids) for fact in FACTS)
