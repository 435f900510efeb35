"""Any orders and any markets, one after the other, for what holds of all of them."""

from datetime import datetime
from decimal import Decimal

from hypothesis import strategies as st

from libs.common.contracts.enums import OrderType, Side, Validity
from libs.common.contracts.venue import ExecutionReported
from services.walkforward.domain.market import Market
from services.walkforward.domain.matching import sweep
from services.walkforward.domain.orders import Order
from tests.services.walkforward.venue import later, market, order, tick

PRICES = st.integers(1900, 2100).map(lambda n: n * 0.05)
QUANTITIES = st.integers(0, 80)


@st.composite
def ticks(draw: st.DrawFn, at: datetime) -> Market:
    levels = st.lists(st.tuples(PRICES, QUANTITIES), max_size=3)
    return market(tick(draw(PRICES), bids=tuple(draw(levels)), asks=tuple(draw(levels)), at=at))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    limit, trigger = (f"{draw(st.integers(1900, 2100)) * Decimal('0.05')}" for _ in range(2))
    return order(
        draw(st.sampled_from(Side)),
        draw(st.integers(1, 200)),
        draw(st.sampled_from(OrderType)),
        limit,
        trigger,
        validity=draw(st.sampled_from(Validity)),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Order], list[Market]]:
    times = [later(n) for n in range(draw(st.integers(1, 6)))]
    return draw(st.lists(orders(), min_size=1, max_size=6)), [draw(ticks(at)) for at in times]


def play(
    book: list[Order], markets: list[Market]
) -> tuple[dict[object, Order], list[tuple[Market, ExecutionReported]]]:
    rows: dict[object, Order] = {each.order_id: each for each in book}
    said: list[tuple[Market, ExecutionReported]] = []
    for each in markets:
        swept = sweep(rows.values(), each, each.at)
        rows.update({changed.order_id: changed for changed in swept.orders})
        said.extend((each, execution) for execution in swept.executions)
    return rows, said
