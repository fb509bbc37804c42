"""route53_cidr_collections against the strict front."""

from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import route53_cidr_collections as module
from ansible_collections.selfhosted.ec2.plugins.modules import route53_records
from botocore.exceptions import ClientError

from tests.integration.front_client import parameters

PARTNERS = {
    "name": "trading-partners",
    "locations": {"bank": ["192.0.2.0/24", "2001:DB8::/48"], "broker": ["10.0.0.0/8"]},
}


@pytest.fixture
def run(front):
    def call(*collections, check=False, **more):
        wanted = parameters(module, {"collections": list(collections), "prune_prefix": "trading-", **more})
        return module.manage(wanted, front.connection().client("route53"), check)

    call()
    return call


def test_new_then_unchanged_and_check_is_the_run(front, run):
    planned = run(PARTNERS, check=True)
    done = run(PARTNERS)
    assert done["changes"] == planned["changes"] and done["diff"] == planned["diff"]
    front.forget_calls()
    other = {**PARTNERS, "locations": {"broker": ["10.0.0.0/8"], "bank": ["2001:db8::/48", "192.0.2.0/24"]}}
    again = run(other)
    assert not again["changed"] and again["ids"] == done["ids"] and sum(front.calls().values()) == 2


def test_an_edit_is_one_change_and_shown_alone(front, run):
    run(PARTNERS)
    moved = {**PARTNERS, "locations": {"bank": ["2001:db8::/48"], "broker": ["10.0.0.0/8", "192.0.2.0/24"]}}
    front.forget_calls()
    done = run(moved)
    assert done["changes"] == ["change the collection trading-partners: -1 bank, +1 broker"]
    assert done["diff"] == {
        "before": "trading-partners bank: 192.0.2.0/24\n",
        "after": "trading-partners broker: 192.0.2.0/24\n",
    }
    assert front.writes() == ["route53.ChangeCidrCollection"] and not run(moved)["changed"]


def test_many_blocks_are_read_to_the_last_page_and_only_ours_are_removed(front, run):
    many = {"name": "trading-many", "locations": {"all": [f"10.{n // 250}.{n % 250}.0/24" for n in range(250)]}}
    front.client("route53").create_cidr_collection(Name="somebody", CallerReference="somebody")
    run(many)
    assert not run(many)["changed"]
    assert run()["changes"][-1] == "delete the collection trading-many"
    listed = front.client("route53").list_cidr_collections()["CidrCollections"]
    assert [entry["Name"] for entry in listed] == ["somebody"]


def test_somebody_elses_change_in_between_is_refused_and_then_read(front, run):
    made = run(PARTNERS)["ids"]["trading-partners"]
    client = front.connection().client("route53")
    real = client.call

    def call(operation, **arguments):
        if operation == "change_cidr_collection":
            change = {"LocationName": "hand", "Action": "PUT", "CidrList": ["198.51.100.0/24"]}
            front.client("route53").change_cidr_collection(Id=made, Changes=[change])
        return real(operation, **arguments)

    client.call = call
    edited = {**PARTNERS, "locations": {"bank": ["192.0.2.0/24"]}}
    wanted = parameters(module, {"collections": [edited]})
    with pytest.raises(aws.AwsError, match="CidrCollectionVersionMismatchException"):
        module.manage(wanted, client, False)
    assert "-1 hand" in run(edited)["changes"][0] and not run(edited)["changed"]


def test_records_answer_by_location(front, run):
    identity = run(PARTNERS)["ids"]["trading-partners"]
    front.client("route53").create_hosted_zone(Name="cidr.example", CallerReference="cidr")
    records = [
        {"name": "api.cidr.example", "values": ["192.0.2.1"], "set_identifier": "bank",
         "cidr": {"collection_id": identity, "location": "bank"}},
        {"name": "api.cidr.example", "values": ["192.0.2.2"], "set_identifier": "others",
         "cidr": {"collection_id": identity, "location": "*"}},
    ]  # fmt: skip
    wanted = parameters(route53_records, {"zone": "cidr.example", "records": records})
    client = front.connection().client("route53")
    assert route53_records.manage(wanted, client, False)["changed"]
    assert not route53_records.manage(wanted, client, False)["changed"]


@pytest.mark.parametrize(
    ("locations", "words"),
    [
        ({"bank": ["192.0.2.1/24"]}, "without host bits"),
        ({"bank": ["0.0.0.0/0"]}, "that is the location"),
        ({"bank": ["192.0.2.0/25"]}, "smaller than /24"),
        ({"bank": ["2001:db8::/64"]}, "smaller than /48"),
        ({"bank": []}, "has no blocks"),
        ({"a location name": ["192.0.2.0/24"]}, "1 to 16 letters"),
        ({"bank": ["192.0.2.0/24"], "broker": ["192.0.2.0/24"]}, "is in the locations bank and broker"),
    ],
)
def test_bad_input_is_refused_before_the_first_call(front, run, locations, words):
    front.forget_calls()
    with pytest.raises(aws.AwsError, match=words):
        run({"name": "trading-bad", "locations": locations})
    assert not front.calls()


def test_the_front_refuses_what_route_53_refuses(front, run):
    identity = run(PARTNERS)["ids"]["trading-partners"]
    client = front.client("route53")
    for change, code in (
        ({"LocationName": "x", "Action": "PUT", "CidrList": ["192.0.2.0/24"]}, "CidrBlockInUseException"),
        ({"LocationName": "x", "Action": "PUT", "CidrList": ["192.0.2.0/28"]}, "InvalidInput"),
    ):
        with pytest.raises(ClientError) as caught:
            client.change_cidr_collection(Id=identity, Changes=[change])
        assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as caught:
        client.delete_cidr_collection(Id=identity)
    assert caught.value.response["Error"]["Code"] == "CidrCollectionInUseException"
