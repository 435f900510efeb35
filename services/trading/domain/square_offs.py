"""Square-offs: cancel what is pending and close what is open in a scope, until it is flat. `exit_plan` says by what.

A person's, or a panic's, ends when all that is left waits for its market to open, or, as a limit's does too, for a
person to tell what became of its exit: else it would cancel and close whatever the account does elsewhere meanwhile.
A panic's ends with the panic's reset, too, a person's when nobody has traded the rest for half a minute, and a limit's
when nobody has on its day. What has to be closed all the same, one for its instrument closes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from libs.common.contracts.enums import (
    Broker,
    DenialRule,
    ExecutionKind,
    OrderStatus,
    Product,
    SquareOffReason,
)
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId, StrategyId, UserId
from libs.common.contracts.orders import (
    LeftOpen,
    OrderDenied,
    SquareOffCompleted,
    SquareOffRequested,
    SquareOffStarted,
)
from services.trading.domain.accounts import trading_day
from services.trading.domain.orders import Order
from services.trading.domain.positions import Book, Placed

EXIT_EXPIRES = timedelta(seconds=30)
"""Risk denies an exit that waited so long."""
EXIT_GIVEN_UP = timedelta(seconds=60)
"""An exit that nobody decided about so long is asked for anew."""
ASKED_AGAIN = timedelta(seconds=30)
"""Who wants a session's end asks again sooner."""
EXIT_RESTS, EXIT_RESTS_LONGEST = timedelta(seconds=10), timedelta(minutes=5)
"""An exit that rests at a broker so long is cancelled and asked for anew."""
FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(seconds=30)
TRIES_UNTRADABLE = 12
"""So often in a row, in four minutes, exits are tried of what risk says cannot be traded, but did not expire: it may
lack the contract for a moment. Then it was delisted."""
PARTED_AFTER = timedelta(seconds=30)
"""Whoever closes all, and sees that some of it is not traded, trades on."""
MOST_ALIKE = 3
"""Who clicks twice waits for the end of his own."""
RESTING = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
PANIC_IS_OVER = "the panic was reset: it is closed by itself"
IS_BEING_CLOSED = "it is being closed already"
NOT_TRADED = "nobody has traded it so far: it is closed by itself"
HOLIDAY_RETRY = timedelta(hours=1)
"""Our calendar may lack a session, but for a day on which it knows one."""


@dataclass(frozen=True, slots=True)
class Pause:
    """`failures` in a row, without a fill between them; nothing is tried again `until` then. The last `untradable` of
    them were risk's word that it cannot be traded.
    """

    failures: int
    until: datetime
    untradable: int = 0


@dataclass(frozen=True, slots=True)
class SquareOff:
    """`pauses` are by instrument: one that nobody trades must not hold up the others.

    `expired` are contracts that are over, or were delisted: a square-off that waited for them would close all that is
    ever opened again.
    """

    square_off_id: SquareOffId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId | None
    product: Product | None
    reason: SquareOffReason
    started_at: datetime
    pauses: Mapping[InstrumentId, Pause] = field(default_factory=dict)
    completed_at: datetime | None = None
    expired: frozenset[InstrumentId] = frozenset()

    def covers(self, what: Placed) -> bool:
        return (
            what.account_id == self.account_id
            and self.strategy_id in (None, what.strategy_id)
            and self.instrument in (None, what.instrument)
            and self.product in (None, what.product)
        )

    def is_pausing(self, instrument: InstrumentId, now: datetime) -> bool:
        """No pause is longer than the longest: one that seems so was set by a clock that ran ahead."""
        pause = self.pauses.get(instrument)
        return pause is not None and now < pause.until <= now + LAST_RETRY


def largest_order(denied: OrderDenied) -> int | None:
    """The size that the exchange takes in one order, as a freeze denial tells it."""
    if denied.rule is not DenialRule.FREEZE_QUANTITY or denied.limit is None or not denied.limit.isdecimal():
        return None
    allowed = int(denied.limit)
    return allowed if 0 < allowed < denied.quantity else None


def was_learned_of_other_lots(denied: OrderDenied, largest: int | None) -> bool:
    """The size that we cut exits to is no multiple of the lot size any more: the exchange changed that."""
    return denied.rule is DenialRule.LOT_SIZE and denied.quantity == largest


def is_over(square_off: SquareOff, denied: OrderDenied) -> bool:
    """Whether nobody will trade it again. Risk tells on which day a contract expired."""
    if denied.rule is not DenialRule.INSTRUMENT_NOT_TRADABLE:
        return False
    pause = square_off.pauses.get(denied.instrument)
    return denied.limit is not None or (pause is not None and pause.untradable >= TRIES_UNTRADABLE)


def after_denial(square_off: SquareOff, denied: OrderDenied, now: datetime) -> SquareOff:
    """What we can put right at once (too large, an old epoch) is asked for again at once; what is over is left;
    the rest waits.
    """
    if is_over(square_off, denied):
        return replace(square_off, expired=square_off.expired | {denied.instrument})
    if largest_order(denied) is not None or denied.rule is DenialRule.STALE_EPOCH:
        return square_off
    is_untradable = denied.rule is DenialRule.INSTRUMENT_NOT_TRADABLE
    return failed(square_off, denied.instrument, now, is_untradable=is_untradable)


def failed(square_off: SquareOff, instrument: InstrumentId, now: datetime, *, is_untradable: bool = False) -> SquareOff:
    """Wait twice as long after each failure, up to a bound: neither a storm of orders nor an exit forgotten. What was
    asked for together, a book or a piece each, fails together: that is one failure.
    """
    if square_off.is_pausing(instrument, now):
        return square_off
    before = square_off.pauses.get(instrument, Pause(0, now))
    until = now + min(FIRST_RETRY * 2 ** min(before.failures, 10), LAST_RETRY)
    pause = Pause(before.failures + 1, until, before.untradable + 1 if is_untradable else 0)
    return replace(square_off, pauses={**square_off.pauses, instrument: pause})


def waits_for_opening(square_off: SquareOff, instrument: InstrumentId, has_session: bool, now: datetime) -> bool:
    """Whether an exit that failed is not tried again at a broker while its exchange is closed by our calendar, which
    knows a session of this day or not.
    """
    pause = square_off.pauses.get(instrument)
    if pause is None:
        return False
    return has_session or now - HOLIDAY_RETRY < pause.until <= now + LAST_RETRY


def judge(square_off: SquareOff, order: Order, kind: ExecutionKind, now: datetime) -> SquareOff:
    """What the venue's report on an order of the scope means for the pace: a fill is progress; an exit that ended
    short, or a cancel refused for an order that rests all the same, is a failure."""
    if kind is ExecutionKind.FILLED:
        return replace(square_off, pauses={i: p for i, p in square_off.pauses.items() if i != order.instrument})
    ended_short = order.is_exit and not order.is_open and order.leaves > 0
    if ended_short or (kind is ExecutionKind.CANCEL_REJECTED and order.is_open):
        return failed(square_off, order.instrument, now)
    return square_off


def is_abandoned(order: Order, now: datetime) -> bool:
    return (
        order.status is OrderStatus.REQUESTED
        and order.expires_at is not None
        and now - order.expires_at >= EXIT_GIVEN_UP - EXIT_EXPIRES
    )


def is_stranded(square_off: SquareOff, order: Order, now: datetime) -> bool:
    """Brokers keep what is at the market within a protection and leave the rest at its limit, which the price may have
    passed. The longer that lasts, the longer an exit may rest: who asks anew goes to the end of the queue.
    """
    lasted = order.requested_at - square_off.started_at
    patience = min(max(lasted, EXIT_RESTS), EXIT_RESTS_LONGEST)
    return order.status in RESTING and now - order.requested_at >= patience


def start(request: SquareOffRequested, now: datetime) -> SquareOff:
    return SquareOff(
        square_off_id=request.square_off_id,
        account_id=request.account_id,
        user_id=request.user_id,
        strategy_id=request.strategy_id,
        instrument=request.instrument,
        product=request.product,
        reason=request.reason,
        started_at=now,
    )


def started(square_off: SquareOff, *, cancelling: int, closing: int) -> SquareOffStarted:
    return SquareOffStarted(**_scope(square_off), cancelling=cancelling, closing=closing)


def completed(square_off: SquareOff, left: tuple[LeftOpen, ...] = ()) -> SquareOffCompleted:
    return SquareOffCompleted(**_scope(square_off), expired=tuple(sorted(square_off.expired)), left=left)


def _scope(square_off: SquareOff) -> dict[str, object]:
    return {
        name: getattr(square_off, name) for name in SquareOffCompleted.model_fields if name not in ("expired", "left")
    }


def leaves_what_waits(square_off: SquareOff, broker: Broker, *, is_in_doubt: bool) -> bool:
    """Whether it ends when all that is left waits for a market, or, `is_in_doubt`, some of it for a person. Algos wait
    for theirs to be flat, and limits do but for persons.
    """
    match square_off.reason:
        case SquareOffReason.PANIC:
            return is_of_a_panic(square_off)
        case SquareOffReason.MTM_BREACH:
            return square_off.instrument is None and is_in_doubt
        case SquareOffReason.CLOSE:
            return square_off.instrument is None or not has_heirs(square_off, broker)
        case _:
            return False


def is_parted(square_off: SquareOff, now: datetime) -> bool:
    """Whether it ends when nobody trades what is left of it: a person's soon, a limit's with the day that it is for."""
    if square_off.instrument is not None:
        return False
    match square_off.reason:
        case SquareOffReason.CLOSE:
            return abs(now - square_off.started_at) >= PARTED_AFTER  # it may have begun by a clock that was ahead
        case SquareOffReason.MTM_BREACH:
            return trading_day(square_off.started_at) < trading_day(now)
        case _:
            return False


def has_heirs(square_off: SquareOff, broker: Broker) -> bool:
    """Whether what it leaves is closed when its market opens. A person may ask again then; but what a broker refused
    may trade in an hour that our calendar lacks, and is tried.
    """
    return square_off.reason is SquareOffReason.PANIC or broker is not Broker.PAPER


def heir(square_off: SquareOff, instrument: InstrumentId, square_off_id: SquareOffId, since: datetime) -> SquareOff:
    """Goes on with what is left of one instrument, and pauses as long as the whole would have."""
    pauses = {i: pause for i, pause in square_off.pauses.items() if i == instrument}
    return replace(square_off, square_off_id=square_off_id, instrument=instrument, started_at=since, pauses=pauses)


def why_left(book: Book, *, is_in_doubt: bool) -> str:
    closed = f"{book.instrument.partition(':')[0]} is closed"
    return "nobody answered for its exit: settle that order" if is_in_doubt else closed


def left_open(book: Book, heir_id: SquareOffId | None, reason: str) -> LeftOpen:
    return LeftOpen(
        strategy_id=book.strategy_id,
        instrument=book.instrument,
        product=book.product,
        quantity=book.holding.quantity,
        reason=reason,
        square_off_id=heir_id,
    )


def panic(
    square_off_id: SquareOffId,
    account_id: AccountId,
    user_id: UserId,
    strategy_id: StrategyId | None,
    open_ones: Iterable[SquareOff],
    now: datetime,
) -> SquareOff:
    """The whole account, or one strategy in it. What an earlier panic's pause for, it pauses for too."""
    reason = SquareOffReason.PANIC
    pauses = {i: pause for each in open_ones if each.reason is reason for i, pause in each.pauses.items()}
    return SquareOff(square_off_id, account_id, user_id, strategy_id, None, None, reason, started_at=now, pauses=pauses)


def is_stale(request: SquareOffRequested, asked_at: datetime, now: datetime) -> bool:
    """The session may have ended while the wish waited, and what is open have been opened in the next one."""
    return request.reason is SquareOffReason.SESSION_END and now - asked_at > ASKED_AGAIN


def waits_to_be_asked(square_off: SquareOff) -> bool:
    """Before it tries again what failed. Only risk knows each instrument's hours, and what is MIS no more."""
    return square_off.reason is SquareOffReason.SESSION_END


def at_work(wanted: SquareOff, open_ones: Iterable[SquareOff]) -> SquareOff | None:
    """One of the same scope, for the same reason, that goes on already."""
    return next((each for each in open_ones if _kind(each) == _kind(wanted)), None)


def _kind(square_off: SquareOff) -> tuple[object, ...]:
    return square_off.reason, square_off.strategy_id, square_off.instrument, square_off.product


def is_one_of_many(wanted: SquareOff, open_ones: Iterable[SquareOff]) -> bool:
    """Limits of one scope are reached one after the other, and again each day: one square-off goes on for all of them,
    for nobody waits for the end of his own. One that has left something does not try that again.
    """
    own = (each for each in open_ones if _kind(each) == _kind(wanted))
    return wanted.reason is SquareOffReason.MTM_BREACH and any(not each.expired for each in own)


def elder(wanted: SquareOff, open_ones: Iterable[SquareOff]) -> SquareOff | None:
    """The first of those that persons asked for in this scope, once there are several: whoever asks again and again for
    what nobody trades would have all of them look at each thing that happens in the account.
    """
    alike = [each for each in open_ones if _kind(each) == _kind(wanted) and not each.expired]
    is_one_more = wanted.reason is SquareOffReason.CLOSE and len(alike) >= MOST_ALIKE
    return min(alike, key=lambda each: each.started_at) if is_one_more else None


def is_of_a_panic(square_off: SquareOff) -> bool:
    """All of an account, or of a strategy in it; what one leaves is of one instrument."""
    return square_off.reason is SquareOffReason.PANIC and square_off.instrument is None


def has_panic(square_offs: Iterable[SquareOff], strategy_id: StrategyId | None) -> bool:
    """Whether a panic's square-off of this scope, or a wider one, is at work already, not for a market to open."""
    return any(each.strategy_id in (None, strategy_id) for each in square_offs if is_of_a_panic(each))
