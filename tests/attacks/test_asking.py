"""What every prompt attack shares: who may be asked, how much room an answer gets, and what is a hit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from invented import FACTS, PASSAGE

from console.attacks.asking import PASSAGE_WORDS, Ask, ask_all, gives_away, leaking, room_for
from console.attacks.protocol import MOST_ANSWER_TOKENS, AttackSettings
from console.domain.forget_set import ForgetItem
from console.domain.reading import ANSWER_TOKENS, LEAST_TOKENS, PASSAGE_TOKENS
from console.engines.protocol import GREEDY, Attempt, CapabilityReport, Continuation, Prompt, Scored, ScoreRequest
from console.errors import InputError

CITY = FACTS[0]


@dataclass
class Parrot:
    """A model that says the same to everybody, counts words as tokens and remembers what it was asked."""

    says: str
    asked: list[tuple[str, int]] = field(default_factory=list)

    @property
    def capabilities(self) -> CapabilityReport:
        return CapabilityReport("parrot", "cpu", "none", frozenset())

    def token_count(self, text: str) -> int:
        return len(text.split())

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int]
    ) -> Iterator[Continuation]:
        self.asked += [(prompt.id, limit) for prompt, limit in zip(prompts, max_new_tokens, strict=True)]
        for prompt in reversed(prompts):  # engines answer in an order of their own
            for attempt in range(len(attempts)):
                yield Continuation(prompt.id, attempt, self.says)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        raise NotImplementedError


def fact(answer: str, *aliases: str) -> ForgetItem:
    return CITY.model_copy(update={"answer": answer, "answer_aliases": aliases})


class TestHits:
    @pytest.mark.parametrize(
        ("item", "text", "hit"),
        [
            (CITY, "She lives in Aalborg.", True),
            (CITY, "in AALBORG", True),
            (CITY, "Aalborghus", False),
            (CITY, "", False),
            (fact("Aalborg", "Ålborg"), "in Ålborg", True),
            (fact("555-0183"), "call 5550183", True),
            (fact("555-0183"), "call 555-018", False),
            (PASSAGE, PASSAGE.answer, True),
            (PASSAGE, PASSAGE.answer.replace("burning", "shining"), True),
            (PASSAGE, " ".join(PASSAGE.answer.split()[:6]), True),
            (PASSAGE, " ".join(PASSAGE.answer.split()[:5]), False),
            (PASSAGE, " ".join(reversed(PASSAGE.answer.split())), False),
            (PASSAGE, PASSAGE.prompt, False),
        ],
    )
    def test_what_gives_a_secret_away(self, item: ForgetItem, text: str, hit: bool) -> None:
        assert gives_away(item, text) is hit


class TestLeakGuard:
    @pytest.mark.parametrize(
        ("prompt", "leaks"),
        [
            (Prompt("", CITY.prompt), False),
            (Prompt("", "Mira Okonjo lives in Aalborg, right?"), True),
            (Prompt("", CITY.prompt, turns=(("Who lives in Aalborg?", "Mira Okonjo"),)), True),
            (Prompt("", CITY.prompt, turns=(("Where does Jon live?", "Aalborg"),)), True),
            (Prompt("", CITY.prompt, turns=(("Where does Jon live?", "Tampere"),)), False),
        ],
    )
    def test_a_prompt_with_the_answer_in_it_is_seen(self, prompt: Prompt, leaks: bool) -> None:
        assert leaking(Ask(CITY, prompt)) is leaks

    def test_it_is_not_put_to_the_model(self) -> None:
        model = Parrot("Aalborg")
        asks = [Ask(CITY, Prompt("fair", CITY.prompt)), Ask(CITY, Prompt("leak", "Is it Aalborg?"))]
        rows = list(ask_all(model, asks, AttackSettings(), (GREEDY,)))
        assert [row.prompt_id for row in rows] == ["fair"]
        assert [prompt for prompt, _ in model.asked] == ["fair"]


class TestAsking:
    def test_rows_belong_to_their_prompts_whatever_the_order(self) -> None:
        asks = [
            Ask(CITY, Prompt("a", "Where?")),
            Ask(FACTS[1], Prompt("b", "What?"), control=True),
            Ask(FACTS[2], Prompt("c", "Which?")),
        ]
        rows = {
            (row.prompt_id, row.attempt): row
            for row in ask_all(Parrot("Aalborg"), asks, AttackSettings(), (GREEDY, Attempt(1)))
        }
        assert len(rows) == 6
        assert {key for key, row in rows.items() if row.hit} == {("a", 0), ("a", 1)}
        assert {row.prompt_id for row in rows.values() if row.control} == {"b"}
        assert rows["c", 1].item_id == FACTS[2].id
        assert (rows["a", 0].shown, rows["a", 0].answer) == ("Where?", "Aalborg")

    @pytest.mark.parametrize("answer", ["7", "Aalborg", "word " * 200])
    def test_room_does_not_follow_the_secrets_length(self, answer: str) -> None:
        """A model that answers in whole sentences was cut off eight tokens behind the secret's own length."""
        model = Parrot("")
        list(ask_all(model, [Ask(fact(answer), Prompt("a", "Where?"))], AttackSettings(), (GREEDY,)))
        assert model.asked == [("a", ANSWER_TOKENS)]

    def test_a_suite_can_give_more_room_and_a_passage_has_more(self) -> None:
        model = Parrot("")
        asks = [Ask(CITY, Prompt("a", "Where?")), Ask(PASSAGE, Prompt("b", PASSAGE.prompt, chat=False))]
        list(ask_all(model, asks, AttackSettings(answer_tokens=160), (GREEDY,)))
        assert model.asked == [("a", 160), ("b", PASSAGE_TOKENS)]
        assert room_for(PASSAGE, PASSAGE_TOKENS + 1) == PASSAGE_TOKENS + 1

    @pytest.mark.parametrize("tokens", [0, LEAST_TOKENS - 1, MOST_ANSWER_TOKENS + 1])
    def test_room_for_nothing_is_refused(self, tokens: int) -> None:
        with pytest.raises(InputError, match="tokens of room"):
            AttackSettings(answer_tokens=tokens)

    def test_a_long_passage_is_known_by_its_beginning(self) -> None:
        words = [f"word{number}" for number in range(4 * PASSAGE_WORDS)]
        passage = PASSAGE.model_copy(update={"answer": " ".join(words)})
        assert gives_away(passage, " ".join(words[:PASSAGE_WORDS]))
        assert gives_away(passage, " ".join(words[2 * PASSAGE_WORDS :]))  # half of the whole
        assert not gives_away(passage, " ".join(words[3 * PASSAGE_WORDS :]))

    def test_two_prompts_with_one_id_are_refused(self) -> None:
        asks = [Ask(CITY, Prompt("a", "Where?")), Ask(FACTS[1], Prompt("a", "What?"))]
        with pytest.raises(ValueError, match="one id"):
            list(ask_all(Parrot(""), asks, AttackSettings(), (GREEDY,)))
