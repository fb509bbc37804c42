#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_pair
short_description: An EC2 key pair with a given public key
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Compares the public key itself, so an unchanged run and check mode only read.
  - A key pair with another key is replaced; instances that exist keep the key they were launched with.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.change
attributes:
  diff_mode:
    description: Shows the public key before and after.
    support: full
options:
  name:
    description: Name of the key pair.
    type: str
    required: true
  public_key:
    description: Public key, OpenSSH format.
    type: str
    required: true
  tags:
    description: Tags of a new key pair. A key pair without the tag C(platform) given here is not replaced.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Key of the operators
  selfhosted.ec2.key_pair:
    name: trading
    public_key: "{{ platform_ssh_public_key }}"
    tags: {platform: trading, environment: production}
"""

RETURN = r"""
key_pair_id:
  description: Id of the key pair; empty in check mode when it does not exist yet.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws


def same(one, other):
    """Tell whether two OpenSSH public keys are the same key, whatever their comments."""
    return one.split()[:2] == other.split()[:2]


def manage(params, ec2, check_mode):
    """Compare, import unless in check mode, and return the module's result. Raises AwsError."""
    name, wanted, tags = params["name"], params["public_key"].strip(), params["tags"]
    named = [{"Name": "key-name", "Values": [name]}]
    found = ec2.call("describe_key_pairs", Filters=named, IncludePublicKey=True)["KeyPairs"]
    old = found[0] if found else {}
    before = old.get("PublicKey", "").strip()
    if old and same(before, wanted):
        return {"changed": False, "key_pair_id": old["KeyPairId"], "diff": {"before": "", "after": ""}}
    if old and aws.tags_of(old).get("platform") != tags.get("platform"):
        raise aws.AwsError(f"The key pair {name} exists with another key and belongs to somebody else; rename it.")
    made = {}
    if not check_mode:
        if old:
            ec2.call("delete_key_pair", KeyName=name)
        material = wanted.encode()
        specification = aws.tag_specification("key-pair", tags) if tags else []
        made = ec2.call("import_key_pair", KeyName=name, PublicKeyMaterial=material, TagSpecifications=specification)
    diff = {"before": f"{before}\n" if before else "", "after": f"{wanted}\n"}
    return {"changed": True, "key_pair_id": made.get("KeyPairId", ""), "diff": diff}


def main():
    spec = {
        **aws.argument_spec(),
        "name": {"type": "str", "required": True},
        "public_key": {"type": "str", "required": True, "no_log": False},
        "tags": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection.client("ec2"), module.check_mode))


if __name__ == "__main__":
    main()
