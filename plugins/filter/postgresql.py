# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


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


class FilterModule:
    """Filters of role postgresql."""

    def filters(self):
        return {"hba_line": hba_line}
