"""Samples of a running process: py-spy for a while, and the kernel's accounts of its threads beside it."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.profile.stacks import Fold, fold, parse

PER_SECOND = 100
SPY = Path(sys.executable).with_name("py-spy")
PATIENCE = 30.0
CROWDED = 2.5
LIBRDKAFKA = "rdk:"
"""How the names of its threads begin."""


class NoProfile(Exception):
    """py-spy could not look into the process, or saw others get in its way; says why, and what to do."""


@dataclass(frozen=True)
class Used:
    """Milliseconds of CPU by the kernel's accounts: of the thread with the event loop, of librdkafka's, of the rest."""

    loop: float
    kafka: float
    others: float

    def since(self, before: "Used") -> "Used":
        return Used(self.loop - before.loop, self.kafka - before.kafka, self.others - before.others)

    def shared_out(self, milliseconds: float) -> "Used":
        """So much in all, in the same proportions."""
        part = milliseconds / max(self.loop + self.kafka + self.others, 0.001)
        return Used(self.loop * part, self.kafka * part, self.others * part)


@dataclass(frozen=True)
class Sample:
    """What one process did for some seconds."""

    fold: Fold
    seconds: float
    used: Used

    @property
    def seen(self) -> float:
        """How much of the time the event loop's thread was seen running."""
        return self.fold.samples / (PER_SECOND * self.seconds)

    @property
    def busy(self) -> float:
        """How much of a core it used by the kernel's accounts."""
        return self.used.loop / (1000 * self.seconds)

    @property
    def crowded(self) -> bool:
        """What is pushed off its core looks to py-spy as if it ran: then most samples tell of that."""
        return self.seen > CROWDED * self.busy


async def sample(process: psutil.Process, seconds: int, raw: Path) -> Sample:
    """Stops the process for an instant some hundred times a second: it is slower meanwhile than it is alone."""
    if not SPY.exists():
        raise NoProfile(f"there is no {SPY.name} beside {sys.executable}: install the development dependencies")
    raw.parent.mkdir(parents=True, exist_ok=True)
    wanted = ("--pid", str(process.pid), "--duration", str(seconds), "--rate", str(PER_SECOND), "--output", str(raw))
    spy = await asyncio.create_subprocess_exec(
        *(str(SPY), "record", *wanted, "--format", "raw", "--native", "--nolineno"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    before = used(process)
    try:
        async with asyncio.timeout(seconds + PATIENCE):
            said, _ = await spy.communicate()
    finally:
        if spy.returncode is None:
            spy.kill()
            await spy.wait()
    after = used(process)
    if spy.returncode:
        raise NoProfile(
            f"py-spy could not sample {process.pid}: {said.decode(errors='replace').strip()[-400:]}\n"
            "It needs root, or the kernel's leave to trace other processes (sysctl kernel.yama.ptrace_scope=0)."
        )
    stacks = parse((await asyncio.to_thread(raw.read_text)).splitlines())
    return Sample(fold(stacks), seconds, after.since(before))


def used(process: psutil.Process) -> Used:
    loop = kafka = others = 0.0
    for thread in process.threads():
        spent = 1000 * (thread.user_time + thread.system_time)
        if thread.id == process.pid:
            loop += spent
        elif named(process.pid, thread.id).startswith(LIBRDKAFKA):
            kafka += spent
        else:
            others += spent
    return Used(loop, kafka, others)


def named(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text()
    except OSError:  # it has ended since
        return ""
