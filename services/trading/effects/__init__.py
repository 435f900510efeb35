"""What trading does at brokers behind HTTP, after the commit that recorded the wish. A desk per account at work."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import asyncpg
from prometheus_client import Gauge

from libs.common import database
from libs.common.contracts.ids import AccountId
from libs.common.ids import new_id
from libs.common.runtime import Runtime
from libs.common.settings import load
from libs.common.telemetry import log
from services.trading.adapters.zerodha.client import Kite
from services.trading.effects.desk import PASSING, Desk, Means
from services.trading.effects.steps import Passed, count
from services.trading.memory import TradingMemory
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.calls import BOOKS, CHANNEL, account_of
from services.trading.store.brokers.credentials import Vault

LOOK_SECONDS = 1.0
"""Between two looks for accounts with work that no notification told of."""
ANSWER_SECONDS = 2.0
"""How long such a look may take, and the connection to close."""
WAITING = Gauge("broker_accounts_waiting", "Accounts with something to send or to watch that nobody has room for")
CONNECTIONS = 4
"""Of the pool, which the order path shares: the most that desks use at once."""


async def work_for_brokers(runtime: Runtime[TradingStore, TradingMemory]) -> None:
    """For as long as the process lives."""
    settings = load(TradingSettings)
    patience = settings.patience
    kite = Kite(settings.zerodha_url, settings.broker_connect_s, patience.call.total_seconds())
    try:
        await Office(runtime, settings, kite).run()
    finally:
        await kite.close()


@dataclass
class Office:
    """Opens a desk for each account that has something to send or to watch; closes all of them in order."""

    runtime: Runtime[TradingStore, TradingMemory]
    settings: TradingSettings
    kite: Kite
    passed: Passed = count
    desks: dict[AccountId, Desk] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncpg.Connection | None = None
    _waiting: int = 0

    def __post_init__(self) -> None:
        self.means = Means(
            runtime=self.runtime,
            settings=self.settings,
            kite=self.kite,
            vault=Vault(self.settings.vault_secret.get_secret_value()),
            owner=new_id(),
            database=asyncio.Semaphore(CONNECTIONS),
            passed=self.passed,
        )

    async def run(self) -> None:
        try:
            while not self.runtime.stopping.is_set():
                self._news.clear()
                try:
                    await self.look(await self._listen())
                except PASSING as error:
                    log.warning("effects_wait", error=repr(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """What is in hand is finished: a call that is cut off would leave an order of unknown outcome."""
        for desk in self.desks.values():
            desk.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.settings.broker_call_s + 2)
            for task in late:
                task.cancel()
        if self._listening is not None:
            with contextlib.suppress(*PASSING):
                await self._listening.close(timeout=ANSWER_SECONDS)

    async def look(self, listening: asyncpg.Connection) -> None:
        """Open a desk for whoever needs one. The connection that hears of news is asked: by itself it would not notice
        that its way to PostgreSQL is cut, and hear nothing for ever.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await TradingStore(listening).calls.accounts(self.means.owner)
        except TimeoutError:
            listening.terminate()
            raise
        without = [account_id for account_id in found if account_id not in self.desks]
        room = max(self.settings.broker_accounts - len(self.desks), 0)
        for account_id in without[:room]:
            self._open(account_id)
        waiting = len(without[room:])
        if waiting > self._waiting:
            log.warning("desks_full", waiting=waiting, most=self.settings.broker_accounts)
        self._waiting = waiting
        WAITING.set(waiting)

    def _open(self, account_id: AccountId) -> None:
        desk = self.desks[account_id] = Desk(account_id, self.means)
        task = asyncio.create_task(desk.run(), name=f"desk:{account_id}")
        self._tasks.add(task)

        def closed(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self.desks.pop(account_id, None)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("desk_failed", account_id=str(account_id), exc_info=error)

        task.add_done_callback(closed)

    async def _listen(self) -> asyncpg.Connection:
        """Again where the connection was lost; every desk looks then for what was said meanwhile."""
        if self._listening is None or self._listening.is_closed():
            url = self.runtime.own_settings.database_url
            self._listening = await database.connect(url, self.runtime.service.name)
            try:
                await self._listening.add_listener(CHANNEL, self._heard)
                await self._listening.add_listener(BOOKS, self._hinted)
            except BaseException:
                self._listening.terminate()
                raise
            for desk in self.desks.values():
                desk.look_soon()
        return self._listening

    def _heard(self, _: object, __: int, ___: str, payload: object) -> None:
        desk = self.desks.get(account_of(str(payload)))
        (desk.news if desk else self._news).set()

    def _hinted(self, _: object, __: int, ___: str, payload: object) -> None:
        """Where nothing is watched nothing is read."""
        if desk := self.desks.get(account_of(str(payload))):
            desk.look_soon()
