"""Who may do what, and which pairs of eyes must be two.

Persons are told apart by the fingerprint of the key that they sign with, never by a name: two
accounts of one person hold one key. NIST SP 800-88 separates "performed by" from "validated by" in
the same way. An office of one person works in an explicit mode whose reason the report prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator

from console.errors import NotPossibleError


class Role(StrEnum):
    """The hat that a person wears."""

    INTAKE = "intake"
    OPERATOR = "operator"
    DPO = "dpo"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"

    @property
    def label(self) -> str:
        return _ROLE_LABELS[self]


class Duty(StrEnum):
    """What can be done with a request, or with the console."""

    READ = "read"
    REGISTER = "register"
    CONFIRM_IDENTITY = "confirm_identity"
    DECIDE = "decide"
    PLAN = "plan"
    APPROVE = "approve"
    RUN = "run"
    VERIFY = "verify"
    SIGN_REPORT = "sign_report"
    ANSWER = "answer"
    CHECK_LEDGER = "check_ledger"
    ADMINISTER = "administer"

    @property
    def label(self) -> str:
        return _DUTY_LABELS[self]


_ROLE_LABELS = {
    Role.INTAKE: "intake",
    Role.OPERATOR: "model operator",
    Role.DPO: "data-protection officer",
    Role.APPROVER: "approver",
    Role.AUDITOR: "auditor",
    Role.ADMIN: "administrator",
}

_DUTY_LABELS = {
    Duty.READ: "read requests",
    Duty.REGISTER: "register a request",
    Duty.CONFIRM_IDENTITY: "confirm a person's identity",
    Duty.DECIDE: "decide a request",
    Duty.PLAN: "plan an erasure",
    Duty.APPROVE: "approve",
    Duty.RUN: "run an erasure",
    Duty.VERIFY: "verify an erasure",
    Duty.SIGN_REPORT: "sign a report",
    Duty.ANSWER: "answer the person",
    Duty.CHECK_LEDGER: "check the ledger",
    Duty.ADMINISTER: "manage keys, calendars and profiles",
}

_ALWAYS = frozenset({Duty.READ, Duty.CHECK_LEDGER})

DUTIES: dict[Role, frozenset[Duty]] = {
    Role.INTAKE: _ALWAYS | {Duty.REGISTER, Duty.CONFIRM_IDENTITY, Duty.ANSWER},
    Role.OPERATOR: _ALWAYS | {Duty.PLAN, Duty.RUN, Duty.VERIFY},
    # A data-protection officer can do the whole case, because in a small office nobody else is there;
    # the rules of two pairs of eyes below hold all the same.
    Role.DPO: frozenset(Duty) - {Duty.ADMINISTER},
    Role.APPROVER: _ALWAYS | {Duty.DECIDE, Duty.APPROVE, Duty.VERIFY, Duty.SIGN_REPORT},
    Role.AUDITOR: _ALWAYS | {Duty.VERIFY},
    Role.ADMIN: _ALWAYS | {Duty.ADMINISTER},
}


class Actor(BaseModel):
    """A person at the console.

    Attributes:
        id: random or office id, never a name; it stands in the ledger.
        key_fingerprint: fingerprint of the signing key, kept in lower case without separators.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    role: Role
    key_fingerprint: str | None = None

    @field_validator("key_fingerprint")
    @classmethod
    def _comparable(cls, fingerprint: str | None) -> str | None:
        if fingerprint is None:
            return None
        return "".join(fingerprint.split()).replace(":", "").casefold() or None


class Separation(StrEnum):
    """How many people stand behind an approval."""

    SECOND_PERSON = "second-person"
    SELF = "self"


class Approval(BaseModel):
    """That an approval may count, and what the report must say about it.

    Attributes:
        reason: why one person did both, printed in the report; empty where two did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    separation: Separation
    reason: str = ""


def check_duty(actor: Actor, duty: Duty) -> None:
    """Refuse what the person's role does not include.

    Raises:
        NotPossibleError: the role does not include it; the sentence names the roles that do.
    """
    if duty in DUTIES[actor.role]:
        return
    allowed = ", ".join(role.label for role in Role if duty in DUTIES[role])
    raise NotPossibleError(f"The role '{actor.role.label}' may not {duty.label}: this can be done by one of {allowed}.")


def is_same_person(first: Actor, second: Actor) -> bool:
    """Whether two actors sign with one key.

    Raises:
        NotPossibleError: one of them has no key yet, so nobody can tell.
    """
    for actor in (first, second):
        if actor.key_fingerprint is None:
            raise NotPossibleError(
                f"The {actor.role.label} '{actor.id}' has no signing key yet: create the key first, "
                "because people are told apart by their keys."
            )
    return first.key_fingerprint == second.key_fingerprint


def check_approval(preparer: Actor, approver: Actor, self_approval_reason: str = "") -> Approval:
    """Whether ``approver`` may approve what ``preparer`` prepared.

    Args:
        self_approval_reason: why there is no second person, for offices of one person.

    Raises:
        NotPossibleError: the approver's role cannot approve, a key is missing, or both are one person
            and no reason was given.
    """
    check_duty(approver, Duty.APPROVE)
    return _separated(
        preparer,
        (approver,),
        self_approval_reason,
        "A second person must approve what was prepared",
    )


def check_verifiers(operator: Actor, verifiers: Sequence[Actor], self_approval_reason: str = "") -> Approval:
    """Whether an erasure counts as verified: whoever ran it must not be its only verifier.

    Raises:
        NotPossibleError: nobody verified, a role cannot verify, a key is missing, or the operator alone
            verified and no reason was given.
    """
    if not verifiers:
        raise NotPossibleError("Nobody has verified the erasure yet: run the verification first.")
    for verifier in verifiers:
        check_duty(verifier, Duty.VERIFY)
    return _separated(
        operator,
        verifiers,
        self_approval_reason,
        "Somebody other than the person who ran the erasure must verify it",
    )


def _separated(first: Actor, others: Sequence[Actor], reason: str, rule: str) -> Approval:
    # Every key is looked at, so that a missing one is never hidden behind a second person.
    same = [is_same_person(first, other) for other in others]
    if not all(same):
        return Approval(separation=Separation.SECOND_PERSON)
    if not reason.strip():
        raise NotPossibleError(
            f"{rule}: ask a colleague with a key of their own, or give the reason why there is no second person."
        )
    return Approval(separation=Separation.SELF, reason=reason.strip())
