"""How the module rabbitmq_objects gives quorum queues their replicas."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq
from ansible_collections.selfhosted.ec2.plugins.modules import rabbitmq_objects

QUEUE = {"name": "orders", "vhost": "trading"}


class Client:
    """Refuses some requests before it grants one."""

    def __init__(self, *refusals):
        self.refusals, self.granted = list(refusals), []

    def call(self, method, *path, body):
        if self.refusals:
            raise rabbitmq.Refused(*self.refusals.pop(0))
        self.granted.append((method, path, body))


@pytest.fixture(autouse=True)
def no_time(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(rabbitmq_objects.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(rabbitmq_objects.time, "monotonic", lambda: next(clock))


def test_a_replica_waits_until_the_change_before_is_agreed_on():
    client = Client(*[("queue-1 answered with 503: cluster_change_not_permitted", 503)] * 3)
    rabbitmq_objects.add_replica(client, QUEUE, "rabbit@queue-5")
    path = ("queues", "quorum", "trading", "orders", "replicas", "add")
    assert client.granted == [("POST", path, {"node": "rabbit@queue-5"})]


@pytest.mark.parametrize("count, reason", [(1, "node_not_running"), (100, "cluster_change_not_permitted")])
def test_other_reasons_and_long_ones_are_told(count, reason):
    client = Client(*[(f"queue-1 answered with 503: {reason}", 503)] * count)
    with pytest.raises(rabbitmq.Refused, match=reason):
        rabbitmq_objects.add_replica(client, QUEUE, "rabbit@queue-5")
