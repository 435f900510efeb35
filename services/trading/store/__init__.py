"""Trading's tables, a module each. This one says what a batch needs, and in which order it is locked.

Every transaction first takes the gate: shared, or alone when it carries a panic. So a panic waits for what is being
recorded, and whatever is recorded later sees its epoch. Then the accounts' rows, by id. Nothing else is locked.
"""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.ids import AccountId, StrategyId
from libs.common.contracts.orders import OrderCancelRequested, OrderCleared, OrderDenied, OrderModifyCleared
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Connection, Store
from services.trading.domain import panics as rules
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.orders import Order
from services.trading.domain.panics import PanicEpoch
from services.trading.store.accounts import Accounts
from services.trading.store.executions import Executions
from services.trading.store.orders import Orders
from services.trading.store.panics import Panics
from services.trading.store.positions import Positions
from services.trading.store.square_offs import SquareOffs

NAMING_AN_ORDER = (ExecutionReported, OrderCleared, OrderDenied, OrderModifyCleared, OrderCancelRequested)

SHARE_GATE = "SELECT pg_advisory_xact_lock_shared(7264150917)"
CLOSE_GATE = "SELECT pg_advisory_xact_lock(7264150917)"


class TradingStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.accounts = Accounts(connection)
        self.orders = Orders(connection)
        self.executions = Executions(connection)
        self.positions = Positions(connection)
        self.square_offs = SquareOffs(connection)
        self.panics = Panics(connection)

    async def prefetch(self, messages: Sequence[Message]) -> None:
        panic_scopes = {m.scope for m in messages if isinstance(m, PanicRequested)}
        resets = any(isinstance(m, PanicResetRequested) for m in messages)
        await self.enter(alone=bool(panic_scopes) or resets)
        at_stake = {each for scope in panic_scopes for each in await self.panics.accounts_at_stake(scope)}
        account_ids: set[AccountId] = {m.account_id for m in messages if hasattr(m, "account_id")}
        await self.accounts.lock(account_ids | at_stake)
        await self.orders.load({m.order_id for m in messages if isinstance(m, NAMING_AN_ORDER)})
        executions = [m for m in messages if isinstance(m, ExecutionReported)]
        await self.executions.load([m.execution_id for m in executions])
        filled = self.orders.loaded({m.order_id for m in executions if m.kind is ExecutionKind.FILLED})
        await self.positions.load(filled)
        submitting = [m for m in messages if isinstance(m, OrderCleared)]
        changing = self.orders.loaded({m.order_id for m in messages if isinstance(m, OrderModifyCleared)})
        placed: list[Order | OrderCleared] = [*submitting, *filled, *changing]
        await self.panics.load({s for p in placed for s in rules.scopes_of(p.user_id, p.account_id, p.strategy_id)})
        await self.load_portfolios(self.accounts.with_square_offs() | at_stake)

    async def enter(self, *, alone: bool = False) -> None:
        """Take the gate, before any row."""
        await self.connection.execute(CLOSE_GATE if alone else SHARE_GATE)

    async def load_portfolios(self, account_ids: set[AccountId]) -> None:
        """All that is open in these accounts."""
        await self.orders.load_open(account_ids)
        await self.positions.load_live(account_ids)
        await self.square_offs.load_open(account_ids)

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
        self.panics.flush(self.writes)
