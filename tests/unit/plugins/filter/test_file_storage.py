"""How a member of the file storage starts, and what its data look like to the gateway."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.filter import file_storage

MEMBERS = ["files-1", "files-2"]
DOMAIN = "trading.internal"
RECORD = {"primary": "files-1", "next": "", "epoch": 7}
MOVING = {"primary": "", "next": "files-2", "epoch": 7}
EMPTY = {"identity": {}, "joining": {}, "holds_data": False}


def of(name, domain=DOMAIN):
    return {"identity": {"member": name, "domain": domain}, "joining": {}, "holds_data": True}


def begun(name):
    """As a first run leaves it that was cut off before the record of who is primary was written."""
    return {**of(name), "holds_data": False}


def joining(name):
    """As a run leaves it that was cut off before the first copy had ended."""
    return {"identity": {}, "joining": {"member": name, "domain": DOMAIN}, "holds_data": True}


def start(name, views, record):
    return file_storage.file_storage_start(views, record, name, MEMBERS, DOMAIN)


@pytest.mark.parametrize(
    ("name", "views", "record", "state"),
    [
        ("files-1", {"files-1": EMPTY, "files-2": EMPTY}, {}, "new"),
        ("files-2", {"files-1": EMPTY, "files-2": EMPTY}, {}, "join"),
        ("files-1", {"files-1": of("files-1"), "files-2": of("files-2")}, RECORD, "keep"),
        ("files-2", {"files-1": of("files-1"), "files-2": EMPTY}, RECORD, "join"),
        ("files-2", {"files-2": EMPTY}, RECORD, "join"),
        ("files-2", {"files-2": of("files-2")}, RECORD, "keep"),
        ("files-1", {"files-1": begun("files-1"), "files-2": EMPTY}, {}, "new"),
        ("files-2", {"files-1": begun("files-1"), "files-2": EMPTY}, {}, "join"),
        ("files-1", {"files-1": begun("files-1"), "files-2": EMPTY}, RECORD, "keep"),
        ("files-2", {"files-1": of("files-1"), "files-2": joining("files-2")}, RECORD, "join"),
        ("files-2", {"files-1": begun("files-1"), "files-2": begun("files-2")}, {}, "keep"),
    ],
)
def test_starts(name, views, record, state):
    assert start(name, views, record) == {"state": state, "error": ""}


@pytest.mark.parametrize(
    ("name", "views", "record", "words"),
    [
        ("files-1", {"files-1": of("files-2")}, RECORD, "attach the volume of files-1"),
        ("files-1", {"files-1": of("files-1", "other.internal")}, RECORD, "of other.internal"),
        ("files-1", {"files-1": EMPTY, "files-2": of("files-2")}, RECORD, "does not hold the store"),
        ("files-1", {"files-1": joining("files-1")}, RECORD, "does not hold the store"),
        ("files-2", {"files-2": joining("files-3")}, RECORD, "belongs to file storage member files-3"),
        ("files-2", {"files-2": {**EMPTY, "holds_data": True}}, RECORD, "not the identity of a member"),
        ("files-1", {"files-1": EMPTY, "files-2": joining("files-2")}, {}, "Nothing says who is primary, and files-2"),
        (
            "files-1",
            {"files-1": of("files-1")},
            MOVING,
            "A move of the file storage to files-2",
        ),
        ("files-1", {"files-1": EMPTY, "files-2": of("files-2")}, {}, "Nothing says who is primary, and files-2"),
        ("files-1", {"files-1": EMPTY}, {}, "files-2 took no part in this run"),
    ],
)
def test_fails_closed(name, views, record, words):
    decided = start(name, views, record)
    assert decided["state"] == "refused"
    assert words in decided["error"]


def test_accounts_have_the_form_of_the_gateway():
    (account,) = file_storage.file_storage_accounts([{"name": "trading", "secret": "s" * 16}])
    assert account == {
        "access": "trading", "secret": "s" * 16, "role": "user", "userID": 0, "groupID": 0, "projectID": 0,
    }  # fmt: skip


def test_short_secret_is_refused():
    with pytest.raises(AnsibleFilterError, match="File storage user trading: its secret has fewer than 16 characters"):
        file_storage.file_storage_accounts([{"name": "trading", "secret": "short"}])


@pytest.mark.parametrize(
    "name", ["Assets", "a", "a_b", "with.dot", "-assets", "xn--assets", "assets-s3alias", "a" * 64]
)
def test_bucket_names_that_s3_would_refuse(name):
    assert file_storage.bucket_name_fault(name).startswith(f"The bucket name '{name}' ")


def test_good_bucket_name():
    assert file_storage.bucket_name_fault("trade-reports") == ""
