"""The leader's look for expired contracts as a process of its own: python -m tests.services.marketdata.telling.

It looks once and ends; CRASH_AT says where it dies. DATABASE_URL, WRITER_GROUP, NOW: what it stands on.
"""

import asyncio
import os
from datetime import datetime

from libs.common.clock import FixedClock
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.app import app
from services.marketdata.store.contracts.settlements import Settlements
from services.marketdata.streams import settlement
from tests.common.crashes import OF_FORGETTING, Arm, after, before, of_saying

POINTS: dict[str, Arm] = {
    "contracts found": after(Settlements, "due"),
    "price known": before(Settlements, "contracts"),
    "contracts chosen": after(Settlements, "contracts"),
    "rows written": after(Settlements, "settle"),
    **of_saying(half=1),
    **OF_FORGETTING,
    "between two transactions": before(Settlements, "contracts", times=2),
    **{f"second transaction: {name}": arm for name, arm in of_saying(2, half=3).items()},
    "all told": before(Settlements, "contracts", times=3),
}
AT_ONCE = 2
"""Of three contracts: so the third is another transaction's."""


async def main() -> None:
    settlement.AT_ONCE = AT_ONCE
    clock = FixedClock(datetime.fromisoformat(os.environ["NOW"]))
    async with opened(app, clock=clock, database_url=os.environ["DATABASE_URL"]) as runtime:
        runtime.memory.writer_group = os.environ["WRITER_GROUP"]
        runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
        await settlement.tell_settlements(runtime)
        while await runtime.pool.fetchval("SELECT EXISTS (SELECT FROM message_outbox)"):
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    if point := os.environ.get("CRASH_AT"):
        POINTS[point]()
    asyncio.run(main())
