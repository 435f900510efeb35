"""What the columns of a broker's dump mean, said once for each format, and the one way from there to the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import polars as pl

from libs.common.contracts.enums import Exchange, InstrumentKind
from services.marketdata.adapters.masters.table import CASH_SERIES, SERIES_OF_GROUPS, decimals, demand

Scale = int | Decimal

EXCHANGES: Final = {name: name for name in ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")}
INDICES: Final = {name: name for name in ("NSE_INDEX", "BSE_INDEX")}

_EXCHANGE, _KIND = "our exchange", "our kind"


@dataclass(frozen=True, slots=True)
class Price:
    """A column of prices that are written `scale` times too large: 100 for paise. Some exchanges' may differ."""

    column: str
    scale: Scale = 1
    scales: Mapping[str, Scale] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Expressions over a dump's columns, all of which are text.

    The words of `market` (joined with `/` where there are several columns) choose the exchange by `markets`. A row of
    another market, or that is no `index`, `option`, `future` or `share`, is left out; a row that names no market was
    cut short and counts as unreadable.
    """

    columns: tuple[str, ...]
    """Without these it is another broker's file."""
    optional: tuple[str, ...] = ()
    """Null where the file lacks them."""
    market: tuple[str, ...]
    markets: Mapping[str, str]
    index: pl.Expr
    future: pl.Expr
    option: pl.Expr
    share: pl.Expr
    underlying: pl.Expr
    symbol: pl.Expr
    index_symbol: pl.Expr | None = None
    """Where it is not made as a share's."""
    name: pl.Expr
    expiry: pl.Expr
    strike: Price
    option_type: pl.Expr
    lot_size: pl.Expr
    tick_size: Price
    freeze_quantity: pl.Expr = field(default_factory=lambda: pl.lit(None, pl.Int64))
    """The largest order."""
    series: pl.Expr = field(default_factory=lambda: pl.lit(None, pl.String))
    """Or the group, at BSE. Asked of shares alone."""
    monthly: pl.Expr = field(default_factory=lambda: pl.lit(None, pl.Boolean))
    """Whether the expiry is marked as the month's."""
    token: pl.Expr
    broker_symbol: pl.Expr

    def rows(self, table: pl.DataFrame) -> pl.DataFrame:
        """The dump in the columns of `table.FIELDS`. MasterMalformed when columns are missing."""
        demand(table, self.columns)
        table = table.with_columns(
            pl.lit(None, pl.String).alias(name) for name in self.optional if name not in table.columns
        )
        table = self._placed(table)
        kind, index = pl.col(_KIND), pl.col(_KIND) == InstrumentKind.INDEX.value
        derivative = kind.is_in([InstrumentKind.FUTURE.value, InstrumentKind.OPTION.value])
        share = kind == InstrumentKind.EQUITY.value
        of_nse, of_bse = (share & (pl.col(_EXCHANGE) == each.value) for each in (Exchange.NSE, Exchange.BSE))
        of_group = self.series.replace_strict(SERIES_OF_GROUPS, default=None, return_dtype=pl.String)
        of_index = self.symbol if self.index_symbol is None else self.index_symbol
        return table.select(
            pl.col(_EXCHANGE).alias("exchange"),
            kind.alias("kind"),
            pl.when(derivative).then(self.underlying).when(index).then(of_index).otherwise(self.symbol).alias("base"),
            self.name.alias("name"),
            pl.when(derivative).then(self.expiry).alias("expiry"),
            _prices(table, self.strike).alias("strike"),
            self.option_type.alias("option_type"),
            pl.when(index).then(pl.lit(1)).otherwise(self.lot_size).alias("lot_size"),
            _prices(table, self.tick_size).alias("tick_size"),
            self.freeze_quantity.alias("freeze_quantity"),
            pl.when(of_nse & self.series.is_in(CASH_SERIES))
            .then(self.series)
            .when(of_bse)
            .then(of_group)
            .alias("series"),
            self.monthly.alias("monthly"),
            self.token.alias("token"),
            self.broker_symbol.alias("broker_symbol"),
        )

    def _placed(self, table: pl.DataFrame) -> pl.DataFrame:
        """The rows of our exchanges and kinds, and those that were cut short."""
        said = pl.concat_str([pl.col(column).str.strip_chars() for column in self.market], separator="/")
        kind = (
            pl.when(self.index)
            .then(pl.lit(InstrumentKind.INDEX.value))
            .when(self.option)
            .then(pl.lit(InstrumentKind.OPTION.value))
            .when(self.future)
            .then(pl.lit(InstrumentKind.FUTURE.value))
            .when(self.share)
            .then(pl.lit(InstrumentKind.EQUITY.value))
        )
        exchange = said.replace_strict(self.markets, default=None, return_dtype=pl.String)
        of_index = (
            pl.when(exchange.is_in(["NSE", "BSE"]))
            .then(exchange + "_INDEX")
            .when(exchange.is_in(list(INDICES)))
            .then(exchange)
        )
        table = table.with_columns(kind.alias(_KIND))
        index = pl.col(_KIND) == InstrumentKind.INDEX.value
        table = table.with_columns(pl.when(index).then(of_index).otherwise(exchange).alias(_EXCHANGE))
        ours = pl.col(_EXCHANGE).is_not_null() & pl.col(_KIND).is_not_null()
        return table.filter(ours | said.is_null())


def _prices(table: pl.DataFrame, price: Price) -> pl.Series:
    written = table[price.column]
    answer = decimals(written, price.scale)
    for exchange, scale in price.scales.items():
        of_exchange = table[_EXCHANGE] == exchange
        answer = decimals(written, scale).zip_with(of_exchange.fill_null(value=False), answer)
    return answer
