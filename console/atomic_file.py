"""Whole files or none: written beside their place, checked there, and moved in one step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from console.errors import DiskFullError


def write_atomically(
    path: Path, data: bytes, *, private: bool = False, check: Callable[[Path], None] | None = None
) -> None:
    """Put a whole file in place, or leave what was there.

    Args:
        private: readable by the owner alone, where the system knows how.
        check: looks at the file as it lies on the disk, before it takes its place; what it raises
            keeps the file from appearing.

    Raises:
        DiskFullError: the folder cannot be written, has no room, or the old file is held open.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix":
            temporary.chmod(0o600 if private else 0o644)
        if check is not None:
            check(temporary)
        temporary.replace(path)
    except OSError as error:
        raise DiskFullError(
            f"{path.name} could not be written ({error.strerror or error}); free space or choose another folder."
        ) from error
    finally:
        # After the move the temporary name is gone, and there is nothing to remove.
        if temporary is not None:
            temporary.unlink(missing_ok=True)
