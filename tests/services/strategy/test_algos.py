"""Algos are created, changed and deleted, and so are the accounts that they trade in."""

from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.algos import AlgoDeleted, AlgoDeleteRequested, AlgoSaved, SignalMapping
from libs.common.contracts.base import GIVEN_UP, RequestRefused
from libs.common.contracts.enums import OptionType, PriceNeed, Product, StrikeRule
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SignalGroupId, UserId
from libs.common.contracts.market import PricesRequested
from libs.common.database import Connection
from libs.common.ids import new_id
from services.strategy.store import StrategyStore
from tests.services.strategy.desk import Desk, a_change, denied, orders_of, reasons_of, square_offs_of
from tests.services.strategy.scene import (
    FIRST,
    FUTURE_LEG,
    SECOND,
    SHARE_LEG,
    USER,
    a_signal,
    an_account,
    an_algo,
    an_exit,
    option_leg,
    save,
)


async def test_an_algo_is_created_changed_and_deleted(desk: Desk) -> None:
    algo = an_algo()
    changed = algo.model_copy(update={"name": "RSI"})
    assert await desk.hear(save(algo)) == [AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=algo, version=1)]
    assert await desk.hear(save(changed, 1)) == [AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=changed, version=2)]
    [refused] = await desk.hear(save(changed, 1))
    assert isinstance(refused, RequestRefused)
    assert (refused.entity_id, refused.request, refused.code) == (str(algo.algo_id), "AlgoSaveRequested", "conflict")
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    assert await desk.hear(delete) == [AlgoDeleted(algo_id=algo.algo_id, user_id=USER)]
    assert await desk.hear(a_signal()) == []


async def test_what_somebody_discarded_is_refused_and_its_algos_tell_that_they_skipped_it(desk: Desk) -> None:
    """Its owner waited for the algo for ever, and the log of alerts showed a signal of which nothing became."""
    algo = an_algo()
    [refused] = await desk.give_up(save(algo))
    assert isinstance(refused, RequestRefused)
    assert (refused.entity_id, refused.code) == (str(algo.algo_id), "given_up")
    await desk.keep(algo)
    assert reasons_of(await desk.give_up(a_signal())) == [GIVEN_UP]


async def test_an_algo_in_position_is_not_deleted(desk: Desk) -> None:
    algo = an_algo()
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal()))
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    [refused] = await desk.hear(delete)
    assert isinstance(refused, RequestRefused)
    assert refused.code == "conflict"
    [deleted] = await desk.hear(denied(order), delete)
    assert isinstance(deleted, AlgoDeleted)


async def test_one_signal_never_asks_for_more_orders_than_can_be_made(desk: Desk) -> None:
    """Seen: one user's alert asked for as many as he likes, and everybody's exits waited behind them."""
    full = [an_algo([option_leg()] * 10, [AccountId(new_id()) for _ in range(250)]) for _ in range(2)]
    await desk.keep(*full)
    [refused] = await desk.hear(save(an_algo()))
    assert isinstance(refused, RequestRefused)
    assert refused.code == "invalid"
    assert "5001 orders in all; at most 5000" in refused.reason
    elsewhere = (SignalMapping(group_id=SignalGroupId(new_id())),)
    await desk.keep(an_algo(mappings=elsewhere), an_algo(accounts=[AccountId(new_id())], user_id=UserId(new_id())))
    [saved] = await desk.hear(save(full[0].model_copy(update={"active": False}), 1))
    assert isinstance(saved, AlgoSaved)


async def test_an_account_that_was_deleted_trades_no_more(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(AccountDeleted(account_id=FIRST, user_id=USER))
    assert reasons_of(await desk.hear(a_signal())) == [f"account {FIRST} is unknown"]


async def test_what_expired_in_an_account_that_was_deleted_is_in_nobodys_way(desk: Desk) -> None:
    """Accounts may be deleted that hold nothing else. Seen: the algo could not be deleted for it, and each exit was
    told as refused, since there is no such account.
    """
    algo = an_algo(accounts=(FIRST, SECOND))
    await desk.keep(algo)
    await desk.hear(*map(desk.filled, orders_of(await desk.hear(a_signal()))))
    await desk.pass_time(36 * 3600)
    await desk.hear(AccountDeleted(account_id=FIRST, user_id=USER))
    [square_off] = square_offs_of(await desk.hear(an_exit(at=desk.now)))
    assert square_off.account_id == SECOND
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    [deleted] = await desk.hear(*desk.flattened(square_off), delete)
    assert isinstance(deleted, AlgoDeleted)


async def test_an_account_saved_in_the_same_batch_is_known(desk: Desk) -> None:
    stranger = an_account(SECOND, user_id=UserId(new_id()))
    [refused] = await desk.hear(stranger, save(an_algo(accounts=(SECOND,))))
    assert isinstance(refused, RequestRefused)
    assert refused.reason == f"there is no account {SECOND}"


async def test_an_algo_deleted_in_the_batch_that_closed_it_leaves_nothing(desk: Desk, connection: Connection) -> None:
    algo = an_algo()
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    *changes, _ = desk.flattened(square_off)
    said = await desk.hear(*changes, AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER))
    assert said == [AlgoDeleted(algo_id=algo.algo_id, user_id=USER)]
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 0


async def test_an_empty_holding_leaves_no_row(desk: Desk, connection: Connection) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 1
    await desk.hear(denied(order))
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 0


async def test_a_batch_without_algos_asks_the_database_nothing() -> None:
    """Most of what trading says is about orders of people: it must cost strategy nothing."""

    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"asked for {name}")

    store = StrategyStore(Untouchable())  # type: ignore[arg-type]
    await store.prefetch([a_change(FIRST, None, InstrumentId("NSE:SBIN"), 5, OrderId(new_id()), 5)])
    await store.write()


async def test_prices_are_asked_for_of_what_is_listed_alone(desk: Desk) -> None:
    """Seen: the names that one user made up filled the message that asks for everybody's, until Kafka took none."""
    legs = [SHARE_LEG, FUTURE_LEG, option_leg()]
    made_up = [
        SHARE_LEG.model_copy(update={"instrument": "NSE:NOPE"}),
        FUTURE_LEG.model_copy(update={"underlying": "NOPE"}),
        option_leg().model_copy(update={"underlying": "NOPE"}),
    ]
    await desk.keep(*(an_algo([leg], product=Product.MIS) for leg in (*legs, *made_up)))
    near = (f"NFO:NIFTY18AUG26{strike}CE" for strike in range(23_900, 24_101, 50))
    assert await desk.asks_for_prices() == [
        PricesRequested(
            needed_by="strategy",
            need=PriceNeed.STRATEGY,
            instruments=tuple(map(InstrumentId, (*near, "NSE:SBIN"))),
            underlyings=("NIFTY",),
        )
    ]


async def test_prices_are_asked_for_of_what_is_far_from_the_money(desk: Desk) -> None:
    """A feed carries what is near. Seen: an option of six per cent out had no price when its signal came, nor at the
    next, so that each entry was denied.
    """
    far = [option_leg(strike=StrikeRule.OTM, offset=7, option_type=kind) for kind in OptionType]
    await desk.keep(an_algo(far))
    [asked] = await desk.asks_for_prices()
    assert isinstance(asked, PricesRequested)
    calls = [f"NFO:NIFTY18AUG26{strike}CE" for strike in range(24_250, 24_451, 50)]
    puts = [f"NFO:NIFTY18AUG26{strike}PE" for strike in range(23_550, 23_751, 50)]
    assert sorted(asked.instruments) == sorted([*calls, *puts])
    await desk.pass_time(36 * 3600)
    [later] = await desk.asks_for_prices()
    assert isinstance(later, PricesRequested)
    assert "NFO:NIFTY25AUG2624350CE" in later.instruments


async def test_no_prices_are_asked_for_an_algo_that_is_switched_off(desk: Desk) -> None:
    await desk.keep(an_algo(active=False))
    assert await desk.asks_for_prices() == []


async def test_without_anything_listed_no_prices_are_asked_for(desk: Desk) -> None:
    await desk.keep(an_algo([FUTURE_LEG.model_copy(update={"underlying": "NOPE"})]))
    assert await desk.asks_for_prices() == []
