"""What is done in very many accounts at once, while everybody's orders wait for it."""

from collections.abc import Callable, Sequence

import asyncpg
import pytest

from libs.common.contracts.base import Message
from libs.common.contracts.enums import Side, SquareOffReason
from libs.common.contracts.ids import AccountId, SquareOffId
from libs.common.contracts.orders import OrdersCancelRequested, SquareOffRequested
from tests.services.trading.hearing import Trading, names
from tests.services.trading.making import ALPHA, USER, account_save, cleared, filled, order_id, panic
from tests.services.trading.test_handlers.closing import exits

Wish = Callable[[Sequence[AccountId]], Sequence[Message]]


def closings(accounts: Sequence[AccountId]) -> Sequence[Message]:
    return [
        SquareOffRequested(
            square_off_id=SquareOffId(order_id()), account_id=each, user_id=USER, reason=SquareOffReason.CLOSE
        )
        for each in accounts
    ]


def cancels(accounts: Sequence[AccountId]) -> Sequence[Message]:
    return [OrdersCancelRequested(account_id=each, user_id=USER) for each in accounts]


async def holding(trading: Trading, accounts: int) -> list[AccountId]:
    """Each with a position and a resting order."""
    made = [AccountId(order_id()) for _ in range(accounts)]
    for each in made:
        held = cleared(Side.BUY, 10, strategy=ALPHA, account_id=each)
        await trading.hears(account_save(account_id=each), held, filled(held, 10), cleared(account_id=each))
    return made


@pytest.mark.parametrize("wish", [lambda _: [panic()], closings, cancels], ids=["panic", "closings", "cancels"])
async def test_the_database_is_asked_as_often_for_many_accounts_as_for_few(trading: Trading, wish: Wish) -> None:
    """It was several times for each account: a panic held everybody up for as long, and so did whoever has a thousand
    accounts and closes them again and again.
    """
    asked = []
    for size in (1, 2, 12):
        savepoint = trading.connection.transaction()
        await savepoint.start()
        wishes = wish(await holding(trading, size))
        seen: list[asyncpg.connection.LoggedQuery] = []
        with trading.connection.query_logger(seen.append):
            said = await trading.hears(*wishes)
        await savepoint.rollback()
        assert names(said).count("VenueCancelRequested") == size
        assert len(exits(said)) == (0 if wish is cancels else size)
        asked.append(len(seen))
    assert asked[1] == asked[2]
