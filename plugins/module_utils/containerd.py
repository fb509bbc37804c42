# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's containerd says about itself, whether it is well, and whether another version may take its place."""

from __future__ import annotations

import json
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import oci
from ansible_collections.selfhosted.ec2.plugins.module_utils.releases import version_key

#: Plugins that the kubelet cannot do without: type and id.
NEEDED = (("io.containerd.cri.v1", "runtime"), ("io.containerd.cri.v1", "images"), ("io.containerd.grpc.v1", "cri"))


def server_version(text):
    """The server's version of C(ctr version); empty when it did not answer.

    >>> server_version("Client:\\n  Version:  2.3.7\\n\\nServer:\\n  Version:  v2.3.4\\n  Revision: x\\n")
    '2.3.4'
    """
    _client, _server, rest = text.partition("Server:")
    found = re.search(r"^\s*Version:\s*v?(\S+)", rest, re.MULTILINE)
    return found[1] if found else ""


def plugin_states(text):
    """C(ctr plugins ls) as (type, id) to state.

    >>> plugin_states("TYPE ID PLATFORMS STATUS\\nio.containerd.grpc.v1 cri linux/amd64 ok\\n")
    {('io.containerd.grpc.v1', 'cri'): 'ok'}
    """
    lines = [line.split() for line in text.splitlines()[1:]]
    return {(words[0], words[1]): words[-1] for words in lines if len(words) > 2}


def faults(version, wanted, states):
    """Sentences about what keeps containerd from being well."""
    if not version:
        return ["containerd does not answer."]
    found = []
    if wanted and version != wanted:
        found.append("containerd %s runs instead of %s." % (version, wanted))
    for kind, name in NEEDED:
        state = states.get((kind, name), "missing")
        if state != "ok":
            found.append("The plugin %s.%s of containerd is %s." % (kind, name, state))
    return found


def change_fault(running, wanted):
    """One sentence when the running version must not be replaced by the wanted one, "" when it may."""
    if not running or version_key(running)[:2] <= version_key(wanted)[:2]:
        return ""
    return (
        "containerd %s runs, and %s is older by more than a patch: it would not understand what the newer one keeps;"
        " set containerd_version to %s.%s or later, or replace the node."
        % ((running, wanted, *version_key(running)[:2]))
    )


def toml(tree, path=()):
    """A tree of data as TOML: values before tables, both in the order of their keys.

    >>> print(toml({"version": 3, "plugins": {"a.b": {"on": True}}}), end="")
    version = 3
    <BLANKLINE>
    [plugins."a.b"]
    on = true
    """
    values = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    lines = ["%s = %s\n" % (_key(key), _value(value)) for key, value in sorted(values.items())]
    if path and (lines or not tables):
        lines.insert(0, "\n[%s]\n" % ".".join(_key(part) for part in path))
    return "".join(lines) + "".join(toml(value, (*path, key)) for key, value in sorted(tables.items()))


def _key(key):
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(value):
    # A string of TOML is one of JSON, without its pairs of surrogates and with one more character escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value):
    if value is None:
        raise ValueError("TOML has no null; leave the key out.")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "[%s]" % ", ".join(_value(item) for item in value)
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s = %s" % (_key(key), _value(item)) for key, item in sorted(value.items()))
    return json.dumps(value)


def registry_hosts(registry):
    """C(hosts.toml) of one registry: its mirrors in their order, then the registry itself unless that is off.

    A mirror is asked for content by its digest and for names; it is never pushed to.
    """
    lines = []
    if registry.get("upstream", True):
        lines.append("server = %s\n" % json.dumps("https://%s" % oci.host_of(registry["host"])))
    for mirror in registry["mirrors"]:
        lines.append("\n[host.%s]\n" % json.dumps(mirror["url"]))
        lines.append('capabilities = ["pull", "resolve"]\n')
        if mirror.get("ca"):
            lines.append("ca = %s\n" % json.dumps(mirror["ca"]))
        if mirror.get("override_path"):
            lines.append("override_path = true\n")
    return "".join(lines).lstrip("\n")
