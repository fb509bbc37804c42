"""Which statements bring a PostgreSQL cluster to its description."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.postgresql import hba_line
from ansible_collections.selfhosted.ec2.plugins.module_utils import postgresql as pg
from hypothesis import given
from hypothesis import strategies as st


def shown(steps):
    return [step.shown for step in steps]


def wanted(**parts):
    return dict({"roles": [], "databases": [], "grants": [], "pooler_role": None}, **parts)


def test_verifier_of_rfc_7677():
    """The exchange in section 3 of RFC 7677 has this salt, count and server signature key for the password "pencil"."""
    verifier = pg.scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert pg.password_matches("pencil", verifier)
    assert not pg.password_matches("pencils", verifier)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_password_matches_its_own_verifier_only(password):
    verifier = pg.scram_verifier(password, iterations=10)
    assert pg.password_matches(password, verifier)
    assert not pg.password_matches(password + "x", verifier)


@pytest.mark.parametrize("stored", [None, "", "md5abc", "SCRAM-SHA-256$x"])
def test_other_verifiers_never_match(stored):
    assert not pg.password_matches("secret", stored)


@pytest.mark.parametrize("password", ["", "pässword", "line\nbreak"])
def test_passwords_that_would_need_saslprep_are_refused(password):
    with pytest.raises(ValueError, match="printable ASCII"):
        pg.scram_verifier(password)


def test_names_and_texts_are_quoted():
    assert pg.identifier('a"; DROP') == '"a""; DROP"'
    assert pg.literal("it's") == "'it''s'"
    for name in ("", "a\0", "x" * 64):
        with pytest.raises(ValueError, match="no name"):
            pg.identifier(name)


def test_new_role_and_its_password_which_is_not_shown():
    steps = pg.role_steps(
        {"name": "orders", "login": True, "password": "secret", "settings": {"work_mem": "4MB"}}, None
    )
    assert shown(steps) == [
        'CREATE ROLE "orders" WITH LOGIN',
        "ALTER ROLE \"orders\" PASSWORD '********'",
        'ALTER ROLE "orders" SET "work_mem" TO \'4MB\'',
    ]
    assert "secret" not in "".join(step.sql for step in steps)
    assert "SCRAM-SHA-256$" in steps[1].sql
    assert "SCRAM" not in "".join(shown(steps))


def test_role_as_it_should_be_needs_nothing():
    before = {
        "login": True,
        "connection_limit": 5,
        "verifier": pg.scram_verifier("secret"),
        "settings": {"work_mem": "4MB"},
    }
    role = {
        "name": "orders",
        "login": True,
        "connection_limit": 5,
        "password": "secret",
        "settings": {"work_mem": "4MB"},
    }
    assert pg.role_steps(role, before) == []
    assert shown(pg.role_steps(dict(role, login=False, settings={}), before)) == [
        'ALTER ROLE "orders" WITH NOLOGIN',
        'ALTER ROLE "orders" RESET "work_mem"',
    ]


def test_memberships_are_exact_when_named():
    before = {"member_of": ["a", "b"]}
    assert pg.membership_steps({"name": "r"}, before) == []
    steps = pg.membership_steps({"name": "r", "member_of": ["b", "c"]}, before)
    assert shown(steps) == ['GRANT "c" TO "r"', 'REVOKE "a" FROM "r"']


DATABASE = {
    "name": "orders",
    "owner": "orders",
    "schemas": [{"name": "trading"}],
    "extensions": [{"name": "pgcrypto", "schema": "trading"}, {"name": "hstore"}],
}
HELD = {
    "owner": "orders",
    "connection_limit": -1,
    "public": [],
    "search_path": None,
    "schemas": {"trading": "orders"},
    "extensions": {
        "pgcrypto": {"version": "1.3", "schema": "trading"},
        "hstore": {"version": "1.8", "schema": "public"},
    },
}


def test_new_database_with_what_is_in_it():
    steps = pg.database_steps(DATABASE, None)
    assert shown(steps) == [
        'CREATE DATABASE "orders" OWNER "orders" TEMPLATE template0 ENCODING \'UTF8\'',
        'REVOKE ALL ON DATABASE "orders" FROM PUBLIC',
        'CREATE SCHEMA "trading" AUTHORIZATION "orders"',
        'CREATE EXTENSION "pgcrypto" SCHEMA "trading"',
        'CREATE EXTENSION "hstore"',
    ]
    assert [step.database for step in steps] == ["postgres", "postgres", "orders", "orders", "orders"]


def test_database_as_it_should_be_needs_nothing():
    assert pg.database_steps(DATABASE, HELD) == []


def test_changed_database():
    database = dict(
        DATABASE,
        owner="new",
        connection_limit=9,
        search_path=["trading", "public"],
        extensions=[{"name": "pgcrypto", "schema": "public", "version": "1.4"}],
    )
    assert shown(pg.database_steps(database, HELD)) == [
        'ALTER DATABASE "orders" OWNER TO "new"',
        'ALTER DATABASE "orders" CONNECTION LIMIT 9',
        'ALTER DATABASE "orders" SET search_path TO "trading", "public"',
        'ALTER SCHEMA "trading" OWNER TO "new"',
        'ALTER EXTENSION "pgcrypto" SET SCHEMA "public"',
        "ALTER EXTENSION \"pgcrypto\" UPDATE TO '1.4'",
    ]


@pytest.mark.parametrize(("held", "expected"), [("trading, public", []), ('"trading", public', [])])
def test_search_path_is_compared_as_the_server_writes_it(held, expected):
    database = dict(DATABASE, search_path=["trading", "public"])
    assert pg.database_steps(database, dict(HELD, search_path=held)) == expected


TABLES = {
    "database": "orders",
    "schema": "trading",
    "objects": "tables",
    "role": "reporting",
    "privileges": ["select", "INSERT"],
}


def held(has=1, lacks=0, default=True):
    return {
        pg.grant_key(TABLES, name): {"has": has, "lacks": lacks, "default": default} for name in ("select", "INSERT")
    }


def test_grants():
    assert pg.grant_steps(TABLES, held(), "orders") == []
    assert shown(pg.grant_steps(TABLES, held(lacks=2, default=False), "orders")) == [
        'GRANT INSERT, SELECT ON ALL TABLES IN SCHEMA "trading" TO "reporting"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "orders" IN SCHEMA "trading" GRANT INSERT, SELECT ON TABLES TO "reporting"',
    ]
    back = dict(TABLES, state="absent")
    assert shown(pg.grant_steps(back, held(), "orders")) == [
        'REVOKE INSERT, SELECT ON ALL TABLES IN SCHEMA "trading" FROM "reporting"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "orders" IN SCHEMA "trading"'
        ' REVOKE INSERT, SELECT ON TABLES FROM "reporting"',
    ]
    assert pg.grant_steps(back, held(has=0, default=False), "orders") == []


@pytest.mark.parametrize("held", [dict(HELD, schemas={"public": "pg_database_owner"}), None])
def test_what_the_owner_of_the_database_makes_later_in_schema_public(held):
    grant = dict(TABLES, schema="public", privileges=["SELECT"])
    state = pg.State(databases={"orders": held} if held else {})
    steps = pg.plan(wanted(databases=[dict(DATABASE, schemas=[], extensions=[])], grants=[grant]), state)
    assert shown(steps)[-1] == (
        'ALTER DEFAULT PRIVILEGES FOR ROLE "orders" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reporting"'
    )
    undescribed = pg.plan(wanted(grants=[grant]), pg.State(databases={"orders": HELD | {"schemas": {"public": "x"}}}))
    assert 'FOR ROLE "x"' in shown(undescribed)[-1]


def test_grant_on_a_database_and_on_a_schema():
    on_database = {"database": "orders", "role": "r", "privileges": ["CONNECT"]}
    assert shown(pg.grant_steps(on_database, {}, None)) == ['GRANT CONNECT ON DATABASE "orders" TO "r"']
    on_schema = dict(on_database, schema="trading", privileges=["USAGE"])
    steps = pg.grant_steps(on_schema, {}, "orders")
    assert (shown(steps), steps[0].database) == (['GRANT USAGE ON SCHEMA "trading" TO "r"'], "orders")


def test_a_privilege_is_a_word():
    with pytest.raises(ValueError, match="no privilege"):
        pg.grant_steps({"database": "a", "role": "r", "privileges": ["ALL; DROP"]}, {}, None)


def test_pooler_function_is_made_once():
    good = {"source": pg.POOLER_FUNCTION, "definer": True, "grantees": ["pgbouncer"], "usage": True}
    assert pg.pooler_steps("pgbouncer", good) == []
    for change in ({"source": "SELECT 1"}, {"definer": False}, {"grantees": ["pgbouncer", "other"]}, {"usage": False}):
        assert pg.pooler_steps("pgbouncer", dict(good, **change))
    assert pg.pooler_steps("pgbouncer", None)


def test_roles_come_before_what_they_own_and_grants_last():
    steps = pg.plan(
        wanted(
            roles=[{"name": "orders", "login": True, "member_of": ["group"]}, {"name": "group", "login": False}],
            databases=[DATABASE],
            grants=[TABLES],
            pooler_role="pgbouncer",
        ),
        pg.State(),
    )
    words = [text.split(" ")[0:2] for text in shown(steps)]
    assert words[:3] == [["CREATE", "ROLE"], ["CREATE", "ROLE"], ["GRANT", '"group"']]
    assert words[3] == ["CREATE", "DATABASE"]
    assert any('DEFAULT PRIVILEGES FOR ROLE "orders"' in text for text in shown(steps)), "owner by the description"


def test_hba_lines_quote_names_but_not_keywords():
    rule = {
        "type": "hostssl",
        "database": ["orders", "all"],
        "user": "all",
        "address": "10.0.0.0/8",
        "method": "reject",
    }
    assert hba_line(rule) == 'hostssl "orders",all all 10.0.0.0/8 reject'
    assert hba_line({"type": "local", "database": "all", "user": "x", "method": "reject"}) == 'local all "x" reject'
