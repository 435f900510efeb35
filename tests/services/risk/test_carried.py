"""A trailing stop of an instrument or a strategy remembers the best of a position for as long as that is carried."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.risk import MTMBreached
from libs.common.database import Connection
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.risk.store import RiskStore
from services.risk.store.rebuild import STATE
from tests.services.risk.scene import FUTURE, INFY, STRATEGY, TODAY, position, state
from tests.services.risk.watched import SCOPES, Watched, limit, long

CARRIED = [RiskLevel.INSTRUMENT, RiskLevel.STRATEGY]
OF_THE_DAY = [RiskLevel.ACCOUNT, RiskLevel.USER]


@pytest.fixture
async def scene(connection: Connection) -> Watched:
    watched = Watched(connection)
    await watched.open()
    return watched


def now_held(quantity: int, average: int, realised: int, version: int) -> PositionChanged:
    return position(state(quantity, average, realised), strategy_id=STRATEGY, version=version)


async def night(scene: Watched) -> None:
    """The price fell from the best before the market closed."""
    assert await scene.price(870.0) == []
    await scene.next_day()


async def breach_at(scene: Watched, last: float) -> MTMBreached | None:
    said = await scene.price(last)
    return said[0] if said and isinstance(said[0], MTMBreached) else None


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("level", CARRIED)
async def test_the_best_of_a_carried_position_counts_the_next_day(
    scene: Watched, level: RiskLevel, restarts: bool
) -> None:
    """Its stop was a day's range further away each morning."""
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await night(scene)
    if restarts:
        await scene.restart()
    assert await scene.price(850.5) == []
    breach = await breach_at(scene, 850.0)
    assert breach is not None
    assert (breach.kind, breach.peak_mtm, breach.mtm) == (BreachKind.TRAILING_STOP, Decimal(1000), Decimal(500))


@pytest.mark.parametrize("level", CARRIED)
async def test_it_counts_over_a_weekend_and_after_a_night_without_a_process(scene: Watched, level: RiskLevel) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await scene.price(870.0)
    await scene.follow()
    scene.later(days=3)
    await scene.restart()
    assert await scene.price(850.5) == []
    assert await breach_at(scene, 850.0)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("level", CARRIED)
async def test_what_was_realised_on_the_day_before_is_no_fall_from_the_best(
    scene: Watched, level: RiskLevel, told: bool, restarts: bool
) -> None:
    """The MTM of a day begins without the profit that the day before took."""
    await scene.tell(limit(level, trailing_stop=Decimal(400)), long())
    await scene.price(900.0)
    await scene.tell(now_held(5, 800, 500, version=2))
    await night(scene)
    if told:
        await scene.tell(now_held(5, 800, 0, version=3))
    if restarts:
        await scene.restart()
    assert await scene.price(870.0) == []
    assert await scene.price(820.5) == []
    breach = await breach_at(scene, 820.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(500), Decimal(100))


async def test_what_one_leg_of_a_strategy_lost_is_no_gain_of_the_day_after(scene: Watched) -> None:
    lost = position(state(0, 0, -300), strategy_id=STRATEGY, instrument=INFY)
    await scene.tell(limit(RiskLevel.STRATEGY, trailing_stop=Decimal(500)), long(), lost)
    await scene.price(900.0)
    await night(scene)
    assert await scene.price(850.5) == []
    breach = await breach_at(scene, 850.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(1000), Decimal(500)), "700 of 1000 were seen with the lost 300"


@pytest.mark.parametrize("level", CARRIED)
async def test_the_best_is_as_far_away_when_what_the_scope_lost_weeks_ago_is_forgotten(
    scene: Watched, level: RiskLevel
) -> None:
    """It counts from all that the scope ever realised, in positions that are closed too."""
    lost = position(state(0, 0, -300), strategy_id=STRATEGY, product=Product.CNC)
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long(), lost)
    await scene.price(900.0)
    for _ in range(2):
        await night(scene)
    await scene.night()
    await scene.restart()
    assert await scene.price(850.5) == []
    breach = await breach_at(scene, 850.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(1000), Decimal(500))


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("level", CARRIED)
async def test_a_scope_that_is_flat_at_midnight_begins_anew(scene: Watched, level: RiskLevel, restarts: bool) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await scene.tell(now_held(0, 0, 900, version=2))
    await night(scene)
    await scene.tell(now_held(10, 800, 0, version=3))
    if restarts:
        await scene.restart()
    assert await scene.price(800.0) == []
    assert await scene.price(750.5) == []
    breach = await breach_at(scene, 750.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(0), Decimal(-500))


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("at_once", "reopened"), [(False, 10), (False, -10), (True, -10)])
@pytest.mark.parametrize("level", CARRIED)
async def test_the_best_of_the_days_before_ends_with_the_position_that_was_carried(
    scene: Watched, level: RiskLevel, at_once: bool, reopened: int, restarts: bool
) -> None:
    """What was opened after it was squared off for a peak that it never saw. The best of the day counts."""
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await night(scene)
    assert await scene.price(870.0) == []
    if not at_once:
        await scene.tell(now_held(0, 0, 700, version=2))
    await scene.tell(now_held(reopened, 870, 700, version=3))
    if restarts:
        await scene.follow()
        await scene.restart()
    fall = -1 if reopened > 0 else 1
    assert await scene.price(870.0 + 25 * fall) == []
    assert await scene.price(870.0 + 49.5 * fall) == []
    breach = await breach_at(scene, 870.0 + 50 * fall)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(700), Decimal(200))


@pytest.mark.parametrize("level", CARRIED)
async def test_what_ended_by_day_is_not_brought_into_the_next(scene: Watched, level: RiskLevel) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await night(scene)
    await scene.price(870.0)
    await scene.tell(now_held(0, 0, 700, version=2), now_held(10, 870, 700, version=3))
    await scene.price(860.0)
    await scene.next_day()
    assert await scene.price(845.0) == []
    breach = await breach_at(scene, 820.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(0), Decimal(-500))


@pytest.mark.parametrize("level", CARRIED)
async def test_a_best_is_carried_from_day_to_day(scene: Watched, level: RiskLevel) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await night(scene)
    await scene.price(880.0)
    await scene.next_day()
    assert await scene.price(850.5) == []
    assert await breach_at(scene, 850.0)


@pytest.mark.parametrize("level", CARRIED)
async def test_the_best_of_a_day_counts_for_all_that_is_opened_on_it(scene: Watched, level: RiskLevel) -> None:
    """Whether the position that made it was carried or not: what was earned on a day is guarded on that day."""
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(810.0)
    await scene.next_day()
    await scene.price(900.0)
    await scene.price(870.0)
    await scene.tell(now_held(0, 0, 700, version=2), now_held(10, 870, 700, version=3))
    assert await scene.price(850.5) == []
    breach = await breach_at(scene, 850.0)
    assert breach is not None
    assert (breach.peak_mtm, breach.mtm) == (Decimal(1000), Decimal(500))


async def test_of_a_strategy_it_ends_with_the_last_that_was_carried(scene: Watched) -> None:
    both = limit(RiskLevel.STRATEGY, trailing_stop=Decimal(500))
    await scene.tell(both, long(), position(state(10, 100), strategy_id=STRATEGY, instrument=INFY))
    await scene.price_of(INFY, 100.0)
    await scene.price(900.0)
    await night(scene)
    await scene.price_of(INFY, 100.0)
    await scene.price(870.0)
    await scene.tell(now_held(0, 0, 700, version=2), now_held(10, 870, 700, version=3))
    assert await scene.price(850.5) == []
    closed = position(state(0, 0, 0), strategy_id=STRATEGY, instrument=INFY, version=2)
    await scene.tell(closed)
    assert await scene.price(845.0) == []
    assert await breach_at(scene, 820.0)


@pytest.mark.parametrize("level", OF_THE_DAY)
async def test_a_whole_account_or_user_is_measured_from_the_best_of_the_day(scene: Watched, level: RiskLevel) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await night(scene)
    assert await scene.price(850.0) == []
    assert await scene.price(820.5) == []
    assert await breach_at(scene, 820.0)


@pytest.mark.parametrize("level", CARRIED)
async def test_a_stop_that_could_not_close_its_position_fires_again_the_next_morning(
    scene: Watched, level: RiskLevel
) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await scene.follow()
    assert await breach_at(scene, 850.0)
    await scene.next_day()
    assert await breach_at(scene, 850.0)


@pytest.mark.parametrize("level", CARRIED)
async def test_fills_of_the_day_before_that_are_read_only_now_are_no_fall_from_the_best(
    scene: Watched, level: RiskLevel
) -> None:
    """Risk was down from the afternoon to the morning. Half was sold meanwhile."""
    await scene.tell(limit(level, trailing_stop=Decimal(400)), long())
    await scene.price(900.0)
    await scene.price(870.0)
    await scene.follow()
    scene.later(days=1)
    await scene.restart()
    await scene.late(now_held(5, 800, 500, version=2), days=1)
    assert await scene.price(870.0) == []
    await scene.tell(now_held(5, 800, 0, version=3))
    await scene.follow()
    assert await scene.price(820.5) == []
    assert await breach_at(scene, 820.0)


@pytest.mark.parametrize("level", CARRIED)
async def test_a_limit_on_what_was_carried_already_counts_from_where_it_was_set(
    scene: Watched, level: RiskLevel
) -> None:
    await scene.tell(long(), now_held(5, 800, 500, version=2))
    await scene.next_day()
    await scene.tell(now_held(5, 800, 0, version=3), limit(level, trailing_stop=Decimal(400)))
    await scene.price(900.0)
    await night(scene)
    assert await scene.price(820.5) == []
    assert await breach_at(scene, 820.0)


async def test_the_best_of_what_is_carried_outlives_what_is_settled_days_late(scene: Watched) -> None:
    scene.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    future: dict[str, Any] = {"instrument": FUTURE, "product": Product.NRML, "strategy_id": STRATEGY}
    trailing = limit(RiskLevel.STRATEGY, trailing_stop=Decimal(500), stop_loss=Decimal(5000))
    await scene.tell(trailing, position(state(35, 24_000), **future))
    await scene.next_day()
    await scene.tell(long())
    await scene.price(800.0)
    await scene.tell(position(state(0, realised=-35_000), **future, version=2, fill_quantity=0))
    assert await scene.price(900.0) == []
    await night(scene)
    before = await rows(scene)
    await scene.build_anew()
    assert await rows(scene) == before
    assert await scene.price(850.5) == []
    breach = await breach_at(scene, 850.0)
    assert breach is not None
    assert breach.peak_mtm == 1000


@pytest.mark.parametrize("level", list(SCOPES))
async def test_what_is_built_anew_is_the_same_after_a_night(scene: Watched, level: RiskLevel) -> None:
    await scene.tell(limit(level, trailing_stop=Decimal(400), stop_loss=Decimal(5000)), long())
    await scene.price(900.0)
    await scene.tell(now_held(5, 800, 500, version=2))
    await night(scene)
    await scene.price(910.0)
    await scene.follow()
    await scene.late(now_held(4, 800, 600, version=3), days=1)
    await scene.tell(now_held(4, 800, 0, version=4))
    await scene.follow()
    await scene.price(840.0)
    await scene.next_day()
    before = await rows(scene)
    await scene.build_anew()
    assert await rows(scene) == before


@pytest.mark.parametrize("level", list(SCOPES))
async def test_what_is_built_anew_is_the_same_after_a_limit_was_changed_in_part(
    scene: Watched, level: RiskLevel
) -> None:
    request = limit(level, trailing_stop=Decimal(400), stop_loss=Decimal(5000), max_daily_loss=Decimal(600))
    await scene.tell(request, long())
    await scene.price(900.0)
    await scene.follow()
    await scene.price(860.0)
    await scene.tell(now_held(0, 0, 600, version=2))
    await scene.price(860.0)
    await scene.tell(now_held(10, 860, 600, version=3))
    scene.later(seconds=1)
    other = request.limit.model_copy(update={"stop_loss": Decimal(6000)})
    await scene.tell(request.model_copy(update={"limit": other, "expected_version": 1}))
    await night(scene)
    before = await rows(scene)
    await scene.build_anew()
    assert await rows(scene) == before


async def rows(scene: Watched) -> dict[str, list[str]]:
    """Every table as it is, but for when and by whom a row was written."""
    found = {}
    for table in STATE:
        dumped = await scene.connection.fetch(
            f"SELECT (to_jsonb(t) - '{{moved_at,moved_by,changed_at}}'::text[])::text AS row FROM {table} t ORDER BY 1"  # noqa: S608 - names from the code
        )
        found[table] = [each["row"] for each in dumped]
    return found


async def test_two_processes_that_begin_the_day_begin_it_once(scene: Watched) -> None:
    await scene.tell(limit(RiskLevel.INSTRUMENT, trailing_stop=Decimal(400)), long())
    await scene.price(900.0)
    await scene.tell(now_held(5, 800, 500, version=2))
    await night(scene)
    await scene.restart()
    await scene.restart()
    [[watch]] = (await RiskStore(scene.connection).watches.all()).values()
    assert (watch.day, watch.carried_peak) == (TODAY + timedelta(days=1), Decimal(500))


async def test_nothing_fires_before_the_day_has_begun(scene: Watched) -> None:
    """In the second after midnight, or after a start, the best of yesterday stands against the MTM of today."""
    await scene.tell(limit(RiskLevel.INSTRUMENT, trailing_stop=Decimal(400)), long())
    await scene.price(900.0)
    await scene.tell(now_held(5, 800, 500, version=2))
    await scene.price(870.0)
    await scene.follow()
    scene.later(days=1)
    assert await scene.price(870.0) == []
    await scene.follow()
    assert await scene.price(820.5) == []
    assert await breach_at(scene, 820.0)


async def test_the_best_of_the_last_second_of_a_day_is_not_lost(scene: Watched) -> None:
    await scene.tell(limit(RiskLevel.INSTRUMENT, trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    await scene.price(870.0)
    scene.later(days=1)
    scene.memory.revalue()
    await scene.follow()
    assert await scene.price(850.5) == []
    assert await breach_at(scene, 850.0)
