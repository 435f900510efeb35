"""Positions with what is pending on them: net per account, and one book per strategy."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg

from libs.common import ids
from libs.common.contracts.enums import Broker, Exchange, Product
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId, UserId
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.risk.domain.ledger import Exposure
from services.risk.store.needs import ExposureKey

NET = StrategyId(UUID(int=0))
"""Stands in the table's key for the account's net position."""

FORGOTTEN = InstrumentId("")
"""Stands in the table's key for all that a strategy's book of an account was, and is no more."""

PROCESS = ids.new_id()
"""Marks the rows that this process moved, so that it need not read them back."""

_FIELDS = """
    account_id, strategy_id, instrument, product, user_id, quantity, average_price, realised_pnl, pnl_day, margin,
    version, pending_buy, pending_sell, carried_quantity, carried_average, realised_before,
    opened_on, bought_quantity, unbooked, carried_unbooked, unbooked_pnl
"""

_AS_READ = """
    account_id, strategy_id, instrument, product, user_id, quantity, average_price::text, realised_pnl::text, pnl_day,
    margin::text, version, pending_buy, pending_sell, carried_quantity, carried_average::text, realised_before::text,
    opened_on, bought_quantity, unbooked::text, carried_unbooked::text, unbooked_pnl::text
"""

_LOAD = f"""
    SELECT {_AS_READ}
    FROM (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])
          UNION
          SELECT r.account_id, book.strategy_id, r.instrument, r.product
          FROM reservations r CROSS JOIN LATERAL (VALUES ($6::uuid), (r.strategy_id)) AS book (strategy_id)
          WHERE r.order_id = ANY($5::uuid[]) AND book.strategy_id IS NOT NULL
         ) AS k (account_id, strategy_id, instrument, product)
    JOIN exposures USING (account_id, strategy_id, instrument, product)
"""  # noqa: S608 - constants only

_SAVE = f"""
    INSERT INTO exposures AS e ({_FIELDS}, moved_at, moved_by)
    SELECT *, statement_timestamp(), $22::uuid
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::numeric[],
                $8::numeric[], $9::date[], $10::numeric[], $11::bigint[], $12::bigint[], $13::bigint[],
                $14::bigint[], $15::numeric[], $16::numeric[], $17::date[], $18::bigint[], $19::numeric[],
                $20::numeric[], $21::numeric[])
    ON CONFLICT (account_id, strategy_id, instrument, product) DO UPDATE
    SET quantity = EXCLUDED.quantity, average_price = EXCLUDED.average_price, realised_pnl = EXCLUDED.realised_pnl,
        pnl_day = EXCLUDED.pnl_day, margin = EXCLUDED.margin, version = EXCLUDED.version,
        pending_buy = EXCLUDED.pending_buy, pending_sell = EXCLUDED.pending_sell,
        carried_quantity = EXCLUDED.carried_quantity, carried_average = EXCLUDED.carried_average,
        realised_before = EXCLUDED.realised_before, opened_on = EXCLUDED.opened_on,
        bought_quantity = EXCLUDED.bought_quantity,
        unbooked = EXCLUDED.unbooked, carried_unbooked = EXCLUDED.carried_unbooked,
        unbooked_pnl = EXCLUDED.unbooked_pnl,
        moved_at = CASE WHEN EXCLUDED.version > e.version THEN EXCLUDED.moved_at ELSE e.moved_at END,
        moved_by = CASE WHEN EXCLUDED.version > e.version THEN EXCLUDED.moved_by ELSE e.moved_by END
"""  # noqa: S608 - constants only

_COUNT = """
    SELECT strategy_id, count(*)
    FROM exposures JOIN accounts USING (account_id)
    WHERE accounts.user_id = ANY($1::uuid[]) AND strategy_id = ANY($2::uuid[])
      AND (quantity <> 0 OR pending_buy <> 0 OR pending_sell <> 0)
    GROUP BY strategy_id
"""

_OF_TODAY = f"""
    SELECT {_FIELDS} FROM exposures WHERE quantity <> 0 OR (version > 0 AND pnl_day >= $1::date - 1)
"""  # noqa: S608 - constants only

_HELD = "SELECT DISTINCT instrument FROM exposures WHERE quantity <> 0 ORDER BY instrument"

_INTRADAY = f"""
    SELECT {_FIELDS} FROM exposures
    WHERE product = $1 AND (quantity <> 0 OR pending_buy <> 0 OR pending_sell <> 0)
      AND (split_part(instrument, ':', 1) = ANY($2::text[])
           OR quantity <> 0 AND (pnl_day IS NULL OR pnl_day < $3 OR carried_quantity <> 0))
      AND account_id IN (SELECT account_id FROM accounts WHERE broker = $4)
    ORDER BY random() LIMIT $5
"""  # noqa: S608 - constants only
"""Any of them: the same ones each time, were they stuck, would keep all others waiting for ever."""

_OF = f"""
    SELECT {_FIELDS} FROM exposures
    JOIN unnest($1::uuid[], $2::text[]) AS k (account_id, instrument) USING (account_id, instrument)
    WHERE version > 0
"""  # noqa: S608 - constants only

_CHANGED_SHARES = f"""
    SELECT {_FIELDS} FROM exposures
    WHERE quantity <> 0 AND instrument IN (SELECT instrument FROM corporate_actions WHERE ex_date <= $1)
"""  # noqa: S608 - constants only

_MOVED = f"""
    SELECT {_FIELDS} FROM exposures WHERE moved_at > $1 AND moved_by <> $2 AND version > 0
"""  # noqa: S608 - constants only

_MOVED_OF = f"SELECT {_FIELDS} FROM exposures WHERE user_id = $1 AND moved_at > $2 AND version > 0"  # noqa: S608

_FORGET_FLAT = f"""
    WITH old AS MATERIALIZED (
        SELECT ctid AS place, account_id FROM exposures e
        WHERE moved_at < $1 AND coalesce(pnl_day, moved_at::date) < $2
          AND quantity = 0 AND pending_buy = 0 AND pending_sell = 0 AND instrument <> '{FORGOTTEN}'
          AND NOT EXISTS (SELECT FROM limits l
                          WHERE e.strategy_id = '{NET}' AND l.user_id = e.user_id AND l.active
                            AND l.level = 'INSTRUMENT' AND l.account_id = e.account_id AND l.instrument = e.instrument)
        ORDER BY moved_at LIMIT $3),
    idle AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE account_id IN (SELECT account_id FROM old)
        ORDER BY account_id FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM exposures WHERE ctid = ANY(ARRAY(SELECT place FROM old JOIN idle USING (account_id)))
        RETURNING account_id, strategy_id, user_id, realised_before + realised_pnl + unbooked_pnl AS realised)
    INSERT INTO exposures AS e (account_id, strategy_id, instrument, product, user_id, realised_before, quantity,
                                average_price, realised_pnl, margin, version, pending_buy, pending_sell, moved_at,
                                moved_by)
    SELECT account_id, strategy_id, '{FORGOTTEN}', '{Product.NRML}', user_id, sum(realised), 0, 0, 0, 0, 0, 0, 0,
           now(), $4
    FROM gone WHERE strategy_id <> '{NET}' GROUP BY account_id, strategy_id, user_id HAVING sum(realised) <> 0
    ON CONFLICT (account_id, strategy_id, instrument, product) DO UPDATE
    SET realised_before = e.realised_before + EXCLUDED.realised_before
"""  # noqa: S608 - constants only
"""What a strategy's trailing stop counts is all that its books ever realised: that stays, in one row."""


class Exposures:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[ExposureKey, Exposure] = {}
        self._loaded: dict[ExposureKey, Exposure] = {}
        self.strategies_positions: dict[StrategyId, int] = {}

    def ask(self, reads: Reads, keys: Collection[ExposureKey], order_ids: Collection[OrderId]) -> None:
        """The positions of these keys, and those of stored orders."""
        if keys or order_ids:
            reads.add(
                _LOAD,
                self._keep,
                [key[0] for key in keys],
                [key[1] or NET for key in keys],
                [key[2] for key in keys],
                [key[3] for key in keys],
                order_ids,
                NET,
            )

    def _keep(self, rows: Sequence[Row]) -> None:
        for row in rows:
            exposure = _exposure(row)
            self._rows[exposure.account_id, exposure.strategy_id, exposure.instrument, exposure.product] = exposure
        self._loaded = dict(self._rows)

    async def count_positions(self, user_ids: Collection[UserId], strategy_ids: Collection[StrategyId]) -> None:
        """Positions open or being opened in the books of each strategy."""
        rows = await self._connection.fetch(_COUNT, user_ids, strategy_ids)
        self.strategies_positions.update({row[0]: row[1] for row in rows})

    def get(
        self,
        account_id: AccountId,
        strategy_id: StrategyId | None,
        instrument: InstrumentId,
        product: Product,
        user_id: UserId,
    ) -> Exposure:
        exposure = self._rows.get((account_id, strategy_id, instrument, product))
        return exposure if exposure is not None else Exposure(account_id, strategy_id, instrument, product, user_id)

    def save(self, exposure: Exposure) -> None:
        key = (exposure.account_id, exposure.strategy_id, exposure.instrument, exposure.product)
        before = self._rows.get(key)
        if exposure.strategy_id is not None:
            opened = exposure.in_use - (before is not None and before.in_use)
            count = self.strategies_positions.get(exposure.strategy_id, 0)
            self.strategies_positions[exposure.strategy_id] = count + opened
        self._rows[key] = exposure

    def flush(self, writes: Writes) -> None:
        rows = [e for key, e in self._rows.items() if e is not self._loaded.get(key)]
        if rows:
            writes.add(
                _SAVE,
                [e.account_id for e in rows],
                [e.strategy_id or NET for e in rows],
                [e.instrument for e in rows],
                [e.product for e in rows],
                [e.user_id for e in rows],
                [e.quantity for e in rows],
                [e.average_price for e in rows],
                [e.realised_pnl for e in rows],
                [e.pnl_day for e in rows],
                [e.margin for e in rows],
                [e.version for e in rows],
                [e.pending_buy for e in rows],
                [e.pending_sell for e in rows],
                [e.carried_quantity for e in rows],
                [e.carried_average for e in rows],
                [e.realised_before for e in rows],
                [e.opened_on for e in rows],
                [e.bought_quantity for e in rows],
                [e.unbooked for e in rows],
                [e.carried_unbooked for e in rows],
                [e.unbooked_pnl for e in rows],
                PROCESS,
            )
        self._loaded = dict(self._rows)

    async def of_today(self, today: date) -> list[Exposure]:
        """Every position that today's MTM may count: what is open, and what was closed today or yesterday."""
        return [_exposure(row) for row in await self._connection.fetch(_OF_TODAY, today)]

    async def instruments_held(self) -> tuple[InstrumentId, ...]:
        """Everything that somebody has a position in."""
        return tuple(row[0] for row in await self._connection.fetch(_HELD))

    async def intraday(self, ending: Collection[Exchange], today: date, limit: int) -> list[Exposure]:
        """Paper accounts' positions and books in MIS, and what is pending there: of these exchanges, or carried."""
        rows = await self._connection.fetch(_INTRADAY, Product.MIS, ending, today, Broker.PAPER, limit)
        return [_exposure(row) for row in rows]

    async def of(self, positions: Collection[tuple[AccountId, InstrumentId]]) -> list[Exposure]:
        """What these accounts have of these."""
        accounts, instruments = [key[0] for key in positions], [key[1] for key in positions]
        return [_exposure(row) for row in await self._connection.fetch(_OF, accounts, instruments)]

    async def of_changed_shares(self, today: date) -> list[Exposure]:
        """What is open in anything that a split or bonus ever changed."""
        return [_exposure(row) for row in await self._connection.fetch(_CHANGED_SHARES, today)]

    async def moved_elsewhere(self, since: datetime) -> list[Exposure]:
        """Positions that other instances moved."""
        return [_exposure(row) for row in await self._connection.fetch(_MOVED, since, PROCESS)]

    async def moved_of(self, user_id: UserId, since: datetime) -> list[Exposure]:
        """A user's positions that anybody moved."""
        return [_exposure(row) for row in await self._connection.fetch(_MOVED_OF, user_id, since)]

    async def forget_flat(self, since: date, moved_before: datetime, limit: int | None = None) -> None:
        """Drop what was closed before that day, so many at most: its version is needed no more, as no copy of a message
        comes so late. Accounts at work are left for the next time.
        """
        await self._connection.execute(_FORGET_FLAT, moved_before, since, limit, PROCESS)


def _exposure(row: Row | asyncpg.Record) -> Exposure:
    account_id, strategy_id, instrument, product, user_id, quantity, price, pnl, pnl_day, margin, *rest = row
    version, pending_buy, pending_sell, carried_quantity, carried_average, realised_before, opened_on, *today = rest
    bought_quantity, *unbooked = today
    book = None if strategy_id == NET else strategy_id
    return Exposure(
        account_id,
        book,
        instrument,
        Product(product),
        user_id,
        quantity,
        Decimal(price),
        Decimal(pnl),
        pnl_day,
        Decimal(margin),
        version,
        pending_buy,
        pending_sell,
        carried_quantity,
        Decimal(carried_average),
        Decimal(realised_before),
        opened_on,
        bought_quantity,
        *map(Decimal, unbooked),
    )
