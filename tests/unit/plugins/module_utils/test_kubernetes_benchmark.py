"""The controls of the CIS Kubernetes Benchmark: each passes on a host or cluster as it must be, and not on another."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes_benchmark as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_benchmark as benchmark
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_benchmark_facts as reading

API = {
    "anonymous-auth": "false",
    "audit-log-maxage": "30",
    "audit-log-maxbackup": "10",
    "audit-log-maxsize": "100",
    "audit-log-path": "/var/log/audit.log",
    "audit-policy-file": "/etc/audit.yaml",
    "authorization-mode": "Node,RBAC",
    "client-ca-file": "/ca.crt",
    "enable-admission-plugins": "NodeRestriction,EventRateLimit,DenyServiceExternalIPs,AlwaysPullImages",
    "encryption-provider-config": "/encryption.yaml",
    "etcd-cafile": "/etcd.crt",
    "etcd-certfile": "/a.crt",
    "etcd-keyfile": "/a.key",
    "kubelet-certificate-authority": "/b.crt",
    "kubelet-client-certificate": "/c.crt",
    "kubelet-client-key": "/c.key",
    "profiling": "false",
    "service-account-extend-token-expiration": "false",
    "service-account-key-file": "/sa.pub",
    "tls-cert-file": "/d.crt",
    "tls-cipher-suites": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "tls-private-key-file": "/d.key",
}
MANAGER = {
    "bind-address": "127.0.0.1",
    "profiling": "false",
    "root-ca-file": "/ca.crt",
    "service-account-private-key-file": "/sa.key",
    "terminated-pod-gc-threshold": "1000",
    "use-service-account-credentials": "true",
}
ETCD = {
    "cert-file": "/a.crt",
    "client-cert-auth": "true",
    "key-file": "/a.key",
    "peer-cert-file": "/b.crt",
    "peer-client-cert-auth": "true",
    "peer-key-file": "/b.key",
}
KUBELET = {
    "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": "/ca.crt"}},
    "authorization": {"mode": "Webhook"},
    "eventRecordQPS": 50,
    "makeIPTablesUtilChains": True,
    "podPidsLimit": 4096,
    "rotateCertificates": True,
    "seccompDefault": True,
    "streamingConnectionIdleTimeout": "5m0s",
    "serverTLSBootstrap": True,
    "tlsCipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
}
MODES = {"etcd's data": 0o700, "PKI's certificates": 0o644, "kubelet's authority": 0o644, "PKI": 0o755}


def file(name):
    owner = "etcd:etcd" if name == "etcd's data" else "root:root"
    return {"path": f"/{name}", "mode": MODES.get(name, 0o600), "owner": owner}


HOST = {
    "arguments": {
        "etcd": ETCD,
        "kube-apiserver": API,
        "kube-controller-manager": MANAGER,
        "kube-scheduler": {"bind-address": "127.0.0.1", "profiling": "false"},
        "kubelet": {"config": "/var/lib/kubelet/config.yaml"},
    },
    "files": {name: [file(name)] for name in benchmark.FILES},
    "kubelet": KUBELET,
    "listens": {10249: ["127.0.0.1"]},
    "anonymous": 401,
    "encryption": ["secretbox"],
    "authorities": {"etcd": "a", "clients": "b"},
}
DEFAULT = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def role(name, rules, namespace=None, labels=None):
    metadata = {"name": name, "labels": labels or {}, **({"namespace": namespace} if namespace else {})}
    return {"metadata": metadata, "rules": rules}


def rule(verbs, resources, group=""):
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def binding(name, subject, kind="Group", of="ClusterRole", namespace=None, labels=None):
    return {
        **role(name, None, namespace, labels),
        "roleRef": {"kind": of, "name": name},
        "subjects": [{"kind": kind, "name": subject, **({"namespace": "trading"} if kind == "ServiceAccount" else {})}],
    }


def pod(name="web", namespace="trading", container=None, **spec):
    secure = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**secure, "containers": [{"name": "a", **(container or {})}], **spec},
    }


ANSWERS = {name: 201 if name == "harmless" else 403 for name in benchmark.VIOLATIONS}
CLUSTER = {
    "cluster_roles": [
        role("cluster-admin", [rule(["*"], ["*"], "*")], labels=DEFAULT),
        role("system:reader", [rule(["get"], ["secrets"])], labels=DEFAULT),
    ],
    "cluster_role_bindings": [
        binding("cluster-admin", "system:masters", labels=DEFAULT),
        binding("system:reader", "system:kube-controller-manager", "User", labels=DEFAULT),
    ],
    "roles": [],
    "role_bindings": [],
    "service_accounts": [
        {"metadata": {"name": "default", "namespace": "trading"}, "automountServiceAccountToken": False}
    ],
    "pods": [pod()],
    "namespaces": ["default", "kube-system", "trading"],
    "network_policies": ["default", "trading"],
    "admission": {"default": ANSWERS, "trading": ANSWERS},
}


def changed(facts, path, value):
    """A copy with another value at a path; without one it is taken away."""
    found = copy.deepcopy(facts)
    *way, last = path
    place = found
    for key in way:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return found


def argument(part, name, value=None):
    return ("arguments", part, name), value


def api(name, value=None):
    return argument("kube-apiserver", name, value)


def manager(name, value=None):
    return argument("kube-controller-manager", name, value)


def mode(name, value):
    return ("files", name, 0, "mode"), value


def owner(name):
    return ("files", name, 0, "owner"), "somebody:root"


def admitted(kind):
    return ("admission", "trading", kind), 201


def right(rules):
    """A role of users' own, which is bound."""
    return ("cluster_roles",), [role("own", [rules])]


OWN_BINDING = [binding("own", "team")]
#: What spoils each control.
BAD_HOST = {
    "1.1.1": mode("API server's manifest", 0o644),
    "1.1.2": owner("API server's manifest"),
    "1.1.3": mode("controller manager's manifest", 0o640),
    "1.1.4": owner("controller manager's manifest"),
    "1.1.5": mode("scheduler's manifest", 0o604),
    "1.1.6": owner("scheduler's manifest"),
    "1.1.7": mode("etcd's manifest", 0o700),
    "1.1.8": owner("etcd's manifest"),
    "1.1.9": mode("CNI's configuration", 0o644),
    "1.1.10": owner("CNI's configuration"),
    "1.1.11": mode("etcd's data", 0o755),
    "1.1.12": (("files", "etcd's data", 0, "owner"), "root:root"),
    "1.1.13": mode("administrators' kubeconfig", 0o644),
    "1.1.14": owner("administrators' kubeconfig"),
    "1.1.15": mode("scheduler's kubeconfig", 0o644),
    "1.1.16": owner("scheduler's kubeconfig"),
    "1.1.17": mode("controller manager's kubeconfig", 0o644),
    "1.1.18": owner("controller manager's kubeconfig"),
    "1.1.19": owner("PKI"),
    "1.1.20": mode("PKI's certificates", 0o664),
    "1.1.21": mode("PKI's keys", 0o640),
    "1.2.1": (("anonymous",), 403),
    "1.2.2": api("token-auth-file", "/tokens"),
    "1.2.3": api("enable-admission-plugins", "NodeRestriction"),
    "1.2.4": api("kubelet-client-key"),
    "1.2.5": api("kubelet-certificate-authority"),
    "1.2.6": api("authorization-mode", "RBAC,AlwaysAllow"),
    "1.2.7": api("authorization-mode", "RBAC"),
    "1.2.8": api("authorization-mode", "Node"),
    "1.2.9": api("enable-admission-plugins"),
    "1.2.10": api("enable-admission-plugins", "AlwaysAdmit"),
    "1.2.11": api("enable-admission-plugins", "NodeRestriction"),
    "1.2.12": api("disable-admission-plugins", "ServiceAccount"),
    "1.2.13": api("disable-admission-plugins", "NamespaceLifecycle, X"),
    "1.2.14": api("enable-admission-plugins", "EventRateLimit"),
    "1.2.15": api("profiling"),
    "1.2.16": api("audit-log-path"),
    "1.2.17": api("audit-log-maxage", "29"),
    "1.2.18": api("audit-log-maxbackup"),
    "1.2.19": api("audit-log-maxsize", "many"),
    "1.2.20": api("request-timeout", "0s"),
    "1.2.21": api("service-account-lookup", "false"),
    "1.2.22": api("service-account-key-file"),
    "1.2.23": api("etcd-certfile"),
    "1.2.24": api("tls-private-key-file"),
    "1.2.25": api("client-ca-file"),
    "1.2.26": api("etcd-cafile"),
    "1.2.27": api("encryption-provider-config"),
    "1.2.28": (("encryption",), ["secretbox", "identity"]),
    "1.2.29": api("tls-cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    "1.2.30": api("service-account-extend-token-expiration"),
    "1.3.1": manager("terminated-pod-gc-threshold"),
    "1.3.2": manager("profiling", "true"),
    "1.3.3": manager("use-service-account-credentials"),
    "1.3.4": manager("service-account-private-key-file"),
    "1.3.5": manager("root-ca-file"),
    "1.3.6": manager("feature-gates", "A=true,RotateKubeletServerCertificate=false"),
    "1.3.7": manager("bind-address", "0.0.0.0"),
    "1.4.1": argument("kube-scheduler", "profiling"),
    "1.4.2": (("arguments", "kube-scheduler"), None),
    "2.1": argument("etcd", "key-file"),
    "2.2": argument("etcd", "client-cert-auth", "false"),
    "2.3": argument("etcd", "auto-tls", "true"),
    "2.4": argument("etcd", "peer-cert-file"),
    "2.5": argument("etcd", "peer-client-cert-auth"),
    "2.6": argument("etcd", "peer-auto-tls", "true"),
    "2.7": (("authorities", "etcd"), "b"),
    "3.2.1": api("audit-policy-file"),
    "4.1.1": mode("kubelet's unit", 0o644),
    "4.1.2": owner("kubelet's unit"),
    "4.1.3": mode("kube-proxy's kubeconfig", 0o644),
    "4.1.4": owner("kube-proxy's kubeconfig"),
    "4.1.5": mode("kubelet's kubeconfig", 0o644),
    "4.1.6": owner("kubelet's kubeconfig"),
    "4.1.7": mode("kubelet's authority", 0o666),
    "4.1.8": owner("kubelet's authority"),
    "4.1.9": mode("kubelet's configuration", 0o644),
    "4.1.10": owner("kubelet's configuration"),
    "4.2.1": (("kubelet", "authentication", "anonymous", "enabled"), True),
    "4.2.2": (("kubelet", "authorization", "mode"), "AlwaysAllow"),
    "4.2.3": (("kubelet", "authentication", "x509"), None),
    "4.2.4": (("kubelet", "readOnlyPort"), 10255),
    "4.2.5": (("kubelet", "streamingConnectionIdleTimeout"), "0s"),
    "4.2.6": (("kubelet", "makeIPTablesUtilChains"), False),
    "4.2.7": argument("kubelet", "hostname-override", "ip-10-20-0-4.ec2.internal"),
    "4.2.8": (("kubelet", "eventRecordQPS"), -1),
    "4.2.9": (("kubelet", "serverTLSBootstrap"), None),
    "4.2.10": (("kubelet", "rotateCertificates"), None),
    "4.2.11": (("kubelet", "featureGates"), {"RotateKubeletServerCertificate": False}),
    "4.2.12": (("kubelet", "tlsCipherSuites"), None),
    "4.2.13": (("kubelet", "podPidsLimit"), -1),
    "4.2.14": (("kubelet", "seccompDefault"), None),
    "4.3.1": (("listens", 10249), ["127.0.0.1", "10.20.0.4"]),
}
TOKEN = {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}
#: What spoils each control of a cluster, and to what.
BAD_CLUSTER = {
    "5.1.1": ((("cluster_role_bindings", 0, "subjects", 0, "name"), "team"), "manual"),
    "5.1.2": (right(rule(["list"], ["secrets"])), "manual"),
    "5.1.3": (right(rule(["*"], ["configmaps"])), "manual"),
    "5.1.4": (right(rule(["create"], ["pods"])), "manual"),
    "5.1.5": ((("service_accounts", 0, "automountServiceAccountToken"), None), "fail"),
    "5.1.6": ((("pods",), [pod(**TOKEN)]), "manual"),
    "5.1.8": (right(rule(["bind"], ["clusterroles"], "rbac.authorization.k8s.io")), "manual"),
    "5.1.9": (right(rule(["*"], ["persistentvolumes"])), "manual"),
    "5.1.10": (right(rule(["get"], ["nodes/proxy"])), "manual"),
    "5.1.11": (
        right(rule(["update"], ["certificatesigningrequests/approval"], "certificates.k8s.io")),
        "manual",
    ),
    "5.1.12": (
        right(rule(["patch"], ["mutatingwebhookconfigurations"], "admissionregistration.k8s.io")),
        "manual",
    ),
    "5.1.13": (right(rule(["create"], ["serviceaccounts/token"])), "manual"),
    "5.2.1": (admitted("privileged"), "fail"),
    "5.2.2": (admitted("privileged"), "fail"),
    "5.2.3": (admitted("hostPID"), "fail"),
    "5.2.4": (admitted("hostIPC"), "fail"),
    "5.2.5": (admitted("hostNetwork"), "fail"),
    "5.2.6": (admitted("escalation"), "fail"),
    "5.2.7": (admitted("root"), "fail"),
    "5.2.8": (admitted("raw"), "fail"),
    "5.2.9": (admitted("capabilities"), "fail"),
    "5.2.10": (admitted("windows"), "fail"),
    "5.2.11": (admitted("hostPath"), "fail"),
    "5.2.12": (admitted("hostPort"), "fail"),
    "5.3.2": ((("network_policies",), ["default"]), "fail"),
    "5.4.1": ((("pods",), [pod(container={"envFrom": [{"secretRef": {"name": "a"}}]})]), "manual"),
    "5.6.2": ((("pods",), [pod(securityContext={})]), "manual"),
    "5.6.4": ((("pods",), [pod(namespace="default")]), "fail"),
}
ROLES = [benchmark.CONTROL_PLANE, benchmark.ETCD, benchmark.WORKER]


def judged(facts, roles=None):
    return {item["number"]: item for item in benchmark.judge(facts, roles or ROLES)}


def judged_cluster(facts):
    return judged(facts, [benchmark.POLICIES])


def by_a_person():
    return {control.number for control in benchmark.CONTROLS if control.check == ("manual",)}


def test_there_is_a_good_and_a_bad_case_of_every_control_that_is_judged():
    numbers = [control.number for control in benchmark.CONTROLS]
    assert len(set(numbers)) == len(numbers) == 131
    assert set(numbers) - by_a_person() == set(BAD_HOST) | set(BAD_CLUSTER)
    assert sum(control.automated for control in benchmark.CONTROLS) == 64


def test_a_host_and_a_cluster_as_they_must_be_pass_all_that_is_judged():
    for found in (judged(HOST), judged_cluster(CLUSTER)):
        results = {number: item["result"] for number, item in found.items()}
        assert results == {number: "manual" if number in by_a_person() else "pass" for number in found}


@pytest.mark.parametrize("number", BAD_HOST)
def test_what_is_not_right_on_a_host_fails(number):
    found = judged(changed(HOST, *BAD_HOST[number]))
    assert found[number]["result"] == "fail"
    assert found[number]["found"] and found[number]["right"]


@pytest.mark.parametrize("number", BAD_CLUSTER)
def test_what_is_not_right_in_a_cluster_fails_or_is_named(number):
    change, result = BAD_CLUSTER[number]
    facts = changed(CLUSTER, *change)
    if change[0] == ("cluster_roles",):
        facts["cluster_role_bindings"] = OWN_BINDING
    found = judged_cluster(facts)
    assert found[number]["result"] == result and found[number]["found"]


def test_a_right_of_everybody_fails_whoever_has_given_it():
    facts = changed(CLUSTER, ("cluster_role_bindings", 1, "subjects", 0, "name"), "system:authenticated")
    assert judged_cluster(facts)["5.1.2"]["result"] == "fail"


def test_a_role_of_a_namespace_is_not_taken_for_another_ones():
    facts = copy.deepcopy(CLUSTER)
    facts["roles"] = [role("own", [rule(["get"], ["secrets"])], "a"), role("own", [rule(["get"], ["pods"])], "b")]
    facts["role_bindings"] = [binding("own", "team", of="Role", namespace="b")]
    assert judged_cluster(facts)["5.1.2"]["result"] == "pass"
    facts["role_bindings"] = [binding("own", "web", "ServiceAccount", of="Role", namespace="a")]
    assert judged_cluster(facts)["5.1.2"]["found"] == "ServiceAccount trading/web"


def test_a_namespace_that_admits_nothing_says_nothing():
    facts = changed(CLUSTER, ("admission", "trading"), dict.fromkeys(ANSWERS, 403))
    assert {judged_cluster(facts)[number]["result"] for number in ("5.2.1", "5.2.12")} == {"manual"}
    facts = changed(CLUSTER, ("admission", "trading", "root"), 422)
    assert judged_cluster(facts)["5.2.7"]["result"] == "manual"


def test_a_control_plane_without_its_processes_fails():
    found = judged(changed(HOST, ("arguments",), {}))
    assert found["1.2.2"]["result"] == "fail" and found["1.2.2"]["found"] == "no process kube-apiserver runs"


def test_what_a_host_does_not_have_is_not_judged():
    found = judged(changed(HOST, ("files", "kube-proxy's kubeconfig"), []), [benchmark.WORKER])
    assert found["4.1.3"]["result"] == "not applicable" and "1.1.1" not in found


def test_a_kubelet_that_tells_nothing_is_for_a_person():
    assert judged(changed(HOST, ("kubelet",), {}))["4.2.1"]["result"] == "manual"


def test_the_score_counts_what_was_judged_and_reasons_change_nothing():
    found = list(judged(changed(HOST, *BAD_HOST["1.1.12"])).values())
    score = benchmark.score(found)
    assert (score["failed"], score["excepted"]) == (1, 1)
    assert score["percent"] == round(100 * score["passed"] / (score["passed"] + 1), 1)
    (failed,) = [item for item in found if item["result"] == "fail"]
    assert failed["reason"] == benchmark.EXCEPTIONS["1.1.12"]
    own = benchmark.judge(changed(HOST, *BAD_HOST["1.1.12"]), ROLES, {"1.1.12": "Ours."})
    assert [item["reason"] for item in own if item["reason"]] == ["Ours."]
    assert benchmark.score([])["percent"] is None


def test_a_reason_for_a_control_that_does_not_exist_is_named():
    assert benchmark.strangers({"1.1.12": "Ours.", "9.9": "x", "5.1": "y"}) == "5.1, 9.9"
    assert benchmark.strangers(benchmark.EXCEPTIONS) == ""


def places():
    bad = changed(HOST, *BAD_HOST["1.1.12"])
    bad["arguments"]["kube-apiserver"]["profiling"] = "<b>"
    found = {"control-1": benchmark.judge(bad, ROLES), "cluster": benchmark.judge(CLUSTER, [benchmark.POLICIES])}
    return {name: {"controls": controls, "score": benchmark.score(controls)} for name, controls in found.items()}


def test_the_lines_say_what_failed_and_why():
    lines = filters.kubernetes_benchmark_report(places())
    assert lines[0].startswith("control-1: 9") and "2 failed (1 with a reason)" in lines[0]
    assert lines[1].startswith("  1.1.12 etcd's data: owner: /etcd's data root:root; right: etcd:etcd (kubeadm")
    assert lines[-1].startswith("all: ")


def test_the_page_is_whole_and_shows_nothing_as_markup():
    page = filters.kubernetes_benchmark_page(places(), "trading")
    assert page.startswith("<!doctype html>") and page.endswith("</body></html>\n")
    assert "--profiling=&lt;b&gt;" in page and "<b>" not in page
    for control in benchmark.CONTROLS:
        assert f"<td>{control.number}</td>" in page
    assert "src=" not in page and "href=" not in page


def test_arguments_are_read_in_both_forms():
    words = ["--a=1", "--b", "2", "--c", "--d=x=y"]
    assert reading.arguments(words) == {"a": "1", "b": "2", "c": "true", "d": "x=y"}
    assert reading.environment(["ETCD_CERT_FILE=/a", "PATH=/bin"]) == {"cert-file": "/a"}


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


SOCKETS = """  sl  local_address rem_address   st
   0: 0100007F:2809 00000000:0000 0A
   1: 0400140A:2809 00000000:0000 01
"""
SOCKETS6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A
"""


@pytest.fixture
def root(tmp_path):
    """A control plane, as its files tell it."""
    commands = {
        11: ["/usr/local/bin/kubelet", "--config=/var/lib/kubelet/config.yaml", "--kubeconfig=/etc/k/kubelet.conf"],
        12: ["kube-apiserver", "--encryption-provider-config=/etc/k/encryption.yaml", "--client-ca-file=/ca.crt"],
        13: ["etcd", "--data-dir=/var/lib/etcd/data", "--trusted-ca-file=/etcd.crt"],
        14: ["/usr/bin/kube-apiserver", "--profiling=true"],
        15: [],
    }
    for number, words in commands.items():
        write(tmp_path / f"proc/{number}/cmdline", "".join(f"{word}\0" for word in words))
        write(tmp_path / f"proc/{number}/environ", "ETCD_AUTO_TLS=true\0ETCD_DATA_DIR=/other\0")
    write(tmp_path / "proc/net/tcp", SOCKETS)
    write(tmp_path / "proc/net/tcp6", SOCKETS6)
    write(
        tmp_path / "etc/k/encryption.yaml",
        "resources:\n- providers:\n  - secretbox:\n      keys: []\n  - identity: {}\n",
    )
    write(tmp_path / "ca.crt", "clients")
    write(tmp_path / "etcd.crt", "etcd")
    write(tmp_path / "var/lib/kubelet/config.yaml", "", 0o640)
    write(tmp_path / "etc/kubernetes/pki/etcd/ca.key", "", 0o600)
    write(tmp_path / "var/lib/etcd/data/member", "")
    (tmp_path / "etc/kubernetes/pki/gone.key").symlink_to("nowhere")
    return tmp_path


class Anonymous:
    def request(self, _method, path):
        assert path == "/api"
        return 401, ""


def test_a_host_is_read_as_it_runs(root):
    found = reading.read_host(Anonymous(), KUBELET, str(root))
    assert found["arguments"]["kube-apiserver"]["client-ca-file"] == "/ca.crt"
    assert found["arguments"]["etcd"]["auto-tls"] == "true" and found["arguments"]["etcd"]["data-dir"].endswith("data")
    assert found["encryption"] == ["secretbox"] and found["anonymous"] == 401
    assert found["authorities"]["etcd"] != found["authorities"]["clients"] != ""
    assert found["listens"][10249] == ["127.0.0.1"] and found["listens"][10250] == ["::"]
    files = found["files"]
    assert [item["path"] for item in files["etcd's data"]] == ["/var/lib/etcd/data"]
    assert [(item["path"], item["mode"]) for item in files["PKI's keys"]] == [
        ("/etc/kubernetes/pki/etcd/ca.key", 0o600)
    ]
    assert files["kubelet's configuration"][0]["mode"] == 0o640
    assert files["kube-proxy's kubeconfig"] == [] and files["kubelet's authority"][0]["path"] == "/ca.crt"
    assert {item["path"] for item in files["PKI"]} >= {"/etc/kubernetes/pki", "/etc/kubernetes/pki/etcd"}
    assert files["PKI"][0]["owner"].count(":") == 1


class Api:
    """An API server that refuses all pods but harmless ones."""

    def __init__(self):
        self.tried = []

    def call(self, _method, path):
        if path.endswith("/configz"):
            if "lost" in path:
                raise reading.kubernetes.KubernetesError("no answer", 503)
            return {"kubeletconfig": KUBELET}
        if path == "/api/v1/nodes":
            return {"items": [{"metadata": {"name": "lost"}}, {"metadata": {"name": "well"}}]}
        if path == "/api/v1/namespaces":
            return {"items": [{"metadata": {"name": name}} for name in ("kube-system", "trading")]}
        return {"items": []}

    def request(self, method, path, body):
        assert (method, path) == ("POST", "/api/v1/namespaces/trading/pods?dryRun=All")
        self.tried.append(body)
        return 201 if body == benchmark.violation("harmless") else 403, ""


def test_a_cluster_is_read_and_pods_are_only_tried():
    api_server = Api()
    assert reading.read_kubelets(api_server) == {"well": KUBELET}
    found = reading.read_cluster(api_server)
    assert found["admission"] == {"trading": ANSWERS}
    assert len(api_server.tried) == len(benchmark.VIOLATIONS)
    tried = [str(body) for body in api_server.tried]
    assert len(set(tried)) == len(tried), "each is another pod"
