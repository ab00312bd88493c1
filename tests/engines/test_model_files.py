"""Model files: what is refused, and that the hash names exactly the bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from console.engines import model_files
from console.engines.checking.weights_table import read_table
from console.engines.model_files import (
    ModelFile,
    ModelFormat,
    file_sha256,
    identify,
    is_registered_as,
    tree_hash,
)
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


@pytest.fixture
def folder(untaught_folder: Path, tmp_path: Path) -> Path:
    """A whole model that a test may spoil."""
    return Path(shutil.copytree(untaught_folder, tmp_path / "Modell Nr. 1"))


def safetensors(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def one_tensor(**changed: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed}


class TestIdentity:
    def test_a_missing_shard_is_named(self, untaught: TransformersModel, tmp_path: Path) -> None:
        untaught.network.save_pretrained(tmp_path, max_shard_size="40KB")
        untaught.tokenizer.save_pretrained(tmp_path)
        shards = sorted(tmp_path.glob("model-*.safetensors"))
        assert len(shards) > 1
        identify(tmp_path)
        shards[-1].unlink()
        with pytest.raises(ModelFileError, match=f"lacks 1 of its {len(shards)} .*{shards[-1].name}"):
            identify(tmp_path)

    @pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 3}'])
    def test_an_index_that_is_none(self, folder: Path, index: str) -> None:
        (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
        with pytest.raises(ModelFileError, match="copy the model again"):
            identify(folder)

    def test_a_whole_folder(self, folder: Path, untaught: TransformersModel) -> None:
        identity = identify(folder)
        assert identity.format is ModelFormat.SAFETENSORS
        assert (identity.architecture, identity.quantisation, identity.chat_template) == ("llama", "F32", True)
        assert identity.parameters == sum(parameter.numel() for parameter in untaught.network.parameters())
        assert {file.name for file in identity.files} == {path.name for path in folder.iterdir()}
        assert all(file.sha256 == file_sha256(folder / file.name) for file in identity.files)
        assert identity.tree_hash == tree_hash(identity.files)

    def test_a_model_without_chat_template(self, tmp_path: Path) -> None:
        assert not identify(tiny.saved(tiny.model("gpt2"), tmp_path / "gpt2")).chat_template

    def test_a_chat_template_inside_the_tokenizer_s_settings(self, folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        assert not identify(folder).chat_template
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings["chat_template"] = tiny.CHAT_TEMPLATE
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        assert identify(folder).chat_template

    def test_shards_count_together(self, untaught: TransformersModel, tmp_path: Path) -> None:
        untaught.network.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
        untaught.tokenizer.save_pretrained(tmp_path / "sharded")
        assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
        assert (
            identify(tmp_path / "sharded").parameters == identify(tiny.saved(untaught, tmp_path / "whole")).parameters
        )

    def test_a_gguf_file(self, untaught: TransformersModel, tmp_path: Path) -> None:
        path = tiny.write_gguf(untaught, tmp_path / "tiny.gguf", kind="Q8_0")
        identity = identify(path)
        assert (identity.format, identity.quantisation) == (ModelFormat.GGUF, "Q8_0")
        assert identity.files == (ModelFile(name="tiny.gguf", size=path.stat().st_size, sha256=file_sha256(path)),)

    def test_the_hash_changes_with_any_byte(self, folder: Path) -> None:
        known = {identify(folder).tree_hash}
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            # A JSON file stays readable: a blank at its end is another byte and the same meaning.
            changed = content + b" " if path.suffix in {".json", ".jinja"} else content[:-1] + bytes([content[-1] ^ 1])
            path.write_bytes(changed)
            known.add(identify(folder).tree_hash)
            path.write_bytes(content)
        assert len(known) == 1 + len(list(folder.iterdir()))
        assert identify(folder).tree_hash in known

    def test_the_hash_covers_what_is_loaded_and_nothing_else(self, folder: Path) -> None:
        """A note beside a model is no other model; a file that the loader reads is."""
        before = identify(folder)
        (folder / "notes.txt").write_text("x", encoding="utf-8")
        (folder / "consolidated.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
        assert identify(folder) == before
        (folder / "special_tokens_map.json").write_text("{}", encoding="utf-8")
        added = identify(folder)
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tools.jinja").write_text(tiny.CHAT_TEMPLATE, encoding="utf-8")
        assert len({before.tree_hash, added.tree_hash, identify(folder).tree_hash}) == 3

    def test_a_hash_from_before_covered_every_file_and_still_counts(self, folder: Path) -> None:
        (folder / "notes.txt").write_text("x", encoding="utf-8")
        lines = sorted(
            f"{path.name}\0{path.stat().st_size}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
            for path in folder.iterdir()
        )
        recorded = hashlib.sha256("".join(lines).encode()).hexdigest()
        found = identify(folder)
        assert found.tree_hash != recorded and is_registered_as(folder, found, recorded)
        (folder / "notes.txt").write_text("y", encoding="utf-8")
        assert not is_registered_as(folder, identify(folder), recorded)

    def test_the_hash_does_not_depend_on_place_time_or_hidden_files(self, folder: Path, tmp_path: Path) -> None:
        elsewhere = Path(shutil.copytree(folder, tmp_path / "b" / "c"))
        for path in elsewhere.iterdir():
            os.utime(path, (0, 0))
        (elsewhere / ".DS_Store").write_bytes(b"x")
        assert identify(elsewhere).tree_hash == identify(folder).tree_hash

    @given(
        files=st.lists(
            st.builds(ModelFile, name=st.text(max_size=4), size=st.integers(0, 9), sha256=st.just("ab")),
            max_size=5,
            unique=True,
        ).flatmap(lambda files: st.tuples(st.just(files), st.permutations(files)))
    )
    def test_the_tree_hash_is_one_of_a_set(self, files: tuple[list[ModelFile], list[ModelFile]]) -> None:
        assert tree_hash(files[0]) == tree_hash(files[1])

    def test_the_tree_hash_is_the_documented_one(self, folder: Path) -> None:
        """Recomputed from the definition, not with the product's code: it stands in every ledger."""
        lines = sorted(
            f"{path.name}\0{path.stat().st_size}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
            for path in folder.iterdir()
        )
        assert identify(folder).tree_hash == hashlib.sha256("".join(lines).encode()).hexdigest()

    def test_bytes_are_counted_while_hashing(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"abc")
        seen: list[int] = []
        assert file_sha256(tmp_path / "f", seen.append).startswith("ba7816bf")  # FIPS 180-4, appendix B.1
        assert seen == [3]


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def pickled_only(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1])


class TestRefused:
    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            pytest.param(remove(CONFIG), "no config.json", id="no config"),
            pytest.param(write(CONFIG, b"{"), "cannot be read as JSON", id="broken config"),
            pytest.param(write(CONFIG, b"\xff\xfe{}"), "cannot be read as JSON", id="config is not text"),
            pytest.param(write(CONFIG, b"[]"), "not a model description", id="config is a list"),
            pytest.param(write(CONFIG, b"[" * 200_000), "copy the model again", id="config nested without end"),
            pytest.param(remove(TOKENIZER), "has no tokenizer", id="no tokenizer"),
            pytest.param(write("tokenizer_config.json", b"\xff\xfe"), "tokenizer", id="tokenizer settings no text"),
            pytest.param(remove(WEIGHTS), "no weights were found", id="no weights"),
            pytest.param(pickled_only, "can run code", id="pickled weights only"),
            pytest.param(truncated, "damaged or incomplete", id="truncated weights"),
            pytest.param(write(WEIGHTS, b""), "damaged or incomplete", id="empty weights"),
        ],
    )
    def test_folder(self, folder: Path, spoil: Callable[[Path], object], says: str) -> None:
        spoil(folder)
        with pytest.raises(ModelFileError, match=says):
            identify(folder)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"1234567", id="shorter than its length field"),
            pytest.param(struct.pack("<Q", 2**63) + b"{}", id="huge header"),
            pytest.param(safetensors(b"{not json"), id="no JSON"),
            pytest.param(safetensors(b"[]"), id="a list"),
            pytest.param(safetensors(b"[" * 200_000), id="nested without end"),
            pytest.param(safetensors(one_tensor(), b"1234567"), id="data too short"),
            pytest.param(safetensors(one_tensor(), b"123456789"), id="data too long"),
            pytest.param(safetensors({}), id="no tensor"),
            pytest.param(safetensors({"w": 1}), id="a tensor is a number"),
            pytest.param(safetensors({"w": {"dtype": "F32"}}), id="no offsets"),
            pytest.param(safetensors(one_tensor(data_offsets=[0, "8"]), bytes(8)), id="offsets are text"),
            pytest.param(safetensors(one_tensor(data_offsets=[8]), bytes(8)), id="one offset"),
            pytest.param(safetensors({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)), id="no shape"),
            pytest.param(safetensors(one_tensor(shape=["2"]), bytes(8)), id="shape is text"),
        ],
    )
    def test_weights_file(self, folder: Path, content: bytes) -> None:
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ModelFileError, match=f"{WEIGHTS}.*damaged or incomplete"):
            identify(folder)

    def test_a_pickle_beside_whole_weights_is_not_opened(self, folder: Path) -> None:
        (folder / "optimizer.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
        assert identify(folder).format is ModelFormat.SAFETENSORS

    def test_a_gguf_file_without_tokenizer(self, untaught: TransformersModel, tmp_path: Path) -> None:
        path = tiny.write_gguf(untaught, tmp_path / "m.gguf")
        path.write_bytes(path.read_bytes().replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz"))
        with pytest.raises(ModelFileError, match="no tokenizer"):
            identify(path)

    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="no model at"):
            identify(tmp_path / "nowhere")

    def test_a_folder_that_may_not_be_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The system's refusal is played, because the superuser is refused nothing."""

        def refuse(*_: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(model_files, "file_sha256", refuse)
        with pytest.raises(ModelFileError, match="permission"):
            identify(folder)


def test_the_header_names_tensors_and_leaves_metadata_out(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(safetensors({"__metadata__": {"format": "pt"}} | one_tensor(), bytes(8)))
    assert [(entry.name, entry.dtype, entry.shape) for entry in read_table(path)] == [("w", "F32", (2,))]
