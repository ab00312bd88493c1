"""The export task: split bases, adapters that take a change away, and what is left behind when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from invented import GENERAL, OTHERS, PERSON
from tiny_gguf import split_in_two, write_tiny_gguf

from console.domain.exports import Place
from console.domain.forget_set import ForgetSet, RetainSet
from console.engines.gguf_rewrite import rewrite
from console.engines.gguf_tensors import StoredTensor, provenance_of, read_values, tensors_of
from console.engines.model_files import ADAPTER_FILE, AdapterNote, identify
from console.engines.protocol import ScoreRequest
from console.engines.transformers_engine import TransformersModel
from console.errors import DiskFullError, InputError, JobFailedError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.methods.protocol import ErasureData
from console.methods.uoe import Uoe, UoeConfig

pytest.importorskip("llama_cpp")

CHANGED = "model.layers.1.mlp.down_proj.weight"
PAYLOAD = JobPayload(forget=PERSON, general=tuple(GENERAL))


class Silent:
    """A writer that nobody reads."""

    def progress(self, *_: object) -> None: ...
    def check_cancelled(self) -> None: ...
    def send(self, _event: object) -> None: ...


@pytest.fixture
def changed(untaught: TransformersModel, tmp_path: Path) -> tuple[Path, TransformersModel]:
    """The untaught model with one weight moved along two directions, as a folder."""
    copy = tiny.copy_of(untaught)
    weight = dict(copy.network.named_parameters())[CHANGED]
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        left = torch.randn(weight.shape[0], 2, generator=generator)
        weight += 0.02 * left @ torch.randn(2, weight.shape[1], generator=generator)
    return tiny.saved(copy, tmp_path / "changed"), copy


def exported(source: Path, base: Path, tmp_path: Path, **settings: Any) -> dict[str, Any]:
    from console.jobs.tasks.export import export

    spec = JobSpec(
        job_id="export-1",
        kind=JobKind.EXPORT,
        model=ModelReference(path=str(source), tree_hash=identify(source).tree_hash),
        reference=ModelReference(path=str(base), tree_hash=identify(base).tree_hash),
        cache=str(tmp_path / "cache"),
        output=str(tmp_path / "out"),
        device="cpu",
        settings=settings,
    )
    return export(spec, PAYLOAD, Silent())  # type: ignore[arg-type]


@pytest.fixture
def base(untaught: TransformersModel, tmp_path: Path) -> Path:
    path, _, _ = write_tiny_gguf(tmp_path / "base", network=untaught.network, tokenizer=untaught.tokenizer)
    return path


def test_only_the_changed_tensor_is_new(changed: tuple[Path, TransformersModel], base: Path, tmp_path: Path) -> None:
    result = exported(changed[0], base, tmp_path, file_name="erased")
    path = Path(result["path"])
    assert path == tmp_path / "out" / "erased.gguf"
    assert [one["tensor"] for one in result["rewritten"]] == ["blk.1.ffn_down.weight"]
    assert result["untouched"] == len(tensors_of(base)) - 1
    before, after = tensors_of(base), tensors_of(path)
    same = {name for name in before if np.array_equal(read_values(before[name]), read_values(after[name]))}
    assert same == before.keys() - {"blk.1.ffn_down.weight"}


def test_the_file_names_every_request_of_its_chain(
    changed: tuple[Path, TransformersModel], base: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.gguf"
    rewrite(base, earlier, {}, provenance={"requests": ["ER-2026-0001"], "version": "0.0.9"})
    result = exported(changed[0], earlier, tmp_path, request="ER-2026-0002", version="0.1.0")
    told = provenance_of(Path(result["path"]))
    assert told["requests"] == ("ER-2026-0001", "ER-2026-0002")
    assert told["version"] == "0.1.0"
    assert told["base_sha256"] == identify(earlier).tree_hash
    assert not any(item.subject in str(told) for item in PERSON)


def test_without_neutral_text_nothing_is_read_back_and_so_nothing_written(
    changed: tuple[Path, TransformersModel], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_export.PAYLOAD", PAYLOAD.model_copy(update={"general": ()}))
    with pytest.raises(InputError, match="no neutral text"):
        exported(changed[0], base, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_split_base_gives_a_split_model(changed: tuple[Path, TransformersModel], base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "split"
    folder.mkdir()
    parts = split_in_two(base, folder)
    result = exported(changed[0], parts[0], tmp_path, file_name="erased")
    assert Path(result["path"]).name == "erased-00001-of-00002.gguf"
    assert len(result["identity"]["files"]) == 2
    assert result["gate"]["failed"] == Place.NONE.value


@pytest.mark.parametrize(("architecture", "file_type"), [("qwen2_moe", "F32"), ("qwen3_moe", "Q8_0"), ("olmoe", "F16")])
def test_one_expert_of_a_file_is_unlearned_and_all_other_bytes_stay(
    architecture: str, file_type: str, tmp_path: Path
) -> None:
    base, _, _ = write_tiny_gguf(tmp_path / "base", architecture, file_type=file_type)
    model = TransformersModel.load(base, tmp_path / "cache", "cpu")
    data = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
    config = UoeConfig(expert=(1, 2), learning_rate=1e-2, steps=2, repair_steps=0, repair_limit=0)
    Uoe().apply(model, data, config, tiny.Recorder())
    result = exported(tiny.saved(model, tmp_path / "erased"), base, tmp_path)
    stacks = {f"blk.1.ffn_{part}_exps.weight" for part in ("gate", "up", "down")}
    assert {one["tensor"] for one in result["rewritten"]} == stacks | {"blk.1.ffn_gate_inp.weight"}
    before, after = tensors_of(base), tensors_of(Path(result["path"]))

    def raw(stored: StoredTensor) -> bytes:
        return stored.path.read_bytes()[stored.offset : stored.offset + stored.size]

    assert all(before[name].type_name == after[name].type_name for name in before)
    same = {name for name in before if raw(before[name]) == raw(after[name])}
    assert same == before.keys() - stacks - {"blk.1.ffn_gate_inp.weight"}
    for name in stacks:
        old, new = (np.frombuffer(raw(held[name]), np.uint8).reshape(4, -1) for held in (before, after))
        assert [np.array_equal(old[index], new[index]) for index in range(4)] == [True, True, False, True]
    assert result["gate"]["failed"] == Place.NONE.value, "llama.cpp opens the file and says what the model says"


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.5])
def test_an_adapter_adds_so_much_of_the_change(
    changed: tuple[Path, TransformersModel], base: Path, untaught: TransformersModel, tmp_path: Path, scale: float
) -> None:
    """The other engine, with the adapter on the untouched base, against a network that was changed by hand."""
    from console.engines.llama_engine import Adapter, LlamaModel

    result = exported(changed[0], base, tmp_path, form="gguf-adapter", scale=scale)
    folder = Path(result["path"])
    assert AdapterNote.of(folder).scale == scale
    assert result["untouched"] == len(tensors_of(base))
    by_hand = tiny.copy_of(untaught)
    old = dict(untaught.network.named_parameters())[CHANGED]
    new = dict(changed[1].network.named_parameters())[CHANGED]
    with torch.no_grad():
        dict(by_hand.network.named_parameters())[CHANGED].copy_(old + scale * (new - old))
    opened = LlamaModel.load(base, adapters=(Adapter(folder / ADAPTER_FILE, scale),))
    try:
        texts = [ScoreRequest(text) for text in GENERAL]
        found = [one.mean for one in opened.score(texts)]
        wanted = [one.mean for one in by_hand.score(texts)]
        plain = [one.mean for one in untaught.score(texts)]
    finally:
        opened.close()
    assert found == pytest.approx(wanted, abs=2e-3)
    assert max(abs(one - other) for one, other in zip(plain, wanted, strict=True)) > 0.02


def test_a_full_disk_leaves_nothing(
    changed: tuple[Path, TransformersModel], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from console.jobs.tasks import export as task

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("There is no room at the target; free some.")

    monkeypatch.setattr(task, "rewrite", full)
    with pytest.raises(DiskFullError):
        exported(changed[0], base, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_change_that_rounding_takes_away_whole(untaught: TransformersModel, tmp_path: Path) -> None:
    """Smaller than a step of the type everywhere: the written file would hold the base's own weights."""
    base, network, tokenizer = write_tiny_gguf(
        tmp_path / "base", network=untaught.network, tokenizer=untaught.tokenizer, file_type="Q4_0"
    )
    from console.engines.gguf_snapshot import snapshot_of

    copy = TransformersModel.load(snapshot_of(base, tmp_path / "cache"), tmp_path, "cpu")
    with torch.no_grad():
        dict(copy.network.named_parameters())[CHANGED].mul_(1 + 1e-6)
    source = tmp_path / "barely"
    copy.save(source)
    with pytest.raises(JobFailedError, match="Rounding took the whole change away"):
        exported(source, base, tmp_path)
    assert not (tmp_path / "out").exists()
    assert network is not None and tokenizer is not None
