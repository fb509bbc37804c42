"""Alarms: rules of composites, canonical forms, refusals and the plan, with seeded random alarms."""

from __future__ import annotations

import copy
import itertools
import json
import random

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import alarm_plan, alarm_rules, metric_table

REGION = "eu-west-1"
SNS = f"arn:aws:sns:{REGION}:123456789012:oncall"
RECOVER = f"arn:aws:automate:{REGION}:ec2:recover"


def alarm(name="trading-cpu", **changed):
    base = {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "i-1"},
        "comparison": "GreaterThanThreshold",
        "threshold": 80.0,
        "evaluation_periods": 3,
    }
    return {key: value for key, value in {**base, **changed}.items() if value is not None}


def composite(name, rule, **more):
    return {"name": name, "rule": rule, **more}


def options(*alarms, **more):
    return {"prefix": "trading-", "alarms": list(alarms), "tags": {}, "known_metrics": {}, **more}


def faults(*alarms, **more):
    return alarm_plan.faults(options(*alarms, **more), REGION)


def complete(*alarms, **defaults):
    return [alarm_plan.complete(entry, defaults) for entry in alarms]


def account(alarms):
    """What DescribeAlarms would show of these complete alarms, and their tags."""
    described, tags = {}, {}
    for entry in alarms:
        arn = f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:{entry['name']}"
        described[entry["name"]] = {**alarm_plan.request(entry), "AlarmArn": arn, "StateValue": "OK"}
        tags[entry["name"]] = dict(entry["tags"])
    return described, tags


def applied(steps, described, tags):
    """Carry out a plan as CloudWatch would, refusing what it refuses."""
    described, tags = copy.deepcopy(described), copy.deepcopy(tags)
    for step in steps:
        parameters = copy.deepcopy(step["parameters"])
        if step["action"].startswith("put_"):
            given = {entry["Key"]: entry["Value"] for entry in parameters.pop("Tags", [])}
            name = parameters["AlarmName"]
            if "AlarmRule" in parameters:
                assert alarm_rules.names(alarm_rules.parse(parameters["AlarmRule"])) <= set(described)
            if name not in described:
                tags[name] = given
            described[name] = {**parameters, "AlarmArn": f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:{name}"}
        elif step["action"] == "delete_alarms":
            assert sum("AlarmRule" in described[name] for name in step["names"]) <= 1
            assert len(step["names"]) <= 100
            for name in step["names"]:
                del described[name]
                tags.pop(name, None)
            for entry in described.values():
                if "AlarmRule" in entry:
                    assert not alarm_rules.names(alarm_rules.parse(entry["AlarmRule"])) & set(step["names"])
        else:
            name = parameters["ResourceARN"].split(":alarm:")[1]
            for key in parameters.get("TagKeys", []):
                del tags[name][key]
            tags[name].update({entry["Key"]: entry["Value"] for entry in parameters.get("Tags", [])})
    return described, tags


# Rules of composite alarms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('ALARM("a") OR ALARM("b")', "ALARM(b) OR ALARM(a)"),
        ("ALARM(a) AND (ALARM(b) AND ALARM(c))", "(ALARM(c)) AND ALARM(a) AND ALARM(b)"),
        ("ALARM(a) OR ALARM(b) AND OK(c)", "(OK(c) AND ALARM(b)) OR ALARM(a) OR ALARM(a)"),
        ("ALARM(arn:aws:cloudwatch:eu-west-1:123456789012:alarm:a)", 'ALARM ( "a" )'),
        (r'NOT ALARM("a \"b\"")', r'(NOT (ALARM("a \"b\"")))'),
    ],
)
def test_rules_of_one_meaning_are_equal(one, other):
    assert alarm_rules.parse(one) == alarm_rules.parse(other)


def test_and_binds_more_than_or_and_not_most():
    assert alarm_rules.parse("ALARM(a) OR ALARM(b) AND OK(c)") != alarm_rules.parse("(ALARM(a) OR ALARM(b)) AND OK(c)")
    assert alarm_rules.parse("NOT ALARM(a) AND OK(b)") != alarm_rules.parse("NOT (ALARM(a) AND OK(b))")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ALARM(a", "closing parenthesis"),
        ("ALARM()", "names no alarm"),
        ("ALARM(a) ALARM(b)", "too much"),
        ("BROKEN(a)", "none of ALARM"),
        ("ALARM(a) AND", "ends where"),
        ('ALARM("a)', "cannot be read"),
        ("(" * 5000 + "TRUE", "deeply"),
    ],
)
def test_a_rule_that_is_not_valid_is_told(rule, words):
    with pytest.raises(alarm_rules.RuleError, match=words):
        alarm_rules.parse(rule)


def random_rule(rng, depth=3):
    """(text, function of the set of alarms that are in alarm)."""
    kind = rng.choice(["leaf", "leaf", "not", "and", "or"]) if depth else "leaf"
    if kind == "leaf":
        name = rng.choice("abc")
        return rng.choice([f"ALARM({name})", f'ALARM( "{name}" )']), lambda on: name in on
    if kind == "not":
        text, value = random_rule(rng, depth - 1)
        return f"NOT ({text})", lambda on: not value(on)
    parts = [random_rule(rng, depth - 1) for _ in range(rng.choice([2, 3]))]
    join = all if kind == "and" else any
    return f" {kind.upper()} ".join(f"({text})" for text, _ in parts), lambda on: join(value(on) for _, value in parts)


def value_of(tree, on):
    if isinstance(tree, bool):
        return tree
    if tree[0] == "NOT":
        return not value_of(tree[1], on)
    if tree[0] == "ALARM":
        return tree[1] in on
    return (all if tree[0] == "AND" else any)(value_of(operand, on) for operand in tree[1])


def test_the_canonical_tree_means_what_the_text_means():
    rng = random.Random(5)
    for _ in range(60):
        text, meant = random_rule(rng)
        tree = alarm_rules.parse(text)
        for size in range(4):
            for on in itertools.combinations("abc", size):
                assert value_of(tree, on) == meant(set(on)), text


# Canonical forms


def test_order_and_defaults_make_no_difference():
    one = alarm(dimensions={"VolumeId": "v", "InstanceId": "i"}, namespace="AWS/EBS", metric="VolumeStalledIOCheck")
    request = alarm_plan.request(*complete(one, alarm_actions=[SNS, RECOVER]))
    shown = copy.deepcopy(request)
    shown["Dimensions"].reverse()
    shown["AlarmActions"].reverse()
    for name in ("TreatMissingData", "AlarmDescription", "OKActions"):
        del shown[name]
    shown.update(Threshold=80, DatapointsToAlarm=3, EvaluateLowSampleCountPercentile="evaluate", StateValue="OK")
    assert alarm_plan.canonical(request) == alarm_plan.canonical(shown)


def test_metric_math_is_compared_by_meaning():
    queries = [
        {"id": "e", "expression": "( m1 + m2 ) / PERIOD(m1)", "label": ""},
        {
            "id": "m1",
            "namespace": "AWS/EBS",
            "metric": "VolumeReadOps",
            "dimensions": {"VolumeId": "v"},
            "return_data": False,
        },
        {
            "id": "m2",
            "namespace": "AWS/EBS",
            "metric": "VolumeWriteOps",
            "dimensions": {"VolumeId": "v"},
            "return_data": False,
        },
    ]
    single = dict.fromkeys(("namespace", "metric", "dimensions"))
    request = alarm_plan.request(*complete(alarm(metrics=queries, **single)))
    shown = copy.deepcopy(request)
    shown["Metrics"].reverse()
    shown["Metrics"][-1]["Expression"] = "(m1+m2)/PERIOD(m1)"
    del shown["Metrics"][-1]["ReturnData"]
    assert alarm_plan.canonical(request) == alarm_plan.canonical(shown)
    assert alarm_plan.canonical_expression("SELECT AVG(x)  FROM y") == "SELECT AVG(x)FROM y"
    assert alarm_plan.canonical_expression('SEARCH("a  b", "c")') == 'SEARCH("a  b","c")'


def test_percentiles_are_numbers():
    one, other = (alarm_plan.request(*complete(alarm(statistic=text))) for text in ("p99", "p99.00"))
    assert alarm_plan.canonical(one) == alarm_plan.canonical(other)


def random_alarms(rng):
    names = [f"trading-{letter}" for letter in "abcdef" if rng.random() < 0.7]
    result = []
    for index, name in enumerate(names):
        tags = {key: rng.choice("xy") for key in "kl" if rng.random() < 0.5}
        if index > 1 and rng.random() < 0.5:
            children = rng.sample(names[:index], 2)
            text = f" {rng.choice(['AND', 'OR'])} ".join(f"ALARM({child})" for child in children)
            result.append(composite(name, text, tags=tags))
        else:
            result.append(
                alarm(name, threshold=float(rng.randint(1, 3)), unit=rng.choice([None, "Percent"]), tags=tags)
            )
    return complete(*result)


def test_equal_means_no_write_and_an_applied_plan_gives_what_is_wanted():
    rng = random.Random(7)
    for _ in range(60):
        have, want = random_alarms(rng), random_alarms(rng)
        kinds = {entry["name"]: "rule" in entry for entry in have}
        want = [entry for entry in want if kinds.get(entry["name"], "rule" in entry) == ("rule" in entry)]
        present = {entry["name"] for entry in want}
        while any(_children(entry) - present for entry in want):
            want = [entry for entry in want if not _children(entry) - present]
            present = {entry["name"] for entry in want}
        assert alarm_plan.plan(have, *account(have)) == []
        after, tags = applied(alarm_plan.plan(want, *account(have)), *account(have))
        assert set(after) == present
        assert alarm_plan.plan(want, after, tags) == []


def _children(entry):
    return alarm_rules.names(alarm_rules.parse(entry["rule"])) if "rule" in entry else set()


def test_without_prune_nothing_is_removed_and_without_purge_no_tag():
    have = complete(alarm("trading-a", tags={"old": "1"}), alarm("trading-b"))
    described, tags = account(have)
    want = complete(alarm("trading-a"))
    assert alarm_plan.plan(want, described, tags, prune=False, purge_tags=False) == []
    assert [step["action"] for step in alarm_plan.plan(want, described, tags)] == ["untag_resource", "delete_alarms"]


# Refusals


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (alarm(metric="CpuUtilization"), "AWS/EC2 has no metric CpuUtilization; CPUUtilization is meant"),
        (alarm(dimensions={"Instance": "i"}), "not published with the dimensions Instance"),
        (alarm(namespace="AWS/Nothing"), "AWS/Nothing is not in the table"),
        (alarm("other"), "begin with the prefix trading-"),
        (alarm(period=90), "multiple of 60"),
        (alarm(period=300, evaluation_periods=300), "more than a day"),
        (alarm(period=3600, evaluation_periods=200), "more than seven days"),
        (alarm(datapoints=4), "datapoints 4"),
        (alarm(statistic="p999"), "'p999'"),
        (alarm(threshold=None), "either a threshold or a band"),
        (alarm(comparison="GreaterThanUpperThreshold"), "with its threshold or band it is"),
        (alarm(threshold=None, band=2.0), "with its threshold or band it is"),
        (alarm(alarm_actions=["oncall"]), "'oncall' in alarm_actions"),
        (alarm(alarm_actions=[SNS.replace(REGION, "us-east-1")]), "region eu-west-1"),
        (alarm(alarm_actions=[f"{SNS}{n}" for n in range(6)]), "6 alarm_actions; at most 5"),
        (alarm(dimensions={}, alarm_actions=[RECOVER]), "single dimension InstanceId"),
        (alarm(namespace=None, metric=None), "no namespace and no metric"),
        (alarm(description="x" * 1025), "1025 characters"),
        (composite("trading-x", "ALARM(trading-gone)"), "reads trading-gone"),
        (composite("trading-x", "ALARM(trading-x)"), "in a circle"),
        (composite("trading-x", "ALARM("), "rule that is not valid"),
        (composite("trading-x", "TRUE", threshold=1), "only a rule"),
        (composite("trading-x", "TRUE", alarm_actions=[RECOVER]), "must be an ARN of sns, ssm"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(entry, words):
    found = faults(entry)
    assert len(found) == 1, found
    assert words in found[0]
    assert found[0].endswith(".")


def test_metric_math_refusals():
    def math(*queries):
        single = dict.fromkeys(("namespace", "metric", "dimensions"))
        return " ".join(faults(alarm(metrics=list(queries), **single)))

    read = {"namespace": "AWS/EBS", "metric": "VolumeReadOps", "dimensions": {"VolumeId": "v"}}
    assert "exactly one" in math({"id": "a", **read}, {"id": "b", **read})
    assert "reads m9" in math({"id": "a", "expression": "m9 / PERIOD(a)"})
    assert "small letter" in math({"id": "A", **read})
    assert "either an expression" in math({"id": "a", "expression": "1", **read})
    assert "no metric VolumeReadOp " in math({"id": "a", **{**read, "metric": "VolumeReadOp"}})


def test_a_custom_metric_warns_unless_it_is_named():
    own = alarm(namespace="trading", metric="Heartbeat", dimensions={})
    assert faults(own) == []
    assert "custom metric" in alarm_plan.warnings(options(own))[0]
    assert alarm_plan.warnings(options(own, known_metrics={"trading": ["Heartbeat"]})) == []
    assert faults(alarm(namespace="AWS/New", metric="M"), known_metrics={"AWS/New": ["M"]}) == []


def test_a_short_prefix_owns_too_much():
    assert "3 characters" in faults(alarm(), prefix="t")[0]


def test_a_metric_alarm_does_not_become_a_composite_one():
    described, _tags = account(complete(alarm("trading-a")))
    wanted = {"trading-a": alarm_plan.request(*complete(composite("trading-a", "TRUE")))}
    assert "is a metric alarm in the account" in alarm_plan.kind_faults(wanted, described)[0]


def test_the_table_names_its_sources_and_no_metric_twice():
    assert len({entry["namespace"] for entry in metric_table.TABLE}) == len(metric_table.TABLE)
    for entry in metric_table.TABLE:
        assert len(entry["source"]) > 10
        assert len(entry["metrics"].split()) == len(set(entry["metrics"].split())), entry["namespace"]


# Anomaly detection and dashboards


def test_an_anomaly_alarm_watches_a_band_round_its_metric():
    wanted = alarm(threshold=None, band=2.5, comparison="GreaterThanUpperThreshold")
    assert faults(wanted) == []
    request = alarm_plan.request(*complete(wanted))
    assert request["ThresholdMetricId"] == "band"
    assert "Threshold" not in request
    assert [query.get("Expression") for query in request["Metrics"]] == [None, "ANOMALY_DETECTION_BAND(m1, 2.5)"]


def test_a_dashboard_shows_each_chosen_alarm_with_its_threshold():
    alarms = complete(alarm("trading-a-cpu"), alarm("trading-b-cpu"), composite("trading-all", "TRUE"))
    board = {
        "name": "trading-hosts",
        "alarms": ["*-cpu"],
        "widgets": [{"type": "text", "properties": {"markdown": "x"}}],
    }
    body = alarm_plan.dashboard_body(board, alarms, "trading-", REGION)
    assert [widget["type"] for widget in body["widgets"]] == ["metric", "metric", "text"]
    first = body["widgets"][0]["properties"]
    assert first["title"] == "a-cpu"
    assert first["metrics"][0][:4] == ["AWS/EC2", "CPUUtilization", "InstanceId", "i-1"]
    assert first["annotations"]["horizontal"][0]["value"] == 80.0
    assert alarm_plan.same_body(body, json.dumps(body))
    assert "has 0 widgets" in faults(*alarms, dashboards=[{"name": "trading-x", "alarms": [], "widgets": []}])[0]


def test_the_event_rule_is_compared_with_its_targets():
    rule = {"name": "trading-alarms", "states": ["OK", "ALARM"], "targets": [{"id": "a", "arn": "arn:q"}]}
    pattern = alarm_plan.event_pattern("trading-", rule["states"])
    have = {"EventPattern": json.dumps(pattern), "State": "ENABLED"}
    assert alarm_plan.rule_steps(rule, pattern, have, [{"Id": "a", "Arn": "arn:q"}]) == []
    steps = alarm_plan.rule_steps(rule, pattern, {}, [{"Id": "b", "Arn": "arn:q"}])
    assert [step["action"] for step in steps] == ["put_rule", "remove_targets", "put_targets"]
