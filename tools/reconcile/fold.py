"""From the log to facts, one record at a time, in whatever order the topics come; each topic's own order is kept.

What shows in a single topic (an illegal step, a doubled fill, a position that is not its fills) is found here, at the
message that shows it. What needs two topics, or the tables, is found by the checks, once all was read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal, localcontext
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common.contracts import topics
from libs.common.contracts.algos import AlgoDeleted, AlgoSaved, SignalActedOn, SignalSkipped
from libs.common.contracts.base import Message, RequestRefused, Topic
from libs.common.contracts.brokers import (
    BrokerModifyRequested,
    BrokerOrderRequested,
    PositionClosedAtBroker,
    PositionsCompared,
)
from libs.common.contracts.enums import ExecutionKind, RepeatRule
from libs.common.contracts.masters import ContractSettled, CorporateActionsImported
from libs.common.contracts.orders import (
    FillReported,
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderFact,
    OrderModifyCleared,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRequested,
    OrderSubmitted,
    OrderTerms,
)
from libs.common.contracts.portfolio import FundsChanged, PositionAdjusted, PositionChanged, PositionSettled
from libs.common.contracts.risk import (
    PanicRaised,
    PanicRequested,
    PanicReset,
    PanicResetRequested,
    RiskLimitDeleted,
    RiskLimitSaved,
)
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.venue import ExecutionReported, VenueModifyRequested, VenueOrderRequested
from tools.reconcile import history
from tools.reconcile.books import Books
from tools.reconcile.facts import (
    Algo,
    Booked,
    Change,
    ChangeSent,
    Decided,
    Fill,
    Heard,
    Order,
    PanicStep,
    Settled,
    ShareAction,
    Worth,
    change_terms_of,
    shares_of,
    terms_of,
    venue_terms_of,
)
from tools.reconcile.record import Partition, Record, Span
from tools.reconcile.rules import Findings, Rule, contract, order, position

EXACT = Context(prec=40)
STRATEGY = "/services/strategy"
PANICS = frozenset({PanicRequested.__name__, PanicResetRequested.__name__})
REFUSALS = frozenset({ExecutionKind.MODIFY_REJECTED, ExecutionKind.CANCEL_REJECTED})
SETTLED = ":settled:"
"""In the ids of reports that no venue made: a person told what became of the order."""
TAKEN = frozenset({ExecutionKind.ACCEPTED, ExecutionKind.TRIGGERED, ExecutionKind.FILLED, ExecutionKind.FOUND})
ENDINGS = frozenset({ExecutionKind.REJECTED, ExecutionKind.CANCELLED, ExecutionKind.EXPIRED})

M = TypeVar("M", bound=Message)


class Named(BaseModel):
    """Whatever names an order, a signal or a panic."""

    order_id: UUID | None = None
    signal_id: UUID | None = None
    panic_id: UUID | None = None


@dataclass
class Facts:
    """All that the log told."""

    orders: dict[UUID, Order] = field(default_factory=dict)
    books: Books = field(default_factory=Books)
    panic_steps: list[PanicStep] = field(default_factory=list)
    acknowledged: dict[UUID, int] = field(default_factory=dict)
    """When PanicRaised was first sent, by panic."""
    raised: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    """The scope that each panic stopped, and the epoch that it began."""
    lifted: dict[UUID, str] = field(default_factory=dict)
    """The resets that trading acknowledged, by what they began again: it refuses some."""
    refused: set[str] = field(default_factory=set)
    """The panics and resets that it refused."""
    limits: dict[UUID, RiskLimitSaved | None] = field(default_factory=dict)
    """As each was told last; none of those that were deleted."""
    changes: dict[tuple[UUID, str], Change] = field(default_factory=dict)
    """By order and story, which is the id of the wish."""
    cancels: set[str] = field(default_factory=set)
    """Ids of the wishes to cancel an order."""
    changes_sent: list[ChangeSent] = field(default_factory=list)
    signals: dict[UUID, Heard] = field(default_factory=dict)
    algos: dict[UUID, list[Algo]] = field(default_factory=dict)
    """Every version of each, in their order."""
    decided: dict[tuple[UUID, UUID], Decided] = field(default_factory=dict)
    """By signal and algo."""
    asked_on_signals: list[tuple[UUID, UUID, int]] = field(default_factory=list)
    """Signal, order that an algo says it asked for, when."""
    asked_by_algos: dict[UUID, int] = field(default_factory=dict)
    """When strategy asked for an order."""
    worth: dict[str, Worth] = field(default_factory=dict)
    """What each expired contract was told to be worth, by instrument."""
    closed_at_brokers: set[tuple[UUID, str, str, Decimal]] = field(default_factory=set)
    """Account, instrument, product and price of what brokers closed past us."""
    settled: dict[UUID, Settled] = field(default_factory=dict)
    """Books that were settled, by their place in the tradebook."""
    share_actions: set[ShareAction] = field(default_factory=set)
    """All splits and bonuses that were ever told, also those that were told otherwise later."""
    adjusted: dict[tuple[UUID, str, str, str, date], Booked] = field(default_factory=dict)
    """Positions that one of them was booked on."""
    compared: dict[UUID, PositionsCompared] = field(default_factory=dict)
    """What was told last of each account's positions at its broker."""
    last: dict[tuple[Partition, str], int] = field(default_factory=dict)
    """The newest offset of each type in each partition."""
    spans: Mapping[Partition, Span] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()
    """Topics of which a partition does not reach back to its beginning."""
    records: int = 0
    repeats: int = 0
    unreadable: list[Record] = field(default_factory=list)

    def order(self, order_id: UUID, account_id: UUID) -> Order:
        found = self.orders.get(order_id)
        if found is None:
            found = self.orders[order_id] = Order(order_id, account_id)
        return found

    def change(self, order_id: UUID, story: str) -> Change:
        return self.changes.setdefault((order_id, story), Change())

    def is_cut(self, topic: str) -> bool:
        """Whether the beginning of the topic is not kept any more."""
        return topic in self.cut

    def may_lack(self, topic: Topic, at: datetime | None, now: datetime) -> bool:
        """Whether retention may have taken what was said there at that time. A log that was put back from a backup
        counts from 0, whatever its beginning had lost before."""
        is_old = topic.retention is not None and at is not None and now - at > topic.retention
        return is_old or self.is_cut(topic.name)


class Fold:
    def __init__(self, findings: Findings) -> None:
        self.facts = Facts()
        self.discarded: set[tuple[str, int, int]] = set()
        """Places of messages that somebody gave up by command."""
        self._findings = findings
        self._seen: set[int] = set()
        self._executions: dict[int, int] = {}
        self._readers: dict[tuple[str, str], Callable[[Record], None]] = {}
        self._read(topics.ORDER_REQUESTS.name, OrderRequested, self._requested)
        self._read(topics.RISK_DECISIONS.name, OrderCleared, self._cleared)
        self._read(topics.RISK_DECISIONS.name, OrderDenied, self._denied_by_risk)
        self._read_changes()
        self._read(topics.VENUE_REQUESTS.name, VenueOrderRequested, self._sent)
        self._read(topics.BROKER_REQUESTS.name, BrokerOrderRequested, self._sent)
        self._read(topics.EXECUTIONS.name, ExecutionReported, self._executed)
        self._read(topics.BROKER_EXECUTIONS.name, ExecutionReported, self._executed)
        self._read(topics.BROKER_EXECUTIONS.name, PositionClosedAtBroker, self._closed_at_broker)
        self._read(topics.TRADING_REFUSALS.name, RequestRefused, self._refused)
        self._read(topics.SETTLEMENTS.name, ContractSettled, self._contract_settled)
        self._read(topics.CORPORATE_ACTIONS.name, CorporateActionsImported, self._actions_imported)
        self._read(topics.RISK_LIMITS.name, RiskLimitSaved, self._limit_saved)
        self._read(topics.RISK_LIMITS.name, RiskLimitDeleted, self._limit_deleted)
        self._read_panics()
        self._read_signals()
        self._read_trading()

    def _read_changes(self) -> None:
        self._read(topics.ORDER_REQUESTS.name, OrderModifyRequested, self._change_asked)
        self._read(topics.RISK_DECISIONS.name, OrderModifyCleared, self._change_cleared)
        self._read(topics.RISK_DECISIONS.name, OrderModifyRefused, self._change_refused_by_risk)
        self._read(topics.VENUE_REQUESTS.name, VenueModifyRequested, self._change_sent)
        self._read(topics.BROKER_REQUESTS.name, BrokerModifyRequested, self._change_sent)
        self._read(topics.TRADING_REQUESTS.name, OrderCancelRequested, self._cancel_asked)

    def _read_panics(self) -> None:
        self._read(topics.PANIC_REQUESTS.name, PanicRequested, self._panic_asked)
        self._read(topics.PANIC_REQUESTS.name, PanicResetRequested, self._panic_asked)
        self._read(topics.PANICS.name, PanicRaised, self._panic_raised)
        self._read(topics.PANICS.name, PanicReset, self._panic_reset)

    def _read_signals(self) -> None:
        self._read(topics.SIGNALS.name, SignalReceived, self._signal)
        self._read(topics.ALGOS.name, AlgoSaved, self._algo_saved)
        self._read(topics.ALGOS.name, AlgoDeleted, self._algo_deleted)
        self._read(topics.STRATEGY_DECISIONS.name, SignalActedOn, self._acted_on)
        self._read(topics.STRATEGY_DECISIONS.name, SignalSkipped, self._skipped)

    def _read_trading(self) -> None:
        for event in topics.TRADING_EVENTS.carries:
            self._read(topics.TRADING_EVENTS.name, event, self._happened)
        self._read(topics.TRADING_EVENTS.name, PositionsCompared, self._compared)

    def begin(self, spans: Mapping[Partition, Span]) -> None:
        self.facts.spans = spans
        self.facts.cut = frozenset(topic for (topic, _), span in spans.items() if span.low > 0)

    def take(self, record: Record) -> None:
        facts = self.facts
        facts.records += 1
        kind = record.type
        if (record.topic, record.partition, record.offset) in self.discarded:
            self._explain(record)
        facts.last[(record.topic, record.partition), kind] = record.offset
        reader = self._readers.get((record.topic, kind))
        if reader is None:
            return
        mark = hash(record.headers.get("ce_id", record.value))
        if mark in self._seen:
            facts.repeats += 1
            return
        self._seen.add(mark)
        try:
            with localcontext(EXACT):
                reader(record)
        except ValidationError:
            facts.unreadable.append(record)

    def _read(self, topic: str, model: type[M], handle: Callable[[M, Record], None]) -> None:
        def read(record: Record) -> None:
            handle(model.model_validate_json(record.value), record)

        self._readers[topic, model.__name__] = read

    def _explain(self, record: Record) -> None:
        self._findings.explained.add(record.id)
        try:
            named = Named.model_validate_json(record.value)
        except ValidationError:
            return
        ids = (named.order_id, named.signal_id, named.panic_id)
        self._findings.explained.update(str(each) for each in ids if each is not None)

    def _requested(self, wish: OrderRequested, record: Record) -> None:
        found = self.facts.order(wish.order_id, wish.account_id)
        found.requests += 1
        if found.requested_at is None:
            found.requested_at, found.asked = record.sent_at, terms_of(wish)
        if record.source == STRATEGY:
            self.facts.asked_by_algos.setdefault(wish.order_id, record.millis)

    def _cleared(self, cleared: OrderCleared, record: Record) -> None:
        found = self.facts.order(cleared.order_id, cleared.account_id)
        found.clearances += 1
        found.cleared_terms = hash((terms_of(cleared), cleared.epoch, cleared.margin))
        found.cleared_unit = cleared.unit_margin
        found.granted = terms_of(cleared)
        found.cleared_at = record.sent_at

    def _denied_by_risk(self, denied: OrderDenied, record: Record) -> None:
        found = self.facts.order(denied.order_id, denied.account_id)
        found.denials_by_risk += 1
        found.last_at = found.last_at or record.sent_at

    def _change_asked(self, wish: OrderModifyRequested, record: Record) -> None:
        known = self.facts.change(wish.order_id, record.id)
        known.asked_millis = record.millis
        known.asked = (wish.quantity, wish.order_type, wish.price, wish.trigger_price)

    def _change_cleared(self, change: OrderModifyCleared, record: Record) -> None:
        known = self.facts.change(change.order_id, record.story)
        known.decided(record.millis)
        known.granted = (change.quantity, change.order_type, change.price, change.trigger_price)
        known.clearance = (change.epoch, change_terms_of(change))

    def _change_refused_by_risk(self, refused: OrderModifyRefused, record: Record) -> None:
        self.facts.change(refused.order_id, record.story).decided(record.millis)

    def _cancel_asked(self, _: OrderCancelRequested, record: Record) -> None:
        self.facts.cancels.add(record.id)

    def _sent(self, request: VenueOrderRequested | BrokerOrderRequested, record: Record) -> None:
        found = self.facts.order(request.order_id, request.account_id)
        found.venue_requests += 1
        if found.venue_requests > 1:
            what = f"was sent to the venue {found.venue_requests} times ({record.place})"
            self._findings.add(Rule.VENUE, order(found.order_id), what, record.sent_at)
            return
        found.left_millis = record.millis
        found.venue_terms = venue_terms_of(request)

    def _change_sent(self, change: VenueModifyRequested | BrokerModifyRequested, record: Record) -> None:
        found = self.facts.order(change.order_id, change.account_id)
        found.margin_is_known = False
        found.largest = max(found.largest, change.quantity)
        sent = ChangeSent(change.order_id, record.story, change_terms_of(change), record.millis)
        self.facts.changes_sent.append(sent)
        self.facts.change(change.order_id, record.story).is_told = True

    def _executed(self, report: ExecutionReported, record: Record) -> None:
        found = self.facts.order(report.order_id, report.account_id)
        mark, told = hash(report.execution_id), hash((report.order_id, report.quantity, report.price))
        known = self._executions.get(mark)
        if known is not None:
            if known != told:
                what = f"execution {report.execution_id} was told twice, differently ({record.place})"
                self._findings.add(Rule.FILLS, order(report.order_id), what, record.sent_at)
            return
        self._executions[mark] = told
        if SETTLED in report.execution_id:
            found.by_hand.append(report)
        if report.kind in REFUSALS:
            self._refused_there(report, record)
        else:
            found.executions += 1
        if report.kind in ENDINGS:
            found.ending = report.kind.value
        if report.kind in TAKEN:
            found.accepted_by_venue = True
        found.was_found |= report.kind is ExecutionKind.FOUND
        found.was_unseen |= report.kind is ExecutionKind.UNSEEN
        if report.kind is ExecutionKind.FILLED:
            found.venue_fills.append(Fill(report.execution_id, report.quantity, report.price or Decimal(0)))

    def _refused_there(self, report: ExecutionReported, record: Record) -> None:
        if report.kind is ExecutionKind.MODIFY_REJECTED:
            self.facts.change(report.order_id, record.story).met_no_market = True

    def _panic_asked(self, wish: PanicRequested | PanicResetRequested, record: Record) -> None:
        is_reset = isinstance(wish, PanicResetRequested)
        self.facts.panic_steps.append(PanicStep(wish.scope, wish.panic_id, is_reset, record.millis, wish.by_admin))

    def _panic_raised(self, raised: PanicRaised, record: Record) -> None:
        self.facts.acknowledged.setdefault(raised.panic_id, record.millis)
        self.facts.raised[raised.panic_id] = (raised.scope, raised.epoch)

    def _panic_reset(self, reset: PanicReset, _: Record) -> None:
        self.facts.lifted[reset.panic_id] = reset.scope

    def _refused(self, refused: RequestRefused, _: Record) -> None:
        if refused.request in PANICS:
            self.facts.refused.add(refused.entity_id)

    def _limit_saved(self, saved: RiskLimitSaved, _: Record) -> None:
        self.facts.limits[saved.limit_id] = saved

    def _limit_deleted(self, deleted: RiskLimitDeleted, _: Record) -> None:
        self.facts.limits[deleted.limit_id] = None

    def _signal(self, signal: SignalReceived, _: Record) -> None:
        known = self.facts.signals.setdefault(
            signal.signal_id, Heard(signal.group_id, signal.user_id, signal.received_at)
        )
        known.told += 1

    def _algo_saved(self, saved: AlgoSaved, record: Record) -> None:
        groups = frozenset(mapping.group_id for mapping in saved.algo.mappings)
        reverses = saved.algo.on_repeat is RepeatRule.REVERSE
        version = Algo(record.sent_at, saved.user_id, groups, reverses)
        self.facts.algos.setdefault(saved.algo_id, []).append(version)

    def _algo_deleted(self, deleted: AlgoDeleted, record: Record) -> None:
        self.facts.algos.setdefault(deleted.algo_id, []).append(Algo(record.sent_at))

    def _decision(self, event: SignalActedOn | SignalSkipped) -> Decided:
        return self.facts.decided.setdefault((event.signal_id, event.algo_id), Decided())

    def _skipped(self, skipped: SignalSkipped, _: Record) -> None:
        self._decision(skipped).skipped.append(skipped.reason)

    def _acted_on(self, acted: SignalActedOn, record: Record) -> None:
        self._decision(acted).acted += 1
        asked = ((acted.signal_id, UUID(order_id), record.millis) for order_id in acted.order_ids)
        self.facts.asked_on_signals.extend(asked)

    def _contract_settled(self, told: ContractSettled, record: Record) -> None:
        worth = Worth(told.price, told.spot_price)
        known = self.facts.worth.setdefault(told.instrument, worth)
        what = f"was told to be worth {worth.price}, and {known.price} before ({record.place})"
        self._findings.expect(Rule.SETTLED, known == worth, contract(told.instrument), what, record.sent_at)

    def _closed_at_broker(self, told: PositionClosedAtBroker, _: Record) -> None:
        self.facts.closed_at_brokers.add((told.account_id, told.instrument, told.product, told.price))

    def _settled(self, event: PositionSettled, record: Record, *, is_cut: bool) -> None:
        settled = Settled(
            event.fill_id,
            event.account_id,
            event.instrument,
            event.product,
            event.strategy_id,
            event.side.sign * event.quantity,
            Worth(event.price, event.spot_price),
            event.was_closed_at_broker,
            record.sent_at,
        )
        about = position(event.account_id, event.instrument, event.product, event.strategy_id)
        what = f"settlement {event.fill_id} was told twice ({record.place})"
        self._findings.expect(Rule.SETTLED, event.fill_id not in self.facts.settled, about, what, record.sent_at)
        self.facts.settled[event.fill_id] = settled
        self.facts.books.settle(event, record, self._findings, is_cut=is_cut)

    def _actions_imported(self, told: CorporateActionsImported, _: Record) -> None:
        self.facts.share_actions.update(
            (each.instrument, each.kind, each.ex_date, each.old, each.new) for each in told.actions
        )

    def _adjusted(self, event: PositionAdjusted, record: Record, *, is_cut: bool) -> None:
        action = (event.instrument, event.kind, event.ex_date, event.old, event.new)
        about = position(event.account_id, event.instrument, event.product)
        what = f"{event.kind} of {event.ex_date} was booked twice ({record.place})"
        name = (event.account_id, event.product, *action[:3])
        self._findings.expect(Rule.POSITIONS, name not in self.facts.adjusted, about, what, record.sent_at)
        self.facts.adjusted[name] = Booked(event.account_id, event.product, action, record.sent_at)
        self.facts.books.adjust(event, shares_of(action), record, self._findings, is_cut=is_cut)

    def _happened(self, event: Message, record: Record) -> None:
        is_cut = self.facts.spans[record.topic, record.partition].low > 0
        match event:
            case OrderSubmitted():
                history.submitted(self._order(event), event, record, self._findings)
            case OrderDenied():
                history.denied(self._order(event), event, record, self._findings)
            case FillReported():
                found = self._order(event)
                history.step(found, event, record, self._findings, is_cut=is_cut)
                self.facts.books.fill(event, found, record, is_cut=is_cut)
            case OrderFact():
                if event.version:  # version 0 refuses to cancel what was never sent
                    history.step(self._order(event), event, record, self._findings, is_cut=is_cut)
            case OrderModifyRefused():
                self.facts.change(event.order_id, record.story).is_told = True
            case _:
                self._moved(event, record, is_cut=is_cut)

    def _moved(self, event: Message, record: Record, *, is_cut: bool) -> None:
        """What an account holds, and its funds."""
        match event:
            case PositionChanged():
                self.facts.books.position_changed(event, record, self._findings, is_cut=is_cut)
            case PositionSettled():
                self._settled(event, record, is_cut=is_cut)
            case PositionAdjusted():
                self._adjusted(event, record, is_cut=is_cut)
            case FundsChanged():
                self.facts.books.funds_changed(event, record, self._findings, is_cut=is_cut)
            case _:
                pass

    def _compared(self, event: PositionsCompared, _: Record) -> None:
        known = self.facts.compared.get(event.account_id)
        if known is None or known.version <= event.version:
            self.facts.compared[event.account_id] = event

    def _order(self, event: OrderTerms | OrderFact) -> Order:
        return self.facts.order(event.order_id, event.account_id)
