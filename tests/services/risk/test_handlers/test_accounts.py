"""What risk is told of accounts and their funds, in whatever order."""

from decimal import Decimal

from libs.common import ids
from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.enums import DenialRule
from libs.common.contracts.ids import AccountId
from libs.common.contracts.portfolio import FundsChanged
from libs.common.database import Connection
from tests.services.risk.scene import ACCOUNT, USER, Scene, account_saved, order, position, state
from tests.services.risk.test_handlers.saying import bound, cleared, rules


async def test_an_account_that_nobody_told_of_is_unknown_and_leaves_no_row(scene: Scene) -> None:
    stranger = AccountId(ids.new_id())
    assert rules(await scene.tell(order(account_id=stranger))) == [DenialRule.ACCOUNT_UNKNOWN]
    assert await scene.connection.fetchval("SELECT count(*) FROM accounts WHERE account_id = $1", stranger) == 0


async def test_an_account_may_be_deactivated_and_deleted(scene: Scene) -> None:
    assert cleared(await scene.tell(order())) == [True]
    assert rules(await scene.tell(account_saved(active=False), order())) == [DenialRule.ACCOUNT_INACTIVE]
    assert cleared(await scene.tell(account_saved(), order())) == [True]
    deleted = AccountDeleted(account_id=ACCOUNT, user_id=USER)
    assert rules(await scene.tell(deleted, order())) == [DenialRule.ACCOUNT_UNKNOWN]


def funds(opening: int, realised: int = 0, *, version: int) -> FundsChanged:
    return FundsChanged(
        account_id=ACCOUNT,
        user_id=USER,
        opening_balance=Decimal(opening),
        realised_pnl=Decimal(realised),
        used_margin=Decimal(0),
        available=Decimal(opening + realised),
        version=version,
    )


async def test_realised_profit_can_be_traded_with(scene: Scene) -> None:
    big = order(quantity=700)
    assert rules(await scene.tell(big)) == [DenialRule.MARGIN]
    assert cleared(await scene.tell(funds(100_000, 12_000, version=1), order(quantity=700))) == [True]


async def test_funds_that_were_told_before_do_not_come_back(scene: Scene) -> None:
    """Lost money could be traded with again, by whatever road an old message comes a second time."""
    before, lost = funds(100_000, version=1), funds(100_000, -60_000, version=2)
    await scene.tell(before, lost)
    await scene.tell(before.model_copy())
    assert rules(await scene.tell(order(quantity=300))) == [DenialRule.MARGIN]
    assert cleared(await scene.tell(lost.model_copy(), order(quantity=240))) == [True]


async def test_an_account_whose_funds_came_first_and_are_nothing_gets_no_capital(connection: Connection) -> None:
    scene = Scene(connection)
    await scene.tell(funds(0, version=3))
    assert rules(await scene.tell(account_saved(), order())) == [DenialRule.MARGIN]


async def test_positions_and_funds_may_be_told_before_the_account_is(connection: Connection) -> None:
    scene = Scene(connection)
    await scene.tell(position(state(10, 800), margin=Decimal(1600)))
    assert await bound(scene) == (0, 1600, 1)
    assert rules(await scene.tell(order())) == [DenialRule.ACCOUNT_UNKNOWN]
    await scene.tell(account_saved())
    assert cleared(await scene.tell(order(quantity=625))) == [False]
    assert cleared(await scene.tell(order(quantity=615))) == [True]
