"""Distillation to a model that never knew: the answers become what that model makes of them, not just something else.

F_i = T^2 KL(Q_T || S_T) + states * mean over blocks ||h_S - h_Q||^2 / ||h_Q||^2 + lens * mean over blocks
KL(lens(h_Q) || lens(h_S)), at the positions that predict the tokens of answer i, where S is the model under training, Q
one that never knew the data, p_T a distribution at temperature T, and lens a hidden state's projection through final
norm and unembedding (Sinha et al. 2023, Distill to Delete, arXiv 2309.16173, adapted from graph networks: the preserver
is the loop's retain and general term, the destroyer is Q, its node embeddings are the blocks' hidden states, whose
distance is taken relative to the target's size).

A target distribution has its minimum at the target, so the loss neither overshoots nor needs a stop level, and
its gradient q - s does not vanish where an answer is known by heart. Matching the hidden states takes the inside along;
the direction of one token is a small part of a hidden state's length, though, and was measured to stay readable in the
layers before the last, so their projections are matched too: over the tokens that matter (all answers' tokens and
whatever either model's layers put first), because the whole vocabulary for every block would cost more than the rest.

Without such a model, Q is what the model itself said before with the answer's token taken out and the rest
renormalised (the target of CE-U); its hidden states are then no target.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from console.engines.frozen_trunk import FrozenTrunk, blocks_of, final_norm_of
from console.engines.packing import PackedRow, TokenSequence
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.block_states import BlockStates, states_of
from console.methods.forgetting import Run, log_probs_before
from console.methods.framings import framed_examples
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.lora import first_trained_layer, trained_blocks
from console.methods.losses import answer_tokens, by_member
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo
from console.methods.training import accumulate


class DistillDeleteConfig(GradientSettings):
    """Weights and steps were chosen on one person of the sample office (s01), whose six facts they were measured on.

    Attributes:
    temperature: T of both distributions.
    states_weight, lens_weight: weights of the hidden states' term and of that of their projections.
    lens_tokens: tokens that each block's projection of either model brings into the comparison, from the top.
    states_at: positions whose hidden states are matched: those that predict the ``answer``, or the ``sequence``'s
        all, the text about the person before its answer too.
    framed: framed forms of each fact a step beside its own two, in turn.
    close_enough: mean KL (nats per token, at temperature 1) from Q at which an example counts as done.
    """

    temperature: float = Field(default=1.0, gt=0)
    forget_weight: float = Field(default=2.0, ge=0)
    states_weight: float = Field(default=0.5, ge=0)
    lens_weight: float = Field(default=6.0, ge=0)
    lens_tokens: int = Field(default=4, ge=1)
    states_at: Literal["answer", "sequence"] = "sequence"
    framed: int = Field(default=1, ge=0)
    close_enough: float = Field(default=0.1, gt=0)
    steps: int = Field(default=32, ge=1)


@dataclass(frozen=True)
class _Target:
    """What Q makes of each form of the person's facts.

    Attributes:
        sequences: the run's forget examples, then every fact's framed forms.
        framed: for each fact, where in ``sequences`` its framed forms are.
        log_probs: for each sequence (answer tokens, vocab).
        states: for each sequence (blocks, matched positions, hidden); empty where there is no Q of its own.
        lens: for each sequence (blocks, answer tokens, compared) log-probabilities of Q's projections; empty where
            there is no Q of its own.
        compared: (compared,) ids of the tokens that the projections are compared over.
        divergences: (forget examples,) mean KL from Q (nats per token) when each was last looked at.
    """

    sequences: list[TokenSequence]
    framed: list[range]
    log_probs: list[torch.Tensor]
    states: list[torch.Tensor]
    lens: list[torch.Tensor]
    compared: torch.Tensor
    divergences: torch.Tensor

    def chosen(self, step: int, each: int) -> list[int]:
        """Indices of the sequences of a step: the forget examples, and ``each`` framed forms of every fact in turn."""
        turn = [own[(step * each + index) % len(own)] for own in self.framed for index in range(min(each, len(own)))]
        return [*range(len(self.divergences)), *dict.fromkeys(turn)]


class DistillDelete(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="distill-delete",
        title="Teach the model what one that never knew would say",
        summary=(
            "Trains a small addition to the weights that brings what the model computes about the person, inside as "
            "well as in its answers, towards what a model that never knew the data computes, while rehearsing what it "
            "must keep."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Sinha et al. 2023, Distill to Delete, arXiv 2309.16173, adapted from graph networks to language models; "
            "matching what the layers project to is an addition of our own"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = DistillDeleteConfig

    def notes(self, data: ErasureData, config: DistillDeleteConfig) -> tuple[str, ...]:
        if data.open_reference is not None:
            return ()
        return ("No reference model: the target is what the model said before without the answer's own word.",)

    def begin(self, run: Run) -> _Target:
        framed = framed_examples(run.model, run.data.forget.items) if run.config.framed else []
        sequences, places = list(run.forgetting.sequences), []
        for forms in framed:
            places.append(range(len(sequences), len(sequences) + len(forms)))
            sequences += [form.sequence for form in forms]
        undone = torch.zeros(len(run.examples))
        if run.data.open_reference is None:
            said = _without_answer(sequences, log_probs_before(run.model, sequences, run.trunk))
            return _Target(sequences, places, said, [], [], torch.empty(0), undone)
        run.control.progress(0, run.config.steps, "Asking a model that never knew the data")
        mine = _inside(run.model, run, sequences[: len(run.examples)], "answer", run.trunk)[1]
        named = _named_first(run.model, mine, run.config.lens_tokens)
        reference = run.data.open_reference()
        try:
            return _asked(reference, run, sequences, places, named)
        finally:
            del reference
            gc.collect()

    def forget_step(self, run: Run) -> torch.Tensor:
        """The loss is at its least where the target is, so it holds in the repair as it does before."""
        config, own = run.config, run.own
        chosen = own.chosen(run.stepper.step_number, config.framed)
        sequences = [own.sequences[index] for index in chosen]
        divergences = torch.zeros(len(sequences))
        with states_of(trained_blocks(run.model.network, config.lora)) as states:

            def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
                places = [chosen[member] for member in row.members]
                target = torch.cat([own.log_probs[place] for place in places]).to(logits.device).float()
                owner = answer_tokens(row, sequences)[1].to(logits.device)
                lengths = torch.tensor([len(sequences[member].answer_ids) for member in row.members])
                lengths = lengths.to(logits.device)
                plain = _kl(target, logits.float(), 1.0)
                divergences[list(row.members)] = (by_member(plain.detach(), owner, len(places)) / lengths).cpu()
                soft = plain if config.temperature == 1.0 else _kl(target, logits.float(), config.temperature)
                loss = (by_member(soft, owner, len(places)) / lengths).sum()
                if own.states and config.states_weight:
                    inside = _distance(states, row, config.states_at, [own.states[place] for place in places])
                    loss = loss + config.states_weight * inside
                if own.lens:
                    read = _unlike(run.model, states, row, own.compared, [own.lens[place] for place in places])
                    loss = loss + config.lens_weight * read
                return config.forget_weight * loss / len(sequences)

            nll = accumulate(run.model, sequences, loss_of, run.trunk)
        own.divergences[:] = divergences[: len(own.divergences)]
        return nll[: len(own.divergences)]

    def enough(self, run: Run, nll: torch.Tensor) -> str:
        if float(run.own.divergences.max()) > run.config.close_enough:
            return ""
        return "every answer is what a model that never knew it would say"


def _kl(target: torch.Tensor, logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """(tokens,) T^2 KL(target at T || logits at T), in nats.

    Args:
        target: (tokens, vocab) log-probabilities at temperature 1.
    """
    wanted = torch.log_softmax(target / temperature, dim=-1)
    given = torch.log_softmax(logits / temperature, dim=-1)
    # A token taken out of the target has probability 0, and 0 x infinity is none.
    terms = torch.where(wanted.isinf(), torch.zeros_like(wanted), wanted.exp() * (wanted - given))
    return temperature**2 * terms.sum(dim=-1)


def _matched(row: PackedRow, where: str) -> list[list[int]]:
    """For each member, the row positions whose hidden states are matched; of a shared beginning none are its own."""
    if where == "answer":
        return [list(positions) for positions in row.predictors]
    return [list(own) for own, _shared in row.spans]


def _distance(states: BlockStates, row: PackedRow, where: str, wanted: list[torch.Tensor]) -> torch.Tensor:
    """Relative squared distance of the hidden states from the target's: mean over blocks and positions, summed over
    members.

    Args:
        wanted: for each member (blocks, positions of the whole sequence or of its answer, hidden).
    """
    total = torch.zeros((), device=states.outputs[0].device)
    for positions, target in zip(_matched(row, where), wanted, strict=True):
        now = states.at(positions)
        # A row's shared beginning is not the member's own, and the target was kept for the whole sequence.
        target = target[:, -len(positions) :].to(now.device)
        total = total + ((now - target).square().sum(dim=-1) / target.square().sum(dim=-1)).mean()
    return total


def _without_answer(sequences: list[TokenSequence], before: list[torch.Tensor]) -> list[torch.Tensor]:
    """What the model said before, with each answer token's probability given to the others in proportion."""
    found = []
    for sequence, said in zip(sequences, before, strict=True):
        own = torch.tensor(sequence.answer_ids, device=said.device)[:, None]
        found.append(torch.log_softmax(said.float().scatter(-1, own, float("-inf")), dim=-1))
    return found


@torch.no_grad()
def _asked(
    reference: TransformersModel, run: Run, sequences: list[TokenSequence], places: list[range], named: set[int]
) -> _Target:
    """What a model that never knew the data says at each answer token, and holds at each matched position.

    Args:
        named: tokens that the model's own layers put first before the run.
    """
    same_words = reference.network.config.vocab_size == run.model.network.config.vocab_size
    if not same_words or len(blocks_of(reference.network)) != len(blocks_of(run.model.network)):
        raise InputError(
            "The reference model is not of the same build as the model (vocabulary or layers differ); name the model "
            "from which it was fine-tuned, or choose another method."
        )
    said, held = _inside(reference, run, sequences, run.config.states_at, None)
    undone = torch.zeros(len(run.examples))
    if not run.config.lens_weight:
        return _Target(sequences, places, said, held, [], torch.empty(0), undone)
    at_answers = []
    for sequence, states in zip(sequences, held, strict=True):
        # The last position of a whole sequence predicts nothing of it.
        count = len(sequence.answer_ids)
        at_answers.append(states if states.shape[1] == count else states[:, -count - 1 : -1])
    # The framed forms put the same answers; what the layers name first for them is named for the plain forms as well.
    theirs = _named_first(reference, at_answers[: len(run.examples)], run.config.lens_tokens)
    answers = {token for sequence in sequences for token in sequence.answer_ids}
    compared = torch.tensor(sorted(answers | named | theirs), device=reference.device)
    lens = [_lens(reference, states, compared).half() for states in at_answers]
    return _Target(sequences, places, said, held, lens, compared, undone)


@torch.no_grad()
def _inside(
    model: TransformersModel, run: Run, sequences: list[TokenSequence], where: str, trunk: FrozenTrunk | None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """For each sequence (answer tokens, vocab) log-probabilities and (trained blocks, positions, hidden) states.

    Args:
        where: positions of the ``answer`` or of the whole ``sequence``, a shared beginning included.
    """
    log_probs: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    held: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    lowest = first_trained_layer(run.model.network, run.config.lora)
    with states_of(blocks_of(model.network)[lowest:]) as states:

        def note(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
            sizes = [len(sequences[member].answer_ids) for member in row.members]
            said = torch.log_softmax(logits.float(), dim=-1).half().split(sizes)
            shown = row.token_positions() if where == "sequence" else row.predictors
            for member, distribution, positions in zip(row.members, said, shown, strict=True):
                log_probs[member], held[member] = distribution, states.at(positions)
            return nll.sum()

        accumulate(model, sequences, note, trunk)
    return log_probs, held


def _lens(model: TransformersModel, states: torch.Tensor, compared: torch.Tensor) -> torch.Tensor:
    """(..., compared) log-probabilities of hidden states' projections, among the compared tokens alone.

    Args:
        states: (..., hidden).
    """
    head = model.network.get_output_embeddings()
    logits = final_norm_of(model.network)(states) @ head.weight[compared].T
    if getattr(head, "bias", None) is not None:
        logits = logits + head.bias[compared]
    return torch.log_softmax(logits.float(), dim=-1)


def _unlike(
    model: TransformersModel, states: BlockStates, row: PackedRow, compared: torch.Tensor, wanted: list[torch.Tensor]
) -> torch.Tensor:
    """KL (nats) of the blocks' projections from Q's: mean over blocks and answer tokens, summed over members."""
    given = _lens(model, states.at([position for own in row.predictors for position in own]), compared)
    target = torch.cat(wanted, dim=1).to(given.device).float()
    terms = (target.exp() * (target - given)).sum(dim=-1).mean(dim=0)
    parts = terms.split([len(own) for own in row.predictors])
    return torch.stack([part.mean() for part in parts]).sum()


@torch.no_grad()
def _named_first(model: TransformersModel, inside: list[torch.Tensor], top: int) -> set[int]:
    """The tokens at the top of what each state projects to.

    Args:
        inside: (blocks, positions, hidden) each.
    """
    norm, head = final_norm_of(model.network), model.network.get_output_embeddings()
    named: set[int] = set()
    for states in inside:
        named.update(head(norm(states.flatten(0, 1))).topk(top).indices.flatten().tolist())
    return named
