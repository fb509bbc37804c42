"""The module iam_service_roles against the strict front."""

from __future__ import annotations

import copy
import json

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import iam_service_roles
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"
READ = {
    "Version": "2012-10-17",
    "Statement": [
        {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:{partition}:s3:::t-{account}/*"}
    ],
}


def role(name, **more):
    return {"name": name, "services": ["ec2.amazonaws.com"], **more}


class Module:
    """The module with the options of one set below a path of its own."""

    def __init__(self, front, path):
        self.front, self.path, self.iam = front, path, front.client("iam")

    def options(self, given):
        checked = ArgumentSpecValidator(iam_service_roles.argument_spec()).validate(
            {"path": self.path, "prune": {"path": self.path}, **given}
        )
        assert not checked.error_messages
        return checked.validated_parameters

    def run(self, check=False, connection=None, **given):
        self.front.forget_calls()
        connection = connection or self.front.connection()
        return iam_service_roles.manage(self.options(copy.deepcopy(given)), connection, "aws", check)

    def unchanged(self, **given):
        result = self.run(**given)
        assert (result["changed"], result["changes"]) == (False, []) and result["diff"]["before"] == ""
        return self.front.calls()


@pytest.fixture
def module(front, request):
    made = Module(front, f"/{request.node.name.split('[')[0].replace('_', '-')}/")
    yield made
    front.faults()


def ten_roles(prefix):
    return {
        "policies": [{"name": f"{prefix}-p{n}", "document": READ} for n in range(10)],
        "roles": [
            role(
                f"{prefix}-{n}",
                description=f"Role {n}",
                max_session_duration=7200,
                inline_policies={"own": READ},
                managed_policies=[f"{prefix}-p{n}", "arn:aws:iam::aws:policy/ReadOnlyAccess"],
                permissions_boundary=f"{prefix}-p0",
                instance_profiles=[f"{prefix}-{n}"],
                tags={"number": str(n)},
            )
            for n in range(10)
        ],
        "groups": [{"name": f"{prefix}-people", "inline_policies": {"own": READ}}],
    }


def test_ten_roles_unchanged_take_two_calls(module):
    given = ten_roles("ten")
    planned = module.run(check=True, **given)
    assert module.front.writes() == []
    done = module.run(**given)
    assert done["changes"] == planned["changes"] and done["diff"] == planned["diff"] and done["changed"]
    assert done["roles"]["ten-3"] == module.iam.get_role(RoleName="ten-3")["Role"]["Arn"]
    assert module.unchanged(**given) == {"iam.GetAccountAuthorizationDetails": 1, "iam.ListRoles": 1}
    held = module.iam.get_role(RoleName="ten-3")["Role"]
    assert (held["Description"], held["MaxSessionDuration"]) == ("Role 3", 7200)
    assert held["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(
        "policy/test-ten-roles-unchanged-take-two-calls/ten-p0"
    )
    assert (
        module.iam.get_instance_profile(InstanceProfileName="ten-3")["InstanceProfile"]["Roles"][0]["RoleName"]
        == "ten-3"
    )
    document = module.iam.get_role_policy(RoleName="ten-3", PolicyName="own")["PolicyDocument"]
    assert document["Statement"][0]["Resource"] == f"arn:aws:s3:::t-{ACCOUNT}/*"
    assert module.run()["changed"]
    assert module.unchanged()["iam.GetAccountAuthorizationDetails"] == 1
    with pytest.raises(ClientError):
        module.iam.get_role(RoleName="ten-3")


def test_all_pages_are_read(module, monkeypatch):
    monkeypatch.setattr(iam_service_roles, "PAGE", 2)
    given = {"roles": [role(f"page-{n}", description=str(n), instance_profiles=[f"page-{n}"]) for n in range(5)]}
    module.run(**given)
    calls = module.unchanged(**given)
    assert calls["iam.GetAccountAuthorizationDetails"] >= 3 and calls["iam.ListRoles"] == 3
    module.run()


def test_what_means_the_same_is_not_written(module):
    module.run(roles=[role("same", inline_policies={"i": READ})])
    entry = copy.deepcopy(READ)
    entry["Statement"][0].update(Action="S3:GETOBJECT", Resource=[f"arn:aws:s3:::t-{ACCOUNT}/*"])
    module.iam.put_role_policy(RoleName="same", PolicyName="i", PolicyDocument=json.dumps(entry, indent=4).replace(
        "{partition}", "aws").replace("{account}", ACCOUNT))  # fmt: skip
    module.unchanged(roles=[role("same", inline_policies={"i": READ})])
    by_root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    module.iam.create_role(
        RoleName="root", Path=module.path,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": by_root}),
    )  # fmt: skip
    by_number = {"Version": "2012-10-17", "Statement": [{**by_root, "Principal": {"AWS": ["{account}"]}}]}
    module.unchanged(roles=[role("same", inline_policies={"i": READ}), {"name": "root", "trust": by_number}])


def test_a_change_by_hand_is_shown_and_mended(module):
    given = {"roles": [role("hand", inline_policies={"i": READ}, tags={"a": "1"}, description="one")]}
    module.run(**given)
    wide = {"Version": "2012-10-17", "Statement": [READ["Statement"][0] | {"Action": ["s3:GetObject", "s3:PutObject"]}]}
    text = json.dumps(wide).replace("{partition}", "aws").replace("{account}", ACCOUNT)
    module.iam.put_role_policy(RoleName="hand", PolicyName="i", PolicyDocument=text)
    module.iam.put_role_policy(RoleName="hand", PolicyName="foreign", PolicyDocument=text)
    module.iam.tag_role(RoleName="hand", Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    module.iam.update_role(RoleName="hand", Description="two", MaxSessionDuration=3600)
    planned = module.run(check=True, **given)
    assert planned["changes"] == [
        "change description or session duration of role hand",
        "remove the tags b of role hand",
        "set the tags a=1 of role hand",
        "change the inline policy i of role hand",
        "delete the inline policy foreign of role hand",
    ]
    before, after = (set(planned["diff"][side].splitlines()) for side in ("before", "after"))
    assert "      action s3:PutObject" in before - after and "    one" in after - before
    kept = module.run(check=True, purge_policies=False, purge_tags=False, **given)
    assert not any("foreign" in text or "tags b" in text for text in kept["changes"])
    assert module.run(**given)["changes"] == planned["changes"]
    module.unchanged(**given)


def test_a_managed_policy_changes_by_version(module):
    def given(actions):
        document = {"Version": "2012-10-17", "Statement": [{**READ["Statement"][0], "Action": actions}]}
        return {
            "policies": [{"name": "version", "document": document}],
            "roles": [role("v", managed_policies=["version"])],
        }

    actions = [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:GetObjectTagging",
        "s3:PutObjectTagging",
        "s3:GetObjectAcl",
    ]
    for action in actions:
        module.run(**given([action]))
    assert module.run(**given([actions[3]]))["changes"] == ["make version v4 of the policy version its default"]
    versions = module.iam.list_policy_versions(PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy{module.path}version")[
        "Versions"
    ]
    assert len(versions) == 5
    module.run()
    module.unchanged()


@pytest.mark.parametrize("stop", [1, 9, 20])
def test_a_run_without_credentials_half_way_is_repeated(module, stop):
    given = {
        "roles": [{**entry, "tags": {}} for entry in ten_roles("half")["roles"][:3]],
        "policies": ten_roles("half")["policies"],
    }

    def broken(params):
        connection = module.front.connection()
        client = connection.client("iam")
        call, left = client.call, [stop]

        def counted(operation, **arguments):
            if not operation.startswith(("get", "list")):
                left[0] -= 1
                if left[0] < 0:
                    module.front.faults(lost_credentials=True)
            return call(operation, **arguments)

        client.call = counted
        with pytest.raises(aws.AwsError, match="does not accept the credentials"):
            module.run(connection=connection, **params)
        module.front.faults()

    broken(given)
    assert module.run(**given)["changed"]
    module.unchanged(**given)
    broken({})
    assert module.run()["changed"]
    module.unchanged()


def test_ten_throttles_are_waited_for(module):
    module.front.faults(throttle=[{"service": "iam", "count": 10}])
    given = {"roles": [role("slow", inline_policies={"i": READ})]}
    module.run(**given)
    module.unchanged(**given)


def test_it_waits_until_iam_shows_the_change(module):
    class Clock(aws.Clock):
        waited = 0

        def sleep(self, seconds):
            super().sleep(min(seconds, 0.3))
            Clock.waited += seconds

    connection = aws.Aws(module.front.options, clock=Clock())
    module.front.faults(eventual_consistency_seconds=1)
    given = {"roles": [role("young")]}
    module.run(connection=connection, **given)
    assert Clock.waited >= 1 and module.front.calls()["iam.GetAccountAuthorizationDetails"] > 2
    module.front.faults(eventual_consistency_seconds=600)
    with pytest.raises(aws.AwsError, match="in vain until IAM shows the changes"):
        module.run(connection=connection, roles=[role("younger")], wait_timeout=0)
    module.front.faults()
    assert module.run(roles=[role("young"), role("younger")])["changed"] is False


def test_without_waiting_nothing_is_read_again(module):
    module.run(wait=False, roles=[role("unwaited")])
    assert module.front.calls()["iam.GetAccountAuthorizationDetails"] == 1


def trust(principal, condition=None):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [{**statement, **({"Condition": condition} if condition else {})}]}


def rights(action, resource="*", sid="Own"):
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


AWS_ARN = "arn:aws:iam::aws:policy/P"


@pytest.mark.parametrize(
    "given, words",
    [
        ({"policies": [{"name": "p", "document": rights("s3:GetObject", sid="x" * 6200)}]}, "IAM takes 6144"),
        ({"roles": [role("r", managed_policies=[f"{AWS_ARN}{n}" for n in range(11)])]}, "11 managed policies"),
        ({"roles": [role("r", inline_policies={"i": rights("s3:GetObjects")})]}, "There is no|no action s3:GetObjects"),
        ({"roles": [{"name": "r", "trust": trust("*")}]}, "lets everybody take it"),
        ({"roles": [{"name": "r", "trust": trust({"AWS": "arn:aws:s3:::b"})}]}, "an ARN of IAM or STS"),
        ({"roles": [role("r", inline_policies={"i": rights("s3:GetObject", "bucket")})]}, "must be . or an ARN"),
        ({"roles": [role("r", permissions_boundary="arn:aws:iam::123456789012:policy/x")]}, "does not exist"),
        ({"roles": [role("r", managed_policies=["arn:aws:iam::123456789012:policy/x"])]}, "does not exist"),
        ({"roles": [role("r", managed_policies=["arn:aws:iam::999999999999:policy/x"])]}, "of another account"),
        ({"roles": [role("r", inline_policies={"i": rights("*")})]}, "every action on every resource"),
        ({"roles": [role("r", inline_policies={"i": rights("iam:PassRole")})]}, "gives the rights of every role"),
        ({"fail_level": "warning", "roles": [role("r", inline_policies={"i": rights("s3:*")})]}, "on every resource"),
        (
            {"fail_level": "warning", "roles": [{"name": "r", "trust": trust({"AWS": "999999999999"})}]},
            "needs the condition sts:ExternalId",
        ),
        ({"roles": [role("r", services=["ec2.amazonaws.com" * 150])]}, "IAM takes 2048"),
    ],
)
def test_bad_input_is_refused_before_any_write(module, given, words):
    with pytest.raises(aws.AwsError, match=words):
        module.run(**given)
    assert module.front.writes() == []


def test_findings_can_be_accepted_or_left(module):
    given = {"roles": [role("r", inline_policies={"i": rights("*")})]}
    accept = [{"rule": "wildcard", "where": "inline policy i of role r", "reason": "for the test"}]
    assert module.run(check=True, accept=accept, **given)["findings"] == []
    assert module.run(check=True, fail_level="never", **given)["findings"][0]["rule"] == "wildcard"


def test_access_analyzer_judges_what_would_be_written(module):
    passing = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"}}
    given = {
        "access_analyzer": True,
        "roles": [role("analyzed", inline_policies={"i": passing})],
        "accept": [{"rule": "pass-role", "reason": "for the test"}],
    }
    with pytest.raises(aws.AwsError, match="PASS_ROLE_WITH_STAR_IN_RESOURCE"):
        module.run(**given)
    assert module.front.calls()["accessanalyzer.ValidatePolicy"] == 2
    given["accept"].append({"rule": "PASS_ROLE_WITH_STAR_IN_RESOURCE", "reason": "for the test"})
    module.run(**given)
    assert "accessanalyzer.ValidatePolicy" not in module.unchanged(**given)


def test_a_role_of_somebody_else_is_left_alone(module):
    document = json.dumps(trust({"Service": "ec2.amazonaws.com"}))
    tags = [{"Key": "platform", "Value": "other"}]
    module.iam.create_role(RoleName="taken", Path=module.path, AssumeRolePolicyDocument=document, Tags=tags)
    with pytest.raises(aws.AwsError, match="belongs to somebody else"):
        module.run(roles=[role("taken")], prune={"tags": {"platform": "mine"}})
    assert module.front.writes() == []
    assert not module.run(prune={"path": module.path, "tags": {"platform": "mine"}})["changed"]


def test_a_policy_in_use_elsewhere_is_refused_before_any_write(module):
    module.run(policies=[{"name": "used", "document": READ}])
    module.iam.create_role(
        RoleName="outside", AssumeRolePolicyDocument=json.dumps(trust({"Service": "ec2.amazonaws.com"}))
    )
    module.iam.attach_role_policy(RoleName="outside", PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy{module.path}used")
    with pytest.raises(aws.AwsError, match="1 others use it"):
        module.run()
    assert module.front.writes() == []


def test_the_front_refuses_what_iam_refuses(front):
    iam = front.client("iam")

    def code(method, **given):
        with pytest.raises(ClientError) as caught:
            getattr(iam, method)(**given)
        return caught.value.response["Error"]["Code"]

    document, own = json.dumps(rights("s3:GetObject")), f"arn:aws:iam::{ACCOUNT}:policy/strict"
    assert code("create_role", RoleName="s", AssumeRolePolicyDocument=json.dumps(trust({"AWS": ACCOUNT})),
                PermissionsBoundary=own) == "NoSuchEntity"  # fmt: skip
    iam.create_policy(PolicyName="strict", PolicyDocument=document)
    iam.create_group(GroupName="strict")
    long = json.dumps(rights("s3:GetObject", sid="x" * 5100))
    assert code("put_group_policy", GroupName="strict", PolicyName="p", PolicyDocument=long) == "LimitExceeded"
    iam.attach_group_policy(GroupName="strict", PolicyArn=own)
    assert code("delete_policy", PolicyArn=own) == "DeleteConflict"
    assert code("delete_group", GroupName="strict") == "DeleteConflict"
    iam.detach_group_policy(GroupName="strict", PolicyArn=own)
    iam.create_policy_version(PolicyArn=own, PolicyDocument=document, SetAsDefault=True)
    assert code("delete_policy", PolicyArn=own) == "DeleteConflict"
    listed = {role["RoleName"]: role for role in iam.list_roles()["Roles"]}
    assert listed and not any("Tags" in role or "PermissionsBoundary" in role for role in listed.values())
