"""The one door for files that go where the person says: reports, exports, tables, plots, empty forms.

Whatever path is named, the office's own files are never written over, a link is never followed, another file is
replaced only if the person asked for that, and the file appears whole or not at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from console.atomic_file import write_atomically
from console.domain.visible import quoted
from console.errors import InputError
from console.paths import PASSPHRASE_FILE_VARIABLE, Places


@dataclass(frozen=True)
class OutFile:
    """A file that may be written. Made by ``named`` before the work begins, so that a wrong path costs no hours.

    Attributes:
        replace: the person asked for an existing file to be replaced.
    """

    path: Path
    places: Places
    replace: bool

    @classmethod
    def named(cls, path: Path, places: Places, *, replace: bool = False) -> OutFile:
        """The file at ``path``.

        Raises:
            InputError: it is one of an office's own files, a link, a folder or a device, its folder is missing, or
                there is a file already and ``replace`` is not set.
        """
        out = cls(path, places, replace)
        out._refuse()
        return out

    def write(self, data: bytes, *, check: Callable[[Path], None] | None = None) -> None:
        """Put the whole file in place, or leave what was there; looks at the place once more before.

        Args:
            check: see ``write_atomically``.

        Raises:
            InputError: as ``named``.
            DiskFullError: the folder cannot be written or has no room.
        """
        self._refuse()
        write_atomically(self.path, data, check=check)

    def _refuse(self) -> None:
        if not self.path.name:
            raise InputError("No file was named to write to: give its name, or a folder and its name.")
        shown = quoted(str(self.path))
        folder = self.path.parent.resolve()
        if not folder.is_dir():
            raise InputError(f"The folder of {shown} does not exist; make it or choose another file.")
        target = folder / self.path.name
        if _belongs_to_an_office(target, self.places):
            raise InputError(f"{shown} is one of the office's own files and is never written over; choose another.")
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{shown} cannot be written ({error.strerror}); choose another file.") from error
        if stat.S_ISLNK(mode):
            raise InputError(f"{shown} is a link to another place; name the file itself.")
        if not stat.S_ISREG(mode):
            raise InputError(f"{shown} is no ordinary file; choose another.")
        if not self.replace:
            raise InputError(f"The file {shown} exists already; choose another, or replace it with --force.")


def _belongs_to_an_office(target: Path, places: Places) -> bool:
    """Whether the resolved ``target`` is, or would become, a file that an office lives on: this one or another."""
    named = os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if named and _same(target, Path(named)):
        return True
    offices = [places.data.resolve()]
    offices += [folder for folder in target.parents if Places(folder, folder).has_ledger]
    return any(_belongs(target, Places(folder, folder)) for folder in offices)


def _belongs(target: Path, office: Places) -> bool:
    own_folders = (office.keys, office.models, office.jobs)
    if any(_same(folder, own) for folder in (target, *target.parents) for own in own_folders):
        return True
    if _same(target.parent, office.data) and _plain(target.name).startswith(tuple(map(_plain, office.own_names))):
        return True
    return any(_same(target, office.data / name) for name in office.own_names)  # another name of one: a hard link


def _plain(name: str) -> str:
    """A name as the most forgiving file systems read it: in any case, and without dots and blanks at the end."""
    return name.rstrip(". ").casefold()


def _same(one: Path, other: Path) -> bool:
    """Whether both paths are one file, by identity where both exist, by name else."""
    try:
        return one.samefile(other)
    except OSError:
        return [_plain(part) for part in one.parts] == [_plain(part) for part in other.resolve().parts]
