"""The rolling volume-weighted average price of each instrument, from its one-minute candles.

Faust keeps the sums in windowed tables on disk (RocksDB through rocksdict), each with a changelog on Kafka: a worker
that dies goes on where it stopped, and several share the instruments. What comes out is a topic that anybody may read.

    python examples/rolling_vwap.py worker -l info
    python examples/plain_consumer.py --topic example.vwap.v1

A window opens every minute and lasts a quarter of an hour, by the candles' own time: a replay at ten times the speed
says the same. Each candle counts in the fifteen windows that hold its minute; what is said is the oldest of them, which
ends with it. A candle may be told twice; only what is newer than the last one of its instrument counts.
"""

import os
import ssl
from datetime import datetime
from typing import cast

import faust
from faust.types import FieldDescriptorT

MINUTE_S = 60
WINDOW_S = 15 * MINUTE_S
PARTITIONS = 6
"""As many as the candles have: a table is kept beside the partition that feeds it."""


def credentials() -> faust.SASLCredentials | faust.SSLCredentials | None:
    """By the platform's variables; none where Kafka lets everybody in."""
    given = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_") and value}
    protocol = given.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    tls = ssl.create_default_context(cafile=given.get("KAFKA_SSL_CA_FILE")) if protocol.endswith("SSL") else None
    if tls and "KAFKA_SSL_CERTIFICATE_FILE" in given:
        tls.load_cert_chain(given["KAFKA_SSL_CERTIFICATE_FILE"], given["KAFKA_SSL_KEY_FILE"])
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=given["KAFKA_SASL_USERNAME"],
            password=given["KAFKA_SASL_PASSWORD"],
            mechanism=given["KAFKA_SASL_MECHANISM"],
            ssl_context=tls,
        )
    return faust.SSLCredentials(tls) if tls else None


class Candle(faust.Record, serializer="json"):
    instrument: str
    start: str
    high: float
    low: float
    close: float
    volume: int


class Vwap(faust.Record, serializer="json"):
    instrument: str
    minute: str
    vwap: float
    volume: int


app = faust.App(
    os.environ.get("VWAP_APP", "example-rolling-vwap"),
    broker=f"kafka://{os.environ.get('KAFKA_BOOTSTRAP', '127.0.0.1:19092')}",
    broker_credentials=credentials(),
    store="rocksdb://?driver=rocksdict",
    datadir=os.environ.get("VWAP_DATA", ".local/faust"),
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    # The first start makes the changelogs, and may ask who leads them before Kafka knows: it asks again soon.
    consumer_metadata_max_age_ms=5_000,
    web_enabled=False,
)
candles = app.topic(os.environ.get("VWAP_CANDLES", "marketdata.candles.v1"), value_type=Candle)
vwaps = app.topic(os.environ.get("VWAP_TOPIC", "example.vwap.v1"), value_type=Vwap)

newest = app.Table("newest", default=str)
start = cast("FieldDescriptorT[str]", Candle.start)  # of the class it is the field, which the annotation does not say
window = faust.HoppingWindow(WINDOW_S, MINUTE_S, expires=2 * WINDOW_S)
turnover = app.Table("turnover", default=float).using_window(window).relative_to_field(start)
volume = app.Table("volume", default=int).using_window(window).relative_to_field(start)


@app.agent(candles)
async def roll(stream: faust.StreamT[Candle]) -> None:
    async for candle in stream:
        name = candle.instrument
        if candle.start <= newest[name] or not candle.volume:
            continue
        newest[name] = candle.start
        turnover[name] += (candle.high + candle.low + candle.close) / 3 * candle.volume
        volume[name] += candle.volume
        # .current() would be the window that has just opened, with this candle alone.
        ending = window.earliest(datetime.fromisoformat(candle.start).timestamp())
        traded = volume[name][ending]
        vwap = Vwap(name, candle.start, round(turnover[name][ending] / traded, 4), traded)
        await (await vwaps.send(key=name, value=vwap))


if __name__ == "__main__":
    app.main()
