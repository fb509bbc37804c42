#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_objects
short_description: Bring roles, databases, extensions, schemas and grants to what is described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads everything that the description speaks of, compares, and runs only the statements that differ.
  - Passwords are compared by their SCRAM verifiers, and only verifiers are sent to the server, which logs neither.
  - Roles and databases that the description does not name are left. Databases are never dropped.
  - On a server that is not the leader it does nothing.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the statements, without passwords.
    support: full
requirements:
  - psycopg2 on the host
options:
  socket_directory:
    description: Directory of the server's socket. The module connects there as the database role V(postgres).
    type: path
    default: /run/postgresql
  port:
    description: Port in the socket's name.
    type: int
    default: 5432
  roles:
    description: Roles. An attribute that is left out is left as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      password:
        description: Password, printable ASCII.
        type: str
      login:
        description: May log in.
        type: bool
        default: true
      createdb:
        description: May make databases.
        type: bool
      createrole:
        description: May make roles.
        type: bool
      connection_limit:
        description: Connections at a time, -1 for no limit.
        type: int
      member_of:
        description: The roles it is a member of, and no others.
        type: list
        elements: str
      settings:
        description: Parameters for its sessions, and no others.
        type: dict
  databases:
    description: Databases, in UTF-8. PUBLIC loses its rights on them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      owner:
        description: Owning role.
        type: str
        required: true
      locale:
        description: Locale of a database that is made.
        type: str
      connection_limit:
        description: Connections at a time, -1 for no limit.
        type: int
      search_path:
        description: Schemas in which names are looked up.
        type: list
        elements: str
      extensions:
        description: Extensions.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name.
            type: str
            required: true
          schema:
            description: Schema of its objects.
            type: str
          version:
            description: Version; without it, the one at the time of its installation is kept.
            type: str
      schemas:
        description: Schemas.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name.
            type: str
            required: true
          owner:
            description: Owning role, the database's owner by default.
            type: str
  grants:
    description:
      - Privileges on a database, on a schema of it (O(grants[].schema)), or on all objects of a kind in that schema
        (O(grants[].objects)), those that the schema's owner makes later included.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: Database.
        type: str
        required: true
      role:
        description: Role that has the privileges.
        type: str
        required: true
      schema:
        description: Schema.
        type: str
      objects:
        description: Kind of objects.
        type: str
        choices: [tables, sequences, functions]
      privileges:
        description: Privileges as GRANT names them.
        type: list
        elements: str
        required: true
      state:
        description: Grant, or take back.
        type: str
        choices: [present, absent]
        default: present
  pooler_role:
    description:
      - Role with which PgBouncer looks up users. It may call C(pgbouncer.get_auth) in the database V(postgres),
        and nobody else may.
    type: str
"""

EXAMPLES = r"""
- name: Make the roles and databases of the applications
  selfhosted.ec2.postgresql_objects:
    roles:
      - {name: orders, password: "{{ platform_secrets['postgresql/users/orders'] }}"}
      - {name: reporting, login: false}
    databases:
      - {name: orders, owner: orders, extensions: [{name: pg_stat_statements}]}
    grants:
      - {database: orders, role: reporting, privileges: [CONNECT]}
  become: true
  become_user: postgres
"""

RETURN = r"""
leader:
  description: The server leads.
  returned: always
  type: bool
statements:
  description: What was, or in check mode would be, run, without passwords.
  returned: always
  type: list
  elements: str
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.selfhosted.ec2.plugins.module_utils import postgresql as pg

try:
    import psycopg2

    HAS_PSYCOPG2 = True
except ImportError:
    HAS_PSYCOPG2 = False

ROLES = """
SELECT r.rolname, r.rolcanlogin, r.rolcreatedb, r.rolcreaterole, r.rolconnlimit, r.rolpassword,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid WHERE m.member = r.oid),
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '{}')
  FROM pg_authid r
 WHERE r.rolname = ANY(%s)
"""
DATABASES = """
SELECT d.datname, pg_get_userbyid(d.datdba), d.datconnlimit,
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0), '{}'),
       ARRAY(SELECT a.privilege_type FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
              WHERE a.grantee = 0)
  FROM pg_database d
"""
EXTENSIONS = (
    "SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
)
SCHEMAS = "SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace"
DATABASE_GRANTS = """
SELECT count(*) FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
 WHERE d.datname = %s AND pg_get_userbyid(a.grantee) = %s AND a.privilege_type = %s
"""
SCHEMA_GRANTS = """
SELECT count(*) FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
 WHERE n.nspname = %s AND pg_get_userbyid(a.grantee) = %s AND a.privilege_type = %s
"""
_HAS = (
    "EXISTS (SELECT FROM aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) a"
    " WHERE pg_get_userbyid(a.grantee) = %(role)s AND a.privilege_type = %(privilege)s)"
)
RELATION_GRANTS = """
SELECT count(*) FILTER (WHERE held), count(*) FILTER (WHERE NOT held) FROM (
  SELECT {has} AS held FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = %(schema)s AND c.relkind = ANY(%(kinds)s)) objects
"""
FUNCTION_GRANTS = """
SELECT count(*) FILTER (WHERE held), count(*) FILTER (WHERE NOT held) FROM (
  SELECT {has} AS held FROM pg_proc c JOIN pg_namespace n ON n.oid = c.pronamespace
   WHERE n.nspname = %(schema)s AND c.prokind IN ('f', 'a', 'w')) objects
"""
OBJECT_GRANTS = {
    "tables": (RELATION_GRANTS.format(has=_HAS.format(acl="c.relacl", kind="'r'", owner="c.relowner")), list("rpvmf")),
    "sequences": (RELATION_GRANTS.format(has=_HAS.format(acl="c.relacl", kind="'s'", owner="c.relowner")), ["S"]),
    "functions": (FUNCTION_GRANTS.format(has=_HAS.format(acl="c.proacl", kind="'f'", owner="c.proowner")), []),
}
DEFAULT_GRANTS = """
SELECT count(*) FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
 WHERE n.nspname = %(schema)s AND d.defaclobjtype = %(letter)s
   AND d.defaclrole = CASE WHEN pg_get_userbyid(n.nspowner) = %(database_owner)s
       THEN (SELECT datdba FROM pg_database WHERE datname = current_database()) ELSE n.nspowner END
   AND pg_get_userbyid(a.grantee) = %(role)s AND a.privilege_type = %(privilege)s
"""
POOLER = """
SELECT p.prosrc, p.prosecdef,
       ARRAY(SELECT pg_get_userbyid(a.grantee)::text FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
              WHERE a.grantee <> p.proowner),
       EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE pg_get_userbyid(a.grantee) = %s AND a.privilege_type = 'USAGE')
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'pgbouncer' AND p.proname = 'get_auth'
"""


class Server:
    """Connections to the databases of the local server, one each, in autocommit."""

    def __init__(self, directory, port):
        self._directory, self._port, self._open = directory, port, {}

    def cursor(self, database):
        """Return a cursor in a database."""
        if database not in self._open:
            connection = psycopg2.connect(
                host=self._directory, port=self._port, user="postgres", dbname=database, connect_timeout=10
            )
            connection.autocommit = True
            self._open[database] = connection
            with connection.cursor() as cursor:
                # Verifiers must not reach the server's log, and a half-done change must not wait for ever for a lock.
                cursor.execute(
                    "SET log_statement = 'none'; SET log_min_duration_statement = -1;"
                    " SET log_min_error_statement = 'panic'; SET lock_timeout = '30s'; SET search_path = pg_catalog"
                )
        return self._open[database].cursor()

    def rows(self, database, query, values=None):
        """Return all rows of a query."""
        with self.cursor(database) as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def run(self, step):
        """Run one statement as it is."""
        with self.cursor(step.database) as cursor:
            cursor.execute(step.sql)

    def close(self):
        """Close all connections."""
        for connection in self._open.values():
            with contextlib.suppress(psycopg2.Error):
                connection.close()


def settings(config):
    """Return "name=value" items as a dict."""
    return dict(item.split("=", 1) for item in config)


def read_roles(server, names):
    """Return the roles of these names."""
    keys = ("login", "createdb", "createrole", "connection_limit", "verifier", "member_of")
    return {
        row[0]: dict(zip(keys, row[1:7], strict=True), settings=settings(row[7]))
        for row in server.rows("postgres", ROLES, (names,))
    }


def read_databases(server, names):
    """Return all databases; extensions and schemas of those in I(names)."""
    found = {}
    for name, owner, limit, config, public in server.rows("postgres", DATABASES):
        database = {"owner": owner, "connection_limit": limit, "public": public}
        database["search_path"] = settings(config).get("search_path")
        if name in names:
            rows = server.rows(name, EXTENSIONS)
            database["extensions"] = {row[0]: {"version": row[1], "schema": row[2]} for row in rows}
            database["schemas"] = dict(server.rows(name, SCHEMAS))
        found[name] = database
    return found


def read_grant(server, grant, privilege):
    """Return on how many objects a role has and lacks a privilege, and whether it will have it on new ones."""
    if not grant["schema"]:
        held = server.rows("postgres", DATABASE_GRANTS, (grant["database"], grant["role"], privilege))[0][0]
        return {"has": held, "lacks": 0 if held else 1, "default": False}
    if not grant["objects"]:
        held = server.rows(grant["database"], SCHEMA_GRANTS, (grant["schema"], grant["role"], privilege))[0][0]
        return {"has": held, "lacks": 0 if held else 1, "default": False}
    query, kinds = OBJECT_GRANTS[grant["objects"]]
    values = {"schema": grant["schema"], "role": grant["role"], "privilege": privilege, "kinds": kinds}
    has, lacks = server.rows(grant["database"], query, values)[0]
    values.update(letter=pg.OBJECTS[grant["objects"]][0], database_owner=pg.DATABASE_OWNER)
    return {"has": has, "lacks": lacks, "default": server.rows(grant["database"], DEFAULT_GRANTS, values)[0][0] > 0}


def read_state(server, wanted):
    """Return what the server holds of what I(wanted) speaks of."""
    names = {database["name"] for database in wanted["databases"]} | {g["database"] for g in wanted["grants"]}
    state = pg.State(roles=read_roles(server, [role["name"] for role in wanted["roles"]]))
    state.databases = read_databases(server, names)
    for grant in wanted["grants"]:
        if grant["database"] in state.databases:
            for privilege in grant["privileges"]:
                found = read_grant(server, grant, privilege.upper())
                state.grants[pg.grant_key(grant, privilege)] = found
    if wanted["pooler_role"]:
        for source, definer, grantees, usage in server.rows("postgres", POOLER, (wanted["pooler_role"],)):
            state.pooler = {"source": source, "definer": definer, "grantees": grantees, "usage": usage}
    return state


def bring(server, wanted, check_mode):
    """Read, plan and run; return the module's answer."""
    if server.rows("postgres", "SELECT pg_is_in_recovery()")[0][0]:
        return {"changed": False, "leader": False, "statements": []}
    steps = pg.plan(wanted, read_state(server, wanted))
    if not check_mode:
        for step in steps:
            try:
                server.run(step)
            except psycopg2.Error as error:
                raise ValueError(f"{step.shown}: {(error.pgerror or str(error)).splitlines()[0]}") from error
    shown = [step.shown for step in steps]
    after = "".join(f"{step.database}: {step.shown}\n" for step in steps)
    return {"changed": bool(steps), "leader": True, "statements": shown, "diff": {"before": "", "after": after}}


def argument_spec():
    """Return the argument specification."""
    name = {"type": "str", "required": True}
    extension = {"name": name, "schema": {"type": "str"}, "version": {"type": "str"}}
    role = {
        "name": name,
        "password": {"type": "str", "no_log": True},
        "login": {"type": "bool", "default": True},
        "createdb": {"type": "bool"},
        "createrole": {"type": "bool"},
        "connection_limit": {"type": "int"},
        "member_of": {"type": "list", "elements": "str"},
        "settings": {"type": "dict"},
    }
    database = {
        "name": name,
        "owner": {"type": "str", "required": True},
        "locale": {"type": "str"},
        "connection_limit": {"type": "int"},
        "search_path": {"type": "list", "elements": "str"},
        "extensions": {"type": "list", "elements": "dict", "default": [], "options": extension},
        "schemas": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {"name": name, "owner": {"type": "str"}},
        },
    }
    grant = {
        "database": {"type": "str", "required": True},
        "role": {"type": "str", "required": True},
        "schema": {"type": "str"},
        "objects": {"type": "str", "choices": ["tables", "sequences", "functions"]},
        "privileges": {"type": "list", "elements": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    return {
        "socket_directory": {"type": "path", "default": "/run/postgresql"},
        "port": {"type": "int", "default": 5432},
        "roles": {"type": "list", "elements": "dict", "default": [], "options": role},
        "databases": {"type": "list", "elements": "dict", "default": [], "options": database},
        "grants": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": grant,
            "required_by": {"objects": ["schema"]},
        },
        "pooler_role": {"type": "str"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_PSYCOPG2:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    server = Server(module.params["socket_directory"], module.params["port"])
    try:
        result = bring(server, module.params, module.check_mode)
    except (ValueError, psycopg2.Error) as error:
        module.fail_json(msg=f"PostgreSQL was not brought to what is described: {str(error).strip()}.")
    finally:
        server.close()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
