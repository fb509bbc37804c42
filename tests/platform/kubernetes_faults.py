"""The faults and operations of the platform's Kubernetes, and one run of either under the ledger."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
import kubernetes_ledger as ledger
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_authorities
from botocore.exceptions import ClientError
from faults import commit
from operations import Operation, cut_off
from running import ROOT, NotWell, Platform, plain, playbook_changes, tiers, wait_until_well

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "kubernetes.json"
WORKLOAD = "/apis/apps/v1/namespaces/demo/deployments/echo"
BUDGET = "/apis/policy/v1/namespaces/demo/poddisruptionbudgets/echo"
ETCDCTL = (
    "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt"
    " --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key"
)
#: Where role etcd runs it. Its release's programs come first in the path of root.
HOST_ETCDCTL = (
    "/usr/local/bin/etcdctl --endpoints=https://localhost:2379 --cacert=/etc/etcd/tls/ca.crt"
    " --cert=/etc/etcd/tls/etcd.crt --key=/etc/etcd/tls/etcd.key"
)


@dataclass
class Outcome:
    """What one run of a fault, or of an operation, showed. Times in seconds.

    :ivar seconds_api: the longest time in which no client of the API behind one edge host got anything acknowledged.
    :ivar seconds_client: the longest time in which one of them did not; it waits for each answer as long as it can.
    :ivar seconds_http: the longest time in which a client of the workload got no answer.
    :ivar failed: requests to the workload without its answer.
    :ivar refused: writes into the API without an acknowledgement.
    :ivar missing: acknowledged writes that were not there.
    :ivar twice: answers that nobody can have given.
    """

    fault: str
    seconds_api: float
    seconds_client: float
    seconds_http: float
    well_seconds: float
    answered: int
    failed: int
    acknowledged: int
    refused: int
    missing: int
    twice: int
    answered_after: int
    load: float
    at: str
    commit: str


class Nodes:
    """The Kubernetes of the platform, and its hosts."""

    def __init__(self, platform: Platform):
        self.platform = platform
        self._find()

    def _find(self) -> None:
        found = endpoints.inventory()
        hosts = found["_meta"]["hostvars"]
        self.control_planes = sorted(found["kubernetes_control_plane"]["hosts"])
        # Hosts of its own, where TIERS has them.
        self.etcd_hosts = sorted(found.get("kubernetes_etcd", {}).get("hosts", []))
        self.names = {slot: plain(hosts[slot]["ec2_private_dns"]) for slot in sorted(found["kubernetes"]["hosts"])}
        self.zones = {slot: plain(hosts[slot]["ec2_zone"]) for slot in self.names}
        self.cluster = ledger.Cluster(
            domain=self.platform.domain,
            edges=self.platform.edges,
            authority=self.platform.authority,
            ca=self.authorities(),
            pem=self._administrator(),
        )

    def _administrator(self) -> str:
        """The certificate of an administrator, of any control plane that answers."""
        for slot in self.control_planes:
            try:
                return kubernetes.embedded(self.platform.shell(slot, f"cat {kubernetes.ADMIN}"))
            except subprocess.SubprocessError:
                continue
        raise NotWell("no control plane has an administrator's certificate")

    def authorities(self) -> str:
        """What a client of the API trusts: during a rotation that of the next authority, too."""
        found = [endpoints.secret(self.platform.name, "kubernetes/ca/certificate")]
        with contextlib.suppress(ClientError):
            found.append(endpoints.secret(self.platform.name, "kubernetes/next/ca/certificate"))
        return "\n".join(dict.fromkeys(found))

    def trusted(self) -> dict[str, list[str]]:
        """The names of the authorities that each node trusts, the one that signs first."""
        return {
            slot: kubernetes_authorities.names(self.platform.shell(slot, "cat /etc/kubernetes/pki/ca.crt"))
            for slot in self.names
        }

    def refresh(self) -> None:
        """Find hosts again, after an operation that gives or takes instances."""
        self.platform.refresh()
        self._find()

    def any_api(self) -> kubernetes.Client:
        return self.cluster.api(next(iter(self.cluster.edges)))

    def nodes(self) -> dict[str, dict]:
        return kubernetes.read_nodes(self.any_api(), "")

    def versions(self) -> tuple[set[str], set[str]]:
        """The versions of the kubelets, and those of the API servers."""
        pods = self.any_api().call(
            "GET", "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver"
        )
        servers = {item["spec"]["containers"][0]["image"].rpartition(":v")[2] for item in pods["items"]}
        return {node["version"] for node in self.nodes().values()}, servers

    def complaints(self) -> list[str]:
        """What keeps the cluster from being well, as sentences."""
        api = self.any_api()
        try:
            status, text = api.request("GET", "/readyz?verbose")
            if status != 200:
                return [text]
            found = kubernetes.read_nodes(api, "")
            pods = api.call("GET", "/api/v1/pods")["items"]
        except (OSError, kubernetes.KubernetesError) as error:
            return [str(error)]
        bad = [f"there is no node {name}" for name in self.names.values() if name not in found]
        bad += [f"{name} is not ready: {node['reason']}" for name, node in found.items() if not node["ready"]]
        bad += [f"{name} is cordoned" for name, node in found.items() if not node["schedulable"]]
        members = self.etcd_members()
        if len(members) != len(self.etcd_hosts or self.control_planes):
            bad.append(f"etcd has the members {members}")
        for pod in pods:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            if "deletionTimestamp" in pod["metadata"] or pod["status"].get("phase") in ("Succeeded", "Failed"):
                continue
            ready, reason = kubernetes.condition(pod, "Ready")
            if not ready:
                bad.append(f"{name} is not ready: {reason}")
        return bad or self._api_complaints()

    def _api_complaints(self) -> list[str]:
        """Every control plane answers itself, asked by its own host: others may not reach it past HAProxy."""
        found, name = [], f"kubernetes.{self.platform.domain}"
        for slot in self.control_planes:
            own = f"--resolve {name}:6443:{self.platform.hosts[slot][1]} --cacert /etc/kubernetes/pki/ca.crt"
            try:
                shown = self.platform.shell(slot, f"curl -sS --max-time 10 {own} https://{name}:6443/readyz")
            except subprocess.SubprocessError as error:
                shown = str(getattr(error, "stderr", "") or error)
            if shown.strip() != "ok":
                found.append(f"{slot}: {shown.strip()}")
        return found

    def wait_until_well(self, seconds: float = 300) -> None:
        """Wait until every node is ready and every API server and member of etcd answers. Raises NotWell."""
        wait_until_well("Kubernetes", self.complaints, seconds, pause=2)

    def in_etcd(self, slot: str, words: str) -> str:
        """Run etcdctl at a member: on its host, or in etcd's container of a control plane."""
        if self.etcd_hosts:
            return self.platform.shell(slot, f"{HOST_ETCDCTL} {words}")
        find = "ctr -n k8s.io tasks ls | awk '$3 == \"RUNNING\" {print $2}'"
        script = (
            f'for pid in $({find}); do if [ "$(cat /proc/$pid/comm)" = etcd ]; then'
            f" nsenter -t $pid -m {ETCDCTL} {words} && exit; fi; done; exit 1"
        )
        return self.platform.shell(slot, script)

    def stored_keys(self) -> set[str]:
        """The names of the keys with which Secrets are encrypted in etcd."""
        shown = self.in_etcd(
            (self.etcd_hosts or self.control_planes)[0],
            "get /registry/secrets/ --prefix --print-value-only | grep -a -o '^k8s:enc:secretbox:v1:[a-z0-9-]*:'",
        )
        return {line.split(":")[-2] for line in shown.splitlines()}

    def keys(self) -> dict[str, list[str]]:
        """The names of the keys that each control plane has, the one that it writes with first."""
        line = "sed -n 's/.*name: //p' /etc/kubernetes/platform/encryption.yaml"
        return {slot: self.platform.shell(slot, line).split() for slot in self.control_planes}

    def etcd_members(self) -> list[str]:
        """The names of etcd's members, as a control plane that answers tells them."""
        return sorted(item["name"] for item in json.loads(self._ask_etcd("member list -w json"))["members"])

    def _ask_etcd(self, words: str) -> str:
        for slot in self.etcd_hosts or self.control_planes:
            try:
                return self.in_etcd(slot, words)
            except subprocess.SubprocessError:
                continue
        return '{"members": []}'

    def etcd_leader(self) -> str:
        """The host with etcd's leader, a control plane unless etcd has hosts of its own."""
        for slot in self.etcd_hosts or self.control_planes:
            (status,) = json.loads(self.in_etcd(slot, "endpoint status -w json"))
            if status["Status"]["leader"] == status["Status"]["header"]["member_id"]:
                return slot
        raise NotWell("etcd has no leader")

    def in_pod(self, program: str, script: str) -> str:
        """Run a script in the network of the pod that has a program, with its names and the host's commands."""
        # The pod's own file is mounted in its namespace, from where it cannot be mounted here.
        names = "cp /proc/PID/root/etc/resolv.conf /run/pod.conf && mount --bind /run/pod.conf /etc/resolv.conf"
        inside = f"{names} || exit 1; {script}"
        for slot in self.names:
            with contextlib.suppress(subprocess.SubprocessError):
                pid = self.platform.shell(slot, f"pidof {program}").split()[0]
                break
        words = ["nsenter", "-t", pid, "-n", "unshare", "-m", "sh", "-c", inside.replace("PID", pid)]
        return self.platform.shell(slot, shlex.join(words))

    def pod_routes(self) -> dict[str, str]:
        """The routes of pods in the VPC's route tables: network to instance."""
        answer = boto3.client("ec2").describe_route_tables(
            Filters=[{"Name": f"tag:kubernetes.io/cluster/{self.platform.name}", "Values": ["owned"]}]
        )
        return {
            route["DestinationCidrBlock"]: route["InstanceId"]
            for table in answer["RouteTables"]
            for route in table["Routes"]
            if "InstanceId" in route
        }

    def workload(self) -> dict:
        """The Deployment that the ledger asks."""
        return self.any_api().call("GET", WORKLOAD)

    def workload_nodes(self) -> list[str]:
        """The slots on which its pods are ready, one for each pod."""
        slots = {name: slot for slot, name in self.names.items()}
        pods = self.any_api().call("GET", "/api/v1/namespaces/demo/pods?labelSelector=app%3Decho")["items"]
        living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return sorted(slots[pod["spec"]["nodeName"]] for pod in living if kubernetes.condition(pod, "Ready")[0])

    def roll_workload(self, seconds: float = 120) -> None:
        """Replace its pods as a new version does. Raises NotWell."""
        version = {"ledger": datetime.now(UTC).isoformat(timespec="seconds")}
        patch = {"spec": {"template": {"metadata": {"annotations": version}}}}
        self.any_api().call("PATCH", WORKLOAD, patch, "application/merge-patch+json")
        wait_until_well("the rolling deployment", self._rolling, seconds, pause=1)

    def wait_for_workload(self, lost: str, seconds: float = 180) -> None:
        """Wait until all its pods are ready on other hosts than the lost one. Raises NotWell."""
        wanted = self.workload()["spec"]["replicas"]

        def complaints() -> list[str]:
            found = [slot for slot in self.workload_nodes() if slot != lost]
            return [] if len(found) == wanted else [f"of {wanted} pods are ready elsewhere: {found}"]

        wait_until_well("the workload", complaints, seconds, pause=1)

    def _rolling(self) -> list[str]:
        found = self.workload()
        wanted, status = found["spec"]["replicas"], found["status"]
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return ["the controller has not seen it"]
        counts = {name: status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
        return [] if set(counts.values()) == {wanted} else [f"of {wanted} pods: {counts}"]

    def kill(self, slot: str, program: str) -> None:
        """End a program of a control plane at once."""
        self.platform.shell(slot, f"kill -9 $(pidof {program})")

    def wipe_etcd(self) -> None:
        """All members end, and nothing of their data is left."""
        if self.etcd_hosts:
            for script in ("systemctl stop etcd", "rm -r /var/lib/etcd/data"):
                for slot in self.etcd_hosts:
                    self.platform.shell(slot, script)
            return
        for slot in self.control_planes:
            self.platform.shell(slot, "systemctl stop kubelet; kill -9 $(pidof etcd kube-apiserver)")
        for slot in self.control_planes:
            self.platform.shell(slot, "rm -r /var/lib/etcd/data")

    def processes(self) -> dict[str, str]:
        """The processes of every node that no unchanged run may restart, with the times of their starts."""
        programs = (
            "kubelet containerd etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy echo coredns"
        )
        line = f"ps -o pid=,lstart= -p $(pidof {programs} | tr ' ' ,) | sort"
        return {slot: self.platform.shell(slot, line) for slot in [*self.names, *self.etcd_hosts]}

    def holdings(self) -> dict[str, str]:
        """The programs and images that every node holds."""
        line = "find /usr/local /opt -name 'kube*' | sort; ctr -n k8s.io images ls -q | sort"
        return {slot: self.platform.shell(slot, line) for slot in self.names}


#: Clients of the API behind each edge host. Each writes once a second, so a write begins five times a second there
#: whether or not others are still waiting.
WRITERS = 5


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar inject: makes it; returns the hosts that suffer it.
    :ivar expected: what the platform does, for the page of results.
    :ivar repair: what AWS or the network does in the end; nothing that an operator of the platform does.
    :ivar seconds: how long the fault goes on before the repair.
    """

    inject: Callable[[Nodes], list[str]]
    expected: str
    repair: Callable[[Nodes, list[str]], None] = lambda _nodes, _victims: None
    seconds: float = 10.0


def kill_api_server(nodes: Nodes) -> list[str]:
    victim = nodes.control_planes[0]
    nodes.kill(victim, "kube-apiserver")
    return [victim]


def kill_etcd_leader(nodes: Nodes) -> list[str]:
    victim = nodes.etcd_leader()
    nodes.kill(victim, "etcd")
    return [victim]


def lose_control_plane(nodes: Nodes) -> list[str]:
    victim = nodes.etcd_leader()
    nodes.platform.lab("fault", "kill", victim)
    return [victim]


def freeze_control_plane(nodes: Nodes) -> list[str]:
    victim = nodes.etcd_leader()
    nodes.platform.lab("fault", "freeze", victim)
    return [victim]


def heal(nodes: Nodes, victims: list[str]) -> None:
    for victim in victims:
        nodes.platform.lab("heal", victim)


FAULTS = {
    "API server killed": Fault(kill_api_server, "HAProxy leads to the others; the kubelet starts it again"),
    "etcd's leader killed": Fault(kill_etcd_leader, "another member leads; the kubelet starts it again"),
    "control plane with etcd's leader lost": Fault(
        lose_control_plane, "the others go on; it comes back with its volumes", heal, 30
    ),
    "control plane with etcd's leader frozen": Fault(freeze_control_plane, "the others go on", heal, 30),
}


def workers(count: int) -> list[str]:
    """The described tiers with another number of workers, as arguments of a playbook."""
    described = json.loads(tiers("kubernetes"))
    for tier in described["platform_tiers"]:
        if tier["name"] == "workers":
            tier["count"] = count
    return ["-e", json.dumps(described)]


def replace_leader(nodes: Nodes, _leader: str) -> list[str]:
    slot = nodes.etcd_leader()
    return ["-e", f"node={slot}", "-e", f"replace_confirm={slot}"]


def replace_terminated_leader(nodes: Nodes, _leader: str) -> list[str]:
    slot = nodes.etcd_leader()
    nodes.platform.terminate(slot)
    return ["-e", f"node={slot}"]


#: What the lab builds of the older minor; containerd is that of the newer one, which the older runs with as well.
OLDER = json.dumps({"kubernetes_version": "1.36.4", "containerd_version": "2.3.7", "containerd_runc_version": "1.5.2"})
#: An argument that every API server takes, and one that none knows.
FLAG = json.dumps({"kubernetes_api_server_args": {"event-ttl": "2h"}})
BAD_FLAG = json.dumps({"kubernetes_api_server_args": {"no-such-flag": "1"}, "kubernetes_health_wait": 60})

OPERATIONS = {
    "another argument of the API server": Operation(
        "kubernetes", "one control plane after the other", lambda _nodes, _leader: ["-e", FLAG]
    ),
    "that argument taken out again": Operation(
        "kubernetes", "one control plane after the other", cut_at=("roll | Start the kubelet with its", 2)
    ),
    "rolling restart of Kubernetes": Operation(
        "rolling_restart_kubernetes",
        "one control plane after the other, then the workers' kubelets",
        cut_at=("roll | Let kubeadm bring", 2),
    ),
    "renewal of kubeadm's certificates": Operation(
        "renew_certificates_kubernetes",
        "one control plane after the other, each by the program of its timer",
        lambda _nodes, _leader: ["-e", "kubernetes_renew_days=400"],
    ),
    "replacement of a living control plane": Operation(
        "replace_node", "its member leaves etcd first, the new one gets its data from the others", replace_leader
    ),
    "replacement of a terminated control plane": Operation(
        "replace_node", "the lost member is taken out of etcd, a new one joins", replace_terminated_leader
    ),
}
#: What test_kubernetes.py, test_kubernetes_upgrade.py and test_kubernetes_external_etcd.py do in steps of their own,
#: and what it does to the clients.
FURTHER = {
    "upgrade from 1.36 to 1.37": "control planes, then nodes, whose pods leave them; cut off twice",
    "an argument that no API server takes": "the first control plane takes it back, the others are not touched",
    "all data of etcd wiped, restored from S3": "no API until its end; writes after the backup are not looked for",
    "rotation of the encryption key": "each control plane restarts three times; cut off in each step and repeated",
    "rotation of the authorities": "each control plane restarts three times, each kubelet too; cut off in each step",
    "a backup of another key's time restored": "no API until its end; writes after the backup are not looked for",
    "reset of a control plane, which joins anew": "its member leaves etcd first; cut off and repeated",
    "rolling deployment of the workload": "each pod is replaced by one that is ready, and answers until nobody asks it",
    "worker terminated and replaced": "its pods start on the other one, a new instance joins",
    "removing a worker": "HAProxy leaves it out, its pods are evicted by their budgets, it ends",
    "adding a worker": "no other node is touched",
    "a drain that a budget does not allow": "it ends after its time, and the node takes pods as before",
    "the profile cis turned on": "one control plane after the other, then the workers' kubelets; cut off and repeated",
    "the profile cis turned off": "likewise, in one run",
    "external etcd's leader killed": "another member leads; systemd starts it again",
    "host of external etcd's leader lost": "the other members go on; it comes back with its volume",
    "control plane lost, etcd on other hosts": "the others go on; no vote is lost",
    "control plane replaced, etcd on other hosts": "no member of etcd is touched",
    "host of external etcd replaced": "the others go on; its member comes back with its volume",
    "all data of external etcd wiped, restored from S3": "no API until its end; cut off twice and repeated",
    "external etcd restored while it runs": "no API until its end; writes after the backup are not looked for",
    "certificates rotated, etcd on other hosts": "members first, then the API servers' client certificates",
}


@contextmanager
def under_load(nodes: Nodes, name: str):
    """Clients ask the workload and write into the API, through each edge host, while the block runs.

    Yields a dict with the `moment`, the `readers` and the `writers`; writes after `saved`, if the block sets it, count
    no more.

    At the end the cluster must be well by itself, else NotWell is raised; then the dict has the `outcome`.
    """
    nodes.wait_until_well()
    ledger.begin(nodes.any_api())
    readers = [ledger.Requests(nodes.cluster, edge) for edge in nodes.cluster.edges]
    at_once = {edge: [ledger.Writes(nodes.cluster, edge) for _index in range(WRITERS)] for edge in nodes.cluster.edges}
    writers = [writer for together in zip(*at_once.values(), strict=True) for writer in together]
    for client in readers:
        client.start()
    for writer in writers:
        writer.start()
        time.sleep(1 / len(writers))
    try:
        time.sleep(5)
        run = {"moment": time.monotonic(), "readers": readers, "writers": writers}
        yield run
        nodes.wait_until_well()
        well = time.monotonic()
        time.sleep(2)
    finally:
        for client in (*readers, *writers):
            client.stop()
    run["outcome"] = Outcome(
        fault=name,
        seconds_api=round(max(ledger.gap(clients, run["moment"]) for clients in at_once.values()), 2),
        seconds_client=round(max(ledger.gap([writer], run["moment"]) for writer in writers), 2),
        seconds_http=round(max(ledger.gap([reader], run["moment"]) for reader in readers), 2),
        well_seconds=round(well - run["moment"], 1),
        answered=sum(len(reader.answers) for reader in readers),
        failed=sum(len(reader.errors) for reader in readers),
        acknowledged=sum(len(writer.answers) for writer in writers),
        refused=sum(len(writer.errors) for writer in writers),
        missing=len(ledger.missing(nodes.any_api(), writers, run.get("saved"))),
        twice=ledger.twice(readers),
        answered_after=sum(moment > well for client in (*readers, *writers) for moment, *_rest in client.answers),
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )
    ledger.end(nodes.any_api())
    for client in (*readers, *writers):
        print(client.edge, type(client).__name__, client.errors[:3])


@contextmanager
def restored(nodes: Nodes, name: str, backup: str = "backup_kubernetes"):
    """Under load, with a backup at its beginning, which the block restores; yields the dict of under_load.

    Afterwards what was written before the backup is there, and what was written after it is not.

    :param backup: the playbook that makes it.
    """
    maps = "/api/v1/namespaces/default/configmaps"
    api = nodes.any_api()
    for word in ("before-backup", "after-backup"):
        api.call("DELETE", f"{maps}/{word}", missing_ok=True)
    api.call("POST", maps, {"metadata": {"name": "before-backup"}})
    with under_load(nodes, name) as run:
        run["saved"] = time.monotonic()
        playbook_changes(backup)
        api.call("POST", maps, {"metadata": {"name": "after-backup"}})
        yield run
    api = nodes.any_api()
    assert api.call("GET", f"{maps}/before-backup")
    assert not api.call("GET", f"{maps}/after-backup", missing_ok=True)


def restore_arguments(nodes: Nodes, name: str = "kubernetes_restore", **changes: str) -> list[str]:
    """What a playbook that restores is given: the newest backup, confirmed, unless changed."""
    return ["-e", json.dumps({name: {"key": "latest", "confirm": nodes.platform.name, **changes}})]


def run_fault(nodes: Nodes, name: str) -> Outcome:
    """Make one fault under load; return what became of requests and writes."""
    fault = FAULTS[name]
    with under_load(nodes, name) as run:
        run["moment"] = time.monotonic()
        victims = fault.inject(nodes)
        try:
            time.sleep(fault.seconds)
        finally:
            fault.repair(nodes, victims)
    return run["outcome"]


def run_operation(nodes: Nodes, name: str) -> Outcome:
    """Run an operation under load, cut off and repeated where it says so; return what became of requests and writes."""
    operation = OPERATIONS[name]
    with under_load(nodes, name) as run:
        arguments = operation.prepare(nodes, "")
        if operation.cut_at:
            cut_off(operation.playbook, arguments, *operation.cut_at)
        playbook_changes(operation.playbook, *arguments)
        nodes.refresh()
    return run["outcome"]


def assert_acknowledged_is_there(outcome: Outcome) -> None:
    """What must hold after whatever happened."""
    print(outcome)
    assert outcome.missing == 0
    assert outcome.twice == 0
    assert outcome.answered_after > 0


def assert_nothing_lost(outcome: Outcome) -> None:
    """What must hold besides after whatever happened to control planes: the workload is none of theirs to disturb."""
    assert_acknowledged_is_there(outcome)
    assert outcome.failed == 0
