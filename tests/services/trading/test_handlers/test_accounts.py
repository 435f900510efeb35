"""Accounts are made, changed and deleted, and only by their users."""

from datetime import timedelta
from decimal import Decimal

from libs.common.contracts.accounts import AccountDeleted, AccountDeleteRequested, AccountSaved
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, Side
from libs.common.contracts.ids import UserId
from libs.common.contracts.orders import OrderDenied
from libs.common.contracts.portfolio import FundsChanged
from libs.common.database import Connection
from libs.common.testing import NOON
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import ACCOUNT, USER, account_save, cancelled, cleared, filled, order_id


async def test_a_new_account_has_its_capital_as_funds(connection: Connection) -> None:
    said = await Trading(connection).hears(account_save(capital=500_000))
    assert names(said) == ["AccountSaved", "FundsChanged"]
    funds = only(FundsChanged, said)
    assert (funds.opening_balance, funds.available, funds.version) == (Decimal(500_000), Decimal(500_000), 1)
    assert only(AccountSaved, said).version == 1


async def test_a_stale_account_version_is_refused_as_a_conflict(trading: Trading) -> None:
    refused = only(RequestRefused, await trading.hears(account_save(version=7)))
    assert (refused.code, refused.entity_id, refused.request) == ("conflict", str(ACCOUNT), "AccountSaveRequested")


async def test_more_capital_moves_the_balance_by_the_difference(trading: Trading) -> None:
    said = await trading.hears(account_save(version=1, capital=1_500_000))
    assert only(FundsChanged, said).available == 1_500_000
    assert only(AccountSaved, said).version == 2


async def test_new_capital_keeps_the_profit_of_earlier_days(trading: Trading) -> None:
    buy, sell = cleared(Side.BUY, 10), cleared(Side.SELL, 10)
    await trading.hears(buy, filled(buy, 10, "100"), sell, filled(sell, 10, "110"))
    tomorrow = cleared()
    await trading.hears(tomorrow, filled(tomorrow, 10, "100"), now=NOON + timedelta(days=1))
    said = await trading.hears(account_save(version=1, capital=500_000), now=NOON + timedelta(days=1))
    assert only(FundsChanged, said).opening_balance == 500_100


async def test_somebody_elses_account_does_not_exist(trading: Trading) -> None:
    stranger = UserId(order_id(9))
    request = account_save(version=1)
    stolen = request.model_copy(
        update={"user_id": stranger, "account": request.account.model_copy(update={"user_id": stranger})}
    )
    assert only(RequestRefused, await trading.hears(stolen)).code == "not_found"


async def test_an_account_with_an_open_order_cannot_be_deleted(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order)
    delete = AccountDeleteRequested(account_id=ACCOUNT, user_id=USER)
    assert only(RequestRefused, await trading.hears(delete)).code == "conflict"
    await trading.hears(cancelled(order))
    assert only(AccountDeleted, await trading.hears(delete)).account_id == ACCOUNT
    denied = only(OrderDenied, await trading.hears(cleared()))
    assert denied.rule is DenialRule.ACCOUNT_UNKNOWN


async def test_an_account_with_a_position_cannot_be_deleted(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, filled(order, 10))
    delete = AccountDeleteRequested(account_id=ACCOUNT, user_id=USER)
    assert only(RequestRefused, await trading.hears(delete)).code == "conflict"
