#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route53_records
short_description: The records of a Route 53 zone as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the zone once, compares, and sends what differs in as few requests as Route 53 allows.
  - Compares meaning - the order of values, letter case, final dots and the quoting of TXT values make no difference.
  - Removes only records that O(prune) names or that carry the marker; never NS, SOA, aliases and routed records.
extends_documentation_fragment:
  - selfhosted.ec2.aws
attributes:
  check_mode:
    description: Reads, and returns the plan that a run would carry out.
    support: full
  diff_mode:
    description: Shows the records that differ, one line each.
    support: full
options:
  zone:
    description: Name of the zone.
    type: str
    required: true
  zone_id:
    description: Id of the zone; spares one call, and is needed when several zones have the name.
    type: str
  private_zone:
    description: Whether the private zone of that name is meant.
    type: bool
    default: false
  records:
    description: Records that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name.
        type: str
        required: true
      type:
        description: Type of the record.
        type: str
        choices: [A, AAAA, CNAME, TXT, SRV]
        default: A
      ttl:
        description: Seconds that resolvers may keep it.
        type: int
        default: 300
      values:
        description: Its values.
        type: list
        elements: str
        required: true
  prune:
    description: Which records that are not in O(records) are removed. None without this option.
    type: dict
    suboptions:
      names:
        description: Exact names.
        type: list
        elements: str
      prefixes:
        description: Beginnings of names.
        type: list
        elements: str
      patterns:
        description: Regular expressions for whole names in lower case, without the final dot.
        type: list
        elements: str
      keep:
        description: Exact names that stay in any case.
        type: list
        elements: str
  marker:
    description: Names whose TXT record has this value may be removed as well.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Records of the database
  selfhosted.ec2.route53_records:
    zone: trading.internal
    private_zone: true
    records:
      - {name: database-1.trading.internal, values: [10.20.0.10], ttl: 30}
      - {name: postgresql.trading.internal, values: [10.20.128.4, 10.20.144.4], ttl: 30}
    prune:
      prefixes: [database-]
"""

RETURN = r"""
zone_id:
  description: Id of the zone; empty in check mode when it does not exist yet.
  returned: always
  type: str
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, dns_plan


def find_zone(route53, name, private, check_mode):
    """Return the id of the zone, "" when it is not there in check mode."""
    wanted = dns_plan.canonical_name(name)
    answer = route53.call("list_hosted_zones_by_name", DNSName=wanted)
    found = [
        zone["Id"].rsplit("/", 1)[-1]
        for zone in answer["HostedZones"]
        if dns_plan.canonical_name(zone["Name"]) == wanted and bool(zone["Config"].get("PrivateZone")) == private
    ]
    kind = "private" if private else "public"
    if len(found) > 1:
        raise aws.AwsError(f"There are {len(found)} {kind} zones named {wanted}: {', '.join(found)}; set zone_id.")
    if not found and not check_mode:
        raise aws.AwsError(f"There is no {kind} zone named {wanted}; create it first.")
    return found[0] if found else ""


def manage(params, route53, check_mode):
    """Compare, send the changes unless in check mode, and return the module's result. Raises AwsError."""
    found = dns_plan.faults(params["records"], params["zone"])
    if found:
        raise aws.AwsError(" ".join(found))
    zone = params["zone_id"] or find_zone(route53, params["zone"], params["private_zone"], check_mode)
    sets = route53.pages("list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone) if zone else []
    changes = dns_plan.plan(params["records"], sets, params["prune"], params["marker"])
    if not check_mode:
        for batch in dns_plan.batches(changes):
            entries = [{"Action": change["action"], "ResourceRecordSet": change["record_set"]} for change in batch]
            route53.call("change_resource_record_sets", HostedZoneId=zone, ChangeBatch={"Changes": entries})
    return {
        "changed": bool(changes),
        "zone_id": zone,
        "changes": [f"{change['action']} {dns_plan.text(change['record_set'])}" for change in changes],
        "diff": difference(changes, sets),
    }


def difference(changes, sets):
    """Return the records that the changes touch, before and after."""
    keys = {(dns_plan.canonical_name(c["record_set"]["Name"]), c["record_set"]["Type"]) for c in changes}
    before = sorted(dns_plan.text(entry) for entry in sets if dns_plan.canonical_set(entry)[0] in keys)
    after = sorted(dns_plan.text(change["record_set"]) for change in changes if change["action"] == "UPSERT")
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    record = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "choices": list(dns_plan.TYPES), "default": "A"},
        "ttl": {"type": "int", "default": 300},
        "values": {**texts, "required": True},
    }
    return {
        **aws.argument_spec(),
        "zone": {"type": "str", "required": True},
        "zone_id": {"type": "str"},
        "private_zone": {"type": "bool", "default": False},
        "records": {"type": "list", "elements": "dict", "default": [], "options": record},
        "prune": {"type": "dict", "options": dict.fromkeys(("names", "prefixes", "patterns", "keep"), texts)},
        "marker": {"type": "str", "default": ""},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.require_boto(module)
    connection = aws.Aws(module.params)
    try:
        outcome = manage(module.params, connection.client("route53"), module.check_mode)
    except aws.AwsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
