"""The doctor: what this machine can do, without an office, without a passphrase, and without leaving anything behind.

Whatever may crash or hang (torch, llama.cpp, Qt) is tried in a process of its own with a time limit; its end costs
one line of the result. Those processes run while the rest is looked at.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from console.casework import doctor_machine as machine
from console.casework.doctor_checks import Check, Examination, Status
from console.casework.doctor_children import TIME_LIMIT_S, Child, Ended
from console.casework.office import system_clock
from console.errors import InputError, SetupError
from console.paths import Places

DEVICES = ("auto", "cpu", "cuda", "mps")
TORCH, LLAMA = "torch", "llama-cpp"
# Left by the console's own installer of llama.cpp.
PORTABLE_MARK = "console-portable-build.txt"
_BESIDE_TORCH = ("transformers", "peft", "safetensors", "gguf")
_LLAMA_PACKAGE = "llama-cpp-python"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trials:
    """What is run to try the libraries, and for how long at most; tests put others here.

    Attributes:
        torch, llama: get the device and a folder as arguments.
    """

    torch: tuple[str, ...] = (sys.executable, "-m", "console.jobs.tasks.doctor", TORCH)
    llama: tuple[str, ...] = (sys.executable, "-m", "console.jobs.tasks.doctor", LLAMA)
    qt: tuple[str, ...] = (sys.executable, "-m", "console.gui.probe")
    time_limit_s: float = TIME_LIMIT_S


@dataclass(frozen=True)
class Around:
    """What the checks take from around them."""

    clock: Callable[[], datetime] = system_clock
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    prefix: Path = Path(sys.prefix)


def examine(places: Places, device: str, say: Say, trials: Trials = Trials(), around: Around = Around()) -> Examination:
    """Look at this machine; nothing is downloaded, and no office is opened or made.

    Args:
        device: what jobs would be asked to run on: auto, cpu, cuda or mps; a named one is needed.
        say: is told what is being looked at.

    Raises:
        InputError: no such device.
        SetupError: the temporary folder cannot be used.
    """
    if device not in DEVICES:
        raise InputError(f"'{device}' is not a device; choose auto, cpu, cuda or mps.")
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            made = tempfile.TemporaryDirectory(prefix="erasure-console-doctor-", ignore_cleanup_errors=True)
            scratch = Path(stack.enter_context(made))
            say("Starting the engines, each in a process of its own")
            children = _start(stack, trials, device, scratch)
        except OSError as error:
            raise SetupError(
                f"Nothing can be tried in the temporary folder ({error.strerror or error}); free some space, or name "
                "another folder in the variable TMPDIR."
            ) from error
        checks = _look_around(places, scratch, around, say)
        say("Waiting for torch")
        torch = children["torch"].ended()
        say("Waiting for llama.cpp")
        llama = children["llama"].ended()
        say("Waiting for Qt")
        qt = children["qt"].ended()
    engines = [torch_check(torch), llama_check(llama, around.prefix), device_check(device, torch, llama)]
    return Examination(
        checks=[*engines, *checks, qt_check(qt)],
        engines=(TORCH, LLAMA),
        device=device,
        seconds=time.monotonic() - began,
    )


def _start(stack: ExitStack, trials: Trials, device: str, scratch: Path) -> dict[str, Child]:
    commands = {
        "torch": ((*trials.torch, device, str(scratch)), {}),
        "llama": ((*trials.llama, device, str(scratch)), {}),
        "qt": (trials.qt, {"QT_QPA_PLATFORM": "offscreen"}),
    }
    children = {}
    for name, (command, variables) in commands.items():
        children[name] = Child(name, command, scratch, trials.time_limit_s, **variables)
        stack.callback(children[name].close)  # before the folder goes: the stack unwinds from its end
    return children


def _look_around(places: Places, scratch: Path, around: Around, say: Say) -> list[Check]:
    """All checks that need no process of their own."""
    say("Looking at the machine and its folders")
    checks = [machine.system(), machine.processor(), machine.memory(), *machine.folders(places)]
    checks.append(machine.clock(around.clock(), around.env))
    say("Trying the encryption and the keyring")
    checks += [machine.encryption(scratch), machine.keyring()]
    say("Looking at the report's fonts and libraries")
    checks += [machine.fonts(), machine.pdf_libraries(), machine.poppler(), machine.sample_model(places)]
    say("Looking at the display")
    return [*checks, machine.display(around.env), machine.qt_system_libraries()]


# -- the engines --------------------------------------------------------------------------------


def _details(ended: Ended, **more: Any) -> dict[str, Any]:
    """What the child said, and its last lines where something went wrong."""
    details = {key: value for key, value in ended.facts.items() if key != "refused"} | more
    if ended.trouble is not None and ended.absent is None:
        details |= {"exit_code": ended.code, "log": list(ended.log)}
    return details


def torch_check(ended: Ended) -> Check:
    """The engine that every method which changes weights needs."""
    title, facts = "torch", ended.facts
    packages = {package: machine.installed_version(package) for package in _BESIDE_TORCH}
    details = _details(ended, packages=packages)
    lacking = [ended.absent] if ended.absent else [name for name, found in packages.items() if found is None]
    if lacking:
        command = f"pip install {' '.join(lacking)}"
        sentence = f"The torch engine is not complete, so no model can be changed: {command}"
        return Check(TORCH, title, Status.MISSING, sentence, details | {"command": command})
    if ended.trouble is not None:
        command = "pip install --force-reinstall torch"
        sentence = f"torch {ended.trouble}; no model can be changed until a working build is installed: {command}"
        return Check(TORCH, title, Status.FAILED, sentence, details | {"command": command})
    where = " and ".join(_device_words(one) for one in facts["devices"])
    format_words = "bfloat16 works" if facts["bfloat16"] else "no bfloat16, jobs stay in float32"
    sentence = f"torch {facts['version']} computes on {where} with {facts['threads']} threads; {format_words}."
    return Check(TORCH, title, Status.OK, sentence, details)


def _device_words(device: Mapping[str, Any]) -> str:
    if device["kind"] == "cpu":
        return "the processor"
    memory = f", {machine.gib(device['memory_bytes'])}" if "memory_bytes" in device else ""
    return f"{device['kind']} ({device['name']}{memory})"


def portable_build(prefix: Path, version: str | None) -> bool:
    """Whether the installed llama.cpp is the one that the console's installer built to run on any processor."""
    try:
        marked = (prefix / PORTABLE_MARK).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return False
    return version is not None and marked[:1] == [version]


def llama_check(ended: Ended, prefix: Path) -> Check:
    """The optional engine for GGUF files, and whether it lives through a computation."""
    title, facts = "llama.cpp", ended.facts
    version = facts.get("version") or machine.installed_version(_LLAMA_PACKAGE)
    portable = portable_build(prefix, version)
    details = _details(ended, portable_build=portable) | {"version": version}
    if ended.absent == "llama_cpp":
        command = 'pip install "erasure-console[llamacpp]"'
        sentence = f"llama.cpp is not installed; only GGUF files as they are deployed need it: {command}"
        return Check(LLAMA, title, Status.MISSING, sentence, details | {"command": command})
    if ended.absent:
        command = f"pip install {ended.absent}"
        sentence = f"llama.cpp cannot be tried without what it needs: {command}"
        return Check(LLAMA, title, Status.MISSING, sentence, details | {"command": command})
    if ended.trouble is not None:
        if portable:
            sentence = (
                f"llama.cpp {ended.trouble}; this is the portable build already, so work with the torch engine and "
                "report this result."
            )
            return Check(LLAMA, title, Status.FAILED, sentence, details)
        command = _portable_command(version)
        sentence = f"llama.cpp {ended.trouble}; install the portable build: {command}"
        return Check(LLAMA, title, Status.FAILED, sentence, details | {"command": command})
    build = "the portable build" if portable else "not the console's portable build, but it works here"
    where = "can use the GPU" if facts["gpu_offload"] else "uses the processor"
    sentence = f"llama.cpp {version} ({build}) computed with a test model; it {where}."
    return Check(LLAMA, title, Status.OK, sentence, details)


def _portable_command(version: str | None) -> str:
    """Builds llama.cpp for any processor, as the console's own installer does.

    Not from pip's cache: its wheels do not remember the flags that they were built with.
    """
    wanted = f"{_LLAMA_PACKAGE}=={version}" if version else _LLAMA_PACKAGE
    pip = f"pip install --force-reinstall --no-deps --no-cache-dir --no-binary {_LLAMA_PACKAGE} {wanted}"
    setting = "CMAKE_ARGS=-DGGML_NATIVE=OFF"
    return f"set {setting}&& {pip}" if sys.platform == "win32" else f"{setting} {pip}"


def device_check(wanted: str, torch: Ended, llama: Ended) -> Check:
    """Where jobs would run; a device that was asked for by name has to be there."""
    title, needed = "Device", wanted in ("cuda", "mps")
    details = {"wanted": wanted, "used": torch.facts.get("device")}
    if "refused" in torch.facts:
        return Check("device", title, Status.MISSING, str(torch.facts["refused"]), details, needed)
    if torch.trouble is None:
        sentence = f"Jobs run on {details['used']} (asked for: {wanted})."
        return Check("device", title, Status.OK, sentence, details, needed)
    if not needed:
        sentence = "Which device jobs would take is not known, because torch gave no answer."
        return Check("device", title, Status.WARNING, sentence, details)
    if llama.trouble is None and llama.facts.get("gpu_offload"):
        sentence = f"Only llama.cpp can use {wanted} here, because torch gave no answer."
        return Check("device", title, Status.WARNING, sentence, details, needed)
    sentence = f"Whether this machine has a usable {wanted} device is not known; see torch."
    return Check("device", title, Status.MISSING, sentence, details, needed)


def qt_check(ended: Ended) -> Check:
    """Whether the window could be opened; every command works without it."""
    details = _details(ended)
    if ended.absent:
        command = "pip install PySide6-Essentials"
        sentence = f"PySide6 is not installed, so there is no window: {command}"
        return Check("qt", "Qt", Status.MISSING, sentence, details | {"command": command})
    if ended.trouble is not None:
        sentence = f"Qt {ended.trouble}; the window cannot open, every command works without it."
        return Check("qt", "Qt", Status.FAILED, sentence, details)
    return Check("qt", "Qt", Status.OK, f"Qt {ended.facts['version']} starts (tried without a screen).", details)
