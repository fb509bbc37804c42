"""The role aws_iam and docs/iam.md against the strict front."""

from __future__ import annotations

import json

import pytest

from tests.integration import docs_example
from tests.integration.front_client import ROOT


@pytest.fixture(scope="module")
def done(front, tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    front.forget_calls()
    docs_example.run_page(front, directory, "iam.md", "aws_iam.yml")
    return directory


def test_the_page_makes_what_it_shows(front, done):
    iam = front.client("iam")
    names = {role["RoleName"] for role in iam.list_roles(PathPrefix="/trading-access/")["Roles"]}
    people = {f"trading-{kind}" for kind in ("operator", "developer", "auditor", "break-glass")}
    assert names == people | {"trading-pipeline"}
    assert iam.get_instance_profile(InstanceProfileName="nightly-backup")["InstanceProfile"]["Path"] == "/jobs/"
    attached = iam.list_attached_role_policies(RoleName="trading-break-glass")["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AdministratorAccess"]
    developer = iam.get_role_policy(RoleName="trading-developer", PolicyName="own")["PolicyDocument"]
    assert [entry["Sid"] for entry in developer["Statement"]] == ["Logs"]


def test_an_edit_is_shown_alone_and_health_tells_of_drift(front, done):
    healthy = [
        {
            "name": "Health",
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "module_defaults": {"group/selfhosted.ec2.aws": {"region": "{{ platform_region }}"}},
            "tasks": [
                {
                    "name": "Ask",
                    "ansible.builtin.import_role": {"name": "selfhosted.ec2.aws_iam", "tasks_from": "health"},
                }
            ],
        }
    ]
    path = done / "health.yml"
    path.write_text(docs_example.yaml.safe_dump(healthy))
    docs_example.run(front, done, path)
    _changed, output = docs_example.run(
        front, done, ROOT / "playbooks/aws_iam.yml", "--check", "--diff", "-e", "aws_iam_session_duration=7200"
    )
    rows = [line[1:].strip() for line in output.splitlines() if line[:1] in "+-" and line[1:2] not in "+-"]
    assert sorted(set(rows)) == ["3600", "7200"] and len(rows) == 8
    front.client("iam").delete_group_policy(GroupName="trading-auditor", PolicyName="take-role")
    with pytest.raises(AssertionError, match="The access is not as described"):
        docs_example.run(front, done, path)


def operator(front):
    document = front.client("iam").get_role_policy(RoleName="trading-operator", PolicyName="own")["PolicyDocument"]
    return {entry["Sid"]: entry for entry in document["Statement"]}


def test_the_first_load_balancer_of_an_account_may_make_its_role(front, done):
    playbook = ROOT / "playbooks/aws_iam.yml"
    assert not [sid for sid in operator(front) if sid.startswith("Endpoint")]
    docs_example.run(front, done, playbook, "-e", "kubernetes_endpoint_balancer=nlb")
    made = operator(front)
    docs_example.run(front, done, playbook)
    assert "ec2:DescribeAccountAttributes" in made["Endpoint"]["Action"]
    service = "elasticloadbalancing.amazonaws.com"
    assert made["EndpointRole"] == {
        "Sid": "EndpointRole",
        "Effect": "Allow",
        "Action": "iam:CreateServiceLinkedRole",
        "Resource": [f"arn:aws:iam::123456789012:role/aws-service-role/{service}/*"],
        "Condition": {"StringEquals": {"iam:AWSServiceName": service}},
    }
    assert not [sid for sid in operator(front) if sid.startswith("Endpoint")]


def test_permission_sets_take_the_place_of_roles_and_groups(front, done):
    sso, store = front.client("sso-admin"), front.client("identitystore")
    instance = sso.list_instances()["Instances"][0]
    store.create_group(IdentityStoreId=instance["IdentityStoreId"], DisplayName="audit")
    more = {"aws_iam_people_by": "identity_center", "aws_iam_people_groups": {"auditor": ["audit"]}}
    changed, output = docs_example.run(front, done, ROOT / "playbooks/aws_iam.yml", "-e", json.dumps(more))
    assert changed == 2, output
    arns = sso.list_permission_sets(InstanceArn=instance["InstanceArn"])["PermissionSets"]
    described = [sso.describe_permission_set(InstanceArn=instance["InstanceArn"], PermissionSetArn=arn) for arn in arns]
    names = {entry["PermissionSet"]["Name"] for entry in described}
    assert names == {f"trading-{kind}" for kind in ("operator", "developer", "auditor", "break-glass")}
    left = {role["RoleName"] for role in front.client("iam").list_roles(PathPrefix="/trading-access/")["Roles"]}
    assert left == {"trading-pipeline"}
