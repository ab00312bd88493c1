"""All or nothing: what fails leaves every byte as it was."""

from __future__ import annotations

import pytest
import tiny
import torch

from console.engines.transformers_engine import TransformersModel
from console.methods.weight_transaction import weight_transaction

NAME = "model.layers.0.mlp.down_proj.weight"


def test_a_failure_takes_the_change_back_bit_for_bit(untaught: TransformersModel) -> None:
    model = tiny.copy_of(untaught)
    before = tiny.fingerprints(model.network)
    with pytest.raises(tiny.StoppedError), weight_transaction(model.network, [NAME]):
        with torch.no_grad():
            model.network.get_parameter(NAME).mul_(1.1)
        assert tiny.fingerprints(model.network) != before
        raise tiny.StoppedError
    assert tiny.fingerprints(model.network) == before


def test_what_ends_well_stays_and_is_measured(untaught: TransformersModel) -> None:
    model = tiny.copy_of(untaught)
    with weight_transaction(model.network, [NAME]) as snapshot:
        assert snapshot.relative_change(NAME) == 0.0
        with torch.no_grad():
            model.network.get_parameter(NAME).mul_(1.25)
        assert snapshot.relative_change(NAME) == pytest.approx(0.25, rel=1e-5)
    assert torch.equal(model.network.get_parameter(NAME), untaught.network.get_parameter(NAME) * 1.25)


def test_an_unknown_tensor_is_an_error(untaught: TransformersModel) -> None:
    with pytest.raises(KeyError), weight_transaction(untaught.network, ["nowhere.weight"]):
        pass
