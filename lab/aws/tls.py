"""The process `lab tls`: HAProxy inside `<lab>-inet` that ends TLS for AWS's names and passes on to the unix socket."""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.paths import TLS_ADDRESS, Lab

REGIONS = ("eu-west-1", "eu-west-2", "eu-central-1", "us-east-1")
CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 30
CONFIG = """\
global
  maxconn 2000
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout http-keep-alive 60s
frontend aws
  bind {address}:443 ssl crt {certificate} alpn h2,http/1.1
  http-request deny deny_status 404 if {{ path_beg /_lab/ }}
  http-request del-header x-lab-internal
  default_backend front
backend front
  server front unix@{socket}
"""


def names() -> list[str]:
    """Every name the front's certificate covers: services, S3 buckets and DynamoDB's account endpoints."""
    result = ["*.amazonaws.com", "amazonaws.com", "*.s3.amazonaws.com"]
    for region in REGIONS:
        result += [f"{prefix}{region}.amazonaws.com" for prefix in ("*.", "*.s3.", "*.s3.dualstack.", "*.ddb.")]
    return result


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    temporary.replace(path)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(name[0])
        .issuer_name(name[1])
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(lab: Lab) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The lab's CA, made at first use."""
    key_file = lab.tls_directory / "ca.key"
    if lab.ca_certificate.exists() and key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        return x509.load_pem_x509_certificate(lab.ca_certificate.read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"CA of the lab {lab.name}"
    builder = _builder(subject, subject, key.public_key(), CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.add_extension(_usage(True), critical=True).sign(key, hashes.SHA256())
    _write(key_file, _pem(key), 0o600)
    _write(lab.ca_certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def _good(path: Path, authority: x509.Certificate) -> bool:
    """Whether the leaf exists, is the CA's, covers every name and lasts."""
    try:
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        leaf.verify_directly_issued_by(authority)
        covered = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        return False
    left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left.days > RENEW_DAYS and covered.get_values_for_type(x509.DNSName) == names()


def certificates(lab: Lab) -> Path:
    """Make what is missing of CA and certificate. Returns the file with certificate and key that HAProxy reads."""
    lab.tls_directory.mkdir(parents=True, exist_ok=True)
    lab.tls_directory.chmod(0o755)
    authority, authority_key = _authority(lab)
    path = lab.tls_directory / "front.pem"
    if _good(path, authority):
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    builder = _builder("amazonaws.com", str(issuer), key.public_key(), LEAF_DAYS)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names()])
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    _write(path, certificate.public_bytes(serialization.Encoding.PEM) + _pem(key), 0o600)
    return path


def configuration(lab: Lab, address: str = TLS_ADDRESS) -> Path:
    """Write certificates and HAProxy's configuration. Returns the configuration file."""
    certificate = certificates(lab)
    path = lab.tls_directory / "haproxy.cfg"
    text = CONFIG.format(address=address, certificate=certificate, socket=lab.aws_socket)
    _write(path, text.encode(), 0o640)
    return path


def command(lab: Lab, namespace: str | None = None) -> list[str]:
    """The command of the process, in the foreground; `namespace` "" runs it where the caller is."""
    namespace = lab.inet_namespace if namespace is None else namespace
    haproxy = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin") or "haproxy"
    enter = ["nsenter", f"--net={Lab.namespace_path(namespace)}"] if namespace else []
    return [*enter, haproxy, "-db", "-f", str(lab.tls_directory / "haproxy.cfg")]


def start(lab: Lab, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start HAProxy inside `<lab>-inet`, which must exist. The caller ends the process."""
    configuration(lab)
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(command(lab), stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def main(arguments: list[str] | None = None) -> None:
    """Entry of `python -m lab.aws.tls`: becomes HAProxy."""
    parser = argparse.ArgumentParser(prog="lab tls", description="Serve AWS's names over TLS inside the lab.")
    parser.add_argument("--lab", default=None, help="name of the lab (default: lab)")
    parser.add_argument("--certificates-only", action="store_true", help="make the certificates and stop")
    options = parser.parse_args(arguments)
    lab = Lab(options.lab)
    configuration(lab)
    if options.certificates_only:
        return
    argv = command(lab)
    os.execvp(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
