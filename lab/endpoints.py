"""Show where the platform answers, and prove it by one write and one read through HAProxy over verified TLS.

Usage: python -m lab.endpoints     (with the environment of `lab env`)
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.client
import botocore.config
import pika
import psycopg
import redis

ROOT = Path(__file__).resolve().parent.parent
READ_WRITE, READ_ONLY, METRICS, REDIS, KAFKA, RABBITMQ, FILES, ASSETS = 5432, 5433, 8405, 6379, 9092, 5671, 9000, 443
KUBERNETES, SERVICES = 6443, 8443
#: Runs a command with a hosts file of its own: librdkafka resolves names by itself.
WITH_HOSTS = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    'mount --bind "$1" /etc/hosts && shift && exec "$@"',
    "sh",
]
KAFKA_PROOF = """
import json, sys, time, uuid
from confluent_kafka import Consumer, Producer
options, sent = json.load(sys.stdin), str(uuid.uuid4())
consumer = Consumer({**options, "group.id": "trading-proof-" + sent, "auto.offset.reset": "earliest"})
producer = Producer({**options, "acks": "all", "enable.idempotence": True})
started, answers = time.monotonic(), []
producer.produce("dead-letters", sent, on_delivery=lambda error, message: answers.append(error or message))
producer.flush(30)
if not answers or not hasattr(answers[0], "offset"):
    sys.exit(f"a message to Kafka was not acknowledged: {answers}")
consumer.subscribe(["dead-letters"])
while time.monotonic() - started < 60:
    message = consumer.poll(1)
    if message and not message.error() and message.value().decode() == sent:
        consumer.close()
        print(round((time.monotonic() - started) * 1000))
        sys.exit()
sys.exit("the message was acknowledged by Kafka but not read back")
"""


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


def kafka_options(names: list[str], user: str, password: str, authority: str) -> dict[str, str]:
    """Options of librdkafka for the brokers of these names."""
    return {
        "bootstrap.servers": ",".join(f"{name}:{KAFKA}" for name in names),
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.location": authority,
    }


def kafka_write_and_read(brokers: dict[str, str], user: str, password: str, authority: str) -> float:
    """Write a message by the brokers' own names, read it back as a group, return the milliseconds."""
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in brokers.items()))
        hosts.flush()
        command = [*WITH_HOSTS, hosts.name, sys.executable, "-c", KAFKA_PROOF]
        options = json.dumps(kafka_options(list(brokers), user, password, authority))
        done = subprocess.run(command, input=options, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(done.stderr.strip()[-500:])
    return float(done.stdout)


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


def rabbitmq_connection(host: str, user: str, password: str, authority: str) -> pika.BlockingConnection:
    """A connection to RabbitMQ through HAProxy; the name in the certificate is verified, a silent server noticed."""
    keepalive = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 4000}
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            host=host,
            port=RABBITMQ,
            virtual_host="trading",
            credentials=pika.PlainCredentials(user, password),
            ssl_options=pika.SSLOptions(ssl.create_default_context(cafile=authority), host),
            heartbeat=4,
            socket_timeout=3,
            stack_timeout=5,
            tcp_options=keepalive,
        )
    )


def rabbitmq_publish_and_get(connection: pika.BlockingConnection) -> float:
    """Publish a confirmed notice through HAProxy, get it back, return the milliseconds."""
    started = time.monotonic()
    with connection:
        channel = connection.channel()
        channel.confirm_delivery()
        identifier = str(time.time_ns()).encode()
        persistent = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("trade-notices", "trade.proof", identifier, persistent, mandatory=True)
        # Those of others go back to the queue when the channel ends.
        for _number in range(1000):
            method, _properties, body = channel.basic_get("trade-notices")
            if body == identifier:
                channel.basic_ack(method.delivery_tag)
                return (time.monotonic() - started) * 1000
    raise SystemExit(f"the notice {identifier.decode()} was confirmed but not found in its queue")


def files_client(domain: str, region: str, secret_key: str, authority: str) -> botocore.client.BaseClient:
    """A client of the file storage's S3 API through HAProxy, which tries each request once."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://files.{domain}:{FILES}",
        region_name=region,
        aws_access_key_id="trading",
        aws_secret_access_key=secret_key,
        verify=authority,
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}
        ),
    )


def files_put_and_get(client: botocore.client.BaseClient) -> float:
    """Put an object through HAProxy, get it back, return the milliseconds."""
    started = time.monotonic()
    body = str(time.time_ns()).encode()
    client.put_object(Bucket="reports", Key="lab_proof", Body=body)
    if client.get_object(Bucket="reports", Key="lab_proof")["Body"].read() != body:
        raise SystemExit("the object reports/lab_proof was put but not got back")
    return (time.monotonic() - started) * 1000


def pod_answer(addresses: list[str], host: str, authority: str) -> tuple[float, str]:
    """Ask the workload through HAProxy; return the milliseconds and the pod that answered."""
    sent, started = str(time.time_ns()), time.monotonic()
    context = ssl.create_default_context(cafile=authority)
    with resolved({host: addresses}):
        request = urllib.request.Request(f"https://{host}:{SERVICES}/", data=sent.encode())
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            found = json.load(answer)
    if found["body"] != sent:
        raise SystemExit("the workload of Kubernetes did not answer with what it was sent")
    return (time.monotonic() - started) * 1000, found["pod"]


def kubernetes_nodes(found: dict) -> list[dict]:
    """The nodes as a control plane's kubectl tells them."""
    running = found["state_running"]["hosts"]
    slot = next(name for name in sorted(found["kubernetes_control_plane"]["hosts"]) if name in running)
    ask = "/usr/local/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /api/v1/nodes"
    command = ["ansible", "-i", "inventory/lab", slot, "--become", "-m", "command", "-a", ask]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(printed[printed.index("{") :])["items"]


def node_rows(nodes: list[dict]) -> list[tuple[str, str, str, str]]:
    """Name, readiness, zone by the cloud controller manager and version of each node."""
    found = []
    for node in nodes:
        conditions = {item["type"]: item["status"] for item in node["status"].get("conditions", [])}
        ready = "Ready" if conditions.get("Ready") == "True" else "NotReady"
        zone = node["metadata"].get("labels", {}).get("topology.kubernetes.io/zone", "-")
        found.append((node["metadata"]["name"], ready, zone, node["status"]["nodeInfo"]["kubeletVersion"]))
    return sorted(found)


def show_nodes(nodes: list[tuple[str, str, str, str]]) -> None:
    """Print the nodes; one that is not ready, or that its cloud has not taken up, is a failure."""
    print(f"\n{'node':44} {'ready':9} {'zone':15} version")
    for name, ready, zone, version in nodes:
        print(f"{name:44} {ready:9} {zone:15} {version}")
    lacking = [name for name, ready, zone, _version in nodes if ready != "Ready" or zone == "-"]
    if lacking:
        raise SystemExit(f"{', '.join(lacking)} is not ready or has no zone")


def rows(found: dict, domain: str) -> Iterator[tuple[str, str, str]]:
    """What clients reach: endpoint, addresses, purpose. `found` is the inventory."""
    hosts = found["_meta"]["hostvars"]
    edge = {name: hosts[name]["ansible_host"] for name in sorted(found.get("haproxy", {}).get("hosts", []))}
    joined = ", ".join(edge.values())
    if "postgresql" in found:
        yield f"postgresql://postgresql.{domain}:{READ_WRITE}", joined, "read and write"
        yield f"postgresql://postgresql.{domain}:{READ_ONLY}", joined, "read only, from replicas"
    if "redis" in found:
        yield f"rediss://redis.{domain}:{REDIS}", joined, "Redis primary"
    if "rabbitmq" in found:
        yield f"amqps://rabbitmq.{domain}:{RABBITMQ}", joined, "RabbitMQ"
    if "file_storage" in found:
        yield f"https://files.{domain}:{FILES}", joined, "S3 API of the file storage"
        yield f"https://assets.{domain}", joined, "its public buckets"
    if "kubernetes" in found:
        yield f"https://kubernetes.{domain}:{KUBERNETES}", joined, "API of Kubernetes"
        yield f"https://echo.{domain}:{SERVICES}", joined, "a workload of Kubernetes"
    for name, address in brokers(found, domain).items():
        yield f"{name}:{KAFKA}", address, "Kafka, TLS and SCRAM-SHA-512"
    for name, address in edge.items():
        yield f"http://{address}:{METRICS}/metrics", address, f"HAProxy metrics of {name}"


def brokers(found: dict, domain: str) -> dict[str, str]:
    """Kafka's brokers: name to address."""
    hosts = found["_meta"]["hostvars"]
    return {f"{name}.{domain}": hosts[name]["ansible_host"] for name in sorted(found.get("kafka", {}).get("hosts", []))}


def proofs(found: dict, platform: dict, authority: str) -> Iterator[str]:
    """Write and read through each product that the platform has; a sentence for each. `authority` is a file."""
    domain = platform["domain"]
    edges = sorted(found.get("haproxy", {}).get("hosts", []))
    addresses = [found["_meta"]["hostvars"][name]["ansible_host"] for name in edges]

    def password(product: str) -> str:
        return secret(platform["name"], f"{product}/users/trading")

    if "postgresql" in found:
        took = write_and_read(addresses, f"postgresql.{domain}", password("postgresql"), authority)
        yield f"wrote and read a row through HAProxy over verified TLS in {took:.0f} ms"
    if "redis" in found:
        name = f"redis.{domain}"
        with resolved({name: addresses}):
            took = redis_write_and_read(redis_client(name, "trading", password("redis"), authority))
        yield f"wrote and read a Redis key through HAProxy over verified TLS in {took:.0f} ms"
    if "rabbitmq" in found:
        name = f"rabbitmq.{domain}"
        with resolved({name: addresses}):
            took = rabbitmq_publish_and_get(rabbitmq_connection(name, "trading", password("rabbitmq"), authority))
        yield f"published and got a RabbitMQ message through HAProxy over verified TLS in {took:.0f} ms"
    if "file_storage" in found:
        name = f"files.{domain}"
        region = boto3.session.Session().region_name
        with resolved({name: addresses}):
            took = files_put_and_get(files_client(domain, region, password("file_storage"), authority))
        yield f"put and got an object through HAProxy over verified TLS in {took:.0f} ms"
    if "kubernetes" in found:
        took, pod = pod_answer(addresses, f"echo.{domain}", authority)
        yield f"the pod {pod} answered through HAProxy over verified TLS in {took:.0f} ms"
    if "kafka" in found:
        took = kafka_write_and_read(brokers(found, domain), "trading", password("kafka"), authority)
        yield f"wrote and read a Kafka message by the brokers' own names in {took:.0f} ms"


def main() -> int:
    found, platform = inventory(), variables()
    print(f"\n{'endpoint':44} {'addresses':28} purpose")
    for endpoint, addresses, purpose in rows(found, platform["domain"]):
        print(f"{endpoint:44} {addresses:28} {purpose}")
    print()
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as authority:
        authority.write(secret(platform["name"], "ca/certificate"))
        authority.flush()
        for sentence in proofs(found, platform, authority.name):
            print(sentence)
    if "kubernetes" in found:
        show_nodes(node_rows(kubernetes_nodes(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
