#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_kubelet_certificate
short_description: Give a kubelet a client certificate of another authority
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks the cluster for a certificate as the kubelet itself does before its own ends, with the certificate that the
    kubelet has and a new key, which never leaves the host. The cluster approves and signs it without anybody's doing.
  - The certificate is put where the kubelet finds it at its next start. One of the wanted authority is left alone.
  - Every controller manager must sign with that authority before.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference.
    support: none
options:
  name:
    description: This host's node.
    type: str
    required: true
  authority:
    description: Certificate of the authority that shall have signed the kubelet's, PEM.
    type: str
    required: true
  wait:
    description: Seconds to wait until the cluster has signed it.
    type: int
    default: 60
requirements:
  - cryptography
"""

EXAMPLES = r"""
- name: Give the kubelet a certificate of the next authority
  selfhosted.ec2.kubernetes_kubelet_certificate:
    name: ip-10-20-0-5.eu-west-1.compute.internal
    authority: "{{ next }}"
    slot: workers-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ former }}{{ next }}"
"""

RETURN = r"""
file:
  description: The file with the certificate and its key, an empty text when there is no new one.
  returned: always
  type: str
"""

import base64
import os
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, kubernetes
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID
except ImportError:
    # Said by main.
    pass

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
PAUSE = 1


def request_of(key, name):
    """Return a kubelet's signing request, PEM."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{name}"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def signed(api, request, seconds):
    """Let the cluster sign a request; return the certificate, PEM.

    :raises OSError, KubernetesError: it does not.
    """
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "csr-"},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    }
    name = api.call("POST", PATH, body)["metadata"]["name"]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = api.call("GET", f"{PATH}/{name}").get("status") or {}
        if status.get("certificate"):
            return base64.b64decode(status["certificate"]).decode()
        for condition in status.get("conditions") or []:
            if condition["type"] in ("Denied", "Failed"):
                raise kubernetes.KubernetesError(f"{name} was refused ({condition.get('message', '')})")
        time.sleep(PAUSE)
    raise kubernetes.KubernetesError(f"{name} was not signed within {seconds} s")


def install(pem, current=authorities.KUBELET, now=time.gmtime):
    """Put a certificate and its key where the kubelet finds them; return the file."""
    path = os.path.join(os.path.dirname(current), time.strftime("kubelet-client-%Y-%m-%d-%H-%M-%S.pem", now()))
    link = current + ".new"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as handle:
        handle.write(pem)
        handle.flush()
        os.fsync(handle.fileno())
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(path, link)
    os.replace(link, current)
    return path


def run(params, api, check_mode, current=authorities.KUBELET):
    """Return the module's result.

    :raises OSError, KubernetesError, CertificateError: the cluster does not sign, or with another authority.
    """
    if authorities.is_signed(kubernetes.read_text(current), params["authority"]):
        return {"changed": False, "file": ""}
    if check_mode:
        return {"changed": True, "file": current}
    key = certificates.new_key()
    pem = signed(api, request_of(key, params["name"]), params["wait"])
    if not authorities.is_signed(pem, params["authority"]):
        raise kubernetes.KubernetesError("the cluster still signs with another authority")
    return {"changed": True, "file": install(pem + certificates.key_pem(key).decode(), current)}


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "name": {"type": "str", "required": True},
            "authority": {"type": "str", "required": True},
            "wait": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if not certificates.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    params = module.params
    try:
        # The cluster approves what a node asks for itself.
        pem = kubernetes.read_text(authorities.KUBELET)
        module.exit_json(**run(params, kubernetes.ready_client(params, timeout=30, pem=pem), module.check_mode))
    except (OSError, certificates.CertificateError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The kubelet of {params['slot']} got no certificate of another authority: {error}.")


if __name__ == "__main__":
    main()
