"""The legal clock against worked dates, and against properties that hold for every date."""

from __future__ import annotations

import calendar as gregorian
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.domain.clock import (
    Deadline,
    ExtensionNotice,
    ExtensionState,
    Suspension,
    Urgency,
    check_received,
    compute_deadline,
    days_left,
    urgency,
)
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import (
    DueDate,
    JurisdictionProfile,
    Period,
    PeriodUnit,
    RollRule,
    SuspensionReason,
    parse_profile,
)
from console.errors import InputError

PROFILES = Path(__file__).parents[2] / "resources" / "legal" / "profiles"
GERMANY = HolidayCalendar.for_place("DE")
NO_HOLIDAYS = HolidayCalendar.from_days("DE", {}, version="none")
fast = settings(database=None, deadline=None, max_examples=150)
days = st.dates(min_value=date(2018, 5, 25), max_value=date(2040, 12, 31))
waits = st.lists(
    st.tuples(st.sampled_from(SuspensionReason), st.integers(0, 120), st.one_of(st.none(), st.integers(0, 90))),
    max_size=4,
)


def profile(name: str) -> JurisdictionProfile:
    return parse_profile((PROFILES / f"{name}.json").read_text(encoding="utf-8"))


EU = profile("eu-gdpr")
UK = profile("uk-gdpr")


def day(text: str) -> date:
    return date.fromisoformat(text)


def wait(starts_on: str, ends_on: str | None, reason: SuspensionReason = SuspensionReason.CLARIFICATION) -> Suspension:
    return Suspension(
        reason=reason, starts_on=day(starts_on), ends_on=day(ends_on) if ends_on else None, note_id="note-1"
    )


def notice(notified_on: str) -> ExtensionNotice:
    return ExtensionNotice(notified_on=day(notified_on), note_id="note-2")


def drawn_waits(received: date, drawn: list[tuple[SuspensionReason, int, int | None]]) -> tuple[Suspension, ...]:
    return tuple(
        Suspension(
            reason=reason,
            starts_on=received + timedelta(days=begin),
            ends_on=None if length is None else received + timedelta(days=begin + length),
            note_id="note",
        )
        for reason, begin, length in drawn
    )


class TestGoldenVectors:
    """Received, due, due if extended; the last column is what adding 30 days would give."""

    @pytest.mark.parametrize(
        ("received", "due", "due_extended"),
        [
            ("2025-01-31", "2025-02-28", "2025-04-30"),
            ("2024-01-31", "2024-02-29", "2024-04-30"),
            ("2025-03-05", "2025-04-07", "2025-06-05"),
            ("2025-04-01", "2025-05-02", "2025-07-01"),
            ("2025-08-31", "2025-09-30", "2025-12-01"),
            ("2025-11-25", "2025-12-29", "2026-02-25"),
            ("2025-12-31", "2026-02-02", "2026-03-31"),
        ],
    )
    def test_germany(self, received: str, due: str, due_extended: str) -> None:
        deadline = compute_deadline(day(received), EU, GERMANY)
        assert (deadline.due, deadline.due_extended) == (day(due), day(due_extended))
        assert deadline.binding_due == deadline.effective_due == deadline.due

    @pytest.mark.parametrize(
        ("place", "received", "due"),
        [
            (("DE", "BY"), "2024-12-06", "2025-01-07"),  # Epiphany is a holiday in Bavaria ...
            (("DE", "BE"), "2024-12-06", "2025-01-06"),  # ... and a working day in Berlin
            (("IE", None), "2025-04-01", "2025-05-01"),  # Ireland works on 1 May
            (("IE", None), "2025-12-31", "2026-02-03"),  # Saint Brigid's Day, Monday 2 February 2026
            (("FR", None), "2025-06-14", "2025-07-15"),  # 14 July
            (("GR", None), "2025-03-18", "2025-04-22"),  # Orthodox Good Friday and Easter Monday
        ],
    )
    def test_holidays_of_the_place(self, place: tuple[str, str | None], received: str, due: str) -> None:
        assert compute_deadline(day(received), EU, HolidayCalendar.for_place(*place)).due == day(due)

    def test_substitute_bank_holidays(self) -> None:
        england = HolidayCalendar.for_place("GB", "ENG")
        assert compute_deadline(day("2021-11-26"), UK, england).due == day("2021-12-29")

    @pytest.mark.parametrize(
        ("received", "due", "due_extended"),
        [("2025-03-05", "2025-04-19", "2025-06-03"), ("2024-01-31", "2024-03-16", "2024-04-30")],
    )
    def test_california_counts_calendar_days_and_does_not_roll(
        self, received: str, due: str, due_extended: str
    ) -> None:
        deadline = compute_deadline(day(received), profile("us-ca-ccpa"), HolidayCalendar.for_place("US", "CA"))
        assert (deadline.due, deadline.due_extended) == (day(due), day(due_extended))

    def test_california_acknowledges_in_business_days(self) -> None:
        california = HolidayCalendar.for_place("US", "CA")
        # Friday 3 July 2026 is the observed holiday; the weekends of 4 and 11 July do not count either.
        assert compute_deadline(day("2026-07-01"), profile("us-ca-ccpa"), california).acknowledge_due == day(
            "2026-07-16"
        )

    @pytest.mark.parametrize(("name", "due"), [("br-lgpd", "2025-03-20"), ("ca-qc-law25", "2025-04-04")])
    def test_laws_without_extension(self, name: str, due: str) -> None:
        deadline = compute_deadline(day("2025-03-05"), profile(name), NO_HOLIDAYS, extension=notice("2025-03-10"))
        assert (deadline.due, deadline.due_extended) == (day(due), None)
        assert deadline.extension_state is ExtensionState.NOT_ALLOWED
        assert deadline.binding_due == day(due)

    def test_a_law_without_days_says_so(self) -> None:
        india = profile("in-dpdp")
        with pytest.raises(InputError, match="sets no number of days"):
            compute_deadline(day("2025-03-05"), india, NO_HOLIDAYS)
        published = india.with_published_period(Period(count=30, unit=PeriodUnit.DAYS))
        assert compute_deadline(day("2025-03-05"), published, NO_HOLIDAYS).due == day("2025-04-04")


class TestTraps:
    def test_extension_is_counted_from_receipt_and_not_chained(self) -> None:
        deadline = compute_deadline(day("2025-01-31"), EU, GERMANY, extension=notice("2025-02-20"))
        assert deadline.extension_state is ExtensionState.VALID
        # One month ends on 28 February; two months after that would be 28 April.
        assert deadline.binding_due == day("2025-04-30")

    def test_a_rolled_due_date_does_not_move_the_extension(self) -> None:
        deadline = compute_deadline(day("2025-12-31"), EU, GERMANY)
        assert deadline.due == day("2026-02-02")
        assert deadline.due_extended == day("2026-03-31")

    def test_thirty_days_are_not_a_month(self) -> None:
        assert compute_deadline(day("2025-01-31"), EU, GERMANY).due < day("2025-01-31") + timedelta(days=30)

    @pytest.mark.parametrize("received", ["2024-02-29", "2023-01-29", "2024-01-29", "2024-01-30"])
    def test_leap_years(self, received: str) -> None:
        start = day(received)
        last = gregorian.monthrange(start.year, start.month + 1)[1]
        raw = date(start.year, start.month + 1, min(start.day, last))
        assert compute_deadline(start, EU, NO_HOLIDAYS).due == NO_HOLIDAYS.next_working_day(raw)

    @pytest.mark.parametrize(
        ("notified", "state"),
        [("2025-04-07", ExtensionState.VALID), ("2025-04-08", ExtensionState.LATE)],
    )
    def test_the_rolled_day_is_the_last_for_the_notice(self, notified: str, state: ExtensionState) -> None:
        deadline = compute_deadline(day("2025-03-05"), EU, GERMANY, extension=notice(notified))
        assert deadline.extension_state is state
        assert deadline.due_extended == day("2025-06-05")
        assert deadline.binding_due == (day("2025-06-05") if state is ExtensionState.VALID else day("2025-04-07"))

    def test_late_extension_is_named(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), EU, GERMANY, extension=notice("2025-05-01"))
        assert deadline.extension_state.value == "late extension"
        assert "Late extension" in deadline.rule
        assert any("invalid" in step for step in deadline.steps)

    def test_the_deadline_is_a_stored_date_on_every_later_day(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), EU, GERMANY)
        read_again = Deadline.model_validate_json(deadline.model_dump_json())
        assert read_again == deadline
        assert [days_left(read_again, deadline.due - timedelta(days=n)) for n in (2, 1, 0, -1)] == [2, 1, 0, -1]


class TestReasons:
    def test_the_missing_day_is_explained(self) -> None:
        rule = compute_deadline(day("2025-01-31"), EU, GERMANY).rule
        assert rule == (
            "One month from receipt, same date; 31 February does not exist, so the last day of the month: "
            "Friday 28 February 2025."
        )

    def test_every_day_that_is_passed_over_is_named(self) -> None:
        deadline = compute_deadline(day("2025-11-25"), EU, GERMANY)
        assert "Thursday 25 December 2025 is a public holiday (Christmas Day)" in deadline.rule
        steps = "\n".join(deadline.steps)
        for named in ("26 December 2025 is a public holiday", "Saturday 27", "Sunday 28", "Monday 29 December 2025"):
            assert named in steps

    def test_the_calendar_is_named_with_its_version(self) -> None:
        bavaria = HolidayCalendar.for_place("de", "Bayern")
        assert compute_deadline(day("2025-01-31"), EU, bavaria).calendar == f"DE-BY, holidays {bavaria.version}"

    def test_a_profile_that_does_not_roll_says_so(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), profile("us-ca-ccpa"), NO_HOLIDAYS)
        assert any("does not move the date" in step for step in deadline.steps)

    def test_internal_target_is_never_later_than_the_law(self) -> None:
        assert compute_deadline(day("2025-01-31"), EU, GERMANY).internal_target == day("2025-02-28")
        assert compute_deadline(day("2025-03-05"), EU, GERMANY).internal_target == day("2025-04-02")


class TestSuspensions:
    def test_strict_profile_shows_both_dates_and_keeps_the_earlier(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), EU, GERMANY, [wait("2025-03-10", "2025-03-20")])
        assert deadline.due == deadline.binding_due == day("2025-04-07")
        # Saturday 5 April plus ten days.
        assert deadline.effective_due == day("2025-04-15")
        assert "15 April 2025" in deadline.rule

    def test_effective_profile_moves_the_date_that_counts(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, [wait("2025-03-10", "2025-03-20")])
        assert (deadline.due, deadline.binding_due) == (day("2025-04-07"), day("2025-04-15"))

    def test_uk_month_runs_from_the_proof_of_identity(self) -> None:
        identity = wait("2025-03-06", "2025-03-20", SuspensionReason.IDENTITY)
        deadline = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, [identity])
        assert deadline.binding_due == day("2025-04-21")  # Sunday 20 April rolls

    def test_uk_extension_may_be_notified_until_the_moved_date(self) -> None:
        identity = wait("2025-03-06", "2025-03-20", SuspensionReason.IDENTITY)
        on_last_day = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, [identity], notice("2025-04-21"))
        too_late = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, [identity], notice("2025-04-22"))
        assert on_last_day.extension_state is ExtensionState.VALID
        assert on_last_day.binding_due == day("2025-06-20")
        assert too_late.extension_state is ExtensionState.LATE

    def test_overlapping_waits_count_once(self) -> None:
        overlapping = [
            wait("2025-03-10", "2025-03-20"),
            wait("2025-03-15", "2025-03-18"),
            wait("2025-03-18", "2025-03-22"),
        ]
        one = [wait("2025-03-10", "2025-03-22")]
        received = day("2025-03-05")
        assert (
            compute_deadline(received, UK, NO_HOLIDAYS, overlapping).binding_due
            == compute_deadline(received, UK, NO_HOLIDAYS, one).binding_due
        )

    def test_order_does_not_matter(self) -> None:
        several = [wait("2025-03-10", "2025-03-20"), wait("2025-03-25", "2025-03-28")]
        received = day("2025-03-05")
        assert compute_deadline(received, UK, NO_HOLIDAYS, several) == compute_deadline(
            received, UK, NO_HOLIDAYS, several[::-1]
        )

    def test_a_question_after_the_time_was_over_does_not_count(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, [wait("2025-04-08", "2025-06-01")])
        assert deadline.binding_due == day("2025-04-07")
        assert any("does not count" in step for step in deadline.steps)

    def test_open_wait_pauses_only_where_the_effective_date_binds(self) -> None:
        open_wait = [wait("2025-03-10", None)]
        uk = compute_deadline(day("2025-03-05"), UK, NO_HOLIDAYS, open_wait)
        eu = compute_deadline(day("2025-03-05"), EU, NO_HOLIDAYS, open_wait)
        assert uk.paused and eu.paused
        assert urgency(uk, day("2025-09-01")) is Urgency.PAUSED
        assert urgency(eu, day("2025-09-01")) is Urgency.OVERDUE

    def test_business_days_stand_still_on_working_days_only(self) -> None:
        law = JurisdictionProfile(
            id="office-rule",
            title="Office rule",
            law="House rule 7",
            version="1",
            period=Period(count=10, unit=PeriodUnit.BUSINESS_DAYS),
            roll=RollRule.NEXT_WORKING_DAY,
            binds=DueDate.EFFECTIVE,
        )
        # Monday 3 March 2025; ten business days end on Monday 17 March. A wait from Friday to Monday is one of them.
        deadline = compute_deadline(day("2025-03-03"), law, NO_HOLIDAYS, [wait("2025-03-07", "2025-03-10")])
        assert (deadline.due, deadline.binding_due) == (day("2025-03-17"), day("2025-03-18"))

    @pytest.mark.parametrize(
        "broken",
        [
            lambda: wait("2025-03-20", "2025-03-10"),
            lambda: compute_deadline(day("2025-03-05"), EU, NO_HOLIDAYS, [wait("2025-03-04", None)]),
            lambda: compute_deadline(day("2025-03-05"), EU, NO_HOLIDAYS, extension=notice("2025-03-04")),
            lambda: compute_deadline(day("0025-03-05"), EU, NO_HOLIDAYS),
            lambda: compute_deadline(day("9999-12-31"), EU, NO_HOLIDAYS),
        ],
    )
    def test_dates_that_cannot_be(self, broken: object) -> None:
        with pytest.raises(InputError):
            broken()  # type: ignore[operator]


class TestReceived:
    def test_today_is_accepted_and_tomorrow_is_not(self) -> None:
        today = day("2026-03-01")
        assert check_received(today, today) is None
        with pytest.raises(InputError, match="lies in the future"):
            check_received(today + timedelta(days=1), today)


class TestUrgency:
    @pytest.mark.parametrize(
        ("today", "expected"),
        [
            ("2025-03-05", Urgency.ON_TRACK),
            ("2025-03-29", Urgency.ON_TRACK),
            ("2025-03-30", Urgency.DUE_SOON),  # 33 days in all: a quarter is 8 days before 7 April
            ("2025-04-02", Urgency.DUE_SOON),
            ("2025-04-03", Urgency.CRITICAL),  # only Friday 4 and Monday 7 April are left
            ("2025-04-07", Urgency.CRITICAL),
            ("2025-04-08", Urgency.OVERDUE),
        ],
    )
    def test_colours(self, today: str, expected: Urgency) -> None:
        assert urgency(compute_deadline(day("2025-03-05"), EU, GERMANY), day(today)) is expected

    def test_seven_days_are_soon_even_when_a_quarter_is_less(self) -> None:
        deadline = compute_deadline(day("2025-03-05"), profile("br-lgpd"), NO_HOLIDAYS)
        assert urgency(deadline, day("2025-03-12")) is Urgency.ON_TRACK
        assert urgency(deadline, day("2025-03-13")) is Urgency.DUE_SOON

    def test_an_answered_request_is_never_overdue(self) -> None:
        assert (
            urgency(compute_deadline(day("2025-03-05"), EU, GERMANY), day("2026-01-01"), answered=True)
            is Urgency.ANSWERED
        )


class TestProperties:
    @fast
    @given(days)
    def test_due_is_a_working_day_and_not_before_the_same_date(self, received: date) -> None:
        deadline = compute_deadline(received, EU, GERMANY)
        year, month = (received.year + received.month // 12, received.month % 12 + 1)
        raw = date(year, month, min(received.day, gregorian.monthrange(year, month)[1]))
        assert GERMANY.is_working_day(deadline.due)
        assert deadline.due >= raw
        assert not any(GERMANY.is_working_day(raw + timedelta(days=n)) for n in range((deadline.due - raw).days))

    @fast
    @given(days, st.integers(1, 40))
    def test_a_later_request_is_never_due_earlier(self, received: date, later: int) -> None:
        first = compute_deadline(received, EU, GERMANY)
        second = compute_deadline(received + timedelta(days=later), EU, GERMANY)
        assert first.due <= second.due
        assert first.due_extended <= second.due_extended  # type: ignore[operator]

    @fast
    @given(days)
    def test_extension_is_later_and_within_three_months(self, received: date) -> None:
        deadline = compute_deadline(received, EU, NO_HOLIDAYS)
        assert deadline.due_extended is not None
        assert deadline.due < deadline.due_extended
        quarter = received.month - 1 + 3
        same_date = date(received.year + quarter // 12, quarter % 12 + 1, 1)
        assert (deadline.due_extended - timedelta(days=2)).replace(day=1) <= same_date <= deadline.due_extended

    @fast
    @given(days, waits, st.booleans(), st.sampled_from((EU, UK)))
    def test_waiting_never_shortens(
        self,
        received: date,
        drawn: list[tuple[SuspensionReason, int, int | None]],
        extended: bool,
        law: JurisdictionProfile,
    ) -> None:
        told = ExtensionNotice(notified_on=received, note_id="note") if extended else None
        without = compute_deadline(received, law, GERMANY, extension=told)
        with_waits = compute_deadline(received, law, GERMANY, drawn_waits(received, drawn), told)
        assert (with_waits.due, with_waits.due_extended) == (without.due, without.due_extended)
        assert with_waits.effective_due >= without.effective_due
        assert with_waits.binding_due >= without.binding_due
        assert GERMANY.is_working_day(with_waits.effective_due)

    @fast
    @given(days, st.integers(0, 200))
    def test_a_late_notice_changes_no_date(self, received: date, after: int) -> None:
        without = compute_deadline(received, EU, GERMANY)
        told = ExtensionNotice(notified_on=received + timedelta(days=after), note_id="note")
        deadline = compute_deadline(received, EU, GERMANY, extension=told)
        in_time = told.notified_on <= without.due
        assert (deadline.extension_state is ExtensionState.VALID) is in_time
        assert deadline.binding_due == (without.due_extended if in_time else without.due)

    @fast
    @given(days, st.integers(0, 60))
    def test_urgency_only_grows(self, received: date, passed: int) -> None:
        order = [Urgency.ON_TRACK, Urgency.DUE_SOON, Urgency.CRITICAL, Urgency.OVERDUE]
        deadline = compute_deadline(received, EU, GERMANY)
        today = received + timedelta(days=passed)
        now, tomorrow = urgency(deadline, today), urgency(deadline, today + timedelta(days=1))
        assert order.index(now) <= order.index(tomorrow)
        left = GERMANY.working_days_between(today, deadline.due)
        assert (now in {Urgency.CRITICAL, Urgency.OVERDUE}) is (left <= 2)
        soon = days_left(deadline, today) <= 7 or 4 * days_left(deadline, today) <= (deadline.due - received).days
        assert (now is not Urgency.ON_TRACK) is (soon or left <= 2)
