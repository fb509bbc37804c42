"""Mounts below a directory: list them, take them off, and only then remove the directory."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import time
from pathlib import Path

MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), text)


def below(directory: Path) -> list[str]:
    """Mount points at or below the directory in this mount namespace, deepest first."""
    prefix = str(directory)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = _unescape(line.split()[4])
        if point == prefix or point.startswith(prefix + "/"):
            found.append(point)
    return found[::-1]


def is_mounted(directory: Path) -> bool:
    return str(directory) in below(directory)


def unmount(point: str | Path, lazily: bool = False) -> None:
    """umount(2); raises OSError."""
    if _libc.umount2(os.fsencode(str(point)), MNT_DETACH if lazily else 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(point))


def unmount_below(directory: Path) -> None:
    """Take off everything mounted at or below the directory; busy mounts are detached lazily after a second."""
    for point in below(directory):
        for attempt in range(5):
            try:
                unmount(point, lazily=attempt == 4)
                break
            except OSError:
                if point not in below(Path(point)):
                    break
                time.sleep(0.25)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all in it, after what is mounted there was taken off. Absent is no error."""
    if not directory.is_symlink() and directory.exists():
        unmount_below(directory)
        if below(directory):
            raise OSError(f"{directory} still has mounts below it and is therefore not removed.")
        shutil.rmtree(directory)
