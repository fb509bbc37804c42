# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manifest of releases says: the collection's own, or the one that a path names."""

from __future__ import annotations

import functools
import os

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import releases

OWN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "plugin_utils", "kubernetes_releases.yml")


@functools.lru_cache(maxsize=4)
def _read(path, _changed):
    with open(path, encoding="utf-8") as stream:
        return releases.check(yaml.safe_load(stream))


def release_manifest(path):
    """Return the manifest of releases.

    :arg path: file on the controller; empty for the collection's own.
    :raises AnsibleFilterError: it cannot be read, or is no manifest.
    """
    name = os.path.expanduser(path or OWN)
    try:
        return _read(name, os.stat(name).st_mtime_ns)
    except (OSError, yaml.YAMLError, releases.ManifestError) as error:
        raise AnsibleFilterError("The manifest of releases %s cannot be used: %s" % (name, error)) from error


def kubernetes_release(path, version, newest=False):
    """Return which versions belong to a Kubernetes version, by the manifest at C(path).

    :arg newest: for a version that the manifest does not have, return what belongs to the newest one.
    """
    manifest = release_manifest(path)
    if newest and kubernetes_fault(path, version):
        version = max(manifest["releases"], key=releases.version_key)
    return _said(releases.release, manifest, version)


def kubernetes_fault(path, version):
    """Return one sentence when the manifest at C(path) does not have a Kubernetes version, "" when it has."""
    try:
        releases.release(release_manifest(path), version)
    except releases.ManifestError as error:
        return str(error)
    return ""


def release_files(path, versions, architecture):
    """Return files for the module M(selfhosted.ec2.artifacts), in the order of C(versions) (name to version)."""
    manifest = release_manifest(path)
    return [_said(releases.artifact, manifest, name, version, architecture) for name, version in versions.items()]


def release_images(path, names):
    """Return images for the module M(selfhosted.ec2.container_images)."""
    manifest = release_manifest(path)
    return [_said(releases.image, manifest, name) for name in names]


def release_contents(path, version, what):
    """Return all that belongs to a Kubernetes version: C(files) (name to version) or C(images) (names).

    A version with a patch stands for itself, not for that of the release.
    """
    described = dict(kubernetes_release(path, version))
    if str(version).count(".") == 2:
        described["kubernetes"] = str(version).removeprefix("v")
    return {"files": releases.release_files, "images": releases.release_images}[what](described)


def release_fault(path, versions, names=(), instance_type=""):
    """Return one sentence when the manifest at C(path) lacks an image, or has not all files for an architecture.

    An empty text otherwise.

    :arg instance_type: that of the host, whose architecture it tells; without it any architecture will do.
    """
    faults = []
    known = [releases.instance_architecture(instance_type)] if instance_type else releases.ARCHITECTURES
    try:
        release_images(path, names)
        for architecture in known:
            faults.append(_fault(path, versions, architecture))
    except AnsibleFilterError as error:
        return str(error)
    return faults[0] if all(faults) else ""


def _fault(path, versions, architecture):
    try:
        release_files(path, versions, architecture)
    except AnsibleFilterError as error:
        return str(error)
    return ""


def _said(function, *arguments):
    try:
        return function(*arguments)
    except releases.ManifestError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of the manifest of releases."""

    def filters(self):
        return {
            "kubernetes_fault": kubernetes_fault,
            "kubernetes_release": kubernetes_release,
            "release_contents": release_contents,
            "release_fault": release_fault,
            "release_files": release_files,
            "release_images": release_images,
            "release_manifest": release_manifest,
        }
