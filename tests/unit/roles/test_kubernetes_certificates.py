"""The program that renews kubeadm's certificates on a control plane, with a kubeadm and parts of its own."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import signal
import socket
import ssl
import threading

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, kubernetes_authorities, secrets_plan

from tests.unit.roles import playing, program

TEMPLATE = playing.ROOT / "roles/kubernetes/templates/certificates.py.j2"
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()
DAY = 86400
YEAR = 365 * DAY
AUTHORITY = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
NAMES = ["admin.conf", "apiserver", "controller-manager.conf", "etcd-server", "scheduler.conf"]


class Host:
    """A control plane: its files, what kubeadm says of them, and its two parts, by process."""

    def __init__(self, place, script):
        self.place, self.script = place, script
        self.ends = dict.fromkeys(NAMES, NOW + 300 * DAY)
        self.parts = {11: "kube-controller-manager", 12: "kube-scheduler"}
        self.said = []
        self.copies = place / "platform/renewal"
        #: What the parts' health depends on: the content of each of the files.
        self.good = {"former", "new"}
        self.read = {}
        self.kubelet = True

    def kubeadm(self, *words):
        self.said.append(words)
        if words == ("renew", "all"):
            self.write("new")
            self.ends = dict.fromkeys(self.ends, NOW + YEAR)
            return ""
        assert words == ("check-expiration", "--output", "json")
        form = "%Y-%m-%dT%H:%M:%SZ"
        found = [
            {"name": name, "expirationDate": datetime.datetime.fromtimestamp(end, datetime.UTC).strftime(form)}
            for name, end in self.ends.items()
        ]
        elsewhere = {"name": "etcd-peer", "expirationDate": "2026-06-02T00:00:00Z", "externallyManaged": True}
        nowhere = {"name": "super-admin.conf", "expirationDate": "0001-01-01T00:00:00Z", "missing": True}
        return "[check-expiration] Reading\n" + json.dumps({"certificates": [*found, elsewhere, nowhere]})

    def write(self, content):
        for name in NAMES:
            for path in self.script.files(name):
                file = self.place / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)

    def content(self):
        return {(self.place / path).read_text() for name in NAMES for path in self.script.files(name)}

    def modes(self):
        return {path: path.stat().st_mode for path in self.place.rglob("*") if path.is_file()}

    def kill(self, process, number):
        assert number == signal.SIGTERM
        name = self.parts.pop(process)
        self.parts[process + 100] = name

    def healthy(self, part):
        if not self.content() <= self.good:
            raise self.script.Failure(f"{part} is not well (refused)")

    def kubectl(self, login, *words):
        if words == ("get", "--raw", "/readyz"):
            self.said.append(words)
        elif not self.content() <= self.good:
            raise self.script.Failure(f"{login} is not known")


@pytest.fixture
def script(tmp_path):
    found = program.load(
        TEMPLATE,
        ec2_private_ip="10.20.0.1",
        __kubernetes_etcd_external=False,
        __kubernetes_backup={"metrics_directory": str(tmp_path / "metrics")},
        __kubernetes_renewal_lock=str(tmp_path / "lock"),
    )
    (tmp_path / "metrics").mkdir()
    return found


def host_says(made, argv):
    assert argv == ["systemctl", "is-active", "kubelet"]
    if not made.kubelet:
        raise made.script.Failure("systemctl is-active kubelet ended with 3: ")


@pytest.fixture
def host(script, tmp_path, monkeypatch):
    place = tmp_path / "kubernetes"
    (place / "platform").mkdir(parents=True)
    (place / "platform/applied").write_text("hash\n")
    script.DIRECTORY, script.APPLIED = str(place), str(place / "platform/applied")
    script.COPIES = str(place / "platform/renewal")
    script.PATIENCE = 0
    made = Host(place, script)
    made.write("former")
    for path in script.AUTHORITIES:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(AUTHORITY)
    script.run = lambda argv: host_says(made, argv)
    script.kubeadm, script.kubectl, script.healthy = made.kubeadm, made.kubectl, made.healthy
    script.running = lambda _parts: dict(made.parts)
    script.served = lambda *words: made.read.setdefault(words[2], made.content())
    monkeypatch.setattr(os, "kill", made.kill)
    return made


def metrics(tmp_path):
    lines = (tmp_path / "metrics/kubernetes_certificates.prom").read_text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_nothing_is_renewed_before_its_time_and_the_ends_are_told(script, host, tmp_path):
    assert script.renew(60, now=lambda: NOW) == []
    assert ("renew", "all") not in host.said
    assert sorted(host.parts) == [11, 12]
    name = f'platform_certificate_not_after_seconds{{name="etcd-server",path="{host.place}/pki/etcd/server.crt"}}'
    assert metrics(tmp_path)[name] == str(int(NOW + 300 * DAY))
    assert metrics(tmp_path)["kubernetes_certificates_checked_timestamp_seconds"] == str(int(NOW))
    # Also of one that kubeadm does not renew; of one that is not there nothing.
    assert [name for name in metrics(tmp_path) if "etcd-peer" in name or "super-admin" in name] == [
        f'platform_certificate_not_after_seconds{{name="etcd-peer",path="{host.place}/pki/etcd/peer.crt"}}'
    ]
    assert not host.copies.exists()


def test_all_are_renewed_when_one_ends_soon_and_the_two_parts_start_anew(script, host, tmp_path):
    host.ends["scheduler.conf"] = NOW + 60 * DAY - 1
    assert script.renew(60, now=lambda: NOW) == ["scheduler.conf"]
    assert host.content() == {"new"}
    assert sorted(host.parts) == [111, 112]
    assert sorted(host.read) == ["pki/apiserver", "pki/etcd/peer", "pki/etcd/server"]
    assert all(content == {"new"} for content in host.read.values())
    assert not host.copies.exists()
    assert [int(end) for end in metrics(tmp_path).values()].count(int(NOW + YEAR)) == len(NAMES)
    assert script.renew(60, now=lambda: NOW) == []


def test_what_the_parts_do_not_take_is_put_back_and_they_start_with_it(script, host, tmp_path):
    host.ends["apiserver"] = NOW
    host.good = {"former"}
    modes = host.modes()
    with pytest.raises(script.Failure, match=r"have their former certificates again, .*kube-controller-manager is not"):
        script.renew(60, now=lambda: NOW)
    assert host.content() == {"former"}
    assert sorted(host.parts) == [211, 212]
    assert host.modes() == modes
    assert not host.copies.exists()
    # Looked at, but one is left that ends soon.
    assert not (tmp_path / "metrics/kubernetes_certificates.prom").exists()


def test_the_copies_stay_when_the_parts_are_not_well_with_the_former_ones_either(script, host):
    host.ends["apiserver"] = NOW
    host.good = set()
    with pytest.raises(script.Failure, match="is not well"):
        script.renew(60, now=lambda: NOW)
    assert host.content() == {"former"}
    host.good = {"former", "new"}
    host.ends["apiserver"] = NOW
    assert script.renew(60, now=lambda: NOW) == ["apiserver"]
    assert host.content() == {"new"}
    assert not host.copies.exists()


@pytest.mark.parametrize("left", [10, 300])
def test_one_that_was_cut_off_is_taken_back_first(script, host, left):
    """Also where nothing ends soon by the number of days of this run: the parts may have read what is taken back."""
    script.keep(host.ends)
    host.write("half")
    host.ends["apiserver"] = NOW + left * DAY
    assert script.renew(60, now=lambda: NOW) == (["apiserver"] if left < 60 else [])
    assert host.content() == ({"new"} if left < 60 else {"former"})
    assert sorted(host.parts) == [111, 112]
    assert not host.copies.exists()


def test_copies_that_are_not_whole_are_none(script, host):
    host.ends["apiserver"] = NOW
    copies = host.place / "platform/renewal.new"
    copies.mkdir()
    (copies / "admin.conf").write_text("half")
    script.renew(60, now=lambda: NOW)
    assert host.content() == {"new"}
    assert not copies.exists()


def test_nothing_is_touched_while_something_else_changes_the_host(script, host):
    host.ends["apiserver"] = NOW
    (host.place / "platform/applied").write_text("hash upgrade\n")
    with pytest.raises(script.Failure, match=re.escape("A change of this host has begun (upgrade)")):
        script.renew(60, now=lambda: NOW)
    (host.place / "platform/applied").write_text("hash\n")
    for path in script.AUTHORITIES:
        (host.place / path).write_text(AUTHORITY * 2)
        with pytest.raises(script.Failure, match=re.escape(f"being rotated ({path} holds more than one)")):
            script.renew(60, now=lambda: NOW)
        (host.place / path).write_text(AUTHORITY)

    host.kubelet = False
    with pytest.raises(script.Failure, match="systemctl is-active kubelet ended with 3"):
        script.renew(60, now=lambda: NOW)
    host.kubelet = True

    def not_ready(_login, *_words):
        raise script.Failure("kubectl ended with 1: [-]etcd failed")

    script.kubectl = not_ready
    with pytest.raises(script.Failure, match="etcd failed"):
        script.renew(60, now=lambda: NOW)
    assert host.content() == {"former"}
    assert sorted(host.parts) == [11, 12]
    assert host.said == []


def test_a_host_that_is_no_control_plane_yet_is_left_alone(script, host, capsys):
    (host.place / "platform/applied").unlink()
    script.main(["renew", "60"])
    assert capsys.readouterr().out == "This host is no control plane yet.\n"
    assert host.said == []


def test_a_check_tells_and_touches_nothing(script, host, tmp_path, capsys):
    host.ends["apiserver"] = 0
    script.main(["renew", "60", "--check"])
    assert json.loads(capsys.readouterr().out) == {"renewed": ["apiserver"]}
    assert host.content() == {"former"}
    assert not (tmp_path / "lock").exists()


def test_one_waits_for_another_one(script, host, tmp_path, capsys):
    """Also those who change the host: they take the lock when their mark is written."""
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=script.main, args=(["renew", "0"],))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert host.said == []
        (host.place / "platform/applied").write_text("hash restart\n")
        fcntl.flock(held, fcntl.LOCK_UN)
        script.sys = type("System", (), {"exit": staticmethod(print)})
        waiting.join(10)
    assert "A change of this host has begun (restart)" in capsys.readouterr().out


def test_a_failure_is_one_sentence(script, host):
    def broken(*_words):
        raise script.Failure("kubeadm certs ended with 1: no.")

    script.kubeadm = broken
    with pytest.raises(SystemExit, match=r"^kubeadm certs ended with 1: no\.$"):
        script.main(["renew", "60"])


def test_what_a_part_does_not_do_yet_is_waited_for(script, host, monkeypatch):
    script.PATIENCE = 30
    host.ends["apiserver"] = NOW
    tries = iter(range(10))

    def served(*words):
        if next(tries) < 3:
            raise script.Failure("serves another certificate")

    script.served = served
    slept = []
    monkeypatch.setattr(script.time, "sleep", slept.append)
    script.renew(60, now=lambda: NOW)
    assert slept == [1, 1, 1]


def test_every_certificate_of_kubeadm_has_its_files(script):
    """As kubeadm signs them; the kubelet's is its own."""
    signed = {path for paths in kubernetes_authorities.SIGNED.values() for path in paths}
    signed.discard(kubernetes_authorities.KUBELET)
    known = {f"/etc/kubernetes/{script.files(name)[-1]}" for name in script.PAIRS}
    assert known == {path for path in signed if path.endswith(".crt")}
    assert set(kubernetes_authorities.SIGNED) == {f"/etc/kubernetes/{path}" for path in script.AUTHORITIES}


@contextlib.contextmanager
def listening(certificate, key):
    """A server on loopback that ends each connection when it has greeted; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(10)

    def answer():
        with contextlib.suppress(OSError), server.accept()[0] as plain:
            context.wrap_socket(plain, server_side=True).close()

    serving = threading.Thread(target=answer)
    serving.start()
    yield server.getsockname()[1]
    serving.join()
    server.close()


def test_what_a_port_serves_is_compared_with_the_file(script, tmp_path):
    script.DIRECTORY = str(tmp_path)
    key = secrets_plan.new_key()
    pem = secrets_plan.ca_certificate(key, "cluster")
    (tmp_path / "ca.crt").write_text(pem)
    wanted = {"name": "apiserver", "common_name": "apiserver", "usages": ["server", "client"]}
    for name in ("apiserver", "former"):
        own = certificates.new_key()
        request = certificates.make_request(own, "apiserver")
        (tmp_path / f"{name}.crt").write_text(certificates.Authority(pem, key).sign(request, wanted, 30))
        (tmp_path / f"{name}.key").write_bytes(certificates.key_pem(own))

    def ask(port):
        script.served("127.0.0.1", port, "apiserver", "ca.crt", "apiserver")

    with listening(tmp_path / "apiserver.crt", tmp_path / "apiserver.key") as port:
        ask(port)
    with pytest.raises(script.Failure, match=f"Port {port} of 127.0.0.1 does not serve apiserver.crt .*refused"):
        ask(port)
    with (
        listening(tmp_path / "former.crt", tmp_path / "former.key") as port,
        pytest.raises(script.Failure, match=f"Port {port} of 127.0.0.1 serves another certificate than apiserver.crt"),
    ):
        ask(port)
