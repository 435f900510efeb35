"""Where the checker reads: everything can be given by hand, as its tests do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.common.settings import kafka_of
from tools.reconcile.cache import Cache, RedisCache
from tools.reconcile.checks.answers import Note
from tools.reconcile.log import KafkaLog, Log
from tools.reconcile.rows import SERVICES
from tools.reconcile.tables import PostgresTables, Tables


@dataclass(frozen=True)
class Sources:
    """`answered` are a client's notes of what it was told. `seen` are the tags (or order ids) in the books of brokers
    behind HTTP, one for each order there. `explained` are ids of messages and orders that somebody knows about.
    """

    log: Log
    tables: Tables
    cache: Cache | None = None
    answered: tuple[Note, ...] = ()
    seen: tuple[str, ...] | None = None
    explained: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environment: Mapping[str, str], **given: object) -> "Sources":
        """An instance's servers, from its environment (KAFKA_*, REDIS_URL, <SERVICE>_DATABASE_URL)."""
        urls = {service: environment[f"{service.upper()}_DATABASE_URL"] for service in SERVICES}
        cache = RedisCache(environment["REDIS_URL"]) if environment.get("REDIS_URL") else None
        return cls(KafkaLog(kafka_of(environment)), PostgresTables(urls), cache, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Options:
    """`wait_s`: how long to wait for the stack to come to rest. `grace_s`: how long after a panic's acknowledgement
    an order that was recorded before it may still leave. `trail`: how many messages to show of a counterexample."""

    wait_s: float = 30.0
    outbox_age: timedelta = timedelta(minutes=1)
    grace_s: float = 1.0
    trail: int = 60
    now: datetime | None = None
