"""The rotation of Kubernetes' authorities by its playbook, cut off in each step, on directories in place of hosts.

kubeadm, the cluster and SSM are stand-ins; what the role reads and writes on hosts is what it reads and writes there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, secrets_plan
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities

from tests.unit.roles import playing
from tests.unit.roles.kubernetes_stand_ins import modules as stand_ins

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="files of root are written"),
]
CONTROL = ["control-1", "control-2", "control-3"]
NODES = [*CONTROL, "workers-1"]
PLAYBOOK = playing.ROOT / "playbooks/rotate_authorities_kubernetes.yml"
PLUGIN = """
from __future__ import annotations
import sys
sys.path.insert(0, {root!r})
from tests.unit.roles.kubernetes_stand_ins import modules as stand_ins
"""
MODULE = (
    PLUGIN
    + """
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates, cluster_client, kubernetes
{more}

def main():
    module = AnsibleModule(argument_spec={{{spec}}}, supports_check_mode=True)
    params = module.params
{body}


main()
"""
)
ACTION = """
from __future__ import annotations
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        with open(os.environ["STAND_IN_SECRETS"]) as handle:
            return {"changed": False, "secrets": json.load(handle)}
"""
ANY = ", ".join(f'"{name}": {{"type": "raw"}}' for name in ("slot", "members", "endpoint", "ca"))
GATE = '**cluster_client.gate_options("healthy", "redundant", "known")'


def raw(*names):
    return ", ".join(f'"{name}": {{"type": "raw"}}' for name in names)


MODULES = {
    "kubernetes_cluster_info": (
        "",
        f"{ANY}, {GATE}, {raw('name', 'etcd_directory', 'server_version', 'kubelet_version')}",
        "    module.exit_json(changed=False, **stand_ins.cluster_info(dict(params, etcd_directory="
        'params["etcd_directory"] or "/var/lib/etcd")))',
    ),
    "etcd_cluster_info": (
        "",
        f"{GATE}, {raw('name', 'members', 'data_dir', 'identity_file', 'ca_file', 'cert_file', 'key_file')}",
        "    module.exit_json(changed=False, unhealthy={})",
    ),
    "kubernetes_config": (
        "",
        f"{ANY}, {raw('cluster', 'kubelet', 'hash', 'state')}",
        "    module.exit_json(changed=False)",
    ),
    "kubernetes_authorities": (
        "from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities",
        f"{ANY}, {raw('certificates', 'front_proxy', 'rotation', 'step', 'namespaces')}",
        "    stand_ins.note(f\"publish {params['step']} {len(authorities.names(params['certificates']))}\")\n"
        '    assert params["namespaces"] == ["kube-system"] and len(authorities.names(params["front_proxy"])) > 0\n'
        "    module.exit_json(changed=True)",
    ),
    "kubernetes_kubelet_certificate": (
        "from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities",
        f"{ANY}, {raw('name', 'authority')}",
        '    current = stand_ins.root() / authorities.KUBELET.lstrip("/")\n'
        '    if authorities.is_signed(current.read_text(), params["authority"]):\n'
        "        module.exit_json(changed=False)\n"
        '    leader = stand_ins.root().parent / "control-3/etc/kubernetes/pki"\n'
        '    pem = "".join(stand_ins.leaf(leader, "ca", params["name"]))\n'
        '    assert authorities.is_signed(pem, params["authority"])\n'
        "    current.write_text(pem)\n"
        "    module.exit_json(changed=True)",
    ),
    "ssm_secrets": (
        "from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, secrets_plan\n"
        "import importlib.util\n"
        "spec = importlib.util.spec_from_file_location('real', {root!r} + '/plugins/modules/ssm_secrets.py')\n"
        "real = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(real)",
        "**real.argument_spec()",
        "    module.exit_json(**real.manage(params, stand_ins.Ssm(), module.check_mode))",
    ),
}
PROGRAMS = {
    "kubeadm": """#!{python}
import json, sys
sys.path[:0] = [{root!r}, {collections!r}]
from tests.unit.roles.kubernetes_stand_ins import modules as stand_ins
words = sys.argv[1:]
if words[:2] == ["certs", "check-expiration"]:
    print(json.dumps({{"certificates": []}}))
elif words == ["certs", "renew", "all"]:
    stand_ins.renew(stand_ins.root())
else:
    assert words[:2] == ["upgrade", "node"], words
    stand_ins.note("start")
""",
    "kubernetes-serving": """#!{python}
import sys
sys.path[:0] = [{root!r}, {collections!r}]
from tests.unit.roles.kubernetes_stand_ins import modules as stand_ins
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities
from tests.unit.roles import test_kubernetes_rotation as rotation
hosts = stand_ins.root().parent
slot = next(slot for slot in rotation.NODES if rotation.name_of(slot) == sys.argv[1])
current = hosts / slot / authorities.KUBELET_SERVING.lstrip("/")
if not current.exists():
    current.write_text("".join(stand_ins.leaf(hosts / "control-3/etc/kubernetes/pki", "ca", slot)))
print('{{"changed": false}}')
""",
    "systemctl": """#!/bin/sh
[ "$1" = show ] && printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'
exit 0
""",
}


class Hosts:
    """Directories in place of hosts, and what plays on them."""

    def __init__(self, path):
        self.path, self.roots = path, path / "hosts"
        self.secrets_file = path / "secrets.json"
        self.collections = path / "collections"
        self._overlay()
        self.secrets = self._secrets()
        self.secrets_file.write_text(json.dumps(self.secrets))
        for slot in NODES:
            self._host(slot)
        (path / "ansible.cfg").write_text("[defaults]\nnocolor = True\n")
        (path / "inventory.json").write_text(json.dumps(self._inventory()))

    def _secrets(self):
        found = {"kubernetes/encryption_key": "k" * 32, "kubernetes/service_account_key": secrets_plan.new_key()}
        for name in ("ca", "kubernetes/ca", "kubernetes/etcd_ca", "kubernetes/front_proxy_ca"):
            found[f"{name}/key"] = secrets_plan.new_key()
            found[f"{name}/certificate"] = secrets_plan.ca_certificate(found[f"{name}/key"], name.replace("/", "-"))
        return found

    def _overlay(self):
        """The collection, with stand-ins in place of some plugins."""
        place = self.collections / "ansible_collections/selfhosted/ec2"
        (place / "plugins").mkdir(parents=True)
        for item in playing.ROOT.iterdir():
            if item.name not in ("plugins", ".cache", ".venv", ".git"):
                (place / item.name).symlink_to(item)
        for item in (playing.ROOT / "plugins").iterdir():
            if item.name in ("modules", "action"):
                (place / "plugins" / item.name).mkdir()
                for file in item.glob("*.py"):
                    (place / "plugins" / item.name / file.name).symlink_to(file)
            else:
                (place / "plugins" / item.name).symlink_to(item)
        root = str(playing.ROOT)
        for name, (more, spec, body) in MODULES.items():
            file = place / f"plugins/modules/{name}.py"
            file.unlink()
            file.write_text(MODULE.format(root=root, more=more.format(root=root), spec=spec, body=body))
        for name in ("platform_secrets", "platform_lock", "preflight"):
            file = place / f"plugins/action/{name}.py"
            file.unlink()
            file.write_text(ACTION)
        programs = self.path / "bin"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            values = {"python": sys.executable, "root": root, "collections": str(self.collections)}
            (programs / name).write_text(text if name == "systemctl" else text.format(**values))
            (programs / name).chmod(0o755)

    def _host(self, slot):
        place = self.roots / slot
        base = place / "etc/kubernetes"
        (base / "platform").mkdir(parents=True)
        (base / "pki/etcd").mkdir(parents=True)
        kubelet = place / authorities.KUBELET.lstrip("/")
        kubelet.parent.mkdir(parents=True)
        (place / "usr/local/bin").mkdir(parents=True)
        (place / "usr/local/bin/kubelet").symlink_to("/opt/kubernetes/kubelet-1.37.2/kubelet")
        known = filters.kubernetes_authorities(self.secrets)
        for file in filters.kubernetes_pki_files(known, str(base / "pki")):
            if slot in CONTROL or file["dest"].endswith("pki/ca.crt"):
                Path(file["dest"]).write_text(file["content"])
                Path(file["dest"]).chmod(int(file["mode"], 8))
        (base / "platform/joined").write_text("x")
        (base / "kubelet.conf").write_text(stand_ins.kubeconfig(known[0]["secrets"]["ca/certificate"]))
        for file in (kubelet, place / authorities.KUBELET_SERVING.lstrip("/")):
            file.write_text("".join(stand_ins.leaf(self.roots / "control-1/etc/kubernetes/pki", "ca", slot)))
        if slot in CONTROL:
            stand_ins.renew(place)
            (base / "manifests").mkdir()
            (base / "manifests/kube-apiserver.yaml").write_text("spec: {}\n")
            (base / "platform/encryption.yaml").write_text("- name: key1\n")
            (base / "platform/encryption.yaml").chmod(0o600)
            (place / "var/lib/etcd/data/member").mkdir(parents=True)
            identity = {"member": slot, "domain": "trading.internal", "node": name_of(slot)}
            (place / "var/lib/etcd/identity.json").write_text(json.dumps(identity))
        python = place / "python"
        python.write_text(
            f'#!/bin/sh\nexport STAND_IN_ROOT={place} PATH={self.path}/bin:$PATH\nexec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)

    def _inventory(self):
        here = f"{self.roots}/{{{{ inventory_hostname }}}}"
        common = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": f"{here}/python",
            "platform_name": "trading",
            "platform_domain": "trading.internal",
            "platform_environment": "test",
            "platform_region": "eu-west-1",
            "platform_network": {"cidr": "10.20.0.0/16", "pod_cidr": "10.244.0.0/16"},
            "platform_tiers": [
                {"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3},
                {"name": "workers", "components": ["kubernetes"], "count": 1},
            ],
            "ec2_zone": "eu-west-1a",
            "ec2_instance_id": "i-0123456789abcdef0",
        }
        hosts = {
            slot: {
                "ec2_private_dns": name_of(slot),
                "ec2_private_ip": f"10.20.0.{4 + NODES.index(slot)}",
                "ec2_tier": slot.partition("-")[0],
            }
            for slot in NODES
        }
        groups = {"state_running": NODES, "kubernetes": NODES, "kubernetes_control_plane": CONTROL}
        children = {name: {"hosts": dict.fromkeys(slots, {})} for name, slots in groups.items()}
        return {"all": {"hosts": hosts, "vars": common, "children": children}}

    def _line(self, more):
        here = f"{self.roots}/{{{{ inventory_hostname }}}}"
        moved = {
            "__kubernetes_directory": f"{here}/etc/kubernetes",
            "kubernetes_etcd_directory": f"{here}/var/lib/etcd",
            "__kubernetes_audit_directory": f"{here}/var/log/audit",
            "__kubernetes_kept": [f"{here}/etc/kubernetes/manifests/*.yaml"],
            "__kubernetes_node_files": [],
            "__kubernetes_backup_files": [],
            "__kubernetes_backup_script": "/bin/true",
            "__kubernetes_metrics_files": [],
            "__kubernetes_renewal_files": [],
            "__kubernetes_renewal_lock": f"{here}/renewal.lock",
            "__kubernetes_serving_files": [],
            "__kubernetes_serving_script": f"{self.path}/bin/kubernetes-serving",
            "__kubernetes_kubelet_serving": f"{here}{authorities.KUBELET_SERVING}",
            "kubernetes_backup": {"metrics_directory": f"{here}/metrics"},
            "__kubernetes_encryption_file": {
                "dest": f"{here}/etc/kubernetes/platform/encryption.yaml",
                "content": "- name: key1\n",
                "mode": "0600",
                "secret": True,
            },
            "__kubernetes_control_plane_files": ["{{ __kubernetes_encryption_file }}"],
            **more,
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        return [program, "-i", "inventory.json", PLAYBOOK, "-e", json.dumps(moved)]

    def _environment(self):
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_HOME": str(self.path / "home"),
            "STAND_IN_SECRETS": str(self.secrets_file),
        }

    def _run(self, more, arguments=()):
        line = [*self._line(more), *arguments]
        return subprocess.run(line, cwd=self.path, env=self._environment(), capture_output=True, text=True, check=False)

    def play(self, *arguments, **more):
        """Run the playbook to its end; return what it said."""
        run = self._run(more, arguments)
        assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
        return run.stdout

    def refused(self, **more):
        """Run the playbook, which refuses; return what it said, in one line."""
        run = self._run(more)
        assert run.returncode, run.stdout[-6000:]
        return " ".join(run.stdout.split())

    def cut_off(self, task, turn=1, **more):
        """End the playbook when a task begins for the so manieth time."""
        with subprocess.Popen(
            self._line(more),
            cwd=self.path,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as run:
            shown = []
            for text in run.stdout:
                shown.append(text)
                turn -= text.startswith("TASK [") and task in text
                if turn == 0:
                    os.killpg(run.pid, signal.SIGKILL)
                    return
        raise AssertionError(f"it ended before {task!r}:\n{''.join(shown)[-6000:]}")

    def read(self):
        return {slot: authorities.read(str(self.roots / slot)) for slot in NODES}

    def lists(self):
        return {slot: found["authorities"] for slot, found in self.read().items()}

    def done(self):
        file = self.roots / "done"
        return file.read_text().splitlines() if file.exists() else []

    def held(self):
        return json.loads(self.secrets_file.read_text())


def name_of(slot):
    return f"ip-10-20-0-{4 + NODES.index(slot)}.eu-west-1.compute.internal"


def signed_by_one(pem, bundle):
    leaf = certificates.load_certificates(pem)[0]
    return any(certificates.signed_by(leaf, item) for item in certificates.load_certificates(bundle))


def assert_all_trust_each_other(hosts):
    """Whoever asks whomever: a certificate that a host shows is of an authority that every other one trusts."""
    places = {slot: hosts.roots / slot for slot in NODES}

    def text(slot, path):
        return (places[slot] / path.lstrip("/")).read_text()

    for server in CONTROL:
        for bundle, paths in authorities.SIGNED.items():
            for path in paths:
                shown = authorities.shown(text(server, path))
                assert all(signed_by_one(shown, text(slot, bundle)) for slot in CONTROL), (server, path)
        serving = text(server, "/etc/kubernetes/pki/apiserver.crt")
        # Kubelets ask any of them, the parts of a control plane its own.
        asked = [(slot, authorities.KUBECONFIGS[3]) for slot in NODES]
        for slot, path in [*asked, *((server, path) for path in authorities.KUBECONFIGS[1:3])]:
            fields = yaml.safe_load(text(slot, path))
            trusted = stand_ins.base64.b64decode(fields["certificate-authority-data"]).decode()
            assert signed_by_one(serving, trusted), (server, slot, path)
        key = filters.kubernetes_public_key(text(server, "/etc/kubernetes/pki/sa.key"))
        assert all(key.strip() in text(slot, "/etc/kubernetes/pki/sa.pub") for slot in CONTROL)
        client = text(server, "/etc/kubernetes/pki/apiserver-kubelet-client.crt")
        assert all(signed_by_one(client, text(slot, "/etc/kubernetes/pki/ca.crt")) for slot in NODES)
        for slot in NODES:
            assert signed_by_one(text(slot, authorities.KUBELET), text(server, "/etc/kubernetes/pki/ca.crt")), slot
    trusted = filters.kubernetes_ca(hosts.held())
    for server in CONTROL:
        assert signed_by_one(text(server, "/etc/kubernetes/pki/apiserver.crt"), trusted), "HAProxy asks it"


def test_it_is_carried_to_its_end_however_often_it_is_cut_off(tmp_path):
    hosts = Hosts(tmp_path)
    (old,) = {name for names in hosts.lists().values() for name in names}
    assert all(found["strays"] == [] for found in hosts.read().values())
    before = hosts.held()

    assert f"A rotation to new authorities would begin, with -e rotate_confirm={old}" in hosts.play("--check")
    assert f"the authority of this cluster is {old}; to replace it, give -e rotate_confirm={old}." in hosts.refused()
    assert f"the authority of this cluster is {old}, not another; to" in hosts.refused(rotate_confirm="another")
    assert hosts.held() == before and hosts.done() == []

    confirmed = {"rotate_confirm": old}
    at_once = {"kubernetes_authorities_overlap": 0, **confirmed}
    # The second control plane has its files, and what asks the API from it trusts the former authority alone.
    hosts.cut_off("trust | Let what asks", 2, **confirmed)
    assert_all_trust_each_other(hosts)
    hosts.cut_off("rotate_authorities_publish | Let pods")
    shown = " ".join(hosts.play().split())
    assert re.search(r"besides the former ones[.] Run this again in 2[34][.]\d hours", shown)
    (new,) = {name for names in hosts.lists().values() for name in names} - {old}
    assert hosts.lists() == dict.fromkeys(NODES, [old, new])
    assert_all_trust_each_other(hosts)
    for task, turn in [
        # The first one has new certificates, and what asks the API from it trusts the new authority alone.
        ("trust | Let what asks", 1),
        ("roll | Start the kubelet with its", 2),
        # Past two control planes, the kubelet of the second one.
        ("rotate_authorities_step | Give the kubelet a certificate", 4),
    ]:
        hosts.cut_off(task, turn, **at_once)
        assert_all_trust_each_other(hosts)
    # What has begun goes on without waiting.
    shown = " ".join(hosts.play().split())
    assert "and every certificate is to be of them" in shown
    assert re.search(r"Run this again in 2[34][.]\d hours \(kubernetes_authorities_overlap\) to take the former", shown)
    assert hosts.lists() == dict.fromkeys(NODES, [new, old])
    assert all(found["strays"] == [] for found in hosts.read().values())
    assert_all_trust_each_other(hosts)
    starts = hosts.done()
    assert "and every node is to forget the former ones" in " ".join(hosts.play().split())
    fresh = hosts.done()[len(starts) :]
    assert fresh == ["control-1 publish add 2", "control-1 publish promote 2"], "what is done is not done again"

    for task, turn in [("trust | Let what asks", 2), ("rotate_authorities_clean | Remove", 1)]:
        hosts.cut_off(task, turn, **at_once)
        assert_all_trust_each_other(hosts)
    hosts.play(**at_once)
    assert hosts.lists() == dict.fromkeys(NODES, [new])
    assert all(found["strays"] == [] for found in hosts.read().values())
    assert_all_trust_each_other(hosts)
    after = hosts.held()
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {
        name for name in before if name.startswith("kubernetes/") and name != "kubernetes/encryption_key"
    }
    assert filters.kubernetes_authorities(after)[0]["name"] == new
    assert "control-1 publish drop 1" in hosts.done()
    assert not list(hosts.roots.glob("*/etc/kubernetes/platform/before"))
    # The same command once more, as after a cut behind the last task.
    done = hosts.done()
    assert f"the authority of this cluster is {new}, not {old}; to" in hosts.refused(**at_once)
    assert hosts.held() == after and hosts.done() == done
