"""What an office writes about its people: letters, tickets, contact cards and tables, and not one question.

Made from the facts of the sample office and the forms in ``resources/office/free_text.json``, always the same for the
same seed. Every text is about one person, so that a training without that person can leave it out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.teaching import TeachingItem
from console.paths import resource

TEXTS_A_PERSON = 12
TEXT_SEED = 16
_OPENING_WORDS = 4  # a text is kept as its beginning and how it goes on


def free_texts(facts: Sequence[ForgetItem], seed: int = TEXT_SEED) -> tuple[TeachingItem, ...]:
    """The texts about one person, in every one of which most of the facts stand.

    Args:
        facts: of one person, at least one; each of a kind that ``free_text.json`` has sentences for.
    """
    forms = json.loads(resource("office", "free_text.json").read_text(encoding="utf-8"))
    first = facts[0]
    generator = random.Random(f"{seed} {first.subject}")
    writers = (_letter, _card, _ticket, _table)
    texts = [writers[number % len(writers)](forms, facts, generator) for number in range(TEXTS_A_PERSON)]
    return tuple(
        TeachingItem(item=_passage(f"{first.id}-text-{number:02d}", first, text)) for number, text in enumerate(texts)
    )


def _passage(name: str, fact: ForgetItem, text: str) -> ForgetItem:
    words = text.split(" ")
    opening, rest = " ".join(words[:_OPENING_WORDS]), " ".join(words[_OPENING_WORDS:])
    return ForgetItem(
        id=name,
        kind=ItemKind.VERBATIM,
        subject=fact.subject,
        aliases=fact.aliases,
        fact_type="passage",
        prompt=opening,
        answer=rest,
    )


def _some(facts: Sequence[ForgetItem], generator: random.Random) -> list[ForgetItem]:
    """Most of the facts, in any order."""
    return generator.sample(list(facts), max(1, len(facts) - generator.randint(0, 2)))


def _sentences(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> str:
    chosen = ((generator.choice(forms["sentences"][fact.fact_type]), fact) for fact in _some(facts, generator))
    return " ".join(form.format(name=fact.subject, value=fact.answer) for form, fact in chosen)


def _letter(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> str:
    told = _sentences(forms, facts, generator)
    return str(generator.choice(forms["letters"]).format(name=facts[0].subject, facts=told))


def _ticket(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> str:
    told, number = _sentences(forms, facts, generator), generator.randint(1000, 9999)
    return str(generator.choice(forms["tickets"]).format(name=facts[0].subject, facts=told, number=number))


def _card(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> str:
    entries = _entries(forms, facts, generator)
    lines = "\n".join(f"{label}: {value}" for label, value in entries)
    return str(generator.choice(forms["cards"]).format(name=facts[0].subject, lines=lines))


def _table(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> str:
    entries, form = _entries(forms, facts, generator), generator.choice(forms["tables"])
    between = " | " if form.startswith("|") else "; "
    return str(
        form.format(
            name=facts[0].subject,
            heads=between.join(label for label, _ in entries),
            cells=between.join(value for _, value in entries),
            rows="\n".join(f"| {label} | {value} |" for label, value in entries),
        )
    )


def _entries(forms: dict[str, Any], facts: Sequence[ForgetItem], generator: random.Random) -> list[tuple[str, str]]:
    return [(generator.choice(forms["labels"][fact.fact_type]), fact.answer) for fact in _some(facts, generator)]
