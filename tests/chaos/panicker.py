"""One user beside the flow who trades, panics every few seconds and goes on, whoever dies meanwhile."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime

from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts.risk import MTMBreached
from tests.chaos.flow import PATIENCE, Flow
from tests.chaos.wishes import TAKEN, Kind, Wish
from tests.chaos.world import Account
from tools.client import Away, Platform, Refused

LOTS = 100
PAUSE_S = (1.0, 2.0)
HOLDS_S = (1.5, 3.0)
OPENS = (Kind.MARKET, Kind.RESTING, Kind.STOP, Kind.RESTING)
FLAT_WITHIN = PATIENCE
"""Whoever closes may be dead for most of it: `test_panic.py` holds it to less when nobody is."""


@dataclass
class Panicker:
    """His orders are the flow's wishes, and are accounted for like them; to be denied is a legal end for his.

    His first account has a stop-loss and a target, which some of its positions reach before he panics.
    """

    flow: Flow
    seed: int
    expect: Callable[[bool, str], None]
    panics: int = 0
    breaches: set[str] = field(default_factory=set)
    _wishes: list[Wish] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled: what he has then is closed by one more panic, and none stays in force."""
        drawn, world, since = random.Random(self.seed), self.flow.world, SystemClock().now()
        async with Platform(world.gateway_url, patience=PATIENCE) as person:
            person.use_key(world.panicker.api_key)
            while True:
                await asyncio.sleep(drawn.uniform(*PAUSE_S))
                account = drawn.choice(world.panicker.accounts)
                scope = drawn.choice(("user", f"account/{account.account_id}"))
                for kind in OPENS:
                    self._wish(kind, account)
                try:
                    await asyncio.sleep(drawn.uniform(*HOLDS_S))
                finally:
                    await to_its_end(self._panic(person, account, scope, since))

    def _wish(self, kind: Kind, account: Account) -> Wish:
        quantity = account.instrument.quantity * (LOTS if kind is Kind.MARKET else 1)
        terms = {"quantity": quantity} if kind is Kind.STOP else {"quantity": quantity, "side": "BUY"}
        wish = self.flow.order(kind, account, **terms)
        self.flow.send(wish)
        self._wishes.append(wish)
        return wish

    async def _panic(self, person: Platform, account: Account, scope: str, since: datetime) -> None:
        try:
            await self._stop_everything(person, account, scope)
            self.breaches |= await breaches(person, since)
        except (Refused, Away) as error:
            self.expect(False, f"one user's panic: {error}")
        try:
            await person.post(f"/api/v2/risk/panic/{scope}/reset")
        except (Refused, Away) as error:
            self.expect(False, f"the reset of one user's panic: {error}")
        self._wishes.clear()

    async def _stop_everything(self, person: Platform, account: Account, scope: str) -> None:
        """What is wished once it is acknowledged is not accepted, what was wished before is cancelled or closed."""
        raised = await person.post(f"/api/v2/risk/panic/{scope}", {"reason": "chaos"})
        self.panics += 1
        self.expect(raised["in_force"], f"one user's panic was answered {raised}")
        late = self._wish(Kind.MARKET, account)
        await self.flow.decided(self._wishes)
        self.expect(late.status != TAKEN, f"{late.ids} was accepted while its user's panic was in force")
        until = stopwatch() + FLAT_WITHIN
        while (left := await at_stake(person)) and stopwatch() < until:
            await asyncio.sleep(0.1)
        self.expect(not left, f"{FLAT_WITHIN:.0f} s after one user's panic there are still {left[:3]}")


async def to_its_end(work: Coroutine[object, object, None]) -> None:
    """Also when who waits for it is cancelled meanwhile: half a panic would stay in force."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    finally:
        await task


async def at_stake(person: Platform) -> list[str]:
    open_orders = (await person.get("/api/v2/trading/orders/", open="true", limit=5))["data"]
    held = (await person.get("/api/v2/trading/positions/"))["data"]
    return [
        *(f"order {order['order_id']} {order['status']}" for order in open_orders),
        *(f"position {each['quantity']} {each['instrument']}" for each in held if each["quantity"]),
    ]


async def breaches(person: Platform, since: datetime) -> set[str]:
    """The positions that a limit closed."""
    told = (await person.get("/api/v2/risk/violations/", limit=100))["data"]
    return {
        each["event_id"]
        for each in told
        if each["type"] == MTMBreached.__name__ and datetime.fromisoformat(each["at"]) >= since
    }
