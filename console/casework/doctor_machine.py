"""The doctor's checks of the machine itself and of the libraries that cannot crash the console."""

from __future__ import annotations

import ctypes.util
import platform
import shutil
import sys
import tempfile
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from console.casework.doctor_checks import Check, Status
from console.casework.sample import MODEL_FILE
from console.errors import ConsoleError
from console.ledger.setup_check import check_encryption, find_keyring
from console.paths import Places

GIB = 2**30
LEAST_FREE_BYTES = 200 * 2**20  # less than the sample model and its report take
COMFORTABLE_FREE_BYTES = 2 * GIB  # a small model is written several times over in one case
LEAST_MEMORY_BYTES = GIB
# The console cannot have been installed before this; a clock that stands earlier has lost its battery.
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
_PDF_LIBRARIES = {
    "reportlab": "reportlab.platypus",
    "pikepdf": "pikepdf",
    "pypdfium2": "pypdfium2",
    "pyhanko": "pyhanko.sign.signers",
    "pyhanko-certvalidator": "pyhanko_certvalidator",
    "cryptography": "cryptography.hazmat.primitives.asymmetric.ec",
}
# What Qt loads from a Linux system: library -> Debian package (the same list as in the packaging folder).
QT_SYSTEM_LIBRARIES = {
    "EGL": "libegl1",
    "GL": "libgl1",
    "xkbcommon": "libxkbcommon0",
    "xkbcommon-x11": "libxkbcommon-x11-0",
    "dbus-1": "libdbus-1-3",
    "fontconfig": "libfontconfig1",
    "xcb-cursor": "libxcb-cursor0",
    "xcb-icccm": "libxcb-icccm4",
    "xcb-image": "libxcb-image0",
    "xcb-keysyms": "libxcb-keysyms1",
    "xcb-render-util": "libxcb-render-util0",
    "xcb-shape": "libxcb-shape0",
    "xcb-xkb": "libxcb-xkb1",
}


def installed_version(package: str) -> str | None:
    """A package's version without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gib(count: int) -> str:
    """Bytes in words."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count // 2**20} MiB"


# -- the machine --------------------------------------------------------------------------------


def system() -> Check:
    """Operating system and Python."""
    details = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "release": platform.release(),
        "platform": platform.platform(),
        "machine": platform.machine(),
    }
    sentence = f"Python {details['python']} on {details['platform']}."
    return Check("system", "System", Status.OK, sentence, details, needed=True)


def _processor_name() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def processor() -> Check:
    """Name and cores."""
    try:
        name = _processor_name()
    except OSError:  # only Linux has that file
        name = ""
    name = name or platform.processor() or platform.machine()
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    details = {"name": name, "cores_physical": physical, "cores_logical": logical}
    cores = f"{physical or 'an unknown number of'} cores, {logical or 'an unknown number of'} threads"
    return Check("processor", "Processor", Status.OK, f"{name}: {cores}.", details)


def memory() -> Check:
    """Total and free memory."""
    found = psutil.virtual_memory()
    details = {"total_bytes": found.total, "free_bytes": found.available}
    words = f"{gib(found.available)} of {gib(found.total)} memory are free"
    if found.available < LEAST_MEMORY_BYTES:
        return Check("memory", "Memory", Status.WARNING, f"Only {words}; close other programs before a job.", details)
    return Check("memory", "Memory", Status.OK, f"{words}.", details)


def _nearest(folder: Path) -> Path:
    """The folder, or the one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def folder(name: str, title: str, path: Path) -> Check:
    """Whether a folder (or the one that it will be made in) can be written, and the room there; leaves nothing."""
    place = _nearest(path.absolute())
    details: dict[str, Any] = {"path": str(path), "exists": path.is_dir()}
    try:
        with tempfile.TemporaryFile(dir=place) as stream:
            stream.write(b"x")
            stream.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        details["error"] = str(error)
        sentence = f"{path} cannot be written ({error.strerror or error}); allow it, or choose another folder."
        return Check(name, title, Status.FAILED, sentence, details, needed=True)
    details["free_bytes"] = free
    if free < LEAST_FREE_BYTES:
        sentence = f"Only {gib(free)} are free in {path}, too little to work; free some space or choose another folder."
        return Check(name, title, Status.FAILED, sentence, details, needed=True)
    if free < COMFORTABLE_FREE_BYTES:
        sentence = f"{path} can be written, but only {gib(free)} are free; a changed model may not fit."
        return Check(name, title, Status.WARNING, sentence, details, needed=True)
    there = "" if path.is_dir() else " (it will be made when it is needed)"
    return Check(name, title, Status.OK, f"{path} can be written{there}; {gib(free)} free.", details, needed=True)


def folders(places: Places) -> list[Check]:
    """Data, cache and temporary folder."""
    return [
        folder("data-folder", "Data folder", places.data),
        folder("cache-folder", "Cache folder", places.cache),
        folder("temporary-folder", "Temporary files", Path(tempfile.gettempdir())),
    ]


def clock(now: datetime, env: Mapping[str, str]) -> Check:
    """Whether deadlines and signatures can rely on the machine's time."""
    local = now.astimezone()
    offset = local.utcoffset()
    details = {
        "utc": now.astimezone(UTC).isoformat(timespec="seconds"),
        "utc_offset_minutes": None if offset is None else int(offset.total_seconds() // 60),
        "zone": local.tzname(),
    }
    shown = f"{local:%Y-%m-%d %H:%M}"
    if now < EARLIEST:
        sentence = f"The clock says {shown}, which is wrong; set it, or every deadline and signature will be wrong."
        return Check("clock", "Clock", Status.FAILED, sentence, details, needed=True)
    wanted = env.get("TZ", "").removeprefix(":")
    if offset is None or ("/" in wanted and not wanted.startswith("/") and not _known_zone(wanted)):
        sentence = f"The clock says {shown}, but the time zone '{wanted}' is not known; set a known one."
        return Check("clock", "Clock", Status.WARNING, sentence, details, needed=True)
    return Check("clock", "Clock", Status.OK, f"{shown} UTC{local:%z} ({local.tzname()}).", details, needed=True)


def _known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


# -- what the console stands on -----------------------------------------------------------------


def encryption(scratch: Path) -> Check:
    """Whether the ledger's database encrypts and refuses a wrong passphrase."""
    package = {"sqlcipher3": installed_version("sqlcipher3")}
    try:
        versions = check_encryption(scratch)
    except ConsoleError as error:
        return Check("encryption", "Encryption", Status.FAILED, str(error), package, needed=True)
    details = package | {"sqlcipher": versions.sqlcipher, "sqlite": versions.sqlite}
    sentence = f"SQLCipher {versions.sqlcipher} encrypts and refuses a wrong passphrase."
    return Check("encryption", "Encryption", Status.OK, sentence, details, needed=True)


def keyring() -> Check:
    """Whether the system keeps the passphrase; without, the person types it or names a key file."""
    found = find_keyring()
    details = {"backend": found.name, "usable": found.safe, "version": installed_version("keyring")}
    if found.safe:
        return Check("keyring", "Keyring", Status.OK, f"The system's keyring can be used ({found.name}).", details)
    kind = f" ({found.name} keeps nothing, or keeps it in clear)" if found.name else ""
    sentence = (
        f"There is no keyring that is safe{kind}; type the passphrase each time, or name a key file in "
        "ERASURE_CONSOLE_PASSPHRASE_FILE."
    )
    return Check("keyring", "Keyring", Status.MISSING, sentence, details)


def fonts() -> Check:
    """Whether the report's typefaces are part of this installation."""
    from console.reports.fonts import plain, register_fonts

    try:
        register_fonts()
        complete = plain("Ä ß € ł é") == "Ä ß € ł é"
    except Exception as error:  # the font library raises its own kinds for a damaged file
        details = {"error": f"{type(error).__name__}: {error}"}
        sentence = "The typefaces of the report cannot be loaded; install the console again."
        return Check("pdf-fonts", "Report fonts", Status.FAILED, sentence, details, needed=True)
    if not complete:
        sentence = "The typefaces of the report lack letters; install the console again."
        return Check("pdf-fonts", "Report fonts", Status.FAILED, sentence, {}, needed=True)
    sentence = "The typefaces of the report are there."
    return Check("pdf-fonts", "Report fonts", Status.OK, sentence, {}, needed=True)


def pdf_libraries(load: Callable[[str], object] = import_module) -> Check:
    """Whether reports can be written, signed and verified."""
    details: dict[str, Any] = {package: installed_version(package) for package in _PDF_LIBRARIES}
    lacking, broken = [], []
    for package, module in _PDF_LIBRARIES.items():
        try:
            load(module)
        except ModuleNotFoundError:
            lacking.append(package)
        except Exception as error:  # a shared library that is missing or does not fit
            broken.append(package)
            details[f"{package}_error"] = f"{type(error).__name__}: {error}"
    if lacking or broken:
        names = " ".join(lacking + broken)
        status = Status.FAILED if broken else Status.MISSING
        details["command"] = f"pip install --force-reinstall {names}"
        sentence = f"Reports cannot be written or signed; install again: {details['command']}"
        return Check("pdf-signing", "Report signing", status, sentence, details, needed=True)
    sentence = f"Reports can be written, signed and verified (pyHanko {details['pyhanko']})."
    return Check("pdf-signing", "Report signing", Status.OK, sentence, details, needed=True)


def poppler() -> Check:
    """Whether there are programs to look at a report from outside; the console itself needs none."""
    details = {name: shutil.which(name) for name in ("pdftoppm", "pdfsig")}
    lacking = [name for name, path in details.items() if path is None]
    if lacking:
        sentence = (
            f"{' and '.join(lacking)} of Poppler are not installed; the console does not need them, they only serve "
            "to look at a report and its signature with another program."
        )
        return Check("poppler", "Poppler", Status.MISSING, sentence, details)
    sentence = "Poppler can look at a report and its signature from outside; the console does not need it."
    return Check("poppler", "Poppler", Status.OK, sentence, details)


def display(env: Mapping[str, str]) -> Check:
    """Whether there is a screen for the window."""
    details: dict[str, Any] = {
        name.lower(): env.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    }
    unix = sys.platform.startswith(("linux", "freebsd"))
    if unix and not (details["display"] or details["wayland_display"]):
        sentence = "There is no display, so the window cannot open here; every command works without one."
        return Check("display", "Display", Status.MISSING, sentence, details)
    return Check("display", "Display", Status.OK, "There is a display for the window.", details)


def qt_system_libraries(find: Callable[[str], str | None] = ctypes.util.find_library) -> Check:
    """Libraries of a Linux system that Qt loads when a window opens."""
    name, title = "qt-system-libraries", "Window libraries"
    if not sys.platform.startswith("linux"):
        return Check(name, title, Status.OK, "Qt brings all that it needs on this system.", {"missing": []})
    lacking = sorted({package for library, package in QT_SYSTEM_LIBRARIES.items() if find(library) is None})
    if lacking:
        command = f"sudo apt-get install {' '.join(lacking)}"
        sentence = f"The window needs libraries of the system (Debian, Ubuntu): {command}"
        return Check(name, title, Status.MISSING, sentence, {"missing": lacking, "command": command})
    return Check(name, title, Status.OK, "The libraries of the system that Qt loads are there.", {"missing": []})


def sample_model(places: Places) -> Check:
    """Whether the sample model is there already; only information."""
    path = places.cache / "sample-model" / MODEL_FILE
    there = path.is_file()
    details: dict[str, Any] = {"path": str(path), "bytes": path.stat().st_size if there else None}
    if there:
        return Check("sample-model", "Sample model", Status.OK, f"The sample model lies in {path.parent}.", details)
    sentence = "The sample model is not there yet; 'erasure-console demo' fetches it once (93 MB)."
    return Check("sample-model", "Sample model", Status.MISSING, sentence, details)
