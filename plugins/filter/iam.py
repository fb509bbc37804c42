# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles, groups and permission sets of people for the role aws_iam."""

from __future__ import annotations

#: Name of the inline policy of a role, and of that of its group.
OWN = "own"
TAKE = "take-role"
VERSION = "2012-10-17"


def iam_people(kinds, platform, path, known, trust, statements=None, managed=None, session=3600):
    """Return the roles and groups of people as the options of iam_service_roles, dict C(roles) and C(groups)."""
    roles, groups = [], []
    for kind in kinds:
        name = f"{platform}-{kind}"
        rights = (statements or {}).get(kind, _reaching(known[kind].get("policies"))) or []
        roles.append(
            {
                "name": name,
                "description": known[kind]["description"],
                "trust": {"Version": VERSION, "Statement": [{"Effect": "Allow", **trust}]},
                "inline_policies": {OWN: {"Version": VERSION, "Statement": rights}} if rights else {},
                "managed_policies": (managed or {}).get(kind, known[kind].get("managed_policies")) or [],
                "max_session_duration": session,
            }
        )
        resource = f"arn:{{partition}}:iam::{{account}}:role{path}{name}"
        take = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": resource}
        groups.append({"name": name, "inline_policies": {TAKE: {"Version": VERSION, "Statement": [take]}}})
    return {"roles": roles, "groups": groups}


def iam_permission_sets(kinds, platform, known, groups, statements=None, managed=None, session=3600):
    """Return the permission sets of people as the option of identity_center_permission_sets.

    :arg groups: dict of kind to the display names of the groups that have it.
    """
    result = []
    for kind in kinds:
        rights = (statements or {}).get(kind, _reaching(known[kind].get("policies"))) or []
        result.append(
            {
                "name": f"{platform}-{kind}",
                "description": known[kind]["description"],
                "session_duration": session,
                "inline_policy": {"Version": VERSION, "Statement": rights} if rights else None,
                "managed_policies": (managed or {}).get(kind, known[kind].get("managed_policies")) or [],
                "groups": (groups or {}).get(kind) or [],
            }
        )
    return result


def _reaching(statements):
    """Return the ready statements without those on what the platform does not have, such as buckets."""
    return [statement for statement in statements or [] if statement.get("Resource") != []]


class FilterModule:
    """Filters of the role aws_iam."""

    def filters(self):
        return {"iam_people": iam_people, "iam_permission_sets": iam_permission_sets}
