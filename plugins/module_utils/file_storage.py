# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file storage: policies of its buckets, what a member holds and answers, and when it is well."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time

ARN = "arn:aws:s3:::"  # the gateway knows this partition only, wherever it runs
READ_BUCKET = ("s3:GetBucketLocation", "s3:ListBucket")
READ_OBJECT = ("s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTagging")
WRITE_BUCKET = ("s3:ListBucketMultipartUploads",)
WRITE_OBJECT = (
    "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectTagging", "s3:ListMultipartUploadParts",
    "s3:PutObject", "s3:PutObjectTagging",
)  # fmt: skip


def bucket_policy(bucket):
    """Return the policy of a described bucket, None when nobody but root has a right.

    :arg bucket: dict of name, and perhaps public and grants.
    """
    name, statements = bucket["name"], []
    if bucket.get("public"):
        statements.append(_allow("*", ["s3:GetObject"], [f"{ARN}{name}/*"]))
    for grant in bucket.get("grants") or []:
        write = grant["access"] == "write"
        on_bucket = [*READ_BUCKET, *(WRITE_BUCKET if write else ())]
        on_objects = [*READ_OBJECT, *(WRITE_OBJECT if write else ())]
        statements.append(_allow(grant["user"], on_bucket, [f"{ARN}{name}"]))
        statements.append(_allow(grant["user"], on_objects, [f"{ARN}{name}/{grant.get('prefix') or ''}*"]))
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def _allow(user, actions, resources):
    # A wildcard stands alone; the gateway takes it for everybody only so.
    principal = "*" if user == "*" else {"AWS": [user]}
    return {"Effect": "Allow", "Principal": principal, "Action": sorted(actions), "Resource": sorted(resources)}


def plain_policy(policy):
    """Return a policy in one form, so that two that mean the same are equal."""
    if not policy:
        return None
    statements = []
    for statement in policy["Statement"]:
        principal = statement["Principal"]
        users = principal["AWS"] if isinstance(principal, dict) else principal
        statements.append(
            {
                **statement,
                "Principal": _sorted(users),
                "Action": _sorted(statement["Action"]),
                "Resource": _sorted(statement["Resource"]),
            }
        )
    return {"Statement": sorted(statements, key=lambda item: json.dumps(item, sort_keys=True))}


def _sorted(value):
    return sorted([value] if isinstance(value, str) else value)


def plan(described, found):
    """Return what to do: list of dict(bucket, what, before, after), C(what) is C(create), C(policy).

    :arg described: list of buckets.
    :arg found: dict of bucket name to its policy, None without one.
    """
    steps = []
    for bucket in described:
        name, wanted = bucket["name"], bucket_policy(bucket)
        if name not in found:
            steps.append({"bucket": name, "what": "create", "before": None, "after": "present"})
        if plain_policy(wanted) != plain_policy(found.get(name)):
            steps.append({"bucket": name, "what": "policy", "before": found.get(name), "after": wanted})
    return steps


def load(path):
    """Return a JSON file's content, {} when it is not there; raises ValueError when it is not JSON."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return {}


def read_disk(directory):
    """Return what the volume holds.

    :returns: dict of C(identity) and C(joining), both {} without their file, C(holds_data), and C(last_copy), the state
        of the copy.
    """
    data = os.path.join(directory, "data")
    # The gateway's own entries begin with a dot, which no bucket's name does.
    buckets = [name for name in os.listdir(data) if not name.startswith(".")] if os.path.isdir(data) else []
    return {
        "identity": load(os.path.join(directory, "identity.json")),
        "joining": load(os.path.join(directory, "joining.json")),
        "holds_data": bool(buckets),
        "last_copy": load(os.path.join(directory, "state", "copy.json")),
    }


def read_role(path):
    """Return C(role) (V(primary), V(standby), empty when not decided since the boot) and C(epoch)."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = dict(line.strip().split("=", 1) for line in stream)
    except FileNotFoundError:
        return {"role": "", "epoch": 0}
    return {"role": values["VGW_HEALTH"].strip("/"), "epoch": int(values["FILE_STORAGE_EPOCH"])}


def answer(host, port, ca_file, path, timeout=3):
    """Return the status of a request over TLS with the name verified, or the text of what went wrong."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, socket.timeout) as error:
        return str(error)


def missing(view, name, bound, now=None):
    """Return what keeps a member from being well, as one sentence; empty when it is well.

    :arg view: dict of role, epoch, copy, and status: answers of the ports by what they serve.
    :arg bound: seconds that a copy may be behind.
    """
    if not view["role"]:
        return f"The gateway of {name} has not started since the boot; look at journalctl -u file-storage-gateway."
    for what, status in sorted(view["status"].items()):
        if status != 200:
            return f"The {what} of {name} does not answer as the {view['role']}: {status}."
    if view["role"] == "primary":
        return ""
    copy = view["last_copy"]
    if copy.get("epoch") != view["epoch"]:
        return f"{name} has not copied from the primary yet; look at journalctl -u file-storage-copy."
    behind = (time.time() if now is None else now) - copy["started"]
    if behind > bound:
        return (
            f"The copy on {name} is {behind:.0f} s behind, more than {bound} s;"
            " look at journalctl -u file-storage-copy."
        )
    return ""
