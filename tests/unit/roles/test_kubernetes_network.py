"""Networks of the pods: what each option brings to hosts and into the cluster. No test runs Cilium or Calico."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.filter import releases as release_filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_objects, releases
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_objects as applying

from tests.unit.roles import playing
from tests.unit.roles import test_kubernetes_ebs_csi as addons
from tests.unit.roles import test_kubernetes_files as files
from tests.unit.roles import test_kubernetes_schemas as schemas

OWN = yaml.safe_load(Path(release_filters.OWN).read_text(encoding="utf-8"))
NETWORKS = ("vpc_routes", "cilium", "calico")
#: Where the manifests lie that are verified here; docs/kubernetes.md says how they come there.
MANIFESTS = Path(os.environ.get("NETWORK_MANIFESTS") or playing.ROOT / ".cache/network")
HOSTS = {network: {"kubernetes_network": network} for network in NETWORKS}
MANY = [{"name": "workers", "components": ["kubernetes", "kubernetes_control_plane"], "count": 61}]
HOSTS["too-many"] = {"kubernetes_network": "vpc_routes", "platform_tiers": MANY}
HOSTS["many"] = {"kubernetes_network": "calico", "platform_tiers": MANY}
NODE = {
    "files": "__kubernetes_network_files",
    "packages": "__kubernetes_wanted_packages",
    "hash": "__kubernetes_config_hash",
}
CLUSTER = {
    "cloud": "__kubernetes_addons_cloud_args",
    "wanted": "__kubernetes_addons_network_wanted",
    "absent": "__kubernetes_addons_absent",
    "policy": "kubernetes_addons_network_policy",
}
#: Of the networks that have a manifest.
BROUGHT = {
    "artifacts": "__kubernetes_addons_network_artifacts",
    "manifest": "__kubernetes_addons_network_manifest",
    "own": "__kubernetes_addons_network_own[kubernetes_addons_network]",
    "parts": "__kubernetes_addons_network_parts",
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Host to the files of its network, its rules (as unit), and what the rule of the route table would say."""
    role = playing.ROOT / "roles/kubernetes"
    rules = yaml.safe_load((role / "vars/preflight.yml").read_text())["rules"]
    (rule,) = [rule for rule in rules if "kubernetes_route_quota" in rule["that"]]
    documents = {name: f"{{{{ {value} }}}}" for name, value in NODE.items()}
    documents["said"] = playing.judged([rule])[0]
    facts = {"__kubernetes_release": files.RELEASE, "kubernetes_control_planes": ["{{ inventory_hostname }}"]}
    tasks = [{"ansible.builtin.set_fact": facts}]
    path = tmp_path_factory.mktemp("nodes")
    return playing.write(path, role, "network.nft.j2", documents, HOSTS, files.VARIABLES, tasks)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("clusters"))


def rendered(path):
    """Network to what the role kubernetes_addons does with it."""
    role = playing.ROOT / "roles/kubernetes_addons"
    found = {}
    for kind, names in (("all", CLUSTER), ("brought", {**CLUSTER, **BROUGHT})):
        place = path / kind
        place.mkdir()
        (place / "templates").symlink_to(role / "templates")
        hosts = {name: HOSTS[name] for name in NETWORKS if kind == "all" or name != "vpc_routes"}
        documents = {name: f"{{{{ {value} }}}}" for name, value in names.items()}
        found.update(playing.write(place, role, "coredns.yaml.j2", documents, hosts, addons.VARIABLES, []))
    return found


def test_only_routes_of_the_vpc_need_a_configuration_and_rules_of_this_role(nodes):
    dests = {name: [file["dest"] for file in nodes[name]["files"]] for name in NETWORKS}
    assert dests["vpc_routes"] == ["/etc/kubernetes/platform/cni.conflist.template"]
    for name in ("cilium", "calico"):
        assert dests[name] == ["/etc/kubernetes/platform/network"]
        assert nodes[name]["files"][0]["content"] == f"{name}\n"
        assert not [line for line in nodes[name]["unit"] if "masquerade" in line]
        assert "python3-yaml" in nodes[name]["packages"]
    assert len([line for line in nodes["vpc_routes"]["unit"] if "masquerade" in line]) == 1
    assert "python3-yaml" not in nodes["vpc_routes"]["packages"]
    assert len({nodes[name]["hash"] for name in NETWORKS}) == 1


def test_no_pod_reaches_the_metadata_whatever_the_network(nodes):
    for name in NETWORKS:
        lines = "\n".join(nodes[name]["unit"])
        assert "hook forward" in lines
        assert "ip saddr 10.244.0.0/16 ip daddr 169.254.169.254 drop" in lines
        assert lines.count("{") == lines.count("}")


def test_the_quota_of_the_route_table_counts_for_routes_alone(nodes):
    assert nodes["too-many"]["said"].startswith("kubernetes_members has 61 nodes")
    assert nodes["many"]["said"] == "nothing"


def test_containerd_fills_a_template_in_for_routes_of_the_vpc_alone(tmp_path):
    role = playing.ROOT / "roles/containerd"
    given = yaml.safe_load((role / "defaults/main.yml").read_text())["containerd_cni_template"]
    sets = {"old": {"kubernetes_version": "1.37.2"}, **{name: HOSTS[name] for name in NETWORKS}}
    hosts = {name: {**facts, "ansible_connection": "local"} for name, facts in sets.items()}
    inventory = {"all": {"children": {"kubernetes": {"hosts": hosts}}}}
    copy = {"dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.txt", "content": given}
    play = {"name": "Write", "hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.copy": copy}]}
    code, text = playing.run(tmp_path, [play], inventory)
    assert code == 0, text
    found = {name: (tmp_path / f"{name}.txt").read_text().strip() for name in sets}
    template = "/etc/kubernetes/platform/cni.conflist.template"
    assert found == {"old": template, "vpc_routes": template, "cilium": "", "calico": ""}


def test_the_cloud_controller_manager_writes_routes_for_routes_of_the_vpc_alone(clusters):
    for name in NETWORKS:
        args = {argument["name"]: argument["value"] for argument in clusters[name]["cloud"]}
        routes = "true" if name == "vpc_routes" else "false"
        assert args["configure-cloud-routes"] == args["allocate-node-cidrs"] == routes
        assert clusters[name]["policy"] == (name != "vpc_routes")
        assert clusters[name]["absent"] == []


def test_a_manifest_is_an_artifact_like_all_others(clusters):
    assert clusters["vpc_routes"]["wanted"] == {}
    for name in ("cilium", "calico"):
        version = OWN["releases"]["1.37"][name]
        assert clusters[name]["wanted"] == {name: version}
        (item,) = clusters[name]["artifacts"]
        assert item["sha256"] == OWN["files"][name]["sha256"][version]["amd64"] and item["mode"] == "0644"
        assert item["sha256"] == OWN["files"][name]["sha256"][version]["arm64"]
        assert clusters[name]["manifest"] == f"/opt/kubernetes/{name}-{version}/{name}-{version}.yaml"
    # Cilium's comes from a mirror alone, since nobody publishes it; the other one is in every bundle.
    described = OWN["releases"]["1.37"]
    assert "calico" in releases.release_files(described) and "cilium" not in releases.release_files(described)


#: What the overlay is for, as Calico's manifest has it.
CALICO_NODE = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "calico-node", "namespace": "kube-system"},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"name": "install-cni", "env": [{"name": "SLEEP", "value": "false"}]}],
                "containers": [
                    {
                        "name": "calico-node",
                        "image": "quay.io/calico/node:v3.32.1",
                        "env": [
                            {"name": "IP", "value": "autodetect"},
                            {"name": "CALICO_IPV4POOL_VXLAN", "value": "CrossSubnet"},
                        ],
                    }
                ],
            }
        }
    },
}


def test_calico_is_told_the_platforms_network(clusters):
    (found,) = kubernetes_objects.overlaid([CALICO_NODE], clusters["calico"]["own"])
    spec = found["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "quay.io/calico/node:v3.32.1" and len(spec["initContainers"]) == 1
    env = {item["name"]: item["value"] for item in container["env"]}
    assert env == {
        "IP": "autodetect",
        "CALICO_IPV4POOL_VXLAN": "Always",
        "CALICO_IPV4POOL_CIDR": "10.244.0.0/16",
        "IP_AUTODETECTION_METHOD": "kubernetes-internal-ip",
    }
    assert len(container["env"]) == 4


def test_neither_network_puts_files_in_the_place_of_the_reference_plugins(clusters):
    """The role containerd refuses a file where it has a link, and links lead nowhere inside a container."""
    role = yaml.safe_load((playing.ROOT / "roles/containerd/vars/main.yml").read_text())
    linked = set(role["__containerd_cni_plugins"])
    (found,) = kubernetes_objects.overlaid([CALICO_NODE], clusters["calico"]["own"])
    (container,) = found["spec"]["template"]["spec"]["initContainers"]
    env = {item["name"]: item["value"] for item in container["env"]}
    skipped = set(env["SKIP_CNI_BINARIES"].split(","))
    # Those that Calico's image has (cni-plugin/Makefile and Dockerfile of v3.32.1), and that it may come to have.
    assert {"bandwidth", "host-local", "loopback", "portmap", "tuning"} <= skipped <= linked
    # Cilium's script looks whether loopback is there, by the link's target.
    (part,) = [item for item in clusters["cilium"]["own"] if item["kind"] == "DaemonSet"]
    spec = part["spec"]["template"]["spec"]
    ((mount,), (volume,)) = spec["initContainers"][0]["volumeMounts"], spec["volumes"]
    assert mount["mountPath"] == volume["hostPath"]["path"] == role["__containerd_root"] and mount["readOnly"] is True
    assert mount["name"] == volume["name"]


# The real manifests, where somebody has brought them here


@pytest.fixture(params=["calico", "cilium"])
def real(request):
    """Name of a network and its manifest's file."""
    return request.param, manifest_of(request.param)


def manifest_of(name):
    """The file of a network's manifest; without it the test is skipped."""
    path = MANIFESTS / f"{name}-{OWN['releases']['1.37'][name]}.yaml"
    if not path.exists():
        pytest.skip(f"{path} is not there; docs/kubernetes.md says how to make it")
    return path


@pytest.mark.long
def test_the_manifest_is_the_one_that_is_pinned(real):
    name, path = real
    (version,) = OWN["files"][name]["sha256"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == OWN["files"][name]["sha256"][version]["amd64"]


@pytest.mark.long
@pytest.mark.parametrize("minor", schemas.MINORS)
def test_what_the_manifest_becomes_is_valid(real, clusters, minor):
    name, path = real
    objects = applying.read_manifest(str(path), clusters[name]["parts"])
    assert {"DaemonSet", "Deployment", "ClusterRole", "ServiceAccount"} <= {item["kind"] for item in objects}
    assert [fault for item in objects for fault in schemas.faults(item, minor)] == []


@pytest.mark.long
def test_its_images_are_those_that_are_known_by_digest(real, clusters):
    name, path = real
    before, after = (applying.read_manifest(str(path), parts) for parts in ([], clusters[name]["parts"]))
    pinned = {image.partition("@")[0]: image for image in images_of(after)}
    assert all("@sha256:" in image for image in images_of(after)) and set(pinned) == set(images_of(before))


def images_of(objects):
    """Images of all containers of objects, those that begin first included."""
    specs = [item["spec"]["template"]["spec"] for item in objects if item["kind"] in ("DaemonSet", "Deployment")]
    return [found["image"] for spec in specs for found in spec.get("initContainers", []) + spec["containers"]]


@pytest.mark.long
def test_its_pods_wait_for_nothing_that_waits_for_them(real, clusters):
    """They run before a node is ready and before the cloud has taken it up."""
    name, path = real
    objects = applying.read_manifest(str(path), clusters[name]["parts"])
    (node,) = [item for item in objects if item["kind"] == "DaemonSet"]
    spec = node["spec"]["template"]["spec"]
    assert spec["hostNetwork"] is True
    for taint in ("node.cloudprovider.kubernetes.io/uninitialized", "node.kubernetes.io/not-ready"):
        assert any(
            term["operator"] == "Exists"
            and term.get("key", taint) == taint
            and term.get("effect", "NoSchedule") == "NoSchedule"
            for term in spec["tolerations"]
        )


# Refusals


def view(network="vpc_routes", finished=True, kernel="6.12.43+deb13-amd64"):
    return {"network": network, "finished": finished, "kernel": kernel}


def test_the_network_of_a_living_cluster_cannot_be_changed():
    views = {"a": view(), "b": view()}
    assert filters.kubernetes_network_fault(views, "a", "vpc_routes") == ""
    said = filters.kubernetes_network_fault(views, "b", "calico")
    assert said.startswith("kubernetes_network is calico, but b is a node of a cluster with vpc_routes;")
    # Neither by a host that is about to join; one whose own join was cut off is made anew.
    views["c"] = view("vpc_routes", finished=False)
    assert "but a is a node" in filters.kubernetes_network_fault(views, "c", "cilium")
    assert filters.kubernetes_network_fault({"c": views["c"]}, "c", "cilium") == ""
    assert "with calico" in filters.kubernetes_network_fault({"a": view("calico")}, "a", "vpc_routes")


FIXED = {
    "service_network": "172.20.0.0/16",
    "pod_network": "10.244.0.0/16",
    "dns_domain": "cluster.local",
    "endpoint": "kubernetes.trading.internal",
}
#: As kubeadm writes them.
PARTS = {
    "manifests/kube-apiserver.yaml": "    - kube-apiserver\n    - --service-cluster-ip-range=172.20.0.0/16\n",
    "manifests/kube-controller-manager.yaml": "    - --cluster-cidr=10.244.0.0/16\n    - --cluster-name=trading\n",
    "admin.conf": "    server: https://kubernetes.trading.internal:6443\n  name: trading\n",
    "kubelet.conf": "    server: https://10.20.0.4:6443\n",
}


@pytest.mark.parametrize("setting", FIXED)
def test_what_a_cluster_was_made_with_cannot_be_changed(setting):
    views = {"a": {**view(), "made_with": FIXED}, "b": {**view(finished=False), "made_with": {}}, "c": view()}
    for name in views:
        assert filters.kubernetes_fixed_fault(views, name, FIXED) == ""
        said = filters.kubernetes_fixed_fault(views, name, {**FIXED, setting: "other"})
        assert said.startswith(f"kubernetes_{setting} is other, but a is a node of a cluster that was made with ")
        assert FIXED[setting] in said
    # What a worker does not tell it does not keep from changing, nor what a first start that was cut off has left.
    views["a"] = {**view(finished=False), "made_with": FIXED}
    views["c"] = {**view(), "made_with": {**FIXED, setting: ""}}
    assert filters.kubernetes_fixed_fault(views, "a", {**FIXED, setting: "other"}) == ""


def test_a_host_tells_what_the_cluster_was_made_with(tmp_path):
    assert set(kubernetes.read_disk("/var/lib/etcd", tmp_path)["made_with"].values()) == {""}
    base, config = tmp_path / "etc/kubernetes", tmp_path / "var/lib/kubelet/config.yaml"
    (base / "manifests").mkdir(parents=True)
    config.parent.mkdir(parents=True)
    config.write_text("clusterDNS:\n- 172.20.0.10\nclusterDomain: cluster.local\n")
    (base / "kubelet.conf").write_text("    server: https://kubernetes.trading.internal:6443\n")
    worker = {**FIXED, "service_network": "", "pod_network": ""}
    assert kubernetes.read_disk("/var/lib/etcd", tmp_path)["made_with"] == worker
    for name, text in PARTS.items():
        (base / name).write_text(text)
    assert kubernetes.read_disk("/var/lib/etcd", tmp_path)["made_with"] == FIXED


@pytest.mark.parametrize(
    ("network", "kernel", "refused"),
    [
        ("vpc_routes", "5.4.0-100-generic", False),
        ("cilium", "5.4.0-100-generic", True),
        ("cilium", "5.10.0-30-amd64", False),
        ("calico", "5.10.0-30-amd64", True),
        ("calico", "6.1.0-40-cloud-arm64", False),
    ],
)
def test_an_old_kernel_is_refused(network, kernel, refused):
    said = filters.kubernetes_network_fault({"a": view(network, False, kernel)}, "a", network)
    assert bool(said) == refused and (not refused or said.startswith(f"a has the kernel {kernel}, and "))


def test_a_host_tells_the_network_that_it_was_configured_for(tmp_path):
    assert kubernetes.read_disk("/var/lib/etcd", tmp_path)["network"] == "vpc_routes"
    mark = tmp_path / "etc/kubernetes/platform/network"
    mark.parent.mkdir(parents=True)
    mark.write_text("cilium\n")
    found = kubernetes.read_disk("/var/lib/etcd", tmp_path)
    assert found["network"] == "cilium" and found["kernel"] == os.uname().release


def judge(tmp_path, sets):
    """What the rules of kubernetes_addons about networks say, by host."""
    role = playing.ROOT / "roles/kubernetes_addons"
    rules = [
        rule
        for rule in yaml.safe_load((role / "vars/preflight.yml").read_text())["rules"]
        if "kubernetes_addons_network" in rule["that"]
    ]
    assert len(rules) == 5
    documents = {"said": playing.judged(rules)}
    found = playing.write(tmp_path, role, "coredns.yaml.j2", documents, sets, addons.VARIABLES, [])
    return {name: [said for said in host["said"] if said != "nothing"] for name, host in found.items()}


def test_bad_input_is_refused_in_one_sentence(tmp_path):
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "a", "namespace": "b"},
    }
    part = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "calico-config"}}
    found = judge(
        tmp_path,
        {
            "fine": {},
            "policy": {"kubernetes_addons_objects": [policy]},
            "enforced": {"kubernetes_network": "calico", "kubernetes_addons_objects": [policy]},
            "no-manifest": {"kubernetes_network": "cilium"},
            "mirror": {"kubernetes_network": "cilium", "platform_artifact_mirror": "https://mirror.example.com"},
            "needless": {"kubernetes_addons_network_overlays": [part]},
            "overlay": {"kubernetes_network": "calico", "kubernetes_addons_network_overlays": [part]},
            "bad-image": {"kubernetes_network": "calico", "kubernetes_addons_network_images": {"node": "calico:1"}},
            "image": {"kubernetes_network": "calico", "kubernetes_addons_network_images": {"node": "quay.io/a/b:1"}},
            "nameless": {"kubernetes_network": "calico", "kubernetes_addons_network_overlays": [{"kind": "ConfigMap"}]},
        },
    )
    refused = {name: said for name, said in found.items() if said}
    assert set(refused) == {"policy", "no-manifest", "needless", "nameless", "bad-image"}
    assert all(len(said) == 1 for said in refused.values())
    assert "nothing enforces with kubernetes_network vpc_routes" in refused["policy"][0]
    assert "whose manifest nobody publishes" in refused["no-manifest"][0]
