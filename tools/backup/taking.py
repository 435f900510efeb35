"""Take a backup of a running stack."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg

from deploy.local.stack import Stack
from libs.common.clock import SystemClock
from libs.common.messaging.log import reading
from libs.common.settings import kafka_of
from tools.backup import databases, manifest, pieces, records
from tools.backup.cut import cut
from tools.backup.folders import new_folder

_TURN_S = 600.0
COPIED = ("postgres", "kafka", "questdb")


class NotRunning(Exception):
    """There is nothing to copy from, or it is not our turn; says which servers do not answer, or who is at work."""


def check(stack: Stack) -> None:
    states = stack.supervisor.states()  # another clone's servers may listen at the same ports
    away = [name for name in COPIED if states.get(name) != "RUNNING" or not stack.answers(name)]
    if away:
        raise NotRunning(f"{', '.join(away)} not running, nothing was copied: `make up` starts the stack")


async def take(stack: Stack, into: Path, *, anew: bool = False) -> Path:
    """Everything as it was at one moment, in a directory that only its owner may read: it holds the secrets.

    What the newest backup in `into` has of the log is taken over, unless all of it is to be read `anew`.
    """
    variables = stack.environment()
    async with _our_turn(variables["POSTGRES_ADMIN_URL"]):
        root = new_folder(into, SystemClock().now())
        return await _take(stack, variables, root, None if anew else pieces.newest(into))


@contextlib.asynccontextmanager
async def _our_turn(url: str) -> AsyncIterator[None]:
    """One at a time: QuestDB has one checkpoint. A backup that died has lost its turn with its connection."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        try:
            await connection.execute("SELECT pg_advisory_lock(hashtext('backup'))", timeout=_TURN_S)
        except TimeoutError as error:
            raise NotRunning(f"another backup has been at work for {_TURN_S:.0f} s, nothing was copied") from error
        yield
    finally:
        await connection.close()


async def _take(stack: Stack, variables: Mapping[str, str], root: Path, earlier: pieces.Earlier | None) -> Path:
    async with reading(kafka_of(variables), records.KEPT, absent_ok=True) as log:
        async with cut(variables["POSTGRES_ADMIN_URL"], log) as moment:
            taken_at = SystemClock().now()
            await databases.dump(variables["POSTGRES_ADMIN_URL"], moment.snapshot, root / databases.DUMP)
        copied = await pieces.copy(log, root, earlier)
    await databases.copy_questdb(variables["QUESTDB_URL"], stack.instance.home / "questdb", root / databases.QUESTDB)
    for kept_by_us in (stack.instance.env_file, stack.instance.demo_file):
        if kept_by_us.exists():
            copy = root / kept_by_us.name
            copy.touch(mode=0o600)
            copy.write_text(kept_by_us.read_text())
    manifest.write(
        root,
        {
            "taken_at": taken_at.isoformat(),
            "paused_ms": round(moment.paused * 1000, 1),
            "records": copied.records,
            "ends": {f"{topic}/{partition}": end for (topic, partition), end in sorted(moment.ends.items())},
            "log": copied.kept,
        },
        copied.same,
    )
    return root
