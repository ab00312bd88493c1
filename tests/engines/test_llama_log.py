"""The native library keeps an address for its log lines: what it finds there must live as long as the process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_gguf import write_tiny_gguf

import console
from console.engines import llama_log

# All that touches the log, then a load by somebody who sets none: it logs some hundred lines.
EVERYONE = """
import gc, sys
from pathlib import Path
import llama_cpp
from console.engines import llama_probe
from console.engines.gguf_quantise import convert
from console.engines.llama_native import NativeModel, native_library
model, folder = Path(sys.argv[1]), Path(sys.argv[2])
steps = {
    "probe": lambda: llama_probe.probe(lambda **_: None, folder, "cpu"),
    "convert": lambda: convert(model, folder / "t.gguf", "F16"),
    "open": lambda: NativeModel(native_library(), model, 1, 0).close(),
}
steps[sys.argv[3]]()
gc.collect()
filler = [bytearray(4096) for _ in range(2000)]
llama_cpp.Llama(str(model), n_ctx=32, verbose=True).close()
print("alive")
"""


@pytest.mark.parametrize("step", ["probe", "convert", "open"])
def test_a_later_load_by_anyone_does_not_call_freed_memory(tmp_path: Path, step: str) -> None:
    pytest.importorskip("llama_cpp")
    model = write_tiny_gguf(tmp_path / "model")[0]
    done = subprocess.run(
        [sys.executable, "-c", EVERYONE, str(model), str(tmp_path), step], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-2000:]
    assert "llama_model_loader" not in done.stderr, "the log stays silent"


def test_nobody_else_sets_the_log() -> None:
    root = Path(console.__file__).parent
    setters = {
        path.name for path in root.rglob("*.py") if re.search(r"(llama|ggml)_log_set\(", path.read_text("utf-8"))
    }
    assert setters == {"llama_log.py"}


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the library calls; the process's own log is left as it is."""
    monkeypatch.setattr(llama_log, "_listener", [])
    llama_log._last.clear()
    set_to = []
    library = SimpleNamespace(llama_log_callback=lambda call: call, llama_log_set=lambda call, _: set_to.append(call))
    llama_log.silence(library)
    llama_log.silence(library)
    assert set_to[0] is set_to[1]
    return set_to[0]


def test_the_last_line_is_kept_without_dots_and_breaks(listen: Any) -> None:
    assert llama_log.last_line() == ""
    for text in (b"first\n", b"unknown model architecture: 'x'.\n", b".", b"\n"):
        listen(2, text, None)
    assert llama_log.last_line() == "unknown model architecture: 'x'"
    listen(4, b"\xff", None)
    assert llama_log.last_line() == "\ufffd"


def test_error_lines_are_kept_only_while_wanted_and_by_everyone_who_wants_them(listen: Any) -> None:
    listen(4, b"before\n", None)
    with llama_log.errors_kept() as outer:
        listen(3, b"a warning\n", None)
        with pytest.raises(ZeroDivisionError), llama_log.errors_kept() as inner:
            listen(4, b"both\n", None)
            raise ZeroDivisionError
        listen(4, b"outer\n", None)
    listen(4, b"after\n", None)
    assert (outer, inner) == (["both", "outer"], ["both"])
