"""Show where the platform answers, and prove it by one write and one read through HAProxy over verified TLS.

Usage: python -m lab.endpoints     (with the environment of `lab env`)
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.config
import psycopg
import redis

ROOT = Path(__file__).resolve().parent.parent
READ_WRITE, READ_ONLY, METRICS, REDIS, FILES, ASSETS = 5432, 5433, 8405, 6379, 9000, 443


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


def redis_write_and_read(client: redis.Redis) -> float:
    """Write a key through HAProxy, read it back, return the milliseconds."""
    started = time.monotonic()
    with client:
        identifier = str(time.time_ns())
        client.set("lab_proof", identifier)
        if client.get("lab_proof") != identifier:
            raise SystemExit(f"the key lab_proof was written as {identifier} but not read back")
    return (time.monotonic() - started) * 1000


@contextlib.contextmanager
def resolved(names: dict[str, list[str]]) -> Iterator[None]:
    """Let this process resolve names as the platform's resolver does, so that certificates are verified by name."""
    real = socket.getaddrinfo

    def look_up(host, *arguments, **keywords):
        return [entry for address in names.get(host, [host]) for entry in real(address, *arguments, **keywords)]

    socket.getaddrinfo = look_up
    try:
        yield
    finally:
        socket.getaddrinfo = real


def redis_client(host: str, user: str, password: str, authority: str) -> redis.Redis:
    """A client of Redis through HAProxy; the name in the certificate is verified."""
    return redis.Redis(
        host=host,
        port=REDIS,
        username=user,
        password=password,
        ssl=True,
        ssl_ca_certs=authority,
        socket_timeout=5,
        socket_connect_timeout=5,
        decode_responses=True,
    )


def public_object(host: str, path: str, authority: str) -> tuple[int, str, bytes]:
    """Status, content type and content of an object of a public bucket, through HAProxy and the cache."""
    context = ssl.create_default_context(cafile=authority)
    connection = http.client.HTTPSConnection(host, ASSETS, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()


def files_write_and_read(host: str, secret_key: str, region: str, authority: str) -> float:
    """Put an object through HAProxy, read it back, return the milliseconds."""
    started = time.monotonic()
    client = boto3.client(
        "s3",
        endpoint_url=f"https://{host}:{FILES}",
        region_name=region,
        aws_access_key_id="trading",
        aws_secret_access_key=secret_key,
        verify=authority,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
    content = str(time.time_ns()).encode()
    client.put_object(Bucket="reports", Key="lab_proof", Body=content)
    if client.get_object(Bucket="reports", Key="lab_proof")["Body"].read() != content:
        raise SystemExit("the object lab_proof was put into bucket reports but not read back")
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
    cache = f"redis.{platform['domain']}"
    print(f"{f'rediss://{cache}:{REDIS}':44} {joined:28} Redis primary")
    store = f"files.{platform['domain']}"
    print(f"{f'https://{store}:{FILES}':44} {joined:28} S3 API of the file storage")
    public = f"assets.{platform['domain']}"
    print(f"{f'https://{public}':44} {joined:28} public buckets")
    for name, address in edge:
        print(f"{f'http://{address}:{METRICS}/metrics':44} {address:28} HAProxy metrics of {name}")
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as authority:
        authority.write(secret(platform["name"], "ca/certificate"))
        authority.flush()
        password = secret(platform["name"], "postgresql/users/trading")
        milliseconds = write_and_read(addresses, service, password, authority.name)
        password = secret(platform["name"], "redis/users/trading")
        file_secret = secret(platform["name"], "file_storage/users/trading")
        with resolved({cache: addresses, store: addresses}):
            redis_milliseconds = redis_write_and_read(redis_client(cache, "trading", password, authority.name))
            region = boto3.session.Session().region_name
            file_milliseconds = files_write_and_read(store, file_secret, region, authority.name)
    print(f"\nwrote and read a row through HAProxy over verified TLS in {milliseconds:.0f} ms")
    print(f"wrote and read a Redis key through HAProxy over verified TLS in {redis_milliseconds:.0f} ms")
    print(f"put and got an object through HAProxy over verified TLS in {file_milliseconds:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
