"""The program that approves the certificates that kubelets serve, with real requests and a cluster of its own."""

from __future__ import annotations

import base64
import contextlib
import copy
import ipaddress
import json
import socket
import ssl
import threading

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, secrets_plan
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.unit.roles import playing, program

TEMPLATE = playing.ROOT / "roles/kubernetes/templates/serving.py.j2"
NODE = "ip-10-20-0-7.eu-west-1.compute.internal"
OTHER = "ip-10-20-0-8.eu-west-1.compute.internal"
NAMES = [NODE, "10.20.0.7"]
USER = f"system:node:{NODE}"


def asks(names=NAMES, subject=USER, organization="system:nodes", more=(), **spec):
    """A request as the API has it, with a real one of a kubelet in it."""
    attributes = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, subject),
    ]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    if alternatives or more:
        made = made.add_extension(x509.SubjectAlternativeName([*alternatives, *more]), critical=False)
    pem = made.sign(certificates.new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {
        "metadata": {"name": "csr-1", "resourceVersion": "5"},
        "spec": {
            "signerName": "kubernetes.io/kubelet-serving",
            "username": subject,
            "groups": ["system:nodes", "system:authenticated"],
            "usages": ["digital signature", "server auth"],
            "request": base64.b64encode(pem).decode(),
            **spec,
        },
        "status": {},
    }


class Cluster:
    """What kubectl reaches: requests, nodes, and the ConfigMap of the names, which is not there at first."""

    def __init__(self, script, requests=()):
        self.script, self.requests = script, list(requests)
        self.nodes, self.record = [NODE, OTHER], None
        self.conflict = False
        self.calls = []

    def kubectl(self, *words, text=None):
        self.calls.append(words[:2])
        if words[:3] == ("get", "--raw", self.script.REQUESTS):
            return json.dumps({"items": copy.deepcopy(self.requests)})
        if words[:2] == ("get", "nodes"):
            return "".join(f"node/{name}\n" for name in self.nodes)
        if words[:2] == ("get", "configmap"):
            return "" if self.record is None else json.dumps({"data": self.record})
        if words[:2] == ("create", "configmap"):
            self.record = {}
        elif words[:2] == ("patch", "configmap"):
            self.record.update(json.loads(words[words.index("--patch") + 1])["data"])
        else:
            assert words[:2] == ("replace", "--raw") and words[2].endswith("/approval"), words
            if self.conflict:
                raise self.script.Failure("Error from server (Conflict): the object has been modified")
            found = json.loads(text)
            (index,) = (
                i for i, item in enumerate(self.requests) if item["metadata"]["name"] == found["metadata"]["name"]
            )
            self.requests[index] = found
        return ""

    def verdicts(self):
        return [
            [(verdict["type"], verdict["message"]) for verdict in item["status"].get("conditions", [])]
            for item in self.requests
        ]


@pytest.fixture
def script(tmp_path):
    found = program.load(TEMPLATE, __kubernetes_backup={"metrics_directory": str(tmp_path)})
    found.PATIENCE = 0
    found.time.sleep = lambda _seconds: None
    return found


@pytest.fixture
def cluster(script):
    made = Cluster(script)
    script.kubectl = made.kubectl
    return made


@pytest.mark.parametrize(
    "request_",
    [asks(), asks([NODE]), asks(["10.20.0.7"]), asks(usages=["digital signature", "key encipherment", "server auth"])],
    ids=["all that it has", "its name alone", "its address alone", "of an RSA key"],
)
def test_what_the_inventory_has_of_a_node_is_approved(script, cluster, request_):
    cluster.requests = [request_]
    assert script.look({NODE: NAMES}) == ([], [])
    ((verdict,),) = cluster.verdicts()
    assert verdict[0] == "Approved"
    assert cluster.requests[0]["metadata"]["resourceVersion"] == "5"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asks([*NAMES, "kubernetes.trading.internal"]), "asks for kubernetes.trading.internal"),
        (asks([NODE, "10.20.0.8"]), "asks for 10.20.0.8"),
        (asks([OTHER]), f"asks for {OTHER}"),
        (asks([]), "is to have"),
        (asks(more=[x509.UniformResourceIdentifier("spiffe://trading/x")]), "and no more"),
        (asks(more=[x509.RFC822Name("a@trading.internal")]), "and no more"),
        (asks(username=f"system:node:{OTHER}", subject=USER), "its subject is"),
        (asks(organization="system:masters"), "its subject is"),
        (asks(groups=["system:authenticated"]), "is no node"),
        (asks(usages=["server auth", "client auth"]), "its usages are server auth, client auth"),
        (asks(usages=["digital signature"]), "its usages are digital signature"),
        (asks(request=base64.b64encode(b"x").decode()), "it cannot be read"),
    ],
)
def test_anything_else_is_denied_with_the_reason(script, cluster, request_, reason):
    cluster.requests = [request_]
    (told,), others = script.look({NODE: NAMES, OTHER: [OTHER, "10.20.0.8"]})
    ((verdict,),) = cluster.verdicts()
    assert others == [] and verdict == ("Denied", told) and reason in told


@pytest.mark.parametrize("known", [{}, {OTHER: NAMES}], ids=["none is known", "another one is"])
def test_a_node_that_nobody_has_noted_waits(script, cluster, known):
    cluster.requests = [asks()]
    denied, (left,) = script.look(known)
    assert denied == [] and cluster.verdicts() == [[]] and left.startswith(f"{USER} is no node")


def test_a_node_that_has_left_the_cluster_and_one_that_is_no_node_wait(script, cluster):
    cluster.nodes = [OTHER]
    cluster.requests = [asks(), asks(username="jane")]
    assert len(script.look({NODE: NAMES, "": NAMES})[1]) == 2 and cluster.verdicts() == [[], []]


def test_requests_of_other_signers_and_answered_ones_are_left_alone(script, cluster):
    answered = asks()
    answered["status"]["conditions"] = [{"type": "Denied", "message": "by hand"}]
    cluster.requests = [asks(signerName="kubernetes.io/kube-apiserver-client-kubelet"), answered]
    before = copy.deepcopy(cluster.requests)
    assert script.look({NODE: NAMES}) == ([], ["by hand"])
    assert cluster.requests == before


def test_another_control_plane_may_be_faster(script, cluster):
    cluster.requests, cluster.conflict = [asks()], True
    assert script.look({NODE: NAMES}) == ([], [])


def test_what_nodes_may_have_is_noted_beside_that_of_others(script, cluster):
    script.certified = lambda _node, _names: True
    assert script.give(NODE, NAMES) and script.give(OTHER, [OTHER, "10.20.0.8"])
    assert script.allowed() == {NODE: NAMES, OTHER: [OTHER, "10.20.0.8"]}
    cluster.calls.clear()
    assert not script.give(NODE, NAMES)
    assert cluster.calls == [("get", "configmap")]


def test_a_kubelet_that_asks_for_what_it_may_not_have_is_no_matter_of_time(script, cluster):
    script.PATIENCE = 3600
    script.served = lambda _names: fails(script)
    cluster.requests = [asks([OTHER])]
    with pytest.raises(script.Denied, match=f"asks for {OTHER}"):
        script.give(NODE, NAMES)


def fails(script):
    raise script.Failure("The kubelet does not serve")


def test_it_waits_while_the_api_is_away_and_approves_what_comes(script, cluster):
    script.PATIENCE = 3600
    turns = iter(["away", "asks", "served"])

    def served(_names):
        turn = next(turns)
        if turn == "asks":
            cluster.requests = [asks()]
        if turn != "served":
            fails(script)

    script.served = served
    assert script.give(NODE, NAMES)
    assert [verdict for ((verdict, _message),) in cluster.verdicts()] == ["Approved"]


def test_one_that_never_serves_is_named(script, cluster):
    script.served = lambda _names: fails(script)
    with pytest.raises(script.Failure, match="does not serve"):
        script.give(NODE, NAMES)


def authority(name):
    key = secrets_plan.new_key()
    return certificates.Authority(secrets_plan.ca_certificate(key, name), key)


@contextlib.contextmanager
def kubelet(place, signer, addresses):
    """A server with a certificate for addresses; gives its port."""
    key = certificates.new_key()
    wanted = {"name": "kubelet", "common_name": NODE, "ip_addresses": addresses, "usages": ["server"]}
    file = place / "kubelet.pem"
    file.write_text(signer.sign(certificates.make_request(key, NODE), wanted, 30) + certificates.key_pem(key).decode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    link, _from = server.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(link, server_side=True):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_the_end_of_what_a_kubelet_serves_is_read_and_told(script, cluster, tmp_path):
    cluster_ca = authority("kubernetes")
    script.AUTHORITY = str(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_text(cluster_ca.bundle())
    cluster.record = {NODE: json.dumps([NODE, "127.0.0.1"]), OTHER: json.dumps([OTHER, "127.0.0.2"])}
    cluster.requests = [asks([OTHER])]
    with kubelet(tmp_path, cluster_ca, ["127.0.0.1"]) as script.PORT:
        end = script.served([NODE, "127.0.0.1"])
        assert 29 * 86400 < end - script.time.time() < 31 * 86400
        script.watch(now=lambda: 7)
    lines = (tmp_path / "kubernetes_serving.prom").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f'kubernetes_kubelet_certificate_not_after_seconds{{node="{NODE}"}} {int(end)}',
        "kubernetes_kubelet_requests_refused 1",
        "kubernetes_kubelet_requests_checked_timestamp_seconds 7",
    ]


@pytest.mark.parametrize(
    ("signer", "addresses", "reason"),
    [("another", ["127.0.0.1"], "verify failed"), ("kubernetes", ["10.20.0.9"], "not valid for '127.0.0.1'")],
)
def test_another_certificate_is_none(script, tmp_path, signer, addresses, reason):
    known = {name: authority(name) for name in ("kubernetes", "another")}
    script.AUTHORITY = str(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_text(known["kubernetes"].bundle())
    with kubelet(tmp_path, known[signer], addresses) as script.PORT, pytest.raises(script.Failure, match=reason):
        script.served([NODE, "127.0.0.1"])


def test_a_host_that_is_no_control_plane_yet_does_nothing(script, cluster, tmp_path, capsys):
    script.LOGIN = str(tmp_path / "admin.conf")
    script.main([])
    assert "no control plane yet" in capsys.readouterr().out and cluster.calls == []


def test_a_failure_is_one_sentence(script, cluster, tmp_path):
    script.LOGIN = str(tmp_path / "admin.conf")
    (tmp_path / "admin.conf").touch()
    script.watch = lambda: fails(script)
    with pytest.raises(SystemExit, match=r"^The kubelet does not serve\.$"):
        script.main([])
