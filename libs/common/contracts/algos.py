"""Algos: what to trade when a signal comes."""

from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import (
    EntryLegs,
    ExpiryRule,
    InstrumentKind,
    LegRefusedRule,
    OptionType,
    Product,
    RepeatRule,
    Side,
    SignalType,
    StrikeRule,
)
from libs.common.contracts.ids import (
    AccountId,
    AlgoId,
    InstrumentId,
    OrderId,
    SignalGroupId,
    SignalId,
    SquareOffId,
    UserId,
)

MOST_LEGS = 10
MOST_STOCKS = 100
"""Legs of an algo that trades the stocks that alerts name."""


class AlgoLeg(Value):
    """One order of an entry. An equity names its `instrument`; a future or option names its `underlying`
    (`NIFTY`) and `expiry`, an option also `option_type` and `strike` moved by `strike_offset` strikes.
    `lots` counts lots (shares for an equity).
    """

    kind: InstrumentKind
    instrument: InstrumentId | None = None
    underlying: str | None = None
    expiry: ExpiryRule | None = None
    option_type: OptionType | None = None
    strike: StrikeRule | None = None
    strike_offset: int = 0
    side: Side
    lots: int


class LinkedAccount(Value):
    """Each entry trades in this account, its lots multiplied and rounded down to whole lots."""

    account_id: AccountId
    multiplier: Decimal = Decimal(1)


class SignalMapping(Value):
    """Which signals of a group make the algo enter and exit; an action left None matches both."""

    group_id: SignalGroupId
    entry_on: SignalType = SignalType.ENTRY
    entry_action: Side | None = None
    exit_on: SignalType = SignalType.EXIT
    exit_action: Side | None = None


class Algo(Value):
    """With `entry_legs` NAMED each leg is a share of its own: an alert enters and exits those that it names, and every
    rule, as `on_repeat`, is for each of them by itself.
    """

    algo_id: AlgoId
    user_id: UserId
    name: str
    legs: tuple[AlgoLeg, ...]
    product: Product
    accounts: tuple[LinkedAccount, ...]
    mappings: tuple[SignalMapping, ...] = ()
    entry_legs: EntryLegs = EntryLegs.ALL
    on_repeat: RepeatRule = RepeatRule.IGNORE
    on_leg_refused: LegRefusedRule = LegRefusedRule.CLOSE_OTHERS
    active: bool = True


class AlgoSaveRequested(Request):
    algo_id: AlgoId
    user_id: UserId
    algo: Algo
    expected_version: int


class AlgoDeleteRequested(Request):
    algo_id: AlgoId
    user_id: UserId


class AlgoSaved(Event):
    algo_id: AlgoId
    user_id: UserId
    algo: Algo
    version: int


class AlgoDeleted(Event):
    algo_id: AlgoId
    user_id: UserId


class SignalSkipped(Event):
    """A signal reached an algo that did nothing with it, and why (already in position, no such strike, inactive)."""

    algo_id: AlgoId
    user_id: UserId
    signal_id: SignalId
    reason: str


class SignalActedOn(Event):
    """A signal made an algo ask for these orders (none for an exit, whose square-offs say their own)."""

    algo_id: AlgoId
    user_id: UserId
    signal_id: SignalId
    signal_type: SignalType
    order_ids: tuple[str, ...] = ()
    square_off_ids: tuple[str, ...] = ()


class LegRefused(Event):
    """One leg of an entry was denied, rejected, cancelled or expired short, while other legs traded or still may.

    `square_off_id` closes what the algo holds in the account; None when the algo keeps it (`on_leg_refused`).
    """

    algo_id: AlgoId
    user_id: UserId
    account_id: AccountId
    order_id: OrderId
    instrument: InstrumentId
    reason: str
    square_off_id: SquareOffId | None


class SquareOffRefused(Event):
    """Trading refused to close what the algo holds in the account: nothing is on its way. The next exit asks again."""

    algo_id: AlgoId
    user_id: UserId
    account_id: AccountId
    square_off_id: SquareOffId
    reason: str
