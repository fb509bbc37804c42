# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the services of the role haproxy into the small files beside its configuration."""

from __future__ import annotations

BASE = "/etc/haproxy"


def haproxy_files(services, certificates=(), maps=None, check_secrets=None, host_certificate=BASE + "/tls/haproxy.pem"):
    """Return the files that the configuration refers to, as C(config_files) takes them.

    :arg services: list of services, see the role's argument specification.
    :arg certificates: list of dict(name, certificate, key) that users bring.
    :arg maps: dict of map name to dict of key to value.
    :arg check_secrets: dict of name to the secret of a check.
    :arg host_certificate: path of the host's own certificate with its key.
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
    if check_secrets:
        secrets = _text("checks/secrets.map", ["%s %s" % pair for pair in sorted(check_secrets.items())])
        files.append(dict(secrets, mode="0600", secret=True))
    return files


def _text(name, lines):
    return {"dest": "%s/%s" % (BASE, name), "content": "".join(line + "\n" for line in lines)}


class FilterModule:
    """Filters for the role haproxy."""

    def filters(self):
        return {"haproxy_files": haproxy_files}
