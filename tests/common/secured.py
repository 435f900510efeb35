"""A Kafka of its own that lets in by password, or by certificate, over TLS: what operators are given by who runs it."""

import contextlib
import datetime
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.cluster import FRUGAL
from deploy.local.servers import JAVA, KAFKA_CLUSTER, directory, quiet, render
from libs.common.clock import SystemClock, stopwatch
from tests.common.forwarding import free_port

USER, PASSWORD = "platform", "s3cret of the test's Kafka"
STARTED_WITHIN = 60.0
LISTENERS = """
listeners=INSIDE://127.0.0.1:{inside},PASSWORD://127.0.0.1:{password},MUTUAL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=INSIDE://127.0.0.1:{inside},PASSWORD://127.0.0.1:{password},MUTUAL://127.0.0.1:{mutual}
listener.security.protocol.map=INSIDE:PLAINTEXT,PASSWORD:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
listener.name.password.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.password.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    user_{user}="{secret}";
listener.name.password.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={home}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={home}/authority.pem
"""


@dataclass(frozen=True)
class Secured:
    """Its addresses, and the files that its clients need."""

    by_password: str
    by_certificate: str
    inside: str
    home: Path

    @property
    def authority(self) -> str:
        return str(self.home / "authority.pem")

    def with_password(self, mechanism: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP": self.by_password,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CA_FILE": self.authority,
        }

    def with_certificate(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP": self.by_certificate,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_FILE": self.authority,
            "KAFKA_SSL_CERTIFICATE_FILE": str(self.home / "client.pem"),
            "KAFKA_SSL_KEY_FILE": str(self.home / "client.key"),
        }


@contextlib.contextmanager
def secured_kafka(home: Path) -> Iterator[Secured]:
    make_certificates(home)
    ports = {name: free_port() for name in ("inside", "password", "mutual", "controller")}
    conf = home / "kafka.properties"
    render(
        "kafka.properties",
        conf,
        data=directory(home / "data"),
        kafka_port=ports["inside"],
        kafka_controller_port=ports["controller"],
    )
    with conf.open("a") as more:  # of two lines with one name Java takes the last
        more.write(LISTENERS.format(**ports, user=USER, secret=PASSWORD, home=home))
    user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    formatted = ("kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER, "-c", str(conf), "--add-scram", user)
    quiet((*JAVA, *FRUGAL, *formatted))
    with (home / "kafka.log").open("wb") as log:
        running = subprocess.Popen((*JAVA, *FRUGAL, "kafka.Kafka", str(conf)), stdout=log, stderr=log, cwd=home)
    try:
        made = Secured(
            f"127.0.0.1:{ports['password']}", f"127.0.0.1:{ports['mutual']}", f"127.0.0.1:{ports['inside']}", home
        )
        wait(made, running)
        yield made
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait(10)


def wait(kafka: Secured, running: "subprocess.Popen[bytes]") -> None:
    deadline = stopwatch() + STARTED_WITHIN
    admin = AdminClient({"bootstrap.servers": kafka.inside, "log_level": 0})
    while True:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            if running.poll() is not None or stopwatch() > deadline:
                raise AssertionError((kafka.home / "kafka.log").read_text()[-4_000:]) from None
            time.sleep(0.2)


def make_certificates(home: Path) -> None:
    """An authority of the test's own, and what it signs: Kafka's certificate and a client's."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = signed("authority", authority_key, "authority", authority_key)
    (home / "authority.pem").write_bytes(pem(authority))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = signed(name, key, "authority", authority_key)
        if name == "server":
            (home / "server.pem").write_bytes(pem(key) + pem(certificate))
        else:
            (home / "client.key").write_bytes(pem(key))
            (home / "locked.key").write_bytes(pem(key, serialization.BestAvailableEncryption(b"unknown")))
            (home / "client.pem").write_bytes(pem(certificate))


def signed(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now, is_authority = SystemClock().now(), name == issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority:
        here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
        builder = builder.add_extension(here, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(
    what: x509.Certificate | ec.EllipticCurvePrivateKey, lock: serialization.KeySerializationEncryption | None = None
) -> bytes:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(serialization.Encoding.PEM)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return what.private_bytes(encoding, form, lock or serialization.NoEncryption())
