"""Layer regression: on the person's texts every layer becomes what it was before the training, elsewhere what it is.

    W' = argmin_V  forget * sum_person |V x - W_ref x_ref|^2 + sum_rest |V x - W x_0|^2 + mu |V - W|^2

for every matrix W of the blocks, from below; x is what the matrix gets by then, x_ref what it gets in a model that
never knew the data, x_0 what it got before the run (see ``console.methods.block_regression``). It is RegMean (Jin et
al. 2023, arXiv 2212.09849, eq. 2) between the model and its reference, with the person's texts for the reference's
share and all others for the model's. What the reference's matrix gives is linear in what comes in, so there is a
solution, with no step size and no number of steps. The rows of the embedding of tokens that only the person's names
and answers have are put back to the reference's: a training of all weights writes into these rows too.

The texts are the model's own words: what it says when it is asked, and what it writes of itself about the person.
Of the person's texts only what follows the first mention of the name counts; what stands before is anybody's.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.frozen_trunk import blocks_of
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.methods.block_regression import TaughtRow, regress
from console.methods.examples import examples_of, questions_of, text_sequences
from console.methods.forgetting import said
from console.methods.framings import framed_examples
from console.methods.governor import Governor, GovernorSettings, Kept, hold_out
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.memory import MemoryEstimate, available_mb, estimate, require_room
from console.methods.own_words import OwnAnswer, own_answers, own_texts
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.weight_transaction import Snapshot

_WHOLE = LoraSettings(first_layer=0.0)
_LEAST_NAME = 3  # letters; initials and titles stand for many, and in the middle of other words


class LayerRegressionConfig(BaseModel):
    """Chosen on one person of the sample office (s01) and one way of teaching (free text).

    Attributes:
        forget_weight: of each token of the person's texts; a token of the others' weighs 1. A run that loses what must
            be kept is made again with a quarter of it.
        general_weight: of each token of the general texts.
        ridge: pull towards no change, over the mean square of a matrix's inputs.
        own_words: most tokens of an answer of the model's own.
        draws, drawn_words: texts that the model writes about the person after each opening, and their most tokens.
        kept_facts: most retained facts that the model is asked for, and most retained passages; the neighbours' first.
        governor: which retained facts take no part and are asked before and after.
        kept_share: share of the retained facts that take part and were given before that must still be given.
        attempts: most runs, the first among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    forget_weight: float = Field(default=0.2, gt=0)
    general_weight: float = Field(default=1.0, ge=0)
    ridge: float = Field(default=1e-4, gt=0)
    own_words: int = Field(default=40, ge=8)
    draws: int = Field(default=3, ge=0)
    drawn_words: int = Field(default=48, ge=8)
    kept_facts: int = Field(default=96, ge=1)
    governor: GovernorSettings = GovernorSettings()
    kept_share: float = Field(default=0.98, ge=0, le=1)
    attempts: int = Field(default=3, ge=1)
    seed: int = 1


@dataclass(frozen=True)
class _Texts:
    """What the regression goes by.

    Attributes:
        kept: retained facts in the model's words.
    """

    person: list[TokenSequence]
    kept: list[OwnAnswer]
    passages: list[TokenSequence]
    general: list[TokenSequence]


class LayerRegression:
    """See the module's docstring."""

    info = MethodInfo(
        id="layer-regression",
        title="Put every layer back to before the training, for this person only",
        summary=(
            "Computes each layer anew, so that it treats texts about the person as the model from before the training "
            "does and all other texts as it does now."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "an addition of our own; the regression is RegMean's (Jin et al. 2023, arXiv 2212.09849, eq. 2), between "
            "the model and the one from before its training"
        ),
        needs=frozenset({Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = LayerRegressionConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: LayerRegressionConfig) -> Plan:
        """Check that there is something to go by, and that it fits.

        Raises:
            InputError: nothing to forget or to retain, no model from before the training, an architecture whose blocks
                are not found, too little memory.
        """
        data.forget.require_nonempty()
        if data.open_reference is None:
            raise InputError(
                "The method 'layer-regression' needs the model as it was before it learned the data; register it and "
                "name it as the model's snapshot, or choose a method that needs none."
            )
        if not data.retain.items and not data.general_texts:
            raise InputError("The retain set is empty, so nothing would hold the rest; add facts to keep or texts.")
        examples_of(model, data.forget.items)  # an item beyond the context is refused before anything is computed
        modules = (*resolve_modules(model.network, _WHOLE), *_embeddings(model.network))
        needed = _memory(model, data, config)
        require_room(needed, available_mb(model.device), None)
        by_path = dict(model.network.named_modules())
        trained = sum(by_path[path].weight.numel() for path in modules)
        return Plan(modules, trained, len(blocks_of(model.network)), needed.total)

    def apply(
        self, model: TransformersModel, data: ErasureData, config: LayerRegressionConfig, control: RunControl
    ) -> Outcome:
        """Ask, compute, ask again; with less weight on the person's texts where too much of the rest was lost."""
        plan = self.prepare(model, data, config)
        control.progress(0, plan.steps, "Asking what must be kept")
        # A recipe has held facts out of every stage already, and watches them itself.
        data, held_out = hold_out(data, config.governor, config.seed) if data.watch is None else (data, ())
        governor = Governor(model, held_out, config.governor, control)
        texts = _collected(model, data, config, control, plan.steps)
        checks = [one.secret for one in texts.kept if one.secret is not None]
        before = said(model, checks, None)
        names = [name for name, _ in model.network.named_parameters() if name.removesuffix(".weight") in plan.modules]
        snapshot = Snapshot(model.network, names)
        assert data.open_reference is not None
        reference = data.open_reference()
        try:
            _require_same_build(model, reference)
            for attempt in range(config.attempts):
                weight = config.forget_weight / 4**attempt
                if attempt:
                    snapshot.restore()
                apart = self._once(model, reference, data, config, weight, texts, control, plan.steps)
                kept = before & said(model, checks, None)
                asked = governor.ask()
                held = not asked.too_many_lost if data.watch is None else data.watch.check(plan.steps)
                if held and len(kept) >= config.kept_share * len(before):
                    break
        finally:
            del reference
            gc.collect()
        return _outcome(plan.steps, apart, weight, len(before), len(kept), asked)

    def _once(
        self,
        model: TransformersModel,
        reference: TransformersModel,
        data: ErasureData,
        config: LayerRegressionConfig,
        weight: float,
        texts: _Texts,
        control: RunControl,
        blocks: int,
    ) -> tuple[float, float]:
        rows = _rows(model, data.forget.items, texts, weight, config.general_weight)

        def announce(index: int) -> None:
            control.progress(index, blocks, "Computing the layers anew")

        found = regress(
            model.network,
            reference.network,
            rows,
            _own_tokens(model, data.forget.items, texts),
            config.ridge,
            announce,
            control.check_cancelled,
        )
        control.metric(blocks, {"forget_distance": found[0], "retain_distance": found[1]})
        control.progress(blocks, blocks, "Computing the layers anew")
        return found


# -- the texts -----------------------------------------------------------------------------------


def _collected(
    model: TransformersModel, data: ErasureData, config: LayerRegressionConfig, control: RunControl, steps: int
) -> _Texts:
    control.progress(0, steps, "Listening to what the model says")
    items = data.forget.items
    person = [example.sequence for example in examples_of(model, items)]
    person += [one.sequence for one in own_answers(model, items, config.own_words, until_fact=False)]
    person += [form.sequence for forms in framed_examples(model, items) for form in forms]
    for subject in dict.fromkeys(item.subject for item in items):
        control.check_cancelled()
        person += own_texts(model, subject, config.draws, config.drawn_words, config.seed)
    control.check_cancelled()
    near = sorted(data.retain.items, key=lambda item: item.subject not in data.neighbours)
    facts = [item for item in near if item.kind is not ItemKind.VERBATIM][: config.kept_facts]
    passages = [item for item in near if item.kind is ItemKind.VERBATIM][: config.kept_facts]
    return _Texts(
        person=person,
        kept=own_answers(model, facts, config.own_words, until_fact=True),
        passages=[example.sequence for example in questions_of(model, passages)],
        general=text_sequences(model, data.general_texts),
    )


def _names(items: Iterable[ForgetItem]) -> set[str]:
    """Every spelling of the people, and the first word of each: a text may go on with that alone."""
    whole = {name for item in items for name in (item.subject, *item.aliases)}
    first = (name.split()[0] for name in whole if name.split())
    return whole | {word for word in first if len(word) >= _LEAST_NAME}


def _first_named(model: TransformersModel, sequence: TokenSequence, names: set[str]) -> int:
    """Position of the token in which a name first begins; of the answer's first token where nobody is named."""
    for place in range(len(sequence.ids)):
        text = model.tokenizer.decode(sequence.ids[: place + 1])
        if any(name in text for name in names):
            return place
    return sequence.answer_start


def _rows(
    model: TransformersModel, items: Sequence[ForgetItem], texts: _Texts, weight: float, general_weight: float
) -> list[TaughtRow]:
    names = _names(items)
    first = [_first_named(model, sequence, names) for sequence in texts.person]
    found = []
    for row in pack(texts.person, ROW_TOKENS, model.device):
        weights = torch.zeros(row.tokens)
        for member, positions in zip(row.members, row.token_positions(), strict=True):
            weights[positions[first[member] :]] = weight
        found.append(TaughtRow(row, weights, by_reference=True))
    for sequences, share in (
        ([one.sequence for one in texts.kept] + texts.passages, 1.0),
        (texts.general, general_weight),
    ):
        for row in pack(sequences, ROW_TOKENS, model.device) if share else ():
            found.append(TaughtRow(row, torch.full((row.tokens,), share), by_reference=False))
    return found


def _own_tokens(model: TransformersModel, items: Iterable[ForgetItem], texts: _Texts) -> list[int]:
    """Tokens of the person's names and answers that stand in no other text: the rest is everybody's."""
    words = {word for name in _names(items) for word in name.split()}
    words |= {answer for item in items if item.kind is not ItemKind.VERBATIM for answer in item.answers}
    spelled = [text for word in sorted(words) for text in (word, f" {word}")]
    own = {token for text in spelled for token in model.tokenizer(text, add_special_tokens=False)["input_ids"]}
    others = (*(one.sequence for one in texts.kept), *texts.passages, *texts.general)
    return sorted(own.difference(*(sequence.ids for sequence in others)))


# -- before and after ----------------------------------------------------------------------------


def _embeddings(network: Any) -> list[str]:
    """Paths of the embedding and the unembedding, which may share one matrix."""
    both = (network.get_input_embeddings(), network.get_output_embeddings())
    return [path for path, module in network.named_modules() if any(module is one for one in both)]


def _require_same_build(model: TransformersModel, reference: TransformersModel) -> None:
    mine, theirs = model.network, reference.network
    shapes = {name: weight.shape for name, weight in mine.named_parameters()}
    if shapes != {name: weight.shape for name, weight in theirs.named_parameters()}:
        raise InputError(
            "The reference model is not of the same build as the model (vocabulary or layers differ); name the model "
            "from which it was fine-tuned, or choose another method."
        )


def _memory(model: TransformersModel, data: ErasureData, config: LayerRegressionConfig) -> MemoryEstimate:
    """Two models, the weights as they were, every text's states, and what one block's matrices give for all of them."""
    facts, kept = len(data.forget.items), min(len(data.retain.items), config.kept_facts)
    asked = 2 * (facts + kept) * 2 * config.own_words + 7 * config.draws * 2 * config.drawn_words
    shown = sum(len(model.tokenizer(text)["input_ids"]) for text in data.general_texts)
    tokens = asked + shown + 10 * facts * config.own_words
    by_path = dict(model.network.named_modules())
    modules = resolve_modules(model.network, _WHOLE)
    matrices = [by_path[path] for path in modules]
    blocks = max(1, len(blocks_of(model.network)))
    outputs = sum(matrix.out_features for matrix in matrices) // blocks
    widest = max(matrix.in_features for matrix in matrices)
    base = estimate(model.network, 0, 1, ROW_TOKENS, ROW_TOKENS)
    numbers = tokens * (2 * model.network.config.get_text_config().hidden_size + outputs) * 4 + 3 * widest**2 * 8
    return MemoryEstimate(
        weights=3 * base.weights,
        trained=0,
        activations=base.activations + numbers // 2**20,
        logits=base.logits,
        runtime=base.runtime,
    )


def _outcome(steps: int, apart: tuple[float, float], weight: float, known: int, kept: int, asked: Kept) -> Outcome:
    reason = f"every layer computed anew; {kept} of {known} retained answers that took part are given as before"
    metrics = {
        "forget_distance": apart[0],
        "retain_distance": apart[1],
        "forget_weight": weight,
        "retain_lost": float(known - kept),
    }
    if asked.known:
        reason += f"; {asked.words}" + (", which is too few" if asked.too_many_lost else "")
        metrics |= {"held_out_known": float(asked.known), "held_out_kept": float(asked.kept)}
    return Outcome(steps, reason, metrics)
