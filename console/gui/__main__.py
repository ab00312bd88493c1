"""``python -m console.gui``: the window without the command line, whose imports would come before the first paint."""

from __future__ import annotations

import argparse
import sys

from console.errors import InputError
from console.gui.app import main
from console.paths import Places, data_folder


def _run() -> int:
    parser = argparse.ArgumentParser(prog="erasure-console-window", description="Open the Erasure Console's window.")
    parser.add_argument("--data-dir", default=None, help="folder of the office")
    own, for_qt = parser.parse_known_args()
    try:
        folder = None if own.data_dir is None else data_folder(own.data_dir)
    except InputError as error:
        parser.error(str(error))
    return main(Places.choose(folder), argv=for_qt)


if __name__ == "__main__":
    sys.exit(_run())
