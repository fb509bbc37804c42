# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of Kubernetes judges: processes, files and sockets of a host, and objects of a cluster."""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import re
import socket
import stat
import struct

from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_benchmark

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
_FIRST_PROVIDER = re.compile(r"providers:\s*-\s*[\"']?(\w+)")
_DYNAMIC = re.compile(r"^\{([^:]+):([^}]+)\}$")
#: State of a socket that listens, as /proc/net/tcp has it.
_LISTENS = "0A"


def arguments(words):
    """Return the arguments of a command line as a dict, without their dashes; one without a value is true."""
    found, name = {}, ""
    for word in words:
        if word.startswith("-"):
            name, separator, value = word.lstrip("-").partition("=")
            found[name] = value if separator else "true"
            name = "" if separator else name
        elif name:
            found[name], name = word, ""
    return found


def environment(words):
    """Return the arguments that etcd takes from its environment."""
    pairs = [word.partition("=") for word in words if word.startswith("ETCD_")]
    return {name[len("ETCD_") :].lower().replace("_", "-"): value for name, _equals, value in pairs}


def _words(path):
    try:
        with open(path, "rb") as stream:
            return [word.decode(errors="replace") for word in stream.read().split(b"\0") if word]
    except OSError:
        # It has ended in the meantime.
        return []


def read_processes(root="/"):
    """Return the arguments of Kubernetes' processes by program, of the oldest one of each."""
    found = {}
    for name in sorted((name for name in os.listdir(os.path.join(root, "proc")) if name.isdigit()), key=int):
        place = os.path.join(root, "proc", name)
        words = _words(place + "/cmdline")
        program = os.path.basename(words[0]) if words else ""
        if program in PROGRAMS and program not in found:
            found[program] = {
                **(environment(_words(place + "/environ")) if program == "etcd" else {}),
                **arguments(words[1:]),
            }
    return found


def _owner(status):
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    try:
        return f"{user}:{grp.getgrgid(status.st_gid).gr_name}"
    except KeyError:
        return f"{user}:{status.st_gid}"


def read_files(patterns, root="/"):
    """Return path, mode and owner of the files that patterns find, links as what they lead to."""
    found = []
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(root, pattern.lstrip("/")), recursive=True)):
            if not os.path.exists(path):
                continue
            status = os.stat(path)
            shown = "/" + os.path.relpath(path, root)
            found.append({"path": shown, "mode": stat.S_IMODE(status.st_mode), "owner": _owner(status)})
    return found


def resolved(patterns, processes, kubelet):
    """Return patterns with the paths that processes were started with in place of what stands for them."""
    found = []
    for pattern in patterns:
        match = _DYNAMIC.match(pattern)
        if not match:
            found.append(pattern)
            continue
        part, name = match.groups()
        value = processes.get(part, {}).get(name, "")
        if part == "kubelet config":
            value = kubelet
            for key in name.split("."):
                value = (value or {}).get(key)
        # kube-proxy's is in its pod, or there is none.
        if value:
            found.append(value)
    return found


def _address(text):
    """Return an address of /proc/net/tcp or tcp6, whose words are in the order of the processor."""
    data = b"".join(struct.pack("=I", int(text[place : place + 8], 16)) for place in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def read_listening(root="/"):
    """Return the addresses on which somebody listens, by port."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in kubernetes.read_text(os.path.join(root, "proc/net", name)).splitlines()[1:]:
            _number, local, _remote, state = line.split()[:4]
            if state == _LISTENS:
                address, _colon, port = local.partition(":")
                found.setdefault(int(port, 16), []).append(_address(address))
    return found


def _digest(path, root):
    text = kubernetes.read_text(os.path.join(root, path.lstrip("/"))) if path else ""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def anonymous_status(api):
    """Return how an API server answers to a request without login, 0 when it does not."""
    try:
        return api.request("GET", "/api")[0]
    except OSError:
        return 0


def read_host(anonymous=None, kubelet=None, root="/"):
    """Return what is judged of a host.

    :arg anonymous: a client of its API server that shows no certificate, None on a host without one.
    :arg kubelet: what its kubelet tells of its configuration.
    """
    processes = read_processes(root)
    server = processes.get("kube-apiserver", {})
    encryption = server.get("encryption-provider-config", "")
    text = kubernetes.read_text(os.path.join(root, encryption.lstrip("/"))) if encryption else ""
    return {
        "arguments": processes,
        "files": {
            name: read_files(resolved(patterns, processes, kubelet), root)
            for name, patterns in kubernetes_benchmark.FILES.items()
        },
        "kubelet": kubelet,
        "listens": read_listening(root),
        "anonymous": anonymous_status(anonymous) if anonymous else 0,
        "encryption": _FIRST_PROVIDER.findall(text),
        "authorities": {
            "etcd": _digest(processes.get("etcd", {}).get("trusted-ca-file", ""), root),
            "clients": _digest(server.get("client-ca-file", ""), root),
        },
    }


def read_kubelets(api):
    """Return what the kubelets tell of their configuration, by node; one that does not answer is left out.

    :raises OSError, KubernetesError: the API server does not tell the nodes.
    """
    found = {}
    for node in api.call("GET", "/api/v1/nodes")["items"]:
        name = node["metadata"]["name"]
        try:
            found[name] = api.call("GET", f"/api/v1/nodes/{name}/proxy/configz")["kubeletconfig"]
        except (OSError, kubernetes.KubernetesError, KeyError):
            continue
    return found


def _try_pods(api, namespace):
    """Return the status of the answer to each pod of the benchmark; none of them is kept."""
    found = {}
    for name in kubernetes_benchmark.VIOLATIONS:
        body = kubernetes_benchmark.violation(name)
        found[name] = api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body)[0]
    return found


def read_cluster(api):
    """Return what is judged of a cluster.

    :raises OSError, KubernetesError: as C(kubernetes.Client.call).
    """
    rights = "/apis/rbac.authorization.k8s.io/v1"
    places = {
        "cluster_roles": f"{rights}/clusterroles",
        "cluster_role_bindings": f"{rights}/clusterrolebindings",
        "roles": f"{rights}/roles",
        "role_bindings": f"{rights}/rolebindings",
        "service_accounts": "/api/v1/serviceaccounts",
        "pods": "/api/v1/pods",
    }
    found = {name: api.call("GET", path)["items"] for name, path in places.items()}
    namespaces = [item["metadata"]["name"] for item in api.call("GET", "/api/v1/namespaces")["items"]]
    policies = api.call("GET", "/apis/networking.k8s.io/v1/networkpolicies")["items"]
    found["namespaces"] = sorted(namespaces)
    found["network_policies"] = sorted({item["metadata"]["namespace"] for item in policies})
    found["admission"] = {
        name: _try_pods(api, name) for name in namespaces if name not in kubernetes_benchmark.OWN_NAMESPACES
    }
    return found
