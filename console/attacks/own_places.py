"""Finding the places where a model itself puts the facts of a request, and the same places for strangers.

The model is asked each fact's question greedily, as a chat turn and as plain text; where it does not give the secret,
its other wordings and its statement follow. Each answer that holds the secret in the middle is a place: the prompt and
the model's words up to the secret. A fact that the model gives nowhere gets the sentence in which it tells the same of
somebody else. Strangers get the sentences of the facts that are like theirs, with the names exchanged, so that the
person's texts and the held-out ones have one form. Beside them every fact of a known kind, the strangers' too, has a
line of a record: what the model says when it is asked tells nothing of the cards that it may have read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.attacks.asking import Ask, gives_away, leaking, room_for
from console.attacks.fact_forms import SECTION as FORMS
from console.attacks.fact_forms import UNTYPED, record
from console.attacks.protocol import AttackTarget, facts
from console.attacks.templating import fill, section
from console.domain.forget_set import ForgetItem
from console.domain.matching import find_answer, normalise
from console.domain.own_places import MOST_PLACES, OwnPlace, PlaceSource
from console.engines.protocol import GREEDY, LanguageModel, Prompt

SECTION = "own-places"
_REPHRASED = 2
_OTHERS_ASKED = 2  # people whose words may stand in for a fact that the model does not give
_LEAST_NAME = 3  # letters; initials and titles stand for many
Places = Mapping[str, tuple[OwnPlace, ...]]


@dataclass(frozen=True)
class FoundPlaces:
    """Places by item, the strangers' among them.

    Attributes:
        answered_first: facts whose secret some answer begins with, so that the plain form already stands there.
    """

    by_item: Places
    answered_first: frozenset[str]


def alike(one: ForgetItem, other: ForgetItem) -> bool:
    """Whether a sentence that tells the one fact can tell the other: the same kind, or the same question."""
    if one.fact_type == other.fact_type != UNTYPED:
        return True
    return _question(one) == _question(other)


def _question(item: ForgetItem) -> str:
    for name in sorted((item.subject, *item.aliases), key=len, reverse=True):
        if name in item.prompt:
            return normalise(item.prompt.replace(name, " "))
    return normalise(item.prompt)


def exchanged(place: OwnPlace, names: Mapping[str, str], item: ForgetItem, source: PlaceSource) -> OwnPlace | None:
    """The same sentence about another person; None where it would tell that person's secret.

    Args:
        names: what stands for whom, and for which other answers of that person.
    """
    words = re.compile("|".join(rf"(?<!\w){re.escape(old)}(?!\w)" for old in sorted(names, key=len, reverse=True)))
    prompt, opening = (words.sub(lambda found: names[found[0]], text) for text in (place.prompt, place.opening))
    if gives_away(item, f"{prompt} {opening}"):
        return None
    return OwnPlace(prompt=prompt, chat=place.chat, opening=opening, answer=item.answer, source=source)


def names_for(
    item: ForgetItem, other: ForgetItem, of_item: Iterable[ForgetItem], of_other: Sequence[ForgetItem]
) -> dict[str, str]:
    """Every spelling of one person, and every answer that both have, with what stands for it about the other."""
    own, new = item.subject.split(), other.subject.split()
    parts = {old: given for old, given in ((own[0], new[0]), (own[-1], new[-1])) if len(old) >= _LEAST_NAME}
    answers = {
        answer: match.answer
        for fact in of_item
        if (match := next((one for one in of_other if alike(fact, one)), None)) is not None
        for answer in fact.answers
    }
    return answers | parts | dict.fromkeys((item.subject, *item.aliases), other.subject)


def _prompts(item: ForgetItem, bank: Mapping[str, Any]) -> list[Prompt]:
    plain = fill(bank["question"], item)
    return [Prompt(f"own-places/{item.id}/chat", item.prompt), Prompt(f"own-places/{item.id}/plain", plain, chat=False)]


def _further(item: ForgetItem) -> list[Prompt]:
    stated = [Prompt(f"own-places/{item.id}/statement", item.statement, chat=False)] if item.statement else []
    return [
        *stated,
        *(
            Prompt(f"own-places/{item.id}/reworded-{index}", text)
            for index, text in enumerate(item.paraphrases[:_REPHRASED])
        ),
    ]


def _listened(
    model: LanguageModel, asks: Sequence[tuple[ForgetItem, Prompt]], source: PlaceSource
) -> dict[str, list[OwnPlace]]:
    """Every place of an item in the model's greedy answers, those with nothing before the secret too."""
    fair = [(item, prompt) for item, prompt in asks if not leaking(Ask(item, prompt))]
    prompts = [prompt for _, prompt in fair]
    limits = [room_for(item) for item, _ in fair]
    answers = {one.prompt_id: one.text for one in model.generate(prompts, [GREEDY], limits)}
    found: dict[str, list[OwnPlace]] = {}
    for item, prompt in fair:
        said = answers[prompt.id]
        span = find_answer(said, item.answers)
        if span is not None:
            opening, answer = said[: span[0]], said[span[0] : span[1]]
            place = OwnPlace(prompt=prompt.text, chat=prompt.chat, opening=opening, answer=answer, source=source)
            found.setdefault(item.id, []).append(place)
    return found


def find_places(
    model: LanguageModel, target: AttackTarget, announce: Callable[[int], None] = lambda _step: None
) -> FoundPlaces:
    """Places of the request's facts and of the strangers' facts that are like them.

    Args:
        announce: called before each of the three rounds of asking, and may raise to stop.
    """
    items, wordings = facts(target.items), section(target, SECTION)
    announce(0)
    found = _listened(model, [(one, p) for one in items for p in _prompts(one, wordings)], PlaceSource.OWN_WORDS)
    announce(1)
    silent = [item for item in items if item.id not in found]
    found |= _listened(model, [(one, p) for one in silent for p in _further(one)], PlaceSource.OWN_WORDS)
    first = {key for key, places in found.items() if not all(place.opening.strip() for place in places)}
    chosen = {key: kept for key, places in found.items() if (kept := _distinct(places))}
    announce(2)
    silent = [item for item in items if item.id not in found]
    chosen |= _others_words(model, target, silent)
    for item in silent:
        if item.id not in chosen and not item.statement:
            chosen[item.id] = (_sentence(item, wordings),)
    return FoundPlaces(_with_records(target, {**chosen, **_strangers(target, chosen)}), frozenset(first))


def _distinct(places: Sequence[OwnPlace]) -> tuple[OwnPlace, ...]:
    # One sign is enough: a secret behind a bullet or a quotation mark stands elsewhere than at the answer's beginning.
    kept = {(place.prompt, place.opening): place for place in places if place.opening.strip()}
    return tuple(kept.values())[:MOST_PLACES]


def _others_words(
    model: LanguageModel, target: AttackTarget, silent: Sequence[ForgetItem]
) -> dict[str, tuple[OwnPlace, ...]]:
    """The sentences in which the model tells the same of others whom it was taught."""
    retained = facts(target.retain)
    near = {item.id: [other for other in retained if alike(item, other)][:_OTHERS_ASKED] for item in silent}
    asked = {other.id: other for others in near.values() for other in others}
    wordings = section(target, SECTION)
    asks = [(other, prompt) for other in asked.values() for prompt in _prompts(other, wordings)]
    found = _listened(model, asks, PlaceSource.OTHERS_WORDS)
    made: dict[str, tuple[OwnPlace, ...]] = {}
    for item in silent:
        places = [
            place
            for other in near[item.id]
            for told in _distinct(found.get(other.id, []))
            if (place := _about(told, other, item, retained, facts(target.items), PlaceSource.OTHERS_WORDS)) is not None
        ]
        if places:
            made[item.id] = _distinct(places)
    return made


def _about(
    place: OwnPlace,
    item: ForgetItem,
    other: ForgetItem,
    siblings: Sequence[ForgetItem],
    of_other: Sequence[ForgetItem],
    source: PlaceSource,
) -> OwnPlace | None:
    """A place of one person's fact as a place of another's."""
    mine = [fact for fact in siblings if fact.subject == item.subject and fact.id != item.id]
    theirs = [fact for fact in of_other if fact.subject == other.subject and fact.id != other.id]
    return exchanged(place, names_for(item, other, mine, theirs), other, source)


def _sentence(item: ForgetItem, wordings: Mapping[str, Any]) -> OwnPlace:
    """For a fact without a statement: it is asked for, and the answer is begun."""
    asked, begun = fill(wordings["question"], item), f" {wordings['answer']} "
    return OwnPlace(prompt=asked, chat=False, opening=begun, answer=item.answer, source=PlaceSource.SENTENCE)


def _with_records(target: AttackTarget, chosen: Places) -> dict[str, tuple[OwnPlace, ...]]:
    """The places with a line of a record behind those of every fact of a known kind."""
    forms = section(target, FORMS)
    made = dict(chosen)
    for item in facts((*target.items, *target.controls)):
        text = record(item, forms)
        if text and not gives_away(item, text):
            line = OwnPlace(prompt=text, chat=False, opening=" ", answer=item.answer, source=PlaceSource.RECORD)
            made[item.id] = (*made.get(item.id, ()), line)
    return made


def _strangers(target: AttackTarget, chosen: Places) -> dict[str, tuple[OwnPlace, ...]]:
    items, controls = facts(target.items), facts(target.controls)
    made = {}
    for control in controls:
        model_fact = next((item for item in items if chosen.get(item.id) and alike(item, control)), None)
        if model_fact is None:
            continue
        places = [
            place
            for told in chosen[model_fact.id]
            if (place := _about(told, model_fact, control, items, controls, told.source)) is not None
        ]
        if places:
            made[control.id] = tuple(places)
    return made
