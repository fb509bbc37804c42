# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's JSON gateway (3.5): asking members, and adding and removing them."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client


class EtcdError(Exception):
    """One request failed; the text says which address and why."""


class Gateway:
    """The JSON gateway of etcd members, over TLS with a client certificate when I(ca) is given.

    :arg ca: path of the certificates to trust.
    :arg cert: path of the client certificate.
    :arg key: path of its key.
    :arg timeout: seconds for one request.
    :raises OSError: a file of the certificates cannot be read.
    """

    def __init__(self, ca=None, cert=None, key=None, timeout=5):
        self._timeout = timeout
        self._context = cluster_client.tls_context(ca, cert, key) if ca else None

    def get(self, url, path):
        """Return the JSON answer to GET."""
        return self._request(urllib.request.Request(url.rstrip("/") + path))

    def post(self, url, path, payload=None):
        """Return the JSON answer to POST."""
        body = json.dumps(payload or {}).encode()
        return self._request(
            urllib.request.Request(url.rstrip("/") + path, data=body, headers={"Content-Type": "application/json"})
        )

    def _request(self, request):
        # An opener without proxies: a member is never behind one.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)
        )
        try:
            with opener.open(request, timeout=self._timeout) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            raise EtcdError(f"{request.full_url} answered {error.code}: {text[:300]}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EtcdError(f"{request.full_url} does not answer: {reason}") from error


def hexadecimal(number):
    """Return an id of the gateway (decimal text, absent when 0) as etcdctl writes it."""
    return f"{int(number or 0):x}"


def member_view(gateway, url):
    """Return what one member says about itself.

    :returns: dict with C(reachable), C(healthy) (it reaches a quorum), C(version), C(leader) (it leads), C(leader_id)
        (of the one that leads), C(cluster_id), C(member_id), C(database_bytes), C(error).
    """
    view = {
        "reachable": False,
        "healthy": False,
        "leader": False,
        "leader_id": "",
        "version": "",
        "cluster_id": "",
        "member_id": "",
        "database_bytes": 0,
        "error": "",
    }
    try:
        status = gateway.post(url, "/v3/maintenance/status")
        header = status.get("header", {})
        view.update(
            reachable=True,
            version=status.get("version", ""),
            leader=bool(status.get("leader")) and status.get("leader") == header.get("member_id"),
            leader_id=hexadecimal(status.get("leader")),
            cluster_id=hexadecimal(header.get("cluster_id")),
            member_id=hexadecimal(header.get("member_id")),
            database_bytes=int(status.get("dbSize") or 0),
        )
        health = gateway.get(url, "/health")
        view["healthy"] = health.get("health") == "true"
        view["error"] = health.get("reason", "")
    except EtcdError as error:
        view["error"] = str(error)
    return view


def list_members(gateway, urls):
    """Return the members as the first of I(urls) that answers lists them; [] when none does.

    :returns: list of dicts C(id), C(name), C(peer_urls), C(started), C(learner) (it has no vote).
    """
    for url in urls:
        try:
            answer = gateway.post(url, "/v3/cluster/member/list")
        except EtcdError:
            continue
        return [
            {
                "id": hexadecimal(member["ID"]),
                "name": member.get("name", ""),
                "peer_urls": member.get("peerURLs", []),
                # A member publishes its client addresses when it has joined.
                "started": bool(member.get("clientURLs")),
                "learner": bool(member.get("isLearner")),
            }
            for member in answer.get("members", [])
        ]
    return []


def find_member(members, name, peer_url):
    """Return the listed member of this name or, for one that never started, of this peer address; None when absent."""
    for member in members:
        if member["name"] == name or peer_url in member["peer_urls"]:
            return member
    return None


def strangers(listed, described):
    """Return the listed members that nobody described, each with the reason why it does not count as healthy.

    :arg listed: what C(list_members) returns.
    :arg described: names. A member that never started has no name in the list and goes by its peer address.
    """
    found = {}
    for member in listed:
        address = next(iter(member["peer_urls"]), "")
        known = member["name"] or address.partition("://")[2].partition(".")[0]
        if known not in described:
            found[member["name"] or address or member["id"]] = "the cluster lists it, but it is not described"
    return found


def read_disk(data_dir, identity_file, token_file=None):
    """Return C(initialised) (the data directory holds a member), C(identity) (dict, or None without the file),
    C(token) (of a cluster that has begun and is not yet complete; empty without the file) and C(restoring) (what a
    restore that has not ended makes the member from; empty without one).

    :raises ValueError: the identity file, or the mark of the restore, is not JSON.
    """
    initialised = os.path.isdir(os.path.join(data_dir, "member", "wal"))
    token = ""
    if token_file and os.path.exists(token_file):
        with open(token_file, encoding="utf-8") as file:
            token = file.read().strip()
    return {
        "initialised": initialised,
        "identity": cluster_client.read_identity(identity_file),
        "token": token,
        "restoring": _restoring(os.path.join(os.path.dirname(identity_file), "restore", "unfinished.json")),
    }


def _restoring(path):
    """Return what a restore that has not ended makes the member from, as role etcd's tool notes it."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    return "" if found.get("done") else found["source"]


def summary(views, listed):
    """Return the cluster as a whole.

    :arg views: dict of name to what C(member_view) returns.
    :arg listed: what C(list_members) returns.
    """
    healthy = sorted(name for name, view in views.items() if view["healthy"])
    return {
        "healthy": healthy,
        "unhealthy": {
            name: view["error"] or "no leader" for name, view in sorted(views.items()) if not view["healthy"]
        },
        "quorum": len(healthy) > max(len(listed), len(views)) // 2,
        "leader": _leader({name: views[name] for name in healthy}, listed),
        "cluster_id": views[healthy[0]]["cluster_id"] if healthy else "",
    }


def _leader(healthy, listed):
    """Return the name of the member that leads, which may be one that was not asked; an empty text when none does.

    :arg healthy: dict of name to what C(member_view) returned.
    """
    names = {member["id"]: member["name"] for member in listed}
    asked = [name for name, view in sorted(healthy.items()) if view["leader"]]
    told = [names[view["leader_id"]] for view in healthy.values() if view["leader_id"] in names]
    return next(iter(asked + told), "")
