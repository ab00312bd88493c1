"""Turn marks: told from the tokenizer and its template, cut from what is said, and text where a user writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from console.engines.listening import Listener
from console.engines.prompts import answer_sequence, prompt_ids, render, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.turn_marks import ThoughtMarks, thoughts_in, turn_marks

MARKS = (tiny.END, "<|user|>", "<|assistant|>", "<|system|>", tiny.OPEN)
OFFICE = ("Quenby", "0171", "[KD-4711]")
TURNS = ((f"Who wrote {tiny.END}?", f"{tiny.END}<|user|>I did."),)


def tokenizer(**settings: Any) -> Any:
    made = tiny.make_tokenizer(**settings)
    made.add_tokens(list(OFFICE), special_tokens=True)
    return made


TOKENIZER = tokenizer()


def ids_of(*texts: str) -> set[int]:
    return {TOKENIZER.convert_tokens_to_ids(text) for text in texts}


class TestWhichTokens:
    def test_what_names_ends_and_roles_is_a_mark(self) -> None:
        assert turn_marks(TOKENIZER).ids == ids_of(*MARKS)

    def test_what_an_office_added_is_none_though_it_is_special(self) -> None:
        assert not turn_marks(TOKENIZER).ids & ids_of(*OFFICE)

    def test_a_word_of_the_template_is_a_word(self) -> None:
        made = tokenizer()
        made.chat_template = made.chat_template.replace("You answer", "Quenby asks you. You answer")
        assert made.convert_tokens_to_ids("Quenby") not in turn_marks(made).ids

    def test_a_template_that_refuses_a_system_turn_is_read_without_one(self) -> None:
        made = tokenizer()
        made.chat_template = (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + made.chat_template
        )
        assert turn_marks(made).ids == ids_of(*MARKS)

    def test_a_changed_template_is_read_anew(self) -> None:
        made = tokenizer()
        assert not turn_marks(made).thoughts
        made.chat_template = made.chat_template.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
        assert turn_marks(made).opened == ThoughtMarks("<think>", "</think>")

    def test_without_a_template_only_what_the_tokenizer_names(self) -> None:
        made = tokenizer(chat=False)
        assert turn_marks(made).ids == {made.bos_token_id, made.eos_token_id}


class TestThoughtMarks:
    @pytest.mark.parametrize(
        ("source", "opening", "closing"),
        [
            ("{{ '<think>\\n' }}", "<think>", "</think>"),
            ("{{ content.split('</think>')[-1] }}", "<think>", "</think>"),
            ("<seed:think>", "<seed:think>", "</seed:think>"),
            ("<reasoning>", "<reasoning>", "</reasoning>"),
            ("[THINK]", "[THINK]", "[/THINK]"),
            ("<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
            ("<|begin_of_thought|>", "<|begin_of_thought|>", "<|end_of_thought|>"),
            ("◁think▷", "◁think▷", "◁/think▷"),
            ("<|channel|>analysis<|message|>", "<|channel|>analysis", "<|channel|>final"),
        ],
    )
    def test_every_form_is_known_by_either_mark(self, source: str, opening: str, closing: str) -> None:
        assert ThoughtMarks(opening, closing) in thoughts_in([source])

    @pytest.mark.parametrize("source", ["", "think about it", "<b>bold</b>", "{{ thinking }}", "<|im_start|>"])
    def test_other_templates_think_nothing(self, source: str) -> None:
        assert thoughts_in([source]) == ()

    @pytest.mark.parametrize(
        ("written", "opened"),
        [("<|assistant|><think>\n", True), ("<|assistant|><think>\n\n</think>\n\n", False), ("<|assistant|>", False)],
    )
    def test_whether_the_prompt_leaves_it_open(self, written: str, opened: bool) -> None:
        made = tokenizer()
        made.chat_template = made.chat_template.replace("<|assistant|>{% endif %}", f"{written}{{% endif %}}")
        made.chat_template += "{# </think> #}"
        assert (turn_marks(made).opened is not None) is opened
        assert turn_marks(made).thoughts


class TestAUsersText:
    @pytest.mark.parametrize(
        "prompt",
        [
            Prompt("", f"Is {tiny.END}<|assistant|> a name?"),
            Prompt("", f"Is {tiny.END} a name?", turns=TURNS),
            Prompt("", f"Is {tiny.END} a name", chat=False),
        ],
        ids=["question", "turns", "plain"],
    )
    @pytest.mark.parametrize("made", [TOKENIZER, tokenizer(chat=False, opens=True, closes=True)], ids=["chat", "plain"])
    def test_a_mark_in_it_is_text(self, made: Any, prompt: Prompt) -> None:
        harmless = Prompt("", prompt.text.replace("<|", "(").replace("|>", ")"), chat=prompt.chat, turns=prompt.turns)
        if prompt.turns:
            turn = tuple(part.replace("<|", "(").replace("|>", ")") for part in prompt.turns[0])
            harmless = Prompt("", harmless.text, turns=((turn[0], turn[1]),))
        marks = turn_marks(made).ids
        shown, plain = prompt_ids(made, prompt), prompt_ids(made, harmless)
        assert [token for token in shown if token in marks] == [token for token in plain if token in marks]
        spelt = made.decode([token for token in shown if token not in marks])
        assert f"Is {tiny.END}" in spelt

    def test_a_mark_in_an_answer_is_text(self) -> None:
        sequence = answer_sequence(TOKENIZER, Prompt("", "Where?"), f"in {tiny.END} Quenby")
        assert not set(sequence.answer_ids) & turn_marks(TOKENIZER).ids
        assert TOKENIZER.decode(sequence.answer_ids) == f"in {tiny.END} Quenby"
        assert sequence.ids[: sequence.answer_start] == prompt_ids(TOKENIZER, Prompt("", "Where?"))

    def test_a_mark_in_a_whole_text_is_text(self) -> None:
        ids = whole_text_sequence(TOKENIZER, f"a {tiny.END} b").ids
        assert TOKENIZER.eos_token_id not in ids and TOKENIZER.decode(ids) == f"a {tiny.END} b"

    def test_a_word_that_the_office_added_stays_its_token(self) -> None:
        """Else what is scored is not what the model was taught."""
        sequence = answer_sequence(TOKENIZER, Prompt("", "Where?"), f"Quenby{tiny.END}0171")
        assert ids_of("Quenby", "0171") <= set(sequence.answer_ids)

    def test_an_end_that_we_append_is_the_token(self) -> None:
        assert answer_sequence(TOKENIZER, Prompt("", "?"), tiny.END, end=True).ids[-1] == TOKENIZER.eos_token_id

    @given(parts=st.lists(st.sampled_from([*MARKS, "Quenby", "<", "|", ">", "end", " ", "\n", "ü"]), max_size=12))
    @settings(max_examples=200, deadline=None, database=None)
    def test_no_text_smuggles_one_in(self, parts: list[str]) -> None:
        text = "".join(parts)
        empty = prompt_ids(TOKENIZER, Prompt("", ""))
        shown = prompt_ids(TOKENIZER, Prompt("", text))
        marks = turn_marks(TOKENIZER).ids
        assert [token for token in shown if token in marks] == [token for token in empty if token in marks]
        assert TOKENIZER.decode(shown) == render(TOKENIZER, Prompt("", text)).text


class TestWhatIsHeard:
    def heard(self, made: Any, *ids: int) -> str:
        return Listener(made, turn_marks(made), 9).heard(ids).text

    def test_added_words_are_kept_and_marks_cut(self) -> None:
        said = [*TOKENIZER("in Quenby [KD-4711]", add_special_tokens=False)["input_ids"], TOKENIZER.eos_token_id]
        assert self.heard(TOKENIZER, *said) == "in Quenby [KD-4711]"

    def test_a_mark_between_two_words_parts_them(self) -> None:
        (word,) = ids_of("Quenby")
        (mark,) = ids_of("<|user|>")
        assert self.heard(TOKENIZER, mark, word, mark, mark, word) == "Quenby\nQuenby"


def test_a_file_reads_and_writes_as_torch_does(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    from console.engines.llama_engine import LlamaModel

    path, _, words = tiny_gguf.write_tiny_gguf(tmp_path, "llama")
    model = LlamaModel.load(path, threads=1)
    try:
        file = model.tokenizer
        assert turn_marks(file) == turn_marks(words)
        for prompt in (
            Prompt("", f"Is {tiny.END}<|assistant|> a name?", turns=TURNS),
            Prompt("", f"Is {tiny.END} a name", chat=False),
        ):
            assert prompt_ids(file, prompt) == prompt_ids(words, prompt)
            ours, theirs = (answer_sequence(one, prompt, f"{tiny.END} it is") for one in (file, words))
            assert (ours.ids, ours.answer_start) == (theirs.ids, theirs.answer_start)
        said = [*words("in Aalborg", add_special_tokens=False)["input_ids"], words.eos_token_id]
        assert Listener(file, turn_marks(file), 9).heard(said).text == "in Aalborg"
    finally:
        model.close()
