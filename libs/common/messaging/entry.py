"""How Kafka lets our clients in: what each of the two libraries is told of it, and why Kafka will not have us."""

import ssl
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from libs.common.settings import KafkaSecurity, KafkaSettings

ANSWER_MS = 5_000
"""How long Kafka may take to answer, or a connection to be made: whoever hears nothing for so long connects anew. A way
that is cut, or a node that lost its power, closes no connection, and whoever waits on one hears of neither.
"""
_KNOCK_MS = 2_000


class Refused(Exception):
    """Kafka is there and will not have us, or we not it, until a person has corrected what `remedy` names."""

    def __init__(self, said: str, remedy: str) -> None:
        super().__init__(said)
        self.remedy = remedy


def of_librdkafka(kafka: KafkaSettings) -> dict[str, str | int | float | bool]:
    options: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka.kafka_bootstrap}
    if kafka.kafka_security_protocol.has_tls or kafka.kafka_security_protocol.has_sasl:
        options["security.protocol"] = kafka.kafka_security_protocol.value
    if kafka.kafka_sasl_mechanism:
        options["sasl.mechanism"] = kafka.kafka_sasl_mechanism.value
        options["sasl.username"] = kafka.kafka_sasl_username
        options["sasl.password"] = kafka.kafka_sasl_password.get_secret_value()
    if kafka.kafka_ssl_ca_file:
        options["ssl.ca.location"] = kafka.kafka_ssl_ca_file
    if kafka.kafka_ssl_certificate_file:
        options["ssl.certificate.location"] = kafka.kafka_ssl_certificate_file
        options["ssl.key.location"] = kafka.kafka_ssl_key_file
    return options


def of_aiokafka(kafka: KafkaSettings) -> dict[str, Any]:
    return {"bootstrap_servers": kafka.kafka_bootstrap, **_security(kafka)}


def _security(kafka: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": kafka.kafka_security_protocol.value, "ssl_context": kafka.tls()}
    if kafka.kafka_sasl_mechanism:
        options["sasl_mechanism"] = kafka.kafka_sasl_mechanism.value
        options["sasl_plain_username"] = kafka.kafka_sasl_username
        options["sasl_plain_password"] = kafka.kafka_sasl_password.get_secret_value()
    return options


async def knock(kafka: KafkaSettings) -> None:
    """Ask one address after the other until one lets us in. Neither library tells its caller why none does.

    Raises Refused, and KafkaConnectionError where that may pass.
    """
    refusals: list[Refused] = []
    troubles: list[str] = []
    for host, port in _addresses(kafka.kafka_bootstrap):
        try:
            connection = await create_conn(host, port, request_timeout_ms=_KNOCK_MS, **_security(kafka))
        except (OSError, KafkaError, TimeoutError) as error:
            if remedy := _remedy(error, kafka):
                refusals.append(Refused(f"Kafka at {host}:{port}: {error!r}", remedy))
            troubles.append(f"{host}:{port}: {error!r}{_doubt(error, kafka)}")
        else:
            connection.close()
            return
    if refusals:
        raise refusals[0]
    raise KafkaConnectionError("; ".join(troubles))


def _addresses(bootstrap: str) -> list[tuple[str, int]]:
    try:
        return [(host, port) for host, port, _ in collect_hosts(bootstrap)]
    except ValueError as error:
        raise Refused(f"{bootstrap}: {error}", "write KAFKA_BOOTSTRAP as HOST:PORT, several comma-separated") from error


def _remedy(error: Exception, kafka: KafkaSettings) -> str | None:
    """Of what comes until a person has done something."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                "KAFKA_SSL_CA_FILE has to hold the authority of its certificate, and KAFKA_BOOTSTRAP a name that is "
                "in its certificate"
            )
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            return "correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, or have Kafka's operator make that user"
        case UnsupportedSaslMechanismError():
            return f"it does not take KAFKA_SASL_MECHANISM={kafka.kafka_sasl_mechanism}: correct that"
        case IllegalSaslStateError():
            return (
                f"it asks nobody for a password, KAFKA_SECURITY_PROTOCOL={kafka.kafka_security_protocol} does: correct "
                "that, or KAFKA_BOOTSTRAP"
            )
        case _:
            return None


def _doubt(error: Exception, kafka: KafkaSettings) -> str:
    """A connection that was made and closed again: by a Kafka that begins or ends, or by a listener of another kind."""
    closed = isinstance(error, KafkaConnectionError | ssl.SSLError | ConnectionResetError | ConnectionAbortedError)
    is_bare = kafka.kafka_security_protocol is KafkaSecurity.SSL and not kafka.kafka_ssl_certificate_file
    bare = ", without a KAFKA_SSL_CERTIFICATE_FILE" if is_bare else ""
    return f" (is it KAFKA_SECURITY_PROTOCOL={kafka.kafka_security_protocol} there{bare}?)" if closed else ""
