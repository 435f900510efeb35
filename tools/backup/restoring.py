"""Put a backup in the place of what a stack has."""

import asyncio
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deploy.local import environment
from deploy.local.environment import SECRETS
from deploy.local.kept import keep
from deploy.local.servers import postgres_data
from deploy.local.stack import Stack
from libs.common.clock import SystemClock
from libs.common.messaging.envelope import type_of
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import reading
from libs.common.settings import kafka_of
from tools.backup import databases, manifest, pieces, records
from tools.backup.folders import new_folder

MEANT = ("OrderSubmitted", "FillReported", "OrderRequested")
"""What a person compares with the broker's book after a loss."""


@dataclass(frozen=True)
class Restored:
    taken_at: str
    records: int
    aside: Path
    after: Counter[str] | None
    """What the log says of the time after the backup, by type; None when there was no log to ask."""

    def words(self) -> str:
        lines = [
            f"Restored to {self.taken_at}, with {self.records} records of the log.",
            f"What was here before is in {self.aside}.",
        ]
        if self.after is None:
            lines.append("There was no running Kafka: what happened after the backup is known to the brokers alone.")
        else:
            told = ", ".join(f"{self.after[name]} {name}" for name in MEANT)
            lines.append(f"After the backup the log had {told}: listed in {self.aside / 'after'}.")
        lines.append(
            "All trading is halted (scope ALL): compare positions with the brokers' books, then lift it with "
            "POST /api/v2/risk/panic/global/reset. Orders that were on their way are denied, never sent again."
        )
        return "\n".join(lines) + "\n"


def restore(stack: Stack, source: Path) -> Restored:
    """The services stay stopped; `make up` starts them."""
    facts = manifest.verify(source)
    aside = new_folder(stack.instance.home / "replaced", SystemClock().now())
    stack.stop_services()
    after = asyncio.run(_keep_what_came_after(stack, facts, aside / "after"))
    stack.supervisor.shutdown()  # it starts again where it was
    keep(stack.instance.restoring, str(source.resolve()))
    _set_aside(stack, aside)
    take_environment(stack, source / "env")
    _take_demo(stack, source / stack.instance.demo_file.name)
    databases.put_questdb_back(source / databases.QUESTDB, stack.instance.home / "questdb")
    stack.start_servers()
    stack.set_up()
    put_back = asyncio.run(_fill(stack, source, facts))
    stack.set_up()  # it may be of an earlier version
    stack.execute((sys.executable, "-m", "services.trading", "halt", f"restored to {facts['taken_at']}"))
    stack.instance.restoring.unlink()
    return Restored(facts["taken_at"], put_back, aside, after)


async def _keep_what_came_after(stack: Stack, facts: dict[str, object], target: Path) -> Counter[str] | None:
    """The end of the log that the backup does not have, in the backup's own format, if Kafka still runs."""
    if not stack.answers("kafka"):
        return None
    ends = facts["ends"]
    assert isinstance(ends, dict)
    found: Counter[str] = Counter()
    async with reading(kafka_of(stack.environment()), records.KEPT, absent_ok=True) as log:
        log.begins |= {place: max(begin, ends.get(_name(place), 0)) for place, begin in log.begins.items()}
        for partition in log.partitions():
            async for page in records.pages(partition):
                records.write(target, page)
                found.update(type_of(record.headers) for record in page)
    return found


def _name(place: Partition) -> str:
    return f"{place[0]}/{place[1]}"


def _set_aside(stack: Stack, aside: Path) -> None:
    """Nothing is deleted: a restore from the wrong backup can be undone."""
    homes = [stack.instance.home / name for name in ("kafka", "questdb", "redis")]
    for data in (*homes, postgres_data(stack.instance)):
        if data.exists():
            shutil.move(data, aside / data.name)


def take_environment(stack: Stack, env: Path) -> None:
    """Passwords and keys are those of the backup: pepper, signing key and webhook addresses stay good. So are the
    choices, where a machine has made none of its own.
    """
    is_new = not stack.instance.env_file.exists()
    lines = (line.partition("=") for line in env.read_text().splitlines())
    kept = {name: value for name, _, value in lines if is_new or name in SECRETS}
    environment.write(stack.instance, environment.load(stack.instance) | kept)
    environment.load(stack.instance)  # addresses are this machine's


def _take_demo(stack: Stack, facts: Path) -> None:
    """The demo user of the backup has the password of the backup."""
    if facts.exists():
        shutil.copy(facts, stack.instance.demo_file)  # and its mode


async def _fill(stack: Stack, source: Path, facts: dict[str, object]) -> int:
    """How many records of the log were put back."""
    ends = facts["ends"]
    assert isinstance(ends, dict)
    variables = stack.environment()
    url = variables["POSTGRES_ADMIN_URL"]
    await databases.restore(url, source / databases.DUMP)
    files, kafka = source / records.FOLDER, kafka_of(variables)
    had = await asyncio.to_thread(records.put_back, files, kafka, ends, pieces.begins(facts))
    await databases.move_offsets(url, had)
    return sum(map(len, had.values()))
