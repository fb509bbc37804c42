"""An etcd member as its clients and its operator see it."""

import json

import pytest

TLS = "--cacert=/etc/etcd/tls/ca.crt --cert=/etc/etcd/tls/etcd.crt --key=/etc/etcd/tls/etcd.key"


@pytest.fixture
def settings(host):
    """Settings in the environment file, names to values."""
    lines = host.file("/etc/default/etcd").content_string.splitlines()
    return {line.split("=", 1)[0]: line.split("=", 1)[1].strip('"') for line in lines if line.startswith("ETCD_")}


def etcdctl(host, command, endpoint="https://127.0.0.1:2379", tls=TLS):
    """Result of one etcdctl command, as root."""
    with host.sudo():
        return host.run(f"etcdctl --command-timeout=5s --endpoints={endpoint} {tls} {command}")


def members(host):
    """Members as this one lists them."""
    answer = etcdctl(host, "member list -w json")
    assert answer.rc == 0, answer.stderr
    return json.loads(answer.stdout)["members"]


def test_runs_and_starts_at_boot(host):
    assert host.service("etcd").is_running
    assert host.service("etcd").is_enabled


def test_three_started_members_named_by_slot(host):
    found = members(host)
    assert sorted(member["name"] for member in found) == ["database-1", "database-2", "database-3"]
    assert all(member["clientURLs"] for member in found)
    assert all(url.startswith("https://") for member in found for url in member["peerURLs"] + member["clientURLs"])


def test_all_members_are_healthy_under_one_leader(host):
    answer = etcdctl(host, "endpoint status --cluster -w json")
    assert answer.rc == 0, answer.stderr
    leaders = {str(status["Status"]["leader"]) for status in json.loads(answer.stdout)}
    assert len(leaders) == 1
    assert leaders != {"0"}


def test_write_is_read_at_every_member(host, settings):
    name = settings["ETCD_NAME"]
    assert etcdctl(host, f"put /test/{name} written").rc == 0
    for member in members(host):
        answer = etcdctl(host, f"get --print-value-only /test/{name}", endpoint=member["clientURLs"][0])
        assert answer.stdout.strip() == "written"


def test_client_without_certificate_is_refused(host):
    answer = etcdctl(host, "get /", tls="--cacert=/etc/etcd/tls/ca.crt")
    assert answer.rc != 0
    assert host.run("curl -sk --max-time 5 https://127.0.0.1:2379/version").rc != 0


@pytest.mark.parametrize("port", [2379, 2380])
def test_plain_text_is_refused(host, port):
    code = (
        "import socket; s = socket.create_connection(('127.0.0.1', %d), 5);"
        "s.sendall(b'GET /version HTTP/1.0\\r\\n\\r\\n'); print(s.recv(200))"
    )
    answer = host.run("python3 -c %s", code % port)
    assert "200 OK" not in answer.stdout
    assert "etcdserver" not in answer.stdout


def test_wrong_ca_is_refused_by_the_client(host):
    answer = etcdctl(host, "get /", tls=TLS.replace("/etc/etcd/tls/ca.crt", "/etc/ssl/certs/ca-certificates.crt"))
    assert answer.rc != 0
    assert "certificate" in answer.stderr


def test_key_is_private_and_stays_with_etcd(host):
    with host.sudo():
        key = host.file("/etc/etcd/tls/etcd.key")
        assert (key.user, key.mode) == ("etcd", 0o600)
        assert host.file("/var/lib/etcd").mode == 0o700


def test_volume_is_mounted_and_tied_to_this_member(host, settings):
    assert host.mount_point("/var/lib/etcd").exists
    with host.sudo():
        identity = json.loads(host.file("/var/lib/etcd/identity.json").content_string)
    assert identity["member"] == settings["ETCD_NAME"]
    assert settings["ETCD_ADVERTISE_CLIENT_URLS"] == f"https://{identity['member']}.{identity['domain']}:2379"


def test_no_way_to_look_for_a_cluster_is_left(host, settings):
    assert not host.file("/run/etcd-bootstrap.env").exists
    assert not [name for name in settings if name.startswith("ETCD_INITIAL_CLUSTER")]


def test_no_cluster_of_one_was_made_by_the_package(host):
    with host.sudo():
        assert not host.file("/var/lib/etcd/default").exists


def test_unit_needs_the_mount(host):
    shown = host.check_output("systemctl show etcd --property=RequiresMountsFor,Requires,Asserts")
    assert "/var/lib/etcd" in shown
    assert "var-lib-etcd.mount" in shown


def test_no_restore_is_under_way(host):
    with host.sudo():
        left = [name for name in ("restore", "data/restored", "data.new") if host.file(f"/var/lib/etcd/{name}").exists]
        assert left == []
        assert json.loads(host.file("/etc/etcd/backup.json").content_string)["bucket"] == "molecule-backup"
