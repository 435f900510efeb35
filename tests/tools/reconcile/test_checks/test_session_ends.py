"""A session ends for MIS of an instrument in a paper account, by one square-off at a time."""

from uuid import UUID

import pytest

from libs.common.contracts.enums import Product, SquareOffReason
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions, check
from tests.tools.reconcile.world.held import INSTRUMENT
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


def end_session(
    world: World, n: int = 1, *, instrument: str | None = INSTRUMENT, product: str = Product.MIS, over: bool = True
) -> None:
    """As trading keeps it, and the gateway shows it."""
    square_off_id, ended = UUID(int=1000 + n), world.now if over else None
    kept = rows.TradingSquareOff(
        square_off_id, world.account_id, instrument, product, SquareOffReason.SESSION_END, ended
    )
    world.rows[rows.TradingSquareOff].append(kept)
    world.rows[rows.ShownSquareOff].append(rows.ShownSquareOff(square_off_id, ended))
    if not over:
        under_way = world.rows[rows.TradingAccount][0].square_offs + 1
        world.change(rows.TradingAccount, square_offs=under_way)


async def test_sessions_that_end_one_after_the_other_are_sound_and_one_may_be_under_way() -> None:
    world = busy_world().settle()
    end_session(world, 1)
    end_session(world, 2)
    end_session(world, 3, over=False)
    end_session(world, 4, instrument="NSE:INFY", over=False)
    report = await check(world)
    assert report.exit_code == 0, report.text()


@CORRUPTIONS.of(Rule.HISTORY, "is not the only one that ends the session of")
def two_at_once_close_the_same(world: World) -> None:
    end_session(world, 1, over=False)
    end_session(world, 2, over=False)


@CORRUPTIONS.of(Rule.HISTORY, "its account is at zerodha")
def a_brokers_account_is_ended_by_us(world: World) -> None:
    end_session(world)
    world.change(rows.TradingAccount, broker="zerodha")


@CORRUPTIONS.of(Rule.HISTORY, "ended a session for CNC")
def what_was_delivered_is_sold(world: World) -> None:
    end_session(world, product=Product.CNC)


@CORRUPTIONS.of(Rule.HISTORY, "of every instrument")
def everything_is_closed(world: World) -> None:
    end_session(world, instrument=None)


@CORRUPTIONS.of(Rule.COPIES, "broker")
def risk_takes_a_brokers_account_for_one_of_paper(world: World) -> None:
    world.change(rows.RiskAccount, broker="zerodha")


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
