"""The contract master: search, brokers' dumps, custom symbols, corporate actions."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.masters import CorporateActionKind, ExpiryRole, MasterSource
from services.gateway.api.models.common import Answer, Body, Name, SavedAt, Whole
from services.gateway.api.models.market import InstrumentView

InstrumentName = Annotated[str, StringConstraints(max_length=80)]


class InstrumentsFound(Answer):
    """`corrected` is what was looked for instead of a misspelled query; null when it was found as it is."""

    data: list[InstrumentView]
    corrected: str | None


class BrokerName(Answer):
    """One broker's own name of an instrument; `listed` is False for what has left its dumps."""

    source: MasterSource
    token: str
    broker_symbol: str
    lot_size: int
    tick_size: Decimal
    listed: bool
    seen_on: date


class InstrumentDetails(InstrumentView):
    """An instrument of today or of any day before."""

    spot: str | None
    delisted: bool
    expired: bool
    brokers: list[BrokerName]


class TokenMeaning(Answer):
    source: MasterSource
    instrument: str
    token: str
    broker_symbol: str
    listed: bool
    seen_on: date


class DownloadView(Answer):
    """`status`: good, refused (the last good dump stays), waiting, running, never, not_configured."""

    source: MasterSource
    status: str
    configured: bool
    publishes: bool
    wanted_at: datetime | None
    attempts: int | None
    good_at: datetime | None
    checksum: str | None
    contracts: int | None
    unreadable: int | None
    failed_at: datetime | None
    reason: str | None


class Downloads(Answer):
    """`at` is the Indian time of day at which all configured dumps are fetched."""

    at: str
    data: list[DownloadView]


class DownloadWanted(Body):
    """Whose dumps to fetch; all that are configured when it is left out."""

    sources: list[MasterSource] | None = Field(default=None, min_length=1, max_length=len(MasterSource))


class ListedExpiry(Answer):
    expiry: date
    cycle: str
    days: int


class ExpirySeries(Answer):
    exchange: Exchange
    kind: InstrumentKind
    roles: dict[ExpiryRole, date]
    expiries: list[ListedExpiry]


class Expiries(Answer):
    underlying: str
    data: list[ExpirySeries]


class LegBody(Body):
    instrument: InstrumentName
    weight: Decimal = Field(max_digits=12, decimal_places=6)


class CustomSymbolBody(Body):
    """Price = sum of weight times price of each leg. `symbol` makes it `CUSTOM:<symbol>` for everybody."""

    symbol: Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9&_.\-]{1,39}$")]
    name: Name
    legs: list[LegBody] = Field(min_length=1, max_length=20)
    tick_size: Decimal = Field(default=Decimal("0.05"), gt=0, max_digits=10, decimal_places=4)


class CustomSymbolChange(Body):
    name: Name | None = None
    legs: list[LegBody] | None = Field(default=None, min_length=1, max_length=20)
    tick_size: Decimal | None = Field(default=None, gt=0, max_digits=10, decimal_places=4)
    version: int | None = None


class LegView(Answer):
    instrument: str
    weight: Decimal


class CustomSymbolView(Answer):
    custom_symbol_id: UUID
    user_id: UUID
    symbol: str
    name: str
    legs: list[LegView]
    tick_size: Decimal
    version: int
    instrument: str
    updated_at: SavedAt = None


class CorporateActionBody(Body):
    """split: `new` shares out of `old`; bonus: `new` for `old` held; dividend: `amount` rupees a share.

    `withdrawn`: there was none; what was imported of this kind on this day is taken back.
    """

    instrument: InstrumentName
    kind: CorporateActionKind
    ex_date: date
    old: Whole = Field(default=1, ge=1, le=100_000)
    new: Whole = Field(default=1, ge=1, le=100_000)
    amount: Decimal = Field(default=Decimal(0), ge=0, max_digits=14, decimal_places=4)
    withdrawn: bool = False


class CorporateActionView(Answer):
    kind: CorporateActionKind
    ex_date: date
    old: int
    new: int
    amount: float


class CorporateActionsOf(Answer):
    instrument: str
    data: list[CorporateActionView]


class Imported(Answer):
    import_id: UUID
    imported: int
