"""provision.yml, teardown.yml and the modules behind them against the strict front, without hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, platform
from ansible_collections.selfhosted.ec2.plugins.modules import (
    ec2_instances,
    key_pair,
    lock_table,
    platform_resources_info,
    route53_records,
    ssm_secrets,
    vpc_network,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.iam_names import action_of
from tests.integration.front_client import REGION, ROOT
from tests.integration.front_process import HOST_KEY

COMPONENTS = {
    "etcd": {"flows": [{"port": 2379, "from": ["self"], "purpose": "etcd's clients"}], "quorum": True},
    "haproxy": {"flows": [{"port": 443, "from": ["public"]}], "service_names": ["front"]},
}


class Platform:
    """A small platform that the tests change step by step."""

    def __init__(self, front, name, cidr):
        self.front = front
        self.description = {
            "name": name,
            "environment": "test",
            "region": REGION,
            "zones": [f"{REGION}{letter}" for letter in "abc"],
            "domain": f"{name}.internal",
            "network": {"cidr": cidr, "admin_cidrs": ["203.0.113.10/32"], "client_cidrs": []},
            "image": {"owner": "136693071363", "name": "debian-13-amd64-*"},
            "termination_protection": True,
            "tiers": [
                {
                    "name": "database",
                    "components": ["etcd"],
                    "count": 3,
                    "instance_type": "t3.small",
                    "volumes": [{"name": "etcd", "size": 2, "mount": "/var/lib/etcd"}],
                },
                {
                    "name": "edge",
                    "components": ["haproxy"],
                    "count": 1,
                    "instance_type": "t3.micro",
                    "subnet": "public",
                    "public_address": True,
                },
            ],
        }
        self.ec2 = front.client("ec2")
        self.made = {"subnets": {}, "security_groups": {}}

    def tier(self, index):
        return self.description["tiers"][index]

    def network(self, check=False):
        wanted = {**platform.network(self.description, COMPONENTS), "region": REGION}
        connection = self.front.connection()
        result = vpc_network.manage(wanted, "present", connection.client("ec2"), connection.clock, check)
        if not check:
            self.made = result
        return result

    def access(self):
        name = self.description["name"]
        self.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=self.front.environment["LAB_SSH_PUBLIC_KEY"].encode())
        iam = self.front.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        for tier in self.description["tiers"]:
            role = f"{name}-{tier['name']}"
            document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
            tags = [{"Key": "platform", "Value": name}]
            iam.create_role(RoleName=role, Path=f"/{name}/", AssumeRolePolicyDocument=document, Tags=tags)
            iam.create_instance_profile(InstanceProfileName=role, Path=f"/{name}/")
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)

    def instances(self, check=False, **more):
        params = {
            "platform": self.description["name"],
            "environment": "test",
            "zones": self.description["zones"],
            "tiers": self.description["tiers"],
            "image": self.description["image"],
            "key_name": None,
            "subnets": self.made["subnets"],
            "security_groups": self.made["security_groups"],
            "termination_protection": self.description["termination_protection"],
            "start_stopped": False,
            "remove": [],
            "confirm": [],
            "replace": [],
            "replace_volumes": False,
            "quorum_tiers": ["database"],
            "tier_tags": {},
            "require_host_keys": False,
            "timeout": 60,
            **more,
        }
        connection = self.front.connection()
        return ec2_instances.manage(params, connection.client("ec2"), connection.clock, check)

    def by_slot(self, **more):
        return {entry["slot"]: entry for entry in self.instances(**more)["instances"]}

    def described(self, instance_id):
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


@pytest.fixture(scope="module")
def trading(front):
    made = Platform(front, "trading", "10.50.0.0/16")
    made.network()
    made.access()
    made.first = made.instances()
    return made


def test_the_plan_of_check_mode_is_what_a_run_does(front):
    fresh = Platform(front, "fresh", "10.51.0.0/16")
    planned = fresh.network(check=True)
    assert planned["changed"] and planned["vpc_id"] == ""
    assert fresh.network()["actions"] == planned["actions"]
    again = fresh.network()
    assert (again["changed"], again["actions"]) == (False, [])
    assert len(again["subnets"]) == 6 and set(again["security_groups"]) == {"fresh-database", "fresh-edge"}


def test_groups_hold_the_flows_and_nothing_else(trading):
    ids = trading.made["security_groups"]
    groups = {
        group["GroupName"]: group
        for group in trading.ec2.describe_security_groups(GroupIds=list(ids.values()))["SecurityGroups"]
    }
    opened = {
        (name, entry["FromPort"], item["CidrIp"])
        for name, group in groups.items()
        for entry in group["IpPermissions"]
        for item in entry["IpRanges"]
    }
    assert opened == {
        ("trading-database", 22, "203.0.113.10/32"),
        ("trading-edge", 22, "203.0.113.10/32"),
        ("trading-edge", 443, "0.0.0.0/0"),
    }
    ports = {e.get("FromPort") for e in groups["trading-edge"]["IpPermissionsEgress"]}
    assert ports == {53, 80, 123, 443}


def test_a_foreign_rule_is_ended_and_shown(trading):
    group = trading.made["security_groups"]["trading-database"]
    trading.ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=1, ToPort=1, CidrIp="9.9.9.9/32"
    )
    planned = trading.network(check=True)
    assert planned["actions"] == ["end ingress of trading-database: tcp 1 9.9.9.9/32"]
    trading.network()
    assert not trading.network()["changed"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"environment": "other"}, "exists already in the environment test"),
        ({"network": {"cidr": "10.60.0.0/16"}}, "exists already with the network 10.50.0.0/16"),
        ({"name": "second"}, "platform_network.cidr 10.50.0.0/16 overlaps 10.50.0.0/16 of the VPC"),
        ({"zones": ["eu-west-1b", "eu-west-1a", "eu-west-1c"]}, "add zones at the end of platform_zones"),
    ],
)
def test_second_platforms_and_overlaps_are_refused_before_any_write(trading, change, words):
    other = Platform(trading.front, "trading", "10.50.0.0/16")
    other.description.update(change)
    trading.front.forget_calls()
    with pytest.raises(aws.AwsError, match=words.replace("/", "[/]")):
        other.network()
    assert not trading.front.writes()


def test_instances_are_as_described(trading):
    assert trading.first["changed"]
    found = {entry["slot"]: entry for entry in trading.first["instances"]}
    assert sorted(found) == ["database-1", "database-2", "database-3", "edge-1"]
    assert [found[f"database-{n}"]["zone"][-1] for n in (1, 2, 3)] == ["a", "b", "c"]
    assert all(entry["state"] == "running" for entry in found.values())
    assert found["edge-1"]["public_ip"] and not found["database-1"]["public_ip"]
    instance = trading.described(found["database-1"]["instance_id"])
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    tags = aws.tags_of(instance)
    assert tags["memory_mib"] == "2048" and tags["volume:etcd"] == found["database-1"]["volumes"]["etcd"]
    volumes = trading.ec2.describe_volumes(Filters=aws.platform_filter("trading"))["Volumes"]
    assert all(volume["Encrypted"] for volume in volumes)
    data = next(v for v in volumes if v["VolumeId"] == tags["volume:etcd"])
    assert data["State"] == "in-use" and not data["Attachments"][0].get("DeleteOnTermination")


def test_an_unchanged_run_reads_with_one_call_each(trading):
    trading.front.show_consoles()
    trading.instances()
    trading.front.forget_calls()
    result = trading.instances()
    assert (result["changed"], result["actions"]) == (False, [])
    assert result["diff"] == {"before": {}, "after": {}}
    calls = trading.front.calls()
    assert calls["ec2.DescribeInstances"] == calls["ec2.DescribeVolumes"] == calls["ec2.DescribeAddresses"] == 1
    assert not trading.front.writes()


def test_host_keys_go_from_the_console_into_the_tag(trading):
    found = trading.by_slot()
    assert {entry["ssh_host_key"] for entry in found.values()} == {HOST_KEY}


def test_a_lost_instance_comes_back_with_slot_volume_and_address(trading):
    before = trading.by_slot()
    for slot in ("database-2", "edge-1"):
        identity = before[slot]["instance_id"]
        trading.ec2.modify_instance_attribute(InstanceId=identity, DisableApiTermination={"Value": False})
        trading.ec2.terminate_instances(InstanceIds=[identity])
    planned = trading.instances(check=True)
    assert any(line.startswith("database-2: launch t3.small in eu-west-1b") for line in planned["actions"])
    assert planned["diff"]["before"]["database-2"] == {}
    done = trading.instances()
    # The plan of check mode, and what only a new instance's console can show.
    assert [line for line in done["actions"] if "SSH host key" not in line] == planned["actions"]
    after = {entry["slot"]: entry for entry in done["instances"]}
    assert after["database-2"]["instance_id"] != before["database-2"]["instance_id"]
    assert after["database-2"]["volumes"] == before["database-2"]["volumes"]
    assert after["edge-1"]["public_ip"] == before["edge-1"]["public_ip"]
    assert after["database-1"] == before["database-1"]
    assert not trading.instances()["changed"]


def test_drift_is_shown_and_mended(trading):
    identity = trading.by_slot()["database-1"]["instance_id"]
    default = trading.ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [trading.made["vpc_id"]]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]
    trading.ec2.modify_instance_attribute(InstanceId=identity, Groups=[default])
    trading.ec2.modify_instance_attribute(InstanceId=identity, DisableApiTermination={"Value": False})
    trading.ec2.create_tags(Resources=[identity], Tags=[{"Key": "tier", "Value": "wrong"}])
    trading.ec2.delete_tags(Resources=[identity], Tags=[{"Key": "volume:etcd"}])
    planned = trading.instances(check=True)
    assert len(planned["actions"]) == 3
    assert planned["diff"]["before"]["database-1"]["tags"]["tier"] == "wrong"
    assert planned["diff"]["after"]["database-1"]["tags"]["tier"] == "database"
    assert trading.instances()["actions"] == planned["actions"]
    assert not trading.instances()["changed"]


def test_a_stopped_instance_stays_a_slot_and_starts_only_when_told(trading):
    identity = trading.by_slot()["database-3"]["instance_id"]
    trading.ec2.stop_instances(InstanceIds=[identity])
    assert not trading.instances()["changed"]
    done = trading.instances(start_stopped=True)
    assert done["actions"][:1] == ["start database-3"]
    assert {e["slot"]: e["state"] for e in done["instances"]}["database-3"] == "running"


def test_volumes_grow_and_never_shrink(trading):
    volume = trading.tier(0)["volumes"][0]
    volume["size"] = 3
    try:
        assert len(trading.instances()["actions"]) == 3
        assert not trading.instances()["changed"]
        volume["size"] = 2
        with pytest.raises(aws.AwsError, match="has 3 GiB and cannot shrink to 2"):
            trading.instances()
    finally:
        volume["size"] = 3


def test_another_instance_type_is_reported_and_not_done(trading):
    trading.tier(0)["instance_type"] = "t3.medium"
    try:
        result = trading.instances()
    finally:
        trading.tier(0)["instance_type"] = "t3.small"
    assert not result["changed"]
    assert result["replacements"][0] == {
        "slot": "database-1",
        "reason": "its instance type is t3.small, the description says t3.medium",
    }


def test_scaling_down_needs_the_name_the_confirmation_and_a_quorum(trading):
    trading.tier(0)["count"] = 5
    assert len(trading.instances()["instances"]) == 6
    trading.tier(0)["count"] = 3
    with pytest.raises(aws.AwsError, match="database-4 exists .* but is not described"):
        trading.instances()
    both = ["database-4", "database-5"]
    with pytest.raises(aws.AwsError, match="confirm it with platform_confirm"):
        trading.instances(remove=both)
    with pytest.raises(aws.AwsError, match="names database-1, which is still described"):
        trading.instances(remove=["database-1"], confirm=["database-1"])
    trading.tier(0)["count"] = 1
    four = [f"database-{number}" for number in (2, 3, 4, 5)]
    with pytest.raises(aws.AwsError, match="leaves 1 of 5 members of tier database, fewer than the 3 its quorum needs"):
        trading.instances(remove=four, confirm=four)
    trading.tier(0)["count"] = 3
    result = trading.instances(remove=both, confirm=both)
    assert result["removed"] == both and len(result["instances"]) == 4
    kept = trading.ec2.describe_volumes(Filters=[{"Name": "tag:slot", "Values": both}])["Volumes"]
    assert [volume["State"] for volume in kept] == ["available", "available"]
    assert not trading.instances()["changed"]


def test_an_unencrypted_volume_is_refused(trading):
    made = trading.ec2.create_volume(
        AvailabilityZone="eu-west-1a",
        Size=2,
        TagSpecifications=aws.tag_specification(
            "volume", {"platform": "plain", "slot": "database-1", "volume": "etcd"}
        ),
    )
    other = Platform(trading.front, "plain", "10.52.0.0/16")
    with pytest.raises(aws.AwsError, match=f"etcd of database-1 .{made['VolumeId']}. is not encrypted"):
        other.instances()


def test_an_unknown_image_and_type_are_one_sentence(front):
    other = Platform(front, "unknown", "10.53.0.0/16")
    other.description["image"] = {"owner": "136693071363", "name": "plan9-*"}
    with pytest.raises(aws.AwsError, match="no image with owner 136693071363 and name plan9"):
        other.instances(check=True)
    other.tier(0)["instance_type"] = "t9.huge"
    with pytest.raises(aws.AwsError, match="t9.huge"):
        other.instances(check=True)


def test_no_nat_makes_its_endpoints_and_none_can_be_switched(front):
    private = Platform(front, "private", "10.54.0.0/16")
    private.description["network"]["nat"] = "none"
    private.description["options"] = {"kubernetes_ecr": True}
    actions = private.network()["actions"]
    assert {line.rsplit(" ", 1)[-1] for line in actions if line.startswith("create the endpoint")} >= {
        "s3",
        "ssm",
        "ec2",
        "ecr.api",
        "ecr.dkr",
    }
    assert [line for line in actions if "NAT gateway" in line] == []
    assert not private.network()["changed"]
    private.description["network"]["nat"] = "single"
    actions = private.network()["actions"]
    assert any(line.startswith("delete the endpoints") for line in actions)
    assert not private.network()["changed"]


def test_removal_takes_only_what_has_the_tag(front):
    gone = Platform(front, "gone", "10.55.0.0/16")
    gone.network()
    gone.access()
    gone.instances()
    connection = front.connection()
    ec2 = connection.client("ec2")
    before = len(front.client("ec2").describe_vpcs()["Vpcs"])
    params = {"platform": "gone", "delete_volumes": False, "timeout": 60}
    result = ec2_instances.remove(params, ec2, connection.clock, False)
    assert result["instances"] == [] and len(result["volumes"]) == 3
    assert vpc_network.manage({"platform": "gone"}, "absent", ec2, connection.clock, False)["changed"]
    assert not vpc_network.manage({"platform": "gone"}, "absent", ec2, connection.clock, False)["changed"]
    assert len(front.client("ec2").describe_vpcs()["Vpcs"]) == before - 1
    found = platform_resources_info.collect(connection, "gone")
    assert {role["name"] for role in found["roles"]} == {"gone-database", "gone-edge"}
    assert ec2_instances.remove({**params, "delete_volumes": True}, ec2, connection.clock, False)["volumes"] == []
    left = front.client("ec2").describe_volumes(Filters=[{"Name": "tag:slot", "Values": ["database-1"]}])["Volumes"]
    assert "gone" not in {aws.tags_of(volume)["platform"] for volume in left}


# Names


@pytest.fixture(scope="module")
def zone(front):
    made = front.client("route53").create_hosted_zone(Name="records.example", CallerReference="records")
    return made["HostedZone"]["Id"].rsplit("/", 1)[-1]


def records(front, zone_id, wanted, check=False, **more):
    params = {"zone": "records.example", "zone_id": zone_id, "private_zone": False, "prune": None, "marker": ""}
    params |= {"wait": False, "wait_timeout": 300, **more}
    wanted = [{"type": "A", "ttl": 30, **record} for record in wanted]
    route53 = front.connection().client("route53")
    return route53_records.manage({**params, "records": wanted}, route53, check), route53.calls


def test_two_hundred_records_take_three_calls_and_two_when_unchanged(front, zone):
    wanted = [{"name": f"host-{n}.records.example", "values": [f"10.0.{n // 100}.{n % 100 + 1}"]} for n in range(200)]
    result, calls = records(front, None, wanted)
    assert len(result["changes"]) == 200 and sum(calls.values()) <= 4
    shuffled = [{**record, "name": record["name"].upper() + "."} for record in reversed(wanted)]
    result, calls = records(front, None, shuffled)
    assert not result["changed"] and sum(calls.values()) <= 3


def test_records_are_pruned_only_where_we_own_them(front, zone):
    ours = {"name": "db-1.records.example", "values": ["10.1.0.1", "10.1.0.2"]}
    records(front, zone, [ours, {"name": "db-2.records.example", "values": ["10.1.0.3"]}])
    patterns = {"patterns": [r"db-[0-9]+[.]records[.]example"]}
    planned, _calls = records(front, zone, [ours], check=True, prune=patterns)
    done, _calls = records(front, zone, [{**ours, "values": ours["values"][::-1]}], prune=patterns)
    assert done["changes"] == planned["changes"] == ["DELETE db-2.records.example. 30 A 10.1.0.3"]
    assert done["diff"] == {"before": "db-2.records.example. 30 A 10.1.0.3\n", "after": ""}
    assert "host-1.records.example." in {
        entry["Name"]
        for entry in front.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    }


def test_a_missing_zone_is_one_sentence(front):
    with pytest.raises(aws.AwsError, match="There is no public zone named nowhere.example; create it first"):
        records(front, None, [{"name": "a.nowhere.example", "values": ["10.0.0.1"]}], zone="nowhere.example")


# Secrets


def secrets(front, wanted, check=False, state="present"):
    defaults = {"kind": "random", "length": 32, "alphabet": None, "value": None, "replace": False}
    params = {"path": "/vault", "state": state, "common_name": "vault CA"}
    params["tags"] = {"platform": "vault"}
    params["secrets"] = [{**defaults, **entry} for entry in wanted]
    return ssm_secrets.manage(params, front.connection().client("ssm"), check)


def read_secrets(front):
    ssm = front.client("ssm")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/vault", Recursive=True, WithDecryption=True)
    return {entry["Name"]: entry["Value"] for page in pages for entry in page["Parameters"]}


def test_missing_secrets_are_made_and_others_left(front):
    wanted = [{"name": f"app/password_{n}"} for n in range(24)] + [{"name": "ca", "kind": "ca"}]
    wanted[0]["alphabet"] = "0123456789abcdef"
    planned = secrets(front, wanted, check=True)
    assert read_secrets(front) == {}
    done = secrets(front, wanted)
    assert done == planned and len(done["created"]) == 26
    values = read_secrets(front)
    assert not any(value in json.dumps(done) for value in values.values())
    assert (
        set(values["/vault/app/password_0"]) <= set("0123456789abcdef") and len(values["/vault/app/password_1"]) == 32
    )
    assert not secrets(front, wanted)["changed"]
    assert read_secrets(front) == values


def test_a_secret_is_replaced_only_when_asked(front):
    login = [{"name": "turn/a"}, {"name": "turn/current", "value": "a"}]
    secrets(front, login)
    before = read_secrets(front)
    assert before["/vault/turn/current"] == "a"
    # What exists stays, also beside another value: provision names the first one for ever.
    assert not secrets(front, [{"name": "turn/current", "value": "b"}])["changed"]
    asked = [{"name": "turn/a", "replace": True}, {"name": "turn/current", "value": "b", "replace": True}]
    planned = secrets(front, asked, check=True)
    assert read_secrets(front) == before
    done = secrets(front, asked)
    assert done == planned and done["replaced"] == ["turn/a", "turn/current"] and done["created"] == []
    after = read_secrets(front)
    assert after["/vault/turn/current"] == "b"
    assert len(after["/vault/turn/a"]) == 32 and after["/vault/turn/a"] != before["/vault/turn/a"]
    assert after["/vault/turn/a"] not in json.dumps(done)
    assert not secrets(front, asked[1:])["changed"]


def test_the_authority_is_a_pair_and_is_never_half(front):
    authority = [{"name": "pair", "kind": "ca"}]
    secrets(front, authority)
    values = read_secrets(front)
    certificate = x509.load_pem_x509_certificate(values["/vault/pair/certificate"].encode())
    key = serialization.load_pem_private_key(values["/vault/pair/key"].encode(), None)
    assert certificate.public_key() == key.public_key()
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate.verify_directly_issued_by(certificate)
    ssm = front.client("ssm")
    ssm.delete_parameter(Name="/vault/pair/certificate")
    assert secrets(front, authority)["created"] == ["pair/certificate"]
    ssm.delete_parameter(Name="/vault/pair/key")
    with pytest.raises(aws.AwsError, match="pair/certificate exists but pair/key does not"):
        secrets(front, authority)


def test_secrets_can_be_removed(front):
    assert secrets(front, [{"name": "one/more"}])["changed"]
    gone = secrets(front, [], state="absent")
    assert "one/more" in gone["deleted"] and read_secrets(front) == {}


def test_the_key_pair_is_compared_without_a_write(front):
    ec2 = front.connection().client("ec2")
    params = {"name": "keys", "public_key": f"{HOST_KEY} a", "tags": {"platform": "keys"}}
    assert key_pair.manage(params, ec2, True)["changed"] and key_pair.manage(params, ec2, False)["changed"]
    front.forget_calls()
    assert not key_pair.manage({**params, "public_key": f"{HOST_KEY} another comment"}, ec2, False)["changed"]
    assert not front.writes()
    other = {**params, "public_key": HOST_KEY[:-4] + "BBBB"}
    with pytest.raises(aws.AwsError, match="belongs to somebody else"):
        key_pair.manage({**other, "tags": {"platform": "others"}}, ec2, False)
    assert key_pair.manage(other, ec2, False)["changed"] and not key_pair.manage(other, ec2, False)["changed"]


def test_the_lock_table_is_made_once_and_removed_only_with_its_tags(front):
    connection = front.connection()
    dynamodb = connection.client("dynamodb")

    def table(**more):
        params = {"name": "trading-lock", "state": "present", "tags": {"platform": "trading"}, **more}
        return lock_table.manage(params, dynamodb, connection.clock, more.get("check", False))

    assert table(check=True)["changed"] and table()["changed"]
    assert not table()["changed"]
    with pytest.raises(aws.AwsError, match="belongs to somebody else"):
        table(state="absent", tags={"platform": "other"})
    assert table(state="absent")["changed"] and not table(state="absent")["changed"]


# The playbooks


def play(front, name, *arguments, **environment):
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory/lab", f"playbooks/{name}.yml"]
    return subprocess.run(
        [*command, *arguments],
        check=False,
        cwd=ROOT,
        env={**front.environment, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def changed(run):
    line = next(line for line in run.stdout.splitlines() if line.startswith("localhost") and "changed=" in line)
    return int(line.split("changed=")[1].split()[0])


#: Rights of the operator that making, repeating and removing the small platform does not call for, and what does.
OTHERWISE = {
    "implied by a call that gives tags or a role": """dynamodb:TagResource iam:PassRole iam:TagInstanceProfile
        iam:TagRole ssm:AddTagsToResource""",
    "a platform that changes": """ec2:AssociateIamInstanceProfile ec2:DeleteRoute ec2:DeleteTags
        ec2:DescribeIamInstanceProfileAssociations ec2:ModifyInstanceAttribute ec2:ModifyInstanceMetadataOptions
        ec2:ModifyVolume ec2:ReplaceIamInstanceProfileAssociation ec2:ReplaceRoute ec2:ReplaceRouteTableAssociation
        ec2:StartInstances iam:UntagRole iam:UpdateAssumeRolePolicy iam:UpdateRole""",
    "another description": """ec2:CreateVpcEndpoint ec2:DeleteVpcEndpoints ec2:DescribeAccountAttributes
        ec2:DescribeManagedPrefixLists ec2:DescribeNetworkInterfaces iam:CreateServiceLinkedRole
        route53:AssociateVPCWithHostedZone route53:DisassociateVPCFromHostedZone""",
    "other playbooks, the inventory and the operator's shell": """ec2:DescribeAvailabilityZones route53:GetChange
        ssm:DeleteParameter ssm:DeleteParameters ssm:GetParameters ssm:StartSession""",
}


def operator_rights():
    """The actions that the role aws_iam allows an operator, lower case."""
    known = yaml.safe_load((ROOT / "roles/aws_iam/vars/main.yml").read_text())
    allowed = set()
    for statement in known["__aws_iam_people"]["operator"]["policies"]:
        actions = statement["Action"]
        named = known[actions.strip("{ }")] if isinstance(actions, str) and actions.startswith("{") else actions
        allowed |= {action.lower() for action in ([named] if isinstance(named, str) else named)}
    return allowed


def test_playbooks_from_nothing_to_nothing(front):
    front.show_consoles()
    front.forget_calls()
    first_check = play(front, "provision", "--check", "--diff")
    assert first_check.returncode == 0, first_check.stdout + first_check.stderr
    assert changed(first_check) > 5 and "database-1:" in first_check.stdout
    run = play(front, "provision")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("superuser_password", "ca/key"):
        assert name not in run.stdout or "BEGIN" not in run.stdout
    again = play(front, "provision", "--check", "--diff")
    assert again.returncode == 0 and changed(again) == 0, again.stdout
    at_it = {"name": {"S": "lab"}, "owner": {"S": "ana@one (pid 7, site.yml)"}, "token": {"S": "ana"}}
    at_it.update(started={"N": "1800000000"}, expires={"N": "4000000000"})
    front.client("dynamodb").put_item(TableName="lab-lock", Item=at_it)
    for refused in (play(front, "provision"), play(front, "teardown", "-e", "confirm_platform=lab")):
        assert refused.returncode != 0 and "is being changed by ana@one" in " ".join(refused.stdout.split())
    front.client("dynamodb").delete_item(TableName="lab-lock", Key={"name": {"S": "lab"}})
    unconfirmed = play(front, "teardown")
    assert unconfirmed.returncode != 0 and "confirm it with -e confirm_platform=lab" in unconfirmed.stdout
    planned = play(front, "teardown", "--check", "-e", "confirm_platform=lab")
    assert planned.returncode == 0 and "lab would be gone." in planned.stdout, planned.stdout + planned.stderr
    down = play(front, "teardown", "-e", "confirm_platform=lab")
    assert down.returncode == 0, down.stdout + down.stderr
    once_more = play(front, "teardown", "-e", "confirm_platform=lab", "-e", "delete_volumes=true")
    assert once_more.returncode == 0 and "Kept: volumes none" in once_more.stdout
    # Whoever has credentials may ask who he is.
    called = {action_of(name) for name in front.calls()} - {"sts:getcalleridentity"}
    assert len(called) > 60 and called - operator_rights() == set()
    rest = {right for right in operator_rights() - called if not right.startswith(("cloudfront:", "elasticloadb"))}
    assert rest == {right.lower() for rights in OTHERWISE.values() for right in rights.split()}


def test_bad_input_is_refused_before_anything_is_touched(front):
    front.forget_calls()
    bad = json.dumps({"platform_zones": ["eu-west-1a", "eu-west-1b"], "platform_domain": "Not A Domain"})
    run = play(front, "provision", "-e", bad)
    assert run.returncode != 0
    output = " ".join(run.stdout.split())
    assert "the loss of one zone would end the quorum; 3 zones would be right." in output
    assert "platform_domain is 'Not A Domain'" in output
    misspelt = play(front, "provision", "-e", "platform_start_stoped=true")
    assert misspelt.returncode != 0
    assert "platform_start_stoped is set" in misspelt.stdout and "platform_start_stopped?" in misspelt.stdout
    assert not front.writes()


def test_the_rights_on_volumes_of_pods_stay_while_there_are_volumes(front):
    ec2 = front.client("ec2")
    made = [
        ec2.create_volume(
            AvailabilityZone=f"{REGION}a",
            Size=1,
            TagSpecifications=aws.tag_specification("volume", {"ebs.csi.aws.com/cluster-name": cluster}),
        )["VolumeId"]
        for cluster in ("lab", "lab", "other")
    ]
    for arguments in ([], ["--check"]):
        front.forget_calls()
        refused = play(front, "provision", *arguments, TIERS="control,edge")
        assert refused.returncode != 0
        said = " ".join(refused.stdout.split())
        assert f"ebs.csi.aws.com/cluster-name: lab, {', '.join(sorted(made[:2]))}); set it to true, delete" in said
        # The first is the inventory's.
        assert front.calls() == {"ec2.DescribeInstances": 1, "ec2.DescribeVolumes": 1}
    elsewhere = play(front, "provision", "--check")
    for volume in made:
        ec2.delete_volume(VolumeId=volume)
    allowed = play(front, "provision", "--check", TIERS="control,edge")
    for run in (elsewhere, allowed):
        assert run.returncode == 0, run.stdout + run.stderr


def test_wrong_credentials_are_one_sentence(front):
    run = play(front, "provision", AWS_SECRET_ACCESS_KEY="not-the-right-secret-key-0000000000")
    assert run.returncode != 0
    assert "AWS does not accept the credentials" in " ".join((run.stdout + run.stderr).split())


def test_a_slot_gets_a_new_instance_and_keeps_or_changes_its_volumes(trading):
    before = trading.by_slot()["database-1"]
    after = trading.by_slot(replace=["database-1"])["database-1"]
    assert after["instance_id"] != before["instance_id"] and after["volumes"] == before["volumes"]
    assert not trading.instances(replace=["database-1"])["changed"], "an unfinished replacement is not begun anew"
    done = [after["instance_id"]]
    trading.ec2.delete_tags(Resources=done, Tags=[{"Key": "replacing"}])
    last = trading.by_slot(replace=["database-1"], replace_volumes=True)["database-1"]
    assert last["instance_id"] not in done and not set(last["volumes"].values()) & set(after["volumes"].values())
    kept = trading.ec2.describe_volumes(VolumeIds=sorted(after["volumes"].values()))["Volumes"]
    assert {volume["State"] for volume in kept} == {"available"}
    assert not trading.instances(replace=["database-1"], replace_volumes=True)["changed"]
