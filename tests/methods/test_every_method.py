"""What holds for every registered method: it introduces itself, needs something to erase, changes what it planned."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
from invented import GENERAL, OTHERS, PERSON
from tiny import Recorder

from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.domain.teaching import TeachingItem
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import mean_nlls
from console.methods.gradient import GradientMethod
from console.methods.protocol import ErasureData, Family, Method
from console.methods.registry import available, method_named

SHORT = {"steps": 2, "repair_steps": 1, "repair_limit": 0}
# Only what makes a run short or lets it fit a network of two blocks; a method without an entry runs on its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "alphaedit": {"norm_limit": 100.0},
    "concept-poison": {"steps": 2},
    "memit": {"norm_limit": 100.0},
    "rome": {"norm_limit": 100.0},
    "ssd": {"alpha": 2.0},
    "refusal": {"steps": 2},
    "retrain": {"epochs": 2},
}
# A tiny model taught in all its weights holds no fact in a column of its own, and says so.
MAY_FIND_NOTHING = {"concept-vectors", "tars"}
ALL = sorted(available())
DENSE = [name for name in ALL if name != "uoe"]  # test_experts.py has it on networks with experts


def given(forget: tuple[ForgetItem, ...], reference: TransformersModel) -> ErasureData:
    return ErasureData(
        forget=ForgetSet(items=forget),
        retain=RetainSet(items=OTHERS, general_texts=GENERAL),
        general_texts=GENERAL,
        reference_nll=mean_nlls(reference, forget),
        teaching=tuple(TeachingItem(item=item) for item in OTHERS),
        open_reference=lambda: reference,
    )


def settings_of(name: str) -> dict[str, Any]:
    method = method_named(name)
    short = SHORT if isinstance(method, GradientMethod) else {}
    return short | SETTINGS.get(name, {})


def hooks_on(model: TransformersModel) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.network.modules())


@pytest.mark.parametrize("name", ALL)
def test_it_introduces_itself(name: str) -> None:
    method: Method = method_named(name)
    info = method.info
    assert info.id == name
    assert info.title and info.summary.endswith(".") and info.source
    assert len(info.title) <= 70 and len(info.summary) <= 320
    schema = method.config_class.model_json_schema()
    assert schema["additionalProperties"] is False
    assert all("default" in field for field in schema["properties"].values()), "a default lives in the class"
    with pytest.raises(ValueError, match="no_such_setting"):
        method.config_class.model_validate({"no_such_setting": 1})


@pytest.mark.parametrize("name", ALL)
def test_with_nothing_to_erase_nothing_is_touched(name: str, untaught: TransformersModel) -> None:
    method, copy = method_named(name), tiny.copy_of(untaught)
    with pytest.raises(InputError, match="nothing to erase"):
        method.apply(copy, given((), untaught), method.config_class(), Recorder())
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(untaught.network)


@pytest.mark.parametrize("name", DENSE)
def test_it_changes_what_it_planned_and_nothing_else(
    name: str, taught: TransformersModel, untaught: TransformersModel
) -> None:
    method = method_named(name)
    start = untaught if method.info.needs_snapshot else taught
    copy = tiny.copy_of(start)
    facts = tuple(item for item in PERSON if item.kind is not ItemKind.VERBATIM)
    config, data, recorder = method.config_class(**settings_of(name)), given(facts, untaught), Recorder()
    plan = method.prepare(copy, data, config)
    try:
        outcome = method.apply(copy, data, config, recorder)
    except JobFailedError as error:
        assert name in MAY_FIND_NOTHING, error
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(start.network)
        return
    before, after = tiny.fingerprints(start.network), tiny.fingerprints(copy.network)
    changed = {key for key in before if before[key] != after[key]}
    assert before.keys() == after.keys(), "no adapter, hook or spare weight is left on the network"
    if method.info.family is Family.DECODING:
        assert not changed and copy.output_filter is not None
    else:
        assert changed
        assert changed <= {f"{module}.weight" for module in plan.modules}
    assert outcome.stop_reason
    assert all(isinstance(value, float) for value in outcome.metrics.values())
    # transformers leaves hooks of its own on a network whose hidden states were asked for once.
    assert hooks_on(copy) == hooks_on(start)
    assert all(parameter.requires_grad for parameter in copy.network.parameters())
    if not isinstance(method, type) and method.info.family is not Family.DECODING:
        assert recorder.progressed or name in MAY_FIND_NOTHING
