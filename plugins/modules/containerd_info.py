#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: containerd_info
short_description: What a host has for containers, and whether its containerd is well
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Tells the host's architecture and control group version, whether a package has brought a containerd of its own, and
    which version of this role's containerd runs.
  - With O(require) it waits until containerd answers with the wanted version and its parts for the kubelet work.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: The module changes nothing.
options:
  version:
    description: Version that is wanted.
    type: str
  require:
    description: With V(healthy), fails with what is wrong when it still is after O(wait).
    type: str
    choices: [nothing, healthy]
    default: nothing
"""

EXAMPLES = r"""
- name: health | Wait until containerd is well
  selfhosted.ec2.containerd_info:
    version: 2.3.7
    require: healthy
    wait: 60
"""

RETURN = r"""
architecture:
  description: Architecture as images name it, C(amd64) or C(arm64).
  returned: success
  type: str
cgroup_version:
  description: Version of the control groups that the host has mounted, 1 or 2.
  returned: success
  type: int
package:
  description: Path of a containerd that a package brought, empty when there is none.
  returned: success
  type: str
version:
  description: Version that runs, empty when none answers.
  returned: success
  type: str
faults:
  description: What keeps containerd from being well, one sentence each.
  returned: success
  type: list
  elements: str
change_fault:
  description: One sentence when the running version must not be replaced by the wanted one, empty when it may.
  returned: success
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, containerd, releases

PACKAGE = "/usr/bin/containerd"
SOCKET = "/run/containerd/containerd.sock"
PAUSE = 0.5  # seconds between two looks


def look(module):
    """Version and faults as containerd answers now."""
    command = module.get_bin_path("ctr", opt_dirs=["/usr/local/bin"])
    if not command or not os.path.exists(SOCKET):
        return "", containerd.faults("", "", {})
    _code, out, _err = module.run_command([command, "--connect-timeout", "5s", "version"])
    version = containerd.server_version(out)
    states = {}
    if version:
        _code, listed, _err = module.run_command([command, "plugins", "ls"])
        states = containerd.plugin_states(listed)
    return version, containerd.faults(version, module.params["version"], states)


def main():
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str"},
            **cluster_client.gate_options("healthy"),
        },
        supports_check_mode=True,
    )
    required = module.params["require"] == "healthy"
    (version, faults), sentence = cluster_client.wait_until(
        lambda: look(module), lambda found: " ".join(found[1]) if required else "", module.params["wait"], PAUSE
    )
    if sentence:
        module.fail_json(msg=sentence)
    module.exit_json(
        changed=False,
        architecture=releases.host_architecture(),
        cgroup_version=2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        package=PACKAGE if os.path.exists(PACKAGE) else "",
        version=version,
        faults=faults,
        change_fault=containerd.change_fault(version, module.params["version"] or version),
    )


if __name__ == "__main__":
    main()
