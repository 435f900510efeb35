"""What risk cleared or denied is sent once or told again; cancels go out and come back."""

from datetime import timedelta

from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderPurpose, OrderStatus, Side
from libs.common.contracts.ids import AccountId
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCancelRefused,
    OrderCancelRequested,
    OrderDenied,
    OrdersCancelRequested,
    OrdersCancelStarted,
    OrderSubmitted,
)
from libs.common.contracts.portfolio import FundsChanged
from libs.common.contracts.venue import VenueCancelRequested, VenueOrderRequested
from libs.common.testing import NOON
from services.trading.handlers.orders import MOST_NAMED
from tests.services.trading.hearing import Trading, names, only
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


async def test_a_cleared_order_is_recorded_and_sent_in_one_transaction(trading: Trading) -> None:
    order = cleared()
    said = await trading.hears(order)
    assert names(said) == ["OrderSubmitted", "FundsChanged", "VenueOrderRequested"]
    submitted, sent = only(OrderSubmitted, said), only(VenueOrderRequested, said)
    assert submitted.version == 1
    assert submitted.order_id == sent.order_id == order.order_id
    assert (len(sent.tag), sent.tag.isalnum()) == (20, True)
    assert only(FundsChanged, said).used_margin == 1000


async def test_what_only_closes_is_an_exit_to_the_paper_venue_whatever_its_owner_called_it(trading: Trading) -> None:
    """The venue lets exits alone be in odd lots: a plain sale of what was bought before the lot size was changed passed
    risk, and was rejected.
    """
    closing, opening = cleared(Side.SELL, margin="0"), cleared(Side.SELL)
    said = await trading.hears(closing, opening)
    sent = {each.order_id: each.purpose for each in said if isinstance(each, VenueOrderRequested)}
    assert sent == {closing.order_id: OrderPurpose.EXIT, opening.order_id: OrderPurpose.ENTRY}


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


async def test_cancel_all_of_very_many_orders_cancels_each_and_names_as_many_as_a_message_holds(
    trading: Trading,
) -> None:
    """It named all of them, in a message that is too long: it was parked, and everything of the account behind it."""
    await trading.hears(cleared())
    await trading.connection.execute(
        """
        INSERT INTO orders SELECT another.* FROM orders o, generate_series(1, 26000) AS n, jsonb_populate_record(
            NULL::orders, to_jsonb(o) || jsonb_build_object('order_id', gen_random_uuid(), 'n', n)) AS another
        """
    )
    said = await trading.hears(OrdersCancelRequested(account_id=ACCOUNT, user_id=USER))
    assert len({m.order_id for m in said if isinstance(m, VenueCancelRequested)}) == 26_001
    assert len(only(OrdersCancelStarted, said).order_ids) == MOST_NAMED


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
