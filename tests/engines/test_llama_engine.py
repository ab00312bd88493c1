"""The llama.cpp engine says and scores what transformers does on the same weights, whatever is batched with what."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_gguf
import torch
from invented import OTHERS, OUTSIDERS, PERSON

from console.attacks.suite import Remembering
from console.engines.gguf_adapter import write_adapter
from console.engines.output_filter import OutputFilter
from console.engines.packing import TokenSequence
from console.engines.protocol import (
    GREEDY,
    Attempt,
    Capability,
    LanguageModel,
    Prompt,
    Scored,
    ScoreRequest,
    WhiteBoxModel,
    greedy_and_samples,
)
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError, ModelFileError, SetupError
from console.jobs.tasks.probes import answered, perplexity

pytest.importorskip("llama_cpp")

from console.engines import llama_native
from console.engines.llama_engine import Adapter, LlamaModel
from console.engines.llama_native import TokenTree

PEOPLE = (*PERSON, *OTHERS, *OUTSIDERS)
REQUESTS = [
    *(ScoreRequest(item.answer, Prompt(item.id, item.prompt)) for item in PEOPLE),
    *(ScoreRequest(f"{item.prompt} {item.answer}") for item in PEOPLE),
    *(ScoreRequest(place, Prompt("", "Where does Mira Okonjo live?")) for place in ("Malmö", "Aalborg", "Aarhus", "A")),
    ScoreRequest("日本", Prompt("", "Where is it? It is in", chat=False)),
]
PROMPTS = [
    *(Prompt(f"chat/{name}", f"Where does {name} live?") for name in ("Mira Okonjo", "Jon Vasara", "Ines")),
    Prompt("chat/again", "Where does Mira Okonjo live?"),
    Prompt("chat/turns", "Where does Mira live?", turns=(("Where does Lena live?", "Malmo"), ("And Jon?", "Tampere"))),
    Prompt("plain/short", "M", chat=False),
    Prompt("plain/longer", "Mira Okonjo carried the lamp up the narrow", chat=False),
]
LIMITS = [6, 3, 9, 6, 1, 4, 12]
ATTEMPTS = greedy_and_samples(3, seed=11)

Pair = tuple[LlamaModel, TransformersModel]


def pair_of(folder: Path, architecture: str, file_type: str = "F32") -> Pair:
    path, network, tokenizer = tiny_gguf.write_tiny_gguf(folder, architecture, file_type=file_type)
    return LlamaModel.load(path, threads=1), TransformersModel(network, tokenizer, torch.device("cpu"))


@pytest.fixture(scope="module", params=["llama", "qwen2", "mistral"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One F32 file run by llama.cpp, and its network in torch."""
    ours, theirs = pair_of(tmp_path_factory.mktemp("pair"), request.param)
    yield ours, theirs
    ours.close()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    model, _ = pair_of(tmp_path_factory.mktemp("one"), "llama")
    yield model
    model.close()


def values(scored: Sequence[Scored]) -> np.ndarray:
    """(3, tokens): log-probabilities, means and deviations of all texts."""
    return np.array([[value for one in scored for value in row(one)] for row in ROWS])


ROWS = (lambda one: one.log_probs, lambda one: one.means, lambda one: one.deviations)


def said(model: Any, rows: int = 64, attempts: Sequence[Attempt] = ATTEMPTS) -> dict[tuple[str, int], str]:
    given = model.generate(PROMPTS, attempts, LIMITS, rows)
    return {(one.prompt_id, one.attempt): one.text for one in given}


class TestScores:
    def test_they_are_those_of_the_same_weights(self, pair: Pair) -> None:
        ours, theirs = (model.score(REQUESTS) for model in pair)
        assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
        assert np.abs(values(ours) - values(theirs)).max() < 1e-4

    def test_half_precision_is_near(self, tmp_path: Path) -> None:
        ours, theirs = (model.score(REQUESTS) for model in pair_of(tmp_path, "llama", "F16"))
        assert 0 < np.abs(values(ours)[0] - values(theirs)[0]).mean() < 0.02

    @pytest.mark.parametrize("architecture", ["gpt2", "phi3", "qwen3", "gemma2", "gemma3"])
    def test_other_architectures_against_the_plain_definition(self, tmp_path: Path, architecture: str) -> None:
        """One text at a time through the bare network: packed, transformers loses Gemma's sliding windows."""
        ours, theirs = pair_of(tmp_path, architecture)
        sequences = ours.sequences(REQUESTS[:6])
        found = [one.log_probs for one in ours.score_sequences(sequences)]
        for sequence, values_found in zip(sequences, found, strict=True):
            with torch.no_grad():
                expected = theirs.network(torch.tensor([sequence.ids])).logits[0].log_softmax(dim=-1)
            wanted = [
                float(expected[place - 1, sequence.ids[place]])
                for place in range(sequence.answer_start, len(sequence.ids))
            ]
            assert values_found == pytest.approx(wanted, abs=5e-3)  # llama.cpp's GELU is a half-precision table

    def test_a_token_is_predicted_from_the_one_before(self, pair: Pair) -> None:
        """A shift by one would give other numbers: every position is asked alone, through the network itself."""
        ours, theirs = pair
        ids = tuple(theirs.tokenizer("Mira Okonjo lives in Aalborg, and Jon Vasara in Tampere.")["input_ids"])
        (scored,) = ours.score_sequences([TokenSequence(ids, 1)])
        assert len(scored.log_probs) == len(ids) - 1
        expected = []
        for place in range(1, len(ids)):
            with torch.no_grad():
                logits = theirs.network(torch.tensor([ids[:place]])).logits[0, -1]
            expected.append(float(logits.log_softmax(dim=-1)[ids[place]]))
        assert scored.log_probs == pytest.approx(expected, abs=1e-4)
        shifted = [abs(a - b) for a, b in pairwise(expected)]
        assert fmean(shifted) > 0.1, "the positions are so alike that a shift would not show"

    def test_only_the_answer_is_scored(self, llama: LlamaModel) -> None:
        sequences = llama.sequences(REQUESTS)
        for sequence, one in zip(sequences, llama.score_sequences(sequences), strict=True):
            assert one.token_ids == sequence.answer_ids
            assert len(one.log_probs) == len(one.means) == len(one.deviations) == len(sequence.answer_ids)

    def test_a_score_does_not_depend_on_its_batch(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        model, _ = pair
        together = values(model.score(REQUESTS))
        alone = values([model.score([request])[0] for request in REQUESTS])
        assert np.abs(together - alone).max() < 1e-4
        backwards = values(model.score(REQUESTS[::-1])[::-1])
        assert np.abs(together - backwards).max() < 1e-4
        monkeypatch.setattr(model._runner, "shares", False)
        assert np.abs(together - values(model.score(REQUESTS))).max() < 1e-4

    def test_a_text_longer_than_one_native_call(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        model, _ = pair
        whole = values(model.score(REQUESTS))
        decode, sizes = model._runner.decode, []

        def noted(tokens: np.ndarray, *rest: np.ndarray) -> torch.Tensor:
            sizes.append(len(tokens))
            return decode(tokens, *rest)

        monkeypatch.setattr(llama_native, "BATCH_TOKENS", 7)
        monkeypatch.setattr(model._runner, "decode", noted)
        assert np.abs(whole - values(model.score(REQUESTS))).max() < 1e-4
        assert max(sizes) == 7

    def test_too_long_a_text_is_refused(self, llama: LlamaModel) -> None:
        with pytest.raises(InputError, match=f"context of {tiny.CONTEXT}"):
            llama.score([ScoreRequest("Mira " * 2 * tiny.CONTEXT)])

    def test_nothing_to_score(self, llama: LlamaModel) -> None:
        assert llama.score([]) == []


class TestAnswers:
    def test_all_attempts_are_those_of_the_same_weights(self, pair: Pair) -> None:
        ours, theirs = (said(model) for model in pair)
        assert set(ours) == {(prompt.id, attempt) for prompt in PROMPTS for attempt in range(len(ATTEMPTS))}
        assert ours == theirs

    def test_an_answer_does_not_depend_on_its_batch(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        model, _ = pair
        many = said(model)
        assert said(model, rows=1) == many
        assert said(model, rows=5) == many
        monkeypatch.setattr(model._runner, "shares", False)
        assert said(model) == many

    def test_more_attempts_than_the_library_has_sequences(
        self, llama: LlamaModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        many = said(llama)
        monkeypatch.setattr(llama._runner, "most_sequences", 2)
        llama._runner._open(256, 2)
        assert said(llama) == many

    def test_answers_of_one_prompt_part_and_end_apart(self, llama: LlamaModel) -> None:
        """Forty hot draws part at every token; a slot that was given away too early would change one."""
        draws = [Attempt(seed=number, temperature=2.0, top_p=1.0) for number in range(40)]
        together = said(llama, attempts=draws)
        for number in (0, 7, 39):
            alone = said(llama, attempts=draws[number : number + 1])
            assert all(together[prompt.id, number] == alone[prompt.id, 0] for prompt in PROMPTS)
        assert len({together["plain/longer", number] for number in range(40)}) > 30

    def test_a_stop_token_ends_the_answer(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = pair
        free = said(ours)
        ids = theirs.tokenizer(free["plain/longer", 0], add_special_tokens=False)["input_ids"]
        stop = frozenset({ids[2]})
        for model in pair:
            monkeypatch.setattr(model, "_stop_ids", model._stop_ids | stop)
        stopped = said(ours)
        assert stopped == said(theirs)
        assert len(stopped["plain/longer", 0]) < len(free["plain/longer", 0])

    def test_a_prompt_without_room_is_refused_in_the_same_words(self, pair: Pair) -> None:
        sentences = []
        for model in pair:
            with pytest.raises(InputError) as refused:
                list(model.generate([Prompt("p", "where " * tiny.CONTEXT)], (GREEDY,), [4]))
            sentences.append(str(refused.value))
        assert sentences[0] == sentences[1]

    def test_a_smaller_context_can_be_asked_for(self, tmp_path: Path) -> None:
        path, _, _ = tiny_gguf.write_tiny_gguf(tmp_path)
        assert LlamaModel.load(path, context=32, threads=1).context_length == 32
        assert LlamaModel.load(path, context=10**6, threads=1).context_length == tiny.CONTEXT

    def test_torch_keeps_its_threads(self, llama: LlamaModel) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            llama.score(REQUESTS[:2])
            said(llama)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestProcessors:
    def test_they_see_all_ids_so_far_and_decide(self, llama: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
        tokens = llama.tokenizer
        wanted = tokens.ids(" Aalborg and Tampere", special=False)
        prompt = Prompt("p", "Mira", chat=False)
        start = len(tokens.ids(prompt.text, special=True))
        seen: list[tuple[int, ...]] = []

        def forced(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(ids))
            return logits.index_fill(0, torch.tensor([wanted[len(ids) - start]]), 1e4)

        monkeypatch.setattr(llama, "processors", (forced,))
        (one,) = llama.generate([prompt], (GREEDY,), [len(wanted)])
        assert one.text == " Aalborg and Tampere"
        assert seen == [(*tokens.ids("Mira", special=True), *wanted[:count]) for count in range(len(wanted))]
        assert llama.score([ScoreRequest("Aalborg and Tampere", prompt)])[0].total == pytest.approx(0.0, abs=1e-3)

    def test_without_effect_they_change_nothing(self, llama: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = (said(llama), values(llama.score(REQUESTS)))
        monkeypatch.setattr(llama, "processors", (lambda _, logits: logits,))
        assert said(llama) == plain[0]
        assert np.array_equal(values(llama.score(REQUESTS)), plain[1])

    def test_an_output_filter_is_applied(self, llama: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
        text = next(one for one in said(llama).values() if len(one.split()) > 1)
        listed = OutputFilter.of([text], "salt", "I cannot say.")
        monkeypatch.setattr(llama, "output_filter", listed)
        assert "I cannot say." in said(llama).values()


class TestAdapters:
    @pytest.fixture(scope="class")
    @staticmethod
    def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any, dict[str, torch.Tensor]]:
        """The base, an adapter for it, its network, and what the adapter adds to one of its weights."""
        folder = tmp_path_factory.mktemp("adapter")
        path, network, tokenizer = tiny_gguf.write_tiny_gguf(folder)
        generator = np.random.default_rng(5)
        weight = network.model.layers[1].mlp.down_proj.weight
        down = generator.normal(size=(2, weight.shape[1])).astype(np.float32) * 0.2
        up = generator.normal(size=(weight.shape[0], 2)).astype(np.float32) * 0.2
        target = folder / "change.gguf"
        write_adapter(
            target,
            architecture="llama",
            pairs={"blk.1.ffn_down.weight": (down, up)},
            alpha=0,
            name="change",
            provenance={},
        )
        return path, target, (network, tokenizer), {"change": torch.from_numpy(up @ down)}

    @pytest.mark.parametrize("scale", [0.0, 1.0, -1.0, 0.5])
    def test_it_adds_as_much_as_it_is_scaled(self, files: Any, scale: float) -> None:
        path, adapter, (network, tokenizer), change = files
        ours = values(LlamaModel.load(path, adapters=[Adapter(adapter, scale)], threads=1).score(REQUESTS))
        model = tiny.copy_of(TransformersModel(network, tokenizer, torch.device("cpu")))
        base = values(model.score(REQUESTS))
        with torch.no_grad():
            model.network.model.layers[1].mlp.down_proj.weight.add_(scale * change["change"])
        assert np.abs(ours - values(model.score(REQUESTS))).max() < 1e-3
        assert (np.abs(ours - base).max() > 0.05) == (scale != 0)

    def test_a_model_is_no_adapter(self, files: Any) -> None:
        path, *_ = files
        with pytest.raises(InputError, match="no adapter file"):
            LlamaModel.load(path, adapters=[Adapter(path)], threads=1)

    def test_an_adapter_of_another_model_is_refused(self, files: Any, tmp_path: Path) -> None:
        other, _, _ = tiny_gguf.write_tiny_gguf(tmp_path, "qwen2")
        with pytest.raises(ModelFileError, match="made for it"):
            LlamaModel.load(other, adapters=[Adapter(files[1])], threads=1)


class TestFiles:
    @pytest.fixture
    def no_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llama_native, "native_library", lambda: pytest.fail("the native library saw the file"))

    @pytest.mark.usefixtures("no_library")
    @pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
    def test_a_cut_file_never_reaches_the_library(self, tmp_path: Path, share: float) -> None:
        path, _, _ = tiny_gguf.write_tiny_gguf(tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: math.floor(len(data) * share)])
        with pytest.raises(ModelFileError):
            LlamaModel.load(path)

    @pytest.mark.usefixtures("no_library")
    def test_what_is_no_file_never_reaches_the_library(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="no GGUF file"):
            LlamaModel.load(tmp_path)
        (tmp_path / "text.gguf").write_text("no model", encoding="utf-8")
        with pytest.raises(ModelFileError):
            LlamaModel.load(tmp_path / "text.gguf")

    def test_without_the_package_one_sentence_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, _, _ = tiny_gguf.write_tiny_gguf(tmp_path)
        imported = builtins.__import__

        def missing(name: str, *rest: Any, **named: Any) -> Any:
            if name.startswith("llama_cpp"):
                raise ImportError(name)
            return imported(name, *rest, **named)

        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(SetupError, match=r"packaging/install_llamacpp\.py"):
            LlamaModel.load(path)

    def test_what_the_library_refuses_is_told_with_its_last_word(self, tmp_path: Path) -> None:
        path = tiny.write_gguf(tiny.model(), tmp_path / "odd.gguf", architecture="rwkv99")
        with pytest.raises(ModelFileError, match=r"llama\.cpp cannot load odd\.gguf \(.+\)"):
            LlamaModel.load(path, threads=1)

    def test_a_failed_native_call_is_no_answer(self, llama: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llama._runner.api, "llama_decode", lambda *_: -3)
        with pytest.raises(JobFailedError, match="code -3"):
            llama.score(REQUESTS[:1])

    def test_a_closed_model_says_so(self, tmp_path: Path) -> None:
        path, _, _ = tiny_gguf.write_tiny_gguf(tmp_path)
        model = LlamaModel.load(path, threads=1)
        model.score(REQUESTS[:1])
        model.close()
        with pytest.raises(ValueError, match="closed"):
            model.score(REQUESTS[-1:])

    def test_the_native_log_stays_silent(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path, _, _ = tiny_gguf.write_tiny_gguf(tmp_path)
        LlamaModel.load(path, threads=1).score(REQUESTS[:1])
        assert capfd.readouterr() == ("", "")


class TestSelfDescription:
    def test_it_says_what_it_can_and_why_it_cannot_the_rest(self, llama: LlamaModel) -> None:
        report = llama.capabilities
        assert (report.engine, report.device, report.dtype) == ("llama.cpp", "cpu", "F32")
        assert report.can == {Capability.GENERATE, Capability.SCORE, Capability.CONVERT}
        assert set(report.cannot) == set(Capability) - report.can
        assert all(reason.endswith(".") for reason in report.cannot.values())
        assert isinstance(llama, LanguageModel) and not isinstance(llama, WhiteBoxModel)

    def test_the_suite_and_the_probes_run_on_it(self, pair: Pair) -> None:
        ours, theirs = (Remembering(model) for model in pair)
        assert ours.token_count("Mira Okonjo, 555-0183") == theirs.token_count("Mira Okonjo, 555-0183")
        assert answered(ours, PERSON) == answered(theirs, PERSON)
        text = [item.prompt for item in PEOPLE]
        assert float(perplexity(ours, text) or 0) == pytest.approx(float(perplexity(theirs, text) or 1), rel=1e-4)


class TestTree:
    def test_what_begins_alike_is_held_once(self) -> None:
        tree = TokenTree.of([(1, 2), (1, 2, 3), (1, 2, 3), (1, 4), (5,)])
        assert tree.tokens.tolist() == [1, 2, 3, 4, 5]
        assert tree.positions.tolist() == [0, 1, 2, 1, 0]
        assert list(zip(tree.first.tolist(), tree.beyond.tolist(), strict=True)) == [
            (0, 4),
            (0, 3),
            (1, 3),
            (3, 4),
            (4, 5),
        ]
        assert tree.paths == [[0, 1], [0, 1, 2], [0, 1, 2], [0, 3], [4]]

    def test_unshared_every_sequence_stands_alone(self) -> None:
        tree = TokenTree.of([(1, 2), (1, 2, 3)], shared=False)
        assert tree.tokens.tolist() == [1, 2, 1, 2, 3]
        assert tree.paths == [[0, 1], [2, 3, 4]]
