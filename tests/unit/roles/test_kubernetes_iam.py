"""Logins with roles of AWS IAM: what the authenticator and the API server are told, by their documentation."""

from __future__ import annotations

import shlex

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import releases

from lab.builds import manifest
from lab.services import mirror
from tests.unit.roles import playing
from tests.unit.roles import test_kubernetes_files as files

ROLE = playing.ROOT / "roles/kubernetes"
AUTHENTICATOR = "aws-iam-authenticator"
OWN = yaml.safe_load(manifest.OWN.read_text())
ACCOUNT = "arn:aws:iam::123456789012:role/"
SESSION = """
kubernetes_iam_roles:
  - {role: "arn:aws:iam::123456789012:role/dev", username: !unsafe "dev:{{SessionName}}", groups: [developers]}
"""
OPERATOR = {"role": f"{ACCOUNT}trading-access/trading-operator", "username": "operator", "groups": ["operators"]}
HOSTS = {
    "off": {},
    "on": {"kubernetes_iam_roles": [OPERATOR, {"role": f"{ACCOUNT}ci", "username": "ci", "groups": []}]},
    # Of a file that marks the braces as none of Ansible's.
    "session": {},
    "worker": {"kubernetes_iam_roles": [OPERATOR]},
    "bad-role": {"kubernetes_iam_roles": [{**OPERATOR, "role": "trading-operator"}]},
    "twice": {"kubernetes_iam_roles": [OPERATOR, {**OPERATOR, "role": f"{ACCOUNT}trading-operator"}]},
    "masters": {"kubernetes_iam_roles": [{**OPERATOR, "groups": ["system:masters"]}]},
    "nameless": {"kubernetes_iam_roles": [{**OPERATOR, "username": ""}]},
}
DOCUMENTS = {
    "config": "__kubernetes_iam_config",
    "webhook": "__kubernetes_iam_webhook",
    "on": "__kubernetes_iam",
    "fixed": "__kubernetes_fixed_args",
    "wanted": "__kubernetes_files_wanted",
    "cluster": "__kubernetes_cluster_configuration",
    "hash": "__kubernetes_config_hash",
    "owned": "__kubernetes_owned",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Host to its documents, the lines of the unit, and what its preflight rules would say."""
    path = tmp_path_factory.mktemp("iam")
    rules = [
        rule
        for rule in yaml.safe_load((ROLE / "vars/preflight.yml").read_text())["rules"]
        if "kubernetes_iam" in rule["that"]
    ]
    assert len(rules) == 3
    planes = "{{ ['on'] if inventory_hostname == 'worker' else [inventory_hostname] }}"
    (path / "session.yml").write_text(SESSION)
    release = {**files.RELEASE, AUTHENTICATOR: OWN["releases"]["1.37"][AUTHENTICATOR]}
    documents = {name: f"{{{{ {value} }}}}" for name, value in DOCUMENTS.items()}
    documents["said"] = playing.judged(rules)
    tasks = [
        {"ansible.builtin.set_fact": {"__kubernetes_release": release, "kubernetes_control_planes": planes}},
        {"ansible.builtin.include_vars": {"file": "session.yml"}, "when": "inventory_hostname == 'session'"},
    ]
    return playing.write(path, ROLE, "iam.service.j2", documents, HOSTS, files.VARIABLES, tasks)


def arguments(host):
    return {item["name"]: item["value"] for item in host["cluster"]["apiServer"]["extraArgs"]}


def test_a_cluster_in_which_nobody_logs_in_so_sees_no_change(written):
    off, on = written["off"], written["on"]
    assert off["on"] is False and AUTHENTICATOR not in off["wanted"]
    assert on["on"] is True and on["wanted"][AUTHENTICATOR] == "0.6.13"
    assert not [name for name in arguments(off) if "webhook" in name] and off["hash"] != on["hash"]
    # The one argument is all that differs, so that who has none has the hash of before.
    changed = {**off["cluster"], "apiServer": None} == {**on["cluster"], "apiServer": None}
    assert changed and set(arguments(on)) - set(arguments(off)) == {"authentication-token-webhook-config-file"}
    assert "authentication-token-webhook-config-file" not in off["fixed"]


def test_a_worker_has_none_of_it(written):
    assert written["worker"]["on"] is False and AUTHENTICATOR not in written["worker"]["wanted"]


def test_the_api_server_asks_the_authenticator_of_its_own_host(written):
    """README.md of the authenticator, "Configure your API server"; the form of the file is pkg/config/kubeconfig's."""
    path = arguments(written["on"])["authentication-token-webhook-config-file"]
    mounted = [volume["mountPath"] for volume in written["on"]["cluster"]["apiServer"]["extraVolumes"]]
    assert any(path.startswith(f"{place}/") for place in mounted)
    found = written["on"]["webhook"]
    (cluster,) = found["clusters"]
    assert cluster["cluster"]["server"] == "https://127.0.0.1:21362/authenticate"
    assert cluster["cluster"]["certificate-authority"].endswith("/iam/ca.crt")
    assert found["current-context"] == found["contexts"][0]["name"]
    assert found["contexts"][0]["context"] == {"cluster": cluster["name"], "user": found["users"][0]["name"]}


def test_roles_are_named_as_sts_tells_them(written):
    """README.md, "Full Configuration Format"; the ARN that STS gives has no path (pkg/arn)."""
    config = written["on"]["config"]
    assert config["clusterID"] == "kubernetes.trading.internal"
    assert config["server"]["partition"] == "aws"
    assert config["server"]["mapRoles"] == [
        {"rolearn": f"{ACCOUNT}trading-operator", "username": "operator", "groups": ["operators"]},
        {"rolearn": f"{ACCOUNT}ci", "username": "ci", "groups": []},
    ]


def test_the_name_of_a_session_is_filled_in_by_the_authenticator(written):
    (mapping,) = written["session"]["config"]["server"]["mapRoles"]
    assert mapping["username"] == "dev:{{SessionName}}" and written["session"]["said"] == ["nothing"] * 3


def test_the_server_is_started_with_what_it_knows(written):
    """Flags of cmd/aws-iam-authenticator/server.go; cert.pem and key.pem of its directory are pkg/config's."""
    lines = written["on"]["unit"]
    (start,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    program, command, *flags = shlex.split(start)
    assert (program, command) == (f"/usr/local/bin/{AUTHENTICATOR}", "server")
    names = {flag.removeprefix("--").partition("=")[0] for flag in flags}
    assert names == {"config", "state-dir", "kubeconfig-pregenerated", "address"} and "--address=127.0.0.1" in flags
    given = {line.partition("=")[2].partition(":")[0] for line in lines if line.startswith("LoadCredential=")}
    assert given == {"cert.pem", "key.pem"} and "--state-dir=%d" in flags and "DynamicUser=true" in lines
    for path in (f"/usr/local/bin/{AUTHENTICATOR}", f"/etc/systemd/system/{AUTHENTICATOR}.service"):
        assert path in written["on"]["owned"]


@pytest.mark.parametrize(
    ("host", "rule", "text"),
    [
        ("bad-role", 0, "has the role trading-operator; give the ARN of a role"),
        ("twice", 1, "names a role twice"),
        ("masters", 2, "gives system:masters, which is the cluster's own"),
        ("nameless", 2, "gives an empty name, which is"),
    ],
)
def test_bad_roles_and_names_are_refused(written, host, rule, text):
    said = written[host]["said"]
    assert text in said[rule] and said[:rule] + said[rule + 1 :] == ["nothing"] * 2
    assert written["on"]["said"] == written["off"]["said"] == ["nothing"] * 3


def test_the_lab_builds_the_version_of_the_release_and_nothing_is_guessed():
    version = OWN["releases"]["1.37"][AUTHENTICATOR]
    file = releases.file_of(OWN["files"][AUTHENTICATOR], version, "amd64")
    assert (AUTHENTICATOR, version, file) in mirror.read_artifacts()
    modules = (playing.ROOT / "lab/builds" / AUTHENTICATOR / "go.mod").read_text()
    assert f"sigs.k8s.io/{AUTHENTICATOR} v{version} " in modules
    with pytest.raises(releases.ManifestError, match=f"no sha256 of {AUTHENTICATOR}"):
        releases.artifact(OWN, AUTHENTICATOR, version, "amd64")


def test_the_kubeconfig_of_the_page_asks_for_tokens_of_the_regions_sts():
    blocks = (playing.ROOT / "docs/kubernetes.md").read_text().split("```yaml\n")
    (shown,) = [block.partition("```")[0] for block in blocks if "command: aws-iam-authenticator" in block]
    arguments = yaml.safe_load(shown)["users"][0]["user"]["exec"]["args"]
    # The global name has no VPC endpoint, so a control plane without NAT could not ask about its tokens.
    assert arguments[arguments.index("--region") + 1] == "eu-west-1"
