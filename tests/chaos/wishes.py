"""What the clients of the failure tests want, and how they read what they are answered."""

import contextlib
import random
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import orjson

from bench.wire import LOST
from tests.chaos.world import Account, Traded

CARRIED_OUT, TAKEN, OPEN, REFUSED = 200, 201, 202, 422
"""Of a cancel or a change that was made; of an order that was accepted; of what was taken, its outcome open; denied."""
AWAY = frozenset({LOST, 429, 500, 502, 503, 504})
PLACE, CANCEL, MODIFY = (f"/api/v2/trading/orders/{verb}" for verb in ("place", "cancel", "modify"))
NEAREST_TRIGGER, FARTHEST_TRIGGER = 0.0002, 0.01
"""How far from where the price was, as a share of it: the nearest are reached in seconds, the farthest rest."""
BEYOND_TRIGGER = 20
"""Ticks that a stop's limit leaves room."""


class Kind(StrEnum):
    MARKET = "market"
    MARKETABLE = "marketable limit"
    RESTING = "resting limit"
    STOP = "stop-loss limit"
    STOP_MARKET = "stop-loss market"
    CANCEL = "cancel"
    MODIFY = "modify"
    ALERT = "alert"

    @property
    def is_order(self) -> bool:
        return self not in (Kind.CANCEL, Kind.MODIFY, Kind.ALERT)

    @property
    def rests(self) -> bool:
        """What may be changed and cancelled later: a stop that its trigger woke before is refused that."""
        return self in (Kind.RESTING, Kind.STOP, Kind.STOP_MARKET)


@dataclass(slots=True, eq=False)
class Wish:
    """One thing that a client wants, over all its tries. Times are `stopwatch` seconds."""

    kind: Kind
    key: str
    content: bytes
    due: float
    account: Account | None = None
    of: str | None = None
    """The order to be cancelled or modified."""
    tries: int = 0
    open_tries: int = 0
    statuses: list[int] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    """The order (or signal) that the answers named: never more than one."""
    status: int | None = None
    """The last answer that says what became of it; None when nobody ever said."""
    answered: float = 0.0

    @property
    def was_accepted(self) -> bool:
        """Carried out, and not only taken: for an alert 202 is that."""
        return self.status is not None and self.status < (OPEN if self.kind is not Kind.ALERT else 300)


def stop(kind: Kind, instrument: Traded, drawn: random.Random) -> dict[str, object]:
    """A purchase above the market or a sale below it, which sleeps until its trigger trades."""
    side, sign = drawn.choice((("BUY", 1), ("SELL", -1)))
    away = Decimal(str(drawn.uniform(NEAREST_TRIGGER, FARTHEST_TRIGGER)))
    tick = instrument.tick_size
    trigger = round(instrument.last_price * (1 + sign * away) / tick) * tick
    terms: dict[str, object] = {"side": side, "trigger_price": str(trigger)}
    if kind is Kind.STOP_MARKET:
        return terms | {"order_type": "SL-M"}
    return terms | {"order_type": "SL", "price": str(trigger + sign * BEYOND_TRIGGER * tick)}


def named_in(kind: Kind, status: int, body: bytes) -> str | None:
    """The order or signal that an answer names. In a 202, whose outcome is open, the request's id is the order's."""
    if kind in (Kind.CANCEL, Kind.MODIFY) or status not in (CARRIED_OUT, TAKEN, OPEN, REFUSED):
        return None
    with contextlib.suppress(orjson.JSONDecodeError):
        answer = orjson.loads(body)
        found: str | None = (
            answer.get("signal_id") if kind is Kind.ALERT else answer.get("order_id") or answer.get("id")
        )
        return found
    return None


def is_in_flight(status: int, body: bytes) -> bool:
    """Our own earlier try is still at work under the same key."""
    return status == 409 and b"idempotency_key_in_flight" in body
