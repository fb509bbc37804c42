"""The tables as an AWS client sees them."""

import boto3
import pytest

NAME = "molecule-orders"


@pytest.fixture(scope="module")
def dynamodb():
    return boto3.client("dynamodb")


def test_table_is_protected_and_on_demand(dynamodb):
    table = dynamodb.describe_table(TableName=NAME)["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is True
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_IMAGE"


def test_items_can_be_put_back_and_expire(dynamodb):
    backups = dynamodb.describe_continuous_backups(TableName=NAME)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    ttl = dynamodb.describe_time_to_live(TableName=NAME)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires")


def test_an_order_is_found_by_its_state(dynamodb):
    item = {"account": {"S": "a-1"}, "placed": {"N": "1"}, "state": {"S": "open"}}
    dynamodb.put_item(TableName=NAME, Item=item)
    found = dynamodb.query(
        TableName=NAME,
        IndexName="by-state",
        KeyConditionExpression="#state = :open",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":open": {"S": "open"}},
    )
    assert found["Count"] == 1
