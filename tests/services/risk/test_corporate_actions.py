"""A split or bonus moves no profit: neither the old shares at the new price, nor the new ones at the old."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.enums import BreachKind
from libs.common.contracts.masters import CorporateActionKind, CorporateActionsImported, CorporateActionTerms
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.risk import MTMBreached
from libs.common.database import Connection
from tests.services.risk.scene import INFY, SBIN, STRATEGY, TODAY, USER, conflated, position, quote, state
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
