"""What the attacks asked and what the model said: sealed in the vault, shown redacted, with the hits marked.

An engineer has to see why an attack counted as a hit, and must not read the person's data to do so: names and
answers are blotted out wherever they occur, in the question and in what the model said; so are those of everybody
else whom the model's training record names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.casework.models import knowledge_of, model_state
from console.casework.office import Office
from console.casework.requests import forget_items, request_state
from console.domain.events import BatteryRecorded
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import find_answer, normalise
from console.domain.roles import Duty
from console.errors import InputError, NotPossibleError

BLOT = "█████"


@dataclass(frozen=True)
class TranscriptLine:
    """One attempt, redacted.

    Attributes:
        fact: the item's kind of fact and place in the request (``phone 2``); its id may hold a name.
        hit: the model gave the secret.
        control: it was about somebody whom nobody taught to the model.
    """

    attack: str
    fact: str
    attempt: int
    hit: bool
    control: bool
    asked: str
    said: str


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret blotted out, longest first; whole words, whatever their case and grouping."""
    words = set(normalise(text).split())
    numbers = any(any(sign.isdigit() for sign in word) for word in words)
    # Most secrets share no word with a text; digits may be grouped in another way and are always looked for.
    possible = [
        secret
        for secret in set(secrets)
        if words & set(normalise(secret).split()) or (numbers and any(sign.isdigit() for sign in secret))
    ]
    for secret in sorted(possible, key=lambda secret: (-len(secret), secret)):
        place = find_answer(text, [secret])
        while place is not None:
            text = f"{text[: place[0]]}{BLOT}{text[place[1] :]}"
            place = find_answer(text, [secret])
    return text


def secrets_of(items: Sequence[ForgetItem]) -> tuple[str, ...]:
    """What of the items would name a person or tell a fact: names and their parts, answers, words of passages."""
    names = {name for item in items for name in (item.subject, *item.aliases)}
    parts = {part for name in names for part in name.split() if len(part) > 2}
    answers = {answer for item in items for answer in item.answers}
    words = {
        word
        for item in items
        if item.kind is ItemKind.VERBATIM
        for word in (*item.answer.split(), *item.prompt.split())
        if len(word) > 3
    }
    return tuple(names | parts | answers | words)


def _said(row: Mapping[str, Any], secrets: Iterable[str]) -> str:
    """What the model said, redacted; a hit that shows no secret in plain (spelled, encoded, token ids) not at all."""
    shown = redacted(row["answer"], secrets)
    return f"{BLOT} (in another writing)" if row["hit"] and shown == row["answer"] and shown else shown


def transcript(
    office: Office, number: str, model: str, attack: str | None = None, hits_only: bool = False
) -> tuple[TranscriptLine, ...]:
    """The attempts of the newest battery on a model; fresh draws for what was hit are numbered on.

    Raises:
        NotPossibleError: no battery of the request was run on this model.
        InputError: the battery holds no such attack.
    """
    office.require(Duty.VERIFY)
    batteries = request_state(office, number)["batteries"]
    seqs = [kept["seq"] for key, kept in batteries.items() if key.partition("/")[2] == model]
    if not seqs:
        raise NotPossibleError(f"No attack of request {number} was run on '{model}'; run locate or attack first.")
    body = BatteryRecorded.model_validate(office.ledger.events(after_seq=max(seqs) - 1)[0].body)
    attempts = office.ledger.unseal(body.attempts)["attempts"]
    for sealed in body.again:
        for name, rows in office.ledger.unseal(sealed).items():
            first = 1 + max((row["attempt"] for row in attempts[name]), default=-1)
            attempts[name] = [*attempts[name], *({**row, "attempt": first + row["attempt"]} for row in rows)]
    if attack is not None and attack not in attempts:
        raise InputError(f"The attack '{attack}' is not in this battery; it has {', '.join(attempts)}.")
    items = forget_items(office, number)
    known = knowledge_of(office, model_state(office, model))
    others = (*(taught.item for taught in known.teaching), *known.controls)
    secrets = secrets_of((*items, *others))
    facts = {item.id: f"{item.fact_type} {place}" for place, item in enumerate(items, start=1)}
    return tuple(
        TranscriptLine(
            attack=name,
            fact="stranger" if row["control"] else facts.get(row["item_id"], "fact"),
            attempt=int(row["attempt"]),
            hit=bool(row["hit"]),
            control=bool(row["control"]),
            asked=redacted(row["shown"], secrets),
            said=_said(row, secrets),
        )
        for name, rows in attempts.items()
        if attack in (None, name)
        for row in rows
        if row["hit"] or not hits_only
    )
