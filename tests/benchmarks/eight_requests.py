"""Eight people of the sample office, erased one after another from the same model: are the earlier ones still gone?

The whole walk of a case eight times, with the default method: registered, located, erased from the model that the last
erasure left, attacked, and every earlier person searched for again. It takes about five minutes a person on two cores::

    python tests/benchmarks/eight_requests.py --data-dir FOLDER --out tests/benchmarks/results/eight_requests.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from console.casework import cases, sample
from console.casework.demo import rows_json, utility_json
from console.casework.knowledge import sample_items, sample_knowledge, sample_subjects
from console.casework.office import Office, is_absent
from console.casework.operation import Operation, UseCase
from console.casework.requests import confirm_identity, grant, register
from console.casework.sequence import EarlierRequest, measure_of
from console.domain.advice import AUTO
from console.domain.request_terms import Ground
from console.errors import ConsoleError
from console.paths import Places

GROUND = Ground.CONSENT_WITHDRAWN


def done(office: Office, use_case: UseCase) -> Any:
    operation = Operation(office, use_case)
    operation.start()
    return operation.wait(lambda _event: None)


def people() -> list[str]:
    """Ids of the sample office's people who were taught, in order."""
    taught = {one.item.subject for one in sample_knowledge().teaching}
    ids = [str(subject["id"]) for subject in sample_subjects()]
    return [person for person in ids if sample_items(person)[0].subject in taught]


def registered(office: Office, person: str) -> str:
    number = register(
        office,
        received=office.today(),
        country="DE",
        items=sample_items(person),
        grounds=(GROUND,),
        summary=f"Person {person} of the sample office.",
    )
    confirm_identity(office, number)
    grant(office, number, (GROUND,))
    return number


def hits(rows: dict[str, Any]) -> dict[str, Any]:
    """Hits of trials by attack, or why there are none."""
    return {
        name: [row["hits"], row["trials"]] if "hits" in row else row.get("reason", row.get("status"))
        for name, row in rows.items()
    }


def still_gone(earlier: EarlierRequest) -> dict[str, Any]:
    told = {"request": earlier.number, "standing": earlier.standing.value, "by": list(earlier.by)}
    return {**told, "now": hits(rows_json(earlier.now)) if earlier.now is not None else earlier.reason}


def one_person(office: Office, person: str, model: str, device: str) -> tuple[str, dict[str, Any]]:
    number = registered(office, person)
    started = time.monotonic()
    located = done(office, cases.locate(office, number, model, device))
    erased = done(office, cases.erase(office, number, model, AUTO, device=device))
    outcome = done(office, cases.attack(office, number, erased.artefact, device))
    measure = measure_of(office, erased.artefact)
    utility = utility_json(outcome.utility) or {}
    line = {
        "person": person,
        "request": number,
        "model": model,
        "found_before": located.found,
        "before": hits(rows_json(located.before.battery)),
        "method": erased.method,
        "steps": erased.steps,
        "stop_reason": erased.stop_reason,
        "erase_seconds": round(erased.seconds, 1),
        "verdict": outcome.verdict.word.value,
        "rule": outcome.verdict.rule,
        "reasons": list(outcome.verdict.reasons),
        "after": hits(rows_json(outcome.after.battery)),
        "kept": {name: [rate["hits"], rate["trials"]] for name, rate in utility.get("kept", {}).items()},
        "perplexity": [utility.get("perplexity_before"), utility.get("perplexity_after")],
        "earlier": [still_gone(one) for one in outcome.earlier],
        "chain": {name: str(value) for name, value in asdict(measure).items()},
        "seconds": round(time.monotonic() - started, 1),
    }
    return erased.artefact, line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    places = Places.choose(arguments.data_dir)
    office = Office.create(places) if is_absent(places) else Office.open(places)
    done(office, sample.plant(office))
    model, lines = sample.TAUGHT_NAME, []
    stopped = ""
    for person in people()[: arguments.count]:
        try:
            model, line = one_person(office, person, model, arguments.device)
        except ConsoleError as error:
            stopped = f"{person}: {error}"
            break
        lines.append(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)
        told = {"command": f"eight_requests.py --count {arguments.count}", "stopped": stopped, "people": lines}
        arguments.out.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if stopped:
        raise SystemExit(stopped)


if __name__ == "__main__":
    main()
