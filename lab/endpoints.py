"""Show where the platform answers, and prove it by one write and one read through HAProxy over verified TLS.

Usage: python -m lab.endpoints     (with the environment of `lab env`)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import psycopg

ROOT = Path(__file__).resolve().parent.parent
READ_WRITE, READ_ONLY, METRICS = 5432, 5433, 8405


def inventory() -> dict:
    """The platform as the inventory plugin finds it."""
    command = ["ansible-inventory", "-i", "inventory/lab", "--list"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def variables() -> dict:
    """The platform description with its templates evaluated."""
    wanted = "{{ {'name': platform_name, 'domain': platform_domain} | to_json }}"
    command = ["ansible", "-i", "inventory/lab", "localhost", "-m", "debug", "-a", f"msg={wanted}", "-o"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    message = json.loads(printed[printed.index("{") :])["msg"]
    return message if isinstance(message, dict) else json.loads(message)


def secret(platform: str, name: str) -> str:
    answer = boto3.client("ssm").get_parameter(Name=f"/{platform}/{name}", WithDecryption=True)
    return answer["Parameter"]["Value"]


def connect(addresses: list[str], port: int, host: str, password: str, authority: str) -> psycopg.Connection:
    """A connection through whichever edge host answers; the name in the certificate is verified."""
    return psycopg.connect(
        host=",".join([host] * len(addresses)),
        hostaddr=",".join(addresses),
        port=port,
        dbname="trades",
        user="trading",
        password=password,
        sslmode="verify-full",
        sslrootcert=authority,
        connect_timeout=5,
        prepare_threshold=None,
    )


def write_and_read(addresses: list[str], host: str, password: str, authority: str) -> float:
    """Write a row through the read-write port, read it back, return the milliseconds."""
    started = time.monotonic()
    with connect(addresses, READ_WRITE, host, password, authority) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS lab_proof (id bigint PRIMARY KEY, at timestamptz DEFAULT now())")
        identifier = time.time_ns()
        connection.execute("INSERT INTO lab_proof (id) VALUES (%s)", [identifier])
        connection.commit()
        row = connection.execute("SELECT id FROM lab_proof WHERE id = %s", [identifier]).fetchone()
        if row != (identifier,):
            raise SystemExit(f"the row {identifier} was written through {host}:{READ_WRITE} but not read back")
    return (time.monotonic() - started) * 1000


def main() -> int:
    found, platform = inventory(), variables()
    hosts = found["_meta"]["hostvars"]
    edge = [(name, hosts[name]["ansible_host"]) for name in sorted(found["haproxy"]["hosts"])]
    service = f"postgresql.{platform['domain']}"
    print(f"\n{'endpoint':44} {'addresses':28} purpose")
    addresses = [address for _, address in edge]
    joined = ", ".join(addresses)
    print(f"{f'postgresql://{service}:{READ_WRITE}':44} {joined:28} read and write")
    print(f"{f'postgresql://{service}:{READ_ONLY}':44} {joined:28} read only, from replicas")
    for name, address in edge:
        print(f"{f'http://{address}:{METRICS}/metrics':44} {address:28} HAProxy metrics of {name}")
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as authority:
        authority.write(secret(platform["name"], "ca/certificate"))
        authority.flush()
        password = secret(platform["name"], "postgresql/users/trading")
        milliseconds = write_and_read(addresses, service, password, authority.name)
    print(f"\nwrote and read a row through HAProxy over verified TLS in {milliseconds:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
