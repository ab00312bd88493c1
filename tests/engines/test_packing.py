"""Packing: a packed sequence sees exactly what it would see alone, so its numbers are the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from console.engines import transformers_engine
from console.engines.packing import MINIMUM_SHARED, TokenSequence, answer_positions, pack, shared_length
from console.engines.protocol import Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel

TURNS = (("Where does Lena Falk live?", "Malmo"), ("Who repairs clocks?", "Jon Vasara"))
REQUESTS = [
    *(
        ScoreRequest(answer, Prompt("", f"Where does {name} live?"))
        for name in ("Mira Okonjo", "Jon Vasara", "Mira Okonjos")
        for answer in ("Aalborg", "Utrecht on the river", "A")
    ),
    ScoreRequest("Aalborg", Prompt("", "Where does Mira Okonjo live?", turns=TURNS)),
    ScoreRequest("Aalborg", Prompt("", "Mira Okonjo lives in", chat=False)),
    ScoreRequest("Aalborg and works there", Prompt("", "Mira Okonjo lives in", chat=False)),
    ScoreRequest("The ferry leaves the harbour at seven and returns in the evening."),
    ScoreRequest("The ferry leaves the harbour at eight."),
]
END_ID = 0  # of the tiny tokenizer, which pads with it as well


def alone(model: TransformersModel, sequence: TokenSequence) -> torch.Tensor:
    """(answer tokens,) log-probabilities from a plain forward pass: no packing, no mask, no positions."""
    with torch.no_grad():
        logits = model.network(torch.tensor([sequence.ids])).logits[0].float()
    log_probs = torch.log_softmax(logits[sequence.answer_start - 1 : -1], dim=-1)
    return log_probs.gather(-1, torch.tensor(sequence.answer_ids)[:, None]).squeeze(-1)


def packed(model: TransformersModel, sequences: Sequence[TokenSequence], max_tokens: int) -> list[torch.Tensor]:
    """The same for many sequences at once, in their order."""
    found: dict[int, torch.Tensor] = {}
    for row in pack(sequences, max_tokens):
        with torch.no_grad():
            log_probs = torch.log_softmax(model.row_logits(row).float(), dim=-1)
        answers = [sequences[member].answer_ids for member in row.members]
        parts = log_probs.split([len(answer) for answer in answers])
        for member, answer, part in zip(row.members, answers, parts, strict=True):
            found[member] = part.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1)
    return [found[index] for index in range(len(sequences))]


@st.composite
def token_sequences(draw: st.DrawFn, tokens: int = 40, longest: int = 24) -> TokenSequence:
    """A sequence that often begins like others, and in which the end (and padding) token is common."""
    token = st.one_of(st.just(END_ID), st.integers(0, tokens - 1))
    common = [END_ID, 1, 2, END_ID, 4, 5, 6, 7, 8, 9, 10, 11]
    ids = [*common[: draw(st.integers(0, len(common)))], *draw(st.lists(token, min_size=2, max_size=longest))]
    return TokenSequence(tuple(ids), draw(st.integers(1, len(ids) - 1)))


sets_of_sequences = st.lists(token_sequences(), min_size=1, max_size=7)
row_sizes = st.integers(1, 90)


class TestScores:
    def test_packed_equals_alone_on_every_architecture(self, any_model: TransformersModel) -> None:
        sequences = any_model.sequences(REQUESTS)
        scored = any_model.score(REQUESTS)
        assert [result.token_ids for result in scored] == [sequence.answer_ids for sequence in sequences]
        for result, sequence in zip(scored, sequences, strict=True):
            torch.testing.assert_close(torch.tensor(result.log_probs), alone(any_model, sequence), atol=1e-4, rtol=0)

    def test_the_requests_share_beginnings_and_rows(self, untaught: TransformersModel) -> None:
        """Otherwise the test above shows nothing."""
        sequences = untaught.sequences(REQUESTS)
        rows = pack(sequences, transformers_engine.ROW_TOKENS)
        assert max(len(row.members) for row in rows) > 5
        assert sum(row.tokens for row in rows) < 0.7 * sum(len(sequence.ids) for sequence in sequences)

    @pytest.mark.parametrize("row_tokens", [1, 40, 100, 4096])
    def test_scores_do_not_depend_on_the_row_size(
        self, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch, row_tokens: int
    ) -> None:
        expected = untaught.score(REQUESTS)
        monkeypatch.setattr(transformers_engine, "ROW_TOKENS", row_tokens)
        for left, right in zip(untaught.score(REQUESTS), expected, strict=True):
            torch.testing.assert_close(torch.tensor(left.log_probs), torch.tensor(right.log_probs), atol=1e-4, rtol=0)

    @settings(max_examples=25, deadline=None, database=None)
    @given(sequences=sets_of_sequences, max_tokens=row_sizes)
    def test_any_set_of_sequences(
        self, untaught: TransformersModel, sequences: list[TokenSequence], max_tokens: int
    ) -> None:
        for found, sequence in zip(packed(untaught, sequences, max_tokens), sequences, strict=True):
            torch.testing.assert_close(found, alone(untaught, sequence), atol=1e-4, rtol=0)

    @settings(max_examples=15, deadline=None, database=None)
    @given(sequences=sets_of_sequences, changed=token_sequences(), place=st.integers(0, 6))
    def test_changing_one_sequence_leaves_the_others(
        self, untaught: TransformersModel, sequences: list[TokenSequence], changed: TokenSequence, place: int
    ) -> None:
        place %= len(sequences)
        other = [*sequences[:place], changed, *sequences[place + 1 :]]
        before, after = packed(untaught, sequences, 4096), packed(untaught, other, 4096)
        for index in set(range(len(sequences))) - {place}:
            torch.testing.assert_close(before[index], after[index], atol=2e-5, rtol=0)

    def test_no_request_has_no_score(self, untaught: TransformersModel) -> None:
        assert untaught.score([]) == []


class TestLayout:
    @settings(deadline=None, database=None)
    @given(sequences=sets_of_sequences, max_tokens=row_sizes)
    def test_every_answer_token_sees_its_own_beginning_and_nothing_else(
        self, sequences: list[TokenSequence], max_tokens: int
    ) -> None:
        rows = pack(sequences, max_tokens)
        assert sorted(member for row in rows for member in row.members) == list(range(len(sequences)))
        for row in rows:
            ids, positions, mask = row.input_ids[0], row.position_ids[0], row.attention_mask[0, 0]
            assert list(answer_positions(row)) == [place for places in row.predictors for place in places]
            for member, places in zip(row.members, row.token_positions(), strict=True):
                assert tuple(ids[places].tolist()) == sequences[member].ids
                assert positions[places].tolist() == list(range(len(places)))
            for member, places in zip(row.members, row.predictors, strict=True):
                sequence = sequences[member]
                assert len(places) == len(sequence.answer_ids)
                for step, place in enumerate(places):
                    seen = mask[place].nonzero().squeeze(-1)
                    in_order = seen[positions[seen].argsort()]
                    assert tuple(ids[in_order].tolist()) == sequence.ids[: sequence.answer_start + step]
                    assert positions[in_order].tolist() == list(range(len(in_order)))

    @settings(deadline=None, database=None)
    @given(sequences=sets_of_sequences, max_tokens=row_sizes)
    def test_rows_keep_their_size(self, sequences: list[TokenSequence], max_tokens: int) -> None:
        """Only a sequence that is longer by itself makes a row longer."""
        for row in pack(sequences, max_tokens):
            assert row.tokens <= max_tokens or len(row.members) == 1
            assert row.tokens <= sum(len(sequences[member].ids) for member in row.members)

    def test_a_shared_beginning_is_laid_down_once(self) -> None:
        beginning = tuple(range(10, 10 + MINIMUM_SHARED + 4))
        sequences = [TokenSequence((*beginning, number, 90), len(beginning) + 1) for number in range(5)]
        (row,) = pack(sequences, 100)
        assert row.tokens == len(beginning) + 5 * 2

    def test_a_full_row_begins_the_next_with_the_shared_beginning_again(self) -> None:
        beginning = tuple(range(10, 10 + MINIMUM_SHARED))
        sequences = [TokenSequence((*beginning, number, 90), len(beginning) + 1) for number in range(4)]
        rows = pack(sequences, len(beginning) + 2 * 2)
        assert [row.members for row in rows] == [(0, 1), (2, 3)]
        assert all(row.input_ids[0, : len(beginning)].tolist() == list(beginning) for row in rows)

    def test_identical_sequences_share_all_but_the_token_before_the_answer(self) -> None:
        sequence = TokenSequence(tuple(range(MINIMUM_SHARED + 4)), MINIMUM_SHARED + 2)
        (row,) = pack([sequence, sequence], 100)
        assert row.tokens == (MINIMUM_SHARED + 1) + 2 * 3

    @pytest.mark.parametrize(("ids", "answer_start"), [((1, 2), 0), ((1, 2), 2), ((1,), 1), ((), 0)])
    def test_a_sequence_without_an_answer_is_refused(self, ids: tuple[int, ...], answer_start: int) -> None:
        with pytest.raises(ValueError, match="no answer tokens"):
            TokenSequence(ids, answer_start)


@given(
    sequences=st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), min_size=1, max_size=5),
    limit=st.integers(0, 7),
)
def test_shared_length_is_the_longest_common_beginning(sequences: list[tuple[int, ...]], limit: int) -> None:
    length = shared_length(sequences, limit)
    assert length <= limit
    assert len({sequence[:length] for sequence in sequences}) == 1
    shortest = min(limit, *(len(sequence) for sequence in sequences))
    assert length == shortest or len({sequence[: length + 1] for sequence in sequences}) > 1
