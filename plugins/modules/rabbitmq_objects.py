#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_objects
short_description: Bring RabbitMQ's users, vhosts, rights, policies, exchanges, queues and bindings to what is described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all definitions by one request, compares them by meaning, and sends a request for each difference.
  - Users, rights, policies, operator policies and limits are whole sets; what is not described is removed. A vhost, an
    exchange or a queue that is not described stays until O(absent) names it, and a queue goes only while it is empty
    and unused. Between a described exchange and a described queue the bindings are those described.
  - Passwords are compared with the kept hash, and sent as a hash.
  - Quorum queues, also those that clients made, get replicas on running members of O(members) until they
    have O(replicas).
extends_documentation_fragment:
  - selfhosted.ec2.rabbitmq
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the objects before and after, without passwords.
    support: full
options:
  users:
    description: All users besides O(user).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      password:
        description: Password.
        type: str
        required: true
      tags:
        description: Tags, for example C(monitoring).
        type: list
        elements: str
        default: []
      permissions:
        description: Rights in vhosts, as regular expressions; nothing where one is left out.
        type: list
        elements: dict
        default: []
        suboptions:
          vhost:
            description: Vhost.
            type: str
            required: true
          configure:
            description: What may be declared and deleted.
            type: str
          write:
            description: To what may be published.
            type: str
          read:
            description: From what may be consumed.
            type: str
      topic_permissions:
        description: Rights to routing keys of topic exchanges.
        type: list
        elements: dict
        default: []
        suboptions:
          vhost:
            description: Vhost.
            type: str
            required: true
          exchange:
            description: Exchange.
            type: str
            required: true
          write:
            description: Routing keys to publish with.
            type: str
          read:
            description: Routing keys to bind with.
            type: str
      limits:
        description: For example C(max-connections) and C(max-channels).
        type: dict
        default: {}
  vhosts:
    description:
      - The vhosts, each with C(name), C(description), C(tags), C(default_queue_type) (quorum), C(limits), C(policies),
        C(operator_policies), C(exchanges), C(queues) and C(bindings), with the names of the management API.
    type: list
    elements: dict
    default: []
  parameters:
    description: Parameters of plugins, each with C(component), C(vhost), C(name), C(value).
    type: list
    elements: dict
    default: []
  global_parameters:
    description: Global parameters, name to value.
    type: dict
    default: {}
  absent:
    description: Vhosts, exchanges, queues and parameters to remove, each a list of the kind's name and its key.
    type: list
    elements: list
    default: []
  replicas:
    description: Members of a quorum queue; 0 leaves them as they are.
    type: int
    default: 0
  node_host:
    description: This host's name as the node's name has it, to set the password of O(user) when it is another one.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: A vhost with a queue
  selfhosted.ec2.rabbitmq_objects:
    name: queue-1
    members: {queue-1: queue-1.trading.internal}
    node_host: queue-1.trading.internal
    ca_file: /etc/rabbitmq/tls/ca.crt
    password: "{{ platform_secrets['rabbitmq/admin_password'] }}"
    vhosts:
      - name: trading
        exchanges: [{name: notices, type: topic}]
        queues: [{name: notices}]
        bindings: [{source: notices, destination: notices, routing_key: "#"}]
    absent: [[queues, trading, old-notices]]
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done, without passwords.
  returned: always
  type: list
  elements: str
"""

import json
import os
import shutil
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq, rabbitmq_objects

#: A queue's members change one by one, each once most of them have the change before.
CHANGE_SECONDS = 60
PERMISSION = {key: {"type": "str"} for key in ("configure", "write", "read")}
USER = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "tags": {"type": "list", "elements": "str", "default": []},
    "permissions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"vhost": {"type": "str", "required": True}, **PERMISSION},
    },
    "topic_permissions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "vhost": {"type": "str", "required": True},
            "exchange": {"type": "str", "required": True},
            "write": {"type": "str"},
            "read": {"type": "str"},
        },
    },
    "limits": {"type": "dict", "default": {}},
}


def admit(module, cluster):
    """Return whether this host's member takes the administrator's password; else set it by RabbitMQ's own command."""
    params = module.params
    try:
        with cluster.client(params["name"]) as client:
            client.call("GET", "whoami")
        return True
    except rabbitmq.Refused as error:
        if error.status != 401:
            raise
    if not module.check_mode:
        set_password(module)
        await_login(cluster, params["name"])
    return False


def await_login(cluster, name):
    """Wait until a member takes the password; the import goes on for a moment after the command has ended.

    :raises rabbitmq.ApiError: it does not within ten seconds.
    """
    end = time.monotonic() + 10
    while True:
        try:
            with cluster.client(name) as client:
                client.call("GET", "whoami")
            return
        except rabbitmq.Refused:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def set_password(module):
    """Let the node import the administrator with the hash of its password, from a file that only its user reads."""
    params = module.params
    user = {
        "name": params["user"],
        "password_hash": rabbitmq.password_hash(params["password"], os.urandom(4)),
        "hashing_algorithm": rabbitmq_objects.HASHING,
        "tags": ["administrator"],
    }
    # RabbitMQ's command reads a password from a terminal only, and an argument would show it to all.
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="rabbitmq-user-", suffix=".json") as handle:
        json.dump({"users": [user]}, handle)
        handle.flush()
        shutil.chown(handle.name, "rabbitmq")
        node = rabbitmq.node_name(params["node_host"])
        code, output, errors = module.run_command(
            ["rabbitmqctl", "--node", node, "--longnames", "import_definitions", handle.name]
        )
    if code != 0:
        raise rabbitmq.ApiError(
            f"the password of {params['user']} could not be set: {(errors or output).strip()[-300:]}"
        )


def apply(client, steps):
    """Send the requests."""
    for step in steps:
        if step.method == "DELETE" and step.path[0] == "bindings":
            remove_binding(client, step)
        else:
            client.call(step.method, *step.path, body=step.body, query=step.query)


def remove_binding(client, step):
    """Remove a binding, whose last part of the path only the server knows."""
    for item in client.call("GET", *step.path):
        if all(item[name] == value for name, value in step.before.items()):
            client.call("DELETE", *step.path, item["properties_key"])


def grow(client, params, steps, check_mode):
    """Give quorum queues the replicas that they lack."""
    if not params["replicas"]:
        return
    # One that runs and is not described is about to leave.
    described = {rabbitmq.node_name(host) for host in params["members"].values()}
    running = [node["name"] for node in client.call("GET", "nodes") if node.get("running")]
    nodes = [node for node in running if node in described]
    queues = client.call("GET", "queues", query="?disable_stats=true&enable_queue_totals=true")
    quorum = [queue for queue in queues if queue.get("type") == "quorum"]
    for queue, node in rabbitmq_objects.growth(quorum, nodes, params["replicas"]):
        steps.append(f"replica of queue {queue['name']} of {queue['vhost']} on {node}")
        if not check_mode:
            add_replica(client, queue, node)


def add_replica(client, queue, node):
    """Give a quorum queue a replica on a node, once the queue's members have agreed on the change before.

    :raises rabbitmq.ApiError: the request failed, or they have not within I(CHANGE_SECONDS).
    """
    path = ("queues", "quorum", queue["vhost"], queue["name"], "replicas", "add")
    end = time.monotonic() + CHANGE_SECONDS
    while True:
        try:
            client.call("POST", *path, body={"node": node})
            return
        except rabbitmq.Refused as error:
            if "cluster_change_not_permitted" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.5)


def bring(module):
    """Read, compare and set; return the module's answer.

    :raises rabbitmq.ApiError: a request failed.
    :raises OSError: the certificates cannot be read.
    :raises ValueError: something cannot be changed in place.
    """
    params, cluster = module.params, rabbitmq.Cluster(module.params)
    texts = []
    if not admit(module, cluster):
        texts.append(f"set the password of {params['user']}")
        if module.check_mode:
            # Nothing else can be read until it is set.
            return {"changed": True, "steps": texts}
    admin = {"name": params["user"], "password": params["password"], "tags": ["administrator"]}
    description = {key: params[key] for key in ("vhosts", "parameters", "global_parameters")}
    description.update(users=[admin, *params["users"]], admin=params["user"])
    wanted = rabbitmq_objects.desired(description)
    # The first vhost is there from the beginning, and the administrator's.
    wanted["permissions"].setdefault(("/", params["user"]), {"configure": ".*", "write": ".*", "read": ".*"})
    absent = [(kind, tuple(key)) for kind, *key in params["absent"]]
    with cluster.client(params["name"]) as client:
        known = rabbitmq_objects.found(client.call("GET", "definitions"))
        steps = rabbitmq_objects.plan(wanted, known, absent, keep_users=(params["user"],))
        if not module.check_mode:
            apply(client, steps)
        texts += [step.text for step in steps]
        grow(client, params, texts, module.check_mode)
    diff = {side: {step.text: getattr(step, side) for step in steps} for side in ("before", "after")}
    return {"changed": bool(texts), "steps": texts, "diff": diff}


def main():
    module = AnsibleModule(
        argument_spec={
            **rabbitmq.argument_spec(),
            "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
            "vhosts": {"type": "list", "elements": "dict", "default": []},
            "parameters": {"type": "list", "elements": "dict", "default": []},
            "global_parameters": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "list", "default": []},
            "replicas": {"type": "int", "default": 0},
            "node_host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**bring(module))
    except ValueError as error:
        module.fail_json(msg=str(error))
    except (OSError, rabbitmq.ApiError) as error:
        module.fail_json(msg=f"RabbitMQ was not brought to what is described: {error}.")


if __name__ == "__main__":
    main()
