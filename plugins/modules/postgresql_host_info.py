#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_host_info
short_description: Read what a host holds of PostgreSQL before anything is changed on it
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads, in one execution, which data the volume holds, which packages are missing, how large the host is, and the
    parameters of the running server with the context in which each takes effect.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.info
attributes:
  platform:
    description: Debian hosts.
    platforms: debian
    support: full
options:
  directory:
    description: Where the data lies, in C(<version>/<scope>).
    type: path
    required: true
  files:
    description: Further files to tell of when they exist.
    type: list
    elements: path
    default: []
  packages:
    description: Debian packages that shall be installed, C(name) or C(name=version).
    type: list
    elements: str
    default: []
  parameters:
    description: Parameters of PostgreSQL to ask the running server for.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See what the host holds
  selfhosted.ec2.postgresql_host_info:
    directory: /var/lib/postgresql
    packages: [postgresql-17, patroni]
    parameters: [work_mem, shared_buffers]
"""

RETURN = r"""
files:
  description:
    - Files C(PG_VERSION) and C(restore_in_progress) up to two levels below O(directory), and those of O(files).
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Path.
      type: str
    mtime:
      description: Time of the last change of the content, in seconds since 1970.
      type: float
    size:
      description: Bytes.
      type: int
missing_packages:
  description: Packages that are not installed, or not in that version.
  returned: always
  type: list
  elements: str
memory_mib:
  description: Memory of the host.
  returned: always
  type: int
vcpus:
  description: Processors of the host.
  returned: always
  type: int
catalogue:
  description: What the server on this host says of the asked parameters, empty when none runs.
  returned: always
  type: dict
  sample: {"work_mem": {"setting": "4096", "unit": "kB", "vartype": "integer", "context": "user"}}
"""

import glob
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import postgresql_settings as settings


def found_files(directory, further):
    """Return path, mtime and size of the files that tell what a volume holds."""
    paths = [path for path in further if os.path.isfile(path)]
    for depth in ("", "*", "*/*"):
        for name in ("PG_VERSION", "restore_in_progress"):
            paths += glob.glob(os.path.join(glob.escape(directory), depth, name))
    states = [(path, os.stat(path)) for path in sorted(paths)]
    return [{"path": path, "mtime": state.st_mtime, "size": state.st_size} for path, state in states]


def missing_packages(wanted, listed):
    """Return the wanted packages that are not there.

    :arg listed: lines C(<name> <version> <status>) of dpkg-query; a status C(ii) or C(hi) is an installed package.
    """
    there = {}
    for name, version, status in (line.split() for line in listed.splitlines() if len(line.split()) == 3):
        if status in ("ii", "hi"):
            there[name] = version
    pairs = [(item, *item.partition("=")[::2]) for item in wanted]
    return [item for item, name, version in pairs if name not in there or version not in ("", there[name])]


def memory_mib(meminfo):
    """Return the memory in MiB, from the text of /proc/meminfo."""
    return next(int(line.split()[1]) // 1024 for line in meminfo.splitlines() if line.startswith("MemTotal:"))


def asked(catalogue, names):
    """Return the part of the catalogue about the names."""
    wanted = {name.lower() for name in names}
    return {name: known for name, known in catalogue.items() if name.lower() in wanted}


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "parameters": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    names = [item.partition("=")[0] for item in params["packages"]]
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Abbrev}\n", *names]
    # It fails when one of them is unknown, and lists the others all the same.
    listed = module.run_command(query)[1] if names else ""
    with open("/proc/meminfo") as file:
        memory = memory_mib(file.read())
    files = found_files(params["directory"], params["files"])
    catalogue = {}
    if params["parameters"] and any(os.path.basename(entry["path"]) == "PG_VERSION" for entry in files):
        catalogue = asked(settings.read_catalogue(module.run_command), params["parameters"])
    module.exit_json(
        changed=False,
        files=files,
        missing_packages=missing_packages(params["packages"], listed),
        memory_mib=memory,
        vcpus=len(os.sched_getaffinity(0)),
        catalogue=catalogue,
    )


if __name__ == "__main__":
    main()
