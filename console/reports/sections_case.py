"""Sections on the request: basis, clock, timeline, and which models were examined."""

from __future__ import annotations

from reportlab.platypus import Flowable

from console.reports.evidence import Evidence, ModelIdentity
from console.reports.layout import (
    bullets,
    data_table,
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
from console.reports.wording import date_text, due_date_statement, instant_text, size_text, thousands


def basis(evidence: Evidence) -> list[Flowable]:
    """Grounds, scope and the state of the request."""
    request, forget = evidence.request, evidence.forget_set
    place = request.country if request.subdivision is None else f"{request.country}, {request.subdivision}"
    types = ", ".join(f"{name} {count}" for name, count in sorted(forget.by_type.items()))
    flowables: list[Flowable] = [
        *heading("Basis and scope"),
        key_values(
            [
                ("Report", evidence.report_id),
                ("Request", request.number),
                ("Controller", evidence.organisation),
                (
                    "Requester",
                    f"{request.subject_ref} (a reference; this report holds no personal data of the requester)",
                ),
                ("Received", f"{date_text(request.received_on)}, by {request.channel}"),
                ("Law", f"{request.profile_title} ({request.profile_id}), {place}"),
                ("Status", request.status),
                ("Searched for", f"{forget.items} items" + (f": {types}" if types else "")),
                ("Commitment to the items", mono(forget.commitment)),
            ]
        ),
        *subheading("Grounds"),
    ]
    if request.grounds:
        flowables.append(
            data_table(["Ground", "Reason given"], [[ground.code, ground.text] for ground in request.grounds], [1, 5])
        )
    else:
        flowables.append(text("No ground is recorded."))
    return flowables


def clock(evidence: Evidence) -> list[Flowable]:
    """The due date with every step that led to it, and the case's entries in the ledger."""
    limits, due = evidence.clock, due_date_statement(evidence)
    extended = date_text(limits.due_extended) if limits.due_extended is not None else "no extension"
    flowables: list[Flowable] = [
        *heading("Clock and timeline"),
        key_values(
            [
                ("Result", small(f"{due.word}. {due.sentence}", bold=True)),
                ("Due", date_text(limits.due)),
                ("Extended to", extended),
                ("Date that binds", date_text(limits.binding_due)),
                ("Rule", limits.rule),
                ("Calendar", limits.calendar),
                *([("Another date", limits.other_date)] if limits.other_date else []),
            ]
        ),
    ]
    if limits.steps:
        flowables += [*subheading("How the date was reached"), numbered([text(step) for step in limits.steps])]
    flowables += [*subheading("Timeline"), _timeline(evidence)]
    return flowables


def _timeline(evidence: Evidence) -> Flowable:
    if not evidence.timeline:
        return text("The ledger holds no entry for this case yet.")
    rows = [
        [
            small(str(entry.seq)),
            small(instant_text(entry.at)),
            small(entry.what),
            small(entry.actor),
            hash_lines(entry.hash),
        ]
        for entry in evidence.timeline
    ]
    return data_table(["Entry", "When", "What happened", "Who", "Hash of the entry"], rows, [36, 78, 112, 96, 161])


def _model(title: str, model: ModelIdentity) -> list[Flowable]:
    quantisation = model.quantisation or "none"
    rows = [[mono(file.name), small(size_text(file.size)), hash_lines(file.sha256)] for file in model.files]
    return [
        *subheading(title, room=160),
        key_values(
            [
                ("Name", f"{model.name} ({model.model_id})"),
                ("Architecture", f"{model.architecture}, {thousands(model.parameters)} parameters"),
                ("Format", f"{model.format}; quantisation: {quantisation}"),
                ("Hash of all files", mono(model.tree_hash)),
            ]
        ),
        data_table(["File", "Size", "SHA-256"], rows, [22, 8, 20]),
    ]


def models(evidence: Evidence) -> list[Flowable]:
    """Each model by the hash of every file, so that nobody can take one for another."""
    flowables: list[Flowable] = [*heading("Models, identified by their files", room=200)]
    flowables += _model("Model before", evidence.model_before)
    if evidence.model_after is not None:
        flowables += _model("Model after", evidence.model_after)
    else:
        flowables += [*subheading("Model after"), text("No method was run, so there is no other model.")]
    if evidence.model_reference is not None:
        flowables += _model("Reference: a model that never knew the data", evidence.model_reference)
    else:
        flowables += [
            *subheading("Reference"),
            text("There was no model that never knew the data, so nothing could be compared with one."),
        ]
    flowables.append(
        note(
            "The hash of all files is the SHA-256 over the sorted list of file name, size and SHA-256 of each file. "
            "A model with another hash is another model, and this report says nothing about it."
        )
    )
    return flowables


def not_checked(evidence: Evidence) -> list[Flowable]:
    """What nobody looked at; a report without such a list cannot be made."""
    return [*heading("What was not checked"), bullets(evidence.not_checked)]
