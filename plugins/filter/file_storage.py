# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role file_storage decides from what the members hold, and the form of its data for the gateway."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import bucket_plan


def bucket_name_fault(name):
    """Return one sentence about a bucket name that S3 would refuse, "" for a good one."""
    fault = bucket_plan.name_fault(name)
    return f"The bucket name '{name}' {fault}." if fault else ""


def file_storage_start(views, record, name, members, domain):
    """Decide how a member starts, so that an empty disk never becomes the primary beside the data of others.

    :arg views: dict of host to what the module C(file_storage_info) returned there; only hosts of this play.
    :arg record: the record of who is primary as the module C(file_storage_record) returned it, {} when there is none.
    :arg name: the member.
    :arg members: names of all members that the platform describes.
    :arg domain: the platform's domain, part of the identity.
    :returns: dict with C(state) (C(keep), C(new), C(join) or C(refused)) and C(error), a sentence, empty when the
        member may start.
    """
    view, identity = views[name], views[name]["identity"]
    owner = identity or view["joining"]
    if owner and (owner.get("member"), owner.get("domain")) != (name, domain):
        return _refuse(
            f"The volume of {name} belongs to file storage member {owner.get('member')} of"
            f" {owner.get('domain')}; attach the volume of {name} instead."
        )
    if not owner and view["holds_data"]:
        return _refuse(
            f"The volume of {name} holds buckets, but not the identity of a member; empty it, or attach another one."
        )
    if not record:
        return _first(views, name, members)
    if not record["primary"]:
        return _refuse(
            f"A move of the file storage to {record['next']} has begun and not ended; end it first"
            f" (failover_file_storage.yml -e file_storage_primary={record['next']})."
        )
    if identity:
        return {"state": "keep", "error": ""}
    if record["primary"] == name:
        return _refuse(
            f"{name} is the primary of the file storage, but its volume does not hold the store; make another member"
            f" the primary (failover_file_storage.yml -e file_storage_lost={name})."
        )
    return {"state": "join", "error": ""}


def _first(views, name, members):
    # A first run that was cut off may have left the identity, but no bucket: no gateway starts without the record.
    full = sorted(host for host, other in views.items() if other["holds_data"])
    if full:
        return _refuse(
            f"Nothing says who is primary, and {', '.join(full)} hold a store; name the one to go on with"
            " (failover_file_storage.yml -e file_storage_primary=<slot>)."
        )
    absent = [member for member in members if member not in views]
    if absent:
        return _refuse(
            f"Nothing says who is primary and {', '.join(absent)} took no part in this run, so it is unknown whether a"
            " store exists; start all members for the first run."
        )
    if name == members[0]:
        return {"state": "new", "error": ""}
    return {"state": "keep" if views[name]["identity"] else "join", "error": ""}


def _refuse(sentence):
    return {"state": "refused", "error": sentence}


def file_storage_accounts(users):
    """Return the accounts as the gateway's user file holds them.

    :arg users: list of dict(name, secret).
    :raises AnsibleFilterError: a secret is too short.
    """
    accounts = []
    for user in users:
        if len(user["secret"]) < 16:
            raise AnsibleFilterError(
                f"File storage user {user['name']}: its secret has fewer than 16 characters; give a long random one."
            )
        accounts.append(
            {
                "access": user["name"],
                "secret": user["secret"],
                "role": "user",
                "userID": 0,
                "groupID": 0,
                "projectID": 0,
            }
        )
    return accounts


class FilterModule:
    """Filters of role file_storage."""

    def filters(self):
        return {
            "bucket_name_fault": bucket_name_fault,
            "file_storage_accounts": file_storage_accounts,
            "file_storage_start": file_storage_start,
        }
