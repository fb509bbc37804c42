#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudtrail_info
short_description: Prove that a trail is logging and that its digests are whole
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks for the state of a trail, reads its digests of the last hours from S3, and checks their signatures against
    AWS's public keys and that each links to the one before, so that a log file taken away or changed is found.
  - Writes nothing.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.info
options:
  name:
    description: Name of the trail.
    type: str
    required: true
  hours:
    description: How far back the digests are checked, 3 to 2160.
    type: int
    default: 24
  regions:
    description: Regions whose digests are checked; that of the module by default.
    type: list
    elements: str
    default: []
  log_files:
    description: Whether the log files that the digests name are read and checked, too.
    type: bool
    default: false
  require:
    description: Fail when something is wrong, instead of returning it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The trail logs, and nobody touched the last day
  selfhosted.ec2.cloudtrail_info:
    name: trading
    log_files: true
    require: true
"""

RETURN = r"""
logging:
  description: Whether the trail is logging.
  returned: always
  type: bool
digests:
  description: Digests that were checked.
  returned: always
  type: int
log_files:
  description: Log files that were checked.
  returned: always
  type: int
faults:
  description: What is wrong, one sentence each.
  returned: always
  type: list
  elements: str
"""

import gzip
import zlib
from datetime import datetime, timedelta, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, trail_digests

#: Fewer than three could miss the newest digest, which may be two hours old.
MIN_HOURS = 3
MAX_HOURS = 24 * 90


def read_object(s3, bucket, key):
    """Return (uncompressed content, metadata) of an object, (None, {}) when it is not there or is no gzip file."""
    try:
        answer = s3.call("get_object", Bucket=bucket, Key=key)
    except aws.AwsError as error:
        if error.code in ("NoSuchKey", "404"):
            return None, {}
        raise
    try:
        return gzip.decompress(answer["Body"].read()), answer.get("Metadata") or {}
    except (OSError, EOFError, zlib.error):
        return b"", answer.get("Metadata") or {}


def read_digests(s3, trail, region, since, now):
    """Return the digests of a region that end after I(since), by key, as trail_digests.faults_of takes them."""
    bucket, account = trail["S3BucketName"], trail["TrailARN"].split(":")[4]
    items = {}
    for number in range((now.date() - since.date()).days + 1):
        start = trail_digests.prefix(trail.get("S3KeyPrefix"), account, region, since.date() + timedelta(days=number))
        for entry in s3.pages("list_objects_v2", "Contents", Bucket=bucket, Prefix=start):
            key = entry["Key"]
            ours = trail_digests.is_digest(key, account, region, trail["Name"], trail["HomeRegion"])
            if ours and key[-24:-8] >= since.strftime("%Y%m%dT%H%M%SZ"):
                items[key] = read_digest(s3, bucket, key)
    return items


def read_digest(s3, bucket, key):
    content, metadata = read_object(s3, bucket, key)
    metadata = {name.lower(): value for name, value in metadata.items()}
    return {
        "bucket": bucket,
        "key": key,
        "content": content or b"",
        "signature": metadata.get("signature"),
        "algorithm": metadata.get("signature-algorithm"),
    }


def region_faults(connection, trail, region, since, now):
    """Return (faults, digests) of the chain of a region."""
    cloudtrail, s3 = connection.client("cloudtrail", region), connection.client("s3", trail["HomeRegion"])
    items = read_digests(s3, trail, region, since, now)
    if not items:
        return [], items
    # A key is valid from before the first digest that it signs.
    found = cloudtrail.pages("list_public_keys", "PublicKeyList", StartTime=since - timedelta(days=1), EndTime=now)
    keys = {entry["Fingerprint"]: bytes(entry["Value"]) for entry in found}
    return [f"{region}: {fault}." for fault in trail_digests.chain_faults(items, keys, since)], items


def late_faults(status, items, region, now):
    """Return a sentence when the newest digest is older than it may be."""
    started = status.get("StartLoggingTime")
    newest = max((key[-24:-8] for key in items), default="")
    limit = now - trail_digests.LATEST_DIGEST
    if newest >= limit.strftime("%Y%m%dT%H%M%SZ") or (started and started > limit):
        return []
    return [f"{region}: the newest digest is {newest or 'missing'}, though CloudTrail writes one each hour."]


def log_file_faults(connection, trail, items):
    """Return (faults, number) of the log files that the digests name."""
    s3, found, count = connection.client("s3", trail["HomeRegion"]), [], 0
    for item in items.values():
        try:
            named = trail_digests.log_files(item["content"])
        except trail_digests.DigestError:
            continue
        for bucket, key, hash_value in named:
            count += 1
            fault = trail_digests.log_file_fault(read_object(s3, bucket, key)[0], hash_value)
            if fault:
                found.append(f"The log file {bucket}/{key} {fault}.")
    return found, count


def state_faults(trail, status):
    """Return what the trail itself says is wrong."""
    found = []
    if not status["IsLogging"]:
        found.append(f"The trail {trail['Name']} is not logging.")
    if not trail.get("LogFileValidationEnabled"):
        found.append(f"The trail {trail['Name']} writes no digests: log_file_validation is off.")
    for member, what in (
        ("LatestDeliveryError", "log files to S3"),
        ("LatestDigestDeliveryError", "digests to S3"),
        ("LatestCloudWatchLogsDeliveryError", "events to CloudWatch Logs"),
    ):
        if status.get(member):
            found.append(f"The trail {trail['Name']} could not deliver {what}: {status[member]}.")
    return found


def manage(params, connection, now):
    """Read and check; return the module's result. Raises AwsError.

    :arg now: the time, with time zone.
    """
    if not MIN_HOURS <= params["hours"] <= MAX_HOURS:
        raise aws.AwsError(f"hours is {params['hours']}; it must be {MIN_HOURS} to {MAX_HOURS}.")
    cloudtrail = connection.client("cloudtrail")
    found = cloudtrail.call("describe_trails", trailNameList=[params["name"]], includeShadowTrails=True)["trailList"]
    if not found:
        raise aws.AwsError(f"There is no trail {params['name']} in {cloudtrail.region}.")
    trail, since = found[0], now - timedelta(hours=params["hours"])
    status = cloudtrail.call("get_trail_status", Name=trail["TrailARN"])
    faults, digests, log_files = state_faults(trail, status), 0, 0
    for region in params["regions"] or [cloudtrail.region]:
        wrong, items = region_faults(connection, trail, region, since, now)
        faults += wrong
        digests += len(items)
        if status["IsLogging"] and trail.get("LogFileValidationEnabled"):
            faults += late_faults(status, items, region, now)
        if params["log_files"]:
            wrong, count = log_file_faults(connection, trail, items)
            faults += wrong
            log_files += count
    if faults and params["require"]:
        raise aws.AwsError(" ".join(faults))
    return {
        "changed": False,
        "logging": bool(status["IsLogging"]),
        "digests": digests,
        "log_files": log_files,
        "faults": faults,
    }


def argument_spec():
    return {
        **aws.argument_spec(),
        "name": {"type": "str", "required": True},
        "hours": {"type": "int", "default": 24},
        "regions": {"type": "list", "elements": "str", "default": []},
        "log_files": {"type": "bool", "default": False},
        "require": {"type": "bool", "default": False},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, datetime.now(timezone.utc)))


if __name__ == "__main__":
    main()
