"""A market, a user with two accounts, and an algo: what the tests of strategy start from."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from libs.common.contracts.accounts import Account, AccountSaved
from libs.common.contracts.algos import Algo, AlgoLeg, AlgoSaveRequested, LinkedAccount, SignalMapping
from libs.common.contracts.enums import (
    Broker,
    Exchange,
    ExpiryRule,
    FeedSource,
    InstrumentKind,
    OptionType,
    Product,
    Side,
    SignalType,
    StrikeRule,
)
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, SignalGroupId, SignalId, UserId
from libs.common.contracts.market import InstrumentListed, Quote, QuotesConflated
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import new_id
from services.strategy import streams
from services.strategy.memory import StrategyMemory

NOW = datetime(2026, 8, 17, 6, 30, tzinfo=UTC)
"""12:00 IST on a Monday, the day before a weekly expiry."""
SPOT = InstrumentId("NSE_INDEX:NIFTY")
WEEKS = (date(2026, 8, 18), date(2026, 8, 25), date(2026, 9, 1), date(2026, 9, 8), date(2026, 9, 15), date(2026, 9, 29))
LOT = 65
FREEZE = 1755
USER = UserId(new_id())
GROUP = SignalGroupId(new_id())
FIRST, SECOND = AccountId(new_id()), AccountId(new_id())


def listed_option(expiry: date, strike: Decimal, option_type: OptionType, **changes: object) -> InstrumentListed:
    symbol = f"NIFTY{expiry:%d%b%y}{strike}{option_type}".upper()
    option = InstrumentListed(
        instrument=InstrumentId(f"NFO:{symbol}"),
        exchange=Exchange.NFO,
        symbol=symbol,
        name="NIFTY",
        kind=InstrumentKind.OPTION,
        underlying="NIFTY",
        spot=SPOT,
        expiry=expiry,
        strike=strike,
        option_type=option_type,
        lot_size=LOT,
        tick_size=Decimal("0.05"),
        freeze_quantity=FREEZE,
    )
    return option.model_copy(update=changes)


def listed_future(underlying: str, expiry: date, exchange: Exchange = Exchange.NFO) -> InstrumentListed:
    symbol = f"{underlying}{expiry:%d%b%y}FUT".upper()
    return InstrumentListed(
        instrument=InstrumentId(f"{exchange}:{symbol}"),
        exchange=exchange,
        symbol=symbol,
        name=underlying,
        kind=InstrumentKind.FUTURE,
        underlying=underlying,
        spot=InstrumentId(f"NSE_INDEX:{underlying}"),
        expiry=expiry,
        lot_size=LOT,
        tick_size=Decimal("0.1"),
    )


def listed_share(symbol: str = "SBIN") -> InstrumentListed:
    return InstrumentListed(
        instrument=InstrumentId(f"NSE:{symbol}"),
        exchange=Exchange.NSE,
        symbol=symbol,
        name=symbol,
        kind=InstrumentKind.EQUITY,
        lot_size=1,
        tick_size=Decimal("0.05"),
    )


def the_market() -> list[InstrumentListed]:
    strikes = [Decimal(24_000 + 50 * n) for n in range(-10, 11)]
    options = [listed_option(day, strike, kind) for day in WEEKS for strike in strikes for kind in OptionType]
    futures = [listed_future("NIFTY", day) for day in (date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27))]
    return [*options, *futures, listed_share()]


def quoted(price: float, at: datetime, instrument: InstrumentId = SPOT) -> QuotesConflated:
    quote = Quote(
        instrument=instrument,
        at=at,
        source=FeedSource.SIMULATED,
        ltp=price,
        bid=price,
        ask=price,
        bid_quantity=1,
        ask_quantity=1,
        open=price,
        high=price,
        low=price,
        previous_close=price,
        volume=0,
        oi=0,
    )
    return QuotesConflated(shard="0", at=at, quotes=(quote,))


def an_account(account_id: AccountId, *, user_id: UserId = USER, active: bool = True) -> AccountSaved:
    account = Account(
        account_id=account_id, user_id=user_id, name=f"paper {account_id}", broker=Broker.PAPER, active=active
    )
    return AccountSaved(account_id=account_id, user_id=user_id, account=account, version=1)


async def knowing(spot: float = 24_012.0, at: datetime = NOW) -> StrategyMemory:
    memory = StrategyMemory()
    await streams.list_contracts(the_market(), memory)
    await streams.note_prices([quoted(spot, at)], memory)
    return memory


def option_leg(
    side: Side = Side.BUY,
    strike: StrikeRule = StrikeRule.ATM,
    offset: int = 0,
    option_type: OptionType = OptionType.CE,
    lots: int = 1,
    expiry: ExpiryRule = ExpiryRule.CURRENT_WEEK,
) -> AlgoLeg:
    return AlgoLeg(
        kind=InstrumentKind.OPTION,
        underlying="NIFTY",
        expiry=expiry,
        option_type=option_type,
        strike=strike,
        strike_offset=offset,
        side=side,
        lots=lots,
    )


FUTURE_LEG = AlgoLeg(
    kind=InstrumentKind.FUTURE, underlying="NIFTY", expiry=ExpiryRule.NEXT_MONTH, side=Side.BUY, lots=1
)
SHARE_LEG = AlgoLeg(kind=InstrumentKind.EQUITY, instrument=InstrumentId("NSE:SBIN"), side=Side.BUY, lots=10)
SPREAD = (option_leg(Side.SELL), option_leg(Side.BUY, StrikeRule.OTM, 2))


def an_algo(
    legs: Sequence[AlgoLeg] = (option_leg(),), accounts: Sequence[AccountId] = (FIRST,), **changes: object
) -> Algo:
    algo = Algo(
        algo_id=AlgoId(new_id()),
        user_id=USER,
        name="EMA crossover",
        legs=tuple(legs),
        product=Product.MIS,
        accounts=tuple(LinkedAccount(account_id=account_id) for account_id in accounts),
        mappings=(SignalMapping(group_id=GROUP),),
    )
    return algo.model_copy(update=changes)


def save(algo: Algo, version: int = 0) -> AlgoSaveRequested:
    return AlgoSaveRequested(algo_id=algo.algo_id, user_id=algo.user_id, algo=algo, expected_version=version)


def a_signal(
    signal_type: SignalType = SignalType.ENTRY, action: Side = Side.BUY, at: datetime = NOW, **changes: object
) -> SignalReceived:
    signal = SignalReceived(
        signal_id=SignalId(new_id()),
        group_id=GROUP,
        user_id=USER,
        signal_type=signal_type,
        action=action,
        symbol="NIFTY",
        quantity=999,
        price=None,
        account_id=None,
        alert_name=None,
        received_at=at,
    )
    return signal.model_copy(update=changes)


def an_exit(action: Side = Side.SELL, at: datetime = NOW, **changes: object) -> SignalReceived:
    return a_signal(SignalType.EXIT, action, at, **changes)
