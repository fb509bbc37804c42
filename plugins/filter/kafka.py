# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kafka decides from its description, from what the members say and from what their disks say."""

from __future__ import annotations

import base64
import hashlib

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.member_start import foreign_volume, no_first_start

#: Node ids of one tier lie between two multiples of this.
TIER = 1000


def kafka_nodes(members, tiers, brokers, controllers, domain):
    """Return the nodes: member to C(id), C(host), C(broker), C(controller).

    The id is the slot's number, with 1000 more for each tier of the component before its own, so it stays when a tier
    grows.

    :arg members: slots of the component.
    :arg tiers: I(platform_tiers); those that have none of the members do not count.
    """
    order = []
    for tier in tiers or []:
        own = f"{tier['name']}-"
        if any(member.startswith(own) and member[len(own) :].isdigit() for member in members):
            order.append(tier["name"])
    nodes = {}
    for position, member in enumerate(members, 1):
        tier, _dash, number = member.rpartition("-")
        known = tier in order and number.isdigit()
        nodes[member] = {
            "id": order.index(tier) * TIER + int(number) if known else position,
            "host": f"{member}.{domain}",
            "broker": member in brokers,
            "controller": member in controllers,
        }
    return nodes


def kafka_id(seed, *words):
    """Return an id as Kafka writes it (16 bytes in base64), the same for the same seed and words."""
    if not seed:
        raise AnsibleFilterError("kafka_id needs a seed; run the provision playbook, which makes kafka/cluster_seed.")
    for number in range(100):
        digest = hashlib.sha256("\n".join([seed, *words, str(number)]).encode()).digest()[:16]
        text = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        # Kafka takes none that looks like an option of a command line.
        if not text.startswith("-"):
            return text
    raise AnsibleFilterError("kafka_id found no id.")


def kafka_start(views, name, nodes, domain, cluster_id, replace=""):
    """Decide how a node starts, so that an empty disk never stands in for one that the cluster counts on.

    :arg views: dict of host to what the module C(kafka_cluster_info) returned there; only hosts of this play.
    :arg name: the member.
    :arg nodes: what C(kafka_nodes) returns.
    :arg domain: the platform's domain, part of the identity.
    :arg cluster_id: the id that this platform's cluster has.
    :arg replace: the member whose disk is lost and may start anew.
    :returns: dict with C(state) (C(keep), C(new), C(join), C(replace) or C(refused)) and C(error), a sentence, empty
        when the member may start.
    """
    view, node = views[name], nodes[name]
    identity, disk = view["identity"], view["disk"]
    reason = _foreign(name, node, domain, cluster_id, identity, disk)
    if reason:
        return _refuse(reason)
    if disk and identity:
        return {"state": "keep", "error": ""}
    if disk:
        return _refuse(
            f"The volume of {name} holds Kafka data, but not the identity of a member; empty it, or attach another one."
        )
    if identity and not identity.get("new"):
        return _refuse(
            f"The volume of {name} has the identity of node {identity['node_id']}, but its data are gone;"
            f" replace the member by replace_node.yml, or attach the volume that has them."
        )
    return _empty(views, name, node, nodes, replace)


def _foreign(name, node, domain, cluster_id, identity, disk):
    fault = foreign_volume("Kafka", name, domain, identity)
    if fault:
        return fault
    for part in (identity, disk):
        if part and part["cluster_id"] != cluster_id:
            return (
                f"The volume of {name} belongs to the Kafka cluster {part['cluster_id']}, this platform's is"
                f" {cluster_id}; attach the volume of {name} instead."
            )
        if part and int(part["node_id"]) != node["id"]:
            return (
                f"The volume of {name} belongs to node {part['node_id']}, but the description gives it {node['id']};"
                " keep the order of the tiers in platform_tiers."
            )
    return ""


def _empty(views, name, node, nodes, replace):
    """Decide for a volume with nothing on it."""
    asked = [view for view in views.values() if view["metadata"] or view["quorum"]]
    known = {member for view in asked for member in [*view["voters"], *view["brokers"]]}
    if name == replace:
        if not any(view["quorum"] for view in views.values()):
            return _refuse(
                f"{name} is to be replaced, but the controllers of Kafka have no leader; bring them back first."
            )
        return {"state": "replace", "error": ""}
    if name in known:
        return _refuse(
            f"The volume of {name} is empty, but the Kafka cluster knows node {node['id']} with data;"
            f" attach its volume, or let it start anew by replace_node.yml -e node={name}."
        )
    if any(view["quorum"] for view in views.values()):
        return {"state": "join", "error": ""}
    full = sorted(host for host, view in views.items() if view["identity"])
    complete = sorted(host for host in full if views[host]["disk"] and not views[host]["identity"].get("new"))
    fault = no_first_start("No controller of Kafka answers", complete, nodes, views)
    return _refuse(fault) if fault else {"state": "new", "error": ""}


def _refuse(sentence):
    return {"state": "refused", "error": sentence}


class FilterModule:
    """Filters of role kafka."""

    def filters(self):
        return {"kafka_id": kafka_id, "kafka_nodes": kafka_nodes, "kafka_start": kafka_start}
