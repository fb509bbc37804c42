"""The lab's network for real: namespaces as hosts, in a lab of its own that is removed afterwards."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from dnslib import DNSRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import api, network, processes
from lab.network import namespaces
from lab.network.compile import compile_router
from lab.network.model import Group, Rule, Vpc
from lab.network.names import INET_RESOLVER, Names
from lab.paths import IMDS_ADDRESS, MIRROR_ADDRESS, TIME_ADDRESS, TLS_ADDRESS, Lab, forget_index
from lab.services import main as services

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
NAME = "nettest"
ROOT = Path(__file__).parents[2]
# Longer than an answer takes on a busy machine.
REFUSED_SECONDS = 1.5


ADDRESS = st.integers(0, 2**32 - 1)
CIDRS = st.builds(
    lambda number, length: str(ipaddress.ip_network((number, length), strict=False)), ADDRESS, st.integers(0, 32)
)
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
PEERS = {
    "cidrs": st.lists(CIDRS, max_size=6).map(tuple),
    "groups": st.lists(st.sampled_from(["sg-0a", "sg-0b"]), unique=True).map(tuple),
}
RULES = st.one_of(
    PORTS.flatmap(
        lambda ports: st.builds(
            Rule, st.sampled_from(["tcp", "udp", "6"]), st.just(ports[0]), st.just(ports[1]), **PEERS
        )
    ),
    st.builds(Rule, st.just("icmp"), st.integers(-1, 255), st.integers(-1, 255), **PEERS),
    st.builds(Rule, st.integers(-1, 255).map(str), st.none(), st.none(), **PEERS),
)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := answered(condition)):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def answered(condition):
    """The condition's value; false while nobody answers yet."""
    try:
        return condition()
    except OSError:
        return None


@contextmanager
def process(name, *argv):
    """A process of the lab, marked as its own so that a later run finds what this one left."""
    marked = {**os.environ, processes.MARK: f"{NAME}:{name}"}
    started = subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, env=marked)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(20)


class Cloud:
    """A VPC with two private hosts a and b behind a NAT gateway, and a public host c."""

    def __init__(self, lab):
        self.lab = lab
        self.client = api.ec2(lab)
        self.block = lab.vpc_cidr.removesuffix(".0.0/16")
        self.id = {}
        self.address = {}
        self._network()
        for name, subnet, group in (
            ("a", "private", "one"),
            ("b", "private", "one"),
            ("c", "public", "two"),
            ("d", "public", "two"),
        ):
            self._host(name, subnet, group)
        elastic = self.client.allocate_address(Domain="vpc")
        self.public, self.elastic = elastic["PublicIp"], elastic["AllocationId"]
        self.move_public("c")
        self._zone()

    def service(self, name):
        lab = self.lab
        return boto3.client(name, endpoint_url=lab.endpoint, region_name=lab.region, **lab.credentials)

    def _network(self):
        ec2 = self.client
        self.vpc = ec2.create_vpc(CidrBlock=self.lab.vpc_cidr)["Vpc"]["VpcId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.subnet, self.table = {}, {}
        for name, third in (("public", 0), ("private", 16)):
            block = f"{self.block}.{third}.0/20"
            subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock=block, AvailabilityZone="eu-west-1a")["Subnet"]
            table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])
            self.subnet[name], self.table[name] = subnet["SubnetId"], table
        self.route("public", GatewayId=gateway)
        address = ec2.allocate_address(Domain="vpc")
        self.nat = ec2.create_nat_gateway(SubnetId=self.subnet["public"], AllocationId=address["AllocationId"])
        self.nat_address = address["PublicIp"]
        self.group = {}
        for name in ("one", "two"):
            made = ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)
            self.group[name] = made["GroupId"]
        self.allow("one", 22, CidrIp=self.lab.controller_cidr)
        self.allow("one", 5432, GroupId=self.group["one"])
        self.allow("two", 443, CidrIp="0.0.0.0/0")

    def route(self, table, block="0.0.0.0/0", **target):
        self.client.create_route(RouteTableId=self.table[table], DestinationCidrBlock=block, **target)

    def _permission(self, port, source):
        kind = "IpRanges" if "CidrIp" in source else "UserIdGroupPairs"
        return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, kind: [source]}]

    def allow(self, group, port, **source):
        self.client.authorize_security_group_ingress(
            GroupId=self.group[group], IpPermissions=self._permission(port, source)
        )

    def deny(self, group, port, **source):
        self.client.revoke_security_group_ingress(
            GroupId=self.group[group], IpPermissions=self._permission(port, source)
        )

    def _host(self, name, subnet, group):
        image = self.client.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
        started = self.client.run_instances(
            ImageId=image,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet[subnet],
            SecurityGroupIds=[self.group[group]],
            UserData=f"I am {name}",
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
        )["Instances"][0]
        self.id[name], self.address[name] = started["InstanceId"], started["PrivateIpAddress"]

    def move_public(self, name):
        """The public address to another host."""
        self.client.associate_address(AllocationId=self.elastic, InstanceId=self.id[name], AllowReassociation=True)

    def _zone(self):
        route53 = self.service("route53")
        zone = route53.create_hosted_zone(
            Name="nettest.internal",
            CallerReference="1",
            VPC={"VPCRegion": self.lab.region, "VPCId": self.vpc},
            HostedZoneConfig={"PrivateZone": True},
        )
        self.zone = zone["HostedZone"]["Id"]
        self.record("a", self.address["a"])

    def record(self, name, address):
        record = {
            "Name": f"{name}.nettest.internal",
            "Type": "A",
            "TTL": 10,
            "ResourceRecords": [{"Value": address}],
        }
        self.service("route53").change_resource_record_sets(
            HostedZoneId=self.zone,
            ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]},
        )

    def namespace(self, name):
        """Of a host, of `inet`, or None for the machine."""
        return {"inet": self.lab.inet_namespace, "machine": None}.get(name) or (
            None if name == "machine" else self.lab.host_namespace(self.id[name])
        )

    def apply(self):
        return network.apply(self.lab, network.read_models(self.client))

    def socket(self, name, kind=socket.SOCK_STREAM):
        namespace = self.namespace(name)
        return namespaces.socket_in(namespace, kind) if namespace else socket.socket(socket.AF_INET, kind)

    def reaches(self, name, address, port):
        """The peer's view of the client's address, False if it cannot be reached."""
        with self.socket(name) as client:
            client.settimeout(REFUSED_SECONDS)
            try:
                client.connect((address, port))
                return client.recv(64).decode()
            except OSError:
                return False

    def listen(self, name, *ports):
        """Tell every client, until the namespace ends, what address it seems to have."""
        for port in ports:
            server = self.socket(name)
            server.bind(("0.0.0.0", port))
            server.listen()
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    @staticmethod
    def _serve(server):
        while True:
            connection, client = server.accept()
            with connection:
                connection.sendall(client[0].encode())


def remove(lab):
    for name in ("aws", "services"):
        processes.stop(lab, name)
    network.remove_all(lab)
    for directory in (lab.state, lab.run):
        if directory.exists():
            subprocess.run(["rm", "-rf", str(directory)], check=True)


@pytest.fixture(scope="module")
def cloud():
    lab = Lab(NAME)
    remove(lab)
    try:
        with (
            process("aws", "lab.aws", "--lab", NAME, "--no-hosts"),
            process("services", "lab", "--lab", NAME, "services"),
        ):
            wait_for(lambda: answers(lab))
            made = Cloud(lab)
            made.apply()
            for instance_id in made.id.values():
                network.attach_host(lab, instance_id)
            made.apply()
            made.listen("a", 22, 5432, 8080)
            made.listen("b", 5432)
            made.listen("c", 443, 5432)
            made.listen("d", 443)
            made.listen("inet", 9443)
            yield made
    finally:
        remove(lab)
        forget_index(NAME)


def answers(lab):
    try:
        return api.control(lab, "GET", "health") is not None
    except api.NoAWS:
        return False


@pytest.fixture(autouse=True)
def healed(cloud):
    yield
    network.faults.heal(cloud.lab)


def test_second_apply_changes_nothing(cloud):
    assert cloud.apply() is False


def test_security_groups_let_in_what_they_say_and_nothing_else(cloud):
    a, b, c = (cloud.address[name] for name in "abc")
    assert cloud.reaches("b", a, 5432) == b, "a group's members reach each other, in one subnet"
    assert cloud.reaches("a", c, 443) == a, "everyone reaches the public port, over subnets"
    assert cloud.reaches("machine", a, 22) == f"100.64.{cloud.lab.index}.1", "the controller reaches what it may"
    for client, address, port in (("b", a, 22), ("b", a, 8080), ("c", a, 5432), ("machine", a, 5432), ("a", c, 5432)):
        assert cloud.reaches(client, address, port) is False, (client, port)


def test_changed_group_takes_effect_and_cuts_no_open_connection(cloud):
    with cloud.socket("b") as client:
        client.settimeout(2)
        client.connect((cloud.address["a"], 5432))
        cloud.deny("one", 5432, GroupId=cloud.group["one"])
        assert cloud.apply() is True
        assert client.recv(64)
        assert cloud.reaches("b", cloud.address["a"], 5432) is False
    cloud.allow("one", 5432, GroupId=cloud.group["one"])
    cloud.apply()
    assert cloud.reaches("b", cloud.address["a"], 5432)


def test_source_destination_check(cloud):
    """A sends with an address that is not its own; only without the check it arrives."""
    alias = "192.168.77.1"  # an overlay address, outside the VPC's block
    namespaces.ip(cloud.namespace("a"), "addr", "add", f"{alias}/32", "dev", "lo")
    cloud.listen("c", 4430)
    cloud.allow("two", 4430, CidrIp="0.0.0.0/0")
    cloud.route("private", f"{alias}/32", InstanceId=cloud.id["a"])

    def connects():
        with cloud.socket("a") as client:
            client.settimeout(REFUSED_SECONDS)
            client.bind((alias, 0))
            try:
                client.connect((cloud.address["c"], 4430))
                return client.recv(64).decode()
            except OSError:
                return False

    cloud.apply()
    assert connects() is False
    cloud.client.modify_instance_attribute(InstanceId=cloud.id["a"], SourceDestCheck={"Value": False})
    cloud.apply()
    # The reply needs a way back, which a route in the subnet of c gives.
    cloud.route("public", f"{alias}/32", InstanceId=cloud.id["a"])
    cloud.apply()
    assert connects() == alias
    cloud.client.modify_instance_attribute(InstanceId=cloud.id["a"], SourceDestCheck={"Value": True})
    cloud.apply()
    assert connects() is False


def test_ways_out(cloud):
    assert cloud.reaches("c", TLS_ADDRESS, 9443) == cloud.public, "by its own public address"
    assert cloud.reaches("a", TLS_ADDRESS, 9443) is False, "no NAT route yet"
    cloud.route("private", NatGatewayId=cloud.nat["NatGateway"]["NatGatewayId"])
    cloud.apply()
    assert cloud.reaches("a", TLS_ADDRESS, 9443) == cloud.nat_address
    cloud.client.delete_route(RouteTableId=cloud.table["private"], DestinationCidrBlock="0.0.0.0/0")
    cloud.apply()
    assert cloud.reaches("a", TLS_ADDRESS, 9443) is False


def test_public_address(cloud):
    assert cloud.reaches("inet", cloud.public, 443) == "203.0.113.10"
    assert cloud.reaches("inet", cloud.public, 5432) is False
    assert cloud.reaches("inet", cloud.address["c"], 443) is False, "private addresses are not on the internet"
    cloud.route("private", NatGatewayId=cloud.nat["NatGateway"]["NatGatewayId"])
    cloud.apply()
    assert cloud.reaches("a", cloud.public, 443) == cloud.nat_address, "out and in again"
    cloud.client.delete_route(RouteTableId=cloud.table["private"], DestinationCidrBlock="0.0.0.0/0")
    cloud.apply()


def test_moved_public_address_takes_open_connections_along(cloud):
    def shown(name):
        answer = cloud.client.describe_instances(InstanceIds=[cloud.id[name]])
        return answer["Reservations"][0]["Instances"][0].get("PublicIpAddress")

    with cloud.socket("c") as server, cloud.socket("inet") as client:
        server.bind(("0.0.0.0", 4431))
        server.listen()
        cloud.allow("two", 4431, CidrIp="0.0.0.0/0")
        cloud.apply()
        client.settimeout(REFUSED_SECONDS)
        client.connect((cloud.public, 4431))
        client.sendall(b"x")
        cloud.move_public("d")
        cloud.apply()
        assert (shown("c"), shown("d")) == (None, cloud.public)
        with pytest.raises(ConnectionResetError):
            # The first packet is answered by a reset, which the next call sees.
            client.sendall(b"x")
            client.recv(64)
        assert cloud.reaches("d", TLS_ADDRESS, 9443) == cloud.public
        assert cloud.reaches("c", TLS_ADDRESS, 9443) is False
    cloud.move_public("c")
    cloud.apply()


def test_endpoint_without_nat(cloud):
    made = cloud.client.create_vpc_endpoint(
        VpcId=cloud.vpc,
        ServiceName="com.amazonaws.eu-west-1.ssm",
        VpcEndpointType="Interface",
        SubnetIds=[cloud.subnet["private"]],
        PrivateDnsEnabled=True,
    )["VpcEndpoint"]["VpcEndpointId"]
    cloud.apply()
    assert cloud.reaches("a", TLS_ADDRESS, 9443)
    assert cloud.reaches("a", MIRROR_ADDRESS, 80) is False
    cloud.client.delete_vpc_endpoints(VpcEndpointIds=[made])
    cloud.apply()
    assert cloud.reaches("a", TLS_ADDRESS, 9443) is False


def test_partition_and_heal(cloud):
    a, b, c = (cloud.address[name] for name in "abc")
    network.faults.partition(cloud.lab, [cloud.id["a"]])
    assert cloud.reaches("b", a, 5432) is False
    assert cloud.reaches("a", c, 443) is False
    assert cloud.reaches("machine", a, 22) is False
    assert cloud.reaches("b", c, 443), "others are not touched"
    cloud.apply()
    assert cloud.reaches("b", a, 5432) is False, "it outlives an apply"
    network.faults.heal(cloud.lab, cloud.id["a"])
    assert cloud.reaches("b", a, 5432)
    network.faults.partition(cloud.lab, [cloud.id["a"]], controller=False)
    assert cloud.reaches("machine", a, 22)
    network.faults.heal(cloud.lab)
    network.faults.partition(cloud.lab, [cloud.id["a"]], [cloud.id["b"]])
    assert cloud.reaches("b", a, 5432) is False
    assert cloud.reaches("a", c, 443)


def test_partition_cuts_open_connections(cloud):
    with cloud.socket("b") as client, cloud.socket("a") as server:
        server.bind((cloud.address["a"], 0))
        client.settimeout(REFUSED_SECONDS)
        client.connect((cloud.address["a"], 5432))
        network.faults.partition(cloud.lab, [cloud.id["a"]])
        client.recv(64)
        client.settimeout(REFUSED_SECONDS)
        # The server closed its side before; ours cannot tell it any more.
        client.close()
        held = subprocess.run(
            ["ss", "-N", cloud.namespace("b"), "-tnH", "state", "last-ack", "state", "fin-wait-1"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert cloud.address["a"] in held


def test_unknown_host_is_refused(cloud):
    with pytest.raises(network.NetworkError, match="has no instance i-nothing"):
        network.faults.partition(cloud.lab, ["i-nothing"])


def test_slow_host(cloud):
    def seconds(size=400_000):
        with cloud.socket("a") as server, cloud.socket("b") as client:
            server.bind((cloud.address["a"], 5433))
            server.listen()
            client.connect((cloud.address["a"], 5433))
            peer, _ = server.accept()
            started = time.monotonic()
            sender = threading.Thread(target=client.sendall, args=(b"x" * size,))
            sender.start()
            left = size
            with peer:
                while left:
                    left -= len(peer.recv(65536))
            sender.join()
            return time.monotonic() - started

    cloud.allow("one", 5433, GroupId=cloud.group["one"])
    cloud.apply()
    before = seconds()
    network.faults.slow(cloud.lab, cloud.id["b"], "2mbit")
    slowed = seconds()
    network.faults.heal(cloud.lab, cloud.id["b"])
    assert slowed > 1.0  # 400 kB at 2 Mbit/s are 1.6 s, less what the bucket holds
    assert slowed > 2 * before
    assert slowed > 2 * seconds()


def ask(cloud, host, name, kind="A", tcp=False):
    server = INET_RESOLVER if host == "inet" else f"{cloud.block}.0.2"
    query = DNSRecord.question(name, kind).pack()
    with cloud.socket(host, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((server, 53))
        if tcp:
            client.sendall(len(query).to_bytes(2, "big") + query)
            answer = client.makefile("rb").read(int.from_bytes(client.recv(2), "big"))
        else:
            client.send(query)
            answer = client.recv(4096)
    message = DNSRecord.parse(answer)
    return message.header.rcode, [str(record.rdata) for record in message.rr]


def test_dns(cloud):
    a = cloud.address["a"]
    wait_for(lambda: ask(cloud, "b", "a.nettest.internal") == (0, [a]))
    assert ask(cloud, "machine", "a.nettest.internal", tcp=True) == (0, [a])
    assert ask(cloud, "b", "none.nettest.internal") == (3, [])
    assert ask(cloud, "b", f"ip-{a.replace('.', '-')}.eu-west-1.compute.internal") == (0, [a])
    assert ask(cloud, "b", "ssm.eu-west-1.amazonaws.com", tcp=True) == (0, [TLS_ADDRESS])


def test_answers_come_from_the_address_that_was_asked_also_in_a_namespace_that_was_just_made(cloud):
    namespace, address = f"{NAME}-new", "10.99.0.2"
    namespaces.command("ip", "netns", "add", namespace)
    try:
        more = ["addr add 10.99.0.1/32 dev lo", f"addr add {address}/32 dev lo"]
        with pytest.raises(namespaces.NetworkError, match="not up yet"):
            services.bound(namespace, socket.SOCK_DGRAM, address, 53)
        namespaces.ip(namespace, "link", "set", "lo", "up")
        with services.bound(namespace, socket.SOCK_DGRAM, address, 53) as server:
            namespaces.ip_batch(namespace, more)
            with namespaces.socket_in(namespace, socket.SOCK_DGRAM) as client:
                client.settimeout(2)
                # What the kernel would send from to this client, if it had the choice.
                client.bind(("10.99.0.1", 0))
                client.sendto(b"question", (address, 53))
                _question, asker = server.recvfrom(64)
                server.sendto(b"answer", asker)
                assert client.recvfrom(64) == (b"answer", (address, 53))
    finally:
        namespaces.remove(namespace)


def test_public_zone_is_for_everyone_the_private_one_for_its_vpc(cloud):
    route53 = cloud.service("route53")
    zone = route53.create_hosted_zone(Name="example.net", CallerReference="2")["HostedZone"]["Id"]
    record = {"Name": "www.example.net", "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": cloud.public}]}
    change = {"Action": "CREATE", "ResourceRecordSet": record}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})
    wait_for(lambda: ask(cloud, "inet", "www.example.net") == (0, [cloud.public]))
    assert ask(cloud, "a", "www.example.net") == (0, [cloud.public])
    assert ask(cloud, "inet", "a.nettest.internal") == (3, [])


def test_dns_follows_a_change_without_waiting_for_the_next_reading(cloud):
    cloud.record("new", "10.1.2.3")
    wait_for(lambda: ask(cloud, "b", "new.nettest.internal") == (0, ["10.1.2.3"]), 10)


def metadata(cloud, host, path, method="GET", **headers):
    """Status and body; None when there is no answer."""
    with namespaces.inside(cloud.namespace(host)):
        request = urllib.request.Request(f"http://{IMDS_ADDRESS}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""


def test_metadata_is_of_the_asking_host(cloud):
    wait_for(lambda: metadata(cloud, "a", "/latest/meta-data/")[0] == 401)
    for name in "ab":
        status, token = metadata(
            cloud, name, "/latest/api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        )
        assert status == 200
        header = {"X-aws-ec2-metadata-token": token}
        assert metadata(cloud, name, "/latest/meta-data/instance-id", **header) == (200, cloud.id[name])
        assert metadata(cloud, name, "/latest/user-data", **header) == (200, f"I am {name}")
        document = json.loads(metadata(cloud, name, "/latest/dynamic/instance-identity/document", **header)[1])
        assert document["privateIp"] == cloud.address[name]
    assert metadata(cloud, "a", "/latest/meta-data/instance-id", **header)[0] == 401, "b's token is not a's"


def test_token_does_not_pass_another_hop(cloud):
    """The answer to PUT leaves with the hop limit of the instance, 1: a container behind the host never sees it."""
    with cloud.socket("a") as client:
        client.settimeout(3)
        client.connect((IMDS_ADDRESS, 80))
        ip_minttl = 21  # ip(7): packets with a lower time to live are dropped before the client sees them
        client.setsockopt(socket.IPPROTO_IP, ip_minttl, 2)
        client.sendall(b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(4096)


def test_time(cloud):
    with cloud.socket("a", socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((TIME_ADDRESS, 123))
        client.send(struct.pack("!B47x", 4 << 3 | 3))
        seconds = struct.unpack("!I", client.recv(64)[40:44])[0] - 2208988800
    assert abs(seconds - time.time()) < 2


def test_detach_and_attach_again(cloud):
    network.faults.slow(cloud.lab, cloud.id["b"], "2mbit")
    network.detach_host(cloud.lab, cloud.id["b"])
    cloud.apply()
    assert not namespaces.exists(cloud.namespace("b"))
    network.attach_host(cloud.lab, cloud.id["b"])
    network.attach_host(cloud.lab, cloud.id["b"])
    cloud.apply()
    assert cloud.reaches("b", cloud.address["a"], 5432) == cloud.address["b"]
    shaped = namespaces.command("tc", "-n", cloud.namespace("b"), "qdisc", "show", "dev", "ens5")
    assert "tbf" in shaped, "a host that starts again is still slow"


@settings(deadline=None, max_examples=40, database=None)
@given(rules=st.lists(RULES, max_size=8))
def test_any_rules_the_api_allows_can_be_loaded(cloud, rules):
    """As a dry run in the router, which the kernel checks like a load."""
    groups = tuple(Group(name, tuple(rules), tuple(rules)) for name in cloud.group.values())
    router = compile_router(Vpc(cloud.vpc, (cloud.lab.vpc_cidr,), groups=groups), Names(cloud.lab.index), [])
    with namespaces.inside(cloud.lab.router_namespace(cloud.vpc)):
        namespaces.command("nft", "-c", "-f", "-", text=router.nft)


def test_a_new_process_finds_all_as_it_was_and_repairs_what_is_not(cloud):
    router = cloud.lab.router_namespace(cloud.vpc)
    network.faults.partition(cloud.lab, [cloud.id["a"]], [cloud.id["c"]])
    namespaces.nft(router, "delete table inet ec2\n")
    namespaces.ip(router, "route", "delete", f"{cloud.address['b']}/32")
    code = (
        "from lab import api, network; from lab.paths import Lab; lab = Lab('nettest');"
        "network.apply(lab, network.read_models(api.ec2(lab)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert cloud.reaches("b", cloud.address["a"], 5432)
    assert cloud.reaches("b", cloud.address["a"], 8080) is False
    assert cloud.reaches("c", cloud.address["a"], 5432) is False
    assert "el" in namespaces.command("ip", "netns", "exec", router, "nft", "list", "table", "inet", "fault")


def test_remove_all_leaves_nothing(cloud):
    network.remove_all(cloud.lab)
    assert not [name for name in namespaces.listed() if name.startswith(f"{NAME}-")]
    assert not [link for link in namespaces.links(None) if link.startswith(f"el{cloud.lab.index:02d}")]
    routes = namespaces.ip_json(None, "route", "show")
    assert not [route for route in routes if route["dst"] == cloud.lab.vpc_cidr]
    network.remove_all(cloud.lab)
