"""Orders, ticks and markets for the tests of the venue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from libs.common import ids
from libs.common.contracts.enums import (
    Exchange,
    FeedSource,
    InstrumentKind,
    OrderStatus,
    OrderType,
    Product,
    Side,
    Validity,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId
from libs.common.contracts.market import DepthLevel, InstrumentListed, Tick
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.walkforward.domain.market import FillModel, Level, Listing, Market, market_of
from services.walkforward.domain.orders import Order
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.settings import WalkforwardSettings

NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
"""12:00 IST on a Monday when the exchanges trade."""
EVENING = NOON + timedelta(hours=9)
SBIN = InstrumentId("NSE:SBIN")
NIFTY_FUTURE = InstrumentId("NFO:NIFTY24NOV26FUT")
STOCK = Listing(Exchange.NSE, 1, Decimal("0.05"))
ACCOUNT = AccountId(ids.new_id())


def price(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def order(
    side: Side = Side.BUY,
    quantity: int = 100,
    order_type: OrderType = OrderType.MARKET,
    limit: str | None = None,
    trigger: str | None = None,
    *,
    validity: Validity = Validity.DAY,
    seen: datetime | None = None,
    priority_at: datetime = NOON,
    active_from: datetime = NOON,
) -> Order:
    """An order in the book; one with `seen` rests, one without has just come."""
    return Order(
        order_id=OrderId(ids.new_id()),
        account_id=ACCOUNT,
        instrument=SBIN,
        side=side,
        quantity=quantity,
        order_type=order_type,
        validity=validity,
        price=price(limit),
        trigger_price=price(trigger),
        status=OrderStatus.ACCEPTED,
        priority_at=priority_at,
        active_from=active_from,
        expires_at=EVENING,
        seen=seen,
        executions=1,
    )


def request(
    side: Side = Side.BUY,
    quantity: int = 100,
    order_type: OrderType = OrderType.MARKET,
    limit: str | None = None,
    trigger: str | None = None,
    *,
    validity: Validity = Validity.DAY,
    instrument: InstrumentId = SBIN,
) -> VenueOrderRequested:
    return VenueOrderRequested(
        order_id=OrderId(ids.new_id()),
        account_id=ACCOUNT,
        instrument=instrument,
        side=side,
        quantity=quantity,
        order_type=order_type,
        product=Product.MIS,
        validity=validity,
        price=price(limit),
        trigger_price=price(trigger),
        tag="T1",
    )


def cancel(of: VenueOrderRequested | Order) -> VenueCancelRequested:
    return VenueCancelRequested(order_id=of.order_id, account_id=of.account_id, instrument=of.instrument)


def modify(
    of: VenueOrderRequested | Order,
    quantity: int = 100,
    order_type: OrderType = OrderType.LIMIT,
    limit: str | None = None,
    trigger: str | None = None,
) -> VenueModifyRequested:
    return VenueModifyRequested(
        order_id=of.order_id,
        account_id=of.account_id,
        instrument=of.instrument,
        quantity=quantity,
        order_type=order_type,
        price=price(limit),
        trigger_price=price(trigger),
    )


def tick(
    ltp: float = 100.0,
    *,
    bid: float = 0.0,
    ask: float = 0.0,
    bid_quantity: int = 0,
    ask_quantity: int = 0,
    bids: tuple[tuple[float, int], ...] = (),
    asks: tuple[tuple[float, int], ...] = (),
    volume: int = 0,
    at: datetime = NOON,
    instrument: InstrumentId = SBIN,
) -> Tick:
    return Tick(
        instrument=instrument,
        at=at,
        received_at=at,
        source=FeedSource.SIMULATED,
        ltp=ltp,
        volume=volume,
        bid=bid,
        ask=ask,
        bid_quantity=bid_quantity,
        ask_quantity=ask_quantity,
        bids=tuple(DepthLevel(price=p, quantity=q) for p, q in bids),
        asks=tuple(DepthLevel(price=p, quantity=q) for p, q in asks),
    )


def market(of: Tick, model: FillModel | None = None) -> Market:
    return market_of(of, STOCK, model or FillModel())


def last_look(*ticks: Tick, half_spread_ticks: int = 0) -> Market:
    """The last of these ticks as an order meets it that comes then."""
    found = memory(*ticks, half_spread_ticks=half_spread_ticks).market(ticks[-1].instrument, ticks[-1].at)
    assert found is not None
    return found


def level(text: str, quantity: int | None) -> Level:
    return Level(Decimal(text), quantity)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def listed(
    instrument: InstrumentId = SBIN,
    exchange: Exchange = Exchange.NSE,
    lot_size: int = 1,
    tick_size: str = "0.05",
    kind: InstrumentKind = InstrumentKind.EQUITY,
    spot: InstrumentId | None = None,
    tradable: bool = True,
) -> InstrumentListed:
    return InstrumentListed(
        instrument=instrument,
        exchange=exchange,
        symbol=instrument.partition(":")[2],
        name=instrument,
        kind=kind,
        spot=spot,
        lot_size=lot_size,
        tick_size=Decimal(tick_size),
        tradable=tradable,
    )


def memory(*ticks: Tick, hours: MarketHours = MarketHours.EXCHANGE, **settings: object) -> WalkforwardMemory:
    """What an instance knows after the contracts of SBIN and a NIFTY future, and these ticks."""
    made = WalkforwardMemory(WalkforwardSettings.model_validate(settings), TradingCalendar(hours))
    made.learn(listed())
    made.learn(listed(NIFTY_FUTURE, Exchange.NFO, lot_size=75, kind=InstrumentKind.FUTURE))
    for each in ticks:
        made.see(each)
    return made
