"""Splits and bonuses: since when a price is one of the shares of now, and who holds shares of before."""

from collections.abc import Iterable, Sequence
from datetime import date

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms
from libs.common.database import Connection
from services.risk.domain.watches import Watch
from services.risk.store.exposures import NET

_SAVE = """
    INSERT INTO corporate_actions SELECT * FROM unnest($1::text[], $2::date[], $3::text[]) ON CONFLICT DO NOTHING
"""
_WITHDRAW = """
    DELETE FROM corporate_actions
    WHERE (instrument, ex_date, kind) IN (SELECT * FROM unnest($1::text[], $2::date[], $3::text[]))
"""
_ON = "SELECT DISTINCT instrument FROM corporate_actions WHERE ex_date = $1"
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

    async def note(self, told: Sequence[CorporateActionTerms]) -> None:
        """Dividends change no shares."""
        changes = [terms for terms in told if terms.kind is not CorporateActionKind.DIVIDEND]
        await self._connection.execute(_WITHDRAW, *_names(terms for terms in changes if terms.withdrawn))
        await self._connection.execute(_SAVE, *_names(terms for terms in changes if not terms.withdrawn))

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


def _names(actions: Iterable[CorporateActionTerms]) -> tuple[list[InstrumentId], list[date], list[CorporateActionKind]]:
    found = list(actions)
    return [each.instrument for each in found], [each.ex_date for each in found], [each.kind for each in found]
