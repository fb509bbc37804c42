# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a RabbitMQ cluster holds, as sets: what is described, what there is, and the requests between them.

Both sides have the same form: a dict of kind to dict of key (a tuple) to properties. C(found) makes it from one answer
of C(GET /api/definitions), C(desired) from the description.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq

#: In the order in which they are made; removed in the opposite one.
KINDS = (
    "users",
    "vhosts",
    "user_limits",
    "vhost_limits",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "operator_policies",
    "policies",
    "exchanges",
    "queues",
    "bindings",
)
#: What is described of these is the whole set: others are removed.
WHOLE = ("users", "permissions", "topic_permissions", "policies", "operator_policies", "vhost_limits", "user_limits")
#: The server's own.
KEPT_GLOBAL = ("cluster_name", "internal_cluster_id", "cluster_tags", "mqtt_port_to_vhost_mapping")
KEPT_COMPONENTS = ("operator_policy", "vhost-limits", "policy")
HASHING = "rabbit_password_hashing_sha256"


@dataclass
class Step:
    """One request.

    :ivar text: what it does, without secrets.
    :ivar before: properties that there were, None when it makes something.
    :ivar after: properties that are wanted, None when it removes something.
    """

    text: str
    method: str
    path: tuple
    body: dict | None = None
    query: str = ""
    before: dict | None = field(default=None)
    after: dict | None = field(default=None)


def found(definitions):
    """Return what there is."""
    sets = {kind: {} for kind in KINDS}
    for user in definitions.get("users", []):
        _found_user(sets, user)
    for vhost in definitions.get("vhosts", []):
        sets["vhosts"][(vhost["name"],)] = _vhost(dict(vhost, **(vhost.get("metadata") or {})))
    for item in definitions.get("permissions", []):
        sets["permissions"][(item["vhost"], item["user"])] = {key: item[key] for key in ("configure", "write", "read")}
    for item in definitions.get("topic_permissions", []):
        key = (item["vhost"], item["user"], item["exchange"])
        sets["topic_permissions"][key] = {key: item[key] for key in ("write", "read")}
    for item in definitions.get("parameters", []):
        _found_parameter(sets, item)
    others = [item for item in definitions.get("global_parameters", []) if item["name"] not in KEPT_GLOBAL]
    sets["global_parameters"] = {(item["name"],): {"value": item["value"]} for item in others}
    for kind, read in (("policies", _policy), ("exchanges", _exchange), ("queues", _queue)):
        for item in definitions.get(kind, []):
            sets[kind][(item["vhost"], item["name"])] = read(item)
    sets["bindings"] = {_binding_key(item["vhost"], item): {} for item in definitions.get("bindings", [])}
    return sets


def _found_user(sets, user):
    tags = user.get("tags") or []
    sets["users"][(user["name"],)] = {
        "tags": sorted(tags.split(",") if isinstance(tags, str) else tags),
        "password_hash": user.get("password_hash", ""),
        "hashing_algorithm": user.get("hashing_algorithm", ""),
    }
    for name, value in dict(user.get("limits") or {}).items():
        sets["user_limits"][(user["name"], name)] = {"value": value}


def _found_parameter(sets, item):
    vhost, name = item.get("vhost", ""), item["name"]
    if item["component"] == "operator_policy":
        # Exported with the definition inside of the value.
        sets["operator_policies"][(vhost, name)] = _policy(dict(item["value"]))
    elif item["component"] == "vhost-limits":
        for limit, value in dict(item["value"]).items():
            sets["vhost_limits"][(vhost, limit)] = {"value": value}
    elif item["component"] not in KEPT_COMPONENTS:
        sets["parameters"][(item["component"], vhost, name)] = {"value": item["value"]}


def _vhost(item):
    tags = item.get("tags") or []
    kind = item.get("default_queue_type") or "classic"
    return {
        "description": item.get("description") or "",
        "tags": sorted(tags.split(",") if isinstance(tags, str) else tags),
        "default_queue_type": "classic" if kind == "undefined" else kind,
    }


def _policy(item):
    return {
        "pattern": item["pattern"],
        "apply-to": item.get("apply-to") or item.get("apply_to") or "all",
        "priority": int(item.get("priority") or 0),
        "definition": dict(item["definition"]),
    }


def _exchange(item):
    return {
        "type": item.get("type") or "direct",
        "durable": bool(item.get("durable", True)),
        "auto_delete": bool(item.get("auto_delete", False)),
        "internal": bool(item.get("internal", False)),
        "arguments": dict(item.get("arguments") or {}),
    }


def _queue(item):
    arguments = dict(item.get("arguments") or {})
    arguments.setdefault("x-queue-type", item.get("type") or "classic")
    return {
        "durable": bool(item.get("durable", True)),
        "auto_delete": bool(item.get("auto_delete", False)),
        "arguments": arguments,
    }


def _binding_key(vhost, item):
    arguments = tuple(sorted(dict(item.get("arguments") or {}).items()))
    kind = item.get("destination_type") or "queue"
    return (vhost, item["source"], kind, item["destination"], item.get("routing_key") or "", arguments)


def desired(description):
    """Return what is described.

    :arg description: dict with C(users), C(vhosts), C(parameters), C(global_parameters) as the module
        C(rabbitmq_objects) has them, and C(admin), the user that has all rights everywhere.
    """
    sets = {kind: {} for kind in KINDS}
    for user in description["users"]:
        sets["users"][(user["name"],)] = {"tags": sorted(user.get("tags") or []), "password": user["password"]}
        for name, value in (user.get("limits") or {}).items():
            sets["user_limits"][(user["name"], name)] = {"value": int(value)}
        for item in user.get("permissions") or []:
            sets["permissions"][(item["vhost"], user["name"])] = {
                key: item.get(key) or "^$" for key in ("configure", "write", "read")
            }
        for item in user.get("topic_permissions") or []:
            key = (item["vhost"], user["name"], item["exchange"])
            sets["topic_permissions"][key] = {key: item.get(key) or "^$" for key in ("write", "read")}
    for vhost in description["vhosts"]:
        _desired_vhost(sets, vhost)
        sets["permissions"][(vhost["name"], description["admin"])] = {"configure": ".*", "write": ".*", "read": ".*"}
    for item in description["parameters"]:
        sets["parameters"][(item["component"], item["vhost"], item["name"])] = {"value": item["value"]}
    for name, value in description["global_parameters"].items():
        sets["global_parameters"][(name,)] = {"value": value}
    return sets


def _desired_vhost(sets, vhost):
    name = vhost["name"]
    sets["vhosts"][(name,)] = _vhost({"default_queue_type": "quorum", **vhost})
    for limit, value in (vhost.get("limits") or {}).items():
        sets["vhost_limits"][(name, limit)] = {"value": int(value)}
    for key, found_in in (("policies", "policies"), ("operator_policies", "operator_policies")):
        for item in vhost.get(found_in) or []:
            sets[key][(name, item["name"])] = _policy(item)
    for item in vhost.get("exchanges") or []:
        sets["exchanges"][(name, item["name"])] = _exchange(item)
    for item in vhost.get("queues") or []:
        kind = item.get("type") or sets["vhosts"][(name,)]["default_queue_type"]
        sets["queues"][(name, item["name"])] = _queue(dict(item, type=kind))
    for item in vhost.get("bindings") or []:
        sets["bindings"][_binding_key(name, item)] = {}


def plan(wanted, known, absent=(), keep_users=()):
    """Return the requests that make what there is into what is wanted, in order: C(Step)s.

    Users, rights, policies and limits are whole sets. Vhosts, exchanges and queues hold messages: one that is not
    described stays until it is named in I(absent). Bindings are a whole set between two described ends.

    :arg absent: list of tuples (kind, key) to remove.
    :arg keep_users: users that are never removed.
    :raises ValueError: something cannot be changed in place; the text is a sentence.
    """
    steps = []
    gone = {tuple(item) for item in absent}
    for kind in KINDS:
        for key, properties in wanted[kind].items():
            steps += _make(kind, key, properties, known[kind].get(key))
    for kind in KINDS[::-1]:
        for key, properties in known[kind].items():
            if key not in wanted[kind] and _is_to_go(kind, key, wanted, gone, keep_users):
                steps.append(_remove(kind, key, properties))
    # What goes with its vhost or user needs no request of its own.
    vhosts = {step.path[1] for step in steps if step.method == "DELETE" and step.path[0] == "vhosts"}
    users = {step.path[1] for step in steps if step.method == "DELETE" and step.path[0] == "users"}
    return [step for step in steps if not _goes_along(step, vhosts, users)]


def _is_to_go(kind, key, wanted, gone, keep_users):
    if kind == "users" and key[0] in keep_users:
        return False
    if kind in WHOLE:
        return True
    if kind == "bindings":
        vhost, source, destination_type, destination = key[:4]
        ends = "exchanges" if destination_type == "exchange" else "queues"
        return (vhost, source) in wanted["exchanges"] and (vhost, destination) in wanted[ends]
    return (kind, key) in gone


def _goes_along(step, vhosts, users):
    if step.method != "DELETE":
        return False
    if step.path[0] == "permissions" or step.path[0] == "topic-permissions":
        return step.path[1] in vhosts or step.path[2] in users
    if step.path[0] == "user-limits":
        return step.path[1] in users
    return step.path[0] != "vhosts" and len(step.path) > 2 and step.path[1] in vhosts


def _make(kind, key, wanted, known):
    """Return the step that makes one object, or none when it is as wanted."""
    if kind == "users":
        return _make_user(key, wanted, known)
    if known == wanted:
        return []
    if kind in ("exchanges", "queues") and known is not None:
        _refuse_change(kind, key, wanted, known)
    path, body = _request(kind, key, wanted)
    method = "POST" if kind == "bindings" else "PUT"
    return [Step(f"{'change' if known else 'make'} {describe(kind, key)}", method, path, body, "", known, wanted)]


def _make_user(key, wanted, known):
    same = known is not None and known["tags"] == wanted["tags"]
    hashed = known is not None and known["hashing_algorithm"] == HASHING
    right = hashed and rabbitmq.same_password(wanted["password"], known["password_hash"])
    if same and right:
        return []
    # A new salt only with a new password: else the hash would change with each change of the tags.
    password = known["password_hash"] if right else rabbitmq.password_hash(wanted["password"], os.urandom(4))
    body = {"password_hash": password, "hashing_algorithm": HASHING, "tags": ",".join(wanted["tags"])}
    before = {"tags": known["tags"], "password": "(not shown)"} if known else None
    after = {"tags": wanted["tags"], "password": "(not shown)" if right else "(another one)"}
    text = f"{'change' if known else 'make'} {describe('users', key)}"
    return [Step(text, "PUT", ("users", *key), body, "", before, after)]


def _refuse_change(kind, key, wanted, known):
    vhost, name = key
    what = "Exchange" if kind == "exchanges" else "Queue"
    for item in sorted(wanted):
        if wanted[item] != known[item]:
            raise ValueError(
                f"{what} {name} of vhost {vhost} has {item} {known[item]}, described is {wanted[item]};"
                " that cannot change in place: describe it as it is, or under another name."
            )


def _request(kind, key, properties):
    """Return path and body of the request that sets one object."""
    if kind == "vhosts":
        return ("vhosts", *key), dict(properties, tags=",".join(properties["tags"]))
    if kind in ("user_limits", "vhost_limits"):
        return (kind.replace("_", "-"), *key), {"value": properties["value"]}
    if kind == "topic_permissions":
        return ("topic-permissions", *key[:2]), dict(properties, exchange=key[2])
    if kind == "parameters":
        body = {"component": key[0], "vhost": key[1], "name": key[2], "value": properties["value"]}
        return ("parameters", *key), body
    if kind == "global_parameters":
        return ("global-parameters", *key), {"name": key[0], "value": properties["value"]}
    if kind == "operator_policies":
        return ("operator-policies", *key), properties
    if kind == "bindings":
        vhost, source, destination_type, destination, routing_key, arguments = key
        path = ("bindings", vhost, "e", source, "e" if destination_type == "exchange" else "q", destination)
        return path, {"routing_key": routing_key, "arguments": dict(arguments)}
    return (kind, *key), properties


def _remove(kind, key, known):
    if kind == "bindings":
        path, _body = _request(kind, key, {})
        # The last part of the path is the server's: it is looked up when the step is done.
        before = {"routing_key": key[4], "arguments": dict(key[5])}
        return Step(f"remove {describe(kind, key)}", "DELETE", path, None, "", before, None)
    path = _request(kind, key, {"tags": [], "value": None})[0]
    if kind == "topic_permissions":
        path = (*path, key[2])
    # A queue with messages or consumers is not removed by a description.
    query = "?if-empty=true&if-unused=true" if kind == "queues" else ""
    shown = {name: value for name, value in known.items() if name not in ("password_hash", "hashing_algorithm")}
    return Step(f"remove {describe(kind, key)}", "DELETE", path, None, query, shown, None)


def describe(kind, key):
    """Return the name of an object as a text for an operator.

    >>> describe("queues", ("trading", "failed-orders"))
    'queue failed-orders of trading'
    """
    if kind == "bindings":
        return f"binding {key[1]} -> {key[3]} ({key[4] or 'no key'}) of {key[0]}"
    if kind in ("permissions", "topic_permissions"):
        return f"{kind.replace('_', ' ')[:-1]} of {key[1]} on {' '.join((key[0], *key[2:]))}"
    if kind in ("user_limits", "vhost_limits"):
        return f"limit {key[1]} of {kind.split('_', maxsplit=1)[0]} {key[0]}"
    if kind == "parameters":
        return f"parameter {key[2]} of {key[0]} of {key[1]}"
    names = {"operator_policies": "operator policy", "policies": "policy", "global_parameters": "global parameter"}
    name = names.get(kind, kind[:-1])
    return f"{name} {key[0]}" if len(key) == 1 else f"{name} {key[1]} of {key[0]}"


def growth(queues, running, size):
    """Return the replicas to add so that each quorum queue has I(size) members: list of (queue, member).

    :arg queues: list of dict as the management API gives them.
    :arg running: names of the running nodes.
    """
    added = []
    load = {node: sum(node in (queue.get("members") or []) for queue in queues) for node in running}
    for queue in queues:
        members = list(queue.get("members") or [])
        # One with a strange member is left: somebody works on it.
        free = sorted((node for node in running if node not in members), key=lambda node: (load[node], node))
        for node in free[: max(0, size - len(members))]:
            added.append((queue, node))
            load[node] += 1
    return added
