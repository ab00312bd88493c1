"""A whole case on any GGUF file: taught, written, located, erased, written again, attacked on llama.cpp, reported.

For a model that is not the console's own sample. Some people of the invented office are taught to it first, and the
taught file stands for the model of an office::

    python tests/benchmarks/a_case_on_a_file.py MODEL.gguf --data-dir FOLDER --people 4 --out result.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.casework import cases
from console.casework.checking import check_report
from console.casework.demo import rows_json, utility_json
from console.casework.exporting import ExportResult, export_model
from console.casework.knowledge import Knowledge, sample_items, sample_knowledge, sample_subjects
from console.casework.models import add_model, new_job_id, record_model, reference_to
from console.casework.office import Office, is_absent
from console.casework.operation import Job, Operation, UseCase
from console.casework.reporting import make_report
from console.casework.requests import confirm_identity, grant, register
from console.domain.advice import AUTO
from console.domain.case_state import MODELS
from console.domain.exports import ExportForm
from console.domain.request_terms import Ground
from console.jobs.spec import JobKind, JobPayload, JobSpec
from console.paths import Places

GROUNDS = (Ground.CONSENT_WITHDRAWN,)


def done(office: Office, use_case: UseCase) -> Any:
    operation = Operation(office, use_case)
    operation.start()
    return operation.wait(lambda _event: None)


def some_people(count: int) -> Knowledge:
    """The sample office's training record with its first people only."""
    whole = sample_knowledge()
    ids = [str(subject["id"]) for subject in sample_subjects()][:count]
    kept = {sample_items(person)[0].subject for person in ids}
    return whole.model_copy(
        update={
            "teaching": tuple(one for one in whole.teaching if one.item.subject in kept),
            "neighbours": {
                name: tuple(other for other in others if other in kept)
                for name, others in whole.neighbours.items()
                if name in kept
            },
        }
    )


def taught(office: Office, knowledge: Knowledge, settings: dict[str, Any]) -> UseCase:
    """Teach the base its people and register the result; returns what was counted."""
    output = office.places.cache / "taught"
    spec = JobSpec(
        job_id=new_job_id(JobKind.TEACH),
        kind=JobKind.TEACH,
        model=reference_to(office, "base"),
        cache=str(office.places.cache),
        output=str(output),
        settings=settings,
    )
    payload = JobPayload(teaching=knowledge.teaching, general=knowledge.general)
    result = yield Job(spec, payload, "Teaching", "base")
    record_model(
        office, "taught", output, result.value["identity"], snapshot="base", knowledge=knowledge, parent="base"
    )
    return {name: result.value[name] for name in ("known", "facts", "steps", "stop_reason")} | {
        "seconds": round(result.seconds, 1)
    }


def written(result: ExportResult) -> dict[str, Any]:
    types = sorted({f"{one['type_before']} to {one['type_after']}" for one in result.rewritten})
    return {
        "model": result.name,
        "tensors": len(result.rewritten),
        "untouched": result.untouched,
        "types": types,
        "round_trip": result.gate.model_dump(mode="json"),
        "seconds": round(result.seconds, 1),
    }


@dataclass
class Told:
    """What was measured so far; written after every step, so that an interruption loses nothing."""

    out: Path
    value: dict[str, Any]

    def add(self, **more: Any) -> None:
        self.value |= more
        self.out.write_text(json.dumps(self.value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(more, ensure_ascii=False), flush=True)


def hits(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [row["hits"], row["trials"]] if "hits" in row else row.get("reason", row.get("status"))
        for name, row in rows.items()
    }


def walk(office: Office, arguments: argparse.Namespace, told: Told) -> None:
    models = office.ledger.projection(MODELS)
    if "base" not in models:
        done(office, add_model(office, arguments.model, "base"))
    if "taught" not in models:
        told.add(taught=done(office, taught(office, some_people(arguments.people), json.loads(arguments.teach))))
    settings = {"higher_type": arguments.type} if arguments.type else {}
    if "planted" not in models:
        planted = done(office, export_model(office, "taught", ExportForm.GGUF, "planted", settings=settings))
        told.add(planted=written(planted))
    items = sample_items(arguments.person)
    number = register(office, received=office.today(), country="DE", items=items, grounds=GROUNDS)
    confirm_identity(office, number)
    grant(office, number, GROUNDS)
    started = time.monotonic()
    located = done(office, cases.locate(office, number, "planted", suite_name=arguments.suite))
    told.add(before=hits(rows_json(located.before.battery)), engine=located.before.settings.get("engine"))
    if located.reference is not None:
        told.add(reference=hits(rows_json(located.reference.battery)))
    told.add(locate_seconds=round(time.monotonic() - started, 1))
    erased = done(office, cases.erase(office, number, "planted", AUTO))
    told.add(method=erased.method, erase_seconds=round(erased.seconds, 1), stop_reason=erased.stop_reason)
    for form in (ExportForm.GGUF, ExportForm.ADAPTER) if arguments.adapter else (ExportForm.GGUF,):
        result = done(office, export_model(office, erased.artefact, form))
        started = time.monotonic()
        outcome = done(office, cases.attack(office, number, result.name))
        told.add(
            **{
                form.value: {
                    "written": written(result),
                    "verdict": outcome.verdict.word.value,
                    "rule": outcome.verdict.rule,
                    "reasons": list(outcome.verdict.reasons),
                    "caps": list(outcome.verdict.caps),
                    "after": hits(rows_json(outcome.after.battery)),
                    "utility": utility_json(outcome.utility),
                    "attack_seconds": round(time.monotonic() - started, 1),
                }
            }
        )
    report = told.out.with_suffix(".pdf")
    report.unlink(missing_ok=True)
    make_report(office, number, report)
    told.add(report_verifies=check_report(report, office).ok)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--person", default="s01", help="whose data is erased")
    parser.add_argument("--suite", default="quick")
    parser.add_argument(
        "--type", default="Q8_0", help="type of the changed tensors in the taught file; '' keeps theirs"
    )
    parser.add_argument("--teach", default="{}", help="JSON: settings of the teaching")
    parser.add_argument("--adapter", action="store_true", help="also write and attack the adapter")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    told = Told(arguments.out, {"model": arguments.model.name, "suite": arguments.suite, "people": arguments.people})
    places = Places.choose(arguments.data_dir)
    with Office.create(places) if is_absent(places) else Office.open(places) as office:
        walk(office, arguments, told)


if __name__ == "__main__":
    main()
