"""Limits, and a scene that watches them as a process of risk does."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.base import Delivery, Message
from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import RiskLimitId
from libs.common.contracts.risk import RiskLimit, RiskLimitSaveRequested
from libs.common.messaging.envelope import decode
from libs.common.messaging.work import Work, origin
from libs.common.runtime import Unit
from libs.common.testing.delivery import envelope_of
from services.risk import timers
from services.risk.app import app
from services.risk.memory import RiskMemory
from services.risk.projections.watch import positions_of
from services.risk.store import RiskStore
from tests.services.risk.scene import (
    ACCOUNT,
    SBIN,
    STRATEGY,
    USER,
    Scene,
    conflated,
    position,
    quote,
    state,
)

SCOPES: dict[RiskLevel, dict[str, Any]] = {
    RiskLevel.INSTRUMENT: {"account_id": ACCOUNT, "instrument": SBIN},
    RiskLevel.STRATEGY: {"strategy_id": STRATEGY},
    RiskLevel.ACCOUNT: {"account_id": ACCOUNT},
    RiskLevel.USER: {},
}
AMOUNTS = {
    BreachKind.STOP_LOSS: ("stop_loss", 750.0),
    BreachKind.TARGET: ("target", 850.0),
    BreachKind.TRAILING_STOP: ("trailing_stop", 750.0),
    BreachKind.DAILY_LOSS: ("max_daily_loss", 750.0),
}


def limit(level: RiskLevel = RiskLevel.ACCOUNT, **amounts: Any) -> RiskLimitSaveRequested:
    limit_id = RiskLimitId(ids.new_id())
    own = RiskLimit(limit_id=limit_id, user_id=USER, level=level, **{**SCOPES[level], **amounts})
    return RiskLimitSaveRequested(limit_id=limit_id, user_id=USER, limit=own, expected_version=0)


class Watched(Scene):
    """A scene whose memory follows the database, as a process does."""

    async def tell(self, *messages: Message, story: UUID | None = None) -> Sequence[Message]:
        said = await super().tell(*messages, story=story)
        store = RiskStore(self.connection)
        for message in messages:
            self.memory.hold(positions_of(Delivery(message, envelope_of(message, now=self.now))))
        self.memory.rewatch(await store.limits.all_watches())
        return said

    async def restart(self) -> None:
        """Another process takes over, and knows what the database does."""
        self.memory = RiskMemory()
        self.memory.clock = FixedClock(self.now)
        await self.memory.follow(RiskStore(self.connection))

    async def price(self, last: float, close: float = 0) -> Sequence[Message]:
        """A new price, and what risk says of itself because of it."""
        self.memory.take([conflated(quote(SBIN, last, self.now, close))])
        self.memory.revalue()
        said: list[Message] = []
        for crossing in self.memory.crossed.values():
            said += await self._act(lambda unit, each=crossing: timers.fire(unit, each))
        for watch in self.memory.flat.values():
            await self._act(lambda unit, each=watch: timers.rearm(unit, each))
        self.memory.crossed.clear()
        self.memory.flat.clear()
        self.memory.rewatch(await RiskStore(self.connection).limits.all_watches())
        return said

    async def _act(self, step: Any) -> list[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        await step(Unit(work, origin(app, self.now, USER)))
        await work.store.write()
        types = {message.__name__: message for message in app.topics}
        return [decode(types[record.envelope.type], record.value) for record in work.records]


def long(quantity: int = 10, average: int = 800, **terms: Any) -> Message:
    held = state(quantity, average)
    return position(held, strategy_id=STRATEGY, **terms)
