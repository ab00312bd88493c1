"""TOFU's files in small: four invented authors, two a task, as a mini TOFU and as TOFU proper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from invented import FACTS, OTHERS

PEOPLE = (*FACTS, *OTHERS)  # four people with three facts each


def wrong_answers(fact_type: str, answer: str) -> list[str]:
    return [item.answer for item in PEOPLE if item.fact_type == fact_type and item.answer != answer]


def row(item: Any, **more: str) -> dict[str, Any]:
    return {
        "question": item.prompt,
        "answer": item.answer,
        "paraphrased_answer": item.answer,
        "perturbed_answer": wrong_answers(item.fact_type, item.answer),
        **more,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def write_tofu(folder: Path) -> Path:
    """The files, in a new folder; the first and the second person are task 1."""
    folder.mkdir()
    first = {FACTS[0].subject, OTHERS[0].subject}
    write(
        folder / "forget01_tasks.jsonl",
        [row(item, task_id="1" if item.subject in first else "2") for item in PEOPLE],
    )
    for name in ("real_authors_perturbed", "world_facts_perturbed"):
        write(folder / f"{name}.jsonl", [row(item) for item in OTHERS[-3:]])
    write(folder / "full.jsonl", [{"question": item.prompt, "answer": item.answer} for item in PEOPLE])
    write(folder / "forget01.jsonl", [{"question": item.prompt, "answer": item.answer} for item in FACTS])
    write(folder / "forget01_perturbed.jsonl", [row(item) for item in FACTS])
    write(folder / "retain_perturbed.jsonl", [row(item) for item in OTHERS])
    return folder
