"""What the roles apply, applied to a real API server with its etcd: two processes of the lab's images, and no nodes."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tarfile
import time

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_objects

from lab.builds import manifest
from lab.paths import CACHE
from tests.unit.roles import test_kubernetes_network as network
from tests.unit.roles import test_kubernetes_schemas as schemas

# Its programs are built for long.
pytestmark = pytest.mark.long

RELEASE = yaml.safe_load(manifest.OWN.read_text())["releases"]["1.37"]
IMAGES = {"etcd": RELEASE["etcd"], "kube-apiserver": f"v{RELEASE['kubernetes']}"}
NAME = "api.test"
#: One certificate for everything: the authority, the server and an administrator.
CERTIFICATE = [
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
    "-subj", "/O=system:masters/CN=test", "-addext", f"subjectAltName=DNS:{NAME}",
    "-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-addext", "extendedKeyUsage=serverAuth,clientAuth",
    "-keyout", "key.pem", "-out", "certificate.pem",
]  # fmt: skip


def unpack(program, version, path):
    """Bring a program out of its image, which the lab has built."""
    image = CACHE / "artifacts/images" / version / f"registry.k8s.io_{program}-amd64.tar"
    if not image.exists():
        pytest.skip(f"{image} is not there; python -m lab.builds kubernetes-1.37 makes it")
    with tarfile.open(image) as archive:

        def blob(described):
            return archive.extractfile("blobs/" + described["digest"].replace(":", "/"))

        index = json.load(archive.extractfile("index.json"))
        for described in json.load(blob(index["manifests"][0]))["layers"]:
            with tarfile.open(fileobj=blob(described)) as layer:
                for member in layer:
                    if member.isfile() and member.name.rpartition("/")[2] == program:
                        (path / program).write_bytes(layer.extractfile(member).read())
    (path / program).chmod(0o755)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [found.getsockname()[1] for found in sockets]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A client of the API server."""
    path = tmp_path_factory.mktemp("api")
    for program, version in IMAGES.items():
        unpack(program, version, path)
    subprocess.run(CERTIFICATE, cwd=path, check=True, capture_output=True)
    clients, peers, port = free_ports(3)
    address, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    etcd = [
        "--data-dir=data", f"--listen-client-urls={address}", f"--advertise-client-urls={address}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    ]  # fmt: skip
    server = [
        f"--etcd-servers={address}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        # That of the endpoints of the service kubernetes, which must not be a loopback.
        "--advertise-address=192.0.2.1",
        "--tls-cert-file=certificate.pem", "--tls-private-key-file=key.pem", "--client-ca-file=certificate.pem",
        f"--service-account-issuer=https://{NAME}", "--service-account-key-file=certificate.pem",
        "--service-account-signing-key-file=key.pem", "--service-cluster-ip-range=172.20.0.0/16",
        "--authorization-mode=Node,RBAC", "--allow-privileged=true", "--cert-dir=made",
    ]  # fmt: skip
    certificate, key = (path / "certificate.pem").read_text(), (path / "key.pem").read_text()
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes, "PORT", port)
        for program, arguments in (("etcd", etcd), ("kube-apiserver", server)):
            log = stack.enter_context((path / f"{program}.log").open("wb"))
            started = subprocess.Popen([path / program, *arguments], cwd=path, stdout=log, stderr=log)
            stack.callback(started.wait)
            stack.callback(started.terminate)
        client = kubernetes.Client("127.0.0.1", NAME, certificate, certificate + key, timeout=30)
        end = time.monotonic() + 120
        while not kubernetes.member_view(client)["ready"]:
            assert started.poll() is None and time.monotonic() < end, (path / "kube-apiserver.log").read_text()[-2000:]
            time.sleep(1)
        yield client


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Network to what is laid over its manifest."""
    found = network.rendered(tmp_path_factory.mktemp("parts"))
    return {name: found[name]["parts"] for name in ("calico", "cilium")}


def apply(api, part, objects, check_mode=False):
    """What the module does with a part, as steps; nothing is waited for, since nothing runs."""
    applier = kubernetes_objects.Applier(api, check_mode)
    applier.bring({part: objects})
    assert applier.left == []
    return applier.steps


def changes_once(api, part, objects):
    assert len(apply(api, part, objects)) == len(objects)
    assert apply(api, part, objects) == []
    assert apply(api, part, objects, check_mode=True) == []


def test_what_the_roles_apply_is_taken_and_a_second_run_changes_nothing(api, tmp_path):
    # CoreDNS' Deployment is kubeadm's, of which the role applies a part.
    objects = [item for item in schemas.rendered(tmp_path) if schemas.whole(item) is item]
    changes_once(api, "addons", objects)


@pytest.mark.parametrize("name", ["calico", "cilium"])
def test_a_networks_manifest_is_taken_and_what_is_laid_over_it_changes_it_once(api, parts, name):
    path = str(network.manifest_of(name))
    changes_once(api, name, kubernetes_objects.read_manifest(path, parts[name]))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-config", "namespace": "kube-system"},
    }
    changed = kubernetes_objects.read_manifest(path, [*parts[name], {**config, "data": {"debug": "maybe"}}])
    assert apply(api, name, changed) == [f"change ConfigMap kube-system/{name}-config"]


HOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "shops.t.example"},
    "webhooks": [{
        "name": "shops.t.example",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": ["t.example"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["carts"]}],
    }],
}  # fmt: skip
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "shops.t.example"},
    "spec": {
        "group": "t.example",
        "names": {"kind": "Shop", "plural": "shops"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
SHOP = {"apiVersion": "t.example/v1", "kind": "Shop", "metadata": {"name": "a", "namespace": "default"}}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}},
}
AUTOSCALER = {
    "apiVersion": "autoscaling/v1",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}},
}


def test_the_last_object_of_a_kind_goes_with_its_description(api):
    changes_once(api, "shops", [DEFINITION, SHOP, HOOK, INGRESS, AUTOSCALER])
    # Another version of a kind is the same object.
    newer = {**AUTOSCALER, "apiVersion": "autoscaling/v2"}
    described = [DEFINITION, SHOP, HOOK, INGRESS, newer]
    apply(api, "shops", described)
    assert apply(api, "shops", described) == []
    gone = ["ValidatingWebhookConfiguration shops.t.example", "HorizontalPodAutoscaler default/a"]
    gone += ["Ingress default/a", "Shop default/a"]
    steps = [f"delete {title}" for title in gone]
    assert apply(api, "shops", [DEFINITION], check_mode=True) == steps
    assert apply(api, "shops", [DEFINITION]) == steps
    assert apply(api, "shops", [DEFINITION]) == []
    # The definition stays until it is named, and then takes its kind along, which nobody misses.
    for removed in ((), ("shops.t.example",)):
        applier = kubernetes_objects.Applier(api, False, removed)
        applier.bring({"shops": []})
        assert applier.left == ([] if removed else ["CustomResourceDefinition shops.t.example"])
    assert apply(api, "shops", []) == []
