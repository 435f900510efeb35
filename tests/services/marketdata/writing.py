"""A writer in a process of its own, to be killed: `python -m tests.services.marketdata.writing GROUP TIME [LATER]`.

Its clock stands still; when the process was stopped for seconds it finds that it is LATER.
"""

import asyncio
import sys
from datetime import datetime

from libs.common.clock import FixedClock, stopwatch
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.streams import write_series

STOPPED = 3.0


class Woken(FixedClock):
    def __init__(self, at: datetime, later: datetime) -> None:
        super().__init__(at)
        self._later = later
        self._asked_at = stopwatch()

    def now(self) -> datetime:
        asked_at, self._asked_at = self._asked_at, stopwatch()
        if self._asked_at - asked_at > STOPPED:
            self.at = self._later
        return super().now()


async def main(group: str, now: str, later: str | None = None) -> None:
    clock = Woken(datetime.fromisoformat(now), datetime.fromisoformat(later or now))
    async with opened(app, clock=clock) as runtime:
        runtime.memory.writer_group = group
        await write_series(runtime)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
