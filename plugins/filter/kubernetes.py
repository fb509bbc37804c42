# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the state of a Kubernetes cluster, and the small texts that its files need."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re

try:
    from cryptography.hazmat.primitives import serialization

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authority_files
from ansible_collections.selfhosted.ec2.plugins.plugin_utils import member_start

#: Names that EC2 gives instances, by address or by id (EC2 User Guide, "Amazon EC2 instance hostname types").
_EC2_NAME = re.compile(r"(ip-\d{1,3}(-\d{1,3}){3}|i-[0-9a-f]{8,17})\.([a-z0-9-]+\.compute\.internal|ec2\.internal)\Z")
_PROVIDER = re.compile(r"aws:///[a-z0-9-]+/i-[0-9a-f]{8,17}\Z")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\Z")
#: Keys that rotations have made, by their numbers; the first one has a name of its own.
_LATER_KEY = re.compile(r"kubernetes/encryption_keys/(\d+)\Z")
#: The oldest kernels: Cilium 1.20, Documentation/operations/system_requirements.rst; Calico 3.32 beside kube-proxy
#: by nftables, docs.tigera.io, getting-started/kubernetes/nftables.
_KERNELS = {"cilium": (5, 10), "calico": (5, 13)}
#: The authorities of a cluster, with their files in kubeadm's directory, and its key for tokens, as secrets below
#: C(_BASE); those of a rotation are below C(_NEXT) until nobody needs the former ones.
_AUTHORITIES = {"ca": "ca", "etcd_ca": "etcd/ca", "front_proxy_ca": "front-proxy-ca"}
_TOKENS = "service_account_key"
_PARTS = tuple(f"{name}/{part}" for name in _AUTHORITIES for part in ("key", "certificate")) + (_TOKENS,)
_BASE = "kubernetes/"
_NEXT = "kubernetes/next/"
#: The first of etcd 3.5 from which 3.6 is safe to reach.
_ETCD_BEFORE_36 = (3, 5, 26)


def kubernetes_start(views, slot, node, control_planes, domain, replace="", external=""):
    """Return how a host starts, as dict C(state) and C(error).

    C(keep): it is a node. C(adopt): it is one whose join was cut off at its very end. C(reset): its join was cut off
    before. C(init): it begins the cluster, also when its first attempt was cut off. C(join): it joins.

    :arg views: dict of slot to what kubernetes_cluster_info returned there, of all hosts of the play.
    :arg node: name of the host's node.
    :arg control_planes: slots of all control planes, running or not.
    :arg replace: slot whose old member the cluster has forgotten, so that its data counts for nothing.
    :arg external: group of the hosts that etcd is on, empty where each control plane has a member.
    """
    view = views[slot]
    error = member_start.foreign_volume("Kubernetes", slot, domain, view.get("identity"))
    if error:
        return {"state": "refused", "error": error}
    if view["joined"] and view["finished"]:
        return _keep(view, slot, control_planes, external)
    ready = sorted({name for other in views.values() for name in other["ready"]})
    # Whether its own API server answers or not: nobody has joined it, and kubeadm may have left out the rest.
    if _begins(view) and not set(ready) - {slot}:
        return _first(views, slot, control_planes)
    if view["joined"]:
        own = view["nodes"].get(node, {})
        if own.get("ready") and (slot not in control_planes or slot in ready):
            return {"state": "adopt", "error": ""}
    if view["joined"] or view["manifests"]:
        return {"state": "reset", "error": ""}
    if slot in control_planes and view["holds_etcd"]:
        if ready and (slot == replace or _begins(view)):
            return {"state": "reset", "error": ""}
        return {
            "state": "refused",
            "error": f"The etcd volume of {slot} holds a member's data, but the host has joined no cluster; attach the"
            " volume of this instance, or take the old member out of etcd and empty the volume.",
        }
    if ready:
        return {"state": "join", "error": ""}
    return _first(views, slot, control_planes)


def _keep(view, slot, control_planes, external):
    """Return how a node starts that is one already; with an empty volume its etcd would begin a second cluster."""
    error = _other_etcd(view, slot, external) if slot in control_planes else ""
    if error:
        return {"state": "refused", "error": error}
    if slot in control_planes and not external and not (view["holds_etcd"] and view["identity"]):
        return {
            "state": "refused",
            "error": f"{slot} is a control plane, but its etcd volume holds no member's data; attach the volume that"
            " it had, or give the slot a new instance by replace_node.yml.",
        }
    return {"state": "keep", "error": ""}


def _other_etcd(view, slot, external):
    """Return that a control plane's etcd is not where it is described, as a sentence, or an empty text."""
    own = "etcd" in view["manifests"] or view["holds_etcd"]
    if external and own:
        return (
            f"kubernetes_etcd_group is {external}, but {slot} has a member of etcd of its own; where the etcd of a"
            " cluster is does not change, so leave kubernetes_etcd_group empty, or make another cluster."
        )
    if not external and not own and "kube-apiserver" in view["manifests"]:
        return (
            f"kubernetes_etcd_group is empty, but the etcd of {slot} is on other hosts; where the etcd of a cluster is"
            " does not change, so describe the tier with kubernetes_etcd again."
        )
    return ""


def _begins(view):
    """Tell whether a cluster's first start was cut off on a host, so that its data is of one that never was."""
    return view["begins"] and not view["finished"] and not view["identity"]


def _first(views, slot, control_planes):
    """Return how a host starts while no API server answers."""
    begun = [name for name in control_planes if name in views and _begins(views[name])]
    full = sorted(name for name, view in views.items() if name not in begun and (view["joined"] or view["holds_etcd"]))
    error = member_start.no_first_start("No API server answers", full, control_planes, views)
    if error:
        return {"state": "refused", "error": error}
    first = next(name for name in [*begun, *control_planes] if name in views)
    if slot == first:
        return {"state": "init", "error": ""}
    return {"state": "reset" if slot in begun else "join", "error": ""}


def kubernetes_etcd_strangers(listed, known):
    """Return the members of etcd that belong to none of the known control planes.

    :arg listed: members, each with C(name) and C(peer_urls). One that never started has no name, but an address that
        EC2's name of the instance tells as well.
    :arg known: nodes of the control planes that stay.
    """
    addresses = {"-".join(name.partition(".")[0].split("-")[1:]).replace("-", ".") for name in known if name}

    def is_known(member):
        hosts = {url.partition("://")[2].rpartition(":")[0] for url in member["peer_urls"]}
        return member["name"] in known if member["name"] else bool(hosts & addresses)

    return [member for member in listed if not is_known(member)]


def kubernetes_args(arguments):
    """Return arguments as kubeadm has them, a list of C(name) and C(value), both texts; null takes one away."""
    return [
        {"name": name, "value": str(value).lower() if isinstance(value, bool) else str(value)}
        for name, value in sorted(arguments.items())
        if value is not None
    ]


def kubernetes_keys(secrets, first):
    """Return all keys of encryption that the platform has, the oldest first: dicts C(number), C(name) and C(secret).

    A name is never given to a second key, since the API server finds the key of what is stored by its name alone.

    :arg secrets: the secrets of the platform, by name.
    :arg first: the key that clusters begin with.
    """
    found = {1: first}
    found.update({int(match[1]): secrets[name] for name in secrets if (match := _LATER_KEY.match(name))})

    def title(number):
        # What clusters had before there were rotations.
        return "key1" if number == 1 else "key-" + hashlib.sha256(found[number].encode()).hexdigest()[:12]

    return [
        {"number": number, "name": title(number), "secret": base64.b64encode(found[number].encode()).decode()}
        for number in sorted(found)
    ]


def kubernetes_key_choice(keys, own, others=(), step=""):
    """Return the keys for an API server, the one that it writes with first: dicts C(name) and C(secret).

    What a host has it keeps, and a new one takes what the others have: lists of two steps side by side do no harm,
    since a step begins only when the one before it is done everywhere.

    :arg keys: what C(kubernetes_keys) returns.
    :arg own: names of the keys that this host has.
    :arg others: names of the keys that another control plane has.
    :arg step: of a rotation to the newest key: C(add), C(promote) or C(drop), empty for none; C(all) lets all be read.
    """
    known = {key["name"]: {"name": key["name"], "secret": key["secret"]} for key in keys}
    names = _choice(list(known), own, others, step)
    if step == "all":
        names += [name for name in reversed(known) if name not in names]
    return [known[name] for name in names]


def _choice(known, own, others, step):
    """Return which of the known names a host is to have after a step of a rotation to the last one."""
    newest = known[-1]
    names = [name for name in own or others or [newest] if name in known]
    rest = [name for name in names if name != newest]
    if step == "add" and newest not in names:
        return [*names, newest]
    return {"promote": [newest, *rest], "drop": [newest]}.get(step, names)


def kubernetes_key_step(views, newest):
    """Return the first step that a rotation to the newest key has still to do: C(add), C(promote), C(drop), or C(new)
    when every control plane has that key alone, so that a further rotation needs a new one.

    :arg views: what kubernetes_cluster_info returned on all control planes.
    """
    views = list(views)
    lists = [view["encryption"] for view in views]
    if any(newest not in names for names in lists):
        return "add"
    if any(names[0] != newest for names in lists):
        return "promote"
    # The mark of a rotation that was cut off when the last host had its files already.
    if any(len(names) > 1 for names in lists) or any(view["applied"][1:] == ["key"] for view in views):
        return "drop"
    return "new"


def kubernetes_authorities(secrets):
    """Return the authorities of the cluster that the platform has, those of before a rotation first: dicts C(name) and
    C(secrets), the values by their names below C(kubernetes/).

    :arg secrets: the secrets of the platform, by name.
    """
    found = [{part: secrets[base + part] for part in _PARTS if base + part in secrets} for base in (_BASE, _NEXT)]
    # At its end the next ones are copied over the former ones.
    if len(found[1]) < len(_PARTS):
        found = found[:1]
    elif found[0].get("ca/certificate") == found[1]["ca/certificate"]:
        found = found[1:]

    def name(values):
        text = values.get("ca/certificate", "")
        return next(iter(authority_files.names(text)), hashlib.sha256(text.encode()).hexdigest()[:12])

    return [{"name": name(values), "secrets": values} for values in found]


def kubernetes_ca(secrets):
    """Return what a client of the API trusts, PEM: the cluster's authority, and during a rotation the next one, too.

    :arg secrets: the secrets of the platform, by name.
    """
    return _bundle(item["secrets"]["ca/certificate"] for item in kubernetes_authorities(secrets))


def _bundle(texts):
    """Return PEM texts as one; a single one as it is."""
    texts = list(texts)
    return texts[0] if len(texts) == 1 else "".join(text.rstrip("\n") + "\n" for text in texts)


def kubernetes_authority_choice(authorities, own, others=(), step=""):
    """Return the authorities for a host, the ones that sign first; what it has it keeps, and a new one takes what the
    others have.

    :arg authorities: what C(kubernetes_authorities) returns.
    :arg own: names of those that this host has.
    :arg others: names of those that another control plane has.
    :arg step: of a rotation: C(add), C(promote) or C(drop), empty for none.
    """
    known = {item["name"]: item for item in authorities}
    # Of a host that has others alone the files are compared with the newest ones, and refused.
    return [known[name] for name in _choice(list(known), own, others, step) or list(known)[-1:]]


def kubernetes_pki_files(chosen, directory):
    """Return the files of a control plane from its authorities, as the module config_files takes them: it trusts all of
    them, and the first ones sign. kubeadm, too, signs with the first certificate of a file.

    :arg chosen: what C(kubernetes_authority_choice) returns.
    :arg directory: where kubeadm looks for them.
    """
    signing, files = chosen[0]["secrets"], []
    for secret, path in _AUTHORITIES.items():
        bundle = _bundle(item["secrets"][f"{secret}/certificate"] for item in chosen)
        files.append({"dest": f"{directory}/{path}.crt", "content": bundle, "mode": "0644"})
        key = {"dest": f"{directory}/{path}.key", "content": signing[f"{secret}/key"], "mode": "0600", "secret": True}
        files.append(key)
    files.append({"dest": f"{directory}/sa.key", "content": signing[_TOKENS], "mode": "0600", "secret": True})
    public = _bundle(kubernetes_public_key(item["secrets"][_TOKENS]) for item in chosen)
    return [*files, {"dest": f"{directory}/sa.pub", "content": public, "mode": "0644"}]


def kubernetes_authority_step(views, secrets):
    """Return the first step that a rotation of the authorities has still to do: C(add), C(promote), C(drop), C(end)
    when every host has the next ones alone, or C(new) when none is under way.

    :arg views: what kubernetes_cluster_info returned on all nodes.
    :arg secrets: the secrets of the platform, by name.
    """
    begun = {name[len(_NEXT) :] for name in secrets if name.startswith(_NEXT)}
    if not begun >= set(_PARTS):
        # What is left of their removal, or of the making of new ones.
        copied = any(secrets[_NEXT + part] == secrets.get(_BASE + part) for part in begun)
        return "end" if copied else "new"
    views = list(views)
    newest = kubernetes_authorities(secrets)[-1]["name"]
    lists = [view["authorities"] for view in views]
    if any(newest not in names for names in lists):
        return "add"
    if any(names[0] != newest for names in lists) or any(view["strays"] for view in views):
        return "promote"
    # The mark of a step that was cut off when the last host had its files already.
    if any(len(names) > 1 for names in lists) or any(view["applied"][1:] == ["authorities"] for view in views):
        return "drop"
    return "end"


def kubernetes_authority_hours(views, newest, step, hours, now):
    """Return for how many hours a step of a rotation must not begin yet; 0 when it has begun on a control plane.

    :arg views: what kubernetes_cluster_info returned on all nodes.
    :arg newest: name of the next authorities.
    :arg step: C(promote) or C(drop).
    :arg hours: what must lie between the end of the step before and this one.
    :arg now: seconds since 1970.
    """
    controls = [view for view in views if view["manifests"]]
    lists = [view["authorities"] for view in controls]
    if any(names[0] == newest if step == "promote" else names == [newest] for names in lists):
        return 0
    since = max(view["trusted_since"] for view in controls)
    return max(0, round(float(hours) - (float(now) - since) / 3600, 1))


def kubernetes_programs(files):
    """Return files of a release as the module artifacts takes them, each linked by its name from /usr/local/bin."""
    return [
        {**item, "unpack_to": "/opt/kubernetes", "links": {"/usr/local/bin/" + item["name"]: item["file"]}}
        for item in files
    ]


def kubernetes_public_key(key):
    """Return the public key of a private one, both PEM."""
    if not HAS_CRYPTOGRAPHY:
        raise AnsibleFilterError("kubernetes_public_key needs the Python package cryptography on the controller.")
    public = serialization.load_pem_private_key(str(key).encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def kubernetes_overlap(networks):
    """Return which two networks overlap or which one is none, as the end of a sentence; an empty text when all is well.

    :arg networks: dict of name to CIDR.
    """
    parsed = {}
    for name, cidr in networks.items():
        try:
            parsed[name] = ipaddress.IPv4Network(str(cidr))
        except ValueError:
            return f"{name} is {cidr!r}, it must be a network such as 10.244.0.0/16"
    names = list(parsed)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            if parsed[name].overlaps(parsed[other]):
                return f"{name} {parsed[name]} overlaps {other} {parsed[other]}; each needs addresses of its own"
    return ""


def kubernetes_network_fault(views, slot, wanted):
    """Return why a host may not have a network of the pods, as a sentence, or an empty text.

    :arg views: dict of slot to what kubernetes_cluster_info returned there, of all hosts of the play.
    """
    others = sorted((name, view.get("network", wanted)) for name, view in views.items() if view.get("finished"))
    for name, network in sorted(others, key=lambda pair: pair[0] != slot):
        if network != wanted:
            return (
                f"kubernetes_network is {wanted}, but {name} is a node of a cluster with {network}; a change would take"
                f" the network from all pods, so set {network} again, or begin another cluster with {wanted}."
            )
    oldest = _KERNELS.get(wanted)
    kernel = views[slot].get("kernel", "")
    if oldest and kernel and tuple(map(int, re.findall(r"\d+", kernel)[:2])) < oldest:
        return (
            f"{slot} has the kernel {kernel}, and kubernetes_network {wanted} needs {oldest[0]}.{oldest[1]} or later;"
            " give the host a newer image."
        )
    return ""


def kubernetes_fixed_fault(views, slot, wanted):
    """Return what is described otherwise than the cluster was made with, as a sentence, or an empty text.

    :arg views: dict of slot to what kubernetes_cluster_info returned there, of all hosts of the play.
    :arg wanted: dict of the names in C(made_with) to what is described.
    """
    nodes = sorted(
        (name for name, view in views.items() if view.get("finished")), key=lambda name: (name != slot, name)
    )
    for name in nodes:
        for setting, value in wanted.items():
            found = views[name].get("made_with", {}).get(setting, "")
            if found and found != value:
                return (
                    f"kubernetes_{setting} is {value}, but {name} is a node of a cluster that was made with {found};"
                    f" that cannot be changed later, so set {found} again, or begin another cluster with {value}."
                )
    return ""


def kubernetes_node_limit(network, mask=24):
    """Return how many nodes a network of pods has room for."""
    return 2 ** (mask - ipaddress.IPv4Network(str(network)).prefixlen)


def kubernetes_ec2_name(name):
    """Tell whether a node's name is one that EC2 gave its instance."""
    return bool(_EC2_NAME.match(str(name)))


def kubernetes_provider_id(value):
    """Tell whether a text is a provider id of EC2."""
    return bool(_PROVIDER.match(str(value)))


def kubernetes_skew(views, wanted):
    """Return why the cluster may not be brought to a version, as a sentence, or an empty text.

    One minor at a time, never back, and no kubelet newer than an API server or more than three minors behind it
    (Kubernetes' version skew policy).

    :arg views: dict of slot to what kubernetes_cluster_info returned there.
    :arg wanted: version, without v.
    """
    match = _VERSION.match(str(wanted))
    if not match:
        return f"kubernetes_version is {wanted!r}, it must be a version such as 1.37.2."
    target = tuple(map(int, match.groups()))
    servers, kubelets = _versions(views)
    for name, version in sorted({**servers, **kubelets}.items()):
        if version > target:
            return (
                f"kubernetes_version is {wanted}, but {name} has {_text(version)} already; Kubernetes never goes back."
            )
    for name, version in sorted(servers.items()):
        if version[:2] not in (target[:2], (target[0], target[1] - 1)):
            return (
                f"kubernetes_version is {wanted}, but the API server of {name} has {_text(version)}; go through"
                f" {version[0]}.{version[1] + 1} first, one minor at a time."
            )
    for name, version in sorted(kubelets.items()):
        oldest = min(servers.values(), default=target)
        if version[:2] > oldest[:2]:
            return f"The kubelet of {name} has {_text(version)}, newer than an API server ({_text(oldest)})."
        if target[1] - version[1] > 3:
            return (
                f"The kubelet of {name} has {_text(version)}, more than three minors behind {wanted}; upgrade it first."
            )
    return ""


def kubernetes_host_fault(view, slot, start, endpoint, balancers, allow_swap=False):
    """Return why a host cannot be a node as it is, as a sentence, or an empty text.

    :arg view: what kubernetes_cluster_info returned on it.
    :arg start: how it starts; one that is a node knows its cluster already.
    :arg balancers: addresses that the endpoint's name must lead to, none where it may lead anywhere.
    """
    if view["swap"] and not allow_swap:
        return (
            f"{slot} has swap on, with which the kubelet does not start; switch it off (swapoff -a, and take it out of"
            " /etc/fstab), or set kubernetes_kubelet_config.failSwapOn to false."
        )
    if start not in ("init", "join", "reset") or not balancers:
        return ""
    found = view["endpoint_addresses"]
    others = [address for address in found if address not in balancers]
    if found and not others:
        return ""
    leads = f"leads to {', '.join(others)} on {slot}" if found else f"has no address on {slot}"
    return (
        f"{endpoint} (kubernetes_endpoint) {leads}, but HAProxy is at {', '.join(sorted(balancers))};"
        " run provision.yml, which writes the name."
    )


def kubernetes_etcd_fault(running, wanted):
    """Return why etcd may not be brought from one version to another, as a sentence, or an empty text.

    One minor at a time, never back, and to 3.6 only from a 3.5 that knows which members it has (etcd's upgrade guide).

    :arg running: version, empty where none runs.
    """
    old, new = _parsed(str(running)), _parsed(str(wanted))
    if not (old and new):
        return ""
    if new < old:
        return f"etcd {_text(old)} runs, and the release has {_text(new)}; etcd never goes back."
    if new[:2] > (old[0], old[1] + 1):
        return f"etcd {_text(old)} runs, and the release has {_text(new)}; go through {old[0]}.{old[1] + 1} first."
    if old < _ETCD_BEFORE_36 and new >= (3, 6, 0):
        return (
            f"etcd {_text(old)} runs, and the release has {_text(new)}; bring it to {_text(_ETCD_BEFORE_36)} or later"
            " of 3.5 first, since a former one may take members that have left into 3.6."
        )
    return ""


def kubernetes_other_version(view, wanted):
    """Return that the cluster runs another version, as a sentence, or an empty text.

    :arg view: what kubernetes_cluster_info returned on one host.
    """
    servers, kubelets = _versions({"": view})
    others = {name: version for name, version in {**servers, **kubelets}.items() if _text(version) != wanted}
    if not others:
        return ""
    name, version = sorted(others.items())[0]
    return (
        f"kubernetes_version is {wanted}, but {name} has {_text(version)};"
        " bring the cluster to it by upgrade_kubernetes.yml."
    )


def kubernetes_upgrade_plan(views, control_planes, members, wanted, etcd=""):
    """Return what an upgrade does, in its order: C(error), C(control_planes), C(nodes) (both slots) and C(lines).

    A control plane that an earlier run has left half new, or that is not ready, comes first.

    :arg views: dict of slot to what kubernetes_cluster_info returned there.
    :arg members: slots of all nodes, running or not.
    :arg etcd: version that belongs to the wanted one.
    """
    plan = {"control_planes": [], "nodes": [], "lines": []}
    answered = [view for view in views.values() if view["ready"]]
    error = kubernetes_skew(views, wanted) if answered else "No API server is ready, so there is nothing to upgrade."
    faults = [kubernetes_etcd_fault(view["etcd"], etcd) for view in views.values()]
    error = error or next(filter(None, faults), "")
    absent = [slot for slot in members if slot not in views]
    if not error and absent:
        error = f"{', '.join(absent)} took no part in this run and would be left behind; start or remove them first."
    outside = [slot for slot in views if not (views[slot]["joined"] and views[slot]["finished"])]
    if not error and outside:
        error = (
            f"{', '.join(outside)} have not joined the cluster yet;"
            " end that by kubernetes.yml with the version that runs."
        )
    if error:
        return dict(plan, error=error)
    servers = {slot: member for view in answered for slot, member in view["members"].items()}
    nodes = {node["slot"]: node for view in answered for node in view["nodes"].values()}
    kubelets = {slot: node["version"] for slot, node in nodes.items()}
    # One that has its new kubelet, but not its pods again.
    drained = {slot for slot, node in nodes.items() if node["drained"]}

    def half(slot):
        return views[slot]["applied"][1:] == ["upgrade"] or not servers[slot]["ready"]

    parts = [slot for slot in control_planes if half(slot) or servers[slot]["version"] != wanted]
    order = [slot for slot in control_planes if slot in views]
    order += [slot for slot in members if slot not in control_planes]
    plan["control_planes"] = sorted(parts, key=lambda slot: not half(slot))
    plan["nodes"] = [
        slot
        for slot in order
        if slot in parts or slot in drained or views[slot]["applied"][1:] == ["kubelet"] or kubelets.get(slot) != wanted
    ]
    plan["lines"] = [
        f"parts of {slot}: {servers[slot]['version'] or 'not ready'} to {wanted}" for slot in plan["control_planes"]
    ]
    plan["lines"] += [f"kubelet of {slot}: {kubelets.get(slot, 'unknown')} to {wanted}" for slot in plan["nodes"]]
    return dict(plan, error="")


def _text(version):
    return ".".join(map(str, version))


def _parsed(version):
    match = _VERSION.match(version.partition("+")[0].partition("-")[0])
    return tuple(map(int, match.groups())) if match else None


def _versions(views):
    """Return (API servers, kubelets): dict of slot or node to version."""
    servers, kubelets = {}, {}
    for slot, view in views.items():
        # What the host starts next, when nobody can be asked.
        if view["finished"] and view["installed"] and not view["ready"]:
            kubelets[slot or "this host"] = _parsed(view["installed"])
        servers.update(
            {name: _parsed(member["version"]) for name, member in view["members"].items() if member["ready"]}
        )
        kubelets.update({name: _parsed(node["version"]) for name, node in view["nodes"].items()})
    return ({name: version for name, version in found.items() if version} for found in (servers, kubelets))


class FilterModule:
    """Filters for the role kubernetes."""

    def filters(self):
        return {
            "kubernetes_args": kubernetes_args,
            "kubernetes_authorities": kubernetes_authorities,
            "kubernetes_authority_choice": kubernetes_authority_choice,
            "kubernetes_authority_hours": kubernetes_authority_hours,
            "kubernetes_authority_step": kubernetes_authority_step,
            "kubernetes_ca": kubernetes_ca,
            "kubernetes_etcd_strangers": kubernetes_etcd_strangers,
            "kubernetes_etcd_fault": kubernetes_etcd_fault,
            "kubernetes_fixed_fault": kubernetes_fixed_fault,
            "kubernetes_host_fault": kubernetes_host_fault,
            "kubernetes_ec2_name": kubernetes_ec2_name,
            "kubernetes_key_choice": kubernetes_key_choice,
            "kubernetes_key_step": kubernetes_key_step,
            "kubernetes_keys": kubernetes_keys,
            "kubernetes_network_fault": kubernetes_network_fault,
            "kubernetes_node_limit": kubernetes_node_limit,
            "kubernetes_other_version": kubernetes_other_version,
            "kubernetes_overlap": kubernetes_overlap,
            "kubernetes_pki_files": kubernetes_pki_files,
            "kubernetes_programs": kubernetes_programs,
            "kubernetes_provider_id": kubernetes_provider_id,
            "kubernetes_public_key": kubernetes_public_key,
            "kubernetes_skew": kubernetes_skew,
            "kubernetes_start": kubernetes_start,
            "kubernetes_upgrade_plan": kubernetes_upgrade_plan,
        }
