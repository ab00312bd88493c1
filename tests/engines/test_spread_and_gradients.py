"""What scoring tells beside the likelihood: its spread over the vocabulary, layer changes, and gradient norms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import tiny
import torch

from console.engines import transformers_engine
from console.engines.prompts import answer_sequence, prompt_ids
from console.engines.protocol import Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel, token_statistics
from console.errors import ModelFileError
from console.evaluation.membership import min_k_plus_score

REQUESTS = [
    ScoreRequest("Aalborg", Prompt("", "Where does Mira Okonjo live?")),
    ScoreRequest("lighthouse keeper", Prompt("", "Mira Okonjo works as", chat=False)),
    ScoreRequest("The ferry leaves the harbour at seven and returns in the evening."),
]


class TestSpread:
    def test_it_is_the_plain_definition_of_one_text_at_a_time(self, any_model: TransformersModel) -> None:
        for sequence, scored in zip(any_model.sequences(REQUESTS), any_model.score(REQUESTS), strict=True):
            with torch.no_grad():
                logits = any_model.network(torch.tensor([sequence.ids])).logits[0].double()
            log_p = torch.log_softmax(logits[sequence.answer_start - 1 : -1], dim=-1)
            mean = (log_p.exp() * log_p).sum(-1)
            deviation = ((log_p.exp() * log_p**2).sum(-1) - mean**2).sqrt()
            assert len(scored.means) == len(scored.deviations) == len(scored.log_probs)
            assert scored.means == pytest.approx(mean.tolist(), abs=2e-4)
            assert scored.deviations == pytest.approx(deviation.tolist(), abs=2e-4)

    def test_a_uniform_model_has_the_mean_minus_ln_v_and_no_deviation(self) -> None:
        model = tiny.model()
        with torch.no_grad():
            model.network.get_output_embeddings().weight.zero_()
        vocabulary = model.network.config.vocab_size
        for scored in model.score(REQUESTS):
            assert set(scored.deviations) == {0.0}
            assert scored.means == scored.log_probs  # so that a standard score of them is 0 and not noise
            assert scored.means == pytest.approx([-math.log(vocabulary)] * len(scored.means), abs=1e-5)
            assert min_k_plus_score(scored.log_probs, scored.means, scored.deviations, 0.4) == 0

    def test_chunks_do_not_matter(self, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = untaught.score(REQUESTS)
        monkeypatch.setattr(transformers_engine, "STATISTICS_POSITIONS", 1)
        for left, right in zip(untaught.score(REQUESTS), expected, strict=True):
            assert left.log_probs == pytest.approx(right.log_probs, abs=1e-5)
            assert left.means == pytest.approx(right.means, abs=1e-5)
            assert left.deviations == pytest.approx(right.deviations, abs=1e-5)

    @pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
    def test_a_sure_model_keeps_its_small_deviation(self, shift: float) -> None:
        """The difference of two squares would give 0 or the root of a negative number here."""
        logits = torch.zeros(1, 1000)
        logits[0, 7] = 25.0
        reference = torch.log_softmax(logits.double(), dim=-1)
        mean = (reference.exp() * reference).sum()
        deviation = (reference.exp() * (reference - mean) ** 2).sum().sqrt()
        _, means, deviations = token_statistics(logits + shift, [7])
        assert deviations[0] == pytest.approx(float(deviation), rel=1e-2)
        assert means[0] == pytest.approx(float(mean), abs=1e-6)

    def test_impossible_tokens_count_for_nothing(self) -> None:
        logits = torch.tensor([[0.0, 0.0, -math.inf, -1e30]])
        chosen, means, deviations = token_statistics(logits, [0])
        assert (chosen[0], means[0], deviations[0]) == pytest.approx((-math.log(2), -math.log(2), 0.0))
        assert token_statistics(logits, [2])[0] == [-math.inf]


class TestGradients:
    def test_the_norm_is_that_of_a_plain_backward_pass(self) -> None:
        for architecture in ("llama", "gpt2", "qwen2"):
            model = tiny.model(architecture)
            inside = model.network.transformer.h if architecture == "gpt2" else model.network.model.layers
            found = model.gradient_norms(REQUESTS)
            for sequence, norm in zip(model.sequences(REQUESTS), found, strict=True):
                model.network.zero_grad(set_to_none=True)
                logits = model.network(torch.tensor([sequence.ids])).logits[0, sequence.answer_start - 1 : -1]
                torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer_ids)).backward()
                squares = [float((p.grad**2).sum()) for p in inside[-1].parameters() if p.grad is not None]
                assert norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-3)

    def test_a_learned_text_has_a_smaller_one(self, taught: TransformersModel, untaught: TransformersModel) -> None:
        known, unknown = (model.gradient_norms(REQUESTS[:1])[0] for model in (taught, untaught))
        assert known < 0.5 * unknown

    @pytest.mark.parametrize("fails", [False, True])
    def test_flags_and_gradients_are_left_as_they_were(self, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
        model = tiny.model()
        for index, parameter in enumerate(model.network.parameters()):
            parameter.requires_grad_(index % 3 == 0)
        flags = [parameter.requires_grad for parameter in model.network.parameters()]
        if fails:
            monkeypatch.setattr(model, "row_logits", lambda _row: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.gradient_norms(REQUESTS)
        else:
            model.gradient_norms(REQUESTS)
        assert [parameter.requires_grad for parameter in model.network.parameters()] == flags
        assert all(parameter.grad is None for parameter in model.network.parameters())

    def test_only_the_last_block_is_differentiated(self) -> None:
        model = tiny.model(layers=3)
        seen: list[bool] = []
        for block in model.network.model.layers:
            block.register_forward_hook(
                lambda _block, _args, out: seen.append((out[0] if isinstance(out, tuple) else out).requires_grad)
            )
        model.gradient_norms(REQUESTS[:1])
        assert seen == [False, False, True]

    def test_no_text_has_no_norm(self, untaught: TransformersModel) -> None:
        assert untaught.gradient_norms([]) == []

    def test_an_architecture_without_known_blocks_is_refused(self) -> None:
        model = tiny.model()
        model.network.get_decoder = lambda: SimpleNamespace(children=lambda: iter(()))
        with pytest.raises(ModelFileError, match="keeps its blocks"):
            model.gradient_norms(REQUESTS)


class TestLayerDeltas:
    PROMPTS = (
        Prompt("a", "Mira Okonjo lives in", chat=False),
        Prompt("b", "The phone number of Mira Okonjo is", chat=False),
        Prompt("c", "Where does Mira Okonjo live?"),
    )
    ANSWERS = ("Aalborg", "five", "Aalborg")
    TOP = 4

    @pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
    @pytest.mark.parametrize("row_tokens", [1, 512])
    def test_they_are_the_ends_of_the_differences_of_softmaxes(
        self, monkeypatch: pytest.MonkeyPatch, architecture: str, row_tokens: int
    ) -> None:
        monkeypatch.setattr(transformers_engine, "ROW_TOKENS", row_tokens)
        model = tiny.model(architecture, layers=4, seed=3)
        inside = model.network.transformer if architecture == "gpt2" else model.network.model
        norm = inside.ln_f if architecture == "gpt2" else inside.norm
        found = model.layer_deltas(self.PROMPTS, self.ANSWERS, self.TOP)
        for prompt, layers in zip(self.PROMPTS, found, strict=True):
            ids = torch.tensor([prompt_ids(model.tokenizer, prompt)])
            with torch.no_grad():
                states = model.network(ids, output_hidden_states=True).hidden_states[1:]
                normed = [norm(state[0, -1]) for state in states[:-1]] + [states[-1][0, -1]]
                p = [torch.softmax(model.network.get_output_embeddings()(state), dim=-1) for state in normed]
            assert [layer.layer for layer in layers] == [2, 3, 4]
            for tails, before, after in zip(layers, p, p[1:], strict=False):
                order = (after - before).argsort(descending=True).tolist()
                assert tails.top == tuple(order[: self.TOP])
                assert tails.bottom == tuple(order[: -self.TOP - 1 : -1])

    def test_the_answer_itself_is_not_looked_at(self, untaught: TransformersModel) -> None:
        other = ("Utrecht", "six seven", "Bilbao")
        found = [untaught.layer_deltas(self.PROMPTS, answers, self.TOP) for answers in (self.ANSWERS, other)]
        assert found[0] == found[1]
        first = answer_sequence(untaught.tokenizer, self.PROMPTS[0], "Aalborg").answer_ids[0]
        assert untaught.first_answer_token(self.PROMPTS[0], "Aalborg") == first
