"""Plain Debian hosts without the lab's AWS or VPC: for trying a role by hand. A bridge, and the machine's own way out.

The hosts belong to a lab of the name `dev` that nothing else uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import subprocess
from pathlib import Path

from lab import cgroups, hosts, image, keys, mounts, volumes
from lab.paths import INTERFACE, Lab

BRIDGE = "ec2labdev"
NETWORK = ipaddress.ip_network("10.99.0.0/24")
GATEWAY = "10.99.0.1"
TABLE = "ec2_lab_dev"
RULES = f"""\
table ip {TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
    }}
}}
"""


def _run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=True, **options)


def _quiet(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _bridge() -> None:
    if not _quiet("ip", "link", "show", BRIDGE):
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "addr", "replace", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not _quiet("nft", "list", "table", "ip", TABLE):
        _run("nft", "-f", "-", input=RULES, text=True)


def _attach(lab: Lab, name: str, address: str) -> None:
    namespace = lab.host_namespace(name)
    if lab.namespace_path(namespace).exists():
        return
    outer = f"edev{address.rsplit('.', 1)[1]}"
    _quiet("ip", "link", "del", outer)
    _run("ip", "netns", "add", namespace)
    _run("ip", "link", "add", outer, "type", "veth", "peer", "name", INTERFACE, "netns", namespace)
    _run("ip", "link", "set", outer, "master", BRIDGE, "up")
    inside = ["ip", "-n", namespace]
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "addr", "add", f"{address}/{NETWORK.prefixlen}", "dev", INTERFACE)
    _run(*inside, "link", "set", INTERFACE, "up")
    _run(*inside, "route", "add", "default", "via", GATEWAY)


def create(name: str, address: str, volume_sizes: list[int], memory_mib: int = 2048) -> Lab:
    """Boot a host and wait until sshd answers (5 s). Volumes vol-<name>1, vol-<name>2, ... in GiB."""
    if ipaddress.ip_address(address) not in NETWORK or address == GATEWAY:
        raise hosts.HostError(f"The address {address} is not a free one of {NETWORK}; take 10.99.0.2 to 10.99.0.254.")
    lab = Lab("dev")
    image.build()
    keys.make(lab)
    lab.run.mkdir(parents=True, exist_ok=True)
    with (lab.run / "dev.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _bridge()
        _attach(lab, name, address)
    archives = image.machine_archives()
    host = hosts.Host(
        instance_id=name,
        address=address,
        memory_mib=memory_mib,
        public_key=lab.ssh_key.with_suffix(".pub").read_text(),
        apt_sources=image.sources(archives["debian"], archives["debian-security"]),
        user_data=False,
    )
    hosts.create(lab, host)
    for number, size in enumerate(volume_sizes, 1):
        volume_id = f"vol-{name}{number}"
        volumes.make(lab, volume_id, size)
        hosts.attach(lab, name, volume_id)
    hosts.start(lab, name)
    keys.wait_for_ssh(address, 30)
    return lab


def drop(name: str) -> None:
    """Remove the host with its volumes and network; the bridge goes with the last one."""
    lab = Lab("dev")
    kept = hosts.attached(lab, name)
    hosts.remove(lab, name)
    for volume_id in kept:
        volumes.delete(lab, volume_id)
    _quiet("ip", "netns", "del", lab.host_namespace(name))
    if not hosts.known(lab):
        _quiet("ip", "link", "del", BRIDGE)
        _quiet("nft", "delete", "table", "ip", TABLE)
        volumes.release_below(lab.state)
        mounts.remove_tree(lab.state)
        cgroups.remove(cgroups.existing(lab.name))
        cgroups.remove_empty_tops()
        with contextlib.suppress(OSError):
            (lab.run / "dev.lock").unlink()
