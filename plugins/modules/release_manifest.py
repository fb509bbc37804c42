#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: release_manifest
short_description: Look up what a manifest of releases lacks
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Writes a manifest of releases in which nothing is missing for one Kubernetes version. What O(manifest) has is taken
    over and never looked up; a SHA-256 that it lacks is read from the list that the project publishes beside the
    file, a digest from the image's registry.
  - What was looked up is trusted as far as the address and its certificate are; compare it with another source before
    it is kept.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Looks up nothing, and tells what is missing.
  diff_mode:
    support: full
    description: One line per item that was looked up.
options:
  manifest:
    description: The manifest, as the filter P(selfhosted.ec2.release_manifest#filter) reads it.
    type: dict
    required: true
  kubernetes_version:
    description: Kubernetes version, C(1.37) or C(1.37.2); one with a patch replaces that of the release.
    type: str
    required: true
  images:
    description: Further images to have a digest of.
    type: list
    elements: str
    default: []
  architectures:
    description: Architectures to have files for.
    type: list
    elements: str
    choices: [amd64, arm64]
    default: [amd64]
  dest:
    description: File to write.
    type: path
    required: true
  timeout:
    description: Seconds without data after which an address is given up.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: bundle | Look up what the manifest lacks
  selfhosted.ec2.release_manifest:
    manifest: "{{ '' | selfhosted.ec2.release_manifest }}"
    kubernetes_version: "1.37"
    dest: /srv/bundle/manifest.json
"""

RETURN = r"""
looked_up:
  description: Files and images that were (in check mode would be) looked up.
  returned: success
  type: list
  elements: str
"""

import copy
import json
import os
from urllib.error import URLError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.selfhosted.ec2.plugins.module_utils import oci, registry_client, releases
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import Account, FileError, write_atomic

AGENT = "selfhosted.ec2.release_manifest"


def sum_of(manifest, item, read):
    """The SHA-256 of a file from the published list. Raises ManifestError."""
    name, version, architecture = item
    entry = manifest["files"][name]
    url = releases.url_of(entry, version, architecture)
    source = entry.get("sums", "").format(url=url, version=version, arch=architecture)
    if not source:
        raise releases.ManifestError("The manifest names no list of sums of %s; add %s by hand." % (name, version))
    found = releases.parse_sums(read(source), url.rpartition("/")[2])
    if not found:
        raise releases.ManifestError("%s has no SHA-256 of %s %s for %s." % (source, name, version, architecture))
    return found


def complete(manifest, version, images, architectures, read, digest):
    """A copy of the manifest in which nothing is missing, and what was looked up. Raises ManifestError, OciError.

    :arg read: function(url) that returns a text.
    :arg digest: function(image) that returns what its registry has.
    """
    whole = copy.deepcopy(manifest)
    described = releases.release(whole, version)
    if version.count(".") == 2:
        described["kubernetes"] = version.removeprefix("v")
    files, lacking = releases.missing(whole, described, architectures)
    for name in images:
        repository, tag = releases.split_image(name)
        if tag not in whole["images"].get(repository, {}) and name not in lacking:
            lacking.append(name)
    for item in files:
        name, release, architecture = item
        whole["files"][name]["sha256"].setdefault(release, {})[architecture] = sum_of(whole, item, read)
    for name in lacking:
        repository, tag = releases.split_image(name)
        whole["images"].setdefault(repository, {})[tag] = digest(name)
    return whole, [" ".join(item) for item in files] + lacking


def main():
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "dict", "required": True},
            "kubernetes_version": {"type": "str", "required": True},
            "images": {"type": "list", "elements": "str", "default": []},
            "architectures": {"type": "list", "elements": "str", "choices": ["amd64", "arm64"], "default": ["amd64"]},
            "dest": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    options = module.params
    client = registry_client.Client(AGENT, options["timeout"])

    def read(url):
        with open_url(url, timeout=options["timeout"], http_agent=AGENT) as answer:
            return answer.read(oci.LIMIT).decode()

    def pretend(_what):
        return "0" * 64

    try:
        manifest = releases.check(options["manifest"])
        whole, looked_up = complete(
            manifest,
            options["kubernetes_version"],
            options["images"],
            options["architectures"],
            pretend if module.check_mode else read,
            pretend if module.check_mode else (lambda name: oci.Registry(name, client.send).digest()),
        )
        content = json.dumps(whole, indent=1, sort_keys=True) + "\n"
        before = ""
        if os.path.exists(options["dest"]):
            with open(options["dest"], encoding="utf-8") as stream:
                before = stream.read()
        changed = before != content
        if changed and not module.check_mode:
            os.makedirs(os.path.dirname(options["dest"]), mode=0o755, exist_ok=True)
            write_atomic(options["dest"], content.encode(), Account(), 0o644)
    except (releases.ManifestError, oci.OciError, FileError) as error:
        module.fail_json(msg=str(error))
    except (URLError, OSError, ValueError) as error:
        module.fail_json(msg="What the manifest lacks could not be looked up: %s." % error)
    result = {"changed": changed, "looked_up": looked_up}
    if module._diff and looked_up:
        result["diff"] = {"before": "", "after": "".join("%s\n" % name for name in looked_up)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
