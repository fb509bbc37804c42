"""Kubernetes with three control planes, from bare hosts to the upgrade: seconds, and kubeadm's own within them.

Usage: python bench/kubernetes.py     (after `lab up`, with nothing in it yet; the environment of `lab env`)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playbook_run import measure_on_the_lab

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]

import kubernetes_faults as faults  # noqa: E402
from results import record  # noqa: E402
from running import Platform  # noqa: E402

from lab import endpoints  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "kubernetes_runs.json"
FROM_NOTHING = "three control planes and a worker, from bare hosts"
UNCHANGED = "the same, unchanged"
WORKER = "a worker added"
UPGRADE = "upgrade from 1.36 to 1.37 under load, two workers"
KILLED = "API server killed: nothing acknowledged"
LOST = "control plane with etcd's leader lost: likewise"
#: Seconds to stay below, on two quiet cores.
GOALS = {FROM_NOTHING: 240, UNCHANGED: 40, WORKER: 60, UPGRADE: 720, KILLED: 5, LOST: 5}
BUILDS = [sys.executable, "-m", "lab.builds", "kubernetes-1.36", "kubernetes-1.37"]
HOSTS_ALONE = ("-e", "platform_cloud=false")


def show(what: str, seconds: float, kubeadm: float = 0) -> None:
    """Print a figure, and keep it."""
    beside = f"{kubeadm:7.0f} s {seconds / kubeadm:6.1f}" if kubeadm >= 1 else ""
    print(f"{what:52} {seconds:6.1f} s {GOALS[what]:5} s {beside}", flush=True)
    record(RESULTS, {"what": what, "seconds": seconds, "kubeadm": kubeadm, "load": round(os.getloadavg()[1], 1)})


def measure(what: str, *plays: tuple[str, ...]) -> int:
    """Run playbooks one after the other, each with its arguments, as one figure; how much they changed."""
    runs = [measure_on_the_lab(*each) for each in plays]
    # One host after the other, but for workers that join.
    kubeadm = sum(sum(run["kubeadm"].values()) for run in runs)
    show(what, sum(run["total_seconds"] for run in runs), kubeadm)
    return sum(run["changed"] for run in runs)


def main() -> int:
    # The lab waits five seconds for another leader of etcd, since its machine may be busy; etcd's default is one.
    os.environ.update(TIERS="control,workers,edge", ELECTION_MS="1000")
    if "control-1" in endpoints.inventory()["_meta"]["hostvars"]:
        raise SystemExit("bench/kubernetes.py: the lab has a cluster already; it must be empty (lab down, lab up)")
    subprocess.run(BUILDS, check=True, cwd=ROOT)
    one, two, older = faults.workers(1), faults.workers(2), ("-e", faults.OLDER)
    print(f"{'':52} {'whole':>8} {'goal':>7} {'kubeadm':>9} {'times':>6}", flush=True)
    measure_on_the_lab("provision", *one)
    measure(FROM_NOTHING, ("site", *HOSTS_ALONE, *one, *older))
    changed = measure(UNCHANGED, ("kubernetes", *one, *older), ("kubernetes_addons", *one, *older))
    measure_on_the_lab("provision", *two)
    measure(WORKER, ("site", *HOSTS_ALONE, *two, *older, "-e", "only=workers-2"))
    measure_on_the_lab("haproxy", *two)
    with tempfile.TemporaryDirectory() as directory:
        nodes = faults.Nodes(Platform.find(Path(directory) / "ca.crt"))
        with faults.under_load(nodes, UPGRADE) as upgraded:
            measure(UPGRADE, ("upgrade_kubernetes",))
        killed = faults.run_fault(nodes, "API server killed")
        show(KILLED, killed.seconds_api)
        lost = faults.run_fault(nodes, "control plane with etcd's leader lost")
        show(LOST, lost.seconds_api)
    outcomes = (upgraded["outcome"], killed, lost)
    missing, failed = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("missing", "failed"))
    print(f"unchanged run changed {changed}; acknowledged writes lost: {missing}; requests failed: {failed}")
    return 1 if changed or missing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
