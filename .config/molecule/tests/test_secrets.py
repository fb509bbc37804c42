"""No secret of the platform is in the journal of a host or on a command line: run with the tests of every scenario."""

import base64

import boto3
import pytest

#: Shorter values would be found by chance.
LEAST_LENGTH = 12
PUBLIC = ("-----BEGIN CERTIFICATE", "-----BEGIN PUBLIC KEY", "ssh-")


def forms(value):
    """The texts by which a secret would be found: its own and in base64, of a private key its longer lines."""
    if value.startswith(PUBLIC):
        return []
    if value.startswith("-----BEGIN"):
        return [line for line in value.splitlines() if len(line) > 2 * LEAST_LENGTH and not line.startswith("-----")]
    return [text for text in (value, base64.b64encode(value.encode()).decode()) if len(text) >= LEAST_LENGTH]


@pytest.fixture(scope="session")
def secrets():
    """Name and value of all secrets of the account, which is this scenario's."""
    pages = (
        boto3.client("ssm")
        .get_paginator("get_parameters_by_path")
        .paginate(Path="/", Recursive=True, WithDecryption=True)
    )
    return {item["Name"]: item["Value"] for page in pages for item in page["Parameters"]}


def test_no_secret_is_in_the_journal_or_on_a_command_line(host, secrets):
    with host.sudo():
        lines = host.check_output("journalctl --boot --no-pager -o cat; ps -eo args").splitlines()
    # sudo notes what the scenario's own tests run, some of them with a password.
    shown = "\n".join(line for line in lines if "; COMMAND=" not in line)
    assert "Invoked with" in shown, "Ansible's modules write into the journal"
    # Names alone: the report of a failed test is no place for values.
    found = [name for name, value in secrets.items() if any(text in shown for text in forms(value))]
    assert not found
