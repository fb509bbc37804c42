"""Kafka's producer through TLS and SCRAM-SHA-512 against the same broker plain, on this machine's loopback.

One broker with both listeners and Kafka's own kafka-producer-perf-test, first as fast as it goes, then at a fixed rate,
since client and broker share the machine. Needs Java and the archive that the lab's mirror makes.

Usage: python bench/kafka.py [--records 200000] [--rate 5000]
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lab.paths import Lab  # noqa: E402
from lab.services.mirror import Mirror  # noqa: E402

VERSION = "4.3.1"
RECORD_BYTES = 1000
HOST = "127.0.0.1"
CLUSTER = "Tz8q1vYbQkWb3mVdE0hH5g"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLERS
listener.security.protocol.map=PLAIN:PLAINTEXT,SECURE:SASL_SSL,CONTROLLERS:PLAINTEXT
listeners=PLAIN://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},CONTROLLERS://127.0.0.1:{controller}
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config={scram};
ssl.keystore.type=PEM
ssl.keystore.location={directory}/server.pem
log.dirs={directory}/data
offsets.topic.replication.factor=1
"""
CLIENT = """\
bootstrap.servers=127.0.0.1:{secure}
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config={scram} username="bench" password="bench-password";
ssl.truststore.type=PEM
ssl.truststore.location={directory}/ca.crt
"""
LINE = re.compile(r"([\d.]+) records/sec.*?([\d.]+) ms avg latency.*?([\d.]+) ms 99th")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def certificate(directory: Path) -> None:
    """A certificate for the loopback that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca.crt").write_bytes(pem)
    (directory / "server.pem").write_bytes(private + pem)


def unpack(directory: Path) -> Path:
    """The home of a Kafka from the archive of the lab's mirror, made now if it is not there."""
    lab = Lab("lab")
    mirror = Mirror(lab.mirror, lab.cache / "artifacts")
    name = f"kafka_2.13-{VERSION}"
    file = mirror.cache.get(mirror.target(f"/artifacts/kafka/{VERSION}/{name}.tgz"))
    with tarfile.open(file) as archive:
        archive.extractall(directory, filter="data")
    return directory / name


def tool(home: Path, name: str, *arguments: str) -> str:
    line = [str(home / "bin" / f"{name}.sh"), *arguments]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def measure(home: Path, config: Path, records: int, rate: int) -> dict[str, float]:
    """Records a second and milliseconds of one run."""
    options = ["--topic", "bench", "--num-records", str(records), "--record-size", str(RECORD_BYTES)]
    options += ["--throughput", str(rate), "--producer.config", str(config), "--producer-props", "acks=all"]
    found = LINE.findall(tool(home, "kafka-producer-perf-test", *options))
    if not found:
        raise SystemExit("kafka-producer-perf-test printed no result")
    per_second, average, highest = map(float, found[-1])
    return {"records_per_second": per_second, "average_ms": average, "p99_ms": highest}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=5_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        home = unpack(directory)
        certificate(directory)
        ports = {name: free_port() for name in ("plain", "secure", "controller")}
        given = {"directory": directory, "scram": SCRAM, **ports}
        (directory / "server.properties").write_text(SERVER.format(**given))
        (directory / "secure.properties").write_text(CLIENT.format(**given))
        (directory / "plain.properties").write_text(f"bootstrap.servers={HOST}:{ports['plain']}\n")
        user = "SCRAM-SHA-512=[name=bench,password=bench-password]"
        config = str(directory / "server.properties")
        tool(home, "kafka-storage", "format", "-c", config, "-t", CLUSTER, "--standalone", "--add-scram", user)
        server = subprocess.Popen([str(home / "bin" / "kafka-run-class.sh"), "kafka.Kafka", config])
        try:
            create = ["--create", "--if-not-exists", "--topic", "bench", "--partitions", "3"]
            tool(home, "kafka-topics", "--bootstrap-server", f"{HOST}:{ports['plain']}", *create)
            results = {}
            for kind in ("plain", "secure"):
                client = directory / f"{kind}.properties"
                measure(home, client, wanted.records // 4, -1)
                results[kind] = measure(home, client, wanted.records, -1)
                results[f"{kind} at {wanted.rate}/s"] = measure(home, client, wanted.rate * 10, wanted.rate)
        finally:
            server.terminate()
            server.wait(60)
    for name, figures in results.items():
        print(f"{name:20} " + "  ".join(f"{key} {value:10.1f}" for key, value in figures.items()))
    ratio = results["secure"]["records_per_second"] / results["plain"]["records_per_second"]
    print(f"through TLS and SCRAM: {ratio:.2f} of the plain throughput")
    file = ROOT / "bench" / "results" / "kafka_throughput.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({"at": time.strftime("%FT%TZ", time.gmtime()), "ratio": ratio, **results}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
