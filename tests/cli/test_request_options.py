"""The options of ``request add`` and ``deadline``: whatever is typed ends in an answer or in one sentence of ours.

``ERASURE_CONSOLE_FUZZ`` sets the number of random command lines of each (25 unless set).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from console import cli
from console.casework.office import Office
from console.paths import Places

EXAMPLES = int(os.environ.get("ERASURE_CONSOLE_FUZZ", "25"))
FACTS = "subject,prompt,answer\nMira Okonjo,Where does Mira Okonjo live?,Lindau\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An office, and a file of facts beside it."""
    (tmp_path / "facts.csv").write_text(FACTS, encoding="utf-8")
    made = Places(data=tmp_path / "office", cache=tmp_path / "cache")
    with Office.create(made, env={}):
        return made


@pytest.fixture(scope="module")
def commands() -> Command:
    """The tree of commands, built once: a process builds it once as well, and it takes longer than a calendar."""
    return get_command(cli.app)


@pytest.fixture
def run(commands: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: its exit code and what it printed."""
    monkeypatch.setattr(cli, "app", commands)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["erasure-console", *arguments])
        code = cli.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def add(places: Places, *options: str, received: str = "2026-11-02", country: str = "DE") -> list[str]:
    facts = str(places.data.parent / "facts.csv")
    given_place = ["--received", received, "--country", country, "--forget-set", facts]
    return ["request", "add", *given_place, "--data-dir", str(places.data), *options]


def recorded(places: Places) -> str:
    """What the file beside the ledger says of its end: it changes with every entry."""
    return places.ledger.with_name("ledger.head.json").read_text(encoding="utf-8")


class TestByHand:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--summary", "one\nforged"], "The summary has more than one line"),
            (["--summary", "a\udcff"], "The summary holds bytes that are not UTF-8"),
            (["--subject", "a\udcff"], "The subject holds bytes that are not UTF-8"),
            (["--forget-set", ""], "No file was named to read"),
        ],
    )
    def test_what_is_no_line_of_text_is_refused(self, places: Places, run: Run, options: list[str], said: str) -> None:
        before = recorded(places)
        code, _, beside = run(*add(places, *options))
        assert (code, recorded(places)) == (2, before)
        assert beside.startswith(f"erasure-console: {said}")

    @pytest.mark.parametrize("day", ["20261102", "2026-W45-1", "2026-306", "2026-11-2", "2026-11-02T00:00"])
    def test_a_day_in_another_form_is_refused(self, places: Places, run: Run, day: str) -> None:
        code, _, beside = run(*add(places, received=day))
        assert (code, "write year-month-day" in beside) == (2, True)

    def test_the_reason_of_a_grant_is_kept(self, places: Places, run: Run) -> None:
        number = json.loads(run(*add(places, "--json"))[1])["number"]
        assert run("request", "confirm", number, "--data-dir", str(places.data))[0] == 0
        decide = ["request", "decide", number, "--grant", "--ground", "b", "--data-dir", str(places.data)]
        for idle in (["--basis", "unfounded"], ["--exception", "e"]):
            code, _, beside = run(*decide, *idle)
            assert code == 2 and f"{idle[0]} belongs to --refuse and not to --grant" in beside
        assert run(*decide, "--reason", "she has withdrawn it")[0] == 0
        assert "(she has withdrawn it)" in run("request", "show", number, "--data-dir", str(places.data))[1]

    def test_a_refusal_takes_no_ground(self, places: Places, run: Run) -> None:
        number = json.loads(run(*add(places, "--json"))[1])["number"]
        decide = ["request", "decide", number, "--refuse", "--ground", "b", "--data-dir", str(places.data)]
        code, _, beside = run(*decide)
        assert code == 2 and "--ground belongs to --grant and not to --refuse" in beside

    @pytest.mark.parametrize("zone", ["localtime", "Factory", "posixrules", "posix/Europe/Berlin", "right/UTC"])
    def test_a_zone_that_is_another_elsewhere_is_refused(self, places: Places, run: Run, zone: str) -> None:
        before = recorded(places)
        code, _, beside = run("office", "timezone", zone, "--data-dir", str(places.data))
        assert (code, recorded(places)) == (2, before) and "is not a time zone" in beside

    @pytest.mark.parametrize("name", ["", ".", "/"])
    def test_no_file_to_write_is_said_to_be_none(self, places: Places, run: Run, name: str) -> None:
        code, _, beside = run("request", "form", "--out", name, "--data-dir", str(places.data))
        assert code == 2 and "No file was named to write to" in beside

    def test_small_words(self, places: Places, run: Run) -> None:
        for options, said in (
            (["request", "decide", "X", "--refuse", "--exception", "zz"], "'zz' is not an exception"),
            (["model", "add", str(places.data), "--name", ""], "Give the model a name"),
        ):
            code, _, beside = run(*options, "--data-dir", str(places.data))
            assert code == 2 and said in beside

    @pytest.mark.parametrize(
        ("options", "country", "kept"),
        [
            (["--language", "DE"], "de ", ("de", "DE", None, "eu-gdpr")),
            (["--language", "pt_br", "--subdivision", " "], "EL", ("pt-BR", "GR", None, "eu-gdpr")),
            (["--subdivision", "bayern", "--channel", "WEB-FORM"], " de", ("en", "DE", "BY", "eu-gdpr")),
            (["--subdivision", "eng"], "UK", ("en", "GB", "ENG", "uk-gdpr")),
            (["--subdivision", "ca"], "us", ("en", "US", "CA", "us-ca-ccpa")),
            (["--profile", " EU-GDPR "], "CH", ("en", "CH", None, "eu-gdpr")),
            (["--published-days", "60"], "IN", ("en", "IN", None, "in-dpdp")),
        ],
    )
    def test_codes_are_kept_in_one_form_and_the_law_is_that_of_the_place(
        self, places: Places, run: Run, options: list[str], country: str, kept: tuple[str | None, ...]
    ) -> None:
        code, printed, _ = run(*add(places, *options, country=country), "--json")
        assert code == 0, printed
        with Office.open(places, env={}, read_only=True) as office:
            state = office.ledger.projected("request", json.loads(printed)["number"])
        assert state is not None
        assert tuple(state[name] for name in ("language", "country", "subdivision", "profile_id")) == kept

    @pytest.mark.parametrize(
        ("options", "country", "sentence"),
        [
            (["--language", "deutsch"], "DE", "'deutsch' is not a language code"),
            (["--language", ""], "DE", "'' is not a language code"),
            ([], "CH", "No legal profile is known for CH: say which law applies by --profile"),
            ([], "TR", "No legal profile is known for TR"),
            ([], "US", "or for US-CA us-ca-ccpa with --subdivision CA"),
            ([], "IN", "enter the period that your organisation has published"),
            (["--published-days", "30"], "DE", "sets one month by law"),
            (["--published-days", "0"], "IN", "An own period has 1 to 366 days"),
            ([], "ß", "No holiday calendar is known for the country 'ß'"),
            (["--subdivision", "Atlantis"], "DE", "does not know the subdivision 'Atlantis'"),
            (["--grant"], "DE", "Choose at least one ground"),
            (["--ground", "z"], "DE", "is not a ground"),
            (["--channel", "pigeon\x1b[2J"], "DE", "'pigeon\\x1b[2j' is not a channel"),
        ],
    )
    def test_a_refusal_is_one_sentence_and_writes_nothing(
        self, places: Places, run: Run, options: list[str], country: str, sentence: str
    ) -> None:
        before = recorded(places)
        code, printed, said = run(*add(places, *options, country=country))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert sentence in said
        assert recorded(places) == before

    def test_the_register_refuses_the_future_and_the_calculator_does_not(self, places: Places, run: Run) -> None:
        ahead = datetime.now(UTC).year + 2
        code, _, said = run(*add(places, received=f"{ahead}-11-06"))
        assert code == 2 and "lies in the future" in said
        code, printed, _ = run("deadline", "--received", f"{ahead}-11-02", "--country", "DE", "--json")
        assert code == 0
        assert date.fromisoformat(json.loads(printed)["due"]).year == ahead
        code, _, said = run("deadline", "--received", f"{ahead + 50}-11-02", "--country", "DE")
        assert code == 2 and "Nobody knows the holidays" in said

    def test_the_deadline_of_a_request_is_the_recorded_one(self, places: Places, run: Run) -> None:
        number = json.loads(run(*add(places), "--json")[1])["number"]
        here = ["--data-dir", str(places.data), "--json"]
        code, printed, _ = run("deadline", "--request", number, *here)
        shown = json.loads(run("request", "show", number, *here)[1])
        assert code == 0
        assert json.loads(printed)["due"] == shown["due"] == shown["deadline"]["due"] == "2026-12-02"
        assert run("deadline", "--request", number, "--country", "DE", *here)[0] == 2
        assert run("deadline", *here)[0] == 2

    def test_the_office_s_time_zone_is_shown_and_changed(self, places: Places, run: Run) -> None:
        here = ["--data-dir", str(places.data), "--json"]
        assert run("office", "timezone", "asia/tokyo", *here)[0] == 0
        assert json.loads(run("office", "timezone", *here)[1])["time_zone"] == "Asia/Tokyo"
        code, _, said = run("office", "timezone", "Mars", *here)
        assert code == 2 and "'Mars' is not a time zone" in said


_NEARLY = [
    "DE", "de", "FR", "UK", "GB", "EL", "CH", "US", "IN", "CA", "BY", "by", "bayern", "17(1)(b)", "b", "z", "email",
    "WEB-FORM", "en", "EN", "pt-BR", "deutsch", "eu-gdpr", "uk-gdpr", "in-dpdp", "2026-11-02", "2020-02-29",
    "2026-02-30", "0001-01-01", "9999-12-31", "2031-05-05", "20260101", "2026-W01-1", "1", "30", "-1", "1e9", "٣٠", "ß",
    "İ", "\u202e",
]  # fmt: skip


def options(*names: str) -> st.SearchStrategy[list[str]]:
    """Some of these options, each with something that fits, nearly fits, or is noise."""
    typed = st.one_of(
        st.sampled_from(_NEARLY),
        st.sampled_from(["", " ", "\t", "de ", "\x1b[2J", "a\nb", "x" * 5000, "'", '"; --']),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
        st.dates().map(date.isoformat),
        st.integers(-(2**70), 2**70).map(str),
    )
    one = st.tuples(st.sampled_from(names), typed).map(lambda pair: f"{pair[0]}={pair[1]}")
    return st.lists(one, max_size=len(names) + 1)


LIMITS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@LIMITS
@given(
    typed=options(
        "--received", "--country", "--subdivision", "--profile", "--published-days", "--channel", "--language",
        "--ground", "--summary", "--subject",
    ),
    granted=st.booleans(),
)  # fmt: skip
def test_any_options_of_request_add(typed: list[str], granted: bool, places: Places, run: Run) -> None:
    before = recorded(places)
    code, printed, said = run(*add(places, *typed, *["--grant"] * granted))
    assert code in {0, 2}, said
    assert "Traceback" not in said
    assert (recorded(places) == before) == (code == 2)
    assert bool(printed) == (code == 0)
    if code == 0:
        assert run("request", "list", "--data-dir", str(places.data))[0] == 0


@LIMITS
@given(typed=options("--received", "--country", "--subdivision", "--profile", "--published-days"))
def test_any_options_of_deadline(typed: list[str], run: Run) -> None:
    code, printed, said = run("deadline", *typed)
    assert code in {0, 2}, said
    assert "Traceback" not in said
    assert bool(printed) == (code == 0)


@LIMITS
@given(
    received=st.dates(date(1900, 1, 1), date(2036, 12, 31)),
    country=st.sampled_from(["DE", "FR", "GR", "GB", "BR", "IN", "CA", "US", "CY", "IL", "JP", "SA", "NP"]),
    profile=st.sampled_from(["eu-gdpr", "uk-gdpr", "br-lgpd", "us-ca-ccpa", "ca-qc-law25"]),
)
def test_every_day_of_receipt_has_a_deadline(received: date, country: str, profile: str, run: Run) -> None:
    code, printed, said = run(
        "deadline", f"--received={received}", f"--country={country}", f"--profile={profile}", "--json"
    )
    if code == 2:
        assert "are not known for that time" in said and said.count("\n") == 1
        return
    assert code == 0 and not said, said
    assert date.fromisoformat(json.loads(printed)["due"]) > received
