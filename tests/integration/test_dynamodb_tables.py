"""dynamodb_tables, its role and docs/nosql.md against the strict front."""

from __future__ import annotations

import botocore.exceptions
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import dynamodb_tables

from tests.integration import docs_example
from tests.integration.front_client import REGION, parameters

ORDERS = {
    "attributes": {"account": "S", "placed": "N", "state": "S"},
    "hash_key": "account",
    "range_key": "placed",
    "indexes": [
        {"name": "by-state", "hash_key": "state", "range_key": "placed", "projection": "keys_only"},
        {"name": "by-account-state", "type": "local", "hash_key": "account", "range_key": "state"},
    ],
    "ttl_attribute": "expires",
    "stream": "new_image",
    "encryption": {"type": "kms"},
}
QUOTES = {
    "attributes": {"symbol": "S", "venue": "S"},
    "hash_key": "symbol",
    "indexes": [{"name": "by-venue", "hash_key": "venue", "projection": "include", "attributes": ["bid", "ask"]}],
    "billing": "provisioned",
    "capacity": {"read": 5, "write": 5, "max_read": 50},
    "table_class": "infrequent_access",
}


def both(prefix):
    return [{"name": f"{prefix}-orders", **ORDERS}, {"name": f"{prefix}-quotes", **QUOTES}]


def run(front, tables=(), check=False, **more):
    params = parameters(dynamodb_tables, {"tables": list(tables), **more})
    return dynamodb_tables.manage(params, front.connection(), check)


def refused(front, message, tables=(), **more):
    front.forget_calls()
    with pytest.raises(aws.AwsError, match=message):
        run(front, tables, **more)
    assert not front.writes()


def described(front, name):
    return front.client("dynamodb").describe_table(TableName=name)["Table"]


def test_tables_are_made_as_described_and_ready(front):
    checked = run(front, both("made"), check=True, tags={"platform": "made"})
    assert checked["changed"] and not front.client("dynamodb").list_tables()["TableNames"]
    done = run(front, both("made"), tags={"platform": "made"})
    assert (checked["changes"], checked["diff"]) == (done["changes"], done["diff"])
    orders, quotes = described(front, "made-orders"), described(front, "made-quotes")
    assert orders["TableStatus"] == quotes["TableStatus"] == "ACTIVE"
    assert {index["IndexStatus"] for index in orders["GlobalSecondaryIndexes"]} == {"ACTIVE"}
    assert [index["IndexName"] for index in orders["LocalSecondaryIndexes"]] == ["by-account-state"]
    assert orders["SSEDescription"]["SSEType"] == "KMS" and orders["DeletionProtectionEnabled"]
    assert done["tables"][0]["stream_arn"] == orders["LatestStreamArn"]
    assert quotes["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    targets = front.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="dynamodb")
    assert {(target["ResourceId"], target["MaxCapacity"]) for target in targets["ScalableTargets"]} >= {
        ("table/made-quotes", 50),
        ("table/made-quotes/index/by-venue", 50),
    }


def test_a_second_run_only_reads(front):
    run(front, both("twice"), tags={"a": "b"})
    front.forget_calls()
    result = run(front, both("twice")[::-1], tags={"a": "b"})
    assert result["changed"] is False and result["diff"] == {"before": "", "after": ""}
    assert not front.writes()
    # Four readings for each table, the scaling in two, and the id of AWS's own key.
    assert sum(front.calls().values()) <= 2 * 4 + 3


def test_every_kind_of_change_is_carried_out_one_after_the_other(front):
    run(front, both("change"))
    changed = both("change")
    changed[0] |= {
        "attributes": {"account": "S", "placed": "N", "state": "S", "venue": "S"},
        "indexes": [
            {"name": "by-venue", "hash_key": "venue"},
            {"name": "by-venue-time", "hash_key": "venue", "range_key": "placed"},
            ORDERS["indexes"][1],
        ],
        "stream": "new_and_old_images",
        "encryption": {"type": "aws_owned"},
        "billing": "provisioned",
        "capacity": {"read": 2, "write": 3, "max_write": 30, "target": 50},
        "recovery_days": 7,
        "deletion_protection": False,
        "table_class": "infrequent_access",
        "tags": {"by": "change"},
    }
    changed[1] |= {"billing": "on_demand", "capacity": None, "recovery_days": 0}
    planned = run(front, changed, check=True)
    front.forget_calls()
    done = run(front, changed)
    assert (planned["changes"], planned["diff"]) == (done["changes"], done["diff"])
    updates = [line for line in done["changes"] if not line.endswith(("tags", "recovery_days", "scaling"))]
    assert front.calls()["dynamodb.UpdateTable"] == len(updates)
    orders = described(front, "change-orders")
    assert sorted(index["IndexName"] for index in orders["GlobalSecondaryIndexes"]) == ["by-venue", "by-venue-time"]
    assert orders["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert orders["ProvisionedThroughput"]["WriteCapacityUnits"] == 3
    assert not run(front, changed)["changed"]
    assert run(front, both("change"), replace_indexes=True)["changed"]
    assert not run(front, both("change"))["changed"]


def test_an_edit_shows_and_changes_just_that_value(front):
    run(front, both("edit"))
    edited = both("edit")
    edited[1]["capacity"] = {"read": 5, "write": 6, "max_read": 50}
    result = run(front, edited, check=True)
    assert result["changes"] == ["edit-quotes capacity"]
    before, after = (set(result["diff"][side].splitlines()) for side in ("before", "after"))
    assert after - before == {f"edit-quotes capacity.{name}.write: 6" for name in ("table", "by-venue")}
    front.forget_calls()
    run(front, edited)
    assert front.writes() == ["dynamodb.UpdateTable"]


def test_the_capacity_that_scaling_has_set_is_no_difference(front):
    run(front, both("scaled"))
    dynamodb = front.client("dynamodb")
    units = {"ReadCapacityUnits": 33, "WriteCapacityUnits": 5}
    dynamodb.update_table(TableName="scaled-quotes", ProvisionedThroughput=units)
    assert not run(front, both("scaled"))["changed"]


def test_what_cannot_be_changed_is_refused(front):
    run(front, both("fixed"))
    keys = {**ORDERS, "name": "fixed-orders", "attributes": {**ORDERS["attributes"], "placed": "S"}}
    refused(front, "Table fixed-orders has the keys account:S, placed:N, not account:S, placed:S", [keys])
    refused(
        front, "local indexes are made with the table only", [{**both("fixed")[0], "indexes": ORDERS["indexes"][:1]}]
    )
    other = [{**ORDERS["indexes"][0], "projection": "all"}, ORDERS["indexes"][1]]
    refused(front, "set replace_indexes", [{**both("fixed")[0], "indexes": other}])
    assert run(front, [{**both("fixed")[0], "indexes": other}], replace_indexes=True)["changes"] == [
        "fixed-orders index by-state",
        "fixed-orders index by-state",
    ]


def test_another_time_to_live_takes_an_hour_and_says_so(front):
    run(front, both("live"))
    other = [{**both("live")[0], "ttl_attribute": "until"}]
    with pytest.raises(aws.AwsError, match="one change an hour; run again in an hour to set it to none"):
        run(front, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hash_key": "other"}, "its key other is not among attributes"),
        ({"attributes": {**ORDERS["attributes"], "free": "S"}}, "attribute free is no key"),
        ({"attributes": {**ORDERS["attributes"], "state": "X"}}, "attribute state is X"),
        ({"range_key": "account"}, "hash_key and range_key are both account"),
        ({"indexes": [{"name": "a-a", "hash_key": "state"}] * 2}, "two indexes are named a-a"),
        ({"indexes": [{"name": "a-a", "type": "local", "hash_key": "state"}]}, "its hash_key is the table's"),
        ({"indexes": [{"name": "a-a", "hash_key": "state", "projection": "include"}]}, "needs attributes with"),
        ({"capacity": {"read": 1, "write": 1}}, "goes with billing provisioned only"),
        ({"billing": "provisioned"}, "which needs capacity"),
        (
            {"billing": "provisioned", "capacity": {"read": 9, "write": 1, "max_read": 3}},
            "capacity.max_read is 3, less than read",
        ),
        ({"recovery_days": 36}, "recovery_days is 36; give 1 to 35"),
        ({"ttl_attribute": "account"}, "a time to live is another attribute"),
        ({"name": "a"}, "must be 3 to 255 letters"),
    ],
)
def test_bad_input_is_refused_before_a_write(front, change, message):
    refused(front, message, [{**ORDERS, "name": "bad-table", **change}])


def test_a_table_goes_only_when_it_is_named_twice(front):
    run(front, both("gone")[:1])
    refused(front, "name it in confirm, too", absent=["gone-orders"])
    run(front, absent=["gone-orders"], confirm=["gone-orders"])
    assert "gone-orders" not in front.client("dynamodb").list_tables()["TableNames"]
    assert not run(front, absent=["gone-orders"], confirm=["gone-orders"])["changed"]


@pytest.mark.parametrize("writes", [1, 2])
def test_an_interrupted_run_is_taken_up_by_the_next(front, writes):
    connection = front.connection()
    client = connection.client("dynamodb")
    whole, left = client.call, [writes]

    def call(operation, **arguments):
        # The table of the first write is still being made when the run ends.
        if left[0] == 0:
            raise aws.AwsError("The connection is lost.")
        left[0] -= not aws.is_read(operation)
        return whole(operation, **arguments)

    client.call = call
    tables = [{"name": f"broken-{writes}", **ORDERS}]
    with pytest.raises(aws.AwsError, match="lost"):
        dynamodb_tables.manage(parameters(dynamodb_tables, {"tables": tables}), connection, False)
    assert run(front, tables)["changed"]
    assert not run(front, tables)["changed"]


def test_ten_throttles_and_a_busy_control_plane_are_survived(front):
    front.faults(throttle=[{"service": "dynamodb", "count": 10}])
    try:
        assert run(front, [{"name": "throttled", **QUOTES}])["changed"]
    finally:
        front.faults()
    front.faults(failing_regions=[REGION])
    try:
        with pytest.raises(aws.AwsError, match="DescribeTable in eu-west-1"):
            run(front, [{"name": "failing", **QUOTES}])
    finally:
        front.faults()


def test_the_front_refuses_what_dynamodb_refuses(front):
    run(front, both("strict"))
    dynamodb = front.client("dynamodb")
    create = {"IndexName": "new-index", "KeySchema": [{"AttributeName": "new", "KeyType": "HASH"}]}
    create["Projection"] = {"ProjectionType": "ALL"}
    new = {"AttributeDefinitions": [{"AttributeName": "new", "AttributeType": "S"}]}
    table, deletion = {"TableName": "strict-orders"}, {"Delete": {"IndexName": "by-state"}}
    refusals = [
        ("ValidationException", "one of the following", {"TableClass": "STANDARD", "DeletionProtectionEnabled": False}),
        ("LimitExceededException", "Only 1", {"GlobalSecondaryIndexUpdates": [{"Create": create}, deletion], **new}),
        ("ValidationException", "not defined", {"GlobalSecondaryIndexUpdates": [{"Create": create}]}),
        ("ValidationException", "must be specified", {"BillingMode": "PROVISIONED"}),
    ]  # fmt: skip
    for code, words, arguments in refusals:
        with pytest.raises(botocore.exceptions.ClientError, match=words) as error:
            dynamodb.update_table(**table, **arguments)
        assert error.value.response["Error"]["Code"] == code
    dynamodb.update_table(**table, TableClass="STANDARD_INFREQUENT_ACCESS")
    with pytest.raises(botocore.exceptions.ClientError, match="ResourceInUseException"):
        dynamodb.update_table(**table, TableClass="STANDARD")
    with pytest.raises(botocore.exceptions.ClientError, match="does not exactly match"):
        key = [{"AttributeName": "a", "KeyType": "HASH"}]
        names = [{"AttributeName": name, "AttributeType": "S"} for name in "ab"]
        dynamodb.create_table(
            TableName="unused", KeySchema=key, AttributeDefinitions=names, BillingMode="PAY_PER_REQUEST"
        )


def test_the_page_of_the_documentation_works(front, tmp_path):
    docs_example.run_page(front, tmp_path, "nosql.md", "aws_nosql.yml")
