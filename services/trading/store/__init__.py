"""Trading's tables, a module each. This one says what a batch needs, and in which order it is locked.

Every transaction first takes the gate: shared, or alone when it carries a panic. So a panic waits for what is being
recorded, and whatever is recorded later sees its epoch. Then orders at brokers, where they are settled, then the
accounts' rows, by id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.common.contracts.base import Message
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.ids import AccountId, OrderId, StrategyId
from libs.common.contracts.masters import ContractUnsettled
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrdersCancelRequested,
    OrderSettleRequested,
    SquareOffRequested,
)
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.database import Connection
from libs.common.ids import first_of
from libs.common.reads import Row
from libs.common.service import Store
from services.trading.domain import panics as rules
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.orders import Order
from services.trading.domain.panics import PanicEpoch
from services.trading.store.accounts import Accounts
from services.trading.store.archive import Archive
from services.trading.store.brokers.calls import Calls
from services.trading.store.brokers.comparisons import Comparisons
from services.trading.store.brokers.credentials import Credentials
from services.trading.store.brokers.leases import BrokerLeases
from services.trading.store.brokers.watched import WatchedOrders
from services.trading.store.corporate_actions import CorporateActions
from services.trading.store.executions import Executions
from services.trading.store.orders import Orders
from services.trading.store.panics import Panics
from services.trading.store.positions import Positions
from services.trading.store.settlements import Settlements
from services.trading.store.square_offs import SquareOffs

NAMING_AN_ORDER = (
    ExecutionReported,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderCancelRequested,
    OrderSettleRequested,
)

KEPT = timedelta(days=7)
"""How long an order stays where the order path works, after it was made; what ended is archived then."""

SHARED_GATE = "pg_advisory_xact_lock_shared(7264150917)"
CLOSED_GATE = "pg_advisory_xact_lock(7264150917)"


class TradingStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.accounts = Accounts(connection)
        self.orders = Orders(connection)
        self.executions = Executions(connection)
        self.positions = Positions(connection)
        self.square_offs = SquareOffs(connection)
        self.settlements = Settlements(connection)
        self.corporate_actions = CorporateActions(connection)
        self.panics = Panics(connection)
        self.calls = Calls(connection)
        self.watched = WatchedOrders(connection)
        self.broker_leases = BrokerLeases(connection)
        self.credentials = Credentials(connection)
        self.comparisons = Comparisons(connection)
        self.archive = Archive(connection)

    def ask_on_entering(self, messages: Sequence[Message]) -> None:
        """The gate, and then the accounts: unless more of them, or orders before them, are to be locked as well."""
        panics = any(isinstance(m, PanicRequested | PanicResetRequested) for m in messages)
        self.reads.add(f"SELECT {CLOSED_GATE if panics else SHARED_GATE}::text", _entered)
        if not panics and not any(isinstance(m, OrderSettleRequested) for m in messages):
            self.accounts.ask_lock(self.reads, accounts_of(messages))

    async def prefetch(self, messages: Sequence[Message]) -> None:
        """One question for the locks that were not taken on entering, one for the rest, and one more where exits may be
        asked for.
        """
        if settling := [m.order_id for m in messages if isinstance(m, OrderSettleRequested)]:
            await self.watched.lock(settling)
        at_stake = await self._at_stake(messages)
        await self.accounts.lock(accounts_of(messages) | at_stake)
        submitting = [m for m in messages if isinstance(m, OrderCleared)]
        executions = [m for m in messages if isinstance(m, ExecutionReported)]
        filling = {m.order_id for m in executions if m.kind is ExecutionKind.FILLED}
        standing = filling | {m.order_id for m in messages if isinstance(m, OrderModifyCleared)}
        self.orders.ask(self.reads, {m.order_id for m in messages if isinstance(m, NAMING_AN_ORDER)})
        self.executions.ask(self.reads, [m.execution_id for m in executions])
        self.positions.ask(self.reads, filling)
        unsettled = {m.instrument for m in messages if isinstance(m, ContractUnsettled)}
        self.positions.ask_held(self.reads, unsettled)
        self.panics.ask(self.reads, {scope for m in submitting for scope in scopes_of(m)})
        self.panics.ask_of_orders(self.reads, standing)
        closing = {m.square_off_id: m.account_id for m in messages if isinstance(m, SquareOffRequested)}
        self.square_offs.ask(self.reads, list(closing))
        cancelling = {m.account_id for m in messages if isinstance(m, OrdersCancelRequested)}
        self._ask_portfolios(self.accounts.with_square_offs().union(at_stake, closing.values(), cancelling))
        await self.reads.send()
        self.positions.found(self.orders.loaded(filling))
        self.panics.found(scope for order in self.orders.loaded(standing) for scope in scopes_of(order))
        await self._know_epochs(at_stake.union(closing.values()))

    async def _at_stake(self, messages: Sequence[Message]) -> set[AccountId]:
        """The accounts that a panic, or its reset, concerns."""
        scopes = {m.scope for m in messages if isinstance(m, PanicRequested)}
        at_stake = {each for scope in scopes for each in await self.panics.accounts_at_stake(scope)}
        if any(isinstance(m, PanicResetRequested) for m in messages):
            at_stake |= await self.square_offs.panicking()
        return at_stake

    async def _know_epochs(self, account_ids: set[AccountId]) -> None:
        """Those that exits from what these accounts hold stand under: thousands may be closed at once."""
        scopes: set[str] = set()
        for account_id in account_ids:
            account = await self.accounts.get(account_id)
            held = [book for book in await self.positions.live_books(account_id) if book.holding.quantity]
            if account is not None and held:
                strategies = {book.strategy_id for book in held}
                scopes.update(*(rules.scopes_of(account.user_id, account_id, each) for each in strategies))
        if scopes:
            self.panics.ask(self.reads, scopes)
            await self.reads.send()

    async def order(self, order_id: OrderId, now: datetime) -> Order | None:
        """The order, wherever it is kept. Its account is locked by the caller.

        Only one that is older than KEPT can be in the archive: a young one costs no second question.
        """
        found = await self.orders.get(order_id)
        if found is None and order_id < first_of(now - KEPT) and await self.archive.bring_back(order_id):
            self.orders.forget(order_id)
            self.executions.check_again()
            found = await self.orders.get(order_id)
        return found

    async def enter(self) -> None:
        """Take the gate, before any row: for timers. A batch takes it as it enters."""
        await self.connection.execute(f"SELECT {SHARED_GATE}")

    async def load_portfolios(self, account_ids: set[AccountId]) -> None:
        """All that is open in these accounts."""
        self._ask_portfolios(account_ids)
        await self.reads.send()

    def _ask_portfolios(self, account_ids: set[AccountId]) -> None:
        self.orders.ask_open(self.reads, account_ids)
        self.positions.ask_live(self.reads, account_ids)
        self.square_offs.ask_open(self.reads, account_ids)

    async def epochs(self, account: TradingAccount, strategy_id: StrategyId | None) -> Sequence[PanicEpoch]:
        """Those that an order of this account and strategy stands under."""
        return await self.panics.epochs(rules.scopes_of(account.user_id, account.account_id, strategy_id))

    async def accounts_at_stake(self, scope: str) -> Sequence[TradingAccount]:
        """With open orders or positions in a panic's scope, those of this transaction included."""
        account_ids = await self.panics.accounts_at_stake(scope) | self.orders.accounts_touched(scope)
        found = [await self.accounts.get(account_id) for account_id in sorted(account_ids)]
        return [account for account in found if account is not None]

    async def flush(self) -> None:
        await self.accounts.flush(self.writes)
        self.orders.flush(self.writes)
        self.executions.flush(self.writes)
        self.positions.flush(self.writes)
        self.square_offs.flush(self.writes)
        self.settlements.flush(self.writes)
        self.panics.flush(self.writes)
        await self.calls.flush(self.writes)
        await self.watched.flush()


def accounts_of(messages: Sequence[Message]) -> set[AccountId]:
    return {m.account_id for m in messages if hasattr(m, "account_id")}


def _entered(_: Sequence[Row]) -> None:
    """Nothing is answered but that the gate let us in."""


def scopes_of(order: Order | OrderCleared) -> tuple[str, ...]:
    return rules.scopes_of(order.user_id, order.account_id, order.strategy_id)
