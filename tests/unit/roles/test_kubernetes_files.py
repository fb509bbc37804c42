"""The files that the roles of Kubernetes write, rendered from their variables as a host's run does."""

from __future__ import annotations

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.roles import playing

ROLES = playing.ROOT / "roles"
RELEASE = {
    "kubernetes": "1.37.2",
    "etcd": "3.7.0-0",
    "coredns": "v1.14.6",
    "pause": "3.10.2",
    "cloud-controller-manager": "v1.37.0",
    "metrics-server": "v0.9.0",
}
KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
AUTHORITIES = {
    f"kubernetes/{name}/{part}": f"{part} of {name}"
    for name in ("ca", "etcd_ca", "front_proxy_ca")
    for part in ("certificate", "key")
}
VARIABLES = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_network": {"cidr": "10.20.0.0/16", "pod_cidr": "10.244.0.0/16"},
    "platform_tiers": [
        {"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3},
        {"name": "workers", "components": ["kubernetes"], "count": 1},
    ],
    "platform_secrets": {
        **AUTHORITIES,
        "kubernetes/encryption_key": "k" * 32,
        "kubernetes/ca/certificate": "the cluster's",
        "kubernetes/service_account_key": KEY.decode(),
        "ca/certificate": "the platform's",
    },
    "ec2_private_dns": "ip-10-20-0-4.eu-west-1.compute.internal",
    "ec2_private_ip": "10.20.0.4",
    "ec2_zone": "eu-west-1a",
    "ec2_instance_id": "i-0123456789abcdef0",
    "ec2_tier": "control",
    "ansible_connection": "local",
    "kubernetes_api_server_args": {"profiling": None, "event-ttl": "2h"},
    "kubernetes_etcd_args": {"election-timeout": 5000},
    "kubernetes_kubelet_config": {"maxPods": 50},
}
OTHERS = {
    f"control-{index}": {
        "ec2_private_dns": f"ip-10-20-0-{index}.eu-west-1.compute.internal",
        "ec2_private_ip": f"10.20.0.{index}",
    }
    for index in (2, 3)
}
GROUPS = {
    "state_running": {"hosts": {"control-1": {}, "control-2": {}}},
    "kubernetes_control_plane": {"hosts": {"control-1": {}, **dict.fromkeys(OTHERS, {})}},
}
HOSTS = {"all": {"hosts": {"control-1": VARIABLES, **OTHERS}, "children": GROUPS}}
DOCUMENTS = {
    "cluster": "__kubernetes_cluster_configuration",
    "init": "__kubernetes_init_configuration",
    "join": "__kubernetes_join_configuration",
    "kubelet": "__kubernetes_kubelet_config",
    "proxy": "__kubernetes_proxy_config",
    "kept": "__kubernetes_kept_keys",
    "audit": "__kubernetes_audit_policy",
    "encryption": "__kubernetes_encryption",
    "admission": "__kubernetes_admission",
    "images": "__kubernetes_control_plane_images",
    "upgrade": "__kubernetes_upgrade_configuration",
    "roll": "__kubernetes_roll_configuration",
    "backup": "__kubernetes_backup_settings",
    "refusal": "__kubernetes_restore_refusal",
    "restart": "__kubernetes_restart_files",
    "start": "__kubernetes_start_files",
    "etcd": "__kubernetes_etcd_urls",
    "known": "__kubernetes_etcd_known",
    "staying": "__kubernetes_staying_addresses",
    "cloud": "__kubernetes_addons_cloud_objects",
    "metrics": "__kubernetes_addons_metrics_objects",
    "dns": "__kubernetes_addons_dns_objects",
    "discovery": "__kubernetes_discovery",
    "files": "__kubernetes_node_files",
}
UNITS = ["kubelet.service.j2", "network.service.j2", "network.nft.j2"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every document of one control plane, read back."""
    path = tmp_path_factory.mktemp("kubernetes")
    files = [
        {"ansible.builtin.include_vars": {"file": str(ROLES / role / part / "main.yml")}}
        for role in ("kubernetes", "kubernetes_addons")
        for part in ("defaults", "vars")
    ]
    own = {"ansible.builtin.set_fact": {"__kubernetes_release": RELEASE, "__kubernetes_addons_release": RELEASE}}
    given = {
        "ansible.builtin.set_fact": {name: VARIABLES[name] for name in VARIABLES if name.startswith("kubernetes_")}
    }
    save = {
        "ansible.builtin.copy": {
            "dest": f"{path}/{{{{ item.key }}}}.yaml",
            "content": "{{ lookup('vars', item.value) | to_nice_yaml }}",
        },
        "loop": "{{ documents | dict2items }}",
        "vars": {"documents": DOCUMENTS, "__kubernetes_moment": "now"},
    }
    units = {
        "ansible.builtin.template": {
            "src": f"{ROLES}/kubernetes/templates/{{{{ item }}}}",
            "dest": f"{path}/{{{{ item }}}}",
        },
        "loop": UNITS,
    }
    (path / "templates").symlink_to(ROLES / "kubernetes_addons" / "templates")
    several = {
        "ansible.builtin.template": {
            "src": str(ROLES / "kubernetes/templates/documents.yaml.j2"),
            "dest": f"{path}/several",
        },
        "vars": {"documents": [{"kind": "A", "apiVersion": "v1"}, {"kind": "B", "apiVersion": "v1"}]},
    }
    play = {
        "name": "Write",
        "hosts": "control-1",
        "gather_facts": False,
        "tasks": [*files, given, own, save, several, units],
    }
    code, text = playing.run(path, [play], HOSTS)
    assert code == 0, text
    found = {name: yaml.safe_load((path / f"{name}.yaml").read_text()) for name in DOCUMENTS}
    texts = {name: (path / name).read_text().splitlines() for name in UNITS}
    return {**found, **texts, "several": (path / "several").read_text()}


def arguments(component):
    return {item["name"]: item["value"] for item in component["extraArgs"]}


def test_the_cluster_is_known_by_its_name_from_the_first_start(written):
    assert written["cluster"]["controlPlaneEndpoint"] == "kubernetes.trading.internal:6443"
    assert written["cluster"]["networking"]["podSubnet"] == "10.244.0.0/16"
    assert written["cluster"]["etcd"]["local"]["imageTag"] == "3.7.0-0"
    assert arguments(written["cluster"]["etcd"]["local"]) == {"election-timeout": "5000"}


def test_no_document_of_a_file_is_empty(written):
    """A comment before the first one would be a document of its own, which kubeadm refuses."""
    assert [yaml.safe_load(part)["kind"] for part in written["several"].split("---\n")] == ["A", "B"]


def test_who_joins_finds_one_cluster_without_a_name_or_credentials(written):
    found = written["discovery"]
    (only,) = found["clusters"]
    assert only["name"] == "" and only["cluster"]["server"] == "https://kubernetes.trading.internal:6443"
    assert found["users"] == [] and found["contexts"] == []


def test_the_api_servers_arguments_are_texts_and_the_users_have_their_say(written):
    found = arguments(written["cluster"]["apiServer"])
    assert all(isinstance(value, str) for value in found.values())
    assert found["event-ttl"] == "2h" and "profiling" not in found
    assert found["encryption-provider-config"].startswith("/etc/kubernetes/platform/")
    mounted = [volume["mountPath"] for volume in written["cluster"]["apiServer"]["extraVolumes"]]
    for name in (
        "audit-policy-file",
        "audit-log-path",
        "admission-control-config-file",
    ):
        assert any(found[name].startswith(f"{path}/") for path in mounted), name


def test_a_node_has_the_name_of_ec2_and_its_slot_as_a_label(written):
    for name in ("init", "join"):
        node = written[name]["nodeRegistration"]
        assert node["name"] == "ip-10-20-0-4.eu-west-1.compute.internal"
        labels = {item["name"]: item["value"] for item in node["kubeletExtraArgs"]}["node-labels"]
        assert "selfhosted.ec2/slot=control-1" in labels.split(",")
        assert {"name": "node-ip", "value": "10.20.0.4"} in node["kubeletExtraArgs"]
    assert written["join"]["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "10.20.0.4"


def test_secrets_are_encrypted_and_never_in_the_audit_log(written):
    first = written["encryption"]["resources"][0]
    assert first["resources"] == ["secrets"] and "secretbox" in first["providers"][0]
    for rule in written["audit"]["rules"]:
        listed = [name for group in rule.get("resources", []) for name in group.get("resources", [])]
        assert "secrets" not in listed or rule["level"] == "Metadata"
    whole = [rule["level"] for rule in written["audit"]["rules"]].index("RequestResponse")
    secrets = next(n for n, rule in enumerate(written["audit"]["rules"]) if "secrets" in str(rule))
    assert secrets < whole


def test_no_reading_of_secrets_and_no_change_of_rights_stays_out_of_the_audit_log(written):
    for rule in written["audit"]["rules"]:
        if rule["level"] == "None" and "nonResourceURLs" not in rule:
            assert rule["resources"], rule
            for group in rule["resources"]:
                assert group["group"] != "rbac.authorization.k8s.io"
                assert group["group"] or group["resources"] and "secrets" not in group["resources"]


def test_the_keys_of_a_cluster_are_compared_by_their_content_alone(written):
    # With another mode than theirs they would seem to be other keys at each run.
    assert {file["mode"] for file in written["kept"] if file["dest"].endswith(("key", "yaml"))} == {"0600"}
    assert {file["dest"].rpartition("/")[2] for file in written["kept"]} == {
        "ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "encryption.yaml",
    }  # fmt: skip
    assert all(file["secret"] for file in written["kept"])


def test_kubelets_and_pods_have_safe_defaults(written):
    assert written["kubelet"]["maxPods"] == 50 and written["kubelet"]["seccompDefault"] is True
    assert written["kubelet"]["readOnlyPort"] == 0
    assert written["proxy"]["mode"] == "nftables"
    assert written["admission"]["plugins"][0]["configuration"]["defaults"]["enforce"] == "baseline"


def test_the_kubelet_of_a_control_plane_starts_with_its_volume_and_the_rules_of_its_pods_alone(written):
    unit = written["kubelet.service.j2"]
    # With the sign | one of both is enough: it never was whole, or its volume is there.
    assert [line for line in unit if line.startswith("AssertPathExists=")] == [
        "AssertPathExists=|!/etc/kubernetes/platform/joined",
        "AssertPathExists=|/var/lib/etcd/identity.json",
    ]
    assert "ExecStartPre=/usr/sbin/nft list table ip kubernetes_pods" in unit
    ordered = {name: line for name, _, line in (text.partition("=") for text in unit)}
    assert "kubernetes-network.service" in ordered["Wants"] and "kubernetes-network.service" in ordered["After"]


def test_no_restart_takes_the_rules_of_pods_away(written):
    assert not [line for line in written["network.service.j2"] if line.startswith("ExecStop")]
    rules = [line for line in written["network.nft.j2"] if not line.startswith("#")]
    assert rules[:2] == ["table ip kubernetes_pods", "delete table ip kubernetes_pods"]
    assert any("169.254.169.254 drop" in line for line in rules)


def test_the_addons_are_objects_with_the_releases_images(written):
    cloud = {item["kind"]: item for item in written["cloud"]}
    container = cloud["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].endswith("cloud-controller-manager:v1.37.0")
    assert "--cluster-cidr=10.244.0.0/16" in container["args"] and "--configure-cloud-routes=true" in container["args"]
    metrics = {item["kind"]: item for item in written["metrics"]}
    args = metrics["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"]
    authority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    assert f"--kubelet-certificate-authority={authority}" in args and "--kubelet-use-node-status-port" in args
    assert metrics["APIService"]["spec"]["caBundle"] and "insecureSkipTLSVerify" not in metrics["APIService"]["spec"]
    for item in written["cloud"] + written["metrics"]:
        assert item["apiVersion"] and item["metadata"]["name"]


def test_the_cloud_controller_manager_gets_tokens_of_its_controllers_alone(written):
    account = {"kind": "ServiceAccount", "name": "cloud-controller-manager", "namespace": "kube-system"}
    bindings = [item for item in written["cloud"] if item["kind"].endswith("RoleBinding")]
    assert all(item["subjects"] == [account] for item in bindings)
    for role in (item for item in written["cloud"] if item["kind"] in ("ClusterRole", "Role")):
        rules = {resource: rule for rule in role["rules"] for resource in rule["resources"]}
        if role["kind"] == "ClusterRole":
            # What it changes is its controllers' to change, each with rights that Kubernetes gives it.
            assert all(set(rule["verbs"]) == {"get", "list", "watch"} for rule in role["rules"])
        else:
            assert role["metadata"]["namespace"] == "kube-system"
            assert {"node-controller", "route-controller"} <= set(rules["serviceaccounts/token"]["resourceNames"])


def test_kubeadm_is_told_how_to_change_a_host(written):
    assert written["upgrade"]["apply"]["kubernetesVersion"] == "v1.37.2"
    assert written["upgrade"]["node"]["patches"] == {"directory": "/etc/kubernetes/platform/patches"}
    assert "kubernetesVersion" not in written["upgrade"]["node"]
    skipped = {"skipPhases": ["addon/coredns", "addon/kube-proxy"]}
    assert written["roll"]["node"] == {**written["upgrade"]["node"], **skipped}
    names = [item["dest"].rpartition("/")[2] for item in written["restart"]]
    assert names[0] == "etcd9+merge.yaml" and len(names) == 4
    assert yaml.safe_load(written["restart"][0]["content"])["metadata"]["annotations"] == {
        "selfhosted.ec2/restarted": "now"
    }


def test_a_part_is_asked_from_its_first_second_on_and_has_kubeadms_four_minutes(written):
    probes = {}
    for item in written["start"]:
        name = item["dest"].rpartition("/")[2]
        if name.endswith("1+strategic.yaml"):
            (container,) = yaml.safe_load(item["content"])["spec"]["containers"]
            assert name == f"{container['name']}1+strategic.yaml"
            probes[container["name"]] = container["startupProbe"]
    assert sorted(probes) == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    for probe in probes.values():
        assert probe["periodSeconds"] * probe["failureThreshold"] == 240 and probe["initialDelaySeconds"] == 1


def test_an_upgrade_writes_what_its_mark_says_is_applied():
    """Else what has changed together with the version would be taken for applied, and never be."""
    tasks = yaml.safe_load((ROLES / "kubernetes/tasks/upgrade_parts.yml").read_text())
    (write,) = (task for task in tasks if task["name"].endswith("and that it has begun"))
    assert "__kubernetes_start_files" in write["selfhosted.ec2.config_files"]["files"]


def test_members_of_etcd_are_asked_by_their_nodes(written):
    assert written["etcd"] == {
        "ip-10-20-0-4.eu-west-1.compute.internal": "https://10.20.0.4:2379",
        "ip-10-20-0-2.eu-west-1.compute.internal": "https://10.20.0.2:2379",
    }
    assert len(written["known"]) == 4 and list(written["staying"]) == ["control-1", "control-2", "control-3"]


def test_snapshots_go_to_the_volume_and_to_the_platforms_bucket(written):
    assert written["backup"]["bucket"] == "" and written["backup"]["directory"] == "/var/lib/etcd/snapshots"
    assert written["backup"]["tools"] == "/opt/kubernetes/etcd-3.7.0-0"
    assert written["backup"]["keep"] == 168


def test_a_restore_has_to_be_meant(written):
    assert written["refusal"].startswith("kubernetes_restore is {}; give key (latest, or the key of a backup in")


def test_dns_survives_the_loss_of_a_node(written):
    objects = {item["kind"]: item for item in written["dns"]}
    (spread,) = objects["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname" and spread["whenUnsatisfiable"] == "DoNotSchedule"
    # Else a node that is gone would keep the second pod from the one that is left.
    assert spread["nodeTaintsPolicy"] == "Honor"
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_a_node_lets_pods_through_and_many_programs_watch_files(written):
    files = {item["dest"].rpartition("/")[2]: item for item in written["files"]}
    lines = files["sysctl.conf"]["content"].splitlines()
    assert "net.ipv4.ip_forward = 1" in lines and "fs.inotify.max_user_instances = 8192" in lines
