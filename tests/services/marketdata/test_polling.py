"""Quotes over HTTP, while none of a broker's connections gives any price."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import SystemClock
from libs.common.contracts.enums import FeedSource
from libs.common.trading_calendar import IST
from services.marketdata.adapters.live import LiveFeed, polling
from services.marketdata.adapters.live.dialect import TickerError
from services.marketdata.adapters.live.feed import Ticker
from services.marketdata.adapters.zerodha import KiteDialect
from services.marketdata.adapters.zerodha.quotes import read_quotes
from services.marketdata.domain.demand import turn
from services.marketdata.domain.sources import FIRST_WAIT_S
from tests.services.marketdata.test_live_feed import AT, INFY, SBIN, TOKENS, Running, logged_in, price, until
from tools.stub_ticker.server import StubTicker

MOCKS = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")) / "kite-mocks"


@pytest.fixture
async def ticker() -> AsyncIterator[StubTicker]:
    async with StubTicker().running() as ticker:
        yield ticker


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "LOST_SECONDS", 0.2)
    monkeypatch.setattr(KiteDialect, "ask_every_s", 0.1)


@contextlib.asynccontextmanager
async def feeding(
    ticker: StubTicker, folder: Path, *, is_open: bool = True, connections: int = 1
) -> AsyncIterator[Running]:
    dialect = KiteDialect(logged_in(folder / "kite.json", "today"), ticker.address, ticker.quotes_address)
    feed = LiveFeed([Ticker(dialect, connections, TOKENS)], SystemClock(), lambda _: is_open)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        feed.carry([SBIN, INFY])
        yield Running(feed)
        task.cancel()


def quoted(
    ticker: StubTicker,
    ltp: float,
    at: datetime = AT,
    token: int = TOKENS[SBIN],
    about: int = 0,
    band: tuple[float, float] = (0, 0),
) -> None:
    """Kite's answer for `token`, which is about `about`."""
    ticker.quotes[str(token)] = {
        "instrument_token": about or token,
        "timestamp": f"{at.astimezone(IST):%Y-%m-%d %H:%M:%S}",
        "last_price": ltp,
        "last_quantity": 5,
        "volume": 900,
        "oi": 0,
        "lower_circuit_limit": band[0],
        "upper_circuit_limit": band[1],
        "ohlc": {"open": 1, "high": 1, "low": 1, "close": 800.0},
        "depth": {
            "buy": [{"price": ltp - 0.05, "quantity": 10, "orders": 2}, {"price": 0, "quantity": 0, "orders": 0}],
            "sell": [{"price": ltp, "quantity": 20, "orders": 3}],
        },
    }


async def test_openalgo_810_a_lost_ticker_is_replaced_by_polled_quotes_until_it_ticks_again(
    ticker: StubTicker, tmp_path: Path
) -> None:
    async with feeding(ticker, tmp_path) as running:
        await until(lambda: bool(ticker.subscribed))
        await ticker.say(price(TOKENS[SBIN], 812))
        await running.sees(1)
        asked = len(ticker.asked)
        quoted(ticker, 813, AT + timedelta(seconds=5))
        ticker.login = "tomorrow"
        await ticker.drop_all()
        await until(lambda: ticker.logins.count("today") > 1)
        assert [tick.source for tick in running.ticks] == [FeedSource.LIVE]
        logged_in(tmp_path / "kite.json", "tomorrow")
        ticker.mute = True
        [_, polled] = await running.sees(2)
        assert (polled.source, polled.ltp, polled.at) == (FeedSource.POLLED, 813, AT + timedelta(seconds=5))
        assert (polled.bid, polled.ask, polled.volume, len(polled.bids)) == (812.95, 813, 900, 1)
        assert running.feed.polling == 1
        assert len(ticker.asked) > asked
        await until(lambda: bool(ticker.subscribed))
        ticker.mute = False
        await ticker.say(price(TOKENS[SBIN], 814, AT + timedelta(seconds=6)))
        assert (await running.sees(3))[2].source is FeedSource.LIVE
        await until(lambda: running.feed.polling == 0)
        asked = len(ticker.asked)
        quoted(ticker, 815, AT + timedelta(seconds=7))
        await asyncio.sleep(0.5)
        assert len(ticker.asked) == asked


async def test_what_a_lost_connection_carried_is_polled_while_another_goes_on(
    ticker: StubTicker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kite takes three connections for a key: who uses one of them elsewhere is refused one here, all day."""
    monkeypatch.setattr(KiteDialect, "most_tokens", 1)
    ticker.most = 1
    async with feeding(ticker, tmp_path, connections=2) as running:
        await until(lambda: bool(ticker.subscribed))
        [carried] = ticker.subscribed
        [lost] = set(TOKENS.values()) - {carried}
        await ticker.say(price(carried, 812))
        await running.sees(1)
        quoted(ticker, 813, token=lost)
        ticks = await running.sees(2)
        assert [(TOKENS[tick.instrument], tick.source) for tick in ticks] == [
            (carried, FeedSource.LIVE),
            (lost, FeedSource.POLLED),
        ]
        await until(lambda: ticker.asked[-1] == [str(lost)])
        ticker.most = 2
        await until(lambda: ticker.subscribed == {carried, lost})
        await ticker.say(price(lost, 814, AT + timedelta(seconds=1)))
        await until(lambda: running.feed.polling == 0)


async def test_an_answer_about_another_instrument_is_nobody_s_price(ticker: StubTicker, tmp_path: Path) -> None:
    """openalgo#1813, over HTTP."""
    ticker.mute = True
    quoted(ticker, 22_950, about=256_265)
    quoted(ticker, 1_500, token=TOKENS[INFY])
    async with feeding(ticker, tmp_path) as running:
        await until(lambda: running.feed.strangers >= 1)
        assert [(tick.instrument, tick.ltp) for tick in await running.sees(1)] == [(INFY, 1_500)]


async def test_what_is_most_needed_is_asked_for_first_and_no_more_often_than_the_broker_allows(
    ticker: StubTicker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KiteDialect, "most_quotes", 1)
    monkeypatch.setattr(KiteDialect, "ask_every_s", 0.25)
    ticker.mute = True
    began = asyncio.get_running_loop().time()
    async with feeding(ticker, tmp_path):
        await until(lambda: len(ticker.asked) >= 5)
        assert asyncio.get_running_loop().time() - began >= 4 * 0.25
    first, other = str(TOKENS[SBIN]), str(TOKENS[INFY])
    assert ticker.asked[:4] == [[first], [other], [first], [other]]


async def test_a_broker_that_refuses_is_asked_ever_more_seldom(ticker: StubTicker, tmp_path: Path) -> None:
    ticker.mute = True
    ticker.quotes_status = HTTPStatus.TOO_MANY_REQUESTS
    began = asyncio.get_running_loop().time()
    async with feeding(ticker, tmp_path) as running:
        await until(lambda: len(ticker.asked) >= 4)
        assert asyncio.get_running_loop().time() - began >= (FIRST_WAIT_S + 2 * FIRST_WAIT_S + 4 * FIRST_WAIT_S) / 2
        ticker.quotes_status = HTTPStatus.OK
        quoted(ticker, 813)
        assert (await running.sees(1))[0].source is FeedSource.POLLED


async def test_the_bands_of_what_is_carried_are_asked_for_once_and_when_a_price_lies_outside(
    ticker: StubTicker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticker ticks, however long a slow machine takes to hear it: nothing is asked for the sake of prices."""
    monkeypatch.setattr(polling, "LOST_SECONDS", 60.0)
    quoted(ticker, 812, band=(730.0, 895.0))
    quoted(ticker, 24_000, token=TOKENS[INFY])
    async with feeding(ticker, tmp_path) as running:
        await until(lambda: bool(ticker.subscribed))
        await ticker.say(price(TOKENS[SBIN], 812))
        await until(lambda: bool(ticker.asked))
        await asyncio.sleep(0.5)
        assert running.feed.new_bands() == {SBIN: (730.0, 895.0)}
        assert [sorted(asked) for asked in ticker.asked] == [sorted(map(str, TOKENS.values()))]
        quoted(ticker, 812, band=(700.0, 950.0))
        running.feed.doubt_band(SBIN)
        await until(lambda: len(ticker.asked) == 2)
        assert ticker.asked[1] == [str(TOKENS[SBIN])]
        await until(lambda: running.feed.new_bands() == {SBIN: (700.0, 950.0)})
        assert {tick.source for tick in await running.sees(1)} == {FeedSource.LIVE}


async def test_nothing_is_asked_while_the_market_is_closed(ticker: StubTicker, tmp_path: Path) -> None:
    ticker.mute = True
    async with feeding(ticker, tmp_path, is_open=False):
        await asyncio.sleep(0.7)
    assert ticker.asked == []


@pytest.mark.skipif(not MOCKS.is_dir(), reason=f"no recorded quotes in {MOCKS}: set SHARED_DATA")
def test_the_published_quote_reads_as_it_is() -> None:
    told = (MOCKS / "quote.json").read_bytes()
    quote = json.loads(told)["data"]["NSE:INFY"]
    packet = read_quotes(200, told)["NSE:INFY"]
    assert (packet.token, packet.ltp, packet.ltq) == (408_065, quote["last_price"], quote["last_quantity"])
    assert (packet.volume, packet.previous_close) == (quote["volume"], quote["ohlc"]["close"])
    assert packet.day == (1_396, 1_421.75, 1_395.55)
    assert packet.at == datetime(2021, 6, 8, 15, 45, 56, tzinfo=IST)
    assert [level.model_dump() for level in packet.asks] == quote["depth"]["sell"][:1]
    assert packet.bids == ()


@pytest.mark.parametrize(("volume", "limit", "day"), [(0, 0, (2, 4, 1)), (9, 5, (2, 4, 1)), (0, 5, None)])
def test_what_has_not_been_traded_today_has_no_range_of_today_but_an_index_has(
    volume: int, limit: int, day: tuple[float, float, float] | None
) -> None:
    """An index, which has no price band, is never traded."""
    ohlc = {"open": 2, "high": 4, "low": 1, "close": 2}
    told = {"instrument_token": 1, "last_price": 3, "volume": volume, "upper_circuit_limit": limit, "ohlc": ohlc}
    body = json.dumps({"status": "success", "data": {"1": told}})
    assert read_quotes(200, body.encode())["1"].day == day


@pytest.mark.parametrize("answer", [(200, b"{}"), (200, b"<html>"), (403, b'{"error_type": "TokenException"}')])
def test_what_is_no_quote_is_refused(answer: tuple[int, bytes]) -> None:
    with pytest.raises(TickerError):
        read_quotes(*answer)


@given(st.integers(0, 60), st.integers(1, 9))
def test_in_every_second_question_are_the_first_and_all_have_their_turn(count: int, most: int) -> None:
    ranked = list(range(count))
    rounds = 2 * -(-count // most) + 2
    questions = [turn(ranked, most, n) for n in range(rounds)]
    assert all(list(each) == ranked[:most] for each in questions[::2])
    assert {each for question in questions for each in question} == set(ranked)
    assert all(len(each) <= most for each in questions)
