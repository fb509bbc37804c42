"""The instance metadata service, version 1 and 2, by the source address of the request."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from lab.services.http import serve_on

VERSIONS = ("1.0", "2016-09-02", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15",
            "2022-09-24", "2024-04-11", "latest")  # fmt: skip
MIN_TTL, MAX_TTL = 1, 21600
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
# Spread over the zones of the region as AWS does for an account; stable in the lab.
_ZONE_IDS = {"a": "az1", "b": "az2", "c": "az3", "d": "az4", "e": "az5", "f": "az6"}
_REGION_CODES = {"eu-west-1": "euw1", "eu-central-1": "euc1", "us-east-1": "use1", "us-west-2": "usw2"}


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hop_limit: int | None = None


@dataclass(frozen=True)
class Facts:
    """What the service knows of one instance. The functions are asked only when their path is."""

    instance: dict
    region: str
    account: str
    subnet: dict
    vpc_blocks: list[str]
    user_data: Callable[[], bytes | None]
    public_key: Callable[[], str | None]
    profile: Callable[[], dict | None]
    credentials: Callable[[], dict | None]

    @property
    def options(self) -> dict:
        return self.instance.get("MetadataOptions", {})


class Tokens:
    """Session tokens that carry their instance and expiry under a signature, so that nothing need be kept."""

    def __init__(self, key: bytes):
        self._key = key

    def _sign(self, text: str) -> bytes:
        return hmac.new(self._key, text.encode(), hashlib.sha256).digest()[:24]

    def issue(self, instance_id: str, seconds: int, now: float) -> str:
        text = f"{instance_id} {int(now) + seconds}"
        return base64.urlsafe_b64encode(self._sign(text) + text.encode()).decode().rstrip("=")

    def remaining(self, token: str, instance_id: str, now: float) -> int | None:
        """Seconds of validity left, None for a token that is not valid for this instance."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            text = raw[24:].decode()
            owner, _space, expiry = text.partition(" ")
            left = int(expiry) - int(now)
        except ValueError:
            return None
        valid = hmac.compare_digest(raw[:24], self._sign(text)) and owner == instance_id
        return left if valid and left > 0 else None


def respond(
    facts: Facts | None, method: str, path: str, headers: Mapping[str, str], tokens: Tokens, now: float
) -> Response:
    """The answer to one request; `facts` None means no instance has the source address."""
    if facts is None:
        return _error(404)
    if facts.options.get("HttpEndpoint", "enabled") == "disabled":
        return _error(403)
    path = path.partition("?")[0]
    if method == "PUT":
        return _token(facts, path, headers, tokens, now)
    if method not in {"GET", "HEAD"}:
        return _error(405)
    extra: dict[str, str] = {}
    token = headers.get(TOKEN_HEADER)
    if token is not None:
        left = tokens.remaining(token, facts.instance["InstanceId"], now)
        if left is None:
            return _error(401)
        extra[TTL_HEADER] = str(left)
    elif facts.options.get("HttpTokens", "optional") == "required":
        return _error(401)
    body = lookup(_root(facts), path)
    if body is None:
        return _error(404)
    return Response(200, body, {"Content-Type": "text/plain", **extra})


_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}


def _error(status: int) -> Response:
    text = f"{status} - {_REASONS[status]}"
    page = f"<!DOCTYPE html><html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n"
    return Response(status, page.encode(), {"Content-Type": "text/html"})


def _token(facts: Facts, path: str, headers: Mapping[str, str], tokens: Tokens, now: float) -> Response:
    if path.rstrip("/") not in {f"/{version}/api/token" for version in VERSIONS}:
        return _error(404 if path.startswith("/latest/") else 403)
    if headers.get("X-Forwarded-For") is not None:
        # AWS refuses a request that an open proxy passed on.
        return _error(403)
    wanted = headers.get(TTL_HEADER, "")
    if not wanted.isascii() or not wanted.isdigit() or not MIN_TTL <= int(wanted) <= MAX_TTL:
        return _error(400)
    token = tokens.issue(facts.instance["InstanceId"], int(wanted), now)
    limit = int(facts.options.get("HttpPutResponseHopLimit", 1))
    return Response(200, token.encode(), {"Content-Type": "text/plain", TTL_HEADER: wanted}, hop_limit=limit)


# The tree: a dict is a directory, text or bytes a leaf, a function a leaf or directory made when asked.


def lookup(tree: dict[str, Any], path: str) -> bytes | None:
    """The leaf or the listing at a path, with a final slash or without; None if there is nothing."""
    node: Any = tree
    for part in [part for part in path.split("/") if part]:
        node = node() if callable(node) else node
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    node = node() if callable(node) else node
    if node is None:
        return None
    if isinstance(node, dict):
        return "\n".join(_listing(node)).encode()
    return node if isinstance(node, bytes) else str(node).encode()


def _listing(node: dict[str, Any]) -> list[str]:
    if isinstance(node, Keys):
        return [f"{index}={name}" for index, name in node.names.items()]
    if isinstance(node, Plain):
        return sorted(node)
    return [name + "/" if isinstance(value, dict) else name for name, value in sorted(node.items())]


class Plain(dict):
    """A directory at the top, whose listing shows directories without a slash."""


class Keys(dict):
    """The directory public-keys, whose listing shows the names of the keys."""

    def __init__(self, names: dict[str, str], content: dict[str, Any]):
        super().__init__(content)
        self.names = names


def _root(facts: Facts) -> dict[str, Any]:
    content = Plain({"meta-data": _metadata(facts), "dynamic": _dynamic(facts)})
    user_data = facts.user_data()
    if user_data is not None:
        content["user-data"] = user_data
    return Plain(dict.fromkeys(VERSIONS, content))


def _metadata(facts: Facts) -> dict[str, Any]:
    instance = facts.instance
    zone = instance["Placement"]["AvailabilityZone"]
    interface = next(iter(sorted(instance.get("NetworkInterfaces", []), key=_device_index)), {})
    tree: dict[str, Any] = {
        "ami-id": instance["ImageId"],
        "ami-launch-index": str(instance.get("AmiLaunchIndex", 0)),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": _block_devices(instance),
        "hostname": instance["PrivateDnsName"],
        "instance-action": "none",
        "instance-id": instance["InstanceId"],
        "instance-life-cycle": instance.get("InstanceLifecycle", "on-demand"),
        "instance-type": instance["InstanceType"],
        "local-hostname": instance["PrivateDnsName"],
        "local-ipv4": instance["PrivateIpAddress"],
        "mac": interface.get("MacAddress", ""),
        "network": {"interfaces": {"macs": _macs(facts)}},
        "placement": {
            "availability-zone": zone,
            "availability-zone-id": zone_id(facts.subnet, zone),
            "region": facts.region,
        },
        "profile": "default-hvm",
        "reservation-id": instance.get("ReservationId", "r-0" + instance["InstanceId"][-16:]),
        "security-groups": "\n".join(group["GroupName"] for group in instance.get("SecurityGroups", [])),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if instance.get("PublicIpAddress"):
        tree["public-ipv4"] = instance["PublicIpAddress"]
        tree["public-hostname"] = instance.get("PublicDnsName", "")
    if instance.get("KeyName"):
        tree["public-keys"] = Keys({"0": instance["KeyName"]}, {"0": {"openssh-key": facts.public_key}})
    if facts.options.get("InstanceMetadataTags", "disabled") == "enabled":
        tree["tags"] = {"instance": {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}}
    if instance.get("IamInstanceProfile"):
        tree["iam"] = {"info": lambda: _iam_info(facts), "security-credentials": _roles(facts)}
    return tree


def _device_index(interface: dict) -> int:
    return interface.get("Attachment", {}).get("DeviceIndex", 0)


def zone_id(subnet: dict, zone: str) -> str:
    """The zone's id (euw1-az1) as the subnet gives it, else the one with the zone's letter."""
    if subnet.get("AvailabilityZoneId"):
        return subnet["AvailabilityZoneId"]
    region = zone[:-1]
    return f"{_REGION_CODES.get(region, region.replace('-', ''))}-{_ZONE_IDS.get(zone[-1], 'az1')}"


def _block_devices(instance: dict) -> dict[str, str]:
    root = instance.get("RootDeviceName", "/dev/xvda")
    others = [item["DeviceName"] for item in instance.get("BlockDeviceMappings", []) if item["DeviceName"] != root]
    further = {f"ebs{number}": name.removeprefix("/dev/") for number, name in enumerate(sorted(others), 1)}
    return {"ami": root, "root": root, **further}


def _macs(facts: Facts) -> dict[str, Any]:
    return {eni["MacAddress"]: _interface(facts, eni) for eni in facts.instance.get("NetworkInterfaces", [])}


def _interface(facts: Facts, eni: dict) -> dict[str, Any]:
    addresses = [item["PrivateIpAddress"] for item in eni.get("PrivateIpAddresses", [])] or [eni["PrivateIpAddress"]]
    tree: dict[str, Any] = {
        "device-number": str(_device_index(eni)),
        "interface-id": eni["NetworkInterfaceId"],
        "local-hostname": facts.instance["PrivateDnsName"],
        "local-ipv4s": "\n".join(addresses),
        "mac": eni["MacAddress"],
        "owner-id": eni.get("OwnerId", facts.account),
        "security-group-ids": "\n".join(group["GroupId"] for group in eni.get("Groups", [])),
        "security-groups": "\n".join(group["GroupName"] for group in eni.get("Groups", [])),
        "subnet-id": eni["SubnetId"],
        "subnet-ipv4-cidr-block": facts.subnet.get("CidrBlock", ""),
        "vpc-id": eni["VpcId"],
        "vpc-ipv4-cidr-block": facts.vpc_blocks[0] if facts.vpc_blocks else "",
        "vpc-ipv4-cidr-blocks": "\n".join(facts.vpc_blocks),
    }
    public = eni.get("Association", {}).get("PublicIp")
    if public:
        tree["public-ipv4s"] = public
        tree["ipv4-associations"] = {public: addresses[0]}
    return tree


def _time(moment: Any) -> str:
    if isinstance(moment, str):
        return moment
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _iam_info(facts: Facts) -> str | None:
    profile = facts.profile()
    if not profile:
        return None
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": _time(datetime.datetime.now(datetime.UTC)),
            "InstanceProfileArn": profile["Arn"],
            "InstanceProfileId": profile["InstanceProfileId"],
        },
        indent=2,
    )


class _roles(dict):  # noqa: N801
    """The directory of the one role, looked up when it is listed or entered."""

    def __init__(self, facts: Facts):
        profile = facts.profile()
        roles = profile.get("Roles", []) if profile else []
        super().__init__({role["RoleName"]: lambda: _credentials(facts) for role in roles})


def _credentials(facts: Facts) -> str | None:
    found = facts.credentials()
    return json.dumps(found, indent=2) if found else None


def _dynamic(facts: Facts) -> dict[str, Any]:
    instance = facts.instance
    document = {
        "accountId": facts.account,
        "architecture": instance.get("Architecture", "x86_64"),
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "billingProducts": None,
        "devpayProductCodes": None,
        "imageId": instance["ImageId"],
        "instanceId": instance["InstanceId"],
        "instanceType": instance["InstanceType"],
        "kernelId": None,
        "marketplaceProductCodes": None,
        "pendingTime": _time(instance["LaunchTime"]),
        "privateIp": instance["PrivateIpAddress"],
        "ramdiskId": None,
        "region": facts.region,
        "version": "2017-09-30",
    }
    return {"instance-identity": {"document": json.dumps(document, indent=2)}}


# The wire


class Server:
    """Serves a bound socket until closed; `find` gives the facts of a source address."""

    def __init__(self, sock: socket.socket, find: Callable[[str], Facts | None], tokens: Tokens):
        class Handler(_Handler):
            pass

        Handler.find = staticmethod(find)
        Handler.tokens = tokens
        self.close = serve_on(sock, Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    find: Callable[[str], Facts | None]
    tokens: Tokens

    def version_string(self) -> str:
        return "EC2ws"

    def log_message(self, *_arguments: Any) -> None:
        """Every host asks often; nothing is logged."""

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if length.isdigit() and int(length):
            self.rfile.read(min(int(length), 65536))
        facts = self.find(self.client_address[0])
        response = respond(facts, self.command, self.path, self.headers, self.tokens, time.time())
        if response.hop_limit:
            self.wfile.flush()
            self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, response.hop_limit)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer
