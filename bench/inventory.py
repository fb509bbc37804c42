"""Compare the inventory plugin with amazon.aws.aws_ec2 on the same answers, in one run.

A loopback server replays prerendered DescribeInstances pages, so that only the plugins and Ansible are measured.
Prints seconds (whole `ansible-inventory --list`), peak MB, API calls, and how many times faster ours is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parent.parent
ANSIBLE_INVENTORY = Path(sys.executable).parent / "ansible-inventory"
REGION = "eu-west-1"
COMPONENTS = ("etcd postgresql", "haproxy", "redis", "kafka", "kubernetes_node", "elasticsearch logstash")
HEADER = '<?xml version="1.0" encoding="UTF-8"?>'
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43

OURS = f"""plugin: selfhosted.ec2.instances
platform: bench
regions: [{REGION}]
user: admin
"""
# The same groups and about the same variables, as a user of aws_ec2 would write them.
THEIRS = f"""plugin: amazon.aws.aws_ec2
regions: [{REGION}]
filters:
  tag:platform: bench
  instance-state-name: [pending, running, stopping, stopped]
hostnames: [tag:Name]
keyed_groups:
  - {{key: tags.components.split(), prefix: "", separator: ""}}
  - {{key: tags.tier, prefix: tier}}
  - {{key: placement.availability_zone, prefix: zone}}
  - {{key: state.name, prefix: state}}
compose:
  ansible_host: private_ip_address
  ec2_zone: placement.availability_zone
groups:
  databases: "'postgresql' in tags.components"
"""


@dataclass
class Run:
    """One run: wall and CPU seconds, peak resident MB of the process, API calls, hosts found."""

    seconds: float
    cpu: float
    megabytes: float
    calls: int
    hosts: int


def instance_xml(number: int) -> str:
    """Return one reservation with one instance as DescribeInstances gives it, with tags and devices."""
    components = COMPONENTS[number % len(COMPONENTS)]
    tier = components.split(maxsplit=1)[0]
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    tags = {
        "Name": f"{tier}-{number + 1}",
        "platform": "bench",
        "environment": "production",
        "tier": tier,
        "components": components,
        "memory_mib": "4096",
        "ssh_host_key": KEY,
        "volume:data": f"vol-{number:017x}",
    }
    tag_items = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    return (
        f"<item><reservationId>r-{number:017x}</reservationId><ownerId>123456789012</ownerId><groupSet/><instancesSet><item>"
        f"<instanceId>i-{number:017x}</instanceId><imageId>ami-0123456789abcdef0</imageId>"
        "<instanceState><code>16</code><name>running</name></instanceState>"
        f"<privateDnsName>ip-{address.replace('.', '-')}.{REGION}.compute.internal</privateDnsName><dnsName/><reason/>"
        "<keyName>bench</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>t3.medium</instanceType>"
        "<launchTime>2026-01-01T00:00:00.000Z</launchTime>"
        f"<placement><availabilityZone>{REGION}{'abc'[number // 6 % 3]}</availabilityZone>"
        f"<availabilityZoneId>euw1-az{number // 6 % 3 + 1}</availabilityZoneId><groupName/>"
        "<tenancy>default</tenancy></placement>"
        "<monitoring><state>disabled</state></monitoring><subnetId>subnet-0123456789abcdef0</subnetId>"
        f"<vpcId>vpc-0123456789abcdef0</vpcId><privateIpAddress>{address}</privateIpAddress>"
        "<sourceDestCheck>true</sourceDestCheck>"
        "<groupSet><item><groupId>sg-0123456789abcdef0</groupId><groupName>bench</groupName></item></groupSet>"
        "<architecture>x86_64</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName>"
        f"<blockDeviceMapping>{device_xml('/dev/xvda', number)}"
        f"{device_xml('/dev/sdf', number + 10**9)}</blockDeviceMapping>"
        "<virtualizationType>hvm</virtualizationType><clientToken/>"
        f"<tagSet>{tag_items}</tagSet><hypervisor>xen</hypervisor>"
        "<networkInterfaceSet><item><networkInterfaceId>eni-0123456789abcdef0</networkInterfaceId>"
        "<subnetId>subnet-0123456789abcdef0</subnetId><vpcId>vpc-0123456789abcdef0</vpcId><description/>"
        "<ownerId>123456789012</ownerId><status>in-use</status><macAddress>02:00:00:00:00:01</macAddress>"
        f"<privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck>"
        "<groupSet><item><groupId>sg-0123456789abcdef0</groupId><groupName>bench</groupName></item></groupSet>"
        "<attachment><attachmentId>eni-attach-0123456789abcdef0</attachmentId><deviceIndex>0</deviceIndex>"
        "<status>attached</status><attachTime>2026-01-01T00:00:00.000Z</attachTime>"
        "<deleteOnTermination>true</deleteOnTermination><networkCardIndex>0</networkCardIndex></attachment>"
        f"<privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item>"
        "</privateIpAddressesSet><ipv6AddressesSet/><interfaceType>interface</interfaceType></item></networkInterfaceSet>"
        "<ebsOptimized>true</ebsOptimized><cpuOptions><coreCount>1</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions>"
        "<metadataOptions><state>applied</state><httpTokens>required</httpTokens>"
        "<httpPutResponseHopLimit>1</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint></metadataOptions>"
        "</item></instancesSet></item>"
    )


def device_xml(device: str, number: int) -> str:
    """Return one block device mapping."""
    return (
        f"<item><deviceName>{device}</deviceName><ebs><volumeId>vol-{number:017x}</volumeId><status>attached</status>"
        "<attachTime>2026-01-01T00:00:00.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item>"
    )


def page_xml(start: int, count: int, hosts: int) -> bytes:
    """Return the answer with the instances from `start`, at most `count`, of `hosts`."""
    end = min(start + count, hosts)
    items = "".join(instance_xml(number) for number in range(start, end))
    token = f"<nextToken>{end}</nextToken>" if end < hosts else ""
    return (
        f'{HEADER}<DescribeInstancesResponse xmlns="{NAMESPACE}"><requestId>bench</requestId>'
        f"<reservationSet>{items}</reservationSet>{token}</DescribeInstancesResponse>"
    ).encode()


ZONES = (
    f'{HEADER}<DescribeAvailabilityZonesResponse xmlns="{NAMESPACE}"><requestId>bench</requestId>'
    "<availabilityZoneInfo>"
    + "".join(
        f"<item><zoneName>{REGION}{letter}</zoneName><zoneState>available</zoneState><regionName>{REGION}</regionName>"
        f"<zoneId>euw1-az{number}</zoneId></item>"
        for number, letter in enumerate("abc", 1)
    )
    + "</availabilityZoneInfo></DescribeAvailabilityZonesResponse>"
).encode()


class Replay(ThreadingHTTPServer):
    """Answers DescribeInstances for a number of hosts from memory and counts the calls."""

    daemon_threads = True

    def __init__(self, hosts: int):
        super().__init__(("127.0.0.1", 0), ReplayHandler)
        self.hosts, self.calls = hosts, 0
        # One page of everything for who asks for no page size, pages of 1,000 for who does.
        self.pages = {(0, hosts): page_xml(0, hosts, hosts)}
        self.pages |= {(start, 1000): page_xml(start, 1000, hosts) for start in range(0, hosts, 1000)}

    def answer(self, request: dict[str, list[str]]) -> bytes:
        """Return the body for one request in form encoding."""
        self.calls += 1
        if request["Action"] == ["DescribeAvailabilityZones"]:
            return ZONES
        start = int(request.get("NextToken", ["0"])[0])
        count = int(request.get("MaxResults", [str(self.hosts)])[0])
        return self.pages[(start, count)]


class ReplayHandler(BaseHTTPRequestHandler):
    """One connection of Replay."""

    protocol_version = "HTTP/1.1"
    server: Replay

    def do_POST(self) -> None:
        """Answer one API call."""
        length = int(self.headers["Content-Length"])
        body = self.server.answer(parse_qs(self.rfile.read(length).decode()))
        self.send_response(200)
        self.send_header("Content-Type", "text/xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Write no access log."""


def environment(port: int, folder: str) -> dict[str, str]:
    """Return the environment for `ansible-inventory`: the replaying endpoint, no configuration of the user's."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": folder,
        "ANSIBLE_CONFIG": str(Path(folder) / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "benchmarking",
        "AWS_SECRET_ACCESS_KEY": "benchmarking",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": REGION,
    }


def measure(configuration: str, server: Replay) -> Run:
    """Run `ansible-inventory --list` once with one plugin's configuration."""
    server.calls = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "bench.aws_ec2.yml"
        source.write_text(configuration)
        (Path(folder) / "ansible.cfg").write_text("")
        output = Path(folder) / "out.json"
        errors = Path(folder) / "errors.txt"
        with output.open("wb") as file, errors.open("wb") as error_file:
            started = time.monotonic()
            process = subprocess.Popen(
                [str(ANSIBLE_INVENTORY), "-i", str(source), "--list"],
                stdout=file,
                stderr=error_file,
                env=environment(server.server_address[1], folder),
            )
            _pid, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"ansible-inventory failed for:\n{configuration}\n{errors.read_text()}")
        found = output.read_bytes().count(b'"ansible_host":')
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, server.calls, found)


def best(configuration: str, server: Replay, repeat: int) -> Run:
    """Return the fastest of `repeat` runs; each must have found every host."""
    runs = [measure(configuration, server) for _ in range(repeat)]
    for run in runs:
        if run.hosts != server.hosts:
            raise SystemExit(f"{run.hosts} of {server.hosts} hosts were found by:\n{configuration}")
    return min(runs, key=lambda run: run.seconds)


def row(hosts: int, name: str, run: Run, ratio: str = "") -> str:
    """Return one line of the table."""
    measured = f"{run.seconds:>7.2f} s ({run.cpu:.2f} CPU) {run.megabytes:>6.0f} MB {run.calls:>6} calls"
    return f"{hosts:>6}  {name:<24} {measured}  {ratio}".rstrip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--repeat", type=int, default=2, help="runs of each; the fastest counts (default 2)")
    parser.add_argument("--ours-only", action="store_true", help="leave out amazon.aws.aws_ec2")
    arguments = parser.parse_args()
    for hosts in arguments.hosts:
        server = Replay(hosts)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ours = best(OURS, server, arguments.repeat)
        print(row(hosts, "selfhosted.ec2.instances", ours), flush=True)
        with tempfile.TemporaryDirectory() as cache:
            cached = f"{OURS}cache_seconds: 3600\ncache_directory: {cache}\n"
            measure(cached, server)
            print(row(hosts, "  the same, warm cache", best(cached, server, arguments.repeat)), flush=True)
        if not arguments.ours_only:
            theirs = best(THEIRS, server, arguments.repeat)
            faster, smaller = theirs.seconds / ours.seconds, theirs.megabytes / ours.megabytes
            ratio = f"{faster:.1f} times our seconds, {smaller:.1f} times our MB"
            print(row(hosts, "amazon.aws.aws_ec2", theirs, ratio), flush=True)
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
