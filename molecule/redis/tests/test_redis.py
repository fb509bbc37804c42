"""A Redis member as its clients and its operator see it."""

import json
import os
import re
import time

import pytest

FLAVOR = os.environ.get("REDIS_FLAVOR", "redis")
SERVER, SENTINEL = f"{FLAVOR}-server", f"{FLAVOR}-sentinel"
BASE = f"/etc/{FLAVOR}-platform"
DATA = f"/var/lib/{FLAVOR}"
TLS = f"--tls --cacert {BASE}/tls/ca.crt"


@pytest.fixture
def secrets(host):
    """What the start guard knows: host names and the administrator's password."""
    with host.sudo():
        return json.loads(host.file(f"{BASE}/guard.json").content_string)


def cli(host, secrets, command, port=6379, name=None, tls=TLS):
    """Answer to one command as the administrator; the password goes by the environment."""
    with host.sudo():
        line = f"REDISCLI_AUTH={secrets['password']} {FLAVOR}-cli {tls} --user admin --no-auth-warning -p {port}"
        return host.run(f"{line} -h {name or secrets['host']} {command}").stdout.strip()


def replication(host, secrets, name=None):
    return dict(line.split(":", 1) for line in cli(host, secrets, "info replication", name=name).split() if ":" in line)


def primary(host, secrets):
    answer = cli(host, secrets, "sentinel get-master-addr-by-name main", port=26379)
    return answer.split("\n")[0]


@pytest.mark.parametrize("unit", [SERVER, SENTINEL, "prometheus-redis-exporter"])
def test_runs_and_starts_at_boot(host, unit):
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_one_primary_that_all_sentinels_name(host, secrets):
    named = {cli(host, secrets, "sentinel get-master-addr-by-name main", 26379, name) for name in secrets["hosts"]}
    assert len(named) == 1
    roles = {name: replication(host, secrets, name)["role"] for name in secrets["hosts"]}
    assert [name for name, role in roles.items() if role == "master"] == [primary(host, secrets)]


def test_write_is_read_at_every_member(host, secrets):
    cli(host, secrets, f"set test:{secrets['name']} written", name=primary(host, secrets))
    assert cli(host, secrets, "wait 2 5000", name=primary(host, secrets)).isdigit()
    for name in secrets["hosts"]:
        for _attempt in range(20):
            answer = cli(host, secrets, f"get test:{secrets['name']}", name=name)
            if answer == "written":
                break
            time.sleep(0.1)
        assert answer == "written"


def test_role_is_in_no_file_that_outlives_the_boot(host):
    with host.sudo():
        found = host.run(f"grep -rliE '^(replicaof|slaveof) ' {BASE} {DATA} /etc/{FLAVOR}/{FLAVOR}.conf")
    assert found.stdout.strip() == ""


def test_durability_is_as_described(host, secrets):
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": "3",
        "maxmemory-policy": "volatile-lru",
        "maxmemory": str(460 * 1024**2),
    }
    answer = cli(host, secrets, "config get " + " ".join(wanted)).split("\n")
    assert dict(zip(answer[::2], answer[1::2], strict=True)) == wanted


@pytest.mark.parametrize("port", [6379, 26379])
def test_plain_text_and_strangers_are_refused(host, secrets, port):
    assert "PONG" not in host.run(f"{FLAVOR}-cli -p {port} -h 127.0.0.1 -t 3 ping").stdout
    with host.sudo():
        assert "NOAUTH" in host.run(f"{FLAVOR}-cli {TLS} -p {port} -h {secrets['host']} ping").stdout


def test_only_tls_ports_are_open(host):
    with host.sudo():
        shown = host.check_output("ss -Hltnp")
    ports = {int(port) for port in re.findall(rf":(\d+)\s+\S+\s+users:\(\(\"{FLAVOR}", shown)}
    assert ports == {6379, 26379}


def test_default_user_is_off_and_passwords_are_hashed(host, secrets):
    with host.sudo():
        for name in ("users.acl", "sentinel.acl"):
            file = host.file(f"{BASE}/{name}")
            assert (file.user, file.group, file.mode) == ("root", FLAVOR, 0o640)
            assert file.content_string.startswith("user default off ")
            assert secrets["password"] not in file.content_string
    assert "trading" in cli(host, secrets, "acl users")


def test_user_of_clients_may_not_administer(host, secrets):
    for command in ("config get dir", "flushall", "replicaof no one"):
        assert "no permissions" in cli(host, secrets, f"acl dryrun trading {command}")
    assert cli(host, secrets, "acl dryrun trading set a b") == "OK"


def test_no_password_is_on_a_command_line_or_in_the_journal(host, secrets):
    with host.sudo():
        assert secrets["password"] not in host.check_output("ps -eo args | grep -v REDISCLI_AUTH")
        assert secrets["password"] not in host.run(f"journalctl -b -u {SERVER} -u {SENTINEL}").stdout


def test_volume_is_mounted_and_tied_to_this_member(host, secrets):
    assert host.mount_point(DATA).exists
    with host.sudo():
        identity = json.loads(host.file(f"{DATA}/identity.json").content_string)
        assert host.file(f"{DATA}/data/appendonlydir").is_directory
    assert identity == {"member": secrets["name"], "domain": secrets["domain"]}
    assert not host.file(f"/run/{FLAVOR}-bootstrap").exists
    for unit in (SERVER, SENTINEL):
        assert DATA in host.check_output(f"systemctl show {unit} --property=RequiresMountsFor")


def test_metrics(host, secrets):
    metrics = host.check_output("curl -s http://localhost:9121/metrics")
    assert "\nredis_up 1\n" in metrics
    assert "redis_connected_slaves" in metrics
