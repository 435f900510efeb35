"""Kite's packets as recorded and as we write them."""

import base64
import json
import os
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.marketdata.adapters.live.dialect import CredentialsMissing, TickerError, day_range
from services.marketdata.adapters.zerodha import KiteDialect
from services.marketdata.adapters.zerodha.packets import read_frame, read_packet
from tools.stub_ticker import packets as written

MOCKS = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")) / "kite-mocks"
RECORDED = pytest.mark.skipif(not MOCKS.is_dir(), reason=f"no recorded packets in {MOCKS}: set SHARED_DATA")


def recorded(name: str) -> bytes:
    return base64.b64decode((MOCKS / f"{name}.packet").read_bytes())


@RECORDED
def test_the_recorded_full_packet_reads_as_its_published_json() -> None:
    told = json.loads((MOCKS / "ticker_full.json").read_text())
    packet = read_packet(recorded("ticker_full"))
    assert (packet.token, packet.ltp, packet.ltq) == (408065, told["last_price"], told["last_quantity"])
    assert (packet.volume, packet.oi, packet.previous_close) == (told["volume"], told["oi"], told["ohlc"]["close"])
    assert packet.at == datetime.fromisoformat(told["timestamp"])
    assert packet.day == tuple(told["ohlc"][each] for each in ("open", "high", "low"))
    for side, levels in (("buy", packet.bids), ("sell", packet.asks)):
        assert [level.model_dump() for level in levels] == told["depth"][side]


@RECORDED
def test_the_recorded_quote_packet_reads_as_its_published_json() -> None:
    told = json.loads((MOCKS / "ticker_quote.json").read_text())
    packet = read_packet(recorded("ticker_quote"))
    assert (packet.ltp, packet.volume, packet.at, packet.bids) == (told["last_price"], told["volume"], None, ())
    assert packet.day == tuple(told["ohlc"][each] for each in ("open", "high", "low"))


@pytest.mark.parametrize("length", [28, 32])
def test_an_index_has_no_volume_and_a_range_of_the_day(length: int) -> None:
    told = struct.pack(">8I", 256_265, 2_600_000, 2_620_000, 2_590_000, 2_595_000, 2_580_000, 0, 1_795_406_400)
    packet = read_packet(told[:length])
    assert (packet.ltp, packet.day, packet.previous_close) == (26_000, (25_950, 26_200, 25_900), 25_800)


@pytest.mark.parametrize(
    ("ltp", "day"),
    [
        (812.0, (0.0, 0.0, 0.0)),
        (812.0, (805.0, 811.0, 801.0)),
        (800.0, (805.0, 811.0, 801.0)),
        (806.0, (812.0, 811.0, 801.0)),
        (806.0, (805.0, float("inf"), 801.0)),
        (806.0, (805.0, float("nan"), 801.0)),
    ],
)
def test_a_range_that_does_not_hold_its_prices_is_none(ltp: float, day: tuple[float, float, float]) -> None:
    assert day_range(ltp, *day) is None


def test_a_currency_is_priced_to_the_ten_millionth() -> None:
    token = 412_675 & ~0xFF | 3
    assert read_packet(token.to_bytes(4, "big") + (842_575_000).to_bytes(4, "big")).ltp == 84.2575


def test_a_heartbeat_says_nothing() -> None:
    assert read_frame(b"\x00") == ()


@given(st.integers(1, 2**31), st.integers(1, 10_000_000), st.integers(0, 2**31))
def test_whatever_is_written_is_read(token: int, paise: int, volume: int) -> None:
    token = token & ~0xFF | 1
    at = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
    bids = [(5, paise / 100, 1), (7, paise / 100, 2)]
    frame = written.frame(
        written.ltp(token, paise / 100), written.full(token, paise / 100, at, volume=volume, bids=bids)
    )
    first, second = read_frame(frame)
    assert first.ltp == second.ltp == paise / 100
    assert (second.volume, second.at, len(second.bids), second.asks) == (volume, at, 2, ())


@given(st.binary(min_size=2, max_size=300))
def test_garbage_is_refused_and_never_read_as_a_price_of_a_wrong_length(frame: bytes) -> None:
    try:
        packets = read_frame(frame)
    except TickerError:
        return
    assert len(packets) == int.from_bytes(frame[:2], "big")


def test_a_complaint_of_the_ticker_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TickerError, match="no more"):
        KiteDialect(tmp_path / "kite.json").read('{"type": "error", "data": "no more"}')


@pytest.mark.parametrize("said", ["upstream request timeout", "[]", "null", '"error"'])
def test_a_text_that_is_no_word_of_the_ticker_is_an_error_of_its_connection_alone(said: str, tmp_path: Path) -> None:
    with pytest.raises(TickerError, match="no word"):
        KiteDialect(tmp_path / "kite.json").read(said)


def test_a_quote_of_no_time_at_all_has_none(tmp_path: Path) -> None:
    """The first year's first hours in India are in no year of UTC's."""
    quote = '{"instrument_token": 1, "last_price": 1, "timestamp": "0001-01-01 00:00:00"}'
    body = f'{{"status": "success", "data": {{"1": {quote}}}}}'
    assert KiteDialect(tmp_path / "kite.json").read_quotes(200, body.encode())["1"].at is None


@pytest.mark.parametrize("oi", ["1e999", "-1e999"])
def test_a_quote_whose_number_is_none_is_an_error_of_that_answer_alone(oi: str, tmp_path: Path) -> None:
    body = f'{{"status": "success", "data": {{"1": {{"instrument_token": 1, "last_price": 1, "oi": {oi}}}}}}}'
    with pytest.raises(TickerError, match="no quotes"):
        KiteDialect(tmp_path / "kite.json").read_quotes(200, body.encode())


def test_credentials_are_read_anew_every_time(tmp_path: Path) -> None:
    file = tmp_path / "kite.json"
    dialect = KiteDialect(file, "wss://ticker.test")
    with pytest.raises(CredentialsMissing, match="api_key"):
        dialect.address()
    for token in ("monday", "tuesday"):
        file.write_text(json.dumps({"api_key": "k", "access_token": token}))
        assert dialect.address() == f"wss://ticker.test?api_key=k&access_token={token}"
