"""The orders of a load, as bytes made before the clock runs: purchases that rest far below the market, and market
orders that buy and sell in turn, so that positions stay small. Account after account, each in one instrument.
"""

from dataclasses import dataclass
from enum import Enum

from bench.wire import request
from bench.world import Instrument, World

PLACE = "/api/v2/trading/orders/place"


class Kind(Enum):
    RESTING = "limit"
    MARKET = "market"


@dataclass(frozen=True)
class Mix:
    """Of every ten orders `market_in_ten` are market orders."""

    market_in_ten: int = 5

    def prepare(self, world: World, count: int) -> list[tuple[bytes, Kind]]:
        return [self._prepare(world, n) for n in range(count)]

    def _prepare(self, world: World, n: int) -> tuple[bytes, Kind]:
        turn, place = divmod(n, len(world.accounts))
        instrument = world.instruments[place % len(world.instruments)]
        kind = Kind.MARKET if (place + turn) % 10 < self.market_in_ten else Kind.RESTING
        side = "BUY" if kind is Kind.RESTING or turn % 2 == 0 else "SELL"
        body = order(world.accounts[place], instrument, kind, side)
        return request("POST", PLACE, world.headers, body), kind


def order(account_id: str, instrument: Instrument, kind: Kind, side: str = "BUY") -> dict[str, object]:
    body: dict[str, object] = {
        "account_id": account_id,
        "instrument": instrument.name,
        "side": side,
        "quantity": instrument.quantity,
        "order_type": "MARKET" if kind is Kind.MARKET else "LIMIT",
        "product": instrument.product,
    }
    return body if kind is Kind.MARKET else body | {"price": instrument.resting_price}
