"""From facts to token sequences, and the registry of methods."""

from __future__ import annotations

import pytest
import tiny
from invented import FACTS, GENERAL, OTHERS, PASSAGE, PERSON

from console.engines.protocol import Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import registry
from console.methods.examples import examples_of, item_examples, mean_nlls, text_sequences


class TestExamples:
    def test_a_fact_is_asked_and_stated(self, untaught: TransformersModel) -> None:
        item = FACTS[0]
        question, statement = item_examples(untaught, item)
        assert (question.id, statement.id) == ("mira-city/question", "mira-city/statement")
        assert (question.prompt.text, question.prompt.chat) == (item.prompt, True)
        assert (statement.prompt.text, statement.prompt.chat) == (item.statement, False)
        decode = untaught.tokenizer.decode
        assert decode(question.sequence.answer_ids) == f"{item.answer}{tiny.END}"
        assert decode(statement.sequence.answer_ids) == f" {item.answer}"

    def test_without_statement_and_as_a_passage_there_is_one(self, untaught: TransformersModel) -> None:
        (question,) = item_examples(untaught, FACTS[0].model_copy(update={"statement": ""}))
        (passage,) = item_examples(untaught, PASSAGE)
        assert question.id == "mira-city/question"
        assert (passage.id, passage.prompt.chat) == ("mira-passage/passage", False)

    def test_ids_are_unique_and_held_out_wordings_are_left_to_the_attacks(self, untaught: TransformersModel) -> None:
        examples = examples_of(untaught, (*PERSON, *OTHERS))
        assert len({example.id for example in examples}) == len(examples)
        asked = {example.prompt.text for example in examples}
        assert not asked & {wording for item in (*PERSON, *OTHERS) for wording in item.paraphrases}

    def test_an_item_longer_than_the_context_is_refused_by_its_id(self, untaught: TransformersModel) -> None:
        long = PASSAGE.model_copy(update={"answer": "Aalborg " * untaught.context_length})
        with pytest.raises(InputError, match=f"mira-passage is .* {tiny.CONTEXT}") as caught:
            item_examples(untaught, long)
        assert "Aalborg" not in str(caught.value)

    @pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
    def test_the_context_is_the_configured_one(self, architecture: str) -> None:
        assert tiny.model(architecture).context_length == tiny.CONTEXT

    def test_levels_are_mean_scores_by_example(self, untaught: TransformersModel) -> None:
        levels = mean_nlls(untaught, PERSON)
        assert set(levels) == {example.id for example in examples_of(untaught, PERSON)}
        (scored,) = untaught.score([ScoreRequest(FACTS[0].answer, Prompt("", FACTS[0].statement, chat=False))])
        assert levels["mira-city/statement"] == pytest.approx(-scored.mean, abs=1e-4)

    def test_general_text_is_cut_at_the_context_and_a_single_token_left_out(self, untaught: TransformersModel) -> None:
        word = untaught.tokenizer.decode([20])
        assert untaught.token_count(word) == 1
        (cut,) = text_sequences(untaught, [word, " ".join(GENERAL) * untaught.context_length])
        assert len(cut.ids) == untaught.context_length

    def test_general_text_is_learned_from_its_second_token(self, untaught: TransformersModel) -> None:
        sequences = text_sequences(untaught, GENERAL)
        assert [untaught.tokenizer.decode(sequence.ids) for sequence in sequences] == list(GENERAL)
        assert {sequence.answer_start for sequence in sequences} == {1}


class TestRegistry:
    def test_every_entry_is_named_as_its_method_and_has_a_schema(self) -> None:
        methods = registry.available()
        assert {"npo", "retrain"} <= set(methods)
        for name, method in methods.items():
            assert method.info.id == name
            assert method.config_class().model_json_schema()["additionalProperties"] is False

    def test_an_unknown_method_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(InputError, match=r"no method 'magic'; known are .*npo"):
            registry.method_named("magic")
