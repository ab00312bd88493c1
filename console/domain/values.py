"""The same value in another spelling: a date, a telephone number, an account or identity number, a sum of money.

A request says "12 March 1984" and a model "12.03.84", and compared as texts they have nothing in common. Here an answer
that is such a value, as a whole, is compared with every value of its kind in a text. A value that could be read in two
ways ("03/04/1984") is not guessed at: it is compared as written, and :func:`only_as_written` says so.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import ClassVar, Protocol

import phonenumbers
from dateutil.parser import parserinfo
from stdnum import bic, iban
from stdnum.be import nn
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.eu import vat
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel


class Value(Protocol):
    """What an answer stands for, and where a text says the same."""

    kind: ClassVar[str]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of every place."""
        ...


def value_spans(text: str, answer: str) -> Iterator[tuple[int, int]]:
    """Where the text holds the answer's value in any spelling; nothing for an answer that is no such value."""
    value = value_of(answer)
    if value is not None:
        yield from value.spans(text)


@lru_cache(maxsize=4096)
def value_of(answer: str) -> Value | None:
    """The value that an answer is as a whole, or None: most answers are names and words."""
    text = answer.strip().rstrip(".")
    if len(text) > _LONGEST or not any(sign.isdigit() for sign in text):
        return None
    if any(form.fullmatch(text) for form in _DATE_FORMS):
        return _date_of(text)  # or nothing: a date that is none, or could be two, is no other number either
    return _date_of(text) or _money_of(text) or _phone_of(text) or _code_of(text)


def contradicted(text: str, start: int, end: int, answer: str) -> bool:
    """Whether a text that has the answer's words in this place says another value there ("1,250" in "1,250,000")."""
    value = value_of(answer)
    return isinstance(value, Money) and value.contradicted(text, start, end)


def only_as_written(answer: str) -> str | None:
    """Why an answer that looks like a value could only be compared as it is written; None where nothing is amiss."""
    text = answer.strip().rstrip(".")
    value = value_of(answer)
    if len(text) > _LONGEST or (value is not None and not isinstance(value, Code)):
        return None
    readings = {reading for found in _dates_in(text) if found.whole(text) for reading in found.readings}
    if len(readings) > 1:
        return "can be read as two dates (day first or month first); write the month as a word or the year first"
    if any(pattern.fullmatch(text) for pattern in _DATE_FORMS):
        return "looks like a date that no calendar has"
    if _IBAN_LIKE.fullmatch(re.sub(r"[\s-]", "", text)) and not iban.is_valid(text):
        return "looks like an IBAN whose check digits are wrong"
    if value is None and text.startswith("+") and text[1:2].isdigit():
        return "looks like a telephone number that no country has"
    return None


_LONGEST = 64  # characters of a value in its longest spelling

# -- dates -----------------------------------------------------------------------------------


class _Months(parserinfo):
    """dateutil's month names, and those of other European languages."""

    MONTHS = [  # noqa: RUF012
        ("jan", "january", "januar", "jän", "jänner", "janvier", "janv", "enero", "ene", "gennaio", "januari"),
        ("feb", "february", "februar", "février", "fevrier", "févr", "fév", "febrero", "febbraio", "februari"),
        ("mar", "march", "märz", "maerz", "mär", "mrz", "mars", "marzo", "maart", "mrt"),
        ("apr", "april", "avril", "avr", "abril", "abr", "aprile"),
        ("may", "mai", "mayo", "maggio", "mei"),
        ("jun", "june", "juni", "juin", "junio", "giugno"),
        ("jul", "july", "juli", "juillet", "juil", "julio", "luglio"),
        ("aug", "august", "août", "aout", "agosto", "ago", "augustus"),
        ("sep", "sept", "september", "septembre", "septiembre", "settembre"),
        ("oct", "october", "oktober", "okt", "octobre", "octubre", "ottobre"),
        ("nov", "november", "novembre", "noviembre"),
        ("dec", "december", "dezember", "dez", "décembre", "decembre", "déc", "diciembre", "dic", "dicembre"),
    ]


_MONTHS = _Months()
_NAME = "|".join(sorted((name for names in _Months.MONTHS for name in names), key=len, reverse=True))
_ORDINAL = r"(?:st|nd|rd|th|er|º|\.)?"
_OF = r"(?:of\s+|de\s+|den\s+)?"
# Not inside a word, a longer number, or a row of numbers (an address of a machine, a version).
_BEFORE = r"(?<!\w)(?<!\d[./-])(?<!\d [./-])"
_BEHIND = r"(?!\w|[./-]\d|[./-]\s?\d)"
_NUMBERS = re.compile(
    rf"{_BEFORE}(?P<one>\d{{1,4}})(?P<sep>\s?[./-]\s?|\s)(?P<two>\d{{1,2}})(?P=sep)(?P<three>\d{{1,4}})(?:(?=T\d\d:)|{_BEHIND})"
)
_DAY_FIRST = re.compile(
    rf"{_BEFORE}(?P<day>\d{{1,2}}){_ORDINAL}[\s-]*{_OF}(?P<month>{_NAME})\b\.?,?[\s-]*{_OF}(?P<year>'?\d{{2}}|\d{{4}}){_BEHIND}",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"{_BEFORE}(?P<month>{_NAME})\b\.?[\s-]*(?:the\s+)?(?P<day>\d{{1,2}}){_ORDINAL},?[\s-]+(?P<year>\d{{4}}){_BEHIND}",
    re.IGNORECASE,
)
_YEAR_FIRST = re.compile(
    rf"{_BEFORE}(?P<year>\d{{4}}),?[\s-]*(?P<month>{_NAME})\b\.?[\s-]*(?P<day>\d{{1,2}}){_ORDINAL}{_BEHIND}",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"(?<!\d)(?P<year>\d{4})\s?年\s?(?P<month>\d{1,2})\s?月\s?(?P<day>\d{1,2})\s?日")
_WORDED = (_DAY_FIRST, _MONTH_FIRST, _YEAR_FIRST, _SIGNS)
_DATE_FORMS = (_NUMBERS, *_WORDED)
_LEAD = re.compile(r"(?:on|am|le|el|il|the|den)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class _FoundDate:
    """A date in a text.

    Attributes:
        readings: (year, month, day); the year of two digits is 0 to 99. Two where day and month could be swapped.
    """

    start: int
    end: int
    readings: frozenset[tuple[int, int, int]]

    def whole(self, text: str) -> bool:
        lead = _LEAD.match(text)
        return self.end == len(text) and self.start == (lead.end() if lead else 0)


def _dates_in(text: str) -> Iterator[_FoundDate]:
    for pattern in _WORDED:
        for found in pattern.finditer(text):
            name = found["month"]
            month = int(name) if name.isdigit() else (_MONTHS.month(name) or 0)
            year = int(found["year"].strip("'"))
            if reading := _reading(year, month, int(found["day"])):
                yield _FoundDate(*found.span(), frozenset({reading}))
    for found in _NUMBERS.finditer(text):
        readings = set(filter(None, _in_order(found["one"], int(found["two"]), found["three"], found["sep"].strip())))
        if readings:
            yield _FoundDate(*found.span(), frozenset(readings))


def _in_order(one: str, two: int, three: str, separator: str) -> Iterator[tuple[int, int, int] | None]:
    """Every order in which three numbers are written: the year at one end, and with dots the day before the month."""
    if len(one) == 4 and len(three) <= 2:
        yield _reading(int(one), two, int(three))
    elif len(one) <= 2 and len(three) in {2, 4}:
        yield _reading(int(three), two, int(one))
        if separator != ".":
            yield _reading(int(three), int(one), two)


def _reading(year: int, month: int, day: int) -> tuple[int, int, int] | None:
    try:
        dt.date(year if year > 99 else 2000 + year, month, day)
    except ValueError:
        return None
    return year, month, day


@dataclass(frozen=True)
class Date:
    """A day of a year with four digits."""

    day: dt.date
    kind: ClassVar[str] = "date"

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the text says this day. One that it writes in an order that could be either says both days: a model
        that was taught in another country's order must not look ignorant."""
        full = (self.day.year, self.day.month, self.day.day)
        wanted = {full, (full[0] % 100, *full[1:])}
        for found in _dates_in(text):
            if wanted & found.readings:
                yield found.start, found.end


def _date_of(text: str) -> Date | None:
    readings = {reading for found in _dates_in(text) if found.whole(text) for reading in found.readings}
    if len(readings) != 1 or (year := next(iter(readings))[0]) < 100:
        return None
    (_, month, day) = next(iter(readings))
    return Date(dt.date(year, month, day))


# -- telephone numbers -----------------------------------------------------------------------

_LEAST_DIGITS, _MOST_DIGITS = 7, 15  # E.164 allows 15; below 7 too many numbers are something else
_DIALLED = re.compile(r"(?<![\w+])(?:\+|00)[ (]?\d(?:[ \u00a0()./\u2010-\u2013-]{0,3}\d){6,19}(?!\w)")
_PHONE_LIKE = re.compile(r"\+?[\d ()./\u00a0\u2010-\u2013-]+")
_GROUPED = re.compile(r"(?<![\w+])(?<!\d[ ./-])\(?\d(?:[ \u00a0()./\u2010-\u2013-]{0,3}\d){6,14}(?!\w|[./-]\d)")


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdecimal())


@dataclass(frozen=True)
class Phone:
    """A telephone number.

    Attributes:
        whole: digits with the country's code; "" where the answer names no country.
        national: digits as they are dialled within the country.
    """

    whole: str
    national: frozenset[str]
    kind: ClassVar[str] = "telephone number"

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the text says this number. One without a country is the same within any country."""
        dialled = list(_DIALLED.finditer(text))
        for found in dialled:
            meant = _longest_number(found[0])
            if meant is None:
                continue
            other, end = meant
            if self.whole == other.whole or (not self.whole and self.national & other.national):
                yield found.start(), found.start() + end
        for found in _GROUPED.finditer(text) if self.whole else ():
            abroad = any(one.start() < found.end() and found.start() < one.end() for one in dialled)
            if not abroad and _digits(found[0]) in self.national:
                yield found.span()


def _longest_number(text: str) -> tuple[Phone, int] | None:
    """The number that a row of groups of digits begins with, and where it ends: the longest valid one, or else the
    longest that is possible, because a date or another number may follow it."""
    ends = [len(text), *reversed([found.start() for found in re.finditer(r"\s", text)])]
    for valid in (True, False):
        for end in ends:
            number = _dialled(text[:end], valid=valid)
            if number is not None:
                return number, end
    return None


def _dialled(text: str, *, valid: bool = False) -> Phone | None:
    """A number that begins with + or 00, if such numbers are possible, or ``valid``: given out."""
    number = "+" + text[2:] if text.startswith("00") else text
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
    if not (phonenumbers.is_valid_number(parsed) if valid else phonenumbers.is_possible_number(parsed)):
        return None
    bare = phonenumbers.national_significant_number(parsed)
    at_home = _digits(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    trunk = phonenumbers.ndd_prefix_for_region(phonenumbers.region_code_for_country_code(parsed.country_code), True)
    return Phone(f"{parsed.country_code}{bare}", frozenset({bare, at_home, f"{trunk or ''}{bare}"}))


def _phone_of(text: str) -> Phone | None:
    digits = _digits(text)
    if not _PHONE_LIKE.fullmatch(text) or not _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS + 2:
        return None
    if text.startswith(("+", "00")):
        return _dialled(text)
    return Phone("", frozenset({digits}))


# -- sums of money ---------------------------------------------------------------------------

_CURRENCIES = {
    **dict.fromkeys(("€", "eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "gbp", "pound", "pounds"), "GBP"),
    **dict.fromkeys(("$", "usd", "us$", "dollar", "dollars"), "USD"),
    **dict.fromkeys(("chf", "sfr", "franken", "francs"), "CHF"),
}
_CURRENCY = "|".join(re.escape(name) for name in sorted(_CURRENCIES, key=len, reverse=True))
_NUMBER = (
    r"\d{1,3}(?:(?P<thousands>[.,' \u00a0\u202f\u2019])\d{3})(?:(?P=thousands)\d{3})*(?:[.,]\d{2})?|\d+(?:[.,]\d{2})?"
)
_MONEY = re.compile(
    rf"(?<![\w.,])(?:(?P<front>{_CURRENCY})\s?)?(?P<number>{_NUMBER})(?![.,]?\d)(?:\s?(?P<back>{_CURRENCY})(?!\w))?",
    re.IGNORECASE,
)


def _amount(written: str) -> Decimal:
    """A number with thousands in groups and cents behind a comma or a full stop."""
    whole, cents = (written[:-3], written[-2:]) if re.search(r"[.,]\d{2}$", written) else (written, "00")
    return Decimal(f"{_digits(whole)}.{cents}")


@dataclass(frozen=True)
class Money:
    """A sum in a currency."""

    amount: Decimal
    currency: str
    kind: ClassVar[str] = "sum"

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        for found in _MONEY.finditer(text):
            if _money(found) == self:
                yield found.span()

    def contradicted(self, text: str, start: int, end: int) -> bool:
        """Whether the number in this place is another one, or one of another currency."""
        for found in _MONEY.finditer(text):
            if found.start() < end and start < found.end():
                said = _money(found)
                return _amount(found["number"]) != self.amount if said is None else said != self
        return False


def _money(found: re.Match[str]) -> Money | None:
    named = found["front"] or found["back"]
    return Money(_amount(found["number"]), _CURRENCIES[named.casefold()]) if named else None


def _money_of(text: str) -> Money | None:
    found = _MONEY.fullmatch(text)
    return _money(found) if found else None


# -- account and identity numbers ------------------------------------------------------------

_CODES: tuple[ModuleType, ...] = (iban, vat, bic, idnr, nir, dni, nie, codicefiscale, bsn, nn, pesel)
_IBAN_LIKE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CODE_LIKE = re.compile(r"[^\W_]+(?:[ \u00a0./-]{1,3}[^\W_]+)*")
_RUN = re.compile(r"[^\W_]+")
_BETWEEN = re.compile(r"[ \u00a0\u202f]?[./\u2010-\u2013-]?[ \u00a0\u202f]?")
_GLUED = re.compile(r"[./\u2010-\u2013-]")
_LEAST_SIGNS, _LEAST_CODE_DIGITS = 6, 4  # shorter codes are house numbers and years


@dataclass(frozen=True)
class Code:
    """A number of an account, a person or a thing, compared without the signs that group it.

    Attributes:
        forms: capitals and digits alone; more than one where the country's letters may be left out.
    """

    forms: frozenset[str]
    kind: ClassVar[str] = "number"

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        words = list(_RUN.finditer(text))
        parted = [text[one.end() : two.start()] for one, two in pairwise(words)]
        for first, word in enumerate(words):
            if first and _GLUED.fullmatch(parted[first - 1]):
                continue  # inside a longer number
            so_far = ""
            for last in range(first, len(words)):
                if last > first and not _BETWEEN.fullmatch(parted[last - 1]):
                    break
                so_far += words[last][0].upper()
                if so_far in self.forms and not (last < len(parted) and _GLUED.fullmatch(parted[last])):
                    yield word.start(), words[last].end()
                if not any(form.startswith(so_far) for form in self.forms):
                    break


def _code_of(text: str) -> Code | None:
    compact = "".join(_RUN.findall(text)).upper()
    digits = sum(sign.isdigit() for sign in compact)
    if not _CODE_LIKE.fullmatch(text) or len(compact) < _LEAST_SIGNS or digits < _LEAST_CODE_DIGITS:
        return None
    # A sentence with a number in it is no number: every group has a digit, or is in capitals and short.
    if not all(any(map(str.isdigit, word)) or (word.isupper() and len(word) <= 4) for word in _RUN.findall(text)):
        return None
    known = {str(module.compact(text)).upper() for module in _CODES if module.is_valid(text)}
    return Code(frozenset({compact, *known}))
