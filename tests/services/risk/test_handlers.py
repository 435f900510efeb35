from decimal import Decimal

import pytest

from libs.common.contracts.orders import OrderCleared, OrderDenied
from libs.common.service import Connection
from tests.services.risk.scene import Scene, order


@pytest.fixture
async def scene(connection: Connection) -> Scene:
    return await Scene(connection).open()


async def test_an_order_within_the_limits_is_cleared_and_blocks_its_margin(scene: Scene) -> None:
    [event] = await scene.tell(order())
    assert isinstance(event, OrderCleared)
    assert (event.margin, event.epoch) == (Decimal("1600.00"), 0)
