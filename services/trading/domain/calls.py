"""One wish to a broker behind HTTP: what may be sent, what an answer makes of it, and when it may be sent again.

    WAITING ─▶ CALLING ─▶ DONE
       ▲          │ └───▶ AWAITED   taken; the broker's book will show it (changes, cancels)
       └──────────┘

Back to WAITING goes what was proven not to be taken, and whatever is safe to repeat (changes and cancels). An order
that was asked for and not answered is DONE: it is never placed again, its fate is looked for in the book (domain.book).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import ExecutionKind, OrderPurpose
from libs.common.contracts.ids import AccountId, CallId, CorrelationId, OrderId, UserId

Request = BrokerOrderRequested | BrokerModifyRequested | BrokerCancelRequested

LAST_RETRY = timedelta(seconds=4)
"""No call waits longer before it is made again."""


class CallState(StrEnum):
    WAITING = "WAITING"
    CALLING = "CALLING"
    AWAITED = "AWAITED"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Call:
    """`call_id` is the id of the message that asked for it; `seq` the order of asking."""

    call_id: CallId
    account_id: AccountId
    request: Request
    correlation_id: CorrelationId
    user_id: UserId | None
    created_at: datetime
    not_before: datetime
    state: CallState = CallState.WAITING
    attempts: int = 0
    called_at: datetime | None = None
    answered_at: datetime | None = None
    seq: int = 0

    @property
    def order_id(self) -> OrderId:
        return self.request.order_id

    @property
    def is_urgent(self) -> bool:
        """Cancels and exits go before entries."""
        return isinstance(self.request, BrokerCancelRequested) or self.request.purpose is not OrderPurpose.ENTRY


@dataclass(frozen=True, slots=True)
class Taken:
    """The broker said yes."""

    broker_order_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker said no."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """It is proven that the broker did nothing: no byte left us, or it said that it was too busy to look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer, or none that says what was done."""

    reason: str


Answer = Taken | Refused | NotTaken | Silent


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait for what. `to_leave`: what could not be sent for so long must not surprise its owner.

    An order whose outcome is unknown counts as refused only when at least `absent_reads` books in a row, over at
    least `absent_for`, lack its tag; the first of them read `grace` after the call could last have been answered.
    """

    call: timedelta = timedelta(seconds=5)
    fresh: timedelta = timedelta(milliseconds=500)
    """From the last look at the panic epochs to the first byte; a process that was paused in between sends nothing."""
    grace: timedelta = timedelta(seconds=2)
    to_leave: timedelta = timedelta(seconds=20)
    first_retry: timedelta = timedelta(milliseconds=250)
    repeats: int = 5
    """Of a change or a cancel that nobody answers."""
    absent_reads: int = 6
    absent_for: timedelta = timedelta(seconds=30)
    change_shows: timedelta = timedelta(seconds=10)
    """A change or a cancel that the broker took and the exchange does not show after so long the exchange refused."""


REFUSALS = {
    BrokerOrderRequested: ExecutionKind.REJECTED,
    BrokerModifyRequested: ExecutionKind.MODIFY_REJECTED,
    BrokerCancelRequested: ExecutionKind.CANCEL_REJECTED,
}

_TURNS: Mapping[type[Request], int] = {BrokerOrderRequested: 0, BrokerCancelRequested: 1, BrokerModifyRequested: 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the call, and what is to be said of the order (None: nothing yet)."""

    call: Call
    said: ExecutionKind | None = None
    reason: str = ""
    broker_order_id: str = ""


def due(
    calls: Iterable[Call],
    unsent: Collection[OrderId],
    now: datetime,
    full: Collection[OrderPurpose],
    patience: Patience,
) -> Call | None:
    """The next call that may go. `unsent` orders are not known to be at the broker: nothing of theirs goes but they.
    Of what is `full` the broker takes no more orders for a while.

    Cancels and exits first, and of those what is tried the first time: an exit must not wait for the end of cancels
    that nobody answers. Of one order itself, then its cancel, then its changes.
    """
    waiting = sorted((c for c in calls if c.state is CallState.WAITING), key=_of_one_order)
    cancelled = {call.order_id for call in waiting if isinstance(call.request, BrokerCancelRequested)}
    first: dict[OrderId, Call] = {}
    for call in waiting:
        first.setdefault(call.order_id, call)
    ready = [
        call
        for call in first.values()
        if not _rests(call, now)
        and (call.order_id not in unsent or isinstance(call.request, BrokerOrderRequested))
        and (call.order_id in cancelled or not _lacks_room(call, full, now, patience))
    ]
    return min(ready, key=lambda c: (not c.is_urgent, _repeats(c), c.seq), default=None)


def _of_one_order(call: Call) -> tuple[int, int]:
    return _TURNS[type(call.request)], call.seq


def _repeats(call: Call) -> int:
    """Orders keep their turn: the legs of a hedge are placed as they were asked for."""
    return 0 if isinstance(call.request, BrokerOrderRequested) else call.attempts


def _rests(call: Call, now: datetime) -> bool:
    """No call rests longer than the longest pause: what seems so was recorded by a clock that ran ahead, and would
    leave when nobody expects it any more.
    """
    return now < call.not_before <= now + LAST_RETRY


def _lacks_room(call: Call, full: Collection[OrderPurpose], now: datetime, patience: Patience) -> bool:
    """What has waited too long to leave is not kept: it is refused."""
    request = call.request
    if not isinstance(request, BrokerOrderRequested) or request.purpose not in full:
        return False
    return request.purpose is OrderPurpose.SQUARE_OFF or now - call.created_at < patience.to_leave


def is_exit(call: Call) -> bool:
    """A square-off's."""
    return isinstance(call.request, BrokerOrderRequested) and call.request.purpose is OrderPurpose.SQUARE_OFF


def begin(call: Call, now: datetime) -> Call:
    return replace(call, state=CallState.CALLING, attempts=call.attempts + 1, called_at=now)


def done(call: Call, now: datetime) -> Call:
    return replace(call, state=CallState.DONE, answered_at=now)


def refuse(call: Call, reason: str, now: datetime) -> Verdict:
    """Not sent, and never will be."""
    return Verdict(done(call, now), REFUSALS[type(call.request)], reason)


def drop(call: Call, reason: str, now: datetime) -> Verdict:
    """An order that never left us: there is nothing to cancel."""
    return Verdict(done(call, now), ExecutionKind.CANCELLED, reason)


def judge(call: Call, answer: Answer, now: datetime, patience: Patience) -> Verdict:
    """What the broker's answer, or its silence, makes of a call."""
    match answer:
        case Refused() if call.attempts > 1 and not isinstance(call.request, BrokerOrderRequested):
            return await_book(call, now)
        case Refused(reason):
            return refuse(call, reason, now)
        case Taken(broker_order_id):
            return _taken(call, broker_order_id, now)
        case NotTaken(reason):
            return _again(call, reason, now, patience) or refuse(call, f"{reason}; nothing was sent", now)
        case Silent(reason):
            return _silence(call, reason, now, patience)


def _taken(call: Call, broker_order_id: str, now: datetime) -> Verdict:
    match call.request:
        case BrokerOrderRequested():
            return Verdict(done(call, now), ExecutionKind.ACCEPTED, broker_order_id=broker_order_id)
        case BrokerModifyRequested() | BrokerCancelRequested():
            return await_book(call, now)


def await_book(call: Call, now: datetime) -> Verdict:
    """What became of it the book will show; of a repeat that is refused, too: an earlier try may have been taken."""
    return Verdict(replace(call, state=CallState.AWAITED, answered_at=now))


def _silence(call: Call, reason: str, now: datetime, patience: Patience) -> Verdict:
    if isinstance(call.request, BrokerOrderRequested):
        return Verdict(done(call, now), ExecutionKind.UNKNOWN, reason)
    if call.attempts < patience.repeats:
        return Verdict(_wait(call, now, patience))
    if isinstance(call.request, BrokerModifyRequested):
        return await_book(call, now)
    return refuse(call, reason, now)


def _again(call: Call, reason: str, now: datetime, patience: Patience) -> Verdict | None:
    """Sending again is safe, since it was not taken; for as long as its owner may expect it."""
    if now - call.created_at >= patience.to_leave:
        return None
    return Verdict(_wait(call, now, patience), reason=reason)


def _wait(call: Call, now: datetime, patience: Patience) -> Call:
    pause = min(patience.first_retry * 2 ** max(call.attempts - 1, 0), LAST_RETRY)
    return replace(call, state=CallState.WAITING, not_before=now + pause)


def await_order(call: Call, now: datetime, patience: Patience) -> Verdict:
    """A cancel may overtake its order, whose sender was stopped in between: it holds when the order comes."""
    return Verdict(replace(call, not_before=now + patience.first_retry))


def orphaned(call: Call, now: datetime) -> Verdict:
    """Whoever called is gone. An order may be at the broker; a change or a cancel is simply asked for again."""
    if isinstance(call.request, BrokerOrderRequested):
        reason = "the call was cut off before its answer was stored"
        return Verdict(done(call, now), ExecutionKind.UNKNOWN, reason)
    return Verdict(replace(call, state=CallState.WAITING, not_before=now))


def cancel_of(call: Call, calls: Iterable[Call]) -> Call | None:
    """The cancel that waits behind an order which has not left yet."""
    return next(
        (c for c in calls if c.order_id == call.order_id and isinstance(c.request, BrokerCancelRequested)), None
    )


def changes_by_order(calls: Iterable[Call]) -> Mapping[OrderId, Call]:
    """The oldest change that the book has yet to show, by order."""
    return _awaited(calls, BrokerModifyRequested)


def cancels_by_order(calls: Iterable[Call]) -> Mapping[OrderId, Call]:
    """The same of cancels."""
    return _awaited(calls, BrokerCancelRequested)


def _awaited(calls: Iterable[Call], kind: type[Request]) -> Mapping[OrderId, Call]:
    """Those too that wait to be repeated: what nobody answered may have been taken."""
    asked = (c for c in calls if c.state is CallState.AWAITED or (c.state is CallState.WAITING and c.attempts))
    awaited = (c for c in asked if isinstance(c.request, kind))
    return {call.order_id: call for call in sorted(awaited, key=lambda c: -c.seq)}
