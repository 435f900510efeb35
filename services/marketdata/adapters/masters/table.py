"""The one table that every dump becomes, and the column expressions that the formats share.

All columns are text but for the expiry (a date), the numbers of pieces and the flags: strikes and ticks are decimals
written without trailing zeros, never floats.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

import polars as pl

from libs.common.contracts.enums import GROUPS_OF_BSE, Exchange, InstrumentKind, OptionType, Series
from libs.common.trading_calendar import IST
from services.marketdata.domain import rules
from services.marketdata.domain.masters import STAGED
from services.marketdata.domain.rules import INDEX_RULES

FIELDS: Mapping[str, pl.DataType] = {
    "exchange": pl.String(),
    "kind": pl.String(),
    "base": pl.String(),
    "name": pl.String(),
    "expiry": pl.Date(),
    "strike": pl.String(),
    "option_type": pl.String(),
    "lot_size": pl.Int64(),
    "tick_size": pl.String(),
    "freeze_quantity": pl.Int64(),
    "series": pl.String(),
    "monthly": pl.Boolean(),
    "token": pl.String(),
    "broker_symbol": pl.String(),
}
"""What a format makes of its rows. `base` is the underlying of a derivative, else the symbol itself; `monthly` says
whether the dump marks the expiry as the month's, null where it does not say."""

CASH_SERIES = tuple(series.value for series in Series if series not in GROUPS_OF_BSE)
"""NSE series that trade like shares: rolling, trade-for-trade, SME, REITs and InvITs. Bonds and funds are left out."""

SERIES_OF_GROUPS = {group.value: group.value for group in sorted(GROUPS_OF_BSE)} | dict.fromkeys(
    ("A", "B", "X", "M", "MS"), Series.EQ.value
)
"""BSE's groups of shares: what is bought and sold on one day is netted but in those of trade for trade."""

DERIVATIVE_KINDS = (InstrumentKind.FUTURE.value, InstrumentKind.OPTION.value)
DEFAULT_TICK = "0.05"
MOST_DIGITS = 15
"""Before or after the point. `1e999999` is a number too, and a text of a megabyte once it is written out."""

_INDEX_ALIASES = {
    "NIFTY50": "NIFTY",
    "NIFTYINDEX": "NIFTY",
    "NIFTYBANK": "BANKNIFTY",
    "NIFTYFINSERVICE": "FINNIFTY",
    "NIFTYFINSERVICES": "FINNIFTY",
    "NIFTYMIDSELECT": "MIDCPNIFTY",
    "NIFTYNEXT50": "NIFTYNXT50",
    "NIFTYMID50": "NIFTYMIDCAP50",
    "SNSX50": "SENSEX50",
    "BSESENSEX": "SENSEX",
    "BSEBANKEX": "BANKEX",
}
"""Brokers' names of indices that OpenAlgo's symbols name otherwise, both without blanks."""

_BSE_INDICES_WITH_DERIVATIVES = {"SENSEX50": "BSE_INDEX:SENSEX50", "FOCIT": "BSE_INDEX:FOCIT"}


class MasterMalformed(ValueError):
    """Not a dump of this broker: it cannot be read, or columns are missing."""


def demand(table: pl.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(table.columns[:8])
        raise MasterMalformed(f"columns {', '.join(missing)} are missing; it begins with {found}")


def mapped(column: pl.Series, of: Callable[[str], str | None]) -> pl.Series:
    """`of` every distinct value: a dump of 100,000 rows has some thousand strikes and a dozen ticks."""
    distinct = column.drop_nulls().unique()
    answers = pl.Series(column.name, [of(each) for each in distinct.to_list()], pl.String)
    known = pl.DataFrame({"value": distinct, "answer": answers}, schema={"value": pl.String, "answer": pl.String})
    return pl.DataFrame({"value": column}).join(known, on="value", how="left", maintain_order="left")["answer"]


def decimals(column: pl.Series, scale: int | Decimal = 1) -> pl.Series:
    """Numbers as exact decimals divided by `scale` (100 turns paise into rupees); null where there is no number."""

    def decimal(text: str) -> str | None:
        try:
            number = Decimal(text.strip()) / scale
        except ArithmeticError:
            return None
        if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
            return None
        return format(number.normalize(), "f")

    return mapped(column, decimal)


def whole(column: str) -> pl.Expr:
    """A number of pieces, written `75` or `75.0`; null where it is neither."""
    return pl.col(column).str.strip_chars().cast(pl.Float64, strict=False).round(0).cast(pl.Int64, strict=False)


def text(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars()


def compact(column: str) -> pl.Expr:
    """A symbol: capitals, no blanks."""
    return pl.col(column).str.replace_all(r"\s+", "").str.to_uppercase()


def short_expiry(expiry: pl.Expr) -> pl.Expr:
    """`26AUG`, as most brokers write the month's contract."""
    return expiry.dt.strftime("%y%b").str.to_uppercase()


def finish(rows: pl.DataFrame, day: date) -> tuple[pl.DataFrame, int]:
    """The normalised table, the first of each instrument; and how many rows could not be read.

    A contract that makes no sense (no lot, no expiry, no strike) is unreadable, never guessed.
    """
    derivative, option = pl.col("kind").is_in(DERIVATIVE_KINDS), pl.col("kind") == InstrumentKind.OPTION.value
    number = pl.col("strike").cast(pl.Float64, strict=False)
    sound = (
        pl.col("exchange").is_not_null()
        & (pl.col("base").str.len_chars() > 0)
        & (pl.col("token").str.len_chars() > 0)
        & (pl.col("lot_size") > 0)
        & (~derivative | pl.col("expiry").is_not_null())
        & (~option | ((number > 0) & pl.col("option_type").is_in([each.value for each in OptionType])))
    )
    tick = pl.col("tick_size").cast(pl.Float64, strict=False)
    good = rows.filter(sound.fill_null(value=False)).with_columns(
        pl.when(pl.col("kind") == InstrumentKind.INDEX.value)
        .then(pl.col("base").replace(_INDEX_ALIASES))
        .otherwise(pl.col("base"))
        .alias("base"),
        pl.when(tick > 0).then(pl.col("tick_size")).otherwise(pl.lit(DEFAULT_TICK)).alias("tick_size"),
        pl.when(option).then(pl.col("strike")).alias("strike"),
        pl.when(option).then(pl.col("option_type")).alias("option_type"),
        pl.when(derivative).then(pl.col("expiry")).alias("expiry"),
        pl.when(derivative).then(pl.col("monthly")).alias("monthly"),
    )
    end = pl.when(option).then(pl.col("strike") + pl.col("option_type")).otherwise(pl.lit("FUT"))
    written = pl.col("base") + pl.col("expiry").dt.strftime("%d%b%y").str.to_uppercase() + end
    named = good.with_columns(
        pl.when(derivative).then(written).otherwise(pl.col("base")).alias("symbol"),
        pl.when(derivative).then(pl.col("base")).otherwise(pl.col("name")).alias("name"),
        pl.when(derivative).then(pl.col("base")).alias("underlying"),
        pl.when(derivative).then(_spot()).alias("spot"),
        _freezes(good, day),
    ).with_columns((pl.col("exchange") + ":" + pl.col("symbol")).alias("instrument"))
    listed = _of_one_series(named).unique("instrument", keep="first", maintain_order=True)
    return listed.with_columns(price_band=None).select(STAGED), rows.height - good.height


def _of_one_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Zerodha has listed shares of EQ under series in which nothing trades, too (CDSL, CDSL-BE). The row of EQ counts,
    and in which of them the share trades its dump does not tell.
    """
    is_eq = pl.col("series").eq_missing(Series.EQ.value)
    is_sure = pl.col("series").n_unique().over("instrument") == 1
    told = rows.with_columns(pl.when(is_sure | ~is_eq).then(pl.col("series")).alias("series"), is_eq.alias("is_eq"))
    return told.sort("is_eq", descending=True, maintain_order=True)


def _spot() -> pl.Expr:
    indices = {name: str(index.spot) for name, index in INDEX_RULES.items()} | _BSE_INDICES_WITH_DERIVATIVES
    base, exchange = pl.col("base"), pl.col("exchange")
    share = (
        pl.when(exchange == Exchange.NFO.value)
        .then(pl.concat_str(pl.lit("NSE:"), base))
        .when(exchange == Exchange.BFO.value)
        .then(pl.concat_str(pl.lit("BSE:"), base))
    )
    in_shares = exchange.is_in([Exchange.NFO.value, Exchange.BFO.value])
    return pl.when(in_shares).then(base.replace_strict(indices, default=share, return_dtype=pl.String))


def _freezes(rows: pl.DataFrame, day: date) -> pl.Series:
    """The dump's own largest order, else the exchange's dated table for index derivatives; floored to whole lots.

    NSE says 600 for BANKNIFTY; with a lot of 35 an order may have 595.
    """
    index = rows.select("kind", "base", "lot_size").unique()
    known = [
        rules.freeze_quantity(INDEX_RULES[base], day, lot) if kind in DERIVATIVE_KINDS and base in INDEX_RULES else None
        for kind, base, lot in index.iter_rows()
    ]
    table = index.with_columns(pl.Series("known", known, pl.Int64))
    joined = rows.join(table, on=["kind", "base", "lot_size"], how="left", maintain_order="left")
    own = pl.when(pl.col("freeze_quantity") > 0).then(pl.col("freeze_quantity"))
    floored = pl.coalesce(own, "known") // pl.col("lot_size") * pl.col("lot_size")
    return joined.select(pl.when(floored > 0).then(floored).alias("freeze_quantity")).to_series()


def parsed_date(column: str, form: str) -> pl.Expr:
    """Months as words, in any capitals."""
    return text(column).str.to_titlecase().str.to_date(form, strict=False)


def indian_date(since_1970: pl.Expr, unit: Literal["s", "ms"]) -> pl.Expr:
    """The date in India of an instant."""
    return pl.from_epoch(since_1970, unit).dt.replace_time_zone("UTC").dt.convert_time_zone(IST.key).dt.date()


_DATES = (
    (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d"),
    (r"(?i)\d{1,2}-[A-Z]{3}-\d{4}", "%d-%b-%Y"),
    (r"(?i)\d{1,2} [A-Z]{3} \d{4}", "%d %b %Y"),
    (r"(?i)\d{1,2}[A-Z]{3}\d{4}", "%d%b%Y"),
    (r"\d{2}/\d{2}/\d{4}", "%d/%m/%Y"),
)


def date_of(column: str, form: str | None = None) -> pl.Expr:
    """The date that a text begins with, whatever time follows.

    Without a `form`, in any of the unambiguous manners that brokers have; what is in none of them is unreadable.
    """
    forms = [each for each in _DATES if form in (None, each[1])]
    return pl.coalesce(
        text(column).str.extract(f"^({pattern})").str.to_titlecase().str.to_date(each, strict=False)
        for pattern, each in forms
    )
