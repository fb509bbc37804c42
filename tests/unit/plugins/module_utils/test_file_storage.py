"""Policies of buckets, and when a member of the file storage is well."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import file_storage

REPORTS = {"name": "reports", "grants": [{"user": "trading", "access": "write"}, {"user": "auditor", "access": "read"}]}


def allowed(policy, user, action):
    found = []
    for statement in policy["Statement"]:
        principal = statement["Principal"]
        users = [principal] if isinstance(principal, str) else principal["AWS"]
        if user in users and action in statement["Action"]:
            found += statement["Resource"]
    return found


def test_only_who_may_write_writes():
    policy = file_storage.bucket_policy(REPORTS)
    assert allowed(policy, "trading", "s3:PutObject") == ["arn:aws:s3:::reports/*"]
    assert allowed(policy, "auditor", "s3:GetObject") == ["arn:aws:s3:::reports/*"]
    assert allowed(policy, "auditor", "s3:PutObject") == []
    assert allowed(policy, "*", "s3:GetObject") == []
    assert all("Policy" not in action for item in policy["Statement"] for action in item["Action"])


def test_everybody_reads_a_public_bucket_and_does_not_list_it():
    policy = file_storage.bucket_policy({"name": "assets", "public": True})
    assert allowed(policy, "*", "s3:GetObject") == ["arn:aws:s3:::assets/*"]
    assert allowed(policy, "*", "s3:ListBucket") == []


def test_a_prefix_bounds_the_objects():
    grant = {"user": "trading", "access": "read", "prefix": "trading/"}
    policy = file_storage.bucket_policy({"name": "configuration", "grants": [grant]})
    assert allowed(policy, "trading", "s3:GetObject") == ["arn:aws:s3:::configuration/trading/*"]


def test_without_rights_there_is_no_policy():
    assert file_storage.bucket_policy({"name": "empty", "grants": []}) is None


def test_a_policy_written_otherwise_is_the_same():
    policy = file_storage.bucket_policy(REPORTS)
    turned = {"Version": "2012-10-17", "Statement": policy["Statement"][::-1], "Id": "x"}
    for statement in turned["Statement"]:
        statement["Principal"] = {"AWS": statement["Principal"]["AWS"][0]}
        statement["Action"] = statement["Action"][::-1]
    assert file_storage.plan([REPORTS], {"reports": turned}) == []


def test_plan_of_a_new_and_a_changed_bucket():
    steps = file_storage.plan([REPORTS, {"name": "assets", "public": True}], {"assets": None, "old": None})
    assert [(step["bucket"], step["what"]) for step in steps] == [
        ("reports", "create"), ("reports", "policy"), ("assets", "policy"),
    ]  # fmt: skip


def test_plan_takes_rights_away():
    found = {"reports": file_storage.bucket_policy(REPORTS)}
    (step,) = file_storage.plan([{"name": "reports"}], found)
    assert (step["what"], step["after"]) == ("policy", None)


def test_role_and_disk_are_read(tmp_path):
    (tmp_path / "data" / "reports").mkdir(parents=True)
    (tmp_path / "identity.json").write_text('{"member": "files-1"}')
    assert file_storage.read_disk(str(tmp_path)) == {
        "identity": {"member": "files-1"},
        "joining": {},
        "holds_data": True,
        "last_copy": {},
    }
    role = tmp_path / "role.env"
    assert file_storage.read_role(str(role)) == {"role": "", "epoch": 0}
    role.write_text("VGW_READ_ONLY=true\nVGW_HEALTH=/standby\nFILE_STORAGE_EPOCH=7\n")
    assert file_storage.read_role(str(role)) == {"role": "standby", "epoch": 7}


def view(role="standby", epoch=7, started=1000, copied=7, status=200):
    return {
        "role": role,
        "epoch": epoch,
        "last_copy": {"epoch": copied, "started": started},
        "status": {"gateway": status},
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"role": "primary", "copied": 0}, ""),
        ({"role": ""}, "has not started since the boot"),
        ({"status": "refused"}, "The gateway of files-2 does not answer as the standby: refused."),
        ({"copied": 6}, "has not copied from the primary yet"),
        ({"started": 600}, "is 500 s behind, more than 300 s"),
    ],
)
def test_when_a_member_is_well(changes, words):
    sentence = file_storage.missing(view(**changes), "files-2", 300, now=1100)
    assert (words in sentence) and bool(words) == bool(sentence)


def test_policy_is_json():
    assert json.loads(json.dumps(file_storage.bucket_policy(REPORTS)))["Version"] == "2012-10-17"
