# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route 53 health checks: checks of the description, canonical settings, and the plan. Pure.

A check belongs to an owner by its caller reference C(<owner>:<name>:<nonce>), which never changes and which every
listing shows, so that one call finds all of them.
"""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.dns_values import is_name

OWNER = re.compile(r"[A-Za-z0-9-]{1,21}\Z")
NAME = re.compile(r"[A-Za-z0-9._-]{1,32}\Z")
IDENTITY = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
#: API model, HealthCheckRegion: where checkers are; all of them is the same as none named.
REGIONS = (
    "ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "eu-west-1", "sa-east-1", "us-east-1", "us-west-1",
    "us-west-2",
)  # fmt: skip
WEB = ("HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH")
ENDPOINT = (*WEB, "TCP")
TYPES = (*ENDPOINT, "CALCULATED", "CLOUDWATCH_METRIC", "RECOVERY_CONTROL")

#: Option of a check, member of the API's HealthCheckConfig, types that have it.
OPTIONS = {
    "ip_address": ("IPAddress", ENDPOINT),
    "fqdn": ("FullyQualifiedDomainName", ENDPOINT),
    "port": ("Port", ENDPOINT),
    "path": ("ResourcePath", WEB),
    "search_string": ("SearchString", ("HTTP_STR_MATCH", "HTTPS_STR_MATCH")),
    "request_interval": ("RequestInterval", ENDPOINT),
    "failure_threshold": ("FailureThreshold", ENDPOINT),
    "measure_latency": ("MeasureLatency", ENDPOINT),
    "enable_sni": ("EnableSNI", ("HTTPS", "HTTPS_STR_MATCH")),
    "regions": ("Regions", ENDPOINT),
    "children": ("ChildHealthChecks", ("CALCULATED",)),
    "health_threshold": ("HealthThreshold", ("CALCULATED",)),
    "alarm": ("AlarmIdentifier", ("CLOUDWATCH_METRIC",)),
    "insufficient_data": ("InsufficientDataHealthStatus", ("CLOUDWATCH_METRIC",)),
    "routing_control_arn": ("RoutingControlArn", ("RECOVERY_CONTROL",)),
    "inverted": ("Inverted", TYPES),
    "disabled": ("Disabled", TYPES),
}
REQUIRED = {
    "HTTP_STR_MATCH": ["search_string"],
    "HTTPS_STR_MATCH": ["search_string"],
    "TCP": ["port"],
    "CALCULATED": ["children", "health_threshold"],
    "CLOUDWATCH_METRIC": ["alarm"],
    "RECOVERY_CONTROL": ["routing_control_arn"],
}
#: UpdateHealthCheck cannot change these, nor whether there is an address.
FIXED = ("Type", "RequestInterval", "MeasureLatency", "RoutingControlArn")
#: API model, ResettableElementName.
RESETTABLE = ("ChildHealthChecks", "FullyQualifiedDomainName", "Regions", "ResourcePath")
RANGES = {
    "port": (1, 65535),
    "failure_threshold": (1, 10),
    "health_threshold": (0, 256),
}
INSUFFICIENT = {"healthy": "Healthy", "unhealthy": "Unhealthy", "last_known": "LastKnownStatus"}
MAX_TAGS = 10


def given(check):
    """Return the options of a check that are set, without name and type."""
    return {name: check[name] for name in OPTIONS if check.get(name) is not None and check[name] != []}


# Checks of the description


def faults(checks, owner, tags=None):
    """Return what is wrong with the wanted health checks, one sentence each."""
    found = [] if OWNER.match(owner) else [f"The owner {owner!r} must be 1 to 21 letters, digits and dashes."]
    if len(tags or {}) >= MAX_TAGS:
        found.append(f"There are {len(tags)} tags; {MAX_TAGS - 1} are allowed besides Name.")
    names = [check["name"] for check in checks]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"The health check {name} is there twice; each name stands once.")
    for check in checks:
        found += [f"The health check {check['name']} {words}" for words in _check_faults(check, names)]
    return found + _circle(checks)


def _check_faults(check, names):
    if not NAME.match(check["name"]):
        return ["must have a name of 1 to 32 letters, digits, dots, dashes and underscores."]
    kind, options = check["type"], given(check)
    found = [
        f"has {name}, which a check of type {kind} has not."
        for name in options
        if kind not in OPTIONS[name][1] and options[name] is not False
    ]
    found += [f"needs {name}, as every check of type {kind}." for name in REQUIRED.get(kind, []) if name not in options]
    if kind in ENDPOINT and "ip_address" not in options and "fqdn" not in options:
        found.append("needs ip_address or fqdn.")
    for name, (least, most) in RANGES.items():
        if name in options and not least <= int(options[name]) <= most:
            found.append(f"has the {name} {options[name]}; it must be {least} to {most}.")
    return found + _value_faults(options, names)


def _value_faults(options, names):
    found = []
    if "ip_address" in options and not _is_public(options["ip_address"]):
        found.append(
            f"has the ip_address {options['ip_address']!r}; it must be a public address, since the checkers are outside"
            " of every VPC. Use an alarm (CLOUDWATCH_METRIC) for what is inside."
        )
    if "fqdn" in options and not is_name(options["fqdn"]):
        found.append(f"has the fqdn {options['fqdn']!r}; it must be a domain name.")
    if options.get("request_interval", 30) not in (10, 30):
        found.append(f"has the request_interval {options['request_interval']}; it must be 10 or 30 seconds.")
    for name in ("path", "search_string"):
        if len(options.get(name, "")) > 255:
            found.append(f"has a {name} of {len(options[name])} characters; 255 are allowed.")
    strange = sorted(set(options.get("regions", [])) - set(REGIONS))
    if strange or len(options.get("regions", REGIONS)) < 3:
        found.append(
            f"has the regions {', '.join(options['regions'])}; it must be three or more of {', '.join(REGIONS)}."
        )
    for child in options.get("children", []):
        if child not in names and not IDENTITY.match(child):
            found.append(f"has the child {child!r}; it must be a check of this list, or an id.")
    return found


def _is_public(text):
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _circle(checks):
    """Return a sentence when calculated checks are their own children."""
    children = {check["name"]: given(check).get("children", []) for check in checks}
    left = dict(children)
    while left:
        free = [name for name, below in left.items() if not any(child in left for child in below)]
        if not free:
            return [f"The health checks {', '.join(sorted(left))} are children of each other."]
        for name in free:
            del left[name]
    return []


# Canonical forms


def config(check, ids=None):
    """Return a check as the API's HealthCheckConfig, with every default spelled out.

    :arg ids: dict of name to id; children without an id yet keep their name.
    """
    kind, options = check["type"], given(check)
    result = {"Type": kind, "Inverted": False, "Disabled": False}
    if kind in ENDPOINT:
        result.update(RequestInterval=30, FailureThreshold=3, MeasureLatency=False)
    if kind in WEB:
        result["Port"] = 443 if kind.startswith("HTTPS") else 80
    if kind.startswith("HTTPS"):
        result["EnableSNI"] = True
    if kind == "CLOUDWATCH_METRIC":
        result["InsufficientDataHealthStatus"] = INSUFFICIENT["last_known"]
    for name, value in options.items():
        member, kinds = OPTIONS[name]
        if kind not in kinds:
            continue
        result[member] = _sent(name, value, ids or {})
    return result


def _sent(name, value, ids):
    """Return an option's value as the API wants it."""
    if name == "children":
        return sorted(ids.get(child, child) for child in value)
    if name == "alarm":
        return {"Region": value["region"], "Name": value["name"]}
    if name == "insufficient_data":
        return INSUFFICIENT[value]
    return sorted(value) if name == "regions" else value


def canonical(settings):
    """Return a HealthCheckConfig in the form in which two that do the same are equal."""
    result = {member: value for member, value in settings.items() if value not in (None, "", [], False)}
    kind = result["Type"]
    known = {member for member, kinds in OPTIONS.values() if kind in kinds} | {"Type"}
    result = {member: value for member, value in result.items() if member in known}
    for member in ("Regions", "ChildHealthChecks"):
        if member in result:
            result[member] = sorted(set(result[member]))
    if result.get("Regions") == list(REGIONS):
        del result["Regions"]
    if result.get("ResourcePath") == "/":
        del result["ResourcePath"]
    if "FullyQualifiedDomainName" in result:
        result["FullyQualifiedDomainName"] = result["FullyQualifiedDomainName"].rstrip(".").lower()
    if "IPAddress" in result:
        result["IPAddress"] = str(ipaddress.ip_address(result["IPAddress"]))
    return result


def name_of(check, owner):
    """Return the name of the API's health check, "" when it is not the owner's."""
    parts = check["CallerReference"].split(":")
    return parts[1] if len(parts) == 3 and parts[0] == owner and not check.get("LinkedService") else ""


def fixed(settings):
    """Return what of a canonical config an update cannot change."""
    return {**{member: settings.get(member) for member in FIXED}, "address": "IPAddress" in settings}


# Plan


def choose(checks, owner, held):
    """Return dict of name to the API's health check that is, or can be made, the wanted one."""
    result = {}
    ids = {}
    for check in in_order(checks):
        candidates = [entry for entry in held if name_of(entry, owner) == check["name"]]
        wanted = canonical(config(check, ids))
        usable = [e for e in candidates if fixed(canonical(e["HealthCheckConfig"])) == fixed(wanted)]
        usable.sort(key=lambda entry: (canonical(entry["HealthCheckConfig"]) != wanted, entry["CallerReference"]))
        if usable:
            result[check["name"]] = usable[0]
            ids[check["name"]] = usable[0]["Id"]
    return result


def in_order(checks):
    """Return the checks with children before the calculated checks that count them."""
    names = {check["name"]: check for check in checks}
    result, seen = [], set()

    def add(check):
        if check["name"] not in seen:
            seen.add(check["name"])
            for child in given(check).get("children", []):
                if child in names:
                    add(names[child])
            result.append(check)

    for check in checks:
        add(check)
    return result


def plan(checks, owner, held, prune):
    """Return the steps, dicts with action (create, update, delete), name, and what the action needs, in order.

    :arg checks: wanted, without faults.
    :arg held: all health checks of the account, as ListHealthChecks gives them.
    :arg prune: whether those of the owner that are not wanted are removed.
    """
    chosen = choose(checks, owner, held)
    ids = {name: entry["Id"] for name, entry in chosen.items()}
    steps = []
    for check in in_order(checks):
        name, wanted = check["name"], config(check, ids)
        if name not in chosen:
            steps.append({"action": "create", "name": name, "before": {}, "after": canonical(wanted)})
            continue
        before, after = canonical(chosen[name]["HealthCheckConfig"]), canonical(wanted)
        if before != after:
            steps.append({"action": "update", "name": name, "id": ids[name], "before": before, "after": after})
    if prune:
        kept = set(ids.values())
        gone = [entry for entry in held if name_of(entry, owner) and entry["Id"] not in kept]
        # A calculated check goes before its children.
        gone.sort(key=lambda entry: (entry["HealthCheckConfig"]["Type"] != "CALCULATED", entry["CallerReference"]))
        for entry in gone:
            before = canonical(entry["HealthCheckConfig"])
            step = {"action": "delete", "name": name_of(entry, owner), "id": entry["Id"], "before": before, "after": {}}
            steps.append(step)
    return steps


def update(wanted, held):
    """Return the arguments of UpdateHealthCheck that make the API's check I(held) what the config I(wanted) says."""
    before, after = canonical(held["HealthCheckConfig"]), canonical(wanted)
    arguments = {"HealthCheckId": held["Id"], "HealthCheckVersion": held["HealthCheckVersion"]}
    for member in sorted(set(before) | set(after)):
        if before.get(member) == after.get(member):
            continue
        if member in after:
            arguments[member] = wanted[member]
        elif member in RESETTABLE:
            arguments.setdefault("ResetElements", []).append(member)
        else:
            arguments[member] = wanted.get(member, False)
    return arguments


def words(step):
    """Return a step as one line."""
    if step["action"] != "update":
        return f"{step['action']} {step['name']}"
    changed = sorted(
        key for key in set(step["before"]) | set(step["after"]) if step["before"].get(key) != step["after"].get(key)
    )
    return f"update {step['name']}: {', '.join(changed)}"
