"""Two alternating logins of an owner, and sizes as the role asks for them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.filter import postgresql as filters

LOGINS = [{"owner": "orders", "connection_limit": 40, "settings": {"statement_timeout": "30s"}}]
SECRETS = {"postgresql/logins/orders/a": "first", "postgresql/logins/orders/b": "second"}
HOST = {"memory_mib": 2048, "vcpus": "2", "volume_type": "gp3", "volume_mib": "4096", "connections": "200"}


def test_an_owner_without_login_and_two_logins_that_act_as_it():
    owner, first, second = filters.login_roles(LOGINS, SECRETS)
    assert owner == {"name": "orders", "login": False}
    assert first == {
        "name": "orders_a",
        "password": "first",
        "login": True,
        "member_of": ["orders"],
        "connection_limit": 40,
        "settings": {"statement_timeout": "30s", "role": "orders"},
    }
    assert (second["name"], second["password"]) == ("orders_b", "second")


def test_a_login_without_its_secret_is_refused():
    with pytest.raises(AnsibleFilterError, match="postgresql/logins/orders/b are not in SSM"):
        filters.login_roles(LOGINS, {"postgresql/logins/orders/a": "first"})


@pytest.mark.parametrize(("current", "used", "next_"), [(None, "a", "b"), ("a", "a", "b"), ("b", "b", "a")])
def test_the_login_that_clients_do_not_use_is_next(current, used, next_):
    secrets = {**SECRETS, **({"postgresql/logins/orders/current": current} if current else {})}
    (found,) = filters.next_logins(LOGINS, secrets)
    assert (found["current"], found["login"]["name"]) == (f"orders_{used}", f"orders_{next_}")
    assert found["write"] == {"name": f"postgresql/logins/orders/{next_}", "replace": True}
    assert found["point"] == {"name": "postgresql/logins/orders/current", "value": next_, "replace": True}
    (login,) = filters.login_passwords([found], secrets)
    assert login["password"] == secrets[f"postgresql/logins/orders/{next_}"]


def test_a_pointer_at_neither_is_refused():
    with pytest.raises(AnsibleFilterError, match="neither a nor b"):
        filters.next_logins(LOGINS, {"postgresql/logins/orders/current": "c"})


def test_sizes_come_as_text_from_templates():
    assert filters.sized_parameters({}, HOST)["shared_buffers"] == "512MB"
    assert filters.sessions_mib({}, HOST) == 512
    assert filters.sizes_refusal({}, HOST, {"wal_keep_size": "256MB"}) == ""
    assert "half of it must hold" in filters.sizes_refusal({"max_wal_size": "3GB"}, HOST, {"wal_keep_size": "256MB"})


def test_a_value_that_no_server_would_take_is_one_sentence():
    with pytest.raises(AnsibleFilterError, match="postgresql_parameters has a value"):
        filters.sized_parameters({"hash_mem_multiplier": "much"}, HOST)
