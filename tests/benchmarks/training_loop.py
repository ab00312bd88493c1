"""What the training loop costs beside the forward and backward passes that nobody can avoid.

Time: steps of a run in turn with bare forward and backward passes over the very same rows, through the same frozen
trunk, so that a machine that slows down slows both. Memory: the peak of a process that runs NPO against that of one
that fine-tunes a plain adapter on the same data.

Run it on a machine with nothing else to do::

    python tests/benchmarks/training_loop.py MODEL_FOLDER --out tests/benchmarks/results/training_loop.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from console.casework.knowledge import sample_items, sample_knowledge
from console.domain.forget_set import ForgetSet, RetainSet
from console.domain.teaching import without_subjects
from console.engines.devices import set_threads
from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.jobs.worker import peak_rss_mb
from console.methods.finetune import FinetuneConfig, finetune
from console.methods.forgetting import Run
from console.methods.losses import answer_tokens
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData

STEPS = 10


class Silent:
    """A run's control that says nothing."""

    state_file: Path | None = None

    def progress(self, step: int, steps: int, label: str) -> None:
        """Nobody listens."""

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        """Nobody listens."""

    def check_cancelled(self) -> None:
        """Nobody asks."""


def data() -> ErasureData:
    knowledge = sample_knowledge()
    items = sample_items("s01")
    others = without_subjects(knowledge.teaching, {items[0].subject})
    retain = RetainSet(items=tuple(one.item for one in others), general_texts=knowledge.general)
    return ErasureData(ForgetSet(items=items), retain, knowledge.general, teaching=others)


class Watched(Npo):
    """NPO that remembers which retained facts and general row a step used."""

    def __init__(self) -> None:
        self.retained: list[TokenSequence] = []

    def retain_step(self, run: Run) -> float:
        # The rehearsal's choice is made inside; the copy made here is asked first and put back.
        state = run.rehearsal.state()
        self.retained = [run.rehearsal.sequences[index] for index in run.rehearsal.next_batch()]
        run.rehearsal.restore(state)
        return super().retain_step(run)


def bare(run: Run, batches: list[list[TokenSequence]], general_row: int) -> None:
    """Forward and backward of the plain loss over the same rows, and nothing else."""
    for sequences in batches:
        for row in pack(sequences, ROW_TOKENS, run.model.device):
            logits = run.model.row_logits(row, sequences, run.trunk)
            cross_entropy(logits.float(), answer_tokens(row, sequences)[0], reduction="sum").backward()
    rows, sequences = run.general.rows, run.general.sequences
    logits = run.model.row_logits(rows[general_row], sequences[general_row], run.trunk)
    cross_entropy(logits.float(), answer_tokens(rows[general_row], sequences[general_row])[0]).backward()
    run.stepper.optimizer.zero_grad(set_to_none=True)


def overhead(model: TransformersModel) -> dict[str, float]:
    method, config, given = Watched(), NpoConfig(steps=STEPS + 2), data()
    plan = method.prepare(model, given, config)
    method.put_on(model, plan, config, given)
    run = method._started(model, given, config, Silent(), plan)
    ours, plain = [], []
    for step in range(STEPS + 2):
        started = time.perf_counter()
        method._step(run)
        middle = time.perf_counter()
        bare(run, [run.forgetting.sequences, method.retained], step % len(run.general.rows))
        if step >= 2:  # the first steps fill the trunk
            ours.append(middle - started)
            plain.append(time.perf_counter() - middle)
    ratios = [left / right for left, right in zip(ours, plain, strict=True)]
    return {
        "step_s": round(statistics.median(ours), 3),
        "bare_s": round(statistics.median(plain), 3),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def peak_of(model: Path, what: str) -> int:
    """Peak resident memory (MiB) of a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(model), "--only", what], capture_output=True, text=True, check=True
    )
    return int(done.stdout.strip().splitlines()[-1])


def run_only(model: TransformersModel, what: str) -> None:
    given = data()
    if what == "npo":
        config = NpoConfig(steps=4, repair_steps=0, repair_limit=0)
        Npo().apply(model, given, config, Silent())
    else:
        lora = NpoConfig().lora
        finetune(model, given.teaching[:12], given.general_texts, FinetuneConfig(lora=lora, epochs=2), Silent())
    print(peak_rss_mb())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", choices=("npo", "finetune"), help="run one and print its peak memory")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_threads()
    model = TransformersModel.load(arguments.model, arguments.model.parent, "cpu")
    if arguments.only:
        run_only(model, arguments.only)
        return
    peaks = {what: peak_of(arguments.model, what) for what in ("npo", "finetune")}
    result = {
        "threads": torch.get_num_threads(),
        "time": {"steps": STEPS, **overhead(model)},
        "memory": {"npo_mb": peaks["npo"], "finetune_mb": peaks["finetune"]},
    }
    result["memory"]["ratio"] = round(peaks["npo"] / peaks["finetune"], 3)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
