"""A person who trades: what the tests do to the platform, in a user's words, over REST and the stream alone."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from libs.common.ids import new_id
from tools.client import Json, Platform, Refused
from tools.stream import Heard, Stream

SHARE = "NSE:SBIN"
SOON = 30.0
Facts = dict[str, str]
"""What is in demo.json."""


@dataclass(frozen=True)
class Trader:
    platform: Platform
    stream: Stream
    account_id: str

    @classmethod
    async def arrive(cls, platform: Platform, stream: Stream) -> Self:
        account = await platform.post("/api/v2/accounts/", {"name": f"e2e {new_id().hex[-6:]}"})
        return cls(platform, stream, account["account_id"])

    async def buy(
        self, quantity: int, price: Decimal | None = None, *, key: str | None = None, strategy_id: str | None = None
    ) -> Json:
        """At market, or with a limit."""
        terms: Json = {"order_type": "MARKET"} if price is None else {"order_type": "LIMIT", "price": str(price)}
        return await self.place(quantity, key=key, strategy_id=strategy_id, **terms)

    async def place(self, quantity: int, *, key: str | None = None, **terms: object) -> Json:
        """A purchase of any kind."""
        body = {
            "account_id": self.account_id,
            "instrument": SHARE,
            "side": "BUY",
            "quantity": quantity,
            "product": "MIS",
            **terms,
        }
        return await self.platform.post("/api/v2/trading/orders/place", body, key=key)

    async def buy_patiently(self, quantity: int) -> Json:
        """An order that waited out an outage is refused as too old: a person then decides anew."""
        for _ in range(20):
            try:
                return await self.buy(quantity)
            except Refused as refused:
                if refused.problem.get("rule") != "REQUEST_EXPIRED":
                    raise
                await asyncio.sleep(0.5)
        raise AssertionError("every order waited too long")

    async def rest(self, quantity: int = 1) -> Json:
        """A purchase so far below the market that it waits."""
        return await self.buy(quantity, price=await self.price_below())

    async def price_below(self, part: str = "0.97") -> Decimal:
        quote = await self.platform.get(f"/api/v2/market/quotes/{SHARE}")
        return (Decimal(str(quote["ltp"])) * Decimal(part)).quantize(Decimal(1))

    async def modify(self, order_id: str, **terms: object) -> Json:
        return await self.platform.post("/api/v2/trading/orders/modify", {"order_id": order_id, **terms})

    async def cancel(self, order_id: str) -> Json:
        return await self.platform.post("/api/v2/trading/orders/cancel", {"order_id": order_id})

    async def order(self, order_id: str) -> Json:
        return await self.platform.get(f"/api/v2/trading/orders/{order_id}")

    async def orders(self) -> list[Json]:
        page = await self.platform.get("/api/v2/trading/orders/", account_id=self.account_id, limit=500)
        orders: list[Json] = page["data"]
        return orders

    async def fills(self) -> list[Json]:
        page = await self.platform.get(f"/api/v2/trading/tradebook/{self.account_id}", limit=500)
        fills: list[Json] = page["data"]
        return fills

    async def held(self) -> int:
        """Shares in the account."""
        positions = (await self.platform.get(f"/api/v2/trading/positions/{self.account_id}"))["data"]
        return sum(position["quantity"] for position in positions if position["instrument"] == SHARE)

    async def holds(self, quantity: int) -> None:
        """Waits until so many shares are in the account: a fill is told before the position that it moves."""
        held = None
        for _ in range(int(SOON / 0.1)):
            if (held := await self.held()) == quantity:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{held} shares are held, not {quantity}")

    async def close_all(self) -> None:
        await self.platform.post("/api/v2/trading/positions/close-all", {"account_id": self.account_id})

    async def sees(self, order_id: str, *statuses: str) -> Heard:
        """Waits until the stream tells that the order has one of these statuses."""

        def reached(heard: Heard) -> bool:
            is_it = heard.channel == "orders" and heard.row["order_id"] == order_id
            return is_it and heard.row["status"] in statuses

        heard = await self.stream.until(reached, SOON)
        assert heard, f"order {order_id} was not seen to be {statuses}; it is {await self.order(order_id)}"
        return heard

    async def sees_filled(self, order_id: str) -> None:
        await self.sees(order_id, "FILLED")
