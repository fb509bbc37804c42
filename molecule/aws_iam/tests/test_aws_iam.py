"""The people's roles as an AWS client sees them."""

import boto3
import pytest


@pytest.fixture(scope="module")
def iam():
    return boto3.client("iam", region_name="us-east-1")


@pytest.mark.parametrize("name", ["molecule-operator", "molecule-auditor"])
def test_a_role_is_taken_with_mfa_by_its_group_only(iam, name):
    role = iam.get_role(RoleName=name)["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"]["Bool"] == {"aws:MultiFactorAuthPresent": "true"}
    (entry,) = iam.get_group_policy(GroupName=name, PolicyName="take-role")["PolicyDocument"]["Statement"]
    assert (entry["Action"], entry["Resource"]) == ("sts:AssumeRole", role["Arn"])
    assert {tag["Key"]: tag["Value"] for tag in role["Tags"]}["platform"] == "molecule"


def test_the_auditor_reads_no_data(iam):
    attached = iam.list_attached_role_policies(RoleName="molecule-auditor")["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["SecurityAudit"]
    document = iam.get_role_policy(RoleName="molecule-auditor", PolicyName="own")["PolicyDocument"]
    assert "s3:GetObject" in next(entry for entry in document["Statement"] if entry["Effect"] == "Deny")["Action"]


def test_only_the_people_asked_for_have_roles(iam):
    names = [role["RoleName"] for role in iam.list_roles(PathPrefix="/molecule-access/")["Roles"]]
    assert names == ["molecule-auditor", "molecule-operator"]
