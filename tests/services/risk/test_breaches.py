"""Each limit provably fires and flattens, once, however many instances watch.

Cooper787_Helios_x_23, shobhit727_trade_49, richkuo_go_trader_1269: limits that only blocked entries, could not be
cleared, or were called by nobody.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.enums import BreachKind, DenialRule, OrderPurpose, Product, RiskLevel, Side, SquareOffReason
from libs.common.contracts.ids import UserId
from libs.common.contracts.orders import OrderCleared, OrderDenied, SquareOffRequested
from libs.common.contracts.risk import MTMBreached, RiskLimitDeleteRequested, RiskLimitSaveRequested
from libs.common.database import Connection
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.risk.store import RiskStore
from tests.services.risk.scene import (
    ACCOUNT,
    FUTURE,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    TODAY,
    USER,
    account_saved,
    conflated,
    order,
    position,
    quote,
    state,
)
from tests.services.risk.watched import AMOUNTS, SCOPES, Watched, limit, long


@pytest.fixture
async def scene(connection: Connection) -> Watched:
    watched = Watched(connection)
    await watched.open()
    return watched


@pytest.mark.parametrize("level", list(SCOPES))
@pytest.mark.parametrize("kind", list(AMOUNTS))
async def test_helios_x_23_openalgo_1871_every_limit_of_every_level_fires_once_and_asks_to_flatten_its_scope(
    scene: Watched, level: RiskLevel, kind: BreachKind
) -> None:
    name, firing = AMOUNTS[kind]
    request = limit(level, **{name: Decimal(500)})
    await scene.tell(request, long())
    assert await scene.price(800.0) == []
    breach, square_off = await scene.price(firing)
    assert isinstance(breach, MTMBreached)
    assert (breach.limit_id, breach.level, breach.kind, breach.limit) == (request.limit_id, level, kind, Decimal(500))
    assert abs(breach.mtm) == 500
    assert isinstance(square_off, SquareOffRequested)
    assert square_off.account_id == ACCOUNT
    assert square_off.reason is SquareOffReason.MTM_BREACH
    assert square_off.strategy_id == SCOPES[level].get("strategy_id")
    assert square_off.instrument == SCOPES[level].get("instrument")
    assert await scene.price(firing) == [], "said once"


async def test_a_user_limit_flattens_every_account_and_nobody_elses(scene: Watched) -> None:
    stranger = UserId(ids.new_id())
    theirs = ids.new_id()
    await scene.tell(account_saved(OTHER_ACCOUNT), account_saved(theirs, user_id=stranger))  # type: ignore[arg-type]
    await scene.tell(limit(RiskLevel.USER, stop_loss=Decimal(500)), long())
    _, *square_offs = await scene.price(750.0)
    accounts = [each.account_id for each in square_offs if isinstance(each, SquareOffRequested)]
    assert accounts == [ACCOUNT, OTHER_ACCOUNT]
    assert len({each.square_off_id for each in square_offs if isinstance(each, SquareOffRequested)}) == 2


async def test_all_that_is_reached_of_one_scope_asks_for_each_square_off_once(scene: Watched) -> None:
    """A thousand limits of a user with a thousand accounts asked for a million, and everybody's stops waited."""
    both = {"stop_loss": Decimal(500), "max_daily_loss": Decimal(400)}
    own = [limit(RiskLevel.USER, **both) for _ in range(3)]
    await scene.tell(account_saved(OTHER_ACCOUNT), *own, limit(stop_loss=Decimal(500)), long())
    said = await scene.price(750.0)
    asked = [each for each in said if isinstance(each, SquareOffRequested)]
    assert len([each for each in said if isinstance(each, MTMBreached)]) == 7
    assert sorted(each.account_id for each in asked) == [ACCOUNT, ACCOUNT, OTHER_ACCOUNT], "the account's own, and all"
    assert len({each.square_off_id for each in asked}) == 3


async def test_what_a_closed_position_arms_again_is_looked_for_by_scopes_and_not_by_limits(scene: Watched) -> None:
    """Of a user with a thousand limits that had fired each closing fill held up everybody's orders."""
    own = [limit(RiskLevel.USER, stop_loss=Decimal(500), target=Decimal(500)) for _ in range(30)]
    other = [limit(RiskLevel.INSTRUMENT, stop_loss=Decimal(500), instrument=INFY) for _ in range(30)]
    await scene.tell(*own, *other, long())
    await scene.connection.execute("UPDATE watches SET armed = false, day = $1", TODAY)
    reads = "SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relid = 'exposures'::regclass"
    async with scene.connection.transaction():
        before = await scene.connection.fetchval(reads)
        await scene.tell(position(state(0, 0, -520), strategy_id=STRATEGY, version=2))
        assert await scene.connection.fetchval(reads) - before < 20
    armed = "SELECT count(*) FROM watches JOIN limits USING (limit_id) WHERE armed AND level = 'USER'"
    assert await scene.connection.fetchval(armed) == 60


async def test_a_strategy_limit_reaches_accounts_where_its_orders_are_still_pending(scene: Watched) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT), limit(RiskLevel.STRATEGY, stop_loss=Decimal(500)), long())
    await scene.tell(order(account_id=OTHER_ACCOUNT, strategy_id=STRATEGY))
    _, *square_offs = await scene.price(750.0)
    assert len(square_offs) == 2


async def test_after_a_square_off_the_limit_is_armed_for_the_next_position_only(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    assert len(await scene.price(750.0)) == 2
    await scene.tell(position(state(0, 0, -520), strategy_id=STRATEGY, version=2))
    assert await scene.price(748.0) == [], "flat: armed anew"
    await scene.tell(position(state(10, 748, -520), strategy_id=STRATEGY, version=3))
    assert await scene.price(740.0) == [], "the loss that was cut does not cut the next position"
    assert len(await scene.price(698.0)) == 2


async def test_a_limit_is_armed_again_however_soon_the_next_position_is_opened(scene: Watched) -> None:
    """A reversal enters a few milliseconds after the old position is closed, between two looks at the prices."""
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    await scene.price(750.0)
    await scene.tell(position(state(0, realised=-500), version=2), position(state(10, 750, realised=-500), version=3))
    assert await scene.price(702.0) == []
    breach, _ = await scene.price(699.0)
    assert isinstance(breach, MTMBreached)


async def test_what_expired_and_was_not_settled_does_not_keep_a_limit_from_being_armed_again(scene: Watched) -> None:
    """Nobody can close it: with it the account was never flat, and after a stop nothing was watched until midnight."""
    scene.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    future = position(state(35, 24_000), instrument=FUTURE, product=Product.NRML)
    await scene.tell(limit(stop_loss=Decimal(500)), future)
    await scene.next_day()
    await scene.tell(position(state(10, 800)))
    assert len(await scene.price(750.0)) == 2
    await scene.tell(position(state(0, realised=-500), version=2), position(state(10, 750, realised=-500), version=3))
    assert await scene.price(702.0) == []
    assert len(await scene.price(699.0)) == 2
    await scene.tell(position(state(0, realised=-1010), version=4))
    assert await scene.price(699.0) == [], "armed anew by what looks at prices, too"
    await scene.tell(position(state(10, 699, realised=-1010), version=5))
    assert len(await scene.price(649.0)) == 2


@pytest.mark.parametrize("kind", [BreachKind.STOP_LOSS, BreachKind.TARGET, BreachKind.TRAILING_STOP])
@pytest.mark.parametrize("level", [RiskLevel.STRATEGY, RiskLevel.ACCOUNT, RiskLevel.USER])
async def test_what_is_settled_days_late_reaches_no_limit(scene: Watched, level: RiskLevel, kind: BreachKind) -> None:
    """The stack was down at the close of the last day: for what a contract had lost in weeks, or had made, all the rest
    was squared off in the morning.
    """
    scene.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    name, firing = AMOUNTS[kind]
    made = 35_000 if kind is BreachKind.TARGET else -35_000
    future: dict[str, Any] = {"instrument": FUTURE, "product": Product.NRML, "strategy_id": STRATEGY}
    await scene.tell(limit(level, **{name: Decimal(500)}), position(state(35, 24_000), **future))
    await scene.next_day()
    await scene.tell(long())
    assert await scene.price(800.0) == []
    await scene.tell(position(state(0, realised=made), **future, version=2, fill_quantity=0))
    assert await scene.price(800.0) == []
    await scene.tell(position(state(0, realised=made), **future, version=2, fill_quantity=0))
    assert await scene.price(firing + (1 if firing < 800 else -1)) == []
    assert len(await scene.price(firing)) == 2


async def test_what_a_deleted_account_lost_today_is_no_loss_of_the_next_position(scene: Watched) -> None:
    """A user's limit was armed again from what his other accounts made, and squared off whatever he opened that day."""
    await scene.tell(account_saved(OTHER_ACCOUNT), limit(RiskLevel.USER, stop_loss=Decimal(500)))
    await scene.tell(position(state(10, 800), account_id=OTHER_ACCOUNT))
    assert len(await scene.price(740.0)) == 3
    await scene.tell(position(state(0, realised=-600), account_id=OTHER_ACCOUNT, version=2))
    await scene.tell(AccountDeleted(account_id=OTHER_ACCOUNT, user_id=USER), position(state(10, 740)))
    assert len(await scene.price(690.0)) == 2
    await scene.tell(position(state(0, realised=-500), version=2), position(state(10, 690, realised=-500), version=3))
    assert await scene.price(689.0) == []
    assert len(await scene.price(640.0)) == 2


async def test_hummingbot_3550_after_an_accounts_target_it_trades_on_and_the_next_one_counts_from_there(
    scene: Watched,
) -> None:
    """Only a kill switch was offered, where the profit was to be taken and the trading to go on by itself."""
    await scene.tell(limit(target=Decimal(500)), position(state(10, 800)))
    breach, square_off = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert isinstance(square_off, SquareOffRequested)
    assert square_off.account_id == ACCOUNT
    await scene.tell(position(state(0, 0, 500), version=2))
    assert await scene.price(850.0) == [], "flat: armed anew"
    [entry] = await scene.tell(order(price=Decimal(850)))
    assert isinstance(entry, OrderCleared), "nobody has to let the account trade again"
    await scene.tell(position(state(10, 850, 500), version=3))
    assert await scene.price(899.0) == [], "the profit that was taken is no part of the next target"
    assert len(await scene.price(900.0)) == 2


async def test_a_limit_that_fired_waits_while_its_scope_is_open(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    await scene.price(750.0)
    await scene.tell(position(state(5, 800, -250), strategy_id=STRATEGY, version=2))
    assert await scene.price(700.0) == []


async def test_a_limit_that_was_changed_is_armed_again(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    await scene.price(750.0)
    wider = request.limit.model_copy(update={"stop_loss": Decimal(800)})
    await scene.tell(request.model_copy(update={"limit": wider, "expected_version": 1}))
    assert await scene.price(730.0) == []
    assert len(await scene.price(720.0)) == 2


async def changed(scene: Watched, request: RiskLimitSaveRequested, **amounts: object) -> None:
    other = request.limit.model_copy(update=amounts)
    await scene.tell(request.model_copy(update={"limit": other, "expected_version": 1}))


async def test_a_stop_counts_from_where_it_did_when_another_amount_of_its_limit_is_changed(scene: Watched) -> None:
    """Who allowed himself one more position after a stop had the next one squared off at its first price."""
    request = limit(stop_loss=Decimal(500), max_open_positions=1)
    await scene.tell(request, long())
    assert len(await scene.price(750.0)) == 2
    await scene.tell(position(state(0, 0, -500), strategy_id=STRATEGY, version=2))
    await changed(scene, request, max_open_positions=2)
    await scene.tell(position(state(10, 750, -500), strategy_id=STRATEGY, version=3))
    assert await scene.price(702.0) == []
    assert len(await scene.price(700.0)) == 2


@pytest.mark.parametrize(("name", "was_made", "other"), [("stop_loss", -500, 400), ("target", 500, 600)])
async def test_an_amount_that_is_changed_counts_from_where_it_did(
    scene: Watched, name: str, was_made: int, other: int
) -> None:
    """Who tightened his stop after one that had fired lost his next position at once, for what the first had lost; and
    who raised his target was squared off with a sixth of it.
    """
    direction = was_made // 500
    request = limit(RiskLevel.ACCOUNT, **{name: Decimal(500)})
    await scene.tell(request, long())
    assert len(await scene.price(800.0 + 50 * direction)) == 2
    await scene.tell(position(state(0, 0, was_made), strategy_id=STRATEGY, version=2))
    await scene.tell(position(state(10, 800, was_made), strategy_id=STRATEGY, version=3))
    assert await scene.price(800.0) == []
    await changed(scene, request, **{name: Decimal(other)})
    assert await scene.price(800.0 + (other / 10 - 1) * direction) == []
    assert len(await scene.price(800.0 + other / 10 * direction)) == 2


@pytest.mark.parametrize("level", list(SCOPES))
async def test_a_trailing_stop_keeps_its_best_when_another_amount_of_its_limit_is_changed(
    scene: Watched, level: RiskLevel
) -> None:
    """It was measured anew from the price of that moment: a fall of twice the amount passed."""
    request = limit(level, trailing_stop=Decimal(500), target=Decimal(5000))
    await scene.tell(request, long())
    assert await scene.price(900.0) == []
    await changed(scene, request, target=Decimal(6000))
    breach, _ = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.kind, breach.peak_mtm) == (BreachKind.TRAILING_STOP, Decimal(1000))


async def test_a_daily_loss_that_was_hit_denies_entries_when_another_amount_of_its_limit_is_changed(
    scene: Watched,
) -> None:
    request = limit(max_daily_loss=Decimal(500), max_open_positions=5)
    await scene.tell(request, position(state(10, 800)))
    await scene.price(750.0)
    await scene.tell(position(state(0, 0, -490), version=2))
    await changed(scene, request, max_open_positions=6)
    [denied] = await scene.tell(order(price=Decimal(750)))
    assert isinstance(denied, OrderDenied)
    assert (denied.rule, denied.value) == (DenialRule.DAILY_LOSS, "500")


async def test_a_limit_of_another_scope_counts_from_nothing(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    assert len(await scene.price(750.0)) == 2
    await changed(scene, request, level=RiskLevel.USER, account_id=None)
    assert len(await scene.price(750.0)) == 2


async def test_a_deleted_limit_fires_no_more(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    await scene.tell(RiskLimitDeleteRequested(limit_id=request.limit_id, user_id=USER))
    assert await scene.price(700.0) == []


async def test_openalgo_1052_a_daily_loss_denies_entries_until_the_next_day_and_lets_exits_out(scene: Watched) -> None:
    await scene.tell(limit(max_daily_loss=Decimal(500)), position(state(10, 800)))
    assert len(await scene.price(750.0)) == 2
    [denied, cleared] = await scene.tell(
        order(price=Decimal(750)), order(side=Side.SELL, price=Decimal(750), purpose=OrderPurpose.EXIT)
    )
    assert isinstance(denied, OrderDenied)
    assert (denied.rule, denied.limit, denied.value) == (DenialRule.DAILY_LOSS, "500", "500")
    assert isinstance(cleared, OrderCleared)
    await scene.tell(position(state(0, 0, -500), version=2))
    for _ in range(2):
        assert await scene.price(750.0) == [], "flat again, but not armed again today"
    scene.later(days=1)
    [event] = await scene.tell(order(expires_at=scene.now, price=Decimal(750)))
    assert isinstance(event, OrderCleared)


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_a_position_lost_on_other_days_is_no_daily_loss_however_it_is_traded(
    scene: Watched, restarts: bool
) -> None:
    """Shares that lay 8 % below their price were sold each morning at 9:15, by the limit on what a day may cost."""
    await scene.tell(limit(max_daily_loss=Decimal(600)), position(state(10, 800)))
    assert await scene.price(745.0) == []
    scene.later(days=1)
    assert await scene.price(740.0, close=745.0) == []
    await scene.tell(position(state(5, 800, -300), version=2))
    if restarts:
        await scene.restart()
    assert await scene.price(740.0, close=745.0) == []
    assert await scene.price(631.0, close=745.0) == []
    breach, square_off = await scene.price(630.0, close=745.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.kind, breach.mtm) == (BreachKind.DAILY_LOSS, Decimal(-600))
    assert isinstance(square_off, SquareOffRequested)


async def test_what_was_carried_and_is_closed_costs_nothing_while_nobody_knows_the_close_of_the_day_before(
    scene: Watched,
) -> None:
    """All that it lost since it was bought was taken for lost today when risk was restarted, before its first quote."""
    await scene.tell(limit(max_daily_loss=Decimal(600)), position(state(10, 800)))
    assert await scene.price(745.0) == []
    scene.later(days=1)
    assert await scene.price(740.0, close=745.0) == []
    await scene.tell(position(state(0, 0, -610), version=2))
    await scene.restart()
    assert scene.memory.crossed == {}
    assert await scene.price(739.0, close=745.0) == []
    await scene.tell(position(state(10, 739, -610), version=3))
    assert await scene.price(686.0, close=745.0) == []
    breach, _ = await scene.price(685.0, close=745.0)
    assert isinstance(breach, MTMBreached)
    assert breach.mtm == -600, "610 less the 550 of the days before, and 540"


async def test_who_takes_over_counts_what_was_closed_on_the_day_that_risk_has(scene: Watched) -> None:
    """It was asked of the database which day it is: tests of this told nothing two days after the date in them."""
    scene.later(days=-30)
    await scene.tell(limit(max_daily_loss=Decimal(600)), position(state(10, 800)))
    await scene.tell(position(state(0, 0, -600), version=2))
    await scene.restart()
    assert [each.mtm for each in scene.memory.crossed.values()] == [-600]


async def test_a_breach_is_whoever_claims_it_first(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    scene.memory.take([conflated(quote(SBIN, 700.0, NOW))])
    scene.memory.revalue()
    [crossing] = scene.memory.crossed.values()
    watches = RiskStore(scene.connection).watches
    assert await watches.claim(crossing.watch, crossing.mtm, TODAY, NOW)
    assert not await watches.claim(crossing.watch, crossing.mtm, TODAY, NOW)
    assert await watches.claim(crossing.watch, crossing.mtm, TODAY + timedelta(days=1), NOW), (
        "a day later it may fire again"
    )


async def test_a_watch_is_not_armed_again_while_the_database_knows_of_an_open_position(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    await scene.price(750.0)
    watches = RiskStore(scene.connection).watches
    [[fired]] = (await watches.all()).values()
    assert await watches.rearm([fired], TODAY, []) == []
    await scene.tell(position(state(0, 0, -500), strategy_id=STRATEGY, version=2))
    [[armed]] = (await watches.all()).values()
    assert (armed.armed, armed.baseline) == (True, Decimal(-500))


async def test_a_claim_that_was_seen_before_the_limit_was_armed_again_is_void(scene: Watched) -> None:
    """An instance with many breaches to tell comes late to this one: another told it, and all is closed."""
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    watches = RiskStore(scene.connection).watches
    [[seen]] = (await watches.all()).values()
    await scene.price(750.0)
    await scene.tell(position(state(0, 0, -500), strategy_id=STRATEGY, version=2))
    assert not await watches.claim(seen, Decimal(-500), TODAY, NOW)


async def test_a_claim_on_a_limit_that_changed_meanwhile_is_void(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    [[stale]] = (await RiskStore(scene.connection).watches.all()).values()
    await changed(scene, request, stop_loss=Decimal(400))
    assert not await RiskStore(scene.connection).watches.claim(stale, Decimal(-500), TODAY, NOW)
