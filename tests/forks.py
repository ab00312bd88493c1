"""Commands and jobs run as processes of their own, forked from processes that have the libraries loaded.

A job spends seconds on importing torch and transformers before it does a thing, a command one or two on its own
imports, and the tests start hundreds of both. A fork has its own memory, output, signals and end, as any process has;
what it does not show is how a program *starts*. That is shown by the tests that start real ones: of
``console.jobs.runner``, of the demo, of what a command loads, and every test that changes ``PYTHONPATH``.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from console.jobs import runner

# What each of the two processes has loaded before it forks.
_TASKS = ("advise", "attack", "benchmark", "erase", "export", "own_places", "scan", "teach")
MODULES = {
    "commands": ("console.cli", "console.casework.reporting", "holidays.countries"),
    "jobs": (
        *(f"console.jobs.tasks.{name}" for name in _TASKS),
        "console.engines.checking.whole_model",
        "transformers.models.llama.modeling_llama",
    ),
}
POSSIBLE = sys.platform == "linux"  # elsewhere a fork of a process with such libraries is not safe
PATH_AT_START = os.environ.get("PYTHONPATH")


# -- who asks ----------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    """Where the processes that fork listen; started once, they end with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    servers = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=runner._environment() | {"OMP_NUM_THREADS": "1"},
        )
        for name in MODULES
    ]
    for server in servers:
        assert server.stdout is not None and server.stdout.read(1) == b".", "a process that forks did not start"

    def end() -> None:
        for server in servers:
            server.communicate()

    atexit.register(end)
    return folder


class Fork:
    """``python -m ARGUMENTS`` in a fork.

    Args:
        name: of the process that forks.
        descriptors: the fork's standard input, output and error; closed here.
    """

    def __init__(self, name: str, arguments: Sequence[str], descriptors: Sequence[int], env: dict[str, str]) -> None:
        self.returncode: int | None = None
        self._status, told = os.pipe()
        asked = json.dumps({"arguments": arguments, "env": env, "folder": str(Path.cwd())}).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(_folder() / name))
            socket.send_fds(connection, [len(asked).to_bytes(8, "big")], [*descriptors, told])
            connection.sendall(asked)
        for descriptor in (*descriptors, told):
            os.close(descriptor)
        self.pid = self._told()

    def _told(self) -> int:
        number = os.read(self._status, 8)
        assert len(number) == 8, "the process that forks has died"
        return int.from_bytes(number, "big")

    def poll(self, wait_s: float | None = 0.0) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], wait_s)[0]:
            self.returncode = os.waitstatus_to_exitcode(self._told())
            os.close(self._status)
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _Job(Fork):
    """The part of :class:`subprocess.Popen` that a job's parent uses."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str]) -> None:
        (theirs_in, mine_in), (mine_out, theirs_out), (mine_error, theirs_error) = (os.pipe() for _ in range(3))
        super().__init__("jobs", arguments, (theirs_in, theirs_out, theirs_error), env)
        words: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
        self.stdin = os.fdopen(mine_in, "w", **words)
        self.stdout, self.stderr = os.fdopen(mine_out, **words), os.fdopen(mine_error, **words)


def _start(command: Sequence[str], *, env: dict[str, str], **more: Any) -> Any:
    """What ``subprocess.Popen`` is to a job's parent; a real start where ``PYTHONPATH`` brings other code."""
    if POSSIBLE and env.get("PYTHONPATH") == PATH_AT_START:
        return _Job(command[2:], env)
    return subprocess.Popen(command, env=env, **more)


# Stands in for the module ``subprocess`` of ``console.jobs.runner``.
forked_jobs = SimpleNamespace(Popen=_start, PIPE=subprocess.PIPE)


def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """``python -m ARGUMENTS`` to its end, with nothing on standard input."""
    if not POSSIBLE or env.get("PYTHONPATH") != PATH_AT_START:
        command = [sys.executable, "-m", *arguments]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
        return subprocess.run(command, **streams, text=True, encoding="utf-8", env=env, check=False)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        streams_of = (os.open(os.devnull, os.O_RDONLY), os.dup(output.fileno()), os.dup(errors.fileno()))
        code = Fork("commands", arguments, streams_of, env).poll(None)
        assert code is not None
        said = []
        for stream in (output, errors):
            stream.seek(0)
            said.append(stream.read().decode("utf-8"))
    return subprocess.CompletedProcess(arguments, code, *said)


# -- who forks ---------------------------------------------------------------------------------


def _serve(listening: socket.socket) -> tuple[list[int], dict[str, Any]]:
    """Fork for everyone who asks, until standard input ends; returns in the forks, with what was asked for."""
    heard, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    waiting: dict[int, int] = {}
    while True:
        ready = select.select([0, listening, heard], [], [])[0]
        if 0 in ready:
            shutil.rmtree(Path(listening.getsockname()).parent, ignore_errors=True)
            os._exit(0)
        if heard in ready:
            os.read(heard, 1000)
        for number, told in list(waiting.items()):
            ended, status = os.waitpid(number, os.WNOHANG)
            if ended:
                del waiting[number]
                _tell(told, status)
                os.close(told)
        if listening not in ready:
            continue
        connection, _ = listening.accept()
        with connection:
            head, (*streams, told), _, _ = socket.recv_fds(connection, 8, 4)
            body = b""
            while len(body) < int.from_bytes(head, "big"):
                body += connection.recv(1 << 16)
        number = os.fork()
        if number == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (heard, wake, told, *waiting.values()):
                os.close(descriptor)
            return streams, json.loads(body)
        for descriptor in streams:
            os.close(descriptor)
        _tell(told, number)
        waiting[number] = told


def _tell(told: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
        os.write(told, number.to_bytes(8, "big"))


def _become(streams: list[int], arguments: list[str], env: dict[str, str], folder: str) -> None:
    """Streams, environment, folder and arguments of a process that was started like this."""
    for place, descriptor in enumerate(streams):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = arguments
    sys.path[0] = folder
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stdout.reconfigure(write_through=bool(env.get("PYTHONUNBUFFERED")))
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    random.seed()


def _run() -> int:
    """Run the module as the main program; returns the exit code."""
    sys.modules.pop(sys.argv[0], None)  # loaded anew as the main program, as always
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _main(address: Path) -> None:
    for module in MODULES[address.name]:
        import_module(module)
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen(64)
        os.write(1, b".")
        streams, asked = _serve(listening)
    _become(streams, **asked)
    # What a command starts is forked as well.
    globals()["_folder"] = lambda: address.parent
    runner.subprocess = forked_jobs
    code = _run()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # as the libraries would be taken down one by one


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
