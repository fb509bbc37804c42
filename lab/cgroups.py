"""One control group per host: to limit its memory, to freeze it, and to know for certain which processes are its."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
TOP = "ec2-lab"
#: Processor time of all hosts together, in processes of the controller. A group counts as one process beside those
#: outside, so that all hosts would have to share that of one, and crawl while Ansible and the tests are busy.
WEIGHT = 4
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")


def is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def parse_own(text: str) -> dict[str, str]:
    """Controller -> path of /proc/self/cgroup; what lies below an `ec2-lab` group counts as that group's parent."""
    own = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        parts = path.strip("/").split("/")
        if TOP in parts:
            parts = parts[: parts.index(TOP)]
        for controller in controllers.removeprefix("name=").split(","):
            own[controller or "unified"] = "/".join(parts)
    return own


def places(lab: str, host: str) -> list[Path]:
    """The directories a new group consists of: one per controller, or a single one with cgroup v2."""
    if is_v2():
        return [ROOT / TOP / lab / host]
    own = parse_own(Path("/proc/self/cgroup").read_text())
    return [ROOT / c / own.get(c, "") / TOP / lab / host for c in CONTROLLERS if (ROOT / c).is_dir()]


def make(lab: str, host: str, memory_bytes: int) -> list[Path]:
    """Make the group (idempotent) and set its memory limit. Returns its directories."""
    made = places(lab, host)
    for place in made:
        _make_path(place)
    for place in made:
        limit = place / ("memory.max" if is_v2() else "memory.limit_in_bytes")
        if limit.exists():
            limit.write_text(str(memory_bytes))
    for place in made:
        for name, one in (("cpu.shares", 1024), ("cpu.weight", 100)):
            weight = place.parent.parent / name
            if weight.exists():
                weight.write_text(str(WEIGHT * one))
    return made


def _make_path(place: Path) -> None:
    for directory in [place.parent.parent, place.parent, place]:
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            own, above = directory / name, directory.parent / name
            if own.exists() and not is_v2() and not own.read_text().strip():
                own.write_text(above.read_text())
        if is_v2() and directory != place:
            for controller in ("cpu", "memory", "pids", "io"):
                with contextlib.suppress(OSError):
                    (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def existing(lab: str, host: str | None = None) -> list[Path]:
    """The directories of a host's group, or of all the lab's, wherever the process that made them stood."""
    found = []
    for top in _tops():
        place = top / lab / host if host else top / lab
        if place.is_dir():
            found.append(place)
    return found


def _tops(depth: int = 4) -> list[Path]:
    if is_v2():
        return [ROOT / TOP] if (ROOT / TOP).is_dir() else []
    found = []
    for root in [ROOT / c for c in CONTROLLERS if (ROOT / c).is_dir()]:
        level = [root]
        for _ in range(depth):
            found += [d / TOP for d in level if (d / TOP).is_dir()]
            level = [child for d in level for child in _children(d) if child.name != TOP]
    return found


def _children(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def pids(places: list[Path]) -> set[int]:
    """All processes in the groups and below them."""
    found: set[int] = set()
    for place in places:
        for directory, _, _ in os.walk(place):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split())
    return found - {0, os.getpid()}


def tracker(places: list[Path]) -> list[Path]:
    """Of a host's groups the one whose membership its own systemd does not change."""
    for name in ("freezer", "pids", "unified"):
        chosen = [place for place in places if place.relative_to(ROOT).parts[0] == name]
        if chosen:
            return chosen
    return places


def freeze(places: list[Path], frozen: bool) -> None:
    """Stop or resume every process of the host at once. Raises OSError when the kernel has no freezer."""
    for place in places:
        v1, v2 = place / "freezer.state", place / "cgroup.freeze"
        if v1.exists():
            v1.write_text("FROZEN" if frozen else "THAWED")
            return
        if is_v2() and v2.exists():
            v2.write_text("1" if frozen else "0")
            return
    raise OSError("This kernel has no cgroup freezer, so a host cannot be frozen.")


def memory_used(places: list[Path]) -> int | None:
    """Bytes of memory the host uses, without the page cache that it could give back; None when unknown."""
    for place in places:
        for usage, cache in (("memory.usage_in_bytes", "total_inactive_file"), ("memory.current", "inactive_file")):
            with contextlib.suppress(OSError):
                used = int((place / usage).read_text())
                values = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                return used - int(values.get(cache, 0))
    return None


def kill(places: list[Path], seconds: float = 10) -> bool:
    """SIGKILL to every process of the groups until none is left; False if some remain."""
    with contextlib.suppress(OSError):
        freeze(places, False)
    deadline = time.monotonic() + seconds
    while left := pids(places):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def remove(places: list[Path], seconds: float = 3) -> None:
    """Remove the (empty) groups and all below them; the kernel needs a moment after the last process."""
    deadline = time.monotonic() + seconds
    for place in places:
        while place.exists():
            for directory, _, _ in os.walk(place, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            if time.monotonic() > deadline:
                break
            if place.exists():
                time.sleep(0.05)


def remove_empty_tops() -> None:
    """Remove the `ec2-lab` groups that hold no lab any more."""
    for top in _tops():
        with contextlib.suppress(OSError):
            top.rmdir()
