"""Rewritten GGUF files: what was not asked to change keeps its bytes, what was is stored and told."""

from __future__ import annotations

import errno
import hashlib
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import dequantised, split_in_two, write_tiny_gguf

from console.engines import ggml_blocks
from console.engines.ggml_blocks import K_QUANTS, SIMPLE, WRITABLE, quantised, values_of
from console.engines.gguf_header import parts_of, read_gguf_header, read_gguf_layout
from console.engines.gguf_quantise import convert
from console.engines.gguf_rewrite import rewrite, target_parts
from console.engines.gguf_tensors import provenance_of, read_values, tensors_of
from console.errors import DiskFullError, InputError, ModelFileError, SetupError

DOWN, NORM = "blk.1.ffn_down.weight", "blk.0.attn_norm.weight"
PROVENANCE = {"base_sha256": "ab" * 32, "requests": ["R-2026-001", "R-2026-002"], "version": "0.1.0"}
# Largest relative error (Frobenius) of normally distributed weights in llama.cpp's own k-quants, measured: 0.296,
# 0.151, 0.071, 0.036 and 0.018.
K_ERROR = {"Q2_K": 0.31, "Q3_K": 0.16, "Q4_K": 0.075, "Q5_K": 0.038, "Q6_K": 0.019}


def raw_tensors(path: Path) -> dict[str, str]:
    """SHA-256 of every tensor's stored bytes."""
    hashes = {}
    for name, stored in tensors_of(path).items():
        with stored.path.open("rb") as stream:
            stream.seek(stored.offset)
            hashes[name] = hashlib.sha256(stream.read(stored.size)).hexdigest()
    return hashes


def entries_of(path: Path) -> bytes:
    """The bytes of all entries."""
    layout = read_gguf_layout(path)
    return path.read_bytes()[layout.entries[0].start : layout.entries[-1].end]


def noise(shape: tuple[int, ...], size: float = 0.02, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * size).astype(np.float32)


def write_matrices(path: Path, matrices: dict[str, tuple[np.ndarray, str]], **extra: int) -> Path:
    """A GGUF file with the given (values, type) and some entries of all kinds."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("odd.sixteen", 65_535)
    writer.add_array("odd.bools", [True, False])
    writer.add_array("odd.doubles", [0.5, 1.5])
    writer.add_string("unknown.to.everyone", "späßig\n")
    for key, value in extra.items():
        writer.add_uint16(key.replace("_", "."), value)
    for name, (values, kind) in matrices.items():
        rows = values.reshape(-1, values.shape[-1])
        stored = quantised(rows, kind)
        writer.add_tensor(name, stored.reshape(*values.shape[:-1], -1), raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored_bytes(path: Path, name: str) -> bytes:
    stored = tensors_of(path)[name]
    return stored.path.read_bytes()[stored.offset : stored.offset + stored.size]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("source"), file_type="Q8_0")[0]


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One 8 x 256 matrix of every type that needs no llama.cpp."""
    folder = tmp_path_factory.mktemp("matrices")
    return write_matrices(folder / "m.gguf", {f"{kind}.weight": (noise((8, 256)), kind) for kind in sorted(SIMPLE)})


class TestIdentity:
    def test_nothing_changed_and_nothing_added_is_the_same_file(self, source: Path, tmp_path: Path) -> None:
        assert rewrite(source, tmp_path / "t.gguf", {}, provenance={}) == ()
        assert (tmp_path / "t.gguf").read_bytes() == source.read_bytes()

    def test_provenance_alone_changes_no_tensor_and_no_entry(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "t.gguf"
        rewrite(source, target, {}, provenance=PROVENANCE)
        assert raw_tensors(target) == raw_tensors(source)
        assert entries_of(target).startswith(entries_of(source))
        before, after = source.read_bytes(), target.read_bytes()
        assert after[read_gguf_layout(target).data_start :] == before[read_gguf_layout(source).data_start :]

    @pytest.mark.parametrize("kind", sorted(SIMPLE))
    def test_own_values_give_the_own_bytes_again(self, matrices: Path, kind: str) -> None:
        """Also without the rule that keeps unchanged blocks: these eight types round-trip exactly."""
        name = f"{kind}.weight"
        raw = stored_bytes(matrices, name)
        assert quantised(dequantised(matrices, name), kind).tobytes() == raw

    def test_own_values_are_reported_as_unchanged(self, matrices: Path, tmp_path: Path) -> None:
        own = {name: dequantised(matrices, name) for name in tensors_of(matrices)}
        report = rewrite(matrices, tmp_path / "t.gguf", own, provenance={})
        assert (tmp_path / "t.gguf").read_bytes() == matrices.read_bytes()
        assert len(report) == len(SIMPLE)
        for one in report:
            assert one.unchanged and (one.wanted_change, one.stored_change, one.missed) == (0, 0, 0)

    @settings(deadline=None, max_examples=25, database=None)
    @given(
        kind=st.sampled_from(sorted(SIMPLE)),
        shape=st.tuples(st.integers(1, 5), st.integers(1, 4)),
        block=st.tuples(st.integers(0, 4), st.integers(0, 3)),
        size=st.floats(1e-3, 10),
        chunk=st.sampled_from([1, 64, 1 << 20]),
    )
    def test_only_the_blocks_asked_for_change(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        kind: str,
        shape: tuple[int, int],
        block: tuple[int, int],
        size: float,
        chunk: int,
    ) -> None:
        """Whatever the chunks in which it is done."""
        folder = tmp_path_factory.mktemp("blocks")
        values = noise((shape[0], shape[1] * 32))
        path = write_matrices(folder / "s.gguf", {"a.weight": (values, kind), "b.weight": (values, kind)})
        row, column = block[0] % shape[0], block[1] % shape[1]
        wanted = dequantised(path, "a.weight").copy()
        wanted[row, column * 32 : column * 32 + 32] = size * np.linspace(-1, 1, 32, dtype=np.float32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("console.engines.gguf_rewrite._VALUES_AT_ONCE", chunk)
            (one,) = rewrite(path, folder / "t.gguf", {"a.weight": wanted}, provenance={})
        now = dequantised(folder / "t.gguf", "a.weight")
        changed = (now != dequantised(path, "a.weight")).reshape(shape[0], shape[1], 32).any(axis=2)
        assert changed.sum() == 1 and changed[row, column]
        assert one.units_changed == (1 if ggml_blocks.block_of(kind)[0] == 32 else one.units_changed)
        assert one.units * ggml_blocks.block_of(kind)[0] == values.size
        assert raw_tensors(folder / "t.gguf")["b.weight"] == raw_tensors(path)["b.weight"]


class TestChanged:
    def test_the_rest_of_the_file_keeps_its_bytes(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "t.gguf"
        wanted = {DOWN: noise(tensors_of(source)[DOWN].shape), NORM: np.ones(64, dtype=np.float32)}
        report = rewrite(source, target, wanted, provenance=PROVENANCE)
        before, after = raw_tensors(source), raw_tensors(target)
        assert {name for name in before if before[name] != after[name]} == {DOWN, NORM}
        assert entries_of(target).startswith(entries_of(source))
        assert read_gguf_header(target).tensors == read_gguf_header(source).tensors
        assert {one.name: (one.type_before, one.type_after) for one in report} == {
            DOWN: ("Q8_0", "Q8_0"),
            NORM: ("F32", "F32"),
        }
        assert np.array_equal(dequantised(target, NORM), wanted[NORM])
        assert np.allclose(dequantised(target, DOWN), wanted[DOWN], atol=np.abs(wanted[DOWN]).max() / 127)

    def test_the_account_of_a_change(self, tmp_path: Path) -> None:
        old = np.ones((4, 32), dtype=np.float32)
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (old, "F32")})
        wanted = old.copy()
        wanted[0, 0] = 3
        (one,) = rewrite(path, tmp_path / "t.gguf", {"a.weight": wanted}, provenance={})
        assert one.wanted_change == one.stored_change == pytest.approx(2 / np.sqrt(128))
        assert (one.missed, one.units, one.units_changed, one.unchanged) == (0, 128, 1, False)

    @pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
    def test_a_change_that_vanishes_in_rounding_is_visible(self, tmp_path: Path, kind: str) -> None:
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (noise((8, 256)), kind)})
        wanted = dequantised(path, "a.weight") * (1 + np.float32(1e-5))
        (one,) = rewrite(path, tmp_path / "t.gguf", {"a.weight": wanted}, provenance={})
        assert one.wanted_change == pytest.approx(1e-5, rel=0.2)
        assert one.stored_change == 0 and one.missed == 1 and one.units_changed == 0 and one.unchanged
        assert (tmp_path / "t.gguf").read_bytes() == path.read_bytes()

    def test_a_higher_type_keeps_that_change_and_leaves_norms_alone(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "t.gguf"
        small = {name: dequantised(source, name) * np.float32(1.001) for name in (DOWN, NORM)}
        own = {"blk.0.ffn_up.weight": dequantised(source, "blk.0.ffn_up.weight")}
        report = rewrite(source, target, {**small, **own}, higher_type="F16", provenance=PROVENANCE)
        told = {one.name: one for one in report}
        assert (told[DOWN].type_after, told[NORM].type_after) == ("F16", "F32")
        assert told[DOWN].stored_change == pytest.approx(told[DOWN].wanted_change, rel=0.05)
        assert told["blk.0.ffn_up.weight"].unchanged, "no change, so no reason for another type"
        before, after = raw_tensors(source), raw_tensors(target)
        assert {name for name in before if before[name] != after[name]} == {DOWN, NORM}
        assert entries_of(target).startswith(entries_of(source))
        assert [one.name for one in read_gguf_header(target).tensors] == list(before)
        assert np.allclose(dequantised(target, DOWN), small[DOWN], rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("alignment", [32, 64, 4096])
    def test_the_alignment_is_kept(self, tmp_path: Path, alignment: int) -> None:
        writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama")
        writer.add_custom_alignment(alignment)
        for name in ("a.weight", "b.weight"):
            writer.add_tensor(name, noise((3, 32)))
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        source, target = tmp_path / "s.gguf", tmp_path / "t.gguf"
        rewrite(source, target, {"a.weight": noise((3, 32), seed=1)}, provenance=PROVENANCE)
        assert all(one.offset % alignment == 0 for one in tensors_of(target).values())
        assert raw_tensors(target)["b.weight"] == raw_tensors(source)["b.weight"]
        assert np.array_equal(dequantised(target, "a.weight"), noise((3, 32), seed=1))

    def test_memory_stays_at_chunks(self, tmp_path: Path) -> None:
        values = noise((4096, 2048))  # 32 MB
        path = write_matrices(tmp_path / "s.gguf", {f"{n}.weight": (values, "F32") for n in "abc"})
        tracemalloc.start()
        try:
            rewrite(path, tmp_path / "t.gguf", {"b.weight": values + 1}, provenance={})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < values.nbytes + 64e6, "a file of 96 MB; the changed values and some chunks of 4 MB are allowed"


class TestProvenance:
    def test_read_by_the_usual_reader(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "t.gguf"
        rewrite(source, target, {}, provenance=PROVENANCE)
        fields = gguf.GGUFReader(target).fields
        assert fields["erasure_console.base_sha256"].contents() == "ab" * 32
        assert fields["erasure_console.requests"].contents() == ["R-2026-001", "R-2026-002"]
        assert provenance_of(target) == {**PROVENANCE, "requests": ("R-2026-001", "R-2026-002")}
        assert provenance_of(source) == {}

    def test_a_second_erasure_replaces_what_it_says_anew(self, source: Path, tmp_path: Path) -> None:
        first, second = tmp_path / "1.gguf", tmp_path / "2.gguf"
        rewrite(source, first, {}, provenance=PROVENANCE)
        rewrite(first, second, {}, provenance={"requests": ["R-2026-003"]})
        assert provenance_of(second) == {**PROVENANCE, "requests": ("R-2026-003",)}
        assert entries_of(second).startswith(entries_of(source))

    @pytest.mark.parametrize(
        "provenance",
        [
            {"k": ""},
            {"k": "a\nb"},
            {"k": "a\x00"},
            {"k": "\u202ex"},
            {"k": "x" * 201},
            {"k": 3},
            {"k": []},
            {"k": [["a"]]},
            {"k": {"a": "b"}},
            {"K": "v"},
            {"a.b": "v"},
            {"": "v"},
        ],
    )
    def test_only_short_plain_text(self, source: Path, tmp_path: Path, provenance: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            rewrite(source, tmp_path / "t.gguf", {}, provenance=provenance)
        assert not list(tmp_path.iterdir())


class TestRefused:
    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"nowhere.weight": np.zeros((2, 2), np.float32)}, "no tensor 'nowhere.weight'"),
            ({NORM: np.zeros(63, np.float32)}, r"shape \[63\]"),
            ({NORM: np.zeros(64, np.int64)}, "int64"),
            ({NORM: np.full(64, np.nan, np.float32)}, "not numbers"),
            ({NORM: np.full(64, 1e300)}, "too large"),
        ],
    )
    def test_values_that_do_not_fit(
        self, source: Path, tmp_path: Path, changed: dict[str, np.ndarray], says: str
    ) -> None:
        with pytest.raises(InputError, match=says):
            rewrite(source, tmp_path / "t.gguf", changed, provenance={})
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("kind", ["IQ4_NL", "IQ2_XXS", "TQ1_0", "MXFP4"])
    def test_types_that_cannot_be_written(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "s.gguf"
        block, size = ggml_blocks.block_of(kind)
        writer = gguf.GGUFWriter(path, "llama")
        raw = np.zeros((2, 256 // block * size), dtype=np.uint8)
        writer.add_tensor("a.weight", raw, raw_dtype=gguf.GGMLQuantizationType[kind])
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        with pytest.raises(InputError, match=f"'a.weight' is stored as {kind}.*higher type"):
            rewrite(path, tmp_path / "t.gguf", {"a.weight": noise((2, 256))}, provenance={})
        assert not (tmp_path / "t.gguf").exists()
        (one,) = rewrite(path, tmp_path / "t.gguf", {"a.weight": noise((2, 256))}, higher_type="Q8_0", provenance={})
        assert (one.type_before, one.type_after) == (kind, "Q8_0")
        assert one.missed < 0.01
        assert kind not in WRITABLE

    def test_rows_that_do_not_fill_the_higher_types_blocks(self, tmp_path: Path) -> None:
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (noise((2, 32)), "Q4_0")})
        with pytest.raises(InputError, match="rows of 32 values"):
            rewrite(path, tmp_path / "t.gguf", {"a.weight": noise((2, 32), 1)}, higher_type="Q6_K", provenance={})

    def test_values_too_large_for_half_precision(self, tmp_path: Path) -> None:
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (noise((2, 32)), "F16")})
        with pytest.raises(InputError, match="too large for F16"):
            rewrite(path, tmp_path / "t.gguf", {"a.weight": np.full((2, 32), 1e5, np.float32)}, provenance={})
        assert [one.name for one in tmp_path.iterdir()] == ["s.gguf"]

    def test_the_source_itself(self, source: Path, tmp_path: Path) -> None:
        before = source.read_bytes()
        (tmp_path / "link.gguf").symlink_to(source)
        for target in (source, tmp_path / "link.gguf"):
            with pytest.raises(InputError, match="is the model itself"):
                rewrite(source, target, {}, provenance=PROVENANCE)
        assert source.read_bytes() == before

    def test_a_file_that_is_there_is_not_replaced(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "t.gguf").write_bytes(b"mine")
        with pytest.raises(InputError, match="already"):
            rewrite(source, tmp_path / "t.gguf", {}, provenance={})
        assert (tmp_path / "t.gguf").read_bytes() == b"mine"

    def test_an_unknown_higher_type(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="IQ9 is no type"):
            rewrite(source, tmp_path / "t.gguf", {}, higher_type="IQ9", provenance={})


class _FullDisk(io.BufferedWriter):
    """Takes 10,000 bytes, then there is no room."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


class TestFailures:
    def test_a_full_disk_leaves_nothing(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usual = Path.open

        def opened(path: Path, mode: str = "r", **rest: Any) -> Any:
            return _FullDisk(io.FileIO(path, "w")) if mode == "wb" else usual(path, mode, **rest)

        monkeypatch.setattr(Path, "open", opened)
        with pytest.raises(DiskFullError, match="no room left"):
            rewrite(source, tmp_path / "t.gguf", {}, provenance=PROVENANCE)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, InputError), (errno.EROFS, InputError)]
    )
    def test_a_failing_rename_leaves_nothing(
        self,
        source: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        kind: type[Exception],
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(number, "refused")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(kind):
            rewrite(source, tmp_path / "t.gguf", {}, provenance=PROVENANCE)
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_is_not_there(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be written"):
            rewrite(source, tmp_path / "no" / "t.gguf", {}, provenance={})
        assert not list(tmp_path.iterdir())

    def test_an_interruption_leaves_nothing(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("console.engines.gguf_rewrite._write_data", stop)
        with pytest.raises(KeyboardInterrupt):
            rewrite(source, tmp_path / "t.gguf", {}, provenance=PROVENANCE)
        assert not list(tmp_path.iterdir())


# -- Split models ------------------------------------------------------------------------------


def write_split(folder: Path, parts: int = 3, total: int | None = None) -> tuple[Path, ...]:
    """A model in several files, as llama.cpp's splitter writes one: all entries in the first."""
    paths = []
    for number in range(parts):
        path = folder / f"model-{number + 1:05d}-of-{parts:05d}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if number:  # the splitter leaves the architecture to the first file
            writer.kv_data[0].clear()
        else:
            writer.add_token_list(["a", "b"])
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", 2 * parts if total is None else total)
        for letter in "ab":
            writer.add_tensor(f"{letter}{number}.weight", noise((2, 32), seed=number))
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        paths.append(path)
    return tuple(paths)


class TestSplit:
    def test_one_file_is_its_own_part(self, source: Path) -> None:
        assert parts_of(source) == (source,)

    def test_any_part_names_all(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        assert [parts_of(path) for path in paths] == [paths] * 3
        assert [read_gguf_header(path).parameters for path in paths] == [6 * 64] * 3
        assert read_gguf_header(paths[2]).has_tokenizer
        assert {stored.path for stored in tensors_of(paths[1]).values()} == set(paths)
        assert np.array_equal(dequantised(paths[0], "b2.weight"), noise((2, 32), seed=2))
        assert np.array_equal(read_values(tensors_of(paths[0])["b2.weight"]), noise((2, 32), seed=2))

    def test_a_missing_part_is_named(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        paths[1].unlink()
        for path in (paths[0], paths[2]):
            with pytest.raises(ModelFileError, match=r"lacks 1 of its 3 files \(model-00002-of-00003.gguf\)"):
                parts_of(path)

    def test_a_renamed_part(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        alone = paths[0].rename(tmp_path / "model.gguf")
        with pytest.raises(ModelFileError, match=r"part 1 of a model in 3 files.*-00001-of-00003.gguf"):
            parts_of(alone)

    def test_parts_in_each_others_place(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        paths[1].write_bytes(paths[2].read_bytes())
        with pytest.raises(ModelFileError, match="part 3 of 3, not part 2"):
            parts_of(paths[0])

    def test_a_part_of_another_model(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path, total=7)
        with pytest.raises(ModelFileError, match=r"hold 6 tensors, but .* declares 7"):
            parts_of(paths[0])

    def test_only_parts_that_change_are_written_anew(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        (tmp_path / "new").mkdir()
        target = tmp_path / "new" / "erased.gguf"
        wanted = noise((2, 32), seed=9)
        (one,) = rewrite(paths[1], target, {"a2.weight": wanted}, provenance=PROVENANCE)
        written = target_parts(paths[1], target)
        assert one.name == "a2.weight"
        assert [path.name for path in written] == [f"erased-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
        assert sorted(written) == sorted(target.parent.iterdir()) and parts_of(written[0]) == written
        assert written[1].read_bytes() == paths[1].read_bytes()
        assert np.array_equal(dequantised(written[0], "a2.weight"), wanted)
        before, after = raw_tensors(paths[0]), raw_tensors(written[0])
        assert {name for name in before if before[name] != after[name]} == {"a2.weight"}
        assert provenance_of(written[2])["version"] == "0.1.0"
        assert target_parts(paths[0], written[0]) == written, "the first part's own name is taken as well"

    def test_a_failure_takes_away_the_parts_already_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = write_split(tmp_path)
        (tmp_path / "new").mkdir()
        usual, calls = Path.replace, []

        def fail_at_the_third(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "full")
            return usual(path, target)

        monkeypatch.setattr(Path, "replace", fail_at_the_third)
        with pytest.raises(DiskFullError):
            rewrite(paths[0], tmp_path / "new" / "t.gguf", {}, provenance=PROVENANCE)
        assert len(calls) == 3 and not list((tmp_path / "new").iterdir())

    def test_a_target_that_is_a_part_of_the_source(self, tmp_path: Path) -> None:
        paths = write_split(tmp_path)
        with pytest.raises(InputError, match="is the model itself"):
            rewrite(paths[0], tmp_path / "model.gguf", {}, provenance=PROVENANCE)


# -- With llama.cpp ----------------------------------------------------------------------------


class TestKQuants:
    @pytest.fixture(autouse=True)
    def _needs_llama_cpp(self) -> None:
        pytest.importorskip("llama_cpp")

    @pytest.mark.parametrize("kind", sorted(K_QUANTS))
    def test_stored_within_the_types_own_error(self, tmp_path: Path, kind: str) -> None:
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (noise((8, 512)), kind)})
        wanted = dequantised(path, "a.weight").copy()
        wanted[3, :256] = noise((256,), seed=5)
        (one,) = rewrite(path, tmp_path / "t.gguf", {"a.weight": wanted}, provenance={})
        assert (one.type_after, one.units, one.units_changed) == (kind, 16, 1)
        stored = dequantised(tmp_path / "t.gguf", "a.weight")
        error = np.linalg.norm(stored[3, :256] - wanted[3, :256]) / np.linalg.norm(wanted[3, :256])
        assert 0 < error < 1.2 * K_ERROR[kind]
        assert np.array_equal(np.delete(stored, 3, 0), np.delete(wanted, 3, 0))

    @pytest.mark.parametrize(
        ("kind", "most"), [("Q2_K", 0.02), ("Q3_K", 0.04), ("Q4_K", 0.001), ("Q5_K", 0.006), ("Q6_K", 0.001)]
    )
    def test_why_unchanged_blocks_keep_their_bytes(self, kind: str, most: float) -> None:
        """Quantising de-quantised values again moves some of them: by up to 3 % of the norm in Q3_K."""
        first = quantised(noise((64, 1024)), kind)
        own = values_of(first, kind)
        again = values_of(quantised(own, kind), kind)
        assert np.linalg.norm(again - own) / np.linalg.norm(own) <= most
        if kind in {"Q2_K", "Q3_K", "Q5_K", "Q6_K"}:
            assert quantised(own, kind).tobytes() != first.tobytes()

    @pytest.mark.parametrize("kind", sorted(K_QUANTS))
    def test_the_whole_error(self, kind: str) -> None:
        values = noise((64, 1024))
        error = np.linalg.norm(values_of(quantised(values, kind), kind) - values) / np.linalg.norm(values)
        assert 0.9 * K_ERROR[kind] < error < K_ERROR[kind]

    @pytest.mark.parametrize("kind", sorted(SIMPLE - {"F32"}))
    def test_both_quantisers_agree_on_the_simple_types(self, kind: str) -> None:
        values = noise((16, 256))
        assert quantised(values, kind).tobytes() == ggml_blocks._by_ggml(values, kind).tobytes()

    def test_without_llama_cpp_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_matrices(tmp_path / "s.gguf", {"a.weight": (noise((2, 256)), "Q4_K")})
        monkeypatch.setattr(ggml_blocks, "_base_library", lambda: None)
        with pytest.raises(SetupError, match=r"'a\.weight' is stored as Q4_K, which only llama\.cpp writes; install"):
            rewrite(path, tmp_path / "t.gguf", {"a.weight": noise((2, 256), 1)}, provenance={})
        (one,) = rewrite(path, tmp_path / "t.gguf", {"a.weight": noise((2, 256), 1)}, higher_type="F16", provenance={})
        assert one.type_after == "F16"


def logits_of(path: Path) -> np.ndarray:
    """(4, vocabulary): what llama.cpp makes of four tokens."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(str(path), n_ctx=32, n_threads=1, logits_all=True, verbose=False)
    model.eval([5, 6, 7, 8])
    logits = np.array(model.scores[:4])
    model.close()
    return logits


class TestLoads:
    @pytest.mark.parametrize("higher_type", [None, "F16", "F32"])
    def test_llama_cpp_computes_with_the_new_weights(
        self, source: Path, tmp_path: Path, higher_type: str | None
    ) -> None:
        llama_cpp = pytest.importorskip("llama_cpp")
        target = tmp_path / "t.gguf"
        wanted = noise(tensors_of(source)[DOWN].shape, 0.3)
        rewrite(source, target, {DOWN: wanted}, higher_type=higher_type, provenance=PROVENANCE)
        assert np.abs(logits_of(source) - logits_of(target)).max() > 0.1
        model = llama_cpp.Llama(str(target), vocab_only=True, verbose=False)
        assert model.metadata["erasure_console.version"] == "0.1.0"
        model.close()

    @pytest.mark.parametrize("higher_type", [None, "F16"])
    def test_a_split_model_as_the_same_model_in_one_file(
        self, source: Path, tmp_path: Path, higher_type: str | None
    ) -> None:
        pytest.importorskip("llama_cpp")
        paths = split_in_two(source, tmp_path)
        assert parts_of(paths[1]) == paths and raw_tensors(paths[0]) == raw_tensors(source)
        assert np.array_equal(logits_of(paths[0]), logits_of(source))
        wanted = {DOWN: noise(tensors_of(source)[DOWN].shape, 0.3), NORM: np.ones(64, dtype=np.float32)}
        whole, split = tmp_path / "whole.gguf", tmp_path / "split.gguf"
        for one, target in ((source, whole), (paths[0], split)):
            rewrite(one, target, wanted, higher_type=higher_type, provenance=PROVENANCE)
        first = target_parts(paths[0], split)[0]
        assert raw_tensors(first) == raw_tensors(whole)
        assert np.array_equal(logits_of(first), logits_of(whole))
        convert(first, tmp_path / "joined.gguf", "F16")
        assert parts_of(tmp_path / "joined.gguf") == (tmp_path / "joined.gguf",)
        assert tensors_of(tmp_path / "joined.gguf").keys() == tensors_of(source).keys()


def test_an_entry_can_be_cut_out_by_its_place(source: Path) -> None:
    """What the layout says of entries is what lies there."""
    layout, raw = read_gguf_layout(source), source.read_bytes()
    for entry in layout.entries:
        size = struct.unpack_from("<Q", raw, entry.start)[0]
        assert raw[entry.start + 8 : entry.start + 8 + size].decode() == entry.key
    assert all(before.end == after.start for before, after in zip(layout.entries, layout.entries[1:], strict=False))
