"""One transaction's view of risk's tables: handlers ask and save, one message at a time."""

from collections.abc import Sequence
from datetime import date, datetime

from libs.common.contracts.base import Message
from libs.common.contracts.enums import OrderPurpose, Product, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, StrategyId, UserId
from libs.common.contracts.orders import OrderTerms
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.risk import RiskLimit
from libs.common.database import Connection
from libs.common.service import Store
from services.risk.domain.halts import Halt, scopes_of
from services.risk.domain.ledger import Ledger, Reservation
from services.risk.domain.limits import OrderLimit
from services.risk.store.accounts import Accounts
from services.risk.store.corporate_actions import CorporateActions
from services.risk.store.exposures import Exposures
from services.risk.store.needs import Needs, needs_of
from services.risk.store.reservations import Reservations, terms_key
from services.risk.store.rulebook import Halts, Limits, needs_count, strategies_of
from services.risk.store.watches import Watches


class RiskStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.accounts = Accounts(connection)
        self.exposures = Exposures(connection)
        self.reservations = Reservations(connection)
        self.halts = Halts(connection)
        self.watches = Watches(connection)
        self.corporate_actions = CorporateActions(connection)
        self.limits = Limits(connection, self.watches)
        self._needs = Needs()

    def ask_on_entering(self, messages: Sequence[Message]) -> None:
        """Accounts are locked first, in order; limits after them. Two instances cannot wait for each other."""
        self._needs = needs_of(messages)
        self.accounts.ask(self.reads, self._needs.accounts)

    async def prefetch(self, messages: Sequence[Message]) -> None:
        if not self.accounts.are_asked:
            self._needs = needs_of(messages)
        needs = self._needs
        await self.accounts.load(needs.accounts, needs.told_of)
        self.reservations.ask(self.reads, needs.orders)
        self.exposures.ask(self.reads, needs.exposures, needs.orders)
        self.corporate_actions.ask(self.reads, needs.moved)
        self._ask_rules(needs)
        if needs.flat:
            self.watches.ask_fired(self.reads, needs.flat)
        await self.reads.send()
        before = set(needs.scopes)
        for order in self.reservations.loaded():
            needs.found(order)
        if needs.scopes != before:
            self._ask_rules(needs)
            await self.reads.send()
        if needs.users or needs.limits:
            await self._count(needs)

    def _ask_rules(self, needs: Needs) -> None:
        if needs.users:
            self.halts.ask(self.reads, needs.scopes)
            self.limits.ask(self.reads, needs.users)

    async def _count(self, needs: Needs) -> None:
        """What only some limits need: counts over accounts, recent orders."""
        limits = self.limits.loaded()
        counted = [*needs_count(limits, RiskLevel.USER), *needs_count(limits, RiskLevel.STRATEGY)]
        # Counts span accounts that other instances may hold: one decision at a time.
        locked = {*needs.limits, *(each.limit_id for each in counted)}
        if locked:
            await self.limits.lock(locked)
        if counted:
            await self.accounts.count_positions(needs.users)
            await self.exposures.count_positions(needs.users, strategies_of(counted))
        if any(each.identical_order_window_s for each in limits):
            await self.reservations.load_recent({terms_key(wish) for wish in needs.wishes})

    async def save_limit(self, limit: RiskLimit, version: int, today: date) -> None:
        await self.limits.save(limit, version, today)
        await self._limits_changed()

    async def delete_limit(self, limit_id: RiskLimitId) -> None:
        await self.limits.delete(limit_id)
        await self._limits_changed()

    async def _limits_changed(self) -> None:
        """Orders later in the batch are decided under the new limits."""
        if self._needs.users:
            await self.write()
            self.limits.ask(self.reads, self._needs.users)
            await self.reads.send()
            await self._count(self._needs)

    async def flush(self) -> None:
        self.reservations.flush(self.writes)
        self.exposures.flush(self.writes)
        self.accounts.flush(self.writes)
        self.halts.flush(self.writes)

    async def now(self) -> datetime:
        """The database's time, by which rows are marked."""
        at: datetime = await self.connection.fetchval("SELECT now()")
        return at

    def ledger(
        self,
        account_id: AccountId,
        strategy_id: StrategyId | None,
        instrument: InstrumentId,
        product: Product,
        user_id: UserId,
    ) -> Ledger:
        """The account, its net position, and the strategy's book of it."""
        net = self.exposures.get(account_id, None, instrument, product, user_id)
        book = None
        if strategy_id is not None:
            book = self.exposures.get(account_id, strategy_id, instrument, product, user_id)
        return Ledger(self.accounts.get(account_id), net, book)

    def ledger_of(self, order: Reservation | OrderTerms | PositionChanged) -> Ledger:
        return self.ledger(order.account_id, order.strategy_id, order.instrument, order.product, order.user_id)

    def save_ledger(self, ledger: Ledger) -> None:
        self.accounts.save(ledger.account)
        self.exposures.save(ledger.net)
        if ledger.book is not None:
            self.exposures.save(ledger.book)

    def halts_of(self, order: OrderTerms) -> tuple[Halt, ...]:
        return self.halts.of(scopes_of(order.user_id, order.account_id, order.strategy_id))

    def limits_of(self, order: OrderTerms) -> tuple[OrderLimit, ...]:
        return tuple(each for each in self.limits.of(order.user_id) if each.concerns(order))

    def last_identical(self, order: OrderTerms, limits: Sequence[OrderLimit]) -> datetime | None:
        """When the same order was cleared last; not asked unless a limit minds."""
        if not any(each.identical_order_window_s for each in limits):
            return None
        return self.reservations.last_identical(terms_key(order))

    def remember(self, order: OrderTerms, limits: Sequence[OrderLimit], cleared_at: datetime) -> None:
        """What is an exit by its purpose nobody repeats: who reverses a position enters with the same words."""
        if order.purpose is OrderPurpose.ENTRY and any(each.identical_order_window_s for each in limits):
            self.reservations.remember(terms_key(order), cleared_at)

    def open_positions(self, limits: Sequence[OrderLimit], order: OrderTerms) -> dict[RiskLimitId, int]:
        """For each limit on open positions, how many its scope has."""
        return {each.limit_id: self._held(each, order) for each in limits if each.max_open_positions is not None}

    def _held(self, limit: OrderLimit, order: OrderTerms) -> int:
        match limit.level:
            case RiskLevel.USER:
                return self.accounts.users_positions.get(order.user_id, 0)
            case RiskLevel.STRATEGY if order.strategy_id is not None:
                return self.exposures.strategies_positions.get(order.strategy_id, 0)
            case _:
                return self.accounts.get(order.account_id).open_positions
