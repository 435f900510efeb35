"""The red button."""

import asyncio

import pytest

from libs.common.ids import new_id
from tests.e2e.trader import SHARE, SOON, Trader
from tools.client import Platform, Refused
from tools.stream import Stream


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


async def test_a_panic_of_an_account_stops_that_account_alone(
    trader: Trader, platform: Platform, stream: Stream
) -> None:
    other = await Trader.arrive(platform, stream)
    resting = {}
    for each in (trader, other):
        resting[each] = (await each.rest())["order_id"]
        await each.sees_filled((await each.buy(3))["order_id"])
    scope = f"/api/v2/risk/panic/account/{trader.account_id}"
    assert (await platform.post(scope, {"reason": "e2e"}))["in_force"]
    try:
        with pytest.raises(Refused) as refused:
            await trader.buy(1)
        assert refused.value.problem["rule"] in ("HALTED", "STALE_EPOCH")
        await trader.sees(resting[trader], "CANCELLED")
        await trader.holds(0)
        await other.sees_filled((await other.buy(1))["order_id"])
        await other.holds(4)
        assert (await other.order(resting[other]))["status"] == "ACCEPTED"
    finally:
        await platform.post(f"{scope}/reset")
    await trader.sees_filled((await trader.buy_patiently(1))["order_id"])
    await other.cancel(resting[other])
    for each in (trader, other):
        await each.close_all()


async def test_a_panic_of_a_strategy_stops_what_is_its_own(trader: Trader) -> None:
    algo = {
        "name": f"e2e {new_id().hex[-6:]}",
        "legs": [{"kind": "EQUITY", "instrument": SHARE, "side": "BUY", "lots": 1}],
        "product": "MIS",
        "accounts": [{"account_id": trader.account_id}],
    }
    strategy_id = (await trader.platform.post("/api/v2/algos/", algo))["algo_id"]
    resting = await trader.buy(1, await trader.price_below(), strategy_id=strategy_id)
    own = await trader.rest()
    for whose in (strategy_id, None):
        await trader.sees_filled((await trader.buy(2, strategy_id=whose))["order_id"])
    await trader.holds(4)
    scope = f"/api/v2/risk/panic/strategy/{strategy_id}"
    assert (await trader.platform.post(scope, {"reason": "e2e"}))["in_force"]
    try:
        with pytest.raises(Refused) as refused:
            await trader.buy(1, strategy_id=strategy_id)
        assert refused.value.problem["rule"] in ("HALTED", "STALE_EPOCH")
        await trader.sees(resting["order_id"], "CANCELLED")
        await trader.holds(2)
        await trader.sees_filled((await trader.buy(1))["order_id"])
        await trader.holds(3)
        assert (await trader.order(own["order_id"]))["status"] == "ACCEPTED"
    finally:
        await trader.platform.post(f"{scope}/reset")
    await trader.sees_filled((await trader.buy(1, strategy_id=strategy_id))["order_id"])
    await trader.cancel(own["order_id"])
    await trader.close_all()
