"""Option chains: what is in them, and what the totals mean."""

import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote
from libs.common.contracts.options import IvStanding, OptionChain, PricingModel
from libs.common.settings import MarketHours, load
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain import pricing
from services.marketdata.domain.chain import ChainIndex, ChainKey, Terms, changed, key_of, max_pain, worked_out
from services.marketdata.domain.expiry import expires_at
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.memory.desk import ChainDesk
from services.marketdata.settings import PricingSettings

NOW = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
EXPIRY = date(2026, 11, 24)
ENDS = datetime(2026, 11, 24, 10, 10, tzinfo=UTC)
KEY = ChainKey(Exchange.NFO, "NIFTY", EXPIRY)
SPOT = InstrumentId("NSE_INDEX:NIFTY")
STRIKES = [23_900 + 50 * n for n in range(21)]
TERMS = Terms(NOW, ENDS, market_open=True, spot_open=True, rate=0.065, dividends=0.012)


def option(strike: int, side: OptionType, expiry: date = EXPIRY, underlying: str = "NIFTY") -> InstrumentListed:
    symbol = f"{underlying}{expiry:%d%b%y}{strike}{side}".upper()
    return InstrumentListed(
        instrument=InstrumentId(f"NFO:{symbol}"),
        exchange=Exchange.NFO,
        symbol=symbol,
        name=underlying,
        kind=InstrumentKind.OPTION,
        underlying=underlying,
        spot=SPOT,
        expiry=expiry,
        strike=Decimal(strike),
        option_type=side,
        lot_size=65,
        tick_size=Decimal("0.05"),
    )


def future(expiry: date = EXPIRY) -> InstrumentListed:
    like = option(1, OptionType.CE, expiry)
    symbol = f"NIFTY{expiry:%d%b%y}FUT".upper()
    changes = {"instrument": InstrumentId(f"NFO:{symbol}"), "symbol": symbol, "kind": InstrumentKind.FUTURE}
    return like.model_copy(update={**changes, "strike": None, "option_type": None})


MASTER = [option(strike, side) for strike in STRIKES for side in OptionType]


def quote(instrument: str, ltp: float, oi: int = 0, volume: int = 0, spread: float = 0.0, at: datetime = NOW) -> Quote:
    return Quote(
        instrument=InstrumentId(instrument),
        at=at,
        source=FeedSource.SIMULATED,
        ltp=ltp,
        bid=max(ltp - spread / 2, 0) if spread else 0,
        ask=ltp + spread / 2 if spread else 0,
        bid_quantity=65,
        ask_quantity=65,
        open=ltp,
        high=ltp,
        low=ltp,
        previous_close=ltp,
        volume=volume,
        oi=oi,
    )


def market(volatility: float = 0.14, spot: float = 24_410.0) -> dict[InstrumentId, Quote]:
    """Every option of MASTER at its price by one volatility, open interest growing with the strike."""
    years = (ENDS - NOW).total_seconds() / pricing.YEAR_SECONDS
    quotes = {SPOT: quote(SPOT, spot)}
    for contract in MASTER:
        assert contract.strike is not None
        price = pricing.black_scholes(
            np.array([spot]),
            np.array([float(contract.strike)]),
            np.array([years]),
            np.array([volatility]),
            np.array([contract.option_type is OptionType.CE]),
        )[0]
        oi = int(contract.strike - 23_000) * (2 if contract.option_type is OptionType.PE else 1)
        quotes[contract.instrument] = quote(contract.instrument, float(price), oi, volume=10)
    return quotes


def chain(
    quotes: dict[InstrumentId, Quote],
    master: list[InstrumentListed] = MASTER,
    earlier: dict[InstrumentId, int] | None = None,
    terms: Terms = TERMS,
) -> OptionChain:
    contracts = ChainIndex(master).contracts(KEY)
    assert contracts is not None
    return OptionChain.model_validate(worked_out(contracts, quotes, earlier or {}, terms))


def on_crude(contract: InstrumentListed, name: str) -> InstrumentListed:
    """The same, on a commodity: its spot is none that any feed tells."""
    changes = {"instrument": f"MCX:{name}", "exchange": Exchange.MCX, "underlying": "CRUDEOIL", "spot": None}
    return contract.model_copy(update={**changes, "symbol": name})


def test_a_commodity_s_options_are_priced_on_the_future_that_expires_next() -> None:
    """On MCX they are on it, and expire some days before: none has a future of its own expiry, or a spot."""
    call = on_crude(option(5_400, OptionType.CE, date(2026, 12, 17)), "CRUDEOIL17DEC265400CE")
    futures = [
        on_crude(future(expiry), f"CRUDEOIL{expiry:%d%b%y}FUT".upper())
        for expiry in (date(2027, 1, 19), date(2026, 12, 18), date(2026, 11, 19))
    ]
    contracts = ChainIndex([call, *futures]).contracts(ChainKey(Exchange.MCX, "CRUDEOIL", date(2026, 12, 17)))
    assert contracts is not None
    quotes = {
        each.instrument: quote(each.instrument, price)
        for each, price in zip((call, *futures), (180.0, 5_500.0, 5_400.0, 5_300.0), strict=True)
    }
    found = OptionChain.model_validate(worked_out(contracts, quotes, {}, TERMS))
    priced = (found.model, found.priced_on, found.underlying_price, found.atm_strike)
    assert priced == (PricingModel.BLACK_76, futures[1].instrument, 5_400, 5_400)
    assert found.rows[0].call is not None
    assert found.rows[0].call.standing is IvStanding.KNOWN


def test_every_strike_has_its_call_and_put_with_the_volatility_they_were_priced_with() -> None:
    found = chain(market(0.14))
    assert [row.strike for row in found.rows] == STRIKES
    assert found.atm_strike == 24_400
    assert (found.model, found.priced_on) == (PricingModel.BLACK_SCHOLES_MERTON, SPOT)
    for row in found.rows:
        assert row.call is not None
        assert row.put is not None
        for side in (row.call, row.put):
            assert side.standing is IvStanding.KNOWN
            assert side.iv == pytest.approx(14.0, abs=0.001)
        assert row.call.delta is not None
        assert row.put.delta is not None
        assert 0 < row.call.delta < 1
        assert row.call.delta - row.put.delta == pytest.approx(1, abs=0.001)
        assert row.call.gamma == pytest.approx(row.put.gamma, abs=1e-6)


def test_what_nobody_renewed_while_the_market_trades_is_stale() -> None:
    quotes, hour = market(), timedelta(hours=1)
    call = MASTER[0].instrument
    quotes[call] = quote(call, 500.0, at=NOW - hour)
    first, second = chain(quotes).rows[:2]
    assert first.call is not None
    assert first.put is not None
    assert (first.call.stale, first.put.stale) == (True, False)
    assert second.call is not None
    assert not second.call.stale
    closed = chain(quotes, terms=replace(TERMS, market_open=False)).rows[0].call
    assert closed is not None
    assert not closed.stale, "the last price of the session stands"


def test_a_chain_says_how_old_the_price_is_that_it_is_worked_out_on() -> None:
    quotes, own = market(), future()
    fresh = chain(quotes)
    assert (fresh.stale, fresh.underlying_at) == (False, NOW)
    hour_ago = NOW - timedelta(hours=1)
    quotes[own.instrument] = quote(own.instrument, 24_426.0, at=hour_ago)
    old = chain(quotes, [*MASTER, own])
    assert (old.stale, old.underlying_at, old.priced_on) == (True, hour_ago, own.instrument)
    quotes[own.instrument], quotes[SPOT] = quote(own.instrument, 24_426.0), quote(SPOT, 24_410.0, at=hour_ago)
    assert chain(quotes, [*MASTER, own]).stale, "the strike at the money is that of the spot"
    assert not chain(quotes, [*MASTER, own], terms=replace(TERMS, spot_open=False)).stale, "its session is over"


def test_a_chain_says_where_the_prices_come_from_that_it_is_worked_out_on() -> None:
    """A recorded spot, and a future that is computed from it."""
    quotes, own = market(), future()
    told = chain(quotes)
    assert (told.underlying_source, told.spot_source) == (FeedSource.SIMULATED, FeedSource.SIMULATED)
    quotes[SPOT] = quotes[SPOT].model_copy(update={"source": FeedSource.REPLAYED})
    derived = quote(own.instrument, 24_426.0).model_copy(update={"source": FeedSource.DERIVED})
    quotes[own.instrument] = derived
    told = chain(quotes, [*MASTER, own])
    assert (told.underlying_source, told.spot_source) == (FeedSource.DERIVED, FeedSource.REPLAYED)
    del quotes[SPOT], quotes[own.instrument]
    told = chain(quotes, [*MASTER, own])
    assert (told.underlying_source, told.spot_source) == (None, None)


def test_a_row_that_became_stale_looks_different() -> None:
    contracts = ChainIndex(MASTER).contracts(KEY)
    assert contracts is not None
    rows = []
    for now in (NOW + timedelta(seconds=60), NOW + timedelta(seconds=61)):
        found = worked_out(contracts, market(), {}, replace(TERMS, now=now))
        assert isinstance(found["rows"], list)
        rows.append(found["rows"])
    before, after = rows
    assert len(changed(after, {row["strike"]: row for row in before})) == len(STRIKES)


def test_where_the_expiry_has_a_future_options_are_priced_on_it() -> None:
    quotes = market()
    own = future()
    quotes[own.instrument] = quote(own.instrument, 24_426.0)
    found = chain(quotes, [*MASTER, own])
    assert (found.model, found.priced_on, found.underlying_price) == (PricingModel.BLACK_76, own.instrument, 24_426.0)
    assert found.spot_price == 24_410.0
    assert found.atm_strike == 24_400
    other = future(date(2026, 12, 29))
    quotes[other.instrument] = quote(other.instrument, 24_600.0)
    assert chain(quotes, [*MASTER, other]).model is PricingModel.BLACK_SCHOLES_MERTON


def test_options_are_priced_on_the_spot_until_the_future_trades_on_that_day() -> None:
    quotes, dated = market(0.14), future()
    yesterday = quote(dated.instrument, 24_000.0).model_copy(update={"source": FeedSource.LIVE})
    for volume, priced_on, model in (
        (0, SPOT, PricingModel.BLACK_SCHOLES_MERTON),
        (65, dated.instrument, PricingModel.BLACK_76),
    ):
        found = chain({**quotes, dated.instrument: yesterday.model_copy(update={"volume": volume})}, [*MASTER, dated])
        assert (found.priced_on, found.model) == (priced_on, model)


def test_a_future_whose_book_has_left_its_last_trade_behind_counts_at_its_book() -> None:
    """A far month trades once in an hour: its options had a volatility of the price of an hour ago, or none."""
    quotes, dated = market(0.14), future()
    years = np.array([(ENDS - NOW).total_seconds() / pricing.YEAR_SECONDS])
    level = float(pricing.forward(np.array([24_410.0]), years)[0])
    for traded, spread in ((24_000.0, 0.02), (25_000.0, 0.02), (level, 5.0)):
        told = quote(dated.instrument, level, spread=spread).model_copy(update={"ltp": traded})
        found = chain({**quotes, dated.instrument: told}, [*MASTER, dated])
        assert found.underlying_price == pytest.approx(level, abs=0.02)
        for row in found.rows:
            assert row.call is not None
            assert row.call.iv == pytest.approx(14.0, abs=0.05)


def test_ratios_and_changes_of_open_interest() -> None:
    quotes = market()
    some = MASTER[0].instrument
    found = chain(quotes, earlier={some: quotes[some].oi - 650})
    assert found.pcr == pytest.approx(2.0)
    assert found.pcr_volume == pytest.approx(1.0)
    assert found.rows[0].call is not None
    assert found.rows[0].put is not None
    assert found.rows[0].call.oi_change == 650
    assert found.rows[0].put.oi_change is None


def test_an_option_without_a_price_or_below_its_intrinsic_value_says_so() -> None:
    quotes = market()
    silent, cheap = option(23_900, OptionType.PE).instrument, option(23_900, OptionType.CE).instrument
    del quotes[silent]
    quotes[cheap] = quote(cheap, 400.0)
    first = chain(quotes).rows[0]
    assert first.put is not None
    assert first.call is not None
    assert (first.put.ltp, first.put.iv, first.put.delta) == (None, None, None)
    assert first.put.standing is IvStanding.NO_PRICE
    assert (first.call.standing, first.call.iv) == (IvStanding.INTRINSIC, None)
    assert first.call.delta == pytest.approx(1, abs=0.001)


def test_a_sane_book_says_more_than_the_last_trade() -> None:
    quotes = market(0.14)
    near = option(24_400, OptionType.CE).instrument
    fair = quotes[near].ltp
    quotes[near] = quote(near, fair, spread=1.0).model_copy(update={"ltp": fair + 25})
    row = next(row for row in chain(quotes).rows if row.strike == 24_400)
    assert row.call is not None
    assert row.call.iv == pytest.approx(14.0, abs=0.01)
    quotes[near] = quotes[near].model_copy(update={"bid": 0.05, "ask": 4 * fair, "ltp": fair})
    row = next(row for row in chain(quotes).rows if row.strike == 24_400)
    assert row.call is not None
    assert row.call.iv == pytest.approx(14.0, abs=0.01)


def test_what_an_option_traded_at_on_a_day_before_is_not_its_worth_today() -> None:
    """A broker repeats it, with the time of now, until the first trade of the day."""
    quotes = market(0.14)
    near = option(24_400, OptionType.CE).instrument
    yesterday = quote(near, 3 * quotes[near].ltp).model_copy(update={"source": FeedSource.LIVE})
    for volume, standing in ((0, IvStanding.NO_PRICE), (65, IvStanding.KNOWN)):
        quotes[near] = yesterday.model_copy(update={"volume": volume})
        row = next(row for row in chain(quotes).rows if row.strike == 24_400)
        assert row.call is not None
        assert row.call.standing is standing


def test_prices_of_friday_keep_fridays_volatility_over_the_week_end() -> None:
    later = Terms(NOW + timedelta(days=2), ENDS, market_open=False, spot_open=False, rate=0.065, dividends=0.012)
    found = chain(market(0.14), terms=later)
    assert found.quoted_at == NOW
    assert not found.market_open
    assert found.rows[5].call is not None
    assert found.rows[5].call.iv == pytest.approx(14.0, abs=0.001)


def test_without_a_price_of_the_underlying_there_are_quotes_and_no_greeks() -> None:
    quotes = market()
    del quotes[SPOT]
    found = chain(quotes)
    assert (found.model, found.atm_strike, found.underlying_price) == (None, None, None)
    assert all(row.call and row.call.ltp and row.call.delta is None for row in found.rows)


def test_after_the_expiry_nothing_is_unknown() -> None:
    over = Terms(ENDS + timedelta(minutes=1), ENDS, market_open=False, spot_open=False, rate=0.065, dividends=0.012)
    quotes = {i: q.model_copy(update={"at": over.now}) for i, q in market().items()}
    found = chain(quotes, terms=over)
    assert found.minutes_to_expiry == 0
    assert all(row.call and row.call.standing is IvStanding.EXPIRED for row in found.rows)
    assert [row.call.delta for row in found.rows if row.call] == [float(strike < 24_410) for strike in STRIKES]


def test_a_changed_row_is_told_and_a_repeated_quote_is_not() -> None:
    contracts = ChainIndex(MASTER).contracts(KEY)
    assert contracts is not None
    quotes = market()
    rows = worked_out(contracts, quotes, {}, TERMS)["rows"]
    assert isinstance(rows, list)
    before = {row["strike"]: row for row in rows}
    one = option(24_000, OptionType.PE).instrument
    quotes[one] = quotes[one].model_copy(update={"volume": 75})
    two = option(24_100, OptionType.PE).instrument
    quotes[two] = quotes[two].model_copy(update={"at": NOW - timedelta(seconds=1)})
    again = worked_out(contracts, quotes, {}, TERMS)["rows"]
    assert isinstance(again, list)
    assert [row["strike"] for row in changed(again, before)] == [24_000]


interest = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=40)


@given(interest)
def test_max_pain_is_the_strike_where_the_writers_pay_least(open_interest: list[tuple[int, int]]) -> None:
    strikes = [100.0 + 2.5 * n for n in range(len(open_interest))]
    calls, puts = [c for c, _ in open_interest], [p for _, p in open_interest]

    def paid(end: float) -> float:
        to_calls = sum(oi * max(end - strike, 0) for strike, oi in zip(strikes, calls, strict=True))
        return to_calls + sum(oi * max(strike - end, 0) for strike, oi in zip(strikes, puts, strict=True))

    found = max_pain(strikes, calls, puts)
    if not any(calls) and not any(puts):
        assert found is None
    else:
        assert found is not None
        assert paid(found) == pytest.approx(min(map(paid, strikes)))


def test_an_underlying_is_found_by_its_name_its_spot_and_its_options_exchange() -> None:
    index = ChainIndex([*MASTER, option(24_000, OptionType.CE, date(2026, 12, 1))])
    for symbol, exchange in (("nifty", None), ("NSE_INDEX:NIFTY", None), ("NFO:NIFTY", None), ("NIFTY", Exchange.NFO)):
        assert index.find(symbol, exchange) == (Exchange.NFO, "NIFTY")
    assert index.find("BSE_INDEX:NIFTY", None) is None
    assert index.find("HIFTY", None) is None
    assert index.find("MOON:NIFTY", None) is None
    assert index.expiries(Exchange.NFO, "NIFTY") == [EXPIRY, date(2026, 12, 1)]
    assert key_of(str(KEY)) == KEY
    gone = [contract.model_copy(update={"tradable": False}) for contract in MASTER]
    assert ChainIndex(gone).find("NIFTY", None) is None


def test_of_two_exchanges_on_which_an_underlying_has_options_nse_is_meant_unless_the_other_is_named() -> None:
    """Dollars have some on NSE and on BSE: which of them was answered with changed with the order of the master."""
    on_bse = option(24_400, OptionType.CE).model_copy(update={"instrument": "BFO:X", "exchange": Exchange.BFO})
    for master in ([on_bse, *MASTER], [*MASTER, on_bse]):
        assert ChainIndex(master).find("NIFTY", None) == (Exchange.NFO, "NIFTY")
        assert ChainIndex(master).find("NIFTY", Exchange.BFO) == (Exchange.BFO, "NIFTY")


async def test_chains_that_there_are_not_take_no_memory_whoever_asks_for_them() -> None:
    """A chain's contracts are kept once they were asked for: so was every date that anybody made up."""
    desk = ChainDesk(QuoteBoard(), TradingCalendar(MarketHours.EXCHANGE), load(PricingSettings))
    await desk.index({contract.instrument: contract for contract in MASTER})
    made_up = replace(KEY, expiry=EXPIRY + timedelta(days=1))
    held = sys.getrefcount(made_up)
    assert desk.contracts(made_up) is None
    assert sys.getrefcount(made_up) == held
    assert desk.contracts(KEY) is desk.contracts(KEY)


@pytest.mark.parametrize(
    ("exchange", "day", "ends"),
    [
        (Exchange.NFO, date(2026, 12, 1), "15:40"),
        (Exchange.NFO, date(2026, 11, 24), "15:40"),  # a holiday in the calendar
        (Exchange.NFO, date(2026, 7, 28), "15:30"),
        (Exchange.BFO, date(2026, 11, 26), "15:40"),
        (Exchange.CDS, date(2026, 11, 26), "12:30"),
        (Exchange.MCX, date(2026, 11, 25), "23:55"),
    ],
)
def test_a_contract_ends_when_its_exchange_says(exchange: Exchange, day: date, ends: str) -> None:
    found = expires_at(exchange, day, TradingCalendar(MarketHours.EXCHANGE))
    hour, minute = map(int, ends.split(":"))
    assert found == datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC) - timedelta(hours=5, minutes=30)


def test_the_windows_around_the_money() -> None:
    contracts = ChainIndex(MASTER).contracts(KEY)
    assert contracts is not None
    assert contracts.around(24_410, 2).strikes == (24_300, 24_350, 24_400, 24_450, 24_500)
    assert contracts.around(1.0, 1).strikes == (23_900, 23_950)
    assert contracts.around(24_410, None) is contracts
