"""A Kafka node as its clients and its operator see it."""

import json
import re

import pytest

BASE, DATA = "/etc/kafka", "/var/lib/kafka"
DOMAIN = "molecule.internal"


@pytest.fixture
def broker_password(host):
    with host.sudo():
        return host.file(f"{BASE}/secret.properties").content_string.strip().partition("=")[2]


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
