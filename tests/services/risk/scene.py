"""One user, one account, a few instruments: what the tests of risk happen to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.accounts import Account, AccountSaved
from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    Broker,
    Exchange,
    FeedSource,
    InstrumentKind,
    OptionType,
    OrderStatus,
    OrderType,
    Product,
    Side,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId, UserId
from libs.common.contracts.market import InstrumentListed, Quote, QuotesConflated
from libs.common.contracts.orders import OrderRequested
from libs.common.contracts.portfolio import PositionChanged, PositionState
from libs.common.database import Connection
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from services.risk.app import app
from services.risk.memory import RiskMemory

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
TODAY = date(2026, 11, 24)
USER = UserId(UUID("019aae00-0000-7000-8000-000000000001"))
ACCOUNT = AccountId(UUID("019aae00-0000-7000-8000-00000000000a"))
OTHER_ACCOUNT = AccountId(UUID("019aae00-0000-7000-8000-00000000000b"))
STRATEGY = StrategyId(UUID("019aae00-0000-7000-8000-0000000000a1"))
SBIN = InstrumentId("NSE:SBIN")
INFY = InstrumentId("NSE:INFY")
FUTURE = InstrumentId("NFO:NIFTY24NOV26FUT")
CALL = InstrumentId("NFO:NIFTY24NOV2624000CE")
SPOT = InstrumentId("NSE_INDEX:NIFTY")


def listed(instrument: InstrumentId, kind: InstrumentKind = InstrumentKind.EQUITY, **terms: Any) -> InstrumentListed:
    exchange, symbol = instrument.split(":")
    facts: dict[str, Any] = {"lot_size": 1, "tick_size": Decimal("0.05"), **terms}
    return InstrumentListed(
        instrument=instrument, exchange=Exchange(exchange), symbol=symbol, name=symbol, kind=kind, **facts
    )


CONTRACTS = (
    listed(SBIN, price_band=Decimal("0.10")),
    listed(INFY),
    listed(SPOT, InstrumentKind.INDEX),
    listed(FUTURE, InstrumentKind.FUTURE, lot_size=35, freeze_quantity=600, expiry=TODAY, spot=SPOT),
    listed(
        CALL,
        InstrumentKind.OPTION,
        lot_size=75,
        freeze_quantity=1800,
        expiry=TODAY,
        spot=SPOT,
        strike=Decimal(24000),
        option_type=OptionType.CE,
    ),
)


def quote(instrument: InstrumentId, last: float, at: datetime = NOW, previous_close: float = 0) -> Quote:
    return Quote(
        instrument=instrument,
        at=at,
        source=FeedSource.SIMULATED,
        ltp=last,
        bid=last,
        ask=last,
        bid_quantity=100,
        ask_quantity=100,
        open=last,
        high=last,
        low=last,
        previous_close=previous_close,
        volume=1,
        oi=0,
    )


def conflated(*quotes: Quote) -> QuotesConflated:
    return QuotesConflated(shard="0", at=NOW, quotes=quotes)


def market(now: datetime = NOW) -> RiskMemory:
    """A memory that knows the contracts and a price of each."""
    memory = RiskMemory()
    memory.clock = FixedClock(now)
    memory.know(CONTRACTS)
    prices = ((SBIN, 800.0), (INFY, 1500.0), (FUTURE, 24000.0), (CALL, 100.0), (SPOT, 24010.0))
    memory.take([conflated(*(quote(name, last, now, last) for name, last in prices))])
    return memory


def order(**terms: Any) -> OrderRequested:
    facts: dict[str, Any] = {
        "order_id": OrderId(ids.new_id()),
        "account_id": ACCOUNT,
        "user_id": USER,
        "instrument": SBIN,
        "side": Side.BUY,
        "quantity": 10,
        "order_type": OrderType.LIMIT,
        "product": Product.MIS,
        "price": Decimal(800),
        "requested_at": NOW,
        "expires_at": NOW + timedelta(seconds=30),
        **terms,
    }
    return OrderRequested(**facts)


def account_saved(
    account_id: AccountId = ACCOUNT, *, active: bool = True, balance: int = 100_000, user_id: UserId = USER
) -> AccountSaved:
    account = Account(
        account_id=account_id,
        user_id=user_id,
        name="Paper",
        broker=Broker.PAPER,
        active=active,
        opening_balance=Decimal(balance),
    )
    return AccountSaved(account_id=account_id, user_id=user_id, account=account, version=1)


def state(quantity: int, average: Decimal | int = 0, realised: Decimal | int = 0) -> PositionState:
    return PositionState(
        quantity=quantity,
        average_price=Decimal(average),
        realised_pnl=Decimal(realised),
        bought_quantity=0,
        sold_quantity=0,
        bought_value=Decimal(0),
        sold_value=Decimal(0),
    )


def position(net: PositionState, **terms: Any) -> PositionChanged:
    facts: dict[str, Any] = {
        "account_id": ACCOUNT,
        "user_id": USER,
        "instrument": SBIN,
        "product": Product.MIS,
        "net": net,
        "strategy_id": None,
        "book": net,
        "margin": Decimal(0),
        "version": 1,
        "order_id": OrderId(ids.new_id()),
        "fill_quantity": abs(net.quantity),
        **terms,
    }
    return PositionChanged(**facts)


def fact(request: OrderRequested, status: OrderStatus, **terms: Any) -> dict[str, Any]:
    """What every event of an order says of it."""
    return {
        "order_id": request.order_id,
        "account_id": request.account_id,
        "user_id": request.user_id,
        "instrument": request.instrument,
        "status": status,
        "version": 2,
        **terms,
    }


class Scene:
    """One active account of 1,00,000 and a market; `tell` delivers a batch and returns what was said."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.memory = market()
        self.now = NOW

    async def open(self) -> "Scene":
        await self.tell(account_saved())
        return self

    async def tell(self, *messages: Message, story: UUID | None = None) -> Sequence[Message]:
        """Deliver the messages as one batch. `story` is the correlation id of the first."""
        cause = envelope_of(messages[0], now=self.now)
        cause = cause if story is None else replace(cause, correlation_id=story)
        return await deliver(app, self.connection, *messages, memory=self.memory, now=self.now, cause=cause)

    async def give_up(self, message: Message) -> Sequence[Message]:
        """As it is where a person discards the message, which was parked."""
        return await deliver(app, self.connection, message, memory=self.memory, now=self.now, given_up=True)

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)
        self.memory.clock = FixedClock(self.now)
