"""GGUF files made to do harm: one sentence, quickly, in little memory, and nothing written anywhere else."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import dequantised

from console.engines.gguf_header import parts_of, read_gguf_header, shown
from console.engines.gguf_quantise import types_held
from console.engines.gguf_rewrite import rewrite
from console.engines.gguf_tensors import provenance_of, tensors_of
from console.engines.model_files import identify
from console.errors import InputError, ModelFileError

F32, Q4_0 = 0, 2
U16, U32, BOOL, STRING, ARRAY, U64 = 2, 4, 7, 8, 9, 10
HUGE = 2**63
SECONDS, BYTES = 1.0, 50_000_000


def text(value: str | bytes, declared: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if declared is None else declared) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def named(key: str, value: str | bytes) -> bytes:
    return entry(key, STRING, text(value))


def tensor(name: str | bytes, shape: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


TOKENS = entry("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 1) + text("a"))
USUAL = [named("general.architecture", "llama"), TOKENS]


def file(
    entries: list[bytes] = USUAL,
    tensors: list[bytes] | None = None,
    *,
    head: bytes = b"GGUF" + struct.pack("<I", 3),
    counts: tuple[int, int] | None = None,
    data: bytes = bytes(64),
) -> bytes:
    tensors = [tensor("a.weight"), tensor("b.weight", offset=32)] if tensors is None else tensors
    header = (
        head + struct.pack("<QQ", *(counts or (len(tensors), len(entries)))) + b"".join(entries) + b"".join(tensors)
    )
    return header + bytes(-len(header) % 32) + data


def nested(depth: int) -> bytes:
    """An array of an array of an array ..."""
    return struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", U32, 0)


def alignment(value: int, kind: int = U32) -> bytes:
    return entry("general.alignment", kind, struct.pack({U32: "<I", U64: "<Q", BOOL: "<B"}[kind], value))


TWO = [tensor("a.weight"), tensor("b.weight", offset=32)]
SPLIT = [entry("split.no", U16, b"\0\0"), entry("split.count", U16, struct.pack("<H", 65_535))]
HOSTILE = {
    "empty": b"",
    "three bytes": b"GGU",
    "wrong magic": b"GGML" + file()[4:],
    "older magic": b"tjgg" + file()[4:],
    "text": b"#!/bin/sh\nrm -rf /\n" * 50,
    "version 1": file(head=b"GGUF" + struct.pack("<I", 1)),
    "version 4": file(head=b"GGUF" + struct.pack("<I", 4)),
    "big-endian": file(head=b"GGUF" + struct.pack(">I", 3)),
    "huge tensor count": file(counts=(HUGE, 2)),
    "huge entry count": file(counts=(2, HUGE)),
    "more tensors than there are": file(counts=(200_000, 2)),
    "more entries than there are": file(counts=(2, 10_000)),
    "huge string": file([entry("k", STRING, text("v", HUGE))]),
    "string of 2**64 - 1": file([entry("k", STRING, text("v", 2**64 - 1))]),
    "huge key": file([text("k", HUGE)]),
    "key of 1 MB": file([named("k" * 1_000_000, "v"), *USUAL]),
    "empty key": file([named("", "v"), *USUAL]),
    "key with NUL": file([named("a\0b", "v"), *USUAL]),
    "key with line break": file([named("a\nError: all is well", "v"), *USUAL]),
    "key that is not UTF-8": file([entry(b"\xff\xfe", STRING, text("v")), *USUAL]),
    "key with a right-to-left mark": file([named("a\u202eb", "v"), *USUAL]),
    "the same key twice": file([*USUAL, named("general.architecture", "gpt2")]),
    "the same key as text and as array": file([*USUAL, named("tokenizer.ggml.tokens", "a")]),
    "huge array": file([entry("k", ARRAY, struct.pack("<IQ", U64, HUGE))]),
    "array of 2**61 numbers, 2**64 bytes": file([entry("k", ARRAY, struct.pack("<IQ", U64, 2**61))]),
    "array of strings past the end": file([entry("k", ARRAY, struct.pack("<IQ", STRING, 200))]),
    "array of arrays": file([entry("k", ARRAY, nested(1))]),
    "10,000 arrays in each other": file([entry("k", ARRAY, nested(10_000))]),
    "unknown value type": file([entry("k", 99, b"")]),
    "nine dimensions": file(tensors=[tensor("a.weight", (1,) * 9)]),
    "2**32 - 1 dimensions": file(tensors=[text("a.weight") + struct.pack("<I", 2**32 - 1)]),
    "dimensions whose product is 0 modulo 2**64": file(tensors=[tensor("a.weight", (2**32, 2**32))]),
    "dimensions whose product is small modulo 2**64": file(tensors=[tensor("a.weight", (2**63 + 4, 2))]),
    "no values": file(tensors=[tensor("a.weight", (0, 8))]),
    "rows that do not fill blocks": file(tensors=[tensor("a.weight", (8, 4), Q4_0)]),
    "unknown tensor type": file(tensors=[tensor("a.weight", kind=99)]),
    "removed tensor type": file(tensors=[tensor("a.weight", kind=4)]),
    "beyond the file": file(tensors=[tensor("a.weight", offset=96)]),
    "offset whose end wraps around": file(tensors=[tensor("a.weight", offset=2**64 - 32)]),
    "the same tensor twice": file(tensors=[tensor("a.weight"), tensor("a.weight", offset=32)]),
    "one tensor on another": file(tensors=[tensor("a.weight", (16,)), tensor("b.weight", offset=32)]),
    "two tensors in one place": file(tensors=[tensor("a.weight"), tensor("b.weight")]),
    "a path as name": file(tensors=[tensor("../../x")]),
    "an absolute path as name": file(tensors=[tensor("/etc/passwd")]),
    "a Windows path as name": file(tensors=[tensor("..\\x")]),
    "NUL in a name": file(tensors=[tensor("a\0.weight")]),
    "an escape sequence in a name": file(tensors=[tensor("\x1b[2J")]),
    "a name that is not UTF-8": file(tensors=[tensor(b"\xff\xff")]),
    "a name of 64 bytes": file(tensors=[tensor("x" * 64)]),
    "no name": file(tensors=[tensor("")]),
    "alignment 0": file([alignment(0)]),
    "alignment 24": file([alignment(24)]),
    "alignment 2**31": file([alignment(2**31)]),
    "alignment 2**63": file([alignment(HUGE, U64)]),
    "alignment true": file([alignment(1, BOOL)]),
    "alignment as text": file([named("general.alignment", "32")]),
    "vocabulary only": file(tensors=[]),
    "adapter": file([*USUAL, named("general.type", "adapter")]),
    "image part": file([*USUAL, named("general.type", "mmproj")]),
    "another kind": file([*USUAL, named("general.type", "im\u202eatrix\n" * 1000)]),
    "one part of 65,535": file([*USUAL, *SPLIT]),
}


def readers() -> list[Callable[[Path], object]]:
    return [
        identify,
        read_gguf_header,
        parts_of,
        tensors_of,
        types_held,
        provenance_of,
        lambda path: dequantised(path, "a.weight"),
        lambda path: rewrite(path, path.with_name("out.gguf"), {}, provenance={"version": "1"}),
    ]


def bounded(ask: Callable[[Path], object], path: Path) -> object:
    """What ``ask`` gives, or the sentence with which it refuses; never longer (own seconds) or larger than allowed."""
    tracemalloc.start()
    start = time.process_time()
    try:
        answer = ask(path)
    except (ModelFileError, InputError) as error:
        answer = str(error)
        assert answer.isprintable() and answer.endswith(".") and len(answer) < 700, answer
    finally:
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < SECONDS and peak < BYTES, (seconds, peak)
    return answer


class TestRefused:
    def test_the_file_they_are_made_from_is_fine(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(file())
        assert [isinstance(bounded(ask, path), str) for ask in readers()] == [False] * len(readers())

    @pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
    def test_one_sentence_and_nothing_written(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "inside" / "deep").mkdir(parents=True)
        path = tmp_path / "inside" / "deep" / "model.gguf"
        path.write_bytes(content)
        for ask in readers():
            assert isinstance(answer := bounded(ask, path), str), answer
            assert "model.gguf" in answer
        assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]

    def test_a_renamed_archive(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../GGUF", file())
        assert "is a ZIP archive" in str(bounded(identify, path))
        assert list(tmp_path.iterdir()) == [path]

    def test_cut_anywhere(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        whole = file()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert isinstance(bounded(lambda one: rewrite(one, tmp_path / "t", {}, provenance={}), path), str)
        assert list(tmp_path.iterdir()) == [path]

    @settings(deadline=None, database=None, max_examples=150)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(file()) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
        )
    )
    def test_any_damage_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]]
    ) -> None:
        """Nothing else is ever raised; what is accepted is rewritten to the same bytes."""
        content = bytearray(file())
        for place, raw in changes:
            content[place : place + len(raw)] = raw
        folder = tmp_path_factory.mktemp("damaged")
        path = folder / "model.gguf"
        path.write_bytes(content)
        try:
            rewrite(path, folder / "t.gguf", {}, provenance={})
        except ModelFileError:
            assert list(folder.iterdir()) == [path]
        else:
            assert (folder / "t.gguf").read_bytes() == bytes(content)

    def test_headers_of_many_strings_are_bounded(self, tmp_path: Path) -> None:
        """Six million empty strings would be 48 MB that take many seconds to pass over."""
        path = tmp_path / "model.gguf"
        count = 6_000_000
        with path.open("wb") as stream:
            stream.write(file([entry("k", ARRAY, struct.pack("<IQ", STRING, count))], [], data=b""))
            stream.truncate(8 * count + 1_000)
        assert "6,000,000 strings" in str(bounded(read_gguf_header, path))

    def test_headers_of_much_text_are_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        entries = [named(f"k{number}", "x" * 65_536) for number in range(300)]
        path.write_bytes(file(entries))
        assert "more than 16 MB of text" in str(bounded(read_gguf_header, path))

    def test_a_header_longer_than_any_model_has(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        with path.open("wb") as stream:
            stream.write(file([entry("k", ARRAY, struct.pack("<IQ", U64, 2**26))], [], data=b""))
            stream.truncate(2**30)  # a sparse file: it takes no room
        assert "longer than 256 MB" in str(bounded(read_gguf_header, path))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "model.gguf")
        assert "There is no model file" in str(bounded(read_gguf_header, tmp_path / "model.gguf"))

    @pytest.mark.parametrize("name", ["nowhere.gguf", "."])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        assert "There is no model file" in str(bounded(tensors_of, tmp_path / name))

    def test_a_file_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(file())

        def forbidden(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", forbidden)
        assert "ask for permission" in str(bounded(read_gguf_header, path))


class TestOnlyText:
    """Values that look like more than text, in places where they do no harm."""

    @pytest.mark.parametrize(
        "value", ["../../x", "/etc/passwd", "a\0b", "\u202egpj.exe", "x" * 70_000, "\x1b]0;owned\x07", "{{ 1/0 }}"]
    )
    def test_a_name_decides_nothing(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "inside").mkdir()
        path = tmp_path / "inside" / "model.gguf"
        content = file([*USUAL, named("general.name", value), named("tokenizer.chat_template", value)])
        path.write_bytes(content)
        rewrite(path, path.with_name("t.gguf"), {"a.weight": np.ones(8, np.float32)}, provenance={"version": "1"})
        raw = value.encode()
        assert path.with_name("t.gguf").read_bytes().count(raw) == content.count(raw), "kept as it is, whatever it says"
        assert sorted(one.name for one in tmp_path.rglob("*")) == ["inside", "model.gguf", "t.gguf"]

    def test_an_architecture_is_shown_as_plain_text(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(file([named("general.architecture", "lla\u202ema\n\0" + "x" * 500), TOKENS]))
        architecture = identify(path).architecture
        assert architecture.isprintable() and len(architecture) == 80 and architecture.startswith("lla\ufffdma")

    @given(st.text(max_size=200))
    def test_shown_text_is_one_plain_line(self, value: str) -> None:
        assert shown(value).isprintable() and len(shown(value)) <= 80
        assert not value.isprintable() or len(value) > 80 or shown(value) == value

    def test_many_declared_tensors_are_read_quickly(self, tmp_path: Path) -> None:
        """A mixture of experts has some thousands; the limits above must not refuse it."""
        path = tmp_path / "model.gguf"
        tensors = [tensor(f"blk.{number}.w", offset=32 * number) for number in range(5_000)]
        path.write_bytes(file(tensors=tensors, data=bytes(32 * 5_000)))
        start = time.process_time()
        assert read_gguf_header(path).parameters == 40_000
        assert time.process_time() - start < SECONDS
