"""A desk that knows its user's accounts, and one that is long already."""

import pytest

from libs.common.contracts.enums import RepeatRule, Side
from libs.common.database import Connection
from tests.services.strategy.desk import Desk, orders_of
from tests.services.strategy.scene import FIRST, FUTURE_LEG, SECOND, a_signal, an_account, an_algo, knowing


@pytest.fixture
async def desk(connection: Connection) -> Desk:
    desk = Desk(connection, await knowing())
    await desk.hear(an_account(FIRST), an_account(SECOND))
    return desk


@pytest.fixture
async def long(desk: Desk) -> Desk:
    """An algo that reverses holds a long future."""
    await desk.keep(an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE))
    [order] = orders_of(await desk.hear(a_signal()))
    assert order.side is Side.BUY
    await desk.hear(desk.filled(order))
    return desk
