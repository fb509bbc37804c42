"""Rolling operations under load: run whole, or cut off in their middle and repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import Outcome, under_load
from running import ROOT, Platform, playbook_changes

PATRONI_VERSION = "/usr/lib/python3/dist-packages/patroni/version.py"


@dataclass(frozen=True)
class Operation:
    """An operation of the platform's operator.

    :ivar playbook: name of the playbook.
    :ivar expected: what it does to the clients, for the page of results.
    :ivar prepare: what comes before it, given the platform and the leader's name; returns the playbook's arguments.
    :ivar cut_at: a task's name and at which of its turns the run is ended by SIGKILL; then the same command runs again.
    :ivar unnoticed: whether no client may lose its connection.
    """

    playbook: str
    expected: str
    prepare: Callable[[Platform, str], list[str]] = lambda _platform, _leader: []
    cut_at: tuple[str, int] | None = None
    unnoticed: bool = False


def as_after_an_upgrade(*files: str) -> Callable[[Platform, str], list[str]]:
    """Let the installed programs be newer than the running ones, as packages leave them."""

    def prepare(platform: Platform, _leader: str) -> list[str]:
        for host in platform.databases:
            platform.run(host, ["sudo", "touch", *files])
        return []

    return prepare


def replace_standby(platform: Platform, _leader: str) -> list[str]:
    node = platform.standbys()[0]
    return ["-e", f"node={node}", "-e", f"replace_confirm={node}"]


def replace_terminated_leader(platform: Platform, leader: str) -> list[str]:
    platform.terminate(leader)
    return ["-e", f"node={leader}"]


def move_out_of_zone(platform: Platform, leader: str) -> list[str]:
    return ["-e", f"zone={platform.zones[leader]}"]


def lose_etcd(platform: Platform, _leader: str) -> list[str]:
    """All members end, and nothing of theirs is left on their volumes."""
    for host in platform.databases:
        platform.shell(host, "systemctl stop etcd")
    for host in platform.databases:
        platform.shell(host, "find /var/lib/etcd -mindepth 1 ! -name .volume-identity -delete")
    return []


OPERATIONS = {
    "rolling restart of PostgreSQL": Operation(
        "rolling_restart_postgresql",
        "standbys first, then a switchover and the old leader",
        cut_at=("restart | Restart what waits", 2),
    ),
    "rolling restart of etcd": Operation(
        "rolling_restart_etcd", "one member after the other", cut_at=("restart | Restart etcd", 2)
    ),
    "upgrade of PostgreSQL with its leader": Operation(
        "upgrade_postgresql",
        "standbys first, then a switchover and the old leader",
        as_after_an_upgrade(PATRONI_VERSION),
        cut_at=("hand_over | Let a standby take over", 1),
    ),
    "upgrade of etcd": Operation(
        "upgrade_etcd",
        "one member after the other",
        as_after_an_upgrade("/usr/bin/etcd"),
        cut_at=("restart | Restart etcd", 2),
    ),
    "etcd begun anew, all its data lost": Operation(
        "etcd", "the leader stays by failsafe, Patroni writes its state again", lose_etcd
    ),
    "rotation of certificates": Operation(
        "rotate_certificates",
        "no connection is lost",
        cut_at=("certificates | Issue the certificate", 5),
        unnoticed=True,
    ),
    "leader moved out of its zone": Operation(
        "leave_zone_postgresql", "a standby of another zone takes over", move_out_of_zone
    ),
    "replacement of a standby": Operation(
        "replace_node",
        "the slot keeps its volumes",
        replace_standby,
        cut_at=("provision_instances | Wait for the SSH host keys", 1),
    ),
    "replacement of the terminated leader": Operation(
        "replace_node", "another member takes over; the slot keeps its volumes", replace_terminated_leader
    ),
}


#: What test_operations.py does in steps of its own: name and what it does to the clients.
FURTHER = {
    "growing from three hosts to five": "new members join etcd one by one and are cloned",
    "removing two of five hosts": "the leader among them hands over, etcd forgets them one by one",
    "larger instances, one by one": "each standby is replaced, then the leader after a switchover",
}


def run_operation(platform: Platform, name: str, directory: Path) -> Outcome:
    """Run an operation under load, where it says so cut off and repeated; return what became of the clients' writes."""
    operation = OPERATIONS[name]
    with under_load(platform, name, directory) as (_ledger, run):
        arguments = operation.prepare(platform, run["leader"])
        if operation.cut_at:
            cut_off(operation.playbook, arguments, *operation.cut_at)
        playbook_changes(operation.playbook, *arguments)
        platform.refresh()
    return run["outcome"]


def cut_off(playbook: str, arguments: list[str], task: str, turn: int, seconds: float = 0) -> None:
    """Run a playbook and end it with all it started when, or some seconds after, a task begins for the so manieth time.

    Raises AssertionError when the task does not come.
    """
    line = ["ansible-playbook", f"playbooks/{playbook}.yml", *arguments]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        shown = []
        for text in run.stdout:
            shown.append(text)
            turn -= text.startswith("TASK [") and task in text
            if turn == 0:
                time.sleep(seconds)
                os.killpg(run.pid, signal.SIGKILL)
                return
    raise AssertionError(f"{' '.join(line)} ended before {task!r}:\n{''.join(shown)[-4000:]}")
