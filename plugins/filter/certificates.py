# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges certificates that users bring, on the controller."""

from __future__ import annotations

from datetime import datetime, timezone

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

from ansible.errors import AnsibleFilterError


def public_bytes(key):
    """Return a public key in a form that can be compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check():
    if not HAS_CRYPTOGRAPHY:
        raise AnsibleFilterError("Certificates are judged by the Python package cryptography; install it here.")


def certificate_fault(item):
    """Return what is wrong with a certificate and its key in one sentence, V("") when they fit.

    :arg item: dict with C(name), C(certificate) and C(key), both PEM; the first certificate is the server's own.
    """
    _check()
    name = item.get("name", "")
    try:
        certificate = x509.load_pem_x509_certificates(str(item.get("certificate", "")).encode())[0]
    except ValueError:
        return "Certificate %s is not in PEM form." % name
    try:
        key = serialization.load_pem_private_key(str(item.get("key", "")).encode(), password=None)
    except (TypeError, ValueError):
        return "The key of certificate %s is not an unencrypted private key in PEM form." % name
    if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
        return "Certificate %s does not match its key." % name
    end = certificate.not_valid_after_utc
    if end <= datetime.now(timezone.utc):
        return "Certificate %s ended on %s." % (name, end.date())
    return ""


def certificate_covers(item, host):
    """Tell whether a certificate that a user brings holds a host's name, by itself or by a wildcard for one label."""
    _check()
    try:
        certificate = x509.load_pem_x509_certificates(str(item.get("certificate", "")).encode())[0]
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return False
    names = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    return bool(names & {host.lower(), "*." + host.lower().partition(".")[2]})


class FilterModule:
    """Filters for certificates."""

    def filters(self):
        return {"certificate_fault": certificate_fault}
