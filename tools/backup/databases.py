"""PostgreSQL by pg_dump and pg_restore; QuestDB by a checkpoint and a copy of its files."""

import asyncio
import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg
import httpx

from deploy.local.servers import postgres_binaries
from libs.common.messaging.inbox import Partition
from libs.common.schemas import SERVICES
from tools.backup.manifest import Damaged
from tools.backup.records import Offsets

DUMP = "postgres.dump"
QUESTDB = "questdb.tar.gz"
PARTS = ("db", ".checkpoint")
"""Of QuestDB's home; its configuration is written anew at each start."""
_RELEASE = "CHECKPOINT RELEASE"
_LIBPQ = {"host", "port", "user", "dbname", "passfile", "service", "target_session_attrs", "krbsrvname", "gsslib"}
"""What a URL may say behind its `?` that the driver of the services reads as pg_dump does, beside all of `ssl…`. The
rest it takes for settings of its session, which pg_dump would refuse.
"""
_MOVED = {
    "message_offsets": "next_offset",
    "message_parked": "message_offset",
    "message_discarded": "message_offset",
    "message_suspects": "message_offset",
}


class CheckpointStands(Exception):
    """QuestDB has one, and it is not ours; says what ends it."""


async def dump(url: str, snapshot: str, target: Path) -> None:
    """All schemas as `snapshot` sees them."""
    await _run("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={target}")


async def restore(url: str, source: Path) -> None:
    """Into a database whose roles exist; what is in it is replaced. The services' schemas go first: what a later
    version added is not in the backup of an earlier one, and would stand in its way.
    """
    await _forget(url)
    options = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
    await _run("pg_restore", url, *options, str(source))


async def _forget(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for service in SERVICES:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{service}" CASCADE')
    finally:
        await connection.close()


async def move_offsets(url: str, had: Mapping[Partition, Offsets]) -> int:
    """The log was put back with new offsets, from 0: readers go on at the same record. How many offsets moved.

    A topic that was left out is read from its beginning.
    """
    connection = await asyncpg.connect(url, timeout=10)
    changed = 0
    try:
        async with connection.transaction():
            for table, column in _MOVED.items():
                for schema in await _schemas_with(connection, table):
                    changed += await _move(connection, f'"{schema}"."{table}"', column, had)
    finally:
        await connection.close()
    return changed


async def _schemas_with(connection: asyncpg.Connection, table: str) -> list[str]:
    rows = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = $1 ORDER BY 1", table)
    return [row[0] for row in rows]


async def _move(connection: asyncpg.Connection, table: str, column: str, had: Mapping[Partition, Offsets]) -> int:
    """Places that the log no longer has become negative, so that none is taken for a new record's."""
    rows = await connection.fetch(f"SELECT topic, partition, {column} AS at FROM {table}")  # noqa: S608 - our own names
    moves = []
    for row in rows:
        offsets = had.get((row["topic"], row["partition"]), Offsets())
        now = offsets.place_of(row["at"])
        if column == "message_offset" and row["at"] not in offsets:
            now = -1 - row["at"]
        moves.append((row["topic"], row["partition"], row["at"], now))
    # first out of the way: a new place may be an old one of another row
    for value in (f"-1000000000000 - t.{column}", "m.now"):
        old = "m.was" if value != "m.now" else "-1000000000000 - m.was"
        await connection.execute(
            f"UPDATE {table} t SET {column} = {value} "  # noqa: S608 - our own names
            "FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS m (topic, partition, was, now) "
            f"WHERE t.topic = m.topic AND t.partition = m.partition AND t.{column} = {old}",
            *([list(each) for each in zip(*moves, strict=True)] if moves else [[], [], [], []]),
        )
    return len(moves)


async def _run(program: str, url: str, *arguments: str) -> None:
    shown, password = _for_libpq(url)
    command = (str(postgres_binaries() / program), f"--dbname={shown}", *arguments)
    environment = os.environ | {"PGPASSWORD": password}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{program} failed:\n{said.decode(errors='replace')}")


def _for_libpq(url: str) -> tuple[str, str]:
    """The URL without its password, since everybody on the machine sees a command; and the password."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    inside = asked.pop("password", "")
    options = {name: value for name, value in asked.items() if name in _LIBPQ or name.startswith("ssl")}
    login, _, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    shown = parts._replace(netloc=f"{user}@{place}" if user else place, query=urlencode(options, quote_via=quote))
    return shown.geturl(), unquote(parts.password) if parts.password else inside


async def copy_questdb(url: str, home: Path, target: Path) -> None:
    """A checkpoint lets the files be copied while rows still arrive; they land after it."""
    async with _checkpoint(url):
        await asyncio.to_thread(_pack, home, target)


def put_questdb_back(source: Path, home: Path) -> None:
    """Into an empty home, before QuestDB starts: `_restore` makes it begin at the checkpoint."""
    home.mkdir(parents=True, exist_ok=True)
    with tarfile.open(source) as tar:
        for entry in tar:
            file = (home / entry.name).resolve()
            content = tar.extractfile(entry)
            if content is None or not file.is_relative_to(home.resolve()):
                raise Damaged(f"{source.name} holds {entry.name}, which is no file of QuestDB's")
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as put:
                shutil.copyfileobj(content, put)
    (home / "_restore").touch()


def _pack(home: Path, target: Path) -> None:
    """File by file: what vanishes or grows meanwhile is newer than the checkpoint, which keeps what it needs."""
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for part in PARTS:
            for folder, _, names in os.walk(home / part):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        _add(tar, home, Path(folder) / name)


def _add(tar: tarfile.TarFile, home: Path, file: Path) -> None:
    with AsLong(io.FileIO(file)) as content:
        entry = tarfile.TarInfo(str(file.relative_to(home)))
        entry.size = os.fstat(content.fileno()).st_size
        tar.addfile(entry, content)


class AsLong(io.BufferedReader):
    """A file that is as long as it was, though QuestDB cuts off room meanwhile that it never wrote to."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size).ljust(size or 0, b"\0")


@contextlib.asynccontextmanager
async def _checkpoint(url: str) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as questdb:
        answer = await questdb.get("/exec", params={"query": "CHECKPOINT CREATE"})
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise CheckpointStands(
                f"QuestDB refuses a checkpoint ({answer.json().get('error')}): a backup was killed in the middle, or"
                " somebody copies it in another way. `python -m tools.backup release` ends that"
            )
        answer.raise_for_status()
        try:
            yield
        finally:
            (await questdb.get("/exec", params={"query": _RELEASE})).raise_for_status()


async def release(url: str) -> None:
    """End a checkpoint whose backup was killed. It is no fault if there is none. CheckpointStands without QuestDB."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as questdb:
        try:
            (await questdb.get("/exec", params={"query": _RELEASE})).raise_for_status()
        except httpx.HTTPError as error:
            raise CheckpointStands(f"QuestDB did not end it: {error!r}") from error
