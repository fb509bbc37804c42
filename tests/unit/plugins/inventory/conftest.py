"""An EC2 endpoint on loopback that answers DescribeInstances from a list, and the plugin as Ansible loads it."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import botocore.loaders
import pytest
import yaml
from ansible import constants
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments.constructed import ModuleDocFragment
from ansible_collections.selfhosted.ec2.plugins.inventory import instances
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

HEADER = '<?xml version="1.0" encoding="UTF-8"?>'
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVu1Oa3mXzJBgvoYbE0nmcuFcbnKhXoYbFrPZgSgU1q"
#: Reading the model of EC2 takes most of a test's time; one is enough.
LOADER = botocore.loaders.create_loader()
REGION = re.compile(r"Credential=[^/]+/\d+/([^/]+)/ec2/")


@dataclass
class Instance:
    """One instance of the endpoint."""

    name: str
    identifier: str
    region: str = "eu-west-1"
    zone: str = "a"
    state: str = "running"
    tags: dict = field(default_factory=dict)

    def xml(self) -> str:
        """Return it as an item of an answer."""
        tags = {"Name": self.name, "platform": "trading", "tier": "database", "components": "etcd", "ssh_host_key": KEY}
        items = "".join(f"<item><key>{k}</key><value>{v}</value></item>" for k, v in {**tags, **self.tags}.items())
        return (
            f"<item><reservationId>r-1</reservationId><instancesSet><item><instanceId>{self.identifier}</instanceId>"
            f"<instanceState><name>{self.state}</name></instanceState><instanceType>t3.medium</instanceType>"
            "<launchTime>2026-01-01T00:00:00.000Z</launchTime><privateIpAddress>10.20.0.9</privateIpAddress>"
            f"<placement><availabilityZone>{self.region}{self.zone}</availabilityZone></placement>"
            f"<tagSet>{items}</tagSet></item></instancesSet></item>"
        )


class Endpoint(ThreadingHTTPServer):
    """EC2 of all regions.

    C(down): regions that answer 503. C(down_zones): zones whose instances make a call fail, as AWS does in an outage.
    C(throttled): how many of the next calls are refused as too many. C(requests): (region, parameters) of each call.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.instances, self.requests = [], []
        self.down, self.down_zones, self.throttled, self.denied = set(), set(), 0, False

    def answer(self, region, request):
        """Return status and body."""
        self.requests.append((region, request))
        if self.throttled:
            self.throttled -= 1
            return 503, error_xml("RequestLimitExceeded", "Request limit exceeded.")
        if self.denied:
            return 401, error_xml("AuthFailure", "AWS was not able to validate the provided access credentials")
        if region in self.down:
            return 503, error_xml("Unavailable", "The service is unavailable.")
        if request["Action"] == "DescribeAvailabilityZones":
            return 200, zones_xml(region)
        return self.describe(region, request)

    def describe(self, region, request):
        """Answer DescribeInstances."""
        ids = [value for key, value in request.items() if key.startswith("InstanceId.")]
        zones = filter_values(request, "availability-zone")
        existing = {item.identifier for item in self.instances if item.region == region}
        if set(ids) - existing:
            gone = ", ".join(sorted(set(ids) - existing))
            return 400, error_xml("InvalidInstanceID.NotFound", f"The instance IDs '{gone}' do not exist")
        if ids:
            found = [item for item in self.instances if item.identifier in ids]
            touched = {item.region + item.zone for item in found}
        else:
            found = [item for item in self.instances if item.region == region]
            touched = {item.region + item.zone for item in found}
            if zones:
                found = [item for item in found if item.region + item.zone in zones]
                touched = set(zones)
        if touched & self.down_zones:
            return 503, error_xml("Unavailable", "An Availability Zone is disrupted.")
        states = filter_values(request, "instance-state-name")
        found = [item for item in found if not states or item.state in states]
        start, count = int(request.get("NextToken", 0)), int(request.get("MaxResults", 10**6))
        token = f"<nextToken>{start + count}</nextToken>" if start + count < len(found) else ""
        items = "".join(item.xml() for item in found[start : start + count])
        body = f"<requestId>1</requestId><reservationSet>{items}</reservationSet>{token}"
        return 200, f'{HEADER}<DescribeInstancesResponse xmlns="{NAMESPACE}">{body}</DescribeInstancesResponse>'


def filter_values(request, name):
    """Return the values of one filter of a request."""
    for key, value in request.items():
        if key.startswith("Filter.") and key.endswith(".Name") and value == name:
            prefix = key[: -len("Name")] + "Value."
            return [item for other, item in request.items() if other.startswith(prefix)]
    return []


def error_xml(code, message):
    """Return the body of an error of EC2."""
    return (
        f"{HEADER}<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>req-1</RequestID></Response>"
    )


def zones_xml(region):
    """Return the answer to DescribeAvailabilityZones."""
    items = "".join(f"<item><zoneName>{region}{z}</zoneName><zoneState>available</zoneState></item>" for z in "abc")
    body = f"<requestId>1</requestId><availabilityZoneInfo>{items}</availabilityZoneInfo>"
    return f'{HEADER}<DescribeAvailabilityZonesResponse xmlns="{NAMESPACE}">{body}</DescribeAvailabilityZonesResponse>'


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = {key: values[0] for key, values in parse_qs(body).items()}
        region = REGION.search(self.headers["Authorization"]).group(1)
        status, answer = self.server.answer(region, request)
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    """An endpoint with three hosts in three zones of eu-west-1; back-off costs no time."""
    server = Endpoint()
    server.instances = [Instance(f"database-{n}", f"i-0{n}", zone=zone) for n, zone in enumerate("abc", 1)]
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    for name in [*instances.os.environ]:
        if name.startswith(("AWS_", "EC2_INVENTORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unittesting")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unittesting")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(botocore.loaders, "create_loader", lambda _path=None: LOADER)
    monkeypatch.setattr(aws.Clock, "sleep", lambda self, seconds: None)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def inventory(endpoint, tmp_path, monkeypatch):
    """Return a function that parses a configuration and returns (InventoryData, warnings)."""
    documented = yaml.safe_load(instances.DOCUMENTATION)["options"]
    for name, option in yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"].items():
        documented[name] = {**option, **documented.get(name, {})}
    name = instances.InventoryModule.NAME
    constants.config.initialize_plugin_configuration_definitions("inventory", name, documented)
    monkeypatch.setattr(instances.InventoryModule, "_redirected_names", [name], raising=False)

    def parse(cache=True, **options):
        path = tmp_path / "instances.yml"
        given = {"plugin": name, "platform": "trading", "regions": ["eu-west-1"], "cache_directory": str(tmp_path)}
        merged = {key: value for key, value in {**given, **options}.items() if value is not None}
        path.write_text(yaml.safe_dump(merged))
        plugin = instances.InventoryModule()
        plugin._load_name = name
        warnings = []
        plugin.display = type("Display", (), {"warning": staticmethod(warnings.append)})()
        data = InventoryData()
        assert plugin.verify_file(str(path))
        plugin.parse(data, DataLoader(), str(path), cache=cache)
        data.reconcile_inventory()
        return data, warnings

    return parse
