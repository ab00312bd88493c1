"""Files of text that a person names, read from the disk; what is in them is :mod:`console.domain.text_file`'s."""

from __future__ import annotations

import stat
from pathlib import Path

from console.domain.text_file import LARGEST_FILE, TextFile, open_text, too_large
from console.domain.visible import quoted
from console.errors import InputError

_LONGEST_PATH = 400  # characters shown; the name, at its end, must be seen


def read_text_file(path: Path, encoding: str | None = None, *, largest: int = LARGEST_FILE) -> TextFile:
    """A file as text.

    Args:
        encoding: what the person chose; found out where it is None.
        largest: bytes that are read at most.

    Raises:
        InputError: it is not there, is no file, cannot be read, or is no text; the sentence names it.
    """
    if not path.name:  # an empty name is the folder that one is in
        raise InputError("No file was named to read: give the path of one.")
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{quoted(str(path), _LONGEST_PATH)} is a folder; name a file in it.")
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device would be waited for without end
            raise InputError(f"{quoted(str(path), _LONGEST_PATH)} is no ordinary file; copy its content into one.")
        if found.st_size > largest:
            raise too_large(path.name, largest)
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = getattr(error, "strerror", None) or "the name cannot be used"
        raise InputError(
            f"The file {quoted(str(path), _LONGEST_PATH)} cannot be read ({reason}); check the path."
        ) from error
    return open_text(data, path.name, encoding)
