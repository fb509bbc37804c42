"""Who may call the lab's AWS: derived credentials, their age, and that nothing else passes."""

from __future__ import annotations

import stat

import pytest

from lab.aws.credentials import Expired, lab_secret, role_credentials, role_identity

NOW = 1_795_000_000.0
HOST = "i-0123456789abcdef0"


def identity(state, given, now=NOW):
    return role_identity(lab_secret(state), given["AccessKeyId"], given["Token"], now)


def test_secret_is_made_once_and_private(tmp_path):
    state = tmp_path / "state"
    assert lab_secret(state) == lab_secret(state)
    assert stat.S_IMODE((state / "secret").stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == ["secret"]


def test_credentials_are_known_by_their_token(tmp_path):
    given = role_credentials(tmp_path, "database", HOST, now=NOW)
    found = identity(tmp_path, given)
    assert (found.role, found.session) == ("database", HOST)
    assert found.secret_key == given["SecretAccessKey"]
    assert given["AccessKeyId"].startswith("ASIA")
    assert len(given["AccessKeyId"]) == 20
    assert len(given["SecretAccessKey"]) == 40


def test_credentials_last_the_hour_and_differ_by_host_and_role(tmp_path):
    first = role_credentials(tmp_path, "database", HOST, now=NOW)
    others = [
        role_credentials(tmp_path, "database", "i-0fedcba9876543210", now=NOW),
        role_credentials(tmp_path, "edge", HOST, now=NOW),
        role_credentials(tmp_path, "database", HOST, now=NOW + 3600),
        role_credentials(tmp_path / "another", "database", HOST, now=NOW),
    ]
    assert role_credentials(tmp_path, "database", HOST, now=NOW + 1) == first
    assert len({c["SecretAccessKey"] for c in [first, *others]}) == 5


def test_old_credentials_have_expired(tmp_path):
    given = role_credentials(tmp_path, "database", HOST, now=NOW)
    assert identity(tmp_path, given, NOW + 5 * 3600)
    with pytest.raises(Expired):
        identity(tmp_path, given, NOW + 7 * 3600)


@pytest.mark.parametrize("token", ["", "x", "x.y", "e30=.x", "W10=.x"])
def test_foreign_tokens_are_unknown(tmp_path, token):
    given = role_credentials(tmp_path, "database", HOST, now=NOW)
    assert identity(tmp_path, {**given, "Token": token}) is None
    assert identity(tmp_path, {**given, "AccessKeyId": "ASIAAAAAAAAAAAAAAAAA"}) is None
    assert identity(tmp_path / "another", given) is None
