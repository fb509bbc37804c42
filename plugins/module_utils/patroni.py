# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patroni's REST API (4.0): the state of a cluster, and its dynamic configuration."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, postgresql_settings

#: Parameters that a standby needs at least as large as its leader: when they shrink, the leader must restart first.
STANDBY_PARAMETERS = frozenset(
    {
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_wal_senders",
        "max_worker_processes",
    }
)


#: What Patroni calls a member that copies the leader's data.
CLONING = "creating replica"


class PatroniError(Exception):
    """One request failed; the text says which address and why."""


class Client:
    """Patroni's REST API over TLS with a client certificate.

    :arg ca: path of the certificates to trust.
    :arg cert: path of the client certificate.
    :arg key: path of its key.
    :raises OSError: a file of the certificates cannot be read.
    """

    def __init__(self, ca, cert, key):
        context = cluster_client.tls_context(ca, cert, key)
        # Without proxies: a member is never behind one.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def request(self, method, url, payload=None, timeout=5):
        """Return status and body, whatever the status.

        :raises PatroniError: there is no answer within I(timeout) seconds.
        """
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            raise PatroniError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error


def member_view(client, url):
    """Return what one member says about itself.

    :returns: dict with C(state), C(role), C(replication), C(synchronous), C(pending_restart), C(paused), C(timeline),
        C(error).
    """
    view = dict.fromkeys(("state", "role", "replication", "error"), "")
    view.update(synchronous=False, pending_restart=False, shrinks=False, paused=False, timeline=0)
    try:
        answer = json.loads(client.request("GET", url + "/patroni")[1])
    except (PatroniError, ValueError) as error:
        view["error"] = str(error)
        return view
    view.update(
        state=answer.get("state", ""),
        role="leader" if answer.get("role") in ("primary", "master", "standby_leader") else answer.get("role", ""),
        replication=answer.get("replication_state", ""),
        synchronous=bool(answer.get("sync_standby") or answer.get("quorum_standby")),
        pending_restart=bool(answer.get("pending_restart")),
        shrinks=shrinks(answer.get("pending_restart_reason") or {}),
        paused=bool(answer.get("pause")),
        timeline=answer.get("timeline", 0),
    )
    view["error"] = fault(view)
    return view


def shrinks(reasons):
    """Tell whether one of the reasons for a pending restart is a smaller value that the leader must take first.

    :arg reasons: dict of parameter to dict with C(old_value) and C(new_value), as Patroni gives it.
    """
    for name in STANDBY_PARAMETERS & set(reasons):
        old, new = (str(reasons[name].get(key)) for key in ("old_value", "new_value"))
        if old.isdigit() and new.isdigit() and int(new) < int(old):
            return True
    return False


def fault(view):
    """Return why a member is not well, or an empty text."""
    if view["state"] != "running":
        return f"its PostgreSQL is {view['state'] or 'in an unknown state'}"
    if view["role"] != "leader" and view["replication"] != "streaming":
        return f"it does not stream from the leader ({view['replication'] or 'no replication'})"
    return ""


def summary(views):
    """Return the cluster as a whole.

    :arg views: dict of name to what C(member_view) returns.
    """
    well = {name: view for name, view in views.items() if not view["error"]}
    leaders = sorted(name for name, view in well.items() if view["role"] == "leader")
    return {
        "leader": leaders[0] if len(leaders) == 1 else "",
        "leaders": leaders,
        "replicas": sorted(name for name, view in well.items() if view["role"] != "leader"),
        "synchronous": sorted(name for name, view in well.items() if view["synchronous"]),
        "unhealthy": {name: view["error"] for name, view in sorted(views.items()) if view["error"]},
        "pending_restart": sorted(name for name, view in well.items() if view["pending_restart"]),
        "shrinks": any(view["shrinks"] for view in well.values()),
        "paused": any(view["paused"] for view in views.values()),
    }


def missing(cluster, name, require, synchronous):
    """Return what is not as I(require) says, as a sentence, or an empty text.

    :arg require: V(nothing), V(healthy), V(redundant) or V(complete).
    :arg cluster: what C(summary) returns.
    :arg name: this host's member.
    :arg synchronous: a synchronous standby must be there.
    """
    if require == "nothing":
        return ""
    reason = cluster["unhealthy"].get(name)
    if require in ("redundant", "complete") and cluster["paused"]:
        return "Patroni is paused, so no member would take over; run patronictl resume on a member first."
    sentence = cluster_client.unwell("PostgreSQL", cluster["unhealthy"], name, require)
    if sentence:
        return sentence
    if require == "healthy" and reason:
        return f"PostgreSQL member {name} is not well: {reason}."
    if len(cluster["leaders"]) != 1:
        return f"PostgreSQL has {len(cluster['leaders'])} leaders ({', '.join(cluster['leaders']) or 'none'}), not one."
    if synchronous and cluster["replicas"] and not cluster["synchronous"]:
        return f"PostgreSQL leader {cluster['leader']} has no synchronous standby."
    return ""


def same(left, right):
    """Tell whether two values of the configuration mean the same: 5 and "5", true and "on"."""
    return left == right or _text(left) == _text(right)


def _text(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    return {"true": "on", "false": "off"}.get(str(value).lower(), str(value).lower())


def config_patch(current, wanted):
    """Return the PATCH that brings the dynamic configuration to I(wanted): only what differs.

    Settings that I(wanted) does not name are left, but parameters of PostgreSQL that it does not name are taken out.
    """
    patch = _differences(current, wanted)
    known = (current.get("postgresql") or {}).get("parameters") or {}
    keep = (wanted.get("postgresql") or {}).get("parameters") or {}
    gone = dict.fromkeys(name for name in known if name not in keep)
    if gone:
        patch.setdefault("postgresql", {}).setdefault("parameters", {}).update(gone)
    return patch


def _differences(current, wanted):
    patch = {}
    for name, value in wanted.items():
        before = current.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = _differences(before, value)
            if inner:
                patch[name] = inner
        elif not (name in current and same(before, value)):
            patch[name] = value
    return patch


def merged(current, patch):
    """Return the configuration as it is after I(patch), in which null takes a setting out."""
    result = dict(current)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def labels(patch, catalogue):
    """Return each changed parameter of PostgreSQL with V(reload), V(restart), or V(unknown) to the server.

    :arg catalogue: what C(postgresql_settings.read_catalogue) returns.
    """
    parameters = (patch.get("postgresql") or {}).get("parameters") or {}
    return {name: postgresql_settings.label(name, catalogue) for name in sorted(parameters)}
