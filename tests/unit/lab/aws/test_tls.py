"""The TLS front's CA and certificate, made once, renewed when they no longer fit."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess

import pytest
from cryptography import x509

from lab.aws import tls
from lab.paths import Lab


@pytest.fixture
def lab(tmp_path):
    lab = Lab("test")
    lab.state, lab.run = tmp_path / "state", tmp_path / "run"
    return lab


def leaf(lab):
    return x509.load_pem_x509_certificate((lab.tls_directory / "front.pem").read_bytes())


def test_made_once(lab):
    path = tls.certificates(lab)
    first = path.read_bytes()
    assert tls.certificates(lab).read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((lab.tls_directory / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(lab.ca_certificate.stat().st_mode) == 0o644


def test_leaf_is_made_anew_when_it_does_not_fit(lab, monkeypatch):
    tls.certificates(lab)
    authority, serial = lab.ca_certificate.read_bytes(), leaf(lab).serial_number
    with monkeypatch.context() as patch:
        patch.setattr(tls, "RENEW_DAYS", 400)
        tls.certificates(lab)
    assert leaf(lab).serial_number != serial
    lab.ca_certificate.unlink()
    tls.certificates(lab)
    assert lab.ca_certificate.read_bytes() != authority
    leaf(lab).verify_directly_issued_by(x509.load_pem_x509_certificate(lab.ca_certificate.read_bytes()))


@pytest.mark.parametrize(
    "host",
    [
        "ec2.eu-west-1.amazonaws.com",
        "iam.amazonaws.com",
        "bucket.s3.eu-west-1.amazonaws.com",
        "123456789012.ddb.us-east-1.amazonaws.com",
    ],
)
def test_openssl_accepts_the_names(lab, host):
    if not shutil.which("openssl"):
        pytest.fail("The command openssl is missing; install the package openssl.")
    path = tls.certificates(lab)
    command = ["openssl", "verify", "-verify_hostname", host, "-CAfile", lab.ca_certificate, path]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    command[3] = "example.com"
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    ssl.create_default_context(cafile=lab.ca_certificate)


def test_haproxy_accepts_the_configuration(lab):
    path = tls.configuration(lab, address="127.0.0.1")
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    if not haproxy:
        pytest.skip("HAProxy is not installed; make setup-lab installs it.")
    done = subprocess.run([haproxy, "-c", "-f", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert "path_beg /_lab/" in text
    assert str(lab.aws_socket) in text


def test_command_runs_inside_the_namespace(lab):
    assert tls.command(lab)[:2] == ["nsenter", "--net=/run/netns/test-inet"]
    assert "nsenter" not in tls.command(lab, namespace="")
