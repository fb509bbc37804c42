#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_config
short_description: Bring a Patroni cluster's dynamic configuration to what is described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the dynamic configuration by Patroni's REST API, compares, and writes only what differs, by one PATCH.
  - Values that mean the same are equal, for example C(5) and C("5"), or C(true) and C(on).
  - Settings that O(config) does not name are left; parameters of PostgreSQL that it does not name are taken out.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the configuration before and after.
    support: full
options:
  url:
    description: REST API of a member.
    type: str
    required: true
  config:
    description: The settings, as Patroni's documentation names them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Set the timers
  selfhosted.ec2.patroni_config:
    url: https://database-1.trading.internal:8008
    config: {ttl: 20, loop_wait: 5, retry_timeout: 5}
    ca_file: /etc/patroni/tls/ca.crt
    cert_file: /etc/patroni/tls/postgresql.crt
    key_file: /etc/patroni/tls/postgresql.key
"""

RETURN = r"""
patch:
  description: What was, or in check mode would be, written.
  returned: success
  type: dict
parameters:
  description:
    - The changed parameters of PostgreSQL, each V(reload) or V(restart), as the context in the C(pg_settings) of the
      server on this host says, or V(unknown) where that has no such parameter or does not answer.
  returned: success
  type: dict
  sample: {"max_connections": "restart", "work_mem": "reload"}
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, patroni, postgresql_settings


def difference(before, after, parameters):
    """Return the configuration before and after, with what each changed parameter needs in the header."""
    words = ", ".join(f"{name}: {needs}" for name, needs in parameters.items())
    return {"before": before, "after": after, "after_header": f"after ({words})" if words else "after"}


def run(module):
    """Read, compare and write; return the module's answer.

    :raises patroni.PatroniError: Patroni does not answer, or refuses.
    """
    params = module.params
    client = patroni.Client(params["ca_file"], params["cert_file"], params["key_file"])
    url = params["url"] + "/config"
    status, body = client.request("GET", url)
    if status != 200:
        raise patroni.PatroniError(f"{url} answered {status}: {body.strip()[:300]}")
    current = json.loads(body)
    patch = patroni.config_patch(current, params["config"])
    if patch and not module.check_mode:
        status, body = client.request("PATCH", url, patch, timeout=15)
        if status != 200:
            raise patroni.PatroniError(f"{url} refused the change with {status}: {body.strip()[:300]}")
    after = patroni.merged(current, patch)
    changed = (patch.get("postgresql") or {}).get("parameters")
    parameters = patroni.labels(patch, postgresql_settings.read_catalogue(module.run_command)) if changed else {}
    return {
        "changed": bool(patch),
        "patch": patch,
        "parameters": parameters,
        "diff": difference(current, after, parameters),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "config": {"type": "dict", "required": True},
            **cluster_client.certificate_options(),
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, ValueError, patroni.PatroniError) as error:
        module.fail_json(msg=f"The configuration of the PostgreSQL cluster was not changed: {error}.")


if __name__ == "__main__":
    main()
