# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RabbitMQ over its management API with TLS: a small client, and what the members' answers mean together."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import urllib.parse

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client

PORT = 15671


class ApiError(Exception):
    """One request failed; the text says which address and why."""


class Refused(ApiError):
    """The server answered with an error.

    :ivar status: HTTP status.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


class Client:
    """The management API of one member, over TLS with the name verified.

    :arg host: name that the certificate must hold.
    :arg context: C(ssl.SSLContext), see C(cluster_client.tls_context).
    :arg user: user with the tag C(administrator).
    :arg timeout: seconds for the connection and for one answer.
    """

    def __init__(self, host, context, user, password, port=PORT, timeout=5):
        self.address = f"{host}:{port}"
        self._link = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
            "Content-Type": "application/json",
        }

    def call(self, method, *path, body=None, query=""):
        """Return the answer to one request: parsed JSON, None for an empty one.

        :arg path: segments below C(/api); each is quoted here.
        :raises Refused: the server answered with an error.
        :raises ApiError: it does not answer.
        """
        url = "/api/" + "/".join(urllib.parse.quote(segment, safe="") for segment in path) + query
        try:
            self._link.request(method, url, None if body is None else json.dumps(body), self._headers)
            answer = self._link.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise ApiError(f"{self.address} does not answer: {error or type(error).__name__}") from error
        if answer.status >= 400:
            raise Refused(
                f"{self.address} answered {method} {url} with {answer.status}: {_reason(text)}", answer.status
            )
        return json.loads(text) if text.strip() else None

    def close(self):
        """Close the connection."""
        self._link.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()


def _reason(text):
    try:
        answer = json.loads(text)
        return str(answer.get("reason") or answer.get("error") or text)
    except (ValueError, AttributeError):
        return text[:200] or "no text"


def argument_spec():
    """Return the options of the doc fragments C(cluster_client.login) and C(rabbitmq)."""
    return {
        **cluster_client.login_options(),
        "members": {"type": "dict", "required": True},
        "port": {"type": "int", "default": PORT},
        "timeout": {"type": "int", "default": 5},
    }


def node_name(host):
    """Return the Erlang name of the node on a host."""
    return f"rabbit@{host}"


class Cluster:
    """All members' management APIs.

    :arg params: values of the options of C(argument_spec).
    """

    def __init__(self, params):
        self._params = params
        self.members = params["members"]
        # Before the first certificate nobody can be asked.
        self._context = cluster_client.tls_context(params["ca_file"]) if os.path.exists(params["ca_file"]) else None

    def client(self, name):
        """Return a C(Client) of a member.

        :raises ApiError: this host has no certificates yet.
        """
        if not self._context:
            raise ApiError(f"{self._params['ca_file']} is not on this host")
        user, password, port, timeout = (self._params[key] for key in ("user", "password", "port", "timeout"))
        return Client(self.members[name], self._context, user, password, port, timeout)

    def read(self):
        """Return what C(summary) says of all members, asked side by side."""
        nodes = {node_name(host): name for name, host in self.members.items()}
        views = cluster_client.ask_all(self.members, lambda name: self._view(name, nodes))
        speaker = next((name for name, view in views.items() if len(view["running"]) > len(self.members) // 2), "")
        queues = self._queues(speaker) if speaker else []
        return summary(views, queues, list(self.members), nodes)

    def _view(self, name, nodes):
        """Return what one member says of the cluster."""
        view = {"reachable": False, "known": [], "running": [], "partitions": [], "alarms": [], "drained": []}
        view.update({"silent": [], "version": "", "critical": "", "error": ""})
        try:
            with self.client(name) as client:
                found = client.call("GET", "nodes")
                view["reachable"] = True
                view["critical"] = _critical(client)
        except ApiError as error:
            return dict(view, error=str(error))
        view.update(_node_states(found, nodes, name))
        return view

    def _queues(self, name):
        """Return the quorum queues as one member of the majority sees them."""
        try:
            with self.client(name) as client:
                found = client.call("GET", "queues", query="?disable_stats=true&enable_queue_totals=true")
        except ApiError:
            return []
        return [queue for queue in found if queue.get("type") == "quorum"]


def _critical(client):
    """Return why this member must not stop: queues that would lose their majority; an empty text when it may."""
    try:
        client.call("GET", "health", "checks", "node-is-quorum-critical")
    except Refused as error:
        if error.status != 503:
            raise
        return "quorum queues would lose their majority without it"
    return ""


def _node_states(found, nodes, name):
    """Return the answer of C(GET /api/nodes) by the members' names; nodes that are not described keep their own."""
    own = next((node for node in found if nodes.get(node["name"]) == name), {})
    running = [node for node in found if node.get("running")]
    return {
        "known": sorted(nodes.get(node["name"], node["name"]) for node in found),
        "running": sorted(nodes.get(node["name"], node["name"]) for node in running),
        "partitions": sorted(nodes.get(other, other) for other in own.get("partitions") or []),
        "drained": sorted(nodes.get(node["name"], node["name"]) for node in running if node.get("being_drained")),
        # A node that has just begun is listed before it tells its alarms and partitions, which is not to have none.
        "silent": sorted(nodes.get(node["name"], node["name"]) for node in running if "mem_alarm" not in node),
        "alarms": sorted(
            f"{kind} on {nodes.get(node['name'], node['name'])}"
            for node in running
            for kind, key in (("memory", "mem_alarm"), ("disk", "disk_free_alarm"))
            if node.get(key)
        ),
        "version": next(
            (app.get("version", "") for app in own.get("applications") or [] if app.get("name") == "rabbit"), ""
        ),
    }


def summary(views, queues, members, nodes):
    """Return the cluster as a whole.

    :arg views: dict of member to what it says.
    :arg queues: quorum queues as a member of the majority sees them.
    :arg members: names of all members that are described.
    :arg nodes: dict of Erlang node name to member.
    """
    agreed = [view for view in views.values() if len(view["running"]) > len(members) // 2]
    running = sorted({name for view in agreed for name in view["running"]})
    unhealthy = {}
    for name in members:
        faults = _faults(name, views[name], running, agreed)
        if faults:
            unhealthy[name] = "; ".join(faults)
    return {
        "quorum": bool(agreed),
        "running": running,
        "known": sorted({name for view in agreed for name in view["known"]}),
        "drained": sorted({name for view in agreed for name in view["drained"]}),
        "healthy": sorted(set(members) - set(unhealthy)),
        "unhealthy": unhealthy,
        "alarms": sorted({alarm for view in views.values() for alarm in view["alarms"]}),
        "partitions": {name: view["partitions"] for name, view in views.items() if view["partitions"]},
        "critical": sorted(name for name, view in views.items() if view["critical"]),
        "versions": {name: view["version"] for name, view in views.items() if view["version"]},
        "queues": queue_states(queues, nodes),
    }


def _faults(name, view, running, agreed):
    if view["error"]:
        return [view["error"]]
    found = []
    if not agreed or name not in running:
        found.append(f"it sees {', '.join(view['running'])} and no majority")
    elif set(view["running"]) != set(running):
        found.append(f"it sees {', '.join(view['running'])}, others {', '.join(running)}")
    if view["partitions"]:
        found.append(f"it is parted from {', '.join(view['partitions'])}")
    if name in view["drained"]:
        found.append("it is in maintenance mode")
    if name in view["silent"]:
        found.append("it has not told its alarms and partitions yet")
    return found


def queue_states(queues, nodes):
    """Return quorum queues as dicts with C(queue) (vhost and name), C(leader), C(members) and C(online)."""

    def names(found):
        return sorted(nodes.get(node, node) for node in found or [])

    return [
        {
            "queue": f"{queue['name']} of {queue['vhost']}",
            "leader": nodes.get(queue.get("leader"), queue.get("leader") or ""),
            "members": names(queue.get("members")),
            "online": names(queue.get("online")),
        }
        for queue in queues
    ]


def missing(cluster, name, require):
    """Return what is not yet as I(require) says, as a sentence, or an empty text.

    :arg cluster: what C(summary) returns.
    :arg require: C(nothing), C(healthy), C(redundant) or C(complete), see module rabbitmq_cluster_info.
    """
    if require == "nothing":
        return ""
    unhealthy = cluster["unhealthy"]
    sentence = cluster_client.unwell("RabbitMQ", unhealthy, name, require)
    if sentence:
        return sentence
    if not cluster["quorum"]:
        return f"No majority of RabbitMQ's members runs together ({_all_reasons(unhealthy)})."
    if require == "healthy" and name in unhealthy:
        return f"RabbitMQ on {name} is not well ({unhealthy[name]})."
    if cluster["partitions"]:
        return f"RabbitMQ is parted: {_all_reasons({a: ', '.join(b) for a, b in cluster['partitions'].items()})}."
    if cluster["alarms"]:
        return f"RabbitMQ takes no messages: alarm of {', '.join(cluster['alarms'])}."
    if require == "redundant" and name in cluster["critical"]:
        return f"{name} must not be stopped: quorum queues would lose their majority without it."
    return _queue_fault(cluster["queues"], name, require)


def _all_reasons(reasons):
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "none answers"


def _queue_fault(queues, name, require):
    for queue in queues:
        away = set(queue["members"]) - set(queue["online"])
        if not queue["leader"] and not (require == "redundant" and name in away):
            return f"Quorum queue {queue['queue']} has no leader."
        if require == "healthy":
            away &= {name}
        elif require == "redundant":
            away -= {name}
        if away:
            return f"Quorum queue {queue['queue']} is not online on {', '.join(sorted(away))}."
    return ""


def read_disk(identity_file, data_dir):
    """Return C(identity) (dict, or None without the file) and C(holds_data) of this host's volume.

    :raises OSError: a file cannot be read.
    :raises ValueError: the identity file is not JSON.
    """
    return {
        "identity": cluster_client.read_identity(identity_file),
        "holds_data": bool(data_dir) and os.path.isdir(data_dir) and bool(os.listdir(data_dir)),
    }


def series(version):
    """Return the series of a version as Debian or RabbitMQ writes it, an empty text when it is none.

    >>> series("4.0.5-8"), series("1:3.13.7")
    ('4.0', '3.13')
    """
    found = re.match(r"(?:\d+:)?(\d+\.\d+)(?:\.|-|~|$)", version or "")
    return found.group(1) if found else ""


def upgrade_fault(old, new, upgrades):
    """Return why a version must not follow another one, as a sentence; an empty text when it may.

    :arg upgrades: dict of series to the series that may follow it in one step.

    >>> upgrade_fault("4.0.5-8", "4.0.9-1", {})
    ''
    """
    before, after = series(old), series(new)
    if not before or not after or before == after:
        return ""
    if after in upgrades.get(before, ()):
        return ""
    way = _way(before, after, upgrades)
    if not way:
        return f"RabbitMQ {old} cannot become {new}: there is no way from {before} to {after}."
    return f"RabbitMQ {old} cannot become {new} in one step; go by {', '.join(way)}."


def _way(before, after, upgrades):
    """Return the shortest list of series from one to another, the last included; empty when there is none."""
    ways = [[before]]
    while ways:
        way = ways.pop(0)
        for step in upgrades.get(way[-1], ())[::-1]:
            if step == after:
                return [*way[1:], step]
            ways.append([*way, step])
    return []


def password_hash(password, salt):
    """Return a password as RabbitMQ keeps it: four bytes of salt and a SHA-256, in base 64."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def same_password(password, known):
    """Tell whether a kept hash is that of a password."""
    try:
        salt = base64.b64decode(known)[:4]
    except ValueError:
        return False
    return password_hash(password, salt) == known
