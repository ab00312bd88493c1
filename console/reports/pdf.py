"""The base PDF: the evidence laid out on A4 pages, deterministic to the byte.

Same evidence and same certificate authority, same bytes: no clock, no random identifiers. What is
not in the evidence is not in the report; the one exception is the fingerprint of the certificate
authority that will sign, which the reader needs to check the signature.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate

from console.reports.cover import cover
from console.reports.evidence import Evidence
from console.reports.fonts import SANS, plain, register_fonts
from console.reports.layout import SectionHeading
from console.reports.sections_case import basis, clock, models, not_checked
from console.reports.sections_file import deployed, number_formats
from console.reports.sections_proof import attacks, decision, earlier, finding, method, utility
from console.reports.sections_record import (
    approvals,
    environment,
    evidence_index,
    how_to_verify,
    ledger_anchor,
    limits,
    suppression_and_removal,
)
from console.reports.style import (
    ACCENT,
    CONTENT_WIDTH,
    MARGIN,
    MARGIN_BOTTOM,
    MARGIN_TOP,
    MUTED,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    RULE,
)

CLASSIFICATION = "Confidential – contains no personal data of the requester"
LANGUAGE = "en-GB"


def report_title(evidence: Evidence) -> str:
    """The document's title; it names the report, never a person."""
    return f"Erasure report {evidence.report_id}"


class _ReportDocument(BaseDocTemplate):
    """Pages with header, footer and outline; ``page_total`` is known from a first pass."""

    def __init__(self, target: io.BytesIO, evidence: Evidence, page_total: int) -> None:
        super().__init__(
            target,
            pagesize=(PAGE_WIDTH, PAGE_HEIGHT),
            title=report_title(evidence),
            author=evidence.organisation,
            subject="Evidence of an erasure from a language model",
            creator="Erasure Console",
            lang=LANGUAGE,
            invariant=1,
            pageCompression=1,
            initialFontName=SANS,
        )
        self._evidence = evidence
        self._page_total = page_total
        frame = Frame(
            MARGIN, MARGIN_BOTTOM, CONTENT_WIDTH, PAGE_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM,
            leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
        )  # fmt: skip
        self.addPageTemplates(PageTemplate(id="page", frames=[frame], onPage=self._furniture))

    def _furniture(self, canvas: Canvas, _document: BaseDocTemplate) -> None:
        right, top, bottom = PAGE_WIDTH - MARGIN, PAGE_HEIGHT - 44, 40
        canvas.saveState()
        canvas.setFont(SANS, 7.5)
        canvas.setFillColor(MUTED)
        canvas.drawString(MARGIN, top, f"Erasure report · {plain(self._evidence.request.number)}")
        canvas.drawRightString(right, top, f"Report {plain(self._evidence.report_id)}")
        canvas.setStrokeColor(ACCENT)
        canvas.setLineWidth(0.8)
        canvas.line(MARGIN, top - 8, right, top - 8)
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.5)
        canvas.line(MARGIN, bottom + 12, right, bottom + 12)
        canvas.drawString(MARGIN, bottom, CLASSIFICATION)
        canvas.drawRightString(right, bottom, f"Page {self.page} of {self._page_total}")
        canvas.restoreState()

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 - reportlab's hook
        """Each section heading becomes an entry of the outline."""
        if isinstance(flowable, SectionHeading):
            key = f"section-{flowable.number}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.numbered_title, key, level=0)


_SECTIONS: tuple[Callable[[Evidence], list[Flowable]], ...] = (
    basis,
    clock,
    models,
    finding,
    method,
    deployed,
    attacks,
    number_formats,
    utility,
    earlier,
    decision,
    suppression_and_removal,
    limits,
    not_checked,
    approvals,
    evidence_index,
    ledger_anchor,
)


def _story(evidence: Evidence, ca_fingerprint: str) -> list[Flowable]:
    story = cover(evidence)
    for section in _SECTIONS:
        story += section(evidence)
    story += how_to_verify(evidence, ca_fingerprint)
    story += environment(evidence)
    headings = (flowable for flowable in story if isinstance(flowable, SectionHeading))
    for number, section_heading in enumerate(headings, start=1):
        section_heading.number = number
    return story


def _render(evidence: Evidence, ca_fingerprint: str, page_total: int) -> tuple[bytes, int]:
    target = io.BytesIO()
    document = _ReportDocument(target, evidence, page_total)
    document.build(_story(evidence, ca_fingerprint))
    return target.getvalue(), document.page


def build_pdf(evidence: Evidence, ca_fingerprint: str) -> bytes:
    """The report's pages, unsigned, without the attachment and not yet PDF/A.

    Args:
        ca_fingerprint: SHA-256 of the certificate authority that will sign, as printed for recipients.
    """
    register_fonts()
    _, page_total = _render(evidence, ca_fingerprint, 0)
    pages, _ = _render(evidence, ca_fingerprint, page_total)
    return pages
