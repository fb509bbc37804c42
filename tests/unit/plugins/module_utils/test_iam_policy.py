"""Policy documents: meaning, sizes, faults, text."""

import copy
import json
import random

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_policy
from hypothesis import given, settings
from hypothesis import strategies as st

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
ROOTS = [f"arn:{partition}:iam::123456789012:root" for partition in ("aws", "aws-cn", "aws-us-gov", "aws-iso-b")]


def document(*entries, **more):
    return {"Version": "2012-10-17", "Statement": list(entries), **more}


def trust(principal, **more):
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more})


@pytest.mark.parametrize("root", ROOTS)
def test_an_account_is_its_root_in_every_partition(root):
    assert iam_policy.equal(trust({"AWS": root}), trust({"AWS": ["123456789012"]}))
    assert not iam_policy.equal(trust({"AWS": root}), trust({"AWS": "123456789013"}))


@pytest.mark.parametrize(
    "one, other",
    [
        (trust("*"), trust({"AWS": ["*"]})),
        (document(ALLOW), {"Version": "2012-10-17", "Statement": ALLOW}),
        (document(ALLOW), json.dumps(document(ALLOW), indent=4)),
        (document({**ALLOW, "Condition": {}}), document(ALLOW)),
        (
            document({**ALLOW, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": True}}}),
            document({**ALLOW, "Condition": {"Bool": {"AWS:multifactorauthpresent": ["true"]}}}),
        ),
        (
            document({**ALLOW, "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": 3600}}}),
            document({**ALLOW, "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}}}),
        ),
    ],
)
def test_the_same_meaning(one, other):
    assert iam_policy.equal(one, other)


@pytest.mark.parametrize(
    "changed",
    [
        {"Effect": "Deny"},
        {"Action": "s3:PutObject"},
        {"Resource": "arn:aws:s3:::B/*"},
        {"Sid": "Read"},
        {"Condition": {"StringEquals": {"aws:PrincipalTag/team": "A"}}},
    ],
)
def test_another_meaning(changed):
    assert not iam_policy.equal(document(ALLOW), document({**ALLOW, **changed}))


def test_not_and_plain_elements_differ():
    plain = document({"Effect": "Deny", "Action": "s3:*", "Resource": "*"})
    assert not iam_policy.equal(plain, document({"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"}))
    assert not iam_policy.equal(plain, {**plain, "Version": "2008-10-17"})
    assert not iam_policy.equal(plain, "nonsense")


NAMES = st.lists(st.sampled_from(["s3:GetObject", "s3:PutObject", "ssm:Get*", "ec2:DescribeInstances"]), min_size=1)
RESOURCES = st.lists(st.sampled_from(["*", "arn:aws:s3:::a/*", "arn:aws:s3:::b"]), min_size=1)
CONDITIONS = st.dictionaries(
    st.sampled_from(["StringEquals", "StringLikeIfExists"]),
    st.dictionaries(
        st.sampled_from(["aws:SourceVpc", "aws:RequestTag/x"]), st.lists(st.sampled_from(["a", "b", "c"]), min_size=1)
    ),
)
STATEMENTS = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Deny"]), "Action": NAMES, "Resource": RESOURCES, "Condition": CONDITIONS}
)


def shuffled(statement, seed):
    """The same statement written otherwise."""
    chance = random.Random(seed)  # noqa: S311
    result = copy.deepcopy(statement)
    for name in ("Action", "Resource"):
        values = result[name] + [chance.choice(result[name])]
        chance.shuffle(values)
        result[name] = values[0] if len(set(values)) == 1 else values
    result["Action"] = [
        chance.choice([str.lower, str.upper, str])(name) for name in iam_policy.as_list(result["Action"])
    ]
    for keys in result["Condition"].values():
        for key in list(keys):
            values = keys.pop(key)
            chance.shuffle(values)
            keys[chance.choice([key, key.lower()])] = values[0] if len(set(values)) == 1 else values
    return dict(chance.sample(list(result.items()), len(result)))


@settings(max_examples=50, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=5), st.integers())
def test_writing_it_otherwise_changes_nothing(entries, seed):
    chance = random.Random(seed)  # noqa: S311
    others = [shuffled(entry, seed) for entry in entries]
    chance.shuffle(others)
    text = json.dumps(document(*others), indent=chance.choice([None, 2]))
    assert iam_policy.equal(document(*entries), text)
    assert iam_policy.edits(document(*entries), json.loads(text)) == []
    assert iam_policy.size(text) == iam_policy.size(json.loads(text))


@settings(max_examples=50, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=4), st.integers(), st.sampled_from(["Action", "Resource", "Effect"]))
def test_every_edit_is_seen(entries, seed, element):
    changed = copy.deepcopy(entries)
    entry = changed[seed % len(changed)]
    new = {"Action": "kms:Decrypt", "Resource": "arn:aws:s3:::new"}
    entry[element] = (
        [*entry[element], new[element]] if element in new else {"Allow": "Deny", "Deny": "Allow"}[entry[element]]
    )
    same = {iam_policy.canonical_statement(e) for e in entries} == {iam_policy.canonical_statement(e) for e in changed}
    assert iam_policy.equal(document(*entries), document(*changed)) == same
    before, after = iam_policy.aligned(document(*entries), document(*changed))
    assert same or before != after


def test_the_diff_of_an_edit_is_that_edit():
    first = {"Sid": "One", **ALLOW}
    before = document(first, {**ALLOW, "Sid": "Two", "Action": ["s3:GetObject", "s3:PutObject"]})
    after = document({**ALLOW, "Sid": "Two", "Action": ["s3:PutObject"]}, first)
    old, new = iam_policy.aligned(before, after)
    assert [row for row in old if row not in new] == []
    assert len(old) == len(new) + 1 and old.count("  action s3:GetObject") == 2
    assert iam_policy.edits(before, after) == [
        "- Allow s3:GetObject, s3:PutObject on arn:aws:s3:::b/* [Two]",
        "+ Allow s3:PutObject on arn:aws:s3:::b/* [Two]",
    ]


@pytest.mark.parametrize(
    "bad, words",
    [
        ("{", "is no JSON"),
        (document(), "has no statement"),
        (document(ALLOW, Version="2020-01-01"), "has the Version '2020-01-01'"),
        (document(ALLOW, Statements=[]), "has the element Statements"),
        (document({**ALLOW, "Sid": "a"}, {**ALLOW, "Sid": "a"}), "has the Sid a twice"),
        (document({**ALLOW, "Sid": "a b"}), "Sid must be letters and digits"),
        (document({**ALLOW, "Effect": "allow"}), "Effect is 'allow'"),
        (document({**ALLOW, "Actions": "s3:*"}), "there is no element Actions"),
        (document({**ALLOW, "Action": "GetObject"}), "the action 'GetObject' must be service:Action"),
        (document({**ALLOW, "NotAction": "s3:*"}), "either Action or NotAction"),
        (document({**ALLOW, "Resource": "bucket/*"}), "the resource 'bucket/*' must be * or an ARN"),
        (document({**ALLOW, "Resource": "arn:aws:s3:b"}), "must be * or an ARN"),
        (document({**ALLOW, "Principal": "*"}), "may not have a Principal"),
        (document({**ALLOW, "Condition": {"StringEqual": {"a": "b"}}}), "no condition operator 'StringEqual'"),
        (document({**ALLOW, "Condition": ["x"]}), "Condition must be a dictionary"),
        (document({**ALLOW, "Resource": "arn:aws:s3:::b/\u20ac"}), "holds the character"),
    ],
)
def test_bad_rights_are_named(bad, words):
    assert any(words in fault for fault in iam_policy.faults(bad)), iam_policy.faults(bad)


@pytest.mark.parametrize(
    "bad, words",
    [
        (document({"Effect": "Allow", "Action": "sts:AssumeRole"}), "needs a Principal"),
        (trust({"AWS": 123}), "an account's twelve digits"),
        (trust({"AWS": "arn:aws:s3:::b"}), "an ARN of IAM or STS"),
        (trust({"Service": "ec2"}), "such as ec2.amazonaws.com"),
        (trust({"Services": "ec2.amazonaws.com"}), "no kind of principal 'Services'"),
        (trust("123456789012"), "must be a dictionary"),
        (trust({"AWS": "*"}, Resource="*"), "may not have a Resource"),
        (trust({"AWS": "*"}, Action="s3:GetObject"), "must be one of sts"),
    ],
)
def test_bad_trust_is_named(bad, words):
    assert any(words in fault for fault in iam_policy.faults(bad, "trust")), iam_policy.faults(bad, "trust")


def test_good_documents_have_no_fault():
    assert iam_policy.faults(document(ALLOW)) == []
    assert iam_policy.faults(trust({"AWS": ROOTS, "Service": ["ec2.amazonaws.com"]}), "trust") == []
