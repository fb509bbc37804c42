# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes cluster as its API servers and this host's files tell it."""

from __future__ import annotations

import base64
import glob
import http.client
import json
import os
import re
import socket
import ssl
import time

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, kubernetes_authorities, releases

PORT = 6443
#: No API server is ready while etcd elects another leader.
READY_SECONDS = 30
BASE = "/etc/kubernetes"
#: What this host may show an API server, the one that may do most first. A kubelet may read its own node.
ADMIN = BASE + "/admin.conf"
KUBELET = kubernetes_authorities.KUBELET
_EMBEDDED = re.compile(r"^\s*client-(?:certificate|key)-data:\s*(\S+)\s*$", re.MULTILINE)
#: A version's programs have a directory of their own, which the links in the path lead to.
_INSTALLED = re.compile(r"/kubelet-(\d+\.\d+\.\d+)/")
_ETCD_IMAGE = re.compile(r"^\s*image: \S+/etcd:v?(\d+\.\d+\.\d+)", re.MULTILINE)
#: What the role notes in a manifest, so that it changes with the files that the part reads at its start.
_OWN_NOTE = re.compile(r"""^\s*(selfhosted\.ec2/\w+):\s*["']?([^"'\s]+)["']?\s*$""", re.MULTILINE)
#: What kubeadm has given a part or a kubelet, in the files that it writes.
_ARGUMENT = re.compile(r"""^\s*- ["']?--([a-z-]+)=([^"'\s]+)["']?\s*$""", re.MULTILINE)
_DNS_DOMAIN = re.compile(r"""^clusterDomain:\s*["']?([^"'\s]+)["']?\s*$""", re.MULTILINE)
_SERVER = re.compile(r"^\s*server:\s*https://(\S+):\d+\s*$", re.MULTILINE)
_KEY_NAME = re.compile(r"^[\s-]*name:\s*(\S+)\s*$", re.MULTILINE)
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
SLOT_LABEL = "selfhosted.ec2/slot"
#: On a node that was cordoned by this collection, so that one that an operator cordoned stays so.
DRAINED = "selfhosted.ec2/drained"
ZONE_LABEL = "topology.kubernetes.io/zone"
#: Taint of a node that its cloud has not taken up, and the condition of one that the network of the pods does not
#: reach: the route controller sets it, to false after the node's first route.
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
UNROUTED = "NetworkUnavailable"


class KubernetesError(Exception):
    """An API server refused; the text goes into a sentence.

    :arg status: the answer's status, 0 when there was none.
    """

    def __init__(self, text, status=0):
        super().__init__(text)
        self.status = status


def embedded(text):
    """Return the certificate and the key that a kubeconfig file of kubeadm holds, as one PEM text, or an empty one."""
    found = _EMBEDDED.findall(text)
    return "\n".join(base64.b64decode(part).decode() for part in found) if len(found) == 2 else ""


def credentials(root="/"):
    """Return the certificate and the key that this host has, as one PEM text, or an empty one."""
    for path, read in ((ADMIN, embedded), (KUBELET, str)):
        place = os.path.join(root, path.lstrip("/"))
        if os.path.exists(place):
            with open(place) as stream:
                return read(stream.read())
    return ""


def show(context, pem):
    """Let a context show a certificate. Python reads it from a file alone; this one is in memory, and nobody else's."""
    number = os.memfd_create("certificate")
    try:
        os.write(number, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{number}")
    finally:
        os.close(number)


class Client:
    """One API server.

    :arg address: name or address to connect to.
    :arg server_name: name that its certificate must hold.
    :arg ca: certificate of the cluster's authority, PEM.
    :arg pem: certificate to show, and its key.
    """

    def __init__(self, address, server_name, ca, pem="", timeout=5):
        self.address, self._server_name, self._timeout = address, server_name, timeout
        self._context = ssl.create_default_context(cadata=ca)
        if pem:
            show(self._context, pem)

    def _connect(self):
        link = socket.create_connection((self.address, PORT), self._timeout)
        # Without a context it would read all authorities of the system, for nothing.
        connection = http.client.HTTPSConnection(self._server_name, PORT, timeout=self._timeout, context=self._context)
        connection.sock = self._context.wrap_socket(link, server_hostname=self._server_name)
        return connection

    def request(self, method, path, body=None, content_type="application/json"):
        """Return (status, text) of one request.

        :raises OSError: nobody answers, or with a certificate that is not the cluster's.
        """
        connection = self._connect()
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(
                method, path, body=data, headers={"Content-Type": content_type, "Accept": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(f"{self.address} gave no whole answer ({error!r})") from error
        finally:
            connection.close()

    def call(self, method, path, body=None, content_type="application/json", missing_ok=False):
        """Return the answer's object, None for one that does not exist with I(missing_ok).

        :raises OSError: nobody answers.
        :raises KubernetesError: the API server refuses.
        """
        status, text = self.request(method, path, body, content_type)
        if status == 404 and missing_ok:
            return None
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = {"message": text[:200]}
        if status >= 300:
            raise KubernetesError(f"{method} {path.partition('?')[0]}: {found.get('message') or status}", status)
        return found


def client(params, slot=None, timeout=5, pem=None):
    """Return a C(Client) of one member, with the best this host may show unless told what."""
    address = params["members"][slot or params["slot"]]
    return Client(address, params["endpoint"], params["ca"], credentials() if pem is None else pem, timeout)


def member_options():
    """Return the options of the doc fragment C(kubernetes)."""
    return {
        "slot": {"type": "str", "required": True},
        "members": {"type": "dict", "required": True},
        "endpoint": {"type": "str", "required": True},
        "ca": {"type": "str", "required": True},
    }


def ready_client(params, timeout=10, pem=None):
    """Return a C(Client) of a ready API server, this host's own if it is; I(pem) as C(client) has it.

    :raises KubernetesError: none is ready within C(READY_SECONDS).
    """
    order = sorted(params["members"], key=lambda slot: slot != params["slot"])
    end = time.monotonic() + READY_SECONDS
    while True:
        views = cluster_client.ask_all(order, lambda slot: member_view(client(params, slot)))
        for slot in order:
            if views[slot]["ready"]:
                return client(params, slot, timeout, pem)
        if time.monotonic() > end:
            break
        time.sleep(1)
    reasons = "; ".join(f"{slot}: {views[slot]['error']}" for slot in order)
    raise KubernetesError(f"no API server is ready ({reasons})")


def member_view(api):
    """Return what one API server says of itself: C(ready), C(version), C(error)."""
    try:
        status, text = api.request("GET", "/readyz")
        if status != 200:
            reasons = [line for line in text.splitlines() if line.startswith("[-]")] or [text[:200]]
            return {"ready": False, "version": "", "error": f"/readyz answers {status}: {', '.join(reasons)}"}
        return {"ready": True, "version": api.call("GET", "/version")["gitVersion"].lstrip("v"), "error": ""}
    except (OSError, KubernetesError) as error:
        return {"ready": False, "version": "", "error": str(error)}


def condition(item, kind):
    """Return (whether a condition is true, its message) of an object."""
    for entry in (item.get("status") or {}).get("conditions") or []:
        if entry["type"] == kind:
            return entry["status"] == "True", entry.get("message") or entry.get("reason") or ""
    return False, f"it has not told {kind} yet"


def is_false(item, kind):
    """Tell whether a condition of an object was set, to false."""
    found = (item.get("status") or {}).get("conditions") or []
    return any(entry["type"] == kind and entry["status"] == "False" for entry in found)


def node_view(node):
    """Return what matters of a node."""
    labels = node["metadata"].get("labels") or {}
    ready, reason = condition(node, "Ready")
    spec, info = node.get("spec") or {}, (node.get("status") or {}).get("nodeInfo") or {}
    return {
        "name": node["metadata"]["name"],
        "slot": labels.get(SLOT_LABEL, ""),
        "ready": ready,
        "reason": "" if ready else reason,
        "schedulable": not spec.get("unschedulable", False),
        "drained": DRAINED in (node["metadata"].get("annotations") or {}),
        "control_plane": "node-role.kubernetes.io/control-plane" in labels,
        "version": info.get("kubeletVersion", "").lstrip("v"),
        "zone": labels.get(ZONE_LABEL, ""),
        "provider_id": spec.get("providerID", ""),
        "pod_network": spec.get("podCIDR", ""),
        "routed": is_false(node, UNROUTED),
        "taints": sorted(taint["key"] for taint in spec.get("taints") or []),
    }


def read_nodes(api, name):
    """Return the nodes that this host may read: dict of name to C(node_view); a worker may read its own alone.

    :raises OSError, KubernetesError: as C(Client.call).
    """
    try:
        items = api.call("GET", "/api/v1/nodes")["items"]
    except KubernetesError as error:
        if error.status != 403:
            raise
        own = api.call("GET", f"/api/v1/nodes/{name}", missing_ok=True)
        items = [own] if own else []
    return {item["metadata"]["name"]: node_view(item) for item in items}


def read_parts(api, name, manifests, root="/"):
    """Return why the parts of a control plane on this node are not ready, by part, an empty text for those that are.

    The kubelet itself is asked: after its start the API has for some seconds what the one before it has told, while a
    kubelet of another minor starts each part anew. A pod of the manifest before, which the kubelet has not ended yet,
    is none.
    """
    if not manifests:
        return {}
    try:
        found = api.call("GET", f"/api/v1/nodes/{name}/proxy/pods").get("items") or []
    except (OSError, KubernetesError) as error:
        return dict.fromkeys(manifests, f"the kubelet cannot be asked: {error}")
    pods = {pod["metadata"]["name"]: pod for pod in found if pod["metadata"].get("namespace") == "kube-system"}
    parts = {}
    for part in manifests:
        pod = pods.get(f"{part}-{name}")
        ready, reason = condition(pod, "Ready") if pod else (False, "it has no pod yet")
        wanted = _OWN_NOTE.findall(read_text(os.path.join(root, f"{BASE}/manifests/{part}.yaml".lstrip("/"))))
        noted = (pod or {}).get("metadata", {}).get("annotations") or {}
        if ready and any(noted.get(note) != value for note, value in wanted):
            ready, reason = False, "its pod is still that of the former manifest"
        parts[part] = "" if ready else reason
    return parts


def read_text(path):
    """Return the text of a file, an empty one without the file."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def read_mark(path):
    """Return the words of a mark file, none without the file."""
    return read_text(path).split()


def addresses(name):
    """Return the IPv4 addresses that this host finds for a name, none for one that it cannot resolve."""
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, None, socket.AF_INET)})
    except OSError:
        return []


def read_disk(etcd_directory, root="/"):
    """Return what this host's files say, as the module kubernetes_cluster_info returns it.

    :raises OSError, ValueError, CertificateError: the identity file or a certificate cannot be read.
    """

    def place(path):
        return os.path.join(root, path.lstrip("/"))

    kubelet = place("/usr/local/bin/kubelet")
    installed = _INSTALLED.search(os.readlink(kubelet)) if os.path.islink(kubelet) else None
    manifests = [name for name in STATIC_PODS if os.path.exists(place(f"{BASE}/manifests/{name}.yaml"))]
    etcd = _ETCD_IMAGE.search(read_text(place(f"{BASE}/manifests/etcd.yaml")))
    return {
        "architecture": releases.host_architecture(),
        "joined": os.path.exists(place(BASE + "/kubelet.conf")),
        "finished": os.path.exists(place(BASE + "/platform/joined")),
        "begins": os.path.exists(place(BASE + "/platform/init.yaml")),
        "installed": installed.group(1) if installed else "",
        "manifests": manifests,
        "etcd": etcd.group(1) if etcd else "",
        "made_with": _made_with(place),
        # Only those write it that are not the VPC's own routes.
        "network": (read_mark(place(BASE + "/platform/network")) + ["vpc_routes"])[0],
        "kernel": os.uname().release,
        # One line names the columns.
        "swap": len(read_text(place("/proc/swaps")).splitlines()) > 1,
        "applied": read_mark(place(BASE + "/platform/applied")),
        "encryption": _KEY_NAME.findall(read_text(place(BASE + "/platform/encryption.yaml"))),
        **kubernetes_authorities.read(root),
        "holds_etcd": os.path.isdir(place(etcd_directory + "/data/member")),
        "identity": cluster_client.read_identity(place(etcd_directory + "/identity.json")),
    }


def _made_with(place):
    """Return what this host's part of a cluster was made with, an empty text for what the host does not tell."""

    def first(pattern, path):
        return next(iter(pattern.findall(read_text(place(path)))), "")

    def argument(part, name):
        return dict(_ARGUMENT.findall(read_text(place(f"{BASE}/manifests/{part}.yaml")))).get(name, "")

    return {
        "service_network": argument("kube-apiserver", "service-cluster-ip-range"),
        "pod_network": argument("kube-controller-manager", "cluster-cidr"),
        "dns_domain": first(_DNS_DOMAIN, "/var/lib/kubelet/config.yaml"),
        # The kubelet of a control plane asks the API server of its own host.
        "endpoint": first(_SERVER, ADMIN if os.path.exists(place(ADMIN)) else BASE + "/kubelet.conf"),
    }


def read_history(etcd_directory, root="/"):
    """Return C(certificates), when each one of this host ends, C(snapshot), when its newest one of etcd was made, and
    C(joined_at), when it came to be a node; moments in seconds since 1970, 0 for none.

    :raises OSError, CertificateError: a file cannot be read.
    """

    def newest(paths):
        return max((int(os.stat(path).st_mtime) for path in paths), default=0)

    base = root.rstrip("/")
    return {
        "certificates": kubernetes_authorities.ends(root),
        "snapshot": newest(glob.glob(f"{base}{etcd_directory}/snapshots/*.db")),
        "joined_at": newest(glob.glob(f"{base}{BASE}/platform/joined")),
    }


def kubelet_fault(port=10248):
    """Return why this host's kubelet does not answer, or an empty text; its node looks ready for a while after it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        return "" if status == 200 else f"/healthz answers {status}"
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def older(found, wanted):
    """Return which part of this host has not the version that is wanted, as a sentence, or an empty text.

    :arg wanted: dict with C(name), C(slot), C(server_version) and C(kubelet_version), empty for any.
    """
    server = found["members"].get(wanted["slot"], {}).get("version", "")
    kubelet = found["nodes"][wanted["name"]]["version"]
    for title, version, due in (
        ("API server", server, wanted["server_version"]),
        ("kubelet", kubelet, wanted["kubelet_version"]),
    ):
        if due and version != due:
            return f"The {title} of {wanted['slot']} has {version or 'no version'} instead of {due}."
    return ""


def missing(found, name, require, slot=""):
    """Return what is not yet as I(require) says, as a sentence, or an empty text.

    :arg found: what the module kubernetes_cluster_info returns.
    :arg name: this host's node.
    """
    if require == "nothing":
        return ""
    unready = {member: view["error"] for member, view in found["members"].items() if not view["ready"]}
    if require == "redundant":
        return cluster_client.unwell("Kubernetes", unready, slot, "redundant")
    if slot in unready and require != "known":
        return f"The API server of {slot} is not ready ({unready[slot]})."
    if not found["ready"]:
        reasons = "; ".join(f"{member}: {reason}" for member, reason in unready.items())
        return f"No API server is ready ({reasons})."
    if require == "known":
        return _unknown(found)
    return _unhealthy(found, name)


def _unhealthy(found, name):
    """Return what of this host's node is not well, as a sentence, or an empty text."""
    if found.get("kubelet"):
        return f"The kubelet of {name} does not answer ({found['kubelet']})."
    node = found["nodes"].get(name)
    if node is None:
        return f"Kubernetes has no node {name}{': ' + found['error'] if found['error'] else ''}."
    if not node["ready"]:
        return f"The node {name} is not ready ({node['reason']})."
    for part, reason in found.get("parts", {}).items():
        if reason:
            return f"{part} of {name} is not ready ({reason})."
    return ""


def _unknown(found):
    """Return which ready node the cloud controller manager does not know yet, as a sentence, or an empty text."""
    if found["error"]:
        return f"The nodes cannot be read: {found['error']}."
    ready = {name: node for name, node in sorted(found["nodes"].items()) if node["ready"]}
    if not ready:
        return "Kubernetes has no node that is ready."
    for name, node in ready.items():
        if UNINITIALIZED in node["taints"] or not node["zone"]:
            return f"The cloud controller manager has not taken the node {name} up yet; its log says why."
        if not node["routed"]:
            return (
                f"The pods of the node {name} have no route yet; the log of what gives it says why"
                " (the cloud controller manager, or the pod of Cilium or Calico there)."
            )
    return ""
