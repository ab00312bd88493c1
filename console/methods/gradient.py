"""The one loop of every gradient method: push the person's answers, hold everything else, stop by rule.

L = gamma * mean_i F_i + alpha * R(retain) + general * KL(before || now) on general text, where F is the method's own
forget loss and R is the mean NLL of retained answers, or the KL from what the model said to them before. A method is a
subclass with a config class and ``forget_loss``; everything else here is the same for all.

Two rules keep a run from overshooting, which every unbounded gradient method does and which makes the
person's text conspicuously unlikely instead of unknown:

* an example stops pushing once its mean NLL has reached the level of a model that never knew it
  (measured on the reference model before the run, or assumed), and one that the others have carried far
  past that level is drawn back to it;
* the pushing ends when no example is known better than that; some steps of rehearsal follow, in which the answers
  are only held, because what the push took from other people's facts comes back sooner than the answers do. They
  go on, up to a limit, until the model again says every retained answer that it said before.

There is never a second model in memory: what the model said before is computed once, before anything is trained.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from console.engines.packing import PackedRow, TokenSequence
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import ConsoleError, InputError
from console.methods import run_state
from console.methods.activation_checkpoints import activations_recomputed
from console.methods.examples import Example, examples_of, questions_of, text_sequences
from console.methods.forgetting import (
    ForgetRow,
    Run,
    forget_row,
    forgetting_of,
    general_text,
    log_probs_before,
    said,
)
from console.methods.gradient_settings import GradientSettings
from console.methods.lora import (
    first_trained_layer,
    merged,
    resolve_modules,
    resolve_tensors,
    trainable_parameters,
    trained_blocks,
    with_adapter,
)
from console.methods.losses import forward_kl
from console.methods.memory import MemoryEstimate, available_mb, estimate, require_room
from console.methods.protocol import ErasureData, MethodInfo, Outcome, Plan, RunControl
from console.methods.rehearsal import Rehearsal
from console.methods.stepping_stones import stepping_stones, with_levels
from console.methods.training import Stepper, accumulate, cycled


class GradientMethod:
    """A method whose every step follows the gradient of a forget loss and of what must be kept.

    Attributes:
        holds_the_rest: without retained data or weight the run is refused (bare ascent destroys a model).
        needs_before_log_probs: ``forget_loss`` gets the whole distributions that the model gave before.
    """

    info: ClassVar[MethodInfo]
    config_class: ClassVar[type[GradientSettings]]
    holds_the_rest: ClassVar[bool] = True
    needs_before_log_probs: ClassVar[bool] = False

    # -- what a method says ----------------------------------------------------------------------

    def forget_loss(self, row: ForgetRow, config: Any) -> torch.Tensor:
        """(members,) loss of each example; the loop leaves out those that push no more and takes the mean.

        A method has this or a ``forget_step`` of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forget loss")

    def begin(self, run: Run) -> Any:
        """Compute once, before anything is trained, what the method's own terms need; it becomes ``run.own``."""
        return None

    def notes(self, data: ErasureData, config: Any) -> tuple[str, ...]:
        """What a reader of the plan should know."""
        return () if data.reference_nll else ("No reference model: the stop level is assumed, not measured.",)

    def forget_step(self, run: Run) -> torch.Tensor:
        """Add the gradient of the forget term; returns every example's summed NLL before the step."""
        return accumulate(run.model, run.aim.sequences, self._forget_loss_of(run), run.trunk)

    def retain_step(self, run: Run) -> float:
        """Add the gradient of a batch of retained answers; returns their mean NLL (nats per token)."""
        return _retain_step(run)

    def further_step(self, run: Run) -> dict[str, float]:
        """Add the gradient of terms of the method's own; returns them by name."""
        return {}

    def enough(self, run: Run, nll: torch.Tensor) -> str:
        """Why the pushing is over, or "" while it is not.

        Args:
            nll: (examples,) summed NLL before the step.
        """
        if run.config.bounded and not run.forgetting.pushing(nll):
            return "every answer has come to the level of a model that never knew it"
        return ""

    def put_on(self, model: TransformersModel, plan: Plan, config: Any, data: ErasureData) -> None:
        """Make trainable what the plan names, and freeze the rest."""
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        if not config.tensors:
            model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
            return
        by_path = dict(model.network.named_modules())
        for path in plan.modules:
            by_path[path].weight.requires_grad_(True)

    def modules(self, model: TransformersModel, config: Any) -> tuple[str, ...]:
        """Paths of the modules that are trained."""
        if config.tensors:
            return resolve_tensors(model.network, config.tensors, config.lora)
        return resolve_modules(model.network, config.lora)

    def trained(self, model: TransformersModel, modules: tuple[str, ...], config: Any) -> int:
        """Number of weights that are trained."""
        if not config.tensors:
            return trainable_parameters(model.network, modules, config.lora.rank)
        by_path = dict(model.network.named_modules())
        return sum(by_path[path].weight.numel() for path in modules)

    # -- the run ---------------------------------------------------------------------------------

    def prepare(self, model: TransformersModel, data: ErasureData, config: Any) -> Plan:
        """Resolve modules and steps, and whether they fit.

        Raises:
            InputError: nothing to forget, nothing to retain, an item beyond the context, too little memory, a loss
                balance where there is no one loss.
        """
        data.forget.require_nonempty()
        if self.holds_the_rest:
            _require_retained(data, config)
        if config.loss_balance != "none" and type(self).forget_loss is GradientMethod.forget_loss:
            raise InputError(
                f"The method '{self.info.id}' makes its forget step of several terms, so there is no one loss to "
                "balance; leave 'loss_balance' at none."
            )
        examples = _examples(model, data, config)
        modules = self.modules(model, config)
        trained = self.trained(model, modules, config)
        texts = text_sequences(model, data.general_texts) if config.general_batch else []
        needed = _memory(model, examples, texts, config, trained, config.gradient_checkpointing)
        smaller = None if config.gradient_checkpointing else _memory(model, examples, texts, config, trained, True)
        require_room(needed, available_mb(model.device), smaller)
        return Plan(modules, trained, config.steps + config.repair_steps, needed.total, self.notes(data, config))

    def apply(self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl) -> Outcome:
        """Train, merge, and say how it ended; goes on where an interrupted run of the same stopped."""
        plan = self.prepare(model, data, config)
        self.put_on(model, plan, config, data)
        before = _weights_before(model, plan, config)
        run = self._started(model, data, config, control, plan)
        with (
            _number_format(model.device, config.precision),
            activations_recomputed(trained_blocks(model.network, config.lora), config.gradient_checkpointing),
        ):
            _resume(run)
            while not _over(run):
                with _kept_if_stopped(run):
                    self._step(run)
        self._merge(model, config)
        _put_back_largest(model, before, config.ignore_top_share)
        reason = run.reason
        if run.rehearsal.lost:
            reason += f"; {len(run.rehearsal.lost)} of {len(run.said_before)} retained answers are lost"
        lost = {"retain_lost": float(len(run.rehearsal.lost))} if run.rehearsal.sequences else {}
        return Outcome(run.stepper.step_number, reason, run.last | lost)

    def _started(
        self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl, plan: Plan
    ) -> Run:
        examples = _examples(model, data, config)
        levels = with_levels(dict(data.reference_nll), examples) if config.stepping_stone else data.reference_nll
        retain = questions_of(model, data.retain.items)
        trunk = model.trunk(first_trained_layer(model.network, config.lora), [examples[0].sequence])
        near = frozenset(item.id for item in data.retain.items if item.subject in data.neighbours)
        rehearsal = Rehearsal(retain, near, config.retain_batch, config.seed)
        with torch.no_grad(), _number_format(model.device, config.precision):
            forgetting = forgetting_of(model, examples, levels, config, trunk, self.needs_before_log_probs)
            general = general_text(model, text_sequences(model, data.general_texts), config, trunk)
            kl = config.retain_loss == "kl"
            retain_before = log_probs_before(model, rehearsal.sequences, trunk) if kl else []
            said_before = said(model, rehearsal.sequences, trunk)
        run = Run(
            model=model,
            data=data,
            config=config,
            control=control,
            plan=plan,
            examples=examples,
            forgetting=forgetting,
            aim=forgetting,
            rehearsal=rehearsal,
            retain_before=retain_before,
            general=general,
            general_order=cycled(len(general.rows), 1, random.Random(config.seed + 1)),
            trunk=trunk,
            stepper=Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio),
            said_before=said_before,
            pushed=config.steps,
        )
        run.reason = f"{config.steps} steps done" + (
            "; not every answer is at the level of a model that never knew it" if config.bounded else ""
        )
        with _number_format(model.device, config.precision):
            run.own = self.begin(run)
            run.scale = self._balance(run)
        return run

    def _balance(self, run: Run) -> dict[str, float]:
        """What each term is multiplied with, from its size under the model as it was."""
        if run.config.loss_balance == "none":
            return {}
        with torch.no_grad():
            forget = 0.0

            def of_row(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
                nonlocal forget
                forget += float(self.forget_loss(forget_row(run, row, logits, nll), run.config).sum())
                return nll.sum()

            accumulate(run.model, run.aim.sequences, of_row, run.trunk)
        size = run.config.forget_weight * abs(forget) / len(run.aim.sequences)
        return {"forget": 1 / max(1.0, size)}

    def _forget_loss_of(self, run: Run) -> Any:
        config, count = run.config, len(run.aim.sequences)
        weight = config.forget_weight * run.scale.get("forget", 1.0)

        def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
            given = forget_row(run, row, logits, nll)
            mean = nll / given.lengths
            loss = weight * (given.pushing * self.forget_loss(given, config)).sum()
            if config.bounded:
                beyond = mean.detach() > run.aim.limit[list(row.members)].to(nll.device)
                loss = loss + config.pull_back_weight * (beyond * mean).sum()
            return loss / count

        return loss_of

    def _step(self, run: Run) -> None:
        config = run.config
        run.control.check_cancelled()
        was_repairing = run.repairing
        halted = not was_repairing and run.last.get("general_kl", 0.0) > config.general_limit
        run.holding = was_repairing or halted
        share = 0.0 if halted else config.hold_share
        run.aim = run.forgetting.held(share) if run.holding else run.forgetting
        nll = self.forget_step(run)
        run.control.check_cancelled()
        last = {
            "forget_nll": float((nll / run.forgetting.lengths).mean()),
            "unsettled": float(run.forgetting.unsettled(nll)),
        }
        if not was_repairing and (reason := self.enough(run, nll)):
            run.reason, run.pushed = reason, run.stepper.step_number
        if run.rehearsal.sequences and config.retain_weight:
            last["retain_nll"] = self.retain_step(run)
            run.control.check_cancelled()
        if run.general.rows and config.general_weight:
            last["general_kl"] = _general_step(run, next(run.general_order)[0])
        last |= self.further_step(run)
        run.stepper.step()
        run.last = last
        step, total = run.stepper.step_number, config.steps + config.repair_steps
        run.control.metric(step, last)
        run.control.progress(min(step, total), total, "Repairing" if was_repairing else "Unlearning")
        if step % config.keep_state_every == 0:
            _keep(run)

    def _merge(self, model: TransformersModel, config: Any) -> None:
        if not config.tensors:
            model.network = merged(model.network)
            return
        for parameter in model.network.parameters():
            parameter.requires_grad_(True)


# -- before the run ------------------------------------------------------------------------------


def _examples(model: TransformersModel, data: ErasureData, config: GradientSettings) -> list[Example]:
    """What is to be forgotten, in every form that is trained on."""
    examples = examples_of(model, data.forget.items)
    return examples + stepping_stones(model, data.forget.items) if config.stepping_stone else examples


def _require_retained(data: ErasureData, config: GradientSettings) -> None:
    keeps_facts = data.retain.items and config.retain_weight
    keeps_text = data.general_texts and config.general_weight and config.general_batch
    if not keeps_facts and not keeps_text:
        raise InputError(
            "The retain set is empty or its weight is 0, so the model would forget everything; add facts to keep "
            "or general text, and leave its weight above 0."
        )


def _memory(
    model: TransformersModel,
    examples: list[Example],
    texts: list[TokenSequence],
    config: GradientSettings,
    trained: int,
    recomputed: bool,
) -> MemoryEstimate:
    longest = [len(example.sequence.ids) for example in examples] + [len(text.ids) for text in texts]
    row_tokens = max(ROW_TOKENS, *longest)
    blocks = len(trained_blocks(model.network, config.lora))
    together = sorted(len(text.ids) for text in texts)[-config.general_batch or len(texts) :]
    answers = max(sum(len(example.sequence.answer_ids) for example in examples), sum(together), 1)
    return estimate(model.network, trained, blocks, row_tokens, min(answers, row_tokens), recomputed)


# -- a step --------------------------------------------------------------------------------------


def _retain_step(run: Run) -> float:
    chosen = run.rehearsal.next_batch()
    batch = [run.rehearsal.sequences[index] for index in chosen]
    tokens = sum(len(sequence.answer_ids) for sequence in batch)
    weight = run.config.retain_weight

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        if not run.retain_before:
            return weight * nll.sum() / tokens
        before = torch.cat([run.retain_before[chosen[member]] for member in row.members])
        return weight * forward_kl(before, logits) * len(before) / tokens

    nll = accumulate(run.model, batch, loss_of, run.trunk)
    means = [float(value) / len(sequence.answer_ids) for value, sequence in zip(nll, batch, strict=True)]
    run.rehearsal.note(chosen, means)
    return float(nll.sum()) / tokens


def _general_step(run: Run, index: int) -> float:
    """Add the gradient of the divergence on one row of general text; returns it (nats per token)."""
    logits = run.model.row_logits(run.general.rows[index], run.general.sequences[index], run.trunk)
    divergence = forward_kl(run.general.reference[index], logits)
    (run.config.general_weight * divergence).backward()
    return float(divergence.detach())


def _over(run: Run) -> bool:
    """Whether the run has come to its end: pushed, repaired, and nothing lost that more repair may bring back."""
    end = run.pushed + run.config.repair_steps
    if run.stepper.step_number < end:
        return False
    run.rehearsal.lost = _still_lost(run)
    can_repair = bool(run.config.retain_weight) and run.stepper.step_number < end + run.config.repair_limit
    return not run.rehearsal.lost or not can_repair


def _still_lost(run: Run) -> frozenset[int]:
    """Retained answers that were said before and are not now.

    While some are known to be lost, only those are asked again; all are asked before the run may end. Asking all in
    every step of the repair took longer than the training where several hundred facts are retained.
    """
    sequences = run.rehearsal.sequences
    known = sorted(run.rehearsal.lost)
    if known:
        back = said(run.model, [sequences[index] for index in known], run.trunk)
        left = frozenset(index for place, index in enumerate(known) if place not in back)
        if left:
            return left
    return run.said_before - said(run.model, sequences, run.trunk)


# -- interruption --------------------------------------------------------------------------------


@contextmanager
def _kept_if_stopped(run: Run) -> Iterator[None]:
    """A step that a request to stop cuts off can be done again from its beginning; a step that failed would fail again.

    Inside a step only gradients have changed, and what is rehearsed next.
    """
    rehearsal = run.rehearsal.state()
    try:
        yield
    except ConsoleError:
        raise
    except Exception:
        _keep(run, rehearsal)
        raise


def _keep(run: Run, rehearsal: dict[str, Any] | None = None) -> None:
    if run.control.state_file is None:
        return
    run_state.keep(
        run.control.state_file,
        run.model.network,
        run.stepper,
        rehearsal=rehearsal or run.rehearsal.state(),
        pushed=run.pushed,
        reason=run.reason,
        last=run.last,
    )


def _resume(run: Run) -> None:
    kept = run_state.resumed(run.control.state_file, run.model.network, run.stepper)
    if kept is None:
        return
    run.rehearsal.restore(kept["rehearsal"])
    run.pushed, run.reason, run.last = int(kept["pushed"]), str(kept["reason"]), dict(kept["last"])
    for _ in range(run.stepper.step_number if run.general.rows else 0):
        next(run.general_order)


# -- the weights ---------------------------------------------------------------------------------


@contextmanager
def _number_format(device: torch.device, precision: str) -> Iterator[None]:
    wants = precision == "bf16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=wants):
        yield


def _weights_before(model: TransformersModel, plan: Plan, config: GradientSettings) -> dict[str, torch.Tensor]:
    """Copies of the weights that will change; only where some of them may have to be put back."""
    if not config.ignore_top_share:
        return {}
    network = model.network if config.tensors else model.network.get_base_model()
    by_path = dict(network.named_modules())
    weights = {path: getattr(by_path[path], "base_layer", by_path[path]).weight for path in plan.modules}
    return {path: weight.detach().clone() for path, weight in weights.items()}


@torch.no_grad()
def _put_back_largest(model: TransformersModel, before: Mapping[str, torch.Tensor], share: float) -> None:
    """Put the entries of each weight that moved furthest back to what they were, bit for bit."""
    by_path = dict(model.network.named_modules())
    for path, old in before.items():
        weight = by_path[path].weight
        moved = (weight - old).abs().flatten()
        count = int(share * moved.numel())
        if not count:
            continue
        largest = moved.topk(count).indices
        weight.view(-1)[largest] = old.view(-1)[largest]
