# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ready sets of alarms: templates as data, made into alarms for the hosts and volumes of a platform. Pure."""

from __future__ import annotations

import itertools
import re

#: Two of so many hosts makes a rule of at most 21 pairs; the rule of a composite alarm has at most 10,240 characters.
MAX_DEGRADED = 7
BURSTABLE = re.compile(r"t\d")
EACH = ("host", "volume", "tier", "backup", "platform")
CONDITIONS = ("burstable", "volume_types", "public", "component")


class SetError(ValueError):
    """A template that makes no sense; the text is one sentence."""


def ready(templates, tiers, hosts, common):
    """Return alarms for the module cloudwatch_alarms, in the order of the templates.

    :arg templates: dicts: C(each) (host, volume, tier, backup, platform), C(when) (burstable, volume_types, public,
        component) and C(alarm), whose texts may hold {slot}, {instance_id}, {tier}, {volume}, {volume_id}, {mount},
        {backup} and the keys of I(common). An alarm of a tier has C(two_of) instead of a rule: the names of two of its
        hosts' alarms that must be in alarm at once.
    :arg tiers: platform_tiers.
    :arg hosts: slot to dict C(instance_id) and C(volumes) (name to volume id), of the slots that have an instance.
    :arg common: values for all, such as prefix and region, and backups, a list of names.
    """
    result = []
    for template in templates:
        unknown = set(template.get("when") or {}) - set(CONDITIONS)
        if template["each"] not in EACH or unknown:
            raise SetError(
                f"An alarm's template has each {template['each']!r} and when {sorted(unknown)}; see alarm_sets."
            )
        result += [_filled(template["alarm"], values) for values in _occasions(template, tiers, hosts, common)]
    return [alarm for alarm in result if alarm]


def _occasions(template, tiers, hosts, common):
    when, each = template.get("when") or {}, template["each"]
    if each == "platform":
        components = {component for tier in tiers for component in tier["components"]}
        return [common] if when.get("component") in (components | {None}) else []
    if each == "backup":
        return [{**common, "backup": name} for name in common.get("backups") or []]
    result = []
    for tier in tiers:
        if not _fits(tier, when):
            continue
        slots = [slot for slot in (f"{tier['name']}-{n}" for n in range(1, tier["count"] + 1)) if slot in hosts]
        values = {**common, "tier": tier["name"]}
        if each == "tier":
            result += [{**values, "slots": slots}] if 2 <= len(slots) <= MAX_DEGRADED else []
            continue
        for slot in slots:
            host = {**values, "slot": slot, "instance_id": hosts[slot]["instance_id"]}
            result += [host] if each == "host" else _volumes(tier, hosts[slot], host, when)
    return result


def _fits(tier, when):
    if when.get("burstable") and not BURSTABLE.match(tier["instance_type"]):
        return False
    if when.get("public") and not tier.get("public_address"):
        return False
    return when.get("component") in ([None, *tier["components"]])


def _volumes(tier, host, values, when):
    kinds = when.get("volume_types")
    return [
        {**values, "volume": volume["name"], "mount": volume["mount"], "volume_id": host["volumes"][volume["name"]]}
        for volume in tier.get("volumes") or []
        if volume["name"] in host["volumes"] and (not kinds or volume.get("type", "gp3") in kinds)
    ]


def _filled(content, values):
    """Return a template with its placeholders filled in; C(two_of) becomes the rule."""
    if isinstance(content, dict):
        result = {key: _filled(value, values) for key, value in content.items() if key != "two_of"}
        if "two_of" in content:
            names = [_filled(content["two_of"], {**values, "slot": slot}) for slot in values["slots"]]
            pairs = (f'(ALARM("{one}") AND ALARM("{other}"))' for one, other in itertools.combinations(names, 2))
            result["rule"] = " OR ".join(pairs)
        return result
    if isinstance(content, list):
        return [_filled(value, values) for value in content]
    if not isinstance(content, str):
        return content
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match.group(1), match.group(0))), content)


def audit_filters(watch, namespace):
    """Return the metric filters of a log group with the events of a trail: one for each thing that is watched."""
    return [
        {
            "name": entry["name"],
            "pattern": " ".join(entry["pattern"].split()),
            "metric": entry["name"],
            "namespace": namespace,
        }
        for entry in watch
    ]


def audit_alarms(watch, namespace, prefix):
    """Return an alarm for each thing that is watched: it goes off with the first such event in five minutes."""
    return [
        {
            "name": f"{prefix}{entry['name']}",
            "description": entry["description"],
            "namespace": namespace,
            "metric": entry["name"],
            "statistic": "Sum",
            "period": 300,
            "evaluation_periods": 1,
            "comparison": "GreaterThanOrEqualToThreshold",
            "threshold": 1,
            "missing_data": "notBreaching",
        }
        for entry in watch
    ]
