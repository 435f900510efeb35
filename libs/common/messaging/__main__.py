"""Topics and parked messages by command.

python -m libs.common.messaging topics
python -m libs.common.messaging parked list SERVICE
python -m libs.common.messaging parked show SERVICE KEY
python -m libs.common.messaging parked retry SERVICE KEY      handle the key's messages again, in order
python -m libs.common.messaging parked discard SERVICE KEY    give up the one that failed, retry those behind it
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from confluent_kafka import KafkaException

from libs.common import database
from libs.common.database import Connection
from libs.common.messaging import admin, parked, whole
from libs.common.messaging.errors import NotDiscarded
from libs.common.schemas import SERVICES
from libs.common.settings import service_settings, variable, whole_number


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _on(service: str, work: Callable[[Connection], Awaitable[None]]) -> None:
    if service not in SERVICES and not os.environ.get(f"{service.upper()}_DATABASE_URL"):
        raise SystemExit(f"{service} is none of {', '.join(SERVICES)}")
    with database.or_exit():
        pool = await database.open_pool(service_settings(service).database_url, service, size=2)
        try:
            async with pool.acquire() as connection, connection.transaction():
                await work(connection)
        finally:
            await pool.close()


async def _list(connection: Connection) -> None:
    rows = await parked.listed(connection)
    for row in rows:
        place = f"{row.topic}/{row.partition}@{row.offset}"
        begun = "; a retry was begun and has not ended" if row.retry_begun else ""
        _say(f"{row.parked_at:%Y-%m-%d %H:%M:%S}  {row.key}  {row.type}  {place}  {row.reason}{begun}")
    _say(f"{len(rows)} parked")


async def _show(connection: Connection, key: str) -> None:
    for row in await parked.listed(connection, key):
        headers = {name: value.decode(errors="replace") for name, value in row.headers}
        _say(f"{row.type} at {row.topic}/{row.partition}@{row.offset}\n  reason: {row.reason}\n  headers: {headers}")
        _say(f"  value: {row.value.decode(errors='replace')}")


async def _retry(connection: Connection, key: str) -> None:
    _say(f"{await parked.request_retry(connection, key)} messages of {key} will be handled again within seconds")


async def _discard(connection: Connection, key: str) -> None:
    try:
        gone, behind = await parked.discard_first(connection, key)
    except NotDiscarded as error:
        raise SystemExit(f"discarded nothing: {error}") from error
    _say(f"discarded {gone}; {behind} behind it will be handled within seconds")


def _ensure_whole() -> None:
    """Before any service starts; where the administrator's database is not known, nobody can tell."""
    url = os.environ.get("POSTGRES_ADMIN_URL")
    with database.or_exit():
        lost = asyncio.run(whole.read_beyond_the_end(url, variable("KAFKA_BOOTSTRAP"))) if url else []
    if lost:
        raise SystemExit(
            f"The log was lost or replaced: {lost[0]} (and {len(lost) - 1} more). Services would pass over what comes "
            "next. Bring Kafka's data back, or restore a backup: docs/operations.md"
        )


def main(words: list[str]) -> None:
    match words:
        case ["topics"]:
            try:
                done = admin.ensure_topics(
                    variable("KAFKA_BOOTSTRAP"),
                    replication=whole_number("KAFKA_REPLICATION", 1),
                    min_insync=whole_number("KAFKA_MIN_INSYNC", 1),
                )
                _say("\n".join(done) or "topics are as declared")
                _ensure_whole()
            except KafkaException as error:
                raise SystemExit(f"Kafka does not answer, or refuses: {error}") from error
        case ["parked", "list", service]:
            asyncio.run(_on(service, _list))
        case ["parked", "show", service, key]:
            asyncio.run(_on(service, lambda connection: _show(connection, key)))
        case ["parked", "retry", service, key]:
            asyncio.run(_on(service, lambda connection: _retry(connection, key)))
        case ["parked", "discard", service, key]:
            asyncio.run(_on(service, lambda connection: _discard(connection, key)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
