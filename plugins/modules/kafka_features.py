#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_features
short_description: Raise the feature levels of Kafka to what all nodes have
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - The second step of an upgrade. After it no node of an older release can join, so it is refused while a member does
    not answer, or runs another release than the others.
extends_documentation_fragment:
  - selfhosted.ec2.kafka
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the levels before and after.
    support: full
"""

EXAMPLES = r"""
- name: Finish the upgrade
  selfhosted.ec2.kafka_features:
    name: events-1
    nodes:
      events-1: {id: 1, host: events-1.trading.internal, broker: true, controller: true}
    home: /opt/kafka/kafka-4.3.1
    ca_file: /etc/kafka/tls/ca.crt
    cert_file: /etc/kafka/tls/node.pem
    password: "{{ platform_secrets['kafka/admin_password'] }}"
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, raised.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka


def plan(finalized, supported):
    """Return {feature: level} to raise.

    :arg finalized: levels that are in force.
    :arg supported: of each node, the highest level by feature.
    :raises ValueError: the nodes differ.

    >>> plan({"metadata.version": 29}, [{"metadata.version": 30}, {"metadata.version": 30}])
    {'metadata.version': 30}
    """
    for name in sorted({name for levels in supported for name in levels}):
        if len({levels.get(name) for levels in supported}) > 1:
            raise ValueError(f"the nodes have different levels of {name}, so they run different releases")
    return {name: level for name, level in sorted(supported[0].items()) if finalized.get(name, 0) < level}


def run(module):
    """Compare and raise; return the module's answer."""
    cluster = kafka.Cluster(module.params)
    views = []
    for names, connect in ((cluster.controllers, cluster.controller), (cluster.brokers, cluster.broker)):
        views.append([kafka.node_view(connect, name) for name in names])
        for view in views[-1]:
            if not view["reachable"]:
                raise kafka.KafkaError(view["error"])
    controllers, brokers = views
    finalized = controllers[0]["features"]
    plan(finalized, [view["supported"] for view in brokers])
    # Controllers know of features, such as kraft.version, that brokers do not.
    raised = plan(finalized, [view["supported"] for view in controllers])
    # The version of the metadata first: others need it.
    order = sorted(raised, key=lambda name: name != "metadata.version")
    if raised and not module.check_mode:
        with cluster.any_broker() as connection:
            for name in order:
                update = {"Feature": name, "MaxVersionLevel": raised[name]}
                connection.call("UpdateFeatures", {"FeatureUpdates": [update]})
    steps = [f"raise {name} from {finalized.get(name, 0)} to {raised[name]}" for name in order]
    diff = {"before": {name: finalized.get(name, 0) for name in raised}, "after": raised}
    return {"changed": bool(raised), "steps": steps, "diff": diff}


def main():
    module = AnsibleModule(argument_spec=kafka.argument_spec(), supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except (OSError, ValueError, kafka.KafkaError) as error:
        module.fail_json(msg=f"The features of Kafka were not raised: {error}.")


if __name__ == "__main__":
    main()
