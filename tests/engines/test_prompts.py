"""Prompts: the exact text, the seam between prompt and answer, and what is cut when it is too long."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
import tiny
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers, processors

from console.engines.prompts import Written, answer_sequence, answer_text, prompt_ids, render, whole_text_sequence
from console.engines.protocol import Prompt

QUESTION = "Where does Mira Okonjo live?"
TURNS = (("Where does Lena Falk live?", "Malmo"),)
SYSTEM = "<|system|>You answer questions about people.<|end|>"


def trimmed() -> Any:
    """Digits one by one, and offsets without the leading blank, as in SmolLM and Llama 3."""
    made = tiny.make_tokenizer()
    core = made.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


TOKENIZERS = {
    "chat": tiny.make_tokenizer(),
    "no template": tiny.make_tokenizer(chat=False),
    "opens": tiny.make_tokenizer(chat=False, opens=True),
    "closes": tiny.make_tokenizer(opens=True, closes=True),
    "trimmed": trimmed(),
    "qwen2": tiny.make_qwen2_tokenizer(),
}
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
texts = st.text(
    st.one_of(st.sampled_from("Mira Okonjo 555-0183 .?'"), st.characters(codec="utf-8", exclude_categories=("Cs",))),
    min_size=1,
    max_size=24,
).filter(lambda text: text.strip() and "<|" not in text)


class TestRendering:
    @pytest.mark.parametrize(
        ("tokenizer", "prompt", "text", "special"),
        [
            ("chat", Prompt("", QUESTION), f"{SYSTEM}<|user|>{QUESTION}<|end|><|assistant|>", False),
            (
                "chat",
                Prompt("", QUESTION, turns=TURNS),
                f"{SYSTEM}<|user|>{TURNS[0][0]}<|end|><|assistant|>Malmo<|end|><|user|>{QUESTION}<|end|><|assistant|>",
                False,
            ),
            ("chat", Prompt("", "Mira Okonjo lives in", chat=False), "Mira Okonjo lives in", True),
            ("no template", Prompt("", QUESTION), f"Question: {QUESTION}\nAnswer:", True),
            (
                "no template",
                Prompt("", QUESTION, turns=TURNS),
                f"Question: {TURNS[0][0]}\nAnswer: Malmo\n\nQuestion: {QUESTION}\nAnswer:",
                True,
            ),
        ],
    )
    def test_text_and_special_tokens(self, tokenizer: str, prompt: Prompt, text: str, special: bool) -> None:
        assert render(TOKENIZERS[tokenizer], prompt) == Written(text, special)

    @pytest.mark.parametrize(
        ("tokenizer", "prompt", "expected"),
        [
            ("chat", Prompt("", QUESTION), "Aalborg"),
            ("chat", Prompt("", "Mira Okonjo lives in", chat=False), " Aalborg"),
            ("chat", Prompt("", "Mira Okonjo lives in ", chat=False), "Aalborg"),
            ("chat", Prompt("", "Home:\n", chat=False), "Aalborg"),
            ("no template", Prompt("", QUESTION), " Aalborg"),
            ("no template", Prompt("", "Mira Okonjo lives in", chat=False), " Aalborg"),
        ],
    )
    def test_a_blank_stands_between_unless_a_turn_or_line_was_opened(
        self, tokenizer: str, prompt: Prompt, expected: str
    ) -> None:
        assert answer_text(TOKENIZERS[tokenizer], prompt, "Aalborg") == expected

    @pytest.mark.parametrize(
        ("tokenizer", "prompt", "asked"),
        [
            ("chat", Prompt("", QUESTION), f"{SYSTEM}<|user|>{QUESTION}<|end|><|assistant|>"),
            ("chat", Prompt("", "Home:", chat=False), "Home: "),
            ("no template", Prompt("", QUESTION), f"Question: {QUESTION}\nAnswer: "),
        ],
    )
    def test_an_opening_follows_like_an_answer_and_nothing_stands_between_it_and_what_comes_next(
        self, tokenizer: str, prompt: Prompt, asked: str
    ) -> None:
        for said in ('She said "', "She lives in "):
            begun = replace(prompt, opening=said)
            assert render(TOKENIZERS[tokenizer], begun).text == asked + said
            assert answer_text(TOKENIZERS[tokenizer], begun, "Aalborg") == "Aalborg"
        with_blank = replace(prompt, opening=" She lives in ")
        assert render(TOKENIZERS[tokenizer], with_blank).text == f"{asked.rstrip(' ')} She lives in "

    def test_special_tokens_come_from_the_template_or_the_tokenizer_but_not_from_both(self) -> None:
        opens, chat = TOKENIZERS["opens"], TOKENIZERS["closes"]
        assert prompt_ids(opens, Prompt("", QUESTION))[0] == opens.bos_token_id
        in_chat = prompt_ids(chat, Prompt("", QUESTION))
        assert chat.decode(in_chat) == render(chat, Prompt("", QUESTION)).text
        assert chat.bos_token_id not in in_chat


class TestAnswerSequence:
    @settings(deadline=None, database=None, max_examples=60)
    @given(
        name=st.sampled_from(sorted(TOKENIZERS)), question=texts, answer=texts, chat=st.booleans(), turns=st.booleans()
    )
    def test_prompt_and_answer_are_one_text_cut_at_the_seam(
        self, name: str, question: str, answer: str, chat: bool, turns: bool
    ) -> None:
        tokenizer = TOKENIZERS[name]
        prompt = Prompt("", question, chat=chat, turns=TURNS if turns and chat else ())
        sequence = answer_sequence(tokenizer, prompt, answer)
        text, special = (shown := render(tokenizer, prompt)).text, shown.special
        whole = text + answer_text(tokenizer, prompt, answer)
        assume(unicodedata.is_normalized("NFC", whole))  # else a normalising tokenizer decodes another text
        opening = [tokenizer.bos_token_id] if special and name in {"opens", "closes"} else []
        assert list(sequence.ids) == [*opening, *tokenizer(whole, add_special_tokens=False)["input_ids"]]
        before = tokenizer.decode(sequence.ids[len(opening) : sequence.answer_start])
        assert text.startswith(before)
        assert answer.strip() in tokenizer.decode(sequence.answer_ids)
        # No answer token could be left to the prompt: the first one reaches past the seam.
        first = tokenizer.decode(sequence.ids[len(opening) : sequence.answer_start + 1])
        assert len(first) > len(text) or "\ufffd" in first

    @every_tokenizer
    @pytest.mark.parametrize("prompt", [Prompt("", QUESTION), Prompt("", "The phone number is", chat=False)])
    def test_a_clean_seam_starts_with_exactly_the_generation_prompt(self, tokenizer: Any, prompt: Prompt) -> None:
        """What is scored follows what is generated from."""
        sequence = answer_sequence(tokenizer, prompt, "555-0183")
        ids = prompt_ids(tokenizer, prompt)
        if ids[-1] == tokenizer.eos_token_id and tokenizer is TOKENIZERS["closes"]:
            ids = ids[:-1]
        assert sequence.ids[: sequence.answer_start] == ids
        assert tokenizer.decode(sequence.answer_ids).strip() == "555-0183"

    @every_tokenizer
    @pytest.mark.parametrize(("opening", "secret"), [("Mira lives in ", "Aalborg"), ("Ring (", "555) 0183")])
    def test_a_secret_inside_an_answer_has_the_tokens_that_it_has_in_the_whole_answer(
        self, tokenizer: Any, opening: str, secret: str
    ) -> None:
        prompt = Prompt("", QUESTION)
        whole = answer_sequence(tokenizer, prompt, opening + secret)
        inside = answer_sequence(tokenizer, replace(prompt, opening=opening), secret)
        assert inside.ids == whole.ids and inside.answer_start > whole.answer_start
        assert tokenizer.decode(inside.answer_ids).endswith(secret)

    @every_tokenizer
    def test_the_end_token_is_appended_on_request_and_once(self, tokenizer: Any) -> None:
        prompt = Prompt("", QUESTION)
        without, ended = (answer_sequence(tokenizer, prompt, "Aalborg", end=end) for end in (False, True))
        assert ended.ids == (*without.ids, tokenizer.eos_token_id)
        assert without.ids[-1] != tokenizer.eos_token_id
        assert ended.answer_start == without.answer_start

    @settings(deadline=None, database=None, max_examples=60)
    @given(question=texts, answer=texts, max_tokens=st.integers(1, 60), end=st.booleans())
    def test_truncation_cuts_the_beginning_and_never_the_answer(
        self, question: str, answer: str, max_tokens: int, end: bool
    ) -> None:
        tokenizer = TOKENIZERS["chat"]
        prompt = Prompt("", question)
        whole = answer_sequence(tokenizer, prompt, answer, end=end)
        cut = answer_sequence(tokenizer, prompt, answer, end=end, max_tokens=max_tokens)
        assert cut.answer_ids == whole.answer_ids
        assert whole.ids[-len(cut.ids) :] == cut.ids
        assert cut.answer_start >= 1
        assert len(cut.ids) == min(len(whole.ids), max(max_tokens, len(whole.answer_ids) + 1))


class TestWholeText:
    @every_tokenizer
    def test_every_token_but_the_first_is_scored(self, tokenizer: Any) -> None:
        sequence = whole_text_sequence(tokenizer, "The ferry leaves at seven")
        assert sequence.answer_start == 1
        assert list(sequence.ids) == tokenizer("The ferry leaves at seven")["input_ids"]
