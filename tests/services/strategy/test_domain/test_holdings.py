"""What an algo holds, and what is on its way."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Product, Side
from libs.common.contracts.ids import AlgoId, InstrumentId, OrderId, SquareOffId
from libs.common.ids import new_id
from services.strategy.domain import holdings
from services.strategy.domain.holdings import Holding
from tests.services.strategy.scene import FIRST, NOW, USER

HOLDING = Holding(AlgoId(new_id()), FIRST, USER)
ORDER = OrderId(new_id())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_an_entry_is_on_its_way_until_all_of_it_is_filled(fills: list[int]) -> None:
    holding = holdings.entering(HOLDING, {ORDER: sum(fills)}, Side.BUY, NOW)
    filled = 0
    for fill in fills:
        assert ORDER in holding.entries
        filled += fill
        holding = holdings.booked(holding, InstrumentId("NSE:SBIN"), Product.MIS, filled, ORDER, fill)
    assert not holding.entries
    assert holding.occupied
    flat = holdings.booked(holding, InstrumentId("NSE:SBIN"), Product.MIS, 0, OrderId(new_id()), filled)
    assert flat.is_empty


def test_an_entry_that_died_on_its_way_does_not_block_the_algo_for_ever() -> None:
    holding = holdings.entering(HOLDING, {ORDER: 65}, Side.BUY, NOW)
    square_off = SquareOffId(new_id())
    soon = holdings.closed(holding, square_off, NOW + timedelta(seconds=29))
    assert soon.occupied
    late = holdings.closed(holding, square_off, NOW + timedelta(seconds=30))
    assert not late.occupied
    assert holdings.ended(late, ORDER).is_empty, "its end was told after all"
    assert holdings.closed(late, square_off, NOW + timedelta(days=30)).is_empty
