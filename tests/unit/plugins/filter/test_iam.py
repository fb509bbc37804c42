"""Roles and groups of people."""

from ansible_collections.selfhosted.ec2.plugins.filter import iam

TRUST = {"Principal": {"AWS": "{account}"}, "Action": "sts:AssumeRole"}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
KNOWN = {
    "reader": {"description": "Reads", "policies": [READ]},
    "admin": {"description": "All", "managed_policies": ["arn:{partition}:iam::aws:policy/AdministratorAccess"]},
}


def people(**more):
    return iam.iam_people(["reader", "admin"], "t", "/t-access/", KNOWN, TRUST, **more)


def test_each_kind_has_a_role_and_a_group_that_may_take_it():
    made = people()
    assert (
        [entry["name"] for entry in made["roles"]]
        == [entry["name"] for entry in made["groups"]]
        == ["t-reader", "t-admin"]
    )
    assert made["roles"][0]["trust"]["Statement"] == [{"Effect": "Allow", **TRUST}]
    (statement,) = made["groups"][0]["inline_policies"]["take-role"]["Statement"]
    assert statement["Resource"] == "arn:{partition}:iam::{account}:role/t-access/t-reader"


def test_rights_are_the_known_ones_unless_given():
    reader, admin = people()["roles"]
    assert reader["inline_policies"]["own"]["Statement"] == [READ] and reader["managed_policies"] == []
    assert admin["inline_policies"] == {} and admin["managed_policies"] == KNOWN["admin"]["managed_policies"]
    reader, admin = people(statements={"reader": []}, managed={"admin": ["x"]}, session=7200)["roles"]
    assert reader["inline_policies"] == {} and admin["managed_policies"] == ["x"]
    assert {reader["max_session_duration"], admin["max_session_duration"]} == {7200}


def test_a_ready_statement_on_nothing_is_left_out():
    nothing = {"Effect": "Allow", "Action": "s3:PutBucketTagging", "Resource": []}
    known = {**KNOWN, "reader": {"description": "Reads", "policies": [nothing, READ]}}
    made = iam.iam_people(["reader"], "t", "/t-access/", known, TRUST)
    assert made["roles"][0]["inline_policies"]["own"]["Statement"] == [READ]


def test_permission_sets_have_the_rights_of_the_roles():
    made = iam.iam_permission_sets(["reader", "admin"], "t", KNOWN, {"reader": ["people"]}, session=7200)
    assert [entry["name"] for entry in made] == ["t-reader", "t-admin"]
    assert made[0]["inline_policy"]["Statement"] == [READ] and made[0]["groups"] == ["people"]
    assert made[1]["inline_policy"] is None and made[1]["groups"] == []
    assert made[1]["managed_policies"] == KNOWN["admin"]["managed_policies"]
    assert {entry["session_duration"] for entry in made} == {7200}
