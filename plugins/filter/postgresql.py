# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import postgresql_settings as settings

#: The two login roles of an owner.
LETTERS = ("a", "b")


def _names(value):
    """Return one name or a list of names as pg_hba.conf has them; V(all) and V(replication) are keywords there."""
    names = value if isinstance(value, list) else [value]
    return ",".join(name if name in ("all", "replication", "sameuser", "samerole") else f'"{name}"' for name in names)


def hba_line(rule):
    """Return one line of pg_hba.conf.

    :arg rule: dict with C(type), C(database), C(user), C(method), and C(address) unless the type is C(local).
    """
    parts = [rule["type"], _names(rule["database"]), _names(rule["user"])]
    if rule["type"] != "local":
        parts.append(rule["address"])
    return " ".join([*parts, rule["method"]])


def data_refusal(files, directory, version, scope):
    """Return why a described version and scope do not fit the data on a volume, as a sentence, or an empty text.

    :arg files: paths of the files PG_VERSION found below I(directory).
    :arg directory: where data lies in C(<version>/<scope>).
    """
    described = os.path.join(str(version), scope)
    held = sorted(os.path.dirname(os.path.relpath(path, directory)) for path in files)
    # What Patroni itself put aside is called <scope>.<something>.
    others = [path for path in held if path.count(os.sep) == 1 and not path.startswith(described + ".")]
    if not others or described in held:
        return ""
    return (
        f"The data in {directory} is {', '.join(others)} (version/scope), but postgresql_version and postgresql_scope"
        f" are {described}; a new value would begin an empty cluster beside it, so set them to what is there."
    )


def blank_refusal(name, members, full, present):
    """Return why an empty member must not start while no leader answers, as a sentence, or an empty text.

    With an empty DCS Patroni would let it make a new cluster and lead the members that have data.

    :arg name: the member, whose volume has no data.
    :arg members: names of all members that the platform describes.
    :arg full: the members of this run whose volumes have data.
    :arg present: the hosts of this run.
    """
    if full:
        return (
            f"{name} has no PostgreSQL data and no leader answers, but {', '.join(full)} have data; start them first"
            f" (-e target={':'.join(full)}), so that {name} joins them and does not begin an empty cluster."
        )
    absent = [member for member in members if member not in present]
    if absent:
        return (
            f"{name} has no PostgreSQL data, no leader answers and {', '.join(absent)} took no part in this run, so it"
            " is unknown whether a cluster exists; start the members with data first, or all members for the first run."
        )
    return ""


def _host(host):
    """Return what sizes follow from, in the order in which the functions take it."""
    return [int(host[key]) for key in ("memory_mib", "vcpus")]


def sized_parameters(given, host):
    """Return the parameters that follow from a host, without those that the user gives.

    :arg given: I(postgresql_parameters).
    :arg host: dict with C(memory_mib), C(vcpus), C(volume_type), C(volume_mib), C(connections).
    """
    try:
        numbers = {key: int(host[key]) for key in ("memory_mib", "vcpus", "volume_mib", "connections")}
        return settings.sizes(**numbers, volume_type=host["volume_type"], given=given)
    except ValueError as error:
        raise AnsibleFilterError(settings.unreadable(error)) from error


def sizes_refusal(given, host, fixed):
    """Return why the described sizes do not fit into the memory or the volume, as a sentence, or an empty text.

    :arg given: I(postgresql_parameters). :arg host: as for C(sized_parameters). :arg fixed: the role's own parameters.
    """
    refusal = settings.memory_refusal(*_host(host), int(host["connections"]), given)
    if refusal:
        return refusal
    parameters = {**fixed, **sized_parameters(given, host), **given}
    return settings.wal_refusal(int(host["volume_mib"]), parameters)


def sessions_mib(given, host):
    """Return what all sessions take at most for sorting and hashing, in MiB."""
    return settings.memory_bound_mib(*_host(host), int(host["connections"]), given)


def parameter_changes(wanted, catalogue):
    """Return the parameters that the running server does not have yet, each with V(reload) or V(restart).

    :arg wanted: names to values. :arg catalogue: what M(selfhosted.ec2.postgresql_host_info) returns as C(catalogue).
    """
    return settings.changes(wanted, catalogue)


def login_roles(logins, secrets):
    """Return each owner and its two alternating login roles, as module postgresql_objects takes roles.

    :arg logins: I(postgresql_logins).
    :arg secrets: the platform's secrets; the passwords are C(postgresql/logins/<owner>/a) and C(.../b).
    """
    roles = []
    for login in logins:
        owner = login["owner"]
        missing = [
            name for name in (f"postgresql/logins/{owner}/{letter}" for letter in LETTERS) if name not in secrets
        ]
        if missing:
            raise AnsibleFilterError(
                f"postgresql_logins names {owner}, but the secrets {', '.join(missing)} are not in SSM Parameter Store;"
                " add them to platform_extra_secrets and run the provision playbook, which creates what is missing."
            )
        roles.append({"name": owner, "login": False})
        for letter in LETTERS:
            role = {
                "name": f"{owner}_{letter}",
                "password": secrets[f"postgresql/logins/{owner}/{letter}"],
                "login": True,
            }
            role.update(member_of=[owner, *login.get("member_of", [])])
            if "connection_limit" in login:
                role["connection_limit"] = login["connection_limit"]
            # What a session makes belongs to the owner, whichever of the two made it.
            role["settings"] = {**login.get("settings", {}), "role": owner}
            roles.append(role)
    return roles


def next_logins(logins, secrets):
    """Return what a rotation does for each owner: dict C(current) (name of a role), C(login) (C(name), C(owner) and
    C(database) of the other), and C(write) and C(point), the secrets of its password and of what is current, as the
    module ssm_secrets takes them.

    The secret C(postgresql/logins/<owner>/current) says which of the two clients use; without it they use C(a).
    """
    found = []
    for login in logins:
        path = f"postgresql/logins/{login['owner']}"
        current = secrets.get(f"{path}/current", LETTERS[0])
        letter = next((other for other in LETTERS if other != current), "")
        if current not in LETTERS:
            raise AnsibleFilterError(
                f"The secret {path}/current is neither a nor b; set it to the login that clients use."
            )
        found.append(
            {
                "login": {
                    "name": f"{login['owner']}_{letter}",
                    "owner": login["owner"],
                    "database": login.get("database", "postgres"),
                },
                "current": f"{login['owner']}_{current}",
                "write": {"name": f"{path}/{letter}", "replace": True},
                "point": {"name": f"{path}/current", "value": letter, "replace": True},
            }
        )
    return found


def login_passwords(rotated, secrets):
    """Return the logins of C(next_logins) with their passwords."""
    return [{**entry["login"], "password": secrets[entry["write"]["name"]]} for entry in rotated]


class FilterModule:
    """Filters of role postgresql."""

    def filters(self):
        return {
            "blank_refusal": blank_refusal,
            "data_refusal": data_refusal,
            "hba_line": hba_line,
            "login_passwords": login_passwords,
            "login_roles": login_roles,
            "next_logins": next_logins,
            "parameter_changes": parameter_changes,
            "sessions_mib": sessions_mib,
            "sized_parameters": sized_parameters,
            "sizes_refusal": sizes_refusal,
        }
