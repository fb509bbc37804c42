# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a member of a cluster must not start, where that is the same for every product."""

from __future__ import annotations


def foreign_volume(product, name, domain, identity):
    """Return why the volume is not this member's, as a sentence; an empty text when it is, or is nobody's.

    :arg identity: content of the volume's identity file, or None.
    """
    if not identity or (identity.get("member"), identity.get("domain")) == (name, domain):
        return ""
    return (
        f"The volume of {name} belongs to {product} member {identity.get('member')} of {identity.get('domain')};"
        f" attach the volume of {name} instead."
    )


def no_first_start(nobody, full, members, views):
    """Return why empty members must not begin a cluster when none answers, as a sentence, or an empty text.

    :arg nobody: what is known of the cluster, such as "No etcd member answers".
    :arg full: hosts that hold a cluster's data.
    :arg members: all members that the platform describes.
    :arg views: dict of the hosts of this play.
    """
    if full:
        return f"{nobody}, and {', '.join(full)} hold a cluster's data; start them before empty members."
    absent = [member for member in members if member not in views]
    if absent:
        return (
            f"{nobody} and {', '.join(absent)} took no part in this run, so it is unknown whether a cluster exists;"
            " start all members for the first run."
        )
    return ""
