"""``python -m console.gui.probe``: whether Qt can be loaded and started here; prints one JSON object.

Run as a process of its own, because Qt ends the process when a library of the system is missing.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    try:
        import PySide6
        from PySide6.QtWidgets import QApplication
    except ModuleNotFoundError as error:
        sys.stdout.write(json.dumps({"absent": error.name}) + "\n")
        return 0
    except ImportError as error:  # a shared library of the system that Qt is linked to
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 0
    app = QApplication(["erasure-console-doctor"])
    facts = {"version": PySide6.__version__, "platform": app.platformName(), "stage": "done"}
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
