"""identity_center_permission_sets against the strict front."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, permission_sets
from ansible_collections.selfhosted.ec2.plugins.modules import identity_center_permission_sets as module

from tests.integration.front_client import parameters

AUDIT = "arn:aws:iam::aws:policy/SecurityAudit"
READ = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def document(*actions):
    resource = "arn:{partition}:ec2:eu-west-1:{account}:instance/*"
    statement = {"Sid": "Own", "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


class Center:
    def __init__(self, front):
        self.front, self.sso = front, front.client("sso-admin")
        instance = self.sso.list_instances()["Instances"][0]
        self.instance, store = instance["InstanceArn"], instance["IdentityStoreId"]
        identity = front.client("identitystore")
        for name in ("operators", "auditors"):
            identity.create_group(IdentityStoreId=store, DisplayName=name)

    def run(self, sets, check=False, connection=None, **more):
        wanted = parameters(module, {"permission_sets": sets, "prune_prefix": "trading-", **more})
        return module.manage(wanted, connection or self.front.connection(), check)

    def names(self):
        arns = self.sso.list_permission_sets(InstanceArn=self.instance)["PermissionSets"]
        described = [self.sso.describe_permission_set(InstanceArn=self.instance, PermissionSetArn=arn) for arn in arns]
        return {entry["PermissionSet"]["Name"] for entry in described}


@pytest.fixture(scope="module")
def center(front):
    return Center(front)


SETS = [
    {"name": "trading-operator", "description": "Runs", "session_duration": 5400, "groups": ["operators"],
     "inline_policy": document("ec2:DescribeInstances", "ec2:StartInstances")},
    {"name": "trading-auditor", "managed_policies": [AUDIT], "groups": ["auditors", "operators"]},
]  # fmt: skip


def test_new_then_unchanged_and_check_is_the_run(center):
    planned = center.run(SETS, check=True)
    done = center.run(SETS)
    assert planned["changes"] == done["changes"] and planned["diff"] == done["diff"] and done["changed"]
    assert set(done["permission_sets"]) == center.names() == {"trading-operator", "trading-auditor"}
    other = json.loads(json.dumps(SETS))
    other[0]["inline_policy"]["Statement"][0]["Action"] = ["EC2:StartInstances", "ec2:DescribeInstances"]
    center.front.forget_calls()
    assert not center.run(other)["changed"] and not center.front.writes()


def test_an_edit_is_shown_alone_and_provisioned(center):
    center.run(SETS)
    edited = json.loads(json.dumps(SETS))
    edited[0]["session_duration"] = 7200
    edited[1]["groups"] = ["auditors"]
    done = center.run(edited)
    assert done["diff"] == {
        "before": "trading-operator session: 5400 s\ntrading-auditor group: operators\n",
        "after": "trading-operator session: 7200 s\n",
    }
    assert done["changes"] == [
        "change the permission set trading-operator",
        "provision the permission set trading-operator",
        "take trading-auditor from operators",
    ]
    edited[1]["managed_policies"] = [READ]
    assert center.run(edited)["changes"][:2] == [
        "attach ReadOnlyAccess to trading-auditor",
        "detach SecurityAudit from trading-auditor",
    ]
    edited[0]["inline_policy"] = None
    assert "remove the inline policy of trading-operator" in center.run(edited)["changes"]
    assert not center.run(edited)["changed"]


def test_an_interrupted_run_is_finished_and_only_ours_is_removed(center):
    center.run([], prune_prefix="trading-")
    center.sso.create_permission_set(InstanceArn=center.instance, Name="somebody", SessionDuration="PT1H")
    connection = center.front.connection()
    client = connection.client("sso-admin")
    real = client.call

    def call(operation, **arguments):
        if operation == "put_inline_policy_to_permission_set":
            raise aws.AwsError("lost credentials")
        return real(operation, **arguments)

    client.call = call
    with pytest.raises(aws.AwsError, match="lost credentials"):
        center.run(SETS, connection=connection)
    assert center.run(SETS)["changed"] and not center.run(SETS)["changed"]
    gone = center.run(SETS[:1])
    assert gone["changes"][-1] == "delete the permission set trading-auditor"
    assert center.names() == {"trading-operator", "somebody"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "trading-a b"}, "1 to 32 letters"),
        ({"name": "other"}, "does not begin with prune_prefix trading-"),
        ({"session_duration": 60}, "it must be 3600 to 43200 seconds"),
        ({"managed_policies": [AUDIT] * 21}, "has 21 managed policies; 20 are allowed"),
        ({"inline_policy": {"Version": "2012-10-17", "Statement": []}}, "the inline policy has no statement"),
    ],
)
def test_bad_input_is_refused_before_the_first_call(center, given, words):
    center.front.forget_calls()
    with pytest.raises(aws.AwsError, match=words):
        center.run([{"name": "trading-x", **given}])
    assert not center.front.calls()


def test_an_unknown_group_is_refused_before_any_write(center):
    center.front.forget_calls()
    with pytest.raises(aws.AwsError, match="for the group nobody, which Identity Center does not know"):
        center.run([{"name": "trading-x", "groups": ["nobody"]}])
    assert not center.front.writes()


@pytest.mark.parametrize(("text", "number"), [("PT1H", 3600), ("PT1H30M", 5400), ("PT90M", 5400), ("PT12H", 43200)])
def test_durations(text, number):
    assert permission_sets.seconds(text) == number
    assert permission_sets.seconds(permission_sets.duration(number)) == number
