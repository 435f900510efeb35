"""What an algo does about a signal, account by account."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType

from libs.common.contracts.algos import Algo, LinkedAccount
from libs.common.contracts.enums import EntryLegs, RepeatRule
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import derive
from services.strategy.domain import holdings, legs, stocks
from services.strategy.domain.algos import Wish, wish
from services.strategy.domain.decisions.decision import Answer, Decision, Situation, as_listed
from services.strategy.domain.decisions.requests import enter, may_trade, square_off_request
from services.strategy.domain.holdings import Holding, Reversal
from services.strategy.domain.legs import Impossible
from services.strategy.domain.stocks import NONE_NAMED, Named

Closings = Mapping[InstrumentId | None, datetime]
"""When the newest signal was received that closes all that the algo holds of a stock; of None: of everything."""


def decide(
    algo: Algo,
    held: Iterable[Holding],
    signal: SignalReceived,
    situation: Situation,
    closings: Closings = MappingProxyType({}),
    named: Named = NONE_NAMED,
) -> Decision:
    """The answer of one algo to one signal: in every account that it concerns, and in each stock that is `named` where
    the algo trades those.
    """
    if signal.user_id != algo.user_id:
        return Decision()
    answer = Answer(algo, signal.signal_id, signal.signal_type)
    by_stock: defaultdict[InstrumentId | None, dict[AccountId, Holding]] = defaultdict(dict)
    for holding in as_listed(held, situation.market):
        by_stock[holding.stock][holding.account_id] = holding
    match wish(algo, signal):
        case Wish.NOTHING:
            answer.skip(f"no mapping of the algo matches {signal.signal_type} {signal.action.lower()}")
        case wanted if algo.entry_legs is EntryLegs.NAMED:
            for stock in _stocks(answer, wanted, by_stock, named):
                part = answer.of(stock)
                _follow(part, wanted, by_stock[stock], signal, situation, closings)
                answer.take(part)
        case wanted:
            _follow(answer, wanted, by_stock[None], signal, situation, closings)
    return answer.decision()


def _stocks(
    answer: Answer, wanted: Wish, held: Mapping[InstrumentId | None, Mapping[AccountId, Holding]], named: Named
) -> Sequence[InstrumentId]:
    """Those that the signal is about: without names an exit is about all that is held, and an entry about none."""
    own = list(dict.fromkeys([*stocks.of(answer.algo), *(stock for stock in held if stock)]))
    if named.names:
        others = named.others(own)
        if others:
            answer.skip(f"the algo has no leg of {others}")
        return [stock for stock in own if named.has(stock)]
    if wanted is Wish.ENTER:
        answer.skip("the alert names no stock, and the algo trades those that an alert names")
        return []
    found = [stock for stock in own if any(_is_about(holding) for holding in held.get(stock, {}).values())]
    if not found:
        answer.skip("nothing is open")
    return found


def _is_about(holding: Holding) -> bool:
    return bool(holding.occupied or holding.closing or holding.reversal)


def _follow(
    answer: Answer,
    wanted: Wish,
    held: Mapping[AccountId, Holding],
    signal: SignalReceived,
    situation: Situation,
    closings: Closings,
) -> None:
    if wanted is Wish.EXIT:
        _exit(answer, held, signal, situation)
    elif _is_overtaken(answer, signal, situation, closings):
        answer.skip("a later signal, which closes, was faster")
    else:
        _enter_everywhere(answer, held, signal, situation)


def _is_overtaken(answer: Answer, signal: SignalReceived, situation: Situation, closings: Closings) -> bool:
    """Two groups, or two instances of signals, may be late by different times: an entry that was received before the
    newest signal that closes comes too late. What is much older is too old by itself, or the clock was set back: that
    must not keep the algo out.
    """
    since = (closings[of] - signal.received_at for of in {None, answer.stock} if of in closings)
    return any(timedelta() < late < situation.patience.signal_max_age for late in since)


def _exit(answer: Answer, held: Mapping[AccountId, Holding], signal: SignalReceived, situation: Situation) -> None:
    """Close exactly what the algo opened, wherever it did. Even of an algo that is switched off."""
    concerned = [h for h in held.values() if signal.account_id in {None, h.account_id}]
    overdue = situation.market.now - situation.patience.reversal
    for holding in concerned:
        if holding.reversal is not None:
            answer.skip("an exit came before it could enter", holding.reversal.signal_id)
            holding = replace(holding, reversal=None)
            answer.holdings.append(holding)
        if holding.closing_since(overdue) or not holding.occupied:
            continue
        _square_off(answer, holding, situation)
    if not answer.requests:
        is_closing = any(holding.closing_since(overdue) for holding in concerned)
        answer.skip("the position is being closed already" if is_closing else "nothing is open")


def _enter_everywhere(
    answer: Answer, held: Mapping[AccountId, Holding], signal: SignalReceived, situation: Situation
) -> None:
    algo = answer.algo
    linked = {each.account_id: each for each in algo.accounts}
    concerned = [each for each in {**linked, **held} if signal.account_id in {None, each}]
    may_any_enter = _may_enter(answer, signal, situation)
    ready: list[tuple[LinkedAccount, Holding]] = []
    for account_id in concerned:
        account = linked.get(account_id)
        holding = held.get(account_id) or Holding(algo.algo_id, account_id, algo.user_id, stock=answer.stock)
        may_enter = may_any_enter and account is not None and may_trade(answer, account, situation)
        if _is_free(answer, holding, signal, situation, may_enter) and account is not None:
            ready.append((account, holding))
    contracts = legs.resolve(algo, situation.market) if ready else ()
    if isinstance(contracts, Impossible):
        answer.skip(contracts.reason)
        return
    for each, holding in ready:
        enter(answer, holding, each, contracts, signal.action, situation)


def _may_enter(answer: Answer, signal: SignalReceived, situation: Situation) -> bool:
    """Into any account at all. What reverses closes what it holds all the same."""
    algo, age = answer.algo, situation.market.now - signal.received_at
    if not algo.legs:
        answer.skip("the algo has no leg of it any more")
        return False
    if not algo.active:
        answer.skip("the algo is inactive")
        return False
    if signal.account_id is not None and all(each.account_id != signal.account_id for each in algo.accounts):
        answer.skip(f"account {signal.account_id} is not linked to the algo")
        return False
    if age > situation.patience.signal_max_age:
        answer.skip(f"the signal is {int(age.total_seconds())} s old: too late to enter")
        return False
    return True


def _is_free(answer: Answer, holding: Holding, signal: SignalReceived, situation: Situation, may_enter: bool) -> bool:
    """Does it enter now? While it holds a position the algo's own rule decides. What is reversed is closed in any case:
    that is an exit, though nothing may be entered after it.
    """
    now, rule = situation.market.now, answer.algo.on_repeat
    is_closing = holding.closing_since(now - situation.patience.reversal)
    if not is_closing and (not holding.occupied or _is_over(holding, situation)):
        return may_enter
    if rule is RepeatRule.REVERSE:
        _reverse(answer, holding, signal, situation, is_closing, may_enter)
        return False
    if not may_enter:
        return False
    if holding.closing is not None:
        _wait_until_flat(answer, holding, signal, situation)
        return False
    if rule is RepeatRule.IGNORE:
        answer.skip("in position already; the algo ignores repeated entries")
        return False
    return True


def _wait_until_flat(answer: Answer, holding: Holding, signal: SignalReceived, situation: Situation) -> None:
    """An exit and the next entry come together at the end of a bar: what the one closes takes longer than that."""
    if holding.reversal is not None:
        answer.skip("the position is being closed, and an earlier entry waits for that")
        return
    deadline = situation.market.now + situation.patience.reversal
    entry = Reversal(signal.signal_id, signal.signal_type, signal.action, deadline, reverses=False)
    answer.holdings.append(replace(holding, reversal=entry))


def _is_over(holding: Holding, situation: Situation) -> bool:
    """Nothing can come of what it holds: all of it expired. What has no settlement price, as of MCX, our books keep
    until an exit finds that there is nothing to close.
    """
    chain, today = situation.market.chain, situation.market.today
    if holding.entries or holding.closing is not None:
        return False
    return not any(chain.is_tradable(instrument, today) for instrument in holding.instruments)


def _reverse(
    answer: Answer,
    holding: Holding,
    signal: SignalReceived,
    situation: Situation,
    is_closing: bool,
    may_enter: bool,
) -> None:
    """Square off, and remember to enter the other way once that is done. The newest wish is the one that counts."""
    waiting = holding.reversal
    towards = waiting.action if waiting else holding.direction
    if towards is signal.action and (waiting is not None or holding.closing is None):
        if may_enter:
            answer.skip(f"in position already in the direction of {signal.action.lower()}")
        return
    if waiting is not None:
        answer.skip("a newer signal reversed it before it could enter", waiting.signal_id)
    deadline = situation.market.now + situation.patience.reversal
    reversal = Reversal(signal.signal_id, signal.signal_type, signal.action, deadline)
    holding = replace(holding, reversal=reversal if may_enter else None)
    if is_closing or towards is signal.action:
        answer.holdings.append(holding)
        return
    _square_off(answer, holding, situation)


def _square_off(answer: Answer, holding: Holding, situation: Situation) -> None:
    of = () if holding.stock is None else (holding.stock,)
    square_off_id = SquareOffId(derive(answer.signal_id, "square-off", answer.algo.algo_id, holding.account_id, *of))
    answer.requests.append(square_off_request(holding, square_off_id))
    answer.holdings.append(holdings.closing(holding, square_off_id, situation.market.now))
