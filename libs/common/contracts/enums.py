"""The closed vocabularies of trading."""

from enum import StrEnum


class Exchange(StrEnum):
    NSE = "NSE"
    BSE = "BSE"
    NFO = "NFO"
    BFO = "BFO"
    CDS = "CDS"
    BCD = "BCD"
    MCX = "MCX"
    NSE_INDEX = "NSE_INDEX"
    BSE_INDEX = "BSE_INDEX"
    CUSTOM = "CUSTOM"
    """No exchange: baskets and spreads that users made of other instruments. Never tradable."""


class InstrumentKind(StrEnum):
    EQUITY = "EQUITY"
    INDEX = "INDEX"
    FUTURE = "FUTURE"
    OPTION = "OPTION"


class Series(StrEnum):
    """How what is traded of a share is settled: NSE's series, and the groups of BSE in which each trade is delivered.
    Exchanges move shares from one to another overnight.
    """

    EQ = "EQ"
    """Rolling: the day's purchases and sales are netted."""
    BE = "BE"
    """Trade for trade: each purchase and each sale is delivered."""
    BZ = "BZ"
    """As BE, of a company that does not comply with its listing."""
    SM = "SM"
    """Small companies."""
    ST = "ST"
    """Small companies, trade for trade."""
    SZ = "SZ"
    """As ST, of a company that does not comply with its listing."""
    RR = "RR"
    """Units of real estate trusts."""
    IV = "IV"
    """Units of infrastructure trusts."""
    T = "T"
    """BSE: trade for trade, as all that follow."""
    XT = "XT"
    """BSE: as T, of a company that is listed nowhere else."""
    MT = "MT"
    """BSE: small companies."""
    TS = "TS"
    """BSE: as MT."""
    P = "P"
    """BSE: of a company whose shares are on paper, too."""
    Z = "Z"
    """BSE: of a company that does not comply with its listing."""
    ZP = "ZP"
    """BSE: as Z and P."""

    @property
    def is_trade_for_trade(self) -> bool:
        return self in TRADE_FOR_TRADE


GROUPS_OF_BSE = frozenset({Series.T, Series.XT, Series.MT, Series.TS, Series.P, Series.Z, Series.ZP})
TRADE_FOR_TRADE = frozenset({Series.BE, Series.BZ, Series.ST, Series.SZ}) | GROUPS_OF_BSE


class OptionType(StrEnum):
    CE = "CE"
    PE = "PE"


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    SL = "SL"
    """Stop-loss limit: dormant until the trigger price trades, then a limit order."""
    SL_M = "SL-M"
    """Stop-loss market: dormant until the trigger price trades, then a market order."""


class Product(StrEnum):
    MIS = "MIS"
    """Intraday, squared off at the session end."""
    NRML = "NRML"
    """Derivatives carried overnight."""
    CNC = "CNC"
    """Equity delivery."""


class Validity(StrEnum):
    DAY = "DAY"
    IOC = "IOC"


class OrderPurpose(StrEnum):
    """Why the order exists. Exits pass limits (never checks of correctness) when they only reduce."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    SQUARE_OFF = "SQUARE_OFF"


class OrderStatus(StrEnum):
    REQUESTED = "REQUESTED"
    DENIED = "DENIED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset(
    {
        OrderStatus.DENIED,
        OrderStatus.FILLED,
        OrderStatus.CANCELLED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
    }
)


class DenialRule(StrEnum):
    """The rule that refused an order before any broker saw it."""

    REQUEST_EXPIRED = "REQUEST_EXPIRED"
    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    ACCOUNT_INACTIVE = "ACCOUNT_INACTIVE"
    HALTED = "HALTED"
    STALE_EPOCH = "STALE_EPOCH"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_NOT_TRADABLE = "INSTRUMENT_NOT_TRADABLE"
    PRODUCT_NOT_ALLOWED = "PRODUCT_NOT_ALLOWED"
    LOT_SIZE = "LOT_SIZE"
    TICK_SIZE = "TICK_SIZE"
    FREEZE_QUANTITY = "FREEZE_QUANTITY"
    PRICE_BAND = "PRICE_BAND"
    NO_REFERENCE_PRICE = "NO_REFERENCE_PRICE"
    MAX_ORDER_VALUE = "MAX_ORDER_VALUE"
    MAX_OPEN_POSITIONS = "MAX_OPEN_POSITIONS"
    MARGIN = "MARGIN"
    DAILY_LOSS = "DAILY_LOSS"
    INTRADAY_CUTOFF = "INTRADAY_CUTOFF"
    """Nothing more is opened in MIS before this market closes: what is open is being squared off."""
    IDENTICAL_ORDER = "IDENTICAL_ORDER"
    NOT_REDUCING = "NOT_REDUCING"
    NOT_HELD = "NOT_HELD"
    """CNC delivers what is sold: it cannot be sold short."""
    ORDER_NOT_OPEN = "ORDER_NOT_OPEN"
    GIVEN_UP = "GIVEN_UP"
    """It could not be handled, and an operator discarded it."""


class ExecutionKind(StrEnum):
    """What a venue reports of one order, whichever road the report took."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    """One fill; `leaves_quantity` says whether it was the last."""
    MODIFIED = "MODIFIED"
    MODIFY_REJECTED = "MODIFY_REJECTED"
    CANCELLED = "CANCELLED"
    CANCEL_REJECTED = "CANCEL_REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    """The venue was asked and did not answer; its order book will tell whether it has the order."""
    FOUND = "FOUND"
    """The venue has an order that its book had not shown for so long that we took it for refused."""
    UNSEEN = "UNSEEN"
    """It was open at the end of its day, and nobody saw how it ended: the venue's book of that day is gone."""


class SettledAs(StrEnum):
    """What a person says became of an order that nobody answered for."""

    NOT_TAKEN = "NOT_TAKEN"
    """It never reached the broker."""
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    """With what it had traded by then, which may be nothing."""
    FILLED = "FILLED"


class Broker(StrEnum):
    PAPER = "paper"
    ZERODHA = "zerodha"


class FeedSource(StrEnum):
    """Where a price came from; anything but LIVE is shown as such wherever the price is shown."""

    LIVE = "LIVE"
    POLLED = "POLLED"
    """A broker's quote that we asked for over HTTP, because its ticker gives nothing: seconds apart."""
    SIMULATED = "SIMULATED"
    REPLAYED = "REPLAYED"
    DERIVED = "DERIVED"
    """Computed: by Black-Scholes from a recorded spot price; or a custom symbol's, of legs with several sources."""


class PriceNeed(StrEnum):
    """Why live prices of an instrument are needed, the most pressing first."""

    POSITION = "POSITION"
    ORDER = "ORDER"
    STRATEGY = "STRATEGY"


class TickFault(StrEnum):
    """Why a tick is kept apart and not passed on."""

    PRICE = "price"
    """Zero, negative or not a number."""
    CROSSED = "crossed"
    """A bid above the ask."""
    OUT_OF_ORDER = "out_of_order"
    """Older than the one before it, or the same moment again."""
    OLD_DAY = "old_day"
    """Of a trading day before this one."""
    FUTURE = "future"
    """Later than our own clock allows."""
    BAND = "band"
    """Outside what the exchange takes orders at, or dearer than what the option gives a right to."""


class SignalSource(StrEnum):
    TRADINGVIEW = "tradingview"
    CUSTOM = "custom"


class SignalType(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"


class RiskLevel(StrEnum):
    """What a limit, a breach or a panic is about."""

    INSTRUMENT = "INSTRUMENT"
    STRATEGY = "STRATEGY"
    ACCOUNT = "ACCOUNT"
    USER = "USER"
    ALL = "ALL"


class BreachKind(StrEnum):
    STOP_LOSS = "STOP_LOSS"
    TARGET = "TARGET"
    TRAILING_STOP = "TRAILING_STOP"
    DAILY_LOSS = "DAILY_LOSS"


class SquareOffReason(StrEnum):
    CLOSE = "CLOSE"
    """A person asked for it."""
    SIGNAL_EXIT = "SIGNAL_EXIT"
    LEG_REFUSED = "LEG_REFUSED"
    """One leg of an algo's entry did not trade whole: the others are closed."""
    MTM_BREACH = "MTM_BREACH"
    SESSION_END = "SESSION_END"
    """The market closes soon, and MIS is not carried overnight."""
    PANIC = "PANIC"


class StrikeRule(StrEnum):
    ATM = "ATM"
    OTM = "OTM"
    ITM = "ITM"


class ExpiryRule(StrEnum):
    CURRENT_WEEK = "CURRENT_WEEK"
    NEXT_WEEK = "NEXT_WEEK"
    CURRENT_MONTH = "CURRENT_MONTH"
    NEXT_MONTH = "NEXT_MONTH"


class EntryLegs(StrEnum):
    """Which legs an entry trades: all of them together, or those of the stocks that the alert names, each by itself."""

    ALL = "all"
    NAMED = "named"


class RepeatRule(StrEnum):
    """What an algo does with an entry signal while it holds a position."""

    IGNORE = "ignore"
    ADD = "add"
    REVERSE = "reverse"


class LegRefusedRule(StrEnum):
    """What an algo does when one leg of an entry is refused or ends short, while others trade or may."""

    CLOSE_OTHERS = "close_others"
    KEEP = "keep"
