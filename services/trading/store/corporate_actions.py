"""Splits and bonuses as they were told, and on which positions they were booked."""

from collections.abc import Collection, Sequence
from datetime import date

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.masters import CorporateActionKind
from libs.common.database import Connection
from services.trading.domain.corporate_actions import ShareAction
from services.trading.domain.positions import NetKey

SAVE = """
INSERT INTO corporate_actions
SELECT DISTINCT * FROM unnest($1::text[], $2::date[], $3::text[], $4::integer[], $5::integer[], $6::uuid[])
ON CONFLICT (instrument, ex_date, kind) DO UPDATE SET old = excluded.old, new = excluded.new
"""
WITHDRAW = """
DELETE FROM corporate_actions
 WHERE (instrument, ex_date, kind) IN (SELECT * FROM unnest($1::text[], $2::date[], $3::text[]))
"""
DUE = """
SELECT k.product, a.instrument, a.kind, a.ex_date, a.old, a.new
  FROM unnest($2::text[], $3::text[]) AS k(instrument, product) JOIN corporate_actions a USING (instrument)
 WHERE a.ex_date <= $4
   AND NOT EXISTS (SELECT FROM booked_actions b
                    WHERE b.account_id = $1 AND b.instrument = a.instrument AND b.product = k.product
                      AND b.ex_date = a.ex_date AND b.kind = a.kind)
 ORDER BY a.ex_date, a.kind, k.instrument, k.product
"""
BOOK = "INSERT INTO booked_actions VALUES ($1, $2, $3, $4, $5)"


class CorporateActions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def save(self, actions: Sequence[ShareAction]) -> None:
        """Each in place of what was told of its kind and day before."""
        old, new = [each.old for each in actions], [each.new for each in actions]
        await self._connection.execute(SAVE, *_names(actions), old, new, [each.begins for each in actions])

    async def withdraw(self, actions: Sequence[ShareAction]) -> None:
        await self._connection.execute(WITHDRAW, *_names(actions))

    async def due(
        self, account_id: AccountId, positions: Collection[NetKey], today: date
    ) -> Sequence[tuple[Product, ShareAction]]:
        """Those whose ex-date has begun and that were not booked on these positions of the account, the first first."""
        instruments, products = [key[1] for key in positions], [key[2] for key in positions]
        rows = await self._connection.fetch(DUE, account_id, instruments, products, today)
        return [
            (Product(product), ShareAction(InstrumentId(name), CorporateActionKind(kind), *terms))
            for product, name, kind, *terms in rows
        ]

    async def book(self, position: NetKey, action: ShareAction) -> None:
        """Once: whoever comes second fails. The account's row is locked."""
        await self._connection.execute(BOOK, *position, action.ex_date, action.kind)


def _names(actions: Sequence[ShareAction]) -> tuple[list[InstrumentId], list[date], list[CorporateActionKind]]:
    return (
        [each.instrument for each in actions],
        [each.ex_date for each in actions],
        [each.kind for each in actions],
    )
