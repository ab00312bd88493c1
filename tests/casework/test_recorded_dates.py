"""Legal dates stand as they were recorded, nothing enters that cannot be read, and one bad case hides no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from invented import PERSON

from console.casework import requests
from console.casework.case_evidence import _clock
from console.casework.office import Office
from console.casework.views import case_page, inbox
from console.domain.case_state import REQUESTS, CaseProjector
from console.domain.deadline import Urgency
from console.domain.events import ClockSuspended, RequestRegistered
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import SuspensionReason
from console.errors import InputError, NotPossibleError
from console.paths import Places

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
RECEIVED = date(2026, 11, 18)  # a month later is Friday 18 December 2026


class Clock:
    """A clock that tests move."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def office(tmp_path: Path, clock: Clock) -> Iterator[Office]:
    places = Places(data=tmp_path / "office", cache=tmp_path / "cache")
    with Office.create(places, env={}, clock=clock) as opened:
        opened.set_timezone("Europe/Berlin")
        yield opened


def add(office: Office, received: date = RECEIVED, country: str = "DE", **options: Any) -> str:
    return requests.register(office, received=received, country=country, items=PERSON, **options)


def bodies(office: Office, kind: str) -> list[dict[str, Any]]:
    return [event.body for event in office.ledger.events() if event.kind == kind]


@pytest.fixture
def later_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that has learned of a holiday on the day on which the answer is due."""
    known = HolidayCalendar.for_place.__func__  # type: ignore[attr-defined]

    def bent(country: str, subdivision: str | None = None) -> HolidayCalendar:
        calendar = known(HolidayCalendar, country, subdivision)
        new = date(2026, 12, 18)

        class Names(dict[date, str]):
            def get(self, day: date, default: Any = None) -> Any:
                return "New Day" if day == new else calendar.names.get(day, default)

            def __contains__(self, day: object) -> bool:
                return day == new or day in calendar.names

            def __getitem__(self, day: date) -> str:
                return "New Day" if day == new else calendar.names[day]

        return replace(calendar, version="99", names=Names())

    monkeypatch.setattr(HolidayCalendar, "for_place", staticmethod(bent))


def as_version_1(office: Office, number: str, monkeypatch: pytest.MonkeyPatch, kind: str, body: dict[str, Any]) -> int:
    """Record an event as an older console did: untried, and without what it was computed from."""
    with monkeypatch.context() as older:
        older.setattr(CaseProjector, "check", lambda *_: None)
        with office.ledger.transaction() as transaction:
            return transaction.append(kind, body, request_id=number, actor="p-1").seq


def registered_by_version_1(office: Office, monkeypatch: pytest.MonkeyPatch, due: str = "2026-12-18") -> str:
    number = "ER-2026-0900"
    body = RequestRegistered(
        number=number,
        subject_ref="S0123456789ab",
        received_on=RECEIVED.isoformat(),
        channel="email",
        language="de",
        country="DE",
        profile_id="eu-gdpr",
        due=due,
        due_extended="2027-02-18",
        rule="As it was written then.",
        steps=("One step.",),
        calendar="DE, holidays 0.50",
        items=1,
        by_type={"place": 1},
        commitment="aa",
        summary="Clear words of then.",
    )
    as_version_1(office, number, monkeypatch, RequestRegistered.kind, body.to_body())
    return number


class TestALaterCalendar:
    def test_the_recorded_date_stands_everywhere_and_the_other_is_shown(
        self, office: Office, request: pytest.FixtureRequest
    ) -> None:
        number = add(office)
        request.getfixturevalue("later_calendar")
        state = requests.request_state(office, number)
        page = case_page(office, number)
        assert state["due"] == "2026-12-18"
        assert page.line.due == page.deadline.due == _clock(office, state).due == date(2026, 12, 18)
        assert [line.due for line in inbox(office)] == [date(2026, 12, 18)]
        assert "would be Monday 21 December 2026" in page.other_date
        assert _clock(office, state).other_date == page.other_date

    def test_it_is_accepted_as_an_event_and_then_stands_everywhere(
        self, office: Office, request: pytest.FixtureRequest
    ) -> None:
        number = add(office)
        request.getfixturevalue("later_calendar")
        requests.accept_deadline(office, number)
        (body,) = bodies(office, "deadline_accepted")
        assert (body["due_before"], body["due"]) == ("2026-12-18", "2026-12-21")
        assert (body["calendar_before"], body["calendar"]) == ("DE, holidays 0.109", "DE, holidays 99")
        assert "New Day" in body["rule"]
        page = case_page(office, number)
        assert requests.request_state(office, number)["due"] == "2026-12-21"
        assert page.line.due == page.deadline.due == date(2026, 12, 21) and page.other_date == ""
        with pytest.raises(NotPossibleError, match="nothing to accept"):
            requests.accept_deadline(office, number)

    def test_what_comes_later_in_the_case_is_computed_with_the_recorded_calendar(
        self, office: Office, request: pytest.FixtureRequest
    ) -> None:
        number = add(office)
        request.getfixturevalue("later_calendar")
        requests.notify_extension(office, number, date(2026, 11, 30), "Many models.")
        deadline = case_page(office, number).deadline
        assert (deadline.due, deadline.binding_due) == (date(2026, 12, 18), date(2027, 2, 18))
        assert bodies(office, "extension_notified")[0]["deadline"]["due"] == "2026-12-18"

    def test_the_dates_survive_a_rebuilding_of_the_projections(
        self, office: Office, request: pytest.FixtureRequest
    ) -> None:
        number = add(office)
        request.getfixturevalue("later_calendar")
        requests.suspend_clock(office, number, date(2026, 11, 20), SuspensionReason.IDENTITY)
        before = requests.request_state(office, number)
        office.ledger.rebuild_projections()
        assert requests.request_state(office, number) == before


class TestVersion1:
    def test_its_dates_stand_as_they_were_recorded(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        number = registered_by_version_1(office, monkeypatch, due="2026-12-22")
        page = case_page(office, number)
        assert page.line.due == page.deadline.due == page.deadline.binding_due == date(2026, 12, 22)
        assert (page.deadline.rule, page.deadline.calendar) == ("As it was written then.", "DE, holidays 0.50")
        assert "would be Friday 18 December 2026" in page.other_date
        assert page.line.summary == "Clear words of then."

    def test_a_wait_of_then_is_computed_from_the_recorded_date(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = registered_by_version_1(office, monkeypatch, due="2026-12-22")
        body = {"v": 1, "starts_on": "2026-11-20", "reason": "identity"}
        as_version_1(office, number, monkeypatch, "clock_suspended", body)
        as_version_1(office, number, monkeypatch, "clock_resumed", {"v": 1, "ends_on": "2026-11-27"})
        deadline = case_page(office, number).deadline
        assert (deadline.due, deadline.binding_due) == (date(2026, 12, 22), date(2026, 12, 22))
        assert "earlier date counts" in deadline.rule


class TestNothingEntersThatCannotBeRead:
    def test_a_question_before_the_receipt_leaves_nothing_behind(self, office: Office, clock: Clock) -> None:
        """A receipt in a zone a day ahead, then "ask for proof" in another: the whole office's list was dead."""
        office.set_timezone("Pacific/Kiritimati")
        clock.now = datetime(2026, 11, 30, 11, tzinfo=UTC)  # already 1 December there
        number = add(office, received=date(2026, 12, 1))
        office.set_timezone("Pacific/Honolulu")
        size = office.ledger.head().size
        with pytest.raises(InputError, match="before the request was received on Tuesday 1 December 2026"):
            requests.ask_for_proof(office, number)
        assert office.ledger.head().size == size
        assert requests.request_state(office, number)["status"] == "received"
        assert [line.problem for line in inbox(office)] == [""]

    def test_the_ledger_itself_tries_the_event(self, office: Office) -> None:
        number = add(office)
        body = ClockSuspended(starts_on="2026-11-01", reason="identity").to_body()
        with pytest.raises(InputError), office.ledger.transaction() as transaction:
            transaction.append(ClockSuspended.kind, body, request_id=number, actor="p-1")
        state = requests.request_state(office, number)
        body |= {"deadline": state["deadline"], "basis": state["basis"]}
        with (
            pytest.raises(InputError, match="before the request was received"),
            office.ledger.transaction() as transaction,
        ):
            transaction.append(ClockSuspended.kind, body, request_id=number, actor="p-1")
        assert bodies(office, "clock_suspended") == []

    @pytest.mark.parametrize("day", [date(2026, 12, 1), date(2027, 5, 1)])
    def test_days_in_the_future(self, office: Office, day: date) -> None:
        number = add(office)
        with pytest.raises(InputError, match=r"lies in the future.*Europe/Berlin"):
            requests.suspend_clock(office, number, day, SuspensionReason.FEE)
        with pytest.raises(InputError, match="lies in the future"):
            requests.notify_extension(office, number, day, "Complex.")
        requests.suspend_clock(office, number, date(2026, 11, 30), SuspensionReason.FEE)
        with pytest.raises(InputError, match="lies in the future"):
            requests.resume_clock(office, number, day)

    def test_days_before_the_receipt(self, office: Office) -> None:
        number = add(office)
        for record in (
            lambda: requests.suspend_clock(office, number, date(2026, 11, 17), SuspensionReason.FEE),
            lambda: requests.notify_extension(office, number, date(2026, 11, 17), "Complex."),
        ):
            with pytest.raises(InputError, match="before the request was received"):
                record()

    def test_an_answer_before_the_question_and_a_second_open_question(self, office: Office) -> None:
        number = add(office)
        requests.suspend_clock(office, number, date(2026, 11, 25), SuspensionReason.IDENTITY)
        with pytest.raises(InputError, match="before it starts"):
            requests.resume_clock(office, number, date(2026, 11, 24))
        with pytest.raises(InputError, match="suspended already"):
            requests.suspend_clock(office, number, date(2026, 11, 26), SuspensionReason.FEE)
        requests.resume_clock(office, number, date(2026, 11, 27))
        with pytest.raises(InputError, match="not suspended"):
            requests.resume_clock(office, number, date(2026, 11, 28))

    def test_a_notice_is_recorded_once_and_with_its_reasons(self, office: Office) -> None:
        number = add(office)
        with pytest.raises(InputError, match="reasons that the person was given"):
            requests.notify_extension(office, number, date(2026, 11, 20), "  ")
        requests.notify_extension(office, number, date(2026, 11, 20), "Many models.")
        with pytest.raises(InputError, match="recorded already"):
            requests.notify_extension(office, number, date(2026, 11, 21), "Again.")

    def test_what_is_refused_on_the_way_leaves_nothing(self, office: Office) -> None:
        size = office.ledger.head().size
        with pytest.raises(NotPossibleError, match="ground"):
            add(office, granted=True)
        assert office.ledger.head().size == size
        assert office.ledger.projection(REQUESTS) == {}


class TestACaseThatCannotBeRead:
    @pytest.fixture
    def bad(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
        number = registered_by_version_1(office, monkeypatch)
        body = {"v": 1, "starts_on": "2026-11-01", "reason": "identity"}
        return number, as_version_1(office, number, monkeypatch, "clock_suspended", body)

    def test_it_is_named_and_hides_no_other(self, office: Office, bad: tuple[str, int]) -> None:
        good = add(office)
        first, second = inbox(office)
        assert (first.number, second.number) == (bad[0], good)
        assert first.urgency is Urgency.UNKNOWN and first.due is None
        assert "before the request was received" in first.problem and second.problem == ""
        assert second.due == date(2026, 12, 18)

    def test_it_says_what_is_wrong_and_how_to_go_on(self, office: Office, bad: tuple[str, int]) -> None:
        number, entry = bad
        with pytest.raises(InputError, match=rf"request withdraw-entry {number} ENTRY"):
            case_page(office, number)
        with pytest.raises(InputError, match=f"those are: {entry}"):
            requests.withdraw_clock_entry(office, number, 1, "A typing error.")
        requests.withdraw_clock_entry(office, number, entry, "A typing error.")
        assert case_page(office, number).deadline.due == date(2026, 12, 18)
        assert [line.problem for line in inbox(office)] == [""]
        assert "A typing error" in case_page(office, number).timeline[-1].what

    def test_an_item_that_was_changed_in_the_vault_hides_no_other(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number, good = add(office), add(office)
        (item,) = office.ledger.sealed_items(number, requests.FORGET_SET)
        with office.ledger._database.writing() as session:
            session.connection().exec_driver_sql("UPDATE vault_item SET sealed = x'00' WHERE id = ?", (item.id,))
        first, second = inbox(office)
        assert (first.number, second.number) == (number, good)
        assert "changed outside the console" in first.problem and second.problem == ""


class TestTimeZone:
    def test_a_new_office_records_the_machine_s(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("console.casework.office.machine_zone_name", lambda: "Asia/Tokyo")
        places = Places(data=tmp_path / "o", cache=tmp_path / "c")
        late = datetime(2026, 11, 30, 20, tzinfo=UTC)
        with Office.create(places, env={}, clock=lambda: late) as office:
            assert (office.timezone, office.today()) == ("Asia/Tokyo", date(2026, 12, 1))
        monkeypatch.setattr("console.casework.office.machine_zone_name", lambda: "Pacific/Honolulu")
        with Office.open(places, env={}, clock=lambda: late) as again:
            assert again.today() == date(2026, 12, 1)
            assert again.set_timezone("pacific/honolulu") == "Pacific/Honolulu"
            assert again.today() == date(2026, 11, 30)
            with pytest.raises(InputError, match="not a time zone"):
                again.set_timezone("Atlantis")

    def test_an_older_office_says_that_the_machine_s_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("console.casework.office.machine_zone_name", lambda: "")
        with Office.create(Places(data=tmp_path / "o", cache=tmp_path / "c"), env={}) as office:
            assert office.timezone == ""
            assert "this machine's; the office has recorded none" in office.timezone_words
