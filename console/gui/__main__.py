"""``python -m console.gui``: the window without the command line, whose imports would come before the first paint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from console.gui.app import main
from console.paths import Places


def _run() -> int:
    parser = argparse.ArgumentParser(prog="erasure-console-window", description="Open the Erasure Console's window.")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the office")
    own, for_qt = parser.parse_known_args()
    return main(Places.choose(own.data_dir), argv=for_qt)


if __name__ == "__main__":
    sys.exit(_run())
