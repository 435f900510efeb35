"""The columns that an instrument's terms have in every table of the master, and rows as messages."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed

if TYPE_CHECKING:
    from asyncpg import Record

TERMS = (
    "exchange",
    "symbol",
    "name",
    "kind",
    "underlying",
    "spot",
    "expiry",
    "strike",
    "option_type",
    "lot_size",
    "tick_size",
    "freeze_quantity",
    "price_band",
    "monthly",
)
PUBLISHED = tuple(name for name in TERMS if name != "monthly")
"""What InstrumentListed carries; a month's mark alone is no reason to publish."""


def names(columns: Iterable[str], of: str = "") -> str:
    return ", ".join(f"{of}{column}" for column in columns)


def listing(row: "Record") -> InstrumentListed:
    return InstrumentListed(
        instrument=InstrumentId(row["instrument"]),
        exchange=Exchange(row["exchange"]),
        symbol=row["symbol"],
        name=row["name"],
        kind=InstrumentKind(row["kind"]),
        underlying=row["underlying"],
        spot=row["spot"],
        expiry=row["expiry"],
        strike=row["strike"],
        option_type=OptionType(row["option_type"]) if row["option_type"] else None,
        lot_size=row["lot_size"],
        tick_size=row["tick_size"],
        freeze_quantity=row["freeze_quantity"],
        price_band=row["price_band"],
        tradable=row["tradable"],
        delisted=row["gone_on"] is not None,
    )
