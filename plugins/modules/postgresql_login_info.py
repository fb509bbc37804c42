#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_login_info
short_description: Tell who uses login roles on a member, and whether their passwords work
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Lists the sessions of login roles in the server on this host, and their clients in its PgBouncer.
  - Where a password is given it logs in, by TLS, at the server and through PgBouncer.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
requirements:
  - psycopg2 on the host
options:
  logins:
    description: The login roles.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      owner:
        description: Role that its sessions act as.
        type: str
        required: true
      password:
        description: Password to try.
        type: str
      database:
        description: Database to log in to.
        type: str
        default: postgres
  host:
    description: Name of this host, as its certificate has it.
    type: str
    required: true
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  socket_directory:
    description: Directory of the sockets of the server and of PgBouncer.
    type: path
    default: /run/postgresql
  ports:
    description: Ports of the server and of PgBouncer.
    type: list
    elements: int
    default: [5432, 6432]
  wait:
    description: Seconds within which a password must work, since a standby has it a moment later.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: See who uses the login
  selfhosted.ec2.postgresql_login_info:
    logins: [{name: orders_b, owner: orders}]
    host: database-1.trading.internal
    ca_file: /etc/patroni/tls/ca.crt
  become: true
  become_user: postgres
"""

RETURN = r"""
users:
  description: The login roles that have sessions or clients here, with the addresses these come from.
  returned: always
  type: dict
  sample: {"orders_b": ["10.20.0.4"]}
"""

import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import psycopg2

    HAS_PSYCOPG2 = True
except ImportError:
    HAS_PSYCOPG2 = False

SESSIONS = "SELECT usename, coalesce(host(client_addr), 'a socket') FROM pg_stat_activity WHERE usename = ANY(%s)"


def rows(query, values, **where):
    """Return names and rows of a query. PgBouncer's console knows neither transactions nor parameters."""
    connection = psycopg2.connect(connect_timeout=10, **where)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            return [column[0] for column in cursor.description], cursor.fetchall()
    finally:
        connection.close()


def users_of(names, sessions, clients):
    """Return who uses the login roles: dict of role to sorted addresses.

    PgBouncer's own connections to the server are no use by somebody: its clients are listed beside them.

    :arg sessions: pairs of role and address. :arg clients: dicts of C(SHOW CLIENTS).
    """
    found = {}
    for name, address in sessions:
        if not address.startswith("127."):
            found.setdefault(name, set()).add(address)
    for client in clients:
        if client["user"] in names:
            found.setdefault(client["user"], set()).add(client["addr"])
    return {name: sorted(addresses) for name, addresses in sorted(found.items())}


def users(params):
    """Ask the server and PgBouncer."""
    names = [login["name"] for login in params["logins"]]
    server, pooler = params["ports"]
    directory = params["socket_directory"]
    sessions = rows(SESSIONS, (names,), host=directory, port=server, user="postgres", dbname="postgres")[1]
    # PgBouncer lets its own user on the host in by the socket.
    columns, clients = rows("SHOW CLIENTS", None, host=directory, port=pooler, user="pgbouncer", dbname="pgbouncer")
    return users_of(names, sessions, [dict(zip(columns, client, strict=True)) for client in clients])


def try_login(params, login, port, end):
    """Log in until it works. Raises ValueError after I(end)."""
    while True:
        try:
            found = rows(
                "SELECT current_user",
                None,
                host=params["host"],
                port=port,
                user=login["name"],
                password=login["password"],
                dbname=login["database"],
                sslmode="verify-full",
                sslrootcert=params["ca_file"],
            )[1][0][0]
        except psycopg2.Error as error:
            if time.monotonic() < end:
                time.sleep(0.5)
                continue
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ValueError(f"{login['name']} cannot log in at {params['host']}:{port}: {reason}") from error
        if found != login["owner"]:
            raise ValueError(f"{login['name']} acts as {found} at {params['host']}:{port}, not as {login['owner']}")
        return


def main():
    login = {
        "name": {"type": "str", "required": True},
        "owner": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
        "database": {"type": "str", "default": "postgres"},
    }
    module = AnsibleModule(
        argument_spec={
            "logins": {"type": "list", "elements": "dict", "required": True, "options": login},
            "host": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "socket_directory": {"type": "path", "default": "/run/postgresql"},
            "ports": {"type": "list", "elements": "int", "default": [5432, 6432]},
            "wait": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    if not HAS_PSYCOPG2:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    try:
        found = users(module.params)
        end = time.monotonic() + module.params["wait"]
        for entry in module.params["logins"]:
            for port in module.params["ports"] if entry["password"] else []:
                try_login(module.params, entry, port, end)
    except (ValueError, psycopg2.Error) as error:
        module.fail_json(msg=f"The logins of PostgreSQL were not found as they should be: {str(error).strip()}.")
    module.exit_json(changed=False, users=found)


if __name__ == "__main__":
    main()
