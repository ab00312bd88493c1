"""The pages: everything that the evidence holds is seen, nothing is cut, and same evidence gives same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pypdfium2
import pytest
from rendering import page_texts, render_pages
from sample_evidence import (
    ORGANISATION,
    digest,
    not_located,
    nothing_applicable,
    removed,
    rows_after,
    rows_before,
    sample,
    skipped,
)

from console.domain.results import Stage, Status
from console.reports.chart import chart_rows, charts
from console.reports.evidence import ChangedTensor, Evidence, StageRun
from console.reports.fonts import MONO, SANS, markup, plain
from console.reports.pdf import CLASSIFICATION, build_pdf
from console.reports.style import CONTENT_WIDTH, MARGIN, PAGE_WIDTH
from console.reports.wording import counts_in

CA = digest("ca")


def weak() -> Evidence:
    """Not powered before, not applicable after, one attack that only ran after, and a recipe for a method."""
    _, second, *rest = rows_before()
    direct = rows_before()[0].model_copy(update={"status": Status.NOT_POWERED, "reason": "It found too few facts."})
    after = (*rows_after()[:1], skipped("continuation", Status.NOT_APPLICABLE, "The engine gave no answer."))
    made = sample(before=(direct, second, *rest[:-1]), after=(*after, *rows_after()[2:]))
    assert made.method is not None
    stages = (
        StageRun(name="push", method="graddiff-kl", title="Push away", claim="removal intended", source="M"),
        StageRun(name="shake", method="weight-noise", title="Shake the weights", claim="removal intended", source=""),
    )
    return made.model_copy(update={"method": made.method.model_copy(update={"stages": stages})})


SAMPLES: list[Callable[[], Evidence]] = [sample, removed, not_located, nothing_applicable, weak]
PAGES: dict[str, bytes] = {}


def pages(make: Callable[[], Evidence]) -> bytes:
    """Each sample is laid out once."""
    if make.__name__ not in PAGES:
        PAGES[make.__name__] = build_pdf(make(), CA)
    return PAGES[make.__name__]


def squeezed(pdf: bytes) -> str:
    """All text without white space, and without the header and footer that part a text running over a page."""
    furniture = rf"Erasure report · \S+ Report \S+|{CLASSIFICATION}|Page \d+ of \d+"
    return re.sub(r"\s", "", "".join(re.sub(furniture, "", text) for text in page_texts(pdf)))


def strings(node: object) -> list[str]:
    """Every text and whole number in a record, the ones in the middle of a name included."""
    if isinstance(node, dict):
        return [found for value in node.values() for found in strings(value)]
    if isinstance(node, list | tuple):
        return [found for value in node for found in strings(value)]
    return [str(node)] if isinstance(node, str) else []


def test_same_evidence_same_bytes() -> None:
    assert build_pdf(sample(), CA) == pages(sample)
    assert build_pdf(sample(), digest("another authority")) != pages(sample)


@pytest.mark.parametrize("make", SAMPLES)
def test_every_page_says_what_it_is(make: Callable[[], Evidence]) -> None:
    texts = page_texts(pages(make))
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text
        assert CLASSIFICATION in text
        assert f"Report {make().report_id}" in text


@pytest.mark.parametrize("make", SAMPLES)
def test_every_count_is_on_the_pages(make: Callable[[], Evidence]) -> None:
    printed = counts_in(" ".join(page_texts(pages(make))))
    batteries = make().batteries
    for battery in (batteries.before, batteries.after, batteries.reference):
        for row in battery.rows if battery is not None else ():
            if row.outcome is not None:
                assert (row.outcome.attempts.hits, row.outcome.attempts.trials) in printed


# What the pages put into words of their own, or leave to the attached file.
NOT_PRINTED_AS_IS = {
    "schema_id", "created_at", "at", "received_on", "due", "due_extended", "binding_due", "family", "model_hash",
    "evidence", "word", "stage", "status", "kept_share", "attack", "id", "tensor",
    "sets",
}  # fmt: skip


@pytest.mark.parametrize("make", SAMPLES)
def test_no_text_of_the_evidence_is_lost(make: Callable[[], Evidence]) -> None:
    text = squeezed(pages(make))
    body = make().model_dump(mode="json", exclude_none=True)

    def without(node: object) -> object:
        if isinstance(node, dict):
            return {key: without(value) for key, value in node.items() if key not in NOT_PRINTED_AS_IS}
        return [without(item) for item in node] if isinstance(node, list) else node

    for wanted in strings(without(body)):
        printable = plain(re.sub(r"\s", "", wanted))
        assert printable in text, wanted[:80]


def test_behaviour_stands_before_and_after_with_counts_and_intervals() -> None:
    text = " ".join(page_texts(pages(sample)))
    section = text[text.index("What the model does Before After") :]
    assert "The person's facts: says something else (made up) 1 of 20 0.1 to 24.9 % 7 of 20 15.4 to 59.2 %" in section
    assert "Harmful requests: refuses 15 of 16" in section
    assert "Variety of the wording (n-gram entropy, bits) 3.9120 3.8475" in section
    assert "These measures are not part of the verdict." in section
    assert "must not be compared" not in section


def test_behaviour_that_was_measured_once_or_never_is_no_blank() -> None:
    once = " ".join(page_texts(pages(not_located)))
    assert "1 of 20 0.1 to 24.9 % not measured" in once
    never = not_located().model_copy(update={"behaviour_before": None})
    assert "What the model does" not in " ".join(page_texts(build_pdf(never, CA)))


def test_behaviour_of_other_questions_is_not_compared() -> None:
    base = sample()
    assert base.behaviour_after is not None
    other = base.behaviour_after.model_copy(update={"sets": digest("other sets"), "deletion": None, "repetition": None})
    text = " ".join(page_texts(build_pdf(base.model_copy(update={"behaviour_after": other}), CA)))
    assert "the columns must not be compared" in text
    assert "1 of 20 0.1 to 24.9 % no fact to ask for" in text
    assert "0.0210 not measured" in text


def test_no_change_of_a_weight_is_broken_over_two_lines() -> None:
    text = " ".join(page_texts(pages(sample)))
    assert "Tensor Change Rank Tensor Change Rank" in text
    run = sample().method
    assert run is not None
    for tensor in run.changed:
        rank = f"{tensor.effective_rank} " if tensor.effective_rank is not None else ""
        assert f" {tensor.tensor.removesuffix('.weight')} {tensor.relative_norm} {rank}" in text
    longest = ChangedTensor(
        tensor="model.layers.29.self_attn.q_proj.weight", relative_norm="12.3456", effective_rank="1536.0"
    )
    wide = run.model_copy(update={"changed": (longest, longest)})
    text = " ".join(page_texts(build_pdf(sample().model_copy(update={"method": wide}), CA)))
    assert " ".join(["model.layers.29.self_attn.q_proj 12.3456 1536.0"] * 2) in text


def test_changes_without_ranks_leave_the_column_empty() -> None:
    """Reports from before ranks were computed."""
    run = sample().method
    assert run is not None
    bare = run.model_copy(
        update={"changed": tuple(tensor.model_copy(update={"effective_rank": None}) for tensor in run.changed)}
    )
    text = " ".join(page_texts(build_pdf(sample().model_copy(update={"method": bare}), CA)))
    first = bare.changed[0]
    middle = bare.changed[(len(bare.changed) + 1) // 2]
    names = [tensor.tensor.removesuffix(".weight") for tensor in (first, middle)]
    assert f"{names[0]} {first.relative_norm} {names[1]} {middle.relative_norm} " in text


def test_names_keep_their_letters() -> None:
    assert re.sub(r"\s", "", ORGANISATION) in squeezed(pages(sample))
    assert "[U+6771][U+4EAC]" in squeezed(pages(nothing_applicable))
    assert "<b>&amp;</b>" in squeezed(pages(nothing_applicable))


@pytest.mark.parametrize("make", SAMPLES)
def test_nothing_leaves_the_margins(make: Callable[[], Evidence]) -> None:
    document = pypdfium2.PdfDocument(pages(make))
    for page in document:
        text = page.get_textpage()
        for index in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(index)
            if right > left:  # line ends have no box
                assert left >= MARGIN - 1.5, index
                assert right <= PAGE_WIDTH - MARGIN + 1.5, text.get_text_range(max(0, index - 30), 40)
                assert bottom > 30
                assert top < page.get_height() - 30


@pytest.mark.parametrize("make", SAMPLES)
def test_no_heading_stands_alone_at_the_foot(make: Callable[[], Evidence]) -> None:
    document = pypdfium2.PdfDocument(pages(make))
    headings = [item.get_title() for item in document.get_toc()]
    assert len(headings) == 16
    for text in page_texts(pages(make)):
        body = text.partition(CLASSIFICATION)[0].rstrip()
        assert not [heading for heading in headings if body.endswith(" ".join(heading.split()))]


def test_the_outline_leads_to_every_section() -> None:
    titles = [item.get_title() for item in pypdfium2.PdfDocument(pages(sample)).get_toc()]
    assert titles[0] == "1  Basis and scope"
    assert titles[-2] == "15  How to verify this report"


def test_the_first_page_has_the_answer_and_the_picture() -> None:
    first = page_texts(pages(sample))[0]
    for wanted in (
        "SUPPRESSED",
        "V2.5-deeper-attack-finds-it",
        sample().sentence,
        "Met. Answered in 22 days",
        "57 of 240",
    ):
        assert wanted in first
    assert "area under the curve (0.50 is guessing)" in first


def test_the_picture_has_ink() -> None:
    """The chart is drawn: its dark bars cover part of the lower half of the first page."""
    page = render_pages(pages(sample), scale=1)[0].convert("L")
    lower = page.crop((0, page.height // 2, page.width, page.height))
    dark = sum(lower.histogram()[:64])
    assert dark > lower.width * lower.height * 0.01


def test_the_picture_puts_the_worst_on_top_and_the_missing_last() -> None:
    extraction, membership = chart_rows(weak())
    assert extraction[0].title == "Reading hidden states through the output layer"
    assert [bar.stage for bar in membership[0].bars] == [Stage.AFTER, Stage.REFERENCE]  # it did not run before
    assert next(row for row in extraction if row.title == "Direct question").note.startswith("not powered")
    half = next(row for row in extraction if row.title == "Continuation of a passage")
    assert (half.note, half.greyed) == ("after: no result (reason in the table of attacks)", False)
    extraction, membership = chart_rows(nothing_applicable())
    assert all(row.note.startswith("not applicable") and not row.bars for row in extraction)
    _, membership = chart_rows(sample())
    assert [bar.stage for bar in membership[0].bars] == [Stage.BEFORE, Stage.AFTER, Stage.REFERENCE]
    assert membership[0].bars[0].label == "0.94 (60 / 60 texts)"


def test_many_attacks_make_many_pictures() -> None:
    extraction, _ = chart_rows(sample())
    drawings = charts(extraction * 4)
    assert len(drawings) == 3
    assert all(drawing.width == CONTENT_WIDTH for drawing in drawings)


def test_text_never_loses_a_character() -> None:
    assert plain("Žofie Řehořová ß ø Ελ Жук") == "Žofie Řehořová ß ø Ελ Жук"
    assert plain("a\x00b東") == "a[U+0000]b[U+6771]"
    assert markup("1 < 2 & 3\n≤", SANS) == f'1 &lt; 2 &amp; 3<br/><font name="{MONO}">≤</font>'
