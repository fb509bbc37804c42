# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan of a platform's network: from what is wanted and what EC2 describes to the calls that make it true. Pure."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import tag_list, tag_specification, tags_of
from ansible_collections.selfhosted.ec2.plugins.module_utils.platform import ANYWHERE, overlaps
from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

VPC = "@vpc"
GATEWAY = "@internet_gateway"
LIVE_NAT = ("pending", "available")
#: Characters a rule's description may not hold (AuthorizeSecurityGroupIngress, IpRange).
FOREIGN = re.compile(r"[^a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]")


#: What begins a peer that is a prefix list, by its name.
PREFIX = "prefix:"


def prefix_lists(wanted):
    """Return the names of the prefix lists in the wanted rules."""
    rules = [rule for group in wanted["security_groups"] for rule in group["ingress"] + group["egress"]]
    return sorted({rule["peer"][len(PREFIX) :] for rule in rules if rule["peer"].startswith(PREFIX)})


class Network:
    """What EC2 describes: lists as the API gives them. C(vpcs) are all of the region, the others those of our VPC."""

    def __init__(self, **lists):
        self.vpcs = lists.get("vpcs") or []
        self.dns = lists.get("dns") or {}
        self.gateways = lists.get("gateways") or []
        self.subnets = lists.get("subnets") or []
        self.route_tables = lists.get("route_tables") or []
        self.nat_gateways = [nat for nat in lists.get("nat_gateways") or [] if nat["State"] in LIVE_NAT]
        self.addresses = lists.get("addresses") or []
        self.endpoints = [
            item
            for item in lists.get("endpoints") or []
            if item.get("State", "").lower() not in ("deleting", "deleted")
        ]
        self.groups = lists.get("groups") or []
        self.prefix_lists = lists.get("prefix_lists") or []


def with_tag(resources, platform):
    """Return those that carry the platform's tag; what else a call lets through is not touched."""
    return [resource for resource in resources if tags_of(resource).get("platform") == platform]


def name_of(resource):
    return tags_of(resource).get("Name", "")


def refusals(wanted, have):
    """Return why the network may not be built, one sentence each."""
    platform, cidr = wanted["platform"], wanted["cidr"]
    own = with_tag(have.vpcs, platform)
    if len(own) > 1:
        ids = " and ".join(sorted(vpc["VpcId"] for vpc in own))
        return [f"The VPCs {ids} both carry the tag platform={platform}; a platform's name must be its own."]
    found = []
    for vpc in own:
        environment = tags_of(vpc).get("environment")
        if environment != wanted["environment"]:
            found.append(
                f"A platform named {platform} exists already in the environment {environment} (VPC {vpc['VpcId']});"
                f" platform_name must be another one for {wanted['environment']}."
            )
        elif vpc["CidrBlock"] != cidr:
            found.append(
                f"A platform named {platform} exists already with the network {vpc['CidrBlock']} (VPC {vpc['VpcId']});"
                f" platform_network.cidr is {cidr}, and the network of a VPC cannot be changed."
            )
    others = {vpc["VpcId"]: vpc["CidrBlock"] for vpc in have.vpcs if vpc not in own}
    for vpc, other in sorted(overlaps(cidr, others).items()):
        found.append(f"platform_network.cidr {cidr} overlaps {other} of the VPC {vpc}; choose a network of its own.")
    known = [item["PrefixListName"] for item in have.prefix_lists]
    for name in prefix_lists(wanted):
        if name not in known:
            found.append(f"The region {wanted['region']} has no prefix list {name}, so nothing can be let in by it.")
    return found + _subnet_refusals(wanted, have) + _group_refusals(wanted, have)


def _subnet_refusals(wanted, have):
    known = {name_of(subnet): subnet for subnet in have.subnets}
    found = []
    for subnet in wanted["subnets"]:
        other = known.get(subnet["name"])
        if other and (other["CidrBlock"], other["AvailabilityZone"]) != (subnet["cidr"], subnet["zone"]):
            found.append(
                f"The subnet {subnet['name']} exists as {other['CidrBlock']} in {other['AvailabilityZone']}, but the"
                f" description wants {subnet['cidr']} in {subnet['zone']}; add zones at the end of platform_zones."
            )
    return found


def _group_refusals(wanted, have):
    names = {group["name"] for group in wanted["security_groups"]}
    return [
        f"The security group {group['GroupName']} ({group['GroupId']}) lacks the tag platform={wanted['platform']};"
        " rename or remove it."
        for group in have.groups
        if group["GroupName"] in names and tags_of(group).get("platform") != wanted["platform"]
    ]


def tags(wanted, name, **more):
    """Return the tags of one thing of the network."""
    return {"Name": name, "platform": wanted["platform"], "environment": wanted["environment"], **more}


def _retag(resource, key, want):
    drift = {name: value for name, value in want.items() if tags_of(resource).get(name) != value}
    if not drift:
        return []
    text = ", ".join(f"{name}={value}" for name, value in sorted(drift.items()))
    return [
        Step(f"tag {resource[key]} with {text}", "create_tags", {"Resources": [resource[key]], "Tags": tag_list(drift)})
    ]


def plan(wanted, have):
    """Return (steps, ids): the calls in order, and the references of what exists already.

    :arg wanted: dict as C(platform.network) returns it.
    :arg have: C(Network).
    """
    ids = {f"{PREFIX}{item['PrefixListName']}": item["PrefixListId"] for item in have.prefix_lists}
    steps = _vpc(wanted, have, ids)
    steps += _gateway(wanted, have, ids)
    steps += _subnets(wanted, have, ids)
    steps += _nat(wanted, have, ids)
    steps += _route_tables(wanted, have, ids)
    steps += _groups(wanted, have, ids)
    steps += _endpoints(wanted, have, ids)
    return steps + _old_nat(wanted, have), ids


def _vpc(wanted, have, ids):
    name = wanted["platform"]
    own = with_tag(have.vpcs, name)
    steps = []
    if own:
        ids[VPC] = own[0]["VpcId"]
        steps = _retag(own[0], "VpcId", tags(wanted, name))
    else:
        arguments = {"CidrBlock": wanted["cidr"], "TagSpecifications": tag_specification("vpc", tags(wanted, name))}
        steps = [Step(f"create the VPC {name} {wanted['cidr']}", "create_vpc", arguments, VPC, ("Vpc", "VpcId"))]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        if not have.dns.get(attribute):
            arguments = {"VpcId": VPC, attribute: {"Value": True}}
            steps.append(Step(f"switch {attribute} of the VPC on", "modify_vpc_attribute", arguments))
    return steps


def _gateway(wanted, have, ids):
    steps, attached = [], False
    if have.gateways:
        gateway = have.gateways[0]
        ids[GATEWAY] = gateway["InternetGatewayId"]
        attached = bool(gateway.get("Attachments"))
    else:
        arguments = {"TagSpecifications": tag_specification("internet-gateway", tags(wanted, wanted["platform"]))}
        path = ("InternetGateway", "InternetGatewayId")
        steps.append(Step("create the internet gateway", "create_internet_gateway", arguments, GATEWAY, path))
    if not attached:
        arguments = {"InternetGatewayId": GATEWAY, "VpcId": VPC}
        steps.append(Step("attach the internet gateway", "attach_internet_gateway", arguments))
    return steps


def _private_tags(wanted, private):
    """Return what further tags the private subnets and their route tables carry."""
    return (wanted.get("private_tags") or {}) if private else {}


def _subnets(wanted, have, ids):
    known = {name_of(subnet): subnet for subnet in have.subnets}
    steps = []
    for subnet in wanted["subnets"]:
        name, more = subnet["name"], _private_tags(wanted, subnet["kind"] == "private")
        if name in known:
            ids[f"@subnet/{name}"] = known[name]["SubnetId"]
            steps += _retag(known[name], "SubnetId", tags(wanted, name, **more))
            continue
        arguments = {
            "VpcId": VPC,
            "CidrBlock": subnet["cidr"],
            "AvailabilityZone": subnet["zone"],
            "TagSpecifications": tag_specification("subnet", tags(wanted, name, **more)),
        }
        text = f"create the subnet {name} {subnet['cidr']}"
        steps.append(Step(text, "create_subnet", arguments, f"@subnet/{name}", ("Subnet", "SubnetId")))
    return steps


def nat_names(wanted):
    """Return the NAT gateways wanted: dict of name to its public subnet."""
    public = [subnet for subnet in wanted["subnets"] if subnet["kind"] == "public"]
    if wanted["nat"] == "none":
        return {}
    if wanted["nat"] == "single":
        return {f"{wanted['platform']}-nat": public[0]["name"]}
    return {f"{wanted['platform']}-nat-{subnet['zone']}": subnet["name"] for subnet in public}


def _nat(wanted, have, ids):
    known = {name_of(nat): nat for nat in have.nat_gateways}
    addresses = {name_of(address): address for address in have.addresses}
    steps, made = [], []
    for name, subnet in nat_names(wanted).items():
        if name in known:
            ids[f"@nat/{name}"] = known[name]["NatGatewayId"]
            if known[name]["State"] == "pending":
                made.append(f"@nat/{name}")
            continue
        if name in addresses:
            ids[f"@address/{name}"] = addresses[name]["AllocationId"]
        else:
            arguments = {"Domain": "vpc", "TagSpecifications": tag_specification("elastic-ip", tags(wanted, name))}
            text = f"allocate an address for the NAT gateway {name}"
            steps.append(Step(text, "allocate_address", arguments, f"@address/{name}", ("AllocationId",)))
        arguments = {
            "SubnetId": f"@subnet/{subnet}",
            "AllocationId": f"@address/{name}",
            "TagSpecifications": tag_specification("natgateway", tags(wanted, name)),
        }
        path = ("NatGateway", "NatGatewayId")
        steps.append(Step(f"create the NAT gateway {name}", "create_nat_gateway", arguments, f"@nat/{name}", path))
        made.append(f"@nat/{name}")
    if made:
        steps.append(Step("wait until the NAT gateway is available", "wait_nat_available", {"ids": made}))
    return steps


def _old_nat(wanted, have):
    names = nat_names(wanted)
    old = [nat for nat in have.nat_gateways if name_of(nat) not in names]
    return _delete_nat(old, [address for address in have.addresses if name_of(address) in {name_of(n) for n in old}])


def _delete_nat(gateways, addresses):
    steps = [
        Step(f"delete the NAT gateway {name_of(nat)}", "delete_nat_gateway", {"NatGatewayId": nat["NatGatewayId"]})
        for nat in gateways
    ]
    if gateways:
        ids = [nat["NatGatewayId"] for nat in gateways]
        steps.append(Step("wait until the NAT gateway is deleted", "wait_nat_deleted", {"ids": ids}))
    for address in addresses:
        if address.get("AssociationId"):
            # Deleting the gateway ends its association, a little later perhaps.
            arguments = {"AssociationId": address["AssociationId"]}
            text = f"take the address {address['PublicIp']} from the NAT gateway"
            steps.append(Step(text, "disassociate_address", arguments, tolerate=("InvalidAssociationID.NotFound",)))
        arguments = {"AllocationId": address["AllocationId"]}
        steps.append(Step(f"release the address {address['PublicIp']}", "release_address", arguments))
    return steps


def route_tables(wanted):
    """Return the route tables wanted: dict of name to (subnets, parameter and target of the default route, or None)."""
    platform = wanted["platform"]
    of_kind = {
        kind: [subnet for subnet in wanted["subnets"] if subnet["kind"] == kind] for kind in ("public", "private")
    }
    tables = {f"{platform}-public": ([s["name"] for s in of_kind["public"]], ("GatewayId", GATEWAY))}
    if wanted["nat"] == "per_zone":
        for subnet in of_kind["private"]:
            nat = f"@nat/{platform}-nat-{subnet['zone']}"
            tables[f"{platform}-private-{subnet['zone']}"] = ([subnet["name"]], ("NatGatewayId", nat))
    else:
        nat = ("NatGatewayId", f"@nat/{platform}-nat") if wanted["nat"] == "single" else None
        tables[f"{platform}-private"] = ([s["name"] for s in of_kind["private"]], nat)
    return tables


def _route_tables(wanted, have, ids):
    known = {name_of(table): table for table in have.route_tables}
    associations = {
        entry["SubnetId"]: (entry["RouteTableAssociationId"], table["RouteTableId"])
        for table in have.route_tables
        for entry in table.get("Associations") or []
        if entry.get("SubnetId")
    }
    steps = []
    for name, (subnets, default) in route_tables(wanted).items():
        reference = f"@route_table/{name}"
        want = tags(wanted, name, **_private_tags(wanted, name.startswith(f"{wanted['platform']}-private")))
        if name in known:
            ids[reference] = known[name]["RouteTableId"]
            steps += _retag(known[name], "RouteTableId", want)
        else:
            arguments = {"VpcId": VPC, "TagSpecifications": tag_specification("route-table", want)}
            path = ("RouteTable", "RouteTableId")
            steps.append(Step(f"create the route table {name}", "create_route_table", arguments, reference, path))
        steps += _default_route(name, known.get(name), default, ids)
        for subnet in subnets:
            steps += _associate(name, subnet, associations, ids)
    return steps


def _default_route(name, table, target, ids):
    have = next(
        (route for route in (table or {}).get("Routes") or [] if route.get("DestinationCidrBlock") == ANYWHERE), None
    )
    arguments = {"RouteTableId": f"@route_table/{name}", "DestinationCidrBlock": ANYWHERE}
    if target is None:
        return [Step(f"remove the default route of {name}", "delete_route", arguments)] if have else []
    parameter, reference = target
    if have and have.get(parameter) == ids.get(reference, "") and have.get("State") != "blackhole":
        return []
    arguments[parameter] = reference
    operation = "replace_route" if have else "create_route"
    return [Step(f"lead the default route of {name} to {reference[1:].split('/')[-1]}", operation, arguments)]


def _associate(table, subnet, associations, ids):
    association, current = associations.get(ids.get(f"@subnet/{subnet}"), (None, None))
    text = f"use the route table {table} in the subnet {subnet}"
    if association is None:
        arguments = {"RouteTableId": f"@route_table/{table}", "SubnetId": f"@subnet/{subnet}"}
        return [Step(text, "associate_route_table", arguments)]
    if current == ids.get(f"@route_table/{table}"):
        return []
    arguments = {"RouteTableId": f"@route_table/{table}", "AssociationId": association}
    return [Step(text, "replace_route_table_association", arguments)]


# Security groups


def rules_of(permissions):
    """Return the rules of a group: dict of (protocol, from, to, peer) to description.

    The peer is a CIDR, a group's id or a prefix list's.
    """
    found = {}
    members = (
        ("IpRanges", "CidrIp"),
        ("Ipv6Ranges", "CidrIpv6"),
        ("UserIdGroupPairs", "GroupId"),
        ("PrefixListIds", "PrefixListId"),
    )
    for entry in permissions or []:
        key = (entry["IpProtocol"], entry.get("FromPort", -1), entry.get("ToPort", -1))
        for member, identity in members:
            for item in entry.get(member) or []:
                found[(*key, item[identity])] = item.get("Description")
    return found


def permission(rule, description=None):
    """Return the API's IpPermission of one rule."""
    protocol, first, last, peer = rule
    entry = {"IpProtocol": protocol}
    if protocol != "-1":
        entry.update(FromPort=first, ToPort=last)
    text = {"Description": FOREIGN.sub(" ", description)[:255]} if description else {}
    if peer.startswith(("sg-", "@group/")):
        entry["UserIdGroupPairs"] = [{"GroupId": peer, **text}]
    elif peer.startswith("pl-"):
        entry["PrefixListIds"] = [{"PrefixListId": peer, **text}]
    elif ":" in peer:
        entry["Ipv6Ranges"] = [{"CidrIpv6": peer, **text}]
    else:
        entry["IpRanges"] = [{"CidrIp": peer, **text}]
    return entry


def _groups(wanted, have, ids):
    known = {group["GroupName"]: group for group in have.groups}
    steps = []
    for group in wanted["security_groups"]:
        name, reference = group["name"], f"@group/{group['name']}"
        want = tags(wanted, name, **({"tier": group["tier"]} if group["tier"] else {}))
        if name in known:
            ids[reference] = known[name]["GroupId"]
            steps += _retag(known[name], "GroupId", want)
            continue
        arguments = {
            "VpcId": VPC,
            "GroupName": name,
            "Description": FOREIGN.sub(" ", group["description"]),
            "TagSpecifications": tag_specification("security-group", want),
        }
        steps.append(
            Step(f"create the security group {name}", "create_security_group", arguments, reference, ("GroupId",))
        )
    for group in wanted["security_groups"]:
        steps += _rules(group, known.get(group["name"]), ids)
    return steps


def _rules(group, known, ids):
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}]
    current = {
        "ingress": rules_of((known or {}).get("IpPermissions")),
        # A new group lets everything out.
        "egress": rules_of(known["IpPermissionsEgress"] if known else everything),
    }
    steps = []
    for direction in ("ingress", "egress"):
        want = {}
        for rule in group[direction]:
            peer = f"@group/{rule['peer'][len('group:') :]}" if rule["peer"].startswith("group:") else rule["peer"]
            key = (rule["protocol"], rule["from_port"], rule["to_port"], ids.get(peer, peer))
            want[key] = rule.get("description")
        steps += _rule_steps(group["name"], direction, current[direction], want)
    return steps


def _rule_steps(name, direction, current, want):
    steps = []
    for verb, operation, rules, descriptions in (
        ("allow", "authorize", sorted(set(want) - set(current)), want),
        # The description needs no naming, but does no harm, and moto wants it.
        ("end", "revoke", sorted(set(current) - set(want)), current),
    ):
        if rules:
            arguments = {
                "GroupId": f"@group/{name}",
                "IpPermissions": [permission(rule, descriptions.get(rule)) for rule in rules],
            }
            text = f"{verb} {direction} of {name}: {', '.join(rule_text(rule) for rule in rules)}"
            steps.append(Step(text, f"{operation}_security_group_{direction}", arguments))
    return steps


def rule_text(rule):
    """Return a rule in words, such as C(tcp 2379 @group/trading-database)."""
    protocol, first, last, peer = rule
    if protocol == "-1":
        return f"everything {peer}"
    ports = f"{first}" if first == last else f"{first}-{last}"
    return f"{protocol} {ports} {peer.replace('@group/', '').replace(PREFIX, '')}"


# Endpoints


def endpoint_service(region, service):
    return f"com.amazonaws.{region}.{service}"


def service_of(endpoint):
    """Return what follows the region in the name of an endpoint's service, such as C(ecr.api)."""
    return endpoint["ServiceName"].split(".", 3)[-1]


def _endpoints(wanted, have, ids):
    known = {item["ServiceName"]: item for item in have.endpoints}
    names = {endpoint_service(wanted["region"], item["service"]) for item in wanted["endpoints"]}
    private = [f"@subnet/{subnet['name']}" for subnet in wanted["subnets"] if subnet["kind"] == "private"]
    steps = []
    for endpoint in wanted["endpoints"]:
        service = endpoint["service"]
        name = endpoint_service(wanted["region"], service)
        if name in known:
            continue
        arguments = {
            "VpcId": VPC,
            "ServiceName": name,
            "VpcEndpointType": endpoint["type"],
            "TagSpecifications": tag_specification("vpc-endpoint", tags(wanted, f"{wanted['platform']}-{service}")),
        }
        if endpoint["type"] == "Gateway":
            arguments["RouteTableIds"] = [f"@route_table/{wanted['platform']}-private"]
        else:
            arguments.update(
                SubnetIds=private,
                SecurityGroupIds=[f"@group/{wanted['platform']}-endpoints"],
                PrivateDnsEnabled=True,
            )
        steps.append(Step(f"create the endpoint for {service}", "create_vpc_endpoint", arguments))
    old = [item for name, item in known.items() if name not in names and _is_ours(item, wanted["platform"])]
    return steps + _delete_endpoints(old)


def _delete_endpoints(items):
    if not items:
        return []
    ids = [item["VpcEndpointId"] for item in items]
    services = ", ".join(sorted(service_of(item) for item in items))
    return [
        Step(f"delete the endpoints for {services}", "delete_vpc_endpoints", {"VpcEndpointIds": ids}),
        Step("wait until the endpoints are gone", "wait_endpoints_deleted", {"ids": ids}),
    ]


# Removal


def _is_ours(resource, platform):
    return tags_of(resource).get("platform") == platform


def removal(platform, have):
    """Return the steps that remove what carries the platform's tag, in an order that AWS accepts."""

    def ours(resources):
        return [resource for resource in resources if _is_ours(resource, platform)]

    steps = _delete_endpoints(ours(have.endpoints))
    nat_names_left = {name_of(nat) for nat in ours(have.nat_gateways)}
    spare = [
        address
        for address in ours(have.addresses)
        if name_of(address) in nat_names_left or name_of(address).startswith(f"{platform}-nat")
    ]
    steps += _delete_nat(ours(have.nat_gateways), spare)
    steps += _delete_groups(ours(have.groups))
    tables = [t for t in ours(have.route_tables) if not any(e.get("Main") for e in t.get("Associations") or [])]
    for table in tables:
        for entry in table.get("Associations") or []:
            arguments = {"AssociationId": entry["RouteTableAssociationId"]}
            text = f"end the use of the route table {name_of(table)}"
            steps.append(Step(text, "disassociate_route_table", arguments))
    for subnet in ours(have.subnets):
        steps.append(Step(f"delete the subnet {name_of(subnet)}", "delete_subnet", {"SubnetId": subnet["SubnetId"]}))
    for table in tables:
        arguments = {"RouteTableId": table["RouteTableId"]}
        steps.append(Step(f"delete the route table {name_of(table)}", "delete_route_table", arguments))
    return steps + _delete_gateways(ours(have.gateways)) + _delete_vpcs(with_tag(have.vpcs, platform))


def _delete_groups(groups):
    steps = []
    # Groups name each other, so the rules go first.
    for group in groups:
        for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            rules = rules_of(group.get(key))
            if rules:
                permissions = [permission(rule, rules[rule]) for rule in sorted(rules)]
                arguments = {"GroupId": group["GroupId"], "IpPermissions": permissions}
                text = f"end every {direction} rule of {group['GroupName']}"
                steps.append(Step(text, f"revoke_security_group_{direction}", arguments))
    for group in groups:
        text = f"delete the security group {group['GroupName']}"
        steps.append(Step(text, "delete_security_group", {"GroupId": group["GroupId"]}))
    return steps


def _delete_gateways(gateways):
    steps = []
    for gateway in gateways:
        identity = {"InternetGatewayId": gateway["InternetGatewayId"]}
        for attachment in gateway.get("Attachments") or []:
            arguments = {**identity, "VpcId": attachment["VpcId"]}
            steps.append(Step("detach the internet gateway", "detach_internet_gateway", arguments))
        steps.append(Step("delete the internet gateway", "delete_internet_gateway", identity))
    return steps


def _delete_vpcs(vpcs):
    return [Step(f"delete the VPC {vpc['VpcId']}", "delete_vpc", {"VpcId": vpc["VpcId"]}) for vpc in vpcs]
