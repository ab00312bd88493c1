"""Where data, cache, logs and shipped resources live.

One ``--data-dir`` overrides every writable place, so that a demo, a test or a second
office never touches the officer's own files.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import platformdirs

from console.errors import InputError

APP_NAME = "erasure-console"
PASSPHRASE_FILE_VARIABLE = "ERASURE_CONSOLE_PASSPHRASE_FILE"


@dataclass(frozen=True)
class Places:
    """The writable folders of one office. Nothing is created until ``create`` is called."""

    data: Path
    cache: Path

    @classmethod
    def default(cls) -> Places:
        return cls(
            data=Path(platformdirs.user_data_dir(APP_NAME, appauthor=False)),
            cache=Path(platformdirs.user_cache_dir(APP_NAME, appauthor=False)),
        )

    @classmethod
    def choose(cls, data_dir: Path | None) -> Places:
        """Places under ``data_dir``, or the user's own.

        The download cache stays shared when ``ERASURE_CONSOLE_CACHE_DIR`` names one: the sample
        model is 93 MB and holds nobody's data.
        """
        places = cls.default() if data_dir is None else cls(data=Path(data_dir), cache=Path(data_dir) / "cache")
        shared_cache = os.environ.get("ERASURE_CONSOLE_CACHE_DIR")
        return cls(data=places.data, cache=Path(shared_cache)) if shared_cache else places

    @property
    def ledger(self) -> Path:
        return self.data / "ledger.db"

    @property
    def passphrase_file(self) -> Path:
        """The demo's generated key file (mode 0600)."""
        return self.data / "demo-passphrase"

    @property
    def head_mark(self) -> Path:
        """How far the ledger had come, kept beside it (see ``console.ledger.headmark``)."""
        return self.data / "ledger.head.json"

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def jobs(self) -> Path:
        return self.data / "jobs"

    @property
    def reports(self) -> Path:
        return self.data / "reports"

    @property
    def method_benchmark(self) -> Path:
        """The office's own benchmark of methods, where somebody took one for advice."""
        return self.data / "method-benchmark.json"

    @property
    def own_names(self) -> tuple[str, ...]:
        """How the names of the files begin that the office lives on; a journal or a lock has more behind it."""
        return (self.ledger.name, self.head_mark.name, self.passphrase_file.name)

    @property
    def has_ledger(self) -> bool:
        """Whether a ledger is here, or was: the mark beside it tells."""
        return self.ledger.exists() or self.head_mark.exists()

    @property
    def remains(self) -> tuple[Path, ...]:
        """What only an office with a ledger leaves behind: its mark, a journal, keys."""
        journal = self.ledger.with_name(f"{self.ledger.name}-journal")
        return (*(path for path in (self.head_mark, journal) if path.exists()), *sorted(self.keys.glob("*.p12")))

    @property
    def missing_folders(self) -> tuple[Path, ...]:
        """The folders that ``create`` would make, those above the office's own included; the deepest come last."""
        wanted = {above for folder in self._folders for above in (folder, *folder.parents)}
        return tuple(sorted((folder for folder in wanted if not folder.exists()), key=lambda folder: len(folder.parts)))

    @property
    def own_files(self) -> frozenset[Path]:
        """The files that the office lives on, as far as they are there."""
        return frozenset(path for name in self.own_names for path in self.data.glob(f"{glob.escape(name)}*"))

    def create(self) -> None:
        """Make the folders, private to the user where the system knows how.

        Raises:
            OSError: the folder cannot be written.
        """
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            self.data.chmod(0o700)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.data, self.cache, self.keys, self.models, self.jobs, self.reports)


def discard(folders: Iterable[Path]) -> None:
    """Take away the folders that hold nothing, the deepest (which come last) first, where no office came of them."""
    for folder in reversed(tuple(folders)):
        with suppress(OSError):
            folder.rmdir()  # refuses a folder that holds something


def data_folder(text: str) -> Path:
    """The folder that somebody named with ``--data-dir``.

    Raises:
        InputError: it is empty, which would stand for whatever folder the shell is in.
    """
    if not text.strip():
        raise InputError("The folder after --data-dir is empty; name the office's folder, or leave --data-dir out.")
    return Path(text)


def resource(*parts: str) -> Traversable:
    """A file or folder shipped with the product: inside the wheel, or ``resources/`` of a checkout."""
    package = files("console")
    shipped = package / "resources"
    root = shipped if shipped.is_dir() else Path(str(package)).parent / "resources"
    return root.joinpath(*parts)
