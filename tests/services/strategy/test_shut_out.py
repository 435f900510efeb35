"""Who was shut out opens nothing more by his algos; what they hold is closed all the same."""

from libs.common.contracts.ids import UserId
from libs.common.contracts.users import UserAccessChanged
from libs.common.ids import new_id
from tests.services.strategy.desk import SELL, Desk, orders_of, reasons_of, rejected, square_offs_of
from tests.services.strategy.scene import FIRST, SPREAD, USER, a_signal, an_account, an_algo, an_exit

OUT = UserAccessChanged(user_id=USER, may_trade=False, version=1)
BACK = UserAccessChanged(user_id=USER, may_trade=True, version=2)
SKIPPED = ["the user may not trade: nothing new is opened for him"]


async def test_an_entry_is_skipped_until_he_may_come_in_again(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(OUT)
    said = await desk.hear(a_signal())
    assert (orders_of(said), reasons_of(said)) == ([], SKIPPED)
    await desk.hear(BACK)
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_an_exit_closes_what_he_holds(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(OUT, desk.filled(order))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    assert square_off.account_id == FIRST


async def test_a_spread_that_lost_a_leg_is_closed(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD))
    bought, sold = orders_of(await desk.hear(a_signal()))
    await desk.hear(OUT, desk.filled(bought))
    assert len(square_offs_of(await desk.hear(rejected(sold)))) == 1


async def test_a_reversal_under_way_closes_and_does_not_enter(long: Desk) -> None:
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    said = await long.hear(OUT, *long.flattened(square_off))
    assert (orders_of(said), reasons_of(said)) == ([], SKIPPED)


async def test_what_else_is_heard_in_the_same_batch_does_not_let_him_in(desk: Desk) -> None:
    await desk.keep(an_algo())
    said = await desk.hear(OUT, an_account(FIRST), a_signal())
    assert (orders_of(said), reasons_of(said)) == ([], SKIPPED)


async def test_the_newest_word_counts_in_whatever_order_they_come(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(BACK)
    await desk.hear(OUT)
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_the_algos_of_others_go_on(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(OUT.model_copy(update={"user_id": UserId(new_id())}))
    assert len(orders_of(await desk.hear(a_signal()))) == 1
