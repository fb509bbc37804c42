# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator wants to know of a Kubernetes cluster at a glance, and all that is wrong with it."""

from __future__ import annotations

import calendar
import re
import time

#: As the alert rules of role kubernetes have it; the timer makes a snapshot each hour.
_BACKUP_HOURS = 3
#: Those of the platform are renewed 30 days before their end and those of kubeadm 60 by default.
_CERTIFICATE_DAYS = 14
_FIRST_PODS = 5
_COPY = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)")
#: The second word of a host's mark: which operation was cut off there.
_OPERATIONS = {
    "restart": "kubernetes.yml",
    "authorities": "rotate_authorities_kubernetes.yml",
    "key": "rotate_encryption_key_kubernetes.yml",
}


def _span(seconds):
    """Return a time as one reads it."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def _size(count):
    return f"{count / (1 << 20):.0f} MiB"


def _table(rows):
    """Return rows as indented lines with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _best(views, others):
    """Return the answer of a host that was shown most nodes, an empty one without any."""
    found = [view for view in views.values() if view["nodes"]]
    return max(found, key=lambda view: (bool(view["manifests"]), len(view["nodes"])), default=others)


def _nodes(best, about, wrong):
    """Return the lines about nodes, and note which are not well."""
    rows, nodes = [], best["nodes"]
    for name, node in sorted(nodes.items(), key=lambda item: (item[1]["slot"] or "~", item[0])):
        slot = node["slot"] or "?"
        state = "ready" if node["ready"] else f"not ready ({node['reason']})"
        schedulable = "schedulable" if node["schedulable"] else "cordoned"
        rows.append((slot, name, node["zone"] or "no zone", node["version"], schedulable, state))
        if not node["ready"]:
            wrong.append(f"the node of {slot} is not ready ({node['reason']})")
        if not node["zone"]:
            wrong.append(f"the cloud controller manager has not taken the node of {slot} up")
        if node["slot"] not in about["members"]:
            wrong.append(f"the node {name} is not described")
    known = {node["slot"] for node in nodes.values()}
    # A worker is shown its own node alone.
    if best["manifests"]:
        wrong.extend(f"{slot} has no node" for slot in about["members"] if slot not in known)
    ready = sum(node["ready"] for node in nodes.values())
    return [f"nodes: {ready} of {len(nodes)} are ready", *_table(rows)]


def _control_planes(views, about, wrong):
    """Return the lines about API servers and the other parts of control planes."""
    servers = {}
    for view in views.values():
        for slot, server in view["members"].items():
            # One that is reached by anybody is there; who cannot reach it has a fault of its own.
            servers[slot] = server if server["ready"] or slot not in servers else servers[slot]
    rows = []
    for slot in about["control_planes"]:
        server = servers.get(slot, {"ready": False, "version": "", "error": "it was not asked"})
        parts = views.get(slot, {}).get("parts", {})
        ill = {part: reason for part, reason in sorted(parts.items()) if reason}
        if not server["ready"]:
            wrong.append(f"the API server of {slot} is not ready ({server['error']})")
        wrong.extend(f"{part} of {slot} is not ready ({reason})" for part, reason in ill.items())
        well = ", ".join(sorted(part for part in parts if part not in ill))
        told = [f"ready: {well}"] if well else []
        told += [f"not ready: {', '.join(ill)}"] if ill else []
        rows.append((slot, server["version"] or "no answer", "; ".join(told) or "its parts were not read"))
    ready = sum(server["ready"] for server in servers.values())
    return [f"control planes: {ready} of {len(rows)} API servers are ready", *_table(rows)]


def _etcd(etcd, wrong):
    """Return the lines about etcd."""
    if not etcd:
        wrong.append("etcd could not be asked, since no control plane was reached")
        return ["etcd: not asked"]
    rows, healthy = [], etcd["healthy"]
    for name, member in sorted(etcd["members"].items()):
        state = "healthy" if name in healthy else f"not healthy ({etcd['unhealthy'].get(name, '')})"
        leads = "leads" if name == etcd["leader"] else ""
        size = _size(member["database_bytes"]) if member["reachable"] else "-"
        rows.append((name, member["version"] or "-", size, leads, state))
    wrong.extend(f"the member {name} of etcd is not healthy ({why})" for name, why in etcd["unhealthy"].items())
    wrong.extend(f"etcd has the member {name}: {why}" for name, why in etcd["undescribed"].items())
    if not etcd["leader"]:
        wrong.append("etcd has no leader")
    count = len(healthy) + len(etcd["unhealthy"])
    return [f"etcd: {len(healthy)} of {count} members are healthy", *_table(rows)]


def _certificates(views, wrong):
    """Return the lines about the certificate of each host that ends first."""
    rows = []
    for slot, view in views.items():
        for path, end in view["certificates"].items():
            left = end - view["moment"]
            if left < _CERTIFICATE_DAYS * 86400:
                wrong.append(f"{path} of {slot} {f'ends in {_span(left)}' if left > 0 else 'has ended'}")
        if view["certificates"]:
            path, end = min(view["certificates"].items(), key=lambda item: (item[1], item[0]))
            left = end - view["moment"]
            day = time.strftime("%Y-%m-%d", time.gmtime(end))
            rows.append((slot, day, f"in {_span(left)}" if left > 0 else "it has ended", path))
    return ["certificates, the one of each host that ends first:", *_table(rows)]


def _backups(views, about, wrong):
    """Return the lines about the newest snapshots of etcd."""
    rows, moments = [], []
    for slot in about["control_planes"]:
        view = views.get(slot)
        if not view or not view["joined_at"]:
            continue
        moments.append((view["moment"], view["joined_at"]))
        age = _span(view["moment"] - view["snapshot"])
        rows.append((slot, f"{age} old" if view["snapshot"] else "none yet"))
        # Snapshots of a former node may be on the volume.
        if view["moment"] - max(view["snapshot"], view["joined_at"]) > _BACKUP_HOURS * 3600:
            wrong.append(f"{slot} has saved etcd {f'{age} ago' if view['snapshot'] else 'never'}")
    if about["bucket"] and moments:
        now, since = max(moments)
        found = _COPY.search(about["copies"][-1].rpartition("/")[2]) if about["copies"] else None
        copied = calendar.timegm(time.strptime(found.group(1), "%Y-%m-%dT%H-%M-%SZ")) if found else 0
        where = f"S3, {about['bucket']}"
        if about["copies_error"]:
            rows.append((where, "not read"))
            wrong.append(f"the backups in {about['bucket']} cannot be listed ({about['copies_error']})")
        else:
            rows.append((where, f"{_span(now - copied)} old" if copied else "none yet"))
            if now - (copied or since) > _BACKUP_HOURS * 3600:
                said = f"the newest backup in {about['bucket']} is {_span(now - copied)} old"
                wrong.append(said if copied else f"there is no backup in {about['bucket']}")
    return ["backups of etcd, the newest:", *_table(rows)]


def _pods(best, wrong):
    """Return the lines about pods that are not well."""
    # A cluster without pods there is not.
    if not best.get("pods"):
        return ["pods: not read"]
    ill = best["pods_unwell"]
    rows = [(name, reason) for name, reason in list(ill.items())[:_FIRST_PODS]]
    more = len(ill) - len(rows)
    if ill:
        names = "; ".join(f"{name}: {reason}" for name, reason in rows)
        wrong.append(f"{len(ill)} of {best['pods']} pods are not well ({names}{f'; and {more} more' if more else ''})")
    lines = [f"pods: {best['pods']}, of which {len(ill)} are not well", *_table(rows)]
    return lines + ([f"  and {more} more"] if more else [])


def _cut_off(slot, view):
    """Return what was cut off on a host, as parts of sentences."""
    if view["joined"] != view["finished"] or (view["begins"] and not view["finished"]):
        yield f"the start of {slot} was cut off; kubernetes.yml goes on with it"
    if view["finished"] and len(view["applied"]) > 1:
        playbook = _OPERATIONS.get(view["applied"][1], "the same command")
        yield f"a change of {slot} was cut off ({view['applied'][1]}); {playbook} goes on with it"


def _pending(views, best, wrong):
    """Return the lines about what is still to be done; what was cut off is wrong as well."""
    cut = [text for slot, view in views.items() for text in _cut_off(slot, view)]
    cut += [
        f"{node['slot'] or name} was drained and not given back; the operation that did it goes on with its command"
        for name, node in sorted(best["nodes"].items())
        if node["drained"]
    ]
    servers = {server["version"] for view in views.values() for server in view["members"].values()} - {""}
    versions = servers | {node["version"] for node in best["nodes"].values()} - {""}
    if len(versions) > 1:
        ordered = sorted(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])
        cut.append(f"versions {' and '.join(ordered)} run beside each other; upgrade_kubernetes.yml goes on")
    wrong.extend(cut)
    keys = {tuple(view["encryption"]) for view in views.values() if view["encryption"]}
    trusted = {tuple(view["authorities"]) for view in views.values() if view["authorities"]}
    notes = [f"{slot} has not got what is described yet; kubernetes.yml brings it" for slot in _behind(views)]
    if len(keys) > 1 or any(len(names) > 1 for names in keys):
        notes.append("API servers have more than one key of encryption; rotate_encryption_key_kubernetes.yml goes on")
    if len(trusted) > 1 or any(len(names) > 1 for names in trusted) or any(view["strays"] for view in views.values()):
        notes.append("authorities are being rotated; rotate_authorities_kubernetes.yml goes on")
    return [f"pending: {'' if cut or notes else 'nothing'}".rstrip(), *(f"  {text}" for text in cut + notes)]


def _behind(views):
    return [slot for slot, view in views.items() if view["finished"] and view["applied"][:1] != [view["described"]]]


def kubernetes_status(views, about):
    """Return C(lines), a summary of a cluster to read in a terminal, and C(wrong), all that is not well.

    :arg views: dict of slot to what kubernetes_cluster_info returned there with C(operator), with C(described), the
        hash of what the host is to be; hosts that were not reached are left out.
    :arg about: dict with C(members) and C(control_planes), the described slots, C(unreached), those that were asked and
        gave no answer, C(etcd), what etcd_cluster_info returned, or {}, C(bucket), that of backups, or an empty text,
        C(copies), the keys in it, and C(copies_error), why they could not be read.
    """
    wrong = [f"{slot} could not be read" for slot in about["unreached"]]
    best = _best(views, {"nodes": {}, "manifests": []})
    api = any(view["ready"] for view in views.values())
    for slot, view in views.items():
        if view["kubelet"]:
            wrong.append(f"the kubelet of {slot} does not answer ({view['kubelet']})")
        if view["error"] and api:
            wrong.append(f"{slot} cannot read the cluster ({view['error']})")
    lines = [
        *_nodes(best, about, wrong),
        *_control_planes(views, about, wrong),
        *_etcd(about["etcd"], wrong),
        *_certificates(views, wrong),
        *_backups(views, about, wrong),
        *_pods(best, wrong),
        *_pending(views, best, wrong),
    ]
    left = [slot for slot in about["members"] if slot not in views and slot not in about["unreached"]]
    if left:
        lines.append(f"not asked: {', '.join(left)}")
    lines += ["wrong:", *(f"  {text}" for text in wrong)] if wrong else ["wrong: nothing"]
    return {"lines": lines, "wrong": wrong}


class FilterModule:
    """Filter for verify_kubernetes.yml."""

    def filters(self):
        return {"kubernetes_status": kubernetes_status}
