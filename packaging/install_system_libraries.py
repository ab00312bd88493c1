"""Install the Debian libraries that Qt loads, where apt and the rights are there; else name them in one sentence."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys

# library that Qt loads -> Debian package
NEEDED = {
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


def missing() -> list[str]:
    """Debian packages whose library the loader does not find."""
    return sorted({package for library, package in NEEDED.items() if ctypes.util.find_library(library) is None})


def main() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    wanted = missing()
    if not wanted:
        return 0
    names = " ".join(wanted)
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        print(f"The window needs libraries of the system; install them with: sudo apt-get install {names}")
        return 0
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ([apt, "update", "-q"], [apt, "install", "-y", "-q", "--no-install-recommends", *wanted]):
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            print(f"The libraries {names} could not be installed; install them by hand and run this again.")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
