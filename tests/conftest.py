"""Tiny models that many tests read; a test that changes one takes a copy (``tiny.copy_of``).

The compute libraries are imported inside the fixtures: a test of the ledger must not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from console.engines.transformers_engine import TransformersModel

# Files that take minutes, the longest first: whoever runs two at a time must not be left with one of them at the end.
LONGEST = ("test_demo.py", "test_requests_in_a_row.py", "test_walk.py", "test_worker_crash.py", "test_methods_bench.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def _kept(model: TransformersModel) -> Iterator[TransformersModel]:
    """A shared model, with the proof that nobody changed it."""
    import tiny

    before = tiny.fingerprints(model.network)
    yield model
    assert tiny.fingerprints(model.network) == before, "a test changed a shared model; let it take a copy"


@pytest.fixture(scope="session")
def untaught() -> Iterator[TransformersModel]:
    """A tiny Llama that knows nobody."""
    import tiny

    yield from _kept(tiny.model())


@pytest.fixture(scope="session")
def taught() -> Iterator[TransformersModel]:
    """The same Llama after it has learned everything about the person and the others by heart."""
    import tiny
    from invented import OTHERS, PERSON

    model = tiny.model()
    loss = tiny.teach(model, (*PERSON, *OTHERS))
    assert loss < 0.1, f"the tiny model did not learn its facts (loss {loss:.2f}), so no test of it shows anything"
    yield from _kept(model)


@pytest.fixture(scope="session", params=["llama", "gpt2", "qwen2"])
def any_model(request: pytest.FixtureRequest) -> Iterator[TransformersModel]:
    """An untaught model of every architecture: with and without chat template, tied and untied head."""
    import tiny

    yield from _kept(tiny.model(request.param))


@pytest.fixture(scope="session")
def untaught_folder(untaught: TransformersModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untaught model on disk."""
    import tiny

    return tiny.saved(untaught, tmp_path_factory.mktemp("untaught") / "model")


@pytest.fixture(scope="session")
def taught_folder(taught: TransformersModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught model on disk."""
    import tiny

    return tiny.saved(taught, tmp_path_factory.mktemp("taught") / "model")


@pytest.fixture(scope="module")
def forked_jobs() -> Iterator[None]:
    """Jobs run in forks of a process that has the libraries loaded (see ``forks``), seconds faster each."""
    import forks

    from console.jobs import runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "subprocess", forks.forked_jobs)
        yield


@pytest.fixture
def in_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Code that every worker started afterwards runs first; "" takes it away again."""
    folder = tmp_path / "in worker"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return lambda code: _write(folder / "sitecustomize.py", code)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
