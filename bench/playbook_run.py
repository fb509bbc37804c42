"""Runs of a playbook, measured: against a strict front beside other collections, and on the running lab."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / ".cache")]

from tests.integration.front_client import Front  # noqa: E402

COLUMNS = f"{'s':>8} {'CPU s':>7} {'calls':>6}"
HEADER = f"{'ours':>42}{{:>24}}{'times fewer':>24}\nlatency run       {COLUMNS} {COLUMNS} {COLUMNS}"


@dataclass
class Run:
    """One run of a playbook: seconds, CPU seconds, API calls, and how many tasks changed something."""

    seconds: float
    cpu: float
    calls: int
    changed: int

    def columns(self) -> str:
        return f"{self.seconds:8.2f} {self.cpu:7.2f} {self.calls:6d}"


def ratios(ours: Run, theirs: Run) -> str:
    """How many times fewer seconds, CPU seconds and calls ours needs; on a busy machine the CPU seconds tell more."""
    return f"{theirs.seconds / ours.seconds:8.1f} {theirs.cpu / ours.cpu:7.1f} {theirs.calls / ours.calls:6.0f}"


def print_row(latency: int, state: str, ours: Run, theirs: Run | None) -> None:
    """A row below HEADER; without ratios when the anchor was not run."""
    against = f"{theirs.columns()} {ratios(ours, theirs)}" if theirs else ""
    print(f"{latency:7d} {state:10} {ours.columns()} {against}", flush=True)


def play(*tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """A playbook of tasks on localhost."""
    head = {"name": "Bench", "hosts": "localhost", "connection": "local", "gather_facts": False}
    return [{**head, "tasks": list(tasks)}]


def measure(front: Front, folder: Path, playbook: list[dict[str, Any]]) -> Run:
    """Run a playbook once; raises SystemExit when it fails."""
    path = folder / "bench.yml"
    path.write_text(yaml.safe_dump(playbook))
    front.forget_calls()
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(path)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**front.environment, "ANSIBLE_LOCALHOST_WARNING": "0"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise SystemExit(f"ansible-playbook failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    changed = re.search(r"changed=(\d+)", done.stdout)
    if not changed:
        raise SystemExit(f"ansible-playbook printed no summary:\n{done.stdout[-3000:]}")
    return Run(seconds, cpu, sum(front.calls().values()), int(changed[1]))


def measure_on_the_lab(playbook: str, *arguments: str) -> dict[str, Any]:
    """Run one of the collection's playbooks once: seconds, changes, and what callback `executions` counts.

    Raises SystemExit with its output when it fails.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "executions",
            "EXECUTIONS_FILE": report.name,
        }
        command, started = ["ansible-playbook", f"playbooks/{playbook}.yml", *arguments], time.monotonic()
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if run.returncode:
            raise SystemExit(f"{playbook}.yml failed:\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
        return {**json.loads(Path(report.name).read_text()), "total_seconds": round(seconds, 1)}


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that the comparisons share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--latency", type=int, nargs="+", default=[0, 150], help="milliseconds of each call")
    return made
