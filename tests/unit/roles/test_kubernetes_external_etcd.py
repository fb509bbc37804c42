"""Kubernetes with etcd on hosts of their own."""

from __future__ import annotations

import datetime

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.filter import releases as filters_of_releases
from ansible_collections.selfhosted.ec2.plugins.filter.etcd import etcd_version_fault

from tests.unit.roles import playing, program
from tests.unit.roles import test_kubernetes_backup as backup
from tests.unit.roles import test_kubernetes_files as files

ROLE = playing.ROOT / "roles/kubernetes"
QUORUM = {"name": "quorum", "components": ["kubernetes_etcd"], "count": 3}
CONTROL, WORKERS = files.VARIABLES["platform_tiers"]
EXTERNAL = {"platform_tiers": [CONTROL, QUORUM, WORKERS]}
MEMBERS = ["quorum-1", "quorum-2", "quorum-3"]
URLS = [f"https://{name}.trading.internal:2379" for name in MEMBERS]
HOSTS = {
    "stacked": {},
    "external": EXTERNAL,
    "worker": EXTERNAL,
    "key-and-file": {"kubernetes_restore": {"key": "latest", "file": "a.db", "confirm": "trading"}},
    "no-file": {"kubernetes_restore": {"file": "a.db", "confirm": "trading"}},
    # By preflight.
    "two": {**EXTERNAL, "kubernetes_control_planes": ["two", "control-2"]},
    "one": {**EXTERNAL, "kubernetes_control_planes": ["one"]},
    "even": {"platform_tiers": [CONTROL, {**QUORUM, "count": 4}, WORKERS]},
    "nobody": {"kubernetes_etcd_group": "kubernetes_etcd"},
    "shared": {
        "platform_tiers": [CONTROL, {"name": "database", "components": ["etcd", "postgresql"], "count": 3}],
        "kubernetes_etcd_group": "etcd",
    },
    "mixed": {"platform_tiers": [{**CONTROL, "components": [*CONTROL["components"], "kubernetes_etcd"]}]},
    "stacked-two": {"kubernetes_control_planes": ["stacked-two", "control-2"]},
}
SAID = {
    "two": "nothing",
    "one": "give two or more, since etcd is elsewhere",
    "even": "kubernetes_etcd_members has 4 members",
    "nobody": "no tier of platform_tiers has this component",
    "shared": "where PostgreSQL's leader lock is",
    "mixed": "which kubernetes_members has, too",
    "stacked-two": "etcd on an even number survives no more failures",
}
DOCUMENTS = {
    "cluster": "__kubernetes_cluster_configuration",
    "init": "__kubernetes_init_configuration",
    "join": "__kubernetes_join_configuration",
    "upgrade": "__kubernetes_upgrade_configuration",
    "kubelet": "__kubernetes_kubelet_config",
    "patch": "__kubernetes_api_server_patch",
    "hash": "__kubernetes_config_hash",
    "keys": "__kubernetes_pki_files | map(attribute='dest')",
    "urls": "__kubernetes_etcd_urls",
    "backup": "__kubernetes_backup_files",
    "identity": "__kubernetes_identity",
    "owned": "__kubernetes_owned",
}


def render(role, documents):
    """Every document on every host, without those that a former role has not."""
    rules = yaml.safe_load((role / "vars/preflight.yml").read_text())["rules"]
    mine = [rule for rule in rules if "control plane" in rule["message"] or "kubernetes_etcd" in rule["message"]]
    texts = {name: f"{{{{ {value} }}}}" for name, value in documents.items()}
    planes = "{{ ['external'] if inventory_hostname == 'worker' else [inventory_hostname, 'control-2', 'control-3'] }}"
    facts = {"__kubernetes_release": files.RELEASE, "kubernetes_control_planes": planes}
    return {**texts, "said": playing.judged(mine)}, [{"ansible.builtin.set_fact": facts}]


def write(path, role, hosts, documents):
    texts, tasks = render(role, documents)
    members = "{{ kubernetes_control_planes + platform_tiers | selfhosted.ec2.slots('kubernetes') }}"
    variables = {**files.VARIABLES, "kubernetes_members": members}
    return playing.write(path, role, "kubelet.service.j2", texts, hosts, variables, tasks)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    more = {
        "client": "__kubernetes_etcd_client",
        "own": "__kubernetes_etcd_own",
        "refusal": "__kubernetes_restore_refusal",
    }
    return write(tmp_path_factory.mktemp("etcd"), ROLE, HOSTS, {**DOCUMENTS, **more})


def test_kubeadm_is_told_the_members_and_a_certificate_of_the_platform(written):
    """ExternalEtcd of kubeadm's v1beta4; what is below its directory of certificates is mounted already."""
    own = "/etc/kubernetes/pki/external-etcd"
    assert written["external"]["cluster"]["etcd"] == {
        "external": {
            "endpoints": URLS,
            "caFile": f"{own}/ca.crt",
            "certFile": f"{own}/apiserver.crt",
            "keyFile": f"{own}/apiserver.key",
        }
    }
    assert list(written["stacked"]["cluster"]["etcd"]) == ["local"]


def test_nothing_else_of_the_cluster_differs(written):
    found, wanted = ({**written[name]["cluster"], "etcd": None} for name in ("external", "stacked"))
    assert found == wanted


def test_an_api_server_starts_anew_with_another_authority_of_the_platform(written):
    patches = [
        written[name]["patch"]["metadata"]["annotations"]["selfhosted.ec2/files"] for name in ("stacked", "external")
    ]
    assert patches[0] != patches[1]


def test_a_control_plane_has_no_authority_of_etcd_and_needs_no_volume(written):
    keys = [key for key in written["external"]["keys"] if "etcd" in key]
    assert keys == []
    assert len(written["stacked"]["keys"]) == len(written["external"]["keys"]) + 2
    unit = "\n".join(written["external"]["unit"])
    assert "AssertPath" not in unit and "identity.json" not in unit
    assert "identity.json" in "\n".join(written["stacked"]["unit"])


def test_all_ask_the_same_members(written):
    for host in ("external", "worker"):
        assert written[host]["urls"] == dict(zip(MEMBERS, URLS, strict=True))
    assert written["external"]["own"] == "external"


def test_a_restore_has_to_be_meant_wherever_etcd_is(written):
    for host in ("external", "stacked"):
        assert written[host]["refusal"].startswith("kubernetes_restore is {}; give key")
    assert "; give key (latest, " in written["key-and-file"]["refusal"]
    assert "kubernetes_restore.file is a.db, and there is no such file" in written["no-file"]["refusal"]


def test_control_planes_are_down_while_members_on_other_hosts_are_made_anew():
    plays = yaml.safe_load((playing.ROOT / "playbooks/restore_kubernetes.yml").read_text())
    steps = [play["tasks"][-1]["ansible.builtin.import_role"]["tasks_from"] for play in plays]
    assert steps == [
        "restore",
        "restore_prepare",
        "restore_stop",
        "restore_place",
        "restore_start",
        "rejoin",
        "restore_finish",
    ]
    members = [play for play in plays if play["hosts"].startswith("kubernetes_etcd:")]
    assert [play["tasks"][-1]["ansible.builtin.import_role"]["name"] for play in members] == ["selfhosted.ec2.etcd"] * 3
    assert all("__kubernetes_view" in play["vars"]["__etcd_restore_api_down"] for play in members)


def test_control_planes_do_not_stop_for_a_restore_that_members_take_no_part_in(tmp_path):
    """A limit to the control planes, or a member whose instance is stopped."""
    stop = yaml.safe_load((ROLE / "tasks/restore_stop.yml").read_text())
    seen = {"__etcd_restore_ended": False}
    hosts = {"external": {**files.VARIABLES, **EXTERNAL}, "quorum-1": seen, "quorum-2": seen, "quorum-3": {}}
    children = {"kubernetes_etcd": {"hosts": dict.fromkeys(MEMBERS, {})}}
    texts = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    play = {"name": "Stop", "hosts": "external", "gather_facts": False, "tasks": [*texts, stop[0]]}
    inventory = {"all": {"hosts": hosts, "children": children}}
    code, text = playing.run(tmp_path, [play], inventory)
    assert code and "quorum-3 of kubernetes_etcd take no part in this run" in " ".join(text.split()), text
    hosts["quorum-3"] = seen
    code, text = playing.run(tmp_path, [play], inventory)
    assert code == 0, text


@pytest.mark.parametrize(("oldest", "refused"), [("3.6.6", False), ("3.5.26", False), ("3.5.25", True)])
def test_members_that_are_too_old_are_named_and_others_pass(tmp_path, oldest, refused):
    judge = yaml.safe_load((ROLE / "tasks/external_etcd.yml").read_text())[1]
    seen = {"members": {"one": {"version": "3.6.6"}, "two": {"version": oldest}, "three": {"version": ""}}}
    texts = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    play = {"name": "Judge", "hosts": "external", "gather_facts": False, "tasks": [*texts, judge]}
    hosts = {"external": {**files.VARIABLES, **EXTERNAL, "__kubernetes_external_now": seen}}
    code, text = playing.run(tmp_path, [play], {"all": {"hosts": hosts}})
    assert bool(code) == refused, text
    assert (f"etcd {oldest} runs on kubernetes_etcd, and" in " ".join(text.split())) == refused, text


@pytest.mark.parametrize("host", SAID)
def test_bad_input_is_refused_in_one_sentence(written, host):
    said = [sentence for sentence in written[host]["said"] if sentence != "nothing"] or ["nothing"]
    assert len(said) == 1, said
    assert SAID[host] in said[0]


# A host that runs


def view(**changes):
    return {
        "identity": None,
        "joined": True,
        "finished": True,
        "begins": False,
        "ready": ["control-1"],
        "nodes": {},
        "manifests": ["kube-apiserver", "kube-controller-manager", "kube-scheduler"],
        "holds_etcd": False,
        **changes,
    }


def start(found, external="kubernetes_etcd", slot="control-1"):
    return filters.kubernetes_start({slot: found}, slot, "node", ["control-1"], "trading.internal", "", external)


def test_a_control_plane_without_a_member_goes_on():
    assert start(view()) == {"state": "keep", "error": ""}


@pytest.mark.parametrize("change", [{"manifests": ["etcd", "kube-apiserver"]}, {"holds_etcd": True}])
def test_a_cluster_with_stacked_etcd_does_not_leave_it(change):
    found = start(view(**change))
    assert found["state"] == "refused" and "has a member of etcd of its own" in found["error"]
    assert start(view(**change), slot="worker-1")["state"] == "keep"


def test_a_cluster_does_not_come_back_to_stacked_etcd():
    found = start(view(), external="")
    assert found["state"] == "refused" and "the etcd of control-1 is on other hosts" in found["error"]


def test_a_new_control_plane_joins_or_begins():
    fresh = view(joined=False, finished=False, manifests=[])
    assert start(fresh)["state"] == "join"
    assert start({**fresh, "ready": []})["state"] == "init"


# Versions


@pytest.mark.parametrize(
    ("running", "wanted", "words"),
    [
        ([], "3.6.14", ""),
        (["3.5.33", "3.6.14"], "3.6.14", ""),
        (["3.6.14"], "3.7.0", ""),
        (["3.5.16"], "3.6.14", "bring it to 3.5.26 or later"),
        (["3.5.33"], "3.7.0", "go through 3.6 first"),
        (["3.7.0"], "3.6.14", "never goes back"),
    ],
)
def test_a_release_is_reached_one_minor_at_a_time(running, wanted, words):
    found = etcd_version_fault(running, wanted)
    assert words in found and bool(found) == bool(words)


MEMBER = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_secrets": {},
    "platform_tiers": [QUORUM, {"name": "database", "components": ["etcd", "postgresql"], "count": 3}],
    "ec2_private_ip": "10.20.0.4",
    "ec2_tier": "quorum",
    "ec2_components": ["kubernetes_etcd"],
    "etcd_members": MEMBERS,
}
DATABASE = {**MEMBER, "ec2_tier": "database", "ec2_components": ["etcd", "postgresql"]}
REFUSED = {
    "good": ({}, ""),
    "replacing": ({"etcd_replace": "database-1"}, ""),
    "stranger": ({"etcd_replace": "cache-1"}, "etcd_replace is cache-1, which is no member"),
    "debian": ({"etcd_version": ""}, "give 3.5.26 or later"),
    "old": ({"etcd_version": "3.5.24", "platform_artifact_manifest": "old.yml"}, "give 3.5.26 or later"),
    "short": ({"etcd_version": "3.6"}, "give a version such as 3.6.14"),
    "both": ({"ec2_components": ["etcd", "kubernetes_etcd"]}, "one host can be a member of one cluster"),
    "no-sum": ({"etcd_version": "3.6.99"}, "no sha256 of etcd 3.6.99"),
    "no-bucket": ({"etcd_backup": {"enabled": True}}, "etcd_backup.enabled is true, but there is no bucket"),
    "none-kept": ({"etcd_backup": {"keep": 0}}, "etcd_backup.keep is 0, which would remove the last snapshot"),
    "no-option": ({"etcd_restore": {"snapshot": "latest"}}, "etcd_restore"),
}


def test_a_member_for_kubernetes_has_a_release_that_it_takes(tmp_path):
    manifest = filters_of_releases.release_manifest("")
    sums = {"3.5.24": dict.fromkeys(("amd64", "arm64"), "a" * 64)}
    old = {**manifest, "files": {**manifest["files"], "etcd": {**manifest["files"]["etcd"], "sha256": sums}}}
    (tmp_path / "old.yml").write_text(yaml.safe_dump(old))
    hosts = {"patroni": {**DATABASE, "etcd_members": ["patroni", "database-2", "database-3"]}}
    for name, (change, _words) in REFUSED.items():
        hosts[name] = {**MEMBER, "etcd_members": [name, *MEMBERS[1:]], **change}
        if "platform_artifact_manifest" in change:
            hosts[name]["platform_artifact_manifest"] = str(tmp_path / change["platform_artifact_manifest"])
    task = {"name": "Check", "selfhosted.ec2.preflight": {"roles": ["etcd"]}, "run_once": True}
    play = {"name": "Check", "hosts": "all", "gather_facts": False, "tasks": [task]}
    groups = {"etcd": {"hosts": {"patroni": {}}}, "kubernetes_etcd": {"hosts": dict.fromkeys(REFUSED, {})}}
    _code, text = playing.run(tmp_path, [play], {"all": {"hosts": hosts, "children": groups}})
    lines = text.split("Refused, nothing was touched.")[1].split("\nOrigin:")[0].splitlines()
    said = {name: [line for line in lines if f"[{name}]" in line] for name in hosts}
    assert said.pop("patroni") == []
    for name, (_change, words) in REFUSED.items():
        assert len(said[name]) == bool(words) and all(words in line for line in said[name]), said[name]


def test_two_clusters_of_etcd_in_one_play_keep_apart(tmp_path):
    role = playing.ROOT / "roles/etcd"
    inventory = {
        "all": {
            "hosts": {name: {**MEMBER, "ansible_connection": "local"} for name in MEMBERS[:2]},
            "children": {
                "etcd": {"hosts": {"database-1": {**DATABASE, "ansible_connection": "local"}}},
                "kubernetes_etcd": {"hosts": dict.fromkeys(MEMBERS[:2], {})},
            },
        }
    }
    names = ("etcd_group", "etcd_version", "__etcd_played", "__etcd_program", "__etcd_release")
    shown = {name: f"{{{{ {name} }}}}" for name in names}
    place = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    tasks = [
        *({"ansible.builtin.include_vars": {"file": str(role / part / "main.yml")}} for part in ("defaults", "vars")),
        {
            "ansible.builtin.copy": {"dest": f"{place}.yaml", "content": "{{ shown | to_nice_yaml }}"},
            "vars": {"shown": shown},
        },
        {"ansible.builtin.template": {"src": str(role / "templates/unit.conf.j2"), "dest": f"{place}.conf"}},
    ]
    play = {"name": "Show", "hosts": "etcd:kubernetes_etcd", "gather_facts": False, "tasks": tasks}
    code, text = playing.run(tmp_path, [play], inventory)
    assert code == 0, text
    found = {name: yaml.safe_load((tmp_path / f"{name}.yaml").read_text()) for name in ("database-1", "quorum-1")}
    patroni, kubernetes = found.values()
    assert patroni == {
        "etcd_group": "etcd",
        "etcd_version": "",
        "__etcd_played": ["database-1"],
        "__etcd_program": "/usr/bin/etcd",
        "__etcd_release": False,
    }
    assert kubernetes["etcd_group"] == "kubernetes_etcd" and kubernetes["__etcd_release"] is True
    assert sorted(kubernetes["__etcd_played"]) == ["quorum-1", "quorum-2"]
    assert "ExecStart" not in (tmp_path / "database-1.conf").read_text()
    assert "ExecStart=\nExecStart=/usr/local/bin/etcd\n" in (tmp_path / "quorum-1.conf").read_text()


# Backups


@pytest.fixture
def saver(tmp_path, monkeypatch):
    module = program.load(
        ROLE / "templates/backup.py.j2",
        __kubernetes_backup_settings_file=str(tmp_path / "settings.json"),
        __kubernetes_etcd_external=True,
    )
    (tmp_path / "tools").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/kube-apiserver.yaml").write_text("")
    monkeypatch.setattr(module, "MANIFESTS", str(tmp_path / "manifests"))
    module.settings = {
        "bucket": "backups",
        "prefix": "kubernetes/etcd/",
        "keep": 3,
        "keep_local": 2,
        "metrics_directory": str(tmp_path / "none"),
        "directory": str(tmp_path / "snapshots"),
        "tools": str(tmp_path / "tools"),
        "endpoints": URLS,
        "login": {"ca_file": "/ca.crt", "cert_file": "/apiserver.crt", "key_file": "/apiserver.key"},
    }
    return module


def test_a_snapshot_is_of_the_first_member_that_is_healthy(saver, monkeypatch, tmp_path):
    asked = []
    plain = backup.Commands(tmp_path)

    def run(argv, timeout=600):
        asked.append([word for word in argv if not word.startswith(("--cacert", "--cert", "--key"))][1:])
        if "health" in argv:
            if URLS[0] in argv[1]:
                raise saver.Failure("unhealthy")
            return ""
        return plain(argv, timeout)

    monkeypatch.setattr(saver, "run", run)
    saver.save(saver.settings, backup.Bucket(), now=backup.NOW)
    (taken,) = [words for words in asked if "save" in words]
    assert taken[0] == f"--endpoints={URLS[1]}"
    monkeypatch.setattr(saver, "run", lambda *_words: (_ for _ in ()).throw(saver.Failure("unhealthy")))
    with pytest.raises(saver.Failure, match="No member of etcd is healthy"):
        saver.ctl(saver.settings, "snapshot", "save", "x")


@pytest.mark.parametrize(("scheduled", "age", "copies"), [(True, 60, 1), (True, 3600, 2), (False, 60, 2)])
def test_of_a_timer_the_first_control_plane_takes_its_copy_to_s3(saver, monkeypatch, tmp_path, scheduled, age, copies):
    monkeypatch.setattr(saver, "run", backup.Commands(tmp_path))
    former = backup.NOW - datetime.timedelta(seconds=age)
    bucket = backup.Bucket(**{f"kubernetes/etcd/{former.strftime('%Y-%m-%dT%H-%M-%SZ')}.db": b"x"})
    saver.save(saver.settings, bucket, scheduled, backup.NOW)
    assert len(bucket.objects) == copies
