"""One instrument at one moment, as orders meet it: what can be bought and sold there, and what traded last.

Prices become Decimal and whole ticks here; a price that is zero, negative, infinite or not a number is no price, and
what traded last on a day before is no last price: no stop of today wakes on it.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from libs.common.contracts.enums import Exchange, Side
from libs.common.contracts.market import Tick, is_of_a_day_before

INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the venue must know of an instrument before it takes an order for it."""

    exchange: Exchange
    lot_size: int
    tick_size: Decimal
    tradable: bool = True
    expiry: date | None = None


class Liquidity(StrEnum):
    DISPLAYED = "displayed"
    """What the feed shows at each price can be had; without a shown quantity, anything can."""
    UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class FillModel:
    """How kind the paper market is. `half_spread_ticks` is the distance of each side from the last price where
    the feed has no quotes; `displayed_fraction` the share of the shown quantity that paper orders can have."""

    liquidity: Liquidity = Liquidity.DISPLAYED
    displayed_fraction: Decimal = Decimal(1)
    half_spread_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """A price and what is left there; None when the feed does not say, and then there is no end of it."""

    price: Decimal
    quantity: int | None


@dataclass(frozen=True, slots=True)
class Turnover:
    """What was traded between the look before, at `since`, and this one; the last of it at its last price."""

    since: datetime
    quantity: int


@dataclass(frozen=True, slots=True)
class Market:
    """A tick, or several folded into one when their reader fell behind.

    Both sides are best first, less what paper orders took. The fold keeps the newest book and, since its first
    tick at `since`, the extremes: of the last price, and of the best ask and bid (None when nothing was folded).

    Who sold at 98.00 would rather have sold at 98.05, to an order that had rested there since `traded_since`: that is
    `sold_under`, as much as was traded, and `bought_over` is the same of who bought. None where nothing was traded
    since the look before, and where the last price stands for both sides anyway.
    """

    at: datetime
    """When it was received: the order in which markets are met."""
    priced_at: datetime
    """The exchange's time of its prices. A source that is asked anew says again what traded last, hours ago."""
    last: Decimal | None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    since: datetime
    lowest: Decimal | None
    highest: Decimal | None
    lowest_ask: Level | None = None
    highest_bid: Level | None = None
    traded_since: datetime | None = None
    sold_under: Level | None = None
    bought_over: Level | None = None

    def facing(self, side: Side) -> tuple[Level, ...]:
        """The levels that an order of `side` trades with."""
        return self.asks if side is Side.BUY else self.bids

    def extreme_facing(self, side: Side) -> Level | None:
        return self.lowest_ask if side is Side.BUY else self.highest_bid

    def traded_facing(self, side: Side) -> Level | None:
        """What the market traded through: beyond this price, not at it."""
        return self.sold_under if side is Side.BUY else self.bought_over

    def is_fresh(self, now: datetime, stale_after: timedelta) -> bool:
        return now - self.priced_at <= stale_after


def turnover_of(tick: Tick, before: Tick) -> Turnover | None:
    """None where nothing was traded, or the last price is the market: without quotes it stands for both sides."""
    quantity = tick.volume - before.volume
    return Turnover(before.received_at, quantity) if quantity > 0 and is_quoted(tick) else None


def market_of(tick: Tick, listing: Listing, model: FillModel, turnover: Turnover | None = None) -> Market:
    """Without any quote the last price stands for both sides, at the model's distance."""
    step = listing.tick_size
    last = _price(last_of(tick), step)
    shown_bids = [(b.price, b.quantity) for b in tick.bids] or [(tick.bid, tick.bid_quantity)]
    shown_asks = [(a.price, a.quantity) for a in tick.asks] or [(tick.ask, tick.ask_quantity)]
    bids = _levels(shown_bids, listing, model)
    asks = _levels(shown_asks, listing, model)
    bids.sort(key=lambda level: -level.price)
    asks.sort(key=lambda level: level.price)
    if not is_quoted(tick) and last is not None:
        away = model.half_spread_ticks * step
        bids = [Level(last - away, None)] if last > away else []
        asks = [Level(last + away, None)]
    at = tick.received_at
    market = Market(at, tick.at, last, tuple(bids), tuple(asks), since=at, lowest=last, highest=last)
    traded = _available(turnover.quantity, listing.lot_size, model) if turnover else 0
    if turnover is None or last is None or traded == 0:
        return market
    return replace(
        market,
        traded_since=turnover.since,
        sold_under=Level(last + step, traded),
        bought_over=Level(last - step, traded) if last > step else None,
    )


def fold(older: Market, newer: Market) -> Market:
    """Two looks as one: the newer book, with the extremes that it would make its reader miss. Each may be folded."""
    asks = [level for level in (older.lowest_ask, *older.asks[:1], newer.lowest_ask) if level]
    bids = [level for level in (older.highest_bid, *older.bids[:1], newer.highest_bid) if level]
    traded = [price for price in (older.lowest, older.highest, newer.lowest, newer.highest) if price is not None]
    sold = [level for level in (older.sold_under, newer.sold_under) if level]
    bought = [level for level in (older.bought_over, newer.bought_over) if level]
    return replace(
        newer,
        since=older.since,
        lowest=min(traded, default=None),
        highest=max(traded, default=None),
        lowest_ask=min(asks, key=lambda level: level.price, default=None),
        highest_bid=max(bids, key=lambda level: level.price, default=None),
        traded_since=newer.traded_since if older.traded_since is None else older.traded_since,
        sold_under=min(sold, key=lambda level: level.price, default=None),
        bought_over=max(bought, key=lambda level: level.price, default=None),
    )


def is_quoted(tick: Tick) -> bool:
    """The feed shows a bid or an ask; one side alone is a market without the other, not a market without quotes."""
    return bool(tick.bids or tick.asks) or _is_price(tick.bid) or _is_price(tick.ask)


def last_of(tick: Tick) -> float:
    """What traded last today; 0 when nothing did."""
    return 0.0 if is_of_a_day_before(tick) else tick.ltp


def reach(tick: Tick, half_spread: float, through: float = INFINITY) -> tuple[float, float]:
    """The best (ask, bid) as the feed gave them, infinitely far when there is none: the cheap look at a tick. Where
    something was traded since the one before, its price counts from `through`, a tick, beyond it.
    """
    if is_quoted(tick):
        asks = [level.price for level in tick.asks if _is_price(level.price)]
        bids = [level.price for level in tick.bids if _is_price(level.price)]
        ask = min(asks) if asks else tick.ask if _is_price(tick.ask) and not tick.asks else INFINITY
        bid = max(bids) if bids else tick.bid if _is_price(tick.bid) and not tick.bids else -INFINITY
        return min(ask, tick.ltp + through), max(bid, tick.ltp - through)
    if _is_price(tick.ltp):
        return tick.ltp + half_spread, tick.ltp - half_spread
    return INFINITY, -INFINITY


def _is_price(value: float) -> bool:
    return 0 < value < INFINITY


def _price(value: float, step: Decimal) -> Decimal | None:
    if not _is_price(value):
        return None
    price = ((Decimal(repr(value)) / step).to_integral_value(ROUND_HALF_EVEN) * step).quantize(step)
    return price if price > 0 else None


def _levels(shown: list[tuple[float, int]], listing: Listing, model: FillModel) -> list[Level]:
    levels = []
    for value, shown_quantity in shown:
        price = _price(value, listing.tick_size)
        quantity = _available(shown_quantity, listing.lot_size, model)
        if price is not None and quantity != 0:
            levels.append(Level(price, quantity))
    return levels


def _available(shown: int, lot: int, model: FillModel) -> int | None:
    """Whole lots of what is shown."""
    if model.liquidity is Liquidity.UNLIMITED or shown <= 0:
        return None
    return int(shown * model.displayed_fraction) // lot * lot
