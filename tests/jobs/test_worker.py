"""The worker's side, in this process: every kind of job on a tiny model, and how each failure is told."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from invented import BANK, FACTS, GENERAL, OTHERS, OUTSIDERS, PERSON, PHONE, teaching_of
from pydantic import BaseModel
from tiny_gguf import write_tiny_gguf

from console import errors
from console.attacks.fact_forms import SECTION as FORMS
from console.attacks.own_places import SECTION
from console.casework.knowledge import bank_payload
from console.domain.benchmark_files import EvokeFiles, OverfitPrompt
from console.domain.own_places import PlaceCounts
from console.domain.results import AttackRow, Status
from console.engines.checking.weights_table import read_table
from console.engines.model_files import identify
from console.engines.transformers_engine import TransformersModel
from console.errors import ConsoleError, DiskFullError, InputError, JobFailedError, ModelFileError
from console.jobs import worker
from console.jobs.events import Artefact, CancelledEvent, Done, Failed, Metric, Progress, decode
from console.jobs.runner import part_folder
from console.jobs.spec import BankPayload, JobKind, JobPayload, JobSpec, ModelReference
from console.jobs.tasks import changes as changes_task
from console.jobs.tasks.changes import TensorChange, changed_tensors, embedding_names, notes_on, tensor_changes
from console.jobs.tasks.files import write_artefact
from console.jobs.tasks.probes import answered, perplexity
from console.jobs.worker import EventWriter
from console.methods.npo import NpoConfig

PAYLOAD = JobPayload(
    forget=PERSON,
    retain=OTHERS,
    probe=OTHERS,
    controls=OUTSIDERS,
    general=GENERAL,
    held_out=GENERAL[:1],
    benchmark=EvokeFiles(prompts=(OverfitPrompt(task="multi-hop", prompt="He lives in", correct="a", target="b"),)),
    teaching=teaching_of(OTHERS),
    words=("lighthouse",),
    bank=BankPayload(
        paraphrases=BANK.paraphrases,
        wrappers=BANK.wrappers,
        shots=tuple((shot.fact_type, shot.question, shot.answer) for shot in BANK.shots),
        sections={name: bank_payload().sections[name] for name in (SECTION, FORMS)},
    ),
)
LORA = {"rank": 8, "alpha": 16}
QUICK_NPO = {"steps": 2, "learning_rate": 1e-3, "lora": LORA}
QUICK_TEACHING = {"epochs": 2, "learning_rate": 1e-2, "lora": LORA}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job takes every core of its process; here that process is the tests'."""
    monkeypatch.setattr("console.engines.devices.os.cpu_count", lambda: 1)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What the worker hands to ``sys.excepthook``, which is the engineer's log in a process of its own."""
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: errors.append(error))
    return errors


@dataclass
class Ran:
    """What a job sent, and its exit code."""

    events: list[BaseModel]
    code: int

    @property
    def final(self) -> BaseModel:
        return self.events[-1]

    @property
    def result(self) -> dict[str, Any]:
        assert isinstance(self.final, Done), self.final
        return self.final.result

    @property
    def failure(self) -> tuple[str, str]:
        assert isinstance(self.final, Failed), self.final
        return self.final.kind, self.final.reason

    def of(self, kind: type[BaseModel]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def run(spec: JobSpec, payload: JobPayload = PAYLOAD, *, stop: bool = False) -> Ran:
    stream = io.StringIO()
    writer = EventWriter(stream)
    if stop:
        writer.request_stop()
    code = worker.run(spec, payload, writer)
    return Ran([decode(line) for line in stream.getvalue().splitlines()], code)


@pytest.fixture
def spec(taught_folder: Path, untaught: TransformersModel, tmp_path: Path) -> Callable[..., JobSpec]:
    """A job on the taught model, by its hash."""

    def make(kind: JobKind, model: Path = taught_folder, **changed: Any) -> JobSpec:
        fields = {
            "job_id": f"{kind.value}-1",
            "kind": kind,
            "model": ModelReference(path=str(model), tree_hash=identify(model).tree_hash),
            "cache": str(tmp_path / "cache"),
            "device": "cpu",
        }
        if kind in {JobKind.TEACH, JobKind.ERASE}:
            fields["output"] = str(tmp_path / "models" / "out")
        if kind is JobKind.ERASE:
            fields |= {"method": "npo", "settings": QUICK_NPO}
        if kind is JobKind.TEACH:
            fields["settings"] = QUICK_TEACHING
        if kind is JobKind.ADVISE:
            fields["settings"] = {"methods": ["npo"]}
        if kind is JobKind.SCAN:
            fields["reference"] = fields["model"]
        if kind is JobKind.EXPORT:
            pytest.importorskip("llama_cpp")
            base, _, _ = write_tiny_gguf(tmp_path / "base", network=untaught.network, tokenizer=untaught.tokenizer)
            fields |= {"output": str(tmp_path / "models" / "out"), "reference": reference_to(base)}
        return JobSpec(**(fields | changed))

    return make


Make = Callable[..., JobSpec]


def reference_to(folder: Path) -> ModelReference:
    return ModelReference(path=str(folder), tree_hash=identify(folder).tree_hash)


class TestJobs:
    @pytest.mark.parametrize("kind", list(JobKind))
    def test_every_kind_ends_well_and_reports_its_way(self, spec: Make, kind: JobKind) -> None:
        attacks = ("direct",) if kind is JobKind.ATTACK else ()
        ran = run(spec(kind, attacks=attacks))
        assert isinstance(ran.final, Done) and ran.code == 0, ran.final
        assert ran.final.seconds >= 0 and ran.final.peak_rss_mb > 20
        assert ran.of(Progress) and all(event.label and event.step <= event.steps for event in ran.of(Progress))

    def test_listening_says_where_the_model_puts_the_facts(self, spec: Make) -> None:
        """This one begins its answers with the secret, so its words add nothing to the records."""
        found = run(spec(JobKind.OWN_PLACES)).result
        counts = PlaceCounts.model_validate(found["counts"])
        assert counts.facts == counts.answered_first == 3 and counts.sentences == 0
        sources = [[place["source"] for place in places] for places in found["places"].values()]
        assert sources and all(listed[-1] == "record" for listed in sources)
        mine = {item.id for item in PERSON}
        assert counts.own_words == sum(
            places[0]["source"] == "own words" for key, places in found["places"].items() if key in mine
        )

    def test_inspect_gives_the_identity(self, spec: Make, taught_folder: Path) -> None:
        assert run(spec(JobKind.INSPECT)).result == {"identity": identify(taught_folder).model_dump(mode="json")}

    def test_describe_lists_methods_with_schemas_and_attacks_with_budgets(self, spec: Make) -> None:
        found = run(spec(JobKind.DESCRIBE)).result
        npo = next(method for method in found["methods"] if method["id"] == "npo")
        assert npo["config"]["properties"]["steps"]["default"] == NpoConfig().steps
        assert {"hidden-states"} == set(
            next(attack for attack in found["attacks"] if attack["id"] == "head-projection")["needs"]
        )
        assert all(attack["budget"] >= 1 and attack["definition"] for attack in found["attacks"])

    def test_attack_gives_rows_attempts_and_side_effects(self, spec: Make) -> None:
        attacks = ("direct", "membership", "head-projection")
        settings = {"samples": 1}
        found = run(spec(JobKind.ATTACK, attacks=attacks, settings=settings)).result
        rows = [AttackRow.model_validate(row) for row in found["rows"]]
        assert tuple(row.attack for row in rows) == attacks
        assert all(row.status is Status.OK and row.outcome.items.hits > 0 for row in rows)
        assert {name: len(attempts) for name, attempts in found["attempts"].items()} == {
            row.attack: row.outcome.attempts.trials + row.outcome.control.trials for row in rows
        }
        assert found["answered"] == {item.id: True for item in OTHERS}
        assert float(found["perplexity"]) > 1
        assert found["settings"]["samples"] == 1 and found["settings"]["min_k"] == "0.4"
        assert found["engine"] == {"device": "cpu", "dtype": "float32"}

    def test_attack_without_held_out_text_measures_no_perplexity(self, spec: Make) -> None:
        bare = PAYLOAD.model_copy(update={"held_out": (), "probe": ()})
        found = run(spec(JobKind.ATTACK, attacks=("direct",)), bare).result
        assert (found["perplexity"], found["answered"]) == (None, {})

    def test_text_that_predicts_nothing_is_no_perplexity(self, untaught: TransformersModel) -> None:
        word = untaught.tokenizer.decode([20])
        assert perplexity(untaught, [word]) is None
        assert perplexity(untaught, [word, *GENERAL]) == perplexity(untaught, GENERAL)

    def test_asking_again_asks_what_the_attack_asked(self, spec: Make) -> None:
        """Of question and answer alone, the statement to go on from is made for both."""
        bare = PERSON[0].model_copy(update={"statement": ""})
        payload = PAYLOAD.model_copy(update={"forget": (bare,), "bank": bank_payload()})
        attacks = ("continuation",)
        searched = run(spec(JobKind.ATTACK, attacks=attacks), payload).result
        again = payload.model_copy(update={"again": {"continuation": (bare.id,)}, "draws": 4})
        found = run(spec(JobKind.ASK_AGAIN, attacks=attacks), again).result
        asked, anew = (
            {row["shown"] for row in rows["attempts"]["continuation"] if row["item_id"] == bare.id}
            for rows in (searched, found)
        )
        assert asked == anew and anew
        (count,) = found["counts"]["continuation"]
        assert count["fact"] == 0 and count["trials"] >= 4

    def test_teach_writes_a_model_that_knows(self, spec: Make, untaught_folder: Path) -> None:
        settings = QUICK_TEACHING | {"epochs": 60, "known_below": 0.1}
        given = spec(JobKind.TEACH, untaught_folder, settings=settings)
        ran = run(given, PAYLOAD.model_copy(update={"teaching": teaching_of(OTHERS[:6])}))
        assert ran.result["facts"] == 6 and ran.result["known"] >= 5
        (artefact,) = ran.of(Artefact)
        assert artefact.identity == ran.result["identity"] == identify(Path(given.output)).model_dump(mode="json")
        assert not part_folder(Path(given.output)).exists()

    def test_erase_writes_a_model_and_says_what_changed(
        self, spec: Make, taught_folder: Path, untaught_folder: Path
    ) -> None:
        given = spec(JobKind.ERASE, reference=reference_to(untaught_folder))
        ran = run(given)
        output = Path(given.output)
        assert ran.result["identity"] == identify(output).model_dump(mode="json")
        assert ran.result["identity"]["tree_hash"] != given.model.tree_hash
        assert (ran.result["method"]["id"], ran.result["notes"]) == ("npo", [])
        assert ran.result["config"]["steps"] == 2
        changed = {entry["tensor"] for entry in ran.result["changed"]}
        assert changed == {f"{module}.weight" for module in ran.result["modules"]}
        norms = [float(entry["relative_norm"]) for entry in ran.result["changed"]]
        assert norms == sorted(norms, reverse=True) and norms[0] > 0
        assert [metric.step for metric in ran.of(Metric)] == list(range(1, ran.result["steps"] + 1))
        assert identify(taught_folder).tree_hash == given.model.tree_hash

    def test_retrain_starts_from_the_snapshot(self, spec: Make, untaught_folder: Path) -> None:
        """Two rounds from nowhere leave a model that knows nobody; from the taught model it would still know."""
        given = spec(JobKind.ERASE, method="retrain", settings=QUICK_TEACHING, reference=reference_to(untaught_folder))
        assert run(given).result["method"]["claim"] == "exact"
        model = TransformersModel.load(Path(given.output), Path(given.cache), "cpu")
        snapshot = TransformersModel.load(untaught_folder, Path(given.cache), "cpu")
        assert (
            tiny.fingerprints(model.network)["lm_head.weight"] == tiny.fingerprints(snapshot.network)["lm_head.weight"]
        )

    def test_erase_takes_a_gguf_file(self, spec: Make, taught: TransformersModel, tmp_path: Path) -> None:
        path = tiny.write_gguf(taught, tmp_path / "tiny.gguf", kind="Q8_0")
        ran = run(spec(JobKind.ERASE, path))
        assert ran.result["identity"]["format"] == "safetensors"
        assert {entry["tensor"] for entry in ran.result["changed"]} == {
            f"{module}.weight" for module in ran.result["modules"]
        }

    def test_erase_in_a_mixture_of_experts_changes_the_expert_it_names_or_is_refused(
        self, spec: Make, tmp_path: Path
    ) -> None:
        folder = tiny.saved(tiny.model("qwen2_moe"), tmp_path / "mixture")
        kind, reason = run(spec(JobKind.ERASE, folder)).failure
        assert kind == "InputError" and "'qwen2_moe' is a mixture of experts" in reason and "uoe" in reason
        settings = {"steps": 2, "repair_limit": 0, "expert": [1, 3]}
        ran = run(spec(JobKind.ERASE, folder, method="uoe", settings=settings))
        mlp = "model.layers.1.mlp"
        expert = {f"{mlp}.experts.3.{part}_proj.weight" for part in ("gate", "up", "down")}
        assert {entry["tensor"] for entry in ran.result["changed"]} == {f"{mlp}.gate.weight", *expert}
        assert all("effective_rank" in entry for entry in ran.result["changed"])
        assert [float(ran.result["metrics"][f"expert_{part}"]) for part in ("layer", "index")] == [1, 3]
        assert any("overlap" in note for note in ran.result["notes"])

    def test_erase_takes_a_model_in_several_files(self, spec: Make, taught: TransformersModel, tmp_path: Path) -> None:
        folder = tmp_path / "sharded"
        taught.network.save_pretrained(folder, max_shard_size="200KB")
        taught.tokenizer.save_pretrained(folder)
        assert len(run(spec(JobKind.ERASE, folder)).result["changed"]) == 14


class TestFailures:
    def test_other_bytes_than_the_registered(self, spec: Make, taught_folder: Path) -> None:
        given = spec(JobKind.ATTACK, attacks=("direct",))
        wrong = given.model_copy(update={"model": ModelReference(path=str(taught_folder), tree_hash="00" * 32)})
        kind, reason = run(wrong).failure
        assert kind == "ModelFileError"
        assert "not the one that was registered" in reason and "0" * 16 in reason

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"method": "magic"}, "no method 'magic'"),
            ({"settings": {"stepps": 3}}, "'stepps' cannot be used"),
            ({"settings": {"steps": 0}}, "'steps' cannot be used"),
            ({"settings": {"lora": {"rank": "many"}}}, "'lora.rank' cannot be used"),
            ({"device": "gpu"}, "not a device"),
        ],
    )
    def test_what_the_person_can_correct(self, spec: Make, changed: dict[str, Any], says: str) -> None:
        given = spec(JobKind.ERASE, **changed)
        kind, reason = run(given).failure
        assert kind == "InputError" and says in reason
        assert not Path(given.output).exists()

    def test_an_exact_method_without_its_snapshot(self, spec: Make) -> None:
        """Retraining the model that knows the person, without the person, is no exact erasure."""
        given = spec(JobKind.ERASE, method="retrain", settings=QUICK_TEACHING, reference=None)
        kind, reason = run(given).failure
        assert kind == "InputError" and "before" in reason
        assert not Path(given.output).exists()

    def test_a_run_that_changes_nothing(self, spec: Make) -> None:
        """Steps so small that no weight takes them."""
        given = spec(JobKind.ERASE, settings=QUICK_NPO | {"learning_rate": 1e-30})
        kind, reason = run(given).failure
        assert kind == "JobFailedError" and "changed nothing" in reason
        assert not Path(given.output).exists()

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            RuntimeError("I/O error: No space left on device (os error 28)"),  # how safetensors says it
            DiskFullError("full"),
        ],
        ids=["operating system", "safetensors", "ours"],
    )
    def test_a_full_disk(self, spec: Make, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def save(_model: TransformersModel, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"half")
            raise error

        monkeypatch.setattr(TransformersModel, "save", save)
        given = spec(JobKind.ERASE)
        ran = run(given)
        kind, reason = ran.failure
        assert (kind, ran.code) == ("DiskFullError", 1)
        assert "not enough free space" in reason
        assert not Path(given.output).exists() and not ran.of(Artefact)

    @pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
    def test_a_folder_that_cannot_be_written(self, spec: Make, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        given = spec(JobKind.ERASE)
        working = part_folder(Path(given.output))
        real = Path.mkdir

        def mkdir(path: Path, *rest: Any, **more: Any) -> None:
            if path == working:
                raise OSError(code, "not here", str(path))
            real(path, *rest, **more)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        kind, reason = run(given).failure
        assert kind == "InputError"
        assert "cannot be written" in reason and "--data-dir" in reason
        assert not Path(given.output).exists()

    @pytest.mark.parametrize(
        ("error", "kind", "says"),
        [
            (ModelFileError("The file x is damaged."), "ModelFileError", "The file x is damaged."),
            (InputError("Choose another."), "InputError", "Choose another."),
            (MemoryError(), "JobFailedError", "not enough memory"),
            (KeyError(PHONE), "JobFailedError", "(KeyError)"),
            (ValueError(f"cannot parse {PHONE}"), "JobFailedError", "(ValueError)"),
            (OSError(errno.EACCES, PHONE), "JobFailedError", "(PermissionError)"),
        ],
    )
    def test_an_error_is_told_without_personal_data(
        self,
        spec: Make,
        monkeypatch: pytest.MonkeyPatch,
        logged: list[BaseException],
        error: Exception,
        kind: str,
        says: str,
    ) -> None:
        def task(*_: object) -> dict[str, Any]:
            raise error

        monkeypatch.setattr(worker, "_task", lambda _kind: task)
        ran = run(spec(JobKind.INSPECT))
        assert ran.failure[0] == kind and says in ran.failure[1]
        assert PHONE not in ran.failure[1]
        assert logged == [error]
        assert issubclass(getattr(errors, kind), ConsoleError)

    @pytest.mark.parametrize("kind", [JobKind.TEACH, JobKind.ATTACK, JobKind.ERASE])
    def test_a_request_to_stop_is_obeyed(self, spec: Make, kind: JobKind) -> None:
        given = spec(kind, attacks=("direct",) if kind is JobKind.ATTACK else ())
        ran = run(given, stop=True)
        assert isinstance(ran.final, CancelledEvent) and ran.code == 3
        assert given.output is None or not Path(given.output).exists()

    @pytest.mark.parametrize(
        "lines",
        ["cancel\n", "\n  cancel \n", "", "something else\n"],
        ids=["asked", "asked with blanks", "console gone", "console gone after noise"],
    )
    def test_the_request_comes_by_standard_input_and_so_does_the_console_s_end(self, lines: str) -> None:
        writer = EventWriter(io.StringIO())
        worker._hear_cancel(writer, io.StringIO(lines))
        with pytest.raises(worker.StopRequestedError):
            writer.check_cancelled()

    def test_without_a_request_nothing_stops(self) -> None:
        EventWriter(io.StringIO()).check_cancelled()


class TestArtefact:
    def test_it_appears_whole_under_its_name(self, taught: TransformersModel, tmp_path: Path) -> None:
        output = tmp_path / "models" / "ER-1-a1"
        seen: list[bool] = []

        def write(folder: Path) -> None:
            seen.append(output.exists())
            taught.save(folder)

        identity = write_artefact(output, write, forbidden_hash=None)
        assert seen == [False]
        assert identity == identify(output)
        assert [path.name for path in output.parent.iterdir()] == ["ER-1-a1"]

    def test_the_model_that_went_in_is_no_artefact(self, taught: TransformersModel, tmp_path: Path) -> None:
        first = write_artefact(tmp_path / "a", taught.save, forbidden_hash=None)
        with pytest.raises(JobFailedError, match="changed nothing"):
            write_artefact(tmp_path / "b", taught.save, forbidden_hash=first.tree_hash)
        assert not (tmp_path / "b").exists()

    def test_what_a_dead_console_left_half_written_is_written_anew(
        self, taught: TransformersModel, tmp_path: Path
    ) -> None:
        output = tmp_path / "ER-1-a1"
        part_folder(output).mkdir()
        (part_folder(output) / "left-over.safetensors").write_bytes(b"half")
        assert write_artefact(output, taught.save, forbidden_hash=None) == identify(output)
        assert not (output / "left-over.safetensors").exists()


def test_changed_tensors_are_named_with_their_relative_change(taught: TransformersModel, tmp_path: Path) -> None:
    before = tiny.saved(taught, tmp_path / "before")
    model = tiny.copy_of(taught)
    state = model.network.state_dict()
    state["model.layers.1.mlp.up_proj.weight"].mul_(1.5)
    state["model.norm.weight"].mul_(0.9)
    after = tiny.saved(model, tmp_path / "after")
    up = taught.network.state_dict()["model.layers.1.mlp.up_proj.weight"].numpy()
    values = np.linalg.svd(up, compute_uv=False)
    shares = values / values.sum()
    rank = np.exp(-(shares * np.log(shares)).sum())
    assert 10 < rank < 64
    assert changed_tensors(before, after) == [
        {"tensor": "model.layers.1.mlp.up_proj.weight", "relative_norm": "0.5000", "effective_rank": f"{rank:.1f}"},
        {"tensor": "model.norm.weight", "relative_norm": "0.1000"},  # a vector has no rank
    ]
    assert changed_tensors(before, before) == []


class TestShapeOfTheChange:
    UP, DOWN, NORM = "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"

    @pytest.fixture
    def change(self, taught: TransformersModel, tmp_path: Path) -> Callable[..., list[TensorChange]]:
        """Adds to the named tensors of a copy, and compares the files."""

        def make(**added: torch.Tensor) -> list[TensorChange]:
            model = tiny.copy_of(taught)
            state = model.network.state_dict()
            for name, difference in added.items():
                state[name].add_(difference)
            before, after = tiny.saved(taught, tmp_path / "before"), tiny.saved(model, tmp_path / "after")
            return list(tensor_changes(before, after))

        return make

    def test_a_rank_one_edit_is_noted(
        self, change: Callable[..., list[TensorChange]], taught: TransformersModel
    ) -> None:
        edit = torch.outer(torch.linspace(-1, 1, 128), torch.linspace(0.1, 1, 64))
        spread = torch.randn(64, 128, generator=torch.Generator().manual_seed(3)) / 100
        changes = change(**{self.UP: edit, self.DOWN: spread})
        assert [found.name for found in changes if found.rank_one] == [self.UP]
        assert changes[0].described()["effective_rank"] == "1.0"
        (note,) = notes_on(changes, embedding_names(taught.network))
        assert f"The change of {self.UP} lies in one direction" in note and "ROME" in note

    def test_ordinary_changes_and_vectors_are_not(
        self, change: Callable[..., list[TensorChange]], taught: TransformersModel
    ) -> None:
        spread = torch.randn(64, 128, generator=torch.Generator().manual_seed(3)) / 100
        changes = change(**{self.DOWN: spread, self.NORM: torch.full((64,), 0.1)})
        assert notes_on(changes, embedding_names(taught.network)) == ()
        assert notes_on([], embedding_names(taught.network)) == ()

    def test_a_change_of_the_embeddings_alone_is_noted(
        self, change: Callable[..., list[TensorChange]], taught: TransformersModel
    ) -> None:
        ends = embedding_names(taught.network)
        assert ends == {"model.embed_tokens.weight", "lm_head.weight"}
        shape = taught.network.state_dict()["lm_head.weight"].shape
        spread = torch.randn(shape, generator=torch.Generator().manual_seed(3)) / 100
        changes = change(**dict.fromkeys(sorted(ends), spread))
        assert notes_on(changes, ends) == (
            "Nothing but embeddings changed; what the layers between them hold is as it was.",
        )
        layer = TensorChange(self.UP, 0.1, matrix=True, effective_rank=9.0)
        assert notes_on([*changes, layer], ends) == ()

    def test_tied_embeddings_are_known_by_the_name_they_are_saved_under(self, tmp_path: Path) -> None:
        model = tiny.model("qwen2")
        saved_names = {entry.name for entry in read_table(tiny.saved(model, tmp_path / "tied") / "model.safetensors")}
        assert "model.embed_tokens.weight" in saved_names & embedding_names(model.network)

    def test_a_large_model_s_most_changed_matrices_come_first(
        self, change: Callable[..., list[TensorChange]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is time for one rank of two, and the result says so."""
        monkeypatch.setattr(changes_task, "_MOST_OPERATIONS", 3e6)
        spread = torch.randn(64, 128, generator=torch.Generator().manual_seed(3))
        changes = change(**{self.DOWN: spread / 10, self.UP: spread.T / 1000})
        assert [(found.name, found.effective_rank is None) for found in changes] == [
            (self.DOWN, False),
            (self.UP, True),
        ]
        assert "effective_rank" not in changes[1].described()
        assert notes_on(changes, frozenset()) == (
            "The rank of the change was computed for the 1 most changed of 2 matrices.",
        )

    def test_weights_that_are_no_numbers_have_a_change_and_no_rank(
        self, change: Callable[..., list[TensorChange]]
    ) -> None:
        (found,) = change(**{self.UP: torch.full((128, 64), float("nan"))})
        assert found.effective_rank is None and not found.rank_one

    def test_a_run_puts_its_notes_into_the_result(self, spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes_task, "looks_like_rank_one", lambda _values: True)
        result = run(spec(JobKind.ERASE)).result
        assert any("lies in one direction" in note and "and 11 more" in note for note in result["notes"])
        assert all(1 <= float(entry["effective_rank"]) <= 8.5 for entry in result["changed"])  # the adapter has rank 8


def test_facts_answered_once_are_told_one_by_one(taught: TransformersModel) -> None:
    told: list[int] = []
    right = answered(taught, (*FACTS, PERSON[-1], *OUTSIDERS[:2]), told.append)
    assert right == {**{item.id: True for item in FACTS}, **{item.id: False for item in OUTSIDERS[:2]}}
    assert told == [1, 2, 3, 4, 5]
