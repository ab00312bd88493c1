"""How much faster a suite is than the plain way, with the same results.

The plain way is what a script around a library does: one ``generate`` call for every attempt, one forward pass for
every text of every score attack. Ours decodes many attempts at once and scores a text once for all attacks.

Run it on a machine with nothing else to do::

    python tests/benchmarks/suite_speed.py MODEL_FOLDER --out tests/benchmarks/results/suite_speed.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from console.attacks.asking import gives_away, room_for
from console.attacks.paraphrase import wordings
from console.attacks.protocol import AttackSettings, AttackTarget, facts
from console.attacks.scores import secret_texts
from console.attacks.suite import Remembering
from console.casework.knowledge import bank_payload, sample_items, sample_knowledge
from console.engines.devices import set_threads
from console.engines.prompts import prompt_ids
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.jobs.spec import JobPayload
from console.jobs.tasks.attack import prompt_bank

SCORE_ATTACKS = 4  # loss, zlib, Min-K%, Min-K%++


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    value = work()
    return value, time.perf_counter() - started


@torch.inference_mode()
def plain_generate(model: TransformersModel, prompt: Prompt, limit: int, seed: int | None) -> str:
    """One attempt by the library's own ``generate``."""
    ids = torch.tensor([prompt_ids(model.tokenizer, prompt)], device=model.device)
    choice: dict[str, Any] = {"do_sample": False}
    if seed is not None:
        torch.manual_seed(seed)
        choice = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 0}
    written = model.network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=limit,
        pad_token_id=model.tokenizer.eos_token_id,
        **choice,
    )
    return str(model.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))


def prompts_of(target: AttackTarget) -> list[tuple[Any, Prompt]]:
    return [
        (item, Prompt(f"paraphrase/{item.id}/{index}", wording))
        for items in (target.items, target.matched_controls)
        for item in facts(items)
        for index, wording in enumerate(wordings(item, target.bank, target.settings.paraphrases))
    ]


def measure(model: TransformersModel, target: AttackTarget) -> dict[str, Any]:
    """Both ways on the rephrased questions, and on the texts of the score attacks."""
    asked = prompts_of(target)
    limits = [room_for(item) for item, _ in asked]
    attempts = target.settings.attempts
    list(model.generate([asked[0][1]], attempts[:1], [8]))  # first call: caches and lazy imports

    ours, ours_s = timed(lambda: list(model.generate([prompt for _, prompt in asked], attempts, limits)))
    plain, plain_s = timed(
        lambda: [
            [plain_generate(model, prompt, limit, attempt.seed) for attempt in attempts]
            for (_, prompt), limit in zip(asked, limits, strict=True)
        ]
    )
    greedy = {said.prompt_id: said.text for said in ours if said.attempt == 0}
    same = sum(
        gives_away(item, greedy[prompt.id]) == gives_away(item, texts[0])
        for (item, prompt), texts in zip(asked, plain, strict=True)
    )

    texts = [
        text.request for text in (*secret_texts(target.items, {}), *secret_texts(target.controls, {}, control=True))
    ]
    remembering = Remembering(model)
    batched, batched_s = timed(lambda: [remembering.score(texts) for _ in range(SCORE_ATTACKS)][-1])

    def one_by_one() -> list[Any]:
        return [[model.score([request])[0] for request in texts] for _ in range(SCORE_ATTACKS)][-1]

    single, single_s = timed(one_by_one)
    worst = max(
        abs(left - right)
        for one, other in zip(batched, single, strict=True)
        for left, right in zip(one.log_probs, other.log_probs, strict=True)
    )
    return {
        "prompts": {
            "attempts": len(asked) * len(attempts),
            "ours_s": round(ours_s, 2),
            "plain_s": round(plain_s, 2),
            "ratio": round(plain_s / ours_s, 2),
            "same_greedy_hits": f"{same} of {len(asked)}",
        },
        "scores": {
            "texts": len(texts),
            "attacks": SCORE_ATTACKS,
            "ours_s": round(batched_s, 2),
            "plain_s": round(single_s, 2),
            "ratio": round(single_s / batched_s, 2),
            "largest_difference": f"{worst:.2e}",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_threads()
    knowledge = sample_knowledge()
    payload = JobPayload(forget=sample_items("s01"), controls=knowledge.controls, bank=bank_payload())
    target = AttackTarget(payload.forget, payload.controls, prompt_bank(payload), AttackSettings(samples=2))
    model = TransformersModel.load(arguments.model, arguments.model.parent, "cpu")
    result = {"threads": torch.get_num_threads(), **measure(model, target)}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
