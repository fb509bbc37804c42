#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route53_health_checks
short_description: The Route 53 health checks of an owner as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all health checks once, compares those of the owner with the description, and changes what differs.
  - A check is the owner's when its caller reference begins with O(owner); checks of others are never touched.
  - Each check has its name in the tag C(Name), besides O(tags).
  - What Route 53 cannot change (type, interval, latency measuring, whether there is an address) makes a new check. The
    old one stays until a run with O(prune), so that records can be pointed at the new one in between.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows the settings that differ, per check.
    support: full
options:
  owner:
    description: Whose checks these are, 1 to 21 letters, digits and dashes, such as the platform's name.
    type: str
    required: true
  health_checks:
    description: Checks that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the check, also its tag C(Name); 1 to 32 letters, digits, dots, dashes and underscores.
        type: str
        required: true
      type:
        description: What is checked.
        type: str
        choices: [HTTP, HTTPS, HTTP_STR_MATCH, HTTPS_STR_MATCH, TCP, CALCULATED, CLOUDWATCH_METRIC, RECOVERY_CONTROL]
        default: HTTPS
      ip_address:
        description: Public address that is asked.
        type: str
      fqdn:
        description: Name that is asked, or with O(health_checks[].ip_address) the Host header.
        type: str
      port:
        description: Port; default is 80 or 443 by the type.
        type: int
      path:
        description: Path that is asked for.
        type: str
      search_string:
        description: Text that the answer must hold.
        type: str
      request_interval:
        description: Seconds between two requests of a checker, 10 or 30; default is 30.
        type: int
      failure_threshold:
        description: How many requests must fail, or succeed, for the state to change; default is 3.
        type: int
      measure_latency:
        description: Whether latency graphs are made.
        type: bool
      enable_sni:
        description: Whether TLS names the host; default is yes.
        type: bool
      regions:
        description: Where the checkers are, three regions at least; default is everywhere.
        type: list
        elements: str
      children:
        description: Checks that a calculated check counts, names of this list or ids.
        type: list
        elements: str
      health_threshold:
        description: How many children must be healthy.
        type: int
      alarm:
        description: CloudWatch alarm that a check of type V(CLOUDWATCH_METRIC) follows.
        type: dict
        suboptions:
          name:
            description: Name of the alarm.
            type: str
            required: true
          region:
            description: Its region.
            type: str
            required: true
      insufficient_data:
        description: State while the alarm has no data; default is V(last_known).
        type: str
        choices: [healthy, unhealthy, last_known]
      routing_control_arn:
        description: Routing control that a check of type V(RECOVERY_CONTROL) follows.
        type: str
      inverted:
        description: Whether healthy means unhealthy.
        type: bool
      disabled:
        description: Whether nothing is checked; the check then counts as healthy.
        type: bool
  prune:
    description: Whether checks of the owner that O(health_checks) does not hold are removed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Both edges, and that one of them is left
  selfhosted.ec2.route53_health_checks:
    owner: trading
    health_checks:
      - {name: edge-1, ip_address: 54.214.0.7, fqdn: www.trading.example, path: /health}
      - {name: edge-2, ip_address: 54.214.0.8, fqdn: www.trading.example, path: /health}
      - {name: edge, type: CALCULATED, children: [edge-1, edge-2], health_threshold: 1}
    tags: {platform: trading}
  register: checks
"""

RETURN = r"""
ids:
  description: Id of each check by its name; in check mode a new check has the id V(new).
  returned: always
  type: dict
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, dns_zone
from ansible_collections.selfhosted.ec2.plugins.module_utils import health_check_plan as plans

#: ListTagsForResources takes ten at once.
TAG_PAGE = 10
NEW = "new"


def read(route53):
    """Return all health checks of the account."""
    found, answer = [], route53.call("list_health_checks")
    found += answer["HealthChecks"]
    while answer.get("IsTruncated"):
        answer = route53.call("list_health_checks", Marker=answer["NextMarker"])
        found += answer["HealthChecks"]
    return found


def read_tags(route53, ids):
    """Return dict of id to its tags, a dict."""
    result = {}
    for start in range(0, len(ids), TAG_PAGE):
        some = ids[start : start + TAG_PAGE]
        answer = route53.call("list_tags_for_resources", ResourceType="healthcheck", ResourceIds=some)
        result.update({entry["ResourceId"]: aws.tags_of(entry) for entry in answer["ResourceTagSets"]})
    return result


def carry_out(route53, params, steps, held, ids):
    """Do what the plan says; adds the new checks to I(ids)."""
    wanted = {check["name"]: check for check in params["health_checks"]}
    by_id = {entry["Id"]: entry for entry in held}
    for step in steps:
        name = step["name"]
        if step["action"] == "create":
            reference = f"{params['owner']}:{name}:{uuid.uuid4().hex[:8]}"
            settings = plans.config(wanted[name], ids)
            answer = route53.call("create_health_check", CallerReference=reference, HealthCheckConfig=settings)
            ids[name] = answer["HealthCheck"]["Id"]
        elif step["action"] == "update":
            settings = plans.config(wanted[name], ids)
            route53.call("update_health_check", **plans.update(settings, by_id[step["id"]]))
        else:
            route53.call("delete_health_check", HealthCheckId=step["id"])


def tag_changes(params, ids, tags):
    """Return list of (name, id, words, arguments) for the checks whose tags differ."""
    result = []
    for name, identity in ids.items():
        wanted = {"Name": name, **params["tags"]}
        for words, _method, arguments in dns_zone.tag_steps(wanted, params["purge_tags"], tags.get(identity, {})):
            result.append((name, identity, words, arguments))
    return result


def manage(params, route53, check_mode):
    """Compare, do what differs unless in check mode, and return the module's result. Raises AwsError."""
    found = plans.faults(params["health_checks"], params["owner"], params["tags"])
    if found:
        raise aws.AwsError(" ".join(found))
    held = read(route53)
    steps = plans.plan(params["health_checks"], params["owner"], held, params["prune"])
    chosen = plans.choose(params["health_checks"], params["owner"], held)
    ids = {name: entry["Id"] for name, entry in chosen.items()}
    tags = read_tags(route53, sorted(ids.values()))
    if check_mode:
        ids.update({step["name"]: NEW for step in steps if step["action"] == "create"})
    else:
        carry_out(route53, params, steps, held, ids)
    tagged = tag_changes(params, ids, tags)
    for _name, identity, _words, arguments in [] if check_mode else tagged:
        route53.call("change_tags_for_resource", ResourceType="healthcheck", ResourceId=identity, **arguments)
    changes = [plans.words(step) for step in steps]
    changes += [f"{words} on {name}" for name, _identity, words, _arguments in tagged]
    return {"changed": bool(changes), "ids": ids, "changes": changes, "diff": difference(steps, tagged)}


def difference(steps, tagged):
    """Return the settings that differ, before and after, by check."""
    before, after = {}, {}
    for step in steps:
        keys = [k for k in {**step["before"], **step["after"]} if step["before"].get(k) != step["after"].get(k)]
        for side, settings in ((before, step["before"]), (after, step["after"])):
            part = {key: settings[key] for key in sorted(keys) if key in settings}
            if part:
                side.setdefault(step["name"], {}).update(part)
    for name, _identity, words, _arguments in tagged:
        after.setdefault(name, {})["tags"] = words
    return {"before": before, "after": after}


def check_spec():
    texts = {"type": "list", "elements": "str"}
    options = {name: {"type": "str"} for name in plans.OPTIONS}
    for name in ("port", "request_interval", "failure_threshold", "health_threshold"):
        options[name] = {"type": "int"}
    for name in ("measure_latency", "enable_sni", "inverted", "disabled"):
        options[name] = {"type": "bool"}
    alarm = {name: {"type": "str", "required": True} for name in ("name", "region")}
    return {
        **options,
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "choices": list(plans.TYPES), "default": "HTTPS"},
        "regions": texts,
        "children": texts,
        "alarm": {"type": "dict", "options": alarm},
        "insufficient_data": {"type": "str", "choices": list(plans.INSUFFICIENT)},
    }


def argument_spec():
    return {
        **aws.argument_spec(),
        "owner": {"type": "str", "required": True},
        "health_checks": {"type": "list", "elements": "dict", "default": [], "options": check_spec()},
        "prune": {"type": "bool", "default": False},
        **aws.tag_options(),
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection.client("route53"), module.check_mode))


if __name__ == "__main__":
    main()
