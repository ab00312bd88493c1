"""Build and install llama-cpp-python portably, once.

The native build crashes in decode on virtual machines whose processor announces instructions (AMX) that the
hypervisor does not carry. pip's wheel cache ignores CMAKE_ARGS, so a wheel that somebody built natively would
be taken from it; ours is built into a wheelhouse of its own, keyed by version and flags.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

FLAGS = "-DGGML_NATIVE=OFF"
ROOT = Path(__file__).resolve().parent.parent
MARK = "console-portable-build.txt"


def pinned() -> str:
    """The version that the constraint file names."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, found = line.partition("==")
        if name.strip() == "llama-cpp-python":
            return found.strip()
    raise SystemExit("constraints.txt pins no llama-cpp-python; add it.")


def installed_mark(wanted: str) -> bool:
    """Whether the installed build is ours: of this version and with these flags."""
    try:
        present = version("llama-cpp-python")
    except PackageNotFoundError:
        return False
    mark = Path(sys.prefix) / MARK
    return present == wanted and mark.is_file() and mark.read_text(encoding="utf-8") == f"{wanted} {FLAGS}"


def main() -> int:
    wanted = pinned()
    if installed_mark(wanted):
        return 0
    key = hashlib.sha256(f"{wanted} {FLAGS} {sys.version_info[:2]}".encode()).hexdigest()[:12]
    wheelhouse = Path(platformdirs.user_cache_dir("erasure-console", appauthor=False)) / "wheels" / key
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if not list(wheelhouse.glob("llama_cpp_python-*.whl")):
        print(f"Building llama-cpp-python {wanted} (minutes, once)", flush=True)
        wheelhouse.mkdir(parents=True, exist_ok=True)
        build = [*pip, "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
        command = [*build, "--wheel-dir", str(wheelhouse), f"llama-cpp-python=={wanted}"]
        environment = os.environ | {"CMAKE_ARGS": FLAGS}
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            # Nothing but the llama.cpp engine needs it, and that engine says so itself when it is missing.
            print("llama-cpp-python could not be built (no C++ compiler?); going on without it.")
            return 0
    wheel = next(wheelhouse.glob("llama_cpp_python-*.whl"))
    constraint = str(ROOT / "constraints.txt")
    install = [*pip, "install", "--quiet", "--force-reinstall", "--no-deps", str(wheel)]
    requirements = [*pip, "install", "--quiet", "--constraint", constraint, f"llama-cpp-python=={wanted}"]
    for command in (install, requirements):
        if subprocess.run(command, check=False).returncode != 0:
            return 1
    (Path(sys.prefix) / MARK).write_text(f"{wanted} {FLAGS}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
