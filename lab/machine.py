"""What the machine must have for a lab, said in one sentence if it has not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "haproxy": "haproxy",
    "losetup": "mount",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

# All hosts share what the kernel gives root: each has a systemd, one with containers more programs that watch files.
WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_WATCHERS = 8192


class MachineError(RuntimeError):
    """This machine cannot run a lab; the text says what is missing and how to get it."""


def missing_packages(which=shutil.which) -> list[str]:
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    return sorted({package for command, package in COMMANDS.items() if not which(command, path=path)})


def check() -> None:
    """Raises MachineError with what is missing."""
    if os.geteuid() != 0:
        raise MachineError("The lab makes hosts and networks and therefore needs root: run the same command with sudo.")
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    packages = missing_packages()
    if packages:
        raise MachineError(f"Packages are missing on this machine: apt-get install --yes {' '.join(packages)}")
    systems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in systems and not Path("/sys/module/overlay").exists():
        raise MachineError("This kernel does not know overlay file systems: modprobe overlay, or boot one that does.")
    if not Path("/dev/loop-control").exists():
        raise MachineError("This kernel has no loop devices (/dev/loop-control): modprobe loop, or boot one that has.")
    if not Path("/sys/fs/cgroup").is_dir() or not any(Path("/sys/fs/cgroup").iterdir()):
        raise MachineError("No control groups are mounted at /sys/fs/cgroup: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def allow_watchers(kept: Path, limit: Path = WATCHERS) -> None:
    """Let the hosts' programs watch files, as many as they are; the file `kept` has what the machine had before."""
    if int(limit.read_text()) < ENOUGH_WATCHERS:
        kept.write_text(limit.read_text())
        limit.write_text(f"{ENOUGH_WATCHERS}\n")


def restore_watchers(kept: Path, limit: Path = WATCHERS) -> None:
    """Give the machine back what it had, if a lab changed it."""
    if kept.exists():
        limit.write_text(kept.read_text())
        kept.unlink()
