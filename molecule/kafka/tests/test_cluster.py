"""The cluster as Kafka's own tools see it; asked at one host, since each of them costs seconds."""

import re

import pytest

testinfra_hosts = ["ansible://events-1"]
BASE, HOME, DOMAIN = "/etc/kafka", "/opt/kafka/current", "molecule.internal"
TRADING = "/run/kafka-test-trading.properties"
PROPERTIES = """\
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
ssl.truststore.type=PEM
ssl.truststore.location=/etc/kafka/tls/ca.crt
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
  username="{user}" password="{password}";
"""


@pytest.fixture
def as_broker(host):
    """Options of a client that is a super user."""
    path = "/run/kafka-test-broker.properties"
    with host.sudo():
        broker_password = host.file(f"{BASE}/secret.properties").content_string.strip().partition("=")[2]
        host.run("install -m 600 /dev/null %s", path)
        host.run("printf %%s %s > %s", PROPERTIES.format(user="broker", password=broker_password), path)
        yield path
        host.run("rm %s", path)


def tool(host, name, options, config):
    line = f"{HOME}/bin/{name}.sh --bootstrap-server events-1.{DOMAIN}:9092 --command-config {config} {options}"
    with host.sudo():
        return host.run(f"KAFKA_OPTS=-XX:TieredStopAtLevel=1 {line}")


def test_topics_are_as_described(host, as_broker):
    shown = tool(host, "kafka-topics", "--describe --topic orders", as_broker).stdout
    assert "PartitionCount: 3\tReplicationFactor: 3" in shown
    assert "min.insync.replicas=2" in shown
    assert "retention.ms=86400000" in shown
    assert all(sorted(found.split(",")) == ["1", "2", "3"] for found in re.findall(r"Isr: (\S+)", shown))


def test_rights_are_those_described_and_nothing_else(host, as_broker):
    shown = tool(host, "kafka-acls", "--list", as_broker).stdout
    assert len(re.findall(r"principal=User:trading,", shown)) == 4
    assert len(re.findall(r"principal=", shown)) == 5


def test_a_stranger_is_refused(host):
    with host.sudo():
        host.run("printf %%s %s > %s", PROPERTIES.format(user="trading", password="wrong"), TRADING)
        shown = tool(host, "kafka-topics", "--list", TRADING)
        host.run("rm %s", TRADING)
    assert "Authentication failed" in shown.stdout + shown.stderr
