"""A case whose jobs are only written down: what a search, an erasure and an attack leave in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.casework import cases
from console.casework.batteries import digest
from console.casework.models import model_state, record_model
from console.casework.office import Office
from console.casework.requests import append_status, approve_plan
from console.domain.case_state import REQUESTS
from console.domain.events import (
    BatteryInterrupted,
    BatteryRecorded,
    ErasureRun,
    JobEnded,
    JobStarted,
    PlanFixed,
    VerdictReached,
)
from console.domain.request_terms import RequestStatus
from console.domain.requests import TransitionFacts, status_for_verdict
from console.domain.results import (
    Access,
    AreaUnderCurve,
    AttackRow,
    Battery,
    Evidence,
    Outcome,
    Rate,
    Stage,
    Utility,
)
from console.domain.verdict import Thresholds, Verdict, Word

S = RequestStatus
TITLES = {
    "direct": "Direct question",
    "head-projection": "Reading the hidden layers",
    "membership": "Membership inference",
    "paraphrase": "Rephrased questions",
    "quantise-4bit": "After coarse quantisation",
}
KINDS = {
    "direct": Evidence.ASKED,
    "head-projection": Evidence.INSIDE,
    "membership": Evidence.MEMBERSHIP,
    "paraphrase": Evidence.ELICITED,
    "quantise-4bit": Evidence.DISTURBED,
}
SHORT = ("direct", "paraphrase", "head-projection", "membership")
WHOLE = tuple(KINDS)


def row(attack: str, hits: int, trials: int = 30) -> AttackRow:
    """``hits`` of 30 attempts; where membership hits, its area stands well above guessing."""
    rate = Rate(hits=hits, trials=trials)
    outcome = Outcome(attempts=rate, items=Rate(hits=min(hits, 3), trials=3), control=Rate(hits=0, trials=trials))
    if attack == "membership":
        value, low, high = ("0.9800", "0.9300", "1.0000") if hits > trials / 2 else ("0.5000", "0.3000", "0.7000")
        area = AreaUnderCurve(value=value, low=low, high=high, members=trials, non_members=40)
        outcome = Outcome(attempts=rate, items=outcome.items, area=area)
    return AttackRow(attack=attack, evidence=KINDS[attack], access=Access.BLACK_BOX, budget=1, outcome=outcome)


@dataclass
class Case:
    """One request over an office whose jobs are only written down."""

    office: Office
    number: str
    folder: Path
    model: str = "assistant"

    def register_model(self, name: str, mark: str, **more: Any) -> str:
        identity = {
            "format": "safetensors",
            "architecture": "LlamaForCausalLM",
            "quantisation": "F32",
            "parameters": 1_000_000,
            "tree_hash": mark * 64,
            "files": [],
        }
        record_model(self.office, name, self.folder, identity, **more)
        return name

    def _append(self, body: Any) -> int:
        with self.office.ledger.transaction() as transaction:
            actor = self.office.actor.id
            return transaction.append(type(body).kind, body.to_body(), request_id=self.number, actor=actor).seq

    def move(self, *to: RequestStatus, **facts: Any) -> None:
        with self.office.ledger.transaction() as transaction:
            for status in to:
                state = transaction.projected(REQUESTS, self.number)
                assert state is not None
                append_status(transaction, state, status, TransitionFacts(**facts), self.office.actor.id)

    def searched(
        self, hits: dict[str, int], suite: Iterable[str] = SHORT, stage: Stage = Stage.BEFORE, number: int = 1
    ) -> int:
        """A whole battery; attacks that are not named found nothing. Returns its place in the ledger."""
        model = self.model if stage is Stage.BEFORE else f"{self.number}-a{number}"
        suite = tuple(suite)
        battery = Battery(
            stage=stage,
            model_hash=model_state(self.office, model)["identity"]["tree_hash"],
            suite_hash=digest(list(suite)),
            rows=tuple(row(attack, hits.get(attack, 0)) for attack in suite),
        )
        attacks = tuple(
            {"id": id, "title": TITLES[id], "access": "black-box", "budget": 1, "definition": "", "evidence": KINDS[id]}
            for id in suite
        )
        return self._append(
            BatteryRecorded(job_id="attack-1", model=model, battery=battery, attempts="v", attacks=attacks)
        )

    def begin_search(self) -> None:
        self._append(JobStarted(job_id="attack-1", job="attack", model=self.model, details={}))

    def stop_search(self, finished: tuple[str, ...], suite_hash: str = "5" * 64) -> None:
        self._append(JobEnded(job_id="attack-1", outcome="cancelled", reason="Stopped by the person at the desk."))
        if finished:
            self._append(
                BatteryInterrupted(
                    stage="before",
                    model=self.model,
                    model_hash="a" * 64,
                    suite_hash=suite_hash,
                    finished=finished,
                    results="v",
                )
            )

    def erased(
        self, suite: Iterable[str] = SHORT, seconds: str = "42.0", number: int = 1, stages: tuple[str, ...] = ()
    ) -> str:
        """Plan, approve and run; returns the artefact.

        Args:
            number: of the run.
            stages: titles of a recipe's stages.
        """
        self.move(S.PLANNED)
        self._append(
            PlanFixed(
                method="ce-u",
                config={},
                model=self.model,
                model_hash="a" * 64,
                suite_hash=digest(list(suite)),
                thresholds=Thresholds(),
                thresholds_hash=digest(Thresholds().model_dump(mode="json")),
            )
        )
        with self.office.ledger.transaction() as transaction:
            state = transaction.projected(REQUESTS, self.number)
            assert state is not None
            approve_plan(transaction, self.office, state, cases.NOBODY_NAMED)
        self.move(S.RUNNING)
        name = self.register_model(f"{self.number}-a{number}", "d", artefact_of=self.number, parent=self.model)
        method: dict[str, Any] = {"id": "ce-u", "claim": "removed"}
        if stages:
            told = [{"name": f"stage-{place}", "title": title} for place, title in enumerate(stages, start=1)]
            method = {"id": "ours", "title": "Our way", "claim": "removed", "stages": told}
        self._append(
            ErasureRun(
                job_id="erase-1",
                artefact=name,
                artefact_hash="d" * 64,
                method=method,
                config={},
                modules=(),
                steps=3,
                stop_reason="done",
                metrics={},
                changed=(),
                changed_count=1,
                device="cpu",
                seconds=seconds,
                notes=(),
            )
        )
        self.move(S.VERIFYING)
        return name

    def judged(
        self,
        word: Word,
        before: int,
        after: int,
        rule: str = "V2.7-at-reference-level",
        number: int = 1,
        utility: Utility | None = None,
    ) -> None:
        verdict = Verdict(word=word, rule=rule, reasons=("No attack that was run finds the data any more.",))
        self._append(
            VerdictReached(
                artefact=f"{self.number}-a{number}",
                verdict=verdict,
                thresholds_hash="0" * 64,
                utility=utility,
                before_seq=before,
                after_seq=after,
                reference_seq=None,
            )
        )
        self.move(status_for_verdict(word), verdict=word)

    def reported(self) -> None:
        self.move(S.REPORT_DRAFT, S.REPORT_SIGNED)
