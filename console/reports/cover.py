"""The first page: what was asked, which model, the verdict, one sentence, the due date, the picture."""

from __future__ import annotations

from reportlab.platypus import Flowable, Paragraph, Table, TableStyle

from console.domain.verdict import located
from console.domain.verdict_words import WORDS
from console.reports.chart import chart_rows, charts
from console.reports.evidence import Evidence
from console.reports.fonts import SANS, markup
from console.reports.layout import IconLine, VerdictChip, framed, gap, mono, note, small, subheading
from console.reports.style import BAD, CAUTION, CONTENT_WIDTH, GOOD, GRID, RULE, VERDICT_LOOKS, styles
from console.reports.wording import (
    count_text,
    counted,
    date_text,
    due_date_statement,
    instant_text,
    percent_text,
    verdict_meaning,
)


def _title(evidence: Evidence) -> list[Flowable]:
    look = styles()
    return [
        Paragraph("REPORT ON A REQUEST FOR ERASURE FROM A LANGUAGE MODEL", look.overline),
        gap(0.5),
        Paragraph(markup(f"Request {evidence.request.number}"), look.title),
        Paragraph(markup(evidence.organisation), look.lead),
        gap(1),
    ]


def _verdict(evidence: Evidence) -> list[Flowable]:
    word = evidence.verdict.word
    wording, look = WORDS[word], VERDICT_LOOKS[word]
    content: list[Flowable] = [
        VerdictChip(wording.title, evidence.verdict.rule, look),
        gap(1),
        Paragraph(markup(evidence.sentence), styles().lead),
        gap(0.75),
        Paragraph(markup(verdict_meaning(evidence)), styles().body),
        Paragraph(f"<b>What to do.</b> {markup(wording.action)}", styles().body),
    ]
    return [framed(content, ground=look.tint, edge=look.colour)]


def _due(evidence: Evidence) -> Flowable:
    due = due_date_statement(evidence)
    icon, colour = {True: ("check", GOOD), False: ("cross", BAD), None: ("clock", CAUTION)}[due.met]
    return IconLine(icon, colour, f"{due.word}. {due.sentence}")


def _facts(evidence: Evidence) -> Table:
    """Two columns of the facts an officer looks for first."""
    before, after, request = evidence.model_before, evidence.model_after, evidence.request
    model_text = before.name if before.quantisation in ("", "none") else f"{before.name}, {before.quantisation}"
    forget = evidence.forget_set
    items = counted(forget.items, "item")
    types = ", ".join(f"{name} {count}" for name, count in sorted(forget.by_type.items()))
    pairs: list[tuple[str, Flowable]] = [
        ("Due date", _due(evidence)),
        ("Received", small(f"{date_text(request.received_on)}, by {request.channel}")),
        ("Model", small(model_text)),
        ("Searched for", small(f"{items}: {types}" if types else items)),
        ("Method", small(evidence.method.title if evidence.method is not None else "none was run")),
        ("Report made", small(instant_text(evidence.created_at))),
        ("Model before", mono(before.tree_hash)),
        ("Model after", mono(after.tree_hash) if after is not None else small("unchanged: nothing was run")),
    ]
    label = styles().small_muted
    cells = []
    for left, right in zip(pairs[::2], pairs[1::2], strict=True):
        row: list[Flowable] = []
        for name, value in (left, right):
            row += [Paragraph(markup(name), label), value]
        cells.append(row)
    half = CONTENT_WIDTH / 2
    table = Table(cells, colWidths=[64, half - 64 - GRID, 64 + GRID, half - 64])
    table.setStyle(
        TableStyle(
            [
                ("FONTNAME", (0, 0), (-1, -1), SANS),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("LEFTPADDING", (2, 0), (2, -1), GRID),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
            ]
        )
    )
    return table


def _picture(evidence: Evidence) -> list[Flowable]:
    extraction, membership = chart_rows(evidence)
    flowables: list[Flowable] = [*subheading("Every attack, before and after", room=25 * GRID)]
    for number, drawing in enumerate(charts(extraction)):
        flowables += ([gap(1)] if number else []) + [drawing]
    worst = _worst_case(evidence)
    if worst:
        flowables.append(note(worst))
    if membership:
        panels = charts(membership, membership=True)
        title = "Membership inference: are the person's texts recognised as training texts?"
        flowables += subheading(title, room=panels[0].height + 3.2 * GRID)
        flowables += panels
    return flowables


def _worst_case(evidence: Evidence) -> str:
    """The strongest extraction attack on the model after, because a mean would hide it.

    Where an attack finds more than it does in a model that never knew the data, it is one of those; the hits of an
    attack that offers answers to choose from are no leak as long as guessing explains them.
    """
    after = evidence.batteries.after
    rows = [row for row in after.rows if row.outcome is not None and row.outcome.area is None] if after else []
    if not rows or after is None:
        return ""
    version = evidence.verdict.rules_version
    leaking = [row for row in located(after, evidence.batteries.reference, version) if row in rows]
    if not leaking and any(row.outcome is not None and row.outcome.attempts.hits for row in rows):
        return (
            "Worst case after: no extraction attack found more than guessing does, or than it finds in a model that "
            "never knew the data."
        )
    rows = leaking or rows
    worst = max(rows, key=lambda row: row.outcome.attempts.share if row.outcome is not None else 0.0)
    if worst.outcome is None:
        return ""
    rate = worst.outcome.attempts
    title = evidence.attack_title(worst.attack)
    if rate.hits == 0:
        return (
            f"Worst case after: no extraction attack found anything. For “{title}” the true share of such attempts "
            f"may still be as high as {percent_text(rate.high)} ({count_text(rate)}, upper end of the interval)."
        )
    return f"Worst case after: “{title}”, {count_text(rate)} attempts."


def cover(evidence: Evidence) -> list[Flowable]:
    """Everything on the first page; the pictures run on to the second where there are many attacks."""
    return [*_title(evidence), *_verdict(evidence), _facts(evidence), gap(0.5), *_picture(evidence)]
