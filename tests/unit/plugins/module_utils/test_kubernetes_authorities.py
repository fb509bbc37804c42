"""A rotation of Kubernetes' authorities: which ones a host gets, where it stands, and what the host's files say."""

from __future__ import annotations

import base64
import copy
import itertools
import os

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import (
    certificates,
    kubernetes,
    secrets_plan,
)
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities

NODES = ["control-1", "control-2", "control-3", "workers-1"]
PARTS = ("ca", "etcd_ca", "front_proxy_ca")


def made(base):
    """The secrets of new authorities."""
    found = {f"{base}service_account_key": secrets_plan.new_key()}
    for part in PARTS:
        key = secrets_plan.new_key()
        found[f"{base}{part}/key"] = key
        found[f"{base}{part}/certificate"] = secrets_plan.ca_certificate(key, f"kubernetes-{part}")
    return found


FORMER, NEXT = made("kubernetes/"), made("kubernetes/next/")
BOTH = {**FORMER, **NEXT, "kubernetes/encryption_key": "k"}
KNOWN = filters.kubernetes_authorities(BOTH)
OLD, NEW = (item["name"] for item in KNOWN)
#: As the rotation leaves them when all are copied.
MOVED = {name.replace("kubernetes/next/", "kubernetes/"): value for name, value in NEXT.items()}


def choice(own, step="", others=()):
    return [item["name"] for item in filters.kubernetes_authority_choice(KNOWN, own, others, step)]


def view(names, strays=(), mark=()):
    return {"authorities": list(names), "strays": list(strays), "applied": ["hash", *mark]}


def step(views, secrets=None):
    return filters.kubernetes_authority_step(iter(views), BOTH if secrets is None else secrets)


def test_a_rotation_has_two_and_what_is_not_whole_is_none():
    assert OLD != NEW
    assert [item["name"] for item in filters.kubernetes_authorities(FORMER)] == [OLD]
    assert [item["name"] for item in filters.kubernetes_authorities({**NEXT, **MOVED})] == [NEW]
    for name in NEXT:
        fewer = {key: value for key, value in BOTH.items() if key != name}
        assert [item["name"] for item in filters.kubernetes_authorities(fewer)] == [OLD], name
    assert KNOWN[1]["secrets"]["etcd_ca/key"] == NEXT["kubernetes/next/etcd_ca/key"]


def test_while_they_are_copied_hosts_find_theirs_whole():
    for count in range(len(NEXT) + 1):
        copied = {name.replace("next/", ""): NEXT[name] for name in sorted(NEXT)[:count]}
        known = filters.kubernetes_authorities({**BOTH, **copied})
        (chosen,) = filters.kubernetes_authority_choice(known, [NEW])
        assert {f"kubernetes/next/{part}": value for part, value in chosen["secrets"].items()} == NEXT


def test_clients_trust_both_while_there_are_two():
    assert filters.kubernetes_ca(FORMER) == FORMER["kubernetes/ca/certificate"]
    assert filters.kubernetes_ca({"kubernetes/ca/certificate": "the cluster's"}) == "the cluster's"
    assert authorities.names(filters.kubernetes_ca(BOTH)) == [OLD, NEW]
    assert authorities.names(filters.kubernetes_ca(MOVED)) == [NEW]


@pytest.mark.parametrize(
    ("own", "add", "promote", "drop"),
    [
        ([OLD], [OLD, NEW], [NEW, OLD], [NEW]),
        ([OLD, NEW], [OLD, NEW], [NEW, OLD], [NEW]),
        ([NEW, OLD], [NEW, OLD], [NEW, OLD], [NEW]),
        ([NEW], [NEW], [NEW], [NEW]),
    ],
)
def test_no_step_goes_back_and_each_is_done_once(own, add, promote, drop):
    assert choice(own) == choice(own, others=[OLD]) == own, "without a step a host keeps what it has"
    for name, after in (("add", add), ("promote", promote), ("drop", drop)):
        assert choice(own, name) == after
        assert choice(after, name) == after


def test_a_new_host_takes_what_others_have_and_a_foreign_one_nothing_of_its_own():
    assert choice([], others=[NEW, OLD]) == [NEW, OLD]
    assert choice([]) == [NEW]
    assert choice(["unknown"]) == [NEW], "which the comparison with the host's files refuses"


def test_a_rotation_cut_off_anywhere_is_carried_to_its_end_and_everybody_trusts_everybody():
    hosts = {slot: view([OLD]) for slot in NODES}
    assert step(hosts.values(), FORMER) == "new"
    seen = []
    for name in ("add", "promote", "drop"):
        for slot in NODES:
            assert step(hosts.values()) == name
            hosts[slot] = view(choice(hosts[slot]["authorities"], name))
            seen.append(copy.deepcopy(hosts))
    for lists in seen:
        for shows, trusts in itertools.product(lists.values(), lists.values()):
            assert shows["authorities"][0] in trusts["authorities"]
    assert step(hosts.values()) == "end"
    assert step(hosts.values(), {**NEXT, **MOVED}) == "end", "the second copy is still there"
    assert step(hosts.values(), MOVED) == "new"


def test_what_is_of_another_authority_or_was_cut_off_is_not_done():
    new = [view([NEW, OLD]), view([NEW, OLD], [authorities.KUBELET])]
    assert step(new) == "promote"
    assert step([view([NEW]), view([NEW], mark=["authorities"])]) == "drop"
    assert step([view([NEW]), view([NEW], mark=["restart"])]) == "end", "that was no rotation"


def test_what_is_left_of_a_removal_begins_no_rotation_and_what_is_left_of_the_making_does():
    for name, value in NEXT.items():
        assert step([view([NEW])], {**MOVED, name: value}) == "end", name
        assert step([view([OLD])], {**FORMER, name: value}) == "new", name


@pytest.mark.parametrize(
    ("name", "lists", "left"),
    [
        ("promote", [[OLD, NEW], [OLD, NEW]], 23),
        ("promote", [[OLD, NEW], [NEW, OLD]], 0),
        ("promote", [[NEW], [NEW, OLD]], 0),
        ("drop", [[NEW, OLD], [NEW, OLD]], 23),
        ("drop", [[NEW, OLD], [NEW]], 0),
        ("drop", [[NEW], [NEW]], 0),
    ],
)
def test_a_step_waits_until_it_has_begun(name, lists, left):
    now, since = 10**9, (10**9 - 3600, 10**9 - 7200)
    views = [
        {**view(names), "manifests": ["etcd"], "trusted_since": at} for names, at in zip(lists, since, strict=True)
    ]
    # A worker that has just joined delays nothing.
    views.append({**view([OLD, NEW]), "manifests": [], "trusted_since": now})
    assert filters.kubernetes_authority_hours(iter(views), NEW, name, 24, now) == left
    assert filters.kubernetes_authority_hours(views, NEW, name, "0", now) == 0
    assert filters.kubernetes_authority_hours(views, NEW, name, 24, now + 86400) == 0


def test_the_first_signs_and_all_are_trusted():
    files = {item["dest"]: item for item in filters.kubernetes_pki_files([KNOWN[1], KNOWN[0]], "/pki")}
    assert set(files) == {
        *(f"/pki/{name}.{end}" for name in ("ca", "etcd/ca", "front-proxy-ca") for end in ("crt", "key")),
        *("/pki/sa.key", "/pki/sa.pub"),
    }
    assert authorities.names(files["/pki/ca.crt"]["content"]) == [NEW, OLD]
    assert files["/pki/etcd/ca.key"]["content"] == NEXT["kubernetes/next/etcd_ca/key"]
    assert files["/pki/sa.pub"]["content"].count("BEGIN PUBLIC KEY") == 2
    first = filters.kubernetes_public_key(NEXT["kubernetes/next/service_account_key"])
    assert files["/pki/sa.pub"]["content"].startswith(first)
    assert all(item.get("secret", False) == (item["mode"] == "0600") for item in files.values())
    # With one alone they are as they always were, so a cluster of before finds nothing to change.
    (alone, *_rest) = filters.kubernetes_pki_files(KNOWN[:1], "/pki")
    assert alone["content"] == FORMER["kubernetes/ca/certificate"]


def leaf(secrets, name="x"):
    """A certificate and its key of the authority of these secrets."""
    authority = certificates.Authority(secrets["ca/certificate"], secrets["ca/key"])
    key = certificates.new_key()
    wanted = {"name": name, "common_name": name, "usages": ["client"]}
    return authority.sign(certificates.make_request(key, name), wanted, 1), certificates.key_pem(key).decode()


def kubeconfig(trusted, shown=None):
    encoded = base64.b64encode(trusted.encode()).decode()
    text = f"clusters:\n- cluster:\n    certificate-authority-data: {encoded}\n    server: https://x:6443\n"
    if shown:
        text += f"users:\n- user:\n    client-certificate-data: {base64.b64encode(shown.encode()).decode()}\n"
    return text


@pytest.fixture
def host(tmp_path):
    """Write files of a host; returns what is read of it."""

    def write(files):
        for path, text in files.items():
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return authorities.read(str(tmp_path))

    return write


def test_a_bare_host_has_none(host):
    assert host({}) == {"authorities": [], "strays": [], "trusted_since": 0}


def test_what_trusts_or_shows_another_authority_is_a_stray(host):
    old, new = (item["secrets"] for item in KNOWN)
    both = filters.kubernetes_ca(BOTH)
    etcd = {f"ca/{part}": old[f"etcd_ca/{part}"] for part in ("certificate", "key")}
    cert, key = leaf(old)
    files = {
        "/etc/kubernetes/pki/ca.crt": old["ca/certificate"],
        "/etc/kubernetes/pki/etcd/ca.crt": old["etcd_ca/certificate"],
        "/etc/kubernetes/pki/apiserver.crt": cert,
        "/etc/kubernetes/pki/etcd/server.crt": leaf(etcd)[0],
        "/etc/kubernetes/admin.conf": kubeconfig(old["ca/certificate"], cert),
        "/etc/kubernetes/kubelet.conf": kubeconfig(old["ca/certificate"]),
        authorities.KUBELET: cert + key,
    }
    found = host(files)
    assert found["authorities"] == [OLD] and found["strays"] == [] and found["trusted_since"] > 1e9
    found = host({"/etc/kubernetes/pki/ca.crt": both})
    assert found["authorities"] == [OLD, NEW]
    assert found["strays"] == ["/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"]
    turned = f"{new['ca/certificate']}{old['ca/certificate']}"
    found = host(
        {
            "/etc/kubernetes/pki/ca.crt": turned,
            "/etc/kubernetes/admin.conf": kubeconfig(both, leaf(new)[0]),
            "/etc/kubernetes/kubelet.conf": kubeconfig(both),
        }
    )
    assert found["authorities"] == [NEW, OLD]
    assert found["strays"] == ["/etc/kubernetes/pki/apiserver.crt", authorities.KUBELET]
    fresh = leaf(new)
    found = host({"/etc/kubernetes/pki/apiserver.crt": fresh[0], authorities.KUBELET: "".join(fresh)})
    assert found["strays"] == []
    found = host({"/etc/kubernetes/pki/etcd/ca.crt": new["etcd_ca/certificate"]})
    assert found["strays"] == ["/etc/kubernetes/pki/etcd/server.crt"]


def test_the_whole_host_is_told_with_them(host, tmp_path):
    host({"/etc/kubernetes/pki/ca.crt": FORMER["kubernetes/ca/certificate"]})
    found = kubernetes.read_disk("/var/lib/etcd", str(tmp_path))
    assert found["authorities"] == [OLD] and found["strays"] == []


def test_an_operator_is_told_when_each_certificate_ends_and_how_old_the_newest_snapshot_is(host, tmp_path):
    """Those of the platform's own authority, too: of the kubelet, the authenticator, metrics-server, etcd's client."""
    old = KNOWN[0]["secrets"]
    pem, key = leaf(old)
    shown = {
        "/etc/kubernetes/pki/apiserver.crt": pem,
        "/etc/kubernetes/admin.conf": kubeconfig(old["ca/certificate"], pem),
        authorities.KUBELET: pem + key,
        **dict.fromkeys(authorities.PLATFORM, pem),
    }
    host({**shown, "/etc/kubernetes/kubelet.conf": kubeconfig(old["ca/certificate"])})
    host({f"/var/lib/etcd/snapshots/2026-01-0{day}.db": "x" for day in (1, 2)})
    os.utime(tmp_path / "var/lib/etcd/snapshots/2026-01-01.db", (1000, 1000))
    os.utime(tmp_path / "var/lib/etcd/snapshots/2026-01-02.db", (2000, 2000))
    found = kubernetes.read_history("/var/lib/etcd", str(tmp_path))
    end = int(certificates.not_after(certificates.load_certificates(pem)[0]).timestamp())
    assert found == {"certificates": dict.fromkeys(shown, end), "snapshot": 2000, "joined_at": 0}
