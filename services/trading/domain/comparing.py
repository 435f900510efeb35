"""Our positions held against a broker's. A difference counts when it was seen twice in a row with no order in between.

Nothing here trades: what differs is told, until it is gone. But for MIS that the broker does not hold any more: where
its trades past us tell by how much and at which price it was closed, that is booked.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from libs.common.contracts.brokers import PositionClosedAtBroker, PositionDifference, PositionsCompared
from libs.common.contracts.enums import OrderStatus, Product, Side
from libs.common.contracts.ids import AccountId, CorrelationId, InstrumentId, OrderId
from libs.common.ids import unix_time
from services.trading.domain.accounts import TradingAccount, trading_day
from services.trading.domain.book import Book, Trade, Watched
from services.trading.domain.money import MICRO, ZERO
from services.trading.domain.orders import AWAITED, Order
from services.trading.domain.positions import Net

TOLD_AFTER = 3
"""Looks in a row that fail before that is told: one alone is a moment's trouble."""
LOOKS_FOR_AN_ANSWER = 2
"""Whoever asked is answered then, whatever moves."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`mark` is the version of our position: as long as it stays, no fill of ours came in between."""

    symbol: str
    instrument: InstrumentId | None
    product: Product
    ours: int
    theirs: int
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of an account at its broker.

    `suspected` was seen once, `told` is said. `requests` wait for an answer, after `looks` looks since they came.
    """

    account_id: AccountId
    suspected: tuple[Difference, ...] = ()
    told: tuple[Difference, ...] = ()
    version: int = 0
    failures: int = 0
    problem: str = ""
    requests: tuple[CorrelationId, ...] = ()
    looks: int = 0
    compared_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ours:
    """`symbol` is in the broker's words."""

    symbol: str
    product: Product
    quantity: int
    mark: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """`instrument` where the broker's symbol alone tells which it is."""

    symbol: str
    instrument: InstrumentId | None
    product: Product
    quantity: int


def ours(nets: Iterable[Net], symbols: Mapping[InstrumentId, str], account: TradingAccount, today: date) -> list[Ours]:
    """What the broker should show. Of CNC the day's trades: shares of earlier days are holdings, not positions."""
    return [Ours(symbols[net.instrument], net.product, _shown(net, account, today), net.version) for net in nets]


def _shown(net: Net, account: TradingAccount, today: date) -> int:
    held = net.holding
    if net.product is not Product.CNC:
        return held.quantity
    return held.bought_quantity - held.sold_quantity if account.day == today else 0


def moving(orders: Iterable[Order], watched: Iterable[Watched], book: Book | None, today: date) -> set[InstrumentId]:
    """Instruments whose position may change, or has changed and not everywhere yet: they are left out this time.

    `book` was read after the positions. An order that rests moves nothing as long as the book shows no fill of it that
    we have not booked; one whose outcome is unknown since an earlier day moves nothing any more.
    """
    known = {each.order_id: each for each in watched}
    return {order.instrument for order in orders if _moves(order, known.get(order.order_id), book, today)}


def _moves(order: Order, watched: Watched | None, book: Book | None, today: date) -> bool:
    if order.status in AWAITED:
        return watched is None or watched.day >= today
    if order.status is OrderStatus.REQUESTED or watched is None or book is None:
        return True
    shown = sum(row.filled_quantity for row in book.rows_of(watched))
    return watched.filled_quantity != order.filled_quantity or shown > watched.filled_quantity


def compare(
    before: Comparison,
    ours: Iterable[Ours],
    theirs: Iterable[Theirs],
    moving: Collection[str],
    names: Mapping[str, InstrumentId],
    now: datetime,
) -> Comparison:
    """One look. What moves keeps what was told of it, and is suspected anew when it rests.

    `moving` and the keys of `names`, which are our instruments', are in the broker's words.
    """
    told = {(each.symbol, each.product): each for each in before.told}
    suspected = {(each.symbol, each.product): each for each in before.suspected}
    found = {(each.symbol, each.product): each for each in _differences(ours, theirs, names)}
    keeps: list[Difference] = []
    suspects: list[Difference] = []
    for key in sorted(found.keys() | told.keys()):
        known, seen = told.get(key), found.get(key)
        if key[0] in moving:
            keeps += [known] if known else []
        elif seen is not None and (seen == suspected.get(key) or (known is not None and _same(seen, known))):
            keeps.append(seen)
        elif seen is not None:
            suspects.append(seen)
            keeps += [known] if known else []
    return replace(
        before,
        suspected=tuple(suspects),
        told=tuple(keeps),
        failures=0,
        problem="",
        looks=before.looks + 1 if before.requests else 0,
        compared_at=now,
    )


def _differences(ours: Iterable[Ours], theirs: Iterable[Theirs], names: Mapping[str, InstrumentId]) -> list[Difference]:
    found: dict[tuple[str, Product], Difference] = {}
    for own in ours:
        name = names.get(own.symbol)
        found[own.symbol, own.product] = Difference(own.symbol, name, own.product, own.quantity, 0, own.mark)
    for shown in theirs:
        key, name = (shown.symbol, shown.product), names.get(shown.symbol, shown.instrument)
        known = found.get(key) or Difference(shown.symbol, name, shown.product, 0, 0)
        found[key] = replace(known, theirs=known.theirs + shown.quantity)
    return [each for each in found.values() if each.ours != each.theirs]


def closed_past_us(
    after: Comparison, moving: Collection[InstrumentId], nets: Iterable[Net], past_us: Collection[Trade], today: date
) -> dict[Difference, PositionClosedAtBroker]:
    """What the broker's own square-off closed, or its owner in the broker's app. The newest trades that are none of
    ours have to be exactly what closes it: nothing is guessed.
    """
    held = {net.instrument: net for net in nets if net.product is Product.MIS}
    unsure = {(each.symbol, each.product) for each in after.suspected}
    found = {}
    for each in after.told:
        net = held.get(each.instrument) if each.instrument and each.product is Product.MIS else None
        if net is None or each.theirs or each.instrument in moving or (each.symbol, each.product) in unsure:
            continue
        side = Side.SELL if each.ours > 0 else Side.BUY
        since = datetime.fromtimestamp(int(unix_time(net.order_id)), UTC)
        closing = [
            trade
            for trade in past_us
            if (trade.symbol, trade.product, trade.side) == (each.symbol, each.product, side)
            and trade.at >= since
            and trading_day(trade.at) == today
        ]
        if trades := _newest(closing, abs(each.ours)):
            found[each] = _closed(net, trades)
    return found


def _newest(trades: Iterable[Trade], units: int) -> list[Trade]:
    """Those that add up to so many units; none when none do."""
    found: list[Trade] = []
    for trade in sorted(trades, key=lambda trade: (trade.at, trade.trade_id), reverse=True):
        found.append(trade)
        units -= trade.quantity
        if units <= 0:
            break
    return [] if units else found


def _closed(net: Net, trades: Collection[Trade]) -> PositionClosedAtBroker:
    value = sum((trade.price * trade.quantity for trade in trades), ZERO)
    return PositionClosedAtBroker(
        account_id=net.account_id,
        instrument=net.instrument,
        product=net.product,
        quantity=net.holding.quantity,
        price=(value / abs(net.holding.quantity)).quantize(MICRO),
        version=net.version,
        closed_at=max(trade.at for trade in trades),
    )


def leave_out(after: Comparison, closed: Collection[Difference]) -> Comparison:
    """What is being booked is none to be told."""
    return replace(after, told=tuple(each for each in after.told if each not in closed))


def _same(one: Difference, other: Difference) -> bool:
    return (one.ours, one.theirs) == (other.ours, other.theirs)


def failed(before: Comparison, reason: str) -> Comparison:
    """The broker's positions could not be read: nothing is known anew, and that is told when it lasts or was asked."""
    failures = before.failures + 1
    is_told = failures >= TOLD_AFTER or bool(before.requests) or bool(before.problem)
    return replace(before, suspected=(), failures=failures, problem=reason if is_told else "")


def answers(after: Comparison) -> bool:
    """Whether those who asked can be answered: nothing has to be seen again, or it was."""
    return bool(after.requests) and (bool(after.problem) or not after.suspected or after.looks >= LOOKS_FOR_AN_ANSWER)


def is_news(before: Comparison, after: Comparison) -> bool:
    """Whether there is something to tell: that all is alike, too, the first time. A problem's other words are none."""
    changed = _facts(before.told) != _facts(after.told)
    is_first = not before.version and after.compared_at is not None and not after.suspected
    return changed or is_first or bool(before.problem) != bool(after.problem)


def _facts(differences: Iterable[Difference]) -> set[tuple[str, Product, int, int]]:
    return {(each.symbol, each.product, each.ours, each.theirs) for each in differences}


def newly_differing(before: Comparison, after: Comparison) -> list[Difference]:
    known = _facts(before.told)
    return [each for each in after.told if not _facts([each]) <= known]


def said(account: TradingAccount, after: Comparison, moving: Collection[InstrumentId]) -> PositionsCompared:
    return PositionsCompared(
        account_id=account.account_id,
        user_id=account.user_id,
        broker=account.broker,
        differences=tuple(
            PositionDifference(
                broker_symbol=each.symbol,
                instrument=each.instrument,
                product=each.product,
                ours=each.ours,
                theirs=each.theirs,
            )
            for each in after.told
        ),
        moving=tuple(sorted(moving)),
        problem=after.problem,
        version=after.version,
        compared_at=after.compared_at,
    )


def resting(orders: Iterable[Order]) -> set[OrderId]:
    """Orders that the broker has and may fill at any moment: what its book shows of them has to be seen, too."""
    return {order.order_id for order in orders if order.status in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)}
