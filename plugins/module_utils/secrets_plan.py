# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which secrets are missing, and how new ones are made."""

from __future__ import annotations

import datetime
import secrets
import string
import traceback

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

CA_DAYS = 3650


def plan(wanted, have):
    """Return what to create, in order: list of dict name, kind (random, key, ca_certificate) and what it needs.

    :arg wanted: list of dict name, kind, length, alphabet, common_name.
    :arg have: set of the names that exist.
    :raises ValueError: a certificate authority lost its key.
    """
    result = []
    for entry in wanted:
        if entry["kind"] != "ca":
            if entry["name"] not in have:
                result.append(entry)
            continue
        key, certificate = f"{entry['name']}/key", f"{entry['name']}/certificate"
        if certificate in have and key not in have:
            raise ValueError(f"{certificate} exists but {key} does not; restore the key or delete the certificate.")
        if key not in have:
            result.append({"name": key, "kind": "key"})
        if certificate not in have:
            more = {"common_name": entry["common_name"]} if entry.get("common_name") else {}
            result.append({"name": certificate, "kind": "ca_certificate", "key": key, **more})
    return result


def random_text(length, alphabet=None):
    """Return I(length) characters, each chosen at random from I(alphabet) (default letters and digits)."""
    characters = alphabet or string.ascii_letters + string.digits
    return "".join(secrets.choice(characters) for _index in range(length))


def new_key():
    """Return a new EC P-256 private key, PEM in PKCS #8."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def ca_certificate(key, common_name, now=None):
    """Return a self-signed CA certificate for a private key, PEM, valid for ten years from five minutes ago."""
    private = serialization.load_pem_private_key(key.encode(), None)
    now = now or datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = {name: False for name in (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "encipher_only", "decipher_only",
    )}  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
