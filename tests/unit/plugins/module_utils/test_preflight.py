from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import preflight

KNOWN = {"redis": {"redis_port", "redis_members"}, "redis_sentinel": {"redis_sentinel_port"}}


def test_the_longest_role_name_owns_a_variable():
    assert preflight.owner("redis_sentinel_port", KNOWN) == "redis_sentinel"
    assert preflight.owner("redis_port", KNOWN) == "redis"
    assert preflight.owner("redisport", KNOWN) is None


def test_unknown_names_come_with_the_nearest_known_one():
    names = ["redis_prot", "redis_sentinel_prt", "redis_zzz", "redis_port", "other"]
    assert preflight.unknown_names(names, KNOWN) == [
        ("redis_prot", "redis", "redis_port"),
        ("redis_sentinel_prt", "redis_sentinel", "redis_sentinel_port"),
        ("redis_zzz", "redis", None),
    ]


def test_the_common_prefix_does_not_make_names_alike():
    assert preflight.nearest("postgresql_x", {"postgresql_fact"}, "postgresql_") is None


def test_unknown_sentence_names_where_it_is_unknown():
    assert preflight.unknown_sentence("platform_domian", "platform", "platform_domain") == (
        "platform_domian is set, but the platform description has no such variable; did you mean platform_domain?"
    )


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("postgresql_superuser_password", True),
        ("etcd_token", True),
        ("tls_key", True),
        ("platform_ssh_public_key", False),
        ("haproxy_secret_file", False),
        ("kafka_keystore_size", False),
    ],
)
def test_names_of_secrets(name, secret):
    assert preflight.is_secret_name(name) is secret


def test_dependents_follow_templates_through_other_variables():
    variables = {
        "a": "{{ platform_secrets['x'] }}",
        "b": {"deep": ["{{ a | length }}"]},
        "c": "platform_secrets is only a word here",
        "d": "{{ other }}",
    }
    assert preflight.dependents(variables, ["platform_secrets"]) == {"platform_secrets", "a", "b"}


def test_option_faults_say_value_and_what_would_be_right():
    assert preflight.option_faults("a_port", {"type": "int"}, "abc") == ["a_port is 'abc', it must be a whole number."]
    assert preflight.option_faults("a_mode", {"choices": ["x", "y"]}, "z") == ["a_mode is 'z', it must be one of x, y."]
    assert preflight.option_faults("a_port", {"type": "int"}, "8") == []


def test_option_faults_never_show_a_secret():
    (sentence,) = preflight.option_faults("a_password", {"type": "int"}, "hunter2")
    assert "hunter2" not in sentence and "a whole number" in sentence
    (sentence,) = preflight.option_faults("a_size", {"type": "int"}, "hunter2", hidden=True)
    assert "hunter2" not in sentence
    (sentence,) = preflight.option_faults("a_size", {"type": "int", "no_log": True}, "hunter2")
    assert "hunter2" not in sentence


def test_option_faults_never_show_a_secret_inside_a_list():
    spec = {"type": "list", "elements": "dict", "options": {"name": {"type": "int"}, "password": {"type": "int"}}}
    sentences = preflight.option_faults("a_users", spec, [{"name": "ana", "password": "hunter2"}])
    assert len(sentences) == 2
    assert not any("hunter2" in sentence for sentence in sentences)
    assert any("ana" in sentence for sentence in sentences)


def test_option_faults_name_an_unknown_key_and_the_known_ones():
    spec = {"type": "dict", "options": {"cidr": {"type": "str"}}}
    assert preflight.option_faults("a_net", spec, {"cdir": "10.0.0.0/8"}) == [
        "a_net has what it does not know: a_net.cdir; it knows cidr."
    ]


def test_long_values_are_cut():
    (sentence,) = preflight.option_faults("a_port", {"type": "int"}, "x" * 500)
    assert len(sentence) < 140


def test_faults_are_told_once_with_their_hosts():
    faults = preflight.Faults()
    assert not faults
    for host in ("b", "a"):
        faults.add("One.", host)
    faults.add("Two.", "a")
    faults.add("Three.")
    assert faults.lines(["a", "b"]) == ["One. [all hosts]", "Two. [a]", "Three."]
    assert faults.lines(["a", "b", "c"])[0] == "One. [a, b]"
