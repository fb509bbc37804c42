"""Faults by command: kill, power, freeze, partition, slow, fill-disk, zone; and their end.

A host that was killed or frozen is recorded here, so that the reconciler leaves it as it is until `lab heal`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab import api, cgroups, hosts, network, volumes
from lab.paths import INTERFACE, Lab

FILL_FILE = ".lab-fault-fill-disk"


class FaultError(RuntimeError):
    """A fault cannot be made; the text is one sentence."""


def recorded(lab: Lab) -> dict[str, list[str]]:
    """Instance id -> faults of the host itself (kill, freeze, fill-disk <path>)."""
    try:
        return json.loads(lab.faults_file.read_text())
    except (OSError, ValueError):
        return {}


@contextmanager
def _changing(lab: Lab) -> Iterator[dict[str, list[str]]]:
    lab.state.mkdir(parents=True, exist_ok=True)
    with (lab.state / "faults.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = recorded(lab)
        yield content
        temporary = lab.faults_file.with_suffix(f".new{os.getpid()}")
        temporary.write_text(json.dumps({key: value for key, value in content.items() if value}, indent=1))
        temporary.replace(lab.faults_file)


def record(lab: Lab, instance_id: str, fault: str) -> None:
    with _changing(lab) as content:
        if fault not in content.setdefault(instance_id, []):
            content[instance_id].append(fault)


def forget(lab: Lab, instance_id: str) -> None:
    """A stopped or removed host has no faults any more."""
    if instance_id in recorded(lab):
        with _changing(lab) as content:
            content.pop(instance_id, None)


def shown(lab: Lab, instance_id: str) -> list[str]:
    """All faults a host suffers now, for people."""
    found = list(recorded(lab).get(instance_id, []))
    active = network.faults.active(lab)
    for entry in active["partitions"]:
        if instance_id in entry["hosts"] or instance_id in (entry["from_hosts"] or []):
            found.append("partition (one way)" if entry["one_way"] else "partition")
    if instance_id in active["slow"]:
        found.append(f"slow {active['slow'][instance_id]}")
    return found


def _wake(lab: Lab) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"fault", str(lab.changed_socket("reconcile")))


def kill(lab: Lab, instance_ids: list[str]) -> None:
    """Power lost: the hosts are gone at once and nobody gets a last packet from them."""
    for instance_id in instance_ids:
        record(lab, instance_id, "kill")
    before = network.faults.active(lab)["partitions"]
    network.faults.partition(lab, instance_ids)
    try:
        for instance_id in instance_ids:
            hosts.kill(lab, instance_id)
            subprocess.run(
                ["ip", "-n", lab.host_namespace(instance_id), "link", "set", INTERFACE, "down"],
                check=False,
                capture_output=True,
            )
    finally:
        if network.faults.active(lab)["partitions"] != before:
            _unpartition(lab, instance_ids)


def _unpartition(lab: Lab, instance_ids: list[str]) -> None:
    """A dead host needs no partition; others that were there before stay."""
    mine = sorted(instance_ids)
    kept = [p for p in network.faults.active(lab)["partitions"] if p["hosts"] != mine or p["from_hosts"] is not None]
    for instance_id in instance_ids:
        network.faults.heal(lab, instance_id)
    for entry in kept:
        network.faults.partition(lab, **entry)


def freeze(lab: Lab, instance_id: str) -> None:
    """Every process of the host stands still; its kernel still answers the network below them."""
    record(lab, instance_id, "freeze")
    cgroups.freeze(cgroups.existing(lab.name, instance_id), True)


def power(lab: Lab, instance_ids: list[str]) -> None:
    """Power lost together with what had not reached the disks: each volume is left as its disk was at one moment."""
    for instance_id in instance_ids:
        freeze(lab, instance_id)
    files = {lab.volume(volume_id) for instance_id in instance_ids for volume_id in hosts.attached(lab, instance_id)}
    for file in files:
        volumes.copy_still(file, file.with_suffix(".power"))
    kill(lab, instance_ids)
    for instance_id in instance_ids:
        hosts.clear(lab, instance_id)
    for file in files:
        # The file's last mount has gone and has written its caches, which the copy does without.
        if not volumes.release(file, seconds=20):
            raise FaultError(f"Volume {file.name} is still mounted, so its disk cannot be set back.")
        file.with_suffix(".power").replace(file)


def partition(lab: Lab, instance_ids: list[str], from_ids: list[str] | None, one_way: bool, controller: bool) -> None:
    network.faults.partition(lab, instance_ids, from_ids, one_way, controller)


def slow(lab: Lab, instance_id: str, rate: str) -> None:
    network.faults.slow(lab, instance_id, rate)


def fill_disk(lab: Lab, instance_id: str, path: str) -> None:
    """Fill the file system of a volume that is mounted at `path` in the host, to the last block."""
    where = hosts.enter(lab, instance_id, ["findmnt", "-n", "-o", "SOURCE", "--target", path])
    source = subprocess.run(where, capture_output=True, text=True, check=False).stdout.strip()
    if not source.startswith(("/dev/nvme", "/dev/disk/")):
        raise FaultError(
            f"{path} on {instance_id} lies on {source or 'no file system'}; only an EBS volume can be filled, "
            "since the root disks are shared with this machine: name the mount point of a volume."
        )
    record(lab, instance_id, f"fill-disk {path}")
    script = f'cat /dev/zero > "$1/{FILL_FILE}" 2>/dev/null; true'
    subprocess.run(hosts.enter(lab, instance_id, ["sh", "-c", script, "fill", path]), check=True)


def zone(lab: Lab, name: str) -> list[str]:
    """A zone is lost: its hosts lose power and its API calls fail. Returns the hosts."""
    living = [i for i in api.instances(api.ec2(lab)) if i["State"]["Name"] in ("pending", "running")]
    there = [i["InstanceId"] for i in living if i["Placement"]["AvailabilityZone"] == name]
    present = api.control(lab, "GET", "faults")
    zones = sorted({*present.get("failing_zones", []), name})
    api.control(lab, "PUT", "faults", {**present, "failing_zones": zones})
    if there:
        kill(lab, there)
    return there


def heal(lab: Lab, instance_id: str | None = None) -> list[str]:
    """End the faults of one host, or of all hosts, the network and the API. Returns the hosts that had any."""
    with _changing(lab) as content:
        healed = [key for key in list(content) if instance_id in (None, key)]
        ended = {key: content.pop(key) for key in healed}
    for key, names in ended.items():
        with contextlib.suppress(OSError):
            cgroups.freeze(cgroups.existing(lab.name, key), False)
        for fault in names:
            if fault.startswith("fill-disk ") and hosts.is_running(lab, key):
                file = f"{fault.split(' ', 1)[1]}/{FILL_FILE}"
                subprocess.run(hosts.enter(lab, key, ["rm", "-f", file]), check=False)
    active = network.faults.active(lab)
    touched = {h for p in active["partitions"] for h in [*p["hosts"], *(p["from_hosts"] or [])]} | set(active["slow"])
    network.faults.heal(lab, instance_id)
    if instance_id is None:
        with contextlib.suppress(api.NoAWS):
            api.control(lab, "DELETE", "faults")
    _wake(lab)
    return sorted({*healed, *(h for h in touched if instance_id in (None, h))})
