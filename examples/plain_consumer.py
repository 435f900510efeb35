"""Print messages of one topic as they come.

A message's headers tell what it is (CloudEvents: `ce_type`, `ce_id`, `ce_time`; `ce_correlationid` names the story it
belongs to), so that a reader need not decode what it does not care for. The value is JSON; money is text, times UTC.

    python examples/plain_consumer.py --topic trading.events.v1 --type FillReported --from-beginning
"""

import argparse
import json
import os
import secrets
import sys

from confluent_kafka import Consumer, Message

SECURITY = {
    "security.protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanism": "KAFKA_SASL_MECHANISM",
    "sasl.username": "KAFKA_SASL_USERNAME",
    "sasl.password": "KAFKA_SASL_PASSWORD",
    "ssl.ca.location": "KAFKA_SSL_CA_FILE",
    "ssl.certificate.location": "KAFKA_SSL_CERTIFICATE_FILE",
    "ssl.key.location": "KAFKA_SSL_KEY_FILE",
}
"""By which variable each is set; none is, where Kafka lets everybody in."""


def main() -> None:
    asked = arguments()
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:19092"),
            **{option: os.environ[name] for option, name in SECURITY.items() if os.environ.get(name)},
            "group.id": asked.group or f"example-{secrets.token_hex(4)}",
            "auto.offset.reset": "earliest" if asked.from_beginning else "latest",
        }
    )
    consumer.subscribe([asked.topic])
    left = asked.count
    try:
        while left:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                sys.exit(f"Kafka says: {message.error()}")
            if asked.type in (None, header(message, "ce_type")):
                print(line(message), flush=True)
                left -= 1
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


def header(message: Message, name: str) -> str:
    found = dict(message.headers() or []).get(name)
    return found.decode() if isinstance(found, bytes) else found or ""


def line(message: Message) -> str:
    """Time, type, key, and the value as it is."""
    value = json.loads(message.value() or b"null")
    key = (message.key() or b"").decode()
    return f"{header(message, 'ce_time')} {header(message, 'ce_type')} {key} {json.dumps(value)}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--type", help="only messages of this type")
    parser.add_argument("--group", help="a name of yours: the next run goes on where this one ended")
    parser.add_argument("--from-beginning", action="store_true")
    parser.add_argument("--count", type=int, default=-1, help="end after so many")
    return parser.parse_args()


if __name__ == "__main__":
    main()
