# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""X.509 for a platform of its own: inspecting, requesting and signing leaf certificates."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta, timezone

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

BACKDATE = timedelta(minutes=5)  # tolerates a host whose clock is a little behind
MAX_COMMON_NAME = 64  # RFC 5280, ub-common-name
MISMATCH = "it does not match its key"

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HOST = re.compile(r"(?=.{1,253}$)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class CertificateError(Exception):
    """Input that cannot be used; the message is one sentence for the user."""


def now():
    """The present time in UTC."""
    return datetime.now(timezone.utc)


def not_after(certificate):
    """End of a certificate's life as an aware datetime."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def load_certificates(pem):
    """All certificates of a PEM text or bytes, in order. Raises CertificateError for none or a broken one."""
    data = pem.encode() if isinstance(pem, str) else pem
    blocks = _BLOCK.findall(data)
    if not blocks:
        raise CertificateError("there is no certificate in it")
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise CertificateError("a certificate in it is broken") from error


def load_key(pem):
    """A private key from PEM. Raises CertificateError."""
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError("the private key is broken or encrypted") from error


def certificate_pem(certificate):
    """A certificate as PEM bytes."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key):
    """A private key as unencrypted PKCS 8 PEM bytes."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_key():
    """A new EC P-256 private key."""
    return ec.generate_private_key(ec.SECP256R1())


def public_bytes(key):
    """A public key in a form that can be compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def matches_key(certificate, key):
    """Whether a certificate belongs to a private key."""
    return public_bytes(certificate.public_key()) == public_bytes(key.public_key())


def signed_by(certificate, authority):
    """Whether the authority's key made the certificate's signature."""
    if certificate.issuer != authority.subject:
        return False
    key = authority.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            algorithm = ec.ECDSA(certificate.signature_hash_algorithm)
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, algorithm)
        else:
            key.verify(
                certificate.signature,
                certificate.tbs_certificate_bytes,
                padding.PKCS1v15(),
                certificate.signature_hash_algorithm,
            )
    except InvalidSignature:
        return False
    return True


def common_name(name):
    """The common name of an X.509 name, or an empty text."""
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return values[0].value if values else ""


def _extension(certificate, kind):
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def subject_names(certificate):
    """DNS names and addresses of a certificate as two sorted lists of text."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return [], []
    return (
        sorted(names.get_values_for_type(x509.DNSName)),
        sorted(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


def usages(certificate):
    """Sorted list out of server and client."""
    extension = _extension(certificate, x509.ExtendedKeyUsage)
    known = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
    return sorted(known[usage] for usage in extension or [] if usage in known)


def normal_names(wanted):
    """DNS names (lower case) and addresses of a wanted certificate, sorted and without doubles."""
    dns = sorted({name.lower().rstrip(".") for name in wanted.get("dns_names") or []})
    addresses = sorted({str(ipaddress.ip_address(text)) for text in wanted.get("ip_addresses") or []})
    return dns, addresses


def renewal_reason(certificate, key, wanted, authority, renew_days, moment):
    """Why a certificate has to be issued anew, as part of a sentence; empty when it is good.

    `wanted` is an entry of the option certificates, `authority` the signing CA certificate.
    """
    dns, addresses = normal_names(wanted)
    checks = (
        (matches_key(certificate, key), MISMATCH),
        (common_name(certificate.subject) == wanted["common_name"], "its common name differs"),
        (subject_names(certificate) == (dns, addresses), "its names differ"),
        (usages(certificate) == sorted(set(wanted["usages"])), "its usages differ"),
        (signed_by(certificate, authority), "the current CA has not signed it"),
        (
            not_after(certificate) - moment > timedelta(days=renew_days),
            "it ends on %s" % not_after(certificate).strftime("%Y-%m-%d"),
        ),
    )
    return next((reason for good, reason in checks if not good), "")


def metrics(certificate, name, path):
    """Text of a file in the format of Prometheus with the end of a certificate's life."""
    metric = "platform_certificate_not_after_seconds"
    return (
        f"# HELP {metric} End of a certificate's life.\n# TYPE {metric} gauge\n"
        f'{metric}{{name="{name}",path="{path}"}} {int(not_after(certificate).timestamp())}\n'
    )


def describe(certificate):
    """Lines that describe a certificate in a diff."""
    dns, addresses = subject_names(certificate)
    return _description(
        common_name(certificate.subject),
        dns,
        addresses,
        usages(certificate),
        common_name(certificate.issuer),
        not_after(certificate).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def describe_wanted(wanted, authority, end):
    """The same for a certificate that is still to be issued; `end` is text."""
    dns, addresses = normal_names(wanted)
    return _description(
        wanted["common_name"], dns, addresses, sorted(set(wanted["usages"])), common_name(authority.subject), end
    )


def _description(subject, dns, addresses, uses, issuer, end):
    fields = (
        ("common name", subject),
        ("DNS names", ", ".join(dns)),
        ("addresses", ", ".join(addresses)),
        ("usages", ", ".join(uses)),
        ("issuer", issuer),
        ("valid until", end),
    )
    return "".join("%s: %s\n" % field for field in fields)


def make_request(key, name):
    """A signing request as PEM text. The signer decides on names and usages, the request only proves the key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def check_wanted(wanted, domains):
    """Refuse a certificate for names outside the domains. Raises CertificateError.

    A common name without a dot is a client's name (a database user, for example) and free.
    """
    where = "the certificate %s" % wanted["name"]
    name = wanted["common_name"]
    if not 0 < len(name) <= MAX_COMMON_NAME:
        raise CertificateError("The common name of %s has %d characters, 1 to 64 are possible." % (where, len(name)))
    try:
        dns, addresses = normal_names(wanted)
    except ValueError as error:
        raise CertificateError("An address of %s is wrong: %s." % (where, error)) from error
    if not dns and not addresses and "server" in wanted["usages"]:
        raise CertificateError("A server needs dns_names or ip_addresses, %s has neither." % where)
    for host in dns + ([name.lower()] if "." in name else []):
        if not _HOST.match(host):
            raise CertificateError("The name %r of %s is no DNS name." % (host, where))
        inside = any(host == domain or host.endswith("." + domain) for domain in domains)
        if not inside and host != "localhost":
            raise CertificateError(
                "The CA signs only names under %s, %s asks for %s." % (" and ".join(domains), where, host)
            )


class Authority:
    """The platform CA: its certificates, all trusted, and the key of the first."""

    def __init__(self, certificates, key):
        """Both as PEM text. Raises CertificateError when they do not fit or the CA has expired."""
        try:
            self.certificates = load_certificates(certificates)
            self.key = load_key(key)
        except CertificateError as error:
            raise CertificateError("The platform CA cannot be used, %s." % error) from error
        self.certificate = self.certificates[0]
        if not matches_key(self.certificate, self.key):
            raise CertificateError("The CA key does not belong to the first CA certificate.")
        if not_after(self.certificate) <= now():
            raise CertificateError(
                "The platform CA ended on %s; put a new one first into ca/certificate."
                % not_after(self.certificate).strftime("%Y-%m-%d")
            )

    def bundle(self):
        """All CA certificates as PEM text."""
        return b"".join(certificate_pem(item) for item in self.certificates).decode()

    def sign(self, request_pem, wanted, days):
        """A certificate (followed by the CA's own when that is an intermediate) as PEM text.

        Names and usages come from `wanted`, only the public key from the request. Raises CertificateError when the
        request is not signed with its own key.
        """
        request = x509.load_pem_x509_csr(request_pem.encode())
        if not request.is_signature_valid:
            raise CertificateError("The signing request for %s has a wrong signature." % wanted["name"])
        moment = now()
        public = request.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted["common_name"])]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - BACKDATE)
            .not_valid_after(min(moment + timedelta(days=days), not_after(self.certificate)))
        )
        for extension, critical in self._extensions(wanted, public):
            builder = builder.add_extension(extension, critical)
        leaf = builder.sign(self.key, hashes.SHA256())
        chain = [leaf] if self.certificate.issuer == self.certificate.subject else [leaf, self.certificate]
        return b"".join(certificate_pem(item) for item in chain).decode()

    def _extensions(self, wanted, public):
        dns, addresses = normal_names(wanted)
        names = [x509.DNSName(name) for name in dns] + [
            x509.IPAddress(ipaddress.ip_address(text)) for text in addresses
        ]
        purposes = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
        identifier = _extension(self.certificate, x509.SubjectKeyIdentifier)
        if identifier is None:
            identifier = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        yield x509.BasicConstraints(ca=False, path_length=None), True
        yield (
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            True,
        )
        yield x509.ExtendedKeyUsage([purposes[usage] for usage in sorted(set(wanted["usages"]))]), False
        if names:
            yield x509.SubjectAlternativeName(names), False
        yield x509.SubjectKeyIdentifier.from_public_key(public), False
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
