"""Panic epochs, and the panics that raised them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from libs.common.contracts.ids import AccountId, OrderId, PanicId, UserId
from libs.common.contracts.risk import PanicRequested
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.trading.domain import panics
from services.trading.domain.panics import PanicEpoch

OPERATOR = UserId(UUID(int=0))
"""Whoever has a shell on the machine is nobody's user."""
SELECT_EPOCHS = "SELECT scope, epoch, halted, panic_id, by_admin FROM panic_epochs WHERE scope = ANY($1::text[])"
SELECT_EPOCHS_OF_ORDERS = """
SELECT scope, epoch, halted, panic_id, by_admin
  FROM panic_epochs
 WHERE scope IN (SELECT unnest(ARRAY['ALL', 'USER:' || user_id, 'ACCOUNT:' || account_id, 'STRATEGY:' || strategy_id])
                   FROM orders WHERE order_id = ANY($1::uuid[]))
"""
SAVE_EPOCHS = """
INSERT INTO panic_epochs (scope, epoch, halted, panic_id, by_admin)
SELECT * FROM unnest($1::text[], $2::integer[], $3::boolean[], $4::uuid[], $5::boolean[])
ON CONFLICT (scope) DO UPDATE
   SET epoch = excluded.epoch, halted = excluded.halted, panic_id = excluded.panic_id, by_admin = excluded.by_admin
"""
SELECT_PANIC = "SELECT epoch FROM panics WHERE panic_id = $1"
SELECT_NEWEST = "SELECT panic_id FROM panics WHERE scope = $1 ORDER BY panic_id DESC LIMIT 1"
IS_PANIC = "SELECT EXISTS (SELECT FROM panics WHERE scope = $1 AND epoch = $2 AND requested_by <> $3)"
HALTED_AT = """
SELECT raised_at FROM panics p
 WHERE scope = $1 AND epoch = $2
   AND NOT EXISTS (SELECT FROM panics WHERE scope = p.scope AND epoch = p.epoch AND requested_by <> $3)
"""
INSERT_PANIC = "INSERT INTO panics VALUES ($1, $2, $3, $4, $5, $6)"
AT_STAKE = {
    "ALL": """
SELECT account_id FROM orders WHERE is_open
UNION
SELECT account_id FROM books WHERE quantity <> 0
""",
    "USER": """
SELECT o.account_id FROM orders o JOIN accounts a USING (account_id) WHERE o.is_open AND a.user_id = $1::text::uuid
UNION
SELECT b.account_id FROM books b JOIN accounts a USING (account_id) WHERE b.quantity <> 0 AND a.user_id = $1::text::uuid
""",
    "ACCOUNT": """
SELECT account_id FROM orders WHERE is_open AND account_id = $1::text::uuid
UNION
SELECT account_id FROM books WHERE quantity <> 0 AND account_id = $1::text::uuid
""",
    "STRATEGY": """
SELECT account_id FROM orders WHERE is_open AND strategy_id = $1::text::uuid
UNION
SELECT account_id FROM books WHERE quantity <> 0 AND strategy_id = $1::text::uuid
""",
}


class Panics:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, PanicEpoch] = {}
        self._changed: dict[str, PanicEpoch] = {}
        self._at_stake: dict[str, set[AccountId]] = {}
        self._halted_at: dict[tuple[str, int], datetime | None] = {}

    async def epochs(self, scopes: Sequence[str]) -> Sequence[PanicEpoch]:
        reads = Reads(self._connection)
        self.ask(reads, scopes)
        await reads.send()
        return [self._known[scope] for scope in scopes]

    async def epoch_of(self, panic_id: PanicId) -> int | None:
        """Under which this panic was acknowledged; None for one that was never heard of."""
        epoch: int | None = await self._connection.fetchval(SELECT_PANIC, panic_id)
        return epoch

    async def newest(self, scope: str) -> PanicId | None:
        """The panic that was asked for last, of those that stopped this scope."""
        panic_id: PanicId | None = await self._connection.fetchval(SELECT_NEWEST, scope)
        return panic_id

    async def is_panic(self, stopped: PanicEpoch) -> bool:
        """Whether somebody panicked there: an operator's halt alone closes nothing."""
        found: bool = await self._connection.fetchval(IS_PANIC, stopped.scope, stopped.epoch, OPERATOR)
        return found

    async def halted_at(self, stopped: PanicEpoch) -> datetime | None:
        """When an operator halted the scope; None where somebody panicked there."""
        key = stopped.scope, stopped.epoch
        if key not in self._halted_at:
            self._halted_at[key] = await self._connection.fetchval(HALTED_AT, *key, OPERATOR)
        return self._halted_at[key]

    async def accounts_at_stake(self, scope: str) -> set[AccountId]:
        """With open orders or positions in the scope before this transaction; none for a malformed scope."""
        if not panics.SCOPE.fullmatch(scope):
            return set()
        if scope not in self._at_stake:
            kind, _, owner = scope.partition(":")
            found = await self._connection.fetch(AT_STAKE[kind], *([owner] if owner else []))
            self._at_stake[scope] = {row["account_id"] for row in found}
        return self._at_stake[scope]

    def save(self, epoch: PanicEpoch) -> None:
        self._known[epoch.scope] = epoch
        self._changed[epoch.scope] = epoch

    async def record(self, request: PanicRequested, epoch: int, now: datetime) -> None:
        await self._connection.execute(
            INSERT_PANIC, request.panic_id, request.scope, epoch, request.requested_by, request.reason, now
        )
        self._halted_at.pop((request.scope, epoch), None)

    def ask(self, reads: Reads, scopes: Iterable[str]) -> None:
        missing = [scope for scope in scopes if scope not in self._known]
        if missing:
            self._known.update((scope, PanicEpoch(scope)) for scope in missing)
            reads.add(SELECT_EPOCHS, self._keep, missing)

    def ask_of_orders(self, reads: Reads, order_ids: Collection[OrderId]) -> None:
        """The epochs that stored orders stand under; `found` tells afterwards which scopes these are."""
        if order_ids:
            reads.add(SELECT_EPOCHS_OF_ORDERS, self._keep, order_ids)

    def found(self, scopes: Iterable[str]) -> None:
        for scope in scopes:
            self._known.setdefault(scope, PanicEpoch(scope))

    def _keep(self, rows: Sequence[Row]) -> None:
        self._known.update((row[0], PanicEpoch(*row)) for row in rows)

    def flush(self, writes: Writes) -> None:
        changed = self._changed.values()
        rows = [(each.scope, each.epoch, each.halted, each.panic_id, each.by_admin) for each in changed]
        writes.add_rows(SAVE_EPOCHS, rows)
