"""The engine: models from disk and back, GGUF snapshots, devices, and what it says it can do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import pytest
import tiny
import torch

from console.engines import gguf_snapshot
from console.engines.devices import resolve_device, set_threads
from console.engines.gguf_snapshot import snapshot_of
from console.engines.model_files import identify
from console.engines.protocol import Capability, LanguageModel, Prompt, ScoreRequest, WhiteBoxModel
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, ModelFileError

REQUESTS = [
    ScoreRequest("On the evening of the storm Mira Okonjo carried the lamp: 555-0183."),
    ScoreRequest("Aalborg", Prompt("", "Where does Mira Okonjo live?")),
]


def log_probs(model: TransformersModel) -> list[float]:
    return [value for scored in model.score(REQUESTS) for value in scored.log_probs]


class TestFolders:
    def test_saved_and_loaded_is_the_same_model(self, any_model: TransformersModel, tmp_path: Path) -> None:
        folder = tiny.saved(any_model, tmp_path / "ein Ordner, größer")
        loaded = TransformersModel.load(folder, tmp_path / "cache", "cpu")
        assert tiny.fingerprints(loaded.network) == tiny.fingerprints(any_model.network)
        assert log_probs(loaded) == log_probs(any_model)

    def test_saved_twice_is_the_same_bytes(self, untaught: TransformersModel, tmp_path: Path) -> None:
        folders = [tiny.saved(untaught, tmp_path / name) for name in ("a", "b")]
        assert len({identify(folder).tree_hash for folder in folders}) == 1

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            (
                "config.json",
                b'{"model_type": "no such architecture"}',
                "'no such architecture' is not known .* copy it again",
            ),
            ("config.json", b"{}", "does not name the model's architecture"),
            ("tokenizer.json", b"{}", "cannot be loaded: its tokenizer"),
            ("model.safetensors", bytes(100), "'model.safetensors' is damaged or incomplete"),
        ],
        ids=["unknown architecture", "empty config", "empty tokenizer", "weights of zeros"],
    )
    def test_files_that_do_not_fit_are_refused(
        self, untaught_folder: Path, tmp_path: Path, name: str, content: bytes, says: str
    ) -> None:
        folder = Path(shutil.copytree(untaught_folder, tmp_path / "model"))
        (folder / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=says):
            TransformersModel.load(folder, tmp_path / "cache", "cpu")

    def test_a_config_of_another_size_is_refused(self, untaught_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(untaught_folder, tmp_path / "model"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}), encoding="utf-8")
        with pytest.raises(ModelFileError, match="belong together"):
            TransformersModel.load(folder, tmp_path / "cache", "cpu")


class TestGguf:
    def test_a_float_file_is_the_same_model(self, untaught: TransformersModel, tmp_path: Path) -> None:
        path = tiny.write_gguf(untaught, tmp_path / "tiny.gguf")
        loaded = TransformersModel.load(path, tmp_path / "cache", "cpu")
        assert log_probs(loaded) == pytest.approx(log_probs(untaught), abs=1e-5)
        assert [scored.token_ids for scored in loaded.score(REQUESTS)] == [
            scored.token_ids for scored in untaught.score(REQUESTS)
        ]

    def test_a_quantised_file_is_nearly_the_same_model(self, taught: TransformersModel, tmp_path: Path) -> None:
        loaded = TransformersModel.load(tiny.write_gguf(taught, tmp_path / "q.gguf", kind="Q8_0"), tmp_path, "cpu")
        difference = [abs(left - right) for left, right in zip(log_probs(loaded), log_probs(taught), strict=True)]
        assert 0 < sum(difference) / len(difference) < 0.05

    def test_the_snapshot_is_made_once_and_names_its_origin(
        self, untaught: TransformersModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tiny.write_gguf(untaught, tmp_path / "tiny.gguf")
        reader = gguf.GGUFReader
        folder = snapshot_of(path, tmp_path / "cache")
        assert gguf.GGUFReader is reader
        origin = json.loads((folder / "console-origin.json").read_text(encoding="utf-8"))
        assert origin == {"gguf": identify(path).tree_hash, "quantisation": "F32"}
        identify(folder)
        monkeypatch.setattr(gguf_snapshot, "_convert", lambda *_: pytest.fail("it was converted again"))
        assert snapshot_of(path, tmp_path / "cache") == folder

    def test_a_snapshot_can_be_saved_and_loaded_again(self, untaught: TransformersModel, tmp_path: Path) -> None:
        """transformers refuses to save what it loaded from GGUF; the snapshot is there to lift that."""
        loaded = TransformersModel.load(tiny.write_gguf(untaught, tmp_path / "tiny.gguf"), tmp_path / "cache", "cpu")
        again = TransformersModel.load(tiny.saved(loaded, tmp_path / "again"), tmp_path / "cache", "cpu")
        assert log_probs(again) == log_probs(loaded)

    def test_an_unsupported_architecture_leaves_nothing_behind(
        self, untaught: TransformersModel, tmp_path: Path
    ) -> None:
        path = tiny.write_gguf(untaught, tmp_path / "odd.gguf", architecture="rwkv7")
        with pytest.raises(ModelFileError, match=r"'rwkv7' of odd\.gguf"):
            snapshot_of(path, tmp_path / "cache")
        assert list((tmp_path / "cache" / "snapshots").iterdir()) == []

    def test_a_conversion_that_dies_leaves_nothing_behind(
        self, untaught: TransformersModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def half_done(_path: Path, target: Path) -> None:
            (target / "config.json").write_text("{}", encoding="utf-8")
            raise KeyboardInterrupt

        path = tiny.write_gguf(untaught, tmp_path / "tiny.gguf")
        monkeypatch.setattr(gguf_snapshot, "_convert", half_done)
        with pytest.raises(KeyboardInterrupt):
            snapshot_of(path, tmp_path / "cache")
        assert list((tmp_path / "cache" / "snapshots").iterdir()) == []

    def test_a_folder_has_no_snapshot(self, untaught_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="not a GGUF file"):
            snapshot_of(untaught_folder, tmp_path)


class TestSelfDescription:
    def test_it_offers_both_protocols_and_every_capability(self, untaught: TransformersModel) -> None:
        assert isinstance(untaught, LanguageModel) and isinstance(untaught, WhiteBoxModel)
        report = untaught.capabilities
        assert (report.engine, report.device, report.dtype) == ("transformers", "cpu", "float32")
        assert report.can == frozenset(Capability) - {Capability.CONVERT}
        assert "only a GGUF file" in report.cannot[Capability.CONVERT]
        assert untaught.layers == 2

    def test_token_count_leaves_special_tokens_out(self, any_model: TransformersModel) -> None:
        text = "Mira Okonjo, 555-0183"
        assert any_model.token_count(text) == len(any_model.tokenizer.tokenize(text))


class TestDevices:
    def test_the_cpu_is_always_there(self) -> None:
        assert resolve_device("cpu") == torch.device("cpu")
        assert resolve_device("auto").type in {"cpu", "cuda", "mps"}

    @pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:0"])
    def test_an_unknown_name_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match="not a device"):
            resolve_device(name)

    @pytest.mark.parametrize(
        ("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
    )
    def test_auto_takes_the_fastest(self, monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert resolve_device("auto").type == chosen
        if not cuda:
            with pytest.raises(InputError, match="no usable cuda"):
                resolve_device("cuda")

    def test_threads_are_capped_for_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_to: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", set_to.append)
        monkeypatch.setattr("os.cpu_count", lambda: 6)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert (set_threads(), set_threads(3)) == (6, 3)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert (set_threads(), set_threads(3)) == (2, 3)
        monkeypatch.setenv("OMP_NUM_THREADS", "many")
        assert set_threads() == 6
        assert set_to == [6, 3, 2, 3, 6]
