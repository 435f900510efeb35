"""Ticks as they stand in Kafka, read by the batch without making a model of each: that would cost twice as much."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.messaging.bulk_reader import BulkRecord
from libs.common.telemetry import log
from services.marketdata.store.series import TickRow
from services.marketdata.streams import metrics

AT_ONCE = 200
"""Documents that are held at once: thousands would be walked by the garbage collector again and again, which made
reading a tick five times as expensive."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SOURCES = frozenset(source.value for source in FeedSource)


class Print(NamedTuple):
    """A tick with its place in the log."""

    partition: int
    offset: int
    row: TickRow


def read_all(messages: Sequence[BulkRecord]) -> list[Print]:
    """What cannot be read is logged, counted and left out: it must not stop the ticks behind it."""
    found: list[Print] = []
    for n in range(0, len(messages), AT_ONCE):
        some = messages[n : n + AT_ONCE]
        for message, document in zip(some, _documents([each.value() or b"null" for each in some]), strict=True):
            try:
                found.append(Print(message.partition() or 0, message.offset() or 0, _row(document)))
            except (KeyError, TypeError, ValueError) as error:
                metrics.UNREADABLE.inc()
                log.error("tick_unreadable", partition=message.partition(), offset=message.offset(), error=repr(error))
    return found


def _documents(values: Sequence[bytes]) -> Iterable[Any]:
    """One call for all of them; one for each only when one is broken."""
    try:
        found: list[Any] = orjson.loads(b"[" + b",".join(values) + b"]")
    except orjson.JSONDecodeError:
        return map(_document, values)
    return found if len(found) == len(values) else map(_document, values)


def _document(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _row(tick: dict[str, Any]) -> TickRow:
    source = tick["source"]
    if source not in _SOURCES:
        raise ValueError(f"source {source!r}")
    bids, asks = tick.get("bids"), tick.get("asks")
    return TickRow(
        InstrumentId(tick["instrument"]),
        source,
        (datetime.fromisoformat(tick["at"]) - _EPOCH) // _MICROSECOND,
        (datetime.fromisoformat(tick["received_at"]) - _EPOCH) // _MICROSECOND,
        float(tick["ltp"]),
        int(tick["ltq"]),
        int(tick["volume"]),
        int(tick["oi"]),
        float(tick["bid"]),
        float(tick["ask"]),
        int(tick["bid_quantity"]),
        int(tick["ask_quantity"]),
        [(level["price"], level["quantity"], level["orders"]) for level in bids] if bids else (),
        [(level["price"], level["quantity"], level["orders"]) for level in asks] if asks else (),
    )
