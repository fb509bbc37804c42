"""What is said of targets that do not become as they shall; all else runs against the front of tests/integration."""

from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, entrance_plan
from ansible_collections.selfhosted.ec2.plugins.modules import edge_entrance


class Connection:
    """An account whose targets stay as they are, and time that passes by itself."""

    def __init__(self, answer):
        self.answer, self.clock, self.time = answer, self, 0

    def client(self, *_names):
        return self

    def call(self, _operation, **_arguments):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"TargetHealthDescriptions": self.answer}

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


def target(identity, text):
    return {"Target": {"Id": identity}, "TargetHealth": {"State": "unhealthy", "Description": text}}


def settle(answer):
    want = {"state": "registered", "instances": ["i-1"], "target": {"drain_seconds": 30}}
    account = edge_entrance.Account(Connection(answer), want)
    account.ids[entrance_plan.TARGETS] = "arn"
    with pytest.raises(aws.AwsError) as caught:
        account.settle()
    return str(caught.value)


def test_why_an_instance_is_not_healthy_is_said_of_that_one():
    said = settle([target("i-1", "Health checks failed"), target("i-2", "Target is stopped")])
    assert "until i-1 is healthy behind the load balancer" in said and said.endswith("(Health checks failed)")


def test_a_refusal_of_aws_at_the_first_look_is_said():
    assert settle(aws.AwsError("DescribeTargetHealth is not allowed.", "AccessDenied")) == (
        "DescribeTargetHealth is not allowed."
    )
