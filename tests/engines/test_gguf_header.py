"""GGUF headers: what a whole file says of itself, and that no damaged one is believed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from console.engines import gguf_header
from console.engines.gguf_header import GgufHeader, GgufTensor, read_gguf_header, read_gguf_layout
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

F32, Q4_0 = 0, 2
U32, BOOL, STRING, ARRAY, U64 = 4, 7, 8, 9, 10
HUGE = 2**63


def text(value: str | bytes, declared: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if declared is None else declared) + raw


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def strings(values: list[str], declared: int | None = None) -> bytes:
    count = len(values) if declared is None else declared
    return struct.pack("<IQ", STRING, count) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


ENTRIES = [
    entry("general.architecture", STRING, text("llama")),
    entry("llama.block_count", U32, struct.pack("<I", 2)),
    entry("tokenizer.ggml.tokens", ARRAY, strings(["a", "b", "c"])),
    entry("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", 6, 3, 0, 1, 2)),
    entry("tokenizer.chat_template", STRING, text("{{ messages }}")),
    entry("general.flag", BOOL, b"\x01"),
]
TENSORS = [tensor("blk.0", (32, 2), Q4_0), tensor("norm", (8,), F32, offset=64)]
DATA = bytes(64 + 32)


def file(
    entries: list[bytes] = ENTRIES,
    tensors: list[bytes] = TENSORS,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    data: bytes = DATA,
) -> bytes:
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(entries) if key_count is None else key_count,
    )
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % 32) + data


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], GgufHeader]:
    def write_and_read(content: bytes) -> GgufHeader:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        return read_gguf_header(path)

    return write_and_read


class TestWhole:
    def test_a_hand_made_file(self, read: Callable[[bytes], GgufHeader]) -> None:
        header = read(file())
        assert header.metadata == {
            "general.architecture": "llama",
            "llama.block_count": 2,
            "tokenizer.chat_template": "{{ messages }}",
            "general.flag": True,
        }
        assert header.array_lengths == {"tokenizer.ggml.tokens": 3, "tokenizer.ggml.scores": 3}
        assert header.tensors == (GgufTensor("blk.0", (32, 2), "Q4_0", 36), GgufTensor("norm", (8,), "F32", 32))
        assert (header.architecture, header.parameters, header.quantisation) == ("llama", 72, "Q4_0")
        assert header.has_tokenizer and header.has_chat_template

    @pytest.mark.parametrize("kind", ["F32", "Q8_0"])
    def test_a_file_of_the_usual_writer(self, untaught: TransformersModel, tmp_path: Path, kind: str) -> None:
        header = read_gguf_header(tiny.write_gguf(untaught, tmp_path / "m.gguf", kind=kind))
        assert header.parameters == sum(parameter.numel() for parameter in untaught.network.parameters())
        assert header.quantisation == kind
        assert header.array_lengths["tokenizer.ggml.tokens"] == len(untaught.tokenizer)

    @pytest.mark.parametrize("version", [2, 3])
    def test_both_versions_in_use(self, read: Callable[[bytes], GgufHeader], version: int) -> None:
        assert read(file(version=version)).parameters == 72

    def test_without_tokenizer_and_template(self, read: Callable[[bytes], GgufHeader]) -> None:
        header = read(file(entries=[]))
        assert (header.architecture, header.has_tokenizer, header.has_chat_template) == ("unknown", False, False)

    def test_data_begins_at_the_declared_alignment(self, read: Callable[[bytes], GgufHeader]) -> None:
        entries = [entry("general.alignment", U32, struct.pack("<I", 4096))]
        with pytest.raises(ModelFileError, match="its tensors need"):
            read(file(entries, [tensor("norm", (8,))], data=bytes(32)))
        assert read(file(entries, [tensor("norm", (8,))], data=bytes(4096))).parameters == 8

    @pytest.mark.parametrize(
        ("raw", "kept"),
        [
            (b"a\x00b", "a\x00b"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            ("\u202egpj.exe".encode(), "\u202egpj.exe"),
            (b"", ""),
            (b"x" * 70_000, "x" * 65_536),
        ],
    )
    def test_strange_strings_are_only_text(self, read: Callable[[bytes], GgufHeader], raw: bytes, kept: str) -> None:
        assert read(file([entry("general.name", STRING, text(raw))])).metadata["general.name"] == kept

    @given(sizes=st.lists(st.integers(0, 40), max_size=30), piece=st.integers(8, 64))
    def test_arrays_of_strings_are_passed_over_in_pieces(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], piece: int
    ) -> None:
        """Wherever a piece ends, the entry behind the array is found."""
        entries = [entry("k", ARRAY, strings(["x" * size for size in sizes])), entry("after", STRING, text("here"))]
        path = tmp_path_factory.getbasetemp() / "pieces.gguf"
        path.write_bytes(file(entries))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gguf_header, "_PIECE", piece)
            header = read_gguf_header(path)
        assert (header.array_lengths, header.metadata) == ({"k": len(sizes)}, {"after": "here"})

    def test_entries_and_tensors_lie_where_the_layout_says(self, tmp_path: Path) -> None:
        path = tmp_path / "m.gguf"
        path.write_bytes(content := file())
        layout = read_gguf_layout(path)
        assert [content[one.start : one.end] for one in layout.entries] == ENTRIES
        assert [content[slice(*one.info)] for one in layout.tensors] == TENSORS
        assert content[layout.data_start :] == DATA
        assert [one.offset - layout.data_start for one in layout.tensors] == [0, 64]
        assert layout.header.types_held == {"Q4_0": 64, "F32": 8}

    def test_an_adapter_has_a_layout_and_is_no_model(self, tmp_path: Path) -> None:
        path = tmp_path / "m.gguf"
        path.write_bytes(file([entry("general.type", STRING, text("adapter"))]))
        assert len(read_gguf_layout(path).tensors) == 2
        with pytest.raises(ModelFileError, match="is a LoRA adapter, not a model"):
            read_gguf_header(path)


class TestDamaged:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            pytest.param(file(magic=b"GGML"), "not a GGUF model", id="wrong magic"),
            pytest.param(b"", "not a GGUF model", id="empty"),
            pytest.param(file(version=1), "version 1", id="old version"),
            pytest.param(file(version=HUGE >> 40), "version", id="future version"),
            pytest.param(file(tensors=[]), "holds no weights", id="vocabulary only"),
            pytest.param(file(tensor_count=HUGE), f"declares {HUGE} tensors", id="huge tensor count"),
            pytest.param(file(key_count=HUGE), f"{HUGE} entries", id="huge key count"),
            pytest.param(file([entry("k", STRING, text("v", declared=HUGE))]), "ends before", id="huge string"),
            pytest.param(file([text("k", declared=HUGE)]), "ends before", id="huge key"),
            pytest.param(file([entry("k", ARRAY, strings([], HUGE))]), f"declares {HUGE}", id="huge array"),
            pytest.param(file([entry("k", ARRAY, strings(["a"], 300))]), "damaged", id="array past the end"),
            pytest.param(
                file([entry("k", ARRAY, struct.pack("<IQ", U64, 100))]), "ends before", id="numbers past the end"
            ),
            pytest.param(file([entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "unsupported type 9", id="nested"),
            pytest.param(file([entry("k", 99, b"")]), "value type 99", id="unknown value type"),
            pytest.param(file(tensors=[tensor("t", (2,) * 9)]), "9 dimensions", id="dimensions"),
            pytest.param(file(tensors=[tensor("t", (8,), 99)]), "tensor type 99", id="unknown tensor type"),
            pytest.param(file(tensors=[tensor("t", (HUGE, HUGE))]), "its tensors need", id="huge tensor"),
            pytest.param(file(tensors=[tensor("t", (8,), F32, HUGE)]), "its tensors need", id="far offset"),
            pytest.param(file(tensors=[tensor("t", (33,), Q4_0)]), "does not fit its type", id="broken block"),
            pytest.param(file(tensors=[tensor("t", (8,), F32, 3)]), "does not fit its type", id="unaligned"),
            *(
                pytest.param(
                    file([entry("general.alignment", U64, struct.pack("<Q", value))]), says, id=f"alignment {value}"
                )
                for value, says in ((0, "power of two"), (24, "power of two"), (HUGE, "does not fit its type"))
            ),
        ],
    )
    def test_refused_with_its_reason(self, read: Callable[[bytes], GgufHeader], content: bytes, says: str) -> None:
        with pytest.raises(ModelFileError, match=says):
            read(content)

    def test_every_shorter_file_is_refused(self, read: Callable[[bytes], GgufHeader]) -> None:
        whole = file()
        read(whole)
        for length in range(len(whole)):
            with pytest.raises(ModelFileError):
                read(whole[:length])

    def test_a_renamed_archive_is_not_a_model(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("GGUF", file())
        with pytest.raises(ModelFileError, match="is a ZIP archive"):
            read_gguf_header(path)

    @settings(deadline=None, database=None, max_examples=300)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(file()) - 1), st.one_of(st.sampled_from([0, 127, 255]), st.integers(0, 255))),
            min_size=1,
            max_size=4,
        )
    )
    def test_any_flipped_bytes_are_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
    ) -> None:
        """Nothing else is ever raised, and what is read fits into the file."""
        content = bytearray(file())
        for place, value in changes:
            content[place] = value
        path = tmp_path_factory.getbasetemp() / "flipped.gguf"
        path.write_bytes(content)
        try:
            header = read_gguf_header(path)
        except ModelFileError as error:
            assert "flipped.gguf" in str(error)
        else:
            assert sum(tensor.size for tensor in header.tensors) <= 2 * len(content)
