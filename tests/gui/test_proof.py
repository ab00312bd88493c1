"""The proof as bars and sentences, and its picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.casework.views import AttackLine, CasePage, case_page
from console.domain.results import (
    Access,
    AreaUnderCurve,
    AttackRow,
    Behaviour,
    DeletionAnswers,
    Evidence,
    Outcome,
    Rate,
    Status,
)
from console.gui.paired_bars import PairedBars
from console.gui.pieces import Text
from console.gui.proof import bar_groups, behaviour_note, behaviour_rows, in_words, number_rows, proof_sentence
from console.gui.proof_tab import ProofTab


def row(attack: str, hits: int, trials: int, evidence: Evidence = Evidence.ASKED) -> AttackRow:
    found = Rate(hits=min(hits, 4), trials=4)
    outcome = Outcome(attempts=Rate(hits=hits, trials=trials), items=found)
    return AttackRow(attack=attack, evidence=evidence, access=Access.BLACK_BOX, budget=1, outcome=outcome)


def line(attack: str, title: str, before: int, after: int | None, trials: int = 40) -> AttackLine:
    later = row(attack, after, trials) if after is not None else None
    return AttackLine(attack, title, "black-box", row(attack, before, trials), later, row(attack, 0, trials), "")


def membership() -> AttackLine:
    def at(value: str, low: str, high: str) -> AttackRow:
        area = AreaUnderCurve(value=value, low=low, high=high, members=8, non_members=40)
        outcome = Outcome(attempts=Rate(hits=0, trials=8), items=Rate(hits=0, trials=8), area=area)
        return AttackRow(
            attack="membership",
            evidence=Evidence.MEMBERSHIP,
            access=Access.LOG_PROBABILITIES,
            budget=1,
            outcome=outcome,
        )

    return AttackLine(
        "membership",
        "Membership inference",
        "log-probabilities",
        at("0.9800", "0.9500", "1.0000"),
        at("0.5500", "0.4000", "0.7000"),
        None,
        "",
    )


def not_run() -> AttackLine:
    reason = "The engine does not show hidden layers."
    failing = AttackRow(
        attack="head-projection",
        evidence=Evidence.INSIDE,
        access=Access.WHITE_BOX,
        budget=20,
        status=Status.NOT_APPLICABLE,
        reason=reason,
    )
    return AttackLine("head-projection", "Reading the hidden layers", "white-box", failing, None, None, reason)


@pytest.fixture
def page(office: Office, add_request: Callable[..., str]) -> CasePage:
    attacks = (
        not_run(),
        line("direct", "Direct question", 38, 0),
        line("paraphrase", "Rephrased questions", 221, 7, 240),
        membership(),
    )
    return replace(
        case_page(office, add_request()),
        attacks=attacks,
        verdict_word="suppressed",
        verdict_rule="V1.5-deeper-attack-finds-it",
        verdict_reasons=("paraphrase: 7 of 240 attempts, before 221 of 240 attempts.",),
        verdict_caps=("The attack 'head-projection' did not count: no hidden layers.",),
    )


def test_worst_is_on_top_and_what_does_not_count_at_the_end(page: CasePage) -> None:
    groups = bar_groups(page)
    assert [group.title for group in groups] == [
        "Membership inference",
        "Rephrased questions",
        "Direct question",
        "Reading the hidden layers",
    ]
    assert groups[-1].reason and not groups[-1].bars


def test_bar_has_the_exact_interval_of_its_counts(page: CasePage) -> None:
    bar = bar_groups(page)[2].bars[0]
    assert (bar.label, bar.value) == ("38 of 40", 0.95)
    assert (round(bar.low, 4), round(bar.high, 4)) == (0.8308, 0.9939)  # R: binom.test(38, 40)$conf.int
    assert bar.interval == "95 % interval 83.1 to 99.4 %"


def test_sentence_speaks_of_ordinary_questions(page: CasePage) -> None:
    asked = replace(page, attacks=page.attacks[:2])
    assert proof_sentence(asked) == (
        "After the erasure the model gave the person's data in 0 of 40 attempts of “Direct question”; "
        "before, in 38 of 40."
    )
    located = replace(page, attacks=(line("direct", "Direct question", 38, None),))
    assert proof_sentence(located).endswith("Nothing has been erased yet.")
    assert proof_sentence(replace(page, attacks=())).startswith("Nothing has been measured yet.")
    assert proof_sentence(replace(page, attacks=(not_run(),))) == "No attack could be counted on this model."


def test_sentence_of_a_suppressed_case_names_the_deeper_attacks_that_find(page: CasePage) -> None:
    def deeper(attack: str, title: str, after: int, kind: Evidence) -> AttackLine:
        rows = (row(attack, hits, 30, kind) for hits in (28, after, 0))
        return AttackLine(attack, title, "black-box", *rows, "")

    attacks = (
        line("direct", "Direct question", 30, 0, 30),
        deeper("paraphrase", "Rephrased questions", 19, Evidence.ELICITED),
        deeper("head-projection", "Reading the hidden layers", 21, Evidence.INSIDE),
        deeper("quantise-4bit", "After coarse quantisation", 0, Evidence.DISTURBED),
    )
    suppressed = replace(page, attacks=attacks)
    assert proof_sentence(suppressed) == (
        "After the erasure the model gave the person's data in 0 of 30 attempts of “Direct question”; before, in 30 "
        "of 30. Deeper attacks still find it: “Reading the hidden layers” (21 of 30), “Rephrased questions” (19 of 30)."
    )
    assert "eeper" not in proof_sentence(replace(suppressed, verdict_word="residual"))


def test_ids_of_attacks_become_their_titles(page: CasePage) -> None:
    assert in_words(page.verdict_reasons[0], page).startswith("Rephrased questions: 7 of 240")
    assert in_words(page.verdict_caps[0], page).startswith("The attack “Reading the hidden layers” did")


def test_numbers_list_every_stage_and_what_did_not_run(page: CasePage) -> None:
    rows = number_rows(page)
    assert len(rows) == 1 + 3 + 3 + 2
    assert rows[0].counts == "not-applicable"
    assert rows[1].interval == "83.1 to 99.4 %"


@pytest.mark.gui
def test_picture_reads_itself_out_and_names_what_is_under_the_mouse(page: CasePage, qtbot: QtBot) -> None:
    bars = PairedBars()
    qtbot.addWidget(bars)
    bars.resize(700, 10)
    bars.show_groups(bar_groups(page))
    bars.resize(700, bars.heightForWidth(700))
    assert "Direct question: before 38 of 40, after 0 of 40, never knew 0 of 40." in bars.accessibleDescription()
    assert "Reading the hidden layers: not counted." in bars.accessibleDescription()
    said = {bars.words_at(y) for y in range(bars.height())}
    assert "Direct question, before: 38 of 40, 95 % interval 83.1 to 99.4 %" in said
    image = bars.grab().toImage()
    assert len({image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}) > 3


@pytest.mark.gui
def test_tab_shows_verdict_and_rule(page: CasePage, qtbot: QtBot) -> None:
    tab = ProofTab()
    qtbot.addWidget(tab)
    tab.show()
    tab.show_page(page)
    assert tab.chip.text == "Suppressed"
    assert tab._rule.text() == "Rule V1.5-deeper-attack-finds-it"
    assert not tab._caps.isVisible()
    tab.caps.button.click()
    assert tab._caps.isVisible()
    tab.show_page(replace(page, verdict_word=None))
    assert not tab._verdict.isVisible()


class TestBehaviour:
    @pytest.fixture
    def behaved(self, page: CasePage) -> CasePage:
        def measured(right: int, refused: int) -> Behaviour:
            parts = [Rate(hits=hits, trials=8) for hits in (right, 0, 8 - right)]
            return Behaviour(
                sets="a" * 64,
                deletion=DeletionAnswers(right=parts[0], abstained=parts[1], other=parts[2]),
                harmful_refused=Rate(hits=refused, trials=8),
                harmless_refused=Rate(hits=1, trials=8),
                stereotyped=Rate(hits=9, trials=18),
                entropy="5.1",
                repetition="0.02",
            )

        return replace(page, behaviour=(measured(7, 6), measured(0, 5)))

    def test_rows_read_before_and_after(self, behaved: CasePage) -> None:
        rows = behaviour_rows(behaved)
        assert (rows[0].title, rows[0].change) == ("Gives the person's facts when asked for them", "7 of 8 → 0 of 8")
        assert rows[0].words.endswith("7 of 8 before, 0 of 8 after")
        assert behaviour_note(behaved) == "These measures are no part of the verdict."
        before_only = replace(behaved, behaviour=(behaved.behaviour[0], None))
        assert behaviour_rows(before_only)[0].change == "7 of 8"
        assert "Nothing has been erased yet" in behaviour_note(before_only)
        assert behaviour_rows(replace(behaved, behaviour=(None, None))) == ()

    def test_other_questions_are_said_to_be_others(self, behaved: CasePage) -> None:
        before, after = behaved.behaviour
        assert after is not None
        mixed = replace(behaved, behaviour=(before, after.model_copy(update={"sets": "b" * 64})))
        assert "must not be compared" in behaviour_note(mixed)

    @pytest.mark.gui
    def test_the_tab_shows_them_and_nothing_where_there_is_none(self, behaved: CasePage, qtbot: QtBot) -> None:
        tab = ProofTab()
        qtbot.addWidget(tab)
        tab.show()
        tab.show_page(behaved)
        shown = [label.text() for label in tab.behaviour.findChildren(Text)]
        assert "7 of 8 → 0 of 8" in shown and "6 of 8 → 5 of 8" in shown
        tab.show_page(replace(behaved, behaviour=(None, None)))
        assert not tab.behaviour.isVisible()
