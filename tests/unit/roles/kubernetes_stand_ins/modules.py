"""What the stand-ins of modules have in common: a host is a directory, the cluster is all of them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, kubernetes
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities

VERSION = "1.37.2"


def root():
    """The directory of the host that a module runs on."""
    return Path(os.environ["STAND_IN_ROOT"])


def note(text):
    """Write down that something was done."""
    with (root().parent / "done").open("a") as handle:
        handle.write(f"{root().name} {text}\n")


def cluster_info(params):
    """As kubernetes_cluster_info, of a cluster that is well."""
    found = kubernetes.read_disk(params["etcd_directory"].removeprefix(str(root())), str(root()))
    members = {slot: {"ready": True, "version": VERSION, "error": ""} for slot in params["members"]}
    nodes = {params["name"]: {"name": params["name"], "slot": params["slot"], "ready": True, "version": VERSION}}
    more = {"parts": {}, "error": "", "kubelet": "", "endpoint_addresses": []}
    return {**found, **more, "nodes": nodes, "members": members, "ready": sorted(members)}


def authority(directory, name):
    """The authority with which a directory of kubeadm signs: the first one of its file."""
    text = (directory / f"{name}.crt").read_text()
    first = certificates.certificate_pem(certificates.load_certificates(text)[0]).decode()
    return certificates.Authority(first, (directory / f"{name}.key").read_text())


def leaf(directory, name, common_name):
    """A new certificate of it, and its key."""
    key = certificates.new_key()
    wanted = {"name": "leaf", "common_name": common_name, "usages": ["client"]}
    request = certificates.make_request(key, common_name)
    return authority(directory, name).sign(request, wanted, 30), certificates.key_pem(key).decode()


def renew(place):
    """As C(kubeadm certs renew all): kubeconfig files trust the one that signs, and no other."""
    pki = place / "etc/kubernetes/pki"
    for bundle, paths in authorities.SIGNED.items():
        name = bundle.removeprefix(f"{authorities.PKI}/").removesuffix(".crt")
        for path in paths:
            file = place / path.lstrip("/")
            pem, key = leaf(pki, name, file.stem)
            if path.endswith(".conf"):
                first = certificates.certificate_pem(certificates.load_certificates((pki / "ca.crt").read_text())[0])
                file.write_text(kubeconfig(first.decode(), pem, key))
            elif path not in (authorities.KUBELET, authorities.KUBELET_SERVING):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(pem)


def kubeconfig(trusted, pem="", key=""):
    """The text of a kubeconfig file."""
    fields = {"certificate-authority-data": trusted, "client-certificate-data": pem, "client-key-data": key}
    return "".join(f"    {name}: {encoded(text)}\n" for name, text in fields.items() if text)


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Ssm:
    """Parameters in a file."""

    def __init__(self):
        self.path = Path(os.environ["STAND_IN_SECRETS"])
        self.platform = "/trading/"

    def held(self):
        return json.loads(self.path.read_text())

    def pages(self, _operation, _key, **arguments):
        base = arguments["Path"] + "/"
        return [{"Name": self.platform + name} for name in self.held() if (self.platform + name).startswith(base)]

    def call(self, operation, **arguments):
        held = self.held()
        if operation == "get_parameter":
            return {"Parameter": {"Value": held[arguments["Name"].removeprefix(self.platform)]}}
        if operation == "put_parameter":
            name = arguments["Name"].removeprefix(self.platform)
            assert arguments["Overwrite"] or name not in held
            held[name] = arguments["Value"]
        if operation == "delete_parameters":
            for name in arguments["Names"]:
                del held[name.removeprefix(self.platform)]
        self.path.write_text(json.dumps(held))
        return {}
