"""Messages in, messages out, on a real store."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from libs.common.contracts.accounts import AccountDeleted, AccountDeleteRequested, AccountSaved
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import (
    DenialRule,
    ExecutionKind,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Side,
)
from libs.common.contracts.ids import AccountId, UserId
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRefused,
    OrderCancelRequested,
    OrderDenied,
    OrderModified,
    OrderModifyRefused,
    OrdersCancelRequested,
    OrdersCancelStarted,
    OrderSubmitted,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from libs.common.service import Connection
from libs.common.testing import NOON, deliver
from services.trading.app import app
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    INFY,
    USER,
    accepted,
    account_save,
    cancelled,
    change_to,
    cleared,
    execution,
    filled,
    modified,
    order_id,
)

M = TypeVar("M", bound=Message)


class Trading:
    """One batch per call, as the runtime would run it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def hears(self, *messages: Message, now: datetime = NOON) -> list[Message]:
        return await deliver(app, self.connection, *messages, now=now)


def only(kind: type[M], said: Sequence[Message]) -> M:
    [found] = [message for message in said if isinstance(message, kind)]
    return found


def names(said: Sequence[Message]) -> list[str]:
    return [type(message).__name__ for message in said]


@pytest.fixture
async def trading(connection: Connection) -> Trading:
    trading = Trading(connection)
    await trading.hears(account_save())
    return trading


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


async def test_a_cleared_order_is_recorded_and_sent_in_one_transaction(trading: Trading) -> None:
    order = cleared()
    said = await trading.hears(order)
    assert names(said) == ["OrderSubmitted", "FundsChanged", "VenueOrderRequested"]
    submitted, sent = only(OrderSubmitted, said), only(VenueOrderRequested, said)
    assert submitted.version == 1
    assert submitted.order_id == sent.order_id == order.order_id
    assert (len(sent.tag), sent.tag.isalnum()) == (20, True)
    assert only(FundsChanged, said).used_margin == 1000


async def test_openalgo_1991_the_same_order_is_sent_once_however_often_it_comes(trading: Trading) -> None:
    order = cleared()
    assert names(await trading.hears(order, order)).count("VenueOrderRequested") == 1
    assert await trading.hears(order) == []
    late_denial = OrderDenied(**vars(order), rule=DenialRule.MARGIN, reason="too late")
    assert await trading.hears(late_denial) == []


async def test_an_order_for_an_unknown_or_inactive_account_is_denied(trading: Trading) -> None:
    unknown = cleared(account_id=AccountId(order_id(77)))
    assert only(OrderDenied, await trading.hears(unknown)).rule is DenialRule.ACCOUNT_UNKNOWN
    await trading.hears(account_save(version=1, active=False))
    said = await trading.hears(cleared())
    assert names(said) == ["OrderDenied"]
    assert only(OrderDenied, said).rule is DenialRule.ACCOUNT_INACTIVE


async def test_what_a_deactivated_account_holds_can_still_be_squared_off(trading: Trading) -> None:
    await trading.hears(account_save(version=1, active=False))
    assert "OrderSubmitted" in names(await trading.hears(cleared(purpose=OrderPurpose.SQUARE_OFF)))


async def test_what_risk_denied_is_told_again_and_stays_denied(trading: Trading) -> None:
    order = cleared()
    denied = OrderDenied(**vars(order), rule=DenialRule.MARGIN, reason="margin 9 exceeds 3", limit="3", value="9")
    assert await trading.hears(denied) == [denied]
    assert await trading.hears(order) == []


async def test_a_fill_books_position_and_moves_margin_from_order_to_position(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000", strategy=ALPHA)
    await trading.hears(order)
    said = await trading.hears(accepted(order))
    assert names(said) == ["OrderAccepted"]
    said = await trading.hears(filled(order, 4, "100.50", leaves=6))
    assert names(said) == ["FillReported", "PositionChanged"]
    fill, moved = only(FillReported, said), only(PositionChanged, said)
    assert (fill.status, fill.version, fill.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 3, 4)
    assert (moved.net.quantity, moved.net.average_price, moved.margin) == (4, Decimal("100.50"), Decimal(400))
    assert moved.net == moved.book
    assert moved.strategy_id == ALPHA


async def test_a_round_trip_realises_its_cash_flow_and_frees_all_margin(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    exit_ = cleared(Side.SELL, 10, margin="0", purpose=OrderPurpose.EXIT)
    await trading.hears(entry, filled(entry, 10, "100.05"))
    said = await trading.hears(exit_, filled(exit_, 10, "101.10"))
    funds = only(FundsChanged, said)
    assert (funds.realised_pnl, funds.used_margin) == (Decimal("10.50"), Decimal(0))
    assert only(PositionChanged, said).net.realised_pnl == Decimal("10.50")


async def test_openalgo_932_a_repeated_execution_is_booked_once(trading: Trading) -> None:
    order = cleared(quantity=10)
    fill = filled(order, 10)
    said = await trading.hears(order, fill, fill)
    assert names(said).count("FillReported") == 1
    assert await trading.hears(fill) == []


async def test_lean_alpaca_41_duplicate_fill_event_by_another_road_changes_nothing(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, filled(order, 4, name="E1", leaves=6))
    assert await trading.hears(filled(order, 4, name="E1", leaves=6)) == []
    said = await trading.hears(filled(order, 4, name="E2", leaves=2))
    assert only(FillReported, said).filled_quantity == 8


async def test_a_fill_before_the_acceptance_implies_it(trading: Trading) -> None:
    order = cleared(quantity=10)
    said = await trading.hears(order, filled(order, 10))
    assert names(said)[3:] == ["OrderAccepted", "FillReported", "PositionChanged"]
    assert only(OrderAccepted, said).version == 2
    assert only(FillReported, said).version == 3
    assert await trading.hears(accepted(order)) == []


async def test_a_fill_after_the_cancel_is_booked_all_the_same(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order), cancelled(order))
    said = await trading.hears(filled(order, 3, "99"))
    fill = only(FillReported, said)
    assert (fill.status, fill.filled_quantity) == (OrderStatus.CANCELLED, 3)
    moved = only(PositionChanged, said)
    assert (moved.net.quantity, moved.margin) == (3, Decimal(300))
    assert only(FundsChanged, said).used_margin == 300


async def test_hummingbot_3374_a_cancel_is_sent_once_and_said_when_it_happened(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order)
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    assert names(await trading.hears(cancel)) == ["VenueCancelRequested"]
    assert await trading.hears(cancel) == []
    said = await trading.hears(cancelled(order))
    assert names(said) == ["OrderCancelled", "FundsChanged"]
    assert only(OrderCancelled, said).version == 2
    assert only(FundsChanged, said).used_margin == 0


async def test_a_cancel_the_venue_keeps_silent_about_may_be_sent_again(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order)
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    await trading.hears(cancel)
    assert names(await trading.hears(cancel, now=NOON + timedelta(seconds=6))) == ["VenueCancelRequested"]


async def test_cancelling_an_unknown_or_final_order_is_refused(trading: Trading) -> None:
    unknown = OrderCancelRequested(order_id=order_id(), account_id=ACCOUNT, user_id=USER)
    refused = only(OrderCancelRefused, await trading.hears(unknown))
    assert (refused.version, refused.status) == (0, OrderStatus.REQUESTED)
    order = cleared()
    await trading.hears(order, filled(order, 10))
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    refused = only(OrderCancelRefused, await trading.hears(cancel))
    assert (refused.version, refused.status, refused.filled_quantity) == (4, OrderStatus.FILLED, 10)


async def test_a_cancel_refused_by_the_venue_leaves_the_order_open_for_another(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, accepted(order))
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    await trading.hears(cancel)
    said = await trading.hears(execution(order, ExecutionKind.CANCEL_REJECTED, reason="busy"))
    assert only(OrderCancelRefused, said).status is OrderStatus.ACCEPTED
    assert names(await trading.hears(cancel)) == ["VenueCancelRequested"]


async def test_cancel_all_takes_the_open_orders_of_the_scope(trading: Trading) -> None:
    alpha, beta, done = cleared(strategy=ALPHA), cleared(strategy=BETA), cleared(strategy=ALPHA)
    other = cleared(strategy=ALPHA, instrument=INFY)
    await trading.hears(alpha, beta, done, other, cancelled(done))
    scope = OrdersCancelRequested(account_id=ACCOUNT, user_id=USER, strategy_id=ALPHA)
    said = await trading.hears(scope)
    assert set(only(OrdersCancelStarted, said).order_ids) == {alpha.order_id, other.order_id}
    assert {m.order_id for m in said if isinstance(m, VenueCancelRequested)} == {alpha.order_id, other.order_id}
    everything = OrdersCancelRequested(account_id=ACCOUNT, user_id=USER)
    assert only(OrdersCancelStarted, await trading.hears(everything)).order_ids == (beta.order_id,)


async def test_a_change_blocks_the_dearer_margin_until_the_venue_answers(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000")
    await trading.hears(order, accepted(order))
    said = await trading.hears(change_to(order, 15, margin="1500"))
    assert names(said) == ["FundsChanged", "VenueModifyRequested"]
    assert only(VenueModifyRequested, said).quantity == 15
    assert only(FundsChanged, said).used_margin == 1500
    said = await trading.hears(modified(order, 15))
    change = only(OrderModified, said)
    assert (change.quantity, change.order_type, change.price) == (15, OrderType.LIMIT, Decimal(101))
    said = await trading.hears(change_to(order, 5, margin="500"))
    assert names(said) == ["VenueModifyRequested"]
    said = await trading.hears(modified(order, 5))
    assert only(FundsChanged, said).used_margin == 500


async def test_a_change_the_venue_refuses_leaves_terms_and_margin_as_they_were(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000")
    await trading.hears(order, accepted(order), change_to(order, 15, margin="1500"))
    said = await trading.hears(execution(order, ExecutionKind.MODIFY_REJECTED, reason="price band"))
    assert names(said) == ["OrderModifyRefused", "FundsChanged"]
    assert only(FundsChanged, said).used_margin == 1000
    assert only(OrderModifyRefused, said).reason == "price band"


async def test_a_change_racing_the_last_fill_is_refused_and_the_order_stays_filled(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order), change_to(order, 15), filled(order, 10, leaves=0))
    refused = execution(order, ExecutionKind.MODIFY_REJECTED, reason="the order is FILLED already")
    assert names(await trading.hears(refused)) == ["OrderModifyRefused"]
    assert only(OrderModifyRefused, await trading.hears(change_to(order, 20))).rule is DenialRule.ORDER_NOT_OPEN


async def test_a_second_change_waits_for_the_first(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order), change_to(order, 15))
    refused = only(OrderModifyRefused, await trading.hears(change_to(order, 20)))
    assert refused.reason == "another change of the order is on its way"


async def test_what_risk_refused_to_change_is_told_again(trading: Trading) -> None:
    refused = OrderModifyRefused(
        order_id=order_id(), account_id=ACCOUNT, user_id=USER, rule=DenialRule.MARGIN, reason="no margin"
    )
    assert await trading.hears(refused) == [refused]


async def test_an_execution_of_an_order_that_is_not_ours_is_left_alone(trading: Trading) -> None:
    assert await trading.hears(filled(cleared(), 5)) == []


async def test_openalgo_1694_two_strategies_in_one_symbol_keep_their_own_books(trading: Trading) -> None:
    long, short = cleared(Side.BUY, 10, strategy=ALPHA), cleared(Side.SELL, 4, strategy=BETA)
    await trading.hears(long, filled(long, 10, "100"))
    moved = only(PositionChanged, await trading.hears(short, filled(short, 4, "110")))
    assert (moved.net.quantity, moved.book.quantity) == (6, -4)
    assert (moved.net.realised_pnl, moved.book.realised_pnl) == (Decimal(40), Decimal(0))


async def test_openalgo_1426_carry_forward_average_price_while_the_days_profit_starts_again(trading: Trading) -> None:
    buy, sell = cleared(Side.BUY, 10, product=Product.NRML), cleared(Side.SELL, 4, product=Product.NRML)
    await trading.hears(buy, filled(buy, 10, "100"), sell, filled(sell, 4, "110"))
    again = cleared(Side.SELL, 1, product=Product.NRML)
    said = await trading.hears(again, filled(again, 1, "120"), now=NOON + timedelta(days=1))
    carried, sold = [m for m in said if isinstance(m, PositionChanged)]
    assert (carried.net.quantity, carried.net.average_price, carried.net.realised_pnl) == (6, Decimal(100), Decimal(0))
    assert (sold.net.quantity, sold.net.average_price, sold.net.realised_pnl) == (5, Decimal(100), Decimal(20))
    funds = [m for m in said if isinstance(m, FundsChanged)]
    assert (funds[-1].opening_balance, funds[-1].realised_pnl) == (Decimal(1_000_040), Decimal(20))


async def test_every_event_of_an_order_has_the_next_version(trading: Trading) -> None:
    order = cleared(quantity=10)
    said = await trading.hears(
        order,
        accepted(order),
        change_to(order, 12),
        modified(order, 12),
        filled(order, 5, leaves=7),
        cancelled(order),
        filled(order, 1),
    )
    versions = [m.version for m in said if hasattr(m, "order_id") and hasattr(m, "version") and hasattr(m, "status")]
    submitted = [m.version for m in said if isinstance(m, OrderSubmitted)]
    assert [*submitted, *versions] == [1, 2, 3, 4, 5, 6]
