"""Run the test suites, show progress and minutes, end with one line of counts.

Usage: python tests/run.py [SUITE ...]

Suites: lint unit build aws roles role:<name> platform kubernetes faults. Without a name: all but faults.
Two suites run side by side, each with a lab of its own; faults runs alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET  # noqa: S405 (reads files that pytest wrote here)
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache" / "logs"
# A lane takes one suite after the other; each has a lab of its own.
LABS = ("test", "test2")
# The longest first; beside the platform's faults run those that have no hosts. Kubernetes is built meanwhile.
DEFAULT = ["platform", "lint", "unit", "aws", "roles", "build", "kubernetes"]
NEEDS_LAB = ("aws", "role", "platform", "kubernetes", "faults")
# inventory/lab takes some of its tiers when nothing is said; the long matrices are on all.
ALL_TIERS = "database,cache,queue,events,files,edge"
KUBERNETES_TIERS = "control,workers,edge"
# As etcd is by default, where the lab waits longer for a leader.
ELECTION_MS = "1000"
# Their figures go to docs/, so nothing else runs beside them.
ALONE = ("faults", "faults-kubernetes", "faults-conformance", "faults-upgrade", "faults-etcd", "faults-aws")
# The longest begin first, so that the lanes end together.
LONGEST_ROLES = ("postgresql", "kafka", "rabbitmq", "etcd", "haproxy", "redis", "file_storage", "host_baseline")
# They have their tests with the faults, or by name; of make test's time the suite kubernetes is what Kubernetes takes.
BY_NAME = ("containerd", "kubernetes", "kubernetes_addons")
BUILDS = "kubernetes-1.37"
# A suite's lab is new and goes when it ends, so only one scenario has to show that its hosts can be torn down.
TORN_DOWN = ("host_baseline",)
HEARTBEAT_SECONDS = 60
# Of suites that take twenty on a slow machine; BUDGET_SECONDS is what ends a run.
SLOW_MINUTES = 45
# CI ends a run after 90 minutes; what has not begun by then is reported, not cut off without a word.
BUDGET_SECONDS = 85 * 60
# On a machine so slow that more is over by then, Kubernetes would not end in time.
KUBERNETES_BEGINS_SECONDS = 45 * 60
STOP_SECONDS = 20
# A syntax check reads the inventory, too, and there is none without a lab.
WITHOUT_INVENTORY = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "false"}


@dataclass
class Suite:
    """One line of the closing table: what ran, how long, how it ended.

    :ivar begins_seconds: when more of the run's time is over, it is skipped, which the table and the last line say.
    """

    name: str
    commands: list[list[str]]
    timeout_minutes: int = 25
    variables: dict[str, str] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    begins_seconds: float = float("inf")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def pytest_command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-rs", f"--junitxml={LOGS / name}.xml", *arguments]


def scenarios() -> list[str]:
    names = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    return sorted(names, key=lambda name: LONGEST_ROLES.index(name) if name in LONGEST_ROLES else len(LONGEST_ROLES))


def suite(name: str) -> list[Suite]:
    """The suites a name stands for."""
    if name == "lint":
        return [Suite("lint", lint_commands(), SLOW_MINUTES, variables=WITHOUT_INVENTORY)]
    if name == "unit":
        return [Suite("unit", [pytest_command("unit", "tests/unit", "-m", "not long")], SLOW_MINUTES)]
    if name == "build":
        return [Suite("build", [pytest_command("build", "tests/build")])]
    if name == "aws":
        return [Suite("aws", [pytest_command("aws", "tests/integration", "-m", "not long")], 30)]
    if name == "roles":
        cloud = [role for role in scenarios() if role.startswith("aws_")]
        suites = [role_suite(role) for role in scenarios() if role not in cloud and role not in BY_NAME]
        return [*suites[:2], role_suite(*cloud), *suites[2:]]
    if name.startswith("role:") and name[5:] in scenarios():
        return [role_suite(name[5:])]
    if name == "platform":
        return [Suite("platform", [pytest_command("platform", "tests/platform", "-m", "not long")], 40)]
    if name == "kubernetes":
        chosen = pytest_command("kubernetes", "tests/platform/test_kubernetes.py", "-m", "smoke")
        commands, variables = [build_command(BUILDS), chosen], {"TIERS": KUBERNETES_TIERS}
        return [Suite(name, commands, 60, variables, begins_seconds=KUBERNETES_BEGINS_SECONDS)]
    if name == "faults":
        page = [sys.executable, "tests/platform/page.py"]
        other = "--ignore-glob=tests/platform/test_kubernetes*.py"
        return [
            Suite("faults", [pytest_command("faults", "tests/platform", other), page], 240, {"TIERS": ALL_TIERS}),
            kubernetes_suite("faults-kubernetes", "test_kubernetes", page, [BUILDS]),
            kubernetes_suite(
                "faults-conformance", "test_kubernetes_conformance", page, [BUILDS, "conformance-1.37"], minutes=360
            ),
            kubernetes_suite("faults-upgrade", "test_kubernetes_upgrade", page, ["kubernetes-1.36", BUILDS]),
            kubernetes_suite(
                "faults-etcd", "test_kubernetes_external_etcd", page, [BUILDS], tiers="control,quorum,workers,edge"
            ),
            Suite("faults-aws", [pytest_command("faults-aws", "tests/integration", "-m", "long")]),
            Suite("faults-unit", [pytest_command("faults-unit", "tests/unit", "-m", "long")]),
            replace(role_suite("redis"), name="role:valkey", variables={"REDIS_FLAVOR": "valkey"}),
            role_suite("containerd"),
            # The second goes on with the hosts of the first.
            replace(role_suite("kubernetes", "kubernetes_addons"), name="role:kubernetes"),
        ]
    known = ", ".join([*DEFAULT, "faults", *(f"role:{role}" for role in scenarios())])
    raise SystemExit(f"tests/run.py: no suite is called {name}; there are {known}")


def kubernetes_suite(
    name: str, tests: str, page: list[str], versions: list[str], tiers: str = KUBERNETES_TIERS, minutes: int = 240
) -> Suite:
    """A platform of its own: with the others' hosts it would be twenty. What it installs is built first."""
    commands = [build_command(*versions), pytest_command(name, f"tests/platform/{tests}.py"), page]
    return Suite(name, commands, minutes, {"TIERS": tiers, "ELECTION_MS": ELECTION_MS})


def build_command(*names: str) -> list[str]:
    """Builds what the mirror lacks of these sets, and says in one sentence what it cannot build and why."""
    return [sys.executable, "-m", "lab.builds", *names]


def role_suite(*roles: str) -> Suite:
    """The scenarios of some roles in one lab: those of AWS services have no hosts, and share an account as in life."""
    name = roles[0] if len(roles) == 1 else "aws_*"
    built = bool(set(roles) & set(BY_NAME))
    commands = [build_command(BUILDS)] if built else []
    for role in roles:
        # Molecule remembers hosts by the checkout's path, and these went with the lab of an earlier run.
        commands.append(["molecule", "reset", "-s", role])
        destroy = "always" if role in TORN_DOWN else "never"
        commands.append(["molecule", "test", "--destroy", destroy, "-s", role])
    return Suite(f"role:{name}", commands, 90 if built else 25, reports=[f"verify-{role}" for role in roles])


def lint_commands() -> list[list[str]]:
    return [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["yamllint", "--strict", "-c", ".config/yamllint.yml", "."],
        ["ansible-lint", "--offline", "-c", ".config/ansible-lint.yml"],
        [sys.executable, "docs/generate.py", "--check"],
        [sys.executable, "tests/sanity.py"],
        [sys.executable, "tests/older_python.py"],
    ]


running: set[subprocess.Popen] = set()
stopping = threading.Event()


def run_command(command: list[str], log, environment: dict[str, str], timeout: float) -> int:
    """Run one command with all it starts, its output to the log, a line of progress each minute."""
    if stopping.is_set():
        return 143
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    running.add(process)
    try:
        while (left := timeout - (time.monotonic() - started)) > 0:
            try:
                return process.wait(min(HEARTBEAT_SECONDS, left))
            except subprocess.TimeoutExpired:
                elapsed = (time.monotonic() - started) / 60
                say(f"  still running after {elapsed:.0f} min: {' '.join(Path(part).name for part in command[:4])}")
        log.write(f"\nended after {timeout / 60:.0f} minutes\n")
        log.flush()
        show_tree(process.pid, log)
        return 124
    finally:
        stop_group(process)
        running.discard(process)


def show_tree(root: int, log) -> None:
    """Write which processes a command waited for, and where each Python among them stands (PYTHONFAULTHANDLER)."""
    table = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    parents = {int(pid): int(parent) for pid, parent in map(str.split, table.splitlines())}
    tree = [root]
    for pid in tree:
        tree.extend(child for child, parent in parents.items() if parent == pid)
    pids = ",".join(map(str, tree))
    columns = "pid,ppid,etimes,stat,wchan:24,args"
    subprocess.run(["ps", "-ww", "--forest", "-o", columns, "-p", pids], stdout=log, check=False)
    for pid in reversed(tree):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
    time.sleep(1)


def stop_group(process: subprocess.Popen) -> None:
    """End a command and what it started; fixtures have some seconds to clean up."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def count_junit(path: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a pytest report."""
    root = ET.parse(path).getroot()  # noqa: S314
    totals = {key: 0 for key in ("tests", "failures", "errors", "skipped")}
    for element in root.iter("testsuite"):
        for key in totals:
            totals[key] += int(element.get(key, 0))
    failed = totals["failures"] + totals["errors"]
    return totals["tests"] - failed - totals["skipped"], failed, totals["skipped"]


def log_path_of(item: Suite) -> Path:
    return LOGS / f"{item.name.replace(':', '-').replace('*', 'all')}.log"


def run_suite(item: Suite, environment: dict[str, str], deadline: float) -> None:
    started = time.monotonic()
    log_path = log_path_of(item)
    reports = [LOGS / f"{name}.xml" for name in item.reports or [item.name]]
    for report in reports:
        report.unlink(missing_ok=True)
    say(f"{item.name} ...")
    try:
        with log_path.open("w") as log:
            for command in item.commands:
                timeout = min(item.timeout_minutes * 60, deadline - time.monotonic())
                status = run_command(command, log, {**environment, **item.variables}, timeout)
                if status == 0:
                    item.passed += 1
                else:
                    item.errors.append(f"{' '.join(command)} ended with {status}")
        item.failed = len(item.errors)
        counts = [count_junit(report) for report in reports if report.exists()]
        if counts:
            item.passed, failed, item.skipped = (sum(column) for column in zip(*counts, strict=True))
            item.failed = max(failed, item.failed)
    except (OSError, ET.ParseError) as error:
        item.errors.append(str(error))
        item.failed += 1
    item.seconds = time.monotonic() - started
    state = "ok" if not item.failed else "FAILED"
    say(f"{item.name} {state}: {item.passed} passed, {item.failed} failed in {item.seconds / 60:.1f} min")
    for error in item.errors:
        say(f"  {error}; its log: {log_path.relative_to(ROOT)}")


def show_failure(item: Suite) -> None:
    """Show the end of a failed suite's log; the last thing of a run, as that is what a reader sees first."""
    path = log_path_of(item)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else ["it did not begin"]
    print(f"\n{item.name}:")
    print("\n".join(f"  | {line}" for line in lines[-100:]), flush=True)


def lab_environment(lab: str) -> dict[str, str]:
    """Bring a new test lab up and return the variables it prints."""
    lab_down(lab)
    subprocess.run(["lab", "--lab", lab, "up"], check=True, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=900)
    printed = subprocess.run(["lab", "--lab", lab, "env"], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    pairs = re.findall(r"^export (\w+)='?(.*?)'?$", printed, re.MULTILINE)
    return {**dict(pairs), "LAB": lab}


def lab_down(lab: str) -> None:
    if shutil.which("lab"):
        subprocess.run(["lab", "--lab", lab, "down"], check=False, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=300)


def run_lane(lab: str, queue: deque[Suite], environment: dict[str, str], started: float, deadline: float) -> None:
    """Run suites until the queue is empty; each that needs a lab has a new one, so none meets what another has left."""
    used = False
    try:
        while queue and not stopping.is_set():
            item = queue.popleft()
            item.failed = 1  # until it is known better, also when this run is ended in the middle
            if time.monotonic() > deadline:
                say(f"{item.name} FAILED: not run, the time of all suites is over")
                continue
            elapsed = time.monotonic() - started
            if elapsed > item.begins_seconds:
                item.failed, item.skipped = 0, 1
                minutes, limit = elapsed / 60, item.begins_seconds / 60
                say(f"{item.name} skipped: {minutes:.0f} minutes are over, after {limit:.0f} it may not end in time")
                continue
            needed = item.name.startswith(NEEDS_LAB)
            used = used or needed
            try:
                variables = lab_environment(lab) if needed else {}
            except subprocess.SubprocessError as error:
                say(f"{item.name} FAILED: its lab did not come up: {error}")
                continue
            run_suite(item, {**environment, **variables}, deadline)
    finally:
        if used:
            lab_down(lab)


@contextlib.contextmanager
def builds_begun(environment: dict[str, str]):
    """Let the builds begin now, below everything else: a suite that needs one then finds it, or waits less."""
    with (LOGS / "builds.log").open("w") as log:
        process = subprocess.Popen(
            ["nice", "-n", "19", *build_command("default", BUILDS)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Where each session has its share of the processors, nice counts within one only.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/autogroup").write_text("19")
        try:
            yield
        finally:
            stop_group(process)


def run_all(suites: list[Suite], environment: dict[str, str]) -> None:
    """Run the suites in two lanes, and after them, one by one, those that have to be alone."""
    alone = [item for item in suites if item.name in ALONE]
    # The long matrices are not CI's, and take what they need.
    started = time.monotonic()
    deadline = started + max(BUDGET_SECONDS, sum(item.timeout_minutes for item in alone) * 60)
    for labs, batch in ((LABS, [item for item in suites if item not in alone]), (LABS[:1], alone)):
        queue = deque(batch)
        with ThreadPoolExecutor(len(labs)) as pool:
            lanes = [pool.submit(run_lane, lab, queue, environment, started, deadline) for lab in labs[: len(batch)]]
            try:
                for lane in lanes:
                    lane.result()
            finally:
                if not all(lane.done() for lane in lanes):
                    stopping.set()
                    for process in list(running):
                        stop_group(process)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    suites = [item for name in sys.argv[1:] or DEFAULT for item in suite(name)]
    LOGS.mkdir(parents=True, exist_ok=True)
    for item in suites:
        log_path_of(item).unlink(missing_ok=True)
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
    environment["PYTHONFAULTHANDLER"] = "1"
    started = time.monotonic()
    # A run of named suites builds what they ask for; a whole one asks for all of it.
    begun = contextlib.nullcontext() if sys.argv[1:] else builds_begun(environment)
    try:
        with begun:
            run_all(suites, environment)
    finally:
        print_summary(suites, time.monotonic() - started)
    return 1 if any(item.failed for item in suites) else 0


def print_summary(suites: list[Suite], seconds: float) -> None:
    for item in suites:
        if item.failed:
            show_failure(item)
    print()
    for item in suites:
        counts = f"{item.passed:5} passed {item.failed:4} failed {item.skipped:4} skipped"
        print(f"  {item.name:24} {item.seconds / 60:6.1f} min  {counts}")
    print(f"  {'all':24} {seconds / 60:6.1f} min\n")
    passed, failed, skipped = (sum(getattr(item, key) for item in suites) for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)


if __name__ == "__main__":
    sys.exit(main())
