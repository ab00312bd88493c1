"""GGUF in, erased GGUF and adapter out, attacked on llama.cpp, reported: the whole walk on a tiny model."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from invented import PERSON

from console.casework import cases, requests
from console.casework.case_evidence import build_evidence
from console.casework.checking import check_report
from console.casework.engine_choice import chosen_engine
from console.casework.exporting import ExportResult, export_model, gguf_base_of
from console.casework.knowledge import Knowledge
from console.casework.models import add_model, model_state
from console.casework.office import Office
from console.casework.operation import Operation, UseCase
from console.casework.replay import replay
from console.casework.reporting import make_report
from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm, Place
from console.domain.request_terms import Ground
from console.domain.results import Evidence, Status
from console.domain.suites import FILE_TYPES
from console.errors import ConsoleError, InputError, JobFailedError, NotPossibleError
from console.jobs.spec import JobKind

pytest.importorskip("llama_cpp")

GROUNDS = (Ground.CONSENT_WITHDRAWN,)
SETTINGS: dict[str, Any] = {"steps": 12, "learning_rate": 5e-3, "lora": {"rank": 8, "alpha": 16}}


def run(office: Office, use_case: UseCase) -> Any:
    return Operation(office, use_case).start().wait()


def granted(office: Office) -> str:
    number = requests.register(office, received=date(2026, 11, 2), country="DE", items=PERSON, grounds=GROUNDS)
    requests.confirm_identity(office, number)
    requests.grant(office, number, GROUNDS)
    return number


@pytest.fixture
def office_of_files(office: Office, untaught: Any, taught_folder: Path, knowledge: Knowledge, tmp_path: Path) -> Office:
    """An office whose base is a GGUF file, with the taught model as tensors."""
    from tiny_gguf import write_tiny_gguf

    base, _, _ = write_tiny_gguf(tmp_path / "files", network=untaught.network, tokenizer=untaught.tokenizer)
    run(office, add_model(office, base, "base"))
    run(office, add_model(office, taught_folder, "taught", "base", knowledge))
    return office


def exported(office: Office, source: str, form: ExportForm = ExportForm.GGUF, **more: Any) -> ExportResult:
    result: ExportResult = run(office, export_model(office, source, form, **more))
    return result


def test_gguf_in_and_erased_gguf_and_adapter_out(office_of_files: Office, tmp_path: Path) -> None:
    office = office_of_files
    planted = exported(office, "taught", name="planted")
    assert planted.base == "base"
    assert planted.gate.failed is Place.NONE
    assert float(planted.gate.whole) < 0.005
    assert planted.rewritten
    assert model_state(office, "planted")["identity"]["format"] == "gguf"

    number = granted(office)
    located = run(office, cases.locate(office, number, "planted", suite_name="standard"))
    assert located.found
    told = located.before.settings
    assert told["engine"] == EngineName.BOTH.value
    ran = {row.attack: row for row in located.before.battery.rows}
    assert set(FILE_TYPES) <= set(ran)
    assert ran["head-projection"].status is Status.OK
    assert ran["gguf-own"].outcome is not None and ran["gguf-own"].outcome.attempts.hits > 0

    erased = run(office, cases.erase(office, number, "planted", "npo", SETTINGS))
    with pytest.raises(NotPossibleError, match=f"write it as one first \\(export {erased.artefact}\\)"):
        run(office, cases.attack(office, number, erased.artefact))

    with pytest.raises(InputError, match="needs more than rank 1 "):
        exported(office, erased.artefact, ExportForm.ADAPTER, settings={"most_rank": 1})
    with pytest.raises(InputError, match="leave 'scale' out"):
        exported(office, erased.artefact, ExportForm.ADAPTER, settings={"scale": -1})
    file = exported(office, erased.artefact)
    adapter = exported(office, erased.artefact, ExportForm.ADAPTER)
    _needs_its_own_base(office, adapter, tmp_path)
    assert (file.base, adapter.base) == ("planted", "planted")
    assert {tensor["tensor"] for tensor in file.rewritten} == {tensor["tensor"] for tensor in adapter.rewritten}

    by_file = run(office, cases.attack(office, number, file.name))
    by_adapter = run(office, cases.attack(office, number, adapter.name))
    for attack, row in ((row.attack, row) for row in by_file.after.battery.rows):
        other = by_adapter.after.battery.row(attack)
        if row.outcome is not None and row.evidence is not Evidence.MEMBERSHIP:
            assert other.outcome.attempts == row.outcome.attempts, attack
    assert by_file.after.battery.model_hash == file.tree_hash
    assert all(line.same for line in replay(office))

    record = build_evidence(office, number)
    assert record.exported is not None
    assert record.exported.form == ExportForm.ADAPTER.label
    out = tmp_path / "report.pdf"
    make_report(office, number, out)
    assert check_report(out, office).ok


def test_on_llama_cpp_alone_what_looks_inside_is_not_applicable(office_of_files: Office) -> None:
    office = office_of_files
    exported(office, "taught", name="planted")
    number = granted(office)
    located = run(office, cases.locate(office, number, "planted", engine=EngineName.LLAMA))
    row = located.before.battery.row("head-projection")
    assert row.status is Status.NOT_APPLICABLE
    assert "llama.cpp gives no access to the network's inside" in row.reason
    assert located.before.battery.row("membership").status is Status.OK


def test_the_two_routes_agree_on_hits(office_of_files: Office) -> None:
    office = office_of_files
    exported(office, "taught", name="planted")
    number = granted(office)
    file = run(office, cases.locate(office, number, "planted", engine=EngineName.LLAMA))
    torch = run(office, cases.locate(office, number, "planted", engine=EngineName.TRANSFORMERS))
    assert not set(FILE_TYPES) & {row.attack for row in file.before.battery.rows}
    for attack in ("direct", "continuation", "paraphrase", "few-shot"):
        left, right = file.before.battery.row(attack), torch.before.battery.row(attack)
        assert left.outcome.attempts == right.outcome.attempts, attack


def test_which_engine_runs_where_nobody_chose(office_of_files: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office = office_of_files
    exported(office, "taught", name="planted")
    assert chosen_engine(office, model_state(office, "planted"), None) is EngineName.BOTH
    assert chosen_engine(office, model_state(office, "taught"), None) is EngineName.TRANSFORMERS
    with pytest.raises(NotPossibleError, match="'taught' is a safetensors folder"):
        chosen_engine(office, model_state(office, "taught"), EngineName.LLAMA)
    monkeypatch.setattr("console.casework.engine_choice.has_llama_cpp", lambda: False)
    assert chosen_engine(office, model_state(office, "planted"), None) is EngineName.TRANSFORMERS
    with pytest.raises(NotPossibleError, match=r"llama\.cpp is not installed here"):
        chosen_engine(office, model_state(office, "planted"), EngineName.BOTH)


def test_a_model_that_came_from_no_gguf_file(stocked: Office) -> None:
    with pytest.raises(NotPossibleError, match="was not made from a GGUF model"):
        gguf_base_of(stocked, "taught")


def test_what_cannot_be_exported(office_of_files: Office) -> None:
    office = office_of_files
    with pytest.raises(NotPossibleError, match="is in the form 'gguf'"):
        exported(office, "base")
    with pytest.raises(InputError, match="already registered"):
        exported(office, "taught", name="base")
    with pytest.raises(InputError, match="The setting 'higher_type' cannot be used"):
        exported(office, "taught", settings={"higher_type": "IQ1_S"})
    with pytest.raises(InputError, match="cannot go into an adapter"):
        exported(office, "taught", ExportForm.ADAPTER)
    assert set(office.ledger.projection("model")) == {"base", "taught"}
    assert not any(office.places.models.glob("*"))


def test_a_file_that_reads_otherwise_is_not_kept(
    office_of_files: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker is told of a network whose heads lie in another order, as a wrong name map would have it."""
    from console.engines import gguf_names
    from console.jobs.spec import JobPayload, JobSpec, ModelReference
    from console.jobs.tasks import export as task

    office = office_of_files
    monkeypatch.setattr(gguf_names.WeightPlace, "row_order", property(lambda _self: None))

    class Silent:
        def progress(self, *_: object) -> None: ...
        def check_cancelled(self) -> None: ...
        def send(self, _event: object) -> None: ...

    paths = {name: office.ledger.setting(f"model:{name}") for name in ("taught", "base")}
    spec = JobSpec(
        job_id="export-1",
        kind=JobKind.EXPORT,
        model=ModelReference(path=str(paths["taught"])),
        reference=ModelReference(path=str(paths["base"])),
        cache=str(office.places.cache),
        output=str(tmp_path / "out"),
        device="cpu",
    )
    texts = tuple(f"{item.prompt} {item.answer}" for item in PERSON)
    with pytest.raises(JobFailedError, match=r"llama\.cpp reads the written file otherwise than torch"):
        task.export(spec, JobPayload(forget=PERSON, general=texts), Silent())  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def _needs_its_own_base(office: Office, adapter: ExportResult, tmp_path: Path) -> None:
    """The adapter names its base by hash, and a worker refuses another."""
    from console.jobs.spec import JobSpec, ModelReference
    from console.jobs.tasks.files import open_model

    assert model_state(office, adapter.name)["base"] == "planted"
    note = json.loads((adapter.path / "adapter.json").read_text(encoding="utf-8"))
    assert note["base"] == model_state(office, "planted")["identity"]["tree_hash"]
    other = tmp_path / "moved"
    shutil.copytree(adapter.path, other)
    (other / "adapter.json").write_text(json.dumps({**note, "base": "0" * 64}), encoding="utf-8")
    base = ModelReference(path=str(office.ledger.setting("model:planted")), tree_hash=note["base"])
    reference = ModelReference(path=str(other), base=base)
    spec = JobSpec(job_id="a-1", kind=JobKind.ATTACK, model=reference, cache=str(tmp_path))
    with pytest.raises(ConsoleError, match="was made for another model"):
        open_model(reference, spec)
