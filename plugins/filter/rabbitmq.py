# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role rabbitmq decides from what the members say, and what it adds to the description of a vhost."""

from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.member_start import foreign_volume, no_first_start

#: A queue with messages that nobody can handle: they wait there for a person.
DEAD_LETTERS = "dead-letters"


def rabbitmq_start(views, name, members, domain, replace=""):
    """Decide how a member starts, so that an empty disk never becomes a cluster of its own beside the others' data.

    :arg views: dict of host to what the module C(rabbitmq_cluster_info) returned there; only hosts of this play.
    :arg name: the member.
    :arg members: names of all members that the platform describes.
    :arg domain: the platform's domain, part of the identity.
    :arg replace: a member that may give up its place and its data, and join anew.
    :returns: dict with C(state) (C(keep), C(new), C(join) or C(refused)), C(forget) (the cluster must forget the lost
        member first) and C(error), a sentence, empty when the member may start.
    """
    view = views[name]
    fault = _wrong_volume(view, name, domain)
    if fault:
        return _refuse(fault)
    cluster = next((other for other in views.values() if other["quorum"]), None)
    known = cluster["known"] if cluster else []
    if view["identity"] or (view["holds_data"] and name in known):
        return _start("keep")
    if view["holds_data"]:
        return _unfinished(views, name, members)
    if cluster and any(member not in views or member in known for member in members if member != name):
        if name in known and replace != name:
            return _refuse(
                f"RabbitMQ's cluster lists {name}, but its volume is empty; attach its volume,"
                f" or give it up by replace_node.yml (rabbitmq_replace={name})."
            )
        return _start("join", forget=name in known)
    full = sorted(host for host, other in views.items() if other["identity"])
    fault = no_first_start("No majority of RabbitMQ's members runs", full, members, views)
    return _refuse(fault) if fault else _start("new")


def _wrong_volume(view, name, domain):
    fault = foreign_volume("RabbitMQ", name, domain, view["identity"])
    if not fault and view["identity"] and not view["holds_data"]:
        return (
            f"The volume of {name} has its identity, but no data; attach the one that has it, or remove identity.json."
        )
    return fault


def _unfinished(views, name, members):
    """A first run that was cut off leaves data without an identity on some members."""
    if all(member in views and not views[member]["identity"] for member in members):
        return _start("new")
    return _refuse(
        f"The volume of {name} holds RabbitMQ data, but not the identity of a member; empty it, or attach another one."
    )


def _start(state, forget=False):
    return {"state": state, "forget": forget, "error": ""}


def _refuse(sentence):
    return {"state": "refused", "forget": False, "error": sentence}


def rabbitmq_vhosts(vhosts, delivery_limit):
    """Return vhosts with what each has by itself: a queue for dead letters, and policies that lead there.

    :arg vhosts: as the variable C(rabbitmq_vhosts) has them.
    :arg delivery_limit: how often a message is delivered before it is a dead letter, where the vhost does not say.
    """
    return [_with_dead_letters(vhost, delivery_limit) for vhost in vhosts]


def _with_dead_letters(vhost, delivery_limit):
    known = {key: value for key, value in vhost.items() if key not in ("delivery_limit", "dead_letters")}
    if not vhost.get("dead_letters", True):
        return known
    # at-least-once keeps a dead letter in its queue until the other one has confirmed it; it needs reject-publish.
    definition = {
        "delivery-limit": int(vhost.get("delivery_limit", delivery_limit)),
        "dead-letter-exchange": DEAD_LETTERS,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    }
    policies = [
        dict(policy, definition={**definition, **policy["definition"]}) if _is_of_quorum_queues(policy) else policy
        for policy in vhost.get("policies") or []
    ]
    own = [
        {"name": "platform", "pattern": ".*", "apply-to": "quorum_queues", "priority": 0, "definition": definition},
        # Without a limit: a letter that is looked at and put back must not be lost.
        {
            "name": DEAD_LETTERS,
            "pattern": f"^{DEAD_LETTERS}$",
            "apply-to": "quorum_queues",
            "priority": 1000,
            "definition": {"delivery-limit": -1},
        },
    ]
    return dict(
        known,
        exchanges=[{"name": DEAD_LETTERS, "type": "topic"}, *(vhost.get("exchanges") or [])],
        queues=[{"name": DEAD_LETTERS, "type": "quorum"}, *(vhost.get("queues") or [])],
        bindings=[
            {"source": DEAD_LETTERS, "destination": DEAD_LETTERS, "routing_key": "#"},
            *(vhost.get("bindings") or []),
        ],
        policies=[*own, *policies],
    )


def _is_of_quorum_queues(policy):
    return (policy.get("apply-to") or "all") in ("all", "queues", "quorum_queues")


class FilterModule:
    """Filters of role rabbitmq."""

    def filters(self):
        return {
            "rabbitmq_start": rabbitmq_start,
            "rabbitmq_vhosts": rabbitmq_vhosts,
            "rabbitmq_upgrade_fault": rabbitmq.upgrade_fault,
        }
