"""``doctor`` as a user types it, with the real engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_commands import console, told


def checks(text: str) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(text)["checks"]}


def fake(folder: Path, **modules: str) -> dict[str, str]:
    """Variables with which these modules are found instead of the installed ones."""
    for name, code in modules.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def absent(name: str) -> str:
    return f"raise ModuleNotFoundError('No module named {name}', name='{name}')"


def test_it_needs_no_office_and_makes_none(tmp_path: Path) -> None:
    ended = console("doctor", "--json", "--device", "cpu", "--data-dir", tmp_path / "office")
    assert ended.returncode == 0, ended.stdout
    value = json.loads(ended.stdout)
    assert value["ready"] and "torch" in value["engines"] and value["seconds"] < 60
    found = checks(ended.stdout)
    assert found["torch"]["details"]["bfloat16"] in (True, False) and found["torch"]["details"]["threads"] >= 1
    assert found["encryption"]["status"] == "ok" and found["device"]["details"]["used"] == "cpu"
    assert "Waiting for torch" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_locked_or_damaged_ledger_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no ledger at all")
    ended = console("doctor", "--data-dir", tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "The console can do its work on this machine" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]
    assert (tmp_path / "ledger.db").read_bytes() == b"no ledger at all"


@pytest.mark.skipif(os.name != "posix", reason="signals end a process in another way here")
def test_a_build_that_crashes_is_said_and_the_console_lives(tmp_path: Path) -> None:
    """llama.cpp dies of a real segfault in the middle of a computation."""
    library = (
        "import ctypes\n"
        "__version__ = '0.0.1'\n"
        "class llama_cpp:\n"
        "    def __getattr__(self, name):\n"
        "        if name == 'llama_print_system_info': return lambda: b'AMX_INT8 = 1'\n"
        "        if name == 'llama_decode': ctypes.string_at(0)\n"
        "        class Any(ctypes.Structure): pass\n"
        "        return ctypes.c_int32 if name == 'llama_token' else lambda *_: Any()\n"
        "llama_cpp = llama_cpp()\n"
    )
    variables = fake(tmp_path / "fakes", llama_cpp=library)
    ended = console("doctor", "--json", "--data-dir", tmp_path / "office", env=variables)
    assert ended.returncode == 0, ended.stdout
    check = checks(ended.stdout)["llama-cpp"]
    assert check["status"] == "failed" and check["details"]["exit_code"] == -11
    assert "crashed with signal SIGSEGV (11" in check["sentence"]
    assert "while computing with the test model; install the portable build: " in check["sentence"]
    assert check["details"]["system_info"] == "AMX_INT8 = 1" and not check["details"]["portable_build"]
    assert any("llama_probe.py" in line for line in check["details"]["log"])
    assert json.loads(ended.stdout)["engines"] == ["torch"]


def test_without_engines_the_answer_is_no(tmp_path: Path) -> None:
    variables = fake(tmp_path / "fakes", torch=absent("torch"), llama_cpp=absent("llama_cpp"))
    ended = console("doctor", "--data-dir", tmp_path / "office", env=variables)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("MISSING  torch") and "pip install torch\n" in ended.stdout
    assert 'pip install "erasure-console[llamacpp]"\n' in ended.stdout
    assert lines[-1] == "The console cannot do its work on this machine yet: see torch, llama.cpp."


def test_a_device_that_is_not_there_is_missing(tmp_path: Path) -> None:
    common = ("--data-dir", tmp_path / "office")
    ended = console("doctor", "--json", "--device", "cuda", *common, env={"CUDA_VISIBLE_DEVICES": ""})
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["lacking"] == ["device"]
    assert "no usable cuda device" in checks(ended.stdout)["device"]["sentence"]
    assert "tpu" in told(console("doctor", "--device", "tpu", *common))


def test_the_parent_loads_no_engine_and_no_window(tmp_path: Path) -> None:
    code = (
        "import sys; from console.cli import main\n"
        f"sys.argv = ['erasure-console', 'doctor', '--json', '--data-dir', {str(tmp_path / 'office')!r}]\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "names = ('torch', 'transformers', 'llama_cpp', 'peft', 'PySide6')\n"
        "print(*(name for name in names if name in sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "", ended.stderr
