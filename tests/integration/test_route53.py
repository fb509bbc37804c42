"""Route 53 modules against the strict front: calls, ownership, throttles, interrupted runs, refusals."""

from __future__ import annotations

import time

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import route53_health_checks, route53_records, route53_zone
from botocore.exceptions import ClientError

from tests.integration import docs_example
from tests.integration.front_client import REGION

RECORDS = {"zone_id": None, "private_zone": False, "prune": None, "marker": "", "wait": False, "wait_timeout": 300}
ZONE = {
    "zone_id": None,
    "state": "present",
    "private_zone": False,
    "vpcs": None,
    "purge_vpcs": True,
    "comment": None,
    "tags": None,
    "purge_tags": True,
}
CHECKS = {"owner": "trading", "prune": False, "tags": {}, "purge_tags": True}


class LeapClock(aws.Clock):
    """Time passes only while somebody sleeps."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


class Dns:
    """One zone of the front and the modules on it."""

    def __init__(self, front, name):
        self.front, self.name = front, name
        self.boto = front.client("route53")
        self.id = self.zone()["zone_id"]

    def zone(self, check=False, **more):
        return route53_zone.manage({**ZONE, "name": self.name, **more}, self.front.connection(), check)

    def client(self):
        return self.front.connection().client("route53")

    def records(self, records, check=False, client=None, **more):
        params = {**RECORDS, "zone": self.name, "records": [{"type": "A", "ttl": 60, **r} for r in records], **more}
        self.front.forget_calls()
        return route53_records.manage(params, client or self.client(), check)

    def checks(self, checks, check=False, **more):
        self.front.forget_calls()
        return route53_health_checks.manage({**CHECKS, "health_checks": checks, **more}, self.client(), check)

    def held(self):
        pages = self.boto.get_paginator("list_resource_record_sets").paginate(HostedZoneId=self.id)
        found = (s for page in pages for s in page["ResourceRecordSets"])
        return {
            (s["Name"].removesuffix(f"{self.name}."), s["Type"], s.get("SetIdentifier", "")): [
                v["Value"] for v in s.get("ResourceRecords", [])
            ]
            for s in found
            if s["Type"] not in ("NS", "SOA")
        }

    def calls(self):
        return sum(self.front.calls().values())


@pytest.fixture
def dns(front, request):
    yield Dns(front, f"{request.node.name.split('[')[0][5:40].strip('_').replace('_', '-')}.example")
    front.faults()


def many(zone, count, address="10.0.0.1"):
    return [{"name": f"n{n}.{zone}", "values": [address]} for n in range(count)]


def test_two_hundred_records_are_three_calls_and_two_unchanged(dns):
    wanted = many(dns.name, 200)
    planned = dns.records(wanted, check=True)
    assert len(planned["changes"]) == 200 and not dns.front.writes() and not dns.held()
    done = dns.records(wanted)
    assert dns.calls() == 3
    assert (done["changes"], done["diff"]) == (planned["changes"], planned["diff"])
    shuffled = [{**r, "name": r["name"].upper() + "."} for r in reversed(wanted)]
    assert not dns.records(shuffled)["changed"]
    assert dns.calls() == 2
    edited = dns.records([{**wanted[0], "ttl": 30}, *wanted[1:]], check=True)
    assert edited["diff"]["before"] == f"n0.{dns.name}. 60 A 10.0.0.1\n"
    assert edited["diff"]["after"] == f"n0.{dns.name}. 30 A 10.0.0.1\n"


def test_a_marker_doubles_the_records_and_costs_a_call(dns):
    wanted = many(dns.name, 200)
    dns.records(wanted, marker="owner=me")
    assert dns.calls() == 3
    assert not dns.records(wanted, marker="owner=me")["changed"]
    assert dns.calls() == 3


def test_one_record_of_a_large_zone_does_not_read_the_zone(dns):
    dns.records(many(dns.name, 700))
    assert not dns.records(many(dns.name, 1))["changed"]
    assert dns.calls() == 2


def test_order_of_values_and_quoting_are_no_change_and_an_error_stays_an_error(dns, monkeypatch):
    text = {"name": f"t.{dns.name}", "type": "TXT", "values": ["k=" + "v" * 400]}
    dns.records([{"name": f"a.{dns.name}", "values": ["10.0.0.1", "10.0.0.2"]}, text])
    assert [len(value) for value in dns.held()[("t.", "TXT", "")]] == [407]
    assert not dns.records([{"name": f"a.{dns.name}", "values": ["10.0.0.2", "10.0.0.1"]}, text])["changed"]
    # Somebody makes the record between our reading and our writing.
    monkeypatch.setattr(route53_records, "read", lambda *_arguments: [])
    with pytest.raises(aws.AwsError, match="already exists"):
        dns.records([{"name": f"a.{dns.name}", "values": ["10.0.0.3"]}])
    assert dns.held()[("a.", "A", "")] == ["10.0.0.1", "10.0.0.2"]


def test_prune_by_marker_leaves_what_others_made(dns):
    dns.records([{"name": f"theirs.{dns.name}", "values": ["10.0.0.9"]}], marker="owner=they")
    dns.records([{"name": f"loose.{dns.name}", "values": ["10.0.0.9"]}])
    dns.records(many(dns.name, 3), marker="owner=me")
    done = dns.records(many(dns.name, 1), marker="owner=me")
    assert len(done["changes"]) == 4
    names = {key[0] for key in dns.held()}
    assert names == {"n0.", "_owner.n0.", "loose.", "theirs.", "_owner.theirs."}
    with pytest.raises(aws.AwsError, match="belongs to 'owner=they'"):
        dns.records([{"name": f"theirs.{dns.name}", "values": ["10.0.0.1"]}], marker="owner=me")
    assert not dns.front.writes()


def test_a_name_changes_its_kind_in_one_batch(dns):
    name, owner = f"a.{dns.name}", {"prefixes": ["a."]}
    weighted = [{"name": name, "values": [f"10.0.0.{n}"], "set_identifier": str(n), "weight": n} for n in (1, 2)]
    cname = [{"name": name, "type": "CNAME", "values": ["b.example.net"]}]
    for wanted, count in (([{"name": name, "values": ["10.0.0.1"]}], 1), (cname, 2), (weighted, 3), (weighted[:1], 1)):
        done = dns.records(wanted, prune=owner)
        assert len(done["changes"]) == count
        assert dns.front.calls()["route53.ChangeResourceRecordSets"] == 1
        assert not dns.records(wanted, prune=owner)["changed"]
    with pytest.raises(aws.AwsError, match="a CNAME stands alone"):
        dns.records(cname)
    assert not dns.front.writes()


def test_wait_for_all_name_servers(dns):
    dns.front.faults(eventual_consistency_seconds=0.3)
    started = time.monotonic()
    assert dns.records(many(dns.name, 1), wait=True)["change_ids"]
    assert time.monotonic() - started >= 0.3 and dns.front.calls()["route53.GetChange"] > 1
    with pytest.raises(aws.AwsError, match="is made, but is not on all name servers after 0 seconds"):
        dns.records(many(dns.name, 2), wait=True, wait_timeout=0)
    assert not dns.records(many(dns.name, 2), wait=True)["changed"]


def test_ten_throttles_end_within_a_minute_and_a_large_batch_is_halved(dns):
    dns.front.faults(throttle=[{"service": "route53", "action": "ChangeResourceRecordSets", "count": 10}])
    clock = LeapClock()
    client = aws.Aws(dns.front.options, clock=clock).client("route53")
    done = dns.records(many(dns.name, 50), client=client)
    assert clock.time < 60
    assert len(done["change_ids"]) == 2 and len(dns.held()) == 50
    assert dns.front.calls()["route53.ChangeResourceRecordSets"] == 12
    assert client.aws.deadline == aws.DEADLINE


def test_an_interrupted_run_is_repeated(dns, monkeypatch):
    wanted = many(dns.name, 1200)
    client, sent = dns.client(), []
    call = client.call

    def torn(operation, **parameters):
        if operation == "change_resource_record_sets" and sent:
            raise aws.AwsError("The line is dead.")
        sent.append(operation) if operation.startswith("change") else None
        return call(operation, **parameters)

    monkeypatch.setattr(client, "call", torn)
    with pytest.raises(aws.AwsError, match="dead"):
        dns.records(wanted, client=client)
    assert len(dns.held()) == 1000
    assert len(dns.records(wanted)["changes"]) == 200
    assert not dns.records(wanted)["changed"]


def test_lost_credentials_are_one_sentence_and_write_nothing(dns):
    dns.front.faults(lost_credentials=True)
    with pytest.raises(aws.AwsError, match="does not accept the credentials"):
        dns.records(many(dns.name, 1))
    dns.front.faults()
    assert not dns.held()


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"name": "", "type": "CNAME", "values": ["b.example.net"]}, "may not stand at the zone's own name"),
        ({"name": "a.", "values": ["10.0.0.256"]}, "must be an IPv4 address"),
        ({"name": "a.", "type": "TXT", "values": ['"' + "x" * 256 + '"']}, "strings of at most 255 characters"),
        ({"name": "good.", "values": ["10.0.0.3"], "set_identifier": "x", "weight": 1}, "simple and weight at once"),
        ({"name": "good.", "type": "CNAME", "values": ["b.example.net"]}, "a CNAME stands alone"),
        ({"name": "a.", "values": ["10.0.0.1"], "set_identifier": "x", "failover": "primary"}, "never fails over"),
        ({"name": "a.", "alias": {"name": "none.refused.example"}}, "that target was not found"),
        ({"name": "a.", "values": ["10.0.0.1"], "health_check_id": "nobody"}, "No health check exists"),
    ],
)
def test_refused(dns, bad, words):
    with pytest.raises(aws.AwsError, match=words):
        dns.records([{"name": f"good.{dns.name}", "values": ["10.0.0.1"]}, {**bad, "name": bad["name"] + dns.name}])
    assert not dns.held()


# Zones


@pytest.fixture
def vpcs(front):
    ec2 = front.client("ec2")
    return [ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16")["Vpc"]["VpcId"] for n in (90, 91, 92)]


def test_the_vpcs_of_a_private_zone_are_a_set(front, vpcs):
    def zone(check=False, name="inside.example", **more):
        params = {**ZONE, "name": name, "private_zone": True, "comment": "x", "tags": {"platform": "t"}, **more}
        front.forget_calls()
        return route53_zone.manage(params, front.connection(), check)

    def shown():
        answer = front.client("route53").get_hosted_zone(Id=made["zone_id"])
        return {vpc["VPCId"] for vpc in answer["VPCs"]}, answer["HostedZone"]["Config"]["Comment"]

    first = [{"id": vpcs[0]}, {"id": vpcs[1]}]
    planned = zone(check=True, vpcs=first)
    assert planned["zone_id"] == "" and not front.writes()
    made = zone(vpcs=first)
    assert made["changes"] == planned["changes"] and made["diff"] == planned["diff"]
    assert shown() == (set(vpcs[:2]), "x")
    assert not zone(vpcs=first)["changed"] and sum(front.calls().values()) == 3
    moved = zone(vpcs=[{"id": vpcs[2], "region": REGION}], comment="y", tags={"platform": "t", "a": "b"})
    assert [change.split()[0] for change in moved["changes"]] == [
        "set",
        "associate",
        "disassociate",
        "disassociate",
        "tag",
    ]
    assert shown() == ({vpcs[2]}, "y")
    assert not zone(comment=None, vpcs=None, tags=None)["changed"]
    for bad, words in (
        ({"vpcs": [{"id": "vpc-0123456789abcdef0"}], "purge_vpcs": False}, "does not exist"),
        ({"vpcs": []}, "needs one at least"),
        ({"vpcs": first, "private_zone": False}, "is public and has vpcs"),
        ({"vpcs": None, "name": "other.example"}, "needs one at least"),
    ):
        with pytest.raises(aws.AwsError, match=words):
            zone(**bad)
    assert zone(state="absent", vpcs=None)["changed"] and not zone(state="absent", vpcs=None)["changed"]


def test_a_zone_with_records_is_not_removed(dns):
    dns.records(many(dns.name, 2))
    with pytest.raises(aws.AwsError, match="still has 2 records; remove them first"):
        dns.zone(state="absent")
    dns.records([], prune={"patterns": [".*"]})
    assert dns.zone(state="absent")["changed"]
    with pytest.raises(aws.AwsError, match="There is no public zone named"):
        dns.records(many(dns.name, 1))


def test_zones_of_one_name_are_told_apart(dns):
    twin = dns.boto.create_hosted_zone(Name=dns.name, CallerReference="twin")["HostedZone"]["Id"].rsplit("/", 1)[-1]
    with pytest.raises(aws.AwsError, match="There are 2 public zones"):
        dns.records(many(dns.name, 1))
    assert dns.records(many(dns.name, 1), zone_id=twin)["zone_id"] == twin
    assert dns.zone(zone_id=twin, comment="twin")["changed"]


# Health checks


def test_health_checks_are_a_set(dns):
    wanted = [
        {"name": "all", "type": "CALCULATED", "children": ["e1", "e2"], "health_threshold": 1},
        {"name": "e1", "type": "HTTPS", "ip_address": "54.214.0.1", "path": "/health"},
        {"name": "e2", "type": "TCP", "ip_address": "54.214.0.2", "port": 443},
        {"name": "m", "type": "CLOUDWATCH_METRIC", "alarm": {"name": "x", "region": REGION}},
    ]
    stranger = dns.boto.create_health_check(
        CallerReference="by hand", HealthCheckConfig={"Type": "TCP", "IPAddress": "54.214.0.9", "Port": 1}
    )["HealthCheck"]["Id"]
    planned = dns.checks(wanted, check=True)
    assert set(planned["ids"].values()) == {"new"} and not dns.front.writes()
    done = dns.checks(wanted)
    assert done["changes"] == planned["changes"] and done["diff"] == planned["diff"]
    again = dns.checks(wanted, prune=True)
    assert (again["changed"], again["ids"]) == (False, done["ids"]) and dns.calls() == 2
    tags = dns.boto.list_tags_for_resource(ResourceType="healthcheck", ResourceId=done["ids"]["e1"])
    assert tags["ResourceTagSet"]["Tags"] == [{"Key": "Name", "Value": "e1"}]
    record = [{"name": f"a.{dns.name}", "values": ["54.214.0.1"], "multivalue": True, "set_identifier": "e1"}]
    record[0]["health_check_id"] = done["ids"]["e1"]
    dns.records(record)
    edited = [wanted[0], {**wanted[1], "path": "/ready", "disabled": True}, *wanted[2:]]
    assert dns.checks(edited)["diff"] == {
        "before": {"e1": {"ResourcePath": "/health"}},
        "after": {"e1": {"Disabled": True, "ResourcePath": "/ready"}},
    }
    faster = [wanted[0], {**wanted[1], "request_interval": 10}, *wanted[2:]]
    moved = dns.checks(faster)
    assert moved["ids"]["e1"] != done["ids"]["e1"] and dns.boto.get_health_check(HealthCheckId=done["ids"]["e1"])
    record[0]["health_check_id"] = moved["ids"]["e1"]
    assert len(dns.records(record)["changes"]) == 1
    assert dns.checks(faster, prune=True)["changes"] == ["delete e1"]
    assert dns.checks([], prune=True, owner="nobody")["changes"] == []
    dns.checks([], prune=True)
    assert [c["Id"] for c in dns.boto.list_health_checks()["HealthChecks"]] == [stranger]
    with pytest.raises(aws.AwsError, match="must be a public address"):
        dns.checks([{"name": "x", "type": "TCP", "ip_address": "10.0.0.1", "port": 1}])
    assert not dns.front.writes()


def test_more_health_checks_than_a_page_holds(dns):
    for n in range(230):
        config = {"Type": "TCP", "IPAddress": "54.214.0.9", "Port": 1}
        dns.boto.create_health_check(CallerReference=f"many:n{n}:0", HealthCheckConfig=config)
    wanted = [{"name": f"n{n}", "type": "TCP", "ip_address": "54.214.0.9", "port": 1} for n in range(230)]
    assert dns.checks(wanted, owner="many", check=True)["changes"][0].startswith("tag Name=")
    assert dns.front.calls() == {"route53.ListHealthChecks": 3, "route53.ListTagsForResources": 23}


# The front


def test_the_front_refuses_what_route_53_refuses(dns, vpcs):
    boto = dns.boto

    def code(method, **arguments):
        with pytest.raises(ClientError) as caught:
            getattr(boto, method)(**arguments)
        return caught.value.response["Error"]["Code"]

    check = {"Type": "TCP", "IPAddress": "54.214.0.9", "Port": 1}
    made = boto.create_health_check(CallerReference="once", HealthCheckConfig=check)["HealthCheck"]
    assert boto.create_health_check(CallerReference="once", HealthCheckConfig=check)["HealthCheck"]["Id"] == made["Id"]
    other = {**check, "Port": 2}
    assert code("create_health_check", CallerReference="once", HealthCheckConfig=other) == "HealthCheckAlreadyExists"
    update = {"HealthCheckId": made["Id"]}
    boto.update_health_check(**update, HealthCheckVersion=1, Port=3)
    assert code("update_health_check", **update, HealthCheckVersion=1, Port=4) == "HealthCheckVersionMismatch"
    boto.delete_health_check(**update)
    assert code("get_health_check", **update) == "NoSuchHealthCheck"
    assert code("create_health_check", CallerReference="once", HealthCheckConfig=check) == "HealthCheckAlreadyExists"
    for bad in ({"IPAddress": "10.0.0.1"}, {"RequestInterval": 20}, {"SearchString": "x"}, {"IPAddress": None}):
        config = {key: value for key, value in {**check, **bad}.items() if value is not None}
        assert code("create_health_check", CallerReference="bad", HealthCheckConfig=config) == "InvalidInput"
    assert code("get_change", Id="C0NOBODY") == "NoSuchChange"
    private = {"HostedZoneConfig": {"PrivateZone": True}, "Name": "p.example"}
    assert code("create_hosted_zone", CallerReference="1", **private) == "InvalidInput"
    unknown = {"VPCId": "vpc-0123456789abcdef0", "VPCRegion": REGION}
    assert code("create_hosted_zone", CallerReference="1", VPC=unknown, **private) == "InvalidVPCId"
    vpc = {"VPCId": vpcs[0], "VPCRegion": REGION}
    zone = boto.create_hosted_zone(CallerReference="1", VPC=vpc, **private)["HostedZone"]["Id"]
    assert code("create_hosted_zone", CallerReference="1", Name="q.example") == "HostedZoneAlreadyExists"
    assert code("create_hosted_zone", CallerReference="2", VPC=vpc, **private) == "ConflictingDomainExists"
    assert code("associate_vpc_with_hosted_zone", HostedZoneId=zone, VPC=vpc) == "ConflictingDomainExists"
    absent = {"VPCId": vpcs[1], "VPCRegion": REGION}
    assert code("disassociate_vpc_from_hosted_zone", HostedZoneId=zone, VPC=absent) == "VPCAssociationNotFound"
    assert code("disassociate_vpc_from_hosted_zone", HostedZoneId=zone, VPC=vpc) == "LastVPCAssociation"
    names = [z["Name"] for z in boto.list_hosted_zones_by_name(DNSName="p.example")["HostedZones"]]
    assert names[0] == "p.example." and len(names) > 1


def test_the_page_about_dns_is_right(front, tmp_path):
    output = docs_example.run_page(front, tmp_path / "page", "dns.md", "aws_dns.yml")
    assert "trading.example" in output
    boto = front.client("route53")
    zones = {z["Name"]: z["Id"] for z in boto.list_hosted_zones()["HostedZones"]}
    assert {"trading.example.", "games.example."} <= set(zones)
    play = tmp_path / "page" / "health.yml"
    role = {"name": "selfhosted.ec2.aws_dns", "tasks_from": "health"}
    play.write_text(yaml.safe_dump([docs_example.play_of([{"name": "Health", "include_role": role}])]))
    assert docs_example.run(front, tmp_path / "page", play)[0] == 0
    records = boto.list_resource_record_sets(HostedZoneId=zones["trading.example."])["ResourceRecordSets"]
    lost = next(record for record in records if record["Name"] == "docs.trading.example.")
    change = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": lost}]}
    boto.change_resource_record_sets(HostedZoneId=zones["trading.example."], ChangeBatch=change)
    with pytest.raises(AssertionError) as caught:
        docs_example.run(front, tmp_path / "page", play)
    output = " ".join(str(caught.value).split())
    assert "DNS is not as described, run the playbook aws_dns: CREATE docs.trading.example. 300 CNAME" in output
