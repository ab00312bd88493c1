"""What the compute libraries of this machine can do: ``python -m console.jobs.tasks.doctor ENGINE DEVICE FOLDER``.

A process of its own for each engine, because a library that does not fit the processor takes its process with it.
Facts go to standard output as JSON objects, one a line, each said before the next risk is taken; whatever a library
prints goes to standard error. ``stage`` tells what is being tried, and is ``done`` at the end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.errors import ConsoleError, InputError

Say = Callable[..., None]
DONE = "done"


def torch_facts(say: Say, device: str, folder: Path) -> None:
    """Versions, devices and threads of the torch engine, and a small computation on the device that jobs would take.

    Raises:
        ModuleNotFoundError: torch is not installed.
        InputError: the named device is not on this machine.
    """
    del folder
    say(stage="loading the library")
    import torch

    from console.engines.devices import resolve_device, set_threads

    say(version=torch.__version__, devices=_devices(torch), processor_code=torch.backends.cpu.get_cpu_capability())
    say(threads=set_threads())
    say(stage="computing on the processor")
    _compute(torch, torch.device("cpu"))
    try:
        chosen = resolve_device(device)
    except InputError as error:
        say(refused=str(error))
        chosen = torch.device("cpu")
    else:
        say(device=chosen.type)
    say(stage=f"computing on {chosen.type}")
    _compute(torch, chosen)
    say(stage=f"computing in bfloat16 on {chosen.type}")
    say(bfloat16=_can_bfloat16(torch, chosen))


def _devices(torch: Any) -> list[dict[str, Any]]:
    """Every device with its name, and for graphics cards the memory in bytes."""
    found: list[dict[str, Any]] = [{"kind": "cpu"}]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            one = {"kind": "cuda", "index": index, "name": properties.name, "memory_bytes": properties.total_memory}
            found.append(one | {"capability": f"{properties.major}.{properties.minor}"})
    if torch.backends.mps.is_available():
        found.append({"kind": "mps", "name": "Apple graphics (shares the machine's memory)"})
    return found


def _compute(torch: Any, device: Any) -> None:
    """One product and its gradient, which has to come out exactly.

    Raises:
        ArithmeticError: it came out wrong.
    """
    left = torch.arange(64.0, device=device).reshape(8, 8).requires_grad_()
    (left @ torch.full((8, 8), 2.0, device=device)).sum().backward()
    if left.grad is None or not bool((left.grad == 16.0).all()):
        raise ArithmeticError(f"the device {device.type} computed a wrong gradient")


def _can_bfloat16(torch: Any, device: Any) -> bool:
    """Whether a product of bfloat16 matrices comes out right here; slow emulation counts as yes."""
    try:
        eight = torch.full((64, 64), 0.5, device=device, dtype=torch.bfloat16)
        return bool(((eight @ eight) == 16.0).all())
    except (RuntimeError, TypeError):  # what torch raises where a device lacks the format
        return False


def llama_facts(say: Say, device: str, folder: Path) -> None:
    """Version and build of llama.cpp, and whether it lives through a computation (see ``console.engines.llama_probe``).

    Raises:
        ModuleNotFoundError: llama-cpp-python is not installed.
        ModelFileError: it computes wrongly.
    """
    from console.engines.llama_probe import probe

    probe(say, folder, device)


_ENGINES: dict[str, Callable[[Say, str, Path], None]] = {"torch": torch_facts, "llama-cpp": llama_facts}


def _own_the_output() -> Say:
    """Keep standard output for facts: the descriptor that libraries print to becomes standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(**facts: Any) -> None:
        stream.write(json.dumps(facts) + "\n")
        stream.flush()

    return say


def main(arguments: list[str]) -> int:
    engine, device, folder = arguments
    say = _own_the_output()
    try:
        _ENGINES[engine](say, device, Path(folder))
    except ModuleNotFoundError as error:
        say(absent=error.name)
    except ConsoleError as error:
        say(error=str(error))
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        say(error=f"{type(error).__name__}: {error}")
    else:
        say(stage=DONE)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # what a library does while it is unloaded is no part of the answer
