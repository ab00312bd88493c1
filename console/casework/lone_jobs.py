"""Jobs that belong to no case: run to their end, nothing written to the ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.jobs.events import Progress
from console.jobs.runner import JobRun
from console.jobs.spec import JobPayload, JobSpec

Say = Callable[[str], None]


def run_alone(spec: JobSpec, payload: JobPayload, say: Say) -> dict[str, Any]:
    """Run a job in a folder of its own, say how far it is, and return its result; needs no office and makes none.

    Raises:
        JobFailedError: the job failed, and whatever else its failure stands for (see :meth:`JobRun.result`).
    """
    with tempfile.TemporaryDirectory(prefix="erasure-console-") as folder:
        run = JobRun(spec, payload, Path(folder) / spec.job_id)
        run.start()
        try:
            for event in run.events():
                if isinstance(event, Progress):
                    say(f"{event.label} ({event.step} of {event.steps})")
        finally:
            run.close(timeout_s=0.0 if run.final is None else 10.0)
        return run.result()
