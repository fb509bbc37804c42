"""Kubernetes' own conformance suite on the running platform: what conformance.toml names of it, through HAProxy.

Its images are brought to the nodes by the role, as a user's would be, and given up again in the end.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime

import kubernetes_conformance as conformance
import pytest
from faults import commit
from kubernetes_faults import Nodes
from results import record
from running import ROOT, described, playbook_changes

from lab.paths import Lab

pytestmark = pytest.mark.long

SUITE = conformance.read()
LOGS = ROOT / ".cache" / "logs"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The suite, and kubectl, which some of its cases call."""
    directory, cache = tmp_path_factory.mktemp("programs"), Lab(os.environ["LAB"]).cache
    files = {"kubernetes-test": "e2e.test-linux-amd64", "kubectl": "kubectl-linux-amd64"}
    return {name: conformance.program(cache, name, SUITE.version, file, directory) for name, file in files.items()}


@pytest.fixture(scope="module")
def nodes(programs, platform):
    """The cluster, of the suite's version, whose nodes hold the images of the cases."""
    images = [*described("kubernetes_images"), *SUITE.images]
    playbook_changes("kubernetes", "-e", json.dumps({"kubernetes_images": images}))
    found = Nodes(platform)
    found.wait_until_well()
    assert found.versions() == ({SUITE.version}, {SUITE.version})
    yield found
    playbook_changes("kubernetes")
    assert playbook_changes("kubernetes") == 0


@pytest.fixture(scope="module")
def cases(programs):
    """The names of all cases that the suite has."""
    line = [str(programs["kubernetes-test"]), "--list-tests"]
    return conformance.listed(subprocess.run(line, check=True, capture_output=True, text=True, timeout=300).stdout)


@pytest.fixture
def kubeconfig(nodes, tmp_path):
    """An administrator's, for the API through HAProxy; gone with the test."""
    edge = next(iter(nodes.cluster.edges.values()))
    name = f"kubernetes.{nodes.platform.domain}"
    yield conformance.kubeconfig(tmp_path, f"https://{edge}:6443", name, nodes.cluster.ca, nodes.cluster.pem)
    for file in tmp_path.iterdir():
        file.unlink()


@pytest.mark.parametrize("name", SUITE.families)
def test_the_cases_pass(nodes, programs, cases, kubeconfig, tmp_path_factory, name):
    family = SUITE.families[name]
    wanted = conformance.chosen(SUITE, family, cases)
    assert wanted, f"the suite has no case of {family.prefixes}"
    reports = tmp_path_factory.mktemp(name)
    line = [
        str(programs["kubernetes-test"]),
        f"--kubeconfig={kubeconfig}",
        f"--kubectl-path={programs['kubectl']}",
        "--provider=skeleton",
        f"--report-dir={reports}",
        f"--e2e-output-dir={reports}",
        f"--ginkgo.timeout={family.minutes}m",
        "--ginkgo.no-color",
        "--ginkgo.fail-on-empty",
        *conformance.selection(SUITE, family),
    ]
    log = LOGS / f"conformance-{name}.log"
    status, seconds = conformance.run(line, log, family.minutes * 60 + conformance.GRACE_SECONDS)
    report_file = reports / "junit_01.xml"
    assert report_file.is_file(), f"the suite ended with {status} and wrote no report; its log: {log}"
    report = conformance.parse(report_file)
    passed, failed, missing = conformance.judge(wanted, report)
    outcome = conformance.Outcome(
        family=name,
        version=SUITE.version,
        cases=len(wanted),
        passed=passed,
        failed=failed,
        missing=missing,
        broken=report.broken,
        seconds=round(seconds, 1),
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )
    record(conformance.RESULTS, outcome)
    print(f"{family.title}: {passed} of {len(wanted)} passed in {seconds / 60:.0f} min; log: {log}")
    conformance.assert_conformant(outcome)
    assert status == 0, f"the suite ended with {status}; its log: {log}"


def test_the_platform_is_well_after_the_suite(nodes):
    nodes.wait_until_well()
