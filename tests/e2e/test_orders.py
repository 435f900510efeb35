"""An order's life, as its owner sees it."""

import asyncio
from decimal import Decimal

import pytest

from libs.common.ids import new_id
from tests.e2e.trader import SOON, Trader
from tools.client import Refused


async def test_a_limit_order_rests_is_changed_and_is_cancelled(trader: Trader) -> None:
    order = await trader.rest(10)
    assert order["status"] == "ACCEPTED"
    lower = await trader.price_below("0.96")
    changed = await trader.modify(order["order_id"], price=str(lower), quantity=7)
    assert (Decimal(changed["price"]), changed["quantity"]) == (lower, 7)
    cancelled = await trader.cancel(order["order_id"])
    assert cancelled["status"] == "CANCELLED"
    assert await trader.held() == 0
    with pytest.raises(Refused, match="order_not_open"):
        await trader.cancel(order["order_id"])


async def test_a_market_order_fills_and_its_position_is_closed(trader: Trader) -> None:
    order = await trader.buy(5)
    await trader.sees_filled(order["order_id"])
    await trader.holds(5)
    of_account = f"/api/v2/trading/funds/{trader.account_id}"
    assert Decimal((await trader.platform.get(of_account))["used_margin"]) > 0
    await trader.close_all()
    await trader.holds(0)
    async with asyncio.timeout(SOON):
        while Decimal((funds := await trader.platform.get(of_account))["used_margin"]):
            await asyncio.sleep(0.1)
    bought, sold = sorted(await trader.fills(), key=lambda fill: str(fill["side"]))
    assert Decimal(funds["realised_pnl"]) == (Decimal(sold["price"]) - Decimal(bought["price"])) * 5


async def test_cancel_all_ends_what_rests_and_leaves_what_is_held(trader: Trader) -> None:
    resting = [(await trader.rest(quantity))["order_id"] for quantity in (1, 2)]
    await trader.sees_filled((await trader.buy(5))["order_id"])
    await trader.platform.post("/api/v2/trading/orders/cancel-all", {"account_id": trader.account_id})
    for order_id in resting:
        await trader.sees(order_id, "CANCELLED")
    await trader.holds(5)
    await trader.close_all()


async def test_a_stop_sleeps_until_the_market_is_beyond_its_trigger(trader: Trader) -> None:
    terms = {"order_type": "SL-M", "trigger_price": str(await trader.price_below("1.03"))}
    stop = await trader.place(2, **terms)
    assert stop["status"] == "ACCEPTED"
    await trader.sees_filled((await trader.buy(1))["order_id"])
    assert (await trader.order(stop["order_id"]))["status"] == "ACCEPTED", "ticks came, and none beyond it"
    await trader.modify(stop["order_id"], trigger_price=str(await trader.price_below("0.97")))
    await trader.sees_filled(stop["order_id"])
    await trader.holds(3)
    await trader.close_all()


async def test_an_ioc_order_that_nobody_meets_is_over_at_once(trader: Trader) -> None:
    price = str(await trader.price_below())
    order = await trader.place(1, order_type="LIMIT", price=price, validity="IOC")
    await trader.sees(order["order_id"], "EXPIRED")
    assert await trader.held() == 0


async def test_a_denied_order_says_rule_limit_and_value(trader: Trader) -> None:
    limit = {"level": "ACCOUNT", "account_id": trader.account_id, "max_order_value": "1000"}
    await trader.platform.post("/api/v2/risk/limits/", limit)
    with pytest.raises(Refused) as refused:
        await trader.buy(100)
    problem = refused.value.problem
    assert (refused.value.status, problem["code"], problem["rule"]) == (422, "order_denied", "MAX_ORDER_VALUE")
    assert Decimal(problem["limit"]) == 1000
    assert Decimal(problem["value"]) > 10_000
    assert (await trader.order(problem["order_id"]))["status"] == "DENIED"
    violations = await trader.platform.get("/api/v2/risk/violations/", account_id=trader.account_id)
    assert [each["type"] for each in violations["data"]] == ["OrderDenied"]


async def test_fifty_requests_with_one_idempotency_key_are_one_order(trader: Trader) -> None:
    key = str(new_id())
    price = await trader.price_below()
    answers = await asyncio.gather(*(trader.buy(1, price, key=key) for _ in range(50)))
    assert len({answer["order_id"] for answer in answers}) == 1
    assert [order["order_id"] for order in await trader.orders()] == [answers[0]["order_id"]]
    with pytest.raises(Refused, match="idempotency_key_reused"):
        await trader.buy(2, price, key=key)
