"""Rows of the table as the messages that other services read."""

from collections.abc import Iterator

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from libs.common.contracts.market import InstrumentListed
from services.marketdata.domain.masters import listing


def contracts(table: pl.DataFrame) -> Iterator[InstrumentListed]:
    """Indices are listed but not tradable."""
    tradable = pl.col("kind") != InstrumentKind.INDEX.value
    for row in table.with_columns(tradable.alias("tradable"), gone_on=None).iter_rows(named=True):
        yield listing(row)
