#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: container_images
short_description: Import container images by digest, or keep them in a bundle
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Brings images into containerd that are not there with the digest given, and keeps the kubelet from collecting them
    as garbage. All images of a role take one module execution.
  - An image comes as an archive of the OCI layout from O(mirror), else from its registry without a login. Every blob is
    checked against its digest, up to the one given, and every archive before the first image is imported.
  - With O(state=bundled) the archives are kept in a directory that serves as O(mirror) where there is no network, and
    with O(state=verified) such a directory is checked.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Reports what would be imported, without a download.
  diff_mode:
    support: full
    description: One line per image.
options:
  images:
    description: The images.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name with registry and tag, such as C(registry.k8s.io/pause:3.10.2).
        type: str
        required: true
      digest:
        description: Digest of its manifest or index, C(sha256:) and 64 hexadecimal digits.
        type: str
        required: true
  mirror:
    description:
      - Base address, or absolute path, with the archives, at
        C(<mirror>/images/<tag>/<registry and repository, / as _>-<architecture>.tar).
    type: str
  bundle:
    description: Directory of the bundle. Needed unless O(state=present).
    type: path
  state:
    description:
      - With V(present), what is not in containerd is imported.
      - With V(bundled), what is not in O(bundle), or not as its digest says, is brought there.
      - With V(verified), fails with the first image that O(bundle) lacks, or that is not what its digest says.
    type: str
    choices: [present, bundled, verified]
    default: present
  architecture:
    description: Architecture of the images, that of the host by default.
    type: str
    choices: [amd64, arm64]
  owner:
    description: >-
      Who wants the images, which they are labelled with. An image that several want is kept until the last of them
      gives it up.
    type: str
  release:
    description:
      - Gives up what O(owner) wanted before and wants no longer, so that the kubelet may collect it. An image that runs
        is never collected.
      - Leave it off while the former images may still be needed, as before an upgrade.
    type: bool
    default: false
  namespace:
    description: Namespace of containerd.
    type: str
    default: k8s.io
  timeout:
    description: Seconds without data after which an address is given up.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: images | Import what the control plane runs
  selfhosted.ec2.container_images:
    mirror: "{{ platform_artifact_mirror | default(omit) }}"
    owner: kubernetes
    release: true
    images:
      - name: registry.k8s.io/pause:3.10.2
        digest: sha256:5cf9a1e0f6a4b6e9f0a0d1a2a1c1f0b9a7e6d5c4b3a291807f6e5d4c3b2a1908
"""

RETURN = r"""
imported:
  description: Names of the images that were (in check mode would be) imported, or brought into the bundle.
  returned: state is not verified
  type: list
  elements: str
pinned:
  description: Names of the images that were (in check mode would be) labelled, to keep them from collection.
  returned: state is present
  type: list
  elements: str
released:
  description: Names of the images that O(owner) gave up (in check mode would give up).
  returned: state is present
  type: list
  elements: str
"""

import contextlib
import os
import shutil
import tempfile
from urllib.error import URLError

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import oci, registry_client, releases

PINNED = "io.cri-containerd.pinned=pinned"
OWNER = "selfhosted.ec2/images-"
SCRATCH = "/var/tmp"  # noqa: S108 (a directory of its own is made there, with room for images)


def parse_list(text):
    """Images as C(ctr images ls) prints them: name to (digest, labels).

    >>> parse_list("REF TYPE DIGEST SIZE PLATFORMS LABELS\\na.io/b:1 x/y sha256:00 1.2 MiB linux/amd64 k=v\\n")
    {'a.io/b:1': ('sha256:00', frozenset({'k=v'}))}
    """
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 2:
            found[words[0]] = (words[2], frozenset(words[-1].split(",")))
    return found


def labels_of(owner):
    """The labels of an image that somebody wants."""
    return [PINNED, *(["%s%s=wanted" % (OWNER, owner)] if owner else [])]


def plan(images, held, owner=""):
    """Images to import, and names to label; those that are imported are labelled besides."""
    missing = [image for image in images if held.get(image["name"], ("", ()))[0] != image["digest"]]
    names = {image["name"] for image in missing}
    wanted = set(labels_of(owner))
    return missing, [
        image["name"] for image in images if image["name"] in names or wanted - set(held[image["name"]][1])
    ]


def given_up(images, held, owner):
    """Names that an owner no longer wants, each with the labels to take away: the last owner's end the pin, too."""
    wanted = {image["name"] for image in images}
    own = labels_of(owner)[-1]
    found = {}
    for name, (_digest, labels) in sorted(held.items()):
        if own in labels and name not in wanted:
            others = [label for label in labels if label.startswith(OWNER) and label != own]
            # A label goes by an empty value.
            found[name] = [label.partition("=")[0] + "=" for label in ([own] if others else [own, PINNED])]
    return found


class Source:
    """Where archives come from: a directory, an address, or each image's registry."""

    def __init__(self, mirror, architecture, timeout):
        self.mirror = (mirror or "").rstrip("/")
        self.architecture = architecture
        self.client = registry_client.Client("selfhosted.ec2.container_images", timeout)

    def archive(self, image, scratch):
        """An archive that was checked, in the scratch directory unless the mirror is one. Raises OciError."""
        where = oci.archive_path(image["name"], self.architecture)
        if os.path.isabs(self.mirror):
            path = os.path.join(self.mirror, where)
            if not os.path.isfile(path):
                raise oci.OciError("The archive of image %s is not in %s: %s." % (image["name"], self.mirror, where))
        else:
            path = os.path.join(scratch, where.replace("/", "_"))
            if not self.mirror:
                oci.Registry(image["name"], self.client.send).pull(image["digest"], self.architecture, path)
                return path
            self.download("%s/%s" % (self.mirror, where), path, image["name"])
        oci.check_archive(path, image["name"], image["digest"], self.architecture)
        return path

    def download(self, url, path, name):
        """Raises OciError."""
        try:
            with self.client.open(url) as answer, open(path, "wb") as stream:
                shutil.copyfileobj(answer, stream, oci.CHUNK)
        except (URLError, ValueError, OSError) as error:
            raise oci.OciError("The archive of image %s could not be had: %s: %s." % (name, url, error)) from error


class Runtime:
    """containerd's images, by its own command."""

    def __init__(self, module):
        self.module = module
        self.command = module.get_bin_path("ctr", opt_dirs=["/usr/local/bin"])

    def run(self, *arguments):
        """Output of one command. Raises OciError."""
        line = [self.command, "--namespace", self.module.params["namespace"], "images", *arguments]
        code, out, err = self.module.run_command(line)
        if code:
            raise oci.OciError("containerd refused `ctr images %s`: %s." % (" ".join(arguments), err.strip()[-500:]))
        return out

    def held(self):
        """What is there; nothing, in check mode, on a host that has no containerd yet."""
        if not self.command or (self.module.check_mode and not os.path.exists("/run/containerd/containerd.sock")):
            if self.module.check_mode:
                return {}
            raise oci.OciError("There is no ctr on this host; containerd has to be installed and run first.")
        return parse_list(self.run("ls"))

    def load(self, images, paths):
        """Import archives and make sure that the names stand for the digests. Raises OciError."""
        for image in images:
            self.run("import", paths[image["name"]])
        held = self.held()
        for image in images:
            found = held.get(image["name"], ("nothing", ()))[0]
            if found != image["digest"]:
                raise oci.OciError("After its import %s is %s instead of %s." % (image["name"], found, image["digest"]))


def import_images(module, source, images):
    """Import what is missing. Raises OciError."""
    runtime, owner = Runtime(module), module.params["owner"]
    held = runtime.held()
    missing, unpinned = plan(images, held, owner)
    released = given_up(images, held, owner) if module.params["release"] else {}
    if not module.check_mode:
        scratch = tempfile.mkdtemp(prefix="container-images-", dir=SCRATCH)
        try:
            paths = {image["name"]: source.archive(image, scratch) for image in missing}
            if missing:
                runtime.load(missing, paths)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        for name in unpinned:
            runtime.run("label", name, *labels_of(owner))
        for name, labels in released.items():
            runtime.run("label", name, *labels)
    return {"imported": [image["name"] for image in missing], "pinned": unpinned, "released": list(released)}


def fill_bundle(module, source, images):
    """Bring archives into a bundle, each in place by rename. Raises OciError."""
    added = []
    for image in images:
        path = os.path.join(module.params["bundle"], oci.archive_path(image["name"], source.architecture))
        try:
            oci.check_archive(path, image["name"], image["digest"], source.architecture)
            continue
        except (oci.OciError, FileNotFoundError):
            added.append(image["name"])
        if module.check_mode:
            continue
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=".image-", dir=os.path.dirname(path))
        try:
            found = source.archive(image, scratch)
            new = os.path.join(scratch, "ready")
            shutil.copyfile(found, new)
            with contextlib.suppress(OSError):
                os.chmod(new, 0o644)
            os.rename(new, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return {"imported": added}


def main():
    module = AnsibleModule(
        argument_spec={
            "images": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": {"type": "str", "required": True}, "digest": {"type": "str", "required": True}},
            },
            "mirror": {"type": "str"},
            "bundle": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "bundled", "verified"], "default": "present"},
            "architecture": {"type": "str", "choices": ["amd64", "arm64"]},
            "owner": {"type": "str"},
            "release": {"type": "bool", "default": False},
            "namespace": {"type": "str", "default": "k8s.io"},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "bundled", ["bundle"]), ("state", "verified", ["bundle"]), ("release", True, ["owner"])],
        supports_check_mode=True,
    )
    images, state = module.params["images"], module.params["state"]
    architecture = module.params["architecture"] or releases.host_architecture()
    source = Source(
        module.params["bundle"] if state == "verified" else module.params["mirror"],
        architecture,
        module.params["timeout"],
    )
    try:
        for image in images:
            oci.parse_reference(image["name"])
            oci.check_digest(image["name"], image["digest"])
        if state == "present":
            result = import_images(module, source, images)
        elif state == "bundled":
            result = fill_bundle(module, source, images)
        else:
            for image in images:
                source.archive(image, "")
            result = {}
    except oci.OciError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename or "The images cannot be imported", error.strerror))
    names = sorted({name for key in ("imported", "pinned", "released") for name in result.get(key, [])})
    result["changed"] = bool(names)
    if module._diff and names:
        result["diff"] = {"before": "", "after": "".join("%s\n" % name for name in names)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
