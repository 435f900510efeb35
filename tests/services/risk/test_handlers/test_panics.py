"""A panic stops its scope, and no other, until a person resets it."""

import pytest

from libs.common import ids
from libs.common.contracts.enums import DenialRule
from libs.common.contracts.orders import OrderCleared
from tests.services.risk.scene import ACCOUNT, OTHER_ACCOUNT, STRATEGY, USER, Scene, order
from tests.services.risk.test_handlers.saying import change, cleared, panic, reset, rules


@pytest.mark.parametrize("scope", ["ALL", f"USER:{USER}", f"ACCOUNT:{ACCOUNT}", f"STRATEGY:{STRATEGY}"])
async def test_shobhit727_trade_49_a_panic_stops_its_scope_until_a_person_resets_it(scene: Scene, scope: str) -> None:
    assert rules(await scene.tell(panic(scope, 4), order(strategy_id=STRATEGY))) == [DenialRule.HALTED]
    assert rules(await scene.tell(order(strategy_id=STRATEGY))) == [DenialRule.HALTED]
    [event] = await scene.tell(reset(scope, 4), order(strategy_id=STRATEGY))
    assert isinstance(event, OrderCleared)
    assert event.epoch == 4, "the epoch stays"


async def test_a_panic_of_another_scope_stops_nobody_else(scene: Scene) -> None:
    others = [panic(f"USER:{ids.new_id()}"), panic(f"ACCOUNT:{OTHER_ACCOUNT}"), panic(f"STRATEGY:{STRATEGY}")]
    assert cleared(await scene.tell(*others, order())) == [True]


async def test_a_change_in_a_halted_scope_is_refused(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    assert rules(await scene.tell(panic("ALL"), change(request, quantity=20))) == [DenialRule.HALTED]
