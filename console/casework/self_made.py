"""What a model itself says about the person, made once for a request and a model, and sealed with the case.

For requests that bring a name and hardly any text. It is erased besides the request's own facts, never instead of
them, and no attack asks for it: what a model makes up is not necessarily the person's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from console.casework.models import knowledge_of, model_state, new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, UseCase
from console.casework.requests import forget_items
from console.casework.transcripts import redacted, secrets_of
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.roles import Duty
from console.errors import NotPossibleError
from console.jobs.spec import JobKind, JobPayload, JobSpec

CORPUS = "self_made_corpus"  # kind of the sealed item


@dataclass(frozen=True)
class Corpus:
    """A sealed corpus.

    Attributes:
        commitment: to the items, for the ledger.
        sentence: how many were kept, and what that does not mean.
    """

    items: tuple[ForgetItem, ...]
    kept: int
    drawn: int
    counterfactuals: int
    dropped: Mapping[str, int]
    commitment: str
    sentence: str

    @property
    def note(self) -> str:
        """What a reader of an erasure that used it should know."""
        return f"Besides the request's facts, what the model itself says about the person was erased: {self.sentence}"


@dataclass(frozen=True)
class CorpusLine:
    """One item as it is shown: what the model was given or asked, and what it said."""

    kind: str
    asked: str
    said: str


def sealed_corpus(office: Office, number: str, model: str) -> Corpus | None:
    """The newest corpus that this model wrote for this request; None where it has written none."""
    tree_hash = model_state(office, model)["identity"]["tree_hash"]
    for item in reversed(office.ledger.sealed_items(number, CORPUS)):
        value = office.ledger.unseal(item.id)
        if value["model"] == tree_hash:
            return _corpus(office, number, value)
    return None


def required_corpus(office: Office, number: str, model: str) -> Corpus:
    """The same for whoever cannot go on without.

    Raises:
        NotPossibleError: there is none.
    """
    corpus = sealed_corpus(office, number, model)
    if corpus is None:
        raise NotPossibleError(
            f"The model has not written down yet what it says about the person; run corpus {number} on it first."
        )
    return corpus


def with_corpus(payload: JobPayload, corpus: Corpus | None) -> tuple[JobPayload, dict[str, Any]]:
    """The payload with the corpus behind the request's own facts, and what the ledger is told before the run."""
    if corpus is None:
        return payload, {}
    told = {"self_made": corpus.kept, "self_made_commitment": corpus.commitment}
    return payload.model_copy(update={"forget": (*payload.forget, *corpus.items)}), told


def _corpus(office: Office, number: str, value: Mapping[str, Any]) -> Corpus:
    return Corpus(
        items=tuple(ForgetItem.model_validate(item) for item in value["items"]),
        kept=value["kept"],
        drawn=value["drawn"],
        counterfactuals=value["counterfactuals"],
        dropped=value["dropped"],
        commitment=office.ledger.commitment(number, value["items"]),
        sentence=value["sentence"],
    )


def write_corpus(
    office: Office, number: str, model: str, settings: Mapping[str, Any] | None = None, device: str = "auto"
) -> UseCase:
    """Let the model say what it says about the person, and seal it; returns a :class:`Corpus`.

    Raises:
        InputError: no such request or model, or the model says nothing that could be used.
    """
    office.require(Duty.PLAN)
    state = model_state(office, model)
    spec = JobSpec(
        job_id=new_job_id(JobKind.CORPUS),
        kind=JobKind.CORPUS,
        model=reference_to(office, state["name"]),
        cache=str(office.places.cache),
        settings=dict(settings or {}),
        device=device,
    )
    payload = JobPayload(forget=forget_items(office, number))
    result = yield Job(spec, payload, "Asking the model about the person", state["name"], number)
    with office.ledger.transaction() as transaction:
        transaction.seal(number, CORPUS, result.value)
    return _corpus(office, number, result.value)


def corpus_lines(
    office: Office, number: str, model: str, corpus: Corpus, *, plain: bool = False
) -> tuple[CorpusLine, ...]:
    """The items to look at; names and facts of the request and of the training record are blotted out unless ``plain``.

    What else the model claims stays readable, because somebody has to judge it.
    """
    known = knowledge_of(office, model_state(office, model))
    others = (*(taught.item for taught in known.teaching), *known.controls)
    secrets = secrets_of((*forget_items(office, number), *others))

    def shown(text: str) -> str:
        return text if plain else redacted(text, secrets)

    return tuple(
        CorpusLine(
            "question" if item.kind is ItemKind.QA else "text",
            shown(item.prompt),
            shown(item.answer),
        )
        for item in corpus.items
    )
