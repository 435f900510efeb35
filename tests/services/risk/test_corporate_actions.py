"""A split or bonus moves no profit: neither the old shares at the new price, nor the new ones at the old."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.accounts import AccountSaved
from libs.common.contracts.enums import BreachKind, Broker, RiskLevel
from libs.common.contracts.masters import CorporateActionKind, CorporateActionsImported, CorporateActionTerms
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.risk import MTMBreached
from libs.common.database import Connection
from tests.services.risk.scene import (
    INFY,
    SBIN,
    STRATEGY,
    TODAY,
    USER,
    account_saved,
    conflated,
    position,
    quote,
    state,
)
from tests.services.risk.watched import Watched, limit, long

EX_DATE = TODAY + timedelta(days=1)


@pytest.fixture
async def scene(connection: Connection) -> Watched:
    watched = Watched(connection)
    await watched.open()
    return watched


def told(ex_date: date = EX_DATE, **more: Any) -> CorporateActionsImported:
    split = CorporateActionTerms(instrument=SBIN, kind=CorporateActionKind.SPLIT, ex_date=ex_date, old=1, new=2, **more)
    return CorporateActionsImported(import_id=ids.new_id(), user_id=USER, actions=(split,))


def booked() -> PositionChanged:
    """By trading: 20 at 400 of what were 10 at 800."""
    return position(state(20, 400), strategy_id=STRATEGY, version=2, fill_quantity=0)


async def carry_into_the_split(scene: Watched, **amounts: Any) -> None:
    """Ten are held at 800, and the last price before the night is that."""
    await scene.tell(limit(**amounts), long(), told())
    await scene.price(800.0)
    await scene.next_day()


async def breach_at(scene: Watched, last: float, close: float = 400.0) -> MTMBreached | None:
    said = await scene.price(last, close)
    return said[0] if said and isinstance(said[0], MTMBreached) else None


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_new_price_is_no_loss_of_half_of_what_trading_has_not_booked_yet(
    scene: Watched, restarts: bool
) -> None:
    """The stack came up after the opening, and the account was squared off for a loss that it never had."""
    await carry_into_the_split(scene, stop_loss=Decimal(750))
    if restarts:
        await scene.restart()
    assert await breach_at(scene, 400.0) is None
    await scene.tell(booked())
    assert await breach_at(scene, 400.0) is None
    assert await breach_at(scene, 363.0) is None
    breach = await breach_at(scene, 362.5)
    assert breach is not None
    assert (breach.kind, breach.mtm) == (BreachKind.STOP_LOSS, Decimal(-750))


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("amount", ["target", "trailing_stop"])
async def test_the_old_price_is_no_profit_of_the_new_shares(scene: Watched, amount: str, restarts: bool) -> None:
    """Another share was quoted first: a target was reached for nothing, and a trailing stop fell from that height."""
    await carry_into_the_split(scene, **{amount: Decimal(750)})
    await scene.tell(booked(), position(state(1, 1500), instrument=INFY))
    if restarts:
        await scene.restart()
    before = quote(SBIN, 800.0, scene.now - timedelta(hours=15))
    for _ in range(3):
        scene.later(seconds=10)
        scene.memory.take([conflated(quote(INFY, 1500.0, scene.now), before)])
        scene.memory.revalue()
        assert not scene.memory.crossed
    assert await breach_at(scene, 400.0) is None
    assert await breach_at(scene, 401.0) is None


@pytest.mark.parametrize("close", [400.0, 0.0], ids=["close told", "close not told"])
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_days_loss_counts_from_the_close_of_the_new_shares(
    scene: Watched, restarts: bool, close: float
) -> None:
    """It counted from what the old shares had lost at the new close, and never fired."""
    await carry_into_the_split(scene, max_daily_loss=Decimal(190))
    await scene.tell(booked())
    if restarts:
        await scene.restart()
    assert await breach_at(scene, 400.0, close) is None
    assert await breach_at(scene, 391.0, close) is None
    breach = await breach_at(scene, 390.0, close)
    assert breach is not None
    assert (breach.kind, breach.mtm) == (BreachKind.DAILY_LOSS, Decimal(-200))


async def test_another_process_counts_from_there_too(scene: Watched) -> None:
    """It hears of the booking from the database only."""
    await carry_into_the_split(scene, max_daily_loss=Decimal(190))
    memory = scene.memory
    await scene.restart()
    await scene.tell(booked())
    await scene.connection.execute("UPDATE exposures SET moved_by = gen_random_uuid()")
    scene.memory = memory
    await scene.follow()
    assert await breach_at(scene, 400.0) is None
    assert await breach_at(scene, 391.0) is None
    assert await breach_at(scene, 390.0) is not None


async def test_what_was_booked_late_on_its_day_counts_from_there(scene: Watched) -> None:
    """Told in the morning, after the day had begun with the old shares."""
    await scene.tell(limit(max_daily_loss=Decimal(190)), long())
    await scene.price(800.0)
    await scene.next_day()
    await scene.tell(position(state(10, 800), strategy_id=STRATEGY, version=2, fill_quantity=0))
    await scene.tell(told(), booked().model_copy(update={"version": 3}))
    await scene.follow()
    assert await breach_at(scene, 391.0) is None
    assert await breach_at(scene, 390.0) is not None


async def test_one_that_was_taken_back_in_time_holds_nothing_back(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(750)), long(), told())
    await scene.tell(told(withdrawn=True))
    await scene.price(800.0)
    await scene.next_day()
    assert await breach_at(scene, 725.0, 800.0) is not None


async def test_one_of_another_day_holds_nothing_back(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(750)), long(), told(EX_DATE + timedelta(days=1)))
    await scene.price(800.0)
    await scene.next_day()
    assert await breach_at(scene, 725.0, 800.0) is not None


def at_a_broker() -> AccountSaved:
    saved = account_saved()
    return saved.model_copy(
        update={"account": saved.account.model_copy(update={"broker": Broker.ZERODHA}), "version": 2}
    )


@pytest.fixture
async def live(scene: Watched) -> Watched:
    """The account is at a broker: nobody books the split there."""
    await scene.tell(at_a_broker())
    return scene


def traded(quantity: int, average: Decimal | int, realised: int = 0, version: int = 2, **terms: Any) -> PositionChanged:
    return position(state(quantity, average, realised), strategy_id=STRATEGY, version=version, **terms)


LEVELS = [RiskLevel.INSTRUMENT, RiskLevel.STRATEGY, RiskLevel.ACCOUNT, RiskLevel.USER]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("restarts", [False, True])
async def test_at_a_broker_the_new_price_is_no_loss_of_half_and_a_real_loss_still_fires(
    live: Watched, level: RiskLevel, restarts: bool
) -> None:
    """The stop sold real shares for it, on the morning of every split."""
    await live.tell(limit(level, stop_loss=Decimal(750)), long(), told())
    await live.price(800.0)
    await live.next_day()
    if restarts:
        await live.restart()
    assert await breach_at(live, 400.0) is None
    assert await breach_at(live, 363.0) is None
    breach = await breach_at(live, 362.5)
    assert breach is not None
    assert (breach.kind, breach.mtm) == (BreachKind.STOP_LOSS, Decimal(-750))


@pytest.mark.parametrize("days", [0, 1, 30])
@pytest.mark.parametrize("restarts", [False, True])
async def test_at_a_broker_a_days_loss_counts_what_the_new_shares_lost(
    live: Watched, restarts: bool, days: int
) -> None:
    await carry_into_the_split(live, max_daily_loss=Decimal(190))
    await live.price(400.0, 400.0)
    for _ in range(days):
        await live.next_day()
    if restarts:
        await live.restart()
    assert await breach_at(live, 400.0) is None
    assert await breach_at(live, 391.0) is None
    breach = await breach_at(live, 390.0)
    assert breach is not None
    assert (breach.kind, breach.mtm) == (BreachKind.DAILY_LOSS, Decimal(-200))


@pytest.mark.parametrize("level", [RiskLevel.INSTRUMENT, RiskLevel.STRATEGY])
async def test_at_a_broker_a_trailing_stop_follows_over_the_split(live: Watched, level: RiskLevel) -> None:
    """It fell from the best of the old shares at once."""
    await live.tell(limit(level, trailing_stop=Decimal(750)), long(), told())
    await live.price(850.0)
    await live.next_day()
    assert await breach_at(live, 425.0, 425.0) is None
    assert await breach_at(live, 388.0, 425.0) is None
    breach = await breach_at(live, 387.5, 425.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(500), Decimal(-250))


@pytest.mark.parametrize("how", ["same process", "restarted", "built anew"])
@pytest.mark.parametrize("days", [0, 3])
async def test_at_a_broker_what_is_sold_of_it_by_and_by_is_no_loss(live: Watched, how: str, days: int) -> None:
    """Sold for 400 what had cost 800, as trading books it: that fired on all the rest of the account."""
    await live.tell(limit(stop_loss=Decimal(750), max_daily_loss=Decimal(750)), long(), told())
    await live.price(800.0)
    await live.next_day()
    await live.price(400.0, 400.0)
    for _ in range(days):
        await live.next_day()
        await live.price(400.0, 400.0)

    async def and_then() -> None:
        if how == "built anew":
            await live.build_anew()
        if how != "same process":
            await live.restart()
        await live.follow()

    await live.tell(traded(4, 800, -2400, fill_quantity=6))
    await and_then()
    assert await breach_at(live, 400.0, 400.0) is None
    await live.tell(traded(14, Decimal(7200) / 14, -2400, 3, fill_quantity=10))
    await and_then()
    assert await breach_at(live, 400.0, 400.0) is None
    await live.next_day()
    assert await breach_at(live, 400.0, 400.0) is None
    await live.tell(traded(0, 0, -1600, 4, fill_quantity=14))
    await and_then()
    assert await breach_at(live, 400.0, 400.0) is None
    await live.tell(traded(10, 400, -1600, 5, fill_quantity=10))
    await and_then()
    assert await breach_at(live, 326.0, 400.0) is None
    breach = await breach_at(live, 325.0, 400.0)
    assert breach is not None
    assert breach.mtm == Decimal(-750)


@pytest.mark.parametrize("restarts", [False, True])
async def test_at_a_broker_a_trailing_stop_follows_what_is_left_of_it_into_the_next_day(
    live: Watched, restarts: bool
) -> None:
    """What was realised stays behind at midnight, as much as it really was."""
    await live.tell(limit(RiskLevel.STRATEGY, trailing_stop=Decimal(750)), long(), told())
    await live.price(850.0)
    await live.next_day()
    await live.price(425.0, 425.0)
    await live.tell(traded(4, 800, -2250, fill_quantity=6))
    await live.follow()
    await live.next_day()
    if restarts:
        await live.restart()
    assert await breach_at(live, 425.0, 425.0) is None
    assert await breach_at(live, 332.0, 425.0) is None
    breach = await breach_at(live, 331.0, 425.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(200), Decimal(-552))


async def test_at_a_broker_a_stop_that_closed_it_counts_from_there(live: Watched) -> None:
    """From what was really lost by then: else it would never fire again that day."""
    await carry_into_the_split(live, stop_loss=Decimal(750))
    assert await breach_at(live, 362.5, 400.0) is not None
    await live.tell(traded(0, 0, -4375, fill_quantity=10))
    await live.follow()
    await live.tell(traded(10, 400, -4375, 3, fill_quantity=10))
    await live.follow()
    assert await breach_at(live, 326.0, 400.0) is None
    breach = await breach_at(live, 325.0, 400.0)
    assert breach is not None
    assert breach.mtm == Decimal(-1500)


async def test_at_a_broker_a_loss_in_another_share_fires_all_the_while(live: Watched) -> None:
    await live.tell(limit(stop_loss=Decimal(750)), long(), position(state(10, 1500), instrument=INFY), told())
    await live.price(800.0)
    await live.next_day()
    await live.price_of(INFY, 1426.0)
    assert await breach_at(live, 400.0) is None
    await live.price_of(INFY, 1425.0)
    breach = await breach_at(live, 400.0)
    assert breach is not None
    assert breach.mtm == Decimal(-750)


async def test_at_a_broker_what_was_bought_after_it_counts_as_it_is(live: Watched) -> None:
    await live.tell(limit(stop_loss=Decimal(750)), told())
    await live.next_day()
    await live.tell(long(10, 400))
    assert await breach_at(live, 326.0) is None
    breach = await breach_at(live, 325.0)
    assert breach is not None
    assert breach.mtm == Decimal(-750)


async def test_at_a_broker_a_fill_that_another_process_took_counts_likewise(live: Watched) -> None:
    """It hears of it from the database only."""
    await live.tell(limit(stop_loss=Decimal(750)), long(), told())
    await live.price(800.0)
    await live.next_day()
    memory = live.memory
    await live.restart()
    await live.tell(traded(4, 800, -2400, fill_quantity=6))
    await live.connection.execute("UPDATE exposures SET moved_by = gen_random_uuid()")
    live.memory = memory
    await live.follow()
    assert await breach_at(live, 400.0, 400.0) is None
    assert await breach_at(live, 307.0, 400.0) is None
    breach = await breach_at(live, 306.0, 400.0)
    assert breach is not None
    assert breach.mtm == Decimal(-752)


@pytest.mark.parametrize("restarts", [False, True])
async def test_at_a_broker_one_that_is_told_in_the_morning_counts_for_what_nobody_traded_since(
    live: Watched, restarts: bool
) -> None:
    """It was bought on the day before: that its day began was told at midnight."""
    await live.tell(limit(stop_loss=Decimal(750)), long())
    await live.price(800.0)
    await live.next_day()
    await live.tell(traded(10, 800, fill_quantity=0))
    await live.tell(told())
    await live.follow()
    if restarts:
        await live.restart()
    assert await breach_at(live, 400.0, 400.0) is None
    assert await breach_at(live, 363.0, 400.0) is None
    assert await breach_at(live, 362.5, 400.0) is not None


async def test_at_a_broker_one_that_is_taken_back_counts_no_more(live: Watched) -> None:
    await live.tell(limit(stop_loss=Decimal(750)), long(), told())
    await live.price(800.0)
    await live.next_day()
    await live.tell(told(withdrawn=True))
    await live.follow()
    assert await breach_at(live, 726.0, 800.0) is None
    assert await breach_at(live, 725.0, 800.0) is not None
