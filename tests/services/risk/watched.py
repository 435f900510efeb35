"""Limits, and a scene that watches them as a process of risk does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.base import Delivery, Message
from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import InstrumentId, RiskLimitId
from libs.common.contracts.risk import RiskLimit, RiskLimitSaveRequested, WatchMoved
from libs.common.database import Connection
from libs.common.messaging.envelope import decode
from libs.common.messaging.work import Work, origin
from libs.common.runtime import Unit
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from libs.common.trading_calendar import IST
from services.risk import timers
from services.risk.app import app, retold
from services.risk.domain.watches import by_scope
from services.risk.memory import RiskMemory
from services.risk.projections.watch import positions_of
from services.risk.store import RiskStore
from services.risk.store.rebuild import forget
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

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.log: list[tuple[datetime, str, Message]] = []
        """When whatever was told, and by whom."""

    async def open(self) -> "Watched":
        await super().open()
        await self.follow()
        return self

    async def tell(self, *messages: Message, story: UUID | None = None) -> Sequence[Message]:
        said = await super().tell(*messages, story=story)
        self._record(messages, "/services/trading")
        self._record(said)
        store = RiskStore(self.connection)
        for message in messages:
            self.memory.hear(positions_of(Delivery(message, envelope_of(message, now=self.now))))
        self.memory.rewatch(await store.watches.all())
        return said

    async def restart(self) -> None:
        """Another process takes over, and knows what the database does."""
        self.memory = RiskMemory()
        self.memory.clock = FixedClock(self.now)
        await self.memory.follow(RiskStore(self.connection))
        await self.follow()

    async def next_day(self) -> None:
        """The process lives on into another day."""
        await self.follow()
        self.later(days=1)
        self.memory.revalue()
        await self.follow()

    async def late(self, message: Message, **ago: float) -> None:
        """Something that was said this long ago is read only now."""
        now, self.now = self.now, self.now - timedelta(**ago)
        await self.tell(message)
        self.now = now

    async def follow(self) -> None:
        """What the timer does every second; the second time nothing is left to do."""
        for _ in range(2):
            work = Work(app, self.memory, self.connection, self.now)
            cause = origin(app, self.now)
            work.say(await timers.follow(work.context(cause)), cause)
            await work.store.write()
            self._said_by(work)

    async def night(self) -> None:
        """More than a week on, at two in India, with what the timer forgets then."""
        await self.connection.execute("UPDATE exposures SET moved_at = least($1, now()) - interval '1 hour'", self.now)
        at_two = (self.now + timedelta(days=9)).astimezone(IST).replace(hour=2)
        self.later(seconds=(at_two - self.now).total_seconds())
        await self.forget()

    async def forget(self) -> None:
        await timers.forget(Work(app, self.memory, self.connection, self.now).context(origin(app, self.now)))

    def _said_by(self, work: Work[RiskStore, RiskMemory]) -> list[Message]:
        types = {message.__name__: message for message in app.topics}
        said = [decode(types[record.envelope.type], record.value) for record in work.records]
        self._record(said)
        return said

    def _record(self, messages: Sequence[Message], source: str = "/services/risk") -> None:
        self.log += [(self.now, source, message) for message in messages]

    async def build_anew(self) -> None:
        """From what the log keeps of what was told, in order of time, as the command does."""
        await forget(self.connection, self.now)
        kinds = {subscription.message for subscription in retold.consumes}
        newest = {message.watch: message for _, _, message in self.log if isinstance(message, WatchMoved)}
        for time, source, message in sorted(self.log, key=lambda told: told[0]):
            is_compacted = isinstance(message, WatchMoved) and message is not newest[message.watch]
            if type(message) in kinds and not is_compacted:
                cause = replace(envelope_of(message, now=time), source=source)
                await deliver(retold, self.connection, message, now=time, cause=cause)

    async def price(self, last: float, close: float = 0) -> Sequence[Message]:
        """A new price, and what risk says of itself because of it."""
        self.memory.take([conflated(quote(SBIN, last, self.now, close))])
        self.memory.revalue()
        said: list[Message] = []
        crossed, self.memory.crossed = self.memory.crossed, {}
        for watches in by_scope(each.watch for each in crossed.values()):
            crossings = [crossed[watch.key] for watch in watches]
            said += await self._act(lambda unit, each=crossings: timers.fire(unit, each))
        for watches in by_scope(self.memory.flat.values()):
            await self._act(lambda unit, each=watches: timers.rearm(unit, each))
        self.memory.crossed.clear()
        self.memory.flat.clear()
        self.memory.rewatch(await RiskStore(self.connection).watches.all())
        return said

    async def price_of(self, instrument: InstrumentId, last: float) -> None:
        self.memory.take([conflated(quote(instrument, last, self.now))])

    async def _act(self, step: Any) -> list[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        await step(Unit(work, origin(app, self.now, USER)))
        await work.store.write()
        return self._said_by(work)


def long(quantity: int = 10, average: int = 800, **terms: Any) -> Message:
    held = state(quantity, average)
    return position(held, strategy_id=STRATEGY, **terms)
