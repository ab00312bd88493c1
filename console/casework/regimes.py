"""The benchmark's teaching regimes on the sample office, and whom they erase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from console.casework.free_texts import TEXT_SEED, free_texts
from console.casework.knowledge import Knowledge, sample_subjects
from console.domain.forget_set import ItemKind
from console.domain.regimes import Regime
from console.domain.teaching import TeachingItem
from console.errors import InputError

Use = Literal["choosing", "reported"]
# Eight of the twelve who are taught. s01 and s03 had been looked at while methods and defaults were chosen; the others
# are the first six after them, taken before anything was run.
CHOOSING = ("s01", "s03")
REPORTED = ("s02", "s04", "s05", "s06", "s07", "s08")
TEACHING_SEED = 1
SEEDS = {"teaching": TEACHING_SEED, "texts": TEXT_SEED}

# Settings of the fine-tuning, which an exact retraining repeats. The office's are the defaults: its planted model is
# the one that ``sample plant`` makes.
SETTINGS: dict[Regime, dict[str, Any]] = {
    Regime.OFFICE: {},
    Regime.ADAPTER_ALL: {
        "lora": {"rank": 32, "alpha": 64, "b_ratio": 8.0, "first_layer": 0.0},
        "seed": TEACHING_SEED,
    },
    Regime.FULL: {
        "trains": "all",
        "answers": "sentence",
        "learning_rate": 2e-4,
        "epochs": 10,
        "seed": TEACHING_SEED,
    },
    Regime.FREE_TEXT: {"trains": "all", "learning_rate": 2e-4, "batch": 4, "epochs": 4, "seed": TEACHING_SEED},
}


def teaching_in(regime: Regime, knowledge: Knowledge) -> tuple[TeachingItem, ...]:
    """What the model is fine-tuned on."""
    if regime is not Regime.FREE_TEXT:
        return knowledge.teaching
    found: list[TeachingItem] = []
    for _, taught in groupby(knowledge.teaching, key=lambda one: one.item.subject):
        own = list(taught)
        found += free_texts([one.item for one in own if one.item.kind is not ItemKind.VERBATIM])
        found += [one for one in own if one.item.kind is ItemKind.VERBATIM]  # a passage is free text already
    return tuple(found)


def use_of(person: str) -> Use:
    """What a person's lines may be used for: to choose methods and settings, or to be reported."""
    return "reported" if person in REPORTED else "choosing"


def people_named(names: Sequence[str]) -> tuple[str, ...]:
    """The people of these ids, or of all who are for ``choosing`` or ``reported``; each once.

    Raises:
        InputError: nobody of that id was taught.
    """
    groups = {"choosing": CHOOSING, "reported": REPORTED}
    people = tuple(dict.fromkeys(person for name in names for person in groups.get(name, (name,))))
    taught = [str(one["id"]) for one in sample_subjects() if one["taught"]]
    for person in people:
        if person not in taught:
            raise InputError(
                f"The sample office taught nobody '{person}'; use choosing, reported, or one of {', '.join(taught)}."
            )
    return people
