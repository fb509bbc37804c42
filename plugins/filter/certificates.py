# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges certificates that users bring, on the controller."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates as x


def certificate_fault(item):
    """Return what is wrong with a certificate and its key in one sentence, V("") when they fit.

    :arg item: dict with C(name), C(certificate) and C(key), both PEM; the first certificate is the server's own.
    """
    if not x.HAS_CRYPTOGRAPHY:
        raise AnsibleFilterError("Certificates are judged by the Python package cryptography; install it here.")
    name = item.get("name", "")
    try:
        certificate = x.load_certificates(str(item.get("certificate", "")))[0]
    except x.CertificateError:
        return "Certificate %s is not in PEM form." % name
    try:
        key = x.load_key(str(item.get("key", "")))
    except x.CertificateError:
        return "The key of certificate %s is not an unencrypted private key in PEM form." % name
    if not x.matches_key(certificate, key):
        return "Certificate %s does not match its key." % name
    end = x.not_after(certificate)
    if end <= x.now():
        return "Certificate %s ended on %s." % (name, end.date())
    return ""


class FilterModule:
    """Filters for certificates."""

    def filters(self):
        return {"certificate_fault": certificate_fault}
