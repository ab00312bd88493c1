"""Values: the same date, number, account or sum in another spelling, and never somebody else's."""

from __future__ import annotations

import datetime as dt

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.domain.matching import answer_in, find_answer
from console.domain.values import only_as_written, value_of, value_spans

BORN = "12 March 1984"
NATIONAL, ABROAD = "0171 5550142", "+49 171 5550142"
IBAN = "GB29 NWBK 6016 1331 9268 19"


class TestDates:
    @pytest.mark.parametrize(
        "text",
        [
            "born 12.03.1984 in Quenby",
            "12.3.84",
            "March 12th, 1984.",
            "MARCH 12 1984",
            "12. März 1984",
            "am 12. Mrz. 1984 geboren",
            "le 12 mars 1984",
            "12 de marzo de 1984",
            "the 12th of March, 1984",
            "12-Mar-1984",
            "12 March '84",
            "1984-03-12",
            "1984-03-12T08:30:00",
            "1984 March 12",
            "12/03/1984",
            "03/12/1984",
            "1984年3月12日",
        ],
    )
    def test_every_spelling_of_a_day(self, text: str) -> None:
        assert answer_in(text, [BORN])
        assert answer_in(text, ["1984-03-12"])
        assert answer_in(f"{text} (she says)", ["12.03.1984"])

    @pytest.mark.parametrize(
        "text",
        [
            "3.12.1984",
            "3 December 1984",
            "13 March 1984",
            "12 March 1985",
            "12 March 1884",
            "12 March",
            "March 1984",
            "112.03.1984",
            "12.03.19845",
            "12.03.1984.7",
            "version 4.12.03.1984",
            "1984-12-03",
            "5512 03 1984",
            "12 Marching 1984",
            "12 March 19841",
            "account 12031984",
        ],
    )
    def test_another_day_or_a_longer_number(self, text: str) -> None:
        assert not answer_in(text, [BORN])

    @given(
        day=st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31)),
        other=st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31)),
        form=st.sampled_from(["%d %B %Y", "%B %d, %Y", "%Y-%m-%d", "%d.%m.%Y", "%d. %b %Y"]),
        text_form=st.sampled_from(["%d %B %Y", "%B %d, %Y", "%Y-%m-%d", "%d.%m.%Y", "%d. %b %Y"]),
    )
    @settings(max_examples=400, deadline=None, database=None)
    def test_a_day_is_that_day_alone(self, day: dt.date, other: dt.date, form: str, text_form: str) -> None:
        answer = day.strftime(form)
        assert answer_in(f"It was {day.strftime(text_form)}.", [answer])
        assert answer_in(f"It was {other.strftime(text_form)}.", [answer]) is (day == other)


class TestTelephoneNumbers:
    @pytest.mark.parametrize(
        "text",
        [
            "+49 (0)171 555-0142",
            "+491715550142",
            "0049 171 5550142",
            "call +49 171 5550142, 12 March",
            "+49 171 5550142 12 March",
            "+49 171 5550142 ext. 7",
            "0171/5550142",
        ],
    )
    def test_with_and_without_the_country(self, text: str) -> None:
        assert answer_in(text, [NATIONAL])
        assert answer_in(text, [ABROAD])

    @pytest.mark.parametrize(
        "text",
        [
            "+49 171 5550143",
            "+49 171 55501422",
            "+49 (0)172 555-0142",
            "0172 5550142",
            "90171 5550142",
            "1 0171 5550143",
        ],
    )
    def test_somebody_elses(self, text: str) -> None:
        assert not answer_in(text, [NATIONAL])
        assert not answer_in(text, [ABROAD])

    def test_the_country_counts_where_both_name_one(self) -> None:
        assert not answer_in("+44 171 5550142", [ABROAD])
        assert not answer_in("+44 171 5550142", ["0049 171 5550142"])

    @given(
        region=st.sampled_from(["DE", "FR", "GB", "US", "ES", "IT", "PL", "CH"]),
        changed=st.integers(0, 8),
        by=st.integers(1, 9),
    )
    @settings(max_examples=200, deadline=None, database=None)
    def test_a_number_with_another_digit_is_another_number(self, region: str, changed: int, by: int) -> None:
        number = phonenumbers.example_number(region)
        bare = phonenumbers.national_significant_number(number)
        place = changed % len(bare)
        other = bare[:place] + str((int(bare[place]) + by) % 10) + bare[place + 1 :]
        international = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        for answer in (international, national):
            assert answer_in(f"It is {international}.", [answer]), (answer, international)
            assert not answer_in(f"It is +{number.country_code} {other}.", [answer])
        assert answer_in(f"It is {national}.", [international])


class TestAccountsAndSums:
    @pytest.mark.parametrize("text", ["GB29NWBK60161331926819", "gb29-nwbk-6016-1331-9268-19", f"to {IBAN}, please"])
    def test_an_account_however_it_is_grouped(self, text: str) -> None:
        assert answer_in(text, [IBAN])

    @pytest.mark.parametrize(
        "text", ["GB29NWBK601613319268199", "GB29 NWBK 6016 1331 9268 18", "GB29NWBK60161331926819-4"]
    )
    def test_another_account(self, text: str) -> None:
        assert not answer_in(text, [IBAN])

    def test_an_identity_number_with_a_letter(self) -> None:
        assert answer_in("DNI 54362315K", ["54362315-K"])
        assert answer_in("KD4711AB", ["KD-4711-AB"])
        assert not answer_in("DNI 54362315Z", ["54362315-K"])

    @pytest.mark.parametrize(
        ("text", "same"),
        [
            ("1.250,00 €", True),
            ("EUR 1250", True),
            ("1 250 euros", True),
            ("1.250,50 €", False),
            ("11,250 €", False),
            ("€1,250,000", False),
            ("1,250 USD", False),
        ],
    )
    def test_a_sum(self, text: str, same: bool) -> None:
        assert answer_in(text, ["€1,250"]) is same


class TestSpans:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (BORN, "12.03.1984"),
            (NATIONAL, "+49 (0)171 555-0142"),
            (IBAN, "GB29NWBK60161331926819"),
            ("€1,250", "EUR 1250"),
        ],
    )
    def test_what_is_blotted_out_is_the_spelling_in_the_text(self, answer: str, said: str) -> None:
        text = f"Her file says {said}, I think."
        place = find_answer(text, [answer])
        assert place is not None
        assert text[slice(*place)] == said

    @given(text=st.text(max_size=80), answer=st.text(max_size=30))
    @settings(max_examples=500, deadline=None, database=None)
    def test_no_text_breaks_it(self, text: str, answer: str) -> None:
        assert all(0 <= start < end <= len(text) for start, end in value_spans(text, answer))
        only_as_written(answer)


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ("03/04/1984", "two dates"),
            ("31.02.1984", "no calendar"),
            ("DE89 3704 0044 0532 0130 01", "check digits"),
            ("+999 12", "no country"),
        ],
    )
    def test_it_is_said(self, answer: str, why: str) -> None:
        assert why in (only_as_written(answer) or "")

    @pytest.mark.parametrize(
        "answer", [BORN, NATIONAL, ABROAD, IBAN, "€1,250", "bell founder", "Quenby", "7", "KD4711AB"]
    )
    def test_and_of_nothing_else(self, answer: str) -> None:
        assert only_as_written(answer) is None

    @pytest.mark.parametrize("answer", ["bell founder", "Quenby", "7", "1984", "Vitamin B12 deficiency", "", "Apt. 12"])
    def test_words_are_no_values(self, answer: str) -> None:
        assert value_of(answer) is None
