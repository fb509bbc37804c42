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
  - Compares meaning - the order of values, letter case, final dots, escapes, C(dualstack.) of an alias, and the
    quoting and splitting of TXT values make no difference.
  - Removes only records that O(prune) names or whose name carries O(marker); never NS and SOA of the zone itself,
    nor what a traffic policy made.
  - Refuses bad records before anything is written. What belongs together (a name, its marker, the aliases that point at
    it) is one request, deletes first, so a CNAME can give way to an address without a moment in between.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
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
    description: Records that shall be there. All that have one name and type share one routing policy, or have none.
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
        choices: [A, AAAA, CAA, CNAME, DS, HTTPS, MX, NAPTR, NS, PTR, SOA, SPF, SRV, SSHFP, SVCB, TLSA, TXT]
        default: A
      ttl:
        description: Seconds that resolvers may keep it; an alias has that of its target.
        type: int
        default: 300
      values:
        description: Its values. A TXT value without quotation marks is quoted, escaped and split.
        type: list
        elements: str
      alias:
        description: Points at an AWS resource or at another record of the zone instead of having values.
        type: dict
        suboptions:
          name:
            description: Name that is pointed at.
            type: str
            required: true
          zone_id:
            description: Zone of that name, such as the one of a load balancer; default is the record's own zone.
            type: str
          evaluate_target_health:
            description: Whether the record counts as healthy only while its target does.
            type: bool
            default: false
      set_identifier:
        description: Name of this set among those of the same name and type; each routing policy needs it.
        type: str
      weight:
        description: Weighted - its share among the sets of that name and type, 0 to 255.
        type: int
      latency_region:
        description: Latency - region in which what it points at lies.
        type: str
      failover:
        description: Failover - a primary needs a health check, or the health of an alias's target.
        type: str
        choices: [primary, secondary]
      geolocation:
        description: Geolocation - where the questions come from.
        type: dict
        suboptions:
          continent:
            description: Code of a continent.
            type: str
            choices: [AF, AN, AS, EU, NA, OC, SA]
          country:
            description: Code of a country, or V(*) for everywhere else.
            type: str
          subdivision:
            description: Code of a state of the country.
            type: str
      geoproximity:
        description: Geoproximity - where the resource lies.
        type: dict
        suboptions:
          aws_region:
            description: AWS region.
            type: str
          local_zone_group:
            description: Local zone group.
            type: str
          coordinates:
            description: Place on earth.
            type: dict
            suboptions:
              latitude:
                description: Degrees north, with at most two decimals.
                type: str
                required: true
              longitude:
                description: Degrees east, with at most two decimals.
                type: str
                required: true
          bias:
            description: Makes the region that it serves larger or smaller, -99 to 99.
            type: int
            default: 0
      multivalue:
        description: Multivalue answer - up to eight healthy sets are answered at once.
        type: bool
        default: false
      cidr:
        description: CIDR routing - which location of a CIDR collection the questions come from.
        type: dict
        suboptions:
          collection_id:
            description: Id of the collection.
            type: str
            required: true
          location:
            description: Name of the location, or V(*) for everywhere else.
            type: str
            required: true
      health_check_id:
        description: The set is answered only while this health check is healthy.
        type: str
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
    description:
      - Text that says whose the records are, such as V(owner=trading). Each name of O(records) gets a TXT record
        C(_owner.NAME) that says so; names that carry it and are no longer in O(records) are removed.
      - A name that carries another text is refused, and never removed.
    type: str
    default: ""
  wait:
    description: Whether to wait until all name servers of Route 53 answer with the changes.
    type: bool
    default: false
  wait_timeout:
    description: Seconds to wait for that.
    type: int
    default: 300
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

- name: The public zone, whose records carry a marker
  selfhosted.ec2.route53_records:
    zone: trading.example
    marker: owner=trading
    records:
      - {name: trading.example, type: MX, values: [10 mail.trading.example]}
      - {name: trading.example, type: TXT, values: ["v=spf1 mx -all"]}
      - name: api.trading.example
        alias: {name: front-123.eu-west-1.elb.amazonaws.com, zone_id: Z32O12XQLNTSW2, evaluate_target_health: true}
      - {name: docs.trading.example, values: [54.214.0.7], set_identifier: new, weight: 10, ttl: 60}
      - {name: docs.trading.example, values: [54.214.0.8], set_identifier: old, weight: 90, ttl: 60}
    wait: true
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
change_ids:
  description: Ids of the change batches that were sent.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, dns_plan, dns_zone

#: Seconds after which a request of several groups that is still throttled is halved: Route 53 counts the changes of a
#: second as well as the requests ("Throttling for Amazon Route 53 API requests").
SPLIT_AFTER = 20
PAGE = 300


def read(route53, zone, params, count):
    """Return the record sets of the zone that matter: all, or those of the few names that are wanted.

    :arg count: how many record sets the zone has, None when that is not known.
    """
    names = {dns_plan.canonical_name(record["name"]) for record in params["records"]}
    pages = -(-count // PAGE) if count else 1
    if not names or params["prune"] or params["marker"] or len(names) >= max(pages, 2):
        return route53.pages("list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone)
    found = []
    for name in sorted(names):
        parameters = {"StartRecordName": name}
        while parameters:
            answer = route53.call("list_resource_record_sets", HostedZoneId=zone, **parameters)
            same = [s for s in answer["ResourceRecordSets"] if dns_plan.canonical_name(s["Name"]) == name]
            found += same
            parameters = aws.next_page(answer) if len(same) == len(answer["ResourceRecordSets"]) else {}
    return found


def send(route53, zone, batch):
    """Send a batch and return the ids of its changes; one that stays throttled goes in halves. Raises AwsError."""
    deadline = route53.aws.deadline
    try:
        if len(batch) > 1:
            route53.aws.deadline = min(deadline, SPLIT_AFTER)
        changes = {"Changes": dns_plan.entries(batch)}
        answer = route53.call("change_resource_record_sets", HostedZoneId=zone, ChangeBatch=changes)
        return [answer["ChangeInfo"]["Id"]]
    except aws.AwsError as error:
        if not aws.is_throttle("route53", error.code) or len(batch) == 1:
            raise
    finally:
        route53.aws.deadline = deadline
    half = len(batch) // 2
    return send(route53, zone, batch[:half]) + send(route53, zone, batch[half:])


def manage(params, route53, check_mode):
    """Compare, send the changes unless in check mode, and return the module's result. Raises AwsError."""
    found = dns_plan.faults(params["records"], params["zone"])
    if found:
        raise aws.AwsError(" ".join(found))
    zone, count = params["zone_id"], None
    if not zone:
        held = dns_zone.find(route53, params["zone"], params["private_zone"])
        if not held and not check_mode:
            kind = dns_zone.kind(params["private_zone"])
            raise aws.AwsError(f"There is no {kind} zone named {params['zone']}; create it first.")
        zone, count = (held["Id"], held.get("ResourceRecordSetCount")) if held else ("", None)
    sets = read(route53, zone, params, count) if zone else []
    owner = (params["prune"], params["marker"])
    changes, conflicts = dns_plan.plan(params["records"], sets, params["zone"], *owner, zone)
    if conflicts:
        raise aws.AwsError(" ".join(conflicts))
    ids = []
    if not check_mode:
        for batch in dns_plan.batches(changes):
            ids += send(route53, zone, batch)
        if params["wait"]:
            dns_zone.wait(route53, ids, params["wait_timeout"])
    return {
        "changed": bool(changes),
        "zone_id": zone,
        "changes": [f"{change['action']} {dns_plan.text(change['record_set'])}" for change in changes],
        "change_ids": [identity.rsplit("/", 1)[-1] for identity in ids],
        "diff": dns_plan.difference(changes),
    }


def record_spec():
    text, whole = {"type": "str"}, {"type": "int"}

    def needed(*names):
        return {name: {"type": "str", "required": True} for name in names}

    def part(**options):
        return {"type": "dict", "options": options}

    return {
        **needed("name"),
        "type": {"type": "str", "choices": list(dns_plan.TYPES), "default": "A"},
        "ttl": {"type": "int", "default": dns_plan.DEFAULT_TTL},
        "values": {"type": "list", "elements": "str"},
        "alias": part(**needed("name"), zone_id=text, evaluate_target_health={"type": "bool", "default": False}),
        "set_identifier": text,
        "weight": whole,
        "latency_region": text,
        "failover": {"type": "str", "choices": ["primary", "secondary"]},
        "geolocation": part(
            continent={"type": "str", "choices": list(dns_plan.CONTINENTS)}, country=text, subdivision=text
        ),
        "geoproximity": part(
            aws_region=text,
            local_zone_group=text,
            coordinates=part(**needed("latitude", "longitude")),
            bias={"type": "int", "default": 0},
        ),
        "multivalue": {"type": "bool", "default": False},
        "cidr": part(**needed("collection_id", "location")),
        "health_check_id": text,
    }


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    return {
        **aws.argument_spec(),
        "zone": {"type": "str", "required": True},
        "zone_id": {"type": "str"},
        "private_zone": {"type": "bool", "default": False},
        "records": {"type": "list", "elements": "dict", "default": [], "options": record_spec()},
        "prune": {"type": "dict", "options": dict.fromkeys(("names", "prefixes", "patterns", "keep"), texts)},
        "marker": {"type": "str", "default": ""},
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 300},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection.client("route53"), module.check_mode))


if __name__ == "__main__":
    main()
