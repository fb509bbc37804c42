# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL cluster should hold against what it holds, as SQL, and SCRAM verifiers (RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field

SCRAM_ITERATIONS = 4096
_VERIFIER = re.compile(r"^SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$")

#: Kinds of objects in a schema: relkind or prokind letters, letter in pg_default_acl, words in GRANT.
OBJECTS = {
    "tables": ("r", "TABLES"),
    "sequences": ("S", "SEQUENCES"),
    "functions": ("f", "FUNCTIONS"),
}

#: Owner of the schema public; its one member is the owner of the database.
DATABASE_OWNER = "pg_database_owner"

POOLER_FUNCTION = """
SELECT a.rolname, a.rolpassword
  FROM pg_catalog.pg_authid a
 WHERE a.rolname = $1
   AND a.rolcanlogin AND NOT a.rolsuper AND NOT a.rolreplication
   AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())
"""


@dataclass
class Step:
    """One statement in one database; I(shown) is what a diff or a log may have of it."""

    database: str
    sql: str
    shown: str = ""

    def __post_init__(self):
        self.shown = self.shown or self.sql


@dataclass
class State:
    """What the cluster holds, as far as the description speaks of it.

    C(roles): name to dict of attributes; C(databases): name to dict with C(owner), C(connection_limit), C(search_path),
    C(public) (privileges of PUBLIC), C(extensions) (name to dict), C(schemas) (name to owner);
    C(grants): key (see C(grant_key)) to dict C(has), C(lacks) (numbers of objects) and C(default);
    C(pooler): None, or dict C(source), C(definer), C(grantees), C(usage).
    """

    roles: dict = field(default_factory=dict)
    databases: dict = field(default_factory=dict)
    grants: dict = field(default_factory=dict)
    pooler: dict | None = None


def identifier(name):
    """Return a name quoted as an SQL identifier.

    :raises ValueError: the name is empty, holds a zero byte, or is longer than the 63 bytes PostgreSQL keeps.
    """
    if not name or "\0" in name or len(name.encode()) > 63:
        raise ValueError(f"{name!r} is no name for PostgreSQL: 1 to 63 bytes, no zero byte")
    return '"' + name.replace('"', '""') + '"'


def literal(value):
    """Return a text quoted as an SQL literal (standard_conforming_strings on, PostgreSQL's default)."""
    text = str(value)
    if "\0" in text:
        raise ValueError("a text for PostgreSQL holds a zero byte")
    return "'" + text.replace("'", "''") + "'"


def names_in(text):
    """Return the names in a list as PostgreSQL keeps it in a setting: quoted only where they must be."""
    found = re.findall(r'"((?:[^"]|"")*)"|([^,\s]+)', text)
    return [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]


def scram_verifier(password, salt=None, iterations=SCRAM_ITERATIONS):
    """Return the verifier that PostgreSQL stores for a password.

    :arg password: printable ASCII; other text would need SASLprep (RFC 4013).
    :arg salt: bytes, random by default.
    :raises ValueError: the password is empty or not printable ASCII.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("a password is empty or has characters other than printable ASCII")
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server = base64.b64encode(server_key).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server}"


def password_matches(password, verifier):
    """Tell whether a stored verifier is one of this password; False for any other kind of verifier."""
    match = _VERIFIER.match(verifier or "")
    if not match:
        return False
    return hmac.compare_digest(scram_verifier(password, base64.b64decode(match[2]), int(match[1])), verifier)


def plan(wanted, state):
    """Return the steps that bring I(state) to I(wanted), in an order in which they work.

    :arg wanted: dict with C(roles), C(databases), C(grants), C(pooler_role), as module postgresql_objects has them.
    :arg state: a C(State).
    """
    steps = []
    for role in wanted["roles"]:
        steps += role_steps(role, state.roles.get(role["name"]))
    for role in wanted["roles"]:
        steps += membership_steps(role, state.roles.get(role["name"], {}))
    for database in wanted["databases"]:
        steps += database_steps(database, state.databases.get(database["name"]))
    for grant in wanted["grants"]:
        steps += grant_steps(grant, state.grants, _schema_owner(grant, wanted, state))
    if wanted["pooler_role"]:
        steps += pooler_steps(wanted["pooler_role"], state.pooler)
    return steps


def role_steps(role, before):
    """Return the steps for one role: attributes, password and settings."""
    name = identifier(role["name"])
    words = _attribute_words(role, before or {})
    steps = []
    if before is None:
        steps.append(Step("postgres", f"CREATE ROLE {name} WITH {' '.join(words)}"))
    elif words:
        steps.append(Step("postgres", f"ALTER ROLE {name} WITH {' '.join(words)}"))
    password = role.get("password")
    if password and not password_matches(password, (before or {}).get("verifier")):
        verifier = scram_verifier(password)
        shown = f"ALTER ROLE {name} PASSWORD '********'"
        steps.append(Step("postgres", f"ALTER ROLE {name} PASSWORD {literal(verifier)}", shown))
    if role.get("settings") is not None:
        steps += _setting_steps(f"ALTER ROLE {name}", role["settings"], (before or {}).get("settings", {}))
    return steps


def _attribute_words(role, before):
    words = []
    for key in ("login", "createdb", "createrole"):
        value = role.get(key)
        if value is not None and before.get(key) != value:
            words.append(key.upper() if value else "NO" + key.upper())
    limit = role.get("connection_limit")
    if limit is not None and before.get("connection_limit") != limit:
        words.append(f"CONNECTION LIMIT {int(limit)}")
    return words


def _setting_steps(prefix, wanted, before):
    wanted = {key: str(value) for key, value in wanted.items()}
    steps = [
        Step("postgres", f"{prefix} SET {identifier(key)} TO {literal(value)}")
        for key, value in sorted(wanted.items())
        if before.get(key) != value
    ]
    return steps + [
        Step("postgres", f"{prefix} RESET {identifier(key)}") for key in sorted(before) if key not in wanted
    ]


def membership_steps(role, before):
    """Return the steps that make a role a member of exactly the roles it names; none when it names no list."""
    if role.get("member_of") is None:
        return []
    name, wanted, held = identifier(role["name"]), set(role["member_of"]), set(before.get("member_of", []))
    steps = [Step("postgres", f"GRANT {identifier(other)} TO {name}") for other in sorted(wanted - held)]
    return steps + [Step("postgres", f"REVOKE {identifier(other)} FROM {name}") for other in sorted(held - wanted)]


def database_steps(database, before):
    """Return the steps for one database with its extensions and schemas. A database is never dropped."""
    name, plain = identifier(database["name"]), database["name"]
    steps = []
    if before is None:
        options = f"OWNER {identifier(database['owner'])} TEMPLATE template0 ENCODING 'UTF8'"
        if database.get("locale"):
            options += f" LOCALE {literal(database['locale'])}"
        steps.append(Step("postgres", f"CREATE DATABASE {name} {options}"))
        before = {"owner": database["owner"], "public": ["CONNECT", "TEMPORARY"], "connection_limit": -1}
    if before["owner"] != database["owner"]:
        steps.append(Step("postgres", f"ALTER DATABASE {name} OWNER TO {identifier(database['owner'])}"))
    limit = database.get("connection_limit")
    if limit is not None and before["connection_limit"] != limit:
        steps.append(Step("postgres", f"ALTER DATABASE {name} CONNECTION LIMIT {int(limit)}"))
    if before["public"]:
        steps.append(Step("postgres", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"))
    steps += _search_path_steps(name, database.get("search_path"), before.get("search_path"))
    for schema in database.get("schemas") or []:
        steps += _schema_steps(plain, schema, database["owner"], before.get("schemas", {}))
    for extension in database.get("extensions") or []:
        steps += _extension_steps(plain, extension, before.get("extensions", {}).get(extension["name"]))
    return steps


def _search_path_steps(name, wanted, before):
    if wanted is None:
        return []
    value = ", ".join(identifier(schema) for schema in wanted)
    if list(wanted) == names_in(before or ""):
        return []
    if not value:
        return [Step("postgres", f"ALTER DATABASE {name} RESET search_path")]
    return [Step("postgres", f"ALTER DATABASE {name} SET search_path TO {value}")]


def _schema_steps(database, schema, default_owner, held):
    name, owner = identifier(schema["name"]), schema.get("owner") or default_owner
    if schema["name"] not in held:
        return [Step(database, f"CREATE SCHEMA {name} AUTHORIZATION {identifier(owner)}")]
    if held[schema["name"]] != owner:
        return [Step(database, f"ALTER SCHEMA {name} OWNER TO {identifier(owner)}")]
    return []


def _extension_steps(database, extension, before):
    name, schema, version = identifier(extension["name"]), extension.get("schema"), extension.get("version")
    if before is None:
        options = f" SCHEMA {identifier(schema)}" if schema else ""
        options += f" VERSION {literal(version)}" if version else ""
        create = f"CREATE EXTENSION {name}{options}"
        if schema:
            return [Step(database, create)]
        # It goes into the first schema of the search path, which is pg_catalog in these sessions.
        return [Step(database, f"SET search_path = public; {create}; SET search_path = pg_catalog", create)]
    steps = []
    if schema and before["schema"] != schema:
        steps.append(Step(database, f"ALTER EXTENSION {name} SET SCHEMA {identifier(schema)}"))
    if version and before["version"] != str(version):
        steps.append(Step(database, f"ALTER EXTENSION {name} UPDATE TO {literal(version)}"))
    return steps


def grant_key(grant, privilege):
    """Return the key of one privilege in C(State.grants)."""
    return (grant["database"], grant.get("schema") or "", grant.get("objects") or "", grant["role"], privilege.upper())


def _schema_owner(grant, wanted, state):
    for database in wanted["databases"]:
        for schema in database.get("schemas") or []:
            if (database["name"], schema["name"]) == (grant["database"], grant.get("schema")):
                return _actual_role(schema.get("owner") or database["owner"], database["owner"])
    held = state.databases.get(grant["database"], {})
    wanted_owner = next((item["owner"] for item in wanted["databases"] if item["name"] == grant["database"]), None)
    owner = held.get("schemas", {}).get(grant.get("schema"))
    if owner is None and grant.get("schema") == "public":
        # A database that does not exist yet comes with it.
        owner = DATABASE_OWNER
    return _actual_role(owner, wanted_owner or held.get("owner"))


def _actual_role(owner, database_owner):
    """Return the role that makes objects: nobody can be pg_database_owner, who stands for the database's owner."""
    return database_owner if owner == DATABASE_OWNER else owner


def grant_steps(grant, held, owner):
    """Return the steps for one grant; for objects of a schema also what I(owner) creates later."""
    missing, extra, missing_default, extra_default = [], [], [], []
    for privilege in (privilege.upper() for privilege in grant["privileges"]):
        found = held.get(
            grant_key(grant, privilege), {"has": 0, "lacks": 0 if grant.get("objects") else 1, "default": False}
        )
        missing += [privilege] if found["lacks"] else []
        extra += [privilege] if found["has"] else []
        missing_default += [] if found["default"] else [privilege]
        extra_default += [privilege] if found["default"] else []
    role, future = identifier(grant["role"]), bool(grant.get("objects") and owner)
    verb, now, later = "GRANT", missing, missing_default
    if grant.get("state") == "absent":
        verb, now, later = "REVOKE", extra, extra_default
    link = "TO" if verb == "GRANT" else "FROM"
    steps = []
    if now:
        steps.append(Step(_grant_database(grant), f"{verb} {_words(now)} ON {_target(grant)} {link} {role}"))
    if future and later:
        prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(owner)} IN SCHEMA {identifier(grant['schema'])}"
        kind = OBJECTS[grant["objects"]][1]
        steps.append(Step(grant["database"], f"{prefix} {verb} {_words(later)} ON {kind} {link} {role}"))
    return steps


def _words(privileges):
    for privilege in privileges:
        if not re.fullmatch(r"[A-Z]+( [A-Z]+)*", privilege):
            raise ValueError(f"{privilege!r} is no privilege")
    return ", ".join(sorted(set(privileges)))


def _grant_database(grant):
    return grant["database"] if grant.get("schema") else "postgres"


def _target(grant):
    if not grant.get("schema"):
        return f"DATABASE {identifier(grant['database'])}"
    if not grant.get("objects"):
        return f"SCHEMA {identifier(grant['schema'])}"
    return f"ALL {OBJECTS[grant['objects']][1]} IN SCHEMA {identifier(grant['schema'])}"


def pooler_steps(role, before):
    """Return the steps for the function by which PgBouncer looks up users, as its owner; only I(role) may call it."""
    name = identifier(role)
    good = before and before["source"].strip() == POOLER_FUNCTION.strip() and before["definer"]
    if good and before["grantees"] == [role] and before["usage"]:
        return []
    return [
        Step("postgres", "CREATE SCHEMA IF NOT EXISTS pgbouncer"),
        Step(
            "postgres",
            "CREATE OR REPLACE FUNCTION pgbouncer.get_auth(wanted text) RETURNS TABLE (rolname name, verifier text)"
            f" LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $pooler${POOLER_FUNCTION}$pooler$",
            "CREATE OR REPLACE FUNCTION pgbouncer.get_auth(wanted text)",
        ),
        Step("postgres", "REVOKE ALL ON FUNCTION pgbouncer.get_auth(text) FROM PUBLIC"),
        Step("postgres", f"GRANT EXECUTE ON FUNCTION pgbouncer.get_auth(text) TO {name}"),
        Step("postgres", f"GRANT USAGE ON SCHEMA pgbouncer TO {name}"),
    ]
