"""A GGUF file's own tokens and template: the same as transformers' of the same model, and safe from a hostile file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_gguf
from invented import OTHERS, PERSON

from console.domain.forget_set import ItemKind
from console.engines.checking.chat_template import MOST_TEMPLATE_CHARACTERS, ChatTemplate
from console.engines.llama_tokens import LlamaTokens, token_mismatch
from console.engines.prompts import answer_sequence, prompt_ids, render, whole_text_sequence
from console.engines.protocol import Prompt
from console.errors import ModelFileError

TEXTS = (
    "Mira Okonjo lives in Aalborg; her number is 555-0183.",
    "  two spaces, a tab\tand\n\nlines \n",
    "Grönland, 日本語 and 🦊 in one text",
    "<|user|>a name of a turn<|end|>",
    "",
)
PROMPTS = [
    *(Prompt(item.id, item.prompt, chat=item.kind is not ItemKind.VERBATIM) for item in (*PERSON, *OTHERS)),
    Prompt("turns", "Where does Mira live?", turns=(("Where does Lena live?", "Malmö"), ("And Jon?", "Tampere"))),
    Prompt("plain", "Mira Okonjo lives in", chat=False),
    Prompt("line", "Question: where?\n", chat=False),
]
ANSWERS = ("Aalborg", "+45 555-0183", "日本 – Grönland", "a\nb")


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LlamaTokens, Any]]:
    """The file's tokens, and the tokenizer that it was written from."""
    pytest.importorskip("llama_cpp")
    from console.engines.llama_engine import LlamaModel

    path, _, tokenizer = tiny_gguf.write_tiny_gguf(tmp_path_factory.mktemp("tokens"), request.param)
    model = LlamaModel.load(path, threads=1)
    yield model.tokenizer, tokenizer
    model.close()


class TestTokens:
    @pytest.mark.parametrize("text", TEXTS)
    def test_a_text_has_the_same_tokens(self, sides: tuple[LlamaTokens, Any], text: str) -> None:
        tokens, tokenizer = sides
        for special in (True, False):
            assert (
                tokens(text, add_special_tokens=special)["input_ids"]
                == tokenizer(text, add_special_tokens=special)["input_ids"]
            )

    def test_tokens_spell_the_text_again(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, tokenizer = sides
        for text in TEXTS:
            ids = tokens(text, add_special_tokens=False)["input_ids"]
            assert tokens.decode(ids) == text
            assert tokens.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids, skip_special_tokens=True)
        assert tokens.decode(tokens.ids(TEXTS[3], special=False), skip_special_tokens=True) == "a name of a turn"

    def test_offsets_cover_the_text_without_a_gap(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, _ = sides
        for text in TEXTS[:4]:
            offsets = tokens(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            assert offsets[0][0] == 0 and offsets[-1][1] == len(text)
            assert all(after[0] <= before[1] <= after[1] for before, after in pairwise(offsets))

    def test_an_answer_is_split_at_the_same_token(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, tokenizer = sides
        for prompt in PROMPTS:
            assert render(tokens, prompt) == render(tokenizer, prompt)
            assert prompt_ids(tokens, prompt) == prompt_ids(tokenizer, prompt)
            for answer in ANSWERS:
                assert answer_sequence(tokens, prompt, answer) == answer_sequence(tokenizer, prompt, answer)
        assert whole_text_sequence(tokens, TEXTS[0]) == whole_text_sequence(tokenizer, TEXTS[0])

    def test_the_end_token_stops_an_answer(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, tokenizer = sides
        assert tokens.eos_token_id == tokenizer.eos_token_id
        assert tokenizer.eos_token_id in tokens.stop_ids()


class TestMismatch:
    def test_two_tokenizers_that_agree(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, tokenizer = sides
        assert token_mismatch(tokens, tokenizer, [(prompt, ANSWERS) for prompt in PROMPTS]) is None

    def test_a_token_too_many_is_named_without_the_text(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, _ = sides
        opening = tiny.make_tokenizer(chat=False, opens=True)
        sentence = token_mismatch(tokens, opening, [(Prompt("p-7", "Mira Okonjo lives in", chat=False), ("Aalborg",))])
        assert sentence is not None
        assert "'p-7'" in sentence and "first at token 1" in sentence
        assert not any(word in sentence for word in ("Mira", "Okonjo", "Aalborg"))

    def test_an_answer_that_differs_is_named(self, sides: tuple[LlamaTokens, Any]) -> None:
        tokens, tokenizer = sides

        class Shifted:
            chat_template = tokenizer.chat_template
            added_tokens_decoder = tokenizer.added_tokens_decoder
            apply_chat_template = staticmethod(tokenizer.apply_chat_template)

            def __call__(self, text: str, **settings: Any) -> dict[str, Any]:
                found = dict(tokenizer(text, **settings))
                if "offset_mapping" in found:
                    found["input_ids"] = [*found["input_ids"][:-1], 0]
                return found

        sentence = token_mismatch(tokens, Shifted(), [(Prompt("p", "Where?"), ("Aalborg",))])
        assert sentence is not None and "answer 1 to prompt 'p'" in sentence and "Aalborg" not in sentence


class TestTemplate:
    MESSAGES = ({"role": "user", "content": "Where?"},)

    @pytest.mark.parametrize(
        "source",
        [
            tiny.CHAT_TEMPLATE,
            "{% for message in messages %}\n    {{- bos_token }}[{{ message['content'] | trim }}]\n{% endfor %}\n",
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% break %}"
            "{% endfor %}{{ messages | tojson }}{{ eos_token }}",
            "{% if tools is none %}{{ raise_exception is defined }}{% endif %}{{ strftime_now('%Y') | length }}",
            "{% for m in messages %}{% generation %}{{ m.content ~ '!' }}{% endgeneration %}{% endfor %}",
            "{{ 'a b'.replace(' ', '_') + ('x' | indent(2, true)) }}{{ ['a', 'b'] | join(', ') }}",
            "{{ messages | map(attribute='content') | join('-') }}{{ messages | map('length') | list }}",
        ],
    )
    def test_it_renders_as_transformers_does(self, source: str) -> None:
        tokenizer = tiny.make_tokenizer()
        tokenizer.chat_template = source
        ours = ChatTemplate(source, {"bos_token": tiny.OPEN, "eos_token": tiny.END})
        for opens in (True, False):
            assert ours.render(self.MESSAGES, add_generation_prompt=opens) == tokenizer.apply_chat_template(
                list(self.MESSAGES), tokenize=False, add_generation_prompt=opens
            )

    @pytest.mark.parametrize(
        "source",
        [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(99999) %}{% for b in range(99999) %}" + "x" * 60 + "{% endfor %}{% endfor %}",
            "{{ 'a' * 9999999999 }}",
            "{{ 9 ** 9 ** 9 }}",
            "{{ 'a'.ljust(9999999999) }}",
            "{{ '%9999999999d' % 1 }}",
            "{{ ''.__class__.__mro__ }}{{ messages.__class__.__base__.__subclasses__() }}",
            "{{ messages.append(1) }}",
            "{{ raise_exception('no') }}",
            "{{ messages[9].content.x }}",
            "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
            "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x|replace('a', n.x) %}{% endfor %}",
            "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
            "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x.join([n.x] * 9) %}{% endfor %}",
            "{% set n = namespace(x=['aa']) %}{% for i in range(9) %}{% set n.x = [n.x] * 99 %}{% endfor %}{{ n.x }}",
            "{% set n = namespace(x='aa') %}{% for i in range(9) %}{% set n.x = [n.x] * 99 %}{% endfor %}{{ n.x|e }}",
            "{{ 'a' | indent(999999999) }}",
            "{{ 1.5 | round(999999999) }}",
            "{{ lipsum(n=999999) }}",
            "{{ [1] | batch(999999999, 1) | list }}",
            "{% for a in range(9) %}" * 25 + "{% endfor %}" * 25,
            "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        ],
    )
    def test_a_hostile_one_ends_in_a_sentence(self, source: str) -> None:
        started = time.monotonic()
        with pytest.raises(ModelFileError, match="template cannot be used"):
            ChatTemplate(source, {}).render(self.MESSAGES, add_generation_prompt=True)
        assert time.monotonic() - started < 30

    @pytest.mark.parametrize("source", ["{% for %}", "{{ 'a' | center(9999999999) }}"])
    def test_one_that_does_not_compile_is_refused(self, source: str) -> None:
        with pytest.raises(ModelFileError, match="template cannot be used"):
            ChatTemplate(source, {})

    def test_one_that_is_too_long_is_refused(self) -> None:
        with pytest.raises(ModelFileError, match="60,000"):
            ChatTemplate("x" * (MOST_TEMPLATE_CHARACTERS + 1), {})


def test_a_file_without_a_template_is_asked_in_plain_form(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    from console.engines.llama_engine import LlamaModel

    path, _, tokenizer = tiny_gguf.write_tiny_gguf(tmp_path, "gpt2", tokenizer=tiny.make_tokenizer(chat=False))
    model = LlamaModel.load(path, threads=1)
    asked = [(prompt, ANSWERS) for prompt in PROMPTS]
    assert model.tokenizer.chat_template is None
    assert token_mismatch(model.tokenizer, tokenizer, asked) is None
