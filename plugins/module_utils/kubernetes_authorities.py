# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which authorities a host of Kubernetes trusts, and whether all that it shows is of the one that signs."""

from __future__ import annotations

import base64
import hashlib
import os
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates

BASE = "/etc/kubernetes"
PKI = BASE + "/pki"
KUBELET = "/var/lib/kubelet/pki/kubelet-client-current.pem"
KUBELET_SERVING = "/var/lib/kubelet/pki/kubelet-server-current.pem"
KUBECONFIGS = tuple(f"{BASE}/{name}.conf" for name in ("admin", "controller-manager", "scheduler", "kubelet"))
#: Each authority with what it signs, as kubeadm's page "PKI certificates and requirements" has it.
SIGNED = {
    f"{PKI}/ca.crt": [
        f"{PKI}/apiserver.crt",
        f"{PKI}/apiserver-kubelet-client.crt",
        *KUBECONFIGS[:3],
        KUBELET,
        KUBELET_SERVING,
    ],
    f"{PKI}/front-proxy-ca.crt": [f"{PKI}/front-proxy-client.crt"],
    f"{PKI}/etcd/ca.crt": [
        f"{PKI}/apiserver-etcd-client.crt",
        *(f"{PKI}/etcd/{name}.crt" for name in ("server", "peer", "healthcheck-client")),
    ],
}
#: What the platform's own authority has signed for a host.
PLATFORM = (
    f"{BASE}/platform/iam/iam.crt",
    f"{BASE}/platform/metrics-server/metrics-server.crt",
    f"{PKI}/external-etcd/apiserver.crt",
)
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_EMBEDDED = re.compile(r"^\s*client-certificate-data:\s*(\S+)\s*$", re.MULTILINE)
_TRUSTED = re.compile(r"^\s*certificate-authority-data:\s*(\S+)\s*$", re.MULTILINE)


def names(text):
    """Return a short name of each certificate in a text, in their order: a part of the hash of its content."""
    return [hashlib.sha256("".join(block.split()).encode()).hexdigest()[:12] for block in _BLOCK.findall(text)]


def trusted(text):
    """Return the authorities that a kubeconfig file trusts, as C(names)."""
    found = _TRUSTED.search(text)
    return names(base64.b64decode(found.group(1)).decode()) if found else []


def shown(text):
    """Return the certificate that a file or a kubeconfig file holds, PEM, an empty text for none."""
    found = _EMBEDDED.search(text)
    return base64.b64decode(found.group(1)).decode() if found else text if _BLOCK.search(text) else ""


def is_signed(pem, authority):
    """Tell whether the first authority of a text has signed the first certificate of another one."""
    leaf, issuer = certificates.load_certificates(pem)[0], certificates.load_certificates(authority)[0]
    return certificates.signed_by(leaf, issuer)


def ends(root="/"):
    """Return when each certificate of this host ends, in seconds since 1970, by its file.

    :raises OSError, CertificateError: a file cannot be read.
    """
    found = {}
    for path in (*SIGNED, *(path for signed in SIGNED.values() for path in signed), *PLATFORM):
        place = os.path.join(root, path.lstrip("/"))
        if not (certificates.HAS_CRYPTOGRAPHY and os.path.exists(place)):
            continue
        with open(place, encoding="utf-8") as handle:
            pem = shown(handle.read())
        if pem:
            found[path] = int(certificates.not_after(certificates.load_certificates(pem)[0]).timestamp())
    return found


def read(root="/"):
    """Return what this host's files say: C(authorities), those that it trusts, the one that signs first; C(strays), the
    files that trust others or hold a certificate of another one; C(trusted_since), when its authorities last changed.

    :raises OSError, CertificateError: a file cannot be read.
    """

    def text(path):
        place = os.path.join(root, path.lstrip("/"))
        if not os.path.exists(place):
            return ""
        with open(place, encoding="utf-8") as handle:
            return handle.read()

    found = names(text(f"{PKI}/ca.crt"))
    # One that is not there, or names the file itself, trusts nothing else.
    strays = {path for path in KUBECONFIGS if set(trusted(text(path))) not in (set(), set(found))}
    for authority, signed in SIGNED.items():
        issuer = text(authority)
        leaves = {path: shown(text(path)) for path in signed} if issuer and certificates.HAS_CRYPTOGRAPHY else {}
        strays.update(path for path, pem in leaves.items() if pem and not is_signed(pem, issuer))
    bundle = os.path.join(root, f"{PKI}/ca.crt".lstrip("/"))
    since = int(os.stat(bundle).st_mtime) if os.path.exists(bundle) else 0
    return {"authorities": found, "strays": sorted(strays), "trusted_since": since}
