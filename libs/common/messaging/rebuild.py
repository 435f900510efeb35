"""A service's tables dropped and built anew from the log, by command, while the service is stopped."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from libs.common import database
from libs.common.clock import Clock, SystemClock, stopwatch
from libs.common.database import Connection
from libs.common.messaging.envelope import Record
from libs.common.messaging.leases import OWNER_LOCK
from libs.common.messaging.log import LogAway, in_order_of_time, reading
from libs.common.messaging.replay import Replay, Replayed, forget_old_ids, move_offsets, places_set_aside
from libs.common.runtime import Runtime
from libs.common.service import Service
from libs.common.settings import CommonSettings, load, service_settings

_ALIVE = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.classid = $1 AND l.objid <> $2 AND l.granted
      AND split_part(a.application_name, ' ', 1) = $3 AND a.datname = current_database()
"""
"""Every running process of a service holds the advisory lock of its outbox, in this class."""


class StillRunning(Exception):
    """A rebuild beside a running instance would lose what that one writes."""


Step = Callable[[Connection, datetime], Awaitable[None]]


async def rebuild(
    live: Service[Any, Any],
    source: Service[Any, Any],
    *,
    forget: Step,
    settle: Step | None = None,
    clock: Clock | None = None,
) -> Replayed:
    """In one transaction: `forget` the state, handle the whole log with `source`'s handlers, `settle`, move the offsets
    of what `live` consumes and the log was read for. If anything fails, nothing has changed.

    What the service had still to say is published first, since it may be needed here.
    """
    runtime = Runtime(live, load(CommonSettings), service_settings(live.name), clock or SystemClock())
    await runtime.open_or_exit()
    try:
        url = runtime.own_settings.database_url
        async with (
            await database.open_pool(url, live.name, size=1, patient=True) as pool,
            pool.acquire() as connection,
            connection.transaction(),
        ):
            await ensure_alone(connection, live.name, runtime.outbox.owner)
            return await _rebuild(connection, runtime, source, forget, settle)
    finally:
        await runtime.close()


async def _rebuild(
    connection: Connection, runtime: Runtime[Any, Any], source: Service[Any, Any], forget: Step, settle: Step | None
) -> Replayed:
    told = replace(source, streams=())  # what is only latest-wins is no part of the state
    replay = Replay(told, runtime.memory, said=_nothing, set_aside=await places_set_aside(connection))
    async with reading(runtime.settings, replay.topics) as log:
        await forget(connection, runtime.clock.now())
        done = await replay.run(in_order_of_time(log.partitions()), connection)
        consumed = {s.topic.name for s in runtime.service.consumes}
        await move_offsets(connection, {place: end for place, end in log.ends.items() if place[0] in consumed})
    if settle:
        await settle(connection, runtime.clock.now())
    await forget_old_ids(connection)
    return done


async def ensure_alone(connection: Connection, service: str, owner: int) -> None:
    """Raises StillRunning when another process of the service lives; `owner` is the caller's own outbox."""
    others = await connection.fetchval(_ALIVE, OWNER_LOCK, owner, service)
    if others:
        raise StillRunning(f"{others} of {service} still run: stop them first")


def _nothing(records: Sequence[Record]) -> None:
    if records:
        raise RuntimeError(f"a rebuild says nothing, but a handler said {records[0].envelope.type}")


async def command(
    live: Service[Any, Any], source: Service[Any, Any], *, forget: Step, settle: Step | None = None
) -> None:
    """The whole of `python -m services.<name> rebuild`."""
    began = stopwatch()
    try:
        done = await rebuild(live, source, forget=forget, settle=settle)
    except (StillRunning, LogAway) as error:
        raise SystemExit(str(error)) from error
    waiting = f"; {done.skipped} parked or discarded messages left out" if done.skipped else ""
    sys.stdout.write(f"{live.name}: {done.handled} messages in {stopwatch() - began:.1f} s{waiting}\n")
