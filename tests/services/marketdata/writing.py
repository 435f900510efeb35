"""A writer in a process of its own, to be killed: `python -m tests.services.marketdata.writing GROUP TIME`."""

import asyncio
import sys
from datetime import datetime

from libs.common.clock import FixedClock
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.streams import write_series


async def main(group: str, now: str) -> None:
    async with opened(app, clock=FixedClock(datetime.fromisoformat(now))) as runtime:
        runtime.memory.writer_group = group
        await write_series(runtime)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
