"""HAProxy as a client, an operator and a scraper see it; the second time after side_effect.yml, with other services."""

import csv
import json
import shlex

import pytest

CLIENT = """
import json, socket, ssl, sys, time, urllib.error, urllib.request
def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, ""]
    except OSError as error:
        return [0, str(error)]
"""


def client(host, code, *arguments):
    """Run Python on the host; it prints JSON."""
    result = host.run("python3 -c %s" + " %s" * len(arguments), CLIENT + code, *arguments)
    assert result.rc == 0, result.stderr
    return json.loads(result.stdout)


def runtime(host, command):
    """Answer of the runtime socket."""
    code = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect('/run/haproxy/admin.sock');"
        f"s.sendall({command + chr(10)!r}.encode()); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    )
    with host.sudo():
        return host.check_output(f"python3 -c {shlex.quote(code)}")


def get(host, url, **headers):
    """Status and text of a request made on the host."""
    return client(host, f"print(json.dumps(get({url!r}, **{headers!r})))")


def status(host):
    """Status by (service, server)."""
    rows = csv.DictReader(runtime(host, "show stat -1 4 -1").lstrip("# ").splitlines())
    return {(row["pxname"], row["svname"]): row["status"] for row in rows}


@pytest.fixture
def changed(host):
    """Whether side_effect.yml has run."""
    with host.sudo():
        return not host.file("/etc/haproxy/maps/by-host.map").exists


@pytest.fixture
def address(host):
    """The private address."""
    return host.check_output("hostname -I").split()[0]


@pytest.fixture
def port(changed):
    """Port of the service web."""
    return 8090 if changed else 8080


def test_runs_and_starts_at_boot(host):
    assert host.service("haproxy").is_running
    assert host.service("haproxy").is_enabled


def test_configuration_is_valid_and_private(host):
    with host.sudo():
        assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg").rc == 0
        assert host.file("/etc/haproxy/haproxy.cfg").mode == 0o640
        assert host.file("/run/haproxy/admin.sock").mode == 0o600
        assert host.file("/run/haproxy/admin.sock").user == "root"


def test_serves_through_to_a_server(host, address, port):
    code, text = get(host, f"http://{address}:{port}/metrics")
    assert code == 200
    assert "haproxy_server_status" in text


def test_server_that_does_not_answer_is_down(host):
    found = status(host)
    assert found["raw", "good"] == "UP"
    assert found["raw", "bad"].startswith("DOWN")


def test_metrics_and_statistics_on_the_private_address_only(host, address):
    assert get(host, "http://127.0.0.1:8405/metrics")[0] == 0
    assert get(host, f"http://{address}:8405/health")[0] == 200
    code, text = get(host, f"http://{address}:8405/stats")
    assert code == 200
    assert 'method="post"' not in text.lower(), "the statistics page offers administration"


def test_reload_keeps_master_and_open_connections(host, address):
    with host.sudo():
        before = host.check_output("systemctl show --value --property MainPID haproxy")
    answers = client(
        host,
        "import subprocess\n"
        f"link = socket.create_connection(('{address}', 9000), 5)\n"
        "banner = link.recv(100).decode()\n"
        "subprocess.run(['sudo', 'systemctl', 'reload', 'haproxy'], check=True)\n"
        "link.sendall(b'SSH-2.0-test\\r\\n'); print(json.dumps([banner[:7], len(link.recv(1000))]))",
    )
    assert answers[0] == "SSH-2.0"
    assert answers[1] > 100, "the server's key exchange did not come through the connection of before the reload"
    with host.sudo():
        assert host.check_output("systemctl show --value --property MainPID haproxy") == before


def test_bad_configuration_is_not_loaded(host, address, port):
    with host.sudo():
        host.check_output("cp -p /etc/haproxy/haproxy.cfg /etc/haproxy/haproxy.cfg.kept")
        host.check_output("sh -c 'echo nonsense >> /etc/haproxy/haproxy.cfg'")
        reload = host.run("systemctl reload haproxy")
        host.check_output("mv /etc/haproxy/haproxy.cfg.kept /etc/haproxy/haproxy.cfg")
    assert reload.rc != 0
    assert get(host, f"http://{address}:{port}/health")[0] == 200


SHAKE = """
def shake(name, **limits):
    context = ssl.create_default_context(cafile="/etc/haproxy/ca.crt")
    for key, value in limits.items():
        setattr(context, key, value)
    try:
        with context.wrap_socket(socket.create_connection((sys.argv[1], 8443), 5), server_hostname=name) as link:
            return link.version()
    except ssl.SSLError as error:
        return type(error).__name__
names = ["web-tls", "shop", "other"]
found = [shake(name + ".molecule.internal") for name in names]
print(json.dumps([*found, shake("web-tls.molecule.internal", maximum_version=ssl.TLSVersion.TLSv1_1)]))
"""


def test_tls_is_verified_by_the_service_name_and_not_old(host, address, changed):
    if changed:
        with host.sudo():
            assert not host.file("/etc/haproxy/crt-lists/web-tls.list").exists
        assert not host.socket("tcp://0.0.0.0:8443").is_listening
        return
    *found, old = client(host, SHAKE, address)
    assert found == ["TLSv1.3", "TLSv1.3", "SSLCertVerificationError"]
    assert old.startswith("SSL")


def test_sources_are_limited_and_hosts_mapped(host, address, changed):
    if changed:
        assert not host.socket("tcp://0.0.0.0:8081").is_listening
        return
    codes = client(host, f"print(json.dumps([get('http://{address}:8081/health')[0] for _ in range(8)]))")
    assert codes[0] == 200 or 429 in codes, "an earlier verification may have used the limit up"
    assert codes[-1] == 429
    assert get(host, f"http://{address}:8080/health", Host="limited.molecule.internal")[0] == 200
    rows = csv.DictReader(runtime(host, "show stat -1 2 -1").lstrip("# ").splitlines())
    assert {row["pxname"]: int(row["stot"]) for row in rows}["limited"] >= 1


def test_drained_server_stays_drained_over_reloads(host, changed):
    if changed:
        assert status(host)["web", "edge-2"].startswith("DRAIN")
        assert status(host)["web", "edge-1"] == "UP"
    else:
        assert status(host)["web", "edge-2"] == "UP"
