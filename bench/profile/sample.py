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


class NotAllowed(Exception):
    """py-spy could not look into the process; says why, and what to do."""


@dataclass(frozen=True)
class Sample:
    """What one process did for some seconds. CPU in milliseconds: of the event loop's thread, and of all others."""

    fold: Fold
    seconds: float
    loop_ms: float
    others_ms: float

    @property
    def loop_share(self) -> float:
        used = self.loop_ms + self.others_ms
        return self.loop_ms / used if used else 1.0


async def sample(process: psutil.Process, seconds: int, raw: Path) -> Sample:
    """Stops the process for an instant some hundred times a second: it is slower meanwhile than it is alone."""
    if not SPY.exists():
        raise NotAllowed(f"there is no {SPY.name} beside {sys.executable}: install the development dependencies")
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
        raise NotAllowed(
            f"py-spy could not sample {process.pid}: {said.decode(errors='replace').strip()[-400:]}\n"
            "It needs root, or the kernel's leave to trace other processes (sysctl kernel.yama.ptrace_scope=0)."
        )
    stacks = parse((await asyncio.to_thread(raw.read_text)).splitlines())
    return Sample(fold(stacks), seconds, after[0] - before[0], after[1] - before[1])


def used(process: psutil.Process) -> tuple[float, float]:
    """Milliseconds of CPU of the main thread, in which the event loop runs, and of all others together."""
    loop = others = 0.0
    for thread in process.threads():
        spent = 1000 * (thread.user_time + thread.system_time)
        if thread.id == process.pid:
            loop += spent
        else:
            others += spent
    return loop, others
