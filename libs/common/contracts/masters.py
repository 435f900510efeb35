"""The contract master: brokers' dumps, what changed between two of them, expiries that passed, custom symbols,
corporate actions.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.ids import InstrumentId, UserId


class MasterSource(StrEnum):
    """Whose instrument dump it is."""

    ZERODHA = "zerodha"
    UPSTOX = "upstox"
    DHAN = "dhan"
    FYERS = "fyers"
    SHOONYA = "shoonya"
    FLATTRADE = "flattrade"
    ZEBU = "zebu"
    ANGEL = "angel"
    MSTOCK = "mstock"
    GROWW = "groww"
    INDMONEY = "indmoney"
    DHAN_SANDBOX = "dhan_sandbox"
    FIRSTOCK = "firstock"
    DEFINEDGE = "definedge"
    ALICEBLUE = "aliceblue"
    IIFL = "iifl"
    """IIFL's older interface, XTS."""
    IIFLCAPITAL = "iiflcapital"
    FIVEPAISA = "fivepaisa"
    FIVEPAISAXTS = "fivepaisaxts"
    COMPOSITEDGE = "compositedge"
    IBULLS = "ibulls"
    WISDOM = "wisdom"
    KOTAK = "kotak"
    MOTILAL = "motilal"
    PAYTM = "paytm"
    POCKETFUL = "pocketful"
    TRADEJINI = "tradejini"
    FEED = "feed"
    """No broker: what the running feed lists by itself (the simulator's universe)."""
    CUSTOM = "custom"
    """No broker: what users made of other instruments."""


class DownloadTrigger(StrEnum):
    SCHEDULE = "schedule"
    REQUEST = "request"


class ContractsDownloadRequested(Request):
    """A person wants a broker's instrument dump fetched now."""

    source: MasterSource
    user_id: UserId


class ContractsDownloaded(Event):
    """A dump passed every check and is the broker's master from now on. `unchanged`: the same bytes as before."""

    source: MasterSource
    day: date
    trigger: DownloadTrigger
    checksum: str
    contracts: int
    unreadable: int
    unchanged: bool


class ContractsDownloadRefused(Event):
    """A dump could not be fetched, or was found broken; the one before it stays. `reason` is for people."""

    source: MasterSource
    day: date
    trigger: DownloadTrigger
    reason: str


class ContractTerms(Value):
    lot_size: int
    tick_size: Decimal
    freeze_quantity: int | None = None


class ContractAdded(Event):
    """A contract that yesterday's master did not have. What it is stands in its InstrumentListed."""

    instrument: InstrumentId
    underlying: str
    day: date
    expiry: date | None = None
    lot_size: int


class ContractExpired(Event):
    """Its expiry has passed; it stays resolvable for history."""

    instrument: InstrumentId
    underlying: str
    day: date
    expiry: date


class ContractWithdrawn(Event):
    """It left the masters of all brokers before it expired, or has no expiry (a delisted share)."""

    instrument: InstrumentId
    underlying: str
    day: date


class ContractTermsChanged(Event):
    """Lot size, tick size or freeze quantity are not what they were."""

    instrument: InstrumentId
    underlying: str
    day: date
    before: ContractTerms
    after: ContractTerms


class ContractSettled(Event):
    """What one unit of an expired contract is worth, once and for all.

    A future is worth the closing price of what it is written on (`spot`), an option its intrinsic value there, 0 at the
    least. `spot_price` closed the minute `spot_minute` of the day of expiry, or of the trading day before it if the
    exchange moved it there, and `source` is whose price it is.
    """

    instrument: InstrumentId
    expiry: date
    price: Decimal
    spot: InstrumentId
    spot_price: Decimal
    spot_minute: datetime
    source: str


class ContractUnsettled(Event):
    """An expired contract has no settlement price, and none is guessed. Should the day's prices come after all (an
    upload of history), ContractSettled follows. `reason` is for people.
    """

    instrument: InstrumentId
    expiry: date
    reason: str


class ExpiryRole(StrEnum):
    """A place in the row of listed expiries; a month's last expiry is also the last of its weeks."""

    CURRENT_WEEK = "CURRENT_WEEK"
    NEXT_WEEK = "NEXT_WEEK"
    CURRENT_MONTH = "CURRENT_MONTH"
    NEXT_MONTH = "NEXT_MONTH"


class ExpiryRolled(Event):
    """Another expiry of `underlying` has become the current or next one. `before` is None when there was none."""

    exchange: Exchange
    underlying: str
    kind: InstrumentKind
    role: ExpiryRole
    day: date
    before: date | None
    after: date


class CustomLeg(Value):
    instrument: InstrumentId
    weight: Decimal
    """Price of the whole = sum of weight times price of the leg; negative for a leg that is sold."""


class CustomSymbol(Value):
    """A basket or spread that quotes like an instrument, as `CUSTOM:<symbol>`. It cannot be traded as one."""

    custom_symbol_id: UUID
    user_id: UserId
    symbol: str
    name: str
    legs: tuple[CustomLeg, ...]
    tick_size: Decimal = Decimal("0.05")

    @property
    def instrument(self) -> InstrumentId:
        return InstrumentId(f"{Exchange.CUSTOM}:{self.symbol}")


class CustomSymbolSaveRequested(Request):
    custom_symbol_id: UUID
    user_id: UserId
    custom_symbol: CustomSymbol
    expected_version: int


class CustomSymbolDeleteRequested(Request):
    custom_symbol_id: UUID
    user_id: UserId


class CustomSymbolSaved(Event):
    custom_symbol_id: UUID
    user_id: UserId
    custom_symbol: CustomSymbol
    version: int


class CustomSymbolDeleted(Event):
    custom_symbol_id: UUID
    user_id: UserId


class CorporateActionKind(StrEnum):
    SPLIT = "split"
    BONUS = "bonus"
    DIVIDEND = "dividend"


class CorporateActionTerms(Value):
    """A split makes `new` shares of `old`, a bonus gives `new` for `old` held, a dividend pays `amount` a share.

    One that is `withdrawn` was told in error: what is kept of this kind on this day is kept no more.
    """

    instrument: InstrumentId
    kind: CorporateActionKind
    ex_date: date
    old: int = 1
    new: int = 1
    amount: Decimal = Decimal(0)
    withdrawn: bool = False


class CorporateActionsImportRequested(Request):
    """`import_id` keys the answer. Importing an action again replaces it."""

    import_id: UUID
    user_id: UserId
    actions: tuple[CorporateActionTerms, ...]


class CorporateActionsImported(Event):
    import_id: UUID
    user_id: UserId
    actions: tuple[CorporateActionTerms, ...]
