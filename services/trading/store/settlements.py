"""What expired contracts were worth. The first word on a contract stands."""

from collections.abc import Collection, Mapping
from decimal import Decimal

import asyncpg

from libs.common.contracts.ids import InstrumentId
from libs.common.database import Connection
from libs.common.reads import Row
from libs.common.writes import Writes
from services.trading.domain.settlements import Settlement

SELECT = """
SELECT instrument, settlement_id, expiry, price::text, spot, spot_price::text
  FROM settlements
 WHERE instrument = ANY($1::text[])
"""
INSERT = """
INSERT INTO settlements
SELECT * FROM unnest($1::text[], $2::uuid[], $3::date[], $4::numeric[], $5::text[], $6::numeric[])
ON CONFLICT (instrument) DO NOTHING
"""


class Settlements:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told: dict[InstrumentId, Settlement] = {}

    def note(self, settlement: Settlement) -> None:
        self._told.setdefault(settlement.instrument, settlement)

    async def of(self, instruments: Collection[InstrumentId]) -> Mapping[InstrumentId, Settlement]:
        rows = await self._connection.fetch(SELECT, list(instruments))
        return {row[0]: _settlement(row) for row in rows}

    def flush(self, writes: Writes) -> None:
        writes.add_rows(INSERT, [_row(each) for each in self._told.values()])


def _settlement(row: asyncpg.Record) -> Settlement:
    instrument, settlement_id, expiry, price, spot, spot_price = row
    return Settlement(instrument, settlement_id, expiry, Decimal(price), spot, Decimal(spot_price))


def _row(told: Settlement) -> Row:
    return told.instrument, told.settlement_id, told.expiry, told.price, told.spot, told.spot_price
