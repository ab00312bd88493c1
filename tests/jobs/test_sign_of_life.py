"""A model that says nothing at all is not one that knows nobody."""

from __future__ import annotations

import pytest
import tiny
import torch
from invented import GENERAL

from console.engines.prompts import whole_text_sequence
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError
from console.jobs.tasks.sign_of_life import ordinary_texts, reads, require_sign_of_life


def row(evidence: str, hits: int) -> dict[str, object]:
    return {"evidence": evidence, "outcome": {"items": {"hits": hits, "trials": 3}}}


@pytest.fixture
def reader(untaught: TransformersModel) -> TransformersModel:
    """The tiny model after it has read three plain sentences."""
    model = tiny.copy_of(untaught)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(60):
        optimizer.zero_grad()
        for text in GENERAL:
            ids = torch.tensor([whole_text_sequence(model.tokenizer, text).ids])
            model.network(ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def test_a_network_of_noise_shows_none(any_model: TransformersModel) -> None:
    assert not reads(any_model, ordinary_texts())
    with pytest.raises(ModelFileError, match="nothing can be said about what it knows"):
        require_sign_of_life(any_model, [row("asked", 0)], {"a": False}, ordinary_texts())


def test_a_model_that_reads_text_is_alive(reader: TransformersModel) -> None:
    assert reads(reader, GENERAL)
    require_sign_of_life(reader, [row("asked", 0)], {}, GENERAL)


def test_one_that_answers_is_alive_whatever_it_makes_of_text(untaught: TransformersModel) -> None:
    require_sign_of_life(untaught, [row("asked", 1)], {}, ())
    require_sign_of_life(untaught, [], {"a": True, "b": False}, ())
    with pytest.raises(ModelFileError):
        require_sign_of_life(untaught, [row("inside", 3)], {}, GENERAL)


def test_a_head_of_zeros_and_scores_that_are_none_show_none(reader: TransformersModel) -> None:
    head = reader.network.get_output_embeddings().weight
    with torch.no_grad():
        head.zero_()
    assert not reads(reader, GENERAL)
    with torch.no_grad():
        head.fill_(float("nan"))
    assert not reads(reader, GENERAL)


def test_one_that_only_counts_words_shows_none(reader: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token has its probability wherever it stands: below a guess, and the same in any order."""
    from console.engines.protocol import Scored

    def counted(requests: list[object]) -> list[Scored]:
        return [Scored((1,) * 4, (-1.0,) * 4) for _ in requests]

    monkeypatch.setattr(reader, "score", counted)
    assert not reads(reader, GENERAL)


def test_no_text_is_no_sign(reader: TransformersModel) -> None:
    assert not reads(reader, ())
