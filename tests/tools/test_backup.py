"""`python -m tools.backup`: what it says when there is nothing to copy, or nothing to put back."""

import argparse
import asyncio
import contextlib
import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import httpx
import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import __main__ as start
from deploy.local import environment
from deploy.local.instance import PROJECT, Instance
from deploy.local.servers import wipe
from deploy.local.stack import NotReadyError, Stack
from libs.common import ids, schemas
from libs.common.messaging.log import Logged, reading
from libs.common.settings import KafkaSettings
from libs.common.testing import NOON, Databases
from libs.common.testing.databases import unmigrated
from tools.backup import __main__ as by_command
from tools.backup import databases, folders, manifest, pieces, records, restoring, taking
from tools.backup.cut import cut

FOR_EVER = {"retention.ms": "-1"}


def backup(*words: str) -> subprocess.CompletedProcess[str]:
    """Of a stack that does not run: no server listens so far away."""
    command = (sys.executable, "-m", "tools.backup", *words)
    away = {**os.environ, "PORT_OFFSET": "29000"}
    return subprocess.run(command, env=away, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_without_a_running_stack_nothing_is_copied_and_that_is_said_in_one_line(tmp_path: Path) -> None:
    done = backup("take", "--to", str(tmp_path))
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr == "postgres, kafka, questdb not running, nothing was copied: `make up` starts the stack\n"


def test_what_is_no_backup_is_not_put_back(tmp_path: Path) -> None:
    done = backup("restore", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}: no manifest.json in it: not a backup, or one that was not finished\n"


@pytest.mark.parametrize("written", ["", "{", "[]", "{}", '{"files": {}}'])
def test_a_manifest_that_was_cut_short_is_said_to_be(written: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(written)
    for command in ("verify", "restore"):
        done = backup(command, str(tmp_path))
        assert done.returncode == 1
        assert done.stderr == f"{tmp_path}: manifest.json is not what was written\n"


def test_a_restore_first_installs_what_a_new_machine_lacks() -> None:
    done = subprocess.run(
        ("make", "--dry-run", "restore", "FROM=x"), cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert "install.sh servers" in done.stdout


@pytest.mark.parametrize(("here", "hours", "extra"), [(False, "exchange", "30"), (True, "continuous", None)])
def test_a_new_machine_has_the_choices_of_the_backup_and_an_old_one_its_own(
    here: bool, hours: str, extra: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came back with simulated hours and prices, and without what a person had added."""
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path / "home"))
    kept = tmp_path / "env"
    kept.write_text("MARKET_HOURS=exchange\nTRADING_BROKER_COMPARE_S=30\nTRADING_VAULT_SECRET=sealed\nGATEWAY_PORT=1\n")
    stack = Stack()
    if here:
        stack.environment()
    restoring.take_environment(stack, kept)
    found = stack.environment()
    assert (found["MARKET_HOURS"], found.get("TRADING_BROKER_COMPARE_S")) == (hours, extra)
    assert (found["TRADING_VAULT_SECRET"], found["GATEWAY_PORT"]) == ("sealed", str(Instance().port("gateway")))
    assert environment.read(stack.instance) == found


def test_a_restore_that_was_broken_off_lets_nothing_start_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is neither what was, nor the backup, nor is trading halted: `make up` would have sent orders."""
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path / "home"))
    monkeypatch.setenv("PORT_OFFSET", "12000")  # nobody listens so far away
    source = tmp_path / "backup"
    source.mkdir()
    (source / "env").touch()
    (source / "questdb.tar.gz").write_bytes(b"half of it")
    manifest.write(source, {"taken_at": "then", "records": 0, "ends": {}})
    monkeypatch.setattr(sys, "argv", ["backup", "--instance", "test", "restore", str(source)])
    with pytest.raises(SystemExit, match=r"^the restore was not finished: .*; do it again, nothing starts before$"):
        by_command.main()
    stack = Stack("test")
    with pytest.raises(NotReadyError, match=f"`make restore FROM={source}` again"):
        start.up(stack, argparse.Namespace(choices=()))
    wipe(stack.instance)
    stack.ensure_restored()


def test_a_questdb_that_is_away_is_not_freed_and_that_is_said_in_one_line() -> None:
    done = backup("release")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "QuestDB did not end it" in done.stderr


@pytest.mark.parametrize("taken", [1, 3])
def test_a_folder_of_the_same_second_is_another_one(taken: int, tmp_path: Path) -> None:
    """The second backup of a second ended with a traceback."""
    into = tmp_path / "not" / "yet"
    made = [folders.new_folder(into, NOON) for _ in range(taken + 1)]
    assert [each.name for each in made] == ["20261123T063000Z", *(f"20261123T063000Z-{n + 2}" for n in range(taken))]
    assert sorted(into.iterdir()) == sorted(made)
    assert {each.stat().st_mode & 0o777 for each in made} == {0o700}


@pytest.mark.parametrize("place", ["file", "gone/away"])
def test_where_no_folder_can_be_made_there_is_no_backup(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match=place.partition("/")[0]):
        folders.new_folder(tmp_path / place, NOON)


@pytest.mark.servers
def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    command = (sys.executable, "-m", "tools.backup", "--instance", "test", "take", "--to", str(place))
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the backup was not finished: [Errno 17] File exists: '{place}'\n"


@pytest.mark.servers
async def test_two_who_back_up_in_one_moment_have_a_backup_each(tmp_path: Path) -> None:
    """The night's and one by hand. QuestDB has one checkpoint, and a folder that was named for the second is there."""
    stack = Stack("test")
    await asyncio.to_thread(stack.set_up)
    made = await asyncio.gather(taking.take(stack, tmp_path), taking.take(stack, tmp_path))
    assert made[0] != made[1]
    assert len({manifest.verify(each)["taken_at"] for each in made}) == 2


@pytest.mark.servers
async def test_a_version_that_adds_a_topic_can_copy_what_was_there_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup before an update, with the new version's files in place already, ended with a traceback."""
    stack = Stack("test")
    await asyncio.to_thread(stack.set_up)
    monkeypatch.setattr(records, "KEPT", records.KEPT | {"added.by-this-version.v1"})
    manifest.verify(await taking.take(stack, tmp_path))


@pytest.mark.servers
async def test_a_backup_that_was_killed_over_questdb_is_told_of_with_what_ends_it(tmp_path: Path) -> None:
    """Its checkpoint stands until somebody releases it: every later backup ended with a traceback."""
    stack = Stack("test")
    await asyncio.to_thread(stack.set_up)
    async with httpx.AsyncClient(base_url=stack.instance.url("questdb"), trust_env=False) as questdb:
        (await questdb.get("/exec", params={"query": "CHECKPOINT CREATE"})).raise_for_status()
        with pytest.raises(databases.CheckpointStands) as told:
            await taking.take(stack, tmp_path)
    [command] = re.findall(r"`python -m tools.backup (.*)`", str(told.value))
    release = (sys.executable, "-m", "tools.backup", "--instance", "test", *command.split())
    done = await asyncio.to_thread(subprocess.run, release, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    manifest.verify(await taking.take(stack, tmp_path))


@pytest.mark.servers
async def test_a_copy_of_questdb_takes_no_more_memory_than_before_however_long_its_files_are(tmp_path: Path) -> None:
    """Each was read whole: of a day of a live feed a gigabyte, beside all that trades on the machine."""
    home, copy, back = tmp_path / "home", tmp_path / "questdb.tar.gz", tmp_path / "back"
    column = Path("db") / "ticks" / "2026-11-23" / "last.d"
    (home / column).parent.mkdir(parents=True)
    with (home / column).open("wb") as file:
        file.write(b"first")
        file.truncate(200_000_000)
    tracemalloc.start()
    await databases.copy_questdb(os.environ["QUESTDB_URL"], home, copy)
    databases.put_questdb_back(copy, back)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50_000_000
    assert manifest.checksum(back / column) == manifest.checksum(home / column)


def test_a_file_that_is_cut_while_it_is_copied_is_as_long_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "column").write_bytes(b"four")
    with databases.AsLong(io.FileIO(tmp_path / "column")) as content:
        assert [content.read(3), content.read(5)] == [b"fou", b"r\0\0\0\0"]


@pytest.mark.servers
def test_a_backup_that_is_stopped_says_so_and_leaves_the_next_its_turn(tmp_path: Path) -> None:
    stack = Stack("test")
    stack.set_up()
    command = (sys.executable, "-m", "tools.backup", "--instance", "test", "take", "--to", str(tmp_path))
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as taker:
        while not any(tmp_path.iterdir()):
            time.sleep(0.002)
        taker.send_signal(signal.SIGINT)
        _, said = taker.communicate(timeout=60)
    assert (taker.returncode, said) == (1, "the backup was not finished: it was stopped\n")
    [unfinished] = tmp_path.iterdir()
    with pytest.raises(manifest.Damaged, match="was not finished"):
        manifest.verify(unfinished)
    manifest.verify(asyncio.run(taking.take(stack, tmp_path)))


async def test_the_backup_of_an_earlier_version_is_put_back_and_can_be_brought_up_to_date(
    real_servers: None, tmp_path: Path
) -> None:
    """The tables that a later version had added stood in its way: after an update no older backup could be restored."""
    dump = tmp_path / "dump"
    async with unmigrated("earlier") as earlier, unmigrated("later") as later:
        for url, version in ((earlier, "gateway_0008"), (later, "head")):
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE SCHEMA gateway")
            await connection.close()
            await schemas.migrate(url, "gateway", version)
        connection = await asyncpg.connect(earlier)
        await connection.execute("INSERT INTO gateway.instrument_words VALUES ('nifty')")
        async with connection.transaction(isolation="repeatable_read"):
            await databases.dump(earlier, await connection.fetchval("SELECT pg_export_snapshot()"), dump)
        await connection.close()
        await databases.restore(later, dump)
        await schemas.migrate(later, "gateway")
        connection = await asyncpg.connect(later)
        words = await connection.fetch("SELECT word FROM gateway.instrument_words")
        await connection.close()
    assert [row["word"] for row in words] == ["nifty"]


async def test_a_dump_goes_to_the_server_that_the_url_says_and_as_it_says(real_servers: None, tmp_path: Path) -> None:
    """What stands behind its `?` was passed over: a server without TLS would do where none but TLS was asked for."""
    async with unmigrated("asked") as url:
        parts = urlsplit(url)
        asked = {"host": str(parts.hostname), "port": str(parts.port), "application_name": "a backup", "jit": "off"}
        elsewhere = parts._replace(netloc=f"{parts.username}:{parts.password}@", query=urlencode(asked)).geturl()
        dump = tmp_path / "dump"
        connection = await asyncpg.connect(elsewhere)
        await connection.execute("CREATE SCHEMA gateway; CREATE TABLE gateway.kept AS SELECT 1 AS n")
        async with connection.transaction(isolation="repeatable_read"):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            await databases.dump(elsewhere, snapshot, dump)
            with pytest.raises(SystemExit, match="SSL was required"):
                await databases.dump(f"{url}?sslmode=require", snapshot, tmp_path / "other")
        await databases.restore(elsewhere, dump)
        assert await connection.fetchval("SELECT n FROM gateway.kept") == 1
        await connection.close()


def test_a_log_of_more_partitions_than_are_declared_is_put_back_into_as_many(
    real_servers: None, tmp_path: Path
) -> None:
    """Where operators had given a topic more the restore broke off, after all that was there had been set aside."""
    bootstrap, topic = os.environ["KAFKA_BOOTSTRAP"], f"grown{ids.new_id().hex[-12:]}.v1"
    kafka = AdminClient({"bootstrap.servers": bootstrap})
    kafka.create_topics([NewTopic(topic, 2)])[topic].result(10)
    try:
        kept = Logged(topic, 3, 17, 1_000, b"key", [("ce_type", b"Kept")], b"{}")
        records.write(tmp_path, [kept])
        had = records.put_back(tmp_path, KafkaSettings(), [f"{topic}/{number}" for number in range(5)], {})
        assert had.keys() == {(topic, 3)}
        assert [had[topic, 3].place_of(offset) for offset in (17, 18)] == [0, 1]
        assert len(kafka.list_topics(timeout=10).topics[topic].partitions) == 5
    finally:
        kafka.delete_topics([topic])[topic].result(10)


class Mute:
    """A Kafka that does not tell where its log ends, or whoever asks it is stopped."""

    def __init__(self, *, stopped: bool) -> None:
        self.asked = threading.Event()
        self.ends: dict[tuple[str, int], int] = {}
        self._stopped = stopped

    async def mark(self) -> None:
        self.asked.set()
        if self._stopped:
            time.sleep(12)  # noqa: ASYNC251 - with all that it does
        await asyncio.sleep(12)


@pytest.mark.parametrize(("stopped", "longest"), [(False, 4), (True, 8)], ids=["Kafka is slow", "it is stopped"])
async def test_a_backup_that_does_not_go_on_pauses_nobody_for_long(
    real_servers: None, stopped: bool, longest: float
) -> None:
    """Every service waited with it: for Kafka up to forty seconds, and for a person who had stopped it for ever."""
    log: Any = Mute(stopped=stopped)
    url = await Databases.url("trading")
    paused: list[float] = []

    async def move() -> None:
        connection = await asyncpg.connect(url)
        began = time.monotonic()
        await connection.execute("UPDATE trading.message_offsets SET next_offset = next_offset")
        paused.append(time.monotonic() - began)
        await connection.close()

    service = threading.Thread(target=lambda: log.asked.wait(20) and asyncio.run(move()))
    service.start()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        async with cut(url, log):
            pass
    await asyncio.to_thread(service.join, 20)
    assert [seconds for seconds in paused if seconds < longest] == paused != []


@pytest.fixture
async def log(real_servers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["Log"]:
    """A topic of its own, and backups of nothing else of the log."""
    stack = Stack("test")
    await asyncio.to_thread(stack.set_up)
    made = Log(stack, tmp_path / "backups")
    monkeypatch.setattr(records, "KEPT", frozenset({made.topic}))
    made.begin()
    yield made
    made.end()


class Log:
    """What a topic holds, and what backups of it do."""

    def __init__(self, stack: Stack, into: Path) -> None:
        self.topic, self._again = f"kept{ids.new_id().hex[-12:]}.v1", f"again{ids.new_id().hex[-12:]}.v1"
        self._stack, self._into = stack, into
        self._bootstrap = os.environ["KAFKA_BOOTSTRAP"]
        self._kafka = AdminClient({"bootstrap.servers": self._bootstrap})
        self._said = 0

    def begin(self, topic: str = "") -> None:
        name = topic or self.topic
        self._kafka.create_topics([NewTopic(name, 1, 1, config=FOR_EVER)])[name].result(30)
        while name not in self._kafka.list_topics(timeout=30).topics:
            time.sleep(0.05)

    def compact(self) -> None:
        """As soon as Kafka looks."""
        config = {"cleanup.policy": "compact", "segment.ms": "100", "delete.retention.ms": "0"}
        config["min.cleanable.dirty.ratio"] = "0.001"
        changed = [ConfigEntry(*each, incremental_operation=AlterConfigOpType.SET) for each in config.items()]
        topic = ConfigResource(ResourceType.TOPIC, self.topic, incremental_configs=changed)
        self._kafka.incremental_alter_configs([topic])[topic].result(30)

    def end(self) -> None:
        there = self._kafka.list_topics(timeout=30).topics
        self.forget(*({self.topic, self._again} & there.keys()))

    def forget(self, *topics: str) -> None:
        for done in self._kafka.delete_topics(list(topics)).values() if topics else ():
            done.result(30)

    def say(self, count: int, key: str = "key", value: bytes | None = b"") -> None:
        """So many records; random, so that they are as long in a file as they are."""
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for _ in range(count):
            self._said += 1
            body = f"{self._said} {os.urandom(100).hex()}" if value == b"" else value
            producer.produce(self.topic, body, key, 0, timestamp=int(NOON.timestamp() + self._said) * 1000)
        assert not producer.flush(30)

    def delete_before(self, offset: int) -> None:
        place = TopicPartition(self.topic, 0, offset)
        self._kafka.delete_records([place])[place].result(30)

    async def backup(self, *, anew: bool = False) -> Path:
        return await taking.take(self._stack, self._into, anew=anew)

    async def now(self, topic: str = "") -> list[tuple[int, bytes | None]]:
        """Kafka's times and values, in order."""
        async with reading(KafkaSettings(), {topic or self.topic}) as log:
            return [(each.timestamp, each.value) for part in log.partitions() async for each in part]

    async def restored(self, backup: Path) -> list[tuple[int, bytes | None]]:
        """What a restore puts into an empty topic."""
        facts = manifest.verify(backup)
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(backup / "kafka" / self.topic, Path(scratch) / self._again)
            self.begin(self._again)
            begins = {(self._again, number): begin for (_, number), begin in pieces.begins(facts).items()}
            await asyncio.to_thread(records.put_back, Path(scratch), KafkaSettings(), [f"{self._again}/0"], begins)
        found = await self.now(self._again)
        self.forget(self._again)
        self._again = f"again{ids.new_id().hex[-12:]}.v1"
        return found

    def files(self, backup: Path) -> list[Path]:
        return sorted((backup / "kafka" / self.topic).iterdir())

    def written(self, backup: Path) -> int:
        """Bytes that it does not share with another."""
        return sum(file.stat().st_size for file in self.files(backup) if file.stat().st_nlink == 1)


async def test_a_second_backup_writes_what_came_since_and_needs_the_first_no_more(log: Log) -> None:
    """Each wrote all of the log anew: after a year hours, and the disk many times."""
    log.say(5_000)
    first = await log.backup()
    all_of_it = log.written(first)
    log.say(10)
    then = await log.now()
    second = await log.backup()
    assert log.written(second) < all_of_it / 100
    assert manifest.verify(second)["records"] == 10
    log.say(20)
    third = await log.backup()
    await asyncio.to_thread(shutil.rmtree, first)
    assert await log.restored(second) == then
    assert await log.restored(third) == await log.now() != then


async def test_backups_one_after_the_other_hold_few_files_and_each_is_the_log_of_its_moment(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file each would be a hundred thousand after a year, linked anew every quarter of an hour."""
    monkeypatch.setattr(records, "FULL", 20_000)
    held, made = [], []
    for count in (0, 40, 1, 40, 0, 40, 3, 2, 1, 40, 500, 1, 1):
        log.say(count)
        held.append(await log.now())
        made.append(await log.backup())
    assert not (made[0] / "kafka").exists()
    assert [await log.restored(each) for each in made[1:]] == held[1:]
    assert max(len(log.files(each)) for each in made[1:]) < 10


async def test_what_retention_has_deleted_since_an_earlier_backup_is_not_put_back(log: Log) -> None:
    log.say(1_000)
    await log.backup()
    log.say(10)
    await log.backup()
    log.delete_before(300)
    within = await log.backup()
    assert await log.restored(within) == await log.now()
    assert log.written(within) == 0
    log.delete_before(1_005)
    beyond = await log.backup()
    assert (await log.restored(beyond), len(log.files(beyond))) == (await log.now(), 1)
    log.delete_before(1_010)
    assert await log.now() == []
    log.say(5)
    assert await log.restored(await log.backup()) == await log.now()


async def test_what_was_deleted_of_a_compacted_topic_does_not_come_back(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deletion was said and compacted away between two backups: only Kafka knows that there is nothing any more."""
    monkeypatch.setattr(pieces, "COMPACTED", frozenset({log.topic}))
    log.compact()
    log.say(1, key="gone", value=b"as it was")
    log.say(1, key="stays")
    first = await log.backup()
    assert b"as it was" in [value for _, value in await log.restored(first)]
    log.say(1, key="gone", value=None)
    async with asyncio.timeout(120):
        while {b"as it was", None} & {value for _, value in await log.now()}:
            log.say(1)
            await asyncio.sleep(0.5)
    assert await log.restored(await log.backup()) == await log.now()


@pytest.mark.parametrize("longer", [False, True])
async def test_a_backup_of_another_log_is_not_gone_on_with(longer: bool, log: Log) -> None:
    """A Kafka that was made anew, or that a crash of its machine cost the newest: other records have their offsets."""
    log.say(100)
    first = await log.backup()
    before = await log.now()
    log.forget(log.topic)
    for _ in range(50):
        with contextlib.suppress(KafkaException):  # it is still being deleted
            log.begin()
            break
        await asyncio.sleep(0.2)
    log.say(150 if longer else 50)
    second = await log.backup()
    assert await log.restored(second) == await log.now()
    assert await log.restored(first) == before


async def test_a_damaged_piece_is_named_and_the_log_can_be_copied_anew(log: Log) -> None:
    """All backups that share it are damaged with it."""
    log.say(1_000)
    first = await log.backup()
    log.say(1)
    second = await log.backup()
    piece = log.files(first)[0]
    content = bytearray(piece.read_bytes())
    content[1_000] ^= 1
    piece.write_bytes(content)
    for each in (first, second):
        with pytest.raises(manifest.Damaged, match=f"kafka/{log.topic}/{piece.name} is not what was written"):
            manifest.verify(each)
    log.say(1_000)  # as much again, so that it would be joined with the damaged one
    assert await log.restored(await log.backup()) == await log.now()
    log.say(1)
    assert await log.restored(await log.backup(anew=True)) == await log.now()


@pytest.mark.parametrize("cut", [True, False], ids=["cut short", "gone"])
async def test_a_piece_that_is_not_whole_is_written_anew(cut: bool, log: Log) -> None:
    log.say(1_000)
    first = await log.backup()
    [piece] = log.files(first)
    if cut:
        piece.write_bytes(piece.read_bytes()[:-100])
    else:
        piece.unlink()
    log.say(1)
    assert await log.restored(await log.backup()) == await log.now()


async def test_a_missing_piece_or_one_of_another_backup_is_named_before_anything_is_put_back(log: Log) -> None:
    log.say(1_000)
    first = await log.backup()
    log.say(1)
    second = await log.backup()
    old, new = log.files(second)
    shutil.copy(new, log.files(first)[0].parent)
    with pytest.raises(manifest.Damaged, match=f"{new.name} is not of this backup"):
        manifest.verify(first)
    old.unlink()
    with pytest.raises(manifest.Damaged, match=f"{old.name} is missing"):
        manifest.verify(second)


async def test_a_disk_that_knows_no_links_has_whole_backups_all_the_same(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.say(1_000)
    await log.backup()
    log.say(1)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert await log.restored(await log.backup()) == await log.now()


async def test_a_log_in_files_is_the_log_as_it_was(tmp_path: Path) -> None:
    """Texts, poison, empty values and headers survive; a reader finds its place by the offset that it had."""
    kept = [
        Logged("t", 0, 7, 1, b"key", [("ce_id", b"1"), ("odd", b"\xff\x00")], b'{"a": "\xe2\x82\xb9"}'),
        Logged("t", 0, 9, 2, None, [], b"\x80poison"),
        Logged("t", 0, 12, 3, b"", [], None),
    ]
    records.write(tmp_path, kept)
    found: AsyncIterator[Logged] = records.each(tmp_path, "t", 0)
    assert [record async for record in found] == kept


def test_a_log_that_an_earlier_version_wrote_in_one_piece_is_read(tmp_path: Path) -> None:
    kept = [Logged("t", number, 7, 1, b"key", [], b"{}") for number in (1, 10)]
    for record in kept:
        records.write(tmp_path, [record])
        [piece] = records.pieces(tmp_path, "t", record.partition)
        piece.rename(tmp_path / "t" / f"{record.partition}.ndjson.gz")
    assert [record for place in records.partitions(tmp_path) for record in records.read(tmp_path, *place)] == kept


@given(st.sets(st.integers(0, 40)))
def test_a_reader_goes_on_at_the_record_that_it_was_at(offsets: set[int]) -> None:
    had = records.Offsets()
    for offset in sorted(offsets):
        had.append(offset)
    for offset in range(42):
        assert had.place_of(offset) == sum(each < offset for each in offsets)
        assert (offset in had) == (offset in offsets)


@pytest.mark.servers
def test_a_long_log_takes_no_more_memory_to_put_back_than_a_short_one(real_servers: None, tmp_path: Path) -> None:
    """The offset of each record that there had ever been was kept: of a year's log 10 GB."""
    bootstrap, topic = os.environ["KAFKA_BOOTSTRAP"], f"backup.{ids.new_id()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    for start_at in range(0, 300_000, 10_000):
        records.write(tmp_path, [Logged(topic, 0, 5 + start_at + n, 1, None, [], b"{}") for n in range(10_000)])
    tracemalloc.start()
    had = records.put_back(tmp_path, KafkaSettings(), [f"{topic}/0"], {})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    admin.delete_topics([topic])[topic].result(30)
    assert most < 5_000_000
    assert had[topic, 0].place_of(250_005) == 250_000
