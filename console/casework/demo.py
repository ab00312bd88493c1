"""One case, whole, on the sample office: from a registered request to a signed report that verifies."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.casework import cases, sample
from console.casework.checking import check_report
from console.casework.knowledge import sample_items
from console.casework.office import Office
from console.casework.operation import UseCase
from console.casework.reporting import SignedReport, make_report
from console.casework.requests import confirm_identity, grant, register, request_state
from console.domain.advice import AUTO
from console.domain.events import BatteryRecorded
from console.domain.request_terms import Ground, RequestStatus
from console.domain.results import AttackRow, Battery, Outcome, Rate, Utility
from console.errors import JobFailedError


@dataclass(frozen=True)
class DemoResult:
    """What the demo reached."""

    number: str
    located: cases.LocateResult
    erased: cases.EraseResult
    outcome: cases.AttackOutcome
    report: SignedReport
    subject_strings: tuple[str, ...]
    seconds: float


def _case_number(office: Office) -> str:
    """The sample office's granted request; on a second run, a new one of the same person."""
    number, _ = sample.sample_case(office)
    if RequestStatus(request_state(office, number)["status"]) is RequestStatus.GRANTED:
        return number
    again = register(
        office,
        received=office.today(),
        country="DE",
        items=sample_items("s01"),
        grounds=(Ground.CONSENT_WITHDRAWN,),
        summary="The same person asks again.",
    )
    confirm_identity(office, again)
    grant(office, again, (Ground.CONSENT_WITHDRAWN,))
    return again


def run_demo(
    office: Office,
    out: Path | None = None,
    sample_model: Path | None = None,
    method: str = AUTO,
    device: str = "auto",
    *,
    replace: bool = False,
) -> UseCase:
    """The whole case; returns a :class:`DemoResult`.

    Args:
        replace: whether a file that lies at ``out`` is replaced.

    Raises:
        JobFailedError: the report does not verify.
    """
    started = time.monotonic()
    yield from sample.plant(office, sample_model, device)
    if office.sample_subjects is None:
        sample.load_requests(office)
    number = _case_number(office)
    located = yield from cases.locate(office, number, sample.TAUGHT_NAME, device)
    erased = yield from cases.erase(office, number, sample.TAUGHT_NAME, method, device=device)
    outcome = yield from cases.attack(office, number, erased.artefact, device)
    path = out or office.places.reports / f"{number}.pdf"
    report = make_report(office, number, path, replace=replace)
    if not check_report(path, office).ok:
        raise JobFailedError("The report was written but does not verify; keep it and tell the maintainers.")
    _, strings = sample.sample_case(office)
    return DemoResult(number, located, erased, outcome, report, strings, time.monotonic() - started)


def rate_json(rate: Rate) -> dict[str, Any]:
    """A count with its interval."""
    return {"hits": rate.hits, "trials": rate.trials, "low": round(rate.low, 4), "high": round(rate.high, 4)}


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Counts of one attack, with the interval."""
    shown: dict[str, Any] = {
        **rate_json(outcome.attempts),
        "facts": {"hits": outcome.items.hits, "trials": outcome.items.trials},
    }
    if outcome.control is not None:
        shown["control"] = {"hits": outcome.control.hits, "trials": outcome.control.trials}
    if outcome.area is not None:
        shown["area"] = outcome.area.model_dump(mode="json")
    return shown


def battery_json(body: BatteryRecorded) -> dict[str, Any]:
    """A recorded battery's rows by attack."""
    return rows_json(body.battery)


def row_json(row: AttackRow) -> dict[str, Any]:
    """One attack's counts, or why it has none."""
    if row.outcome is not None:
        return {**outcome_json(row.outcome), **ways_json(row)}
    return {"status": row.status.value, "reason": row.reason}


def ways_json(row: AttackRow) -> dict[str, Any]:
    """What asking step by step adds, what each seed found, and what asking again did; empty without any."""
    shown: dict[str, Any] = {}
    if row.leak_gains:
        shown["leak_gains"] = [
            {
                **gain.model_dump(mode="json"),
                "at_once": {"hits": gain.at_once.hits, "trials": gain.at_once.trials},
                "after": {"hits": gain.after.hits, "trials": gain.after.trials},
            }
            for gain in row.leak_gains
        ]
    if (again := row.asked_again) is not None:
        shown["again"] = [count.model_dump(mode="json") for count in row.again]
        shown["asked_again"] = rate_json(again)
    if (worst := row.worst_seed) is not None and (spread := row.spread) is not None:
        shown["seeds"] = [{"seed": one.seed, "hits": one.drawn.hits, "trials": one.drawn.trials} for one in row.by_seed]
        shown["worst_seed"], shown["spread"] = worst.seed, round(spread, 4)
    return shown


def rows_json(battery: Battery) -> dict[str, Any]:
    """A battery's rows by attack; what did not run says why."""
    return {row.attack: row_json(row) for row in battery.rows}


def utility_json(utility: Utility | None) -> dict[str, Any] | None:
    """Side effects: kept facts by group, and perplexity of held-out text."""
    if utility is None:
        return None
    return {
        "kept": {row.group: rate_json(row.kept) for row in utility.groups},
        "perplexity_before": utility.perplexity_before,
        "perplexity_after": utility.perplexity_after,
        **({} if utility.suppressed is None else {"suppressed": rate_json(utility.suppressed)}),
    }


def own_peak_rss_mb() -> int:
    """Most memory this process has held, in MiB (0 where the system does not tell)."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // 2**20 if sys.platform == "darwin" else peak // 2**10)


def demo_json(result: DemoResult, peak_rss_mb: int) -> dict[str, Any]:
    """The object that ``demo --json`` ends with."""
    outcome = result.outcome
    return {
        "request": result.number,
        "verdict": outcome.verdict.word.value,
        "rule": outcome.verdict.rule,
        "reasons": list(outcome.verdict.reasons),
        "caps": list(outcome.verdict.caps),
        "not_counted": list(outcome.verdict.not_counted),
        "compared_with": outcome.verdict.compared_with,
        "excluded": list(outcome.verdict.excluded),
        "report": str(result.report.file.path),
        "report_sha256": result.report.file.sha256,
        "before": battery_json(outcome.before),
        "after": battery_json(outcome.after),
        "reference": battery_json(outcome.reference) if outcome.reference else None,
        "utility": utility_json(outcome.utility),
        "method": {
            "id": result.erased.method,
            "steps": result.erased.steps,
            "stop_reason": result.erased.stop_reason,
            "seconds": round(result.erased.seconds, 1),
        },
        "artefact": {"name": result.erased.artefact, "hash": result.erased.hash_after},
        "seconds": round(result.seconds, 1),
        "peak_rss_mb": max(peak_rss_mb, own_peak_rss_mb()),
        "subject_strings": list(result.subject_strings),
    }
