"""What every client that librdkafka makes for us is told."""

ANSWER_MS = 5_000
"""How long Kafka may take to answer, or a connection to be made: whoever hears nothing for so long connects anew. A way
that is cut, or a node that lost its power, closes no connection, and whoever waits on one hears of neither.
"""


def connecting(bootstrap: str) -> dict[str, str | int | float | bool]:
    """Where Kafka is, and how a client comes back to it after an outage: soon, and still knowing who leads.

    By itself librdkafka would forget all brokers when none answers, begin with `bootstrap` again, 20 to 40 times a
    second with a new thread each, and find out who leads each partition up to a second after it is connected. And it
    would wait a minute for an answer.
    """
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 200,
        "metadata.recovery.strategy": "none",
        "socket.timeout.ms": ANSWER_MS,
        "socket.connection.setup.timeout.ms": ANSWER_MS,
    }
