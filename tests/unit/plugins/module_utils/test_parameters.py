from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.module_utils import parameters

DEFAULTS = {
    "postgresql_superuser_password": "{{ platform_secrets['postgresql/superuser_password'] }}",
    "postgresql_port": 5432,
}
NAME = "postgresql/superuser_password"


class Ssm:
    """Records the call, answers with the given parameters."""

    def __init__(self, entries):
        self.entries, self.asked = entries, []

    def pages(self, operation, key, **arguments):
        self.asked.append((operation, key, arguments))
        return [{"Name": name, "Value": value} for name, value in self.entries.items()]


def test_read_all_strips_the_path_and_asks_for_full_pages_decrypted():
    ssm = Ssm({"/trading/ca/key": "k", "/trading/postgresql/superuser_password": "p"})
    assert parameters.read_all(ssm, "/trading/") == {"ca/key": "k", NAME: "p"}
    ((operation, key, arguments),) = ssm.asked
    assert (operation, key) == ("get_parameters_by_path", "Parameters")
    assert arguments == {"Path": "/trading/", "Recursive": True, "WithDecryption": True, "MaxResults": 10}


def test_users_of_a_secret_are_found_in_the_defaults():
    assert parameters.users(NAME, DEFAULTS) == ["postgresql_superuser_password"]
    assert parameters.users("postgresql/superuser", DEFAULTS) == []


def test_a_variable_set_otherwise_replaces_the_secret():
    assert parameters.replaced(NAME, DEFAULTS, {"postgresql_superuser_password": "from the vault"})
    assert not parameters.replaced(NAME, DEFAULTS, {})
    assert not parameters.replaced(NAME, DEFAULTS, {"postgresql_superuser_password": "{{ platform_secrets['y'] }}"})
    assert not parameters.replaced("nobody/reads", DEFAULTS, {"postgresql_superuser_password": "x"})


def test_missing_sentence_names_the_full_path_and_what_may_replace_it():
    one = parameters.missing_sentence("/trading/", {NAME: {"postgresql_superuser_password"}})
    assert one.startswith(f"The secret /trading/{NAME} (or set postgresql_superuser_password) is not in")
    two = parameters.missing_sentence("/trading/", {"b": set(), "a": set()})
    assert two.startswith("The secrets /trading/a, /trading/b are not in")
