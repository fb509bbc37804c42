# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 buckets as a set: what is wrong with a description, what differs, and the requests that make it true."""

from __future__ import annotations

import json
import re

#: General purpose buckets. Source: S3 User Guide, "Bucket naming rules".
NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", "--x-s3", "--table-s3")
#: Source: S3 API Reference, PutBucketLifecycleConfiguration and PutBucketTagging.
MAX_RULES = 1000
MAX_TAGS = 50
#: Days an object must have been stored before these classes take it. Source: User Guide, "Transitioning objects".
INFREQUENT = ("STANDARD_IA", "ONEZONE_IA")
INFREQUENT_DAYS = 30
STORAGE_CLASSES = (
    "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE",
)  # fmt: skip
ENCRYPTION = {"s3": "AES256", "kms": "aws:kms", "kms_dsse": "aws:kms:dsse"}
OWNERSHIP = {"enforced": "BucketOwnerEnforced", "preferred": "BucketOwnerPreferred", "writer": "ObjectWriter"}
PUBLIC_ACCESS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

#: How each aspect is read: boto3 method, and the code of the error that says there is none.
READS = {
    "ownership": ("get_bucket_ownership_controls", "OwnershipControlsNotFoundError"),
    "public_access": ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
    "policy": ("get_bucket_policy", "NoSuchBucketPolicy"),
    "encryption": ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    "versioning": ("get_bucket_versioning", ""),
    "object_lock": ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    "tags": ("get_bucket_tagging", "NoSuchTagSet"),
    "lifecycle": ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
    "logging": ("get_bucket_logging", ""),
    "replication": ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
}
#: The order of writes, over all buckets: a destination is versioned before its source replicates.
ASPECTS = tuple(READS)
NEW = {**dict.fromkeys(ASPECTS), "versioning": "Suspended", "tags": {}, "lifecycle": {}}


# Validation


def name_fault(name):
    """Return what is wrong with a bucket's name, "" when nothing is."""
    if "." in name:
        return "has a dot, with which TLS to the bucket's own host name does not work; use dashes"
    if not NAME.fullmatch(name):
        return "must be 3 to 63 lower-case letters, digits and dashes, with a letter or digit first and last"
    if name.startswith(RESERVED_PREFIXES) or name.endswith(RESERVED_SUFFIXES):
        return "begins or ends as only names that S3 gives itself may"
    return ""


def faults(buckets, absent):
    """Return sentences on what is wrong with a description, in which names are filled in already.

    :arg buckets: list of dict as the module's option C(buckets).
    :arg absent: names of buckets that shall not be there.
    """
    found, names = [], [bucket["name"] for bucket in buckets]
    found += [f"Bucket {name} is described twice." for name in sorted(set(names)) if names.count(name) > 1]
    found += [f"Bucket {name} is both described and named in absent." for name in absent if name in names]
    described = {bucket["name"]: bucket for bucket in buckets}
    for name in [*names, *absent]:
        wrong = name_fault(name)
        if wrong:
            found.append(f"Bucket name {name!r} {wrong}.")
    for bucket in buckets:
        where = f"Bucket {bucket['name']}"
        for check in (_encryption_faults, _versioning_faults, _lifecycle_faults, _replication_faults, _other_faults):
            found += [f"{where}: {sentence}." for sentence in check(bucket, described)]
    return found


def _encryption_faults(bucket, _described):
    encryption = bucket["encryption"]
    if encryption["type"] == "s3" and encryption["key"]:
        yield f"encryption.key is {encryption['key']}, which type s3 does not use; set type kms, or leave it out"


def _versioning_faults(bucket, _described):
    lock = bucket["object_lock"]
    if not bucket["versioning"]:
        if lock:
            yield "object_lock needs versioning true"
        if bucket["replication"]:
            yield "replication needs versioning true"
    if lock and bool(lock["mode"]) != bool(lock["days"] or lock["years"]):
        yield "object_lock needs mode together with days or years, or none of them"
    if lock and lock["days"] and lock["years"]:
        yield "object_lock has days and years; give one"


def _lifecycle_faults(bucket, _described):
    rules = bucket["lifecycle"]
    ids = [rule["id"] for rule in rules]
    if len(rules) > MAX_RULES:
        yield f"lifecycle has {len(rules)} rules; S3 takes {MAX_RULES}"
    for name in sorted(set(ids)):
        if ids.count(name) > 1:
            yield f"lifecycle has two rules of the id {name}"
    for rule in rules:
        yield from (f"lifecycle rule {rule['id']} {sentence}" for sentence in _rule_faults(rule))


def _rule_faults(rule):
    days = [rule[key] for key in ("expire_days", "expire_noncurrent_days", "abort_multipart_days")]
    moves = [*rule["transitions"], *rule["noncurrent_transitions"]]
    if not any(days) and not moves and not rule["expired_delete_markers"]:
        yield "does nothing; give expire_days, expire_noncurrent_days, abort_multipart_days or transitions"
    if any(value is not None and value < 1 for value in days):
        yield "has days below 1"
    if rule["keep_noncurrent"] and not rule["expire_noncurrent_days"]:
        yield "has keep_noncurrent, which needs expire_noncurrent_days"
    if rule["expire_days"] and rule["expired_delete_markers"]:
        yield "has expire_days and expired_delete_markers; S3 takes one of them in a rule"
    for move in moves:
        if move["storage_class"] in INFREQUENT and move["days"] < INFREQUENT_DAYS:
            target, days = move["storage_class"], move["days"]
            yield f"moves objects to {target} after {days} days; S3 wants {INFREQUENT_DAYS} or more"
    for key, end in (("transitions", "expire_days"), ("noncurrent_transitions", "expire_noncurrent_days")):
        latest = max([move["days"] for move in rule[key]], default=0)
        if rule[end] and latest >= rule[end]:
            yield f"moves objects after {latest} days and removes them after {rule[end]}; the removal must be later"


def _replication_faults(bucket, described):
    replication = bucket["replication"]
    if not replication:
        return
    if not re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:role/.+", replication["role"]):
        yield f"replication.role is {replication['role']}; it must be the ARN of a role"
    rules = replication["rules"]
    for key in ("id", "priority"):
        values = [rule[key] for rule in rules if rule[key] is not None]
        if len(set(values)) < len(values):
            yield f"replication has two rules of one {key}"
    for rule in rules:
        target = rule["bucket"]
        if target == bucket["name"]:
            yield f"replication rule {rule['id']} has the bucket itself as its destination"
        elif target in described and not described[target]["versioning"]:
            yield f"replication rule {rule['id']} goes to {target}, which needs versioning true"


def _other_faults(bucket, described):
    if len(bucket["tags"]) > MAX_TAGS:
        yield f"there are {len(bucket['tags'])} tags; S3 takes {MAX_TAGS}"
    reserved = sorted(key for key in bucket["tags"] if key.lower().startswith("aws:"))
    if reserved:
        yield f"tag {reserved[0]} begins with aws:, which AWS keeps to itself"
    logging = bucket["logging"]
    target = described.get(logging["bucket"]) if logging else None
    if target and (target["object_lock"] or {}).get("mode"):
        yield f"logging goes to {logging['bucket']}, whose default retention (object_lock.mode) S3 refuses for logs"
    for statement in bucket["statements"]:
        if not {"Effect", "Principal"} <= set(statement):
            yield "each of statements needs Effect and Principal"
        elif statement["Effect"] == "Allow" and _everybody(statement["Principal"]) and not statement.get("Condition"):
            yield "statements allow everybody (Principal *) without a condition; name the principals"


def _everybody(principal):
    return principal in ("*", {"AWS": "*"}, {"AWS": ["*"]})


# What is wanted, in the form that is compared


def desired(bucket, account, partition="aws", log_sources=()):
    """Return the aspects of a described bucket.

    :arg log_sources: names of the buckets whose access logs it takes.
    """
    encryption = bucket["encryption"]
    kind = ENCRYPTION[encryption["type"]]
    return {
        "ownership": OWNERSHIP[bucket["ownership"]],
        "public_access": dict.fromkeys(PUBLIC_ACCESS, True),
        "policy": canonical_policy(_policy(bucket, account, partition, log_sources)),
        "encryption": {
            "type": kind,
            "key": key_id(encryption["key"]),
            "bucket_key": encryption["bucket_key"] and kind == "aws:kms",
        },
        "versioning": "Enabled" if bucket["versioning"] else "Suspended",
        "object_lock": _lock(bucket["object_lock"]),
        "tags": {str(key): str(value) for key, value in bucket["tags"].items()},
        "lifecycle": {rule["id"]: _wanted_rule(rule) for rule in bucket["lifecycle"]},
        "logging": {"bucket": bucket["logging"]["bucket"], "prefix": bucket["logging"]["prefix"]}
        if bucket["logging"]
        else None,
        "replication": _wanted_replication(bucket["replication"], partition),
    }


def _policy(bucket, account, partition, log_sources):
    arn = f"arn:{partition}:s3:::{bucket['name']}"
    statements = list(bucket["statements"])
    if bucket["tls_only"]:
        statements.append(
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        )
    if log_sources:
        statements.append(
            {
                "Sid": "AccessLogs",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": f"{arn}/*",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnLike": {"aws:SourceArn": sorted(f"arn:{partition}:s3:::{name}" for name in log_sources)},
                },
            }
        )
    filled = [{"Resource": [arn, f"{arn}/*"], **statement} for statement in statements]
    return {"Version": "2012-10-17", "Statement": filled} if filled else None


def _lock(lock):
    if not lock:
        return None
    return {key: lock[key] for key in ("mode", "days", "years") if lock[key]}


def _wanted_rule(rule):
    moves = {key: _sorted_moves(rule[key]) for key in ("transitions", "noncurrent_transitions")}
    return {key: value for key, value in {**{key: rule[key] for key in RULE_KEYS}, **moves}.items() if value}


def _sorted_moves(moves):
    pairs = sorted((move["days"], move["storage_class"]) for move in moves)
    return [{"days": days, "storage_class": storage_class} for days, storage_class in pairs]


RULE_KEYS = (
    "enabled", "prefix", "expire_days", "expired_delete_markers", "expire_noncurrent_days", "keep_noncurrent",
    "abort_multipart_days", "transitions", "noncurrent_transitions",
)  # fmt: skip


def _wanted_replication(replication, partition):
    if not replication:
        return None
    rules = {}
    for position, rule in enumerate(replication["rules"], 1):
        values = {
            "priority": rule["priority"] or position,
            "prefix": rule["prefix"],
            "enabled": rule["enabled"],
            "delete_markers": rule["delete_markers"],
            "bucket": f"arn:{partition}:s3:::{rule['bucket']}",
            "storage_class": rule["storage_class"],
            "account": rule["account"],
            "kms_key": rule["kms_key"],
        }
        rules[rule["id"]] = {key: value for key, value in values.items() if value not in (None, "", False)}
    return {"role": replication["role"], "rules": rules}


def key_id(key):
    """Return a KMS key as it is compared: the id or alias, without the ARN's front."""
    return re.sub(r"^arn:[^:]+:kms:[^:]*:[^:]*:(key/)?", "", key or "")


def canonical_policy(policy):
    """Return a policy in a form in which two that mean the same are equal, None for none.

    The order of statements and list members, one string in place of a list of one, and the account's number in place
    of its root ARN make no difference; letter case of actions is left to C(same).
    """
    if not policy:
        return None
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    shaped = [{key: _canonical_part(key, value) for key, value in entry.items()} for entry in statements]
    return {
        "Version": policy.get("Version", "2008-10-17"),
        "Statement": sorted(shaped, key=lambda entry: json.dumps(entry, sort_keys=True)),
    }


def same(aspect, before, after):
    """Tell whether two values of an aspect mean the same."""
    if aspect != "policy" or not before or not after:
        return before == after
    return _folded(before) == _folded(after)


def _folded(policy):
    statements = [
        {key: [entry.lower() for entry in value] if key.endswith("Action") else value for key, value in entry.items()}
        for entry in policy["Statement"]
    ]
    return {**policy, "Statement": sorted(statements, key=lambda entry: json.dumps(entry, sort_keys=True))}


def _canonical_part(key, value):
    if key in ("Action", "NotAction"):
        return sorted({str(entry) for entry in _listed(value)}, key=str.lower)
    if key in ("Resource", "NotResource"):
        return sorted({str(entry) for entry in _listed(value)})
    if key in ("Principal", "NotPrincipal"):
        if value == "*":
            return {"AWS": ["*"]}
        return {kind: sorted({_principal(entry) for entry in _listed(value[kind])}) for kind in value}
    if key == "Condition":
        return {
            operator: {name: sorted({_text(entry) for entry in _listed(tests[name])}) for name in tests}
            for operator, tests in value.items()
        }
    return value


def _principal(value):
    account = re.fullmatch(r"arn:[a-z-]+:iam::(\d{12}):root", str(value))
    return account.group(1) if account else str(value)


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value):
    return value if isinstance(value, list) else [value]


# What is there, in the same form


def actual(aspect, answer):
    """Return an aspect from the API's answer; C(answer) None means that S3 said there is none."""
    return NEW[aspect] if answer is None else _ACTUAL[aspect](answer)


def _actual_encryption(answer):
    rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
    by_default = rule.get("ApplyServerSideEncryptionByDefault", {})
    kind = by_default.get("SSEAlgorithm", "AES256")
    return {
        "type": kind,
        "key": key_id(by_default.get("KMSMasterKeyID")),
        "bucket_key": bool(rule.get("BucketKeyEnabled")) and kind == "aws:kms",
    }


def _actual_lock(answer):
    found = answer.get("ObjectLockConfiguration") or {}
    if found.get("ObjectLockEnabled") != "Enabled":
        return None
    retention = found.get("Rule", {}).get("DefaultRetention", {})
    return {key.lower(): retention[key] for key in ("Mode", "Days", "Years") if retention.get(key)}


def _actual_lifecycle(answer):
    return {rule.get("ID", ""): _actual_rule(rule) for rule in answer.get("Rules") or []}


def _actual_rule(rule):
    rest = {key: value for key, value in rule.items() if key not in ("ID", "Status", "Prefix", "Filter")}
    where = rule.get("Filter") or {}
    found = {"enabled": rule.get("Status") == "Enabled", "prefix": rule.get("Prefix") or where.get("Prefix") or ""}
    expiration = dict(rest.pop("Expiration", {}))
    found["expire_days"] = expiration.pop("Days", None)
    found["expired_delete_markers"] = expiration.pop("ExpiredObjectDeleteMarker", False)
    noncurrent = dict(rest.pop("NoncurrentVersionExpiration", {}))
    found["expire_noncurrent_days"] = noncurrent.pop("NoncurrentDays", None)
    found["keep_noncurrent"] = noncurrent.pop("NewerNoncurrentVersions", None)
    found["abort_multipart_days"] = rest.pop("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    found["transitions"] = _moves(rest.pop("Transitions", []), "Days")
    found["noncurrent_transitions"] = _moves(rest.pop("NoncurrentVersionTransitions", []), "NoncurrentDays")
    wanted = _wanted_rule(found)
    # What this module cannot describe makes the rule another one than any that is wanted.
    strange = {**rest, **expiration, **noncurrent, **{key: where[key] for key in where if key != "Prefix"}}
    return {**wanted, "other": json.dumps(strange, sort_keys=True, default=str)} if strange else wanted


def _moves(transitions, key):
    return _sorted_moves([{"days": entry.get(key, 0), "storage_class": entry["StorageClass"]} for entry in transitions])


def _actual_replication(answer):
    configuration = answer["ReplicationConfiguration"]
    return {
        "role": configuration["Role"],
        "rules": {rule.get("ID", ""): _actual_replication_rule(rule) for rule in configuration["Rules"]},
    }


def _actual_replication_rule(rule):
    destination = rule["Destination"]
    values = {
        "priority": rule.get("Priority"),
        "prefix": rule.get("Prefix") or (rule.get("Filter") or {}).get("Prefix"),
        "enabled": rule["Status"] == "Enabled",
        "delete_markers": rule.get("DeleteMarkerReplication", {}).get("Status") == "Enabled",
        "bucket": destination["Bucket"],
        "storage_class": destination.get("StorageClass"),
        "account": destination.get("Account"),
        "kms_key": destination.get("EncryptionConfiguration", {}).get("ReplicaKmsKeyID"),
    }
    return {key: value for key, value in values.items() if value not in (None, "", False)}


def _actual_logging(answer):
    found = answer.get("LoggingEnabled")
    return {"bucket": found["TargetBucket"], "prefix": found.get("TargetPrefix", "")} if found else None


_ACTUAL = {
    "ownership": lambda answer: answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
    "public_access": lambda answer: {
        key: bool(answer["PublicAccessBlockConfiguration"].get(key)) for key in PUBLIC_ACCESS
    },
    "policy": lambda answer: canonical_policy(json.loads(answer["Policy"])),
    "encryption": _actual_encryption,
    "versioning": lambda answer: "Enabled" if answer.get("Status") == "Enabled" else "Suspended",
    "object_lock": _actual_lock,
    "tags": lambda answer: {tag["Key"]: tag["Value"] for tag in answer["TagSet"]},
    "lifecycle": _actual_lifecycle,
    "logging": _actual_logging,
    "replication": _actual_replication,
}


# The plan


def plan(have, want):
    """Return the steps from I(have) to I(want), both dict of bucket to its aspects; a bucket not in I(have) is new.

    A step is a dict bucket, aspect (C(bucket) for the bucket itself), before, after. Buckets come first, then the
    aspects one after the other.
    """
    steps = [
        {"bucket": name, "aspect": "bucket", "before": None, "after": "present"} for name in want if name not in have
    ]
    for aspect in ASPECTS:
        for name in want:
            before, after = have.get(name, NEW)[aspect], want[name][aspect]
            if not same(aspect, before, after):
                shown = before if name in have else None
                steps.append({"bucket": name, "aspect": aspect, "before": shown, "after": after})
    return steps


def impossible(steps, have):
    """Return sentences on steps that S3 does not offer."""
    found = []
    for step in steps:
        name = step["bucket"]
        if step["aspect"] == "object_lock" and step["before"] is not None and step["after"] is None:
            found.append(f"Bucket {name} has object lock, which cannot be switched off; describe object_lock: {{}}.")
        suspended = step["aspect"] == "versioning" and step["after"] == "Suspended"
        if suspended and have.get(name, NEW)["object_lock"] is not None:
            found.append(f"Bucket {name} has object lock, so its versioning cannot be suspended.")
    return found


def request(step):
    """Return (boto3 method, its parameters beyond Bucket) of a step on an aspect."""
    aspect, after = step["aspect"], step["after"]
    if not after and aspect in _DELETES:
        return _DELETES[aspect], {}
    return _REQUESTS[aspect](after)


def _put_lifecycle(rules):
    return "put_bucket_lifecycle_configuration", {
        "LifecycleConfiguration": {"Rules": [_rule_request(name, rules[name]) for name in rules]}
    }


def _rule_request(name, rule):
    entry = {
        "ID": name,
        "Status": "Enabled" if rule.get("enabled") else "Disabled",
        "Filter": {"Prefix": rule.get("prefix", "")},
    }
    expiration = {
        "Days": rule.get("expire_days"),
        "ExpiredObjectDeleteMarker": rule.get("expired_delete_markers"),
    }
    noncurrent = {
        "NoncurrentDays": rule.get("expire_noncurrent_days"),
        "NewerNoncurrentVersions": rule.get("keep_noncurrent"),
    }
    parts = {
        "Expiration": _filled(expiration),
        "NoncurrentVersionExpiration": _filled(noncurrent),
        "AbortIncompleteMultipartUpload": _filled({"DaysAfterInitiation": rule.get("abort_multipart_days")}),
        "Transitions": [
            {"Days": move["days"], "StorageClass": move["storage_class"]} for move in rule.get("transitions", [])
        ],
        "NoncurrentVersionTransitions": [
            {"NoncurrentDays": move["days"], "StorageClass": move["storage_class"]}
            for move in rule.get("noncurrent_transitions", [])
        ],
    }
    return {**entry, **_filled(parts)}


def _filled(values):
    return {key: value for key, value in values.items() if value}


def _put_replication(replication):
    rules = []
    for name, rule in replication["rules"].items():
        destination = {
            "Bucket": rule["bucket"],
            "StorageClass": rule.get("storage_class"),
            "Account": rule.get("account"),
        }
        entry = {
            "ID": name,
            "Priority": rule["priority"],
            "Status": "Enabled" if rule.get("enabled") else "Disabled",
            "Filter": {"Prefix": rule.get("prefix", "")},
            "DeleteMarkerReplication": {"Status": "Enabled" if rule.get("delete_markers") else "Disabled"},
        }
        if rule.get("account"):
            destination["AccessControlTranslation"] = {"Owner": "Destination"}
        if rule.get("kms_key"):
            destination["EncryptionConfiguration"] = {"ReplicaKmsKeyID": rule["kms_key"]}
            entry["SourceSelectionCriteria"] = {"SseKmsEncryptedObjects": {"Status": "Enabled"}}
        rules.append({**entry, "Destination": _filled(destination)})
    return "put_bucket_replication", {"ReplicationConfiguration": {"Role": replication["role"], "Rules": rules}}


def _put_encryption(encryption):
    by_default = _filled({"SSEAlgorithm": encryption["type"], "KMSMasterKeyID": encryption["key"]})
    rule = {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": encryption["bucket_key"]}
    return "put_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


def _put_lock(lock):
    configuration = {"ObjectLockEnabled": "Enabled"}
    if lock:
        configuration["Rule"] = {"DefaultRetention": {key.capitalize(): value for key, value in lock.items()}}
    return "put_object_lock_configuration", {"ObjectLockConfiguration": configuration}


def _put_logging(logging):
    status = (
        {"LoggingEnabled": {"TargetBucket": logging["bucket"], "TargetPrefix": logging["prefix"]}} if logging else {}
    )
    return "put_bucket_logging", {"BucketLoggingStatus": status}


def _shortest(value):
    """Return a policy with one string in place of each list of one, as people write it."""
    if isinstance(value, dict):
        return {key: _shortest(value[key]) for key in value}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_shortest(entry) for entry in value]
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_REQUESTS = {
    "ownership": lambda after: (
        "put_bucket_ownership_controls",
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": after}]}},
    ),
    "public_access": lambda after: ("put_public_access_block", {"PublicAccessBlockConfiguration": after}),
    "policy": lambda after: ("put_bucket_policy", {"Policy": json.dumps(_shortest(after))}),
    "encryption": _put_encryption,
    "versioning": lambda after: ("put_bucket_versioning", {"VersioningConfiguration": {"Status": after}}),
    "object_lock": _put_lock,
    "tags": lambda after: (
        "put_bucket_tagging",
        {"Tagging": {"TagSet": [{"Key": key, "Value": after[key]} for key in sorted(after)]}},
    ),
    "lifecycle": _put_lifecycle,
    "logging": _put_logging,
    "replication": _put_replication,
}
_DELETES = {
    "policy": "delete_bucket_policy",
    "tags": "delete_bucket_tagging",
    "lifecycle": "delete_bucket_lifecycle",
    "replication": "delete_bucket_replication",
}


def lines(steps, side):
    """Return one side (C(before), C(after)) of the steps as the lines of a diff, one for each value."""
    found = []
    for step in steps:
        found += flat(f"{step['bucket']} {step['aspect']}", step[side])
    return found


def flat(path, value):
    """Return the lines of a nested value, each its whole path and a scalar or a list of scalars."""
    if value is None or value in ({}, []):
        return []
    if isinstance(value, dict):
        return [line for key in sorted(value) for line in flat(f"{path}.{key}", value[key])]
    if isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        names = [entry.get("Sid") if isinstance(entry, dict) else None for entry in value]
        return [line for i, entry in enumerate(value) for line in flat(f"{path}[{names[i] or i}]", entry)]
    return [f"{path}: {json.dumps(value)}" if isinstance(value, (list, bool)) else f"{path}: {value}"]
