"""Models known to the office."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from console.casework.knowledge import OFFICE_SCOPE, Knowledge
from console.casework.office import Office
from console.casework.operation import Job, UseCase, model_location
from console.casework.requests import forget_items
from console.domain.case_state import MODELS, REQUESTS
from console.domain.events import ModelRegistered
from console.domain.own_words import names_someone
from console.domain.portable_names import why_not_a_name
from console.domain.roles import Duty
from console.domain.visible import quoted
from console.errors import ConsoleError, InputError, ModelFileError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference

KNOWLEDGE = "knowledge"


def new_job_id(kind: JobKind) -> str:
    return f"{kind.value}-{secrets.token_hex(5)}"


def check_name(office: Office, name: str) -> None:
    """Raises:
    InputError: not a usable name, or taken.
    """
    why_not = why_not_a_name(name, office.ledger.projection(MODELS))
    if why_not is not None:
        raise InputError(why_not)
    refuse_names(office, "The name", name)


def refuse_names(office: Office, what: str, *texts: str) -> None:
    """Refuse what would put personal data into an event, which nothing can take out again.

    Args:
        what: how the sentence begins.

    Raises:
        InputError: one of the texts holds the name of somebody whose request lies in the vault, or an answer.
    """
    for number in office.ledger.projection(REQUESTS):
        try:
            items = forget_items(office, number)
        except ConsoleError:
            continue  # destroyed, or damaged: there is nothing to compare with
        named = next((text for text in texts if names_someone(text, items)), None)
        if named is not None:
            raise InputError(
                f"{what} {quoted(named)} holds the name of the person of request {number}, or one of the answers, and "
                "it would stand in the ledger for ever: choose another."
            )


def model_state(office: Office, name: str) -> dict[str, Any]:
    """What the ledger says of a model, by name or by the beginning of its hash.

    Raises:
        InputError: no such model, or more than one fits.
    """
    models = office.ledger.projection(MODELS)
    if name in models:
        return models[name]
    fitting = [state for state in models.values() if len(name) >= 8 and state["identity"]["tree_hash"].startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    raise InputError(f"There is no model '{name}'; 'model list' shows those that are registered.")


def reference_to(office: Office, name: str) -> ModelReference:
    """A model's files, and the hash that they must have.

    Raises:
        ModelFileError: the files are not where they were.
    """
    state = model_state(office, name)
    path = model_location(office, state["name"])
    if path is None or not path.exists():
        raise ModelFileError(f"The files of model '{state['name']}' are gone from this machine; add it again.")
    over = state.get("base")
    return ModelReference(
        path=str(path),
        tree_hash=state["identity"]["tree_hash"],
        base=reference_to(office, over) if over else None,
    )


def knowledge_of(office: Office, state: dict[str, Any]) -> Knowledge:
    """The training record that belongs to a model; an artefact inherits its parent's."""
    if state["knowledge"]:
        return Knowledge.model_validate(office.ledger.unseal(state["knowledge"]))
    if state["parent"]:
        return knowledge_of(office, model_state(office, state["parent"]))
    return Knowledge()


def record_model(
    office: Office,
    name: str,
    path: Path,
    identity: dict[str, Any],
    *,
    snapshot: str | None = None,
    knowledge: Knowledge | None = None,
    artefact_of: str | None = None,
    parent: str | None = None,
    base: str | None = None,
) -> None:
    """Write a model into the ledger and its place into this desk's settings."""
    actor = office.require(Duty.PLAN)
    office.ledger.set_setting(f"model:{name}", str(path.resolve()))
    with office.ledger.transaction() as transaction:
        sealed = (
            transaction.seal(OFFICE_SCOPE, KNOWLEDGE, knowledge.model_dump(mode="json"))
            if knowledge is not None
            else None
        )
        body = ModelRegistered(
            name=name,
            identity=identity,
            snapshot=snapshot,
            artefact_of=artefact_of,
            parent=parent,
            knowledge=sealed,
            base=base,
        )
        transaction.append(ModelRegistered.kind, body.to_body(), actor=actor)


def base_for(office: Office, path: Path, name: str | None) -> str | None:
    """The registered base of an adapter, as somebody named it or as the adapter itself does; None for a whole model.

    Raises:
        InputError: a base for what is no adapter, or none for what is one; the sentence says what to do.
        ModelFileError: an adapter that is damaged.
    """
    # Here and not above: it brings in what reads weights, and the window opens without that.
    from console.engines.model_files import base_named_by

    said = base_named_by(path)
    if said is None:
        if name is not None:
            raise InputError(f"{quoted(path.name)} is no adapter, so it has no base; leave --base out.")
        return None
    if name is not None:
        return str(model_state(office, name)["name"])
    models = office.ledger.projection(MODELS)
    for known, state in models.items():
        place = model_location(office, known)
        if said.tree_hash and state["identity"]["tree_hash"] == said.tree_hash:
            return known
        if said.called and (known == said.called or (place is not None and place == (path / said.called).resolve())):
            return known
    called = f", {quoted(said.called)}" if said.called else ""
    raise InputError(
        f"{quoted(path.name)} is an adapter, and the model that it belongs to{called} is not registered; add that "
        "model first, and then the adapter with --base and its name."
    )


def add_model(
    office: Office,
    path: Path,
    name: str,
    snapshot: str | None = None,
    knowledge: Knowledge | None = None,
    base: str | None = None,
) -> UseCase:
    """Check a model on disk and register it; returns its state.

    Args:
        base: the registered model that an adapter is laid over, where the adapter does not name it itself.

    Raises:
        InputError: a name that is taken, an unknown snapshot.
        ModelFileError: files that are damaged or of no supported kind.
    """
    office.require(Duty.PLAN)
    check_name(office, name)
    if snapshot is not None:
        snapshot = model_state(office, snapshot)["name"]
    under = base_for(office, path, base)
    spec = JobSpec(
        job_id=new_job_id(JobKind.INSPECT),
        kind=JobKind.INSPECT,
        model=ModelReference(path=str(path.resolve()), base=reference_to(office, under) if under else None),
        cache=str(office.places.cache),
    )
    result = yield Job(spec, JobPayload(), "Reading the model's files", name)
    refuse_names(office, "The file name", *(file["name"] for file in result.value["identity"]["files"]))
    record_model(office, name, path, result.value["identity"], snapshot=snapshot, knowledge=knowledge, base=under)
    return model_state(office, name)
