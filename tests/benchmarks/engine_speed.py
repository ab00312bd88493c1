"""llama.cpp against transformers on one GGUF file: the same real work, in turn, in one process.

The work is the suite's: rephrased, direct and few-shot questions about the sample office's people with three attempts,
and texts scored with the spread of every token. Both engines get the same number of threads and wait passively, as in
a worker. Wall-clock times on a machine with other work are noisy, so the processor's own seconds stand beside them.

Run it on a machine with nothing else to do::

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/engine_speed.py MODEL.gguf --out speed.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from console.attacks.paraphrase import wordings
from console.attacks.protocol import AttackSettings, AttackTarget, facts
from console.casework.knowledge import bank_payload, sample_items, sample_knowledge
from console.engines.devices import set_threads
from console.engines.llama_engine import LlamaModel
from console.engines.protocol import LanguageModel, Prompt, ScoreRequest, greedy_and_samples
from console.engines.transformers_engine import TransformersModel
from console.jobs.spec import JobPayload
from console.jobs.tasks.attack import prompt_bank

NEW_TOKENS = 24
ATTEMPTS = greedy_and_samples(2, 20_000)


def questions(target: AttackTarget, most: int) -> list[Prompt]:
    """Direct, rephrased and few-shot prompts about the request's facts and about strangers."""
    turns = tuple((shot.question, shot.answer) for shot in target.bank.shots[:3])
    found = [
        prompt
        for item in (*facts(target.items), *facts(target.matched_controls))
        for prompt in (
            Prompt(f"direct/{item.id}", item.prompt),
            Prompt(f"few-shot/{item.id}", item.prompt, turns=turns),
            *(Prompt(f"rephrased/{item.id}/{n}", text) for n, text in enumerate(wordings(item, target.bank, 4))),
        )
    ]
    return found[:most]


def texts(most: int) -> list[ScoreRequest]:
    """Answers after their questions, and plain sentences, from everything that the sample office knows."""
    known = sample_knowledge()
    items = [teaching.item for teaching in known.teaching]
    found = [ScoreRequest(item.answer, Prompt(item.id, item.prompt)) for item in items]
    found += [ScoreRequest(f"{item.prompt} {item.answer}") for item in items]
    return found[:most]


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of all processors."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def in_turn(rounds: int, works: dict[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Medians of both, the engines alternating; the order turns round every time."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(timed(works[name]))
    return {
        name: {
            "clock_s": round(statistics.median(clock for clock, _ in times), 3),
            "processor_s": round(statistics.median(processor for _, processor in times), 3),
        }
        for name, times in found.items()
    }


def measure(path: Path, cache: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    threads = set_threads(arguments.threads)
    models: dict[str, LanguageModel] = {
        "llama.cpp": LlamaModel.load(path, threads=threads),
        "transformers": TransformersModel.load(path, cache, "cpu"),
    }
    bank = bank_payload()
    known = sample_knowledge()
    payload = JobPayload(forget=sample_items(arguments.subject), controls=known.controls, bank=bank)
    target = AttackTarget(payload.forget, payload.controls, prompt_bank(payload), AttackSettings(samples=2))
    asked, scored = questions(target, arguments.prompts), texts(arguments.texts)
    for model in models.values():  # first call: caches and lazy imports
        list(model.generate(asked[:1], ATTEMPTS[:1], [2]))
        model.score(scored[:2])

    def writing(model: LanguageModel) -> Callable[[], Any]:
        return lambda: list(model.generate(asked, ATTEMPTS, [NEW_TOKENS] * len(asked)))

    def scoring(model: LanguageModel) -> Callable[[], Any]:
        return lambda: model.score(scored)

    result: dict[str, Any] = {
        "file": path.name,
        "threads": threads,
        "rounds": arguments.rounds,
        "prompts": len(asked),
        "attempts": len(ATTEMPTS),
        "new_tokens": NEW_TOKENS,
        "texts": len(scored),
        "generation": in_turn(arguments.rounds, {name: writing(model) for name, model in models.items()}),
        "scoring": in_turn(arguments.rounds, {name: scoring(model) for name, model in models.items()}),
    }
    for work in ("generation", "scoring"):
        ours, theirs = result[work]["llama.cpp"], result[work]["transformers"]
        result[work]["ratio"] = {unit: round(ours[unit] / theirs[unit], 3) for unit in ours}
    return result | {"agreement": agreement(models, asked, scored)}


def agreement(models: dict[str, LanguageModel], asked: list[Prompt], scored: list[ScoreRequest]) -> dict[str, Any]:
    """Whether the two say and score the same: equal answers, and the mean difference in nats per token."""

    def said(model: LanguageModel) -> dict[tuple[str, int], str]:
        given = model.generate(asked, ATTEMPTS, [NEW_TOKENS] * len(asked))
        return {(one.prompt_id, one.attempt): one.text for one in given}

    left, right = (said(model) for model in models.values())

    def nll(model: LanguageModel) -> Iterator[float]:
        return (-value for one in model.score(scored) for value in one.log_probs)

    losses = [list(nll(model)) for model in models.values()]
    return {
        "greedy_equal": sum(left[key] == right[key] for key in left if key[1] == 0),
        "greedy": sum(key[1] == 0 for key in left),
        "drawn_equal": sum(left[key] == right[key] for key in left if key[1] != 0),
        "drawn": sum(key[1] != 0 for key in left),
        "mean_nll": [round(statistics.fmean(one), 5) for one in losses],
        "mean_difference": round(statistics.fmean(abs(a - b) for a, b in zip(*losses, strict=True)), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("--out", type=Path, help="where the figures go; standard output by default")
    parser.add_argument("--cache", type=Path, help="folder for the de-quantised copy; a temporary one by default")
    parser.add_argument("--subject", default="s01", help="who is asked about, by the sample office's id")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--texts", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(arguments.model, arguments.cache or Path(temporary), arguments)
    written = json.dumps(found, indent=1) + "\n"
    if arguments.out is None:
        print(written, end="")
    else:
        arguments.out.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
