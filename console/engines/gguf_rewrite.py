"""A GGUF file anew, in which only the given tensors are other ones.

Everything else keeps its bytes: entries are copied raw, whatever their keys and types, and a block of a
changed tensor that was asked to stay as it is keeps its stored bytes too, because several types do not give
the same block again for the values that it de-quantises to. Provenance entries stand behind the file's own.
A model in several files stays in as many; only those that change are written anew.
"""

from __future__ import annotations

import errno
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from console.engines.ggml_blocks import (
    WRITABLE,
    bits_per_value,
    block_of,
    quantised,
    require_writable,
    type_number,
    values_of,
)
from console.engines.gguf_header import (
    ARRAY,
    MAGIC,
    STRING,
    GgufLayout,
    GgufTensor,
    parts_of,
    read_gguf_parts,
    shown,
)
from console.engines.gguf_tensors import PREFIX, opened, taken
from console.errors import DiskFullError, InputError

_VALUES_AT_ONCE = 1 << 20
_COPIED_AT_ONCE = 4 * 1024 * 1024
_PROVENANCE_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LONGEST_VALUE, _MOST_VALUES = 200, 10_000
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_WINDOWS_FULL = {39, 112}


@dataclass(frozen=True)
class RewrittenTensor:
    """What became of one tensor's change.

    With W the old values, W* the wanted and S the stored ones (Frobenius norms; 0 where the divisor is 0):

    Attributes:
        wanted_change: ‖W* − W‖ / ‖W‖.
        stored_change: ‖S − W‖ / ‖W‖; 0 when the whole change vanished in rounding.
        missed: ‖S − W*‖ / ‖W* − W‖; 0 when stored exactly. Rounding noise in blocks that did change counts
            here, so it may be above 1 for a change that is small beside the type's steps.
        units: the stored blocks of ``type_after`` (single values for F32, F16 and BF16).
        units_changed: how many of them differ: in their bytes, or in their values where the type is another.
    """

    name: str
    type_before: str
    type_after: str
    wanted_change: float
    stored_change: float
    missed: float
    units: int
    units_changed: int

    @property
    def unchanged(self) -> bool:
        """Whether the file holds for this tensor exactly what it held before."""
        return self.units_changed == 0 and self.type_before == self.type_after


# -- Writing -----------------------------------------------------------------------------------


def _refused(target: Path, error: OSError) -> DiskFullError | InputError:
    folder = shown(str(target.parent), 200)
    if error.errno in _FULL or getattr(error, "winerror", None) in _WINDOWS_FULL:
        return DiskFullError(f"There is no room left in {folder} to write {shown(target.name)}; free some space first.")
    return InputError(
        f"{shown(target.name)} cannot be written to {folder} ({error.strerror}); choose another folder or name."
    )


@contextmanager
def written_whole(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """Files that are there whole or not at all: gives a ``.part`` beside each target, renamed at the end.

    Raises:
        InputError: a target is there already, or its folder cannot be written to.
        DiskFullError: no room; in every case nothing is left behind.
    """
    for target in targets:
        if target.exists():
            raise InputError(f"There is a file {shown(target.name)} already in that folder; choose another name.")
    parts = tuple(target.with_name(target.name + ".part") for target in targets)
    renamed: list[Path] = []
    try:
        yield parts
        for target, part in zip(targets, parts, strict=True):
            part.replace(target)
            renamed.append(target)
    except BaseException as error:
        _unlink((*parts, *renamed))
        if isinstance(error, OSError):
            raise _refused(targets[0], error) from error
        raise


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:  # a folder that forbids writing has nothing of ours, and its own error is the one to tell
            continue


def target_parts(source: Path, target: Path) -> tuple[Path, ...]:
    """The files that ``rewrite`` makes: ``target`` itself, or for a split model its name with the parts' numbers.

    Raises:
        ModelFileError: as ``parts_of``.
    """
    return _target_paths(len(parts_of(source)), target)


def _target_paths(count: int, target: Path) -> tuple[Path, ...]:
    if count == 1:
        return (target,)
    prefix = re.sub(rf"(-\d{{5}}-of-{count:05d})?\.gguf$", "", target.name, flags=re.IGNORECASE)
    return tuple(target.with_name(f"{prefix}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1))


def _string(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _require_plain(key: str, value: object) -> None:
    plain = isinstance(value, str) and 0 < len(value) <= _LONGEST_VALUE and value.isprintable()
    if not plain:
        raise InputError(
            f"The provenance '{shown(key)}' holds something other than short plain text (1 to {_LONGEST_VALUE} "
            "printable characters); give it as such."
        )


def provenance_entries(provenance: Mapping[str, str | Sequence[str]]) -> list[tuple[str, str | list[str]]]:
    """The provenance as checked entries, with the console's prefix on every key.

    Raises:
        InputError: a key or a value is not short plain text.
    """
    entries: list[tuple[str, str | list[str]]] = []
    for key, value in provenance.items():
        if not _PROVENANCE_KEY.fullmatch(key):
            raise InputError(
                f"'{shown(key)}' cannot name a provenance entry; use at most 40 small letters, digits and underscores."
            )
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not 0 < len(values) <= _MOST_VALUES:
            raise InputError(
                f"The provenance '{key}' is neither text nor a list of 1 to {_MOST_VALUES:,} texts; give it as such."
            )
        for one in values:
            _require_plain(key, one)
        entries.append((PREFIX + key, value if isinstance(value, str) else list(values)))
    return entries


def _encoded(key: str, value: str | list[str]) -> bytes:
    if isinstance(value, str):
        return _string(key) + struct.pack("<I", STRING) + _string(value)
    return _string(key) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))


@dataclass
class _Plan:
    """What one file of the model becomes: its new tensors, their types and their places."""

    layout: GgufLayout
    wanted: dict[str, np.ndarray]
    types: dict[str, str]
    entries: list[tuple[str, str | list[str]]]
    offsets: dict[str, int] = field(default_factory=dict)  # from where the data begin

    @property
    def is_copy(self) -> bool:
        return not self.wanted and not self.entries

    @property
    def keeps_places(self) -> bool:
        return all(self.types[one.name] == one.type_name for one in self.layout.tensors if one.name in self.types)

    def type_of(self, tensor: GgufTensor) -> str:
        return self.types.get(tensor.name, tensor.type_name)

    def size_of(self, tensor: GgufTensor) -> int:
        block, size = block_of(self.type_of(tensor))
        return math.prod(tensor.shape) // block * size


def _in_place(layout: GgufLayout) -> list[GgufTensor]:
    return sorted(layout.tensors, key=lambda tensor: tensor.offset)


def _place(plan: _Plan) -> None:
    """Offsets as they were, or one behind the other where a tensor changes its size."""
    layout, end = plan.layout, 0
    for tensor in _in_place(layout):
        if plan.keeps_places:
            plan.offsets[tensor.name] = tensor.offset - layout.data_start
            continue
        plan.offsets[tensor.name] = end
        end = _aligned(end + plan.size_of(tensor), layout.alignment)


def _aligned(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _chunks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Row ranges of a tensor (numpy's shape) of about a million values each."""
    rows = math.prod(shape[:-1])
    step = max(1, _VALUES_AT_ONCE // shape[-1])
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def _numpy_shape(tensor: GgufTensor) -> tuple[int, ...]:
    return tensor.shape[::-1] or (1,)


def _old_rows(stream: BinaryIO, layout: GgufLayout, tensor: GgufTensor, start: int, stop: int) -> np.ndarray:
    """Rows ``start`` to ``stop`` as stored bytes: (rows, bytes)."""
    row_bytes = tensor.size // math.prod(_numpy_shape(tensor)[:-1])
    stream.seek(tensor.offset + start * row_bytes)
    return taken(stream, (stop - start) * row_bytes, layout.path).reshape(stop - start, row_bytes)


def _checked(name: str, tensor: GgufTensor | None, wanted: np.ndarray, source: Path) -> np.ndarray:
    """The wanted values, once they fit the tensor, as (rows, values)."""
    if tensor is None:
        raise InputError(f"{shown(source.name)} has no tensor '{shown(name)}'; name one that it holds.")
    wanted = np.asarray(wanted)
    if wanted.shape != tensor.shape[::-1] or wanted.dtype.kind != "f":
        raise InputError(
            f"The new values for '{shown(name)}' are {wanted.dtype} of shape {list(wanted.shape)}, but the file holds "
            f"numbers of shape {list(tensor.shape[::-1])}; give values of that shape."
        )
    rows = wanted.reshape(-1, _numpy_shape(tensor)[-1])
    for start, stop in _chunks(_numpy_shape(tensor)):
        if not (np.abs(rows[start:stop]) <= np.finfo(np.float32).max).all():  # false for NaN too
            raise InputError(
                f"The new values for '{shown(name)}' hold some that are not numbers or too large; the erasure went "
                "wrong, so run it again with a smaller step."
            )
    return rows


def _differs(layout: GgufLayout, tensor: GgufTensor, wanted: np.ndarray) -> bool:
    with opened(layout.path) as stream:
        for start, stop in _chunks(_numpy_shape(tensor)):
            old = values_of(_old_rows(stream, layout, tensor, start, stop), tensor.type_name)
            if not np.array_equal(old, wanted[start:stop].astype(np.float32, copy=False)):
                return True
    return False


def _type_after(layout: GgufLayout, tensor: GgufTensor, wanted: np.ndarray, higher_type: str | None) -> str:
    """The tensor's own type, or the higher one where it has more bits and there is a change to keep."""
    own = tensor.type_name
    raised = higher_type is not None and bits_per_value(higher_type) > bits_per_value(own)
    if raised and higher_type is not None and _differs(layout, tensor, wanted):
        own = higher_type
    require_writable(tensor.name, own, _numpy_shape(tensor)[-1])
    return own


def _plans(
    layouts: tuple[GgufLayout, ...],
    changed: Mapping[str, np.ndarray],
    higher_type: str | None,
    entries: list[tuple[str, str | list[str]]],
) -> list[_Plan]:
    if higher_type is not None and higher_type not in WRITABLE:
        raise InputError(f"{shown(higher_type)} is no type that can be written; choose one of {sorted(WRITABLE)}.")
    held = {tensor.name: tensor for layout in layouts for tensor in layout.tensors}
    wanted = {name: _checked(name, held.get(name), values, layouts[0].path) for name, values in changed.items()}
    plans = []
    for number, layout in enumerate(layouts):
        mine = {tensor.name: wanted[tensor.name] for tensor in layout.tensors if tensor.name in wanted}
        types = {name: _type_after(layout, held[name], values, higher_type) for name, values in mine.items()}
        plan = _Plan(layout, mine, types, entries if number == 0 else [])
        _place(plan)
        plans.append(plan)
    return plans


def _copy(source: BinaryIO, sink: BinaryIO, start: int, stop: int, path: Path) -> None:
    source.seek(start)
    while start < stop:
        raw = taken(source, min(_COPIED_AT_ONCE, stop - start), path)
        sink.write(raw.data)
        start += raw.size


def _zeros(sink: BinaryIO, count: int) -> None:
    while count > 0:
        step = min(count, _COPIED_AT_ONCE)
        sink.write(bytes(step))
        count -= step


def _write_header(plan: _Plan, source: BinaryIO, sink: BinaryIO) -> None:
    """Counts, the file's own entries raw, provenance, declarations with new types and places, padding."""
    layout = plan.layout
    replaced = {key for key, _ in plan.entries}
    kept = [entry for entry in layout.entries if entry.key not in replaced]
    sink.write(MAGIC + struct.pack("<IQQ", layout.version, len(layout.tensors), len(kept) + len(plan.entries)))
    for entry in kept:
        _copy(source, sink, entry.start, entry.end, layout.path)
    for key, value in plan.entries:
        sink.write(_encoded(key, value))
    for tensor in layout.tensors:
        start, stop = tensor.info
        _copy(source, sink, start, stop - 12, layout.path)  # all but the type (4 bytes) and the place (8)
        sink.write(struct.pack("<IQ", type_number(plan.type_of(tensor)), plan.offsets[tensor.name]))
    _zeros(sink, -sink.tell() % layout.alignment)


class _Tally:
    """Sums over a tensor's chunks, in float64."""

    def __init__(self) -> None:
        self.old = self.wanted = self.stored = self.missed = 0.0
        self.units = self.units_changed = 0

    def add(self, old: np.ndarray, wanted: np.ndarray, stored: np.ndarray) -> None:
        self.old += _square(old)
        self.wanted += _square(wanted.astype(np.float64) - old)
        self.stored += _square(stored.astype(np.float64) - old)
        self.missed += _square(stored.astype(np.float64) - wanted)

    def result(self, name: str, before: str, after: str) -> RewrittenTensor:
        return RewrittenTensor(
            name=name,
            type_before=before,
            type_after=after,
            wanted_change=_ratio(self.wanted, self.old),
            stored_change=_ratio(self.stored, self.old),
            missed=_ratio(self.missed, self.wanted),
            units=self.units,
            units_changed=self.units_changed,
        )


def _square(values: np.ndarray) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))


def _ratio(square: float, divisor: float) -> float:
    """√(square / divisor), with 0 for 0/0; a change of a tensor of zeros counts as whole."""
    if not divisor:
        return 1.0 if square else 0.0
    return math.sqrt(square / divisor)


def _blocks(values: np.ndarray, width: int) -> np.ndarray:
    return values.reshape(values.shape[0], -1, width)


def _with_kept_blocks(new: np.ndarray, raw: np.ndarray, same: np.ndarray, size: int) -> np.ndarray:
    """``new`` with the old bytes wherever no value of a block is to change; ``same``: (rows, blocks, values)."""
    mixed = new.copy()
    untouched = same.all(axis=2)
    _blocks(mixed, size)[untouched] = _blocks(raw, size)[untouched]
    return mixed


def _write_tensor(plan: _Plan, tensor: GgufTensor, source: BinaryIO, sink: BinaryIO) -> RewrittenTensor:
    before, after = tensor.type_name, plan.types[tensor.name]
    block, size = block_of(after)
    tally = _Tally()
    for start, stop in _chunks(_numpy_shape(tensor)):
        raw = _old_rows(source, plan.layout, tensor, start, stop)
        old = values_of(raw, before)
        wanted = plan.wanted[tensor.name][start:stop].astype(np.float32, copy=False)
        new = quantised(wanted, after)
        if after == before:
            new = _with_kept_blocks(new, raw, _blocks(wanted, block) == _blocks(old, block), size)
            differs = (_blocks(new, size) != _blocks(raw, size)).any(axis=2)
        stored = values_of(new, after)
        if after != before:
            differs = (_blocks(stored, block) != _blocks(old, block)).any(axis=2)
        if not np.isfinite(stored).all():
            raise InputError(
                f"The new values for '{shown(tensor.name)}' are too large for {after}; give F32 or BF16 as the "
                "higher type, or erase with a smaller step."
            )
        tally.add(old, wanted, stored)
        tally.units += differs.size
        tally.units_changed += int(differs.sum())
        sink.write(new.tobytes())
    return tally.result(tensor.name, before, after)


def _write_data(plan: _Plan, source: BinaryIO, sink: BinaryIO) -> list[RewrittenTensor]:
    """The tensors in their places; what lies between and behind them is kept where the places are."""
    layout, report = plan.layout, []
    begin, end = sink.tell(), layout.data_start
    for tensor in _in_place(layout):
        if plan.keeps_places:
            _copy(source, sink, end, tensor.offset, layout.path)
        else:
            _zeros(sink, begin + plan.offsets[tensor.name] - sink.tell())
        if tensor.name in plan.wanted:
            report.append(_write_tensor(plan, tensor, source, sink))
        else:
            _copy(source, sink, tensor.offset, tensor.offset + tensor.size, layout.path)
        end = tensor.offset + tensor.size
    if plan.keeps_places:
        _copy(source, sink, end, layout.length, layout.path)
    else:
        _zeros(sink, -(sink.tell() - begin) % layout.alignment)
    return report


def _write_part(plan: _Plan, path: Path) -> list[RewrittenTensor]:
    with opened(plan.layout.path) as source, path.open("wb") as sink:
        if plan.is_copy:
            _copy(source, sink, 0, plan.layout.length, plan.layout.path)
            report = []
        else:
            _write_header(plan, source, sink)
            report = _write_data(plan, source, sink)
        sink.flush()
        os.fsync(sink.fileno())
    return report


def _require_other_files(layouts: tuple[GgufLayout, ...], targets: tuple[Path, ...]) -> None:
    for target in targets:
        if any(target.exists() and target.samefile(layout.path) for layout in layouts):
            raise InputError(f"{shown(target.name)} is the model itself; write the changed one to another file.")


def rewrite(
    source: Path,
    target: Path,
    changed: Mapping[str, np.ndarray],
    *,
    higher_type: str | None = None,
    provenance: Mapping[str, str | Sequence[str]],
) -> tuple[RewrittenTensor, ...]:
    """Write ``source`` to ``target`` with the ``changed`` tensors in place of its own.

    A changed tensor goes back in its own type. Where that is a k-quant or another quantised type, each block
    that is to change is quantised anew, and each that is not keeps its bytes.

    Args:
        source: the model's file, or any of its files when it is split.
        target: the new file, in the place of a split model's first one; see ``target_parts``. Never there yet.
        changed: new values by tensor name, as numpy has the shape (rows first).
        higher_type: stores those changed tensors whose own type has fewer bits; norms in F32 stay so.
        provenance: entries for the first file, behind its own, each key without ``erasure_console.``. One that
            an earlier erasure left under the same key is replaced; all other entries keep bytes and order.

    Returns:
        One account per changed tensor, in the order of the files.

    Raises:
        InputError: values that do not fit the file, a type that cannot be written, a target that is the source,
            is there already or cannot be written; DiskFullError: no room. Nothing is left behind.
        SetupError: a k-quant without llama.cpp.
        ModelFileError: as ``read_gguf_parts``.
    """
    layouts = read_gguf_parts(source)
    targets = _target_paths(len(layouts), target)
    _require_other_files(layouts, targets)
    plans = _plans(layouts, changed, higher_type, provenance_entries(provenance))
    report: list[RewrittenTensor] = []
    with written_whole(*targets) as parts:
        for plan, part in zip(plans, parts, strict=True):
            report += _write_part(plan, part)
    return tuple(report)
