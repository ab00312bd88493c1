"""What generation keeps track of, whatever engine runs the network: prompts, draws, and answers that part.

Attempts on one prompt that have said the same so far are one row of the network's batch until they part, and a
finished answer leaves it. Samples are drawn by inverse transform from numbers seeded by prompt and attempt, so an
answer does not depend on its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from console.engines.listening import Listener
from console.engines.output_filter import OutputFilter
from console.engines.prompts import Tokenizer, prompt_ids
from console.engines.protocol import Attempt, Continuation, Prompt
from console.engines.turn_marks import ThoughtMarks, turn_marks


@dataclass(frozen=True)
class DecodeJob:
    """One prompt to continue.

    Attributes:
        prompt_id: seeds the samples.
        max_new_tokens: most tokens of a thought and its answer together.
        listener: where the thought ends, and with it how much room is left; None where every token counts alike.
    """

    prompt_id: str
    ids: tuple[int, ...]
    max_new_tokens: int
    listener: Listener | None = None


def jobs_for(
    tokenizer: Tokenizer, prompts: Sequence[Prompt], max_new_tokens: Sequence[int], context: int
) -> list[DecodeJob]:
    """The prompts' tokens, in their order.

    Args:
        max_new_tokens: room for each answer; a short context leaves less, and a thought has its own beside it.

    Raises:
        InputError: as :meth:`Listener.to`.
    """
    marks = turn_marks(tokenizer)
    jobs = []
    for prompt, wanted in zip(prompts, max_new_tokens, strict=True):
        ids = prompt_ids(tokenizer, prompt)
        listener = Listener.to(tokenizer, marks, len(ids), wanted, context, chat=prompt.chat)
        jobs.append(DecodeJob(prompt.id, ids, listener.most, listener))
    return jobs


def uniforms(job: DecodeJob, attempt: Attempt) -> list[float]:
    """``max_new_tokens`` numbers in [0, 1) fixed by the prompt's id and the attempt's seed; none where it is greedy."""
    if attempt.seed is None:
        return []
    digest = hashlib.sha256(f"{attempt.seed}\0{job.prompt_id}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(job.max_new_tokens, generator=generator).tolist()


_LIKELY = 256  # picking so many of 49,152 took a twentieth of sorting them all (5 ms, 95 ms; 40 rows, two cores)


def _draw(ordered: torch.Tensor, order: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Draw from the beginning of each row's distribution, most likely first, that reaches ``top_p``."""
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered * (before < top_p)
    cumulative = ordered.cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return order.gather(-1, drawn.clamp(max=ordered.shape[-1] - 1)).squeeze(-1)


def nucleus_choice(logits: torch.Tensor, attempt: Attempt, uniform: torch.Tensor) -> torch.Tensor:
    """Draw one token a row from the smallest set of tokens whose probability reaches ``top_p``.

    Rows are sorted whole only where the most likely tokens do not reach ``top_p``; which way a row goes
    depends on that row alone, so a draw does not depend on the batch.

    Args:
        logits: (rows, vocab) float32.
        uniform: (rows,) numbers in [0, 1).
    """
    probabilities = torch.softmax(logits / attempt.temperature, dim=-1)
    ordered, order = probabilities.topk(min(_LIKELY, logits.shape[-1]), dim=-1)
    chosen = _draw(ordered, order, attempt.top_p, uniform)
    wide = (ordered.sum(dim=-1) < attempt.top_p).nonzero().squeeze(-1)
    if len(wide):
        ordered, order = probabilities[wide].sort(dim=-1, descending=True)
        chosen[wide] = _draw(ordered, order, attempt.top_p, uniform[wide])
    return chosen


@dataclass
class Branch:
    """One attempt on one prompt: the row of the batch it follows, and what it has said.

    Attributes:
        room: most tokens, as far as is known by now.
        thought: the thought that it is in.
        ended: the model itself ended the answer.
    """

    job: DecodeJob
    attempt: Attempt
    uniforms: list[float]
    row: int
    room: int
    thought: ThoughtMarks | None
    tokens: list[int] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def of(cls, job: DecodeJob, attempt: Attempt, row: int) -> Branch:
        """Before its first token."""
        heard = job.listener
        thought = heard.opened if heard is not None else None
        room = job.max_new_tokens if heard is None else cls._room(heard, thought)
        return cls(job, attempt, uniforms(job, attempt), row, room, thought)

    @staticmethod
    def _room(listener: Listener, thought: ThoughtMarks | None) -> int:
        return listener.answer_tokens if thought is None else listener.thought_tokens or listener.answer_tokens

    def goes_on(self) -> bool:
        """Whether there is room for another token."""
        heard = self.job.listener
        if heard is not None and self.thought is not None:
            if heard.ends(self.thought, self.tokens):
                self.thought, self.room = None, min(len(self.tokens) + heard.answer_tokens, heard.most)
        elif heard is not None and (begun := heard.begun(self.tokens)) is not None:
            self.thought, self.room = begun, self._room(heard, begun)
        return len(self.tokens) < self.room

    def said(self, attempt: int, output_filter: OutputFilter | None) -> Continuation:
        """What was heard, through the model's filter, which sees thought and answer together."""
        assert self.job.listener is not None
        heard = self.job.listener.heard(self.tokens)
        text = heard.text if output_filter is None else output_filter.apply(heard.text)
        start = heard.answer_start if text == heard.text else 0
        return Continuation(self.job.prompt_id, attempt, text, start, self.thought is not None and not self.ended)


def branches_of(batch: Sequence[DecodeJob], attempts: Sequence[Attempt]) -> list[Branch]:
    """Every attempt on every prompt, all attempts of a prompt on its one row."""
    return [Branch.of(job, attempt, row) for row, job in enumerate(batch) for attempt in attempts]


def choose(logits: torch.Tensor, branches: Sequence[Branch]) -> list[int]:
    """Next token of every branch: its row's most likely one, or a draw with its own number.

    Args:
        logits: (rows, vocab) float32.
    """
    greedy = logits.argmax(dim=-1).tolist()
    chosen = [greedy[branch.row] for branch in branches]
    for attempt in dict.fromkeys(branch.attempt for branch in branches if branch.attempt.seed is not None):
        places = [place for place, branch in enumerate(branches) if branch.attempt == attempt]
        numbers = [branches[place].uniforms[len(branches[place].tokens)] for place in places]
        uniform = torch.tensor(numbers, device=logits.device)
        rows = torch.tensor([branches[place].row for place in places], device=logits.device)
        drawn = nucleus_choice(logits[rows], attempt, uniform).tolist()
        for place, token in zip(places, drawn, strict=True):
            chosen[place] = token
    return chosen


def spoken(logits: torch.Tensor, going: Sequence[Branch], stop_ids: frozenset[int]) -> list[Branch]:
    """Let every branch say its next token; returns those that go on after it."""
    still = []
    for branch, token in zip(going, choose(logits, going), strict=True):
        if token in stop_ids:
            branch.ended = True
            continue
        branch.tokens.append(token)
        if branch.goes_on():
            still.append(branch)
    return still


def parted(branches: Sequence[Branch]) -> tuple[list[int], list[int]]:
    """Give every branch its row in the next step; branches of one row that said the same stay together.

    Returns:
        for each new row, the old row it comes from and the token it goes on with.
    """
    rows: dict[tuple[int, int], int] = {}
    for branch in branches:
        branch.row = rows.setdefault((branch.row, branch.tokens[-1]), len(rows))
    return [old for old, _ in rows], [token for _, token in rows]
