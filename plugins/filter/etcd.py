# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.plugin_utils.member_start import foreign_volume, no_first_start

#: The first of 3.5 from which 3.6 is safe to reach.
BEFORE_36 = (3, 5, 26)


def etcd_version_fault(running, wanted):
    """Return why a cluster may not be brought to a version, as a sentence, or an empty text.

    One minor at a time, never back, and to 3.6 only from a 3.5 that knows which members it has (etcd's upgrade guide).

    :arg running: the versions of its members.
    """
    new = _version(wanted)
    for old in sorted(_version(version) for version in running):
        if new < old:
            return f"etcd_version is {wanted}, but etcd {_text(old)} runs; etcd never goes back."
        if new[:2] > (old[0], old[1] + 1):
            return f"etcd_version is {wanted}, but etcd {_text(old)} runs; go through {old[0]}.{old[1] + 1} first."
        if old < BEFORE_36 and new >= (3, 6, 0):
            return (
                f"etcd_version is {wanted}, but etcd {_text(old)} runs; bring it to {_text(BEFORE_36)} or later of 3.5"
                " first, since a former one may take members that have left into 3.6."
            )
    return ""


def _version(text):
    return tuple(int(number) for number in re.findall(r"\d+", str(text))[:3])


def _text(version):
    return ".".join(map(str, version))


def etcd_start(views, name, members, domain, replace=""):
    """Decide how an etcd member starts, so that an empty disk never takes the place of a full one.

    :arg views: dict of host to what the module C(etcd_cluster_info) returned there; only hosts of this play.
    :arg name: the member.
    :arg members: names of all members that the platform describes.
    :arg domain: the platform's domain, part of the identity.
    :arg replace: the member whose data may be given up, the operator's confirmation.
    :returns: dict with C(state) (C(keep), C(new), C(existing), or C(join) when the members must let it in first) and
        C(error), a sentence, empty when it may start; for C(new) besides the C(token) of the cluster, empty when none
        has begun.
    """
    fault = foreign_volume("etcd", name, domain, views[name]["identity"])
    if fault:
        return _refuse(fault)
    if views[name].get("restoring"):
        return _refuse(
            f"A restore of {name} from {views[name]['restoring']} was cut off; run the playbook that restores it again,"
            " with the same values: restore_etcd.yml, or restore_kubernetes.yml where it is Kubernetes' etcd."
        )
    answer = _own_start(views, name, members, domain)
    if answer["error"] and replace == name and _listed(views, name):
        return {"state": "join", "error": ""}
    return answer


def _listed(views, name):
    """Return the members as the cluster lists them, by the member's own view if it could ask."""
    return views[name]["listed"] or next((other["listed"] for other in views.values() if other["listed"]), [])


def _mine(listed, name, domain):
    """Return the listed member of this name; one that never started has only its peer address."""
    return next(
        (
            member
            for member in listed
            if member["name"] == name or any(f"//{name}.{domain}:" in url for url in member["peer_urls"])
        ),
        None,
    )


def _own_start(views, name, members, domain):
    view = views[name]
    identity = view["identity"]
    listed = _listed(views, name)
    if view["initialised"] and identity and listed and not (_mine(listed, name, domain) or {}).get("started"):
        return _refuse(
            f"The etcd data of {name} is of a member that the cluster has removed; run the playbook replace_etcd_member"
            f" with -e etcd_replace={name} to give it up and let {name} join anew."
        )
    if view["initialised"]:
        return _keep(view, name, identity)
    if identity:
        return _refuse(
            f"The etcd data of {name} is gone although its volume was a member of cluster {identity.get('cluster_id')};"
            f" restore the volume, or run the playbook replace_etcd_member with -e etcd_replace={name}."
        )
    if listed:
        return _join(listed, name, domain)
    return _bootstrap(views, members)


def _keep(view, name, identity):
    seen = view["cluster_id"]
    if identity and seen and identity.get("cluster_id") != seen:
        return _refuse(
            f"The volume of {name} holds etcd cluster {identity.get('cluster_id')}, but the other members are cluster"
            f" {seen}; attach the volume of this cluster, or run the playbook replace_etcd_member with"
            f" -e etcd_replace={name}."
        )
    return {"state": "keep", "error": ""}


def _join(listed, name, domain):
    mine = _mine(listed, name, domain)
    if mine is None:
        return {"state": "join", "error": ""}
    if mine["started"]:
        return _refuse(
            f"{name} is a member of the running etcd cluster, but its data directory is empty; attach its volume,"
            f" or run the playbook replace_etcd_member with -e etcd_replace={name}."
        )
    return {"state": "existing", "error": ""}


def _bootstrap(views, members):
    full = sorted(host for host, view in views.items() if view["identity"])
    fault = no_first_start("No etcd member answers", full, members, views)
    if fault:
        return _refuse(fault)
    # What was cut off goes on as the cluster that it began.
    return {"state": "new", "error": "", "token": next((view["token"] for view in views.values() if view["token"]), "")}


def _refuse(sentence):
    return {"state": "refused", "error": sentence}


class FilterModule:
    """Filters of role etcd."""

    def filters(self):
        return {"etcd_start": etcd_start, "etcd_version_fault": etcd_version_fault}
