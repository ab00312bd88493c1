"""Who may do what, and when two people are needed."""

from __future__ import annotations

import pytest

from console.domain.roles import (
    DUTIES,
    Actor,
    Duty,
    Role,
    Separation,
    check_approval,
    check_duty,
    check_verifiers,
    is_same_person,
)
from console.errors import NotPossibleError


def actor(role: Role, key: str | None, name: str = "") -> Actor:
    return Actor(id=name or f"{role.value}-1", role=role, key_fingerprint=key)


OPERATOR = actor(Role.OPERATOR, "aa01")
DPO = actor(Role.DPO, "bb02")
APPROVER = actor(Role.APPROVER, "cc03")


class TestDuties:
    @pytest.mark.parametrize("duty", [Duty.DECIDE, Duty.APPROVE, Duty.SIGN_REPORT, Duty.RUN, Duty.VERIFY])
    def test_an_admin_touches_no_request(self, duty: Duty) -> None:
        with pytest.raises(NotPossibleError, match="administrator"):
            check_duty(actor(Role.ADMIN, "ff"), duty)

    def test_only_an_admin_administers(self) -> None:
        assert [role for role in Role if Duty.ADMINISTER in DUTIES[role]] == [Role.ADMIN]

    def test_an_auditor_changes_nothing(self) -> None:
        assert DUTIES[Role.AUDITOR] == {Duty.READ, Duty.CHECK_LEDGER, Duty.VERIFY}

    def test_the_operator_does_not_decide_or_approve(self) -> None:
        assert not {Duty.DECIDE, Duty.APPROVE} & DUTIES[Role.OPERATOR]

    def test_everybody_reads_and_every_duty_has_somebody(self) -> None:
        assert set(DUTIES) == set(Role)
        assert all(Duty.READ in duties for duties in DUTIES.values())
        assert frozenset().union(*DUTIES.values()) == set(Duty)

    def test_a_refusal_names_who_can(self) -> None:
        with pytest.raises(NotPossibleError, match=r"may not decide a request.*data-protection officer, approver"):
            check_duty(OPERATOR, Duty.DECIDE)

    def test_every_role_and_duty_has_words(self) -> None:
        assert all(term.label for term in (*Role, *Duty))


class TestSamePerson:
    def test_keys_decide_and_names_do_not(self) -> None:
        assert is_same_person(actor(Role.OPERATOR, "AA:01 ff", "anna"), actor(Role.DPO, "aa01ff", "berta"))
        assert not is_same_person(actor(Role.OPERATOR, "aa01", "anna"), actor(Role.OPERATOR, "aa02", "anna"))

    @pytest.mark.parametrize("missing", [None, "", " : "])
    def test_without_a_key_nobody_can_tell(self, missing: str | None) -> None:
        with pytest.raises(NotPossibleError, match="no signing key"):
            is_same_person(DPO, actor(Role.APPROVER, missing))


class TestApproval:
    def test_a_second_person(self) -> None:
        assert check_approval(DPO, APPROVER).separation is Separation.SECOND_PERSON

    def test_the_same_key_is_refused_whatever_the_role(self) -> None:
        with pytest.raises(NotPossibleError, match="second person"):
            check_approval(DPO, actor(Role.APPROVER, "BB02"))

    def test_an_office_of_one_gives_its_reason(self) -> None:
        approval = check_approval(DPO, DPO, self_approval_reason=" only officer in the house ")
        assert (approval.separation, approval.reason) == (Separation.SELF, "only officer in the house")

    def test_a_blank_reason_is_none(self) -> None:
        with pytest.raises(NotPossibleError, match="reason"):
            check_approval(DPO, DPO, self_approval_reason="  ")

    def test_a_reason_is_not_kept_where_two_people_acted(self) -> None:
        assert check_approval(DPO, APPROVER, self_approval_reason="not needed").reason == ""

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR, Role.OPERATOR, Role.INTAKE])
    def test_other_roles_cannot_approve_even_with_a_reason(self, role: Role) -> None:
        with pytest.raises(NotPossibleError, match="may not approve"):
            check_approval(DPO, actor(role, "dd04"), self_approval_reason="alone")


class TestVerifiers:
    def test_nobody(self) -> None:
        with pytest.raises(NotPossibleError, match="Nobody has verified"):
            check_verifiers(OPERATOR, ())

    def test_the_operator_alone(self) -> None:
        with pytest.raises(NotPossibleError, match="other than the person who ran"):
            check_verifiers(OPERATOR, (OPERATOR, actor(Role.DPO, "AA01")))

    def test_the_operator_with_somebody_else(self) -> None:
        assert check_verifiers(OPERATOR, (OPERATOR, DPO)).separation is Separation.SECOND_PERSON

    def test_alone_with_a_reason(self) -> None:
        assert check_verifiers(OPERATOR, (OPERATOR,), "office of one").separation is Separation.SELF

    def test_a_missing_key_is_not_hidden_behind_a_second_person(self) -> None:
        with pytest.raises(NotPossibleError, match="no signing key"):
            check_verifiers(OPERATOR, (DPO, actor(Role.AUDITOR, None)))

    def test_an_admin_verifies_nothing(self) -> None:
        with pytest.raises(NotPossibleError, match="may not verify"):
            check_verifiers(OPERATOR, (actor(Role.ADMIN, "ee"),))
