"""Earlier requests in a report: shown where they were searched for again, and no trace of them elsewhere."""

from __future__ import annotations

import json

from rendering import page_texts
from sample_evidence import digest, sample

from console.domain.results import Rate
from console.reports.encoding import evidence_bytes, parse_evidence
from console.reports.evidence import EarlierCount, EarlierRequest, Evidence
from console.reports.pdf import build_pdf

COUNTS = (
    EarlierCount(attack="direct", then=Rate(hits=0, trials=37), now=Rate(hits=3, trials=41)),
    EarlierCount(attack="head-projection", then=None, now=Rate(hits=1, trials=13)),
)


def rechecked() -> Evidence:
    earlier = EarlierRequest(number="ER-2026-0007", standing="came back", seq=91, counts=COUNTS)
    return sample().model_copy(update={"earlier_requests": (earlier,)})


def text_of(evidence: Evidence) -> str:
    return " ".join(" ".join(page_texts(build_pdf(evidence, digest("ca")))).split())


def test_a_report_without_earlier_requests_is_as_it_was() -> None:
    assert "earlier_requests" not in json.loads(evidence_bytes(sample()))
    assert "Earlier requests" not in text_of(sample())


def test_counts_then_and_now_are_printed_and_read_again() -> None:
    data = evidence_bytes(rechecked())
    assert parse_evidence(data) == rechecked()
    (written,) = json.loads(data)["earlier_requests"]
    assert set(written["counts"][0]["now"]) == {"hits", "trials", "low", "high"}
    text = text_of(rechecked())
    for shown in ("Earlier requests", "ER-2026-0007", "came back", "0 of 37", "3 of 41", "1 of 13", "not run"):
        assert shown in text
