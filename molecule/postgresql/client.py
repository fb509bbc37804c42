"""A client that keeps one connection and makes a new one in each round; it counts what fails until it has to stop."""

import time
from pathlib import Path

import psycopg2

STOP = Path("/run/molecule-client.stop")
WHERE = {"port": 6432, "dbname": "trades", "sslmode": "verify-full", "sslrootcert": "/etc/patroni/tls/ca.crt"}


def ask(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.rollback()


def main():
    STOP.unlink(missing_ok=True)
    held, made, failures, end = psycopg2.connect(**WHERE), 0, [], time.monotonic() + 500
    while not STOP.exists() and time.monotonic() < end:
        try:
            ask(held)
            new = psycopg2.connect(**WHERE)
            ask(new)
            new.close()
            made += 1
        except psycopg2.Error as error:
            failures.append(str(error).strip())
        time.sleep(0.2)
    print(f"{made} new connections, {len(failures)} failures {failures[:3]}")


if __name__ == "__main__":
    main()
