"""The resolver of a VPC: hosted zones as Route 53 answers them, and the names that AWS itself provides."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import random
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from dnslib import QTYPE, RCODE, RR, DNSError, DNSRecord

from lab.paths import MIRROR_ADDRESS, MIRROR_HOST, TLS_ADDRESS

LOG = logging.getLogger("dns")
MAX_CHAIN = 8
MAX_MULTI_VALUES = 8
AWS_SUFFIX = "amazonaws.com"
# TTL and SOA of what AWS itself provides; the values that its resolver shows.
PROVIDED_TTL = 60
SOA = "ns.amazon-internal.invalid. hostmaster.amazon-internal.invalid. 1 3600 900 604800 60"


def plain_name(name: str) -> str:
    r"""Lower case, without the final dot, Route 53's octal escapes (`\052` for `*`) resolved."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name).rstrip(".").lower()


@dataclass(frozen=True)
class RecordSet:
    name: str
    type: str
    ttl: int = 60
    values: tuple[str, ...] = ()
    alias: str = ""
    weight: int | None = None
    failover: str = ""
    multi_value: bool = False


@dataclass(frozen=True)
class Zone:
    name: str
    private: bool
    vpcs: frozenset[str]
    records: tuple[RecordSet, ...]

    @cached_property
    def by_name(self) -> dict[str, dict[str, list[RecordSet]]]:
        found: dict[str, dict[str, list[RecordSet]]] = defaultdict(lambda: defaultdict(list))
        for record in self.records:
            found[record.name][record.type].append(record)
        return found

    @cached_property
    def existing(self) -> set[str]:
        """All names that exist, also those that only have names below them."""
        names = {self.name}
        for name in self.by_name:
            labels = name.split(".")
            names.update(".".join(labels[i:]) for i in range(len(labels) - self.name.count(".")))
        return names

    def soa(self) -> tuple[str, int, str]:
        """Name, TTL and value of the SOA record."""
        records = self.by_name.get(self.name, {}).get("SOA")
        return (self.name, records[0].ttl, records[0].values[0]) if records else (self.name, 900, SOA)


@dataclass(frozen=True)
class VpcNames:
    """What the provided names of a VPC depend on. `public` maps its hosts' public to private addresses."""

    id: str
    cidrs: tuple[str, ...]
    region: str
    public: dict[str, str] = field(default_factory=dict)

    def holds(self, address: str) -> bool:
        return any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in self.cidrs)

    @property
    def suffix(self) -> str:
        return "ec2.internal" if self.region == "us-east-1" else f"{self.region}.compute.internal"


@dataclass
class Answer:
    """`records` and `authority` hold (name, ttl, type, value)."""

    rcode: str = "NOERROR"
    records: list[tuple[str, int, str, str]] = field(default_factory=list)
    authority: list[tuple[str, int, str, str]] = field(default_factory=list)


def _below(name: str, parent: str) -> bool:
    return name == parent or name.endswith(f".{parent}")


class Resolver:
    """Answers for the hosts of one VPC."""

    def __init__(self, vpc: VpcNames, zones: tuple[Zone, ...], choose: random.Random | None = None):
        self.vpc = vpc
        self.zones = [zone for zone in zones if not zone.private or vpc.id in zone.vpcs]
        self.random = choose or random.Random()  # noqa: S311 - spreads load, keeps no secret

    def resolve(self, name: str, kind: str) -> Answer:
        """The answer for a name (any case, final dot or not) and a type name like `A`."""
        return self._resolve(plain_name(name), kind, 0)

    def _resolve(self, name: str, kind: str, depth: int) -> Answer:
        if depth > MAX_CHAIN:
            return Answer("SERVFAIL")
        zone = self._zone(name)
        if zone:
            return self._from_zone(zone, name, kind, depth)
        return self._provided(name, kind)

    def _zone(self, name: str) -> Zone | None:
        """The most specific zone; of a private and a public one with the same name the private."""
        fitting = [zone for zone in self.zones if _below(name, zone.name)]
        return max(fitting, key=lambda zone: (zone.name.count("."), zone.private), default=None)

    def _from_zone(self, zone: Zone, name: str, kind: str, depth: int) -> Answer:
        sets = self._sets(zone, name)
        soa_name, soa_ttl, soa = zone.soa()
        authority = [(soa_name, soa_ttl, "SOA", soa)]
        if sets is None:
            return Answer("NXDOMAIN", [], authority)
        if sets.get(kind):
            return self._pick(sets[kind], name, kind, depth) or Answer("NOERROR", [], authority)
        if sets.get("CNAME"):
            return self._chase(sets["CNAME"], name, kind, depth)
        return Answer("NOERROR", [], authority)

    @staticmethod
    def _sets(zone: Zone, name: str) -> dict[str, list[RecordSet]] | None:
        """The record sets at a name, by wildcard if need be (RFC 4592); None if the name does not exist."""
        if name in zone.existing:
            return zone.by_name.get(name, {})
        parent = name
        while parent != zone.name:
            parent = parent.partition(".")[2]
            if f"*.{parent}" in zone.by_name:
                return zone.by_name[f"*.{parent}"]
            if parent in zone.existing:
                break
        return None

    def _chase(self, sets: list[RecordSet], name: str, kind: str, depth: int) -> Answer:
        chosen = self._choose(sets)[0]
        target = plain_name(chosen.values[0])
        rest = self._resolve(target, kind, depth + 1)
        return Answer(rest.rcode, [(name, chosen.ttl, "CNAME", chosen.values[0]), *rest.records], rest.authority)

    def _pick(self, sets: list[RecordSet], name: str, kind: str, depth: int) -> Answer | None:
        records: list[tuple[str, int, str, str]] = []
        for chosen in self._choose(sets):
            if chosen.alias:
                target = self._resolve(chosen.alias, kind, depth + 1)
                records += [(name, ttl, kind, value) for _name, ttl, found, value in target.records if found == kind]
            else:
                records += [(name, chosen.ttl, kind, value) for value in chosen.values]
        self.random.shuffle(records)
        return Answer("NOERROR", records) if records else None

    def _choose(self, sets: list[RecordSet]) -> list[RecordSet]:
        """The routing policies, without health checks: primary, one by weight, up to eight of a multi-value set."""
        if any(item.multi_value for item in sets):
            return self.random.sample(sets, min(len(sets), MAX_MULTI_VALUES))
        weighted = [item for item in sets if item.weight is not None]
        if weighted:
            # All weights zero means the same chance for all.
            weights = [item.weight or 0 for item in weighted]
            return self.random.choices(weighted, weights if any(weights) else None)
        return sorted(sets, key=lambda item: item.failover == "SECONDARY")[:1]

    # Names that AWS provides

    def _provided(self, name: str, kind: str) -> Answer:
        if name.endswith(".in-addr.arpa"):
            return self._reverse(name, kind)
        address = self._provided_address(name)
        authority = [(name.partition(".")[2] or name, PROVIDED_TTL, "SOA", SOA)]
        if not address:
            return Answer("NXDOMAIN", [], authority)
        if kind != "A":
            return Answer("NOERROR", [], authority)
        return Answer("NOERROR", [(name, PROVIDED_TTL, "A", address)])

    def _provided_address(self, name: str) -> str | None:
        if name == MIRROR_HOST:
            return MIRROR_ADDRESS
        label, _dot, parent = name.partition(".")
        address = _address_in(label)
        if parent == self.vpc.suffix:
            return address if address and label.startswith("ip-") and self.vpc.holds(address) else None
        if address and label.startswith("ec2-") and parent.endswith(f"compute.{AWS_SUFFIX}"):
            return self.vpc.public.get(address, address)
        return TLS_ADDRESS if _below(name, AWS_SUFFIX) else None

    def _reverse(self, name: str, kind: str) -> Answer:
        authority = [("in-addr.arpa", PROVIDED_TTL, "SOA", SOA)]
        labels = name.removesuffix(".in-addr.arpa").split(".")
        address = ".".join(reversed(labels))
        try:
            known = len(labels) == 4 and self.vpc.holds(address)
        except ValueError:
            known = False
        if not known:
            return Answer("NXDOMAIN", [], authority)
        if kind != "PTR":
            return Answer("NOERROR", [], authority)
        return Answer("NOERROR", [(name, PROVIDED_TTL, "PTR", f"ip-{address.replace('.', '-')}.{self.vpc.suffix}.")])


def _address_in(label: str) -> str | None:
    """10.20.1.5 of ip-10-20-1-5 or ec2-10-20-1-5."""
    match = re.fullmatch(r"(?:ip|ec2)-(\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3})", label)
    if not match:
        return None
    try:
        return str(ipaddress.ip_address(match[1].replace("-", ".")))
    except ValueError:
        return None


# The wire


def reply(query: DNSRecord, resolver: Resolver | None) -> DNSRecord:
    """The message that answers a query; SERVFAIL without a resolver."""
    message = query.reply(ra=1, aa=0)
    if resolver is None or len(query.questions) != 1 or query.header.get_opcode() != 0:
        message.header.rcode = RCODE.SERVFAIL if resolver is None else RCODE.NOTIMP
        return message
    kind = QTYPE.get(query.q.qtype)
    answer = resolver.resolve(str(query.q.qname), kind if isinstance(kind, str) else str(query.q.qtype))
    message.header.rcode = getattr(RCODE, answer.rcode)
    for record in answer.records:
        message.add_answer(*_rr(record))
    for record in answer.authority:
        message.add_auth(*_rr(record))
    return message


def _rr(record: tuple[str, int, str, str]) -> list[RR]:
    name, ttl, kind, value = record
    return RR.fromZone(f"{name}. {ttl} IN {kind} {value}")


def answer_packet(packet: bytes, resolver: Resolver | None, datagram: bool) -> bytes | None:
    """The wire answer to a wire query, truncated if it exceeds what a datagram may hold; None for no DNS message."""
    try:
        query = DNSRecord.parse(packet)
    except (DNSError, ValueError, IndexError):
        return None
    if query.header.qr:
        return None
    try:
        message = reply(query, resolver)
    except Exception:
        # A record that cannot be written must cost one answer, not the resolver.
        LOG.exception("The query %s could not be answered", query.questions)
        message = reply(query, None)
    answer = message.pack()
    if datagram and len(answer) > _datagram_size(query):
        answer = message.truncate().pack()
    return answer


def _datagram_size(query: DNSRecord) -> int:
    sizes = [record.edns_len for record in query.ar if record.rtype == QTYPE.OPT]
    return max(512, min(sizes[0], 1232)) if sizes else 512


class Server:
    """Answers on a UDP and a listening TCP socket until closed; `resolver` is asked for at every query."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, resolver: Callable[[], Resolver | None]):
        self.udp, self.tcp, self.resolver = udp, tcp, resolver
        for target in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    def close(self) -> None:
        """Stop both threads and free the addresses."""
        for sock in (self.udp, self.tcp):
            # A thread that waits in the kernel holds the socket open: wake it.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                packet, client = self.udp.recvfrom(4096)
                if not packet and self.udp.fileno() < 0:
                    return
                answer = answer_packet(packet, self.resolver(), datagram=True)
                if answer:
                    self.udp.sendto(answer, client)
            except OSError:
                if self.udp.fileno() < 0:
                    return

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _client = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(10)
            try:
                while length := stream.read(2):
                    packet = stream.read(int.from_bytes(length, "big"))
                    answer = answer_packet(packet, self.resolver(), datagram=False)
                    if answer is None:
                        return
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
            except OSError:
                return
