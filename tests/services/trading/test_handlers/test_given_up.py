"""What a person discards, since it could not be handled, ends for its owner, and what was set aside for it is free."""

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.brokers import BrokerOrderRequested
from libs.common.contracts.enums import Broker, DenialRule, ExecutionKind, OrderStatus
from libs.common.contracts.orders import (
    OrderCancelRefused,
    OrderCancelRequested,
    OrderDenied,
    OrderModifyRefused,
    OrderRequested,
)
from libs.common.contracts.portfolio import FundsChanged
from libs.common.contracts.venue import ExecutionReported
from libs.common.testing import deliver
from services.trading.adapters.called import CalledBroker
from services.trading.app import app
from services.trading.domain import orders
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    USER,
    accepted,
    account_save,
    change_to,
    cleared,
    filled,
    panic,
    square_off,
)


async def given_up(trading: Trading, message: Message) -> list[Message]:
    return await deliver(app, trading.connection, message, memory=trading.memory, given_up=True)


async def test_a_clearance_that_is_discarded_denies_its_order(trading: Trading) -> None:
    """Its owner saw it as requested for ever, and risk kept the margin that it had set aside."""
    order = cleared()
    denied = only(OrderDenied, await given_up(trading, order))
    assert (denied.order_id, denied.rule) == (order.order_id, DenialRule.GIVEN_UP)


async def test_the_clearance_of_an_exit_that_is_discarded_leaves_the_closing_at_work(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    exit_asked = only(OrderRequested, await trading.hears(square_off()))
    terms = {name: value for name, value in vars(exit_asked).items() if name != "expires_at"}
    clearance = cleared().model_copy(update=terms)
    assert "OrderDenied" in names(await given_up(trading, clearance))
    row = await trading.connection.fetchrow("SELECT status FROM orders WHERE order_id = $1", clearance.order_id)
    assert row is not None
    assert row["status"] == OrderStatus.DENIED


async def test_a_denial_or_a_refusal_that_is_discarded_is_told_all_the_same(trading: Trading) -> None:
    order = cleared()
    denied = OrderDenied(**vars(order), rule=DenialRule.MARGIN, reason="margin 9 exceeds 3", limit="3", value="9")
    assert await given_up(trading, denied) == [denied]


async def test_a_change_that_is_discarded_is_refused(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order))
    refused = only(OrderModifyRefused, await given_up(trading, change_to(order, 15)))
    assert (refused.order_id, refused.rule) == (order.order_id, DenialRule.GIVEN_UP)


async def test_a_cancel_that_is_discarded_is_refused_and_can_be_asked_for_again(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, accepted(order))
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    refused = only(OrderCancelRefused, await given_up(trading, cancel))
    assert (refused.version, refused.status) == (3, OrderStatus.ACCEPTED)
    assert names(await trading.hears(cancel)) == ["VenueCancelRequested"]


async def test_an_order_that_never_went_to_its_broker_is_rejected_and_frees_its_margin(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order)
    [wish] = CalledBroker(Broker.ZERODHA).submit(orders.submit(order)[0], order)
    assert isinstance(wish, BrokerOrderRequested)
    said = only(ExecutionReported, await given_up(trading, wish))
    assert (said.order_id, said.kind) == (order.order_id, ExecutionKind.REJECTED)
    assert only(FundsChanged, await trading.hears(said)).used_margin == 0


async def test_what_people_asked_for_and_is_discarded_is_refused(trading: Trading) -> None:
    closing, stop = square_off(), panic()
    for request, subject in (
        (account_save(version=1), ACCOUNT),
        (closing, closing.square_off_id),
        (stop, stop.panic_id),
    ):
        refused = only(RequestRefused, await given_up(trading, request))
        assert (refused.entity_id, refused.request, refused.code) == (str(subject), type(request).__name__, "given_up")
