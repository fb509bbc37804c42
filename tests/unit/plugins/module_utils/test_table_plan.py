"""Table plans, carried out on a table that takes one kind of change at a time."""

import copy

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import table_plan
from ansible_collections.selfhosted.ec2.plugins.modules import dynamodb_tables
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = (
    {"BillingMode", "ProvisionedThroughput"},
    {"StreamSpecification"},
    {"SSESpecification"},
    {"TableClass"},
    {"DeletionProtectionEnabled"},
)


def desired(table):
    result = ArgumentSpecValidator(dynamodb_tables.argument_spec()).validate({"tables": [copy.deepcopy(table)]})
    assert not result.error_messages, result.error_messages
    found = result.validated_parameters["tables"]
    assert not table_plan.faults(found, [], []), found
    return table_plan.desired(found[0])


class Fake:
    """A table of DynamoDB: takes the requests, refuses two kinds of change in one, and describes itself."""

    def __init__(self):
        self.table, self.ttl, self.recovery, self.tags, self.scaling = None, {}, {}, {}, {}

    def read(self):
        if self.table is None:
            return None
        recovery = {"PointInTimeRecoveryDescription": self.recovery}
        return table_plan.actual(copy.deepcopy(self.table), self.ttl, recovery, dict(self.tags), dict(self.scaling))

    def apply(self, steps, want):
        for step in steps:
            aspect = step["aspect"]
            if aspect == "table":
                self._create(table_plan.create_request("t", want))
            elif aspect == "tags":
                self.tags = dict(step["after"])
            elif aspect == "scaling":
                self.scaling = dict(step["after"])
            elif aspect == "ttl_attribute":
                request = table_plan.ttl_request(step)
                assert request["Enabled"] != (self.ttl.get("TimeToLiveStatus") == "ENABLED")
                status = "ENABLED" if request["Enabled"] else "DISABLED"
                self.ttl = {"TimeToLiveStatus": status, "AttributeName": request["AttributeName"]}
            elif aspect == "recovery_days":
                request = table_plan.recovery_request(step)
                status = "ENABLED" if request["PointInTimeRecoveryEnabled"] else "DISABLED"
                days = request.get("RecoveryPeriodInDays", 0)
                self.recovery = {"PointInTimeRecoveryStatus": status, "RecoveryPeriodInDays": days}
            else:
                self._update(table_plan.update_request(step))

    def _create(self, request):
        used = {key["AttributeName"] for key in request["KeySchema"]}
        for index in [*request.get("GlobalSecondaryIndexes", []), *request.get("LocalSecondaryIndexes", [])]:
            used |= {key["AttributeName"] for key in index["KeySchema"]}
        assert {entry["AttributeName"] for entry in request["AttributeDefinitions"]} == used
        self.tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        self.table = {
            **{key: request[key] for key in ("AttributeDefinitions", "KeySchema", "DeletionProtectionEnabled")},
            "GlobalSecondaryIndexes": request.get("GlobalSecondaryIndexes", []),
            "LocalSecondaryIndexes": request.get("LocalSecondaryIndexes", []),
        }
        self._update({key: request[key] for key in set(request) & set.union(*KINDS)}, at_once=True)

    def _update(self, request, at_once=False):
        indexes = request.get("GlobalSecondaryIndexUpdates", [])
        made = [entry for entry in indexes if "Update" not in entry]
        kinds = sum(bool(kind & set(request)) for kind in KINDS) + bool(made)
        assert at_once or (kinds <= 1 and len(made) <= 1), request
        if "BillingMode" in request:
            self.table["BillingModeSummary"] = {"BillingMode": request["BillingMode"]}
        if "ProvisionedThroughput" in request:
            self.table["ProvisionedThroughput"] = request["ProvisionedThroughput"]
        for entry in indexes:
            self._index(entry, request)
        if "StreamSpecification" in request:
            running = (self.table.get("StreamSpecification") or {}).get("StreamEnabled", False)
            assert running != request["StreamSpecification"]["StreamEnabled"]
            self.table["StreamSpecification"] = request["StreamSpecification"]
        if "SSESpecification" in request:
            wanted = request["SSESpecification"]
            status = "ENABLED" if wanted["Enabled"] else "DISABLED"
            self.table["SSEDescription"] = {"Status": status, "KMSMasterKeyArn": wanted.get("KMSMasterKeyId")}
        if "TableClass" in request:
            self.table["TableClassSummary"] = {"TableClass": request["TableClass"]}
        if "DeletionProtectionEnabled" in request:
            self.table["DeletionProtectionEnabled"] = request["DeletionProtectionEnabled"]

    def _index(self, entry, request):
        held = {index["IndexName"]: index for index in self.table["GlobalSecondaryIndexes"]}
        if "Delete" in entry:
            del held[entry["Delete"]["IndexName"]]
        elif "Create" in entry:
            assert entry["Create"]["IndexName"] not in held
            provisioned = self.table["BillingModeSummary"]["BillingMode"] == "PROVISIONED"
            assert provisioned == ("ProvisionedThroughput" in entry["Create"])
            held[entry["Create"]["IndexName"]] = entry["Create"]
            known = {item["AttributeName"]: item for item in self.table["AttributeDefinitions"]}
            known |= {item["AttributeName"]: item for item in request["AttributeDefinitions"]}
            self.table["AttributeDefinitions"] = list(known.values())
        else:
            held[entry["Update"]["IndexName"]]["ProvisionedThroughput"] = entry["Update"]["ProvisionedThroughput"]
        self.table["GlobalSecondaryIndexes"] = list(held.values())


units = st.fixed_dictionaries(
    {"read": st.integers(1, 9), "write": st.integers(1, 9)},
    optional={"max_read": st.integers(10, 99), "max_write": st.integers(10, 99), "target": st.sampled_from([50, 70])},
)
index = st.fixed_dictionaries(
    {"name": st.sampled_from(["index-a", "index-b", "index-c"]), "hash_key": st.sampled_from(["state", "venue"])},
    optional={
        "range_key": st.just("placed"),
        "projection": st.sampled_from(["all", "keys_only"]),
    },
)
options = st.fixed_dictionaries(
    {"indexes": st.lists(index, max_size=3, unique_by=lambda entry: entry["name"])},
    optional={
        "capacity": units,
        "ttl_attribute": st.sampled_from(["expires", "until"]),
        "recovery_days": st.integers(0, 35),
        "stream": st.sampled_from(list(table_plan.STREAMS)),
        "encryption": st.sampled_from([{"type": "aws_owned"}, {"type": "kms"}, {"type": "kms", "key": "alias/a"}]),
        "table_class": st.sampled_from(list(table_plan.CLASSES)),
        "deletion_protection": st.booleans(),
        "tags": st.dictionaries(st.sampled_from("abc"), st.text("xyz", max_size=3)),
    },
)


def described(given_options):
    used = {"account", "placed"} | {entry["hash_key"] for entry in given_options["indexes"]}
    billing = "provisioned" if given_options.get("capacity") else "on_demand"
    return {
        "name": "the-table",
        "hash_key": "account",
        "range_key": "placed",
        "attributes": {name: "N" if name == "placed" else "S" for name in used},
        "billing": billing,
        **given_options,
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(options, min_size=2, max_size=3))
def test_a_plan_applied_gives_what_was_described_and_then_plans_nothing(changes):
    table = Fake()
    for change in changes:
        want, have = desired(described(change)), table.read()
        if have is not None:
            assert not table_plan.impossible("the-table", have, want, True)
        table.apply(table_plan.plan("the-table", have, want), want)
        assert table_plan.plan("the-table", table.read(), want) == []


def test_a_plan_that_was_cut_off_is_taken_up():
    first = described({"indexes": []})
    last = described(
        {
            "indexes": [{"name": "index-a", "hash_key": "state"}, {"name": "index-b", "hash_key": "venue"}],
            "capacity": {"read": 1, "write": 2, "max_read": 9},
            "stream": "new_image",
            "ttl_attribute": "expires",
            "recovery_days": 3,
        }
    )
    want = desired(last)
    count = len(table_plan.plan("the-table", desired(first), want))
    assert count == 7
    for cut in range(count):
        table = Fake()
        table.apply(table_plan.plan("the-table", None, desired(first)), desired(first))
        table.apply(table_plan.plan("the-table", table.read(), want)[:cut], want)
        table.apply(table_plan.plan("the-table", table.read(), want), want)
        assert table_plan.plan("the-table", table.read(), want) == []


def test_scaling_is_read_of_the_table_and_its_indexes_only():
    def target(resource, dimension, least):
        return {"ResourceId": resource, "ScalableDimension": dimension, "MinCapacity": least, "MaxCapacity": 9}

    targets = [
        target("table/one", "dynamodb:table:ReadCapacityUnits", 1),
        target("table/one/index/by", "dynamodb:index:WriteCapacityUnits", 2),
        target("table/one-more", "dynamodb:table:ReadCapacityUnits", 3),
    ]
    rate = {"TargetTrackingScalingPolicyConfiguration": {"TargetValue": 70.0}}
    policies = [{"ResourceId": "table/one", "ScalableDimension": "dynamodb:table:ReadCapacityUnits", **rate}]
    assert table_plan.scaling_of("one", targets, policies) == {
        "/read": {"min": 1, "max": 9, "target": 70},
        "by/write": {"min": 2, "max": 9, "target": 0},
    }
