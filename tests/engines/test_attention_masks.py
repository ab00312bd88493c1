"""Windows: what a layer sees of a text in a packed row is what it sees of the text alone.

Every number is compared with the plain network's: one text, no mask, no positions, no packing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import tiny_gguf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from console.engines.attention_masks import attention_of, require_known_attention, sees_whole
from console.engines.branching import DecodeJob
from console.engines.decoding import decode_batch
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import GREEDY
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError
from console.methods.edit_sites import run_row
from console.methods.lora import LoraSettings, resolve_modules, with_adapter

WINDOW = 16
TOKENS = 300
_QWEN = {"use_sliding_window": True, "sliding_window": WINDOW}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_WINDOWED: dict[str, dict[str, Any]] = {
    "gemma2": {},
    "gemma3": {},
    "mistral": {"sliding_window": WINDOW},
    "phi3": {"sliding_window": WINDOW},
    "qwen2": {**_QWEN, "max_window_layers": 1},
    "qwen3": {**_QWEN, "max_window_layers": 1},
}
_ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_FURTHER: dict[str, dict[str, Any]] = {
    "cohere2": _ALTERNATING,
    "exaone4": _ALTERNATING,
    "gpt_oss": {**_ALTERNATING, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "ministral": {**_ALTERNATING, "head_dim": 16},
    "ministral3": {"sliding_window": WINDOW, "head_dim": 16},
    "mixtral": {"sliding_window": WINDOW, "num_local_experts": 4},
    "olmo3": _ALTERNATING,
    "qwen2_moe": {**_QWEN, **_MOE, "layer_types": _ALTERNATING["layer_types"], "shared_expert_intermediate_size": 32},
    "qwen3_moe": {**_QWEN, **_MOE, "head_dim": 16},
    "smollm3": {**_QWEN, "layer_types": _ALTERNATING["layer_types"]},
    "starcoder2": {"sliding_window": WINDOW},
}
_WHOLE = ("llama", "gpt2", "qwen2", "qwen3", "mistral", "phi3")


def tokenizer_of(architecture: str) -> Any:
    return tiny.make_qwen2_tokenizer() if architecture.startswith("qwen") else tiny.make_tokenizer()


def network_of(architecture: str, **own: Any) -> Any:
    """A random network of one of the tests' usual architectures, without a window where ``own`` names none."""
    return tiny_gguf.tiny_network(tiny_gguf.tiny_config(architecture, tokenizer_of(architecture), **own))


def further_network(architecture: str) -> Any:
    shape = {
        "vocab_size": TOKENS,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": tiny.CONTEXT,
        "initializer_range": 0.1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return tiny_gguf.tiny_network(AutoConfig.for_model(architecture, **shape, **_FURTHER[architecture]))


def model_of(network: Any) -> TransformersModel:
    return TransformersModel(network, tokenizer_of("llama"), torch.device("cpu"))


@pytest.fixture(scope="module", params=[*_WINDOWED, "llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Iterator[TransformersModel]:
    yield model_of(network_of(request.param, **_WINDOWED.get(request.param, {})))


@pytest.fixture(scope="module", params=list(_WINDOWED))
def windowed(request: pytest.FixtureRequest) -> Iterator[TransformersModel]:
    yield model_of(network_of(request.param, **_WINDOWED[request.param]))


def words(count: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(5, TOKENS, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


ALONE = [TokenSequence(words(length, length), 1) for length in (2, 8, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + 2, 40)]
TOGETHER = [
    *ALONE,
    *(
        TokenSequence((*words(beginning, beginning), *words(own, 100 * beginning + own)), beginning + 2)
        for beginning in (8, WINDOW, 30)
        for own in (3, 9, WINDOW, 25)
    ),
]


def plain(network: Any, sequence: TokenSequence) -> torch.Tensor:
    """(answer tokens,) log-probabilities."""
    with torch.no_grad():
        logits = network(torch.tensor([sequence.ids])).logits[0].float()
    log_probs = torch.log_softmax(logits[sequence.answer_start - 1 : -1], dim=-1)
    return log_probs.gather(-1, torch.tensor(sequence.answer_ids)[:, None]).squeeze(-1)


def assert_scores_are_plain(model: TransformersModel, sequences: list[TokenSequence]) -> None:
    for scored, sequence in zip(model.score_sequences(sequences), sequences, strict=True):
        torch.testing.assert_close(
            torch.tensor(scored.log_probs), plain(model.network, sequence), atol=1e-4, rtol=0, msg=str(sequence)
        )


class TestScores:
    @pytest.mark.parametrize("sequence", ALONE, ids=lambda sequence: f"{len(sequence.ids)} tokens")
    def test_a_text_alone(self, model: TransformersModel, sequence: TokenSequence) -> None:
        assert_scores_are_plain(model, [sequence])

    def test_texts_together_and_with_shared_beginnings(self, model: TransformersModel) -> None:
        rows = pack(TOGETHER, 512)
        assert max(len(row.members) for row in rows) > 5
        assert sum(row.tokens for row in rows) < 0.8 * sum(len(sequence.ids) for sequence in TOGETHER)
        assert_scores_are_plain(model, TOGETHER)

    @pytest.mark.parametrize("architecture", list(_FURTHER))
    def test_every_architecture_that_is_said_to_be_known(self, architecture: str) -> None:
        assert_scores_are_plain(model_of(further_network(architecture)), TOGETHER)

    def test_the_window_matters_to_these_texts(self, windowed: TransformersModel) -> None:
        """Otherwise the tests above show nothing."""
        wide = model_of(network_of(_name(windowed), **{**_WINDOWED[_name(windowed)], "sliding_window": 200}))
        differences = [
            float((plain(windowed.network, sequence) - plain(wide.network, sequence)).abs().max()) for sequence in ALONE
        ]
        assert max(differences[:5]) < 1e-5 < 1e-3 < min(differences[5:])

    @settings(max_examples=15, deadline=None, database=None)
    @given(
        beginning=st.integers(6, 40),
        own=st.lists(st.integers(2, 30), min_size=2, max_size=5),
        seed=st.integers(0, 99),
        row_tokens=st.integers(1, 200),
    )
    def test_any_lengths(self, beginning: int, own: list[int], seed: int, row_tokens: int) -> None:
        network = _GEMMA
        shared = words(beginning, seed)
        sequences = [
            TokenSequence((*shared, *words(length, seed + place)), beginning + 1) for place, length in enumerate(own)
        ]
        for row in pack(sequences, row_tokens):
            with torch.no_grad():
                log_probs = torch.log_softmax(run_row(model_of(network), row, slice(None)).logits[0].float(), dim=-1)
            for member, places in zip(row.members, row.predictors, strict=True):
                wanted = torch.tensor(sequences[member].answer_ids)[:, None]
                found = log_probs[list(places)].gather(-1, wanted).squeeze(-1)
                torch.testing.assert_close(found, plain(network, sequences[member]), atol=1e-4, rtol=0)

    def test_behind_an_adapter(self, windowed: TransformersModel) -> None:
        """A new adapter changes nothing yet, so the plain base network is what it must agree with."""
        adapted = tiny.copy_of(windowed)
        lora = LoraSettings(rank=2, alpha=4)
        adapted.network = with_adapter(adapted.network, resolve_modules(adapted.network, lora), lora, seed=1)
        for scored, sequence in zip(adapted.score_sequences(TOGETHER), TOGETHER, strict=True):
            torch.testing.assert_close(
                torch.tensor(scored.log_probs), plain(windowed.network, sequence), atol=1e-4, rtol=0
            )

    def test_the_plain_attention_code(self) -> None:
        """Its masks are added to the scores: True would be a score of 1 and hide nothing."""
        network = network_of("llama", attn_implementation="eager")
        assert network.config._attn_implementation == "eager"
        assert_scores_are_plain(model_of(network), TOGETHER)


_GEMMA = network_of("gemma2")


def _name(model: TransformersModel) -> str:
    return str(model.network.config.model_type).removesuffix("_text")


class TestTheInside:
    def test_hidden_states_of_every_layer(self, model: TransformersModel) -> None:
        for row in pack(TOGETHER, 512):
            with torch.no_grad():
                packed = run_row(model, row, 1, hidden=True).hidden_states
            for member, places in zip(row.members, row.token_positions(), strict=True):
                with torch.no_grad():
                    alone = model.network(torch.tensor([TOGETHER[member].ids]), output_hidden_states=True).hidden_states
                for found, wanted in zip(packed, alone, strict=True):
                    torch.testing.assert_close(found[0, places], wanted[0], atol=1e-3, rtol=1e-4)

    def test_layer_projections(self, model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last layer's most likely token is the plain network's."""
        monkeypatch.setattr("console.engines.transformers_engine.answer_sequence", lambda _tokenizer, _p, own: own)
        found = model.layer_candidates(TOGETHER, TOGETHER, 1)  # type: ignore[arg-type]
        for sequence, layers in zip(TOGETHER, found, strict=True):
            with torch.no_grad():
                logits = model.network(torch.tensor([sequence.ids[: sequence.answer_start]])).logits[0, -1]
            assert layers[-1].top == (int(logits.argmax()),)

    def test_gradients(self, model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(model, "sequences", lambda given: given)
        blocks = model.network.get_decoder()
        last = (blocks.h if model.network.config.model_type == "gpt2" else blocks.layers)[-1]
        for sequence, norm in zip(ALONE, model.gradient_norms(ALONE), strict=True):  # type: ignore[arg-type]
            model.network.zero_grad(set_to_none=True)
            logits = model.network(torch.tensor([sequence.ids])).logits[0, :-1].float()
            torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer_ids)).backward()
            squares = [float((p.grad**2).sum()) for p in last.parameters() if p.grad is not None]
            assert norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-3)
        model.network.zero_grad(set_to_none=True)


class TestTrunk:
    @pytest.mark.parametrize(
        ("architecture", "own"),
        [("llama", {}), ("mistral", _WINDOWED["mistral"]), ("phi3", _WINDOWED["phi3"])]
        + [(name, {**_QWEN, "max_window_layers": 0}) for name in ("qwen2", "qwen3")],
    )
    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_split_and_plain_are_the_same(self, architecture: str, own: dict[str, Any], depth: int) -> None:
        model = model_of(network_of(architecture, layers=4, **own))
        trunk = model.trunk(depth, TOGETHER)
        assert trunk is not None
        for row in pack(TOGETHER, 200):
            with torch.no_grad():
                log_probs = torch.log_softmax(model.row_logits(row, TOGETHER, trunk).float(), dim=-1)
            answers = [TOGETHER[member].answer_ids for member in row.members]
            parts = log_probs.split([len(answer) for answer in answers])
            for member, answer, part in zip(row.members, answers, parts, strict=True):
                found = part.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1)
                torch.testing.assert_close(found, plain(model.network, TOGETHER[member]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "qwen2", "qwen3"])
    def test_there_is_none_where_layers_of_two_kinds_would_change_places(self, architecture: str) -> None:
        """Even though the first text, with which a trunk is tried, is shorter than the window."""
        own = {**_WINDOWED[architecture], **({"max_window_layers": 2} if architecture.startswith("qwen") else {})}
        assert model_of(network_of(architecture, layers=6, **own)).trunk(2, TOGETHER) is None


class TestGeneration:
    LIMIT = 12
    PROMPTS = (
        *((*words(20, 5), *words(length, 60 + length)) for length in (1, 4, 9, 15, 30)),
        *(words(length, 80 + length) for length in (3, WINDOW, WINDOW + 1, 45)),
    )

    def decoded(self, network: Any, prompts: tuple[tuple[int, ...], ...]) -> list[list[int]]:
        jobs = [DecodeJob(str(place), ids, self.LIMIT) for place, ids in enumerate(prompts)]
        found = {place: said.tokens for place, _, said in decode_batch(network, jobs, (GREEDY,), frozenset(), pad_id=0)}
        return [found[place] for place in range(len(prompts))]

    def step_by_step(self, network: Any, ids: tuple[int, ...]) -> list[int]:
        """No cache, no batch, no padding."""
        found: list[int] = []
        while len(found) < self.LIMIT:
            with torch.no_grad():
                found.append(int(network(torch.tensor([[*ids, *found]])).logits[0, -1].argmax()))
        return found

    @pytest.mark.parametrize("together", [slice(0, 5), slice(0, 9), slice(5, 9)], ids=["shared", "all", "unlike"])
    def test_a_batch_says_what_the_plain_network_says(self, model: TransformersModel, together: slice) -> None:
        prompts = self.PROMPTS[together]
        assert self.decoded(model.network, prompts) == [self.step_by_step(model.network, ids) for ids in prompts]

    def test_one_prompt_is_transformers_own_greedy(self, model: TransformersModel) -> None:
        for ids in self.PROMPTS:
            given = torch.tensor([ids])
            said = model.network.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=self.LIMIT,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
            assert self.decoded(model.network, (ids,)) == [said[0, len(ids) :].tolist()]

    def test_beginnings_are_shared_where_everything_is_within_the_window(self, windowed: TransformersModel) -> None:
        assert sees_whole(windowed.network, WINDOW)
        assert not sees_whole(windowed.network, WINDOW + 1)


class TestWhichMask:
    @pytest.mark.parametrize("architecture", _WHOLE)
    def test_without_a_window_it_is_the_row_s_own(self, architecture: str) -> None:
        network = network_of(architecture)
        for row in pack(TOGETHER, 512):
            assert attention_of(row, network) is row.attention_mask

    def test_within_the_window_it_is_the_row_s_own(self) -> None:
        network = network_of("mistral", sliding_window=WINDOW)
        (row,) = pack(ALONE[:4], 512)
        assert attention_of(row, network) is row.attention_mask

    @pytest.mark.parametrize(
        ("architecture", "own", "said"),
        [
            ("llama4_text", {"layer_types": ["chunked_attention", "full_attention"]}, "chunked_attention"),
            ("gpt_neo", {"attention_types": [[["global", "local"], 1]], "num_layers": 2}, "local"),
            ("qwen3_next", {"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
            ("mamba", {}, "token to token|linear_attention"),
        ],
    )
    def test_unknown_kinds_of_attention_are_refused(self, architecture: str, own: dict[str, Any], said: str) -> None:
        network = _Described(AutoConfig.for_model(architecture, num_hidden_layers=2, **own))
        network._is_stateful = architecture == "mamba"
        (row,) = pack(ALONE[:1], 512)
        assert not sees_whole(network, 2)
        for refused in (lambda: require_known_attention(network), lambda: attention_of(row, network)):
            with pytest.raises(ModelFileError, match=said):
                refused()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"_attn_implementation": "flex_attention"}, "flex_attention"),
            ({"use_bidirectional_attention": True}, "looks ahead"),
            ({"sliding_window": None}, "without a window"),
        ],
    )
    def test_settings_for_which_no_mask_is_known_are_refused(self, change: dict[str, Any], said: str) -> None:
        network = _Described(tiny_gguf.tiny_config("gemma3", tokenizer_of("llama")))
        require_known_attention(network)
        for name, value in change.items():
            setattr(network.config, name, value)
        with pytest.raises(ModelFileError, match=said):
            require_known_attention(network)

    @pytest.mark.parametrize("own", [{"sliding_window": WINDOW}, _ALTERNATING])
    def test_an_unknown_architecture_with_a_window_is_refused_only_beyond_it(self, own: dict[str, Any]) -> None:
        network = network_of("llama", **own)
        (row,) = pack(ALONE[3:4], 512)
        assert attention_of(row, network) is row.attention_mask
        (row,) = pack(ALONE[4:5], 512)
        with pytest.raises(ModelFileError, match=f"longer than the {WINDOW} tokens"):
            attention_of(row, network)

    def test_a_model_of_unknown_attention_is_not_loaded(self, tmp_path: Any) -> None:
        model = tiny.model()
        model.network.config.layer_types = ["chunked_attention", "full_attention"]
        folder = tiny.saved(model, tmp_path / "model")
        with pytest.raises(ModelFileError, match="chunked_attention"):
            TransformersModel.load(folder, tmp_path / "cache", "cpu")


class _Described:
    """A network of which only the settings are looked at."""

    _is_stateful = False
    dtype = torch.float32

    def __init__(self, config: Any) -> None:
        config._attn_implementation = "sdpa"
        self.config = config
