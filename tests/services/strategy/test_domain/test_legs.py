"""From an algo's legs to contracts and orders, or to why there are none."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.algos import Algo, LinkedAccount
from libs.common.contracts.enums import Exchange, ExpiryRule, FeedSource, OptionType, RepeatRule, Side, StrikeRule
from libs.common.contracts.ids import InstrumentId
from services.strategy.domain import legs
from services.strategy.domain.chain import Chain, Contract
from services.strategy.domain.legs import Impossible, Market, PlannedOrder
from tests.services.strategy.markets import a_market, real_chain
from tests.services.strategy.scene import (
    FIRST,
    FREEZE,
    FUTURE_LEG,
    LOT,
    NOW,
    SHARE_LEG,
    WEEKS,
    an_algo,
    listed_future,
    listed_option,
    option_leg,
    quoted,
)


def test_the_lot_is_the_contracts_own() -> None:
    chain = real_chain()
    market = replace(a_market(spot=24_500.0), chain=chain)
    contracts = legs.resolve(an_algo([option_leg(lots=2)]), market)
    assert not isinstance(contracts, Impossible)
    [contract] = contracts
    assert (contract.expiry, contract.strike, contract.lot_size) == (date(2026, 8, 18), Decimal(24_500), 65)


def resolved(algo: Algo, market: Market) -> tuple[Contract, ...]:
    contracts = legs.resolve(algo, market)
    assert not isinstance(contracts, Impossible), contracts
    return contracts


def impossible(algo: Algo, market: Market) -> str:
    contracts = legs.resolve(algo, market)
    assert isinstance(contracts, Impossible)
    return contracts.reason


def test_every_kind_of_leg_finds_its_contract() -> None:
    found = resolved(an_algo([option_leg(), FUTURE_LEG, SHARE_LEG]), a_market())
    assert [contract.instrument for contract in found] == [
        "NFO:NIFTY18AUG2624000CE",
        "NFO:NIFTY29SEP26FUT",
        "NSE:SBIN",
    ]


@pytest.mark.parametrize(
    ("today", "rule", "expiry"),
    [
        (date(2025, 4, 21), ExpiryRule.CURRENT_MONTH, date(2025, 4, 24)),
        (date(2025, 4, 21), ExpiryRule.NEXT_MONTH, date(2025, 5, 29)),
        (date(2025, 4, 25), ExpiryRule.CURRENT_MONTH, date(2025, 5, 29)),
        (date(2025, 4, 25), ExpiryRule.CURRENT_WEEK, date(2025, 4, 30)),
    ],
)
def test_a_week_that_a_holiday_moved_into_the_month_before_is_not_that_month(
    today: date, rule: ExpiryRule, expiry: date
) -> None:
    """1 May 2025, a Thursday, was a holiday: that week expired on 30 April, after the month had on the 24th.
    Seen: who asked for the month was given the week, and after the month that week again.
    """
    chain = Chain()
    for day in (date(2025, 4, 24), date(2025, 4, 30), date(2025, 5, 8), date(2025, 5, 29), date(2025, 6, 26)):
        chain.learn(listed_option(day, Decimal(24_000), OptionType.CE))
    for day in (date(2025, 4, 24), date(2025, 5, 29), date(2025, 6, 26)):
        chain.learn(listed_future("NIFTY", day))
    [contract] = resolved(an_algo([option_leg(expiry=rule)]), replace(a_market(chain=chain), today=today))
    assert contract.expiry == expiry


@pytest.mark.parametrize(
    ("today", "rule", "expiry"),
    [
        (date(2025, 8, 26), ExpiryRule.CURRENT_MONTH, date(2025, 8, 26)),
        (date(2025, 8, 26), ExpiryRule.NEXT_MONTH, date(2025, 9, 26)),
        (date(2025, 8, 27), ExpiryRule.CURRENT_MONTH, date(2025, 9, 26)),
        (date(2025, 8, 27), ExpiryRule.CURRENT_WEEK, date(2025, 8, 29)),
    ],
)
def test_the_week_behind_a_currencys_month_is_not_that_month(today: date, rule: ExpiryRule, expiry: date) -> None:
    """As they were listed on 14 August 2025. Seen: who asked for the month was given the week that ends on the 29th."""
    days = [date(2025, 8, day) for day in (14, 22, 26, 29)] + [date(2025, 9, day) for day in (4, 12, 19, 26)]
    futures = [listed_future("USDINR", day, Exchange.CDS) for day in days]
    of_currency = {"exchange": Exchange.CDS, "underlying": "USDINR", "spot": None}
    chain = Chain()
    for listed in (*futures, *(listed_option(day, Decimal("87.5"), OptionType.CE, **of_currency) for day in days)):
        chain.learn(listed)
    quotes = {quote.instrument: quote for each in futures for quote in quoted(87.4, NOW, each.instrument).quotes}
    market = replace(a_market(chain=chain), quotes=quotes, today=today)
    wanted = {"underlying": "USDINR", "expiry": rule}
    algo = an_algo([leg.model_copy(update=wanted) for leg in (FUTURE_LEG, option_leg())])
    assert [contract.expiry for contract in resolved(algo, market)] == [expiry, expiry]


@pytest.mark.parametrize("spot", [0.0, -1.0])
def test_openalgo_670_2055_no_strike_from_a_spot_of_zero(spot: float) -> None:
    assert impossible(an_algo(), a_market(spot)) == "leg 1: the spot price of NIFTY is not known"


def test_no_strike_is_chosen_from_an_old_spot() -> None:
    assert resolved(an_algo(), a_market(age_s=15))
    assert impossible(an_algo(), a_market(age_s=16)) == "leg 1: the spot price of NIFTY is 16 s old"
    assert resolved(an_algo([FUTURE_LEG]), a_market(age_s=3600))


def test_no_strike_is_chosen_from_the_price_of_a_day_before() -> None:
    """Until a share has traded, brokers repeat its last price of the day before, as new. Seen: the strike at the money
    was that of yesterday's close.
    """
    share = InstrumentId("NSE:NIFTY")
    option = listed_option(WEEKS[0], Decimal(24_000), OptionType.CE, spot=share)
    chain = Chain()
    chain.learn(option)
    [quote] = quoted(24_012.0, NOW, share).quotes
    repeated = quote.model_copy(update={"source": FeedSource.LIVE})
    market = replace(a_market(chain=chain), quotes={share: repeated})
    assert impossible(an_algo(), market) == (
        "leg 1: the spot price of NIFTY is of a day before: it has not traded yet today"
    )
    traded = replace(market, quotes={share: repeated.model_copy(update={"volume": 1})})
    assert resolved(an_algo(), traded)


def test_a_commoditys_strike_is_chosen_from_its_next_future() -> None:
    """Seen: no algo with an option of MCX ever entered, since commodities have no spot."""
    options = [
        listed_option(date(2026, 8, 17), Decimal(strike), OptionType.CE, underlying="CRUDEOIL", spot=None)
        for strike in (5_900, 6_000, 6_100)
    ]
    futures = [listed_future("CRUDEOIL", date(2026, month, 19), Exchange.MCX) for month in (8, 9)]
    chain = Chain()
    for listed in (*(each.model_copy(update={"exchange": Exchange.MCX}) for each in options), *futures):
        chain.learn(listed)
    leg = option_leg(expiry=ExpiryRule.CURRENT_MONTH).model_copy(update={"underlying": "CRUDEOIL"})
    unknown = replace(a_market(chain=chain), quotes={})
    assert impossible(an_algo([leg]), unknown) == "leg 1: the future price of CRUDEOIL is not known"
    [near], [far] = (
        quoted(price, NOW, future.instrument).quotes for future, price in zip(futures, (6_070.0, 5_930.0), strict=True)
    )
    market = replace(unknown, quotes={near.instrument: near, far.instrument: far})
    [contract] = resolved(an_algo([leg]), market)
    assert contract.strike == Decimal(6_100)


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


def test_no_more_is_asked_for_than_any_order_has() -> None:
    """Of what has no freeze quantity. Seen: its denial had no room in the orders of trading, so that it was parked with
    all that the account heard after it, exits too.
    """
    most = FUTURE_LEG.model_copy(update={"lots": 100_000})
    reason = f"leg 1: {100_000 * 10_000 * LOT} is above 1000000000, more than any order has"
    assert planned(an_algo([most]), "10000") == Impossible(reason)
    assert not isinstance(planned(an_algo([SHARE_LEG.model_copy(update={"lots": 100_000})]), "10000"), Impossible)


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
