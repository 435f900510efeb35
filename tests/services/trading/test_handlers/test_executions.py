"""What a venue reports is booked once: in orders, positions and funds."""

from decimal import Decimal

from libs.common.contracts.enums import ExecutionKind, OrderPurpose, OrderStatus, Side
from libs.common.contracts.orders import FillReported, OrderAccepted, OrderCancelRequested, OrderReopened
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.venue import VenueCancelRequested
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import ACCOUNT, ALPHA, BETA, USER, accepted, cancelled, cleared, execution, filled


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


async def test_a_stop_that_fills_after_its_target_blocks_margin_for_what_it_opens(trading: Trading) -> None:
    """It blocked none, since it only reduced when it was cleared; and the target's was free with the short."""
    short = cleared(Side.SELL, 10)
    stop, target = cleared(Side.BUY, 10, margin="0", unit="150000"), cleared(Side.BUY, 10)
    await trading.hears(short, filled(short, 10), stop, target)
    assert only(FundsChanged, await trading.hears(filled(target, 10))).used_margin == 0
    said = await trading.hears(filled(stop, 4, leaves=6))
    assert only(PositionChanged, said).margin == only(FundsChanged, said).used_margin == 600_000
    said = await trading.hears(filled(stop, 6))
    assert only(PositionChanged, said).margin == 1_500_000
    funds = only(FundsChanged, said)
    assert (funds.used_margin, funds.available) == (Decimal(1_500_000), Decimal(-500_000)), "nothing more is opened"


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


async def test_an_execution_of_an_order_that_is_not_ours_is_left_alone(trading: Trading) -> None:
    assert await trading.hears(filled(cleared(), 5)) == []


async def test_openalgo_1694_two_strategies_in_one_symbol_keep_their_own_books(trading: Trading) -> None:
    long, short = cleared(Side.BUY, 10, strategy=ALPHA), cleared(Side.SELL, 4, strategy=BETA)
    await trading.hears(long, filled(long, 10, "100"))
    moved = only(PositionChanged, await trading.hears(short, filled(short, 4, "110")))
    assert (moved.net.quantity, moved.book.quantity) == (6, -4)
    assert (moved.net.realised_pnl, moved.book.realised_pnl) == (Decimal(40), Decimal(0))


async def test_an_account_that_trades_thousands_of_millions_in_a_day_goes_on_trading(trading: Trading) -> None:
    largest = 10**9
    bought = []
    for _ in range(3):
        entry = cleared(Side.BUY, largest)
        said = await trading.hears(entry, filled(entry, largest, "0.05"))
        bought.append(only(PositionChanged, said).net.bought_quantity)
    assert bought == [largest, 2 * largest, 3 * largest]


async def test_an_order_that_its_venue_has_after_all_is_told_to_be_open_again(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000", strategy=ALPHA)
    await trading.hears(order, execution(order, ExecutionKind.UNKNOWN), execution(order, ExecutionKind.REJECTED))
    said = await trading.hears(execution(order, ExecutionKind.FOUND))
    found, funds = only(OrderReopened, said), only(FundsChanged, said)
    assert (found.status, found.version) == (OrderStatus.ACCEPTED, 4)
    assert (found.purpose, found.quantity, found.strategy_id) == (OrderPurpose.ENTRY, 10, ALPHA)
    assert funds.used_margin == 1000


async def test_what_was_found_with_a_part_filled_is_told_so(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, filled(order, 4, leaves=6), execution(order, ExecutionKind.REJECTED))
    found = only(OrderReopened, await trading.hears(execution(order, ExecutionKind.FOUND)))
    assert (found.status, found.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 4)


async def test_a_cancel_that_was_asked_for_before_its_venue_had_the_order_after_all_is_asked_again(
    trading: Trading,
) -> None:
    """Its owner had heard that it was rejected. It stayed open, without a word, until somebody looked."""
    order = cleared(quantity=10)
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    await trading.hears(order, execution(order, ExecutionKind.UNKNOWN), cancel)
    await trading.hears(execution(order, ExecutionKind.REJECTED))
    said = await trading.hears(execution(order, ExecutionKind.FOUND))
    assert only(OrderReopened, said).status is OrderStatus.ACCEPTED
    assert only(VenueCancelRequested, said).order_id == order.order_id
    assert "OrderCancelled" in names(await trading.hears(cancelled(order)))


async def test_an_order_that_its_venue_has_after_all_and_whose_cancel_was_refused_stays_open(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, execution(order, ExecutionKind.UNKNOWN), execution(order, ExecutionKind.REJECTED))
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=ACCOUNT, user_id=USER)
    assert names(await trading.hears(cancel)) == ["OrderCancelRefused"], "which its owner was told"
    assert "VenueCancelRequested" not in names(await trading.hears(execution(order, ExecutionKind.FOUND)))
