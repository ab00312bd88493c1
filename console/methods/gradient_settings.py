"""Settings that every gradient method has; a method's config class adds its own and may set other defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from console.methods.lora import LoraSettings


class GradientSettings(BaseModel):
    """Settings that every gradient method has.

    Defaults are for an adapter on a model of up to about 1.5 billion parameters.

    Attributes:
        tensors: train these weights themselves instead of an adapter: last segments of module paths
            ("down_proj"), in the blocks from ``lora.first_layer`` on.
        forget_weight, retain_weight, general_weight: gamma, alpha, and the weight of the general text.
        retain_loss: ``nll`` of the retained answers, or ``kl`` from what the model said to them before.
        steps: most steps that push the answers away; fewer, where all have come to the reference's level.
        bounded: an example that has come to the level pushes no more; without, every step pushes every example.
        repair_steps: steps after that, in which what slipped is rehearsed and the answers are only held.
        repair_limit: most further steps of that kind, taken while a retained answer is lost.
        hold_share: share of the level to which an answer may come back in the repair before it is pushed again.
        retain_batch: facts of other people a step, half in turn and half those that slip.
        general_batch: general texts that are laid into one row.
        overshoot: how far past the reference's level (nats per token) an example may go before it is drawn back.
        pull_back_weight: weight of the mean NLL of the examples that have gone too far.
        enough_nll: an answer this unlikely (nats per token) need not become more so, even where a model that
            never knew it finds it less likely still.
        assumed_reference_nll: stop level (nats per token) where there is no reference model.
        general_limit: the governor: a step after one in which the general text moved further than this (KL, nats per
            token) does not push.
        loss_balance: ``initial`` divides each term by its size at the start where that is above 1, so that a large
            forget term cannot drown the others (the principle of LAPTOP-Diff, Zhang et al. 2024, arXiv 2404.11098).
        ignore_top_share: share of each changed weight's entries, those that moved furthest, that are put back at the
            end ("ignore-k", Sun et al. 2025, How new data permeates LLM knowledge and how to dilute it, arXiv
            2504.09522).
        stepping_stone: push every answer also where its kind is named first ("a date, namely"), in the forms in which
            that makes it likelier (same source, "stepping-stone").
        gradient_checkpointing: compute activations again instead of keeping them: slower, much less memory.
        precision: of the forward pass; ``auto`` is bfloat16 on a GPU that has it. Weights and losses stay float32.
        keep_state_every: steps after which an interrupted run can go on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32, b_ratio=4.0, first_layer=0.6)
    tensors: tuple[str, ...] = ()
    learning_rate: float = Field(default=3e-4, gt=0)
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=8.0, ge=0)
    retain_loss: Literal["nll", "kl"] = "nll"
    general_weight: float = Field(default=4.0, ge=0)
    steps: int = Field(default=12, ge=1)
    bounded: bool = True
    repair_steps: int = Field(default=8, ge=0)
    repair_limit: int = Field(default=24, ge=0)
    hold_share: float = Field(default=0.5, ge=0, le=1)
    retain_batch: int = Field(default=12, ge=1)
    general_batch: int = Field(default=3, ge=0)
    overshoot: float = Field(default=1.0, gt=0)
    pull_back_weight: float = Field(default=1.0, ge=0)
    enough_nll: float = Field(default=4.0, gt=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    general_limit: float = Field(default=0.2, gt=0)
    loss_balance: Literal["none", "initial"] = "none"
    ignore_top_share: float = Field(default=0.0, ge=0, lt=1)
    stepping_stone: bool = False
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    keep_state_every: int = Field(default=10, ge=1)
    seed: int = 1
