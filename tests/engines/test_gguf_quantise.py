"""Whole-file conversion by llama.cpp, as somebody does who wants the model smaller."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest
from tiny_gguf import dequantised, write_tiny_gguf

from console.engines import gguf_quantise
from console.engines.gguf_header import read_gguf_header
from console.engines.gguf_quantise import FILE_TYPES, convert, types_held
from console.engines.gguf_rewrite import rewrite
from console.engines.gguf_tensors import tensors_of
from console.errors import DiskFullError, InputError, ModelFileError, SetupError

UP = "blk.0.ffn_up.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 wide, so that the k-quants' blocks fit."""
    pytest.importorskip("llama_cpp")
    return write_tiny_gguf(tmp_path_factory.mktemp("wide"), width=256)[0]


def error_of(source: Path, target: Path, name: str) -> float:
    old = dequantised(source, name)
    return float(np.linalg.norm(dequantised(target, name) - old) / np.linalg.norm(old))


class TestTypes:
    @pytest.mark.parametrize(
        ("file_type", "held", "error"),
        [
            ("F16", "F16", 0.001),
            ("BF16", "BF16", 0.005),
            ("Q8_0", "Q8_0", 0.01),
            ("Q4_0", "Q4_0", 0.1),
            ("Q4_K_M", "Q4_K", 0.09),
            ("Q5_K_M", "Q5_K", 0.045),
            ("Q6_K", "Q6_K", 0.025),
        ],
    )
    def test_every_file_type(self, source: Path, tmp_path: Path, file_type: str, held: str, error: float) -> None:
        target = tmp_path / "t.gguf"
        convert(source, target, file_type)
        kinds = types_held(target)
        assert tensors_of(target)[UP].type_name == held
        assert next(iter(kinds)) == held, "most of the values"
        assert sum(kinds.values()) == read_gguf_header(source).parameters
        assert kinds["F32"] < 5_000, "the norms"
        assert 0 < error_of(source, target, UP) < error
        assert [path.name for path in tmp_path.iterdir()] == ["t.gguf"]
        assert set(FILE_TYPES) >= {file_type}

    def test_blocks_that_do_not_fit_fall_back(self, tmp_path: Path) -> None:
        """64 wide: Q4_K needs rows of 256, so llama.cpp takes types with blocks of 32, and says so here."""
        pytest.importorskip("llama_cpp")
        narrow = write_tiny_gguf(tmp_path)[0]
        convert(narrow, tmp_path / "t.gguf", "Q4_K_M")
        kinds = types_held(tmp_path / "t.gguf")
        assert set(kinds) <= {"F32", "Q5_0", "Q8_0", "Q5_1"} and not any(kind.endswith("_K") for kind in kinds)

    def test_from_a_quantised_file(self, source: Path, tmp_path: Path) -> None:
        convert(source, tmp_path / "8.gguf", "Q8_0")
        convert(tmp_path / "8.gguf", tmp_path / "4.gguf", "Q4_0")
        assert tensors_of(tmp_path / "4.gguf")[UP].type_name == "Q4_0"
        convert(tmp_path / "4.gguf", tmp_path / "16.gguf", "F16")
        assert next(iter(types_held(tmp_path / "16.gguf"))) == "F16"

    def test_provenance_goes_with_it(self, source: Path, tmp_path: Path) -> None:
        rewrite(source, tmp_path / "e.gguf", {}, provenance={"version": "0.1.0"})
        convert(tmp_path / "e.gguf", tmp_path / "t.gguf", "Q8_0")
        assert gguf.GGUFReader(tmp_path / "t.gguf").fields["erasure_console.version"].contents() == "0.1.0"

    def test_the_same_bytes_every_time(self, source: Path, tmp_path: Path) -> None:
        convert(source, tmp_path / "a.gguf", "Q4_K_M")
        convert(source, tmp_path / "b.gguf", "Q4_K_M", threads=2)
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()

    def test_llama_cpp_loads_it(self, source: Path, tmp_path: Path) -> None:
        llama_cpp = pytest.importorskip("llama_cpp")
        convert(source, tmp_path / "t.gguf", "Q5_K_M")
        model = llama_cpp.Llama(str(tmp_path / "t.gguf"), n_ctx=32, n_threads=1, logits_all=True, verbose=False)
        model.eval([5, 6, 7])
        assert np.isfinite(model.scores[:3]).all()
        model.close()


class TestQuiet:
    def test_nothing_reaches_the_terminal(
        self, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        convert(source, tmp_path / "t.gguf", "Q8_0")
        assert capfd.readouterr() == ("", "")


class TestRefused:
    def test_an_unknown_file_type(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="Q9 is no file type"):
            convert(source, tmp_path / "t.gguf", "Q9")

    def test_a_target_that_is_there(self, source: Path, tmp_path: Path) -> None:
        before = source.read_bytes()
        with pytest.raises(InputError, match="already"):
            convert(source, source, "F16")
        assert source.read_bytes() == before

    def test_what_llama_cpp_refuses(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """A whole GGUF file that is no model that it knows."""
        pytest.importorskip("llama_cpp")
        writer = gguf.GGUFWriter(tmp_path / "s.gguf", "nonesuch")
        writer.add_tensor("a.weight", np.zeros((2, 32), dtype=np.float32))
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        with pytest.raises(ModelFileError, match=r"could not convert s\.gguf to Q8_0 .*nonesuch"):
            convert(tmp_path / "s.gguf", tmp_path / "t.gguf", "Q8_0")
        assert [path.name for path in tmp_path.iterdir()] == ["s.gguf"]
        assert capfd.readouterr() == ("", "")

    def test_a_damaged_source(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "s.gguf").write_bytes(source.read_bytes()[:-100_000])
        with pytest.raises(ModelFileError, match="damaged or incomplete"):
            convert(tmp_path / "s.gguf", tmp_path / "t.gguf", "Q8_0")
        assert [path.name for path in tmp_path.iterdir()] == ["s.gguf"]

    def test_a_full_disk_leaves_nothing(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def full() -> Iterator[list[str]]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield []

        monkeypatch.setattr(gguf_quantise.llama_log, "errors_kept", full)
        with pytest.raises(DiskFullError):
            convert(source, tmp_path / "t.gguf", "Q8_0")
        assert not list(tmp_path.iterdir())

    def test_without_llama_cpp_one_sentence(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "llama_cpp", None)
        with pytest.raises(SetupError, match=r"needs llama\.cpp, which is not installed"):
            convert(source, tmp_path / "t.gguf", "Q8_0")
