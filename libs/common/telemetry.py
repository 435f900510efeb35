"""Logs, metrics and trace context, the same in every service."""

import logging
import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from random import Random
from typing import Any

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram

from libs.common.clock import stopwatch

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_SECRET = re.compile(r"password|secret|token|api_?key|authorization|cookie|credential|pepper|signature", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*):[^\s\"']+@")
_WORTH_COUNTING = frozenset({"warning", "error", "critical"})
_LINES_A_SECOND = 5
_TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")

_bits = Random().getrandbits  # noqa: S311 - a trace id is no secret, and this takes no system call
trace: ContextVar[str | None] = ContextVar("traceparent", default=None)

BATCH_SIZE = Histogram(
    "batch_messages", "Messages handled in one transaction", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
BATCH_SECONDS = Histogram("batch_seconds", "One batch, from poll to commit")
HANDLER_SECONDS = Histogram("handler_seconds", "Handlers of one message type within a batch", ["type"])
CONSUMER_LAG = Gauge("consumer_lag_messages", "Messages behind the end of the partition", ["topic", "partition"])
OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the oldest event not yet published")
PARKED = Gauge("parked_messages", "Messages parked with their keys")
WARNINGS = Counter(
    "log_warnings",
    "Warnings and what is worse in the log, by the event's name; what a library says, by the library's",
    ["event", "level"],
)
STAGE_SECONDS = Histogram(
    "stage_seconds",
    "From the message that began the story to this one being said",
    ["type"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5),
)


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep secrets out of logs: by the name of a field, and passwords inside URLs; within lists and objects, too."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: object, value: Any) -> Any:
    if isinstance(name, str) and _SECRET.search(name):
        return "[redacted]"
    if isinstance(value, str):
        return _URL_PASSWORD.sub(r"\1:[redacted]@", value)
    if isinstance(value, Mapping):
        return {each: _redacted(each, within) for each, within in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, each) for each in value]
    return value


def _count(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An alarm can be set on whatever is told, though nobody thought of a figure for it."""
    if event["level"] in _WORTH_COUNTING:
        WARNINGS.labels(event.get("logger") or event["event"], event["level"]).inc()
    return event


class _Sparing:
    """Keeps the same warning from being written more than a few times a second; the next line tells how many were not.

    While Kafka was away the services wrote hundreds of lines a second of it.
    """

    def __init__(self) -> None:
        self._second = 0
        self._said: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def left_out(self, name: str) -> int | None:
        """How many of this name were not written since the last that was; None for one that is not to be written."""
        second = int(stopwatch())
        if second != self._second:
            self._second = second
            over, self._said = self._said, {}
            for each, said in list(over.items()):
                if said > _LINES_A_SECOND:
                    self._left_out[each] = self._left_out.get(each, 0) + said - _LINES_A_SECOND
        said = self._said[name] = self._said.get(name, 0) + 1
        return None if said > _LINES_A_SECOND else self._left_out.pop(name, 0)

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As a step on the way of what the services say, behind `_count`."""
        if event["level"] in _WORTH_COUNTING:
            left_out = self.left_out(event["event"])
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                event["left_out"] = left_out
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """As a filter of what libraries say, by their words without the values in them."""
        left_out = self.left_out(f"{record.name} {record.msg}")
        if left_out is None:
            WARNINGS.labels(record.name, record.levelname.lower()).inc()
            return False
        if left_out:
            record.left_out = left_out
        return True


def _add_trace(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    parent = trace.get()
    if parent:
        event["trace_id"] = parent[3:35]
    return event


def configure_logging(service: str, level: str) -> None:
    """One JSON object a line on standard output, with the service's name and UTC times; on standard error, in the same
    form, what libraries warn of. Of the same warning five lines a second are written.
    """
    structlog.contextvars.bind_contextvars(service=service)
    sparing = _Sparing()
    counted: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _count,
    ]
    written: list[structlog.typing.Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _add_trace,
        redact,
    ]
    line = structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str).decode())
    structlog.configure(
        processors=[*counted, sparing, *written, line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler()
    libraries.addFilter(sparing)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow={"left_out"}),
                *counted,
                *written,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, line],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])


def new_traceparent() -> str:
    return f"00-{_bits(128):032x}-{_bits(64):016x}-01"


def continue_trace(parent: str | None) -> str:
    """A span of the caller's trace (W3C traceparent), or of a new one when the header is absent or malformed."""
    if parent and _TRACEPARENT.match(parent):
        return f"{parent[:36]}{_bits(64):016x}{parent[52:]}"
    return new_traceparent()
