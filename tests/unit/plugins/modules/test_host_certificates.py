"""host_certificates and its signer: keys stay on the host, names stay in the domain, renewal has a reason."""

from __future__ import annotations

import copy
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.selfhosted.ec2.plugins.action import host_certificates as action
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates as x
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import FileError
from ansible_collections.selfhosted.ec2.plugins.modules import host_certificates as module
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def make_ca(name="trading CA", days=3650, key=None):
    key = key or x.new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = x.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=5000))
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    return x.certificate_pem(certificate).decode(), x.key_pem(key).decode()


CA = make_ca()
OTHER_CA = make_ca()


def wanted(directory, **more):
    values = {
        "name": "server",
        "directory": str(directory),
        "owner": "0",
        "group": "0",
        "key_mode": "0640",
        "common_name": "db-1.trading.internal",
        "dns_names": ["db-1.trading.internal", "localhost"],
        "ip_addresses": ["10.0.0.1"],
        "usages": ["server", "client"],
        "combined": False,
        "notify": [],
    }
    return dict(values, **more)


class Rounds:
    """Runs the module's and the action's halves as a play does, without Ansible between them."""

    def __init__(self):
        self.count = 0
        self.requests = {}

    def __call__(self, options, ca=CA, check_mode=False, days=90, **params):
        authority = x.Authority(*ca)
        values = {
            "ca_certificate": authority.bundle(),
            "renew_days": 30,
            "valid_days": days,
            "force": False,
            "issued": {},
            **params,
        }
        self.count = 1
        first = module.process_all(dict(values, certificates=copy.deepcopy(options)), check_mode)
        self.requests = first.requests
        if not first.requests:
            return first
        self.count = 2
        asked = [option for option in options if action.path(option) in first.requests]
        issued = {action.path(item): authority.sign(first.requests[action.path(item)], item, days) for item in asked}
        second = module.process_all(dict(values, certificates=copy.deepcopy(asked), issued=issued), check_mode)
        second.reasons = first.reasons
        second.names = first.names + second.names
        second.files = first.files + second.files
        second.diff = first.diff + second.diff
        second.warnings = first.warnings
        return second


@pytest.fixture
def rounds():
    return Rounds()


def leaf(directory, name="server"):
    return x.load_certificates((Path(directory) / f"{name}.crt").read_bytes())[0]


def test_first_run_issues_second_does_nothing_in_one_round(rounds, tmp_path):
    options = [wanted(tmp_path / "tls"), wanted(tmp_path / "tls", name="client", usages=["client"], combined=True)]
    result = rounds(options)
    assert rounds.count == 2
    assert result.names == ["server", "client"]
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == [
        "ca.crt", "client.crt", "client.key", "client.pem", "server.crt", "server.key",
    ]  # fmt: skip
    assert stat.S_IMODE((tmp_path / "tls/server.key").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "tls/server.crt").stat().st_mode) == 0o644
    pem = (tmp_path / "tls/client.pem").read_text()
    assert pem == (tmp_path / "tls/client.key").read_text() + (tmp_path / "tls/client.crt").read_text()
    again = rounds(options)
    assert rounds.count == 1
    assert (again.names, again.files, again.diff) == ([], [], [])


def test_the_end_of_a_certificate_is_a_metric_that_no_handler_hears_of(rounds, tmp_path):
    options = [wanted(tmp_path / "tls")]
    rounds(options)
    metrics = str(tmp_path / "metrics")
    promised = rounds(options, check_mode=True, metrics_directory=metrics)
    assert not (tmp_path / "metrics").exists()
    result = rounds(options, metrics_directory=metrics)
    path = tmp_path / "metrics" / "certificate_server.prom"
    assert (result.names, result.files) == ([], [str(path)]) == (promised.names, promised.files)
    line = path.read_text().splitlines()[-1]
    end = int(x.not_after(leaf(tmp_path / "tls")).timestamp())
    assert line == f'platform_certificate_not_after_seconds{{name="server",path="{tmp_path}/tls/server.crt"}} {end}'
    assert rounds(options, metrics_directory=metrics).files == []


def test_extensions(rounds, tmp_path):
    rounds([wanted(tmp_path, usages=["client"])])
    certificate = leaf(tmp_path)
    assert x.subject_names(certificate) == (["db-1.trading.internal", "localhost"], ["10.0.0.1"])
    assert x.usages(certificate) == ["client"]
    assert x.signed_by(certificate, x.load_certificates(CA[0])[0])
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    authority = x.load_certificates(CA[0])[0]
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert (
        certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    )
    life = x.not_after(certificate) - x.now()
    assert timedelta(days=89, hours=23) < life <= timedelta(days=90)
    assert certificate.not_valid_before_utc <= x.now() - timedelta(minutes=5)


def test_no_private_key_in_what_goes_over_the_wire(rounds, tmp_path):
    result = rounds([wanted(tmp_path)])
    assert "PRIVATE" not in str(rounds.requests)
    assert "PRIVATE" not in str(result.diff)
    assert "BEGIN" not in str(result.diff)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"dns_names": ["db-1.trading.internal"]}, "its names differ"),
        ({"ip_addresses": ["10.0.0.2"]}, "its names differ"),
        ({"usages": ["server"]}, "its usages differ"),
        ({"common_name": "db-2.trading.internal"}, "its common name differs"),
    ],
)
def test_changed_wishes_are_issued_with_the_same_key(rounds, tmp_path, change, reason):
    rounds([wanted(tmp_path)])
    key = (tmp_path / "server.key").read_text()
    result = rounds([wanted(tmp_path, **change)])
    assert result.reasons == {"server": reason}
    assert result.files == [str(tmp_path / "server.crt")]
    assert (tmp_path / "server.key").read_text() == key


def test_order_and_case_of_names_do_not_matter(rounds, tmp_path):
    rounds([wanted(tmp_path)])
    assert not rounds([wanted(tmp_path, dns_names=["LOCALHOST", "db-1.trading.internal."])]).names


def test_renewed_when_it_ends_soon(rounds, tmp_path):
    rounds([wanted(tmp_path)], days=30)
    result = rounds([wanted(tmp_path)])
    assert result.reasons["server"].startswith("it ends on ")
    assert x.not_after(leaf(tmp_path)) - x.now() > timedelta(days=89)


def test_certificate_of_another_key_is_issued_anew_with_a_warning_and_a_new_key(rounds, tmp_path):
    rounds([wanted(tmp_path)])
    foreign = x.key_pem(x.new_key())
    (tmp_path / "server.key").write_bytes(foreign)
    result = rounds([wanted(tmp_path)])
    assert "does not match its key" in result.warnings[0]
    assert (tmp_path / "server.key").read_bytes() != foreign
    assert x.matches_key(leaf(tmp_path), x.load_key((tmp_path / "server.key").read_bytes()))


@pytest.mark.parametrize("file", ["server.key", "server.crt"])
def test_broken_files_are_replaced(rounds, tmp_path, file):
    rounds([wanted(tmp_path)])
    (tmp_path / file).write_text("garbage")
    assert "cannot be used" in rounds([wanted(tmp_path)]).reasons["server"]
    assert not rounds([wanted(tmp_path)]).names


def test_ca_rotation_by_overlap(rounds, tmp_path):
    options = [wanted(tmp_path), wanted(tmp_path, name="client", usages=["client"])]
    rounds(options)
    # The new CA is trusted first, while the old one still signs: only ca.crt changes, for both certificates.
    result = rounds(options, ca=(CA[0] + OTHER_CA[0], CA[1]))
    assert rounds.count == 1
    assert (result.names, result.files) == (["server", "client"], [str(tmp_path / "ca.crt")])
    # Then it signs.
    result = rounds(options, ca=(OTHER_CA[0] + CA[0], OTHER_CA[1]))
    assert set(result.reasons.values()) == {"the current CA has not signed it"}
    # Then the old one goes.
    result = rounds(options, ca=OTHER_CA)
    assert result.files == [str(tmp_path / "ca.crt")]
    assert (tmp_path / "ca.crt").read_text() == OTHER_CA[0]


def test_ca_with_an_rsa_key(rounds, tmp_path):
    ca = make_ca(key=rsa.generate_private_key(65537, 2048))
    rounds([wanted(tmp_path)], ca=ca)
    assert not rounds([wanted(tmp_path)], ca=ca).names


def test_check_mode_promises_and_does_nothing(rounds, tmp_path):
    result = rounds([wanted(tmp_path / "tls")], check_mode=True)
    assert result.names == ["server"]
    assert result.requests == {}
    assert "DNS names: db-1.trading.internal" in result.diff[0]["after"]
    assert list(tmp_path.iterdir()) == []


def test_a_run_cut_off_before_the_certificate_came_goes_on(rounds, tmp_path):
    option = wanted(tmp_path)
    authority = x.Authority(*CA)
    params = {"ca_certificate": authority.bundle(), "renew_days": 30, "valid_days": 90, "force": False, "issued": {}}
    module.process_all(dict(params, certificates=[copy.deepcopy(option)]), False)
    assert [path.name for path in tmp_path.iterdir()] == [".server.key.new"]
    assert rounds([option]).names == ["server"]
    assert not (tmp_path / ".server.key.new").exists()


def test_a_new_key_of_a_run_cut_off_does_not_block_later_renewals(rounds, tmp_path):
    option = wanted(tmp_path)
    rounds([option])
    key = (tmp_path / "server.key").read_bytes()
    params = {"ca_certificate": CA[0], "renew_days": 30, "valid_days": 90, "issued": {}}
    module.process_all(dict(params, force=True, certificates=[copy.deepcopy(option)]), False)
    assert (tmp_path / ".server.key.new").exists()
    result = rounds([option], renew_days=91)
    assert result.reasons["server"].startswith("it ends on ")
    assert (tmp_path / "server.key").read_bytes() == key
    assert x.matches_key(leaf(tmp_path), x.load_key(key))
    assert not (tmp_path / ".server.key.new").exists()


def test_an_answer_for_the_present_key_is_taken_beside_a_pending_one(rounds, tmp_path):
    option = wanted(tmp_path)
    rounds([option])
    key = x.load_key((tmp_path / "server.key").read_bytes())
    answer = x.Authority(*CA).sign(x.make_request(key, "db-1.trading.internal"), option, 90)
    (tmp_path / ".server.key.new").write_bytes(x.key_pem(x.new_key()))
    params = {"ca_certificate": CA[0], "renew_days": 30, "valid_days": 90, "force": False}
    module.process_all(dict(params, certificates=[option], issued={action.path(option): answer}), False)
    assert x.matches_key(leaf(tmp_path), key)
    assert not (tmp_path / ".server.key.new").exists()


def test_answer_for_another_key_is_refused(tmp_path):
    option = wanted(tmp_path)
    authority = x.Authority(*CA)
    params = {"ca_certificate": authority.bundle(), "renew_days": 30, "valid_days": 90, "force": False, "issued": {}}
    module.process_all(dict(params, certificates=[copy.deepcopy(option)]), False)
    answer = authority.sign(x.make_request(x.new_key(), "db-1.trading.internal"), option, 90)
    with pytest.raises(FileError, match="does not match its key"):
        module.process_all(dict(params, certificates=[option], issued={action.path(option): answer}), False)
    assert not (tmp_path / "server.crt").exists()


def test_force_makes_new_keys(rounds, tmp_path):
    rounds([wanted(tmp_path)])
    key = (tmp_path / "server.key").read_text()
    assert rounds([wanted(tmp_path)], force=True).reasons == {"server": "it was asked for"}
    assert (tmp_path / "server.key").read_text() != key


def test_mode_is_corrected_without_issuing(rounds, tmp_path):
    rounds([wanted(tmp_path)])
    (tmp_path / "server.key").chmod(0o644)
    assert rounds([wanted(tmp_path)]).files == [str(tmp_path / "server.key")]
    assert rounds.count == 1


def test_missing_owner(rounds, tmp_path):
    with pytest.raises(FileError, match="no user nobody-knows-me"):
        rounds([wanted(tmp_path, owner="nobody-knows-me")])
    assert rounds([wanted(tmp_path, owner="nobody-knows-me")], check_mode=True).names == ["server"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dns_names": ["db-1.evil.com"]}, "only names under trading.internal"),
        ({"dns_names": ["xtrading.internal"]}, "only names under"),
        ({"common_name": "www.evil.com"}, "only names under"),
        ({"dns_names": ["a b"]}, "no DNS name"),
        ({"ip_addresses": ["10.0.0.256"]}, "address"),
        ({"common_name": "x" * 65}, "65 characters"),
        ({"dns_names": [], "ip_addresses": []}, "dns_names or ip_addresses"),
    ],
)
def test_names_that_are_not_signed(change, message):
    with pytest.raises(x.CertificateError, match=message):
        x.check_wanted(wanted("/etc/tls", **change), ["trading.internal"])


def test_names_that_are_signed():
    x.check_wanted(wanted("/x", dns_names=["*.trading.internal", "trading.internal"]), ["trading.internal"])
    client = wanted("/x", common_name="replicator", dns_names=[], ip_addresses=[], usages=["client"])
    x.check_wanted(client, ["trading.internal"])


def test_ca_that_cannot_sign():
    with pytest.raises(x.CertificateError, match="does not belong"):
        x.Authority(CA[0], OTHER_CA[1])
    with pytest.raises(x.CertificateError, match="ended on"):
        x.Authority(*make_ca(days=-1))
    with pytest.raises(x.CertificateError, match="no certificate"):
        x.Authority("", CA[1])
    with pytest.raises(x.CertificateError, match="key is broken"):
        x.Authority(CA[0], "garbage")


def test_leaf_does_not_outlive_the_ca(tmp_path):
    ca = make_ca(days=40)
    pem = x.Authority(*ca).sign(x.make_request(x.new_key(), "a"), wanted(tmp_path), 90)
    assert x.not_after(x.load_certificates(pem)[0]) == x.not_after(x.load_certificates(ca[0])[0])


@pytest.mark.parametrize(
    "certificates, message",
    [
        ([{"name": "a", "directory": "/x"}], "has no common_name"),
        (
            [
                {"name": "a", "directory": "/x", "common_name": "a"},
                {"name": "a", "directory": "/x/", "common_name": "b"},
            ],
            "more",
        ),
    ],
)
def test_action_refuses(certificates, message):
    with pytest.raises(AnsibleActionFail, match=message):
        action.normalise(certificates)
