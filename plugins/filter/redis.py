# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role redis decides from what the members say, and the lines of its ACL files."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import redis
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.member_start import foreign_volume, no_first_start


def redis_start(views, name, members, domain):
    """Decide how a member starts, so that an empty disk never becomes the primary beside the data of others.

    :arg views: dict of host to what the module C(redis_cluster_info) returned there; only hosts of this play.
    :arg name: the member.
    :arg members: names of all members that the platform describes.
    :arg domain: the platform's domain, part of the identity.
    :returns: dict with C(state) (C(keep), C(new), C(join) or C(refused)), C(watch) (host that this member's Sentinel
        takes for the primary when it watches none) and C(error), a sentence, empty when the member may start.
    """
    view = views[name]
    identity = view["identity"]
    fault = foreign_volume("Redis", name, domain, identity)
    if fault:
        return _refuse(fault)
    primary = next((other["primary_host"] for other in views.values() if other["primary_host"]), "")
    if identity:
        return {"state": "keep", "watch": primary, "error": ""}
    full = sorted(host for host, other in views.items() if other["identity"])
    if primary and (full or any(member not in views for member in members)):
        return {"state": "join", "watch": primary, "error": ""}
    return _bootstrap(views, name, members, domain, full, primary)


def _bootstrap(views, name, members, domain, full, primary):
    fault = no_first_start("No majority of the Sentinels answers", full, members, views)
    if fault:
        return _refuse(fault)
    if views[name]["holds_data"] and not primary:
        return _refuse(
            f"The volume of {name} holds Redis data, but not the identity of a member; empty it, or attach another one."
        )
    return {"state": "new", "watch": primary or f"{members[0]}.{domain}", "error": ""}


def _refuse(sentence):
    return {"state": "refused", "watch": "", "error": sentence}


def redis_acl(users):
    """Return the text of an ACL file; the user C(default) is always off.

    :arg users: list of dict(name, password, keys, channels, commands).
    :raises AnsibleFilterError: a password is too short.
    """
    lines = ["user default off sanitize-payload resetchannels -@all"]
    for user in users:
        try:
            password = redis.password_hash(user["password"])
        except ValueError as error:
            raise AnsibleFilterError(f"Redis user {user['name']}: {error}.") from error
        rules = [
            *("~" + pattern for pattern in user.get("keys") or []),
            *("&" + pattern for pattern in user.get("channels") or []),
            *["-@all", *(user.get("commands") or [])],
        ]
        lines.append(f"user {user['name']} on sanitize-payload #{password} resetchannels {' '.join(rules)}")
    return "".join(line + "\n" for line in lines)


class FilterModule:
    """Filters of role redis."""

    def filters(self):
        return {"redis_start": redis_start, "redis_acl": redis_acl}
