"""`kill -9` of any one service delays orders; it loses none and makes none twice."""

import asyncio
from collections import Counter

import pytest

from deploy.local.instance import SERVICES
from deploy.local.stack import Stack
from tests.e2e.trader import SOON, Trader

ORDERS = 12
EVERY = 0.15


async def kill(stack: Stack, service: str) -> None:
    await asyncio.to_thread(stack.kill, service)


async def back(stack: Stack, service: str) -> None:
    async with asyncio.timeout(SOON):
        while not await asyncio.to_thread(stack.ready, service):
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("service", SERVICES)
async def test_orders_outlive_the_death_of_a_service(stack: Stack, trader: Trader, service: str) -> None:
    resting = await trader.rest()
    killing = asyncio.create_task(kill(stack, service))
    buying = []
    for _ in range(ORDERS):
        buying.append(asyncio.create_task(trader.buy_patiently(1)))
        await asyncio.sleep(EVERY)
    await killing
    bought = await asyncio.gather(*buying)
    for order in bought:
        await trader.sees_filled(order["order_id"])
    await back(stack, service)
    await trader.holds(ORDERS)
    states = Counter(order["status"] for order in await trader.orders())
    states.pop("DENIED", None)  # what waited too long was asked for again
    assert states == {"FILLED": ORDERS, "ACCEPTED": 1}
    assert sum(fill["quantity"] for fill in await trader.fills()) == ORDERS
    assert (await trader.cancel(resting["order_id"]))["status"] == "CANCELLED"
    await trader.close_all()
    await trader.holds(0)


async def test_an_open_limit_order_survives_a_restart_of_the_venue(stack: Stack, trader: Trader) -> None:
    order = await trader.rest(4)
    await kill(stack, "walkforward")
    await back(stack, "walkforward")
    assert (await trader.order(order["order_id"]))["status"] == "ACCEPTED"
    await trader.modify(order["order_id"], price=str(await trader.price_below("1.02")))
    await trader.sees_filled(order["order_id"])
    await trader.holds(4)
    await trader.close_all()
