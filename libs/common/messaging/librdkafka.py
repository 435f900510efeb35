"""What every client that librdkafka makes for us is told."""

from libs.common.messaging.entry import ANSWER_MS, of_librdkafka
from libs.common.settings import KafkaSettings


def connecting(kafka: KafkaSettings) -> dict[str, str | int | float | bool]:
    """Where Kafka is, and how a client comes back to it after an outage: soon, and still knowing who leads.

    By itself librdkafka would forget all brokers when none answers, begin with KAFKA_BOOTSTRAP again, 20 to 40 times a
    second with a new thread each, and find out who leads each partition up to a second after it is connected. And it
    would wait a minute for an answer.
    """
    return {
        **of_librdkafka(kafka),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 200,
        "metadata.recovery.strategy": "none",
        "socket.timeout.ms": ANSWER_MS,
        "socket.connection.setup.timeout.ms": ANSWER_MS,
    }
