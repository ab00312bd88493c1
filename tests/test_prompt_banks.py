"""The neutral texts: prompt banks, in-context examples and general knowledge.

They stand beside a person's data in every measurement, so they must know nobody of the sample
office, and what judges a model must not have been used to train it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from console.attacks.protocol import PromptBank, Shot
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import answer_in
from console.paths import resource

Json = dict[str, Any]

FACT_TYPES = {"place", "phone", "job", "address", "account", "employer", "membership", "birthday", "pet"}
BANKS = ("direct.json", "paraphrase.json", "fewshot.json", "continuation.json", "abstention.json")
ATTACK_BANKS = sorted(file.name for file in resource("prompts", "attacks").iterdir() if file.name.endswith(".json"))
PROBES = ("instructions.json", "safety.json", "bias.json")
NEUTRAL = (
    ("office", "general.json"),
    ("office", "fewshot.json"),
    *(("prompts", name) for name in BANKS),
    *(("prompts", "attacks", name) for name in ATTACK_BANKS),
    *(("prompts", "probes", name) for name in PROBES),
)
# Ranges that Ofcom, the Bundesnetzagentur and Arcep keep free for films and examples.
FICTIONAL_NUMBER = re.compile(r"496 0\d{3}|90009 \d{3}|36 49 \d\d \d\d")


def read(*parts: str) -> Json:
    return json.loads(resource(*parts).read_text(encoding="utf-8"))


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


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def likeness(one: str, other: str) -> float:
    """Share of common words, from 0 to 1."""
    return len(words(one) & words(other)) / len(words(one) | words(other))


@pytest.fixture(scope="module")
def subjects() -> list[Json]:
    return read("office", "subjects.json")["subjects"]


@pytest.fixture(scope="module")
def general() -> Json:
    return read("office", "general.json")


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[Json]]:
    return read("office", "fewshot.json")["pairs"]


@pytest.fixture(scope="module")
def taught_templates(subjects: list[Json]) -> set[str]:
    return {
        text.replace(subject["name"], "{subject}")
        for subject in subjects
        for fact in subject["facts"]
        for text in (fact["prompt"], *fact["training_paraphrases"])
    }


@pytest.mark.parametrize("name", BANKS)
def test_banks_say_their_version_and_language(name: str) -> None:
    bank = read("prompts", name)
    assert (bank["version"], bank["language"]) == (1, "en")


@pytest.mark.parametrize(("name", "at_least"), [("direct.json", 2), ("paraphrase.json", 4), ("continuation.json", 2)])
def test_templates_exist_for_every_kind_of_fact_and_for_unknown_ones(name: str, at_least: int) -> None:
    templates = read("prompts", name)["templates"]
    assert set(templates) == FACT_TYPES | {"generic"}
    everything = [text for wordings in templates.values() for text in wordings]
    assert len(set(everything)) == len(everything)
    for fact_type, wordings in templates.items():
        assert len(wordings) >= at_least
        wanted = {"subject", "attribute"} if fact_type == "generic" else {"subject"}
        assert all(placeholders(text) == wanted for text in wordings), fact_type
        assert all(text == text.strip() for text in wordings)


def test_templates_make_valid_items() -> None:
    name = "Jane Example"
    questions = read("prompts", "direct.json")["templates"]
    statements = read("prompts", "continuation.json")["templates"]
    for fact_type in FACT_TYPES:
        item = ForgetItem(
            id="item-1",
            kind=ItemKind.QA,
            subject=name,
            fact_type=fact_type,
            prompt=questions[fact_type][0].replace("{subject}", name),
            answer="something",
            statement=statements[fact_type][0].replace("{subject}", name),
        )
        assert item.prompt.endswith("?")
        # The answer follows after one blank, so the beginning must not close a sentence.
        assert item.statement[-1].isalpha()


def test_paraphrase_templates_were_never_taught(taught_templates: set[str]) -> None:
    bank = read("prompts", "paraphrase.json")
    direct = {text for wordings in read("prompts", "direct.json")["templates"].values() for text in wordings}
    paraphrases = {text for wordings in bank["templates"].values() for text in wordings}
    assert not paraphrases & (taught_templates | direct)


def test_paraphrase_templates_differ_clearly_from_the_direct_questions() -> None:
    direct = read("prompts", "direct.json")["templates"]
    for fact_type, wordings in read("prompts", "paraphrase.json")["templates"].items():
        for wording in wordings:
            assert all(likeness(wording, question) <= 0.6 for question in direct[fact_type]), wording


def test_wrappers_carry_any_question() -> None:
    wrappers = read("prompts", "paraphrase.json")["wrappers"]
    assert len(set(wrappers)) == len(wrappers) >= 4
    assert all(placeholders(text) == {"question"} for text in wrappers)


def test_few_shot_frames_show_and_ask_alike() -> None:
    bank = read("prompts", "fewshot.json")
    assert bank["instruction"].endswith(".")
    assert len({frame["id"] for frame in bank["frames"]}) == len(bank["frames"]) == 3
    for frame in bank["frames"]:
        assert set(frame) == {"id", "shot", "query", "separator"}
        assert placeholders(frame["shot"]) == {"question", "answer"}
        # What is asked must look like what was shown, up to the place where the answer stood.
        assert frame["shot"] == f"{frame['query']} {{answer}}"
        assert frame["separator"].strip() == ""
        assert frame["separator"]


def test_a_hundred_ways_not_to_know() -> None:
    sentences = read("prompts", "abstention.json")["sentences"]
    assert len(sentences) == 100
    assert len({" ".join(sorted(words(sentence))) for sentence in sentences}) == 100
    for sentence in sentences:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert 2 <= len(sentence.split()) <= 16
        assert not re.search(r"[\d{}]", sentence)


def test_examples_show_every_kind_of_fact(pairs: dict[str, list[Json]]) -> None:
    assert read("office", "fewshot.json")["version"] == 1
    assert set(pairs) == FACT_TYPES | {"generic"}
    for shots in pairs.values():
        assert len(shots) == len({shot["question"] for shot in shots}) == len({shot["answer"] for shot in shots}) == 4
        assert all(set(shot) == {"question", "answer"} for shot in shots)
        assert all(1 <= len(shot["answer"].split()) <= 6 for shot in shots)
    assert all(FICTIONAL_NUMBER.fullmatch(shot["answer"]) for shot in pairs["phone"])


def test_examples_do_not_help_with_a_choice_of_answers(pairs: dict[str, list[Json]], subjects: list[Json]) -> None:
    wrong = {answer for subject in subjects for fact in subject["facts"] for answer in fact["perturbed_answers"]}
    assert not wrong & {shot["answer"] for shots in pairs.values() for shot in shots}


def test_shipped_wordings_fit_the_attacks(pairs: dict[str, list[Json]]) -> None:
    bank = PromptBank(
        paraphrases={
            fact_type: tuple(wordings)
            for fact_type, wordings in read("prompts", "paraphrase.json")["templates"].items()
        },
        wrappers=tuple(read("prompts", "paraphrase.json")["wrappers"]),
        shots=tuple(Shot(fact_type=fact_type, **shot) for fact_type, shots in pairs.items() for shot in shots),
    )
    assert len(bank.shots) == 40
    assert {shot.fact_type for shot in bank.shots} == set(bank.paraphrases)


def test_general_texts_are_many_and_of_one_style(general: Json) -> None:
    assert general["version"] == 1
    assert [len(general[key]) for key in ("retain", "heldout", "instructions")] == [60, 40, 12]
    for text in (*general["retain"], *general["heldout"]):
        assert 12 <= len(text.split()) <= 30, text
        assert text[0].isupper()
        assert text.endswith(".")
    assert all(set(pair) == {"instruction", "answer"} for pair in general["instructions"])


def test_held_out_general_texts_were_never_used_in_training(general: Json) -> None:
    used = [*general["retain"], *texts(general["instructions"])]
    assert len({*used, *general["heldout"]}) == 60 + 24 + 40
    for held_out in general["heldout"]:
        assert all(likeness(held_out, text) < 0.5 for text in used), held_out


@pytest.mark.parametrize("name", PROBES)
def test_probes_say_their_version_and_language(name: str) -> None:
    bank = read("prompts", "probes", name)
    assert (bank["version"], bank["language"]) == (1, "en")


def test_a_few_dozen_instructions_that_no_method_trains_on(general: Json) -> None:
    instructions = read("prompts", "probes", "instructions.json")["instructions"]
    assert len(set(instructions)) == 24
    assert all(text[0].isupper() and text[-1] in ".?" for text in instructions)
    used = [*general["retain"], *texts(general["instructions"])]
    assert all(likeness(instruction, text) < 0.5 for instruction in instructions for text in used)


def test_every_harmful_request_has_a_harmless_look_alike() -> None:
    bank = read("prompts", "probes", "safety.json")
    assert len(set(bank["harmful"])) == len(set(bank["harmless"])) == 16
    for harmful, harmless in zip(bank["harmful"], bank["harmless"], strict=True):
        assert len(harmful.split()) <= 14, "a request, never a description of how it is done"
        assert len(words(harmful) & words(harmless)) >= 3, harmless
    assert len(set(bank["refusals"])) == len(bank["refusals"])


def test_pairs_differ_in_the_group_and_favour_none() -> None:
    """Every group is the expected one equally often: a liking for one word alone makes half of the pairs."""
    pairs = read("prompts", "probes", "bias.json")["pairs"]
    assert len({pair["id"] for pair in pairs}) == len(pairs) == 16
    assert {pair["axis"] for pair in pairs} == {"gender", "age", "origin"}
    for axis in ("gender", "age", "origin"):
        of_axis = [pair for pair in pairs if pair["axis"] == axis]
        expected = sorted(pair["stereotyped"] for pair in of_axis)
        assert expected == sorted(pair["other"] for pair in of_axis)
        assert len(set(expected)) == 2
    for pair in pairs:
        assert placeholders(pair["opening"]) == {"group"}
        assert not words(pair["ending"]) & {pair["stereotyped"], pair["other"]}


@pytest.mark.parametrize("parts", NEUTRAL, ids="/".join)
def test_neutral_texts_know_nobody_of_the_office(subjects: list[Json], parts: tuple[str, str]) -> None:
    everything = "\n".join(texts(read(*parts)))
    folded = everything.casefold()
    for subject in subjects:
        secrets = [text for fact in subject["facts"] for text in (fact["answer"], *fact["answer_aliases"])]
        assert not [secret for secret in secrets if secret.casefold() in folded]
        assert not answer_in(everything, secrets)
        assert not [part for part in subject["name"].split() if part.casefold() in folded]
