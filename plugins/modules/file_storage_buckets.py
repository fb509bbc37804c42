#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_storage_buckets
short_description: Buckets of the file storage and who may do what in them
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the buckets and their policies at the gateway of this host, and creates and writes what differs. Policies are
    compared by what they mean.
  - A bucket that is not described is left alone and returned, since it holds objects.
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Shows the policies before and after.
    support: full
  platform:
    description: Linux hosts.
    platforms: posix
    support: full
requirements: [boto3]
options:
  endpoint:
    description: Address of the gateway, C(https://) and a name that its certificate holds.
    type: str
    required: true
  region:
    description: Region of the gateway.
    type: str
    required: true
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  access_key:
    description: Access key of the user that may do everything.
    type: str
    default: root
  secret_key:
    description: Its secret.
    type: str
    required: true
  buckets:
    description: The buckets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      public:
        description: Everybody may read its objects.
        type: bool
        default: false
      grants:
        description: Rights of users.
        type: list
        elements: dict
        default: []
        suboptions:
          user:
            description: Name of the user.
            type: str
            required: true
          access:
            description: V(read) lists and reads, V(write) puts and deletes besides.
            type: str
            choices: [read, write]
            required: true
          prefix:
            description: Only objects whose names begin so.
            type: str
            default: ""
"""

EXAMPLES = r"""
- name: Bring the buckets to what is described
  selfhosted.ec2.file_storage_buckets:
    endpoint: https://files-1.trading.internal:7070
    region: eu-west-1
    ca_file: /etc/file-storage/tls/ca.crt
    secret_key: "{{ platform_secrets['file_storage/root_secret'] }}"
    buckets:
      - {name: assets, public: true, grants: [{user: web, access: write}]}
      - {name: reports, grants: [{user: trading, access: write}, {user: auditor, access: read}]}
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done.
  returned: success
  type: list
  elements: str
undescribed:
  description: Buckets that are there and not described.
  returned: success
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.selfhosted.ec2.plugins.module_utils import file_storage

try:
    import boto3
    import botocore.config
    import botocore.exceptions
except ImportError:
    boto3 = None

TEXTS = {"create": "create bucket %s", "policy": "write the policy of bucket %s"}


def connect(params):
    """Return a boto3 client of the gateway."""
    return boto3.client(
        "s3",
        endpoint_url=params["endpoint"],
        region_name=params["region"],
        aws_access_key_id=params["access_key"],
        aws_secret_access_key=params["secret_key"],
        verify=params["ca_file"],
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20, retries={"max_attempts": 3}
        ),
    )


def read_policy(s3, name):
    """Return the policy of a bucket, None when it has none."""
    try:
        return json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucketPolicy":
            return None
        raise


def read(s3):
    """Return all buckets with their policies."""
    return {bucket["Name"]: read_policy(s3, bucket["Name"]) for bucket in s3.list_buckets().get("Buckets", [])}


def apply(s3, step, region):
    """Carry out one step of the plan."""
    name = step["bucket"]
    if step["what"] == "create":
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **place)
    elif step["after"]:
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(step["after"]))
    else:
        s3.delete_bucket_policy(Bucket=name)


def manage(params, s3, check_mode):
    """Read, compare and write; return the module's answer."""
    found = read(s3)
    steps = file_storage.plan(params["buckets"], found)
    if not check_mode:
        for step in steps:
            apply(s3, step, params["region"])
    diff = [
        {
            "before_header": step["bucket"],
            "after_header": step["bucket"],
            "before": step["before"],
            "after": step["after"],
        }
        for step in steps
    ]
    return {
        "changed": bool(steps),
        "steps": [TEXTS[step["what"]] % step["bucket"] for step in steps],
        "undescribed": sorted(set(found) - {bucket["name"] for bucket in params["buckets"]}),
        "diff": diff,
    }


def main():
    grant = {
        "user": {"type": "str", "required": True},
        "access": {"type": "str", "choices": ["read", "write"], "required": True},
        "prefix": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "required": True},
            "region": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "access_key": {"type": "str", "default": "root", "no_log": False},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "buckets": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "public": {"type": "bool", "default": False},
                    "grants": {"type": "list", "elements": "dict", "default": [], "options": grant},
                },
            },
        },
        supports_check_mode=True,
    )
    if boto3 is None:
        module.fail_json(msg=missing_required_lib("boto3"))
    try:
        outcome = manage(module.params, connect(module.params), module.check_mode)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        module.fail_json(msg=f"The buckets were not brought to what is described: {error}.")
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
