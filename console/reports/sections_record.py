"""Sections on the record: what stays where, limits, approvals, the evidence, the ledger, how to check it all."""

from __future__ import annotations

from collections.abc import Sequence

from reportlab.platypus import Flowable, Paragraph

from console.domain.verdict_words import WORDS
from console.reports.encoding import EVIDENCE_NAME, evidence_bytes, evidence_sha256
from console.reports.evidence import SCHEMA_ID, Evidence, Statement
from console.reports.fonts import MONO, markup
from console.reports.layout import (
    bullets,
    data_table,
    framed,
    gap,
    hash_lines,
    heading,
    key_values,
    mono,
    note,
    numbered,
    small,
    subheading,
    text,
)
from console.reports.style import styles
from console.reports.wording import counted, instant_text, size_text


def suppression_and_removal(evidence: Evidence) -> list[Flowable]:
    """One line for each place in which the data may sit: removal and suppression are different things."""
    model = evidence.model_after if evidence.model_after is not None else evidence.model_before
    state, meaning = WORDS[evidence.verdict.word].in_weights
    if evidence.method is not None and evidence.method.family == "decoding":
        meaning = f"{meaning} The weights are unchanged; a filter acts on the output."
    rows: list[list[Flowable | str]] = [
        [small(f"Model weights: {model.name}", bold=True), small(state, bold=True), small(meaning)]
    ]
    if evidence.model_after is not None:
        rows.append(
            [
                "Model before, and every copy of it",
                "retained or unknown",
                "Holds the data as it was. Its files are named in this report.",
            ]
        )
    rows += [[copy.place, copy.state, copy.note] for copy in evidence.copies]
    flowables: list[Flowable] = [
        *heading("Suppression and removal"),
        text(
            "Removal means that the data is no more in a place than in one that never held it. Suppression means that "
            "it does not come out when asked in the ordinary way, and may still be there."
        ),
        data_table(["Place", "State", "What that means"], rows, [5, 3, 7]),
    ]
    if not evidence.copies:
        flowables.append(note("No other copies are recorded in this case; see “What was not checked”."))
    return flowables


def _statements(statements: Sequence[Statement]) -> Flowable:
    return data_table(["No.", "Statement"], [[mono(item.id), small(item.text)] for item in statements], [1, 7])


def limits(evidence: Evidence) -> list[Flowable]:
    """Fixed sentences, each with an id."""
    flowables: list[Flowable] = [*heading("Limits")]
    if evidence.limits.shows:
        flowables += [*subheading("What this report shows"), _statements(evidence.limits.shows)]
    return [*flowables, *subheading("What this report does not show"), _statements(evidence.limits.does_not_show)]


def approvals(evidence: Evidence) -> list[Flowable]:
    """Who stood up for what. The electronic signatures are invisible on the page."""
    flowables: list[Flowable] = [*heading("Approvals")]
    if evidence.approvals:
        rows = [
            [small(item.role, bold=True), item.actor, instant_text(item.at), item.statement]
            for item in evidence.approvals
        ]
        flowables.append(data_table(["Role", "Who", "When", "Statement"], rows, [3, 4, 4, 7]))
    else:
        flowables.append(text("No approval was recorded before this report was made."))
    flowables.append(
        note(
            "The file carries two signature fields, “Prepared” and “Approved”. Signatures do not show on the page; "
            "open the signature panel of the PDF reader, or verify the file as described at the end. Signing times "
            "are those of the signer's own clock."
        )
    )
    return flowables


def evidence_index(evidence: Evidence) -> list[Flowable]:
    """The files behind the report, by hash."""
    size = size_text(len(evidence_bytes(evidence)))
    rows: list[list[Flowable | str]] = [
        [
            small(EVIDENCE_NAME, bold=True),
            f"attached to this PDF; {SCHEMA_ID}; {size}",
            hash_lines(evidence_sha256(evidence)),
        ]
    ]
    named = (
        ("before", evidence.model_before),
        ("after", evidence.model_after),
        ("reference", evidence.model_reference),
    )
    rows += [
        [f"Model {stage}", f"{counted(len(model.files), 'file')}, kept by the controller", hash_lines(model.tree_hash)]
        for stage, model in named
        if model is not None
    ]
    batteries = evidence.batteries
    rows.append(
        ["Suite of attacks", "prompts and seeds, kept by the controller", hash_lines(batteries.before.suite_hash)]
    )
    where = "in the evidence file" + ("" if evidence.thresholds_seq is None else " and in the ledger")
    rows.append(["Thresholds", where, hash_lines(evidence.thresholds_hash)])
    return [*heading("Evidence index"), data_table(["What", "Where", "SHA-256"], rows, [5, 7, 6])]


def ledger_anchor(evidence: Evidence) -> list[Flowable]:
    """Where the ledger stood: with this, an old report exposes a ledger that was rewritten later."""
    anchor = evidence.ledger
    pairs = [("Ledger", anchor.origin), ("Entries", str(anchor.size)), ("Head", mono(anchor.head))]
    flowables: list[Flowable] = [*heading("Ledger anchor"), key_values(pairs)]
    if anchor.checkpoint is None:
        flowables.append(text("No signed checkpoint was available when this report was made."))
    else:
        checkpoint = Paragraph(markup(anchor.checkpoint.rstrip("\n"), MONO), styles().quote)
        flowables += [*subheading("Signed checkpoint"), framed([checkpoint])]
    if anchor.inclusion is not None:
        proof = anchor.inclusion
        flowables += [
            *subheading("Inclusion proof"),
            text(
                f"Entry with index {proof.index} in a tree of {proof.size} entries; hashes from the leaf to the root:"
            ),
            *[mono(step) for step in proof.path],
        ]
    return flowables


def how_to_verify(evidence: Evidence, ca_fingerprint: str) -> list[Flowable]:
    """Six steps for somebody who has never verified a PDF, and what none of them can tell."""
    command = Paragraph(f'<font name="{MONO}">erasure-console verify FILE</font>', styles().body)
    steps: list[Flowable | list[Flowable]] = [
        text("Save the PDF as you received it. Printing it, or saving it from a viewer, breaks the signature."),
        text("Open it in a PDF reader that checks signatures, and open the signature panel."),
        text(
            "The reader should say that the document has not been changed since it was signed. It may call the signer "
            "“unknown”: the certificate was issued by the controller's own console, not by a public authority."
        ),
        [
            text(
                "Compare the fingerprint (SHA-256) of the issuing certificate with this one, and ask the controller by "
                "another way, such as by telephone, to read it out to you:"
            ),
            mono(ca_fingerprint),
            gap(0.75),
        ],
        [
            text(
                "For the full check, run this command of the console. It also reaches the verdict anew from the counts:"
            ),
            command,
        ],
        [
            text(f"Open the attached file {EVIDENCE_NAME}: every number of this report stands in it. Its SHA-256 is:"),
            mono(evidence_sha256(evidence)),
            gap(0.75),
        ],
    ]
    return [
        *heading("How to verify this report", room=220),
        numbered(steps),
        *subheading("What verification cannot tell"),
        bullets(
            [
                "Whether the signer's clock was right. No independent service confirmed the time.",
                "Whether the decision was right. A valid signature shows who stands up for the report.",
                "Whether a model in service is the one examined. Compare the hashes of its files with the ones above.",
            ]
        ),
    ]


def environment(evidence: Evidence) -> list[Flowable]:
    """Versions and machine, for whoever repeats the run."""
    rows = [[mono(name), mono(value)] for name, value in sorted(evidence.environment.items())]
    if not rows:
        return [*heading("Environment"), text("No environment was recorded.")]
    return [*heading("Environment"), data_table(["Part", "Version"], rows, [2, 3])]
