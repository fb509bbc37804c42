# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms in which containerd reads the data of its role."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import containerd, oci
from ansible_collections.selfhosted.ec2.plugins.module_utils.releases import version_key


def to_toml(tree):
    """Return data as TOML.

    :raises AnsibleFilterError: it holds a null.
    """
    try:
        return containerd.toml(tree)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def registry_files(registries, directory):
    """Return a C(hosts.toml) for each registry, as files for M(selfhosted.ec2.config_files)."""
    return [
        {"dest": f"{directory}/{registry['host']}/hosts.toml", "content": containerd.registry_hosts(registry)}
        for registry in registries
    ]


def image_fault(name):
    """Return one sentence about an image's name that has no registry or tag, "" for a good one."""
    try:
        oci.parse_reference(name)
    except oci.OciError as error:
        return str(error)
    return ""


def containerd_fault(version, kubernetes):
    """Return one sentence when a Kubernetes version does not go with a containerd version, "" when it does."""
    if version_key(version) >= (2,) or version_key(kubernetes)[:2] < (1, 36):
        return ""
    return (
        f"containerd_version is {version}, but Kubernetes {kubernetes} needs containerd 2;"
        " give 2.2.0 or later, or leave the variable out."
    )


class FilterModule:
    """Filters of role containerd."""

    def filters(self):
        return {
            "containerd_fault": containerd_fault,
            "image_fault": image_fault,
            "registry_files": registry_files,
            "to_toml": to_toml,
        }
