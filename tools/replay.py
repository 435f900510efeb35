"""A recorded log handled again by a service's live handlers, in a database of its own, under the recorded time.

python -m tools.replay FROM [SERVICE …]    FROM is a backup (python -m tools.backup take)

Prints a digest of the tables and one of everything that was said. The same log gives the same digests, whenever and in
whatever batches it is handled: if not, a handler asks something else than its message, its store and its time.
Timers and what goes out to brokers are not run; needs POSTGRES_ADMIN_URL for the scratch database. What cannot be
handled is passed over and named: live it was parked, and a person discarded it.
"""

import argparse
import asyncio
import hashlib
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from libs.common import database, ids, schemas
from libs.common.clock import FixedClock
from libs.common.messaging.envelope import Record
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import Logged, in_order_of_time
from libs.common.messaging.replay import BATCH, Replay
from libs.common.service import Service
from libs.common.settings import variable
from tools.backup import manifest, pieces, records
from tools.digest import digest, one_of, whole

SERVICES = ("gateway", "trading", "risk", "strategy", "signals")
"""Those whose state follows from messages; marketdata and the paper venue live on ticks."""
DAWN = datetime(2000, 1, 1, tzinfo=UTC)
A_BATCH = timedelta(milliseconds=5)
Partitions = Callable[[set[str]], list[AsyncIterator[Logged]]]
"""The partitions of some topics, from their beginning."""


@dataclass(frozen=True)
class Outcome:
    handled: int
    tables: dict[str, str]
    said: str
    given_up: tuple[str, ...] = ()


async def replay(name: str, partitions: Partitions, admin_url: str, *, batch: int = BATCH) -> Outcome:
    service: Service[Any, Any] = importlib.import_module(f"services.{name}.app").app
    if name == "gateway":
        service = replace(service, streams=())  # prices for clients that nobody has here
    scratch = f"replay_{ids.new_id().hex}"
    url = urlsplit(admin_url)._replace(path=f"/{scratch}").geturl()
    admin = await asyncpg.connect(admin_url, timeout=10)
    try:
        await admin.execute(f'CREATE DATABASE "{scratch}"')
        await _prepare(url, name)
        return await _replay(service, partitions, url, batch)
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{scratch}" WITH (FORCE)')
        await admin.close()


async def _replay(service: Service[Any, Any], partitions: Partitions, url: str, batch: int) -> Outcome:
    said = hashlib.sha256()

    def hear(spoken: Sequence[Record]) -> None:
        for record in spoken:
            envelope = replace(record.envelope, traceparent=None)  # the number of this very trace
            said.update(f"{record.topic} {envelope}\n".encode() + record.value)

    memory, clock = service.memory(), FixedClock(DAWN)
    if hasattr(memory, "clock"):
        memory.clock = clock
    given_up: list[str] = []
    handler = Replay(
        service,
        memory,
        said=hear,
        clock=clock,
        batch=batch,
        within=A_BATCH,
        given_up=lambda failed: given_up.append(str(failed)),
    )
    pool = await database.open_pool(url, service.name, size=2)
    try:
        # A transaction for each batch: in one for all, every version of a row would be stepped over again and again
        async with pool.acquire() as connection:
            await connection.execute("SET synchronous_commit = off")
            done = await handler.run(in_order_of_time(partitions(handler.topics)), connection)
    finally:
        await pool.close()
    return Outcome(done.handled, await digest(url, (service.name,)), said.hexdigest(), tuple(given_up))


async def _prepare(url: str, name: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute(f'CREATE SCHEMA "{name}"')
    await connection.close()
    await schemas.migrate(url, name)


def recorded(root: Path, begins: Mapping[Partition, int]) -> Partitions:
    """Of a backup's log, without what is before the `begins` of its partitions."""

    def partitions(topics: set[str]) -> list[AsyncIterator[Logged]]:
        log = root / records.FOLDER
        found = [place for place in records.partitions(log) if place[0] in topics]
        return [records.each(log, *place, begins.get(place, 0)) for place in found]

    return partitions


async def _main(log: Partitions, names: Sequence[str]) -> None:
    for name in names:
        done = await replay(name, log, variable("POSTGRES_ADMIN_URL"))
        sys.stdout.write(f"{name:10} {done.handled:8} messages  tables {whole(done.tables)}  said {done.said}\n")
        for each in done.given_up:
            sys.stdout.write(f"           given up {each}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="FROM")
    parser.add_argument("service", nargs="*", type=one_of(SERVICES), default=SERVICES)
    arguments = parser.parse_args()
    try:
        facts = manifest.verify(arguments.source)
    except manifest.Damaged as error:
        raise SystemExit(f"{arguments.source}: {error}") from error
    with database.or_exit():
        asyncio.run(_main(recorded(arguments.source, pieces.begins(facts)), arguments.service))
