"""Who may change an algo, to what, and what it wants with a signal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from libs.common.contracts.algos import (
    MOST_LEGS,
    MOST_STOCKS,
    Algo,
    AlgoDeleted,
    AlgoDeleteRequested,
    AlgoLeg,
    AlgoSaved,
    AlgoSaveRequested,
    SignalMapping,
)
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import EntryLegs, InstrumentKind, Product, RepeatRule, StrikeRule
from libs.common.contracts.ids import AccountId, InstrumentId, SignalGroupId, UserId
from libs.common.contracts.signals import SignalReceived
from services.strategy.domain import stocks
from services.strategy.domain.stocks import Named

_LONGEST_NAME = 100
_MOST_ACCOUNTS = 500
_MOST_MAPPINGS = 50
_MOST_LOTS = 100_000
_MOST_OFFSET = 200
_MOST_MULTIPLIER = 10_000
_MOST_DIGITS = 18
_LONGEST_INSTRUMENT = 80
_MOST_ORDERS = 5_000
"""Of one signal: what is behind it waits, other users' exits too, and entries are not worth having after seconds."""


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What an algo needs to know of an account before it trades in it."""

    user_id: UserId
    name: str
    active: bool


class Wish(Enum):
    ENTER = "enter"
    EXIT = "exit"
    NOTHING = "nothing"


def wish(algo: Algo, signal: SignalReceived) -> Wish:
    """What the algo's mappings make of the signal; where several match, an exit goes before an entry."""
    mine = [mapping for mapping in algo.mappings if mapping.group_id == signal.group_id]
    if any(_exits(mapping, signal) for mapping in mine):
        return Wish.EXIT
    return Wish.ENTER if any(_enters(mapping, signal) for mapping in mine) else Wish.NOTHING


def closed_by(algo: Algo, signal: SignalReceived, named: Named) -> list[InstrumentId | None]:
    """The stocks of which nothing that the algo opened for an older signal is to be open after this one; None: nothing
    at all.
    """
    wanted = wish(algo, signal)
    closes = wanted is Wish.EXIT or (wanted is Wish.ENTER and algo.on_repeat is RepeatRule.REVERSE)
    if not closes or signal.account_id is not None or signal.user_id != algo.user_id:
        return []
    if algo.entry_legs is EntryLegs.ALL or (wanted is Wish.EXIT and not named.names):
        return [None]
    return [stock for stock in stocks.of(algo) if named.has(stock)]


def _enters(mapping: SignalMapping, signal: SignalReceived) -> bool:
    return signal.signal_type is mapping.entry_on and mapping.entry_action in {None, signal.action}


def _exits(mapping: SignalMapping, signal: SignalReceived) -> bool:
    return signal.signal_type is mapping.exit_on and mapping.exit_action in {None, signal.action}


def decide_save(
    algo: Algo | None,
    version: int,
    request: AlgoSaveRequested,
    accounts: Mapping[AccountId, KnownAccount],
    others: Iterable[Algo] = (),
) -> AlgoSaved | RequestRefused:
    """`others` listen to one of its signal groups, too."""
    if (algo is not None and algo.user_id != request.user_id) or (algo is None and request.expected_version):
        return refused(request, "not_found", f"there is no algo {request.algo_id}")
    if version != request.expected_version:
        return refused(request, "conflict", f"expected version {request.expected_version}, found version {version}")
    problem = what_is_wrong(request.algo) or _not_owned(request.algo, accounts) or _too_many(algo, request.algo, others)
    if algo is not None and algo.entry_legs is not request.algo.entry_legs:
        problem = f"entry_legs is {algo.entry_legs}, and what it holds goes by that; make another algo"
    if request.algo.algo_id != request.algo_id or request.algo.user_id != request.user_id:
        problem = "the algo's own ids differ from the request's"
    if problem:
        return refused(request, "invalid", problem)
    return AlgoSaved(algo_id=request.algo_id, user_id=request.user_id, algo=request.algo, version=version + 1)


def decide_delete(algo: Algo | None, occupied: bool, request: AlgoDeleteRequested) -> AlgoDeleted | RequestRefused:
    if algo is None or algo.user_id != request.user_id:
        return refused(request, "not_found", f"there is no algo {request.algo_id}")
    if occupied:
        return refused(request, "conflict", "the algo has open positions or orders; close them first")
    return AlgoDeleted(algo_id=request.algo_id, user_id=request.user_id)


def what_is_wrong(algo: Algo) -> str | None:
    """A sentence for whoever configured it; None when the algo can work."""
    if not algo.name.strip() or len(algo.name) > _LONGEST_NAME or not algo.name.isprintable():
        return f"name must have 1 to {_LONGEST_NAME} printable characters"
    most = MOST_STOCKS if algo.entry_legs is EntryLegs.NAMED else MOST_LEGS
    if not 1 <= len(algo.legs) <= most:
        return f"an algo whose entry_legs is {algo.entry_legs} has 1 to {most} legs, not {len(algo.legs)}"
    for number, leg in enumerate(algo.legs, start=1):
        problem = _wrong_leg(leg, algo.product)
        if problem:
            return f"leg {number}: {problem}"
    return _wrong_stocks(algo) or _wrong_accounts(algo) or _wrong_mappings(algo)


def turns(before: Algo, after: Algo) -> bool:
    """Whether the legs are the same, as many lots as they are of, and each trades its other side now."""
    if not before.legs or len(before.legs) != len(after.legs):
        return False
    pairs = zip(before.legs, after.legs, strict=True)
    return all(new == old.model_copy(update={"side": old.side.opposite, "lots": new.lots}) for old, new in pairs)


def _wrong_leg(leg: AlgoLeg, product: Product) -> str | None:
    if not 1 <= leg.lots <= _MOST_LOTS:
        return f"lots is {leg.lots}; it must be from 1 to {_MOST_LOTS}"
    if leg.kind is InstrumentKind.INDEX:
        return "an index cannot be traded; name its future or option"
    if max(len(leg.instrument or ""), len(leg.underlying or "")) > _LONGEST_INSTRUMENT:
        return f"no instrument or underlying has a name of more than {_LONGEST_INSTRUMENT} characters"
    missing = [name for name in _needs(leg) if not getattr(leg, name)]
    if missing:
        return f"{leg.kind} needs {', '.join(missing)}"
    if product is (Product.NRML if leg.kind is InstrumentKind.EQUITY else Product.CNC):
        return f"{product} does not go with {leg.kind}"
    return _wrong_strike(leg) if leg.kind is InstrumentKind.OPTION else None


def _needs(leg: AlgoLeg) -> tuple[str, ...]:
    match leg.kind:
        case InstrumentKind.EQUITY:
            return ("instrument",)
        case InstrumentKind.FUTURE:
            return ("underlying", "expiry")
        case InstrumentKind.OPTION:
            return ("underlying", "expiry", "option_type", "strike")
        case InstrumentKind.INDEX:
            return ()


def _wrong_strike(leg: AlgoLeg) -> str | None:
    if leg.strike is not StrikeRule.ATM and leg.strike_offset < 1:
        return f"strike {leg.strike} needs a strike_offset of 1 or more"
    if abs(leg.strike_offset) > _MOST_OFFSET:
        return f"strike_offset is {leg.strike_offset}; it must be within {_MOST_OFFSET}"
    return None


def _wrong_stocks(algo: Algo) -> str | None:
    """Alerts name stocks, often without their exchange."""
    if algo.entry_legs is not EntryLegs.NAMED:
        return None
    numbers: dict[str, int] = {}
    for number, leg in enumerate(algo.legs, start=1):
        if leg.kind is not InstrumentKind.EQUITY or leg.instrument is None:
            return f"leg {number}: an alert names shares; {leg.kind} does not go with entry_legs {algo.entry_legs}"
        first = numbers.setdefault(stocks.spelt(leg.instrument)[1], number)
        if first != number:
            return f"legs {first} and {number} are of one stock, {leg.instrument}; an alert could mean either"
    return None


def _wrong_accounts(algo: Algo) -> str | None:
    linked = {account.account_id for account in algo.accounts}
    if not algo.accounts or len(algo.accounts) > _MOST_ACCOUNTS:
        return f"an algo is linked to 1 to {_MOST_ACCOUNTS} accounts, not {len(algo.accounts)}"
    if len(linked) < len(algo.accounts):
        return "an account is linked twice; give it one multiplier"
    for account in algo.accounts:
        if not 0 < account.multiplier <= _MOST_MULTIPLIER:
            return f"multiplier is {account.multiplier:.6g}; it must be above 0 and at most {_MOST_MULTIPLIER}"
        if len(account.multiplier.as_tuple().digits) > _MOST_DIGITS:
            return f"multiplier is {account.multiplier:.6g}…; it must have at most {_MOST_DIGITS} digits"
    return None


def _wrong_mappings(algo: Algo) -> str | None:
    if len(algo.mappings) > _MOST_MAPPINGS:
        return f"an algo has at most {_MOST_MAPPINGS} mappings, not {len(algo.mappings)}"
    for mapping in algo.mappings:
        actions = {mapping.entry_action, mapping.exit_action}
        if mapping.entry_on is mapping.exit_on and (None in actions or len(actions) == 1):
            return f"a mapping enters and exits on the same {mapping.entry_on} signal"
    return None


def _not_owned(algo: Algo, accounts: Mapping[AccountId, KnownAccount]) -> str | None:
    """An account that we have not heard of yet is let through: it trades only once it is known to be its user's."""
    for linked in algo.accounts:
        account = accounts.get(linked.account_id)
        if account is not None and account.user_id != algo.user_id:
            return f"there is no account {linked.account_id}"
    return None


def _too_many(before: Algo | None, algo: Algo, others: Iterable[Algo]) -> str | None:
    """Who has more already may still change an algo to fewer, or switch it off."""
    own = [each for each in others if each.user_id == algo.user_id and each.algo_id != algo.algo_id]
    for group_id in _groups(algo):
        orders = _orders(algo) + sum(_orders(each) for each in own if group_id in _groups(each))
        grows = before is None or group_id not in _groups(before) or _orders(algo) > _orders(before)
        if orders > _MOST_ORDERS and grows:
            return f"a signal of group {group_id} would ask for {orders} orders in all; at most {_MOST_ORDERS}"
    return None


def _orders(algo: Algo) -> int:
    return len(algo.legs) * len(algo.accounts)


def _groups(algo: Algo) -> set[SignalGroupId]:
    return {mapping.group_id for mapping in algo.mappings}


def refused(request: AlgoSaveRequested | AlgoDeleteRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.algo_id), request=type(request).__name__, code=code, reason=reason)
