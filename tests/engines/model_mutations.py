"""Many small damages to a model's files, and what the check of a model makes of each.

    PYTHONPATH=tests python tests/engines/model_mutations.py --count 2000

For every format: flipped, inserted, cut and doubled bytes, and JSON values replaced by others of the same and of other
kinds. Each ends in a refusal in one sentence, or in a model that reads exactly as the sound one: the same tensors, and
the same settings but for those that the change has touched and the check has understood.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.errors import ModelFileError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
STRANGE: tuple[Any, ...] = (None, True, -1, 0, 1, 2**31, 2**63, 1e300, "", "x", "../x", [], {}, [1], "\u202e", 10**30)


@dataclass
class Tally:
    """What became of the mutations of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    broken: list[str] = field(default_factory=list)


def mutated_bytes(raw: bytes, draw: random.Random, first: int, last: int) -> bytes:
    """One damage between two places of the file."""
    at = draw.randrange(first, last)
    kind = draw.randrange(5)
    if kind == 0:
        return raw[:at] + bytes([raw[at] ^ (1 << draw.randrange(8))]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at] + draw.randbytes(draw.randrange(1, 9)) + raw[at + draw.randrange(9) :]
    if kind == 2:
        return raw[:at] + raw[at + draw.randrange(1, 65) :]
    if kind == 3:
        return raw[:at]
    return raw[:at] + struct.pack("<Q", draw.choice((0, 1, 2**31, 2**63, 2**64 - 1))) + raw[at + 8 :]


def mutated_json(body: Any, draw: random.Random) -> Any:
    """One value somewhere in it replaced, taken out, or put under another name."""
    places = list(_places(body))
    holder, key = draw.choice(places)
    kind = draw.randrange(3)
    if kind == 0:
        holder[key] = draw.choice(STRANGE)
    elif kind == 1:
        del holder[key]
    elif isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder.append(holder[key])
    return body


def _places(body: Any) -> Iterator[tuple[Any, Any]]:
    pairs = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in pairs:
        yield body, key
        yield from _places(value)


def _json_or_bytes(name: str) -> Callable[[Path, random.Random], None]:
    def spoil(folder: Path, draw: random.Random) -> None:
        path = folder / name
        raw = path.read_bytes()
        if draw.random() < 0.3:
            path.write_bytes(mutated_bytes(raw, draw, 0, len(raw)))
        else:
            path.write_text(json.dumps(mutated_json(json.loads(raw), draw)), encoding="utf-8")

    return spoil


def _weights_header(folder: Path, draw: random.Random) -> None:
    path = folder / WEIGHTS
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    if draw.random() < 0.5:
        path.write_bytes(mutated_bytes(raw, draw, 0, 8 + size))
        return
    said = json.dumps(mutated_json(json.loads(raw[8 : 8 + size]), draw)).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said + raw[8 + size :])


def _file_header(folder: Path, draw: random.Random) -> None:
    from console.engines.gguf_header import read_gguf_layout

    path = folder / "model.gguf"
    raw = path.read_bytes()
    path.write_bytes(mutated_bytes(raw, draw, 0, read_gguf_layout(path).data_start))


SPOILERS: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "safetensors header": ("folder", _weights_header),
    "safetensors index": ("sharded", _json_or_bytes(INDEX)),
    "config": ("folder", _json_or_bytes("config.json")),
    "tokenizer": ("folder", _json_or_bytes("tokenizer.json")),
    "tokenizer settings": ("folder", _json_or_bytes("tokenizer_config.json")),
    "GGUF header": ("file", _file_header),
}


def digest(path: Path) -> Any:
    """All that is read of a model: its tensors' bytes in order of their names; raises as the check does."""
    from console.engines.checking.model_folder import read_folder
    from console.engines.checking.whole_model import check_model
    from console.engines.gguf_tensors import read_values, tensors_of
    from console.engines.model_files import identify

    identify(path)
    check_model(path)
    if path.is_file():
        return {name: (one.type_name, read_values(one).tobytes()) for name, one in tensors_of(path).items()}
    return {
        entry.name: (entry.dtype, entry.shape, file.read_bytes()[entry.start : entry.end])
        for file, entry in read_folder(path).tensors
    }


def sound_models(root: Path) -> dict[str, Path]:
    """A tiny model as a folder, as shards and as a GGUF file."""
    import tiny

    model = tiny.model(layers=1)
    folder = tiny.saved(model, root / "folder")
    sharded = root / "sharded"
    model.network.save_pretrained(sharded, max_shard_size="150KB")
    model.tokenizer.save_pretrained(sharded)
    (root / "file").mkdir()
    tiny.write_gguf(model, root / "file" / "model.gguf")
    return {"folder": folder, "sharded": sharded, "file": root / "file"}


def run(count: int, root: Path, only: str | None = None, seed: int = 0) -> dict[str, Tally]:
    """So many mutations of every format; what is neither a refusal nor the same model is listed as broken."""
    models = sound_models(root / "sound")
    tallies = {}
    for name, (kind, spoil) in SPOILERS.items():
        if only not in {None, name}:
            continue
        tally = tallies[name] = Tally()
        inside = "model.gguf" if kind == "file" else "."
        expected = digest(models[kind] / inside)
        for number in range(count):
            _one(
                tally, models[kind], inside, expected, spoil, random.Random(f"{seed} {name} {number}"), root / "spoilt"
            )
    return tallies


def _one(
    tally: Tally,
    sound: Path,
    inside: str,
    expected: Any,
    spoil: Callable[[Path, random.Random], None],
    draw: random.Random,
    target: Path,
) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sound, target)
    spoil(target, draw)
    started = time.monotonic()
    try:
        same = digest(target / inside) == expected
        tally.outcomes["read, same tensors" if same else "read, OTHER TENSORS"] += 1
        if not same:
            tally.broken.append(f"other tensors: {draw}")
    except ModelFileError as error:
        tally.outcomes["refused"] += 1
        if not str(error).isprintable() or len(str(error)) > 900:
            tally.broken.append(f"not one sentence: {error!r}"[:300])
    except Exception as error:
        tally.outcomes[f"FAILED {type(error).__name__}"] += 1
        tally.broken.append(f"{type(error).__name__}: {error}"[:300])
    tally.slowest_s = max(tally.slowest_s, time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--only", choices=sorted(SPOILERS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tallies = run(options.count, Path(folder), options.only, options.seed)
    for name, tally in tallies.items():
        told = ", ".join(f"{count} {what}" for what, count in sorted(tally.outcomes.items()))
        sys.stdout.write(f"{name}: {told}; slowest {tally.slowest_s:.1f} s\n")
        sys.stdout.writelines(f"    {line}\n" for line in tally.broken[:20])
    sys.stdout.write(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB\n")
    return int(any(tally.broken for tally in tallies.values()))


if __name__ == "__main__":
    raise SystemExit(main())
