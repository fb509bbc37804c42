"""The EBS CSI driver of kubernetes_addons against what its documentation says; no host of the tests runs it."""

from __future__ import annotations

import copy

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_lint, platform

from tests.unit.roles import playing

ROLE = playing.ROOT / "roles/kubernetes_addons"
DRIVER = "ebs.csi.aws.com"
#: Arguments that each program knows. Sources, all of the driver's v1.64.0: docs/options.md and the flags of
#: pkg/driver/options.go by mode; deploy/kubernetes/base/controller.yaml and node.yaml for the sidecars, README.md of
#: kubernetes-csi/livenessprobe for its endpoint; logging-format and v are component-base's.
LOGGING = {"v", "logging-format"}
CONTROLLER = LOGGING | {
    "endpoint", "http-endpoint", "extra-tags", "k8s-tag-cluster-id", "warn-on-invalid-tag", "batching",
    "user-agent-extra", "modify-volume-request-handler-timeout", "aws-sdk-debug-log", "metadata-sources",
    "enable-otel-tracing",
}  # fmt: skip
NODE = LOGGING | {
    "endpoint", "http-endpoint", "volume-attach-limit", "reserved-volume-attachments", "legacy-xfs",
    "csi-mount-point-prefix", "metadata-sources", "enable-otel-tracing",
}  # fmt: skip
CLIENT = {"csi-address", "v", "timeout", "leader-election", "kube-api-qps", "kube-api-burst", "retry-interval-max"}
KNOWN = {
    ("Deployment", "ebs-plugin"): CONTROLLER,
    ("Deployment", "csi-provisioner"): CLIENT
    | {"feature-gates", "extra-create-metadata", "default-fstype", "worker-threads"},
    ("Deployment", "csi-attacher"): CLIENT | {"worker-threads", "feature-gates"},
    ("Deployment", "csi-resizer"): CLIENT | {"handle-volume-inuse-error", "workers"},
    ("Deployment", "liveness-probe"): {"csi-address", "probe-timeout", "http-endpoint"},
    ("DaemonSet", "ebs-plugin"): NODE,
    ("DaemonSet", "node-driver-registrar"): {"csi-address", "kubelet-registration-path", "http-endpoint", "v"},
    ("DaemonSet", "liveness-probe"): {"csi-address"},
}
#: What each sidecar needs of the API server (clusterrole-*.yaml in deploy/kubernetes/base), without snapshots.
NEEDED = {
    ("", "persistentvolumes"): "get list watch create patch delete",
    ("", "persistentvolumeclaims"): "get list watch update",
    ("", "persistentvolumeclaims/status"): "patch",
    ("", "events"): "list watch create update patch",
    ("", "nodes"): "get list watch",
    ("", "pods"): "get list watch",
    ("storage.k8s.io", "storageclasses"): "get list watch",
    ("storage.k8s.io", "csinodes"): "get list watch",
    ("storage.k8s.io", "volumeattributesclasses"): "get list watch",
    ("storage.k8s.io", "volumeattachments"): "get list watch patch",
    ("storage.k8s.io", "volumeattachments/status"): "patch",
}
VARIABLES = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_network": {"pod_cidr": "10.244.0.0/16"},
    "platform_tiers": [
        {
            "name": "control",
            "components": ["kubernetes", "kubernetes_control_plane"],
            "count": 3,
            "volumes": [{"name": "etcd", "size": 20}],
        },
        {"name": "workers", "components": ["kubernetes"], "count": 2},
        {"name": "database", "components": ["postgresql"], "count": 3, "volumes": [{"name": "a"}, {"name": "b"}]},
    ],
    "platform_secrets": {"ca/certificate": "the platform's"},
    "ansible_connection": "local",
}
#: Host to what it sets besides.
HOSTS = {
    "off": {},
    "on": {
        "kubernetes_addons_ebs_csi": True,
        "kubernetes_addons_ebs_csi_args": {"extra-tags": "team=a", "batching": None},
        "kubernetes_addons_ebs_csi_images": {"attacher": "registry.example.com/a:1@sha256:" + "a" * 64},
    },
    "bad-image": {"kubernetes_addons_ebs_csi_images": {"driver": "aws-ebs-csi-driver:v1"}},
    "bad-argument": {"kubernetes_addons_ebs_csi_args": {"k8s-tag-cluster-id": "other"}},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Host to its parts, name to objects, and to what its preflight rules would say of the driver."""
    path = tmp_path_factory.mktemp("ebs_csi")
    (path / "templates").symlink_to(ROLE / "templates")
    rules = [
        rule for rule in yaml.safe_load((ROLE / "vars/preflight.yml").read_text())["rules"] if "ebs_csi" in rule["that"]
    ]
    assert len(rules) == 2
    said = "".join(f"{{% if not ({rule['that']}) %}}{rule['message']}{{% endif %}}" for rule in rules)
    files = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    own = {"ansible.builtin.set_fact": {"__kubernetes_addons_release": {}, "kubernetes_addons_metrics_server": False}}
    # Of a higher rank than what include_vars brings, as a user's variables are than a role's defaults.
    given = [
        {"ansible.builtin.set_fact": sets, "when": f"inventory_hostname == '{host}'"}
        for host, sets in HOSTS.items()
        if sets
    ]
    save = {
        "ansible.builtin.copy": {
            "dest": f"{path}/{{{{ inventory_hostname }}}}.yaml",
            "content": "{{ {'parts': __kubernetes_addons_parts, 'said': said} | to_nice_yaml }}",
        },
        "when": "'bad' not in inventory_hostname",
    }
    bad = {
        "ansible.builtin.copy": {
            "dest": f"{path}/{{{{ inventory_hostname }}}}.yaml",
            "content": "{{ {'said': said} | to_nice_yaml }}",
        },
        "when": "'bad' in inventory_hostname",
    }
    play = {
        "name": "Write",
        "hosts": "all",
        "gather_facts": False,
        "vars": {"said": said},
        "tasks": [*files, own, *given, save, bad],
    }
    code, text = playing.run(path, [play], {"all": {"hosts": dict.fromkeys(HOSTS, VARIABLES)}})
    assert code == 0, text
    found = {name: yaml.safe_load((path / f"{name}.yaml").read_text()) for name in HOSTS}
    for host in found.values():
        host["parts"] = {part["part"]: part["objects"] for part in host.get("parts", [])}
    return found


@pytest.fixture(scope="module")
def objects(written):
    return written["on"]["parts"]["ebs-csi"]


def one(objects, kind, name=None):
    (found,) = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    return found


def containers(objects):
    """Pairs of a workload and one of its containers."""
    return [
        (item, container)
        for item in objects
        if item["kind"] in ("Deployment", "DaemonSet")
        for container in item["spec"]["template"]["spec"]["containers"]
    ]


def container(objects, kind, name):
    return next(found for item, found in containers(objects) if item["kind"] == kind and found["name"] == name)


def test_it_is_off_and_its_part_stays_so_that_switching_it_off_takes_it_away(written):
    assert written["off"]["parts"]["ebs-csi"] == []
    assert [*written["on"]["parts"]] == ["coredns", "metrics-server", "ebs-csi", "platform"]


def test_bad_images_and_arguments_are_refused(written):
    assert not written["on"]["said"] and not written["off"]["said"]
    assert written["bad-image"]["said"].startswith("kubernetes_addons_ebs_csi_images gives driver no image")
    assert written["bad-argument"]["said"].startswith("kubernetes_addons_ebs_csi_args sets k8s-tag-cluster-id")


def test_every_argument_is_one_that_its_program_knows(objects):
    seen = set()
    for item, found in containers(objects):
        args = found["args"]
        if found["name"] == "ebs-plugin":
            assert args[0] == {"Deployment": "controller", "DaemonSet": "node"}[item["kind"]]
            args = args[1:]
        names = {argument.removeprefix("--").partition("=")[0] for argument in args}
        assert all(argument.startswith("--") for argument in args)
        assert names <= KNOWN[item["kind"], found["name"]], (found["name"], names)
        seen.add((item["kind"], found["name"]))
    assert seen == set(KNOWN)


def test_a_users_arguments_and_images_count(objects):
    args = container(objects, "Deployment", "ebs-plugin")["args"]
    assert "--extra-tags=team=a" in args and not [arg for arg in args if "batching" in arg]
    assert "--k8s-tag-cluster-id=trading" in args
    images = {found["name"]: found["image"] for _item, found in containers(objects)}
    assert images["ebs-plugin"] == "registry.k8s.io/provider-aws/aws-ebs-csi-driver:v1.64.0"
    assert images["csi-attacher"].startswith("registry.example.com/a:1@sha256:")
    # All but the driver's own, of which none was found.
    assert [name for name, image in images.items() if "@sha256:" not in image] == ["ebs-plugin"]


def test_the_controller_has_the_rights_of_the_control_planes_and_no_pod_asks_for_metadata(objects):
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert spec["hostNetwork"] is True and spec["dnsPolicy"] == "Default"
    assert spec["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    # docs/install.md: the controller may skip the metadata where AWS_REGION is set.
    env = {item["name"]: item.get("value") for item in container(objects, "Deployment", "ebs-plugin")["env"]}
    assert env["AWS_REGION"] == "eu-west-1" and not [name for name in env if "KEY" in name or "SECRET" in name]
    node = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    assert not node.get("hostNetwork")
    assert "--metadata-sources=kubernetes" in container(objects, "DaemonSet", "ebs-plugin")["args"]


def test_what_listens_on_the_hosts_network_listens_for_the_host(objects):
    (probe,) = [arg for arg in container(objects, "Deployment", "liveness-probe")["args"] if "endpoint" in arg]
    assert probe == "--http-endpoint=127.0.0.1:9808"
    plugin = container(objects, "Deployment", "ebs-plugin")
    for kind in ("livenessProbe", "readinessProbe"):
        assert plugin[kind]["httpGet"] == {"host": "127.0.0.1", "path": "/healthz", "port": 9808}
    affinity = one(objects, "Deployment")["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_a_node_has_room_for_the_volumes_of_its_description(objects):
    # One root volume and etcd's; the databases' hosts are no nodes.
    assert "--reserved-volume-attachments=2" in container(objects, "DaemonSet", "ebs-plugin")["args"]


def test_sockets_and_mounts_meet(objects):
    """Paths of README.md of kubernetes-csi/node-driver-registrar and of the driver's node.yaml."""
    for kind in ("Deployment", "DaemonSet"):
        volumes = {volume["name"] for volume in one(objects, kind)["spec"]["template"]["spec"]["volumes"]}
        for _item, found in (pair for pair in containers(objects) if pair[0]["kind"] == kind):
            mounts = {mount["mountPath"].rstrip("/"): mount["name"] for mount in found["volumeMounts"]}
            assert set(mounts.values()) <= volumes
            for argument in found["args"]:
                name, _, value = argument.removeprefix("--").partition("=")
                if name in ("csi-address", "endpoint"):
                    path = value.removeprefix("unix:").replace("///", "/")
                    assert path.rpartition("/")[0] in mounts, (found["name"], argument)
    node = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    paths = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in node["volumes"]}
    assert paths["plugin"] == f"/var/lib/kubelet/plugins/{DRIVER}"
    assert paths["registration"] == "/var/lib/kubelet/plugins_registry" and paths["devices"] == "/dev"
    registrar = container(objects, "DaemonSet", "node-driver-registrar")
    assert f"--kubelet-registration-path=/var/lib/kubelet/plugins/{DRIVER}/csi.sock" in registrar["args"]
    kubelet = container(objects, "DaemonSet", "ebs-plugin")["volumeMounts"][0]
    assert kubelet["mountPropagation"] == "Bidirectional"


def test_only_the_nodes_driver_is_privileged(objects):
    for item, found in containers(objects):
        context = found["securityContext"]
        assert bool(context.get("privileged")) == ((item["kind"], found["name"]) == ("DaemonSet", "ebs-plugin"))
        assert context["readOnlyRootFilesystem"] is True
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_rights_in_the_cluster_are_those_that_the_sidecars_name(objects):
    rules = {
        (group, resource): set(rule["verbs"])
        for rule in one(objects, "ClusterRole", "ebs-csi-controller")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rules == {key: set(verbs.split()) for key, verbs in NEEDED.items()}
    # A node's token changes no node.
    for rule in one(objects, "ClusterRole", "ebs-csi-node")["rules"]:
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
    for binding in (item for item in objects if item["kind"].endswith("RoleBinding") or item["kind"] == "RoleBinding"):
        assert binding["subjects"][0]["name"] == binding["roleRef"]["name"] == binding["metadata"]["name"]
    assert one(objects, "Role")["metadata"]["namespace"] == "kube-system"


def test_the_default_class_is_encrypted_and_waits_for_the_pod(objects):
    found = one(objects, "StorageClass")
    assert found["provisioner"] == DRIVER == one(objects, "CSIDriver")["metadata"]["name"]
    assert found["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert found["volumeBindingMode"] == "WaitForFirstConsumer" and found["allowVolumeExpansion"] is True
    assert found["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}


# Rights in AWS

COMPONENTS = {
    "kubernetes_control_plane": yaml.safe_load((playing.ROOT / "roles/kubernetes/vars/flows.yml").read_text())[
        "components"
    ]["kubernetes_control_plane"]
}
CLUSTER = {"name": "trading", "region": "eu-west-1", "tiers": VARIABLES["platform_tiers"]}


def policy(on):
    options = {"kubernetes_addons_ebs_csi": on}
    found = platform.policies({**CLUSTER, "options": options}, copy.deepcopy(COMPONENTS))
    assert found["workers"] is None
    return found["control"]["Statement"]


def test_control_planes_may_touch_volumes_only_where_the_driver_runs():
    off, on = policy(False), policy(True)
    assert "Volume" not in str(off) and on[: len(off)] == off
    assert off == platform.policies(CLUSTER, copy.deepcopy(COMPONENTS))["control"]["Statement"]


def test_no_volume_of_anyone_else_can_be_changed():
    added = policy(True)[len(policy(False)) :]
    for statement in added:
        reads = all(action.startswith("ec2:Describe") for action in statement["Action"])
        assert reads == (statement["Resource"] == ["*"])
        assert reads or statement["Condition"]["StringEquals"]
    narrowed = {
        action: set(statement["Condition"]["StringEquals"])
        for statement in added
        if statement.get("Condition") and statement["Resource"][0].endswith(":volume/*")
        for action in statement["Action"]
    }
    for action in ("AttachVolume", "DeleteVolume", "DetachVolume", "ModifyVolume"):
        assert narrowed[f"ec2:{action}"] == {"ec2:ResourceTag/ebs.csi.aws.com/cluster-name"}
    assert narrowed["ec2:CreateVolume"] == {"aws:RequestTag/ebs.csi.aws.com/cluster-name"}


def test_the_linter_has_nothing_against_it():
    document = {"Version": "2012-10-17", "Statement": policy(True)}
    found = iam_lint.findings("control", document, "identity", iam_lint.Actions(), "123456789012")
    assert [entry for entry in found if entry["level"] == "error"] == []
