"""The process `lab services`: opens the services' sockets in the namespaces and keeps them as these come and go."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lab import api
from lab.network import namespaces
from lab.network.names import INET_RESOLVER
from lab.paths import IMDS_ADDRESS, MIRROR_ADDRESS, TIME_ADDRESS, Lab
from lab.services import dns, imds, mirror, ntp
from lab.services.world import World

LOG = logging.getLogger("services")
# Without a notice everything is read again after this many seconds, in case one was lost.
REFRESH_SECONDS = 30
RETRY_SECONDS = 2
# How often to look for a router that the reconciler is about to make.
SOON_SECONDS = 0.5
IP_FREEBIND = 15


def run(lab: Lab) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stop, wake = socket.socketpair()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wake.send(b"x"))
    services = Services(lab)
    try:
        services.loop(stop)
    finally:
        services.close()


def bound(namespace: str, kind: int, address: str, port: int) -> socket.socket:
    """A socket at an address of the namespace. Raises NetworkError in the moment before the namespace's lo is up."""
    sock = namespaces.socket_in(namespace, kind)
    if not namespaces.lo_is_up(sock):
        sock.close()
        # The kernel knows no address as its own then, takes each for a broadcast, and would send answers from any.
        raise namespaces.NetworkError(f"The lo of namespace {namespace} is not up yet.")
    # The address may be put on the router a moment later than the router is made.
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    sock.bind((address, port))
    return sock


def _dns_server(namespace: str, address: str, resolver: Callable[[], dns.Resolver | None]) -> dns.Server:
    udp = bound(namespace, socket.SOCK_DGRAM, address, 53)
    tcp = bound(namespace, socket.SOCK_STREAM, address, 53)
    tcp.listen(64)
    return dns.Server(udp, tcp, resolver)


class Services:
    """All servers of a lab, by namespace."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.world = World(lab)
        self.tokens = imds.Tokens(_token_key(lab.network_state / "imds.key"))
        self.mirror = mirror.Mirror(lab.mirror, lab.cache / "artifacts")
        self._servers: dict[str, tuple[int, list[Any]]] = {}
        self._resolvers: dict[str, tuple[Any, dns.Resolver]] = {}
        self._complaints: dict[str, str] = {}
        self._notices = _notice_socket(lab.changed_socket("services"))

    def close(self) -> None:
        for namespace in list(self._servers):
            self._drop(namespace)
        self._notices.close()
        self.lab.changed_socket("services").unlink(missing_ok=True)

    def loop(self, stop: socket.socket) -> None:
        """Refresh on notice, open what is missing, until `stop` is readable."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + (REFRESH_SECONDS if self._refresh() else RETRY_SECONDS)
            complete = self.sync()
            wait = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([stop, self._notices], [], [], wait if complete else min(wait, SOON_SECONDS))
            if stop in ready:
                return
            if self._notices in ready:
                # Changes come in bursts: one reading for those of the next moment.
                time.sleep(0.1)
                self._drain()
                due = 0.0

    def _drain(self) -> None:
        try:
            while self._notices.recv(64, socket.MSG_DONTWAIT) is not None:
                pass
        except BlockingIOError:
            return

    def _refresh(self) -> bool:
        try:
            known = api.control(self.lab, "GET", "instances")
            self.world.refresh({item.get("region", self.lab.region) for item in known.values()})
        except (api.NoAWS, BotoCoreError, ClientError, ValueError) as error:
            self._complain("aws", f"The AWS endpoint {self.lab.endpoint} could not be read: {error}")
            return False
        self._complaints.pop("aws", None)
        return True

    def _complain(self, about: str, sentence: str) -> None:
        """Log what fails once, not at every try."""
        if self._complaints.get(about) != sentence:
            LOG.warning("%s", sentence)
            self._complaints[about] = sentence

    def sync(self) -> bool:
        """Open servers in new namespaces and close those of namespaces that are gone; False if some are to come."""
        snapshot = self.world.snapshot
        wanted = {self.lab.inet_namespace: ""}
        inhabited = {vpc_id for vpc_id, _address in snapshot.instances} & set(snapshot.blocks)
        wanted |= {self.lab.router_namespace(vpc_id): vpc_id for vpc_id in inhabited}
        for namespace, (inode, _servers) in list(self._servers.items()):
            if namespace not in wanted or _inode(namespace) != inode:
                self._drop(namespace)
        complete = True
        for namespace, vpc_id in wanted.items():
            if namespace not in self._servers:
                complete &= self._open(namespace, vpc_id)
        return complete

    def _open(self, namespace: str, vpc_id: str) -> bool:
        inode = _inode(namespace)
        if not inode:
            return False
        opened: list[Any] = []
        try:
            if vpc_id:
                self._open_router(namespace, vpc_id, opened)
            else:
                self._open_inet(namespace, opened)
        except (OSError, namespaces.NetworkError) as error:
            self._complain(namespace, f"The services in {namespace} could not be opened: {error}")
            for server in opened:
                server.close()
            return False
        self._servers[namespace] = (inode, opened)
        LOG.info("The services in %s are open", namespace)
        return True

    def _open_inet(self, namespace: str, opened: list[Any]) -> None:
        sock = bound(namespace, socket.SOCK_STREAM, MIRROR_ADDRESS, 80)
        opened.append(mirror.Server(sock, self.mirror))
        opened.append(_dns_server(namespace, INET_RESOLVER, lambda: self.resolver("")))

    def _open_router(self, namespace: str, vpc_id: str, opened: list[Any]) -> None:
        address = _resolver_address(self.world.snapshot.blocks[vpc_id][0])
        opened.append(_dns_server(namespace, address, lambda: self.resolver(vpc_id)))
        sock = bound(namespace, socket.SOCK_STREAM, IMDS_ADDRESS, 80)
        opened.append(imds.Server(sock, lambda source: self.facts(vpc_id, source), self.tokens))
        opened.append(ntp.Server(bound(namespace, socket.SOCK_DGRAM, TIME_ADDRESS, 123)))

    def _drop(self, namespace: str) -> None:
        for server in self._servers.pop(namespace)[1]:
            server.close()

    def resolver(self, vpc_id: str) -> dns.Resolver | None:
        """The VPC's resolver over the latest snapshot; without an id that of the internet."""
        snapshot = self.world.snapshot
        outside = {"": dns.VpcNames("", (), self.lab.region)}
        names = (snapshot.vpcs if vpc_id else outside).get(vpc_id)
        made, resolver = self._resolvers.get(vpc_id, (None, None))
        if made is not snapshot and names:
            resolver = dns.Resolver(names, snapshot.zones)
            self._resolvers[vpc_id] = (snapshot, resolver)
        return resolver

    def facts(self, vpc_id: str, source: str) -> imds.Facts | None:
        """What the instance with this address in this VPC may know of itself."""
        snapshot = self.world.snapshot
        instance = snapshot.instances.get((vpc_id, source))
        if instance is None:
            return None
        world = self.world
        return imds.Facts(
            instance=instance,
            region=instance["Region"],
            account=self.lab.account,
            subnet=snapshot.subnets.get(instance["SubnetId"], {}),
            vpc_blocks=snapshot.blocks.get(vpc_id, []),
            user_data=lambda: world.user_data(instance),
            public_key=lambda: world.public_key(instance),
            profile=lambda: world.profile(instance),
            credentials=lambda: world.credentials(instance),
        )


def _resolver_address(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr)[2])


def _inode(namespace: str) -> int:
    try:
        return namespaces.path(namespace).stat().st_ino
    except FileNotFoundError:
        return 0


def _token_key(file: Path) -> bytes:
    """The key that signs metadata tokens, kept so that tokens outlive this process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        temporary = file.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        temporary.replace(file)
    return file.read_bytes()


def _notice_socket(file: Path) -> socket.socket:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(file))
    sock.setblocking(False)
    return sock
