# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route 53's hosted zones: find one, compare it with what is wanted, wait for its changes."""

from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import AwsError, merge_tags, tag_changes, tag_list
from ansible_collections.selfhosted.ec2.plugins.module_utils.dns_values import LABEL, canonical_name

POLL_SECONDS = (1.0, 5.0)
#: Route 53 API Reference, ResourceDescription and ChangeTagsForResource.
MAX_COMMENT, MAX_TAGS = 256, 10


def kind(private):
    return "private" if private else "public"


def bare_id(identity):
    """Return an id without C(/hostedzone/) or C(/change/) before it."""
    return str(identity).rsplit("/", 1)[-1]


def find(route53, name, private):
    """Return the zone as the API shows it, with its bare Id, or None. Raises AwsError when there are several."""
    wanted = canonical_name(name)
    answer = route53.call("list_hosted_zones_by_name", DNSName=wanted)
    found = [
        {**zone, "Id": bare_id(zone["Id"])}
        for zone in answer["HostedZones"]
        if canonical_name(zone["Name"]) == wanted and bool(zone.get("Config", {}).get("PrivateZone")) == private
    ]
    if len(found) > 1:
        ids = ", ".join(zone["Id"] for zone in found)
        raise AwsError(f"There are {len(found)} {kind(private)} zones named {wanted}: {ids}; set zone_id.")
    return found[0] if found else None


def wait(route53, ids, timeout):
    """Return when all changes are INSYNC. Raises AwsError after I(timeout) seconds."""
    clock = route53.aws.clock
    started, pause = clock.now(), POLL_SECONDS[0]
    for identity in ids:
        while route53.call("get_change", Id=bare_id(identity))["ChangeInfo"]["Status"] != "INSYNC":
            if clock.now() - started + pause > timeout:
                raise AwsError(
                    f"The change {bare_id(identity)} is made, but is not on all name servers after {timeout} seconds."
                )
            clock.sleep(pause)
            pause = min(POLL_SECONDS[1], pause * 2)


def faults(params):
    """Return what is wrong with the wanted zone, one sentence each."""
    found, name = [], canonical_name(params["name"])
    if len(name) > 255 or not all(LABEL.match(label) and "*" not in label for label in name[:-1].split(".")):
        found.append(f"The zone {params['name']!r} has no valid name: labels have 1 to 63 letters, digits and dashes.")
    if len(params["comment"] or "") > MAX_COMMENT:
        found.append(
            f"The zone {name} has a comment of {len(params['comment'])} characters; {MAX_COMMENT} are allowed."
        )
    if len(params["tags"] or {}) > MAX_TAGS:
        found.append(f"The zone {name} has {len(params['tags'])} tags; {MAX_TAGS} are allowed.")
    if params["state"] == "absent":
        return found
    if params["vpcs"] and not params["private_zone"]:
        found.append(f"The zone {name} is public and has vpcs; set private_zone, or leave them out.")
    if params["private_zone"] and params["vpcs"] == []:
        found.append(f"The zone {name} is private and has no VPC; Route 53 needs one at least.")
    ids = [vpc["id"] for vpc in params["vpcs"] or []]
    for identity in sorted({entry for entry in ids if ids.count(entry) > 1}):
        found.append(f"The zone {name} has the VPC {identity} twice; name it once.")
    for identity in ids:
        if not identity.startswith("vpc-"):
            found.append(f"The zone {name} has the VPC {identity!r}; it must be an id such as vpc-0a1b2c3d.")
    return found


def plan(params, held, vpcs, tags, region):
    """Return what has to be done: a list of (words, method, arguments without the zone's id), in order.

    :arg held: the zone as the API shows it, None when it has to be made.
    :arg vpcs: its VPCs as the API shows them.
    :arg tags: its tags, a dict.
    :arg region: region of the VPCs that name none.
    """
    wanted = {vpc["id"]: vpc.get("region") or region for vpc in params["vpcs"] or []}
    present = {vpc["VPCId"]: vpc["VPCRegion"] for vpc in vpcs}
    steps = []
    if held is None:
        # The first VPC comes with the creation of a private zone.
        first = dict(list(wanted.items())[:1])
        steps.append(
            (f"create the {kind(params['private_zone'])} zone {canonical_name(params['name'])}", "create", first)
        )
        present = first
    elif params["comment"] is not None and params["comment"] != (held.get("Config", {}).get("Comment") or ""):
        steps.append(
            (f"set the comment {params['comment']!r}", "update_hosted_zone_comment", {"Comment": params["comment"]})
        )
    for identity in [entry for entry in wanted if entry not in present]:
        vpc = {"VPC": {"VPCId": identity, "VPCRegion": wanted[identity]}}
        steps.append((f"associate {identity}", "associate_vpc_with_hosted_zone", vpc))
    # Route 53 never lets the last one go, so the new ones come first.
    for identity in [entry for entry in present if entry not in wanted and params["vpcs"] and params["purge_vpcs"]]:
        vpc = {"VPC": {"VPCId": identity, "VPCRegion": present[identity]}}
        steps.append((f"disassociate {identity}", "disassociate_vpc_from_hosted_zone", vpc))
    return steps + tag_steps(params["tags"], params["purge_tags"], tags)


def tag_steps(wanted, purge, held):
    """Return the step that makes the tags I(held) the wanted ones, [] when they are, or when None are wanted."""
    add, gone = tag_changes(held, wanted, purge) if wanted is not None else ({}, [])
    if not add and not gone:
        return []
    arguments = {"AddTags": tag_list(add)} if add else {}
    if gone:
        arguments["RemoveTagKeys"] = gone
    words = [f"tag {key}={add[key]}" for key in sorted(add)] + [f"remove the tag {key}" for key in gone]
    return [(", ".join(words), "change_tags_for_resource", arguments)]


def description(params, held, vpcs, tags):
    """Return the zone as a diff shows it: (before, after), both dicts."""
    before, after = {}, {}
    if held is not None:
        comment = held.get("Config", {}).get("Comment") or ""
        before = {"comment": comment, "vpcs": sorted(vpc["VPCId"] for vpc in vpcs), "tags": tags}
    if params["state"] == "present":
        wanted = {vpc["id"] for vpc in params["vpcs"] or []}
        kept = [] if wanted and params["purge_vpcs"] else before.get("vpcs", [])
        after = {
            "comment": before.get("comment", "") if params["comment"] is None else params["comment"],
            "vpcs": sorted(wanted.union(kept)),
            "tags": tags if params["tags"] is None else merge_tags(tags, params["tags"], params["purge_tags"]),
        }
    return before, after
