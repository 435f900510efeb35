"""Recorded days played to the venue: every limit and stop fills exactly when a plain look at the prices says so."""

import csv
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common.contracts.enums import ExecutionKind, OrderType, Side
from libs.common.contracts.ids import OrderId
from services.walkforward.domain.matching import sweep
from services.walkforward.domain.orders import Order
from services.walkforward.domain.watch import Watch
from tests.services.walkforward.running import handle, instance, row, see
from tests.services.walkforward.venue import NOON, STOCK, market, order, request, tick

SHARED_DATA = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
DAYS = ["NIFTY-2021-05-25-a", "NIFTY-2021-05-25-b", "SBIN-2021-06-09"]
DISTANCES = ("0.05", "0.20", "1.00", "2.55", "7.00", "20.00")
PLACED_EVERY = 900
ROOM = Decimal("0.50")

pytestmark = pytest.mark.skipif(not (SHARED_DATA / "ticks").is_dir(), reason="the recorded ticks are not here")


@dataclass(frozen=True)
class Wish:
    """An order placed while tick `after` is the newest."""

    after: int
    side: Side
    order_type: OrderType
    limit: Decimal | None
    trigger: Decimal | None


def recorded(name: str) -> list[Decimal]:
    with (SHARED_DATA / "ticks" / f"{name}.csv").open() as file:
        return [Decimal(line["ltp"]) for line in csv.DictReader(file)]


def wishes(prices: list[Decimal], every: int) -> list[Wish]:
    made = []
    for after in range(0, len(prices), every):
        for away in map(Decimal, DISTANCES):
            for side in Side:
                better, worse = prices[after] - away * side.sign, prices[after] + away * side.sign
                made.append(Wish(after, side, OrderType.LIMIT, better, None))
                made.append(Wish(after, side, OrderType.SL_M, None, worse))
                made.append(Wish(after, side, OrderType.SL, worse, worse))
                made.append(Wish(after, side, OrderType.SL, worse + ROOM * side.sign, worse))
    return made


def plain_look(prices: list[Decimal], wish: Wish) -> tuple[int, Decimal] | None:
    """When and at what price the wish comes true, told without any of the venue's code."""
    sign, triggered_at = wish.side.sign, wish.after
    later = range(wish.after + 1, len(prices))
    if wish.trigger is not None:
        crossed = next((n for n in later if sign * (prices[n] - wish.trigger) >= 0), None)
        if crossed is None:
            return None
        if wish.limit is None or sign * (wish.limit - prices[crossed]) >= 0:
            return crossed, prices[crossed]
        triggered_at = crossed
    for n in range(triggered_at + 1, len(prices)):
        if wish.limit is not None and sign * (wish.limit - prices[n]) >= 0:
            return n, wish.limit
    return None


def moment(n: int) -> datetime:
    return NOON + timedelta(milliseconds=100 * n)


@pytest.mark.parametrize("name", DAYS)
def test_openalgo_1304_1318_1546_limits_and_stops_fire_when_the_recorded_price_crosses(name: str) -> None:
    prices = recorded(name)
    placed: dict[int, list[Wish]] = {}
    for wish in wishes(prices, PLACED_EVERY):
        placed.setdefault(wish.after, []).append(wish)
    watch = Watch()
    book: dict[OrderId, Order] = {}
    expected: dict[OrderId, tuple[int, Decimal] | None] = {}
    got: dict[OrderId, tuple[int, Decimal | None]] = {}
    for n, price in enumerate(prices):
        shown = tick(float(price), at=moment(n))
        stirred = [book[order_id] for order_id in watch.stirred_by(shown, 0.0)]
        swept = sweep(stirred, market(shown), moment(n)) if stirred else None
        for changed in swept.orders if swept else ():
            book[changed.order_id] = changed
            watch.put(changed, STOCK.tick_size)
        for execution in swept.executions if swept else ():
            if execution.kind is ExecutionKind.FILLED:
                assert execution.order_id not in got
                got[execution.order_id] = n, execution.price
        for wish in placed.get(n, ()):
            new = order(
                wish.side,
                100,
                wish.order_type,
                str(wish.limit) if wish.limit is not None else None,
                str(wish.trigger) if wish.trigger is not None else None,
                seen=moment(n),
                active_from=moment(n),
            )
            book[new.order_id] = new
            watch.put(new, STOCK.tick_size)
            expected[new.order_id] = plain_look(prices, wish)
    assert got == {order_id: story for order_id, story in expected.items() if story is not None}
    assert len(got) > len(expected) / 4


@pytest.mark.usefixtures("pool")
async def test_openalgo_1304_1318_1546_the_running_venue_fires_on_a_recorded_day_too() -> None:
    prices = recorded("SBIN-2021-06-09")[:6000]
    placed: dict[int, list[Wish]] = {}
    for wish in wishes(prices, 1500):
        placed.setdefault(wish.after, []).append(wish)
    asked = []
    async with instance() as venue:
        for n, price in enumerate(prices):
            await see(venue, tick(float(price), at=moment(n)))
            for wish in placed.get(n, ()):
                limit, trigger = (str(p) if p is not None else None for p in (wish.limit, wish.trigger))
                new = request(wish.side, 100, wish.order_type, limit, trigger)
                await handle(venue, new)
                asked.append((new, plain_look(prices, wish)))
        for new, expected in asked:
            final = await row(venue, new)
            assert final.filled == (100 if expected else 0)
            if expected:
                assert final.seen == moment(expected[0])
