"""The cluster as an administrator asks it, and a pod on every node."""

import json
import shlex
import time

import pytest
import testinfra

ECHO = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "echo", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "echo"}},
        "template": {
            "metadata": {"labels": {"app": "echo"}},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                # The cloud has not taken up the nodes: that is what the role kubernetes_addons is for.
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "echo",
                        "image": "workload.internal/echo:1",
                        "imagePullPolicy": "IfNotPresent",
                        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}


class Cluster:
    """kubectl on the control plane, with the rights of an administrator."""

    def __init__(self, host):
        self._host = host

    def run(self, words, document=None):
        """Result of kubectl, which reads a document, if there is one, from its standard input."""
        line = f"kubectl --kubeconfig=/etc/kubernetes/admin.conf {words}"
        if document is not None:
            line = f"printf %s {shlex.quote(json.dumps(document))} | {line} -f -"
        with self._host.sudo():
            return self._host.run(line)

    def do(self, words, document=None):
        """What kubectl says, which must not fail."""
        found = self.run(words, document)
        assert found.rc == 0, found.stderr
        return found.stdout

    def items(self, words):
        """The objects of a list."""
        return json.loads(self.do(f"get {words} -o json"))["items"]


@pytest.fixture(scope="session")
def cluster(pytestconfig):
    option = pytestconfig.option
    host = testinfra.get_host(
        "ansible://control-1", ansible_inventory=option.ansible_inventory, ssh_identity_file=option.ssh_identity_file
    )
    return Cluster(host)


@pytest.fixture(scope="session")
def pods(cluster):
    """The address of a pod by the name of its node."""
    cluster.do("apply", ECHO)
    try:
        cluster.do("rollout status daemonset/echo --timeout=120s")
        yield {item["spec"]["nodeName"]: item["status"]["podIP"] for item in cluster.items("pods -l app=echo")}
    finally:
        cluster.run("delete daemonset echo --timeout=60s")
        deadline = time.monotonic() + 60
        while cluster.items("pods -l app=echo") and time.monotonic() < deadline:
            time.sleep(1)
