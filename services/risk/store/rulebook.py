"""What people decided: halts and limits."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.enums import RiskLevel
from libs.common.contracts.ids import RiskLimitId, StrategyId, UserId
from libs.common.contracts.risk import RiskLimit
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.risk.domain.halts import Halt
from services.risk.domain.limits import KeptLimit, OrderLimit
from services.risk.store.watches import Watches

_ORDER_LIMITS = """
    SELECT l.limit_id, user_id, level, account_id, strategy_id, instrument, max_order_value::text, max_open_positions,
           max_daily_loss::text, identical_order_window_s, breached_on, breached_mtm::text
    FROM limits l LEFT JOIN watches w ON w.limit_id = l.limit_id AND w.kind = 'DAILY_LOSS'
    WHERE user_id = ANY($1::uuid[]) AND active
      AND num_nonnulls(max_order_value, max_open_positions, max_daily_loss, identical_order_window_s) > 0
    ORDER BY l.limit_id
"""

_SAVE_HALTS = """
    INSERT INTO halts (scope, epoch, halted) SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[])
    ON CONFLICT (scope) DO UPDATE SET epoch = EXCLUDED.epoch, halted = EXCLUDED.halted
"""

_SAVE_LIMIT = """
    INSERT INTO limits (limit_id, user_id, level, account_id, strategy_id, instrument, max_order_value,
                        max_open_positions, max_daily_loss, identical_order_window_s, active, deleted, version,
                        changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false, $12, statement_timestamp())
    ON CONFLICT (limit_id) DO UPDATE
    SET level = $3, account_id = $4, strategy_id = $5, instrument = $6, max_order_value = $7, max_open_positions = $8,
        max_daily_loss = $9, identical_order_window_s = $10, active = $11, deleted = false, version = $12,
        changed_at = statement_timestamp()
"""

_FORGET = """
    DELETE FROM limits WHERE limit_id = ANY(ARRAY(
        SELECT limit_id FROM limits WHERE deleted AND changed_at < $1 ORDER BY changed_at LIMIT $2))
"""


class Halts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[str, Halt] = {}
        self._dirty: dict[str, Halt] = {}

    def ask(self, reads: Reads, scopes: Collection[str]) -> None:
        reads.add("SELECT scope, epoch, halted FROM halts WHERE scope = ANY($1::text[])", self._keep, scopes)

    def _keep(self, rows: Sequence[Row]) -> None:
        self._rows.update({row[0]: Halt(*row) for row in rows})

    def of(self, scopes: Iterable[str]) -> tuple[Halt, ...]:
        rows = self._rows
        return tuple(rows[scope] for scope in scopes if scope in rows) if rows else ()

    def save(self, halt: Halt) -> None:
        self._rows[halt.scope] = self._dirty[halt.scope] = halt

    def flush(self, writes: Writes) -> None:
        if self._dirty:
            rows = list(self._dirty.values())
            writes.add(_SAVE_HALTS, [h.scope for h in rows], [h.epoch for h in rows], [h.halted for h in rows])
            self._dirty = {}


class Limits:
    """Limits change rarely: they are written when they are saved. Orders read those of their users by the batch."""

    def __init__(self, connection: Connection, watches: Watches) -> None:
        self._connection = connection
        self._watches = watches
        self._of_users: dict[UserId, list[OrderLimit]] = {}
        self._kept: dict[RiskLimitId, KeptLimit] = {}

    def ask(self, reads: Reads, user_ids: Collection[UserId]) -> None:
        reads.add(_ORDER_LIMITS, self._keep, user_ids)

    def _keep(self, rows: Sequence[Row]) -> None:
        self._of_users = {}
        for limit in map(_order_limit, rows):
            self._of_users.setdefault(limit.user_id, []).append(limit)

    def loaded(self) -> list[OrderLimit]:
        return [limit for limits in self._of_users.values() for limit in limits]

    def of(self, user_id: UserId) -> list[OrderLimit]:
        return self._of_users.get(user_id, [])

    async def lock(self, limit_ids: Collection[RiskLimitId]) -> None:
        """Let nobody else decide on these limits before this transaction ends."""
        rows = await self._connection.fetch(
            "SELECT limit_id, user_id, version, deleted FROM limits WHERE limit_id = ANY($1::uuid[]) "
            "ORDER BY limit_id FOR UPDATE",
            limit_ids,
        )
        self._kept.update({row[0]: KeptLimit(row[1], row[2], row[3]) for row in rows})

    def kept(self, limit_id: RiskLimitId) -> KeptLimit | None:
        return self._kept.get(limit_id)

    async def save(self, limit: RiskLimit, version: int, today: date) -> None:
        """Keep the limit, and arm the watches of what is new in it."""
        baselines = await self._watches.drop(limit, today)
        await self._connection.execute(
            _SAVE_LIMIT,
            limit.limit_id,
            limit.user_id,
            limit.level,
            limit.account_id,
            limit.strategy_id,
            limit.instrument,
            limit.max_order_value,
            limit.max_open_positions,
            limit.max_daily_loss,
            limit.identical_order_window_s,
            limit.active,
            version,
        )
        await self._watches.arm(limit, version, today, baselines)
        self._kept[limit.limit_id] = KeptLimit(limit.user_id, version, deleted=False)

    async def delete(self, limit_id: RiskLimitId) -> None:
        """The row stays for some days, so that other instances see that it is gone, and a late writer its version."""
        await self._watches.forget(limit_id)
        await self._connection.execute(
            "UPDATE limits SET deleted = true, active = false, version = version + 1, "
            "changed_at = statement_timestamp() WHERE limit_id = $1",
            limit_id,
        )
        kept = self._kept[limit_id]
        self._kept[limit_id] = KeptLimit(kept.user_id, kept.version + 1, deleted=True)

    async def forget(self, deleted_before: datetime, most: int | None = None) -> None:
        """Drop what was deleted so long ago, so many at most."""
        await self._connection.execute(_FORGET, deleted_before, most)


def needs_count(limits: Iterable[OrderLimit], level: RiskLevel) -> list[OrderLimit]:
    return [each for each in limits if each.level is level and each.max_open_positions is not None]


def strategies_of(limits: Iterable[OrderLimit]) -> list[StrategyId]:
    return [each.strategy_id for each in limits if each.strategy_id is not None]


def _order_limit(row: Row) -> OrderLimit:
    limit_id, user_id, level, account_id, strategy_id, instrument, value, positions, loss, window, day, mtm = row
    return OrderLimit(
        limit_id,
        user_id,
        RiskLevel(level),
        account_id,
        strategy_id,
        instrument,
        value and Decimal(value),
        positions,
        loss and Decimal(loss),
        window,
        day,
        mtm and Decimal(mtm),
    )
