"""Network namespaces: entering them, commands inside them, making and removing them."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
IFF_UP = 1
_DIRECTORY = Path("/run/netns")


class NetworkError(RuntimeError):
    """The network of a lab could not be made so; the message says in one sentence what and where."""


def path(namespace: str) -> Path:
    return _DIRECTORY / namespace


def exists(namespace: str) -> bool:
    """Whether the name stands for a namespace; a plain file, left by an `ip netns add` cut off, does not."""
    try:
        return path(namespace).stat().st_dev != _DIRECTORY.stat().st_dev
    except FileNotFoundError:
        return False


def listed() -> list[str]:
    """All named network namespaces of the machine."""
    return sorted(entry.name for entry in _DIRECTORY.iterdir()) if _DIRECTORY.is_dir() else []


def _setns(descriptor: int) -> None:
    if hasattr(os, "setns"):
        os.setns(descriptor, CLONE_NEWNET)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the block, on this thread only, in the network namespace of that name.

    Raises NetworkError when there is no such namespace. The block must not start threads: they would stay there.
    """
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            there = os.open(path(namespace), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NetworkError(f"There is no network namespace {namespace}.") from None
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(here)
    finally:
        os.close(here)


def socket_in(namespace: str, kind: int) -> socket.socket:
    """An IPv4 socket (`kind` socket.SOCK_STREAM or SOCK_DGRAM) that belongs to the namespace for its life."""
    with inside(namespace):
        made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def lo_is_up(sock: socket.socket) -> bool:
    """Whether lo is up in the namespace that the socket belongs to."""
    request = struct.pack("16s16x", b"lo")
    (flags,) = struct.unpack_from("16xH", fcntl.ioctl(sock, SIOCGIFFLAGS, request))
    return bool(flags & IFF_UP)


def command(*argv: str, text: str | None = None) -> str:
    """Run a command and return its output; NetworkError with its last line of error otherwise."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise NetworkError(f"The command {' '.join(argv)} failed: {reason[0]}.")
    return done.stdout


def ip(namespace: str | None, *arguments: str) -> str:
    """`ip` in a namespace, or on the machine itself when it is None."""
    return command("ip", *(("-n", namespace) if namespace else ()), *arguments)


def ip_json(namespace: str | None, *arguments: str) -> list[dict]:
    return json.loads(ip(namespace, "-j", *arguments) or "[]")


def ip_batch(namespace: str | None, lines: list[str]) -> None:
    """Many `ip` commands by one process; the first that fails ends it."""
    if lines:
        prefix = ("-n", namespace) if namespace else ()
        command("ip", *prefix, "-batch", "-", text="\n".join(lines) + "\n")


def links(namespace: str | None) -> dict[str, dict]:
    """The namespace's interfaces by name."""
    return {link["ifname"]: link for link in ip_json(namespace, "link", "show")}


def nft(namespace: str, ruleset: str) -> None:
    """Load a ruleset in one transaction."""
    with inside(namespace):
        command("nft", "-f", "-", text=ruleset)


def sysctl(namespace: str, settings: dict[str, str]) -> None:
    """Set keys below net.ipv4 (`conf/all/rp_filter`) of the namespace."""
    with inside(namespace):
        for key, value in settings.items():
            (Path("/proc/sys/net/ipv4") / key).write_text(value)


def make(namespace: str) -> bool:
    """Make the namespace with lo up; False if it is there already."""
    if exists(namespace):
        return False
    path(namespace).unlink(missing_ok=True)
    command("ip", "netns", "add", namespace)
    ip(namespace, "link", "set", "lo", "up")
    return True


def remove(namespace: str) -> None:
    """Remove the namespace's links and its name, also when a process still lives in it. None is no error."""
    if not exists(namespace):
        path(namespace).unlink(missing_ok=True)
        return
    for name, link in links(namespace).items():
        if link.get("link_type") == "ether":
            ip(namespace, "link", "delete", name)
    command("ip", "netns", "delete", namespace)


def veth(one: tuple[str | None, str], other: tuple[str | None, str], mac: str | None = None) -> None:
    """Make a pair of (namespace, name), each end born where it belongs; `mac` is the other end's."""
    (here, name), (there, peer) = one, other
    where = ["netns", here] if here else []
    to = ["netns", there] if there else ["netns", str(os.getpid())]
    address = ["address", mac] if mac else []
    command("ip", "link", "add", "name", name, *where, "type", "veth", "peer", "name", peer, *to, *address)


def tidy() -> None:
    """Undo the mount that the first `ip netns add` makes, once no namespace is left."""
    if _DIRECTORY.is_dir() and not listed():
        # Another lab may be making its first namespace at this moment; then the directory is its.
        with suppress(NetworkError, OSError):
            if os.path.ismount(_DIRECTORY):
                command("umount", str(_DIRECTORY))
            _DIRECTORY.rmdir()
