#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_feature_flags
short_description: Enable RabbitMQ's stable feature flags, or require that they are enabled
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - A version can only join members whose feature flags it needs are enabled, so all stable ones are enabled after an
    upgrade and required before the next. Experimental ones are left alone.
extends_documentation_fragment:
  - selfhosted.ec2.rabbitmq
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference.
    support: none
options:
  state:
    description:
      - "V(enabled): enables all stable flags, once all members run the same version."
      - "V(required): fails when a stable flag is not enabled that all members know. What only some know is of the next
        version, in an upgrade that was cut off."
    type: str
    choices: [enabled, required]
    required: true
"""

EXAMPLES = r"""
- name: Enable what the new version brought
  selfhosted.ec2.rabbitmq_feature_flags:
    name: queue-1
    members: {queue-1: queue-1.trading.internal, queue-2: queue-2.trading.internal, queue-3: queue-3.trading.internal}
    ca_file: /etc/rabbitmq/tls/ca.crt
    password: "{{ platform_secrets['rabbitmq/admin_password'] }}"
    state: enabled
"""

RETURN = r"""
disabled:
  description: Stable flags that were not enabled.
  returned: always
  type: list
  elements: str
experimental:
  description: Experimental flags that are enabled.
  returned: always
  type: list
  elements: str
versions:
  description: Version of each member that answers.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq


def sort_flags(flags):
    """Return the names of stable flags that are not enabled, and of experimental ones that are.

    :arg flags: answer of C(GET /api/feature-flags).
    """
    disabled = sorted(f["name"] for f in flags if f["stability"] == "stable" and f["state"] != "enabled")
    experimental = sorted(f["name"] for f in flags if f["stability"] == "experimental" and f["state"] == "enabled")
    return disabled, experimental


def known_to_all(flags):
    """Return the flags without those that some member does not know."""
    return [flag for flag in flags if flag["state"] != "unavailable"]


def refusal(state, disabled, versions, members):
    """Return why O(state) cannot be reached, as a sentence; an empty text when it can."""
    if not disabled:
        return ""
    names = ", ".join(disabled)
    if state == "required":
        return (
            f"RabbitMQ's feature flags {names} are not enabled, and the next version may need them;"
            " enable them with the version that runs (rabbitmqctl enable_feature_flag all)."
        )
    away = sorted(set(members) - set(versions))
    if away or len(set(versions.values())) > 1:
        shown = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        return (
            f"RabbitMQ's feature flags {names} need all members with one version;"
            f" there are {shown}, and {', '.join(away) or 'none'} is away."
        )
    return ""


def main():
    module = AnsibleModule(
        argument_spec={
            **rabbitmq.argument_spec(),
            "state": {"type": "str", "choices": ["enabled", "required"], "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        cluster = rabbitmq.Cluster(params)
        versions = cluster.read()["versions"]
        with cluster.client(params["name"]) as client:
            flags = client.call("GET", "feature-flags")
            if params["state"] == "required":
                flags = known_to_all(flags)
            disabled, experimental = sort_flags(flags)
            answer = {"disabled": disabled, "experimental": experimental, "versions": versions}
            sentence = refusal(params["state"], disabled, versions, params["members"])
            if sentence:
                module.fail_json(msg=sentence, **answer)
            for name in disabled if not module.check_mode else []:
                client.call("PUT", "feature-flags", name, "enable", body={"name": name})
    except (OSError, rabbitmq.ApiError) as error:
        module.fail_json(msg=f"RabbitMQ's feature flags were not read or set: {error}.")
    module.exit_json(changed=bool(disabled), **answer)


if __name__ == "__main__":
    main()
