"""Accounts are made, changed and deleted, and only by their users."""

from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.accounts import AccountDeleted, AccountDeleteRequested, AccountSaved
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, ExecutionKind, Product, Side
from libs.common.contracts.ids import InstrumentId, UserId
from libs.common.contracts.orders import OrderDenied, OrderReopened, SquareOffRequested
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.risk import PanicRequested
from libs.common.database import Connection
from libs.common.testing import NOON
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    USER,
    account_save,
    cancelled,
    cleared,
    execution,
    filled,
    order_id,
    panic,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits

DELETE = AccountDeleteRequested(account_id=ACCOUNT, user_id=USER)


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


async def test_an_account_can_be_deleted_although_it_holds_what_expired_and_nobody_settles(trading: Trading) -> None:
    """No feed tells what a contract of MCX was worth, and nobody can close it any more."""
    order = cleared(instrument=InstrumentId("MCX:CRUDEOIL23NOV26FUT"), product=Product.NRML)
    await trading.hears(order, filled(order, 10))
    assert only(RequestRefused, await trading.hears(DELETE)).code == "conflict", "it is its last day"
    assert only(AccountDeleted, await trading.hears(DELETE, now=NOON + timedelta(days=1))).account_id == ACCOUNT


@pytest.mark.parametrize("wish", [square_off(), panic(f"ACCOUNT:{ACCOUNT}"), panic()])
async def test_a_fill_that_comes_after_its_account_was_deleted_can_be_closed(
    trading: Trading, wish: SquareOffRequested | PanicRequested
) -> None:
    """Nobody could: the account did not exist, and every exit of a panic was denied for that."""
    order = cleared()
    await trading.hears(order, cancelled(order), DELETE)
    said = await trading.hears(filled(order, 10))
    saved = only(AccountSaved, said)
    assert (saved.account.name, saved.account.active, saved.version) == ("Family", False, 2)
    assert only(PositionChanged, said).net.quantity == 10
    [request] = exits(await trading.hears(wish))
    exit_order = clear(request)
    assert "OrderSubmitted" in names(await trading.hears(exit_order))
    assert only(PositionChanged, await trading.hears(filled(exit_order, 10))).net.quantity == 0
    assert only(AccountDeleted, await trading.hears(DELETE)).account_id == ACCOUNT


async def test_an_account_comes_back_once_for_all_late_fills_of_its_orders(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, cancelled(order), DELETE)
    said = await trading.hears(filled(order, 4, leaves=6), filled(order, 6))
    assert names(said).count("AccountSaved") == 1
    denied = only(OrderDenied, await trading.hears(cleared()))
    assert denied.rule is DenialRule.ACCOUNT_INACTIVE


async def test_an_order_that_its_broker_has_after_all_brings_its_account_back(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, execution(order, ExecutionKind.REJECTED), DELETE)
    said = await trading.hears(execution(order, ExecutionKind.FOUND, leaves=10))
    assert only(OrderReopened, said).order_id == order.order_id
    assert not only(AccountSaved, said).account.active
    assert only(RequestRefused, await trading.hears(DELETE)).code == "conflict"


async def test_what_tells_nothing_new_leaves_a_deleted_account_deleted(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, cancelled(order), DELETE)
    assert await trading.hears(cancelled(order)) == []
