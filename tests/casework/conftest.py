"""An office in a temporary folder, with the tiny models registered in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from copies import opened_copy
from invented import GENERAL, OTHERS, OUTSIDERS, PERSON, teaching_of

from console.casework.knowledge import Knowledge
from console.casework.models import add_model
from console.casework.office import Office
from console.casework.operation import Operation
from console.paths import Places


@pytest.fixture(scope="module", autouse=True)
def quick_jobs(forked_jobs: None) -> None:
    """What is tested here is what the office makes of its jobs."""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An empty office with a generated passphrase."""
    with Office.create(Places(data=tmp_path / "office", cache=tmp_path / "cache"), env={}) as opened:
        yield opened


def knowledge() -> Knowledge:
    """What the tiny models were taught, and people that none of them knows."""
    others = teaching_of((*PERSON, *OTHERS))
    return Knowledge(
        teaching=others,
        controls=OUTSIDERS,
        general=tuple(GENERAL),
        held_out=tuple(GENERAL),
        neighbours={PERSON[0].subject: (OTHERS[0].subject,)},
    )


@pytest.fixture(name="knowledge")
def known() -> Knowledge:
    """The tiny models' training record."""
    return knowledge()


@pytest.fixture(scope="session")
def stocked_data(untaught_folder: Path, taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an office with a model that knows the person, and its snapshot from before."""
    places = Places(tmp_path_factory.mktemp("stocked") / "office", tmp_path_factory.mktemp("cache"))
    with Office.create(places, env={}) as made:
        Operation(made, add_model(made, untaught_folder, "base")).start().wait()
        Operation(made, add_model(made, taught_folder, "taught", "base", knowledge())).start().wait()
    return places.data


@pytest.fixture
def stocked(stocked_data: Path, tmp_path: Path) -> Iterator[Office]:
    """That office, for one test to change."""
    with opened_copy(stocked_data, tmp_path) as office:
        yield office
