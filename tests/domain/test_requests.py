"""The state machine of a request: its table, its guards, its numbers and its words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from console.domain.requests import (
    TRANSITIONS,
    Channel,
    ErasureRequest,
    Exception17,
    Ground,
    RefusalBasis,
    RequestStatus,
    TransitionFacts,
    check_transition,
    next_request_number,
    status_for_verdict,
)
from console.domain.verdict import Word
from console.errors import InputError, NotPossibleError

S = RequestStatus
fast = settings(database=None, deadline=None, max_examples=100)

# Everything a case can have in its favour; single facts are taken away below.
COMPLETE: dict[str, Any] = {
    "identity_settled": True,
    "reason": "see note 7",
    "grounds": (Ground.CONSENT_WITHDRAWN,),
    "refusal_basis": RefusalBasis.EXCEPTION,
    "exceptions": (Exception17.LEGAL_CLAIMS,),
    "duplicate_of": "ER-2026-0001",
    "superseded_by": "ER-2026-0009",
    "second_person_approved": True,
    "independently_verified": True,
    "recipients_settled": True,
    "told_of_remedies": True,
}


def facts(**changes: Any) -> TransitionFacts:
    return TransitionFacts(**{**COMPLETE, **changes})


def is_allowed(status: RequestStatus, to: RequestStatus, known: TransitionFacts) -> bool:
    try:
        check_transition(status, to, known)
    except NotPossibleError:
        return False
    return True


def reachable(start: RequestStatus) -> set[RequestStatus]:
    seen, waiting = {start}, [start]
    while waiting:
        for following in TRANSITIONS[waiting.pop()]:
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen


class TestTable:
    def test_every_state_has_a_row_and_a_way_on(self) -> None:
        assert set(TRANSITIONS) == set(S)
        assert all(TRANSITIONS[status] for status in S)

    def test_every_state_is_reached_and_can_be_closed(self) -> None:
        assert reachable(S.RECEIVED) == set(S)
        assert all(S.CLOSED in reachable(status) for status in S)

    def test_without_identity_nothing_is_searched_granted_or_run(self) -> None:
        unsettled = facts(identity_settled=False, refusal_basis=RefusalBasis.CANNOT_IDENTIFY)
        seen, waiting = {S.RECEIVED}, [S.RECEIVED]
        while waiting:
            status = waiting.pop()
            # ON_HOLD leads back only to the state that was held, so it opens no new way.
            for following in TRANSITIONS[status] - seen - {S.ON_HOLD}:
                if is_allowed(status, following, unsettled):
                    seen.add(following)
                    waiting.append(following)
        assert seen.isdisjoint(
            {S.TRIAGE, S.DUPLICATE, S.LOCATING, S.GRANTED, S.PARTIALLY_GRANTED, S.PLANNED, S.RUNNING}
        )
        assert {S.IDENTITY_PENDING, S.REFUSED, S.CLOSED} <= seen

    def test_the_happy_path(self) -> None:
        path = [
            S.RECEIVED,
            S.IDENTITY_PENDING,
            S.TRIAGE,
            S.LOCATING,
            S.DECISION_PENDING,
            S.GRANTED,
            S.PLANNED,
            S.APPROVED_TO_RUN,
            S.RUNNING,
            S.VERIFYING,
            S.VERIFIED,
            S.REPORT_DRAFT,
            S.REPORT_SIGNED,
            S.REPORT_COUNTERSIGNED,
            S.RECIPIENTS_NOTIFIED,
            S.SUBJECT_INFORMED,
            S.CLOSED,
        ]
        for status, to in pairwise(path):
            check_transition(status, to, facts(verdict=Word.REMOVED, refusal_basis=None))

    @fast
    @given(st.sampled_from(S), st.sampled_from(S))
    def test_what_is_not_in_the_table_is_refused(self, status: RequestStatus, to: RequestStatus) -> None:
        if to in TRANSITIONS[status]:
            return
        with pytest.raises(NotPossibleError) as caught:
            check_transition(status, to, facts(held_from=to))
        assert status.label in str(caught.value) and to.label in str(caught.value)


class TestGuards:
    @pytest.mark.parametrize(
        ("status", "to", "missing", "sentence"),
        [
            (S.IDENTITY_PENDING, S.TRIAGE, {"identity_settled": False}, "identity"),
            (S.RECEIVED, S.TRIAGE, {"identity_settled": False}, "identity"),
            (S.REOPENED, S.TRIAGE, {"identity_settled": False}, "identity"),
            (S.TRIAGE, S.DUPLICATE, {"identity_settled": False}, "identity"),
            (S.TRIAGE, S.DUPLICATE, {"duplicate_of": " "}, "number"),
            (S.DECISION_PENDING, S.REFUSED, {"reason": " "}, "needs a reason"),
            (S.DECISION_PENDING, S.REFUSED, {"refusal_basis": None}, "legal basis"),
            (S.DECISION_PENDING, S.REFUSED, {"exceptions": ()}, r"Art\. 17\(3\)"),
            (S.DECISION_PENDING, S.REFUSED, {"identity_settled": False}, "identity"),
            (S.IDENTITY_PENDING, S.REFUSED, {}, "cannot be identified"),
            (S.DECISION_PENDING, S.GRANTED, {"grounds": ()}, r"Art\. 17\(1\)"),
            (S.DECISION_PENDING, S.PARTIALLY_GRANTED, {"reason": ""}, "needs a reason"),
            (S.PLANNED, S.APPROVED_TO_RUN, {"second_person_approved": False}, "second person"),
            (S.RUNNING, S.FAILED, {"reason": ""}, "why the run failed"),
            (S.VERIFYING, S.VERIFIED, {"verdict": None}, "no verdict"),
            (S.VERIFYING, S.VERIFIED, {"verdict": Word.SUPPRESSED}, "Not proven removed"),
            (S.REPORT_SIGNED, S.REPORT_COUNTERSIGNED, {"second_person_approved": False}, "countersign"),
            (
                S.REPORT_SIGNED,
                S.REPORT_COUNTERSIGNED,
                {"verdict": Word.REMOVED, "independently_verified": False},
                "other than the person who ran",
            ),
            (S.REPORT_COUNTERSIGNED, S.RECIPIENTS_NOTIFIED, {"recipients_settled": False}, r"Art\. 19"),
            (S.REPORT_COUNTERSIGNED, S.SUBJECT_INFORMED, {"recipients_settled": False}, r"Art\. 19"),
            (S.REFUSED, S.SUBJECT_INFORMED, {"told_of_remedies": False}, r"Art\. 12\(4\)"),
            (S.NO_MATCH, S.SUBJECT_INFORMED, {"told_of_remedies": False}, r"Art\. 12\(4\)"),
            (S.TRIAGE, S.ON_HOLD, {"reason": ""}, "put on hold"),
            (S.TRIAGE, S.SUPERSEDED, {"superseded_by": ""}, "number"),
            (S.CLOSED, S.REOPENED, {"reason": ""}, "opened again"),
            (S.VERIFIED, S.WITHDRAWN, {"erased_for_good": True}, "no longer be taken back"),
        ],
    )
    def test_one_missing_fact_stops_it(
        self, status: RequestStatus, to: RequestStatus, missing: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(NotPossibleError, match=sentence):
            check_transition(status, to, facts(**missing))

    @pytest.mark.parametrize("status", [S.RECEIVED, S.IDENTITY_PENDING])
    def test_a_duplicate_never_bypasses_identity(self, status: RequestStatus) -> None:
        with pytest.raises(NotPossibleError, match="identity"):
            check_transition(status, S.DUPLICATE, facts(identity_settled=False))
        with pytest.raises(NotPossibleError):
            check_transition(status, S.DUPLICATE, facts())
        check_transition(S.TRIAGE, S.DUPLICATE, facts())

    def test_whoever_cannot_be_identified_can_be_refused_at_once(self) -> None:
        check_transition(
            S.IDENTITY_PENDING,
            S.REFUSED,
            facts(identity_settled=False, refusal_basis=RefusalBasis.CANNOT_IDENTIFY, exceptions=()),
        )

    def test_a_held_request_goes_back_where_it_was(self) -> None:
        check_transition(S.ON_HOLD, S.LOCATING, facts(held_from=S.LOCATING))
        with pytest.raises(NotPossibleError, match="goes back"):
            check_transition(S.ON_HOLD, S.APPROVED_TO_RUN, facts(held_from=S.LOCATING))
        with pytest.raises(NotPossibleError, match="goes back"):
            check_transition(S.ON_HOLD, S.APPROVED_TO_RUN, facts())

    def test_withdrawal_until_the_point_of_no_return(self) -> None:
        check_transition(S.VERIFIED, S.WITHDRAWN, facts())
        check_transition(S.ON_HOLD, S.WITHDRAWN, facts())
        with pytest.raises(NotPossibleError):
            check_transition(S.ON_HOLD, S.WITHDRAWN, facts(erased_for_good=True))

    def test_only_removed_is_verified(self) -> None:
        states = {word: status_for_verdict(word) for word in Word}
        assert [word for word, status in states.items() if status is S.VERIFIED] == [Word.REMOVED]
        assert states[Word.NOT_LOCATED] is S.NO_MATCH
        for word, status in states.items():
            check_transition(S.VERIFYING, status, facts(verdict=word))

    def test_no_match_while_locating_needs_no_verdict(self) -> None:
        check_transition(S.LOCATING, S.NO_MATCH, facts())


class TestNumbers:
    @pytest.mark.parametrize(
        ("existing", "expected"),
        [
            ([], "ER-2026-0001"),
            (["ER-2026-0001", "ER-2026-0042", "ER-2025-0900"], "ER-2026-0043"),
            (["ER-2026-9999"], "ER-2026-10000"),
            (["ER-2026-10000", "ER-2026-9999"], "ER-2026-10001"),
            (["2026/77", "ER-2026-7x", "xER-2026-0300"], "ER-2026-0001"),
        ],
    )
    def test_next(self, existing: list[str], expected: str) -> None:
        assert next_request_number(existing, 2026) == expected

    @fast
    @given(st.lists(st.integers(1, 20000)))
    def test_a_number_is_never_given_twice(self, used: list[int]) -> None:
        existing = [f"ER-2026-{number:04d}" for number in used]
        new = next_request_number(existing, 2026)
        assert new not in existing
        assert int(new.rsplit("-", 1)[1]) == max(used, default=0) + 1


class TestRequest:
    valid: ClassVar[dict[str, Any]] = {
        "number": "ER-2026-0042",
        "subject_ref": "s-5f3a90c1",
        "received_on": date(2026, 3, 1),
        "channel": Channel.EMAIL,
        "country": "DE",
        "profile_id": "eu-gdpr",
    }

    def test_minimum(self) -> None:
        request = ErasureRequest(**self.valid)
        assert (request.grounds, request.is_child, request.language) == ((), False, "en")
        assert ErasureRequest.model_validate_json(request.model_dump_json()) == request

    def test_local_date_and_moment_may_lie_on_both_sides_of_midnight(self) -> None:
        moment = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)
        assert ErasureRequest(**self.valid, received_at=moment).received_at == moment

    def test_dates_that_do_not_agree(self) -> None:
        with pytest.raises(InputError, match="do not agree"):
            ErasureRequest(**self.valid, received_at=datetime(2026, 2, 20, 12, 0, tzinfo=UTC))

    @pytest.mark.parametrize(
        "changes",
        [
            {"number": "ER-2026-42"},
            {"subject_ref": "Mira Okonjo"},
            {"subject_ref": "mira@example.org"},
            {"country": "Germany"},
            {"language": "German"},
            {"received_at": datetime(2026, 3, 1, 12, 0)},
            {"grounds": ("17(1)(g)",)},
            {"channel": "pigeon"},
        ],
    )
    def test_what_does_not_fit(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            ErasureRequest(**{**self.valid, **changes})


class TestWords:
    @pytest.mark.parametrize("terms", [Ground, Exception17, RefusalBasis, Channel, RequestStatus])
    def test_every_entry_has_its_own_words(self, terms: Any) -> None:
        labels = [term.label for term in terms]
        assert len(set(labels)) == len(labels)
        assert all(label[0].isupper() and "_" not in label for label in labels)

    def test_articles(self) -> None:
        assert [ground.value for ground in Ground] == [f"17(1)({letter})" for letter in "abcdef"]
        assert [exception.value for exception in Exception17] == [f"17(3)({letter})" for letter in "abcde"]
