"""The lab's own processes: start them, know them again, end them.

A pid file holds the pid together with the process's start time and this boot's id, so that a reused pid is never taken
for ours. Each process also carries the lab's name in its environment, by which one without a pid file is found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.paths import Lab

MARK = "EC2_LAB_PROCESS"
NAMES = ("reconcile", "services", "tls", "aws")  # in the order they are ended
PRECIOUS = ("aws",)  # keeps its state in memory: never restarted while it runs
STOP_SECONDS = 5
READY_SECONDS = 5


class ProcessError(RuntimeError):
    """A process of the lab does not start; the text is one sentence."""


def command(lab: Lab, name: str) -> list[str]:
    module = {"aws": ["lab.aws"], "tls": ["lab.aws.tls"]}.get(name)
    if module:
        return [sys.executable, "-m", *module, "--lab", lab.name]
    return [sys.executable, "-m", "lab", "--lab", lab.name, name]


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process began (proc_pid_stat(5), field 22); None when it is no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def same(record: dict) -> bool:
    """Whether the process of a pid file still runs: same pid, same start, same boot."""
    return record.get("boot") == boot_id() and start_time(record.get("pid", 0)) == record.get("start")


def pid_of(lab: Lab, name: str) -> int | None:
    """The running process, by its pid file, else by its mark; None when it does not run."""
    try:
        record = json.loads(lab.pid_file(name).read_text())
    except (OSError, ValueError):
        record = {}
    if record and same(record):
        return record["pid"]
    marked = find(lab, name)
    return marked[0] if marked else None


def find(lab: Lab, name: str | None = None) -> list[int]:
    """Processes that carry the lab's mark in their environment."""
    wanted = f"{MARK}={lab.name}:{name or ''}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for item in (entry / "environ").read_bytes().split(b"\0"):
                if item == wanted or (name is None and item.startswith(wanted)):
                    if start_time(int(entry.name)) is not None:
                        found.append(int(entry.name))
                    break
    return sorted(found)


def start(lab: Lab, name: str, ready: Callable[[], bool], seconds: float = 120) -> bool:
    """Start the process unless it runs; returns when it is ready. False if it ran before. Raises ProcessError."""
    running = pid_of(lab, name)
    if running and _becomes_ready(ready, seconds if name in PRECIOUS else READY_SECONDS):
        return False
    if running and name in PRECIOUS:
        raise ProcessError(
            f"The process {name} of lab {lab.name} runs (pid {running}) but has not answered for {seconds:.0f} s; "
            "it holds all that the lab knows and is therefore left alone: try again, or give the lab up by `lab down`."
        )
    stop(lab, name)
    log = lab.log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    lab.run.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    environment |= {
        MARK: f"{lab.name}:{name}",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PYTHONUNBUFFERED": "1",
        "LAB": lab.name,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(lab, name),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
    record = {"pid": process.pid, "start": start_time(process.pid), "boot": boot_id()}
    lab.pid_file(name).write_text(json.dumps(record))
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(lab, name)
            raise ProcessError(f"The process {name} of lab {lab.name} did not start; its log is {log}: {_last(log)}")
        time.sleep(0.05)
    return True


def _becomes_ready(ready: Callable[[], bool], seconds: float) -> bool:
    """A busy machine makes a good process answer late."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it is empty."


def stop(lab: Lab, name: str, seconds: float = STOP_SECONDS) -> bool:
    """End the process, in order and after `seconds` by force. False if none ran."""
    ended = False
    for pid in {pid_of(lab, name), *find(lab, name)} - {None}:
        began = start_time(pid)
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 2)):
            deadline = time.monotonic() + patience
            if start_time(pid) != began or began is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            while start_time(pid) == began and time.monotonic() < deadline:
                time.sleep(0.02)
        ended = True
    lab.pid_file(name).unlink(missing_ok=True)
    return ended
