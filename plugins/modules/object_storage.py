#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: object_storage
short_description: S3 buckets as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all buckets at the same time, compares, and writes what differs, bucket by bucket and aspect by aspect.
  - A description is whole - what is not said has its default, and what is there besides is taken away. Public access is
    always blocked. CORS, notifications, websites and ACLs are not touched.
  - Compares meaning - the order of policy statements and of their members makes no difference.
  - A bucket of another account or region is refused before anything is written.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each value that differs, one line each.
    support: full
options:
  buckets:
    description: Buckets that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name; V({account}) and V({region}) in it stand for the account's number and the region.
        type: str
        required: true
      versioning:
        description: Whether old versions of objects are kept.
        type: bool
        default: true
      encryption:
        description: How new objects are encrypted.
        type: dict
        suboptions:
          type:
            description: V(s3) is SSE-S3, V(kms) SSE-KMS, V(kms_dsse) the two-layer one.
            type: str
            choices: [s3, kms, kms_dsse]
            default: s3
          key:
            description: Id, alias or ARN of the KMS key; without it AWS's own key C(aws/s3).
            type: str
          bucket_key:
            description: Whether a bucket key spares calls to KMS; for V(kms) only.
            type: bool
            default: true
      tls_only:
        description: Whether the policy denies requests without TLS.
        type: bool
        default: true
      statements:
        description:
          - Further statements of the bucket's policy.
          - One without C(Resource) is about the bucket and all its objects.
        type: list
        elements: dict
        default: []
      ownership:
        description: Who owns objects, V(enforced) switches ACLs off.
        type: str
        choices: [enforced, preferred, writer]
        default: enforced
      lifecycle:
        description: Rules of what happens to objects with time.
        type: list
        elements: dict
        default: []
        suboptions:
          id:
            description: Name of the rule.
            type: str
            required: true
          enabled:
            description: Whether the rule works.
            type: bool
            default: true
          prefix:
            description: Beginning of the keys it is about.
            type: str
            default: ""
          expire_days:
            description: Days after which objects are removed (with versioning, become old versions).
            type: int
          expired_delete_markers:
            description: Whether delete markers without versions are removed.
            type: bool
            default: false
          expire_noncurrent_days:
            description: Days after which old versions are removed.
            type: int
          keep_noncurrent:
            description: How many old versions stay in any case.
            type: int
          abort_multipart_days:
            description: Days after which unfinished uploads are removed.
            type: int
          transitions:
            description: When objects move to which storage class.
            type: list
            elements: dict
            default: []
            suboptions:
              days:
                description: Days after creation.
                type: int
                required: true
              storage_class: &class
                description: The class.
                type: str
                choices: [STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE]
                required: true
          noncurrent_transitions:
            description: When old versions move to which storage class.
            type: list
            elements: dict
            default: []
            suboptions:
              days:
                description: Days after they became old.
                type: int
                required: true
              storage_class: *class
      replication:
        description: Copies of new objects in other buckets, which need versioning as well.
        type: dict
        suboptions:
          role:
            description: ARN of the role that S3 assumes.
            type: str
            required: true
          rules:
            description: What goes where.
            type: list
            elements: dict
            required: true
            suboptions:
              id:
                description: Name of the rule.
                type: str
                required: true
              bucket:
                description: Name of the destination; V({account}) and V({region}) are filled in.
                type: str
                required: true
              prefix:
                description: Beginning of the keys.
                type: str
                default: ""
              priority:
                description: Which rule wins, the higher; without it the rule's place in the list.
                type: int
              enabled:
                description: Whether the rule works.
                type: bool
                default: true
              delete_markers:
                description: Whether delete markers are copied.
                type: bool
                default: true
              storage_class:
                description: Storage class of the copies.
                type: str
              account:
                description: Account of the destination when it is another; it then owns the copies.
                type: str
              kms_key:
                description: ARN of the key that encrypts the copies.
                type: str
      object_lock:
        description:
          - Objects cannot be removed or written over. An empty mapping switches it on without a default retention.
          - It cannot be switched off again.
        type: dict
        suboptions:
          mode:
            description: Default retention, V(compliance) binds even the account's root.
            type: str
            choices: [governance, compliance]
          days:
            description: Its days.
            type: int
          years:
            description: Its years.
            type: int
      logging:
        description: Where access logs go. A target in the same set gets the statement of its policy that admits them.
        type: dict
        suboptions:
          bucket:
            description: Name of the bucket; V({account}) and V({region}) are filled in.
            type: str
            required: true
          prefix:
            description: Beginning of the log objects' keys.
            type: str
            default: ""
      tags:
        description: Tags of this bucket, besides O(tags).
        type: dict
        default: {}
  absent:
    description: Names of buckets that shall not be there. One that is not empty is refused, unless O(confirm) names it.
    type: list
    elements: str
    default: []
  confirm:
    description: Buckets of O(absent) that may be removed with all versions of all their objects.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Backups, kept for a year, and the logs of who read them
  selfhosted.ec2.object_storage:
    buckets:
      - name: trading-backups-{account}
        encryption: {type: kms, key: alias/trading}
        lifecycle:
          - {id: old, expire_noncurrent_days: 365, abort_multipart_days: 7}
        logging: {bucket: "trading-logs-{account}", prefix: backups/}
      - name: trading-logs-{account}
        lifecycle:
          - {id: old, expire_days: 90, expire_noncurrent_days: 1}
    tags: {platform: trading}
"""

RETURN = r"""
buckets:
  description: The described buckets with their name and ARN, in order.
  returned: always
  type: list
  elements: dict
  sample: [{name: trading-logs-123456789012, arn: "arn:aws:s3:::trading-logs-123456789012"}]
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
  sample: [trading-logs-123456789012 lifecycle]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, bucket_plan

#: DeleteObjects takes so many at once.
DELETE_BATCH = 1000


class Buckets:
    """The buckets of one account in one region. Reads go side by side."""

    def __init__(self, connection):
        self.connection = connection
        self.region = connection.region
        self.s3 = connection.client("s3")
        identity = connection.client("sts").call("get_caller_identity")
        self.account, self.partition = identity["Account"], identity["Arn"].split(":")[1]
        self._owned = None

    def fill(self, name):
        """Return a name with the account and region filled in."""
        return name.replace("{account}", self.account).replace("{region}", self.region)

    @property
    def owned(self):
        """The names of all buckets of the account."""
        if self._owned is None:
            self._owned = {bucket["Name"] for bucket in self.s3.pages("list_buckets", "Buckets")}
        return self._owned

    def read(self, names):
        """Return the aspects of those buckets that exist; raises AwsError for one that is not ours or elsewhere."""
        mine = [name for name in names if name in self.owned]
        aws.parallel(self._check_free, [name for name in names if name not in self.owned])
        aws.parallel(self._check_region, mine)
        pairs = [(name, aspect) for name in mine for aspect in bucket_plan.ASPECTS]
        values = dict(aws.parallel(lambda pair: (pair, self._aspect(*pair)), pairs))
        return {name: {aspect: values[(name, aspect)] for aspect in bucket_plan.ASPECTS} for name in mine}

    def _check_free(self, name):
        try:
            self.s3.call("head_bucket", Bucket=name)
        except aws.AwsError as error:
            if error.code in ("404", "NoSuchBucket"):
                return
            if error.code not in ("403", "301", "AccessDenied", "PermanentRedirect"):
                raise
        raise aws.AwsError(
            f"Bucket {name} belongs to another account; names are unique in all of AWS, so choose another one,"
            " for example with {account} in it."
        )

    def _check_region(self, name):
        there = self.s3.call("get_bucket_location", Bucket=name).get("LocationConstraint") or "us-east-1"
        there = "eu-west-1" if there == "EU" else there
        if there != self.region:
            raise aws.AwsError(f"Bucket {name} is in {there}, not in {self.region}; set the region, or another name.")

    def _aspect(self, name, aspect):
        operation, missing = bucket_plan.READS[aspect]
        try:
            answer = self.s3.call(operation, Bucket=name, ExpectedBucketOwner=self.account)
        except aws.AwsError as error:
            if not missing or error.code != missing:
                raise
            answer = None
        return bucket_plan.actual(aspect, answer)

    def create(self, name, object_lock):
        more = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        if object_lock:
            more["ObjectLockEnabledForBucket"] = True
        self.s3.call("create_bucket", Bucket=name, **more)

    def is_empty(self, name):
        answer = self.s3.call("list_object_versions", Bucket=name, MaxKeys=1, ExpectedBucketOwner=self.account)
        return not answer.get("Versions") and not answer.get("DeleteMarkers")

    def remove(self, name):
        """Remove a bucket with all that is in it."""
        while True:
            answer = self.s3.call("list_object_versions", Bucket=name, MaxKeys=DELETE_BATCH)
            entries = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
            if not entries:
                break
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            done = self.s3.call("delete_objects", Bucket=name, Delete={"Objects": objects, "Quiet": True})
            if done.get("Errors"):
                first = done["Errors"][0]
                raise aws.AwsError(
                    f"Bucket {name} cannot be emptied: {first['Key']} stays, {first.get('Message', first['Code'])}."
                )
        self.s3.call("delete_bucket", Bucket=name, ExpectedBucketOwner=self.account)


def filled(params, buckets):
    """Return the described buckets and the names to remove and confirmed, with names filled in."""
    described = []
    for bucket in params["buckets"]:
        entry = {**bucket, "name": buckets.fill(bucket["name"]), "tags": {**params["tags"], **bucket["tags"]}}
        entry["encryption"] = bucket["encryption"] or {"type": "s3", "key": None, "bucket_key": False}
        if bucket["logging"]:
            entry["logging"] = {**bucket["logging"], "bucket": buckets.fill(bucket["logging"]["bucket"])}
        if bucket["replication"]:
            rules = [{**rule, "bucket": buckets.fill(rule["bucket"])} for rule in bucket["replication"]["rules"]]
            entry["replication"] = {**bucket["replication"], "rules": rules}
        if bucket["object_lock"] and bucket["object_lock"]["mode"]:
            entry["object_lock"] = {**bucket["object_lock"], "mode": bucket["object_lock"]["mode"].upper()}
        described.append(entry)
    return (
        described,
        [buckets.fill(name) for name in params["absent"]],
        [buckets.fill(name) for name in params["confirm"]],
    )


def wanted(described, have, buckets, purge_tags):
    """Return the aspects that the described buckets shall have."""
    result = {}
    for bucket in described:
        name = bucket["name"]
        sources = [other["name"] for other in described if (other["logging"] or {}).get("bucket") == name]
        aspects = bucket_plan.desired(bucket, buckets.account, buckets.partition, sources)
        there = have.get(name, bucket_plan.NEW)["tags"]
        result[name] = {**aspects, "tags": aws.merge_tags(there, aspects["tags"], purge_tags)}
    return result


def removable(absent, confirmed, buckets):
    """Return the buckets to remove; raises AwsError for one that is neither empty nor confirmed."""
    there = [name for name in absent if name in buckets.owned]
    for name in there:
        if name not in confirmed and not buckets.is_empty(name):
            raise aws.AwsError(
                f"Bucket {name} is in absent, but it is not empty; name it in confirm, too, to lose all its objects."
            )
    return there


def apply(steps, want, buckets):
    """Carry the steps out, in order."""
    for step in steps:
        name = step["bucket"]
        if step["aspect"] == "bucket":
            buckets.create(name, want[name]["object_lock"] is not None)
            continue
        operation, parameters = bucket_plan.request(step)
        buckets.s3.call(operation, Bucket=name, ExpectedBucketOwner=buckets.account, **parameters)


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    buckets = Buckets(connection)
    described, absent, confirmed = filled(params, buckets)
    found = bucket_plan.faults(described, absent)
    if found:
        raise aws.AwsError(" ".join(found))
    have = buckets.read([bucket["name"] for bucket in described])
    want = wanted(described, have, buckets, params["purge_tags"])
    steps = bucket_plan.plan(have, want)
    found = bucket_plan.impossible(steps, have)
    if found:
        raise aws.AwsError(" ".join(found))
    gone = removable(absent, confirmed, buckets)
    if not check_mode:
        apply(steps, want, buckets)
        for name in gone:
            buckets.remove(name)
    lines = {side: bucket_plan.lines(steps, side) for side in ("before", "after")}
    lines["before"] += [f"{name} bucket: present" for name in gone]
    return {
        "changed": bool(steps or gone),
        "buckets": [{"name": name, "arn": f"arn:{buckets.partition}:s3:::{name}"} for name in want],
        "changes": [f"{step['bucket']} {step['aspect']}" for step in steps] + [f"{name} removed" for name in gone],
        "diff": {side: "".join(f"{line}\n" for line in lines[side]) for side in lines},
    }


def argument_spec():
    def text(**more):
        return {"type": "str", **more}

    def flag(default):
        return {"type": "bool", "default": default}

    def several(options):
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    number = {"type": "int"}
    name = text(required=True)
    moves = several(
        {
            "days": {"type": "int", "required": True},
            "storage_class": text(required=True, choices=list(bucket_plan.STORAGE_CLASSES)),
        }
    )
    rule = {
        "id": name,
        "enabled": flag(True),
        "prefix": text(default=""),
        "expire_days": number,
        "expired_delete_markers": flag(False),
        "expire_noncurrent_days": number,
        "keep_noncurrent": number,
        "abort_multipart_days": number,
        "transitions": moves,
        "noncurrent_transitions": moves,
    }
    replication_rule = {
        "id": name,
        "bucket": name,
        "prefix": text(default=""),
        "priority": number,
        "enabled": flag(True),
        "delete_markers": flag(True),
        "storage_class": text(),
        "account": text(),
        "kms_key": text(no_log=False),
    }
    encryption = {
        "type": text(choices=list(bucket_plan.ENCRYPTION), default="s3"),
        "key": text(no_log=False),
        "bucket_key": flag(True),
    }
    bucket = {
        "name": name,
        "versioning": flag(True),
        "encryption": {"type": "dict", "options": encryption},
        "tls_only": flag(True),
        "statements": {"type": "list", "elements": "dict", "default": []},
        "ownership": text(choices=list(bucket_plan.OWNERSHIP), default="enforced"),
        "lifecycle": several(rule),
        "replication": {
            "type": "dict",
            "options": {
                "role": name,
                "rules": {"type": "list", "elements": "dict", "required": True, "options": replication_rule},
            },
        },
        "object_lock": {
            "type": "dict",
            "options": {"mode": text(choices=["governance", "compliance"]), "days": number, "years": number},
        },
        "logging": {"type": "dict", "options": {"bucket": name, "prefix": text(default="")}},
        "tags": {"type": "dict", "default": {}},
    }
    names = {"type": "list", "elements": "str", "default": []}
    return {
        **aws.argument_spec(),
        "buckets": several(bucket),
        "absent": names,
        "confirm": names,
        **aws.tag_options(),
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()
