"""The linter of policies: what it finds, at which level, and what it leaves alone."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_lint

ACTIONS = iam_lint.Actions(more=["s3:FromTheFuture"])
ACCOUNT = "123456789012"


def rights(**statement):
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


def found(document, kind="identity", account=ACCOUNT):
    return {(entry["level"], entry["rule"]) for entry in iam_lint.findings("x", document, kind, ACTIONS, account)}


PASS = {"Action": "iam:PassRole"}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/trading/x"


@pytest.mark.parametrize(
    "statement, expected",
    [
        ({"Action": "*", "Resource": "*"}, ("error", "wildcard")),
        ({"Action": ["s3:*"], "Resource": "*"}, ("warning", "wildcard")),
        ({"Action": "ec2:RunInstances", "Resource": "*"}, ("note", "wildcard-resource")),
        ({"Action": "iam:PutRolePolicy", "Resource": "*"}, ("error", "escalation")),
        ({"Action": "iam:Put*", "Resource": "*"}, ("error", "escalation")),
        ({**PASS, "Resource": "*"}, ("error", "pass-role")),
        ({"Action": "iam:Pass*", "Resource": f"arn:aws:iam::{ACCOUNT}:role/*"}, ("error", "pass-role")),
        ({**PASS, "Resource": ROLE}, ("warning", "pass-role")),
        ({"NotAction": "iam:*", "Resource": ROLE}, ("error", "not-action")),
        ({"Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"}, ("warning", "not-resource")),
        ({"Action": "s3:GetObjects", "Resource": "arn:aws:s3:::b/*"}, ("error", "unknown-action")),
        ({"Action": "s3:HeadObject", "Resource": "arn:aws:s3:::b/*"}, ("error", "unknown-action")),
        ({"Action": "nothing:Get", "Resource": "arn:aws:s3:::b/*"}, ("warning", "unknown-action")),
        ({"Action": "s3:Gte*", "Resource": "arn:aws:s3:::b/*"}, ("warning", "unknown-action")),
    ],
)
def test_unwise_rights(statement, expected):
    assert expected in found(rights(**statement))


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": ["s3:GetObject", "S3:listbucket", "s3:FromTheFuture"], "Resource": "arn:aws:s3:::b/*"},
        {"Action": ["ec2:Describe*", "logs:GetLogEvents"], "Resource": "*"},
        {**PASS, "Resource": ROLE, "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}},
        {"Action": ["ssmmessages:OpenDataChannel", "ec2messages:GetMessages"], "Resource": ROLE},
        {"Action": ["elasticloadbalancing:RegisterTargets", "cloudwatch:PutMetricData"], "Resource": ROLE},
        {"Action": ["dynamodb:ConditionCheckItem", "states:StartExecution", "tag:GetResources"], "Resource": ROLE},
    ],
)
def test_wise_rights(statement):
    assert found(rights(**statement)) == set()


def test_denials_and_old_versions():
    assert found({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}) == set()
    assert found({"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}) == {("note", "old-version")}


def trust(principal, **condition):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    if condition:
        statement["Condition"] = {"StringEquals": {key.replace("_", ":"): value for key, value in condition.items()}}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.mark.parametrize(
    "document, expected",
    [
        (trust("*"), {("error", "principal")}),
        (trust("*", aws_PrincipalOrgID="o-1"), {("warning", "principal")}),
        (trust({"Service": "ec2.amazonaws.com"}), set()),
        (trust({"Service": "config.amazonaws.com"}), {("warning", "confused-deputy")}),
        (trust({"Service": "config.amazonaws.com"}, aws_SourceAccount=ACCOUNT), set()),
        (trust({"AWS": ACCOUNT}), set()),
        (trust({"AWS": "999999999999"}), {("warning", "confused-deputy")}),
        (trust({"AWS": "arn:aws:iam::999999999999:role/x"}, sts_ExternalId="x"), set()),
        (trust({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/x"}), {("error", "federated")}),
        (trust({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/x"}, **{"x:sub": "repo"}), set()),
    ],
)
def test_trust(document, expected):
    assert found(document, "trust") == expected


def test_a_wrong_action_says_what_would_be_right():
    assert "the nearest is s3:GetObject" in ACTIONS.fault("s3:GetObjct")[1]
    assert "what allows it is s3:ListBucket" in ACTIONS.fault("s3:ListObjectsV2")[1]


def test_levels_and_what_is_accepted():
    entries = iam_lint.findings("policy x", rights(Action="*", Resource="*"), "identity", ACTIONS)
    assert iam_lint.failing(entries, "error") and not iam_lint.failing(entries, "never")
    assert iam_lint.accepted(entries[0], [{"rule": "wildcard", "where": "policy *", "reason": "break glass"}])
    assert not iam_lint.accepted(entries[0], [{"rule": "wildcard", "where": "role *", "reason": "other"}])
    assert not iam_lint.accepted(entries[0], [{"rule": "pass-role", "where": "*", "reason": "other"}])
