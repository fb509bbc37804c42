"""A new certificate authority under load: trusted first, then signing, then alone."""

from __future__ import annotations

from contextlib import ExitStack

import boto3
import kafka_faults
import pytest
import rabbitmq_faults
from ansible_collections.selfhosted.ec2.plugins.module_utils import secrets_plan
from results import record
from running import playbook_changes

from lab import endpoints

pytestmark = pytest.mark.long
SITE = ("site", "-e", "platform_cloud=false", "-e", "postgresql_restart_allowed=true")


def test_rotation_of_the_authority_by_overlap(platform, tmp_path):
    found = endpoints.inventory()
    old = {part: endpoints.secret(platform.name, f"ca/{part}").strip() for part in ("certificate", "key")}
    new = {"key": secrets_plan.new_key().strip()}
    new["certificate"] = secrets_plan.ca_certificate(new["key"], "The next CA").strip()
    # Clients trust both before the platform's first step.
    platform.authority.write_text(f"{old['certificate']}\n{new['certificate']}\n")
    outcomes = []
    with ExitStack() as stack:
        if "kafka" in found:
            events = kafka_faults.Events(platform, tmp_path)
            outcomes.append(
                (kafka_faults, stack.enter_context(kafka_faults.under_load(events, "rotation of the CA of Kafka")))
            )
        if "rabbitmq" in found:
            queues = rabbitmq_faults.Queues(platform)
            load = rabbitmq_faults.under_load(queues, "rotation of the CA of RabbitMQ")
            outcomes.append((rabbitmq_faults, stack.enter_context(load)[1]))
        step(platform, old["key"], old["certificate"], new["certificate"])
        step(platform, new["key"], new["certificate"], old["certificate"])
        step(platform, new["key"], new["certificate"])
        if "rabbitmq" in found:
            # Nobody restarted it: members find each other with what they have now.
            playbook_changes("rolling_restart_rabbitmq")
    for product, run in outcomes:
        record(product.RESULTS, run["outcome"])
        product.assert_nothing_lost(run["outcome"])
    platform.authority.write_text(new["certificate"] + "\n")
    assert playbook_changes(*SITE) == 0


def step(platform, key, *certificates):
    """Let the first certificate sign, all be trusted, and bring it to all hosts."""
    client = boto3.client("ssm")
    for part, text in (("certificate", "\n".join(certificates)), ("key", key)):
        name = f"/{platform.name}/ca/{part}"
        client.put_parameter(Name=name, Value=text + "\n", Type="SecureString", Overwrite=True)
    playbook_changes(*SITE)
