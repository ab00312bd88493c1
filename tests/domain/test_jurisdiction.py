"""Profiles as data, and the calendars they are used with."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import (
    DueDate,
    JurisdictionProfile,
    Period,
    PeriodUnit,
    RollRule,
    SuspensionReason,
    parse_profile,
    resolve_profile,
)
from console.errors import InputError

PROFILES = Path(__file__).parents[2] / "resources" / "legal" / "profiles"
SHIPPED = {path.stem: parse_profile(path.read_text(encoding="utf-8")) for path in sorted(PROFILES.glob("*.json"))}


def content(**changes: Any) -> str:
    base = {
        "id": "xx-law",
        "title": "A law",
        "law": "Section 1",
        "version": "1",
        "period": {"count": 30, "unit": "days"},
        "roll": "none",
    }
    return json.dumps({**base, **changes})


class TestShippedProfiles:
    def test_all_are_there_under_their_own_name(self) -> None:
        assert set(SHIPPED) == {"eu-gdpr", "uk-gdpr", "us-ca-ccpa", "br-lgpd", "in-dpdp", "ca-qc-law25"}
        assert {name: found.id for name, found in SHIPPED.items()} == {name: name for name in SHIPPED}

    @pytest.mark.parametrize(
        ("name", "period", "extended", "acknowledge"),
        [
            ("eu-gdpr", "one month", "three months", None),
            ("uk-gdpr", "one month", "three months", None),
            ("us-ca-ccpa", "45 days", "90 days", "ten business days"),
            ("br-lgpd", "15 days", None, None),
            ("in-dpdp", None, None, None),
            ("ca-qc-law25", "30 days", None, None),
        ],
    )
    def test_periods(self, name: str, period: str | None, extended: str | None, acknowledge: str | None) -> None:
        found = SHIPPED[name]
        words = [item.words if item else None for item in (found.period, found.extended_period, found.acknowledge)]
        assert words == [period, extended, acknowledge]

    def test_only_the_uk_clock_stops(self) -> None:
        assert [name for name, found in SHIPPED.items() if found.binds is DueDate.EFFECTIVE] == ["uk-gdpr"]
        assert SHIPPED["uk-gdpr"].restarts == (SuspensionReason.IDENTITY, SuspensionReason.FEE)

    def test_dates_move_only_where_a_text_says_so(self) -> None:
        moving = [name for name, found in SHIPPED.items() if found.roll is RollRule.NEXT_WORKING_DAY]
        assert moving == ["eu-gdpr", "uk-gdpr"]

    def test_california_keeps_records_for_two_years(self) -> None:
        assert SHIPPED["us-ca-ccpa"].record_keeping_months == 24

    def test_india_says_that_it_sets_no_days(self) -> None:
        assert any("sets no number of days" in note for note in SHIPPED["in-dpdp"].notes)

    def test_every_profile_names_its_law_and_explains_itself(self) -> None:
        for found in SHIPPED.values():
            assert found.law and found.version and found.notes
            assert all(note.endswith(".") for note in found.notes)


class TestParsing:
    def test_an_own_profile_needs_little(self) -> None:
        own = parse_profile(content(period={"count": 10, "unit": "business_days"}))
        assert own.period == Period(count=10, unit=PeriodUnit.BUSINESS_DAYS)
        assert (own.binds, own.extension, own.restarts) == (DueDate.STRICT, None, ())

    def test_round_trip(self) -> None:
        for found in SHIPPED.values():
            assert parse_profile(found.model_dump_json()) == found

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("{", "line 1, column 2"),
            ("[]", "correct it"),
            (content(period={"count": 0, "unit": "days"}), "'period.count'"),
            (content(period={"count": 3, "unit": "weeks"}), "'period.unit'"),
            (content(id="EU GDPR"), "'id'"),
            (content(roll=None), "'roll'"),
            (content(perod=1), "'perod'"),
            (content(title=" "), "'title'"),
            (content(extension={"count": 2, "unit": "months"}), "same unit"),
            (content(period=None, extension={"count": 2, "unit": "days"}), "needs a period"),
            (content(restarts=["weather"]), "'restarts.0'"),
        ],
    )
    def test_faults_are_named_in_one_sentence(self, text: str, named: str) -> None:
        with pytest.raises(InputError) as caught:
            parse_profile(text)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_field_is_named(self) -> None:
        with pytest.raises(InputError, match="'period'"):
            parse_profile(json.dumps({"id": "x", "title": "t", "law": "l", "version": "1", "roll": "none"}))


class TestResolving:
    def test_known_id(self) -> None:
        assert resolve_profile(SHIPPED, "eu-gdpr").title == "European Union (GDPR)"

    def test_unknown_id_lists_the_known_ones(self) -> None:
        with pytest.raises(InputError) as caught:
            resolve_profile(SHIPPED, "eu-gpdr")
        assert all(name in str(caught.value) for name in SHIPPED)

    def test_a_law_with_days_cannot_be_replaced(self) -> None:
        with pytest.raises(InputError, match="one month by law"):
            SHIPPED["eu-gdpr"].with_published_period(Period(count=90, unit=PeriodUnit.DAYS))

    def test_a_published_period_shows_in_the_version(self) -> None:
        published = SHIPPED["in-dpdp"].with_published_period(Period(count=30, unit=PeriodUnit.DAYS))
        assert published.version != SHIPPED["in-dpdp"].version
        assert isinstance(published, JurisdictionProfile) and published.period is not None


class TestCalendars:
    @pytest.mark.parametrize(
        ("country", "subdivision", "place"),
        [
            ("de", None, "DE"),
            ("DE", "by", "DE-BY"),
            ("DE", "Bayern", "DE-BY"),
            ("DE", "DE-BY", "DE-BY"),
            ("DE", " ", "DE"),
            ("uk", "eng", "GB-ENG"),
            ("EL", None, "GR"),
        ],
    )
    def test_places(self, country: str, subdivision: str | None, place: str) -> None:
        calendar = HolidayCalendar.for_place(country, subdivision)
        assert calendar.label == f"{place}, holidays {calendar.version}"
        assert calendar.version[0].isdigit()

    def test_unknown_country(self) -> None:
        with pytest.raises(InputError, match="country 'ZZ': use a two-letter code such as DE"):
            HolidayCalendar.for_place("ZZ")

    def test_unknown_subdivision(self) -> None:
        with pytest.raises(InputError, match="subdivision 'Texas': use one such as BB, BE"):
            HolidayCalendar.for_place("DE", "Texas")

    def test_country_without_parts(self) -> None:
        with pytest.raises(InputError, match="has no parts"):
            HolidayCalendar.for_place("VA", "North")

    def test_working_days(self) -> None:
        office = HolidayCalendar.from_days("DE", {date(2025, 5, 1): "Labour Day"}, version="2025")
        assert office.reason_not_working(date(2025, 5, 1)) == "Labour Day"
        assert office.reason_not_working(date(2025, 5, 3)) == "Saturday"
        assert office.reason_not_working(date(2025, 5, 2)) is None
        assert office.next_working_day(date(2025, 5, 1)) == date(2025, 5, 2)
        assert office.previous_working_day(date(2025, 5, 1)) == date(2025, 4, 30)
        assert office.add_working_days(date(2025, 4, 30), 2) == date(2025, 5, 5)
        assert office.working_days_between(date(2025, 4, 30), date(2025, 5, 5)) == 2
        assert office.label == "DE, fixed list 2025"
