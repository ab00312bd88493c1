"""The neuron browser as a job: a planted neuron is found and called so, and chance is not."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from console.engines.transformers_engine import TransformersModel
from console.evaluation.neuron_projection import word_tokens
from console.jobs import worker
from console.jobs.events import CancelledEvent, Done, Failed, Progress, decode
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.jobs.worker import EventWriter

WORD = "maker"


def run(model: Path, cache: Path, *words: str, stop: bool = False, **settings: Any) -> list[Any]:
    spec = JobSpec(
        job_id="neurons-1",
        kind=JobKind.NEURONS,
        model=ModelReference(path=str(model)),
        cache=str(cache),
        device="cpu",
        settings=settings,
    )
    stream = io.StringIO()
    writer = EventWriter(stream)
    if stop:
        writer.request_stop()
    worker.run(spec, JobPayload(words=words), writer)
    return [decode(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def quiet_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.engines.devices.os.cpu_count", lambda: 1)
    monkeypatch.setattr(sys, "excepthook", lambda *_error: None)  # the worker writes every error into its log


@pytest.fixture(scope="module")
def planted(untaught: TransformersModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Neuron 7 of layer 1 writes the forms of one word."""
    model = tiny.copy_of(untaught)
    tokens = list(word_tokens(model.tokenizer, [WORD]))
    assert len(tokens) >= 2, "the word has one form only, so no neuron could be specialised on it"
    head = model.network.get_output_embeddings().weight
    with torch.no_grad():
        model.network.model.layers[1].mlp.down_proj.weight[:, 7] = sum(
            head[token] / head[token].norm() for token in tokens
        )
    return tiny.saved(model, tmp_path_factory.mktemp("neurons") / "model")


def test_a_planted_neuron_is_found_and_progress_goes_by_layer(planted: Path, tmp_path: Path) -> None:
    events = run(planted, tmp_path, WORD, top=3)
    assert isinstance(events[-1], Done), events[-1]
    value = events[-1].result
    assert value["specialised"] == 1 and value["sentence"].startswith("1 specialised vector found")
    first = value["neurons"][0]
    assert (first["layer"], first["index"], first["role"], first["rank"]) == (1, 7, "down", 0)
    assert len(value["neurons"]) == 3
    labels = [event.label for event in events if isinstance(event, Progress)]
    assert labels == ["Opening the model", "Reading layer 1 of 2", "Reading layer 2 of 2"]


def test_layers_and_roles_narrow_the_search_and_chance_is_called_chance(planted: Path, tmp_path: Path) -> None:
    for settings in ({"layers": [0]}, {"roles": ["up"]}):
        value = run(planted, tmp_path, WORD, **settings)[-1].result
        assert value["specialised"] == 0 and value["sentence"].startswith("No specialised neuron found")
        assert value["neurons"], "the nearest ones are shown all the same"
    assert {one["layer"] for one in run(planted, tmp_path, WORD, layers=[0])[-1].result["neurons"]} == {0}


def test_a_word_without_a_token_says_so(planted: Path, tmp_path: Path) -> None:
    value = run(planted, tmp_path, "§§")[-1].result
    assert value["neurons"] == [] and "no token for it" in value["sentence"]


@pytest.mark.parametrize(
    ("words", "settings", "says"),
    [
        ((" ",), {}, "no word to look for"),
        ((WORD,), {"layers": [9]}, "no layer 9; its layers are 0 to 1"),
        ((WORD,), {"roles": ["sideways"]}, "'roles.0'"),
        ((WORD,), {"top": 0}, "'top'"),
    ],
)
def test_what_cannot_be_is_refused(
    planted: Path, tmp_path: Path, words: tuple[str, ...], settings: dict[str, Any], says: str
) -> None:
    final = run(planted, tmp_path, *words, **settings)[-1]
    assert isinstance(final, Failed) and final.kind == "InputError" and says in final.reason


def test_it_can_be_stopped(planted: Path, tmp_path: Path) -> None:
    assert isinstance(run(planted, tmp_path, WORD, stop=True)[-1], CancelledEvent)
