#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_files
short_description: Keep files as they are before a change, and bring them back
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - What was kept stays until it is dropped, so that a change that was cut off and begun anew does not take its own half
    for the state before.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference; the files may hold secrets.
    support: none
options:
  directory:
    description: Where the copies are kept.
    type: path
    required: true
  files:
    description: Files to keep, patterns of the shell; needed unless the copies are dropped.
    type: list
    elements: str
    default: []
  state:
    description:
      - "V(kept): there are copies; those that are there already are left alone."
      - "V(restored): each file is as it was kept, where it was; files of the patterns that were not kept are removed."
      - "V(dropped): there are no copies."
    type: str
    choices: [kept, restored, dropped]
    required: true
"""

EXAMPLES = r"""
- name: Keep the manifests
  selfhosted.ec2.kept_files:
    directory: /etc/kubernetes/platform/before
    files: [/etc/kubernetes/manifests/*.yaml]
    state: kept
"""

RETURN = r"""
files:
  description: Files that were, or in check mode would be, kept or changed.
  returned: always
  type: list
  elements: str
"""

import glob
import json
import os
import shutil
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import atomic_files

INDEX = "index.json"


def found(patterns):
    """Return the files of patterns, sorted."""
    return sorted(path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path))


def copy_of(directory, number, path):
    """Return where a file's copy is; files of several directories may have the same name."""
    return os.path.join(directory, f"{number}-{os.path.basename(path)}")


def keep(directory, patterns, check_mode):
    """Copy the files, all or none; return those that were copied."""
    if os.path.exists(directory):
        return []
    paths = found(patterns)
    if not check_mode:
        fresh = directory + ".new"
        shutil.rmtree(fresh, ignore_errors=True)
        os.makedirs(fresh, mode=0o700)
        for number, path in enumerate(paths):
            shutil.copy2(path, copy_of(fresh, number, path))
        with open(os.path.join(fresh, INDEX), "w", encoding="utf-8") as handle:
            json.dump(paths, handle)
        os.rename(fresh, directory)
    return paths


def content(path):
    """Return the content of a file, None without it."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as handle:
        return handle.read()


def restore(directory, patterns, check_mode):
    """Bring the files back, each atomically; return those that changed.

    :raises OSError, ValueError, FileError: nothing was kept, or a file cannot be read.
    """
    with open(os.path.join(directory, INDEX), encoding="utf-8") as handle:
        kept = json.load(handle)
    changed = []
    for number, path in enumerate(kept):
        copy = copy_of(directory, number, path)
        before = content(copy)
        if content(path) == before:
            continue
        changed.append(path)
        if not check_mode:
            # By a file beside it, since the directory may be a mount; the kubelet takes none with a dot for a manifest.
            mode = stat.S_IMODE(os.stat(copy).st_mode)
            previous = atomic_files.read_state(path)
            atomic_files.write_atomic(path, before, atomic_files.Account(), mode, previous)
    for path in sorted(set(found(patterns)) - set(kept)):
        changed.append(path)
        if not check_mode:
            os.unlink(path)
    return changed


def drop(directory, check_mode):
    """Remove the copies; return their directory, if it was there."""
    if not os.path.exists(directory):
        return []
    if not check_mode:
        shutil.rmtree(directory)
    return [directory]


def run(params, check_mode):
    """Return the files that changed."""
    if params["state"] == "dropped":
        return drop(params["directory"], check_mode)
    return {"kept": keep, "restored": restore}[params["state"]](params["directory"], params["files"], check_mode)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["kept", "restored", "dropped"], "required": True},
        },
        required_if=[("state", "kept", ("files",)), ("state", "restored", ("files",))],
        supports_check_mode=True,
    )
    try:
        files = run(module.params, module.check_mode)
    except (OSError, ValueError, atomic_files.FileError) as error:
        module.fail_json(msg=f"The files of {module.params['directory']} were not {module.params['state']}: {error}.")
    module.exit_json(changed=bool(files), files=files)


if __name__ == "__main__":
    main()
