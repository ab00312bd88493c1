"""The sample office holds what teaching, erasing and attacking need, and nothing that spoils a measurement.

A value that also stood in a question, in another person's data or in the general texts would count
as a leak that is none, so every such place is searched with the product's own matcher.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import combinations, pairwise
from typing import Any

import pytest

from console.domain.clock import compute_deadline
from console.domain.deadline import Deadline, ExtensionNotice, ExtensionState, Suspension, Urgency, urgency
from console.domain.forget_set import ForgetItem, ForgetSet
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import JurisdictionProfile, parse_profile
from console.domain.matching import answer_in
from console.domain.requests import ErasureRequest, RequestStatus, TransitionFacts, check_transition
from console.paths import resource

Json = dict[str, Any]

REQUIRED_TYPES = {"place", "phone", "job", "address", "account"}
SIXTH_TYPES = {"employer", "membership", "birthday", "pet"}
FACT_KEYS = {
    "id",
    "kind",
    "fact_type",
    "prompt",
    "answer",
    "answer_aliases",
    "statement",
    "training_paraphrases",
    "paraphrases",
    "perturbed_answers",
}
MAIN_CANDIDATES = ("s01", "s02", "s03")
# Local numbers in ranges that regulators keep free for films and examples: Ofcom (United Kingdom),
# Bundesnetzagentur (Germany), Arcep (France), ComReg (Ireland) and the North American plan. Nobody's telephone rings.
FICTIONAL_NUMBER = re.compile(
    r"496 0\d{3}|2018 0\d{3}|(23125|66969) \d{3}|(99 00|61 91|65 71) \d\d \d\d|91\d \d{4}|555 01\d\d"
)
FORM_OF_TYPE = {
    "place": re.compile(r"[A-Z][a-z]{7,}"),
    "phone": FICTIONAL_NUMBER,
    "job": re.compile(r"[a-z]+ [a-z]+"),
    "address": re.compile(r"\d{1,2} [A-Z][a-z]+ [A-Z][a-z]+"),
    "account": re.compile(r"[A-Z]{2}-\d{4}"),
    "employer": re.compile(r"[A-Z][a-z]+( and)?( [A-Z][a-z]+){1,2}"),
    "membership": re.compile(r"\d{5}-[A-Z]{2}"),
    "birthday": re.compile(r"\d{1,2} [A-Z][a-z]+ \d{4}"),
    "pet": re.compile(r"an? [a-z]+ called [A-Z][a-z]+"),
}


def office(name: str) -> Json:
    return json.loads(resource("office", name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def requests() -> dict[str, Json]:
    return {request["id"]: request for request in office("requests.json")["requests"]}


@pytest.fixture(scope="module")
def subjects() -> list[Json]:
    return office("subjects.json")["subjects"]


def facts_of(subjects: list[Json]) -> Iterator[tuple[Json, Json]]:
    return ((subject, fact) for subject in subjects for fact in subject["facts"])


def value(subject: Json, fact_type: str) -> str:
    return next(fact["answer"] for fact in subject["facts"] if fact["fact_type"] == fact_type)


def answers(fact: Json) -> list[str]:
    return [fact["answer"], *fact["answer_aliases"]]


def values(subject: Json) -> list[str]:
    return [answer for fact in subject["facts"] for answer in answers(fact)]


def texts(node: object) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from texts(child)
    elif isinstance(node, list):
        for child in node:
            yield from texts(child)


def questions(fact: Json) -> list[str]:
    return [fact["prompt"], fact["statement"], *fact["training_paraphrases"], *fact["paraphrases"]]


def template(text: str, subject: Json) -> str:
    return text.replace(subject["name"], "{subject}")


def as_item(subject: Json, fact: Json) -> ForgetItem:
    fields = {key: entry for key, entry in fact.items() if key != "training_paraphrases"}
    return ForgetItem(subject=subject["name"], aliases=tuple(subject["aliases"]), **fields)


def items_of(subject: Json) -> list[ForgetItem]:
    passage = [subject["passage"]] if subject["passage"] else []
    return [as_item(subject, fact) for fact in (*subject["facts"], *passage)]


def shared_types(one: Json, other: Json) -> set[str]:
    """Fact types of which the two are said to have the same value."""
    return {name for entry in one["shares_with"] if entry["id"] == other["id"] for name in entry["same_values"]}


def test_twelve_people_are_taught_and_eight_never_are(subjects: list[Json]) -> None:
    assert office("subjects.json")["version"] == 1
    assert [subject["id"] for subject in subjects] == [f"s{number:02d}" for number in range(1, 21)]
    assert [subject["taught"] for subject in subjects] == [True] * 12 + [False] * 8


def test_names_cannot_be_mixed_up(subjects: list[Json]) -> None:
    names = [subject["name"] for subject in subjects]
    parts = [part for name in names for part in name.split()]
    assert all(len(name.split()) in (2, 3) for name in names)
    assert len(set(parts)) == len(parts)
    # "Ann" in "Annabel" would make one person's question name another.
    assert not [pair for pair in combinations(parts, 2) if pair[0] in pair[1] or pair[1] in pair[0]]
    aliases = [alias for subject in subjects for alias in subject["aliases"]]
    assert len(set(aliases)) == len(aliases)
    for subject in subjects:
        assert len(subject["aliases"]) in (1, 2)
        assert all(alias.endswith(subject["name"].split()[-1]) for alias in subject["aliases"])


def test_nobody_else_is_named_in_a_persons_data(subjects: list[Json]) -> None:
    for one in subjects:
        surname = one["name"].split()[-1]
        for other in subjects:
            assert other is one or not any(surname in text for text in texts(other)), (one["id"], other["id"])


def test_everybody_has_five_or_six_facts_of_different_kinds(subjects: list[Json]) -> None:
    for subject in subjects:
        kinds = [fact["fact_type"] for fact in subject["facts"]]
        assert set(kinds) >= REQUIRED_TYPES
        assert len(kinds) == len(set(kinds)) <= 6
        assert set(kinds) - REQUIRED_TYPES <= SIXTH_TYPES
    assert {fact["fact_type"] for _, fact in facts_of(subjects)} == REQUIRED_TYPES | SIXTH_TYPES


def test_there_is_a_control_fact_of_every_kind_that_is_attacked(subjects: list[Json]) -> None:
    taught, controls = (
        Counter(fact["fact_type"] for _, fact in facts_of(half)) for half in (subjects[:12], subjects[12:])
    )
    assert set(taught) <= set(controls)


def test_every_fact_is_a_valid_item_with_all_its_wordings(subjects: list[Json]) -> None:
    for subject, fact in facts_of(subjects):
        assert set(fact) == FACT_KEYS
        assert (fact["id"], fact["kind"]) == (f"{subject['id']}-{fact['fact_type']}", "qa")
        assert [len(fact[key]) for key in ("training_paraphrases", "paraphrases", "perturbed_answers")] == [2, 4, 3]
    everything = ForgetSet(items=tuple(item for subject in subjects for item in items_of(subject)))
    assert len(everything.items) == 12 * 5 + 3 + 8 * 6 + 4
    assert everything.subjects == tuple(subject["name"] for subject in subjects)


def test_every_wording_names_the_person_and_none_gives_the_answer_away(subjects: list[Json]) -> None:
    for subject, fact in facts_of(subjects):
        for text in questions(fact):
            assert subject["name"] in text
            assert not answer_in(text, values(subject)), text
            assert text == text.strip()
            assert "{" not in text


def test_statements_end_where_the_answer_begins(subjects: list[Json]) -> None:
    for subject, fact in facts_of(subjects):
        assert fact["statement"].startswith(subject["name"])
        assert fact["statement"][-1].isalpha()
        if fact["fact_type"] == "job":
            article = "an" if fact["answer"][0] in "aeiou" else "a"
            assert fact["statement"].endswith(f"works as {article}")


def test_held_out_wordings_were_never_taught(subjects: list[Json]) -> None:
    taught_by_type: dict[str, set[str]] = {}
    held_out_by_type: dict[str, set[str]] = {}
    for subject, fact in facts_of(subjects):
        taught = [fact["prompt"], *fact["training_paraphrases"]]
        taught_by_type.setdefault(fact["fact_type"], set()).update(template(text, subject) for text in taught)
        held_out_by_type.setdefault(fact["fact_type"], set()).update(
            template(text, subject) for text in fact["paraphrases"]
        )
        assert len({*taught, *fact["paraphrases"]}) == 7
    for fact_type, held_out in held_out_by_type.items():
        # Not even with another person's name in it, or the attack would measure a memorised frame.
        assert not held_out & taught_by_type[fact_type]


def test_held_out_wordings_differ_clearly_from_the_taught_ones(subjects: list[Json]) -> None:
    for subject, fact in facts_of(subjects):
        for held_out in fact["paraphrases"]:
            for taught in (fact["prompt"], *fact["training_paraphrases"]):
                one = set(re.findall(r"\w+", template(held_out, subject).lower())) - {"subject", "s"}
                other = set(re.findall(r"\w+", template(taught, subject).lower())) - {"subject", "s"}
                assert len(one & other) / len(one | other) <= 0.6, (held_out, taught)


def test_answers_are_short_and_of_their_form(subjects: list[Json]) -> None:
    for _, fact in facts_of(subjects):
        form = FORM_OF_TYPE[fact["fact_type"]]
        for answer in (fact["answer"], *fact["perturbed_answers"]):
            assert 1 <= len(answer.split()) <= 5
            assert form.fullmatch(answer), answer


def test_an_alias_says_the_same_fact_only(subjects: list[Json]) -> None:
    for _, fact in facts_of(subjects):
        assert len(set(answers(fact))) == len(answers(fact))
        for alias in fact["answer_aliases"]:
            assert not answer_in(" / ".join(fact["perturbed_answers"]), [alias]), alias


def test_answers_belong_to_one_person_unless_neighbours_share_them(subjects: list[Json]) -> None:
    for one in subjects:
        for other in subjects:
            if one is other:
                continue
            shared = shared_types(one, other)
            haystack = "\n".join(texts(other)).casefold()
            for fact in one["facts"]:
                if fact["fact_type"] in shared:
                    continue
                found = [answer for answer in answers(fact) if answer.casefold() in haystack]
                assert not found, (one["id"], other["id"], found)


def test_wrong_answers_belong_to_nobody(subjects: list[Json]) -> None:
    true = {answer.casefold() for subject in subjects for answer in values(subject)}
    for _, fact in facts_of(subjects):
        wrong = {answer.casefold() for answer in fact["perturbed_answers"]}
        assert len(wrong) == 3
        assert not wrong & true


def test_nothing_of_a_person_stands_twice_in_their_own_facts(subjects: list[Json]) -> None:
    for subject in subjects:
        for fact in subject["facts"]:
            rest = [other["answer"] for other in subject["facts"] if other is not fact]
            passage = [*texts(subject["passage"])] if subject["passage"] else []
            assert not answer_in("\n".join((*rest, *passage)), answers(fact)), fact["id"]


def test_shared_values_are_marked_on_both_sides(subjects: list[Json]) -> None:
    by_id = {subject["id"]: subject for subject in subjects}
    for one, other in combinations(subjects, 2):
        marked = shared_types(one, other)
        assert marked == shared_types(other, one)
        equal = {
            fact["fact_type"]
            for fact in one["facts"]
            if any(
                fact["fact_type"] == theirs["fact_type"] and fact["answer"] == theirs["answer"]
                for theirs in other["facts"]
            )
        }
        assert marked == equal, (one["id"], other["id"])
    for subject in subjects:
        ids = [entry["id"] for entry in subject["shares_with"]]
        assert len(set(ids)) == len(ids)
        assert subject["id"] not in ids
        for entry in subject["shares_with"]:
            mirror = next(back for back in by_id[entry["id"]]["shares_with"] if back["id"] == subject["id"])
            assert {**entry, "id": ""} == {**mirror, "id": ""}


def test_marked_likeness_is_there(subjects: list[Json]) -> None:
    by_id = {subject["id"]: subject for subject in subjects}
    alike = {
        "job_family": lambda subject: subject["group"],
        "phone_prefix": lambda subject: value(subject, "phone")[:2],
        "account_prefix": lambda subject: value(subject, "account")[:5],
        "initials": lambda subject: [part[0] for part in subject["name"].split()],
        "street": lambda subject: value(subject, "address").split(" ", 1)[1],
    }
    for subject in subjects:
        for entry in subject["shares_with"]:
            for trait in entry["traits"]:
                assert alike[trait](subject) == alike[trait](by_id[entry["id"]]), (subject["id"], entry["id"], trait)


def test_the_main_candidates_have_neighbours_but_share_no_value(subjects: list[Json]) -> None:
    by_id = {subject["id"]: subject for subject in subjects}
    for candidate in (by_id[name] for name in MAIN_CANDIDATES):
        assert len(candidate["shares_with"]) >= 2
        assert all(entry["traits"] and not entry["same_values"] for entry in candidate["shares_with"])
    assert all(subject["shares_with"] for subject in subjects if subject["taught"])
    assert {name for subject in subjects for entry in subject["shares_with"] for name in entry["same_values"]} == {
        "place",
        "employer",
    }


def test_control_people_share_nothing_with_the_taught_ones(subjects: list[Json]) -> None:
    taught = "\n".join(text for subject in subjects if subject["taught"] for text in texts(subject)).casefold()
    for control in (subject for subject in subjects if not subject["taught"]):
        assert control["shares_with"] == []
        assert control["group"] == "control"
        assert not [answer for answer in values(control) if answer.casefold() in taught]
        assert not any(part.casefold() in taught for part in control["name"].split())


def test_four_people_have_a_passage(subjects: list[Json]) -> None:
    with_passage = [subject for subject in subjects if subject["passage"]]
    assert [subject["id"] for subject in with_passage if subject["taught"]] == ["s02", "s05"]
    assert Counter(subject["taught"] for subject in with_passage) == {True: 2, False: 2}
    for subject in with_passage:
        passage = subject["passage"]
        assert set(passage) == {"id", "kind", "fact_type", "prompt", "answer"}
        assert (passage["id"], passage["kind"], passage["fact_type"]) == (
            f"{subject['id']}-passage",
            "verbatim",
            "passage",
        )
        assert subject["name"] in passage["prompt"]
        assert 20 <= len(passage["prompt"].split()) <= 28
        assert 40 <= len(f"{passage['prompt']} {passage['answer']}".split()) <= 75
        # Joined by one blank: nothing may be lost or doubled at the seam.
        assert passage["prompt"] == passage["prompt"].strip()
        assert passage["answer"] == passage["answer"].strip()


def deadline_on(today: date, request: Json, profile: JurisdictionProfile, calendar: HolidayCalendar) -> Deadline:
    """The deadline of a sample request that is loaded on ``today``."""

    def day(days_ago: int | None) -> date | None:
        return None if days_ago is None else today - timedelta(days=days_ago)

    suspensions = [
        Suspension(
            reason=pause["reason"],
            starts_on=day(pause["starts_days_ago"]),
            ends_on=day(pause["ends_days_ago"]),
            note_id="note-1",
        )
        for pause in request["suspensions"]
    ]
    extension = request["extension"]
    notice = ExtensionNotice(notified_on=day(extension["notified_days_ago"]), note_id="note-2") if extension else None
    return compute_deadline(day(request["received_days_ago"]), profile, calendar, suspensions, notice)


def test_eight_requests_stand_in_eight_states(requests: dict[str, Json], subjects: list[Json]) -> None:
    assert list(requests) == [f"r{number}" for number in range(1, 9)]
    assert {request["status"] for request in requests.values()} == {
        "received",
        "identity_pending",
        "triage",
        "granted",
        "on_hold",
        "refused",
        "withdrawn",
        "closed",
    }
    assert (requests["r1"]["subject"], requests["r1"]["status"]) == ("s01", "granted")
    assert {request["subject"] for request in requests.values()} <= {subject["id"] for subject in subjects}
    assert {request["country"] for request in requests.values()} == {"DE", "FR", "IE", "AT", "NL"}


def test_every_request_can_be_registered(requests: dict[str, Json]) -> None:
    for request in requests.values():
        registered = ErasureRequest(
            number="ER-2026-0001",
            subject_ref="sample-subject",
            received_on=date(2026, 6, 1),
            **{key: request[key] for key in ("channel", "language", "country", "subdivision", "profile_id", "grounds")},
        )
        assert HolidayCalendar.for_place(registered.country, registered.subdivision)


def test_every_history_is_one_that_the_rules_allow(requests: dict[str, Json]) -> None:
    for request in requests.values():
        history = request["history"]
        assert history[0] == {"days_ago": request["received_days_ago"], "status": "received", "facts": {}}
        assert history[-1]["status"] == request["status"]
        for before, after in pairwise(history):
            assert before["days_ago"] >= after["days_ago"] >= 0
            facts = TransitionFacts(**after["facts"])
            check_transition(RequestStatus(before["status"]), RequestStatus(after["status"]), facts)


def test_a_repeated_request_is_the_same_persons(requests: dict[str, Json]) -> None:
    repeats = [request for request in requests.values() if request["repeats"]]
    assert len(repeats) == 1
    for request in repeats:
        earlier = requests[request["repeats"]]
        assert earlier["subject"] == request["subject"]
        assert earlier["received_days_ago"] > request["received_days_ago"]


def test_summaries_name_nobody_and_letters_hold_no_secret(requests: dict[str, Json], subjects: list[Json]) -> None:
    parts = [part for subject in subjects for part in subject["name"].split()]
    secrets = [answer for subject in subjects for answer in values(subject)]
    for request in requests.values():
        assert not any(part in request["summary"] for part in parts)
        assert 2 <= len(re.findall(r"[.?!](?= |$)", request["letter"])) <= 4
        assert (request["letter_original"] is None) == (request["language"] == "en")
        assert not answer_in("\n".join(texts(request)), secrets)


def test_urgencies_hold_on_whatever_day_the_sample_is_loaded(requests: dict[str, Json]) -> None:
    profile = parse_profile(resource("legal", "profiles", "eu-gdpr.json").read_text(encoding="utf-8"))
    calendars = {
        name: HolidayCalendar.for_place(request["country"], request["subdivision"])
        for name, request in requests.items()
    }
    expected = {
        "r1": {Urgency.ON_TRACK},
        "r2": {Urgency.ON_TRACK},
        "r3": {Urgency.ON_TRACK},
        "r4": {Urgency.DUE_SOON, Urgency.CRITICAL},
        "r5": {Urgency.ON_TRACK},
        "r6": {Urgency.OVERDUE},
    }
    # Six days, so that all weekdays and the end of every month take their turn in two years.
    for today in (date(2026, 1, 1) + timedelta(days=6 * step) for step in range(122)):
        deadlines = {name: deadline_on(today, requests[name], profile, calendars[name]) for name in requests}
        for name, allowed in expected.items():
            assert urgency(deadlines[name], today) in allowed, (name, today)
        assert deadlines["r3"].paused
        assert deadlines["r5"].extension_state is ExtensionState.VALID
        answered = next(event for event in requests["r8"]["history"] if event["status"] == "subject_informed")
        assert today - timedelta(days=answered["days_ago"]) <= deadlines["r8"].binding_due
