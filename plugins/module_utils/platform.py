# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a platform's description means: its faults, and the network, rules, instances and names that follow from it.

Pure functions. A I(platform) is a dict of the C(platform_*) variables without that prefix. I(components) maps the name
of each role to what its C(vars/flows.yml) says: C(flows), C(service_names), C(quorum), C(iam).
"""

from __future__ import annotations

import ipaddress
import re

NAME = re.compile(r"[a-z][a-z0-9-]{1,20}\Z")
TIER_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
VOLUME_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}\Z")
DOMAIN = re.compile(r"(?=.{3,200}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|metal|[0-9]*xlarge|metal-[0-9]+xl)\Z")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]\Z")
SSH_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/=]+( .*)?\Z")

#: A VPC is /16 to /28 (Amazon VPC quotas); sixteen slices of which each is a legal subnet (/28 at least) need /24.
LARGEST_VPC, SMALLEST_VPC = 16, 24
#: Slices of the VPC: private subnets are the first eight, public subnets the others.
SLICE_BITS = 4
MAX_ZONES = 8
#: Addresses of each subnet that AWS keeps: the first four and the last (VPC user guide, "Subnet CIDR blocks").
RESERVED_ADDRESSES = 5
#: Smallest and largest size in GiB by volume type (EBS user guide, "Amazon EBS volume types").
VOLUME_SIZES = {
    "gp3": (1, 65536),
    "gp2": (1, 16384),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "st1": (125, 16384),
    "sc1": (125, 16384),
}
FILESYSTEMS = ("xfs", "ext4")
NAT_MODES = ("single", "per_zone", "none")
SOURCES = ("self", "clients", "admin", "vpc", "pods", "public")
ANYWHERE = "0.0.0.0/0"
#: What every host may reach, wherever it is.
EGRESS = (("udp", 53), ("tcp", 53), ("tcp", 80), ("tcp", 443), ("udp", 123))
SSH_PORT = 22
#: A VPC without NAT reaches these only through endpoints of its own.
GATEWAY_ENDPOINTS = ("s3", "dynamodb")
INTERFACE_ENDPOINTS = ("ec2", "ec2messages", "logs", "monitoring", "ssm", "ssmmessages", "sts")
#: Further ones by the option of a role that needs them (Amazon ECR user guide, "VPC endpoints"; layers come from S3).
OPTION_ENDPOINTS = {"kubernetes_ecr": ("ecr.api", "ecr.dkr")}
RECORD_TTL = 30
#: Layouts of the edge with a web ACL: what it lets through reaches HAProxy by this group of the load balancer alone.
GUARDED = ("alb", "cloudfront")
ENTRANCE = "entrance"
#: What may lead to the API of Kubernetes.
ENDPOINT_BALANCERS = ("haproxy", "nlb")
#: What a target may keep its connections at most (Elastic Load Balancing API Reference, TargetGroupAttribute).
DRAIN_SECONDS = 3600
#: AWS's list of the addresses from which CloudFront reaches origins (VPC User Guide, "AWS-managed prefix lists").
CLOUDFRONT = "prefix:com.amazonaws.global.cloudfront.origin-facing"
HEALTH_PORT = 8405
#: RFC 1918 and RFC 6598: what no client on the internet has.
PRIVATE = [ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
#: 3 to 63 characters (S3 User Guide, "Bucket naming rules"); no dots, which break TLS to the bucket's own host name.
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
#: Days for which what was written over or removed can be brought back, and for which an unfinished upload is kept.
OLD_VERSION_DAYS, UNFINISHED_DAYS = 30, 7


# Slots


def slot_name(tier, number):
    """Return the name of slot I(number), from 1, of a tier."""
    return f"{tier['name']}-{number}"


def tier_slots(tier):
    """Return the names of all slots of a tier, in order."""
    return [slot_name(tier, number) for number in range(1, int(tier.get("count") or 0) + 1)]


def slots(tiers, component=None, cluster=None):
    """Return the slots of all tiers, or of the tiers that have a component, in order.

    :arg cluster: only tiers whose C(cluster) is this; default: all.
    """
    return [
        slot
        for tier in tiers or []
        if component is None or component in (tier.get("components") or [])
        if cluster is None or (tier.get("cluster") or "") == cluster
        for slot in tier_slots(tier)
    ]


def slot_zone(zones, number):
    """Return the zone of slot I(number): slots are dealt to the zones in turn."""
    return zones[(number - 1) % len(zones)]


def majority(members):
    """Return how many of I(members) must run for a quorum."""
    return members // 2 + 1


# Validation: each function returns sentences, [] when all is well


def faults(platform, components=None, roles=None):
    """Return every fault of a description, one sentence each; [] when it can be built.

    :arg components: what the roles' flows files say, by role; None leaves the checks that need them out.
    :arg roles: names of all roles that exist; default the keys of I(components).
    """
    known = roles if roles is not None else (list(components) if components is not None else None)
    found = list(_general_faults(platform))
    found += _network_faults(platform)
    found += _tier_list_faults(platform)
    found += _bucket_faults(platform)
    found += _edge_faults(platform)
    found += _endpoint_faults(platform, components or {})
    for tier in platform.get("tiers") or []:
        found += _tier_faults(platform, tier, known)
        found += _quorum_faults(platform, tier, components or {})
    if not found:
        found += _capacity_faults(platform)
        found += _flow_faults(platform, components or {})
    return found


def _matches(pattern, value):
    return isinstance(value, str) and bool(pattern.match(value))


def _general_faults(platform):
    checks = (
        ("name", NAME, "2 to 21 lower-case letters, digits and dashes, a letter first"),
        ("environment", TIER_NAME, "lower-case letters, digits and dashes"),
        ("region", REGION, "a region such as eu-west-1"),
        ("domain", DOMAIN, "a lower-case domain such as trading.internal"),
        ("ssh_public_key", SSH_KEY, "an OpenSSH public key such as ssh-ed25519 AAAA..."),
    )
    for key, pattern, right in checks:
        if not _matches(pattern, platform.get(key)):
            yield f"platform_{key} is {platform.get(key)!r}; it must be {right}."
    image = platform.get("image") or {}
    if not (image.get("id") or (image.get("owner") and image.get("name"))):
        yield "platform_image names no image; it must hold id, or owner and name."


def _zones_faults(platform):
    zones, region = platform.get("zones") or [], platform.get("region") or ""
    if not 1 <= len(zones) <= MAX_ZONES:
        return [f"platform_zones holds {len(zones)} zones; it must hold 1 to {MAX_ZONES}."]
    if len(set(zones)) != len(zones):
        return ["platform_zones names a zone twice; each zone may stand there once."]
    return [
        f"platform_zones holds {zone!r}, which is no zone of {region}; it must begin with {region}."
        for zone in zones
        if not (isinstance(zone, str) and zone.startswith(region) and len(zone) > len(region))
    ]


def parse_network(value, strict=True):
    """Return the IPv4 network of a text, None when it is none (with I(strict), also when host bits are set)."""
    try:
        return ipaddress.IPv4Network(value, strict=strict) if isinstance(value, str) and "/" in value else None
    except ValueError:
        return None


def _network_faults(platform):
    network = platform.get("network") or {}
    found = _zones_faults(platform)
    vpc = parse_network(network.get("cidr"))
    if vpc is None:
        found.append(f"platform_network.cidr is {network.get('cidr')!r}; it must be a network such as 10.20.0.0/16.")
    elif not LARGEST_VPC <= vpc.prefixlen <= SMALLEST_VPC:
        size = "large" if vpc.prefixlen < LARGEST_VPC else "small"
        found.append(
            f"platform_network.cidr {vpc} is too {size}; its prefix must be /{LARGEST_VPC} to /{SMALLEST_VPC},"
            " so that sixteen subnets fit."
        )
    if network.get("nat", "single") not in NAT_MODES:
        found.append(f"platform_network.nat is {network['nat']!r}; it must be one of {', '.join(NAT_MODES)}.")
    for key in ("admin_cidrs", "client_cidrs"):
        for cidr in network.get(key) or []:
            found += _source_faults(key, cidr)
    return found + _pod_network_faults(network, vpc)


def _pod_network_faults(network, vpc):
    if network.get("pod_cidr") is None:
        return []
    pods = parse_network(network["pod_cidr"])
    if pods is None:
        return [f"platform_network.pod_cidr is {network['pod_cidr']!r}; it must be a network such as 10.244.0.0/16."]
    if vpc is not None and pods.overlaps(vpc):
        return [
            f"platform_network.pod_cidr {pods} overlaps platform_network.cidr {vpc}; pods need a network of their own."
        ]
    return []


def _source_faults(key, cidr):
    parsed = parse_network(cidr)
    if parsed is None:
        return [f"platform_network.{key} holds {cidr!r}; it must be a network such as 203.0.113.10/32."]
    if parsed.prefixlen == 0:
        return [
            f"platform_network.{key} holds {cidr}, the whole internet; only flows `from: public` may be open to it."
        ]
    return []


def _tier_list_faults(platform):
    tiers = platform.get("tiers") or []
    if not tiers:
        return ["platform_tiers is empty; it must describe at least one tier."]
    names = [tier.get("name") for tier in tiers]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    found = [f"platform_tiers holds two tiers named {name!r}; each name may stand there once." for name in twice]
    every = slots([tier for tier in tiers if isinstance(tier.get("count"), int)])
    for slot in sorted({slot for slot in every if every.count(slot) > 1} if not twice else ()):
        found.append(f"platform_tiers gives the slot {slot} twice; tier names must not end in another tier's number.")
    return found


def edge_tiers(platform):
    """Return the names of the tiers whose HAProxy stands behind a web ACL; [] where the edge is direct."""
    if platform.get("edge") not in GUARDED:
        return []
    return [tier["name"] for tier in platform.get("tiers") or [] if "haproxy" in (tier.get("components") or [])]


def _edge_faults(platform):
    """Return the ways past the web ACL, and what its layout lacks."""
    edge, net = platform.get("edge") or "direct", platform.get("network") or {}
    if edge not in GUARDED:
        return []
    found = [
        f"Tier {tier['name']}: public_address leads past the web ACL of platform_edge: {edge}; set it to false."
        for tier in platform.get("tiers") or []
        if tier.get("public_address") and tier.get("name") in edge_tiers(platform)
    ]
    for cidr in net.get("client_cidrs") or []:
        parsed = parse_network(cidr)
        if parsed is not None and not any(parsed.subnet_of(network) for network in PRIVATE):
            found.append(
                f"platform_network.client_cidrs holds {cidr}, a way past the web ACL of platform_edge: {edge};"
                " only private networks may stand there."
            )
    port = port_range(platform.get("edge_port") or 443)
    if port is None or port[0] != port[1]:
        found.append(f"platform_edge_port is {platform.get('edge_port')!r}; it must be a port from 1 to 65535.")
    if edge == "alb" and len(platform.get("zones") or []) < 2:
        found.append("platform_edge is alb, and an Application Load Balancer stands in two zones at least.")
    if any(tier.get("name") == ENTRANCE for tier in platform.get("tiers") or []):
        found.append(f"platform_tiers holds the name {ENTRANCE!r}, which is the load balancer's; choose another one.")
    return found


def balancers(platform, components):
    """Return the load balancers before components, by the name of their group: what C(balancer) in their flows files
    says, where a tier has the component and the platform's C(options) have its C(option) on."""
    options = platform.get("options") or {}
    named = {name for tier in platform.get("tiers") or [] for name in tier.get("components") or []}
    found = {name: (components.get(name) or {}).get("balancer") for name in sorted(named)}
    return {
        entry["group"]: {**entry, "component": name}
        for name, entry in found.items()
        if entry and options.get(entry["option"])
    }


def _endpoint_faults(platform, components):
    """Return what is wrong with what leads to the API of Kubernetes."""
    endpoint = platform.get("endpoint") or {}
    balancer, name, domain = endpoint.get("balancer", "haproxy"), endpoint.get("name"), platform.get("domain")
    if balancer not in ENDPOINT_BALANCERS:
        return [f"kubernetes_endpoint_balancer is {balancer!r}; it must be {' or '.join(ENDPOINT_BALANCERS)}."]
    found = []
    if balancer == "nlb" and not str(name).endswith(f".{domain}"):
        found.append(
            f"kubernetes_endpoint is {name}, which is not in the private zone {domain}, where provision.yml writes the"
            " name of the load balancer with kubernetes_endpoint_balancer: nlb; leave kubernetes_endpoint out."
        )
    seconds = str(endpoint.get("drain_seconds", 30))
    if balancer == "nlb" and not (seconds.isdecimal() and int(seconds) <= DRAIN_SECONDS):
        found.append(
            f"kubernetes_endpoint_nlb.drain_seconds is {seconds}; Elastic Load Balancing takes 0 to {DRAIN_SECONDS}."
        )
    reserved = balancers(platform, components)
    return found + [
        f"platform_tiers holds the name {tier['name']!r}, which is a load balancer's; choose another one."
        for tier in platform.get("tiers") or []
        if tier.get("name") in reserved
    ]


def _tier_faults(platform, tier, roles):
    name = tier.get("name")
    if not _matches(TIER_NAME, name):
        return [f"platform_tiers holds the name {name!r}; it must be lower-case letters, digits and dashes."]
    found = []
    count = tier.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 500:
        found.append(f"Tier {name}: count is {count!r}; it must be a number from 0 to 500.")
    if not _matches(INSTANCE_TYPE, tier.get("instance_type")):
        found.append(
            f"Tier {name}: instance_type is {tier.get('instance_type')!r}; it must be a type such as t3.medium."
        )
    if tier.get("subnet", "private") not in ("private", "public"):
        found.append(f"Tier {name}: subnet is {tier['subnet']!r}; it must be private or public.")
    if tier.get("public_address") and tier.get("subnet", "private") != "public":
        found.append(f"Tier {name}: public_address needs the public subnet; set subnet: public.")
    found += _component_faults(tier, roles)
    return found + _volumes_faults(tier)


def _component_faults(tier, roles):
    given = tier.get("components") or []
    found = [] if given else [f"Tier {tier['name']}: components is empty; it must name at least one role."]
    for component in given:
        if given.count(component) > 1:
            return [f"Tier {tier['name']}: components names {component!r} twice; each may stand there once."]
        if roles is not None and component not in roles:
            found.append(
                f"Tier {tier['name']}: there is no role for the component {component!r};"
                f" known are {', '.join(sorted(roles)) or 'none'}."
            )
    return found


def _volumes_faults(tier):
    found, volumes = [], tier.get("volumes") or []
    for key in ("name", "mount"):
        values = [volume.get(key) for volume in volumes if volume.get(key)]
        for value in sorted({value for value in values if values.count(value) > 1}):
            found.append(f"Tier {tier['name']}: two volumes have the {key} {value!r}; each may stand there once.")
    for volume in volumes:
        found += _volume_faults(tier["name"], volume)
    if len(volumes) > 11:
        found.append(
            f"Tier {tier['name']}: {len(volumes)} volumes; at most 11 have a device name (/dev/sdf to /dev/sdp)."
        )
    return found


def _volume_faults(tier, volume):
    name, kind, size, mount = (volume.get(key) for key in ("name", "type", "size", "mount"))
    where = f"Tier {tier}, volume {name!r}"
    if not _matches(VOLUME_NAME, name):
        return [f"{where}: the name must be lower-case letters, digits, dashes and underscores, a letter first."]
    found = []
    kind = kind or "gp3"
    if kind not in VOLUME_SIZES:
        return [f"{where}: type is {kind!r}; it must be one of {', '.join(VOLUME_SIZES)}."]
    low, high = VOLUME_SIZES[kind]
    if not isinstance(size, int) or isinstance(size, bool) or not low <= size <= high:
        found.append(f"{where}: size is {size!r}; a {kind} volume has {low} to {high} GiB.")
    if not (isinstance(mount, str) and re.match(r"/[A-Za-z0-9._/-]+\Z", mount) and ".." not in mount):
        found.append(f"{where}: mount is {mount!r}; it must be an absolute path below /.")
    if volume.get("filesystem", "xfs") not in FILESYSTEMS:
        found.append(f"{where}: filesystem is {volume['filesystem']!r}; it must be xfs or ext4.")
    return found


def _quorum_faults(platform, tier, components):
    count = tier.get("count")
    quorum = quorum_components(platform, tier, components)
    if not quorum or not isinstance(count, int) or count < 1:
        return []
    names = " and ".join(quorum)
    if count % 2 == 0:
        return [
            f"Tier {tier.get('name')}: count is {count}, but {names} needs an odd number of members for its quorum;"
            f" {count - 1} or {count + 1} would be right."
        ]
    zones = platform.get("zones") or []
    # Losing any one zone must leave a majority: three zones for three members or more.
    if zones and count - -(-count // len(zones)) < majority(count) and count > 1:
        return [
            f"platform_zones holds {len(zones)} zones, but tier {tier.get('name')} has {count} members of {names}:"
            f" the loss of one zone would end the quorum; {min(count, 3)} zones would be right."
        ]
    return []


def quorum_components(platform, tier, components):
    """Return the components of a tier whose members vote, in the tier's order.

    Those of one that says C(votes_in) do not where the platform has the component that it names.
    """
    elsewhere = {name for other in platform.get("tiers") or [] for name in other.get("components") or []}

    def votes(role):
        return role.get("quorum") and role.get("votes_in") not in elsewhere

    return [name for name in tier.get("components") or [] if votes(components.get(name) or {})]


def _capacity_faults(platform):
    found = []
    for kind in ("private", "public"):
        used = {}
        for tier in platform["tiers"]:
            if tier.get("subnet", "private") == kind:
                for number in range(1, tier["count"] + 1):
                    zone = slot_zone(platform["zones"], number)
                    used[zone] = used.get(zone, 0) + 1
        for subnet in subnets(platform):
            room = ipaddress.IPv4Network(subnet["cidr"]).num_addresses - RESERVED_ADDRESSES
            need = used.get(subnet["zone"], 0) if subnet["kind"] == kind else 0
            if need > room:
                found.append(
                    f"platform_network.cidr {platform['network']['cidr']} is too small: the {kind} subnet of"
                    f" {subnet['zone']} has {room} addresses for {need} hosts."
                )
    return found


def _route_faults(platform, components):
    """Return why what needs one route table for all its subnets, or a network for pods, cannot be built."""
    found, options = [], platform.get("options") or {}
    for name in platform_components(platform, components):
        role = components.get(name) or {}
        if options.get((role.get("one_route_table") or {}).get("option")):
            found += _one_table_faults(platform, name)
        sources = [source for flow in role.get("flows") or [] for source in flow_sources(flow)]
        if "pods" in sources and not platform["network"].get("pod_cidr"):
            found.append(
                f"platform_network.pod_cidr is not set, and {name} needs a network for its pods, such as 10.244.0.0/16."
            )
    return found


def _one_table_faults(platform, component):
    """Return why the hosts of a component that writes routes would not share one route table."""
    found = []
    if platform["network"].get("nat") == "per_zone":
        found.append(
            f"platform_network.nat is per_zone, but {component} writes its routes into one route table that all private"
            " subnets share; single or none would be right."
        )
    return found + [
        f"Tier {tier['name']}: subnet is public, but {component} writes its routes into the route table of the private"
        " subnets alone; private would be right."
        for tier in platform["tiers"]
        if tier.get("subnet") == "public" and component in (tier.get("components") or [])
    ]


def _flow_faults(platform, components):
    found = _route_faults(platform, components)
    for name in platform_components(platform, components):
        for flow in (components.get(name) or {}).get("flows") or []:
            found += _one_flow_faults(name, flow, components)
    return found


def _one_flow_faults(name, flow, components):
    where = f"roles/{name}/vars/flows.yml"
    found = []
    if port_range(flow.get("port")) is None:
        found.append(f"{where}: port is {flow.get('port')!r}; it must be 1 to 65535 or a range such as 9000-9010.")
    if flow.get("protocol", "tcp") not in ("tcp", "udp"):
        found.append(f"{where}: protocol is {flow['protocol']!r}; it must be tcp or udp.")
    for source in flow_sources(flow):
        if source not in SOURCES and not _matches(VOLUME_NAME, source):
            found.append(f"{where}: from holds {source!r}; it must be {', '.join(SOURCES)} or a component.")
    return found


def overlaps(cidr, others):
    """Return the networks among I(others) (dict of name to CIDR) that overlap I(cidr), as dict."""
    mine = parse_network(cidr, strict=False)
    return {name: other for name, other in others.items() if mine.overlaps(ipaddress.IPv4Network(other, strict=False))}


# Network


def subnets(platform):
    """Return the subnets: list of dict name, cidr, zone, kind; a private and a public one per zone."""
    vpc = ipaddress.IPv4Network(platform["network"]["cidr"])
    slices = list(vpc.subnets(prefixlen_diff=SLICE_BITS))
    result = []
    for first, kind in ((0, "private"), (MAX_ZONES, "public")):
        for index, zone in enumerate(platform["zones"]):
            name = subnet_name(platform, kind, zone)
            result.append({"name": name, "cidr": str(slices[first + index]), "zone": zone, "kind": kind})
    return result


def subnet_name(platform, kind, zone):
    return f"{platform['name']}-{kind}-{zone}"


def group_name(platform, tier):
    """Return the name of a tier's security group, role and instance profile."""
    return f"{platform['name']}-{tier}"


def endpoints(platform):
    """Return the VPC endpoints a network without NAT implies: list of dict service, type; [] with NAT."""
    if platform["network"].get("nat", "single") != "none":
        return []
    found = [{"service": service, "type": "Gateway"} for service in GATEWAY_ENDPOINTS]
    options = platform.get("options") or {}
    more = [service for option, services in OPTION_ENDPOINTS.items() if options.get(option) for service in services]
    return found + [{"service": service, "type": "Interface"} for service in (*INTERFACE_ENDPOINTS, *more)]


def network(platform, components):
    """Return everything the module vpc_network needs besides the connection: one dict of its options."""
    groups = security_groups(platform, components)
    wanted = endpoints(platform)
    if wanted:
        groups.append(_endpoint_group(platform))
    names = platform_components(platform, components)
    return {
        "platform": platform["name"],
        "environment": platform["environment"],
        "cidr": platform["network"]["cidr"],
        "nat": platform["network"].get("nat", "single"),
        "subnets": subnets(platform),
        "endpoints": wanted,
        "security_groups": groups,
        "private_tags": _component_tags(platform, names, components, "network_tags"),
    }


# Security groups


def port_range(value):
    """Return (first, last) of a port or a range such as C(9000-9010), None when it is neither."""
    match = re.match(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z", str(value)) if not isinstance(value, bool) else None
    if not match:
        return None
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    return (first, last) if 1 <= first <= last <= 65535 else None


def flow_sources(flow):
    """Return the sources of a flow as a list."""
    sources = flow.get("from") or []
    return [sources] if isinstance(sources, str) else list(sources)


def platform_components(platform, components):
    """Return the components of the platform, each once, and the roles that every host has."""
    named = [name for tier in platform["tiers"] for name in tier.get("components") or []]
    common = [name for name, role in components.items() if (role or {}).get("every_host")]
    return list(dict.fromkeys(named + common))


def _tier_components(tier, components):
    return list(tier["components"]) + [name for name, role in components.items() if (role or {}).get("every_host")]


def _peers(platform, tier, component, source, components):
    """Return the peers that a flow's source stands for, seen from the tier that is reached: CIDRs or C(tier:<name>)."""
    net = platform["network"]
    cidrs = {
        "clients": net.get("client_cidrs") or [],
        "admin": net.get("admin_cidrs") or [],
        "pods": [net["pod_cidr"]] if net.get("pod_cidr") else [],
        "vpc": [net["cidr"]],
        # Behind a web ACL the public comes by the load balancer alone.
        "public": [] if tier["name"] in edge_tiers(platform) else [ANYWHERE],
    }
    if source in cidrs:
        return [str(ipaddress.IPv4Network(cidr, strict=False)) for cidr in cidrs[source]]
    wanted = component if source == "self" else source
    return [
        f"tier:{other['name']}"
        for other in platform["tiers"]
        if wanted in _tier_components(other, components)
        # Members of two clusters of one kind do not talk to each other.
        and (source != "self" or (other.get("cluster") or "") == (tier.get("cluster") or ""))
    ]


def _tier_ingress(platform, tier, components):
    rules = {("tcp", SSH_PORT, SSH_PORT, str(ipaddress.IPv4Network(cidr, strict=False))): "ssh for operators"
             for cidr in platform["network"].get("admin_cidrs") or []}  # fmt: skip
    for component in _tier_components(tier, components):
        for flow in (components.get(component) or {}).get("flows") or []:
            first, last = port_range(flow["port"])
            for source in flow_sources(flow):
                for peer in _peers(platform, tier, component, source, components):
                    key = (flow.get("protocol", "tcp"), first, last, peer)
                    rules.setdefault(key, flow.get("purpose") or component)
    if tier["name"] in edge_tiers(platform):
        port = port_range(platform.get("edge_port") or 443)[0]
        rules.setdefault(("tcp", port, port, f"tier:{ENTRANCE}"), "what the web ACL let through")
        rules.setdefault(("tcp", HEALTH_PORT, HEALTH_PORT, f"tier:{ENTRANCE}"), "health checks of the load balancer")
    for group, balancer in balancers(platform, components).items():
        if balancer["component"] in tier["components"]:
            port = balancer["port"]
            rules.setdefault(("tcp", port, port, f"tier:{group}"), f"{balancer['purpose']} by the load balancer")
    return rules


def _balancer_ingress(platform, group, balancer, components):
    """Return what the group of a load balancer before a component lets in."""
    port, seen_from = balancer["port"], {"name": group, "components": []}
    return {
        ("tcp", port, port, peer): balancer["purpose"]
        for source in flow_sources(balancer)
        for peer in _peers(platform, seen_from, balancer["component"], source, components)
    }


def _entrance_ingress(platform):
    """Return what the load balancer's group lets in: the public, or CloudFront alone."""
    if platform["edge"] == "cloudfront":
        return {("tcp", 443, 443, CLOUDFRONT): "CloudFront"}
    return {("tcp", 443, 443, ANYWHERE): "the public", ("tcp", 80, 80, ANYWHERE): "the public, sent on to 443"}


def security_groups(platform, components):
    """Return one security group per tier, and those of the load balancers before HAProxy and other components.

    Each is a dict name, tier, description, ingress, egress. A rule is a dict protocol, from_port, to_port, peer
    (a CIDR, C(group:<name>) or C(prefix:<name>)), description. What comes in is what the flows say and ssh for
    operators; what goes out is C(EGRESS) and the flows seen from the other end.
    """
    ingress = {tier["name"]: _tier_ingress(platform, tier, components) for tier in platform["tiers"]}
    egress = {name: {(proto, port, port, ANYWHERE): "every host" for proto, port in EGRESS} for name in ingress}
    descriptions = {name: (name, f"Tier {name} of {platform['name']}") for name in ingress}
    if edge_tiers(platform):
        descriptions[ENTRANCE] = ("", f"Load balancer before HAProxy of {platform['name']}")
        egress[ENTRANCE] = {}
    vpc, tiers = str(ipaddress.IPv4Network(platform["network"]["cidr"])), list(ingress)
    for group, balancer in balancers(platform, components).items():
        descriptions[group] = ("", f"Load balancer before {balancer['component']} of {platform['name']}")
        egress[group] = {}
        ingress[group] = _balancer_ingress(platform, group, balancer, components)
    for reached, rules in ingress.items():
        for (protocol, first, last, peer), purpose in rules.items():
            for name in _senders(peer, vpc, tiers):
                egress[name].setdefault((protocol, first, last, f"tier:{reached}"), purpose)
            # A pod's address is no group's: what lets pods in lets its own tier reach them, too.
            if peer == platform["network"].get("pod_cidr"):
                egress[reached].setdefault((protocol, first, last, peer), purpose)
    if ENTRANCE in egress:
        ingress[ENTRANCE] = _entrance_ingress(platform)
    return [
        {
            "name": group_name(platform, name),
            "tier": descriptions[name][0],
            "description": descriptions[name][1],
            "ingress": _rule_list(platform, rules),
            "egress": _rule_list(platform, egress[name]),
        }
        for name, rules in ingress.items()
    ]


def _senders(peer, vpc, tiers):
    if peer.startswith("tier:"):
        return [peer[len("tier:") :]]
    return list(tiers) if peer == vpc else []


def _rule_list(platform, rules):
    result = []
    for (protocol, first, last, peer), purpose in sorted(rules.items()):
        named = f"group:{group_name(platform, peer[len('tier:') :])}" if peer.startswith("tier:") else peer
        rule = {"protocol": protocol, "from_port": first, "to_port": last, "peer": named, "description": purpose}
        result.append(rule)
    return result


def _endpoint_group(platform):
    rule = {"protocol": "tcp", "from_port": 443, "to_port": 443, "description": "AWS endpoints"}
    return {
        "name": group_name(platform, "endpoints"),
        "tier": "",
        "description": f"VPC endpoints of {platform['name']}",
        "ingress": [dict(rule, peer=platform["network"]["cidr"])],
        "egress": [],
    }


# Instances


def instances(platform):
    """Return the instances the description asks for: dict of slot to dict, in order."""
    result = {}
    for tier in platform["tiers"]:
        for number in range(1, tier["count"] + 1):
            result[slot_name(tier, number)] = _instance(platform, tier, number)
    return result


def _instance(platform, tier, number):
    zone = slot_zone(platform["zones"], number)
    tags = {
        "Name": slot_name(tier, number),
        "platform": platform["name"],
        "environment": platform["environment"],
        "tier": tier["name"],
        "components": " ".join(tier["components"]),
    }
    if tier.get("cluster"):
        tags["cluster"] = tier["cluster"]
    tags.update((platform.get("tier_tags") or {}).get(tier["name"]) or {})
    return {
        "slot": slot_name(tier, number),
        "tier": tier["name"],
        "zone": zone,
        "subnet": subnet_name(platform, tier.get("subnet", "private"), zone),
        "security_group": group_name(platform, tier["name"]),
        "instance_profile": group_name(platform, tier["name"]),
        "instance_type": tier["instance_type"],
        "image": tier.get("image") or platform.get("image") or {},
        "root_size": tier.get("root_size") or 10,
        "public_address": bool(tier.get("public_address")),
        "protection": bool(platform.get("termination_protection", True)),
        "tags": tags,
        "volumes": {
            volume["name"]: {
                "size": volume["size"],
                "type": volume.get("type") or "gp3",
                "iops": volume.get("iops"),
                "throughput": volume.get("throughput"),
            }
            for volume in tier.get("volumes") or []
        },
    }


def tier_tags(platform, components):
    """Return the further tags of each tier's instances, as its components ask for: dict of tier to dict."""
    return {
        tier["name"]: _component_tags(platform, _tier_components(tier, components), components, "tags")
        for tier in platform["tiers"]
    }


def _component_tags(platform, names, components, kind):
    tags = {}
    for name in names:
        for key, value in ((components.get(name) or {}).get(kind) or {}).items():
            tags[key.replace("{platform}", platform["name"])] = value
    return tags


# Names in DNS


def records(platform, components, addresses, aliases=()):
    """Return the A records: one per slot that exists, one with several values per service name.

    :arg addresses: dict of slot to its private address.
    :arg aliases: names that lead to a load balancer: dict name, address, zone_id and targets. As long as that has no
        target, a name that is a service's, too, goes on leading to the service's hosts.
    """
    domain = platform["domain"]
    result = [
        {"name": f"{slot}.{domain}", "type": "A", "ttl": RECORD_TTL, "values": [addresses[slot]]}
        for slot in slots(platform["tiers"])
        if addresses.get(slot)
    ]
    services = {}
    for tier in platform["tiers"]:
        for component in tier["components"]:
            for name in (components.get(component) or {}).get("service_names") or []:
                services.setdefault(name, []).extend(
                    addresses[slot] for slot in tier_slots(tier) if addresses.get(slot)
                )
    named = {f"{name}.{domain}": list(dict.fromkeys(services[name])) for name in sorted(services)}
    taken = {entry["name"]: entry for entry in aliases if entry["targets"] or not named.get(entry["name"])}
    for name, values in named.items():
        if values and name not in taken:
            result.append({"name": name, "type": "A", "ttl": RECORD_TTL, "values": values})
    for name, entry in taken.items():
        alias = {"name": entry["address"], "zone_id": entry["zone_id"]}
        result.append({"name": name, "type": "A", "alias": alias})
    return result


def prune(platform, components, removed=()):
    """Return which records may go, as the option of route53_records: slots no longer described, unused service names.

    :arg removed: slots whose instances this run ends; their tier may not be described any more.
    """
    domain = platform["domain"]
    services = {name for role in components.values() for name in (role or {}).get("service_names") or []}
    return {
        "names": [f"{name}.{domain}" for name in sorted(services | set(removed))],
        "patterns": [f"{re.escape(tier['name'])}-[0-9]+[.]{re.escape(domain)}" for tier in platform["tiers"]],
        # A slot without an instance, as check mode may see it, gets its record from its next instance.
        "keep": [f"{slot}.{domain}" for slot in slots(platform["tiers"])],
    }


# Roles in IAM


def bucket_settings(platform):
    """Return the buckets as the module object_storage takes them: private, encrypted, versioned, TLS only."""
    lifecycle = [
        {"id": "old versions", "expire_noncurrent_days": OLD_VERSION_DAYS, "abort_multipart_days": UNFINISHED_DAYS}
    ]
    return [{"name": bucket["name"], "lifecycle": lifecycle} for bucket in platform.get("buckets") or []]


def _bucket_faults(platform):
    found, names = [], []
    for bucket in platform.get("buckets") or []:
        name = bucket.get("name")
        if not _matches(BUCKET_NAME, name) or ".." in str(name):
            found.append(
                f"platform_buckets holds the name {name!r}; it must be 3 to 63 lower-case letters, digits and dashes."
            )
        elif name in names:
            found.append(f"platform_buckets names {name} twice; each bucket may stand there once.")
        names.append(name)
    purposes = [bucket.get("purpose") for bucket in platform.get("buckets") or []]
    for purpose in sorted({str(purpose) for purpose in purposes if purposes.count(purpose) > 1}):
        found.append(f"platform_buckets has two buckets for {purpose}; a purpose has one.")
    return found


def _bucket_statements(platform, uses):
    """Return the rights on the described buckets, each for its component's prefix alone."""
    statements = []
    for bucket in platform.get("buckets") or []:
        for use in uses:
            if use["purpose"] != bucket["purpose"]:
                continue
            arn = f"arn:{partition(platform['region'])}:s3:::{bucket['name']}"
            prefix = use["prefix"]
            statements += [
                {
                    "Effect": "Allow",
                    "Action": ["s3:ListBucket"],
                    "Resource": [arn],
                    "Condition": {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}},
                },
                {
                    "Effect": "Allow",
                    "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                    "Resource": [f"{arn}/{prefix}/*"],
                },
            ]
    return statements


def partition(region):
    """Return the AWS partition of a region (IAM User Guide, "Amazon Resource Names")."""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def policies(platform, components):
    """Return the least rights of each tier: dict of tier to its IAM policy document, None when it needs no right.

    A component's C(iam) is a list of dict actions, resources and perhaps conditions; C({platform}) and C({region}) in
    a resource or condition stand for the platform's name and region. One with an C(option) counts only where the
    platform's C(options) have it on.
    """
    options = platform.get("options") or {}

    def filled(value):
        if isinstance(value, dict):
            return {filled(key): filled(value[key]) for key in value}
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        return str(value).replace("{platform}", platform["name"]).replace("{region}", platform["region"])

    result = {}
    for tier in platform["tiers"]:
        statements = []
        for component in _tier_components(tier, components):
            statements += _bucket_statements(platform, (components.get(component) or {}).get("buckets") or [])
            for entry in (components.get(component) or {}).get("iam") or []:
                if "option" in entry and not options.get(entry["option"]):
                    continue
                statement = {
                    "Effect": "Allow",
                    "Action": sorted(entry["actions"]),
                    "Resource": filled(entry["resources"]),
                }
                if entry.get("conditions"):
                    statement["Condition"] = filled(entry["conditions"])
                statements.append(statement)
        result[tier["name"]] = {"Version": "2012-10-17", "Statement": statements} if statements else None
    return result
