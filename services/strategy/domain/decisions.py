"""What an algo does about a signal, and about what becomes of its orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from libs.common.contracts.algos import (
    Algo,
    LegRefused,
    LinkedAccount,
    SignalActedOn,
    SignalSkipped,
    SquareOffRefused,
)
from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    LegRefusedRule,
    OrderPurpose,
    OrderType,
    RepeatRule,
    Side,
    SignalType,
    SquareOffReason,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SignalId, SquareOffId, StrategyId
from libs.common.contracts.orders import OrderRequested, SquareOffRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import derive
from services.strategy.domain import holdings, legs
from services.strategy.domain.algos import KnownAccount, Wish, wish
from services.strategy.domain.chain import Contract
from services.strategy.domain.holdings import Holding, Reversal
from services.strategy.domain.legs import Impossible, Market


@dataclass(frozen=True, slots=True)
class Patience:
    signal_max_age: timedelta
    order_ttl: timedelta
    reversal: timedelta


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at the moment of deciding."""

    market: Market
    accounts: Mapping[AccountId, KnownAccount]
    patience: Patience


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said, and the holdings that changed."""

    messages: tuple[Message, ...] = ()
    holdings: tuple[Holding, ...] = ()


class _Answer:
    """Collects what one signal makes one algo do, account by account."""

    def __init__(self, algo: Algo, signal_id: SignalId, signal_type: SignalType) -> None:
        self.algo = algo
        self.signal_id = signal_id
        self.signal_type = signal_type
        self.requests: list[OrderRequested | SquareOffRequested] = []
        self.skipped: dict[tuple[SignalId, str], None] = {}
        self.holdings: list[Holding] = []

    def skip(self, reason: str, signal_id: SignalId | None = None) -> None:
        self.skipped[signal_id or self.signal_id, reason] = None

    def decision(self) -> Decision:
        algo_id, user_id = self.algo.algo_id, self.algo.user_id
        said: list[Message] = list(self.requests)
        if self.requests:
            orders = tuple(str(each.order_id) for each in self.requests if isinstance(each, OrderRequested))
            square_offs = tuple(
                str(each.square_off_id) for each in self.requests if isinstance(each, SquareOffRequested)
            )
            said.append(
                SignalActedOn(
                    algo_id=algo_id,
                    user_id=user_id,
                    signal_id=self.signal_id,
                    signal_type=self.signal_type,
                    order_ids=orders,
                    square_off_ids=square_offs,
                )
            )
        said.extend(
            SignalSkipped(algo_id=algo_id, user_id=user_id, signal_id=signal_id, reason=reason)
            for signal_id, reason in self.skipped
        )
        return Decision(tuple(said), tuple(self.holdings))


def decide(algo: Algo, held: Mapping[AccountId, Holding], signal: SignalReceived, situation: Situation) -> Decision:
    """The answer of one algo to one signal: in every account that it concerns."""
    if signal.user_id != algo.user_id:
        return Decision()
    answer = _Answer(algo, signal.signal_id, signal.signal_type)
    match wish(algo, signal):
        case Wish.NOTHING:
            answer.skip(f"no mapping of the algo matches {signal.signal_type} {signal.action.lower()}")
        case Wish.EXIT:
            _exit(answer, held, signal, situation)
        case Wish.ENTER:
            _enter_everywhere(answer, held, signal, situation)
    return answer.decision()


def _exit(answer: _Answer, held: Mapping[AccountId, Holding], signal: SignalReceived, situation: Situation) -> None:
    """Close exactly what the algo opened, wherever it did. Even of an algo that is switched off."""
    concerned = [h for h in held.values() if signal.account_id in {None, h.account_id}]
    overdue = situation.market.now - situation.patience.reversal
    for holding in concerned:
        if holding.reversal is not None:
            answer.skip("an exit came before the reversal could enter", holding.reversal.signal_id)
            holding = replace(holding, reversal=None)
            answer.holdings.append(holding)
        if holding.closing_since(overdue) or not holding.occupied:
            continue
        _square_off(answer, holding, situation)
    if not answer.requests:
        is_closing = any(holding.closing_since(overdue) for holding in concerned)
        answer.skip("the position is being closed already" if is_closing else "nothing is open")


def _enter_everywhere(
    answer: _Answer, held: Mapping[AccountId, Holding], signal: SignalReceived, situation: Situation
) -> None:
    refusal = _not_now(answer.algo, signal, situation)
    linked = [each for each in answer.algo.accounts if signal.account_id in {None, each.account_id}]
    if refusal or not linked:
        answer.skip(refusal or f"account {signal.account_id} is not linked to the algo")
        return
    ready: list[tuple[LinkedAccount, Holding]] = []
    for each in linked:
        holding = held.get(each.account_id) or Holding(answer.algo.algo_id, each.account_id, answer.algo.user_id)
        if _may_trade(answer, each, situation) and _is_free(answer, holding, signal, situation):
            ready.append((each, holding))
    contracts = legs.resolve(answer.algo, situation.market) if ready else ()
    if isinstance(contracts, Impossible):
        answer.skip(contracts.reason)
        return
    for each, holding in ready:
        _enter(answer, holding, each, contracts, signal.action, situation)


def _not_now(algo: Algo, signal: SignalReceived, situation: Situation) -> str | None:
    if not algo.active:
        return "the algo is inactive"
    age = situation.market.now - signal.received_at
    if age > situation.patience.signal_max_age:
        return f"the signal is {int(age.total_seconds())} s old: too late to enter"
    return None


def _may_trade(answer: _Answer, linked: LinkedAccount, situation: Situation) -> bool:
    account = situation.accounts.get(linked.account_id)
    if account is None or account.user_id != answer.algo.user_id:
        answer.skip(f"account {linked.account_id} is unknown")
        return False
    if not account.active:
        answer.skip(f"account {account.name} is inactive")
    return account.active


def _is_free(answer: _Answer, holding: Holding, signal: SignalReceived, situation: Situation) -> bool:
    """May it enter now? While it holds a position the algo's own rule decides."""
    now, rule = situation.market.now, answer.algo.on_repeat
    is_closing = holding.closing_since(now - situation.patience.reversal)
    if not holding.occupied and not is_closing:
        return True
    if rule is RepeatRule.REVERSE:
        _reverse(answer, holding, signal, situation, is_closing)
        return False
    if is_closing:
        answer.skip("the position is being closed")
        return False
    if rule is RepeatRule.IGNORE:
        answer.skip("in position already; the algo ignores repeated entries")
        return False
    return True


def _reverse(answer: _Answer, holding: Holding, signal: SignalReceived, situation: Situation, is_closing: bool) -> None:
    """Square off, and remember to enter the other way once that is done. The newest wish is the one that counts."""
    waiting = holding.reversal
    towards = waiting.action if waiting else holding.direction
    if towards is signal.action and not (is_closing and waiting is None):
        answer.skip(f"in position already in the direction of {signal.action.lower()}")
        return
    if waiting is not None:
        answer.skip("a newer signal reversed it before it could enter", waiting.signal_id)
    deadline = situation.market.now + situation.patience.reversal
    reversal = Reversal(signal.signal_id, signal.signal_type, signal.action, deadline)
    holding = replace(holding, reversal=reversal)
    if is_closing:
        answer.holdings.append(holding)
        return
    _square_off(answer, holding, situation)


def _square_off(answer: _Answer, holding: Holding, situation: Situation) -> None:
    square_off_id = SquareOffId(derive(answer.signal_id, "square-off", answer.algo.algo_id, holding.account_id))
    answer.requests.append(_square_off_request(holding, square_off_id))
    answer.holdings.append(holdings.closing(holding, square_off_id, situation.market.now))


def _square_off_request(
    holding: Holding, square_off_id: SquareOffId, reason: SquareOffReason = SquareOffReason.SIGNAL_EXIT
) -> SquareOffRequested:
    return SquareOffRequested(
        square_off_id=square_off_id,
        account_id=holding.account_id,
        user_id=holding.user_id,
        strategy_id=StrategyId(holding.algo_id),
        reason=reason,
    )


def _enter(
    answer: _Answer,
    holding: Holding,
    linked: LinkedAccount,
    contracts: Sequence[Contract],
    action: Side,
    situation: Situation,
) -> None:
    algo, now = answer.algo, situation.market.now
    planned = legs.plan(algo, contracts, linked, action)
    if isinstance(planned, Impossible):
        answer.skip(planned.reason)
        return
    orders = [
        OrderRequested(
            order_id=OrderId(derive(answer.signal_id, "entry", algo.algo_id, linked.account_id, order.leg)),
            account_id=linked.account_id,
            user_id=algo.user_id,
            strategy_id=StrategyId(algo.algo_id),
            instrument=order.instrument,
            side=order.side,
            quantity=order.quantity,
            order_type=OrderType.MARKET,
            product=algo.product,
            purpose=OrderPurpose.ENTRY,
            requested_at=now,
            expires_at=now + situation.patience.order_ttl,
        )
        for order in planned
    ]
    answer.requests.extend(orders)
    quantities = {order.order_id: order.quantity for order in orders}
    answer.holdings.append(holdings.entering(holding, quantities, action, now))


def leg_ended(
    algo: Algo, holding: Holding, order_id: OrderId, instrument: InstrumentId, reason: str, situation: Situation
) -> Decision:
    """Nothing more comes of one order of an entry, and it did not trade whole: a leg of a spread may stand alone now.

    What the algo holds in the account is closed, with whatever still fills behind it, unless its rule is to keep it.
    """
    entry = holding.entries[order_id]
    left = holdings.ended(holding, order_id)
    if entry.legs == 1 or left.closing is not None or not left.occupied:
        return advance(algo, left, situation)
    square_off_id = SquareOffId(derive(order_id, "leg-refused"))
    closes = algo.on_leg_refused is LegRefusedRule.CLOSE_OTHERS
    said = LegRefused(
        algo_id=algo.algo_id,
        user_id=algo.user_id,
        account_id=holding.account_id,
        order_id=order_id,
        instrument=instrument,
        reason=reason,
        square_off_id=square_off_id if closes else None,
    )
    if not closes:
        return Decision((said,), (left,))
    request = _square_off_request(left, square_off_id, SquareOffReason.LEG_REFUSED)
    return Decision((said, request), (holdings.closing(left, square_off_id, situation.market.now),))


def square_off_refused(algo: Algo, holding: Holding, square_off_id: SquareOffId, reason: str) -> Decision:
    """Trading closes nothing (it knows no such account): say so, and be free for the next exit."""
    if holding.closing is None or holding.closing.square_off_id != square_off_id:
        return Decision()
    said: list[Message] = [
        SquareOffRefused(
            algo_id=algo.algo_id,
            user_id=algo.user_id,
            account_id=holding.account_id,
            square_off_id=square_off_id,
            reason=reason,
        )
    ]
    if holding.reversal is not None:
        answer = _Answer(algo, holding.reversal.signal_id, holding.reversal.signal_type)
        answer.skip(f"the old position cannot be closed: {reason}")
        said.extend(answer.decision().messages)
    return Decision(tuple(said), (holdings.refused(holding, square_off_id),))


def advance(algo: Algo, holding: Holding, situation: Situation) -> Decision:
    """The next step after something became of the algo's orders: close what slipped through, or reverse at last."""
    under_way = holding.closing
    if under_way is None or not under_way.answered:
        return Decision((), (holding,))
    if holding.books:
        again = SquareOffId(derive(under_way.square_off_id, "again"))
        request = _square_off_request(holding, again)
        return Decision((request,), (holdings.closing(holding, again, situation.market.now),))
    if holding.entries:
        return Decision((), (holding,))
    flat = replace(holding, closing=None, direction=None, reversal=None)
    if holding.reversal is None:
        return Decision((), (flat,))
    return _enter_reversal(algo, flat, holding.reversal, situation)


def _enter_reversal(algo: Algo, flat: Holding, reversal: Reversal, situation: Situation) -> Decision:
    answer = _Answer(algo, reversal.signal_id, reversal.signal_type)
    linked = next((each for each in algo.accounts if each.account_id == flat.account_id), None)
    if linked is None or not algo.active:
        answer.skip("the algo was changed before it could reverse")
    elif situation.market.now > reversal.deadline:
        answer.skip("the old position was not closed in time to reverse")
    elif _may_trade(answer, linked, situation):
        contracts = legs.resolve(algo, situation.market)
        if isinstance(contracts, Impossible):
            answer.skip(contracts.reason)
        else:
            _enter(answer, flat, linked, contracts, reversal.action, situation)
    if not answer.holdings:
        answer.holdings.append(flat)
    return answer.decision()


def give_up(algo: Algo, holding: Holding) -> Decision:
    """The old position was not closed in time: the reversal is forgotten, the closing is not."""
    if holding.reversal is None:
        return Decision()
    answer = _Answer(algo, holding.reversal.signal_id, holding.reversal.signal_type)
    answer.skip("the old position was not closed in time to reverse")
    answer.holdings.append(replace(holding, reversal=None))
    return answer.decision()
