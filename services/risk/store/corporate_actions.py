"""Splits and bonuses: since when a price is one of the shares of now, and who holds shares of before."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date

import asyncpg

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from services.risk.domain import splits
from services.risk.domain.ledger import Exposure
from services.risk.domain.splits import ShareAction
from services.risk.domain.watches import Watch
from services.risk.store.exposures import NET

PositionKey = tuple[AccountId, InstrumentId]
Actions = Mapping[PositionKey, Sequence[ShareAction]]

_SAVE = """
    INSERT INTO corporate_actions (instrument, ex_date, kind, old, new)
    SELECT DISTINCT * FROM unnest($1::text[], $2::date[], $3::text[], $4::integer[], $5::integer[])
    ON CONFLICT (instrument, ex_date, kind) DO UPDATE
    SET old = excluded.old, new = excluded.new, told_at = statement_timestamp()
"""
_WITHDRAW = """
    DELETE FROM corporate_actions
    WHERE (instrument, ex_date, kind) IN (SELECT * FROM unnest($1::text[], $2::date[], $3::text[]))
"""
_ON = "SELECT DISTINCT instrument FROM corporate_actions WHERE ex_date = $1"
_TOLD = "SELECT count(*), max(told_at) FROM corporate_actions"
_AT_BROKERS = """
    SELECT account_id, instrument, c.ex_date, c.old, c.new
    FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[])) AS k (account_id, instrument)
    JOIN accounts a USING (account_id) JOIN corporate_actions c USING (instrument)
    WHERE a.broker <> $3 AND c.old IS NOT NULL
"""
_IS_AWAITED = """
    SELECT EXISTS (
        SELECT FROM exposures e JOIN corporate_actions c USING (instrument) JOIN accounts a USING (account_id)
        WHERE e.user_id = $1 AND e.strategy_id = COALESCE($3::uuid, $5::uuid) AND e.quantity <> 0
          AND ($2::uuid IS NULL OR e.account_id = $2) AND ($4::text IS NULL OR e.instrument = $4)
          AND a.broker = $6 AND c.ex_date <= $7 AND e.pnl_day < c.ex_date)
"""


class CorporateActions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._at_brokers: Actions = {}

    def ask(self, reads: Reads, positions: Collection[PositionKey]) -> None:
        """What changed the shares of these, where their accounts are at a broker."""
        if positions:
            reads.add(_AT_BROKERS, self._keep, *_keys(positions), Broker.PAPER)

    def _keep(self, rows: Sequence[Row]) -> None:
        self._at_brokers = _by_position(rows)

    def of(self, exposure: Exposure) -> Sequence[ShareAction]:
        return self._at_brokers.get((exposure.account_id, exposure.instrument), ())

    async def with_unbooked(self, exposures: Sequence[Exposure], today: date) -> list[Exposure]:
        """With the shares that nobody books, as they are today."""
        positions = {(each.account_id, each.instrument) for each in exposures}
        if positions:
            rows = await self._connection.fetch(_AT_BROKERS, *_keys(positions), Broker.PAPER)
            self._at_brokers = _by_position(rows)
        return [splits.with_unbooked(each, self.of(each), today) for each in exposures]

    async def told(self) -> tuple[object, ...]:
        """Another one whenever something was told."""
        row = await self._connection.fetchrow(_TOLD)
        assert row is not None, "an aggregate has one row"
        return tuple(row)

    async def note(self, told: Sequence[CorporateActionTerms]) -> None:
        """Dividends change no shares."""
        changes = [terms for terms in told if terms.kind is not CorporateActionKind.DIVIDEND]
        await self._connection.execute(_WITHDRAW, *_names(terms for terms in changes if terms.withdrawn))
        new = [terms for terms in changes if not terms.withdrawn]
        await self._connection.execute(_SAVE, *_names(new), [each.old for each in new], [_made(each) for each in new])

    async def on(self, day: date) -> list[InstrumentId]:
        """What changes on that day."""
        return [row[0] for row in await self._connection.fetch(_ON, day)]

    async def is_awaited(self, watch: Watch, today: date) -> bool:
        """Whether something in its scope was carried into an ex-date by an account on paper, and trading has not told
        yet what became of it.
        """
        scope = (watch.user_id, watch.account_id, watch.strategy_id, watch.instrument)
        awaited = await self._connection.fetchval(_IS_AWAITED, *scope, NET, Broker.PAPER, today)
        return awaited is True


def _made(terms: CorporateActionTerms) -> int:
    """What became of `old` shares."""
    return terms.old + terms.new if terms.kind is CorporateActionKind.BONUS else terms.new


def _keys(positions: Collection[PositionKey]) -> tuple[list[AccountId], list[InstrumentId]]:
    return [key[0] for key in positions], [key[1] for key in positions]


def _by_position(rows: Sequence[Row] | Sequence[asyncpg.Record]) -> Actions:
    found: dict[PositionKey, list[ShareAction]] = {}
    for account_id, instrument, *terms in rows:
        found.setdefault((account_id, instrument), []).append(ShareAction(*terms))
    return found


def _names(actions: Iterable[CorporateActionTerms]) -> tuple[list[InstrumentId], list[date], list[CorporateActionKind]]:
    found = list(actions)
    return [each.instrument for each in found], [each.ex_date for each in found], [each.kind for each in found]
