"""Whether something on the disk is a plain file inside the model's folder, and what it is if it is no model file."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from console.domain.visible import quoted
from console.errors import ModelFileError

_POINTER = b"version https://git-lfs"
_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")
_KINDS = (
    (b"PK\x03\x04", "a ZIP archive or weights in PyTorch's own format, which can run code and are never opened"),
    (b"\x80\x02", "a Python pickle, which can run code and is never opened"),
    (b"\x80\x03", "a Python pickle, which can run code and is never opened"),
    (b"\x80\x04", "a Python pickle, which can run code and is never opened"),
    (b"\x1f\x8b", "a compressed file; unpack it first"),
    (b"\x89HDF", "weights of another library (HDF5)"),
    (b"ggjt", "an early llama.cpp file, from before GGUF"),
    (b"tjgg", "an early llama.cpp file, from before GGUF"),
    (b"GGUF", "a GGUF model; name the file itself, not a folder around it"),
)
_BEGINNING = 512


def another_kind(beginning: bytes) -> str | None:
    """What a file that is no model file is instead, by its first bytes, or None where they tell nothing."""
    if beginning.startswith(_POINTER):
        return "only a pointer of Git LFS to the file, not the file; fetch it with 'git lfs pull', or download it again"
    if beginning.lstrip()[:16].lower().startswith(_PAGE):
        return "a web page, which a server sent in place of the file; download it again, signed in if it asks for that"
    for mark, kind in _KINDS:
        if beginning.startswith(mark):
            return kind
    return None


def require_file(path: Path, what: str) -> Path:
    """``path``, once it is a plain file that can be read to its end (no pipe, device or folder).

    Raises:
        ModelFileError: it is something else, or nothing.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise ModelFileError(f"{what} {quoted(path.name)} is not there; copy the model again.") from error
    except OSError as error:
        raise ModelFileError(f"{what} {quoted(path.name)} cannot be read ({error.strerror}).") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise ModelFileError(f"{what} {quoted(path.name)} is {kind} and not a file; copy the model again.")
    return path


def require_inside(folder: Path, path: Path) -> Path:
    """``path``, once it lies in ``folder`` with all links followed.

    A link out of the folder could be bent to other bytes at any time, and a copy of the folder would not hold them.

    Raises:
        ModelFileError: it is a link to another place.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelFileError(
            f"{quoted(path.name)} in {quoted(folder.name)} is a link to a file outside this folder; copy the model "
            "with the files themselves (cp -rL does), and add the copy."
        )
    return path


def own_file(folder: Path, name: str, what: str = "The file") -> Path:
    """The plain file of this name in ``folder``: asked before a byte of it is read.

    Raises:
        ModelFileError: a link out of the folder, something else than a file, or nothing.
    """
    return require_file(require_inside(folder, folder / name), what)


def stands_in(folder: Path, name: str) -> bool:
    """Whether something has this name in ``folder``, be it a file, a pipe or a link to nowhere."""
    return (folder / name).exists() or (folder / name).is_symlink()


def part_name(name: object, source: str) -> str:
    """A file's name as an index may give it: one name, no way to another folder.

    Raises:
        ModelFileError: it is a path, or no name.
    """
    if not isinstance(name, str) or not name or name in {".", ".."} or "\0" in name:
        raise ModelFileError(f"{source} names a weights file by something that is no name; copy the model again.")
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise ModelFileError(
            f"{source} names the weights file {quoted(name)}, which is not in the model's own folder; a model is only "
            "read from its folder, so copy the model again."
        )
    return name


def beginning_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_BEGINNING)
