# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controls of the CIS Kubernetes Benchmark, and how what was read of a host or a cluster is judged. Pure.

Numbers, levels and which of them can be automated are those of CIS Kubernetes Benchmark 2.0.1 (Kubernetes 1.34 and
1.35, the newest there is; 1.12 has the same list); the words are our own.
"""

from __future__ import annotations

from collections import namedtuple

VERSION = "2.0.1"
PASS, FAIL, MANUAL, NOT_APPLICABLE = "pass", "fail", "manual", "not applicable"
CONTROL_PLANE, ETCD, WORKER, POLICIES = "control plane", "etcd", "worker", "policies"

#: Of a host: where files are, by the names that controls have for them. Those with {} are read from what runs.
FILES = {
    "API server's manifest": ["/etc/kubernetes/manifests/kube-apiserver.yaml"],
    "controller manager's manifest": ["/etc/kubernetes/manifests/kube-controller-manager.yaml"],
    "scheduler's manifest": ["/etc/kubernetes/manifests/kube-scheduler.yaml"],
    "etcd's manifest": ["/etc/kubernetes/manifests/etcd.yaml"],
    "CNI's configuration": ["/etc/cni/net.d/*.conf", "/etc/cni/net.d/*.conflist", "/etc/cni/net.d/*.json"],
    "etcd's data": ["{etcd:data-dir}"],
    "administrators' kubeconfig": ["/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf"],
    "scheduler's kubeconfig": ["{kube-scheduler:kubeconfig}"],
    "controller manager's kubeconfig": ["{kube-controller-manager:kubeconfig}"],
    "PKI": ["/etc/kubernetes/pki", "/etc/kubernetes/pki/**"],
    "PKI's certificates": ["/etc/kubernetes/pki/**/*.crt"],
    "PKI's keys": ["/etc/kubernetes/pki/**/*.key"],
    "kubelet's unit": ["/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/*.conf"],
    "kube-proxy's kubeconfig": ["{kube-proxy:kubeconfig}"],
    "kubelet's kubeconfig": ["{kubelet:kubeconfig}"],
    "kubelet's authority": ["{kubelet config:authentication.x509.clientCAFile}"],
    "kubelet's configuration": ["{kubelet:config}"],
}
#: Cipher suites of TLS 1.2 with forward secrecy and authenticated encryption, and those of TLS 1.3.
STRONG_CIPHERS = tuple(
    f"TLS_ECDHE_{key}_WITH_{suite}"
    for key in ("ECDSA", "RSA")
    for suite in (
        "AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305", "CHACHA20_POLY1305_SHA256",
    )
) + ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")  # fmt: skip
ENCRYPTING = ("aescbc", "kms", "secretbox")
#: Why the platform does otherwise. A control of these that fails is still counted as failed.
EXCEPTIONS = {
    "1.1.9": "containerd writes it for everybody to read, and there is nothing secret in it.",
    "1.1.12": "kubeadm runs etcd as root, so its data is root's; a user etcd would be one more who can read it.",
    "1.2.11": "Nodes hold images by their digests and need no registry to start a pod; with this plugin each would ask"
    " one. The kubelet itself checks who may use an image that it pulled with a login.",
    "4.2.7": "A node has the name that EC2 gave its instance, by which the cloud finds it; a host has its slot's.",
    "5.2.6": "Namespaces refuse what baseline refuses, and warn of this; kubernetes_pod_security takes restricted.",
    "5.2.7": "As 5.2.6.",
    "5.2.8": "As 5.2.6.",
    "5.2.9": "As 5.2.6.",
    "5.3.2": "Nothing here enforces a NetworkPolicy, so one would be a promise that nobody keeps.",
}

Control = namedtuple("Control", "number level automated role title right check")


def _control(number, role, title, right, *check, level=1, automated=True):
    return Control(number, level, automated, role, title, right, check)


def _files(number, role, name, mode, owner="root:root", automated=True):
    """Return the two controls of a file: its mode, and its owner under the next number."""
    group, _dot, last = number.rpartition(".")
    right = f"mode {mode:o} or less"
    return (
        _control(number, role, f"{name}: mode", right, "mode", name, mode, automated=automated),
        _control(f"{group}.{int(last) + 1}", role, f"{name}: owner", owner, "owner", name, owner, automated=automated),
    )


def _admission(number, kind, title, level=1):
    """Return a control that is tried with a pod of C(VIOLATIONS), which no namespace of users' own may admit."""
    right = "refused in every namespace"
    return _control(number, POLICIES, title, right, "admission", kind, level=level, automated=False)


def _rights(number, title, verbs, group, resources):
    return _control(number, POLICIES, title, "none besides the cluster's own", "rights", verbs, group, resources,
                    automated=False)  # fmt: skip


def _manual(number, role, title, right, level=1):
    return _control(number, role, title, right, "manual", level=level, automated=False)


_API, _MANAGER, _SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
#: Who may what, by which controls ask.
_READ = ("get", "list", "watch")
_WRITE = ("create", "update", "patch", "delete", "deletecollection")

CONTROLS = (
    *_files("1.1.1", CONTROL_PLANE, "API server's manifest", 0o600),
    *_files("1.1.3", CONTROL_PLANE, "controller manager's manifest", 0o600),
    *_files("1.1.5", CONTROL_PLANE, "scheduler's manifest", 0o600),
    *_files("1.1.7", CONTROL_PLANE, "etcd's manifest", 0o600),
    *_files("1.1.9", CONTROL_PLANE, "CNI's configuration", 0o600, automated=False),
    *_files("1.1.11", CONTROL_PLANE, "etcd's data", 0o700, "etcd:etcd"),
    *_files("1.1.13", CONTROL_PLANE, "administrators' kubeconfig", 0o600),
    *_files("1.1.15", CONTROL_PLANE, "scheduler's kubeconfig", 0o600),
    *_files("1.1.17", CONTROL_PLANE, "controller manager's kubeconfig", 0o600),
    _control("1.1.19", CONTROL_PLANE, "PKI: owner", "root:root", "owner", "PKI", "root:root"),
    _control("1.1.20", CONTROL_PLANE, "PKI's certificates: mode", "mode 644 or less",
             "mode", "PKI's certificates", 0o644, automated=False),
    _control("1.1.21", CONTROL_PLANE, "PKI's keys: mode", "mode 600 or less",
             "mode", "PKI's keys", 0o600, automated=False),
    _control("1.2.1", CONTROL_PLANE, "Nobody asks the API without saying who he is", "401", "anonymous",
             automated=False),
    _control("1.2.2", CONTROL_PLANE, "No file of static tokens", "not set", "unset", _API, "token-auth-file"),
    _control("1.2.3", CONTROL_PLANE, "Services cannot take addresses of others", "DenyServiceExternalIPs among them",
             "has", _API, "enable-admission-plugins", "DenyServiceExternalIPs", automated=False),
    _control("1.2.4", CONTROL_PLANE, "The API server shows kubelets a certificate", "set",
             "set", _API, "kubelet-client-certificate", "kubelet-client-key"),
    _control("1.2.5", CONTROL_PLANE, "The API server verifies kubelets", "set",
             "set", _API, "kubelet-certificate-authority"),
    _control("1.2.6", CONTROL_PLANE, "Not everything is allowed to everybody", "without AlwaysAllow",
             "lacks", _API, "authorization-mode", "AlwaysAllow", "AlwaysAllow"),
    _control("1.2.7", CONTROL_PLANE, "A kubelet may only what concerns its node", "Node among them",
             "has", _API, "authorization-mode", "Node"),
    _control("1.2.8", CONTROL_PLANE, "Rights by roles", "RBAC among them", "has", _API, "authorization-mode", "RBAC"),
    _control("1.2.9", CONTROL_PLANE, "A limit on events", "EventRateLimit among them",
             "has", _API, "enable-admission-plugins", "EventRateLimit", automated=False),
    _control("1.2.10", CONTROL_PLANE, "No plugin that admits everything", "without AlwaysAdmit",
             "lacks", _API, "enable-admission-plugins", "AlwaysAdmit", ""),
    _control("1.2.11", CONTROL_PLANE, "Images are pulled for each pod", "AlwaysPullImages among them",
             "has", _API, "enable-admission-plugins", "AlwaysPullImages", automated=False),
    _control("1.2.12", CONTROL_PLANE, "Pods have service accounts", "without ServiceAccount",
             "lacks", _API, "disable-admission-plugins", "ServiceAccount", "", level=2),
    _control("1.2.13", CONTROL_PLANE, "Nothing is made in a namespace that ends", "without NamespaceLifecycle",
             "lacks", _API, "disable-admission-plugins", "NamespaceLifecycle", "", level=2),
    _control("1.2.14", CONTROL_PLANE, "A kubelet changes its own node alone", "NodeRestriction among them",
             "has", _API, "enable-admission-plugins", "NodeRestriction", level=2),
    _control("1.2.15", CONTROL_PLANE, "The API server is not profiled", "false", "is", _API, "profiling", "false"),
    _control("1.2.16", CONTROL_PLANE, "An audit log", "set", "set", _API, "audit-log-path"),
    _control("1.2.17", CONTROL_PLANE, "Days of the audit log", "30 or more", "least", _API, "audit-log-maxage", 30),
    _control("1.2.18", CONTROL_PLANE, "Files of the audit log", "10 or more", "least", _API, "audit-log-maxbackup", 10),
    _control("1.2.19", CONTROL_PLANE, "Size of the audit log", "100 (MB) or more", "least", _API, "audit-log-maxsize",
             100),
    _control("1.2.20", CONTROL_PLANE, "A limit on the time of requests", "not 0; 1m0s by default",
             "not", _API, "request-timeout", ("0", "0s"), automated=False),
    _control("1.2.21", CONTROL_PLANE, "Tokens end with their service account", "not false",
             "not", _API, "service-account-lookup", ("false",)),
    _control("1.2.22", CONTROL_PLANE, "A key of their own for service accounts", "set",
             "set", _API, "service-account-key-file"),
    _control("1.2.23", CONTROL_PLANE, "The API server shows etcd a certificate", "set",
             "set", _API, "etcd-certfile", "etcd-keyfile"),
    _control("1.2.24", CONTROL_PLANE, "The API server has a certificate", "set",
             "set", _API, "tls-cert-file", "tls-private-key-file"),
    _control("1.2.25", CONTROL_PLANE, "The API server verifies clients", "set", "set", _API, "client-ca-file"),
    _control("1.2.26", CONTROL_PLANE, "The API server verifies etcd", "set", "set", _API, "etcd-cafile"),
    _control("1.2.27", CONTROL_PLANE, "Encryption at rest", "set", "set", _API, "encryption-provider-config",
             automated=False),
    _control("1.2.28", CONTROL_PLANE, "What is written is encrypted", "aescbc, kms or secretbox first",
             "encryption", automated=False),
    _control("1.2.29", CONTROL_PLANE, "Cipher suites of the API server", "strong ones alone",
             "ciphers", _API, "tls-cipher-suites", automated=False),
    _control("1.2.30", CONTROL_PLANE, "Tokens of pods end when they say", "false",
             "is", _API, "service-account-extend-token-expiration", "false"),
    _control("1.3.1", CONTROL_PLANE, "A limit on pods that have ended", "set",
             "set", _MANAGER, "terminated-pod-gc-threshold", automated=False),
    _control("1.3.2", CONTROL_PLANE, "The controller manager is not profiled", "false",
             "is", _MANAGER, "profiling", "false"),
    _control("1.3.3", CONTROL_PLANE, "Each controller has its own rights", "true",
             "is", _MANAGER, "use-service-account-credentials", "true"),
    _control("1.3.4", CONTROL_PLANE, "The controller manager signs tokens with that key", "set",
             "set", _MANAGER, "service-account-private-key-file"),
    _control("1.3.5", CONTROL_PLANE, "Pods can verify the API server", "set", "set", _MANAGER, "root-ca-file"),
    _control("1.3.6", CONTROL_PLANE, "Kubelets' certificates can be renewed",
             "not RotateKubeletServerCertificate=false",
             "lacks", _MANAGER, "feature-gates", "RotateKubeletServerCertificate=false", ""),
    _control("1.3.7", CONTROL_PLANE, "The controller manager listens on its host alone", "127.0.0.1",
             "is", _MANAGER, "bind-address", "127.0.0.1"),
    _control("1.4.1", CONTROL_PLANE, "The scheduler is not profiled", "false", "is", _SCHEDULER, "profiling", "false"),
    _control("1.4.2", CONTROL_PLANE, "The scheduler listens on its host alone", "127.0.0.1",
             "is", _SCHEDULER, "bind-address", "127.0.0.1"),
    _control("2.1", ETCD, "etcd has a certificate", "set", "set", "etcd", "cert-file", "key-file"),
    _control("2.2", ETCD, "etcd verifies clients", "true", "is", "etcd", "client-cert-auth", "true"),
    _control("2.3", ETCD, "etcd makes itself no certificate", "not true", "not", "etcd", "auto-tls", ("true",)),
    _control("2.4", ETCD, "etcd has a certificate for its peers", "set", "set", "etcd", "peer-cert-file",
             "peer-key-file"),
    _control("2.5", ETCD, "etcd verifies its peers", "true", "is", "etcd", "peer-client-cert-auth", "true"),
    _control("2.6", ETCD, "etcd makes itself none for its peers", "not true", "not", "etcd", "peer-auto-tls",
             ("true",)),
    _control("2.7", ETCD, "etcd has an authority of its own", "another one than the API's clients", "authorities",
             level=2, automated=False),
    _manual("3.1.1", POLICIES, "People do not log in with certificates", "see who has admin.conf"),
    _manual("3.1.2", POLICIES, "People do not log in with tokens of service accounts", "see who has one"),
    _manual("3.1.3", POLICIES, "People do not log in with tokens of joins", "see kube-system for tokens that last"),
    _control("3.2.1", CONTROL_PLANE, "A policy of the audit log", "set", "set", _API, "audit-policy-file",
             automated=False),
    _manual("3.2.2", CONTROL_PLANE, "What the audit log has", "secrets, config maps, rights, exec, tokens", level=2),
    *_files("4.1.1", WORKER, "kubelet's unit", 0o600),
    *_files("4.1.3", WORKER, "kube-proxy's kubeconfig", 0o600, automated=False),
    *_files("4.1.5", WORKER, "kubelet's kubeconfig", 0o600),
    *_files("4.1.7", WORKER, "kubelet's authority", 0o644, automated=False),
    *_files("4.1.9", WORKER, "kubelet's configuration", 0o600),
    _control("4.2.1", WORKER, "Nobody asks the kubelet without saying who he is", "false",
             "kubelet", "authentication.anonymous.enabled", "is", False),
    _control("4.2.2", WORKER, "The kubelet does not allow everything", "Webhook",
             "kubelet", "authorization.mode", "not", "AlwaysAllow"),
    _control("4.2.3", WORKER, "The kubelet verifies clients", "set", "kubelet", "authentication.x509.clientCAFile",
             "set", None),
    _control("4.2.4", WORKER, "The kubelet has no port without login", "0", "kubelet", "readOnlyPort", "absent or", 0,
             automated=False),
    _control("4.2.5", WORKER, "Idle connections to containers end", "not 0",
             "kubelet", "streamingConnectionIdleTimeout", "not", "0s", automated=False),
    _control("4.2.6", WORKER, "The kubelet has its chains of iptables", "true",
             "kubelet", "makeIPTablesUtilChains", "absent or", True),
    _control("4.2.7", WORKER, "A node has the name of its host", "not set", "unset", "kubelet", "hostname-override",
             automated=False),
    _control("4.2.8", WORKER, "Events of the kubelet are kept", "0 (no limit) or more",
             "kubelet", "eventRecordQPS", "least", 0, level=2, automated=False),
    _control("4.2.9", WORKER, "The kubelet has a certificate", "true", "kubelet", "serverTLSBootstrap", "is", True,
             automated=False),
    _control("4.2.10", WORKER, "The kubelet renews its client certificate", "true",
             "kubelet", "rotateCertificates", "is", True),
    _control("4.2.11", WORKER, "The kubelet's certificate can be renewed", "not false",
             "kubelet", "featureGates.RotateKubeletServerCertificate", "absent or", True, automated=False),
    _control("4.2.12", WORKER, "Cipher suites of the kubelet", "strong ones alone",
             "kubelet", "tlsCipherSuites", "ciphers", None, automated=False),
    _control("4.2.13", WORKER, "A limit on a pod's processes", "1 or more", "kubelet", "podPidsLimit", "least", 1,
             automated=False),
    _control("4.2.14", WORKER, "Pods have a seccomp profile", "true", "kubelet", "seccompDefault", "is", True,
             automated=False),
    _control("4.3.1", WORKER, "Metrics of kube-proxy are for its host alone", "127.0.0.1 or ::1", "listens", 10249,
             automated=False),
    _control("5.1.1", POLICIES, "Who is cluster-admin", "none besides the cluster's own", "administrators",
             automated=False),
    _rights("5.1.2", "Who reads secrets", _READ, "", ("secrets",)),
    _control("5.1.3", POLICIES, "Roles with a wildcard", "none besides the cluster's own", "wildcards",
             automated=False),
    _rights("5.1.4", "Who makes pods", ("create",), "", ("pods",)),
    _control("5.1.5", POLICIES, "Default service accounts have no token",
             "automountServiceAccountToken false in every namespace", "default accounts", automated=False),
    _control("5.1.6", POLICIES, "Pods with a token", "none that does not need one", "tokens", automated=False),
    _manual("5.1.7", POLICIES, "Nobody is of the group system:masters", "see who has super-admin.conf"),
    _rights("5.1.8", "Who may bind, impersonate and escalate", ("bind", "impersonate", "escalate"), None, ()),
    _rights("5.1.9", "Who makes persistent volumes", ("create",), "", ("persistentvolumes",)),
    _rights("5.1.10", "Who asks kubelets through the API", ("*", "get", "create"), "", ("nodes/proxy",)),
    _rights("5.1.11", "Who approves requests for certificates", ("update", "patch"), "certificates.k8s.io",
            ("certificatesigningrequests/approval",)),
    _rights("5.1.12", "Who changes webhooks", _WRITE, "admissionregistration.k8s.io",
            ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")),
    _rights("5.1.13", "Who makes tokens", ("create",), "", ("serviceaccounts/token",)),
    _admission("5.2.1", "privileged", "Something judges pods"),
    _admission("5.2.2", "privileged", "Privileged containers"),
    _admission("5.2.3", "hostPID", "Processes of the host"),
    _admission("5.2.4", "hostIPC", "Memory of the host"),
    _admission("5.2.5", "hostNetwork", "Network of the host"),
    _admission("5.2.6", "escalation", "More rights than at the start"),
    _admission("5.2.7", "root", "Containers as root", level=2),
    _admission("5.2.8", "raw", "Raw packets"),
    _admission("5.2.9", "capabilities", "Capabilities", level=2),
    _admission("5.2.10", "windows", "Windows containers of the host"),
    _admission("5.2.11", "hostPath", "Directories of the host"),
    _admission("5.2.12", "hostPort", "Ports of the host"),
    _manual("5.3.1", POLICIES, "The network enforces NetworkPolicies", "one that does"),
    _control("5.3.2", POLICIES, "Namespaces have NetworkPolicies", "one in every namespace", "network policies",
             level=2, automated=False),
    _control("5.4.1", POLICIES, "Secrets come as files", "none as environment", "environment", level=2,
             automated=False),
    _manual("5.4.2", POLICIES, "Secrets come from outside", "a store of secrets, where there is one", level=2),
    _manual("5.5.1", POLICIES, "Where images come from is judged", "ImagePolicyWebhook, or another judge", level=2),
    _manual("5.6.1", POLICIES, "Namespaces part what is apart", "see the namespaces"),
    _control("5.6.2", POLICIES, "Pods name a seccomp profile", "RuntimeDefault or Localhost", "seccomp", level=2,
             automated=False),
    _manual("5.6.3", POLICIES, "Pods have a security context", "see what they run as", level=2),
    _control("5.6.4", POLICIES, "Nothing is in the namespace default", "no pod", "default namespace", level=2,
             automated=False),
)  # fmt: skip

#: How a control is checked, in words, by the first word of its check.
HOW = {
    "mode": "mode of the file",
    "owner": "owner of the file",
    "set": "command line of the process",
    "unset": "command line of the process",
    "is": "command line of the process",
    "not": "command line of the process",
    "has": "command line of the process",
    "lacks": "command line of the process",
    "least": "command line of the process",
    "ciphers": "command line of the process",
    "anonymous": "answer to a request for /api without login",
    "encryption": "configuration that the process was started with",
    "authorities": "authorities that the processes were started with",
    "kubelet": "configuration that the kubelet tells (/configz)",
    "listens": "sockets of the host",
    "admission": "answer to a pod that is not kept (dry run)",
    "manual": "by a person",
}
_BY_API = "objects in the API"


def _result(control, result, found, exceptions):
    how = HOW.get(control.check[0], _BY_API)
    return {
        "number": control.number,
        "title": control.title,
        "level": control.level,
        "automated": control.automated,
        "role": control.role,
        "how": how,
        "result": result,
        "found": found,
        "right": control.right,
        "reason": exceptions.get(control.number, "") if result == FAIL else "",
    }


def judge(facts, roles, exceptions=None):
    """Return the results of all controls of the roles, in the benchmark's order.

    :arg facts: of a host what C(kubernetes_benchmark_facts.read_host) returns, of a cluster C(read_cluster).
    :arg exceptions: further reasons by number, which come before those of C(EXCEPTIONS).
    """
    reasons = {**EXCEPTIONS, **(exceptions or {})}
    found = []
    for control in CONTROLS:
        if control.role in roles:
            kind, *words = control.check
            found.append(_result(control, *_JUDGES[kind](facts, *words), reasons))
    return found


def strangers(numbers):
    """Return those numbers that no control has, as a text."""
    return _names(set(numbers) - {control.number for control in CONTROLS})


def score(results):
    """Return how many controls have each result, and how many of a hundred that were judged have passed."""
    counts = {
        name: sum(1 for item in results if item["result"] == word)
        for name, word in (
            ("passed", PASS), ("failed", FAIL), ("manual", MANUAL), ("not_applicable", NOT_APPLICABLE),
        )
    }  # fmt: skip
    judged = counts["passed"] + counts["failed"]
    excepted = sum(1 for item in results if item["reason"])
    return {**counts, "excepted": excepted, "percent": round(100 * counts["passed"] / judged, 1) if judged else None}


def _verdict(good, found):
    return (PASS if good else FAIL), found


def _names(items, limit=8):
    """Return names as one text, the first ones alone of a long list."""
    names = sorted(set(items))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _judge_mode(facts, name, limit):
    files = facts["files"][name]
    if not files:
        return NOT_APPLICABLE, "no such file"
    bad = [item for item in files if item["mode"] & 0o7777 & ~limit]
    return _verdict(not bad, _names(f"{item['path']} {item['mode']:o}" for item in bad or files))


def _judge_owner(facts, name, owner):
    files = facts["files"][name]
    if not files:
        return NOT_APPLICABLE, "no such file"
    bad = [item for item in files if item["owner"] != owner]
    return _verdict(not bad, _names(f"{item['path']} {item['owner']}" for item in bad or files))


def _with_arguments(judge_arguments):
    """Return a judge of a process's arguments, which fails where it does not run."""

    def run(facts, part, *words):
        arguments = facts["arguments"].get(part)
        if arguments is None:
            return FAIL, f"no process {part} runs"
        return judge_arguments(arguments, *words)

    return run


def _shown(arguments, *names):
    return ", ".join(f"--{name}={arguments[name]}" if name in arguments else f"no --{name}" for name in names)


def _items(arguments, name, default=""):
    return [item.strip() for item in arguments.get(name, default).split(",") if item.strip()]


def _judge_set(arguments, *names):
    return _verdict(all(arguments.get(name) for name in names), _shown(arguments, *names))


def _judge_unset(arguments, name):
    return _verdict(name not in arguments, _shown(arguments, name))


def _judge_is(arguments, name, value):
    return _verdict(arguments.get(name) == value, _shown(arguments, name))


def _judge_not(arguments, name, values):
    return _verdict(arguments.get(name) not in values, _shown(arguments, name))


def _judge_has(arguments, name, item):
    return _verdict(item in _items(arguments, name), _shown(arguments, name))


def _judge_lacks(arguments, name, item, default):
    return _verdict(item not in _items(arguments, name, default), _shown(arguments, name))


def _judge_least(arguments, name, least):
    value = arguments.get(name, "")
    return _verdict(value.isdigit() and int(value) >= least, _shown(arguments, name))


def _weak(suites):
    return [suite for suite in suites if suite not in STRONG_CIPHERS]


def _judge_ciphers(arguments, name):
    suites = _items(arguments, name)
    return _verdict(suites and not _weak(suites), _names(_weak(suites)) or _shown(arguments, name))


def _judge_anonymous(facts):
    status = facts["anonymous"]
    if not status:
        return MANUAL, "no answer"
    return _verdict(status == 401, str(status))


def _judge_encryption(facts):
    first = facts["encryption"]
    if not first:
        return FAIL, "no providers"
    return _verdict(all(name in ENCRYPTING for name in first), f"{', '.join(first)} first")


def _judge_authorities(facts):
    etcd, clients = facts["authorities"]["etcd"], facts["authorities"]["clients"]
    if not etcd or not clients:
        return FAIL, "they cannot be read"
    return _verdict(etcd != clients, "another one" if etcd != clients else "the same one")


def _judge_kubelet(facts, path, rule, wanted):
    config = facts["kubelet"]
    if not config:
        return MANUAL, "the kubelet has not told it"
    value = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    found = f"{path} {'is not set' if value is None else value}"
    if rule == "ciphers":
        return _verdict(bool(value) and not _weak(value), f"{path} {_names(value or []) or 'is not set'}")
    good = {
        "is": value == wanted,
        "set": bool(value),
        "not": value is not None and value != wanted,
        "absent or": value is None or value == wanted,
        "least": isinstance(value, int) and value >= (wanted or 0),
    }[rule]
    return _verdict(good, found)


def _judge_listens(facts, port):
    addresses = facts["listens"].get(port, [])
    if not addresses:
        return MANUAL, f"nothing listens on port {port}"
    return _verdict(all(address in ("127.0.0.1", "::1") for address in addresses), _names(addresses))


def _judge_manual(_facts):
    return MANUAL, ""


#: Namespaces of the cluster's own, whose pods need what others may not have.
OWN_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
#: A pod that every namespace may admit, and what each of the others has that is not for everybody.
_HARMLESS = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
    "automountServiceAccountToken": False,
    "containers": [
        {
            "name": "none",
            "image": "registry.k8s.io/pause:3.10",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
VIOLATIONS = {
    "harmless": ({}, {}),
    "privileged": ({}, {"securityContext": {"privileged": True}}),
    "hostPID": ({"hostPID": True}, {}),
    "hostIPC": ({"hostIPC": True}, {}),
    "hostNetwork": ({"hostNetwork": True}, {}),
    "escalation": (
        {},
        {"securityContext": {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["ALL"]}}},
    ),
    "root": ({"securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}}, {}),
    "raw": ({}, {"securityContext": {"allowPrivilegeEscalation": False}}),
    "capabilities": (
        {},
        {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}},
    ),
    "windows": (
        {
            "os": {"name": "windows"},
            "hostNetwork": True,
            "securityContext": {"windowsOptions": {"hostProcess": True}},
        },
        {"securityContext": {}},
    ),
    "hostPath": ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, {}),
    "hostPort": ({}, {"ports": [{"containerPort": 8080, "hostPort": 8080}]}),
}
#: Who stands for nobody in particular.
EVERYBODY = ("system:authenticated", "system:unauthenticated", "system:anonymous", "system:serviceaccounts")
_DEFAULTS = ("kubernetes.io/bootstrapping", "rbac-defaults")
_OWN_SUBJECTS = ("system:masters", "kubeadm:cluster-admins")


def _metadata(item):
    return item.get("metadata") or {}


def _is_default(item):
    """Tell whether Kubernetes or kubeadm has made a role or a binding."""
    metadata = _metadata(item)
    return (metadata.get("labels") or {}).get(_DEFAULTS[0]) == _DEFAULTS[1] or metadata["name"].startswith("kubeadm:")


def _full_name(item):
    metadata = _metadata(item)
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else metadata["name"]


def _subject(item):
    namespace = item.get("namespace")
    return f"{item['kind']} {namespace + '/' if namespace else ''}{item['name']}"


def _grants(rule, verbs, group, resources):
    """Tell whether a rule gives one of the verbs on one of the resources, on whichever it names if there are none."""
    groups, named = rule.get("apiGroups") or [], rule.get("resources") or []
    if not resources:
        return bool(set(verbs) & set(rule.get("verbs") or []))
    # Whoever has every right is named by 5.1.1 and 5.1.3.
    if "*" in named and "*" in (rule.get("verbs") or []):
        return False
    return bool(
        {group, "*"} & set(groups) and {*verbs, "*"} & set(rule.get("verbs") or []) and {*resources, "*"} & set(named)
    )


def _holders(facts, grants):
    """Return (who has a right besides the cluster's own, which of them is everybody)."""
    rules = {("ClusterRole", "", _metadata(item)["name"]): item.get("rules") or [] for item in facts["cluster_roles"]}
    rules.update(
        {("Role", _metadata(item)["namespace"], _metadata(item)["name"]): item.get("rules") or []
         for item in facts["roles"]}
    )  # fmt: skip
    named, everybody = [], []
    for binding in facts["cluster_role_bindings"] + facts["role_bindings"]:
        role = binding["roleRef"]
        namespace = _metadata(binding).get("namespace", "") if role["kind"] == "Role" else ""
        if not any(grants(rule) for rule in rules.get((role["kind"], namespace, role["name"]), [])):
            continue
        for subject in binding.get("subjects") or []:
            if subject["name"] in EVERYBODY or subject["name"].startswith("system:serviceaccounts:"):
                everybody.append(_subject(subject))
            elif not _is_default(binding):
                named.append(_subject(subject))
    return named, everybody


def _listed(names, everybody=()):
    """Return the verdict on who or what a person has to look at: none is good, everybody is not."""
    if everybody:
        return FAIL, _names(everybody)
    return (MANUAL, _names(names)) if names else (PASS, "none")


def _judge_rights(facts, verbs, group, resources):
    return _listed(*_holders(facts, lambda rule: _grants(rule, verbs, group, resources)))


def _judge_administrators(facts):
    named, everybody = [], []
    for binding in facts["cluster_role_bindings"] + facts["role_bindings"]:
        if binding["roleRef"]["kind"] == "ClusterRole" and binding["roleRef"]["name"] == "cluster-admin":
            for subject in binding.get("subjects") or []:
                if subject["name"] in EVERYBODY:
                    everybody.append(_subject(subject))
                elif subject["name"] not in _OWN_SUBJECTS:
                    named.append(_subject(subject))
    return _listed(named, everybody)


def _judge_wildcards(facts):
    return _listed(
        [
            _full_name(role)
            for role in facts["cluster_roles"] + facts["roles"]
            if not _is_default(role)
            and any("*" in (rule.get(key) or []) for rule in role.get("rules") or [] for key in ("verbs", "resources"))
        ]
    )


def _judge_default_accounts(facts):
    bad = [
        _metadata(item)["namespace"]
        for item in facts["service_accounts"]
        if _metadata(item)["name"] == "default" and item.get("automountServiceAccountToken") is not False
    ]
    return _verdict(not bad, f"with a token in {_names(bad)}" if bad else "none with a token")


def _users_pods(facts):
    return [item for item in facts["pods"] if _metadata(item)["namespace"] not in OWN_NAMESPACES]


def _users_namespaces(facts):
    return [name for name in facts["namespaces"] if name not in OWN_NAMESPACES]


def _containers(pod):
    spec = pod["spec"]
    return (spec.get("containers") or []) + (spec.get("initContainers") or [])


def _judge_tokens(facts):
    return _listed(
        [
            _full_name(pod)
            for pod in _users_pods(facts)
            if any(
                "serviceAccountToken" in source
                for volume in pod["spec"].get("volumes") or []
                for source in (volume.get("projected") or {}).get("sources") or []
            )
        ]
    )


def _judge_environment(facts):
    def from_secret(container):
        single = any((entry.get("valueFrom") or {}).get("secretKeyRef") for entry in container.get("env") or [])
        return single or any(entry.get("secretRef") for entry in container.get("envFrom") or [])

    return _listed([_full_name(pod) for pod in facts["pods"] if any(from_secret(item) for item in _containers(pod))])


def _judge_seccomp(facts):
    def profile(item):
        return ((item.get("securityContext") or {}).get("seccompProfile") or {}).get("type", "")

    good = ("RuntimeDefault", "Localhost")
    return _listed(
        [
            _full_name(pod)
            for pod in _users_pods(facts)
            if any((profile(item) or profile(pod["spec"])) not in good for item in _containers(pod))
        ]
    )


def _judge_default_namespace(facts):
    found = [_metadata(pod)["name"] for pod in facts["pods"] if _metadata(pod)["namespace"] == "default"]
    return _verdict(not found, _names(found) or "none")


def _judge_network_policies(facts):
    bare = sorted(set(_users_namespaces(facts)) - set(facts["network_policies"]))
    return _verdict(not bare, f"none in {_names(bare)}" if bare else "in all")


_MADE, _FORBIDDEN = 201, 403


def _judge_admission(facts, kind):
    """A namespace that does not admit a harmless pod either (a quota, for example) says nothing about the other one."""
    answers = facts["admission"]
    admitted, unknown = [], []
    for namespace in _users_namespaces(facts):
        answer = answers.get(namespace, {})
        if answer.get(kind) == _MADE:
            admitted.append(namespace)
        elif answer.get("harmless") != _MADE or answer.get(kind) != _FORBIDDEN:
            unknown.append(namespace)
    if admitted:
        return FAIL, f"admitted in {_names(admitted)}"
    if unknown:
        return MANUAL, f"no clear answer in {_names(unknown)}"
    return PASS, "refused"


def violation(name):
    """Return a pod for a dry run, as the API takes it."""
    of_pod, of_container = VIOLATIONS[name]
    container = {**_HARMLESS["containers"][0], **of_container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "benchmark-"},
        "spec": {**_HARMLESS, **of_pod, "containers": [container]},
    }


_JUDGES = {
    "mode": _judge_mode,
    "owner": _judge_owner,
    "set": _with_arguments(_judge_set),
    "unset": _with_arguments(_judge_unset),
    "is": _with_arguments(_judge_is),
    "not": _with_arguments(_judge_not),
    "has": _with_arguments(_judge_has),
    "lacks": _with_arguments(_judge_lacks),
    "least": _with_arguments(_judge_least),
    "ciphers": _with_arguments(_judge_ciphers),
    "anonymous": _judge_anonymous,
    "encryption": _judge_encryption,
    "authorities": _judge_authorities,
    "kubelet": _judge_kubelet,
    "listens": _judge_listens,
    "manual": _judge_manual,
    "administrators": _judge_administrators,
    "rights": _judge_rights,
    "wildcards": _judge_wildcards,
    "default accounts": _judge_default_accounts,
    "tokens": _judge_tokens,
    "environment": _judge_environment,
    "seccomp": _judge_seccomp,
    "default namespace": _judge_default_namespace,
    "network policies": _judge_network_policies,
    "admission": _judge_admission,
}
