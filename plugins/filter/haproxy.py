# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the services of the role haproxy into the small files beside its configuration."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates as x

BASE = "/etc/haproxy"


def haproxy_files(
    services,
    certificates=(),
    maps=None,
    check_secrets=None,
    host_certificate=BASE + "/tls/haproxy.pem",
    authorities=None,
):
    """Return the files that the configuration refers to, as C(config_files) takes them.

    :arg services: list of services, see the role's argument specification.
    :arg certificates: list of dict(name, certificate, key) that users bring.
    :arg maps: dict of map name to dict of key to value.
    :arg check_secrets: dict of name to the secret of a check.
    :arg host_certificate: path of the host's own certificate with its key.
    :arg authorities: dict of name to certificates of an authority that some servers are verified with.
    """
    files = [
        {
            "dest": "%s/certificates/%s.pem" % (BASE, item["name"]),
            "content": item["certificate"].strip() + "\n" + item["key"].strip() + "\n",
            "mode": "0600",
            "secret": True,
        }
        for item in certificates
    ]
    for service in services:
        if service.get("tls"):
            paths = ["%s/certificates/%s.pem" % (BASE, name) for name in service.get("certificates") or []]
            files.append(_text("crt-lists/%s.list" % service["name"], [*paths, host_certificate]))
    for name, entries in sorted((maps or {}).items()):
        files.append(_text("maps/%s.map" % name, ["%s %s" % pair for pair in sorted(entries.items())]))
    for name, certificate in sorted((authorities or {}).items()):
        files.append(_text("authorities/%s.crt" % name, [certificate.strip()]))
    if check_secrets:
        secrets = _text("checks/secrets.map", ["%s %s" % pair for pair in sorted(check_secrets.items())])
        files.append(dict(secrets, mode="0600", secret=True))
    return files


def _text(name, lines):
    return {"dest": "%s/%s" % (BASE, name), "content": "".join(line + "\n" for line in lines)}


#: How the API servers and the nodes are checked; a node is there when its kube-proxy is.
_OFTEN = {"type": "http", "interval": "1s", "fast_interval": "500ms", "fall": 2, "rise": 1}
_PROXY_PORT = 10256
_NODE_PORTS = range(30000, 32768)
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*", re.IGNORECASE)
#: Of what a path may have, what means nothing to HAProxy's configuration.
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_CHECK_PATH = re.compile(r"/[A-Za-z0-9._~/?&=-]*")


def haproxy_kubernetes_fault(settings, domain, certificates=()):
    """Return what is wrong with the services that Kubernetes publishes in one sentence, V("") when nothing is.

    :arg settings: the role's C(haproxy_kubernetes).
    :arg domain: domain whose names the host's own certificate holds.
    :arg certificates: the role's C(haproxy_certificates).
    """
    chosen = [item for item in certificates if item["name"] in (settings.get("certificates") or [])]
    routes = set()
    for item in settings.get("published") or []:
        fault = _published_fault(item)
        if not fault and (item["host"].lower(), item.get("path") or "") in routes:
            fault = "the host and path of another one, which would take all its requests; give each its own"
        host = item["host"]
        held = host.endswith("." + domain) or any(_covers(pair, host) for pair in chosen)
        if not fault and not held:
            fault = (
                "the host %s, which the host's own certificate does not hold, since it is not below %s; name one of"
                " haproxy_certificates that does in haproxy_kubernetes.certificates" % (host, domain)
            )
        if fault:
            return "haproxy_kubernetes.published gives %s %s." % (item["name"], fault)
        routes.add((host.lower(), item.get("path") or ""))
    return ""


def _covers(pair, host):
    """Tell whether a certificate that a user brings holds a host's name, by itself or by a wildcard for one label."""
    try:
        dns_names, _addresses = x.subject_names(x.load_certificates(str(pair.get("certificate", "")))[0])
    except x.CertificateError:
        return False
    return bool({name.lower() for name in dns_names} & {host.lower(), "*." + host.lower().partition(".")[2]})


def _published_fault(item):
    """Return what of one published service cannot be, as the end of a sentence, or an empty text."""
    for key in ("node_port", "health_port"):
        if item.get(key) and int(item[key]) not in _NODE_PORTS:
            return "the %s %s; node ports are 30000 to 32767" % (key, item[key])
    if not _HOST.fullmatch(item["host"]):
        return "the host '%s'; give a name such as api.example.com" % item["host"]
    for key, form in (("path", _PATH), ("check", _CHECK_PATH)):
        if item.get(key) and not form.fullmatch(item[key]):
            return "the %s '%s'; it begins with / and has letters, digits, ., _, ~, - and /" % (key, item[key])
    return ""


def haproxy_kubernetes(settings, workers, domain):
    """Return the services of Kubernetes: its API, and what it publishes on node ports, told apart by host and path.

    :arg settings: the role's C(haproxy_kubernetes).
    :arg workers: slots of the nodes that take traffic.
    :arg domain: domain of their DNS names.
    """
    servers = [{"name": slot, "address": "%s.%s" % (slot, domain)} for slot in workers]
    published = settings.get("published") or []
    # The first one that fits takes the request, so the longest path comes first.
    ordered = sorted(published, key=lambda item: -len((item.get("path") or "").rstrip("/")))
    rules = ["use_backend kubernetes-%s if %s" % (item["name"], _condition(item)) for item in ordered]
    known = " or ".join(_condition(item) for item in published)
    backend = {
        "component": "kubernetes_control_plane",
        "port": settings["server_port"],
        "authority": "kubernetes",
        # Every API server has the endpoint's name in its certificate, whatever its own is.
        "verify_name": "kubernetes.%s" % domain,
        "on_marked_down": "shutdown-sessions",
        # From a host that is lost no answer comes; the first new try goes to another one, not only the last.
        "config": ["option redispatch 1"],
    }
    well = dict(_OFTEN, path="/readyz", tls=True)
    only_etcd = {"path": "/readyz?exclude=etcd&exclude=etcd-readiness"}
    waiting = dict(well, fast_interval="1s", expect="500", then=[only_etcd])
    common = {"mode": "tcp", "timeouts": {"client": "24h", "server": "24h", "connect": "1s"}}
    api = [
        {
            **common,
            "name": "kubernetes",
            "ports": [settings["port"]],
            "required": False,
            "fallback": "kubernetes-without-etcd",
            "backend": dict(backend, check=well),
        },
        # While etcd elects a leader no API server is ready, and each of them answers as soon as it has. One is up here
        # only as long as it is not ready: its connections come again then, and none stays where nobody looks at etcd.
        {
            **common,
            "name": "kubernetes-without-etcd",
            "backend": dict(backend, check=waiting),
        },
    ]
    if not servers:
        return api
    front = {
        "name": "kubernetes-services",
        "mode": "http",
        "ports": [settings["services_port"]],
        "tls": True,
        "required": False,
        "server_names": sorted({item["host"] for item in published if item["host"].endswith("." + domain)}),
        "config": ["http-request return status 404%s" % (" unless " + known if known else ""), *rules],
        "backend": {"servers": servers, "port": _PROXY_PORT, "check": dict(_OFTEN, path="/healthz")},
    }
    if settings.get("certificates"):
        front["certificates"] = settings["certificates"]
    return [*api, front, *(_published(item, servers) for item in published)]


def _condition(item):
    host = "{ req.hdr(host),field(1,:),lower -m str %s }" % item["host"].lower()
    path = (item.get("path") or "").rstrip("/")
    # /v1 is not the beginning of /v10.
    return "{0} {{ path {1} }} or {0} {{ path_beg {1}/ }}".format(host, path) if path else host


def _published(item, servers):
    """Return the backend of one published service; with health_port only nodes that hold one of its pods take part."""
    check = {"type": "http", "path": item.get("check", "/")}
    if item.get("health_port"):
        check = {"type": "http", "path": "/healthz", "port": item["health_port"]}
    backend = {"servers": servers, "port": item["node_port"], "check": dict(_OFTEN, **check)}
    if item.get("proxy_protocol"):
        backend["send_proxy"] = True
    return {"name": "kubernetes-%s" % item["name"], "mode": "http", "required": False, "backend": backend}


class FilterModule:
    """Filters for the role haproxy."""

    def filters(self):
        return {
            "haproxy_files": haproxy_files,
            "haproxy_kubernetes": haproxy_kubernetes,
            "haproxy_kubernetes_fault": haproxy_kubernetes_fault,
        }
