"""Bucket plans: what is made is what was described, and the same description in other words plans nothing."""

import json

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import bucket_plan
from ansible_collections.selfhosted.ec2.plugins.modules import object_storage
from hypothesis import given, settings
from hypothesis import strategies as st

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/replication"
NAMES = ("bucket-a", "bucket-b", "bucket-c")


def checked(buckets):
    """Buckets as the module has them, defaults filled in."""
    result = ArgumentSpecValidator(object_storage.argument_spec()).validate(
        {"buckets": json.loads(json.dumps(buckets))}
    )
    assert not result.error_messages, result.error_messages
    found = result.validated_parameters["buckets"]
    for bucket in found:
        bucket["encryption"] = bucket["encryption"] or {"type": "s3", "key": None, "bucket_key": False}
        if bucket["object_lock"] and bucket["object_lock"]["mode"]:
            bucket["object_lock"]["mode"] = bucket["object_lock"]["mode"].upper()
    return found


def aspects(buckets):
    return {bucket["name"]: bucket_plan.desired(bucket, ACCOUNT) for bucket in checked(buckets)}


class Fake:
    """S3 as it answers: each request is kept and given back in the form of the reading call."""

    ANSWERS = {
        "ownership": lambda p: {"OwnershipControls": p["OwnershipControls"]},
        "public_access": lambda p: {"PublicAccessBlockConfiguration": p["PublicAccessBlockConfiguration"]},
        "policy": lambda p: {"Policy": p["Policy"]},
        "encryption": lambda p: {"ServerSideEncryptionConfiguration": p["ServerSideEncryptionConfiguration"]},
        "versioning": lambda p: p["VersioningConfiguration"],
        "object_lock": lambda p: {"ObjectLockConfiguration": p["ObjectLockConfiguration"]},
        "tags": lambda p: p["Tagging"],
        "lifecycle": lambda p: p["LifecycleConfiguration"],
        "logging": lambda p: p["BucketLoggingStatus"],
        "replication": lambda p: {"ReplicationConfiguration": p["ReplicationConfiguration"]},
    }

    def __init__(self):
        self.held = {}

    def apply(self, steps):
        for step in steps:
            name = step["bucket"]
            if step["aspect"] == "bucket":
                self.held[name] = {}
                continue
            operation, parameters = bucket_plan.request(step)
            if operation.startswith("delete_"):
                del self.held[name][step["aspect"]]
            else:
                self.held[name][step["aspect"]] = self.ANSWERS[step["aspect"]](json.loads(json.dumps(parameters)))

    def read(self):
        found = {}
        for name, held in self.held.items():
            # These two answer nothing at all, not an error, while nothing is set.
            answers = {"versioning": {}, "logging": {}, **held}
            found[name] = {aspect: bucket_plan.actual(aspect, answers.get(aspect)) for aspect in bucket_plan.ASPECTS}
        return found


days = st.integers(30, 300)
moves = st.lists(
    st.fixed_dictionaries({"days": days, "storage_class": st.sampled_from(bucket_plan.STORAGE_CLASSES)}), max_size=3
)
rules = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["one", "two", "three"]), "expire_days": st.integers(301, 900)},
        optional={
            "prefix": st.sampled_from(["", "tmp/"]),
            "enabled": st.booleans(),
            "expire_noncurrent_days": st.integers(301, 900),
            "abort_multipart_days": st.integers(1, 9),
            "transitions": moves,
            "noncurrent_transitions": moves,
        },
    ),
    max_size=3,
    unique_by=lambda rule: rule["id"],
)
statement = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Principal": st.sampled_from([{"AWS": ACCOUNT}, {"AWS": f"arn:aws:iam::{ACCOUNT}:role/a"}]),
        "Action": st.lists(st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:List*"]), min_size=1, unique=True),
    }
)
replication = st.fixed_dictionaries(
    {"id": st.just("all"), "bucket": st.just("elsewhere")},
    optional={
        "prefix": st.sampled_from(["", "a/"]),
        "delete_markers": st.booleans(),
        "priority": st.integers(1, 9),
        "kms_key": st.just("arn:aws:kms:eu-west-1:123456789012:key/1"),
        "account": st.just("210987654321"),
    },
)
bucket = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES)},
    optional={
        "encryption": st.sampled_from([{"type": "kms", "key": "alias/a"}, {"type": "kms_dsse"}, {"type": "s3"}]),
        "tls_only": st.booleans(),
        "statements": st.lists(statement, max_size=3, unique_by=str),
        "ownership": st.sampled_from(list(bucket_plan.OWNERSHIP)),
        "lifecycle": rules,
        "object_lock": st.sampled_from([{}, {"mode": "governance", "days": 3}, {"mode": "compliance", "years": 1}]),
        "logging": st.just({"bucket": "elsewhere", "prefix": "a/"}),
        "replication": replication.map(lambda rule: {"role": ROLE, "rules": [rule]}),
        "tags": st.dictionaries(st.sampled_from("abc"), st.text("xyz", max_size=3)),
    },
)
several = st.lists(bucket, max_size=3, unique_by=lambda entry: entry["name"])


@settings(max_examples=30, deadline=None)
@given(several, several)
def test_a_plan_applied_gives_what_was_described_and_then_plans_nothing(first, second):
    s3 = Fake()
    for described in (first, second):
        assert not bucket_plan.faults(checked(described), [])
        want, have = aspects(described), s3.read()
        steps = bucket_plan.plan(have, want)
        if bucket_plan.impossible(steps, have):
            return
        s3.apply(steps)
        assert bucket_plan.plan(s3.read(), want) == []
        assert all(s3.read()[name] == want[name] for name in want)


@settings(max_examples=50, deadline=None)
@given(st.lists(statement, min_size=1, max_size=4, unique_by=str), st.randoms())
def test_the_same_policy_in_other_words_is_the_same(statements, random):
    def other(entry):
        actions = [action.upper() if random.random() < 0.5 else action for action in entry["Action"]]
        random.shuffle(actions)
        principal = {
            kind: [value.replace(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")] if value == ACCOUNT else value
            for kind, value in entry["Principal"].items()
        }
        return {**entry, "Action": actions if len(actions) > 1 else actions[0], "Principal": principal}

    words = [other(entry) for entry in statements]
    random.shuffle(words)
    one, two = (
        bucket_plan.canonical_policy({"Version": "2012-10-17", "Statement": part}) for part in (statements, words)
    )
    assert bucket_plan.same("policy", one, two)
    less = bucket_plan.canonical_policy({"Version": "2012-10-17", "Statement": statements[1:] or [{"Effect": "Deny"}]})
    assert not bucket_plan.same("policy", one, less)


def test_buckets_come_before_their_aspects_and_versions_before_replication():
    copy = {"name": "bucket-a", "replication": {"role": ROLE, "rules": [{"id": "a", "bucket": "bucket-b"}]}}
    order = [(step["aspect"], step["bucket"]) for step in bucket_plan.plan({}, aspects([copy, {"name": "bucket-b"}]))]
    assert order.index(("bucket", "bucket-b")) < order.index(("ownership", "bucket-a"))
    assert order.index(("versioning", "bucket-b")) < order.index(("replication", "bucket-a"))


def test_a_rule_that_cannot_be_described_differs_from_every_wanted_one():
    answer = {
        "Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 5}, "Expiration": {"Days": 9}}]
    }
    have = bucket_plan.actual("lifecycle", answer)
    want = aspects([{"name": "bucket-a", "lifecycle": [{"id": "a", "expire_days": 9}]}])["bucket-a"]["lifecycle"]
    assert have != want and "ObjectSizeGreaterThan" in have["a"]["other"]


def test_a_diff_has_one_line_for_each_value():
    steps = [{"bucket": "b", "aspect": "tags", "before": {"x": "1"}, "after": {"x": "2", "y": "3"}}]
    assert bucket_plan.lines(steps, "before") == ["b tags.x: 1"]
    assert bucket_plan.lines(steps, "after") == ["b tags.x: 2", "b tags.y: 3"]
