"""Whether the stack is at rest: every reader has handled what concerns it, and nothing waits to be published.

Who must have read what is written down here anew. A service stores an offset only with a message that it handles, so
what counts is whether a message of a type that it reads lies beyond.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.contracts import topics
from tools.reconcile.fold import Facts
from tools.reconcile.log import RESTLESS
from tools.reconcile.record import Partition, Span
from tools.reconcile.rows import SERVICES, OffsetRow, OutboxRow, WaitingAction, WaitingBook
from tools.reconcile.tables import Tables

_EVENTS = topics.TRADING_EVENTS.name
_ENDINGS = ("OrderDenied", "OrderRejected", "OrderCancelled", "OrderExpired")
READERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "risk": {
        topics.ORDER_REQUESTS.name: ("OrderRequested", "OrderModifyRequested"),
        _EVENTS: ("PositionChanged", "FundsChanged", "OrderModified", "OrderModifyRefused", "OrderReopened", *_ENDINGS),
        topics.ACCOUNTS.name: ("AccountSaved", "AccountDeleted"),
        topics.PANICS.name: ("PanicRaised", "PanicReset"),
        topics.CORPORATE_ACTIONS.name: ("CorporateActionsImported",),
    },
    "trading": {
        topics.RISK_DECISIONS.name: ("OrderCleared", "OrderDenied", "OrderModifyCleared", "OrderModifyRefused"),
        topics.TRADING_REQUESTS.name: tuple(each.__name__ for each in topics.TRADING_REQUESTS.carries),
        topics.PANIC_REQUESTS.name: ("PanicRequested", "PanicResetRequested"),
        topics.EXECUTIONS.name: ("ExecutionReported",),
        topics.SETTLEMENTS.name: ("ContractSettled",),
        topics.CORPORATE_ACTIONS.name: ("CorporateActionsImported",),
        topics.BROKER_EXECUTIONS.name: ("ExecutionReported", "PositionClosedAtBroker"),
    },
    "walkforward": {
        topics.VENUE_REQUESTS.name: ("VenueOrderRequested", "VenueModifyRequested", "VenueCancelRequested"),
    },
    "signals": {topics.USERS.name: ("UserAccessChanged",)},
    "strategy": {
        topics.SIGNALS.name: ("SignalReceived",),
        topics.USERS.name: ("UserAccessChanged",),
        topics.ACCOUNTS.name: ("AccountSaved", "AccountDeleted"),
        _EVENTS: ("PositionChanged", "SquareOffCompleted", "OrderModified", "OrderReopened", *_ENDINGS),
    },
    "gateway": {
        _EVENTS: tuple(each.__name__ for each in topics.TRADING_EVENTS.carries),
        topics.ACCOUNTS.name: ("AccountSaved", "AccountDeleted"),
        topics.PANICS.name: ("PanicRaised", "PanicReset"),
        topics.RISK_LIMITS.name: ("RiskLimitSaved", "RiskLimitDeleted"),
        topics.SIGNALS.name: ("SignalReceived",),
        topics.STRATEGY_DECISIONS.name: ("SignalActedOn", "SignalSkipped"),
    },
}


@dataclass(frozen=True, slots=True)
class Unrest:
    """Why the stack is not at rest."""

    what: str


async def unrest(
    facts: Facts, tables: Tables, read: Mapping[Partition, int], spans: Mapping[Partition, Span]
) -> Unrest | None:
    """`read` is how far the log was read before the tables were opened, `spans` what it holds since."""
    for partition, end in read.items():
        if spans[partition].high > end:
            return Unrest(f"{partition[0]}[{partition[1]}] is being written to")
    for service in SERVICES:
        async for row in tables.read(OutboxRow, service):
            if row.topic.startswith(RESTLESS):
                continue
            return Unrest(f"{row.type} waits in the outbox of {service} since {row.said_at:%H:%M:%S}")
    for service, reads in READERS.items():
        behind = await _behind(service, reads, facts, tables)
        if behind is not None:
            return behind
    return await _unsettled(tables)


async def _unsettled(tables: Tables) -> Unrest | None:
    async for book in tables.read(WaitingBook):
        return Unrest(f"what account {book.account_id} holds of {book.instrument} waits to be settled")
    async for action in tables.read(WaitingAction):
        what = f"what account {action.account_id} carried of {action.instrument} into {action.ex_date}"
        return Unrest(f"{what} waits for its {action.kind} to be booked")
    return None


async def _behind(service: str, reads: Mapping[str, tuple[str, ...]], facts: Facts, tables: Tables) -> Unrest | None:
    handled = {(row.topic, row.partition): row.next_offset async for row in tables.read(OffsetRow, service)}
    for (partition, kind), offset in facts.last.items():
        if kind in reads.get(partition[0], ()) and handled.get(partition, 0) <= offset:
            return Unrest(f"{service} has not handled the {kind} at {partition[0]}[{partition[1]}]@{offset}")
    return None
