# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the services of the role haproxy into the small files beside its configuration."""

from __future__ import annotations

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


def haproxy_kubernetes(settings, workers, domain):
    """Return the services of Kubernetes: its API, and what it publishes on node ports, told apart by host and path.

    :arg settings: the role's C(haproxy_kubernetes).
    :arg workers: slots of the nodes that take traffic.
    :arg domain: domain of their DNS names.
    """
    servers = [{"name": slot, "address": "%s.%s" % (slot, domain)} for slot in workers]
    published = settings.get("published") or []
    rules = ["use_backend kubernetes-%s if %s" % (item["name"], _condition(item)) for item in published]
    known = " or ".join(_condition(item) for item in published)
    api = {
        "name": "kubernetes",
        "mode": "tcp",
        "ports": [settings["port"]],
        "required": False,
        "timeouts": {"client": "24h", "server": "24h"},
        "backend": {
            "component": "kubernetes_control_plane",
            "port": settings["server_port"],
            "authority": "kubernetes",
            # Every API server has the endpoint's name in its certificate, whatever its own is.
            "verify_name": "kubernetes.%s" % domain,
            "on_marked_down": "shutdown-sessions",
            "check": dict(_OFTEN, path="/readyz", tls=True),
        },
    }
    if not servers:
        return [api]
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
    return [api, front] + [_published(item, servers) for item in published]


def _condition(item):
    host = "{ req.hdr(host),field(1,:),lower -m str %s }" % item["host"].lower()
    return host + (" { path_beg %s }" % item["path"] if item.get("path") else "")


def _published(item, servers):
    """Return the backend of one published service; with health_port only nodes that hold one of its pods take part."""
    check = {"type": "http", "path": item.get("check", "/")}
    if item.get("health_port"):
        check = {"type": "http", "path": "/healthz", "port": item["health_port"]}
    return {
        "name": "kubernetes-%s" % item["name"],
        "mode": "http",
        "required": False,
        "backend": {"servers": servers, "port": item["node_port"], "check": dict(_OFTEN, **check)},
    }


class FilterModule:
    """Filters for the role haproxy."""

    def filters(self):
        return {"haproxy_files": haproxy_files, "haproxy_kubernetes": haproxy_kubernetes}
