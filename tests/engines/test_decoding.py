"""Decoding: what a prompt gets does not depend on its batch, and a draw is the nucleus distribution's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from console.engines.decoding import DecodeJob, decode_batch, nucleus_choice
from console.engines.prompts import prompt_ids
from console.engines.protocol import GREEDY, Attempt, Prompt, greedy_and_samples
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError

PROMPTS = [
    *(Prompt(f"chat/{name}", f"Where does {name} live?") for name in ("Mira Okonjo", "Jon Vasara", "Ines")),
    Prompt("chat/again", "Where does Mira Okonjo live?"),
    Prompt("chat/turns", "Where does Mira live?", turns=(("Where does Lena live?", "Malmo"), ("And Jon?", "Tampere"))),
    Prompt("plain/short", "M", chat=False),
    Prompt("plain/beginning", "Mira Okonjo", chat=False),
    Prompt("plain/longer", "Mira Okonjo carried the lamp up the narrow", chat=False),
]
LIMITS = [6, 3, 9, 6, 1, 4, 7, 5]
ATTEMPTS = greedy_and_samples(3, seed=11)
SAMPLED = Attempt(seed=4, temperature=0.8, top_p=0.9)


def written(model: TransformersModel, rows: int, prompts: list[Prompt] = PROMPTS) -> dict[tuple[str, int], str]:
    limits = {prompt.id: limit for prompt, limit in zip(PROMPTS, LIMITS, strict=True)}
    said = model.generate(prompts, ATTEMPTS, [limits[prompt.id] for prompt in prompts], rows)
    return {(one.prompt_id, one.attempt): one.text for one in said}


def greedy_alone(model: TransformersModel, ids: tuple[int, ...], limit: int, stop: frozenset[int]) -> list[int]:
    """The plain definition: no cache, no batch, no padding."""
    found: list[int] = []
    while len(found) < limit:
        with torch.no_grad():
            token = int(model.network(torch.tensor([[*ids, *found]])).logits[0, -1].argmax())
        if token in stop:
            break
        found.append(token)
    return found


def decoded(
    model: TransformersModel, jobs: list[DecodeJob], attempts: tuple[Attempt, ...], stop: frozenset[int] = frozenset()
) -> dict[tuple[int, int], list[int]]:
    found = decode_batch(model.network, jobs, attempts, stop, pad_id=0)
    return {(index, attempt): branch.tokens for index, attempt, branch in found}


def jobs_of(model: TransformersModel) -> list[DecodeJob]:
    return [
        DecodeJob(prompt.id, prompt_ids(model.tokenizer, prompt), limit)
        for prompt, limit in zip(PROMPTS, LIMITS, strict=True)
    ]


class TestRoom:
    def test_a_prompt_without_room_for_its_answer_is_refused(self, untaught: TransformersModel) -> None:
        context = untaught.network.config.max_position_embeddings
        fits = Prompt("fits", "Where?")
        assert list(untaught.generate([fits], (GREEDY,), [4]))
        with pytest.raises(InputError, match=f"context of {context}"):
            list(untaught.generate([fits, Prompt("long", "where " * context)], (GREEDY,), [4, 4]))


class TestBatches:
    def test_batches_of_1_and_16_write_the_same(self, any_model: TransformersModel) -> None:
        one, many = written(any_model, rows=1), written(any_model, rows=16)
        assert set(one) == {(prompt.id, attempt) for prompt in PROMPTS for attempt in range(len(ATTEMPTS))}
        assert one == many

    def test_the_order_of_prompts_does_not_matter(self, untaught: TransformersModel) -> None:
        assert written(untaught, 48, PROMPTS[::-1]) == written(untaught, 48)

    def test_greedy_is_the_plain_definition(self, any_model: TransformersModel) -> None:
        jobs = jobs_of(any_model)
        found = decoded(any_model, jobs, (GREEDY,))
        for index, job in enumerate(jobs):
            assert found[index, 0] == greedy_alone(any_model, job.ids, job.max_new_tokens, frozenset())

    def test_a_shared_beginning_changes_nothing(self, untaught: TransformersModel) -> None:
        """The first jobs share a long beginning, alone they share none with anybody."""
        jobs = jobs_of(untaught)[:4]
        together = decoded(untaught, jobs, ATTEMPTS)
        for index, job in enumerate(jobs):
            alone = decoded(untaught, [job], ATTEMPTS)
            assert [together[index, attempt] for attempt in range(4)] == [alone[0, attempt] for attempt in range(4)]

    def test_a_sample_does_not_depend_on_the_other_attempts(self, untaught: TransformersModel) -> None:
        jobs = jobs_of(untaught)
        with_others = decoded(untaught, jobs, (GREEDY, Attempt(seed=9, temperature=1.3), SAMPLED))
        alone = decoded(untaught, jobs, (SAMPLED,))
        assert {index: with_others[index, 2] for index in range(len(jobs))} == {
            index: alone[index, 0] for index in range(len(jobs))
        }

    def test_every_limit_is_its_own(self, untaught: TransformersModel) -> None:
        jobs = jobs_of(untaught)
        found = decoded(untaught, jobs, ATTEMPTS)
        assert [len(found[index, 0]) for index in range(len(jobs))] == LIMITS
        shorter = decoded(untaught, [DecodeJob(job.prompt_id, job.ids, 1) for job in jobs], ATTEMPTS)
        assert shorter == {key: tokens[:1] for key, tokens in found.items()}

    def test_a_stop_token_ends_the_answer_and_is_not_part_of_it(self, untaught: TransformersModel) -> None:
        jobs = jobs_of(untaught)
        free = decoded(untaught, jobs, ATTEMPTS)
        stop = frozenset({free[2, 0][1], free[0, 1][0], free[6, 2][4]})
        stopped = decoded(untaught, jobs, ATTEMPTS, stop)
        expected = {
            key: tokens[: next((place for place, token in enumerate(tokens) if token in stop), len(tokens))]
            for key, tokens in free.items()
        }
        assert stopped == expected
        assert expected != free

    def test_the_engine_stops_at_every_end_token_that_the_model_names(self, untaught: TransformersModel) -> None:
        prompt, limit = PROMPTS[2], LIMITS[2]
        ids = prompt_ids(untaught.tokenizer, prompt)
        free = greedy_alone(untaught, ids, limit, frozenset({untaught.tokenizer.eos_token_id}))
        model = tiny.copy_of(untaught)
        model.network.generation_config.eos_token_id = [untaught.tokenizer.eos_token_id, free[2]]
        model = TransformersModel(model.network, model.tokenizer, model.device)
        (said,) = model.generate([prompt], (GREEDY,), [limit])
        assert said.text == untaught.tokenizer.decode(free[: free.index(free[2])])

    def test_the_tokenizer_and_the_mode_are_left_alone(self, untaught: TransformersModel) -> None:
        tokenizer = untaught.tokenizer
        before = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.truncation_side, untaught.network.training)
        written(untaught, rows=16)
        assert before == (
            tokenizer.padding_side,
            tokenizer.pad_token,
            tokenizer.truncation_side,
            untaught.network.training,
        )
        assert tokenizer.padding_side == "right"  # so that padding on the left must be the engine's own

    def test_seeds_and_prompt_ids_fix_the_draw(self, untaught: TransformersModel) -> None:
        ids = jobs_of(untaught)[0].ids

        def draw(prompt_id: str, seed: int) -> list[int]:
            return decoded(untaught, [DecodeJob(prompt_id, ids, 8)], (Attempt(seed=seed, temperature=1.5),))[0, 0]

        first = draw("a", 1)
        assert first == draw("a", 1)
        assert len({tuple(first), tuple(draw("a", 2)), tuple(draw("b", 1))}) == 3

    def test_the_caller_s_random_numbers_are_not_used(self, untaught: TransformersModel) -> None:
        before = torch.random.get_rng_state()
        written(untaught, rows=16)
        assert torch.equal(before, torch.random.get_rng_state())


def reference_nucleus(logits: list[float], temperature: float, top_p: float) -> dict[int, float]:
    """Token -> probability, in plain Python: the likeliest tokens until their sum reaches ``top_p``."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    kept: dict[int, float] = {}
    for token in np.argsort(-probabilities, kind="stable"):
        if sum(kept.values()) >= top_p:
            break
        kept[int(token)] = float(probabilities[token])
    total = sum(kept.values())
    return {token: probability / total for token, probability in kept.items()}


class TestNucleus:
    def test_a_flat_row_is_drawn_from_whole_and_a_peaked_one_beside_it_as_alone(self) -> None:
        """Only rows that need it are sorted whole: with 2,000 equal tokens the nucleus holds 1,800 of them."""
        flat, peaked = torch.zeros(2000), torch.zeros(2000).index_fill(0, torch.tensor([7]), 20.0)
        uniform = torch.linspace(0.001, 0.999, 400)
        drawn = nucleus_choice(flat.repeat(400, 1), Attempt(0, 1.0, 0.9), uniform)
        assert len(set(drawn.tolist())) == 400
        both = nucleus_choice(torch.stack([flat, peaked]), Attempt(0, 1.0, 0.9), uniform[[300, 200]])
        assert both.tolist() == [drawn[300], 7]

    @settings(deadline=None, database=None)
    @given(
        logits=st.lists(st.integers(-40, 40).map(lambda tenths: tenths / 7), min_size=2, max_size=12, unique=True),
        temperature=st.sampled_from([0.5, 0.8, 1.0, 2.0]),
        top_p=st.sampled_from([0.1, 0.5, 0.9, 0.95, 1.0]),
    )
    def test_draws_have_the_nucleus_frequencies(self, logits: list[float], temperature: float, top_p: float) -> None:
        """Evenly spread numbers in [0, 1) must hit every token in proportion, to within one number."""
        expected = reference_nucleus(logits, temperature, top_p)
        draws = 2000
        uniform = (torch.arange(draws) + 0.5) / draws
        chosen = nucleus_choice(torch.tensor([logits] * draws), Attempt(0, temperature, top_p), uniform)
        counts = Counter(chosen.tolist())
        for token in range(len(logits)):
            assert counts[token] == pytest.approx(draws * expected.get(token, 0.0), abs=1.5)

    @pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
    def test_a_tiny_nucleus_is_greedy(self, uniform: float) -> None:
        logits = torch.tensor([[1.0, 5.0, 4.9]])
        assert nucleus_choice(logits, Attempt(0, 1.0, 0.01), torch.tensor([uniform])).tolist() == [1]

    def test_a_token_without_probability_is_never_drawn(self) -> None:
        logits = torch.tensor([[0.0, -torch.inf, 0.0]] * 3)
        uniform = torch.tensor([0.0, 0.4999, 1 - 2**-24])
        assert set(nucleus_choice(logits, Attempt(0, 1.0, 1.0), uniform).tolist()) == {0, 2}

    def test_every_row_has_its_own_number(self) -> None:
        logits = torch.zeros(3, 4)
        found = nucleus_choice(logits, Attempt(0, 1.0, 1.0), torch.tensor([0.1, 0.4, 0.9])).tolist()
        assert len(set(found)) == 3


def test_greedy_comes_first_and_seeds_follow() -> None:
    assert greedy_and_samples(2, 7) == (GREEDY, Attempt(seed=7), Attempt(seed=8))
    assert greedy_and_samples(0, 7) == (GREEDY,)
