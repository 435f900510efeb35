import csv
import os
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.algos import Algo, AlgoDeleteRequested, AlgoLeg, AlgoSaved, AlgoSaveRequested, LinkedAccount
from libs.common.contracts.algos import SignalMapping as Mapping
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import (
    Exchange,
    ExpiryRule,
    InstrumentKind,
    OptionType,
    Product,
    RepeatRule,
    Side,
    SignalType,
    StrikeRule,
)
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, OrderId, SquareOffId, UserId
from libs.common.contracts.market import InstrumentListed
from libs.common.ids import new_id
from services.strategy.domain import algos, holdings, legs
from services.strategy.domain.algos import KnownAccount, Wish
from services.strategy.domain.chain import Chain, Contract, choose_expiry, choose_strike, lists_weeks
from services.strategy.domain.holdings import Holding
from services.strategy.domain.legs import Impossible, Market, PlannedOrder
from tests.services.strategy.scene import (
    FIRST,
    FREEZE,
    GROUP,
    LOT,
    NOW,
    SPOT,
    USER,
    WEEKS,
    a_signal,
    an_algo,
    listed_future,
    listed_option,
    listed_share,
    option_leg,
    quoted,
    the_market,
)

MASTER = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "masters/zerodha/instruments-nfo-bfo-2026-08.csv"
TODAY = date(2026, 8, 17)
STRIKES = st.lists(st.integers(1, 2000).map(lambda n: Decimal(n * 50)), min_size=1, unique=True).map(sorted)
SPOTS = st.decimals(1, 120_000, places=2)


@cache
def the_chain() -> Chain:
    chain = Chain()
    for contract in the_market():
        chain.learn(contract)
    return chain


def a_market(spot: float = 24_012.0, age_s: int = 0, chain: Chain | None = None) -> Market:
    at = NOW - timedelta(seconds=age_s)
    [quote] = quoted(spot, at).quotes
    return Market(chain or the_chain(), {SPOT: quote}, NOW, TODAY, timedelta(seconds=15))


# -- strikes


@given(STRIKES, SPOTS)
def test_openalgo_475_at_the_money_is_the_nearest_listed_strike_and_the_lower_of_two(
    strikes: list[Decimal], spot: Decimal
) -> None:
    chosen = choose_strike(StrikeRule.ATM, 0, OptionType.CE, strikes, spot)
    assert chosen in strikes
    assert chosen is not None
    for other in strikes:
        assert (abs(chosen - spot), chosen) <= (abs(other - spot), other)


@given(STRIKES, SPOTS, st.integers(1, 30), st.sampled_from(OptionType))
def test_out_of_the_money_counts_listed_strikes_away_from_the_spot(
    strikes: list[Decimal], spot: Decimal, offset: int, option_type: OptionType
) -> None:
    at_the_money = choose_strike(StrikeRule.ATM, 0, option_type, strikes, spot)
    assert at_the_money is not None
    out = choose_strike(StrikeRule.OTM, offset, option_type, strikes, spot)
    inside = choose_strike(StrikeRule.ITM, offset, option_type, strikes, spot)
    above, below = (out, inside) if option_type is OptionType.CE else (inside, out)
    if above is not None:
        assert sum(at_the_money < strike <= above for strike in strikes) == offset
    else:
        assert sum(strike > at_the_money for strike in strikes) < offset
    if below is not None:
        assert sum(below <= strike < at_the_money for strike in strikes) == offset
    else:
        assert sum(strike < at_the_money for strike in strikes) < offset


@pytest.mark.parametrize(
    ("rule", "offset", "option_type", "strike"),
    [
        (StrikeRule.ATM, 0, OptionType.CE, 24_000),
        (StrikeRule.ATM, 2, OptionType.PE, 24_100),
        (StrikeRule.ATM, -1, OptionType.CE, 23_950),
        (StrikeRule.OTM, 2, OptionType.CE, 24_100),
        (StrikeRule.OTM, 2, OptionType.PE, 23_900),
        (StrikeRule.ITM, 1, OptionType.CE, 23_950),
        (StrikeRule.ITM, 1, OptionType.PE, 24_050),
    ],
)
def test_strikes_from_a_spot_between_two(rule: StrikeRule, offset: int, option_type: OptionType, strike: int) -> None:
    strikes = [Decimal(24_000 + 50 * n) for n in range(-10, 11)]
    assert choose_strike(rule, offset, option_type, strikes, Decimal("24025")) == strike


def test_beyond_the_list_there_is_no_strike() -> None:
    assert choose_strike(StrikeRule.ATM, -1, OptionType.CE, [Decimal(100)], Decimal(100)) is None
    assert choose_strike(StrikeRule.ATM, 0, OptionType.CE, [], Decimal(100)) is None


# -- expiries


@pytest.mark.parametrize(
    ("rule", "day"),
    [
        (ExpiryRule.CURRENT_WEEK, date(2026, 8, 18)),
        (ExpiryRule.NEXT_WEEK, date(2026, 8, 25)),
        (ExpiryRule.CURRENT_MONTH, date(2026, 8, 25)),
        (ExpiryRule.NEXT_MONTH, date(2026, 9, 29)),
    ],
)
def test_weeks_and_months_are_listed_expiries(rule: ExpiryRule, day: date) -> None:
    assert choose_expiry(rule, WEEKS) == day


def test_after_the_monthly_expiry_the_current_month_is_the_next_one() -> None:
    listed = [day for day in WEEKS if day > date(2026, 8, 25)]
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, listed) == date(2026, 9, 29)


def test_an_expiry_that_a_holiday_moved_is_still_the_week_and_the_month() -> None:
    """2026-11-24 is a holiday: the monthly contract of November expires on Monday 23."""
    listed = [date(2026, 11, 17), date(2026, 11, 23), date(2026, 12, 1), date(2026, 12, 29)]
    assert choose_expiry(ExpiryRule.NEXT_WEEK, listed) == date(2026, 11, 23)
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, listed) == date(2026, 11, 23)


def test_who_asks_for_a_week_never_gets_a_month_instead() -> None:
    months = [date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27)]
    assert not lists_weeks(months)
    assert choose_expiry(ExpiryRule.CURRENT_WEEK, months) is None
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, months) == date(2026, 8, 25)


@given(st.lists(st.dates(date(2026, 1, 1), date(2030, 12, 31)), unique=True).map(sorted), st.sampled_from(ExpiryRule))
def test_openalgo_1243_an_expiry_is_always_a_listed_one(listed: list[date], rule: ExpiryRule) -> None:
    chosen = choose_expiry(rule, listed)
    assert chosen is None or chosen in listed


def test_a_contract_can_be_traded_on_the_day_it_expires() -> None:
    listed = the_chain().expiries("NIFTY", InstrumentKind.OPTION, OptionType.CE, WEEKS[0])
    assert choose_expiry(ExpiryRule.CURRENT_WEEK, listed) == WEEKS[0]


def real_chain() -> Chain:
    if not MASTER.exists():
        pytest.skip(f"no instrument master at {MASTER}; set SHARED_DATA")
    chain = Chain()
    with MASTER.open() as file:
        for row in csv.DictReader(file):
            chain.learn(_of_master(row))
    return chain


def _of_master(row: dict[str, str]) -> InstrumentListed:
    expiry = date.fromisoformat(row["expiry"])
    exchange = Exchange(row["exchange"])
    if row["instrument_type"] == "FUT":
        future = listed_future(row["name"], expiry, exchange)
        return future.model_copy(update={"lot_size": int(row["lot_size"])})
    changes = {
        "instrument": InstrumentId(f"{exchange}:{row['tradingsymbol']}"),
        "exchange": exchange,
        "underlying": row["name"],
        "lot_size": int(row["lot_size"]),
    }
    return listed_option(expiry, Decimal(row["strike"]), OptionType(row["instrument_type"]), **changes)


@pytest.mark.parametrize(
    ("underlying", "today", "rule", "day"),
    [
        ("NIFTY", TODAY, ExpiryRule.CURRENT_WEEK, date(2026, 8, 18)),
        ("NIFTY", date(2026, 8, 19), ExpiryRule.CURRENT_WEEK, date(2026, 8, 25)),
        ("NIFTY", date(2026, 8, 26), ExpiryRule.CURRENT_MONTH, date(2026, 9, 29)),
        ("NIFTY", date(2029, 12, 20), ExpiryRule.CURRENT_MONTH, date(2029, 12, 24)),
        ("BANKNIFTY", TODAY, ExpiryRule.CURRENT_WEEK, None),
        ("BANKNIFTY", TODAY, ExpiryRule.NEXT_MONTH, date(2026, 9, 29)),
    ],
)
def test_expiries_of_the_real_master(underlying: str, today: date, rule: ExpiryRule, day: date | None) -> None:
    listed = real_chain().expiries(underlying, InstrumentKind.OPTION, OptionType.CE, today)
    assert choose_expiry(rule, listed) == day


def test_the_lot_is_the_contracts_own() -> None:
    chain = real_chain()
    market = replace(a_market(spot=24_500.0), chain=chain)
    contracts = legs.resolve(an_algo([option_leg(lots=2)]), market)
    assert not isinstance(contracts, Impossible)
    [contract] = contracts
    assert (contract.expiry, contract.strike, contract.lot_size) == (date(2026, 8, 18), Decimal(24_500), 65)


# -- the chain


def test_a_contract_that_is_no_longer_tradable_is_forgotten() -> None:
    chain = Chain()
    contract = listed_option(WEEKS[0], Decimal(24_000), OptionType.CE)
    chain.learn(contract)
    chain.learn(contract.model_copy(update={"lot_size": 75}))
    assert chain.option("NIFTY", OptionType.CE, WEEKS[0], Decimal(24_000)).lot_size == 75
    chain.learn(contract.model_copy(update={"tradable": False}))
    assert chain.expiries("NIFTY", InstrumentKind.OPTION, OptionType.CE, TODAY) == []
    chain.learn(listed_share())
    assert chain.equity(InstrumentId("NSE:SBIN"))
    chain.learn(listed_share().model_copy(update={"tradable": False}))
    assert chain.equity(InstrumentId("NSE:SBIN")) is None


def test_what_two_exchanges_list_is_traded_on_the_first() -> None:
    chain = Chain()
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.BFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("BFO:")
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.NFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("NFO:")


# -- legs


def resolved(algo: Algo, market: Market) -> tuple[Contract, ...]:
    contracts = legs.resolve(algo, market)
    assert not isinstance(contracts, Impossible), contracts
    return contracts


def impossible(algo: Algo, market: Market) -> str:
    contracts = legs.resolve(algo, market)
    assert isinstance(contracts, Impossible)
    return contracts.reason


FUTURE_LEG = AlgoLeg(
    kind=InstrumentKind.FUTURE, underlying="NIFTY", expiry=ExpiryRule.NEXT_MONTH, side=Side.BUY, lots=1
)
SHARE_LEG = AlgoLeg(kind=InstrumentKind.EQUITY, instrument=InstrumentId("NSE:SBIN"), side=Side.BUY, lots=10)


def test_every_kind_of_leg_finds_its_contract() -> None:
    found = resolved(an_algo([option_leg(), FUTURE_LEG, SHARE_LEG]), a_market())
    assert [contract.instrument for contract in found] == [
        "NFO:NIFTY18AUG2624000CE",
        "NFO:NIFTY29SEP26FUT",
        "NSE:SBIN",
    ]


@pytest.mark.parametrize("spot", [0.0, -1.0])
def test_openalgo_670_no_strike_from_a_spot_of_zero(spot: float) -> None:
    assert impossible(an_algo(), a_market(spot)) == "leg 1: the spot price of NIFTY is not known"


def test_no_strike_is_chosen_from_an_old_spot() -> None:
    assert resolved(an_algo(), a_market(age_s=15))
    assert impossible(an_algo(), a_market(age_s=16)) == "leg 1: the spot price of NIFTY is 16 s old"
    assert resolved(an_algo([FUTURE_LEG]), a_market(age_s=3600))


def test_one_leg_that_cannot_be_traded_spoils_the_whole_entry() -> None:
    far = option_leg(strike=StrikeRule.OTM, offset=11)
    assert impossible(an_algo([option_leg(), far]), a_market()).startswith(
        "leg 2: NIFTY 2026-08-18 lists no strike OTM"
    )
    unlisted = SHARE_LEG.model_copy(update={"instrument": InstrumentId("NSE:SBNI")})
    assert impossible(an_algo([unlisted]), a_market()) == "leg 1: NSE:SBNI is not a listed, tradable share"
    assert impossible(an_algo(), a_market(chain=Chain())) == "leg 1: no NIFTY CE contract is listed"
    weekly = FUTURE_LEG.model_copy(update={"expiry": ExpiryRule.CURRENT_WEEK})
    assert "lists no expiry for CURRENT_WEEK; listed: 2026-08-25" in impossible(an_algo([weekly]), a_market())


def planned(algo: Algo, multiplier: str = "1", action: Side = Side.BUY) -> tuple[PlannedOrder, ...] | Impossible:
    account = LinkedAccount(account_id=FIRST, multiplier=Decimal(multiplier))
    return legs.plan(algo, resolved(algo, a_market()), account, action)


def test_purchases_come_before_sales() -> None:
    orders = planned(an_algo([option_leg(Side.SELL), option_leg(Side.BUY), option_leg(Side.SELL), option_leg()]))
    assert not isinstance(orders, Impossible)
    assert [(order.leg, order.side) for order in orders] == [
        (2, Side.BUY),
        (4, Side.BUY),
        (1, Side.SELL),
        (3, Side.SELL),
    ]


@given(lots=st.integers(1, 20), multiplier=st.decimals("0.01", "20", places=2))
def test_quantities_are_whole_lots_and_never_more_than_asked_for(lots: int, multiplier: Decimal) -> None:
    algo = an_algo([option_leg(lots=lots)])
    orders = planned(algo, str(multiplier))
    wanted = lots * multiplier
    if isinstance(orders, Impossible):
        assert wanted < 1 or wanted * LOT > FREEZE
        return
    [order] = orders
    assert order.quantity % LOT == 0
    assert wanted - 1 < order.quantity // LOT <= wanted


def test_an_account_too_small_for_one_leg_gets_none_of_them() -> None:
    algo = an_algo([option_leg(lots=2), option_leg(Side.SELL, lots=1)])
    assert planned(algo, "0.5") == Impossible("leg 2: 1 lots times 0.5 is less than one lot")


def test_a_quantity_that_the_exchange_would_freeze_is_not_asked_for() -> None:
    assert isinstance(planned(an_algo([option_leg(lots=28)])), Impossible)
    assert not isinstance(planned(an_algo([option_leg(lots=27)])), Impossible)


def test_only_an_algo_that_reverses_turns_its_legs_on_a_sell() -> None:
    reversing = an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE)
    sides = {
        (algo.on_repeat, action): orders[0].side
        for algo in (reversing, an_algo([FUTURE_LEG]))
        for action in Side
        if not isinstance(orders := planned(algo, action=action), Impossible)
    }
    assert sides == {
        (RepeatRule.REVERSE, Side.BUY): Side.BUY,
        (RepeatRule.REVERSE, Side.SELL): Side.SELL,
        (RepeatRule.IGNORE, Side.BUY): Side.BUY,
        (RepeatRule.IGNORE, Side.SELL): Side.BUY,
    }


# -- algos


def save(algo: Algo, version: int = 0) -> AlgoSaveRequested:
    return AlgoSaveRequested(algo_id=algo.algo_id, user_id=algo.user_id, algo=algo, expected_version=version)


def code_of(event: object) -> str:
    assert isinstance(event, RequestRefused)
    assert event.reason
    return event.code


def test_saving_an_algo_counts_versions() -> None:
    algo = an_algo()
    saved = AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=algo, version=1)
    assert algos.decide_save(None, 0, save(algo), {}) == saved
    assert algos.decide_save(algo, 1, save(algo, 1), {}) == saved.model_copy(update={"version": 2})
    assert code_of(algos.decide_save(algo, 2, save(algo, 1), {})) == "conflict"
    assert code_of(algos.decide_save(algo, 1, save(algo), {})) == "conflict"
    assert code_of(algos.decide_save(None, 0, save(algo, 1), {})) == "not_found"


def test_somebody_elses_algo_is_not_found() -> None:
    algo = an_algo()
    stranger = algo.model_copy(update={"user_id": UserId(new_id())})
    assert code_of(algos.decide_save(algo, 1, save(stranger, 1), {})) == "not_found"
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=stranger.user_id)
    assert code_of(algos.decide_delete(algo, False, delete)) == "not_found"


def test_an_algo_in_position_is_not_deleted() -> None:
    algo = an_algo()
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    assert code_of(algos.decide_delete(algo, True, delete)) == "conflict"
    assert not isinstance(algos.decide_delete(algo, False, delete), RequestRefused)


def test_an_algo_is_not_linked_to_another_users_account() -> None:
    accounts: dict[AccountId, KnownAccount] = {FIRST: KnownAccount(UserId(new_id()), "theirs", active=True)}
    assert code_of(algos.decide_save(None, 0, save(an_algo()), accounts)) == "invalid"


WRONG_LEGS = [
    option_leg(lots=0),
    option_leg(lots=-1),
    option_leg(strike=StrikeRule.OTM),
    option_leg(strike=StrikeRule.ITM, offset=-1),
    option_leg(offset=201),
    option_leg().model_copy(update={"underlying": None}),
    option_leg().model_copy(update={"expiry": None}),
    option_leg().model_copy(update={"option_type": None}),
    option_leg().model_copy(update={"strike": None}),
    FUTURE_LEG.model_copy(update={"underlying": ""}),
    FUTURE_LEG.model_copy(update={"expiry": None}),
    SHARE_LEG.model_copy(update={"instrument": None}),
    SHARE_LEG.model_copy(update={"kind": InstrumentKind.INDEX}),
]


@pytest.mark.parametrize("leg", WRONG_LEGS)
def test_a_leg_that_is_not_complete_is_refused_and_named(leg: AlgoLeg) -> None:
    problem = algos.what_is_wrong(an_algo([option_leg(), leg]))
    assert problem
    assert problem.startswith("leg 2: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"legs": ()},
        {"legs": (option_leg(),) * 11},
        {"accounts": ()},
        {"accounts": (LinkedAccount(account_id=FIRST), LinkedAccount(account_id=FIRST))},
        {"accounts": (LinkedAccount(account_id=FIRST, multiplier=Decimal(0)),)},
        {"accounts": (LinkedAccount(account_id=FIRST, multiplier=Decimal(10_001)),)},
        {"product": Product.CNC},
        {"product": Product.NRML, "legs": (SHARE_LEG,)},
        {"mappings": (Mapping(group_id=GROUP, exit_on=SignalType.ENTRY),)},
        {"mappings": (Mapping(group_id=GROUP, exit_on=SignalType.ENTRY, exit_action=Side.SELL),)},
    ],
)
def test_an_algo_that_could_not_work_is_refused(changes: dict[str, object]) -> None:
    assert code_of(algos.decide_save(None, 0, save(an_algo().model_copy(update=changes)), {})) == "invalid"


def test_an_algo_may_enter_on_buys_and_exit_on_sells_of_one_kind() -> None:
    mapping = Mapping(group_id=GROUP, exit_on=SignalType.ENTRY, entry_action=Side.BUY, exit_action=Side.SELL)
    algo = an_algo(mappings=(mapping,))
    assert algos.what_is_wrong(algo) is None
    assert algos.wish(algo, a_signal()) is Wish.ENTER
    assert algos.wish(algo, a_signal(action=Side.SELL)) is Wish.EXIT
    assert algos.wish(algo, a_signal(SignalType.EXIT)) is Wish.NOTHING


# -- holdings


HOLDING = Holding(AlgoId(new_id()), FIRST, USER)
ORDER = OrderId(new_id())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_an_entry_is_on_its_way_until_all_of_it_is_filled(fills: list[int]) -> None:
    holding = holdings.entering(HOLDING, {ORDER: sum(fills)}, Side.BUY, NOW)
    filled = 0
    for fill in fills:
        assert ORDER in holding.entries
        filled += fill
        holding = holdings.booked(holding, InstrumentId("NSE:SBIN"), Product.MIS, filled, ORDER, fill)
    assert not holding.entries
    assert holding.occupied
    flat = holdings.booked(holding, InstrumentId("NSE:SBIN"), Product.MIS, 0, OrderId(new_id()), filled)
    assert flat.is_empty


def test_an_entry_that_died_on_its_way_does_not_block_the_algo_for_ever() -> None:
    holding = holdings.entering(HOLDING, {ORDER: 65}, Side.BUY, NOW)
    square_off = SquareOffId(new_id())
    soon = holdings.closed(holding, square_off, NOW + timedelta(seconds=29))
    assert soon.occupied
    late = holdings.closed(holding, square_off, NOW + timedelta(seconds=30))
    assert not late.occupied
