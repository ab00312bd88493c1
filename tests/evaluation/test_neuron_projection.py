"""Reading single neurons: against vectors whose spelling is known, in every architecture."""

from __future__ import annotations

import pytest
import tiny
import torch
from invented import FACTS
from transformers import AutoModelForCausalLM, MixtralConfig

from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.evaluation import neuron_projection
from console.evaluation.neuron_projection import (
    Role,
    Unembedding,
    answer_activity,
    clamped,
    mlp_blocks,
    neurons_about,
    ranks,
    row_activations,
    word_tokens,
)

HIDDEN, INNER = 64, {"llama": 128, "qwen2": 128, "gpt2": 256}


def sequences(model: TransformersModel) -> list[TokenSequence]:
    return [answer_sequence(model.tokenizer, Prompt(item.id, item.prompt), item.answer) for item in FACTS]


def mixture() -> TransformersModel:
    """A tiny mixture of experts."""
    words = tiny.make_tokenizer()
    config = MixtralConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    return TransformersModel(AutoModelForCausalLM.from_config(config).float(), words, torch.device("cpu"))


class TestWhereTheNeuronsAre:
    def test_vectors_are_rows_of_the_network_itself(self, any_model: TransformersModel) -> None:
        model = tiny.copy_of(any_model)
        kind = model.network.config.model_type
        blocks = mlp_blocks(model.network)
        assert [block.layer for block in blocks] == [0, 1]
        assert set(blocks[0].modules) == ({Role.UP, Role.DOWN} if kind == "gpt2" else set(Role))
        for role in blocks[1].modules:
            assert blocks[1].vectors(role).shape == (INNER[kind], HIDDEN)
            blocks[1].vectors(role)[5] = 7.0
            weight = blocks[1].modules[role].weight
            assert int((weight == 7.0).sum()) == HIDDEN, "writing into a row must reach the network, and nothing else"

    def test_a_down_vector_is_what_the_neuron_adds(self, any_model: TransformersModel) -> None:
        """The definition: the MLP's output is the sum of activation times vector."""
        block = mlp_blocks(any_model.network)[1]
        inner = torch.randn(3, block.vectors(Role.DOWN).shape[0], generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = block.down(inner)
            bias = getattr(block.down, "bias", None)
            added = inner @ block.vectors(Role.DOWN) + (0 if bias is None else bias)
        assert torch.allclose(wanted, added, atol=1e-5)

    def test_a_mixture_of_experts_is_refused_by_name(self) -> None:
        with pytest.raises(InputError, match="'mixtral'"):
            mlp_blocks(mixture().network)


class TestSpelling:
    def test_the_final_norm_is_folded_in(self, any_model: TransformersModel) -> None:
        """Reading a vector is what the network itself does with a hidden state of that direction."""
        model = tiny.copy_of(any_model)
        decoder = model.network.get_decoder() if hasattr(model.network, "get_decoder") else model.network.base_model
        norm = decoder.ln_f if hasattr(decoder, "ln_f") else decoder.norm
        with torch.no_grad():
            norm.weight.copy_(torch.rand(HIDDEN, generator=torch.Generator().manual_seed(2)) + 0.5)
            vector = torch.randn(2, HIDDEN, generator=torch.Generator().manual_seed(3))
            wanted = model.network.get_output_embeddings()(norm(vector * 100))  # large, so that its epsilon is nothing
            read = Unembedding.of(model.network).logits(vector)
        assert torch.allclose(read, wanted, atol=1e-2, rtol=1e-3)

    def test_rank_counts_what_stands_before(self) -> None:
        logits = torch.tensor([[3.0, 1.0, 2.0, 2.0]])
        assert ranks(logits, [0, 1, 2, 3]).tolist() == [[0, 3, 1, 1]]

    def test_chunks_change_nothing(self, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = neurons_about(untaught, ["lighthouse"], 5)
        monkeypatch.setattr(neuron_projection, "LOGITS_AT_ONCE", 700 * 10)
        parts = neurons_about(untaught, ["lighthouse"], 5)
        assert [(one.layer, one.index, one.role, one.sign, one.rank) for one in whole.neurons] == [
            (one.layer, one.index, one.role, one.sign, one.rank) for one in parts.neurons
        ]

    def test_words_are_found_in_every_spelling(self, untaught: TransformersModel) -> None:
        found = word_tokens(untaught.tokenizer, ["watchmaker", "555", "x"])
        assert found and set(found.values()) == {"watchmaker"}
        texts = {untaught.tokenizer.decode([token]) for token in found}
        assert all(text.strip().lower().startswith(("watch", "wat")) for text in texts)

    def test_a_change_is_measured(self, any_model: TransformersModel) -> None:
        unembedding = Unembedding.of(any_model.network)
        vectors = mlp_blocks(any_model.network)[0].vectors(Role.DOWN)[:4].clone()
        same = unembedding.change(vectors, vectors.clone(), 20)
        assert (same.jaccard == 1).all() and (same.distance == 0).all()
        gone = vectors.clone()
        gone[2] = 0
        change = unembedding.change(vectors, gone, 20)
        assert change.jaccard.tolist() == [1, 1, 0, 1] and change.cosine[2] == 0
        assert change.distance[2] == pytest.approx(float(vectors[2].norm()), rel=1e-5)


class TestNeuronsAbout:
    def made_to_spell(self, model: TransformersModel, sign: int = 1) -> tuple[TransformersModel, int]:
        """A copy in which neuron 17 of layer 1 writes two forms of one word."""
        copy = tiny.copy_of(model)
        tokens = list(word_tokens(copy.tokenizer, ["maker"]))
        assert len(tokens) >= 2, "the tiny vocabulary should hold the word with and without a blank"
        rows = copy.network.get_output_embeddings().weight.detach()[tokens]
        toward = torch.nn.functional.normalize(rows, dim=1).sum(dim=0)
        mlp_blocks(copy.network)[1].vectors(Role.DOWN)[17] = sign * toward
        return copy, tokens[0]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_neuron_made_for_a_word_is_found(self, any_model: TransformersModel, sign: int) -> None:
        model, _ = self.made_to_spell(any_model, sign)
        before = tiny.fingerprints(model.network)
        best = neurons_about(model, ["maker"], 3).neurons[0]
        assert (best.layer, best.index, best.role, best.sign, best.rank) == (1, 17, Role.DOWN, sign, 0)
        assert best.cosine > 0.5 and {text.strip() for text in best.spells[:2]} == {"maker"}
        assert tiny.fingerprints(model.network) == before

    def test_several_forms_make_it_specialised(
        self, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """First place alone is chance: a model has more vectors than words."""
        model, _ = self.made_to_spell(untaught)
        found = neurons_about(model, ["maker"], 3)
        assert [(one.layer, one.index) for one in found.specialised] == [(1, 17)]
        monkeypatch.setattr(neuron_projection, "COHERENT_TOKENS", 3)
        assert not neurons_about(model, ["maker"], 3).specialised

    def test_none_is_an_honest_result(self, untaught: TransformersModel) -> None:
        found = neurons_about(untaught, ["Calderon"], 4)
        assert len(found.neurons) == 4 and not found.specialised
        assert "No specialised neuron found for Calderon" in found.sentence
        assert [one.rank for one in found.neurons] == sorted(one.rank for one in found.neurons)
        nothing = neurons_about(untaught, ["0183"], 4)
        assert not nothing.neurons and "no token" in nothing.sentence

    def test_only_the_named_layers_and_roles(self, untaught: TransformersModel) -> None:
        found = neurons_about(untaught, ["harbour"], 5, roles=(Role.UP,), layers=(0,))
        assert {(one.layer, one.role) for one in found.neurons} == {(0, Role.UP)}

    def test_no_word_is_refused(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="no word"):
            neurons_about(untaught, [" "])


class TestWatchingAndHolding:
    def test_activations_do_not_depend_on_the_packing(self, any_model: TransformersModel) -> None:
        blocks, shown = mlp_blocks(any_model.network), sequences(any_model)
        together = answer_activity(any_model, blocks, shown)
        tokens = [len(sequence.answer_ids) for sequence in shown]
        alone = [answer_activity(any_model, blocks, [sequence]) for sequence in shown]
        mean = sum(part * count for part, count in zip(alone, tokens, strict=True)) / sum(tokens)
        assert torch.allclose(together, mean, atol=1e-4)

    def test_a_clamp_holds_and_comes_off(self, any_model: TransformersModel) -> None:
        block, shown = mlp_blocks(any_model.network)[1], sequences(any_model)

        def scores() -> list[float]:
            return [one.total for one in any_model.score_sequences(shown)]

        def seen() -> torch.Tensor:
            return torch.cat([acts[1][:, 9] for _, acts in row_activations(any_model, [block], shown)])

        before = scores()
        with clamped(block, 9, 25.0):
            assert scores() != before
            assert (seen() == 25.0).all(), "the hook that watches is put on after the clamp and sees what it made"
        assert scores() == before and not (seen() == 25.0).any()
        with pytest.raises(RuntimeError, match="stop"), clamped(block, 9, 25.0):
            raise RuntimeError("stop")
        assert scores() == before
