# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of releases: which versions belong together, the SHA-256 of each file, the digest of each image."""

from __future__ import annotations

import platform
import posixpath
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import oci

#: What the kernel calls a machine, and what releases and images call it.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = tuple(MACHINES.values())
SHA256 = re.compile(r"[0-9a-f]{64}")
PARTS = ("releases", "files", "images")
#: How a user gets what a manifest lacks.
LOOK_UP = "bundle_kubernetes.yml looks it up"


class ManifestError(Exception):
    """The manifest cannot be used; the text is one sentence that names the item."""


def host_architecture():
    """The architecture of the host this runs on, as releases name it."""
    machine = platform.machine()
    return MACHINES.get(machine, machine)


def instance_architecture(kind):
    """The architecture of an EC2 instance type: that of Graviton has a g behind its generation.

    >>> [instance_architecture(kind) for kind in ("m7g.large", "c8gn.xlarge", "a1.large", "m7i.large", "g6.xlarge")]
    ['arm64', 'arm64', 'arm64', 'amd64', 'amd64']
    """
    return "arm64" if re.match(r"(a1|[a-z]+\d+g[a-z]*)\.", str(kind)) else "amd64"


def version_key(version):
    """A version as numbers, to compare: its first three, a missing one as 0.

    >>> version_key("v1.37.2") > version_key("1.9")
    True
    """
    numbers = [int(number) for number in re.findall(r"\d+", str(version))[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


def check(manifest):
    """Check a manifest as a whole. Raises ManifestError; returns it."""
    if not isinstance(manifest, dict) or sorted(manifest) != sorted(PARTS):
        raise ManifestError("A manifest of releases has %s, and nothing else." % ", ".join(PARTS))
    for name, entry in manifest["files"].items():
        if not isinstance(entry, dict) or "url" not in entry or not isinstance(entry.get("sha256"), dict):
            raise ManifestError("The file %s of the manifest needs url and sha256." % name)
        for version, sums in entry["sha256"].items():
            for architecture, value in sums.items():
                if architecture not in ARCHITECTURES or not SHA256.fullmatch(value or ""):
                    raise ManifestError(
                        "The sha256 of %s %s %s in the manifest is '%s'; it needs 64 hexadecimal digits, and one of %s."
                        % (name, version, architecture, value, ", ".join(ARCHITECTURES))
                    )
    for name, digests in manifest["images"].items():
        for tag, value in digests.items():
            if not oci.DIGEST.fullmatch(value or ""):
                raise ManifestError(
                    "The digest of image %s:%s in the manifest is '%s'; it needs sha256: and 64 hexadecimal digits."
                    % (name, tag, value)
                )
    return manifest


def release(manifest, version):
    """What belongs to a Kubernetes minor. Raises ManifestError for one that the manifest does not have."""
    minor = ".".join(str(version).removeprefix("v").split(".")[:2])
    if minor not in manifest["releases"]:
        known = ", ".join(sorted(manifest["releases"], key=version_key))
        raise ManifestError("Kubernetes %s is not in the manifest of releases, which has %s." % (version, known))
    return manifest["releases"][minor]


def url_of(entry, version, architecture):
    """The address of a file: its template with version and architecture filled in."""
    return entry["url"].format(version=version, arch=architecture)


def file_of(entry, version, architecture):
    """The name of a file in a mirror or bundle: that of the address, where this tells architectures apart."""
    template = entry.get("file") or posixpath.basename(entry["url"])
    return template.format(version=version, arch=architecture)


def artifact(manifest, name, version, architecture):
    """A file as the module artifacts takes it. Raises ManifestError for one without a SHA-256."""
    entry = manifest["files"].get(name)
    if entry is None:
        raise ManifestError(
            "The manifest of releases has no file %s; it has %s." % (name, ", ".join(manifest["files"]))
        )
    found = entry["sha256"].get(version, {}).get(architecture)
    if not found:
        raise ManifestError(
            "The manifest of releases has no sha256 of %s %s for %s; %s." % (name, version, architecture, LOOK_UP)
        )
    return {
        "name": name,
        "version": version,
        "file": file_of(entry, version, architecture),
        "urls": [url_of(entry, version, architecture)],
        "sha256": found,
    }


def split_image(name):
    """Repository, with its registry, and tag of an image's name. Raises ManifestError for what is no such name."""
    try:
        registry, repository, tag = oci.parse_reference(name)
    except oci.OciError as error:
        raise ManifestError(str(error)) from error
    return "%s/%s" % (registry, repository), tag


def image(manifest, name):
    """An image as the module container_images takes it. Raises ManifestError for one without a digest."""
    repository, tag = split_image(name)
    found = manifest["images"].get(repository, {}).get(tag)
    if not found:
        raise ManifestError("The manifest of releases has no digest of image %s; %s." % (name, LOOK_UP))
    return {"name": name, "digest": found}


#: Key of a release to the repository of its image; the Kubernetes images come besides, with their own version.
IMAGES = {
    "etcd": "registry.k8s.io/etcd",
    "coredns": "registry.k8s.io/coredns/coredns",
    "pause": "registry.k8s.io/pause",
    "cloud-controller-manager": "registry.k8s.io/provider-aws/cloud-controller-manager",
    "metrics-server": "registry.k8s.io/metrics-server/metrics-server",
}
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
#: Key of a release to its files.
FILES = {
    "kubernetes": ("kubeadm", "kubelet", "kubectl"),
    "containerd": ("containerd",),
    "runc": ("runc",),
    "cni-plugins": ("cni-plugins",),
    "calico": ("calico",),
    "ecr-credential-provider": ("ecr-credential-provider",),
    "aws-iam-authenticator": ("aws-iam-authenticator",),
}


def release_files(described):
    """Name to version of all files of a release."""
    return {name: described[key] for key, names in FILES.items() if key in described for name in names}


def release_images(described):
    """Names of all images of a release."""
    names = ["registry.k8s.io/%s:v%s" % (name, described["kubernetes"]) for name in COMPONENTS]
    return names + ["%s:%s" % (repository, described[key]) for key, repository in IMAGES.items() if key in described]


def missing(manifest, described, architectures):
    """What a manifest lacks for a release: (name, version, architecture) of files, and names of images."""
    files = [
        (name, version, architecture)
        for name, version in release_files(described).items()
        for architecture in architectures
        if not manifest["files"].get(name, {}).get("sha256", {}).get(version, {}).get(architecture)
    ]
    images = []
    for name in release_images(described):
        repository, tag = split_image(name)
        if not manifest["images"].get(repository, {}).get(tag):
            images.append(name)
    return files, images


def parse_sums(text, file):
    """The SHA-256 that a published list gives a file: one bare sum, or lines of sum and name. Empty when there is none.

    >>> parse_sums("ab" * 32 + "  runc.amd64\\n", "runc.amd64") == "ab" * 32
    True
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) == 1 and SHA256.fullmatch(lines[0][0]):
        return lines[0][0]
    for words in lines:
        if len(words) == 2 and words[1].lstrip("*").rpartition("/")[2] == file and SHA256.fullmatch(words[0]):
            return words[0]
    return ""
