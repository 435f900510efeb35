"""Rows of the table as the messages that other services read."""

from collections.abc import Iterator
from decimal import Decimal

import polars as pl

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed


def contracts(table: pl.DataFrame) -> Iterator[InstrumentListed]:
    """Indices are listed but not tradable."""
    for row in table.iter_rows(named=True):
        yield InstrumentListed(
            instrument=InstrumentId(row["instrument"]),
            exchange=Exchange(row["exchange"]),
            symbol=row["symbol"],
            name=row["name"] or row["symbol"],
            kind=InstrumentKind(row["kind"]),
            underlying=row["underlying"],
            spot=InstrumentId(row["spot"]) if row["spot"] else None,
            expiry=row["expiry"],
            strike=Decimal(row["strike"]) if row["strike"] else None,
            option_type=OptionType(row["option_type"]) if row["option_type"] else None,
            lot_size=row["lot_size"],
            tick_size=Decimal(row["tick_size"]),
            freeze_quantity=row["freeze_quantity"],
            tradable=row["kind"] != InstrumentKind.INDEX.value,
        )
