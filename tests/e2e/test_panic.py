"""The red button."""

import asyncio

import pytest

from tests.e2e.trader import SOON, Trader
from tools.client import Refused


async def test_a_global_panic_cancels_closes_and_blocks_until_it_is_reset(trader: Trader) -> None:
    resting = await trader.rest()
    bought = await trader.buy(3)
    await trader.sees_filled(bought["order_id"])
    panic = await trader.platform.post("/api/v2/risk/panic/global", {"reason": "e2e"})
    try:
        assert panic["in_force"]
        with pytest.raises(Refused) as refused:
            await trader.buy(1)
        assert refused.value.problem["rule"] in ("HALTED", "STALE_EPOCH")
        await trader.sees(resting["order_id"], "CANCELLED")
        async with asyncio.timeout(SOON):
            while await trader.held():
                await asyncio.sleep(0.1)
    finally:
        await trader.platform.post("/api/v2/risk/panic/global/reset")
    again = await trader.buy_patiently(1)
    await trader.sees_filled(again["order_id"])
    await trader.close_all()
