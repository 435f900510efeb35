"""Topics, parked messages and outboxes by command.

python -m libs.common.messaging topics
python -m libs.common.messaging parked list SERVICE
python -m libs.common.messaging parked show SERVICE KEY
python -m libs.common.messaging parked retry SERVICE KEY      handle the key's messages again, in order
python -m libs.common.messaging parked discard SERVICE KEY    give up the one that failed, retry those behind it;
                                                              again: though nobody can be told
python -m libs.common.messaging outbox list SERVICE           what Kafka has yet to take, oldest first
python -m libs.common.messaging outbox discard SERVICE ID     never say that message, which holds up what is behind it:
                                                              it goes to standard output alone
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from uuid import UUID

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from libs.common import database
from libs.common.database import Connection
from libs.common.messaging import admin, outbox_table, parked, whole
from libs.common.messaging.entry import Refused, knock
from libs.common.messaging.errors import NotDiscarded
from libs.common.schemas import SERVICES
from libs.common.settings import KafkaSettings, load, service_settings, whole_number
from libs.common.telling import tell

Told = list[str]
_MOST_TOLD = 500


async def _on(service: str, work: Callable[[Connection], Awaitable[Told]]) -> Told:
    if service not in SERVICES and not os.environ.get(f"{service.upper()}_DATABASE_URL"):
        raise SystemExit(f"{service} is none of {', '.join(SERVICES)}")
    with database.or_exit():
        pool = await database.open_pool(service_settings(service).database_url, service, size=2)
        try:
            async with pool.acquire() as connection, connection.transaction():
                return await work(connection)
        finally:
            await pool.close()


async def _list(connection: Connection) -> Told:
    told = []
    for row in await parked.listed(connection):
        place = f"{row.topic}/{row.partition}@{row.offset}"
        begun = "; a retry was begun and has not ended" if row.retry_begun else ""
        given_up = "; is to be given up" if row.given_up else ""
        told.append(f"{row.parked_at:%Y-%m-%d %H:%M:%S}  {row.key}  {row.type}  {place}  {row.reason}{given_up}{begun}")
    return [*told, f"{len(told)} parked"]


async def _show(connection: Connection, key: str) -> Told:
    told = []
    rows = await parked.listed(connection, key)
    for row in rows:
        headers = {name: value.decode(errors="replace") for name, value in row.headers}
        told.append(f"{row.type} at {row.topic}/{row.partition}@{row.offset}\n  reason: {row.reason}")
        told.append(f"  headers: {headers}\n  value: {row.value.decode(errors='replace')}")
    return [*told, f"{len(rows)} parked of {key}"]


async def _retry(connection: Connection, key: str) -> Told:
    return [f"{await parked.request_retry(connection, key)} messages of {key} will be handled again within seconds"]


async def _discard(connection: Connection, key: str) -> Told:
    try:
        gone, behind = await parked.discard_first(connection, key)
    except NotDiscarded as error:
        raise SystemExit(f"discarded nothing: {error}") from error
    if gone.given_up:
        return [f"took {gone} away, and told nobody; {behind} behind it will be handled within seconds"]
    return [f"discarded {gone}: who waits for it is told, and {behind} behind it will be handled, within seconds"]


async def _wait(connection: Connection) -> Told:
    rows = await outbox_table.waiting(connection, _MOST_TOLD)
    told = []
    for row in rows:
        what = f"{row['topic']}  {row['type']}  {row['key']}  {row['message_id']}"
        told.append(f"{row['said_at']:%Y-%m-%d %H:%M:%S}  {what}  {row['bytes']} bytes")
    return [*told, f"{rows[0]['waiting'] if rows else 0} wait"]


async def _say_no_more(connection: Connection, message_id: UUID) -> Told:
    gone = await outbox_table.give_up(connection, message_id)
    if gone is None:
        raise SystemExit(
            f"nothing was given up: {message_id} only waits behind what its process said before it, or does not wait, "
            "so Kafka has it, or nobody said it"
        )
    return [
        f"{gone['type']} {message_id} of {gone['key']}, for {gone['topic']}, is said no more: {gone['value'].decode()}"
    ]


def _id(word: str) -> UUID:
    try:
        return UUID(word)
    except ValueError as error:
        raise SystemExit(f"{word} is no message's id: `outbox list` tells them") from error


def _ensure_whole(kafka: KafkaSettings) -> None:
    """Before any service starts; where the administrator's database is not known, nobody can tell."""
    url = os.environ.get("POSTGRES_ADMIN_URL")
    with database.or_exit():
        lost = asyncio.run(whole.read_beyond_the_end(url, kafka)) if url else []
    if lost:
        raise SystemExit(
            f"The log was lost or replaced: {lost[0]} (and {len(lost) - 1} more). Services would pass over what comes "
            "next. Bring Kafka's data back, or restore a backup: docs/operations.md"
        )


def _asked(words: list[str]) -> tuple[str, Callable[[Connection], Awaitable[Told]]]:
    """Of which service, and what is to be done in its database."""
    match words:
        case ["parked", "list", service]:
            return service, _list
        case ["parked", "show", service, key]:
            return service, lambda connection: _show(connection, key)
        case ["parked", "retry", service, key]:
            return service, lambda connection: _retry(connection, key)
        case ["parked", "discard", service, key]:
            return service, lambda connection: _discard(connection, key)
        case ["outbox", "list", service]:
            return service, _wait
        case ["outbox", "discard", service, word]:
            message_id = _id(word)
            return service, lambda connection: _say_no_more(connection, message_id)
        case _:
            raise SystemExit(__doc__)


def _make_topics() -> None:
    kafka, doubt = load(KafkaSettings), ""
    try:
        asyncio.run(knock(kafka))
    except Refused as error:
        raise SystemExit(f"{error}; {error.remedy}") from error
    except KafkaError as error:
        doubt = f"; {error}"  # it may be there in a moment
    try:
        done = admin.ensure_topics(
            kafka,
            replication=whole_number("KAFKA_REPLICATION", 1),
            min_insync=whole_number("KAFKA_MIN_INSYNC", 1),
        )
        sys.stdout.write("\n".join(done or ["topics are as declared"]) + "\n")
        _ensure_whole(kafka)
    except admin.TooFewCopies as error:
        raise SystemExit(str(error)) from error
    except KafkaException as error:
        raise SystemExit(f"Kafka does not answer, or refuses: {error}{doubt}") from error


def main(words: list[str]) -> None:
    if words == ["topics"]:
        _make_topics()
    else:
        tell(asyncio.run(_on(*_asked(words))))


if __name__ == "__main__":
    main(sys.argv[1:])
