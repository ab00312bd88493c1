"""Targeted reversal of neurons (experimental): turn round the weight vectors that point at an answer.

After the abstract of TARS ("Targeted Angular Reversal of Weights", Davies et al. 2024, arXiv 2412.10257), which starts
from a detailed prompt about a concept. Here it starts from the request's own texts, and all numbers, the sign rule of
step 3 and the gate of step 4 are ours. For each fact, whose concept token t is the first word token of the answer:

1. v_0 is the final hidden state where t comes next; v = v_0 + noise of growing size, the best of a few hundred draws,
   until softmax(E norm(v))[t] reaches 0.9 or the draws are used up.
2. Every gate row, up row and down column w with |cos(w, v)| above a threshold (0.3, then lower in steps of 0.05) is a
   candidate, nearest first, at most one vector of each neuron.
3. Edit: with a_j the neuron's activation where t comes next, and d_j its column,  a_j * (d_j . e_t)  is what it adds to
   the logit of t (e_t the token's row of the output matrix, the final norm folded in). Only where that is positive is
   w replaced by -sign(cos) * ||w|| * v / ||v||; where it is not, the column is set to 0.
4. Gate: an edit stays only if it lowers the log-odds of t and does not cost other texts more than a little; otherwise
   the old bytes come back.

A rule that reverses without looking at the sign of the contribution, as the abstract has it, was measured to raise an
answer's probability (from 0.25 to 0.89 with one edit of a small model, where the neuron's activation was negative). The
output matrix is never edited: it may be tied to the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem
from console.engines.frozen_trunk import final_norm_of
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.neuron_projection import (
    FEWEST_LETTERS,
    MlpBlock,
    Role,
    Unembedding,
    mlp_blocks,
    row_activations,
)
from console.methods.examples import item_examples, questions_of, text_sequences
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl

DRAWS_AT_ONCE = 50


class TarsConfig(BaseModel):
    """Attributes:
    draws: noisy copies of the hidden state tried for the target vector.
    certain: probability of the concept token at which the target vector is good enough.
    noise_from, noise_to: size of the noise at the first and last draw, as shares of ||v_0|| / sqrt(hidden).
    threshold, threshold_step, lowest_threshold: of |cos|; lowered until the goal is met.
    goal: probability of the concept token at which a fact is left alone.
    budget: vectors changed at most.
    trials: edits tried at most for each fact.
    least_gain: by how much an edit must lower the log-odds of the concept token (nats).
    most_harm: how much unlikelier (nats per token) all edits together may make other people's answers and plain text.
    kept_texts: how many of these are measured after every edit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    draws: int = Field(default=500, ge=0)
    certain: float = Field(default=0.9, gt=0, lt=1)
    noise_from: float = Field(default=0.05, gt=0)
    noise_to: float = Field(default=1.0, gt=0)
    threshold: float = Field(default=0.3, gt=0, le=1)
    threshold_step: float = Field(default=0.05, gt=0)
    lowest_threshold: float = Field(default=0.15, gt=0, le=1)
    goal: float = Field(default=0.05, gt=0, lt=1)
    budget: int = Field(default=20, ge=1)
    trials: int = Field(default=40, ge=1)
    least_gain: float = Field(default=0.05, gt=0)
    most_harm: float = Field(default=0.02, gt=0)
    kept_texts: int = Field(default=16, ge=1)
    seed: int = 1


@dataclass(frozen=True)
class _Target:
    """One fact's concept token, and the texts that end where it comes next.

    Attributes:
        probes: the token is the only answer token of each.
    """

    item_id: str
    token: int
    probes: list[TokenSequence]


@dataclass(frozen=True)
class _Candidate:
    """A weight vector near the target vector."""

    layer: int
    index: int
    role: Role
    cosine: float

    @property
    def neuron(self) -> tuple[int, int]:
        return self.layer, self.index


@dataclass
class _Edit:
    """A vector that was changed, and how it was before."""

    candidate: _Candidate
    role: Role
    before: torch.Tensor
    reversed: bool


@dataclass
class _Run:
    """Where a run stands.

    Attributes:
        edits: those that stay, by neuron.
        tried: facts and neurons that were tried for them, kept or not.
    """

    edits: dict[tuple[int, int], _Edit] = field(default_factory=dict)
    tried: set[tuple[str, int, int]] = field(default_factory=set)
    trials: int = 0
    rolled_back: int = 0


class Tars:
    """See the module's docstring."""

    info = MethodInfo(
        id="tars",
        title="Turn round single neurons that name the answer (experimental)",
        summary=(
            "Looks for the few weight vectors that point at an answer, reverses or clears one at a time, and keeps "
            "each change only if it was measured to help; experimental, and often without a result on small models."
        ),
        family=Family.WEIGHTS,
        claim=Claim.SUPPRESSION_IN_WEIGHTS,
        source=(
            "Davies et al. 2024, Targeted Angular Reversal of Weights, arXiv 2412.10257; "
            "with a sign rule and a gate of our own"
        ),
        needs=frozenset({Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = TarsConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: TarsConfig) -> Plan:
        """Raises InputError: nothing to forget, nothing to keep, no word to look for, unknown architecture."""
        data.forget.require_nonempty()
        blocks = mlp_blocks(model.network)
        Unembedding.of(model.network)
        if not data.retain.items and not data.general_texts:
            raise InputError(
                "There are no facts to keep and no plain text, so the harm of an edit could not be measured; add some."
            )
        targets = _targets(model, data.forget.items)
        paths = {module: path for path, module in model.network.named_modules()}
        modules = tuple(paths[module] for block in blocks for module in block.modules.values())
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        notes = (
            "Experimental: every edit is measured and taken back where it does not help.",
            f"Only the first word of each answer is aimed at ({len(targets)} of {len(data.forget.items)} facts have "
            "one); what follows it may stay.",
        )
        return Plan(modules, 0, len(targets), weights * 4 // 2**20 + 256, notes)

    @torch.no_grad()
    def apply(self, model: TransformersModel, data: ErasureData, config: TarsConfig, control: RunControl) -> Outcome:
        """Raises JobFailedError: no vector was near a target, or no edit helped; nothing is changed then."""
        self.prepare(model, data, config)
        blocks, unembedding = mlp_blocks(model.network), Unembedding.of(model.network)
        targets = _targets(model, data.forget.items)
        kept = _kept(model, data, config.kept_texts)
        before, harm_before = _levels(model, targets), _mean_nll(model, kept)
        run = _Run()
        for number, target in enumerate(targets):
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
            direction = _target_vector(model, target, config, generator)
            _silence(model, blocks, unembedding, target, direction, kept, harm_before, config, run, control)
            control.progress(number + 1, len(targets), "Turning neurons round")
        if not run.edits:
            raise JobFailedError(_nothing(run))
        edits = list(run.edits.values())
        old = torch.stack([edit.before for edit in edits])
        new = torch.stack([blocks[edit.candidate.layer].vectors(edit.role)[edit.candidate.index] for edit in edits])
        change = unembedding.change(old, new, unembedding.spelt_tokens())
        after = _levels(model, targets)
        metrics = {
            "columns": float(len(edits)),
            "reversed": float(sum(edit.reversed for edit in edits)),
            "zeroed": float(sum(not edit.reversed for edit in edits)),
            "rolled_back": float(run.rolled_back),
            "jaccard": float(change.jaccard.mean()),
            "cosine": float(change.cosine.mean()),
            "l2": float(change.distance.mean()),
            "concept_probability_before": sum(level.probability for level in before) / len(before),
            "concept_probability_after": sum(level.probability for level in after) / len(after),
            "other_nll_before": harm_before,
            "other_nll_after": _mean_nll(model, kept),
        }
        control.metric(len(targets), metrics)
        reached = sum(level.probability <= config.goal for level in after)
        reason = f"{len(edits)} vectors changed; {reached} of {len(targets)} answers' first words are at the goal"
        return Outcome(run.trials, reason, metrics)


def _nothing(run: _Run) -> str:
    if not run.trials:
        return (
            "No specialised neuron found: no weight vector of the model points at an answer. That is normal for "
            "private persons and small models. Nothing was changed; choose another method."
        )
    return (
        f"None of the {run.trials} edits that were tried made an answer less likely without harm to the rest, so each "
        "was taken back. Nothing was changed; choose another method."
    )


# -- what is aimed at ------------------------------------------------------------------------


def _concept(model: TransformersModel, sequence: TokenSequence) -> TokenSequence | None:
    """The sequence up to its first answer token that is a word; None where no token of the answer is one."""
    for position in range(sequence.answer_start, len(sequence.ids)):
        text = model.tokenizer.decode([sequence.ids[position]])
        if sum(sign.isalpha() for sign in text) >= FEWEST_LETTERS and not any(sign.isdigit() for sign in text):
            if sequence.ids[position] in model.tokenizer.all_special_ids:
                return None
            return TokenSequence(sequence.ids[: position + 1], position)
    return None


def _targets(model: TransformersModel, items: Sequence[ForgetItem]) -> list[_Target]:
    """One target for each item and concept token: a question and a statement may cut the answer differently.

    Raises:
        InputError: no answer has a word token.
    """
    found: dict[tuple[str, int], _Target] = {}
    for item in items:
        for example in item_examples(model, item):
            probe = _concept(model, example.sequence)
            if probe is not None:
                token = probe.answer_ids[0]
                found.setdefault((item.id, token), _Target(item.id, token, [])).probes.append(probe)
    if not found:
        raise InputError(
            "No answer of the request holds a word that is a token of the model's vocabulary (numbers alone are not "
            "looked for); choose another method."
        )
    return list(found.values())


def _kept(model: TransformersModel, data: ErasureData, count: int) -> list[TokenSequence]:
    """Other people's answers and plain text, in turn, at most ``count``."""
    answers = [example.sequence for example in questions_of(model, data.retain.items)]
    texts = text_sequences(model, data.general_texts)
    both = [
        part[place] for place in range(max(len(answers), len(texts))) for part in (texts, answers) if place < len(part)
    ]
    return both[:count]


# -- what is measured ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """Mean over a target's probes.

    Attributes:
        log_odds: log(p / (1 - p)) of the concept token; tells apart what probabilities near 1 do not.
    """

    probability: float
    log_odds: float


def _levels(model: TransformersModel, targets: Sequence[_Target]) -> list[_Level]:
    """Where each target's concept token stands."""
    return [_level(model, target) for target in targets]


def _level(model: TransformersModel, target: _Target) -> _Level:
    logits = torch.cat([model.row_logits(row).float() for row in pack(target.probes, ROW_TOKENS, model.device)])
    own = logits[:, target.token]
    others = logits.clone()
    others[:, target.token] = float("-inf")
    odds = own - others.logsumexp(dim=1)
    return _Level(float(odds.sigmoid().mean()), float(odds.mean()))


def _mean_nll(model: TransformersModel, sequences: Sequence[TokenSequence]) -> float:
    """Mean negative log-likelihood, nats per token."""
    scored = model.score_sequences(sequences)
    return -sum(one.total for one in scored) / sum(len(one.log_probs) for one in scored)


# -- where it points -------------------------------------------------------------------------


def _final_states(model: TransformersModel, probes: Sequence[TokenSequence]) -> torch.Tensor:
    """(probes, hidden) what goes into the final norm where the concept token comes next."""
    norm = final_norm_of(model.network)
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][0]))
    states = []
    try:
        for row in pack(probes, ROW_TOKENS, model.device):
            model.row_logits(row)
            states.append(seen.pop()[[places[0] for places in row.predictors]])
    finally:
        handle.remove()
    return torch.cat(states)


def _target_vector(
    model: TransformersModel, target: _Target, config: TarsConfig, generator: torch.Generator
) -> torch.Tensor:
    """(hidden,) of length 1: the hidden state that names the concept token most surely, after the noisy search."""
    norm, head = final_norm_of(model.network), model.network.get_output_embeddings()

    def certainty(vectors: torch.Tensor) -> torch.Tensor:
        return head(norm(vectors)).float().softmax(dim=-1)[:, target.token]

    states = _final_states(model, target.probes)
    best = states[int(certainty(states).argmax())]
    start, unit = best, best.norm() / best.shape[0] ** 0.5
    sizes = torch.linspace(config.noise_from, config.noise_to, config.draws)
    for part in sizes.split(DRAWS_AT_ONCE) if config.draws else ():
        if float(certainty(best[None])) >= config.certain:
            break
        noise = torch.randn(len(part), len(best), generator=generator) * part[:, None]
        tried = torch.cat([best[None], start + noise.to(best) * unit])
        best = tried[int(certainty(tried).argmax())]
    return best / best.norm()


def _near(blocks: Sequence[MlpBlock], direction: torch.Tensor, least: float) -> Iterator[_Candidate]:
    """The nearest vector of every neuron that has one with |cos| of at least ``least``."""
    for block in blocks:
        roles = list(block.modules)
        cosines = torch.stack([torch.nn.functional.normalize(block.vectors(role), dim=1) @ direction for role in roles])
        nearest = cosines.abs().max(dim=0)
        for index in (nearest.values >= least).nonzero().flatten().tolist():
            role = int(nearest.indices[index])
            yield _Candidate(block.layer, index, roles[role], float(cosines[role, index]))


def _contributions(
    model: TransformersModel, blocks: Sequence[MlpBlock], unembedding: Unembedding, target: _Target
) -> torch.Tensor:
    """(layers, inner) mean of a_j * (d_j . e_t) over the probes: what each neuron adds to the token's logit.

    Before the division by the norm of the hidden state, which changes no sign.
    """
    total = torch.zeros(())
    for row, seen in row_activations(model, blocks, target.probes):
        places = [places[0] for places in row.predictors]
        total = total + torch.stack([seen[block.layer][places].sum(dim=0).cpu() for block in blocks])
    toward = unembedding.of_tokens([target.token])[0]
    written = torch.stack([(block.vectors(Role.DOWN) @ toward).cpu() for block in blocks])
    return total / len(target.probes) * written


# -- the edits -------------------------------------------------------------------------------


def _silence(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    unembedding: Unembedding,
    target: _Target,
    direction: torch.Tensor,
    kept: Sequence[TokenSequence],
    harm_before: float,
    config: TarsConfig,
    run: _Run,
    control: RunControl,
) -> None:
    """Edit vectors near ``direction``, nearest first, until the token is at the goal or the budget is used up."""
    order = sorted(_near(blocks, direction, config.lowest_threshold), key=lambda one: (-abs(one.cosine), one.neuron))
    level, trials = _level(model, target), 0
    threshold = config.threshold
    while threshold >= config.lowest_threshold - 1e-9:
        for candidate in order:
            if level.probability <= config.goal or len(run.edits) >= config.budget or trials >= config.trials:
                return
            if abs(candidate.cosine) < threshold:
                break
            if candidate.neuron in run.edits or (target.item_id, *candidate.neuron) in run.tried:
                continue
            control.check_cancelled()
            trials, run.trials = trials + 1, run.trials + 1
            run.tried.add((target.item_id, *candidate.neuron))
            # Measured anew each time: an edit further down changes what a neuron above it is given.
            adds = _contributions(model, blocks, unembedding, target)[candidate.neuron]
            edit = _edited(blocks, candidate, direction, reverse=bool(adds > 0))
            now = _level(model, target)
            harm = _mean_nll(model, kept) - harm_before
            control.metric(run.trials, {"concept_probability": now.probability, "other_nll_rise": harm})
            if level.log_odds - now.log_odds >= config.least_gain and harm <= config.most_harm:
                run.edits[candidate.neuron], level = edit, now
            else:
                blocks[candidate.layer].vectors(edit.role)[candidate.index] = edit.before
                run.rolled_back += 1
        threshold -= config.threshold_step


def _edited(blocks: Sequence[MlpBlock], candidate: _Candidate, direction: torch.Tensor, *, reverse: bool) -> _Edit:
    """Reverse the candidate's vector against the target direction, or set the neuron's column to 0."""
    role = candidate.role if reverse else Role.DOWN
    vector = blocks[candidate.layer].vectors(role)[candidate.index]
    before = vector.clone()
    if reverse:
        side = 1.0 if candidate.cosine > 0 else -1.0
        vector.copy_(-side * before.norm() * direction)
    else:
        vector.zero_()
    return _Edit(candidate, role, before, reverse)
