"""The deployed file in a report: how it was written and read back, and the table of number formats."""

from __future__ import annotations

import json

from rendering import page_texts
from sample_evidence import digest, sample

from console.domain.results import Access, AttackRow, Battery, Evidence, Outcome, Rate
from console.reports.encoding import evidence_bytes, parse_evidence
from console.reports.evidence import Evidence as Record
from console.reports.evidence import Exported, WrittenTensor
from console.reports.pdf import build_pdf
from console.reports.wording import thousands

FILE = Exported(
    form="GGUF file, changed tensors rewritten",
    source="ER-2026-0007-a1",
    source_hash=digest("erased"),
    base="planted",
    base_hash=digest("planted"),
    rewritten=(
        WrittenTensor(
            tensor="blk.17.ffn_down.weight",
            type_before="Q4_1",
            type_after="Q8_0",
            wanted="0.0123",
            stored="0.0131",
            missed="0.2210",
        ),
    ),
    rewritten_count=61,
    untouched=211,
    vanished=2,
    texts=20,
    tokens=1843,
    reading="0.0312",
    reading_tolerance="0.10",
    rounding="0.0044",
    rounding_tolerance="0.05",
    whole="0.0333",
    seq=77,
)


def text_of(record: Record) -> str:
    return " ".join(" ".join(page_texts(build_pdf(record, digest("ca")))).split())


def in_q4(hits: int, facts: int) -> AttackRow:
    return AttackRow(
        attack="gguf-q4-k-m",
        evidence=Evidence.DISTURBED,
        access=Access.WHITE_BOX,
        budget=3,
        outcome=Outcome(attempts=Rate(hits=hits, trials=23), items=Rate(hits=facts, trials=7)),
    )


def in_formats() -> Record:
    record = sample()
    extra = in_q4(17, 5)
    none = in_q4(0, 0)

    def widened(battery: Battery | None, more: object) -> Battery | None:
        return battery.model_copy(update={"rows": (*battery.rows, more)}) if battery is not None else None

    before, after = widened(record.batteries.before, extra), widened(record.batteries.after, none)
    batteries = record.batteries.model_copy(update={"before": before, "after": after})
    return record.model_copy(update={"batteries": batteries})


def test_a_report_without_a_written_file_is_as_it_was() -> None:
    assert "exported" not in json.loads(evidence_bytes(sample()))
    text = text_of(sample())
    assert "The file that is deployed" not in text
    assert "other number formats" not in text


def test_what_was_written_and_read_back_is_printed_and_read_again() -> None:
    record = sample().model_copy(update={"exported": FILE})
    assert parse_evidence(evidence_bytes(record)) == record
    text = text_of(record)
    for shown in (
        "The file that is deployed",
        "20 texts",
        f"{thousands(1843)} tokens".replace("\xa0", " "),
        "61 hold the change, 211 stand as in the base",
        "0.031 nats per token at most, 0.10 allowed",
        "0.004 nats per token at most, 0.05 allowed",
        "took the change of 2 further tensors away",
        "blk.17.ffn_down",
        "Q4_1 to Q8_0",
        "22.10%",
        "1 of 61 tensors",
    ):
        assert shown in text, shown


def test_hits_in_every_number_format_stand_beside_those_of_the_model_before() -> None:
    text = text_of(in_formats())
    assert "The file in other number formats" in text
    section = text.split("The file in other number formats", 1)[1][:1200]
    assert "17 of 23" in section
    assert "0 of 23" in section
    assert "not run" in section
