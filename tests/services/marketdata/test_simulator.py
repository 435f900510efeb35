from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from libs.common.contracts.enums import FeedSource, InstrumentKind, OptionType
from libs.common.contracts.market import Tick
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.domain import symbols
from services.marketdata.domain.ticks import bounds_of, fault_of, opening, quote_of
from tests.services.marketdata.samples import OPEN

DAY = date(2026, 11, 23)
STEP = timedelta(milliseconds=100)


def simulator(seed: int = 7, rate: float = 1.0, hours: MarketHours = MarketHours.CONTINUOUS) -> SimulatedFeed:
    calendar = TradingCalendar(MarketHours.EXCHANGE)
    return SimulatedFeed(day=DAY, calendar=calendar, hours=hours, seed=seed, rate=rate)


def ticks_of(feed: SimulatedFeed, seconds: int, start: datetime = OPEN) -> list[Tick]:
    return [tick for n in range(seconds * 10) for tick in feed.due(start + n * STEP)]


def test_the_same_seed_draws_the_same_market_and_another_seed_another() -> None:
    assert ticks_of(simulator(7), 3) == ticks_of(simulator(7), 3)
    assert ticks_of(simulator(7), 3) != ticks_of(simulator(8), 3)


def test_the_first_look_prices_every_instrument() -> None:
    feed = simulator()
    assert {tick.instrument for tick in feed.due(OPEN)} == {contract.instrument for contract in feed.contracts}


def test_nothing_is_traded_while_its_market_is_closed() -> None:
    """The first minute of the day had the volume of the whole night."""
    feed = simulator(rate=4, hours=MarketHours.EXCHANGE)
    ticks_of(feed, 5, OPEN - timedelta(hours=3))
    first: dict[str, Tick] = {}
    for tick in ticks_of(feed, 30):
        first.setdefault(tick.instrument, tick)
    assert len(first) > len(feed.contracts) / 2
    assert all(tick.volume == tick.ltq for tick in first.values())


def test_every_tick_could_have_come_from_an_exchange() -> None:
    feed = simulator(rate=4)
    contracts = {contract.instrument: contract for contract in feed.contracts}
    previous: dict[str, Tick] = {}
    for tick in ticks_of(feed, 30):
        contract = contracts[tick.instrument]
        before = previous.get(tick.instrument)
        assert fault_of(tick, before.at if before else None) is None
        for price in (tick.ltp, tick.bid, tick.ask, *(level.price for level in (*tick.bids, *tick.asks))):
            assert Decimal(str(price)) % contract.tick_size == 0
        if contract.kind is InstrumentKind.INDEX:
            assert (tick.bid, tick.ask, tick.volume) == (0, 0, 0)
        else:
            assert 0 < tick.bid < tick.ask
            assert tick.bid <= tick.ltp <= tick.ask
            assert tick.ltq % contract.lot_size == 0
            assert tick.volume == (before.volume if before else 0) + tick.ltq
            assert tick.bids[0].price == tick.bid
            assert tick.bids[0].quantity == tick.bid_quantity
            assert tick.asks[0].price == tick.ask
            assert [level.price for level in tick.bids] == sorted({level.price for level in tick.bids}, reverse=True)
            assert [level.price for level in tick.asks] == sorted({level.price for level in tick.asks})
        previous[tick.instrument] = tick


def test_every_tick_says_that_it_is_simulated() -> None:
    """Futures and options were DERIVED, as those of a recording are: nothing told that not even their spot was real."""
    assert {tick.source for tick in simulator().due(OPEN)} == {FeedSource.SIMULATED}


def test_the_universe_is_tradable_by_the_exchange_s_rules() -> None:
    contracts = simulator().contracts
    kinds = Counter(contract.kind for contract in contracts)
    assert kinds[InstrumentKind.EQUITY] == 50
    assert kinds[InstrumentKind.FUTURE] == 6
    assert len({contract.instrument for contract in contracts}) == len(contracts)
    for contract in contracts:
        assert contract.tradable is (contract.kind is not InstrumentKind.INDEX)
        assert contract.instrument == f"{contract.exchange}:{contract.symbol}"
        parsed = symbols.parse(contract.exchange, contract.symbol)
        match parsed:
            case symbols.Option():
                assert (parsed.expiry, parsed.strike) == (contract.expiry, contract.strike)
                assert contract.lot_size == {"NIFTY": 65, "BANKNIFTY": 30}[parsed.underlying]
            case symbols.Future():
                assert parsed.expiry == contract.expiry
            case symbols.Spot():
                assert contract.expiry is None


def test_the_universe_holds_the_futures_and_chains_of_the_coming_weeks_and_months() -> None:
    chains = defaultdict[tuple[str | None, date | None], set[tuple[Decimal | None, OptionType | None]]](set)
    months = defaultdict[str | None, list[date | None]](list)
    for each in simulator().contracts:
        if each.kind is InstrumentKind.OPTION:
            chains[each.underlying, each.expiry].add((each.strike, each.option_type))
        elif each.kind is InstrumentKind.FUTURE:
            months[each.underlying].append(each.expiry)
    weeks = [DAY, date(2026, 12, 1), date(2026, 12, 8), date(2026, 12, 15)]
    assert months.keys() == {"NIFTY", "BANKNIFTY"}
    assert months["NIFTY"] == months["BANKNIFTY"]
    assert months["NIFTY"][0] == DAY, "the month's last Tuesday is a holiday"
    assert {expiry for underlying, expiry in chains if underlying == "NIFTY"} == {*weeks, *months["NIFTY"]}
    assert {expiry for underlying, expiry in chains if underlying == "BANKNIFTY"} == set(months["BANKNIFTY"])
    for chain in chains.values():
        strikes = {strike for strike, _ in chain}
        assert len(strikes) == 41
        assert chain == {(strike, option_type) for strike in strikes for option_type in OptionType}


def test_the_rate_stays_modest_unless_asked_otherwise() -> None:
    usual = len(ticks_of(simulator(), 11)) - 801
    busy = len(ticks_of(simulator(rate=3), 11)) - 801
    assert 250 < usual / 10 < 450
    assert 2.0 < busy / usual < 3.5


def test_a_restart_goes_on_from_the_last_prices() -> None:
    feed = simulator()
    last = {tick.instrument: tick for tick in ticks_of(feed, 120)}
    spots = {c.instrument for c in feed.contracts if c.kind in (InstrumentKind.INDEX, InstrumentKind.EQUITY)}
    again = simulator(seed=99)
    again.resume((quote_of(tick, opening(tick.ltp, tick.ltp)) for tick in last.values()), DAY)
    for tick in again.due(OPEN + timedelta(seconds=121)):
        before = last[tick.instrument]
        assert tick.volume >= before.volume
        if tick.instrument in spots:
            assert tick.ltp == pytest.approx(before.ltp, rel=0.002)


def test_a_market_that_never_closes_stays_within_its_strikes() -> None:
    feed = simulator()
    spots = feed._spots
    anchors = spots.levels
    for _ in range(40_000):
        spots.advance(5.0)
        assert np.abs(spots.levels / anchors - 1).max() < 0.15


@pytest.mark.parametrize("drifted", [0.8, 1.2])
def test_no_price_leaves_the_band_that_ticks_are_judged_by(drifted: float) -> None:
    """Once in some weeks a share did: its ticks were refused, so that nobody could trade it for an hour."""
    feed, contracts = simulator(), {contract.instrument: contract for contract in simulator().contracts}
    before = [tick.model_copy(update={"ltp": tick.ltp * drifted}) for tick in simulator().due(OPEN)]
    feed.resume((quote_of(tick, opening(tick.ltp, tick.ltp)) for tick in before), DAY)
    for tick in ticks_of(feed, 2):
        bounds = bounds_of(contracts[tick.instrument], feed.previous_closes.get(tick.instrument))
        assert fault_of(tick, None, bounds) is None


def test_a_minute_moves_the_index_as_much_as_a_real_one_does() -> None:
    """NIFTY at 13 % a year: some 0.04 % in a minute."""
    feed = simulator()
    minutes = []
    for _ in range(600):
        before = feed._spots.levels[0]
        for _ in range(12):
            feed._spots.advance(5.0)
        minutes.append(feed._spots.levels[0] / before - 1)
    assert 0.0002 < float(np.std(minutes)) < 0.0009
