"""What every client that librdkafka makes for us is told."""


def connecting(bootstrap: str) -> dict[str, str | int | float | bool]:
    """Where Kafka is, and how a client comes back to it after an outage: soon, and still knowing who leads.

    By itself librdkafka would forget all brokers when none answers, begin with `bootstrap` again, 20 to 40 times a
    second with a new thread each, and find out who leads each partition up to a second after it is connected.
    """
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 200,
        "metadata.recovery.strategy": "none",
    }
