"""Trails: refusals, canonical selectors, the plan; and digests signed by a key of the test's own."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import trail_digests, trail_plan
from ansible_collections.selfhosted.ec2.plugins.modules import cloudtrail
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.integration.module_call import options

ARN = "arn:aws:cloudtrail:eu-west-1:123456789012:trail/trading"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:/trading/audit"
ROLE = "arn:aws:iam::123456789012:role/audit"


def trail(**changed):
    return options(cloudtrail, **{"name": "trading", "bucket": "audit", **changed})


def management():
    return {"name": "Management", "fields": [{"field": "eventCategory", "equals": ["Management"]}]}


def objects(*arns):
    fields = [
        {"field": "eventCategory", "equals": ["Data"]},
        {"field": "resources.type", "equals": ["AWS::S3::Object"]},
        {"field": "resources.ARN", "starts_with": list(arns)},
    ]
    return {"name": "Objects", "fields": fields}


def applied(steps, have):
    """Carry out a plan as CloudTrail would."""
    have = copy.deepcopy(have)
    for step in steps:
        given = copy.deepcopy(step["parameters"])
        if step["action"] == "create_trail":
            tags = {entry["Key"]: entry["Value"] for entry in given.pop("TagsList", [])}
            have = {"trail": {"TrailARN": ARN}, "logging": False, "selectors": {}, "insights": [], "tags": tags}
        if step["action"] in ("create_trail", "update_trail"):
            given["LogFileValidationEnabled"] = given.pop(
                "EnableLogFileValidation", have["trail"].get("LogFileValidationEnabled", False)
            )
            have["trail"].update(given)
        elif step["action"] == "put_event_selectors":
            have["selectors"] = given
        elif step["action"] == "put_insight_selectors":
            have["insights"] = [entry["InsightType"] for entry in given["InsightSelectors"]]
        elif step["action"] == "add_tags":
            have["tags"].update({entry["Key"]: entry["Value"] for entry in given["TagsList"]})
        elif step["action"] == "remove_tags":
            for entry in given["TagsList"]:
                del have["tags"][entry["Key"]]
        elif step["action"] in ("start_logging", "stop_logging"):
            have["logging"] = step["action"] == "start_logging"
        else:
            have = None
    return have


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bucket": ""}, "no bucket"),
        ({"name": "10.0.0.1"}, "no valid name"),
        ({"name": "a--b"}, "no valid name"),
        ({"key_prefix": "x/"}, "no final /"),
        ({"global_events": False}, "global_events must be true"),
        ({"log_group_arn": GROUP}, "log_role_arn together"),
        ({"log_group_arn": "audit", "log_role_arn": ROLE}, "ARN of a log group"),
        ({"event_selectors": [{}], "advanced_event_selectors": [management()]}, "one kind"),
        ({"event_selectors": [{}] * 6}, "at most 5"),
        ({"event_selectors": [{"exclude": ["s3.amazonaws.com"]}]}, "can be left out"),
        (
            {"event_selectors": [{"data_resources": [{"type": "AWS::SNS::Topic", "values": ["arn:aws:x"]}]}]},
            "is not one of",
        ),
        ({"event_selectors": [{"data_resources": [{"type": "AWS::S3::Object", "values": ["x"]}]}]}, "must be ARNs"),
        ({"advanced_event_selectors": [{"fields": [{"field": "readOnly", "equals": ["true"]}]}]}, "eventCategory"),
        (
            {"advanced_event_selectors": [{"fields": [{"field": "color", "equals": ["x"]}, *management()["fields"]]}]},
            "field color",
        ),
        (
            {"advanced_event_selectors": [{"fields": [{"field": "eventCategory", "equals": ["Data"]}]}]},
            "resources.type",
        ),
        ({"event_selectors": [{"read_write": "ReadOnly"}], "insights": ["ApiCallRateInsight"]}, "insights need"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(changed, words):
    found = trail_plan.faults(trail(**changed))
    assert len(found) == 1, found
    assert words in found[0]


def test_order_and_names_make_no_difference():
    one = {
        "AdvancedEventSelectors": trail_plan.advanced_request(
            [management(), objects("arn:aws:s3:::a/", "arn:aws:s3:::b/")]
        )
    }
    other = {
        "AdvancedEventSelectors": trail_plan.advanced_request(
            [objects("arn:aws:s3:::b/", "arn:aws:s3:::a/"), management()]
        )
    }
    other["AdvancedEventSelectors"][0]["FieldSelectors"].reverse()
    assert trail_plan.canonical_selectors(one) == trail_plan.canonical_selectors(other)
    new = {"EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": []}]}
    assert trail_plan.canonical_selectors(new) == trail_plan.canonical_selectors({})
    wanted = trail_plan.wanted_settings(
        trail(sns_topic="arn:aws:sns:eu-west-1:123456789012:topic", log_group_arn=GROUP, log_role_arn=ROLE)
    )
    assert (wanted["sns_topic"], wanted["log_group_arn"]) == ("topic", f"{GROUP}:*")


def random_trail(rng):
    changed = {
        "key_prefix": rng.choice(["", "audit"]),
        "multi_region": rng.choice([True, False]),
        "log_file_validation": rng.choice([True, False]),
        "insights": rng.choice([[], ["ApiCallRateInsight"]]),
        "logging": rng.choice([True, False]),
        "tags": rng.choice([{}, {"platform": "trading"}, {"platform": "x", "owner": "y"}]),
    }
    kind = rng.choice(["basic", "advanced", "none"])
    if kind == "basic":
        changed["event_selectors"] = [{"exclude": rng.choice([[], ["kms.amazonaws.com"]])}]
    elif kind == "advanced":
        changed["advanced_event_selectors"] = [
            management(),
            objects(rng.choice(["arn:aws:s3:::a/", "arn:aws:s3:::b/"])),
        ]
    if rng.random() < 0.5:
        changed.update(log_group_arn=GROUP, log_role_arn=ROLE)
    return trail(**changed)


def test_equal_means_no_write_and_an_applied_plan_gives_what_is_wanted():
    rng, have = random.Random(3), None
    for _ in range(60):
        wanted = random_trail(rng)
        assert trail_plan.faults(wanted) == []
        have = applied(trail_plan.plan(wanted, have), have)
        assert trail_plan.plan(wanted, have) == []
    gone = trail(state="absent")
    assert [step["action"] for step in trail_plan.plan(gone, have)] == ["delete_trail"]
    assert trail_plan.plan(gone, None) == []


# Digests


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(key):
    value = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return {hashlib.md5(value, usedforsecurity=False).hexdigest(): value}


def chain(key, hours=5, first=True):
    """Digests of some hours up to NOW, signed as CloudTrail signs them, and the log files that they name."""
    items, logs, before = {}, {}, None
    fingerprint = next(iter(public(key)))
    for number in range(hours, 0, -1):
        start, end = (NOW - timedelta(hours=number - shift) for shift in (0, 1))
        log = f"AWSLogs/123456789012/CloudTrail/eu-west-1/{end:%Y%m%dT%H%M}.json.gz"
        logs[log] = json.dumps({"Records": [number]}).encode()
        name = f"123456789012_CloudTrail-Digest_eu-west-1_trading_eu-west-1_{end:%Y%m%dT%H%M%SZ}.json.gz"
        object_key = f"{trail_digests.prefix('', '123456789012', 'eu-west-1', end)}{name}"
        old = items.get(before)
        document = {
            "awsAccountId": "123456789012",
            "digestStartTime": start.strftime(trail_digests.TIME_FORM),
            "digestEndTime": end.strftime(trail_digests.TIME_FORM),
            "digestS3Bucket": "audit",
            "digestS3Object": object_key,
            "digestPublicKeyFingerprint": fingerprint,
            "digestSignatureAlgorithm": "SHA256withRSA",
            "previousDigestS3Bucket": "audit" if old else None,
            "previousDigestS3Object": before,
            "previousDigestHashValue": hashlib.sha256(old["content"]).hexdigest() if old else None,
            "previousDigestSignature": old["signature"] if old else None,
            "logFiles": [{"s3Bucket": "audit", "s3Object": log, "hashValue": hashlib.sha256(logs[log]).hexdigest()}],
        }
        content = json.dumps(document).encode()
        # Written out as the guide has it, not by the code under test.
        text = f"{document['digestEndTime']}\naudit/{object_key}\n{hashlib.sha256(content).hexdigest()}\n"
        text += document["previousDigestSignature"] or "null"
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()
        items[object_key] = {
            "bucket": "audit",
            "key": object_key,
            "content": content,
            "signature": signature,
            "algorithm": "SHA256withRSA",
        }
        before = object_key
    if not first:
        del items[min(items)]
    return items, logs


def since(hours):
    return NOW - timedelta(hours=hours)


def test_a_whole_chain_has_no_fault(key):
    items, logs = chain(key)
    assert trail_digests.chain_faults(items, public(key), since(24)) == []
    # Where the time asked for begins within the chain, what is before it is not asked for.
    items, logs = chain(key, first=False)
    assert trail_digests.chain_faults(items, public(key), since(4)) == []
    for item in items.values():
        for _bucket, name, hash_value in trail_digests.log_files(item["content"]):
            assert trail_digests.log_file_fault(logs[name], hash_value) == ""
            assert trail_digests.log_file_fault(logs[name] + b" ", hash_value) == "was changed"
            assert trail_digests.log_file_fault(None, hash_value) == "is missing"


def faults_after(key, change):
    items, _logs = chain(key)
    names = sorted(items)
    change(items, names)
    return " ".join(trail_digests.chain_faults(items, public(key), since(24)))


def test_each_way_to_break_the_chain_is_found(key):
    def edit(items, names):
        items[names[2]]["content"] = items[names[2]]["content"].replace(b'"logFiles": [', b'"logFiles":  [')

    assert "its signature is not right" in faults_after(key, edit)
    assert f"{sorted(chain(key)[0])[2]}, was changed" in faults_after(key, edit)
    assert "is missing" in faults_after(key, lambda items, names: items.pop(names[2]))
    assert "no later digest follows it" in faults_after(key, lambda items, names: items.pop(names[2]))
    assert "no signature" in faults_after(key, lambda items, names: items[names[0]].update(signature=None))
    assert "another signature" in faults_after(key, lambda items, names: items[names[0]].update(signature="00" * 256))
    assert "it says that it is audit/" in faults_after(
        key, lambda items, names: items[names[4]].update(key="elsewhere")
    )
    assert "not JSON" in faults_after(key, lambda items, names: items[names[4]].update(content=b"{"))
    assert "not by SHA256withRSA" in faults_after(key, lambda items, names: items[names[1]].update(algorithm="none"))


def test_a_digest_by_another_key_is_no_digest(key):
    forged, _logs = chain(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    found = trail_digests.chain_faults(forged, public(key), since(24))
    assert len(found) == 5
    assert all("AWS has no public key" in fault for fault in found)
    # The same, when the digest lies about its key.
    value = next(iter(public(key).values()))
    names = {json.loads(item["content"])["digestPublicKeyFingerprint"]: value for item in forged.values()}
    assert all("its signature is not right" in fault for fault in trail_digests.chain_faults(forged, names, since(24)))


def test_a_new_chain_after_a_pause_is_no_fault(key):
    old, _logs = chain(key, hours=5)
    kept = {name: old[name] for name in sorted(old)[:2]}
    fresh, _logs = chain(key, hours=1)
    assert trail_digests.chain_faults({**kept, **fresh}, public(key), since(24)) == []


def test_keys_and_signatures_that_are_none(key):
    value = next(iter(public(key).values()))
    modulus, exponent = trail_digests.public_key(value)
    assert (modulus, exponent) == (key.public_key().public_numbers().n, 65537)
    for wrong in (b"", b"\x30", value[:-1], value + b"\x00", b"\x02" + value[1:]):
        with pytest.raises(trail_digests.DigestError):
            trail_digests.public_key(wrong)
    for signature in ("", "xyz", "00", "ff" * 256, "00" * 256):
        assert not trail_digests.verified((modulus, exponent), "text", signature)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    signed = short.sign(b"text", padding.PKCS1v15(), hashes.SHA256()).hex()
    numbers = short.public_key().public_numbers()
    assert not trail_digests.verified((numbers.n, numbers.e), "text", signed)


def test_names_of_digests():
    name = "a/AWSLogs/1/CloudTrail-Digest/eu-west-1/2026/11/22/"
    assert trail_digests.prefix("a", "1", "eu-west-1", NOW) == name
    name += "1_CloudTrail-Digest_eu-west-1_t_us-east-1_20261122T000000Z.json.gz"
    assert trail_digests.is_digest(name, "1", "eu-west-1", "t", "us-east-1")
    assert not trail_digests.is_digest(name, "1", "eu-west-1", "other", "us-east-1")
