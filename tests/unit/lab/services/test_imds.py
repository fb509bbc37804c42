"""What the metadata service answers an instance."""

from __future__ import annotations

import datetime
import json

import pytest

from lab.services.imds import MAX_TTL, TOKEN_HEADER, TTL_HEADER, Facts, Tokens, respond

NOW = 1_800_000_000.0
TOKENS = Tokens(b"k" * 32)
INSTANCE = {
    "InstanceId": "i-0a",
    "ImageId": "ami-1",
    "InstanceType": "t3.micro",
    "PrivateIpAddress": "10.20.0.4",
    "PrivateDnsName": "ip-10-20-0-4.eu-west-1.compute.internal",
    "Placement": {"AvailabilityZone": "eu-west-1b"},
    "LaunchTime": datetime.datetime(2026, 11, 22, 10, 0, tzinfo=datetime.UTC),
    "KeyName": "operator",
    "RootDeviceName": "/dev/xvda",
    "BlockDeviceMappings": [{"DeviceName": "/dev/xvda"}, {"DeviceName": "/dev/sdf"}],
    "SecurityGroups": [{"GroupName": "database", "GroupId": "sg-1"}],
    "Tags": [{"Key": "Name", "Value": "database-1"}],
    "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/database"},
    "NetworkInterfaces": [
        {
            "NetworkInterfaceId": "eni-1",
            "MacAddress": "02:00:00:00:00:01",
            "PrivateIpAddress": "10.20.0.4",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.20.0.4"}],
            "SubnetId": "subnet-1",
            "VpcId": "vpc-1",
            "Groups": [{"GroupName": "database", "GroupId": "sg-1"}],
            "Attachment": {"DeviceIndex": 0},
        }
    ],
}


def facts(user_data=b"#!/bin/sh\n", role="database", **options):
    instance = {**INSTANCE, "MetadataOptions": {"HttpTokens": "optional", **options}}
    profile = {"Arn": "arn:p", "InstanceProfileId": "AIPA1", "Roles": [{"RoleName": role}] if role else []}
    return Facts(
        instance=instance,
        region="eu-west-1",
        account="123456789012",
        subnet={"CidrBlock": "10.20.0.0/20", "AvailabilityZoneId": "euw1-az1"},
        vpc_blocks=["10.20.0.0/16", "10.30.0.0/16"],
        user_data=lambda: user_data,
        public_key=lambda: "ssh-ed25519 AAAA operator",
        profile=lambda: profile,
        credentials=lambda: {"Code": "Success", "AccessKeyId": "ASIA1"} if role else None,
    )


def get(path, known=None, token=None, now=NOW, method="GET"):
    headers = {TOKEN_HEADER: token} if token else {}
    return respond(known or facts(), method, path, headers, TOKENS, now)


def put(ttl="60", known=None, path="/latest/api/token", **headers):
    sent = {TTL_HEADER: ttl, **headers} if ttl is not None else headers
    return respond(known or facts(), "PUT", path, sent, TOKENS, NOW)


def text(path, **more):
    response = get("/latest/meta-data/" + path, **more)
    assert response.status == 200, path
    return response.body.decode()


@pytest.mark.parametrize("ttl", [None, "", "0", "21601", "-1", "x", "1.5", "²"])
def test_token_needs_a_time_to_live_in_range(ttl):
    assert put(ttl).status == 400


def test_token_request():
    answer = put(str(MAX_TTL), facts(HttpPutResponseHopLimit=2))
    assert (answer.status, answer.hop_limit, answer.headers[TTL_HEADER]) == (200, 2, "21600")
    assert put(path="/latest/meta-data/").status == 404
    assert put(**{"X-Forwarded-For": "10.0.0.1"}).status == 403
    assert put(path="/2021-07-15/api/token").status == 200


def test_tokens_required():
    strict = facts(HttpTokens="required")
    token = put("60", strict).body.decode()
    assert get("/latest/meta-data/instance-id", strict).status == 401
    assert get("/latest/meta-data/instance-id", strict, "nonsense").status == 401
    answer = get("/latest/meta-data/instance-id", strict, token, NOW + 59)
    assert (answer.status, answer.body, answer.headers[TTL_HEADER]) == (200, b"i-0a", "1")
    assert get("/latest/meta-data/instance-id", strict, token, NOW + 60).status == 401


def test_bad_token_is_refused_also_where_none_is_needed():
    assert get("/latest/meta-data/instance-id").status == 200
    assert get("/latest/meta-data/instance-id", token="nonsense").status == 401


def test_token_is_of_its_instance_and_its_key():
    token = TOKENS.issue("i-0a", 60, NOW)
    assert TOKENS.remaining(token, "i-0a", NOW) == 60
    assert TOKENS.remaining(token, "i-0b", NOW) is None
    assert Tokens(b"other").remaining(token, "i-0a", NOW) is None
    assert TOKENS.remaining(token[:-4] + "AAAA", "i-0a", NOW) is None


def test_unknown_source_disabled_service_and_other_methods():
    assert respond(None, "GET", "/latest/meta-data/", {}, TOKENS, NOW).status == 404
    assert get("/latest/meta-data/", facts(HttpEndpoint="disabled")).status == 403
    assert put(known=facts(HttpEndpoint="disabled")).status == 403
    assert get("/latest/meta-data/", method="POST").status == 405
    assert get("/latest/nothing").status == 404
    assert get("/latest/meta-data/instance-id/more").status == 404


def test_listings_with_and_without_slash():
    assert get("/").body.decode().splitlines()[-1] == "latest"
    assert get("/latest").body == get("/latest/").body == b"dynamic\nmeta-data\nuser-data"
    assert "placement/" in text("").splitlines()
    assert "instance-id" in text("").splitlines()
    assert get("/latest/meta-data").body == get("/2021-07-15/meta-data/").body
    assert text("placement") == text("placement/") == "availability-zone\navailability-zone-id\nregion"
    assert text("network/interfaces/macs/") == "02:00:00:00:00:01/"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("instance-id", "i-0a"),
        ("ami-id", "ami-1"),
        ("instance-type", "t3.micro"),
        ("local-ipv4", "10.20.0.4"),
        ("hostname", "ip-10-20-0-4.eu-west-1.compute.internal"),
        ("local-hostname", "ip-10-20-0-4.eu-west-1.compute.internal"),
        ("mac", "02:00:00:00:00:01"),
        ("security-groups", "database"),
        ("placement/availability-zone", "eu-west-1b"),
        ("placement/availability-zone-id", "euw1-az1"),
        ("placement/region", "eu-west-1"),
        ("public-keys/", "0=operator"),
        ("public-keys/0/", "openssh-key"),
        ("public-keys/0/openssh-key", "ssh-ed25519 AAAA operator"),
        ("block-device-mapping/", "ami\nebs1\nroot"),
        ("block-device-mapping/ebs1", "sdf"),
        ("network/interfaces/macs/02:00:00:00:00:01/subnet-ipv4-cidr-block", "10.20.0.0/20"),
        ("network/interfaces/macs/02:00:00:00:00:01/vpc-ipv4-cidr-blocks", "10.20.0.0/16\n10.30.0.0/16"),
        ("iam/security-credentials/", "database"),
        ("iam/security-credentials", "database"),
    ],
)
def test_metadata(path, value):
    assert text(path) == value


def test_role_credentials():
    assert json.loads(text("iam/security-credentials/database"))["AccessKeyId"] == "ASIA1"
    assert json.loads(text("iam/info"))["InstanceProfileId"] == "AIPA1"
    assert get("/latest/meta-data/iam/security-credentials/other").status == 404
    assert text("iam/security-credentials/", known=facts(role="")) == ""


def test_tags_only_when_allowed():
    assert get("/latest/meta-data/tags/instance/Name").status == 404
    allowed = facts(InstanceMetadataTags="enabled")
    assert text("tags/instance/", known=allowed) == "Name"
    assert text("tags/instance/Name", known=allowed) == "database-1"


def test_user_data():
    assert get("/latest/user-data").body == b"#!/bin/sh\n"
    assert get("/latest/user-data", facts(user_data=None)).status == 404


def test_identity_document():
    document = json.loads(get("/latest/dynamic/instance-identity/document").body)
    assert document["instanceId"] == "i-0a"
    assert document["availabilityZone"] == "eu-west-1b"
    assert document["pendingTime"] == "2026-11-22T10:00:00Z"
    assert document["accountId"] == "123456789012"
