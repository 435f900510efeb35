"""One call to a broker, in three parts: the last look before it leaves, the call itself, and what its answer means.

The first and the last are transactions, the call is outside of both. Whatever dies in between leaves a CALLING row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from prometheus_client import Counter

from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import Broker, ExecutionKind, OrderPurpose, OrderStatus
from libs.common.contracts.ids import AccountId
from libs.common.contracts.venue import ExecutionReported
from libs.common.runtime import Unit
from libs.common.telemetry import log
from services.trading.domain import book, calls, exit_plan, orders, panics
from services.trading.domain.book import Look, Watch, Watched
from services.trading.domain.calls import Answer, Call, NotTaken, Patience, Refused, Silent, Taken, Verdict
from services.trading.domain.orders import REACHES_WITHIN, Order
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Secrets, Vault, VaultLocked

Work: TypeAlias = Unit[TradingStore, TradingMemory]

ALARMS = Counter("broker_alarms", "What a person should look at, at a broker")
ANSWERS_A_CHANGE = (ExecutionKind.MODIFIED, ExecutionKind.MODIFY_REJECTED)

NO_CREDENTIALS = "the account has no credentials for its broker: set them, and log in there"


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that is recorded and may go."""

    call: Call
    secrets: Secrets
    broker_order_id: str | None


async def prepare(call: Call, queue: Sequence[Call], work: Work, vault: Vault, patience: Patience) -> Ready | None:
    """Record the attempt, under the epochs in force; None when it must not be made, which is told then."""
    store = work.store
    watched = await store.watched.get(call.order_id)
    order = await store.orders.get(call.order_id)
    if order is None:
        raise LookupError(f"order {call.order_id} does not exist, though its broker is asked for something")
    verdict = await _forbid(call, queue, order, watched, work, patience)
    if verdict is not None:
        conclude(verdict, watched, work)
        return None
    secrets = await unsealed(call.account_id, call.request.broker, work, vault)
    if isinstance(secrets, str):
        conclude(calls.refuse(call, secrets, work.now), watched, work)
        return None
    begun = calls.begin(call, work.now)
    store.calls.save(begun)
    if isinstance(call.request, BrokerOrderRequested):
        watched = book.watch(begun, call.request, work.now, patience)
        store.watched.save(watched)
    return Ready(begun, secrets, watched.broker_order_id if watched else None)


async def unsealed(account_id: AccountId, broker: Broker, work: Work, vault: Vault) -> Secrets | str:
    """The account's credentials, or why there are none."""
    sealed = await work.store.credentials.get(account_id, broker)
    if sealed is None:
        return NO_CREDENTIALS
    try:
        return vault.unseal(account_id, broker, sealed)
    except VaultLocked as error:
        log.error("vault_locked", account_id=str(account_id), error=str(error))
        return str(error)


async def _forbid(
    call: Call, queue: Sequence[Call], order: Order, watched: Watched | None, work: Work, patience: Patience
) -> Verdict | None:
    """Why it must not be sent any more."""
    match call.request:
        case BrokerOrderRequested():
            return await _forbid_order(call, call.request, queue, order, watched, work, patience)
        case BrokerModifyRequested():
            return await _forbid_change(call, call.request, order, watched, work, patience)
        case BrokerCancelRequested():
            if watched is None and not order.status.is_final:
                return calls.await_order(call, work.now, patience)
            is_there = watched is not None and watched.state is Watch.LIVE and watched.broker_order_id is not None
            return None if is_there else Verdict(calls.done(call, work.now))


async def _forbid_order(
    call: Call,
    request: BrokerOrderRequested,
    queue: Sequence[Call],
    order: Order,
    watched: Watched | None,
    work: Work,
    patience: Patience,
) -> Verdict | None:
    if order.status is not OrderStatus.SUBMITTED or (watched and watched.broker_order_id):
        return Verdict(calls.done(call, work.now))
    denial = await _denial(request, order, work)
    if denial:
        return calls.drop(call, f"{denial}; it had not left yet", work.now)
    if (cancel := calls.cancel_of(call, queue)) is not None:
        work.store.calls.save(calls.done(cancel, work.now))
        return calls.drop(call, "cancelled before it left", work.now)
    if order.is_exit and await _is_needless(order, work):
        return calls.drop(call, f"{exit_plan.NEEDLESS.reason}; it had not left yet", work.now)
    waited = work.now - call.created_at >= patience.to_leave or work.now - order.requested_at >= REACHES_WITHIN
    if order.purpose is not OrderPurpose.SQUARE_OFF and waited:
        return calls.refuse(call, "it waited too long to leave; nothing was sent", work.now)
    return None


async def _is_needless(order: Order, work: Work) -> bool:
    open_ones = await work.store.orders.open(order.account_id)
    return exit_plan.is_needless(order, open_ones, await work.store.positions.live_books(order.account_id))


async def _forbid_change(
    call: Call, request: BrokerModifyRequested, order: Order, watched: Watched | None, work: Work, patience: Patience
) -> Verdict | None:
    """One that was asked for before without an answer may hold already: only the book can tell of it."""
    if order.status.is_final or watched is None or watched.broker_order_id is None:
        return calls.refuse(call, f"the order is {order.status}", work.now)
    if order.cancel_requested_at is not None:
        return calls.refuse(call, orders.BEING_CANCELLED, work.now)
    waited = work.now - call.created_at
    if call.attempts and waited >= REACHES_WITHIN:
        return calls.await_book(call, work.now)
    if not call.attempts and waited >= patience.to_leave:
        return calls.refuse(call, orders.CHANGE_WAITED, work.now)
    denial = await _denial(request, order, work)
    return calls.refuse(call, denial, work.now) if denial else None


async def _denial(request: BrokerOrderRequested | BrokerModifyRequested, order: Order, work: Work) -> str | None:
    """The transaction holds the panic's gate: what is seen here is in force until it commits."""
    account = await work.store.accounts.owner(order.account_id)
    epochs = await work.store.epochs(account, order.strategy_id)
    denial = panics.refuse(account, epochs, request.epoch, request.purpose)
    return None if denial is None else denial.reason


async def settle(called: Call, answer: Answer, work: Work, patience: Patience) -> None:
    """Store what an answer means, be it that others have concluded something in the meantime."""
    watched = await work.store.watched.get(called.order_id)
    current = await work.store.calls.get(called.call_id)
    if current.state is calls.CallState.CALLING and current.attempts == called.attempts:
        verdict = calls.judge(current, answer, work.now, patience)
        conclude(verdict, watched, work)
    elif isinstance(called.request, BrokerOrderRequested) and watched is not None:
        _settle_late(current, answer, watched, work)


def _settle_late(call: Call, answer: Answer, watched: Watched, work: Work) -> None:
    """We were thought dead, and our order's outcome unknown. An answer that says what happened is the truth."""
    log.warning("late_answer", order_id=str(call.order_id), answer=type(answer).__name__, state=watched.state)
    match answer:
        case Taken(broker_order_id):
            show(book.answered(watched, broker_order_id, work.now), work)
        case Refused(reason) | NotTaken(reason) if watched.state is Watch.UNKNOWN:
            conclude(calls.refuse(call, reason, work.now), watched, work)
        case Refused() | NotTaken() | Silent():
            pass


def conclude(verdict: Verdict, watched: Watched | None, work: Work) -> None:
    """Save the call, and say what became of it."""
    call = verdict.call
    work.store.calls.save(call)
    if verdict.said is None:
        return
    if verdict.said is ExecutionKind.ACCEPTED and watched is not None:
        show(book.answered(watched, verdict.broker_order_id, work.now), work)
        return
    if isinstance(call.request, BrokerOrderRequested) and watched is not None:
        state = Watch.UNKNOWN if verdict.said is ExecutionKind.UNKNOWN else Watch.ENDED
        work.store.watched.save(replace(watched, state=state))
    said = told(call, verdict.said, verdict.reason, watched, work)
    work.say(said, correlation_id=call.correlation_id, user_id=call.user_id)


def told(call: Call, kind: ExecutionKind, reason: str, watched: Watched | None, work: Work) -> ExecutionReported:
    return ExecutionReported(
        order_id=call.order_id,
        account_id=call.account_id,
        instrument=call.request.instrument,
        kind=kind,
        execution_id=f"{call.call_id}:{kind.lower()}",
        venue_order_id=(watched.broker_order_id if watched else None) or "",
        reason=reason,
        executed_at=work.now,
    )


def show(look: Look, work: Work) -> None:
    """Keep and say what the broker's answer or book tells of one order."""
    order = look.order
    for alarm in look.alarms:
        ALARMS.inc()
        log.error("broker_alarm", alarm=alarm, order_id=str(order.order_id), broker_order_id=order.broker_order_id)
    work.store.watched.save(order)
    if look.settled is not None:
        work.store.calls.save(calls.done(look.settled, work.now))
    if look.answered is not None:
        work.store.calls.save(calls.done(look.answered, work.now))
    for said in look.said:
        story = _story(look, said.kind)
        work.say(said, correlation_id=story.correlation_id, user_id=story.user_id)


def _story(look: Look, kind: ExecutionKind) -> Call | Watched:
    """Whose request it answers."""
    if look.settled and kind in ANSWERS_A_CHANGE:
        return look.settled
    return look.answered if look.answered and kind is ExecutionKind.CANCEL_REJECTED else look.order
