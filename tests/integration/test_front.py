"""The strict front through boto3: every refusal with AWS's code, its accepted neighbour, life cycle, faults, load."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import types
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import jinja2
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.aws import lifecycle, server
from lab.aws.credentials import role_credentials
from lab.aws.rules import RULES
from lab.paths import Lab

ROOT = Path(__file__).resolve().parents[2]
NO_RETRY = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
FLAT = {"Version": "2012-10-17", "Statement": []}
TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}


class Front:
    """A running front, boto3 clients for it, and what most tests need in it."""

    def __init__(self, directory):
        self.session, self.clients = boto3.Session(), {}
        self.lab = Lab("test")
        self.lab.state, self.lab.run = directory / "state", directory / "run"
        (self.lab.run / "changed.d").mkdir(parents=True)
        self.app = server.application(self.lab, hosts=True)
        self.server = server.Server(self.app, 0, self.lab.aws_socket)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def client(self, service, region="eu-west-1", config=NO_RETRY, **keys):
        keys = keys or self.lab.credentials
        known = (service, region, id(config), *keys.values())
        if known not in self.clients:
            arguments = {"endpoint_url": self.url, "region_name": region, "config": config, **keys}
            self.clients[known] = self.session.client(service, **arguments)
        return self.clients[known]

    def control(self, method, path, document=None):
        request = urllib.request.Request(f"{self.url}/_lab/{path}", method=method)
        if document is not None:
            request.data = json.dumps(document).encode()
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def report(self, instance, state):
        self.control("PUT", f"instances/{instance}", {"state": state})


class World:
    """One VPC with subnets in two zones, a group, a key, a role and a running instance."""

    def __init__(self, front):
        self.front = front
        self.ec2, self.iam = front.client("ec2"), front.client("iam")
        images = self.ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-13-amd64-*"]}])["Images"]
        self.image = max(images, key=lambda i: i["CreationDate"])["ImageId"]
        self.vpc = self.ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        self.other_vpc = self.ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
        self.subnet, self.subnet_b = (self.make_subnet(f"10.20.{16 * i}.0/20", f"eu-west-1{'ab'[i]}") for i in (0, 1))
        self.group = self.make_group("group", self.vpc)
        self.foreign_group = self.make_group("foreign", self.other_vpc)
        self.ec2.create_key_pair(KeyName="key")
        self.iam.create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps({**FLAT, "Statement": [TRUST]}))
        self.iam.create_instance_profile(InstanceProfileName="profile")
        self.iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="role")
        self.instance = self.run()
        front.report(self.instance, "running")
        self.zone = self.make_zone("example.internal")

    def make_subnet(self, cidr, zone):
        return self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]

    def make_group(self, name, vpc):
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]

    def make_zone(self, name):
        vpc = {"VPCRegion": "eu-west-1", "VPCId": self.vpc}
        private = {"PrivateZone": True}
        route53 = self.front.client("route53")
        made = route53.create_hosted_zone(Name=name, CallerReference=name, VPC=vpc, HostedZoneConfig=private)
        return made["HostedZone"]["Id"].split("/")[-1]

    def arguments(self, **changed):
        base = {
            "ImageId": self.image,
            "InstanceType": "t3.medium",
            "MinCount": 1,
            "MaxCount": 1,
            "SubnetId": self.subnet,
            "SecurityGroupIds": [self.group],
            "KeyName": "key",
            "IamInstanceProfile": {"Name": "profile"},
        }
        return {k: v for k, v in {**base, **changed}.items() if v is not None}

    def run(self, **changed):
        return self.ec2.run_instances(**self.arguments(**changed))["Instances"][0]["InstanceId"]

    def volume(self, zone="eu-west-1a", **more):
        return self.ec2.create_volume(AvailabilityZone=zone, Size=2, VolumeType="gp3", **more)["VolumeId"]

    def state(self, instance=None):
        found = self.ec2.describe_instances(InstanceIds=[instance or self.instance])
        return found["Reservations"][0]["Instances"][0]["State"]["Name"]

    def change(self, *changes):
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record} for action, record in changes]}
        return self.front.client("route53").change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch=batch)

    def records(self):
        found = self.front.client("route53").list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return {(r["Name"], r["Type"]): [v["Value"] for v in r.get("ResourceRecords", [])] for r in found}


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    front = Front(tmp_path_factory.mktemp("front"))
    yield front
    front.server.close()


@pytest.fixture(scope="module")
def world(front):
    return World(front)


@pytest.fixture(autouse=True)
def no_faults(front):
    yield
    front.control("DELETE", "faults")


def code(function, *arguments, **keywords):
    """The code of the error a call ends with; the text of the message comes second."""
    with pytest.raises(ClientError) as caught:
        function(*arguments, **keywords)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def record(name, kind, *values, ttl=60, **more):
    base = {"Name": name, "Type": kind, **more}
    return {**base, "TTL": ttl, "ResourceRecords": [{"Value": v} for v in values]} if values else base


# What RunInstances refuses: changed arguments, code, words of the message; and what is accepted beside it.
LAUNCHES = [
    ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound", "does not exist"),
    ({"ImageId": "debian"}, "InvalidAMIID.Malformed", "debian"),
    ({"ImageId": None}, "MissingParameter", "ImageId"),
    ({"InstanceType": "t3.enormous"}, "InvalidParameterValue", "t3.enormous"),
    ({"InstanceType": "t4g.medium"}, "InvalidParameterValue", "arm64"),
    ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound", "subnet-0123"),
    ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound", "sg-0123"),
    ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound", "nobody"),
    ({"IamInstanceProfile": {"Name": "nothing"}}, "InvalidParameterValue", "iamInstanceProfile.name"),
    ({"UserData": "x" * 16385}, "InvalidParameterValue", "16384"),
    ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue", "maxCount"),
    ({"MetadataOptions": {"HttpTokens": "maybe"}}, "InvalidParameterValue", "maybe"),
    ({"MetadataOptions": {"HttpPutResponseHopLimit": 65}}, "InvalidParameterValue", "65"),
    ({"PrivateIpAddress": "10.20.0.3"}, "InvalidParameterValue", "10.20.0.3"),
    ({"PrivateIpAddress": "10.20.16.9"}, "InvalidParameterValue", "10.20.16.9"),
    ({"PrivateIpAddress": "10.20.0.99", "MaxCount": 2}, "InvalidParameterCombination", "PrivateIpAddress"),
    ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 70000}}]}, "InvalidParameterValue", ""),
    (
        {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]},
        "InvalidBlockDeviceMapping",
        "8",
    ),
    (
        {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"Encrypted": True}}]},
        "MissingParameter",
        "snapshotId",
    ),
    (
        {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": "y"}]}]},
        "InvalidParameterValue",
        "reserved",
    ),
    ({"DryRun": True}, "DryRunOperation", "would have succeeded"),
    ({"DryRun": True, "KeyName": "nobody"}, "InvalidKeyPair.NotFound", "nobody"),
]


@pytest.mark.parametrize(
    ("changed", "expected", "words"), LAUNCHES, ids=[f"{i}-{c[1]}" for i, c in enumerate(LAUNCHES)]
)
def test_launch_refused(world, changed, expected, words):
    before = len(list(world.ec2.get_paginator("describe_instances").paginate()))
    found, message = code(world.ec2.run_instances, **world.arguments(**changed))
    assert found == expected
    assert words in message
    assert len(list(world.ec2.get_paginator("describe_instances").paginate())) == before


def test_launch_in_another_network(world):
    assert code(world.run, SecurityGroupIds=[world.foreign_group])[0] == "InvalidParameter"


def test_launch_accepted(world):
    tags = [{"ResourceType": t, "Tags": [{"Key": "Name", "Value": t}]} for t in ("instance", "volume")]
    devices = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3", "Encrypted": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 9, "VolumeType": "gp3", "Iops": 4000, "Throughput": 500}},
    ]
    answer = world.ec2.run_instances(
        **world.arguments(
            MaxCount=2,
            TagSpecifications=tags,
            BlockDeviceMappings=devices,
            DisableApiTermination=False,
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        )
    )
    assert [i["State"]["Name"] for i in answer["Instances"]] == ["pending", "pending"]
    ids = [i["InstanceId"] for i in answer["Instances"]]
    found = world.ec2.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"]
    assert all(i["IamInstanceProfile"]["Arn"].endswith("instance-profile/profile") for i in found)
    assert all(i["Placement"]["AvailabilityZoneId"].startswith("euw1-az") for i in found)
    assert all(i["SecurityGroups"][0]["GroupId"] == world.group for i in found)
    volumes = world.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": ids}])["Volumes"]
    shown = sorted((v["Size"], v["Iops"], v["Throughput"], v["Encrypted"]) for v in volumes)
    assert shown == [(9, 4000, 500, False)] * 2 + [(10, 3000, 125, True)] * 2
    assert all(v["Tags"] == [{"Key": "Name", "Value": "volume"}] for v in volumes)


def test_address_in_use(world):
    first = world.run(PrivateIpAddress="10.20.0.77")
    assert code(world.run, PrivateIpAddress="10.20.0.77") == ("InvalidIPAddress.InUse", "Address 10.20.0.77 is in use.")
    world.ec2.terminate_instances(InstanceIds=[first])
    world.front.report(first, "terminated")
    second = world.run(PrivateIpAddress="10.20.0.77")
    assert world.state(second) == "pending"


def test_client_token(world):
    first = world.run(ClientToken="once")
    assert world.run(ClientToken="once") == first
    assert code(world.run, ClientToken="once", InstanceType="t3.large")[0] == "IdempotentParameterMismatch"


def test_profile_not_usable_yet(world):
    world.iam.create_instance_profile(InstanceProfileName="fresh")
    world.front.control("PUT", "faults", {"eventual_consistency_seconds": 60})
    assert code(world.run, IamInstanceProfile={"Name": "fresh"})[0] == "InvalidParameterValue"
    world.front.control("DELETE", "faults")
    assert world.state(world.run(IamInstanceProfile={"Name": "fresh"})) == "pending"


# Calls by client and method that are refused whatever the world holds.
PLAIN = [
    ("ec2", "describe_instances", {"MaxResults": 4}, "InvalidParameterValue"),
    ("ec2", "describe_instances", {"MaxResults": 1001}, "InvalidParameterValue"),
    ("ec2", "describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}, "InvalidInstanceID.NotFound"),
    ("ec2", "describe_instances", {"InstanceIds": ["web"]}, "InvalidInstanceID.Malformed"),
    ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/33"}, "InvalidParameterValue"),
    ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/8"}, "InvalidVpc.Range"),
    ("ec2", "create_volume", {"AvailabilityZone": "eu-west-1z", "Size": 1}, "InvalidParameterValue"),
    (
        "ec2",
        "create_volume",
        {"AvailabilityZone": "eu-west-1a", "Size": 1, "VolumeType": "gp9"},
        "InvalidParameterValue",
    ),
    (
        "ec2",
        "create_volume",
        {"AvailabilityZone": "eu-west-1a", "Size": 3, "VolumeType": "io2"},
        "InvalidParameterValue",
    ),
    (
        "ec2",
        "create_volume",
        {"AvailabilityZone": "eu-west-1a", "Size": 10, "VolumeType": "gp3", "Iops": 5001},
        "InvalidParameterValue",
    ),
    (
        "ec2",
        "create_volume",
        {"AvailabilityZone": "eu-west-1a", "Size": 10, "VolumeType": "gp3", "Throughput": 751},
        "InvalidParameterValue",
    ),
    ("ec2", "describe_capacity_reservations", {}, "InvalidAction"),
    ("iam", "simulate_custom_policy", {"PolicyInputList": ["{}"], "ActionNames": ["a:b"]}, "InvalidAction"),
    ("ssm", "get_inventory", {}, "UnknownOperationException"),
    ("route53", "list_traffic_policies", {}, "InvalidAction"),
    ("iam", "create_role", {"RoleName": "a b", "AssumeRolePolicyDocument": "{}"}, "ValidationError"),
    ("iam", "create_role", {"RoleName": "r" * 65, "AssumeRolePolicyDocument": "{}"}, "ValidationError"),
    ("iam", "create_role", {"RoleName": "r", "AssumeRolePolicyDocument": "nonsense"}, "MalformedPolicyDocument"),
    ("ssm", "get_parameters_by_path", {"Path": "/", "MaxResults": 11}, "ValidationException"),
    ("ssm", "get_parameters_by_path", {"Path": "x"}, "ValidationException"),
    ("ssm", "put_parameter", {"Name": "/a b", "Value": "x", "Type": "String"}, "ValidationException"),
    ("ssm", "put_parameter", {"Name": "a/b", "Value": "x", "Type": "String"}, "ValidationException"),
    (
        "ssm",
        "put_parameter",
        {"Name": "/a" * 16, "Value": "x", "Type": "String"},
        "HierarchyLevelLimitExceededException",
    ),
    ("ssm", "put_parameter", {"Name": "/a", "Value": "x" * 4097, "Type": "SecureString"}, "ValidationException"),
    ("ssm", "put_parameter", {"Name": "/a", "Value": "x", "Type": "Secret"}, "ValidationException"),
    ("ssm", "get_parameter", {"Name": "/absent"}, "ParameterNotFound"),
    ("dynamodb", "describe_table", {"TableName": "absent"}, "ResourceNotFoundException"),
    ("dynamodb", "create_table", {"TableName": "x", "BillingMode": "FREE"}, "ValidationException"),
    ("dynamodb", "create_table", {"TableName": "x"}, "ValidationException"),
    ("route53", "list_resource_record_sets", {"HostedZoneId": "Z0000000000000"}, "NoSuchHostedZone"),
]


@pytest.mark.parametrize(
    ("service", "method", "arguments", "expected"), PLAIN, ids=[f"{i}-{p[1]}-{p[3]}" for i, p in enumerate(PLAIN)]
)
def test_refused(front, service, method, arguments, expected):
    assert code(getattr(front.client(service), method), **arguments)[0] == expected


def test_neighbours_accepted(front, world):
    assert front.client("ec2").describe_instances(MaxResults=5)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert front.client("ec2").describe_instances(MaxResults=1000)["Reservations"]
    ssm = front.client("ssm")
    ssm.put_parameter(Name="/t" + "/a" * 14, Value="x" * 4096, Type="SecureString")
    assert code(ssm.put_parameter, Name="/t" + "/a" * 14, Value="y", Type="SecureString")[0] == "ParameterAlreadyExists"
    ssm.put_parameter(Name="/t" + "/a" * 14, Value="y", Type="SecureString", Overwrite=True)
    found = ssm.get_parameters_by_path(Path="/t", Recursive=True, WithDecryption=True, MaxResults=10)["Parameters"]
    assert [p["Value"] for p in found] == ["y"]
    for arguments in ({"Size": 10, "VolumeType": "gp3", "Iops": 5000, "Throughput": 750}, {"Size": 1}):
        assert world.ec2.create_volume(AvailabilityZone="eu-west-1a", **arguments)["State"] in ("creating", "available")


def test_subnets(world):
    make = world.ec2.create_subnet
    assert code(make, VpcId=world.vpc, CidrBlock="10.20.8.0/24")[0] == "InvalidSubnet.Conflict"
    assert code(make, VpcId=world.vpc, CidrBlock="10.99.0.0/24")[0] == "InvalidSubnet.Range"
    assert code(make, VpcId=world.vpc, CidrBlock="10.20.128.0/29")[0] == "InvalidSubnet.Range"
    assert code(make, VpcId=world.vpc, CidrBlock="none")[0] == "InvalidParameterValue"
    wrong_zone = {"VpcId": world.vpc, "CidrBlock": "10.20.128.0/24", "AvailabilityZone": "eu-west-2a"}
    assert code(make, **wrong_zone)[0] == "InvalidParameterValue"
    assert code(world.ec2.delete_subnet, SubnetId=world.subnet)[0] == "DependencyViolation"
    assert code(world.ec2.delete_vpc, VpcId=world.vpc)[0] == "DependencyViolation"
    free = world.make_subnet("10.20.128.0/28", "eu-west-1c")
    world.ec2.delete_subnet(SubnetId=free)


def test_one_endpoint_with_private_dns_for_a_service_and_vpc(world):
    make = world.ec2.create_vpc_endpoint
    wanted = {
        "VpcId": world.vpc,
        "ServiceName": "com.amazonaws.eu-west-1.ecr.api",
        "VpcEndpointType": "Interface",
        "SubnetIds": [world.subnet],
    }
    made = [make(**wanted, PrivateDnsEnabled=True)["VpcEndpoint"]["VpcEndpointId"]]
    refused, message = code(make, **wanted, PrivateDnsEnabled=True)
    assert refused == "InvalidParameter"
    assert message.endswith(f"conflicting DNS domain for api.ecr.eu-west-1.amazonaws.com in the VPC {world.vpc}")
    other = {**wanted, "ServiceName": "com.amazonaws.eu-west-1.ecr.dkr", "PrivateDnsEnabled": True}
    for accepted in ({**wanted, "PrivateDnsEnabled": False}, other):
        made.append(make(**accepted)["VpcEndpoint"]["VpcEndpointId"])
    world.ec2.delete_vpc_endpoints(VpcEndpointIds=made)
    again = make(**wanted, PrivateDnsEnabled=True)["VpcEndpoint"]["VpcEndpointId"]
    world.ec2.delete_vpc_endpoints(VpcEndpointIds=[again])


def test_security_groups(world):
    group = world.make_group("rules", world.vpc)
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    allow = world.ec2.authorize_security_group_ingress
    allow(GroupId=group, IpPermissions=[permission])
    assert code(allow, GroupId=group, IpPermissions=[permission])[0] == "InvalidPermission.Duplicate"
    for broken in ({"FromPort": 30}, {"ToPort": 70000}, {"IpRanges": [{"CidrIp": "10.0.0.0/40"}]}):
        assert code(allow, GroupId=group, IpPermissions=[{**permission, **broken}])[0] == "InvalidParameterValue"
    allow(GroupId=group, IpPermissions=[{**permission, "FromPort": 1, "IpRanges": [{"CidrIp": "192.168.1.9/16"}]}])
    held = world.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert {r["CidrIp"] for p in held for r in p["IpRanges"]} == {"10.0.0.0/8", "192.168.0.0/16"}
    many = {**permission, "IpRanges": [{"CidrIp": f"10.{i}.0.0/16"} for i in range(60)]}
    assert code(allow, GroupId=group, IpPermissions=[many])[0] == "RulesPerSecurityGroupLimitExceeded"
    other = world.make_group("other", world.vpc)
    pair = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": other}]}
    allow(GroupId=group, IpPermissions=[pair])
    assert code(world.ec2.delete_security_group, GroupId=other)[0] == "DependencyViolation"
    assert code(world.ec2.delete_security_group, GroupId=world.group)[0] == "DependencyViolation"
    world.ec2.delete_security_group(GroupId=group)
    world.ec2.delete_security_group(GroupId=other)


def test_volumes(world):
    attach, detach = world.ec2.attach_volume, world.ec2.detach_volume
    here, there = world.volume(Encrypted=True), world.volume(zone="eu-west-1b")
    where = {"InstanceId": world.instance, "Device": "/dev/sdf"}
    assert code(attach, VolumeId=there, **where)[0] == "InvalidVolume.ZoneMismatch"
    assert code(attach, VolumeId="vol-0123456789abcdef0", **where)[0] == "InvalidVolume.NotFound"
    assert code(attach, VolumeId=here, InstanceId=world.instance, Device="/dev/nvme1")[0] == "InvalidParameterValue"
    assert code(detach, VolumeId=here)[0] == "IncorrectState"
    assert attach(VolumeId=here, **where)["State"] == "attaching"
    assert code(attach, VolumeId=here, **where)[0] == "VolumeInUse"
    second = world.volume()
    assert code(attach, VolumeId=second, **where)[0] == "InvalidParameterValue"
    assert code(world.ec2.delete_volume, VolumeId=here)[0] == "VolumeInUse"
    volume = world.ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]
    assert (volume["State"], volume["Attachments"][0]["State"], volume["Encrypted"]) == ("in-use", "attaching", True)
    world.front.control("PUT", f"volumes/{here}", {"state": "in-use"})
    volume = world.ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]
    assert volume["Attachments"][0]["State"] == "attached"
    assert detach(VolumeId=here)["State"] == "detaching"
    assert world.ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]["State"] == "in-use"
    world.front.control("PUT", f"volumes/{here}", {"state": "available"})
    assert world.ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]["State"] == "available"
    assert code(world.ec2.modify_volume, VolumeId=here, Size=1)[0] == "InvalidParameterValue"
    world.ec2.modify_volume(VolumeId=here, Size=5)
    assert world.ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]["Size"] == 5
    snapshot = world.ec2.create_snapshot(VolumeId=here)["SnapshotId"]
    copy = world.ec2.create_volume(AvailabilityZone="eu-west-1b", SnapshotId=snapshot)
    assert (copy["Size"], copy["Encrypted"]) == (5, True)
    world.ec2.delete_volume(VolumeId=here)


def test_root_volume_stays(world):
    instance = world.ec2.describe_instances(InstanceIds=[world.instance])["Reservations"][0]["Instances"][0]
    root = instance["BlockDeviceMappings"][0]
    assert root["DeviceName"] == instance["RootDeviceName"]
    assert code(world.ec2.detach_volume, VolumeId=root["Ebs"]["VolumeId"])[0] == "OperationNotPermitted"


def test_tag_limits(world):
    tag = world.ec2.create_tags
    assert code(tag, Resources=[world.vpc], Tags=[{"Key": "aws:x", "Value": ""}])[0] == "InvalidParameterValue"
    assert code(tag, Resources=[world.vpc], Tags=[{"Key": "k" * 129, "Value": ""}])[0] == "InvalidParameterValue"
    assert code(tag, Resources=[world.vpc], Tags=[{"Key": "k", "Value": "v" * 257}])[0] == "InvalidParameterValue"
    tag(Resources=[world.vpc], Tags=[{"Key": f"k{i:03}" + "x" * 124, "Value": "v" * 256} for i in range(50)])
    assert code(tag, Resources=[world.vpc], Tags=[{"Key": "more", "Value": ""}])[0] == "TagLimitExceeded"


def test_elastic_addresses(world):
    ec2 = world.ec2
    tags = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "Name", "Value": "edge"}]}]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    assert address["PublicIp"].startswith("54.214.")
    pending = world.run()
    wanted = {"AllocationId": address["AllocationId"]}
    assert code(ec2.associate_address, InstanceId=pending, **wanted)[0] == "InvalidInstanceID"
    link = ec2.associate_address(InstanceId=world.instance, **wanted)["AssociationId"]
    shown = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
    assert (shown["InstanceId"], shown["Tags"]) == (world.instance, [{"Key": "Name", "Value": "edge"}])
    world.front.report(pending, "running")
    assert code(ec2.associate_address, InstanceId=pending, **wanted)[0] == "Resource.AlreadyAssociated"
    assert code(ec2.release_address, **wanted)[0] == "InvalidIPAddress.InUse"
    ec2.associate_address(InstanceId=pending, AllowReassociation=True, **wanted)
    moved = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
    assert moved["InstanceId"] == pending
    ec2.disassociate_address(AssociationId=moved.get("AssociationId", link))
    ec2.release_address(**wanted)
    assert (
        code(ec2.describe_addresses, **{"AllocationIds": [address["AllocationId"]]})[0]
        == "InvalidAllocationID.NotFound"
    )


def test_nat_gateway_gives_back_what_it_held(world):
    ec2 = world.ec2
    subnet = world.make_subnet("10.20.144.0/24", "eu-west-1a")
    held = {"AllocationId": ec2.allocate_address(Domain="vpc")["AllocationId"]}
    gateway = ec2.create_nat_gateway(SubnetId=subnet, **held)["NatGateway"]
    assert gateway["NatGatewayAddresses"][0]["PrivateIp"].startswith("10.20.144.")
    assert code(ec2.release_address, **held)[0] == "InvalidIPAddress.InUse"
    assert code(ec2.delete_subnet, SubnetId=subnet)[0] == "DependencyViolation"
    ec2.create_tags(Resources=[gateway["NatGatewayId"], held["AllocationId"]], Tags=[{"Key": "nat", "Value": "x"}])
    kinds = {tag["ResourceType"] for tag in ec2.describe_tags(Filters=[{"Name": "key", "Values": ["nat"]}])["Tags"]}
    assert kinds == {"natgateway", "elastic-ip"}
    ec2.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
    ec2.release_address(**held)
    ec2.delete_subnet(SubnetId=subnet)


def test_terminated_instance_gives_back_its_address(world):
    instance = world.run()
    world.front.report(instance, "running")
    held = {"AllocationId": world.ec2.allocate_address(Domain="vpc")["AllocationId"]}
    world.ec2.associate_address(InstanceId=instance, **held)
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.front.report(instance, "terminated")
    world.ec2.release_address(**held)


def test_routes_to_what_is_no_more_are_blackholes(world):
    """As the cloud controller manager needs it to take them away."""
    ec2, instance = world.ec2, world.run()
    world.front.report(instance, "running")
    held = {"AllocationId": ec2.allocate_address(Domain="vpc")["AllocationId"]}
    gateway = ec2.create_nat_gateway(SubnetId=world.make_subnet("10.20.145.0/24", "eu-west-1a"), **held)["NatGateway"]
    table = ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.244.0.0/24", InstanceId=instance)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway["NatGatewayId"])

    def states():
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return [route["State"] for route in found["Routes"] if route["Origin"] == "CreateRoute"]

    assert states() == ["active", "active"]
    ec2.terminate_instances(InstanceIds=[instance])
    world.front.report(instance, "terminated")
    ec2.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
    assert states() == ["blackhole", "blackhole"]


def test_metadata_options_are_kept(world):
    modify = world.ec2.modify_instance_metadata_options
    modify(InstanceId=world.instance, HttpTokens="required", HttpPutResponseHopLimit=2)
    modify(InstanceId=world.instance, InstanceMetadataTags="enabled")
    shown = world.ec2.describe_instances(InstanceIds=[world.instance])["Reservations"][0]["Instances"][0]
    options = shown["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    assert code(modify, InstanceId=world.instance, HttpPutResponseHopLimit=0)[0] == "InvalidParameterValue"


# Life cycle
def test_life_cycle(world):
    ec2, report = world.ec2, world.front.report
    instance = world.run()
    assert world.state(instance) == "pending"
    assert code(ec2.stop_instances, InstanceIds=[instance])[0] == "IncorrectInstanceState"
    assert code(ec2.reboot_instances, InstanceIds=[instance])[0] == "IncorrectInstanceState"
    report(instance, "running")
    assert ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"][0]["SystemStatus"]["Status"] == "ok"
    kind = {"InstanceId": instance, "InstanceType": {"Value": "t3.large"}}
    assert code(ec2.modify_instance_attribute, **kind)[0] == "IncorrectInstanceState"
    ec2.reboot_instances(InstanceIds=[instance])
    assert world.front.control("GET", "instances")[instance]["reboots"] == 1
    answer = ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "stopping")
    assert world.state(instance) == "stopping"
    assert code(ec2.start_instances, InstanceIds=[instance])[0] == "IncorrectInstanceState"
    report(instance, "stopped")
    ec2.modify_instance_attribute(**kind)
    ec2.start_instances(InstanceIds=[instance])
    assert world.state(instance) == "pending"
    report(instance, "running")
    ec2.terminate_instances(InstanceIds=[instance])
    assert world.state(instance) == "shutting-down"
    report(instance, "terminated")
    assert world.state(instance) == "terminated"
    ec2.terminate_instances(InstanceIds=[instance])
    with pytest.raises(urllib.error.HTTPError) as caught:
        report(instance, "running")
    assert caught.value.code == 400
    volumes = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    assert volumes == []


def test_termination_protection(world):
    protected, free = world.run(DisableApiTermination=True), world.run()
    found, message = code(world.ec2.terminate_instances, InstanceIds=[free, protected])
    assert (found, protected in message) == ("OperationNotPermitted", True)
    assert world.state(free) == "pending"
    world.ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": False})
    world.ec2.terminate_instances(InstanceIds=[free, protected])
    assert world.state(protected) == "shutting-down"


def test_terminated_are_forgotten_after_an_hour(world):
    instance = world.run()
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.front.report(instance, "terminated")
    lifecycle.LIFECYCLE.forget_terminated(time.time() + 3500)
    assert world.state(instance) == "terminated"
    lifecycle.LIFECYCLE.forget_terminated(time.time() + 3700)
    assert code(world.ec2.describe_instances, InstanceIds=[instance])[0] == "InvalidInstanceID.NotFound"


def test_without_hosts_transitions_are_immediate(world):
    lifecycle.LIFECYCLE.immediate = True
    try:
        instance = world.run()
        assert world.state(instance) == "running"
        volume = world.volume()
        world.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdg")
        assert world.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0]["State"] == "attached"
        world.ec2.stop_instances(InstanceIds=[instance])
        assert world.state(instance) == "stopped"
        world.ec2.terminate_instances(InstanceIds=[instance])
        assert world.state(instance) == "terminated"
    finally:
        lifecycle.LIFECYCLE.immediate = False


def test_console_output(world):
    log = world.front.lab.console_log(world.instance)
    assert world.ec2.get_console_output(InstanceId=world.instance, Latest=True).get("Output", "") == ""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA root@host\n")
    answer = world.ec2.get_console_output(InstanceId=world.instance, Latest=True)
    assert "ssh-ed25519 AAAA" in answer["Output"]


def test_images(front):
    for region in ("eu-west-1", "us-east-1"):
        images = front.client("ec2", region).describe_images(Owners=["136693071363"])["Images"]
        assert len({i["ImageId"] for i in images}) == 6
        newest = max((i for i in images if i["Name"].startswith("debian-13-amd64-")), key=lambda i: i["CreationDate"])
        assert (newest["Name"], newest["Architecture"]) == ("debian-13-amd64-20261101-2289", "x86_64")
        assert (newest["State"], newest["RootDeviceName"]) == ("available", "/dev/xvda")
    types = front.client("ec2").describe_instance_types(InstanceTypes=["t3.medium"])["InstanceTypes"]
    assert types[0]["MemoryInfo"]["SizeInMiB"] == 4096


# Route 53: a batch that is refused, and words of the message
BATCHES = [
    ([("CREATE", record("a.example.internal", "A", "10.0.0.300"))], "ARRDATAIllegalIPv4Address"),
    ([("CREATE", record("a.example.internal", "AAAA", "10.0.0.1"))], "AAAARRDATAIllegalIPv6Address"),
    ([("CREATE", record("a.example.internal", "TXT", "no quotes"))], "quotation marks"),
    ([("CREATE", record("a.example.internal", "TXT", '"' + "x" * 256 + '"'))], "CharacterStringTooLong"),
    ([("CREATE", record("a.example.internal", "CNAME", "two words"))], "DomainLabelInvalid"),
    ([("CREATE", record("a.example.internal", "CNAME", "b.internal", "c.internal"))], "one value"),
    ([("CREATE", record("example.internal", "CNAME", "b.internal"))], "apex"),
    ([("CREATE", record("a.example.org", "A", "10.0.0.1"))], "not permitted in zone"),
    ([("CREATE", record("a.example.internal", "A"))], "Expected exactly one"),
    ([("CREATE", record("kept.example.internal", "A", "10.0.0.9"))], "already exists"),
    ([("CREATE", record("kept.example.internal", "CNAME", "b.internal"))], "conflicts"),
    ([("CREATE", record("kept.example.internal", "A", "10.0.0.9", SetIdentifier="x", Weight=1))], "same name and type"),
    ([("CREATE", record("w.example.internal", "A", "10.0.0.9", Weight=1))], "SetIdentifier"),
    ([("DELETE", record("absent.example.internal", "A", "10.0.0.9"))], "was not found"),
    ([("DELETE", record("kept.example.internal", "A", "10.0.0.9"))], "do not match"),
    (
        [
            ("CREATE", record("good.example.internal", "A", "10.0.0.1")),
            ("DELETE", record("kept.example.internal", "A", "10.0.0.1")),
            ("CREATE", record("bad.example.internal", "A", "x")),
        ],
        "ARRDATAIllegalIPv4Address",
    ),
    ([("UPSERT", record(f"n{i}.example.internal", "A", "10.0.0.1")) for i in range(501)], "1000"),
    ([("UPSERT", record(f"n{i}.example.internal", "TXT", '"' + "x" * 198 + '"')) for i in range(81)], "32000"),
]


@pytest.mark.parametrize(("changes", "words"), BATCHES, ids=[b[1] for b in BATCHES])
def test_batch_refused_as_a_whole(world, changes, words):
    world.change(("UPSERT", record("kept.example.internal", "A", "10.0.0.1")))
    before = world.records()
    found, message = code(world.change, *changes)
    assert found == "InvalidChangeBatch"
    assert words in message
    assert world.records() == before


def test_batches_accepted(world):
    world.change(("UPSERT", record("x.example.internal", "A", "10.0.0.1", "10.0.0.2")))
    world.change(
        ("DELETE", record("X.example.internal.", "A", "10.0.0.2", "10.0.0.1")),
        ("CREATE", record("x.example.internal", "CNAME", "b.example.internal")),
    )
    assert world.records()[("x.example.internal.", "CNAME")] == ["b.example.internal"]
    world.change(("DELETE", record("x.example.internal", "CNAME", "b.example.internal")))
    world.change(("CREATE", record("x.example.internal", "CNAME", "b.example.internal")))
    world.change(("CREATE", record("*.example.internal", "TXT", '"a" "b"')))
    assert world.records()[("\\052.example.internal.", "TXT")] == ['"a" "b"']
    for name in ("one", "two"):
        weighted = record("w.example.internal", "A", "10.0.0.9", Weight=1, SetIdentifier=name)
        world.change(("CREATE", weighted))
    world.change(("DELETE", record("w.example.internal", "A", "10.0.0.9", Weight=1, SetIdentifier="one")))
    assert ("w.example.internal.", "A") in world.records()
    assert world.records()[("example.internal.", "SOA")][0].endswith("1 7200 900 1209600 86400")
    world.change(*[("UPSERT", record(f"n{i}.example.internal", "A", "10.0.0.1")) for i in range(500)])
    pages = world.front.client("route53").get_paginator("list_resource_record_sets").paginate(HostedZoneId=world.zone)
    sizes = [len(page["ResourceRecordSets"]) for page in pages]
    assert sizes[0] == 300
    assert sum(sizes) > 500
    world.change(*[("DELETE", record(f"n{i}.example.internal", "A", "10.0.0.1")) for i in range(500)])


# IAM
def _policy(characters, statement=ALLOW):
    bare = len(json.dumps({**FLAT, "Statement": [{**statement, "Sid": ""}]}, separators=(",", ":")))
    return json.dumps({**FLAT, "Statement": [{**statement, "Sid": "x" * (characters - bare)}]}, indent=1)


def test_iam_sizes(world):
    iam = world.iam
    trust = {"RoleName": "sizes", "AssumeRolePolicyDocument": _policy(2049, TRUST)}
    assert code(iam.create_role, **trust) == ("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
    iam.create_role(**{**trust, "AssumeRolePolicyDocument": _policy(2048, TRUST)})
    assert (
        code(iam.create_role, RoleName="SIZES", AssumeRolePolicyDocument=_policy(500, TRUST))[0]
        == "EntityAlreadyExists"
    )
    managed = {"PolicyName": "sizes", "PolicyDocument": _policy(6145)}
    assert code(iam.create_policy, **managed)[0] == "LimitExceeded"
    iam.create_policy(**{**managed, "PolicyDocument": _policy(6144)})
    iam.put_role_policy(RoleName="sizes", PolicyName="one", PolicyDocument=_policy(5000))
    assert (
        code(iam.put_role_policy, RoleName="sizes", PolicyName="two", PolicyDocument=_policy(5241))[0]
        == "LimitExceeded"
    )
    iam.put_role_policy(RoleName="sizes", PolicyName="two", PolicyDocument=_policy(5240))
    for index in range(11):
        arn = iam.create_policy(PolicyName=f"p{index}", PolicyDocument=_policy(200))["Policy"]["Arn"]
        if index < 10:
            iam.attach_role_policy(RoleName="sizes", PolicyArn=arn)
    assert code(iam.attach_role_policy, RoleName="sizes", PolicyArn=arn)[0] == "LimitExceeded"
    assert code(iam.delete_role, RoleName="sizes")[0] == "DeleteConflict"


def test_dynamodb_lock(front):
    table = front.client("dynamodb")
    keys = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}
    attributes = {"AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}]}
    table.create_table(TableName="lock", BillingMode="PAY_PER_REQUEST", **keys, **attributes)
    put = {"TableName": "lock", "Item": {"id": {"S": "x"}}, "ConditionExpression": "attribute_not_exists(id)"}
    table.put_item(**put)
    assert code(table.put_item, **put)[0] == "ConditionalCheckFailedException"


# Who may call
def test_credentials(front):
    unknown = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "x" * 40}
    wrong = {**front.lab.credentials, "aws_secret_access_key": "x" * 40}
    expected = [
        ("ec2", "describe_vpcs", "AuthFailure", "AuthFailure"),
        ("iam", "list_roles", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("route53", "list_hosted_zones", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("ssm", "describe_parameters", "UnrecognizedClientException", "InvalidSignatureException"),
        ("dynamodb", "list_tables", "UnrecognizedClientException", "InvalidSignatureException"),
        ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    ]
    for service, method, first, second in expected:
        assert code(getattr(front.client(service, **unknown), method))[0] == first
        assert code(getattr(front.client(service, **wrong), method))[0] == second
    request = urllib.request.Request(front.url, data=b"Action=DescribeVpcs&Version=2016-11-15")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 401
    assert b"AuthFailure" in caught.value.read()


def test_role_credentials(front):
    def keys(**more):
        given = role_credentials(front.lab.state, "role", "i-0123456789abcdef0", **more)
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["Token"],
        }

    arn = front.client("sts", **keys()).get_caller_identity()["Arn"]
    assert arn == "arn:aws:sts::123456789012:assumed-role/role/i-0123456789abcdef0"
    assert front.control("GET", "callers")["role"]["sts.GetCallerIdentity"] >= 1
    assert code(front.client("ec2", **keys(now=time.time() - 8 * 3600)).describe_vpcs)[0] == "RequestExpired"
    forged = {**keys(), "aws_session_token": keys()["aws_session_token"][:-4] + "AAA="}
    assert code(front.client("ec2", **forged).describe_vpcs)[0] == "AuthFailure"


def test_the_caller_is_told_as_json_to_who_asks_so(front):
    """As aws-iam-authenticator does, by an address that somebody else has signed."""
    sts = front.client("sts")
    request = urllib.request.Request(
        sts.generate_presigned_url("get_caller_identity", HttpMethod="GET"), headers={"Accept": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    assert found == {name: sts.get_caller_identity()[name] for name in ("UserId", "Account", "Arn")}


class Metadata(BaseHTTPRequestHandler):
    """The instance metadata service, as far as cloudwatch-metric asks."""

    answers: dict[str, str] = {}

    def answer(self):
        body = self.answers[self.path.removeprefix("/latest")].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = answer

    def log_message(self, *_arguments):
        pass


def test_a_host_sends_a_metric_with_its_role(front, monkeypatch, capsys):
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 (a Python file)
    environment.filters["comment"] = lambda text: f"# {text}"
    template = environment.from_string((ROOT / "roles/host_baseline/templates/cloudwatch-metric.j2").read_text())
    tool = types.ModuleType("cloudwatch_metric")
    text = template.render(ansible_managed="Managed", platform_name="trading")
    exec(compile(text, "cloudwatch-metric", "exec"), tool.__dict__)  # noqa: S102 (it has no .py name to import)
    held = role_credentials(front.lab.state, "trading-database", "i-0123456789abcdef0")
    role = "/meta-data/iam/security-credentials/"
    Metadata.answers = {"/api/token": "t", role: "trading-database", f"{role}trading-database": json.dumps(held)}
    Metadata.answers["/meta-data/placement/region"] = "eu-west-1"
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tool.METADATA = f"http://127.0.0.1:{server.server_port}/latest"
    monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
    assert tool.main(["BackupSucceeded", "1", "backup=postgresql"]) == 0, capsys.readouterr().err
    (metric,) = front.client("cloudwatch").list_metrics(Namespace="trading")["Metrics"]
    assert metric["MetricName"] == "BackupSucceeded"
    assert metric["Dimensions"] == [{"Name": "backup", "Value": "postgresql"}]
    assert front.control("GET", "callers")["trading-database"] == {"cloudwatch.PutMetricData": 1}
    assert tool.main(["BackupSucceeded", "many"]) == 1 and "was not sent" in capsys.readouterr().err
    assert tool.main(["BackupSucceeded"]) == 2
    Metadata.answers[f"{role}trading-database"] = json.dumps({**held, "SecretAccessKey": "wrong"})
    assert tool.main(["Heartbeat", "1"]) == 1 and "SignatureDoesNotMatch" in capsys.readouterr().err
    server.shutdown()


def test_keys_made_by_the_api(front, world):
    world.iam.create_user(UserName="deploy")
    made = world.iam.create_access_key(UserName="deploy")["AccessKey"]
    keys = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
    assert front.client("sts", **keys).get_caller_identity()["Arn"].endswith(":user/deploy")
    arn = world.iam.get_role(RoleName="role")["Role"]["Arn"]
    session = front.client("sts").assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    keys = {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }
    assert front.client("sts", **keys).get_caller_identity()["Arn"].endswith("assumed-role/role/session")


def test_object_storage(front):
    s3 = front.client("s3", config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    key = "path/ä b+c%2F~"
    s3.put_object(Bucket="bucket", Key=key, Body=b"x" * 100_000)
    assert s3.get_object(Bucket="bucket", Key=key)["ContentLength"] == 100_000
    assert s3.head_object(Bucket="bucket", Key=key)["ContentLength"] == 100_000
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")  # asks "Expect: 100-continue" and sends nothing
    assert s3.head_object(Bucket="bucket", Key="empty")["ContentLength"] == 0
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key})
    with urllib.request.urlopen(url) as answer:
        assert len(answer.read()) == 100_000
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"))
    assert caught.value.code == 403


# Faults and counters
def test_counters(front, world):
    world.ec2.describe_vpcs()
    front.control("DELETE", "calls")
    world.ec2.describe_vpcs()
    code(world.ec2.run_instances, **world.arguments(KeyName="nobody"))
    assert front.control("GET", "calls") == {"ec2.DescribeVpcs": 1, "ec2.RunInstances": 1}


THROTTLES = [
    ("ec2", "describe_vpcs", "RequestLimitExceeded"),
    ("iam", "list_roles", "Throttling"),
    ("route53", "list_hosted_zones", "Throttling"),
    ("ssm", "describe_parameters", "ThrottlingException"),
    ("dynamodb", "list_tables", "ThrottlingException"),
    ("s3", "list_buckets", "SlowDown"),
]


@pytest.mark.parametrize(("service", "method", "expected"), THROTTLES)
def test_throttled_as_the_service_says(front, service, method, expected):
    front.control("DELETE", "calls")
    front.control("PUT", "faults", {"throttle": [{"service": service, "count": 2}]})
    client = front.client(service)
    assert [code(getattr(client, method))[0] for _ in range(2)] == [expected] * 2
    getattr(client, method)()
    assert sum(front.control("GET", "calls").values()) == 3


def test_throttles_are_retried_and_counted(front):
    front.control("DELETE", "calls")
    front.control("PUT", "faults", {"throttle": [{"service": "ssm", "action": "DescribeParameters", "count": 1}]})
    front.client("ssm", config=Config(retries={"mode": "standard", "total_max_attempts": 3})).describe_parameters()
    assert front.control("GET", "calls") == {"ssm.DescribeParameters": 2}


def test_token_buckets_refill_and_a_client_that_keeps_to_its_own_is_never_refused(front):
    front.control("PUT", "faults", {"rates": [{"service": "route53", "size": 2, "per_second": 0.5}]})
    route53 = front.client("route53")

    def refused():
        try:
            return not route53.list_hosted_zones()
        except ClientError as error:
            return error.response["Error"]["Code"] == "Throttling"

    assert [refused(), refused()] == [False, False]
    assert any(refused() for _call in range(20))
    end = time.monotonic() + 20
    while refused():
        assert time.monotonic() < end, "the bucket does not refill"
        time.sleep(0.2)
    front.control("PUT", "faults", {"rates": [{"service": "route53", "size": 5, "per_second": 50}]})
    front.control("DELETE", "calls")
    options = {"region": "eu-west-1", "endpoint_url": front.url}
    keys = {name.removeprefix("aws_").replace("_id", "").replace("secret_access", "secret"): value
            for name, value in front.lab.credentials.items()}  # fmt: skip
    ours = aws.Aws({**options, "access_key": keys["access_key"], "secret_key": keys["secret_key"]},
                   rates={("route53", "*"): (4, 40)})  # fmt: skip
    for _call in range(12):
        ours.client("route53").call("list_hosted_zones")
    assert front.control("GET", "calls") == {"route53.ListHostedZones": 12}


def test_latency(front):
    client = front.client("ec2")
    client.describe_vpcs()
    front.control("PUT", "faults", {"latency_ms": 200})
    started = time.monotonic()
    client.describe_vpcs()
    assert time.monotonic() - started >= 0.2


def test_failing_region_and_zone(front, world):
    front.control("PUT", "faults", {"failing_regions": ["eu-west-2"], "failing_zones": ["eu-west-1b"]})
    assert code(front.client("ec2", "eu-west-2").describe_vpcs)[0] == "Unavailable"
    assert front.client("ec2", "eu-central-1").describe_vpcs()["Vpcs"]
    assert code(world.ec2.describe_instances)[0] == "Unavailable"
    assert world.state() == "running"
    found, message = code(world.run, SubnetId=world.subnet_b)
    assert (found, "eu-west-1b" in message) == ("InsufficientInstanceCapacity", True)
    assert world.state(world.run()) == "pending"


def test_lost_credentials(front):
    front.control("PUT", "faults", {"lost_credentials": True})
    assert code(front.client("ec2").describe_vpcs)[0] == "RequestExpired"
    assert code(front.client("ssm").describe_parameters)[0] == "ExpiredTokenException"


@pytest.mark.parametrize(
    "faults",
    [
        {"latency": 3},
        {"latency_ms": -1},
        {"throttle": [{"count": 1}]},
        {"rates": [{"service": "ec2", "size": 0, "per_second": 1}]},
        {"failing_zones": "a"},
    ],
)
def test_bad_faults_are_refused(front, faults):
    with pytest.raises(urllib.error.HTTPError) as caught:
        front.control("PUT", "faults", faults)
    assert caught.value.code == 400
    assert "fault" in json.load(caught.value)["error"]


def test_changes_are_told(front, world):
    path = front.lab.run / "changed.d" / "listener.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(2)
        world.volume()
        assert listener.recv(100)
        world.ec2.describe_volumes()
        code(world.ec2.run_instances, **world.arguments(KeyName="nobody"))
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.recv(100)
    path.unlink()


def test_unix_socket(front):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(front.lab.aws_socket))
        connection.sendall(b"GET /_lab/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"status": "ok"' in answer


def test_twenty_threads(front, world):
    def work(number):
        ec2, ssm = front.client("ec2"), front.client("ssm")
        volume = ec2.create_volume(AvailabilityZone="eu-west-1c", Size=1)["VolumeId"]
        ec2.create_tags(Resources=[volume], Tags=[{"Key": "thread", "Value": str(number)}])
        ssm.put_parameter(Name=f"/threads/{number}", Value="x", Type="String")
        ec2.describe_volumes()
        found = ec2.describe_volumes(Filters=[{"Name": "tag:thread", "Values": [str(number)]}])["Volumes"]
        ec2.delete_volume(VolumeId=volume)
        return [v["VolumeId"] for v in found] == [volume]

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(work, range(20)))
    pages = front.client("ssm").get_paginator("get_parameters_by_path").paginate(Path="/threads")
    assert sum(len(page["Parameters"]) for page in pages) == 20


def test_every_rule_names_its_source():
    assert len(RULES) > 60
    for entry in RULES:
        assert entry.code
        assert entry.message
        assert entry.source.strip(), entry.function.__name__


def test_user_data_comes_back(world):
    instance = world.run(UserData="#!/bin/sh\ntrue\n")
    value = world.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(value) == b"#!/bin/sh\ntrue\n"
