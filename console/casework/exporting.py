"""Writing an erased model as the file that will be deployed.

The new file is a model of its own in the ledger: what is attacked, and what the report is about, must be the bytes that
the office will run, because converting and rounding can bring erased knowledge back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from console.casework.batteries import recorded, snapshot_of
from console.casework.knowledge import sample_knowledge
from console.casework.models import check_name, model_state, new_job_id, record_model, reference_to
from console.casework.office import Office
from console.casework.operation import Job, JobResult, UseCase
from console.casework.requests import forget_items, request_state
from console.domain.case_state import MODELS
from console.domain.engine_names import EngineName
from console.domain.events import ArtefactExported
from console.domain.exports import GATE_TEXTS, ExportForm, Gate
from console.domain.results import Stage
from console.domain.roles import Duty
from console.errors import InputError, NotPossibleError
from console.jobs.spec import JobKind, JobPayload, JobSpec

GGUF_FORMAT = "gguf"
_SHOWN = 400  # of the rewritten tensors, in the ledger; the count is of all


@dataclass(frozen=True)
class ExportResult:
    """A model in its new form.

    Attributes:
        name: of the new model.
        request: number of the case whose erasure made the source; None for a model that no erasure made.
        rewritten: the tensors that hold the change, as the ledger keeps them.
        untouched: tensors of the base that stand as they were, byte for byte.
        vanished: changed tensors whose change rounding took away whole.
    """

    name: str
    path: Path
    form: ExportForm
    base: str
    source: str
    request: str | None
    tree_hash: str
    rewritten: tuple[Mapping[str, str], ...]
    untouched: int
    vanished: int
    gate: Gate
    seconds: float


def gguf_base_of(office: Office, name: str) -> str:
    """The nearest GGUF model from which this one was made.

    Raises:
        NotPossibleError: there is none.
    """
    state: dict[str, Any] | None = model_state(office, name)
    first = name
    while state is not None:
        if state["name"] != first and state["identity"]["format"] == GGUF_FORMAT:
            return str(state["name"])
        parent = state["parent"]
        state = model_state(office, parent) if parent else None
    snapshot = snapshot_of(office, model_state(office, name))
    if snapshot and model_state(office, snapshot)["identity"]["format"] == GGUF_FORMAT:
        return snapshot
    raise NotPossibleError(
        f"The model '{name}' was not made from a GGUF model, so there is no file to write the change into; name one "
        "with --base, or deploy the safetensors folder as it is."
    )


def _new_name(office: Office, source: str, form: ExportForm) -> str:
    taken = office.ledger.projection(MODELS)
    stem = f"{source}-{'adapter' if form is ExportForm.ADAPTER else 'gguf'}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in taken and not (office.places.models / name).exists())


def _version() -> str:
    try:
        return version("erasure-console")
    except PackageNotFoundError:
        return ""


def export_model(
    office: Office,
    source: str,
    form: ExportForm,
    name: str | None = None,
    base: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> UseCase:
    """Write a model in another form and register the file; returns an :class:`ExportResult`.

    Args:
        name: of the new model; made from the source's where None.
        base: the GGUF model to write the change into; the nearest one that the source was made from where None.
        settings: see ``console.jobs.tasks.export.ExportConfig``.

    Raises:
        InputError: an unknown model or setting, a name that is taken.
        NotPossibleError: the source is already in this form, or was not made from a GGUF model.
        JobFailedError: the written file does not say what the model says.
    """
    office.require(Duty.RUN)
    state = model_state(office, source)
    source = state["name"]
    if form is ExportForm.SAFETENSORS or state["identity"]["format"] != ExportForm.SAFETENSORS:
        raise NotPossibleError(
            f"The model '{source}' is in the form '{state['identity']['format']}'; an erasure writes a safetensors "
            "folder, and that folder can be exported as gguf or gguf-adapter."
        )
    base = model_state(office, base)["name"] if base else gguf_base_of(office, source)
    if name is None:
        name = _new_name(office, source, form)
    check_name(office, name)
    number = state["artefact_of"]
    if number and (settings or {}).get("scale", 1) != 1:
        raise InputError(
            f"'{source}' is the erased model of {number}, and its change goes into an adapter as it is; leave 'scale' "
            "out."
        )
    spec = JobSpec(
        job_id=new_job_id(JobKind.EXPORT),
        kind=JobKind.EXPORT,
        model=reference_to(office, source),
        reference=reference_to(office, base),
        cache=str(office.places.cache),
        output=str(office.places.models / name),
        settings={
            **(settings or {}),
            "form": form.value,
            "file_name": name,
            "request": number or "",
            "version": _version(),
        },
        device=device,
    )
    if Path(spec.output or "").exists():
        raise InputError(f"There is already something at {spec.output}; choose another name.")
    office.places.models.mkdir(parents=True, exist_ok=True)
    payload = JobPayload(
        forget=forget_items(office, number) if number else (),
        general=sample_knowledge().general[:GATE_TEXTS],
    )
    result = yield Job(
        spec, payload, f"Writing the {form.label}", source, number, details={"form": form.value, "base": base}
    )
    return _record(office, state, name, base, spec, result)


def _record(
    office: Office, state: dict[str, Any], name: str, base: str, spec: JobSpec, result: JobResult
) -> ExportResult:
    value, source, number = result.value, state["name"], state["artefact_of"]
    form = ExportForm(value["form"])
    # The file stands in its source's place in the chain: the same erasure, in other bytes.
    parent = state["parent"] if number else source
    record_model(
        office,
        name,
        Path(value["path"]),
        value["identity"],
        artefact_of=number,
        parent=parent,
        base=base if form is ExportForm.ADAPTER else None,
    )
    gate = Gate.model_validate(value["gate"])
    body = ArtefactExported(
        job_id=spec.job_id,
        artefact=name,
        artefact_hash=value["identity"]["tree_hash"],
        source=source,
        source_hash=spec.model.tree_hash or "",
        base=base,
        base_hash=spec.reference.tree_hash or "" if spec.reference else "",
        form=form.value,
        rewritten=tuple(value["rewritten"][:_SHOWN]),
        rewritten_count=len(value["rewritten"]),
        untouched=value["untouched"],
        vanished=value["vanished"],
        gate=gate,
        seconds=f"{result.seconds:.1f}",
    )
    with office.ledger.transaction() as transaction:
        transaction.append(ArtefactExported.kind, body.to_body(), request_id=number, actor=office.require(Duty.RUN))
    return ExportResult(
        name=name,
        path=Path(value["path"]),
        form=form,
        base=base,
        source=source,
        request=number,
        tree_hash=value["identity"]["tree_hash"],
        rewritten=tuple(value["rewritten"]),
        untouched=value["untouched"],
        vanished=value["vanished"],
        gate=gate,
        seconds=result.seconds,
    )


@dataclass(frozen=True)
class ExportOutlook:
    """What a case's erased model can become, and whether it must become a file before it is attacked.

    Attributes:
        source: the newest erased model that is a safetensors folder; None where there is none.
        base: the GGUF model that its change would be written into; None where there is none.
        engine: what ran the search that the plan rests on, and therefore has to run the erased model; None where that
            is not known.
        is_due: the newest erased model is a folder, and that engine runs files only.
    """

    source: str | None = None
    base: str | None = None
    engine: EngineName | None = None
    is_due: bool = False


def export_outlook(office: Office, number: str) -> ExportOutlook:
    """Whether the erased model of a request can or must be written as a file.

    Raises:
        InputError: no such request.
    """
    request = request_state(office, number)
    runs = sorted(request["runs"], key=lambda name: request["runs"][name].get("exported", request["runs"][name]["seq"]))
    folders = [name for name in runs if model_state(office, name)["identity"]["format"] == ExportForm.SAFETENSORS]
    if not folders:
        return ExportOutlook()
    try:
        base = gguf_base_of(office, folders[-1])
    except NotPossibleError:
        base = None
    plan = request["plan"]
    before = recorded(office, number, Stage.BEFORE, plan["model"], plan["suite_hash"]) if plan else None
    engine = EngineName(before[1].settings.get("engine", EngineName.TRANSFORMERS)) if before else None
    is_due = folders[-1] == runs[-1] and engine is not None and engine.needs_file
    return ExportOutlook(folders[-1], base, engine, is_due)
