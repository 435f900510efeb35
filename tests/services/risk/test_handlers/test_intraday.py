"""Before its market closes risk opens no MIS on paper any more, and asks for the square-off of what is open."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    Broker,
    DenialRule,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Side,
    SquareOffReason,
)
from libs.common.contracts.ids import AccountId, StrategyId
from libs.common.contracts.orders import OrderCancelled, OrderCleared, OrderDenied, OrderRequested, SquareOffRequested
from libs.common.database import Connection
from libs.common.messaging.work import Work, origin
from services.risk import timers
from services.risk.app import app
from services.risk.store.rebuild import forget
from tests.services.risk.hours import at, with_hours
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    Scene,
    account_saved,
    fact,
    order,
    position,
    state,
)
from tests.services.risk.test_handlers.saying import change, cleared, rules


@pytest.fixture
async def scene(connection: Connection) -> Scene:
    scene = await Scene(connection).open()
    with_hours(scene.memory)
    return scene


def move_to(scene: Scene, now: datetime) -> None:
    scene.later(seconds=(now - scene.now).total_seconds())


async def looks(scene: Scene, now: datetime) -> Sequence[SquareOffRequested]:
    """One tick of the timer."""
    move_to(scene, now)
    work = Work(app, scene.memory, scene.connection, now)
    said = await timers.end_sessions(work.context(origin(app, now)))
    assert all(isinstance(each, SquareOffRequested) for each in said)
    await work.store.write()
    return [each for each in said if isinstance(each, SquareOffRequested)]


def late(**terms: object) -> OrderRequested:
    return order(expires_at=at(16), **terms)


def at_zerodha(account_id: AccountId) -> Message:
    saved = account_saved(account_id)
    return saved.model_copy(update={"account": saved.account.model_copy(update={"broker": Broker.ZERODHA})})


def short(quantity: int = 5, **terms: object) -> Message:
    return position(state(-quantity, 1500), instrument=INFY, **terms)


async def test_an_entry_in_mis_is_denied_from_twenty_past_three_and_an_exit_is_not(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    move_to(scene, at(15, 19, 59))
    assert cleared(await scene.tell(late())) == [True]
    move_to(scene, at(15, 20))
    exits = late(side=Side.SELL, purpose=OrderPurpose.EXIT)
    said = await scene.tell(late(), exits, late(product=Product.CNC, quantity=1))
    assert cleared(said) == [False, True, True]
    assert rules(said) == [DenialRule.INTRADAY_CUTOFF]


async def test_a_resting_entry_can_be_changed_no_more(scene: Scene) -> None:
    resting = order()
    await scene.tell(resting)
    move_to(scene, at(15, 21))
    said = await scene.tell(change(resting, quantity=11, expires_at=at(16)))
    assert rules(said) == [DenialRule.INTRADAY_CUTOFF]


async def test_a_brokers_account_is_the_brokers_to_end(scene: Scene) -> None:
    await scene.tell(at_zerodha(OTHER_ACCOUNT))
    await scene.tell(position(state(10, 800), account_id=OTHER_ACCOUNT))
    move_to(scene, at(15, 25))
    assert cleared(await scene.tell(late(account_id=OTHER_ACCOUNT))) == [True]
    assert await looks(scene, at(15, 25)) == []


async def test_each_account_and_instrument_is_asked_for_until_it_is_seen_closed(scene: Scene) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT))
    await scene.tell(position(state(10, 800)), short(), position(state(10, 800), product=Product.CNC))
    await scene.tell(position(state(7, 800), account_id=OTHER_ACCOUNT))
    assert await looks(scene, at(15, 19, 50)) == []
    first = await looks(scene, at(15, 20))
    assert {(each.account_id, each.instrument) for each in first} == {
        (ACCOUNT, SBIN),
        (ACCOUNT, INFY),
        (OTHER_ACCOUNT, SBIN),
    }
    assert {(each.strategy_id, each.product, each.reason) for each in first} == {
        (None, Product.MIS, SquareOffReason.SESSION_END)
    }
    assert len({each.square_off_id for each in first}) == 3
    await scene.tell(position(state(0), version=2), short(0, version=2))
    [left] = await looks(scene, at(15, 20, 10))
    assert left.account_id == OTHER_ACCOUNT
    assert left.square_off_id not in {each.square_off_id for each in first}, "asked again, it is another request"


async def test_two_instances_that_look_at_the_same_time_ask_for_the_same(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    assert await looks(scene, at(15, 20, 1)) == await looks(scene, at(15, 20, 9))


async def test_a_kill_before_the_commit_asks_nothing_and_the_next_look_asks(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    dead = scene.connection.transaction()
    await dead.start()
    await looks(scene, at(15, 20))
    await dead.rollback()
    assert len(await looks(scene, at(15, 20, 10))) == 1


async def test_orders_that_rest_are_asked_for_and_ended_ones_are_not(scene: Scene) -> None:
    resting = order()
    await scene.tell(resting)
    assert len(await looks(scene, at(15, 20))) == 1
    cancelled = OrderCancelled(**fact(resting, OrderStatus.CANCELLED), reason="cancelled on request")
    await scene.tell(cancelled)
    assert await looks(scene, at(15, 20, 10)) == []


async def test_two_strategies_that_offset_each_other_are_asked_for(scene: Scene) -> None:
    """The account is flat; each strategy holds what it would carry overnight."""
    other = StrategyId(ids.new_id())
    await scene.tell(position(state(10, 800), strategy_id=STRATEGY))
    await scene.tell(position(state(0), book=state(-10, 800), strategy_id=other, version=2))
    [asked] = await looks(scene, at(15, 20))
    assert (asked.account_id, asked.instrument, asked.strategy_id) == (ACCOUNT, SBIN, None)


async def test_what_the_night_brought_is_asked_for_when_the_market_opens(scene: Scene) -> None:
    scene.now -= timedelta(days=4)
    await scene.tell(position(state(10, 800)))
    scene.now += timedelta(days=4)
    assert await looks(scene, at(9, 14)) == []
    assert len(await looks(scene, at(9, 15))) == 1


async def test_simulated_markets_end_nothing(connection: Connection) -> None:
    scene = await Scene(connection).open()
    await scene.tell(position(state(10, 800)))
    assert await looks(scene, at(15, 25)) == []
    assert cleared(await scene.tell(late())) == [True]


async def test_where_an_account_is_survives_a_rebuild_and_a_new_balance(scene: Scene, connection: Connection) -> None:
    assert await connection.fetchval("SELECT broker FROM accounts WHERE account_id = $1", ACCOUNT) == "paper"
    said = await scene.tell(order())
    assert isinstance(said[0], OrderCleared)
    assert await connection.fetchval("SELECT broker FROM accounts WHERE account_id = $1", ACCOUNT) == "paper"
    await forget(connection, scene.now)
    await scene.tell(account_saved())
    assert await connection.fetchval("SELECT broker FROM accounts WHERE account_id = $1", ACCOUNT) == "paper"


async def test_accounts_that_nobody_told_of_are_left(scene: Scene, connection: Connection) -> None:
    """From before this was kept: they are known again once they are saved, or risk is built anew."""
    await scene.tell(position(state(10, 800)))
    await connection.execute("UPDATE accounts SET broker = NULL")
    assert await looks(scene, at(15, 25)) == []
    await scene.tell(account_saved())
    assert len(await looks(scene, at(15, 25))) == 1


async def test_an_id_of_a_session_says_which(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    [asked] = await looks(scene, at(15, 20))
    assert ids.unix_time(asked.square_off_id) == at(15, 30).timestamp()


async def test_after_the_close_a_market_order_hears_that_and_not_only_how_old_its_price_is(scene: Scene) -> None:
    market = {"order_type": OrderType.MARKET, "price": None, "product": Product.CNC, "expires_at": at(16)}
    for now, closed in ((at(15, 29, 59), False), (at(15, 30), True)):
        move_to(scene, now)
        [denied] = [each for each in await scene.tell(order(**market)) if isinstance(each, OrderDenied)]
        assert denied.rule is DenialRule.NO_REFERENCE_PRICE
        assert denied.reason.startswith("NSE is closed; ") is closed
