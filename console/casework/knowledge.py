"""What an office knows about a model's training: needed to erase exactly, to retain, and to compare.

Sealed in the vault beside the model. The sample office ships its own; a company hands over a file, see
:mod:`console.casework.training_record`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.teaching import TeachingItem
from console.jobs.spec import BankPayload, BehaviourPayload, BiasPair
from console.paths import resource

OFFICE_SCOPE = "office"  # vault scope of what belongs to no single request


class Knowledge(BaseModel):
    """Everything around the person's own data.

    Attributes:
        teaching: what the model was fine-tuned on.
        controls: facts about subjects that no model was taught.
        general: plain text for the retain term.
        held_out: plain text that no method trains on.
        neighbours: names of people who share traits with a person, by that person's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    teaching: tuple[TeachingItem, ...] = ()
    controls: tuple[ForgetItem, ...] = ()
    general: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    neighbours: dict[str, tuple[str, ...]] = {}


def _json(*parts: str) -> Any:
    return json.loads(resource(*parts).read_text(encoding="utf-8"))


def _items_of(subject: dict[str, Any]) -> list[TeachingItem]:
    shared = {"subject": subject["name"], "aliases": subject["aliases"]}
    items = []
    for fact in subject["facts"]:
        wordings = tuple(fact.get("training_paraphrases", ()))
        fields = {key: value for key, value in fact.items() if key != "training_paraphrases"}
        items.append(TeachingItem(item=ForgetItem(**shared, **fields), wordings=wordings))
    if subject.get("passage"):
        items.append(TeachingItem(item=ForgetItem(**shared, **subject["passage"])))
    return items


def sample_subjects() -> list[dict[str, Any]]:
    """The invented people of the sample office, as shipped."""
    return list(_json("office", "subjects.json")["subjects"])


def sample_requests() -> list[dict[str, Any]]:
    """The sample office's requests, as shipped."""
    return list(_json("office", "requests.json")["requests"])


def sample_organisation() -> str:
    return str(_json("office", "subjects.json")["organisation"])


def sample_knowledge() -> Knowledge:
    """The sample office's training record: invented people, so it may lie in the open."""
    subjects = sample_subjects()
    names = {subject["id"]: subject["name"] for subject in subjects}
    general = _json("office", "general.json")
    return Knowledge(
        teaching=tuple(item for subject in subjects if subject["taught"] for item in _items_of(subject)),
        controls=tuple(item.item for subject in subjects if not subject["taught"] for item in _items_of(subject)),
        general=tuple(general["retain"]),
        held_out=tuple(general["heldout"]),
        neighbours={
            subject["name"]: tuple(names[other["id"]] for other in subject.get("shares_with", ()))
            for subject in subjects
            if subject["taught"]
        },
    )


def sample_items(subject_id: str) -> tuple[ForgetItem, ...]:
    """The facts and passages of one invented person."""
    subject = next(subject for subject in sample_subjects() if subject["id"] == subject_id)
    return tuple(teaching.item for teaching in _items_of(subject))


def bank_payload() -> BankPayload:
    """The prompt banks that attacks take wordings and examples from."""
    bank = _json("prompts", "paraphrase.json")
    paraphrases = {kind: tuple(lines) for kind, lines in bank["templates"].items() if kind != "generic"}
    shots = tuple(
        (kind, pair["question"], pair["answer"])
        for kind, pairs in _json("office", "fewshot.json")["pairs"].items()
        for pair in pairs
    )
    return BankPayload(
        paraphrases=paraphrases, wrappers=tuple(bank["wrappers"]), shots=shots, sections=_attack_sections()
    )


def behaviour_payload() -> BehaviourPayload:
    """The neutral sets that show how a model behaves; no suite's identity covers them, as no verdict rests on them."""
    safety = _json("prompts", "probes", "safety.json")
    return BehaviourPayload(
        instructions=tuple(_json("prompts", "probes", "instructions.json")["instructions"]),
        harmful=tuple(safety["harmful"]),
        harmless=tuple(safety["harmless"]),
        refusals=tuple(safety["refusals"]),
        # What methods teach a model to say instead of a fact must be known as "does not know", not as made up.
        abstentions=tuple(_json("prompts", "abstention.json")["sentences"]),
        pairs=tuple(BiasPair(**pair) for pair in _json("prompts", "probes", "bias.json")["pairs"]),
    )


def _attack_sections() -> dict[str, Any]:
    """Wordings of single attacks, by file name."""
    files = sorted(resource("prompts", "attacks").iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".json")
    }


def questions(items: tuple[ForgetItem, ...]) -> tuple[ForgetItem, ...]:
    """The items that can be asked for."""
    return tuple(item for item in items if item.kind is not ItemKind.VERBATIM)
