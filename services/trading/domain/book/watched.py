"""An order of ours at a broker: what was told of it already."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from libs.common.contracts.brokers import BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import Broker, ExecutionKind, OrderType
from libs.common.contracts.ids import AccountId, CallId, CorrelationId, InstrumentId, OrderId, UserId
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.accounts import trading_day
from services.trading.domain.calls import Call, Patience

STOPS = frozenset({OrderType.SL, OrderType.SL_M})
PRICED = frozenset({OrderType.LIMIT, OrderType.SL})


class Watch(StrEnum):
    """How an order of ours stands with the broker."""

    SENT = "SENT"
    """The call is under way."""
    UNKNOWN = "UNKNOWN"
    LIVE = "LIVE"
    GIVEN_UP = "GIVEN_UP"
    """Missing for so long that we took it for refused; looked for until the day is over all the same."""
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Terms:
    """Prices are None where the order type has none."""

    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Watched:
    """One order of ours at a broker. `terms`, `filled_quantity` and `trade_ids` are what was told already.

    `answer_due` is the moment after which no byte of the call can reach the broker any more, with some grace.
    """

    order_id: OrderId
    call_id: CallId
    account_id: AccountId
    user_id: UserId | None
    correlation_id: CorrelationId
    broker: Broker
    instrument: InstrumentId
    tag: str
    day: date
    state: Watch
    answer_due: datetime
    terms: Terms
    broker_order_id: str | None = None
    triggered: bool = False
    filled_quantity: int = 0
    trade_ids: tuple[str, ...] = ()
    absent_reads: int = 0
    absent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the book changed. `settled` is the change that it answered, `answered` the cancel. `alarms` are
    for people.
    """

    order: Watched
    said: tuple[ExecutionReported, ...] = ()
    settled: Call | None = None
    alarms: tuple[str, ...] = ()
    answered: Call | None = None


def watch(call: Call, request: BrokerOrderRequested, now: datetime, patience: Patience) -> Watched:
    """From the commit before the call."""
    return Watched(
        order_id=request.order_id,
        call_id=call.call_id,
        account_id=request.account_id,
        user_id=call.user_id,
        correlation_id=call.correlation_id,
        broker=request.broker,
        instrument=request.instrument,
        tag=request.tag,
        day=trading_day(now),
        state=Watch.SENT,
        answer_due=now + patience.fresh + patience.call + patience.grace,
        terms=terms_of(request),
    )


def is_hardly_there(order: Watched, today: date) -> bool:
    """Whether the book has lacked it for long, or is of another day: a person may take weeks to settle it."""
    return order.state is Watch.GIVEN_UP or (order.state is Watch.UNKNOWN and order.day < today)


def terms_of(request: BrokerOrderRequested | BrokerModifyRequested) -> Terms:
    return Terms(request.quantity, request.order_type, request.price, request.trigger_price)


def report(order: Watched, kind: ExecutionKind, execution_id: str, at: datetime, reason: str = "") -> ExecutionReported:
    """`execution_id` is the broker's own word wherever there is one: the same by whatever road it comes."""
    return ExecutionReported(
        order_id=order.order_id,
        account_id=order.account_id,
        instrument=order.instrument,
        kind=kind,
        execution_id=execution_id,
        venue_order_id=order.broker_order_id or "",
        reason=reason,
        executed_at=at,
    )
