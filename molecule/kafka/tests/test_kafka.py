"""A Kafka node as its clients and its operator see it."""

import json
import re

import pytest

BASE, HOME, DATA = "/etc/kafka", "/opt/kafka/current", "/var/lib/kafka"
NODES = ["events-1", "events-2", "events-3"]
DOMAIN = "molecule.internal"
TRADING = "/run/kafka-test-trading.properties"
PROPERTIES = """\
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
ssl.truststore.type=PEM
ssl.truststore.location=/etc/kafka/tls/ca.crt
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
  username="{user}" password="{password}";
"""


def first_only(host):
    """What asks the whole cluster by Java's tools is asked at one host: each costs seconds."""
    if host.check_output("hostname") != "events-1":
        pytest.skip("asked at events-1")


@pytest.fixture
def broker_password(host):
    with host.sudo():
        return host.file(f"{BASE}/secret.properties").content_string.strip().partition("=")[2]


@pytest.fixture
def as_broker(host, broker_password):
    """Options of a client that is a super user."""
    path = "/run/kafka-test-broker.properties"
    with host.sudo():
        host.run("install -m 600 /dev/null %s", path)
        host.run("printf %%s %s > %s", PROPERTIES.format(user="broker", password=broker_password), path)
        yield path
        host.run("rm %s", path)


def tool(host, name, options, config):
    with host.sudo():
        return host.run(
            f"{HOME}/bin/{name}.sh --bootstrap-server events-1.{DOMAIN}:9092 --command-config {config} {options}"
        )


def test_runs_and_starts_at_boot(host):
    assert host.service("kafka").is_running
    assert host.service("kafka").is_enabled


def test_only_these_ports_are_open(host):
    with host.sudo():
        shown = host.check_output("ss -Hltnp")
    assert {int(port) for port in re.findall(r":(\d+)\s+\S+\s+users:\(\(\"java", shown)} == {9091, 9092, 9093, 9404}


@pytest.mark.parametrize("port", [9091, 9092, 9093])
def test_every_port_is_tls_with_the_platforms_ca(host, port):
    name = f"{host.check_output('hostname')}.{DOMAIN}"
    with host.sudo():
        ca = f"-CAfile {BASE}/tls/ca.crt -verify_return_error -verify_hostname {name}"
        shown = host.run(f"openssl s_client -connect {name}:{port} {ca} -brief < /dev/null")
    # Without a certificate of one's own controllers end the handshake.
    assert ("Verification: OK" in shown.stderr) or (port == 9093 and "certificate required" in shown.stderr)


def test_controllers_take_certificates_of_nodes_only(host):
    name = f"{host.check_output('hostname')}.{DOMAIN}:9093"
    line = "openssl s_client -connect {name} -CAfile {base}/tls/ca.crt -quiet -ign_eof < /dev/null"
    with host.sudo():
        assert "certificate required" in host.run(line.format(name=name, base=BASE)).stderr


def test_volume_is_mounted_and_tied_to_this_member(host):
    assert host.mount_point(DATA).exists
    with host.sudo():
        identity = json.loads(host.file(f"{DATA}/identity.json").content_string)
        disk = host.file(f"{DATA}/data/meta.properties").content_string
    slot = host.check_output("hostname")
    assert (identity["member"], identity["domain"], identity["node_id"]) == (slot, DOMAIN, int(slot[-1]))
    assert "new" not in identity
    assert f"cluster.id={identity['cluster_id']}" in disk
    assert DATA in host.check_output("systemctl show kafka --property=RequiresMountsFor")


def test_no_password_is_on_a_command_line_in_the_journal_or_readable(host, broker_password):
    with host.sudo():
        assert broker_password not in host.check_output("ps -eo args")
        assert broker_password not in host.run("journalctl -b -u kafka").stdout
        assert host.run(f"grep -l {broker_password} {BASE}/server.properties").stdout == ""
        for name in ("server.properties", "secret.properties"):
            file = host.file(f"{BASE}/{name}")
            assert (file.user, file.group, file.mode) == ("root", "kafka", 0o640)
        assert host.run("ls /run/kafka-format-*").rc != 0


def test_rack_is_the_zone(host):
    with host.sudo():
        rack = re.search(r"^broker.rack=(.*)$", host.file(f"{BASE}/server.properties").content_string, re.MULTILINE)
    assert rack[1] == "eu-west-1" + "abc"[int(host.check_output("hostname")[-1]) - 1]


def test_topics_are_as_described(host, as_broker):
    first_only(host)
    shown = tool(host, "kafka-topics", "--describe --topic orders", as_broker).stdout
    assert "PartitionCount: 3\tReplicationFactor: 3" in shown
    assert "min.insync.replicas=2" in shown
    assert "retention.ms=86400000" in shown
    assert all(sorted(found.split(",")) == ["1", "2", "3"] for found in re.findall(r"Isr: (\S+)", shown))


def test_rights_are_those_described_and_nothing_else(host, as_broker):
    first_only(host)
    shown = tool(host, "kafka-acls", "--list", as_broker).stdout
    assert len(re.findall(r"principal=User:trading,", shown)) == 4
    assert len(re.findall(r"principal=", shown)) == 5


def test_a_stranger_is_refused(host):
    first_only(host)
    with host.sudo():
        host.run("printf %%s %s > %s", PROPERTIES.format(user="trading", password="wrong"), TRADING)
        shown = tool(host, "kafka-topics", "--list", TRADING)
        host.run("rm %s", TRADING)
    assert "Authentication failed" in shown.stdout + shown.stderr


def test_metrics(host):
    metrics = host.check_output("curl -s http://localhost:9404/metrics")
    for name in (
        "kafka_server_replicamanager_underminisrpartitioncount",
        "kafka_server_replicamanager_underreplicatedpartitions",
        "kafka_controller_kafkacontroller_activecontrollercount",
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "kafka_controller_kafkacontroller_fencedbrokercount",
        "kafka_log_logmanager_offlinelogdirectorycount",
        'kafka_network_requestmetrics_totaltimems_99thpercentile{request="Produce"',
    ):
        assert f"\n{name}" in metrics
