"""The operator's SSH key of a lab, and SSH to its hosts with their host keys verified."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path

from lab import hosts
from lab.paths import ADMIN_USER, Lab


def make(lab: Lab) -> Path:
    """The private key, made if it is not there; the public one lies beside it with .pub."""
    if not lab.ssh_key.with_suffix(".pub").exists():
        lab.ssh_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lab.ssh_key.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{lab.name}-operator", "-f", str(lab.ssh_key)],
            check=True,
        )
    return lab.ssh_key


def known_hosts(lab: Lab, instance_id: str) -> Path:
    """A known_hosts file with the keys that the host printed on its console. Raises HostError if it printed none."""
    printed = hosts.host_keys(lab, instance_id)
    if not printed:
        raise hosts.HostError(f"Host {instance_id} has not shown its SSH host keys on the console yet.")
    path = lab.instance(instance_id) / "known_hosts"
    path.write_text("".join(f"{instance_id} {key}\n" for key in printed))
    return path


def ssh(lab: Lab, instance_id: str, address: str, command: list[str]) -> list[str]:
    """The ssh command line to the host; its key is verified under the instance's id."""
    options = {
        "IdentityFile": lab.ssh_key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known_hosts(lab, instance_id),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": instance_id,
        "StrictHostKeyChecking": "yes",
        "CheckHostIP": "no",
        "ConnectTimeout": 10,
    }
    return ["ssh", *(f"-o{key}={value}" for key, value in options.items()), f"{ADMIN_USER}@{address}", *command]


def wait_for_ssh(address: str, seconds: float) -> bool:
    """Wait until an SSH server greets on port 22; False when none did in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2) as connection:
            connection.settimeout(2)
            if connection.recv(4).startswith(b"SSH-"):
                return True
        time.sleep(0.1)
    return False
