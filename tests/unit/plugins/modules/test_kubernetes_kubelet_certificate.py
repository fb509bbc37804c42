"""A kubelet's client certificate of another authority, asked for as the kubelet does."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, kubernetes, secrets_plan
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_kubelet_certificate as kubelet
from cryptography import x509


class Signer:
    """A cluster that approves and signs."""

    def __init__(self):
        key = secrets_plan.new_key()
        self.certificate = secrets_plan.ca_certificate(key, "kubernetes")
        self.authority = certificates.Authority(self.certificate, key)
        self.conditions, self.silent, self.asked = [], False, []

    def sign(self, request):
        wanted = {"name": "kubelet", "common_name": "system:node:node-1", "usages": ["client"]}
        return self.authority.sign(request.decode(), wanted, 1)

    def call(self, method, path, body=None):
        if method == "POST":
            assert path == kubelet.PATH
            self.asked.append(body["spec"])
            return {"metadata": {"name": "csr-1"}}
        assert (method, path) == ("GET", f"{kubelet.PATH}/csr-1")
        if self.conditions or self.silent:
            return {"status": {"conditions": self.conditions}}
        request = base64.b64decode(self.asked[-1]["request"])
        return {"status": {"certificate": base64.b64encode(self.sign(request).encode()).decode()}}


@pytest.fixture
def current(tmp_path):
    """A kubelet's certificate of a former authority."""
    kubelet.install(certificate_of(Signer()), str(tmp_path / "current.pem"), lambda: (2026, 1, 1, 0, 0, 0, 3, 1, 0))
    return str(tmp_path / "current.pem")


def certificate_of(signer):
    key = certificates.new_key()
    return signer.sign(kubelet.request_of(key, "node-1")) + certificates.key_pem(key).decode()


def link(current):
    return str(Path(current).readlink())


def run(signer, current, check_mode=False, authority=None):
    params = {"name": "node-1", "authority": authority or signer.certificate, "wait": 0.2}
    return kubelet.run(params, signer, check_mode, current)


def test_it_gets_one_and_keeps_it(current):
    signer, before = Signer(), link(current)
    assert run(signer, current, check_mode=True)["changed"] and link(current) == before
    found = run(signer, current)
    assert found["changed"] and link(current) == found["file"] != before
    assert stat.S_IMODE(Path(current).stat().st_mode) == 0o600
    text = kubernetes.read_text(current)
    assert authorities.is_signed(text, signer.certificate)
    (leaf,) = certificates.load_certificates(text)
    assert certificates.matches_key(leaf, certificates.load_key(text[text.index("-----BEGIN PRIVATE") :]))
    assert run(signer, current) == {"changed": False, "file": ""} and len(signer.asked) == 1


def test_it_asks_as_a_kubelet_does(current):
    signer = Signer()
    run(signer, current)
    (spec,) = signer.asked
    assert spec["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet"
    assert spec["usages"] == ["digital signature", "client auth"]
    request = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    assert request.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"


def test_nothing_changes_when_the_cluster_does_not_sign_or_with_another_authority(current):
    signer, before = Signer(), link(current)
    with pytest.raises(kubernetes.KubernetesError, match="still signs with another authority"):
        run(signer, current, authority=Signer().certificate)
    signer.silent = True
    with pytest.raises(kubernetes.KubernetesError, match="was not signed within"):
        run(signer, current)
    signer.conditions = [{"type": "Denied", "message": "no"}]
    with pytest.raises(kubernetes.KubernetesError, match=r"csr-1 was refused \(no\)"):
        run(signer, current)
    assert link(current) == before
