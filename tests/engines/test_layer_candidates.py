"""Reading the layers: the projection is the model's own, and the last layer is not normed twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from console.engines.prompts import answer_sequence, prompt_ids
from console.engines.protocol import LayerTails, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

TOP = 9
PROMPTS = [
    Prompt("a", "Mira Okonjo lives in", chat=False),
    Prompt("b", "Mira Okonjo works as", chat=False),
    Prompt("c", "The phone number of Mira Okonjo is", chat=False),
    Prompt("d", "Where does Mira Okonjo live?"),
    Prompt("e", "Where does Mira Okonjo live?", turns=(("Where does Lena Falk live?", "Malmo"),)),
]
ANSWERS = ["Aalborg", "lighthouse keeper", "five", "Aalborg", "Aalborg"]


@pytest.fixture(params=["llama", "gpt2", "qwen2"])
def model(request: pytest.FixtureRequest) -> TransformersModel:
    """A model whose final norm is not the identity, as it is fresh from the factory: norming twice must show."""
    made = tiny.model(request.param, layers=3, seed=3)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for parameter in final_norm(made).parameters():
            parameter.copy_(torch.rand_like(parameter) * 3 - 1)
    return made


def final_norm(model: TransformersModel) -> Any:
    """Named for each architecture by hand, not found with the product's code."""
    inside = model.network.transformer if model.network.config.model_type == "gpt2" else model.network.model
    return inside.ln_f if model.network.config.model_type == "gpt2" else inside.norm


def plain(model: TransformersModel, prompt: Prompt) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(logits, hidden states of every layer) at the prompt's last token: one prompt, no packing."""
    with torch.no_grad():
        output = model.network(torch.tensor([prompt_ids(model.tokenizer, prompt)]), output_hidden_states=True)
    return output.logits[0, -1], [state[0, -1] for state in output.hidden_states[1:]]


def ends(logits: torch.Tensor, layer: int) -> LayerTails:
    order = logits.argsort(descending=True).tolist()
    return LayerTails(layer, tuple(order[:TOP]), tuple(order[: -TOP - 1 : -1]))


def test_the_last_layer_is_the_model_s_own_prediction(model: TransformersModel) -> None:
    found = model.layer_candidates(PROMPTS, ANSWERS, TOP)
    for prompt, layers in zip(PROMPTS, found, strict=True):
        logits, states = plain(model, prompt)
        assert layers[-1] == ends(logits, model.layers)
        with torch.no_grad():
            twice = model.network.get_output_embeddings()(final_norm(model)(states[-1]))
        assert ends(twice, model.layers) != layers[-1], "norming twice would change nothing, so this test cannot fail"


def test_hidden_layers_are_norm_and_head_of_their_states(model: TransformersModel) -> None:
    found = model.layer_candidates(PROMPTS, ANSWERS, TOP)
    for prompt, layers in zip(PROMPTS, found, strict=True):
        _, states = plain(model, prompt)
        assert [layer.layer for layer in layers] == list(range(1, model.layers + 1))
        for number, state in enumerate(states[:-1], start=1):
            with torch.no_grad():
                logits = model.network.get_output_embeddings()(final_norm(model)(state))
            assert layers[number - 1] == ends(logits, number)


def test_the_answer_itself_is_not_looked_at(model: TransformersModel) -> None:
    other = ["Utrecht", "organ builder", "six seven", "Bilbao", "Bilbao"]
    assert model.layer_candidates(PROMPTS, ANSWERS, TOP) == model.layer_candidates(PROMPTS, other, TOP)


def test_the_first_answer_token_is_the_one_that_follows_the_prompt(model: TransformersModel) -> None:
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        sequence = answer_sequence(model.tokenizer, prompt, answer)
        assert model.first_answer_token(prompt, answer) == sequence.answer_ids[0]


def test_an_architecture_without_a_known_final_norm_is_refused() -> None:
    model = tiny.model()
    strange = SimpleNamespace()
    model.network.get_decoder = lambda: strange
    with pytest.raises(ModelFileError, match="no final norm"):
        model.layer_candidates(PROMPTS[:1], ANSWERS[:1], TOP)
