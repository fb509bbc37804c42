# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os


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


class FilterModule:
    """Filters of role postgresql."""

    def filters(self):
        return {"hba_line": hba_line, "data_refusal": data_refusal, "blank_refusal": blank_refusal}
