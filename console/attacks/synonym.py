"""Synonym manipulation: the request's own question with other words of the same meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from console.attacks.protocol import AttackInfo, AttackTarget, facts
from console.attacks.templating import TemplatedAttack, section
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability

PROMPTS = 3


def replaced(text: str, names: Sequence[str], synonyms: Mapping[str, Sequence[str]], turn: int) -> str:
    """A text whose words have each given way to their ``turn``-th synonym; names stay as they are."""
    phrases = sorted(synonyms, key=len, reverse=True)  # "phone number" before "phone"
    kept = sorted(names, key=len, reverse=True)
    either = "|".join([*map(re.escape, kept), *(rf"\b{re.escape(phrase)}\b" for phrase in phrases)])

    def other(match: re.Match[str]) -> str:
        if match[0] in names:
            return match[0]
        choices = synonyms[match[0].lower()]
        word = choices[turn % len(choices)]
        return word[0].upper() + word[1:] if match[0][0].isupper() else word

    return re.sub(either, other, text, flags=re.IGNORECASE)


def reworded(item: ForgetItem, wordings: Mapping[str, Any]) -> list[str]:
    """The question with other words, twice, and once more about the person under another spelling of the name."""
    names = (item.subject, *item.aliases)
    synonyms = wordings["synonyms"]
    versions = [replaced(item.prompt, names, synonyms, turn) for turn in range(PROMPTS - 1)]
    versions += [versions[0].replace(item.subject, alias) for alias in item.aliases[:1]]
    return [text for text in dict.fromkeys(versions) if text != item.prompt]


class Synonym(TemplatedAttack):
    info = AttackInfo(
        id="synonym",
        title="Other words for the same",
        definition=(
            "The words of the request's own question give way to synonyms, twice, and once the person appears under "
            "another spelling from the request. Each prompt is drawn once greedily and several times with seeded "
            "sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), synonym manipulation probes",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )
    prompts = PROMPTS

    def wordings(self, item: ForgetItem, bank: Any) -> Iterable[tuple[str, bool]]:
        return [(text, True) for text in reworded(item, bank)]

    def inapplicable(self, target: AttackTarget) -> str | None:
        reason = super().inapplicable(target)
        if reason is not None:
            return reason
        bank = section(target, self.info.id)
        if any(reworded(item, bank) for item in facts(target.items)):
            return None
        return "No question of the request holds a word for which a synonym is known."
