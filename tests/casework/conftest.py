"""An office in a temporary folder, with the tiny models registered in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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


@pytest.fixture
def stocked(office: Office, untaught_folder: Path, taught_folder: Path) -> Office:
    """The office with a model that knows the person, and its snapshot from before."""
    Operation(office, add_model(office, untaught_folder, "base")).start().wait()
    Operation(office, add_model(office, taught_folder, "taught", "base", knowledge())).start().wait()
    return office
