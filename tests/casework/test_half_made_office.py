"""A refused creation leaves what was there before, and a half made office is named by whoever looks at it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from invented import PERSON

from console.casework import requests
from console.casework.office import DEFAULT_ORGANISATION, Office
from console.casework.records import verify_office
from console.casework.views import inbox
from console.domain.case_state import REQUESTS
from console.errors import InputError, LedgerDamagedError
from console.paths import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(data=tmp_path / "new" / "office", cache=tmp_path / "new" / "cache")


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["x" * 70_000, "x" * 201, "F\udcff", "two\nlines", "bell\a", "two\u2028lines", "left\u202eright"]
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_made(places: Places, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name of the organisation"):
        Office.create(places, organisation=name, env={})
    assert everything(tmp_path) == {}
    with Office.create(places, organisation=f" {'x' * 200} ", env={}) as office:
        assert office.organisation == "x" * 200
        with pytest.raises(InputError, match="name of the organisation"):
            office.name_organisation(name)
        office.name_organisation(" ")
        assert office.organisation == DEFAULT_ORGANISATION


@pytest.mark.parametrize("begun", [False, True], ids=["nothing there", "an emptied ledger and two folders"])
def test_a_creation_that_fails_takes_away_what_it_made_and_no_more(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    if begun:
        for folder in (places.keys, places.models):
            folder.mkdir(parents=True)
        places.ledger.touch()
    before = everything(tmp_path)

    def fail(_office: Office) -> None:
        raise InputError("It cannot be opened.")

    with monkeypatch.context() as patch:
        patch.setattr(Office, "_record_opening", fail)
        with pytest.raises(InputError, match="cannot be opened"):
            Office.create(places, env={})
    assert everything(tmp_path) == before
    Office.create(places, env={}).close()
    assert verify_office(places, env={}).ok


def test_an_emptied_ledger_with_its_mark_keeps_its_folders(places: Places, tmp_path: Path) -> None:
    Office.create(places, env={}).close()
    places.ledger.write_bytes(b"")
    before = everything(tmp_path)
    with pytest.raises(LedgerDamagedError, match="missing"):
        Office.create(places, env={})
    assert everything(tmp_path) == before


@pytest.mark.parametrize("used", [False, True], ids=["empty", "with a request"])
def test_a_half_made_office_is_named_and_not_opened(
    places: Places, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Office, "_record_opening", lambda _office: None)
        with Office.create(places, env={}) as office:
            if used:
                requests.register(office, received=date(2026, 11, 2), country="DE", items=PERSON)
    result = verify_office(places, env={})
    assert [finding.code.value for finding in result.findings] == ["EMPTY"]
    for read_only in (True, False):
        with pytest.raises(LedgerDamagedError, match=r"was never finished.*another folder"):
            Office.open(places, env={}, read_only=read_only)


@pytest.mark.parametrize("value", ["{", "[1]", "null", "{}", '{"received_on":7,"status":[]}', '{"suspensions":5}'])
def test_one_row_that_cannot_be_read_hides_no_other(office: Office, value: str) -> None:
    bad, good = (requests.register(office, received=date(2026, 11, 2), country="DE", items=PERSON) for _ in range(2))
    with office.ledger._database.writing() as session:
        change = "UPDATE projection SET state_json = ? WHERE name = ? AND key = ?"
        session.connection().exec_driver_sql(change, (value, REQUESTS, bad))
    first, second = inbox(office)
    assert (first.number, second.number) == (bad, good)
    assert "cannot be read" in first.problem and first.received is None and second.problem == ""


def test_a_number_that_is_no_text_is_no_request(office: Office) -> None:
    with pytest.raises(InputError, match="There is no request"):
        requests.request_state(office, "\udcff")
