from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.certificates import certificate_fault
from ansible_collections.selfhosted.ec2.plugins.filter.haproxy import haproxy_files, haproxy_kubernetes_fault
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make(days=10, names=()):
    """A certificate that ends in so many days and holds these names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    certificate = builder.sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {"name": "shop", "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(), "key": pem}


def test_a_pair_that_fits_has_no_fault():
    assert certificate_fault(make()) == ""


def test_a_certificate_with_another_key_is_refused_by_name():
    assert certificate_fault({**make(), "key": make()["key"]}) == "Certificate shop does not match its key."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"certificate": "nonsense"}, "Certificate shop is not in PEM form."),
        ({"certificate": ""}, "Certificate shop is not in PEM form."),
        ({"key": "nonsense"}, "The key of certificate shop is not an unencrypted private key in PEM form."),
    ],
)
def test_what_is_no_pem_is_refused(change, sentence):
    assert certificate_fault({**make(), **change}) == sentence


def test_an_ended_certificate_is_refused_with_its_date():
    ended = (datetime.now(UTC) - timedelta(days=1)).date()
    assert certificate_fault(make(days=-1)) == f"Certificate shop ended on {ended}."


def test_no_sentence_shows_the_key():
    pair = make()
    assert pair["key"].splitlines()[1] not in certificate_fault({**pair, "certificate": "x"})


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("api.example", True),
        ("API.example", True),
        ("a.shop.example", True),
        ("a.b.shop.example", False),
        ("x.example", False),
    ],
)
def test_a_host_that_kubernetes_publishes_needs_a_certificate_that_holds_it(host, covered):
    pair = make(names=["api.example", "*.shop.example"])
    settings = {"certificates": ["shop"], "published": [{"name": "web", "host": host, "node_port": 30080}]}
    assert bool(haproxy_kubernetes_fault(settings, "lab.internal", [pair])) is not covered
    assert haproxy_kubernetes_fault({**settings, "certificates": []}, "lab.internal", [pair])
    assert haproxy_kubernetes_fault(settings, "lab.internal", [make()])


def test_files_beside_the_configuration():
    services = [
        {"name": "web", "tls": True, "certificates": ["shop"]},
        {"name": "api", "tls": True},
        {"name": "raw"},
    ]
    pair = {"name": "shop", "certificate": "CERT\n\n", "key": "KEY"}
    maps = {"hosts": {"b.example": "api", "a.example": "web"}}
    files = haproxy_files(services, [pair], maps, {"cache": "0123"})
    assert files == [
        {"dest": "/etc/haproxy/certificates/shop.pem", "content": "CERT\nKEY\n", "mode": "0600", "secret": True},
        {
            "dest": "/etc/haproxy/crt-lists/web.list",
            "content": "/etc/haproxy/certificates/shop.pem\n/etc/haproxy/tls/haproxy.pem\n",
        },
        {"dest": "/etc/haproxy/crt-lists/api.list", "content": "/etc/haproxy/tls/haproxy.pem\n"},
        {"dest": "/etc/haproxy/maps/hosts.map", "content": "a.example web\nb.example api\n"},
        {"dest": "/etc/haproxy/checks/secrets.map", "content": "cache 0123\n", "mode": "0600", "secret": True},
    ]
