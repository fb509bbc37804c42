"""A RabbitMQ member as its clients and its operator see it."""

import base64
import json
import re
import shlex

import pytest

DIRECTORY = "/var/lib/rabbitmq"
CA = "/etc/rabbitmq/tls/ca.crt"


@pytest.fixture
def settings(host):
    """What the backup knows: host names, and the administrator's password."""
    with host.sudo():
        return json.loads(host.file("/etc/rabbitmq/backup.json").content_string)


def api(host, settings, path, user="admin", password=None, method="GET", body=None):
    """Answer and status of a request to this member's management API; the login goes by standard input."""
    url = f"https://{settings['hosts'][settings['name']]}:15671/api/{path}"
    login = base64.b64encode(f"{user}:{password or settings['password']}".encode()).decode()
    config = f'header = "Authorization: Basic {login}"'
    line = f"curl -s --cacert {CA} -K - -X {method} -w '\\n%{{http_code}}' {shlex.quote(url)}"
    if body is not None:
        line += f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    with host.sudo():
        text, _newline, status = host.check_output(f"printf %s {shlex.quote(config)} | {line}").rpartition("\n")
    return (json.loads(text) if text.startswith(("{", "[")) else text), int(status)


def listening(host, command):
    with host.sudo():
        shown = host.check_output("ss -Hltnp")
    return {int(port) for port in re.findall(rf':(\d+)\s+\S+\s+users:\(\("{command}', shown)}


def test_runs_and_starts_at_boot(host):
    for unit in ("rabbitmq-server", "rabbitmq-backup.timer"):
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled


def test_all_members_run_together_without_alarm_or_partition(host, settings):
    nodes, _status = api(host, settings, "nodes")
    assert sorted(node["name"] for node in nodes) == sorted(f"rabbit@{name}" for name in settings["hosts"].values())
    for node in nodes:
        assert (node["running"], node["partitions"], node["being_drained"]) == (True, [], False)
        assert (node["mem_alarm"], node["disk_free_alarm"]) == (False, False)


def test_only_ports_with_tls_are_open(host):
    assert listening(host, "beam.smp") == {5671, 15671, 15691, 25672}


@pytest.mark.parametrize("port", [5671, 15671, 15691, 25672])
def test_every_port_speaks_tls_with_the_platforms_certificate(host, settings, port):
    name = settings["hosts"][settings["name"]]
    with host.sudo():
        # Members want a certificate of the other side as well; what the server shows comes before.
        line = f"openssl s_client -connect {name}:{port} -servername {name} -verify_hostname {name} -CAfile {CA}"
        shown = host.run(f"{line} </dev/null 2>&1").stdout
    assert "Verification: OK" in shown


def test_a_stranger_is_no_member(host, settings):
    name = settings["hosts"][settings["name"]]
    with host.sudo():
        shown = host.run(f"openssl s_client -connect {name}:25672 -CAfile {CA} -tls1_2 </dev/null 2>&1")
    assert "alert handshake failure" in shown.stdout or "alert certificate required" in shown.stdout


def test_certificate_has_the_name_of_the_service(host):
    with host.sudo():
        shown = host.check_output("openssl x509 -in /etc/rabbitmq/tls/rabbitmq.crt -noout -ext subjectAltName")
    assert "DNS:rabbitmq." in shown


def test_guest_is_gone_and_others_are_as_described(host, settings):
    users, _status = api(host, settings, "users")
    assert {user["name"]: user["tags"] for user in users} == {"admin": ["administrator"], "trading": []}
    assert {user["hashing_algorithm"] for user in users} == {"rabbit_password_hashing_sha256"}
    assert api(host, settings, "whoami", "guest", "guest")[1] == 401


def test_queues_are_quorum_queues_on_all_members(host, settings):
    queues, _status = api(host, settings, "queues/trading?disable_stats=true&enable_queue_totals=true")
    assert {queue["name"] for queue in queues} == {"trade-notices", "failed-orders", "dead-letters"}
    for queue in queues:
        assert queue["type"] == "quorum"
        assert len(queue["members"]) == len(queue["online"]) == 3
        assert queue["leader"] in queue["online"]
    vhost, _status = api(host, settings, "vhosts/trading")
    assert vhost["default_queue_type"] == "quorum"


def test_a_message_reaches_its_queue_and_one_nobody_handles_the_dead_letters(host, settings):
    queue = f"test-{settings['name']}"
    assert api(host, settings, f"queues/trading/{queue}", method="PUT", body={"durable": True})[1] == 201
    found, _status = api(host, settings, f"queues/trading/{queue}")
    assert found["type"] == "quorum", "a queue of a client that names no type"
    body = {"properties": {}, "routing_key": queue, "payload": queue, "payload_encoding": "string"}
    assert api(host, settings, "exchanges/trading/amq.default/publish", method="POST", body=body)[0] == {"routed": True}
    back = {"count": 1, "ackmode": "reject_requeue_false", "encoding": "auto"}
    (message,), _status = api(host, settings, f"queues/trading/{queue}/get", method="POST", body=back)
    assert message["payload"] == queue
    take = {"count": 100, "ackmode": "ack_requeue_true", "encoding": "auto"}
    for _attempt in range(30):
        letters, _status = api(host, settings, "queues/trading/dead-letters/get", method="POST", body=take)
        if queue in [letter["payload"] for letter in letters]:
            break
    assert queue in [letter["payload"] for letter in letters]
    assert api(host, settings, f"queues/trading/{queue}", method="DELETE")[1] == 204


def test_limits_of_memory_and_disk(host, settings):
    nodes, _status = api(host, settings, "nodes")
    assert {(node["mem_limit"], node["disk_free_limit"]) for node in nodes} == {(614 * 1024**2, 614 * 1024**2)}


def test_no_secret_is_readable_for_all_on_a_command_line_or_in_the_journal(host, settings):
    with host.sudo():
        cookie = host.file(f"{DIRECTORY}/.erlang.cookie")
        assert (cookie.user, cookie.mode) == ("rabbitmq", 0o400)
        assert host.file("/etc/rabbitmq/conf.d/secret.conf").mode == 0o640
        assert host.file("/etc/rabbitmq/backup.json").mode == 0o600
        shown = host.check_output("ps -eo args") + host.run("journalctl -b -u rabbitmq-server").stdout
        for secret in (cookie.content_string, settings["password"]):
            assert secret not in shown
            assert secret not in host.file("/etc/rabbitmq/rabbitmq.conf").content_string


def test_volume_is_mounted_and_tied_to_this_member(host, settings):
    assert host.mount_point(DIRECTORY).exists
    with host.sudo():
        identity = json.loads(host.file(f"{DIRECTORY}/identity.json").content_string)
    assert identity["member"] == settings["name"]
    assert identity["version"].startswith("4.0.5")
    assert not host.file("/run/rabbitmq-bootstrap").exists
    assert DIRECTORY in host.check_output("systemctl show rabbitmq-server --property=RequiresMountsFor")


def test_an_empty_volume_does_not_start(host, settings):
    """The guard, asked with an identity file that is away."""
    with host.sudo():
        script = host.file("/usr/local/sbin/rabbitmq-start-guard").content_string
        assert host.run("/usr/local/sbin/rabbitmq-start-guard").rc == 0
        moved = shlex.quote(script.replace(f"{DIRECTORY}/identity.json", f"{DIRECTORY}/identity.away"))
        refused = host.run(f"printf %s {moved} | python3 -")
    assert refused.rc == 1
    assert "its volume has no identity" in refused.stderr


def test_metrics(host, settings):
    name = settings["hosts"][settings["name"]]
    with host.sudo():
        metrics = host.check_output(f"curl -s --cacert {CA} https://{name}:15691/metrics")
        detailed = host.check_output(
            f"curl -s --cacert {CA} 'https://{name}:15691/metrics/detailed?family=queue_coarse_metrics&vhost=trading'"
        )
    for series in (
        "erlang_vm_dist_node_state",
        "rabbitmq_alarms_memory_used_watermark",
        "rabbitmq_alarms_free_disk_space_watermark",
        "rabbitmq_disk_space_available_bytes",
        "rabbitmq_disk_space_available_limit_bytes",
        "rabbitmq_process_resident_memory_bytes",
        "rabbitmq_resident_memory_limit_bytes",
        "rabbitmq_global_messages_unroutable_dropped_total",
        "rabbitmq_raft_log_last_written_index",
        "rabbitmq_raft_log_commit_index",
    ):
        assert re.search(rf"^{series}\b", metrics, re.MULTILINE), series
    # Each member has the numbers of the queues that it leads.
    queues, _status = api(host, settings, "queues/trading?disable_stats=true&enable_queue_totals=true")
    led = {queue["name"] for queue in queues if queue["leader"] == f"rabbit@{name}"}
    for series in ("rabbitmq_detailed_queue_messages", "rabbitmq_detailed_queue_messages_ready"):
        assert set(re.findall(rf'^{series}\{{.*queue="([a-z-]+)"', detailed, re.MULTILINE)) == led
