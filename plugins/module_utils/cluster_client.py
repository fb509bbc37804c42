# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that talk to the members of a cluster do alike, whatever the product."""

from __future__ import annotations

import json
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor


def login_options():
    """Return the options of the doc fragment C(cluster_client.login)."""
    return {
        "name": {"type": "str", "required": True},
        "ca_file": {"type": "path", "required": True},
        "user": {"type": "str", "default": "admin"},
        "password": {"type": "str", "required": True, "no_log": True},
    }


def certificate_options():
    """Return the options of the doc fragment C(cluster_client.certificate)."""
    return {
        "ca_file": {"type": "path", "required": True},
        "cert_file": {"type": "path", "required": True},
        "key_file": {"type": "path", "required": True, "no_log": False},
    }


def volume_options():
    """Return the options of the doc fragment C(cluster_client.volume)."""
    return {"identity_file": {"type": "path"}, "data_dir": {"type": "path"}}


def gate_options(*levels):
    """Return C(require), with C(nothing) and I(levels) to choose from, and the option of C(cluster_client.wait)."""
    return {
        "require": {"type": "str", "choices": ["nothing", *levels], "default": "nothing"},
        "wait": {"type": "int", "default": 0},
    }


def tls_context(ca_file, cert_file=None, key_file=None):
    """Return a context that trusts I(ca_file), verifies names and shows I(cert_file), if given.

    :arg key_file: key of I(cert_file), where that file does not hold it.
    :raises OSError: a file cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


def ask_all(names, ask):
    """Return {name: I(ask)(name)}, asked side by side."""
    names = list(names)
    with ThreadPoolExecutor(max_workers=len(names) or 1) as pool:
        return dict(zip(names, pool.map(ask, names), strict=True))


def read_identity(path):
    """Return the content of an identity file, None without one.

    :raises OSError: it cannot be read.
    :raises ValueError: it is not JSON.
    """
    if not path or not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def unwell(product, unhealthy, name, require):
    """Return that members are not well that C(redundant) or C(complete) counts on, as a sentence, or an empty text.

    :arg unhealthy: dict of member to the reason.
    :arg name: this host's member, the one that C(redundant) can do without.
    """
    others = {member: reason for member, reason in unhealthy.items() if member != name}
    blamed = {"redundant": others, "complete": unhealthy}.get(require)
    if not blamed:
        return ""
    reasons = "; ".join(f"{member}: {reason}" for member, reason in blamed.items())
    so = f", so {name} must not be stopped" if require == "redundant" else ""
    return f"{product} has members that are not well{so} ({reasons})."


def wait_until(read, missing, seconds, pause=1):
    """Read until nothing is missing or the time is over; return the last answer and what is missing.

    :arg read: function that returns an answer.
    :arg missing: function that returns what an answer lacks, as a sentence, or an empty text.
    :arg pause: seconds between two answers.
    """
    end = time.monotonic() + seconds
    while True:
        found = read()
        sentence = missing(found)
        if not sentence or time.monotonic() >= end:
            return found, sentence
        time.sleep(pause)


def gate(module, read, missing, pause=1):
    """Read until the cluster is as the option C(require) says; return the last answer and what is missing.

    :arg read: function of the module's parameters that returns the answer.
    :arg missing: function of the answer, the member's name and C(require).
    """
    params = module.params
    return wait_until(
        lambda: read(params), lambda found: missing(found, params["name"], params["require"]), params["wait"], pause
    )


def leave(module, found, sentence):
    """End a module that reads: with I(found), as a failure when something is missing."""
    if sentence:
        module.fail_json(msg=sentence, **found)
    module.exit_json(changed=False, **found)
