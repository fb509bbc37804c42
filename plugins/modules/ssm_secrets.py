#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssm_secrets
short_description: Creates missing secrets in SSM Parameter Store
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Lists what is below a path, and creates what is missing as SecureString with a random value. What exists stays,
    unless O(secrets[].replace) is set.
  - Values are neither returned nor shown.
  - The kind V(ca) is a pair, C(<name>/key) and C(<name>/certificate), an EC P-256 certificate authority for ten years.
    The key is written first; a key whose certificate is missing gets one, a certificate without its key is an error.
extends_documentation_fragment:
  - selfhosted.ec2.aws
attributes:
  check_mode:
    description: Reads, and returns the names that a run would create.
    support: full
  diff_mode:
    description: Shows the names that are created, never a value.
    support: full
options:
  path:
    description: Path of the secrets, such as C(/trading).
    type: str
    required: true
  state:
    description: With V(absent) everything below O(path) is deleted.
    type: str
    choices: [present, absent]
    default: present
  secrets:
    description: Secrets that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name below O(path), such as C(postgresql/superuser_password).
        type: str
        required: true
      kind:
        description: A random text, an EC P-256 private key or a certificate authority.
        type: str
        choices: [random, key, ca]
        default: random
      common_name:
        description: Common name of a new certificate authority, O(common_name) by default.
        type: str
      length:
        description: Number of characters.
        type: int
        default: 32
      alphabet:
        description: Characters to choose from; letters and digits by default.
        type: str
      value:
        description: A text to write instead of a random one. It is not kept out of logs, so it must be no secret.
        type: str
      copy_of:
        description: Name of another secret below O(path), whose value this one shall have, whatever it has.
        type: str
      replace:
        description:
          - Write over what exists, always with a new random text, or where it is not the given O(secrets[].value).
        type: bool
        default: false
  common_name:
    description: Common name of a new certificate authority.
    type: str
    default: platform CA
  tags:
    description: Tags of new parameters.
    type: dict
    default: {}
requirements:
  - cryptography
"""

EXAMPLES = r"""
- name: Secrets of the platform
  selfhosted.ec2.ssm_secrets:
    path: /trading
    tags: {platform: trading, environment: production}
    secrets:
      - {name: ca, kind: ca}
      - {name: postgresql/superuser_password, length: 32}
"""

RETURN = r"""
replaced:
  description: Names of the parameters that were written over, or in check mode would be.
  returned: always
  type: list
  elements: str
created:
  description: Names of the parameters that were created, or in check mode would be.
  returned: always
  type: list
  elements: str
deleted:
  description: Names of the parameters that were deleted, or in check mode would be.
  returned: always
  type: list
  elements: str
"""

import re

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, secrets_plan

PAGE = 10
NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\Z")
MAX_LENGTH = 2048


def faults(params):
    """Return what is wrong with the options, one sentence each."""
    found = []
    if not re.match(r"/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\Z", params["path"]):
        found.append(f"path is {params['path']!r}; it must begin with / and not end with it, such as /trading.")
    names = [entry["name"] for entry in params["secrets"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"The secret {name} is there twice; each name may stand there once.")
    for entry in params["secrets"]:
        found += secret_faults(entry)
    return found


def secret_faults(entry):
    name = entry["name"]
    if not NAME.match(name):
        return [f"The secret {name!r} has no valid name; it must be like postgresql/superuser_password."]
    if entry.get("copy_of"):
        good = NAME.match(entry["copy_of"])
        return [] if good else [f"The secret {name} cannot be a copy of {entry['copy_of']!r}, which is no name."]
    if entry["kind"] != "random":
        what = "certificate authority" if entry["kind"] == "ca" else "key"
        return [f"The {what} {name} cannot be replaced."] if entry["replace"] else []
    if entry["value"] is not None:
        return [] if entry["value"] else [f"The value of the secret {name} is empty; give a text."]
    found = []
    if not 8 <= entry["length"] <= MAX_LENGTH:
        found.append(f"The secret {name} has the length {entry['length']}; it must be 8 to {MAX_LENGTH}.")
    if entry["alphabet"] is not None and len(set(entry["alphabet"])) < 10:
        found.append(f"The alphabet of the secret {name} has fewer than 10 characters; give more to choose from.")
    return found


def existing(ssm, path):
    """Return the names below the path; values stay encrypted."""
    entries = ssm.pages(
        "get_parameters_by_path", "Parameters", Path=path, Recursive=True, WithDecryption=False, MaxResults=PAGE
    )
    return {entry["Name"][len(path) + 1 :] for entry in entries}


class Store:
    """Writes below one path; a parameter that somebody else has just made stays as it is."""

    def __init__(self, ssm, path, tags):
        self.ssm, self.path, self.tags = ssm, path, tags

    def put(self, name, value, overwrite=False):
        arguments = {"Name": f"{self.path}/{name}", "Value": value, "Type": "SecureString", "Overwrite": overwrite}
        # SSM takes no tags where it overwrites; those that are there stay.
        if self.tags and not overwrite:
            arguments["Tags"] = aws.tag_list(self.tags)
        try:
            self.ssm.call("put_parameter", **arguments)
        except aws.AwsError as error:
            if error.code != "ParameterAlreadyExists":
                raise

    def get(self, name):
        answer = self.ssm.call("get_parameter", Name=f"{self.path}/{name}", WithDecryption=True)
        return answer["Parameter"]["Value"]


def to_replace(secrets, have, store):
    """Return the entries to write over: those with a random text, and those that hold another than the given one."""
    asked = [entry for entry in secrets if entry["replace"] and entry["name"] in have]
    return [
        dict(entry, overwrite=True)
        for entry in asked
        if entry["value"] is None or store.get(entry["name"]) != entry["value"]
    ]


def to_copy(secrets, have, store):
    """Return the entries that shall have the value of another secret and have not."""
    found = []
    for entry in secrets:
        if entry.get("copy_of"):
            value, known = store.get(entry["copy_of"]), entry["name"] in have
            if not known or store.get(entry["name"]) != value:
                found.append({"name": entry["name"], "kind": "copy", "value": value, "overwrite": known})
    return found


def create(plan, store, common_name):
    """Carry out the plan of C(secrets_plan.plan)."""
    for entry in plan:
        if entry["kind"] == "random":
            text = secrets_plan.random_text(entry["length"], entry["alphabet"])
            store.put(entry["name"], entry["value"] or text, entry.get("overwrite", False))
        elif entry["kind"] == "copy":
            store.put(entry["name"], entry["value"], entry["overwrite"])
        elif entry["kind"] == "key":
            store.put(entry["name"], secrets_plan.new_key())
        else:
            # Read back: the key that won, whoever wrote it.
            key = store.get(entry["key"])
            store.put(entry["name"], secrets_plan.ca_certificate(key, entry.get("common_name") or common_name))


def manage(params, ssm, check_mode):
    """Compare, create or delete unless in check mode, and return the module's result. Raises AwsError."""
    found = faults(params)
    if found:
        raise aws.AwsError(" ".join(found))
    path = params["path"]
    have = existing(ssm, path)
    if params["state"] == "absent":
        names = sorted(have)
        for first in range(0, len(names) if not check_mode else 0, PAGE):
            ssm.call("delete_parameters", Names=[f"{path}/{name}" for name in names[first : first + PAGE]])
        return outcome(path, [], names)
    store = Store(ssm, path, params["tags"])
    try:
        made = [entry for entry in params["secrets"] if not entry.get("copy_of")]
        plan = secrets_plan.plan(made, have)
        plan += to_replace(made, have, store) + to_copy(params["secrets"], have, store)
    except ValueError as error:
        raise aws.AwsError(f"Below {path}: {error}") from error
    if not check_mode:
        create(plan, store, params["common_name"])
    replaced = [entry["name"] for entry in plan if entry.get("overwrite")]
    return outcome(path, [entry["name"] for entry in plan if not entry.get("overwrite")], [], replaced)


def outcome(path, created, deleted, replaced=()):
    before = "".join(f"{path}/{name}\n" for name in [*deleted, *replaced])
    after = "".join(f"{path}/{name}\n" for name in created)
    after += "".join(f"{path}/{name} (new value)\n" for name in replaced)
    return {
        "changed": bool(created or deleted or replaced),
        "created": created,
        "deleted": deleted,
        "replaced": list(replaced),
        "diff": {"before": before, "after": after},
    }


def argument_spec():
    secret = {
        "name": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": ["random", "key", "ca"], "default": "random"},
        "common_name": {"type": "str"},
        "length": {"type": "int", "default": 32},
        "alphabet": {"type": "str"},
        "value": {"type": "str"},
        "copy_of": {"type": "str"},
        "replace": {"type": "bool", "default": False},
    }
    return {
        **aws.argument_spec(),
        "path": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "secrets": {"type": "list", "elements": "dict", "default": [], "options": secret, "no_log": False},
        "common_name": {"type": "str", "default": "platform CA"},
        "tags": {"type": "dict", "default": {}},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if secrets_plan.CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=secrets_plan.CRYPTOGRAPHY_ERROR)
    aws.run(module, lambda connection: manage(module.params, connection.client("ssm"), module.check_mode))


if __name__ == "__main__":
    main()
