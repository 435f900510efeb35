"""Who leads: of all instances of a service, the one that holds partition 0 does what only one may do at a time.

No election of its own: the lease of the partition is the lease of the lead, with the same hand-over and bounds. The
leader's tasks begin once the partition is read, and have ended, their last words out, before it is given back.
While PostgreSQL is away nobody can take the lease, so the leader goes on. docs/decisions/0016-leader.md
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from libs.common.clock import stopwatch
from libs.common.messaging.lead import Role
from libs.common.messaging.leases import Share
from libs.common.messaging.streams import follow
from libs.common.parts import endless
from libs.common.runtime import Runtime
from libs.common.telemetry import log

LEAD = 0
"""The partition whose holder leads. Of too many, a member gives back the highest: this one moves when its holder goes.
"""
STOP_S, FLUSH_S = 4.0, 2.0
"""How long tasks may take to end, and Kafka to confirm what they said: together less than the silence after which
another may take the lead. When they take longer the process ends.
"""
YIELD_S = 10.0
"""How long a standby's tasks may take to end before it leads."""
_AWAKE_S = 0.5


class Leadership:
    """Runs the service's `leader` tasks or its `standby` tasks, never both."""

    def __init__(self, runtime: Runtime[Any, Any]) -> None:
        self._runtime = runtime
        self.lead = runtime.lead
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Owns the tasks: a failure of one is a failure of the process."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.lead.begin()
            while True:
                self.lead.notice_sleep()
                await asyncio.sleep(_AWAKE_S)

    async def settle(self, now: Share, begun: bool, asked_at: float) -> None:
        """After a look, which was asked for at `asked_at`: lead once partition 0 is `begun`, stand by when it is
        another's.
        """
        async with self._turn:
            self.lead.looked(asked_at)
            stopping = self._runtime.stopping.is_set()
            if LEAD in now.mine:
                if begun and self.lead.role is not Role.LEADER and not stopping:
                    await self._become(Role.LEADER, self._runtime.service.leader)
            elif self.lead.role is Role.LEADER or (
                self.lead.role is Role.UNKNOWN and LEAD not in now.take and not stopping
            ):
                service = self._runtime.service
                await self._become(Role.STANDBY, [*service.standby, follow] if service.follows else service.standby)

    async def resign(self) -> None:
        """Before partition 0 is given back: end everything, and wait until Kafka has what it said."""
        async with self._turn:
            await self._end(STOP_S)
            if self.lead.role is Role.LEADER:
                await self._runtime.bulk.flush(FLUSH_S)
                log.info("lead_resigned")
            self.lead.role = Role.UNKNOWN

    async def _become(self, role: Role, works: Sequence[Callable[[Runtime[Any, Any]], Awaitable[None]]]) -> None:
        if role is Role.STANDBY:
            self.lead.role = role  # whoever is ended now has no last words: another leads already
            await self._end(STOP_S)
        else:
            await self._end(YIELD_S)
            self.lead.role = role
        if works:
            log.info("leads" if role is Role.LEADER else "stands_by")
            assert self._group, "run() is started before any lease is looked at"
            for work in works:
                name = f"{role.value}:{work.__name__}"
                self._tasks.append(self._group.create_task(_begin(work, self._runtime, name), name=name))

    async def _end(self, seconds: float) -> None:
        """One after the other, as the manifest lists them: who comes later hears the last of those before."""
        until = stopwatch() + seconds
        while self._tasks:
            task = self._tasks[0]
            task.cancel()
            _, running = await asyncio.wait([task], timeout=max(0, until - stopwatch()))
            if running:
                raise RuntimeError(f"{task.get_name()} did not end within {seconds:g} s")
            del self._tasks[0]


async def _begin(work: Callable[[Runtime[Any, Any]], Awaitable[None]], runtime: Runtime[Any, Any], name: str) -> None:
    await endless(work(runtime), name)
