"""Our positions against the broker's, by the real effects and the stub: what differs is told, and nothing else."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.accounts import AccountDeleteRequested
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.brokers import PositionDifference, PositionsCompared, PositionsCompareRequested
from libs.common.contracts.enums import Exchange, ExecutionKind, Product, Series, Side
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.orders import OrderCleared, OrderRequested
from libs.common.contracts.portfolio import FundsChanged, PositionChanged, PositionSettled
from libs.common.market_days import Holiday, MarketDays
from libs.common.settings import MarketHours
from libs.common.testing.delivery import envelope_of
from libs.common.trading_calendar import TradingCalendar
from services.trading.adapters.zerodha.symbols import shown_as
from services.trading.domain.accounts import trading_day
from services.trading.handlers.settlements import settle
from tests.services.trading.broker_world import TOKEN, World
from tests.services.trading.making import INFY, SBIN, USER, account_save, execution, filled, square_off, worth
from tools.stub_broker.faults import Fault

CALL = InstrumentId("NFO:NIFTY29DEC2624000CE")


def told(world: World) -> Sequence[PositionsCompared]:
    """But for the word that all is alike, the first time."""
    found = [message for message in world.said if isinstance(message, PositionsCompared)]
    return [each for each in found if each.version > 1 or each.differences or each.problem]


async def differs(world: World, *expected: PositionDifference) -> PositionsCompared:
    async def holds() -> bool:
        return bool(told(world)) and told(world)[-1].differences == expected

    await world.until(holds, f"{expected}, told were {[m.differences for m in told(world)]}")
    return told(world)[-1]


async def looks(world: World, times: int) -> None:
    """Until the positions were read so often from now on."""

    def read() -> int:
        return world.stub.calls.count(("GET", "/portfolio/positions"))

    before = read()

    async def holds() -> bool:
        return read() >= before + times

    await world.until(holds, f"{times} looks")


async def first_look(world: World) -> None:
    """Until it is told that all is alike."""

    async def holds() -> bool:
        return any(isinstance(message, PositionsCompared) for message in world.said)

    await world.until(holds, "a first look")


def trade_elsewhere(world: World, account_id: AccountId, instrument: InstrumentId, quantity: int, product: str) -> None:
    exchange, _, symbol = shown_as(instrument).partition(":")
    world.stub.exchange.elsewhere.append((account_id.hex, exchange, symbol, product, quantity))


def squared_off(world: World, account_id: AccountId, quantity: int, price: float) -> None:
    """By an order of the broker's own, which has no tag."""
    exchange = world.stub.exchange
    exchange.last_price = price
    form = {"exchange": "NSE", "tradingsymbol": "SBIN", "product": "MIS", "order_type": "MARKET"}
    own = {"transaction_type": "SELL", "quantity": str(quantity), "market_protection": "-1"}
    exchange.place(form | own, account_id.hex)


async def bought(world: World, account_id: AccountId, **changes: object) -> OrderCleared:
    order = world.market(account_id, **changes)
    await world.tell(order)
    await world.becomes(order, S.FILLED)
    return order


def infy(ours: int, theirs: int) -> PositionDifference:
    return PositionDifference(broker_symbol="NSE:INFY", instrument=INFY, product=Product.MIS, ours=ours, theirs=theirs)


def sbin(ours: int, theirs: int, product: Product = Product.MIS) -> PositionDifference:
    return PositionDifference(broker_symbol="NSE:SBIN", instrument=SBIN, product=product, ours=ours, theirs=theirs)


async def test_the_brokers_own_square_off_is_told_and_cleared_when_it_is_gone(the_world: World) -> None:
    """At 15:20 the broker closes what is MIS, by orders that are none of ours."""
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id)
    the_world.compare()
    await looks(the_world, 3)
    assert told(the_world) == [], "what is alike is not told"
    trade_elsewhere(the_world, account_id, SBIN, -10, "MIS")
    found = await differs(the_world, sbin(10, 0))
    assert (found.version, found.problem, found.user_id) == (2, "", USER)
    assert await the_world.held(account_id) == 10, "no book is rewritten"
    assert not the_world.stub.exchange.orders.keys() - {the_world.stub.exchange.trades[0]["order_id"]}, "nor traded"
    trade_elsewhere(the_world, account_id, SBIN, 10, "MIS")
    assert (await differs(the_world)).version == 3
    await looks(the_world, 3)
    assert len(told(the_world)) == 2, "each once"


async def test_mis_that_its_broker_squares_off_is_booked_as_it_was_traded_there(the_world: World) -> None:
    """It stayed open here, with its margin, and the next exit opened the opposite position at the broker."""
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id)
    the_world.compare()
    await looks(the_world, 2)
    squared_off(the_world, account_id, 6, 98.0)
    squared_off(the_world, account_id, 4, 97.0)

    async def is_closed() -> bool:
        return await the_world.held(account_id) == 0

    await the_world.until(is_closed, "that our book is closed")
    [closed] = [m for m in the_world.said if isinstance(m, PositionSettled)]
    assert (closed.side, closed.quantity, closed.price) == (Side.SELL, 10, Decimal("97.60"))
    assert [m.net.quantity for m in the_world.said if isinstance(m, PositionChanged)] == [10, 0]
    funds = [m for m in the_world.said if isinstance(m, FundsChanged)][-1]
    assert (funds.realised_pnl, funds.used_margin) == (Decimal(-24), Decimal(0))
    await the_world.tell(square_off().model_copy(update={"account_id": account_id}))
    await looks(the_world, 3)
    assert told(the_world) == [], "there is no difference any more"
    assert not [m for m in the_world.said if isinstance(m, OrderRequested)], "nothing is left to exit"


async def test_what_its_owner_bought_in_the_app_as_well_is_none_of_the_square_off(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id)
    the_world.compare()
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    await differs(the_world, sbin(10, 15))
    squared_off(the_world, account_id, 15, 98.0)
    await differs(the_world, sbin(10, 0))
    await looks(the_world, 3)
    assert await the_world.held(account_id) == 10, "no trades tell what became of ours: nothing is guessed"


async def test_an_order_in_the_brokers_own_app_is_told_by_its_name_where_that_tells_what_it_is(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    trade_elsewhere(the_world, account_id, INFY, 4, "MIS")
    trade_elsewhere(the_world, account_id, CALL, -75, "NRML")
    trade_elsewhere(the_world, account_id, SBIN, 5, "MTF")
    the_world.compare()
    await differs(
        the_world,
        PositionDifference(
            broker_symbol="NFO:NIFTY26DEC24000CE", instrument=None, product=Product.NRML, ours=0, theirs=-75
        ),
        PositionDifference(broker_symbol="NSE:INFY", instrument=INFY, product=Product.MIS, ours=0, theirs=4),
    )


async def test_a_position_in_an_option_is_found_under_the_brokers_own_symbol(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id, instrument=CALL, product=Product.NRML)
    the_world.compare()
    trade_elsewhere(the_world, account_id, CALL, -3, "NRML")
    await differs(
        the_world,
        PositionDifference(broker_symbol=shown_as(CALL), instrument=CALL, product=Product.NRML, ours=10, theirs=7),
    )


async def test_a_share_of_another_series_is_bought_and_found_under_the_brokers_own_symbol(the_world: World) -> None:
    """It was refused there as no instrument that there is: Kite writes the series behind the symbol."""
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await bought(the_world, account_id, product=Product.CNC, series=Series.BE)
    [number] = the_world.placed(order)
    assert the_world.stub.exchange.orders[number].fields["tradingsymbol"] == "SBIN-BE"
    the_world.compare()
    await looks(the_world, 3)
    assert told(the_world) == [], "it is the same share"


async def test_a_contract_that_was_settled_here_is_no_difference_though_the_broker_shows_it_until_its_night(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id, instrument=CALL, product=Product.NRML)
    await the_world.tell(worth("150", CALL))

    async def is_settled() -> bool:
        async with the_world.runtime.transaction() as work:
            work.say(*await settle(work.context))
        return await the_world.held(account_id) == 0

    await the_world.until(is_settled, "the settlement")
    the_world.compare()
    await looks(the_world, 3)
    assert told(the_world) == []
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    await differs(the_world, sbin(0, 5))


async def test_of_delivery_only_the_days_trades_are_compared(the_world: World) -> None:
    """Shares of an earlier day are holdings: the broker's positions do not show them."""
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id, product=Product.CNC)
    await the_world.pool.execute("UPDATE positions SET bought_quantity = 0 WHERE account_id = $1", account_id)
    the_world.stub.exchange.trades.clear()
    the_world.compare()
    await looks(the_world, 3)
    assert told(the_world) == []
    trade_elsewhere(the_world, account_id, SBIN, -2, "CNC")
    await differs(the_world, sbin(0, -2, Product.CNC))


async def test_a_fill_that_we_have_not_heard_of_is_no_difference(the_world: World) -> None:
    """The order rests, the broker fills it, and for a while its book cannot be read by who tells of fills."""
    account_id = await the_world.account()
    number = the_world.start(broker_leave_s=60.0)
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    the_world.compare()
    await looks(the_world, 2)
    the_world.kill(number)
    the_world.stub.exchange.fill(the_world.placed(order)[0], 4)
    await looks(the_world, 4)
    assert told(the_world) == []
    the_world.start(broker_leave_s=60.0)

    async def booked() -> bool:
        return await the_world.held(account_id) == 4

    await the_world.until(booked, "the fill")
    await looks(the_world, 3)
    assert told(the_world) == []
    trade_elsewhere(the_world, account_id, SBIN, -1, "MIS")
    await differs(the_world, sbin(4, 3))


async def test_an_order_of_unknown_outcome_makes_no_difference_while_its_outcome_may_come(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.ERROR_AFTER)
    the_world.stub.book_faults = [Fault.ERROR_BEFORE] * 1000
    the_world.start(broker_leave_s=60.0)
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.OUTCOME_UNKNOWN)
    assert the_world.was_filled(order)
    the_world.compare()
    await looks(the_world, 4)
    assert told(the_world) == []
    await the_world.pool.execute("UPDATE broker_orders SET day = day - 1 WHERE order_id = $1", order.order_id)
    await differs(the_world, sbin(0, 10))


async def test_lean_9496_a_broker_that_shows_nothing_is_told_when_it_lasts_and_what_was_known_stays(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    the_world.compare(broker_compare_s=0.05)
    await differs(the_world, sbin(0, 5))
    the_world.stub.position_faults = [Fault.ERROR_BEFORE, Fault.DROP_BEFORE]
    await looks(the_world, 4)
    assert len(told(the_world)) == 1, "two failures are a moment's trouble"
    the_world.stub.position_faults = [Fault.ERROR_BEFORE] * 4

    async def is_over() -> bool:
        return len(told(the_world)) == 3

    await the_world.until(is_over, "the problem and its end")
    assert [bool(each.problem) for each in told(the_world)] == [False, True, False]
    assert {each.differences for each in told(the_world)} == {(sbin(0, 5),)}


async def test_of_two_processes_one_looks_and_a_dead_ones_look_is_taken_over(the_world: World) -> None:
    account_id = await the_world.account()
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    the_world.compare()
    the_world.compare()
    await differs(the_world, sbin(0, 5))
    await looks(the_world, 4)
    assert len(told(the_world)) == 1
    for _, task in the_world.comparers:
        task.cancel()
    await asyncio.wait([task for _, task in the_world.comparers], timeout=5)
    dead = "UPDATE broker_comparisons SET claim = gen_random_uuid(), due_at = now() + interval '1 second'"
    await the_world.pool.execute(dead)
    trade_elsewhere(the_world, account_id, SBIN, -5, "MIS")
    the_world.compare()
    await differs(the_world)


async def ask(world: World, account_id: AccountId) -> PositionsCompared | RequestRefused:
    """The event that ends the request; what is news may follow it at once."""
    wish = PositionsCompareRequested(account_id=account_id, user_id=USER)
    before = len(world.said)
    await world.tell(wish)

    async def ended() -> bool:
        return any(isinstance(m, PositionsCompared | RequestRefused) for m in world.said[before:])

    await world.until(ended, "an answer")
    return next(m for m in world.said[before:] if isinstance(m, PositionsCompared | RequestRefused))


async def test_whoever_asks_is_answered_be_there_a_difference_or_none_or_no_answer_of_the_broker(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.compare(broker_compare_s=600)
    await first_look(the_world)
    alike = await ask(the_world, account_id)
    assert isinstance(alike, PositionsCompared)
    assert (alike.differences, alike.problem) == ((), "")
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    other = await ask(the_world, account_id)
    assert isinstance(other, PositionsCompared)
    assert other.differences == (sbin(0, 5),)
    the_world.stub.position_faults = [Fault.ERROR_BEFORE]
    none = await ask(the_world, account_id)
    assert isinstance(none, PositionsCompared)
    assert "503" in none.problem
    assert none.compared_at == other.compared_at
    assert [m.version for m in told(the_world)][:3] == [2, 3, 4]


async def test_who_has_no_broker_to_ask_hears_why(the_world: World) -> None:
    nobody = await ask(the_world, AccountId(account_save().account_id))
    assert isinstance(nobody, RequestRefused)
    assert nobody.code == "not_found"
    await the_world.tell(account_save())
    paper = await ask(the_world, account_save().account_id)
    assert isinstance(paper, RequestRefused)
    assert (paper.code, "paper" in paper.reason) == ("invalid", True)


@pytest.mark.parametrize("exchange", [Exchange.NSE, Exchange.BSE])
async def test_a_short_that_we_do_not_know_is_told_with_its_sign(the_world: World, exchange: Exchange) -> None:
    account_id = await the_world.account()
    instrument = InstrumentId(f"{exchange}:SBIN")
    trade_elsewhere(the_world, account_id, instrument, -7, "MIS")
    the_world.start(broker_leave_s=60.0)
    await bought(the_world, account_id, instrument=INFY, side=Side.SELL)
    the_world.compare()
    await differs(
        the_world,
        PositionDifference(broker_symbol=instrument, instrument=instrument, product=Product.MIS, ours=0, theirs=-7),
    )


async def test_a_request_that_came_twice_is_answered_once(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.compare(broker_compare_s=600)
    await first_look(the_world)
    wish = PositionsCompareRequested(account_id=account_id, user_id=USER)
    envelope = envelope_of(wish, now=the_world.runtime.clock.now())
    for _ in range(2):
        await the_world._handle(wish, envelope)

    async def answered() -> bool:
        return bool(told(the_world))

    await the_world.until(answered, "an answer")
    await the_world.pump()
    assert len(told(the_world)) == 1


async def test_credentials_that_are_set_anew_are_looked_with_at_once(the_world: World) -> None:
    """A look with the old ones that is still under way says nothing any more."""
    account_id = await the_world.account()
    the_world.stub.expired.add(TOKEN)
    the_world.compare(broker_compare_s=600)

    async def is_told() -> bool:
        return bool(told(the_world)) and bool(told(the_world)[-1].problem)

    await the_world.until(is_told, "the problem")
    assert "403" in told(the_world)[-1].problem
    trade_elsewhere(the_world, account_id, SBIN, 5, "MIS")
    await the_world.log_in(account_id, "a-new-day")
    await differs(the_world, sbin(0, 5))
    assert told(the_world)[-1].problem == ""


async def test_a_look_that_began_before_it_was_asked_for_is_no_answer(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.compare(broker_compare_s=600)
    await first_look(the_world)
    claimed = "UPDATE broker_comparisons SET claim = gen_random_uuid(), due_at = now() + interval '1 hour'"
    await the_world.pool.execute(claimed)
    assert isinstance(await ask(the_world, account_id), PositionsCompared)


async def test_when_no_market_is_open_only_those_who_ask_are_answered(the_world: World) -> None:
    """Every day is a holiday."""
    account_id = await the_world.account()
    today = trading_day(the_world.runtime.clock.now())
    closed = MarketDays(holidays=tuple(Holiday(today + timedelta(days=n), "a strike") for n in (-1, 0, 1)))
    the_world.compare(TradingCalendar(MarketHours.EXCHANGE, closed))
    await asyncio.sleep(0.5)
    assert ("GET", "/portfolio/positions") not in the_world.stub.calls
    assert isinstance(await ask(the_world, account_id), PositionsCompared)


async def test_an_account_that_was_deleted_and_came_back_is_compared_again_and_its_versions_go_on(
    the_world: World,
) -> None:
    """A fill came after all. Nobody compared the account any more, whoever asked was told that it has no credentials,
    and with new ones its versions began at 1: until they were past the old ones they were believed nowhere.
    """
    account_id = await the_world.account()
    number = the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    trade_elsewhere(the_world, account_id, INFY, 3, "MIS")
    the_world.compare()
    before = await differs(the_world, infy(0, 3))
    the_world.kill(number)
    await the_world.tell(execution(order, ExecutionKind.CANCELLED))
    await the_world.tell(AccountDeleteRequested(account_id=account_id, user_id=USER))
    await asyncio.sleep(0.6)
    count = the_world.stub.calls.count(("GET", "/portfolio/positions"))
    await asyncio.sleep(0.6)
    assert the_world.stub.calls.count(("GET", "/portfolio/positions")) == count, "it is deleted"
    trade_elsewhere(the_world, account_id, INFY, -3, "MIS")
    trade_elsewhere(the_world, account_id, SBIN, 10, "MIS")
    await the_world.tell(filled(order, 10))
    assert (await differs(the_world)).version == before.version + 1
    answer = await ask(the_world, account_id)
    assert isinstance(answer, PositionsCompared)
    assert answer.version == before.version + 2
