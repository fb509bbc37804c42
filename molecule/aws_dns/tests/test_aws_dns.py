"""Zone, records and health checks as an AWS client sees them."""

import boto3
import pytest


@pytest.fixture(scope="module")
def route53():
    return boto3.client("route53")


@pytest.fixture(scope="module")
def zone(route53):
    (zone,) = [
        z
        for z in route53.list_hosted_zones_by_name(DNSName="molecule.example.")["HostedZones"]
        if z["Name"] == "molecule.example."
    ]
    return zone


@pytest.fixture(scope="module")
def records(route53, zone):
    return route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]


def test_zone_is_described_and_tagged(route53, zone):
    assert zone["Config"] == {"Comment": "Public names", "PrivateZone": False}
    identity = zone["Id"].rsplit("/", 1)[-1]
    tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=identity)["ResourceTagSet"]["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags}["platform"] == "molecule"


def test_the_edge_fails_over_by_health_checks(route53, records):
    edges = {r["Failover"]: r for r in records if r["Name"] == "www.molecule.example."}
    assert edges["PRIMARY"]["ResourceRecords"] == [{"Value": "54.214.9.1"}]
    assert edges["SECONDARY"]["ResourceRecords"] == [{"Value": "54.214.9.2"}]
    for record in edges.values():
        check = route53.get_health_check(HealthCheckId=record["HealthCheckId"])["HealthCheck"]["HealthCheckConfig"]
        assert check["IPAddress"] == record["ResourceRecords"][0]["Value"]
        assert (check["Type"], check["Port"], check["RequestInterval"]) == ("TCP", 443, 10)


def test_every_name_carries_the_marker(records):
    names = {r["Name"] for r in records if r["Type"] not in ("NS", "SOA", "TXT")}
    marked = {r["Name"]: r["ResourceRecords"] for r in records if r["Type"] == "TXT"}
    assert marked == {f"_owner.{name}": [{"Value": '"owner=molecule"'}] for name in names}
