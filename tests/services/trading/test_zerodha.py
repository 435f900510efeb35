"""Our words in Kite's and back, held against Kite's own recorded answers."""

import csv
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from libs.common.contracts.brokers import BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import Broker, OrderPurpose, OrderType, Product, Series, Side, Validity
from libs.common.contracts.ids import InstrumentId
from libs.common.testing import NOON
from services.trading.adapters.zerodha import translate
from services.trading.adapters.zerodha.symbols import kite_symbol
from services.trading.domain.book import RowState
from services.trading.domain.calls import NotTaken, Refused, Silent, Taken
from tests.services.trading.making import ACCOUNT, SBIN, order_id

MOCKS = Path(os.environ.get("SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data") / "kite-mocks"


def mock(name: str) -> bytes:
    file = MOCKS / f"{name}.json"
    if not file.exists():
        pytest.skip(f"no recorded answers in {MOCKS}")
    return file.read_bytes()


def wish(order_type: OrderType, price: str | None = None, trigger: str | None = None) -> BrokerOrderRequested:
    return BrokerOrderRequested(
        order_id=order_id(1),
        account_id=ACCOUNT,
        broker=Broker.ZERODHA,
        instrument=SBIN,
        side=Side.BUY,
        quantity=10,
        order_type=order_type,
        product=Product.MIS,
        validity=Validity.DAY,
        price=price and Decimal(price),
        trigger_price=trigger and Decimal(trigger),
        tag="7KQ3VZ5WJ2XN4DCA6MTB",
        purpose=OrderPurpose.ENTRY,
        epoch=0,
    )


def test_an_order_says_everything_and_carries_our_tag() -> None:
    assert translate.order_form(wish(OrderType.LIMIT, "812.40")) == {
        "exchange": "NSE",
        "tradingsymbol": "SBIN",
        "transaction_type": "BUY",
        "quantity": "10",
        "product": "MIS",
        "order_type": "LIMIT",
        "validity": "DAY",
        "tag": "7KQ3VZ5WJ2XN4DCA6MTB",
        "price": "812.40",
    }


@pytest.mark.parametrize(
    ("order", "prices"),
    [
        (wish(OrderType.MARKET), {"market_protection": "-1"}),
        (wish(OrderType.SL, "99", "98"), {"price": "99", "trigger_price": "98"}),
        (wish(OrderType.SL, "2.4E+4", "2E+3"), {"price": "24000", "trigger_price": "2000"}),
        (wish(OrderType.SL_M, None, "98"), {"trigger_price": "98", "market_protection": "-1"}),
    ],
)
def test_each_order_type_has_its_own_prices_and_market_orders_are_protected(
    order: BrokerOrderRequested, prices: dict[str, str]
) -> None:
    form = translate.order_form(order)
    assert {n: form[n] for n in ("price", "trigger_price", "market_protection") if n in form} == prices


def test_a_change_sends_all_terms() -> None:
    change = BrokerModifyRequested(
        order_id=order_id(1),
        account_id=ACCOUNT,
        broker=Broker.ZERODHA,
        instrument=SBIN,
        quantity=12,
        order_type=OrderType.LIMIT,
        validity=Validity.DAY,
        price=Decimal("101.5"),
        trigger_price=None,
        purpose=OrderPurpose.ENTRY,
        epoch=0,
    )
    form = translate.change_form(change)
    assert form == {"quantity": "12", "order_type": "LIMIT", "validity": "DAY", "price": "101.5"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("NSE:M&M", ("NSE", "M&M")),
        ("NFO:NIFTY29DEC2624000CE", ("NFO", "NIFTY26DEC24000CE")),
        ("NFO:NIFTY22DEC2624000PE", ("NFO", "NIFTY26D2224000PE")),
        ("NFO:NIFTY06JAN2624000PE", ("NFO", "NIFTY2610624000PE")),
        ("NFO:NIFTY29DEC26FUT", ("NFO", "NIFTY26DECFUT")),
        ("BFO:SENSEX01OCT2681000.5CE", ("BFO", "SENSEX26O0181000.5CE")),
        ("MCX:GOLDPETAL30NOV26FUT", ("MCX", "GOLDPETAL26NOVFUT")),
        ("NFO:360ONE29DEC26FUT", ("NFO", "360ONE26DECFUT")),
        # a holiday on the Tuesday or Thursday that was meant: the day before it
        ("NFO:SBIN23NOV26800CE", ("NFO", "SBIN26NOV800CE")),
        ("NFO:NIFTY09NOV2624000CE", ("NFO", "NIFTY26N0924000CE")),
        ("BFO:SENSEX27MAY2681000CE", ("BFO", "SENSEX26MAY81000CE")),
        ("BFO:SENSEX31MAR2781000CE", ("BFO", "SENSEX2733181000CE")),
    ],
)
def test_a_derivative_is_written_as_kite_writes_it(ours: str, theirs: tuple[str, str]) -> None:
    assert kite_symbol(InstrumentId(ours)) == theirs


def test_every_derivative_of_kites_own_dump_is_written_as_there() -> None:
    """One of them, of December 2029, expires on the day before a holiday."""
    file = MOCKS.parent / "masters" / "zerodha" / "instruments-nfo-bfo-2026-08.csv"
    if not file.exists():
        pytest.skip(f"no dump of Kite's at {file}")
    with file.open() as dump:
        listed = [row for row in csv.DictReader(dump) if row["expiry"]]
    wrong = {row["tradingsymbol"] for row in listed if kite_symbol(ours_of(row))[1] != row["tradingsymbol"]}
    assert listed
    assert not wrong


def ours_of(row: Mapping[str, str]) -> InstrumentId:
    kind = row["instrument_type"]
    contract = kind if kind == "FUT" else f"{row['strike'].removesuffix('.0')}{kind}"
    expiry = f"{date.fromisoformat(row['expiry']):%d%b%y}".upper()
    return InstrumentId(f"{row['exchange']}:{row['name']}{expiry}{contract}")


@pytest.mark.parametrize(
    ("ours", "series", "theirs"),
    [
        ("NSE:MAXHEIGHTS", Series.BE, "MAXHEIGHTS-BE"),
        ("NSE:EMBASSY", Series.RR, "EMBASSY-RR"),
        ("NSE:BAJAJ-AUTO", Series.EQ, "BAJAJ-AUTO"),
        ("NSE:SBIN", None, "SBIN"),
        ("BSE:SBIN", None, "SBIN"),
        ("BSE:SBIN", Series.XT, "SBIN"),
    ],
)
def test_a_share_bears_its_series_as_in_kites_dump(ours: str, series: Series | None, theirs: str) -> None:
    order = wish(OrderType.LIMIT, "100").model_copy(update={"instrument": InstrumentId(ours), "series": series})
    assert translate.order_form(order)["tradingsymbol"] == theirs


def test_a_share_is_ours_whatever_its_series_is_today() -> None:
    trade = {"trade_id": "1", "order_id": "2", "quantity": 5, "average_price": 9.5, "transaction_type": "SELL"}
    trade |= {"fill_timestamp": "2026-11-23 10:00:00", "exchange": "NSE", "product": "CNC"}
    body = {
        "status": "success",
        "data": [trade | {"tradingsymbol": each} for each in ("SBIN-BE", "SBIN", "SBIN-N1", "SBIN-T")],
    }
    found = translate.trades(200, orjson.dumps(body))
    assert [each.symbol for each in found] == ["NSE:SBIN", "NSE:SBIN", "NSE:SBIN-N1", "NSE:SBIN-T"]


@pytest.mark.parametrize("ours", ["NSE_INDEX:NIFTY", "NFO:NIFTY", "CDS:USDINR04DEC26FUT", "CUSTOM:PAIR"])
def test_what_cannot_be_written_is_refused_before_anything_is_sent(ours: str) -> None:
    with pytest.raises(ValueError, match="zerodha"):
        kite_symbol(InstrumentId(ours))


@pytest.mark.parametrize("ours", ["MCX:CRUDEOIL18DEC26FUT", "CDS:USDINR29DEC26FUT", "BCD:USDINR29DEC26FUT"])
def test_no_order_goes_where_kite_counts_contracts_and_other_brokers_dumps_units(ours: str) -> None:
    """A lot of crude oil is 100 barrels in Shoonya's dump, which may be the one that counts: 100 lots at Kite."""
    order = wish(OrderType.LIMIT, "5000").model_copy(update={"instrument": InstrumentId(ours), "quantity": 100})
    with pytest.raises(ValueError, match="counts contracts there"):
        translate.order_form(order)


@pytest.mark.parametrize("name", ["order_response", "order_cancel", "order_modify"])
def test_kites_own_yes_is_taken_for_yes(name: str) -> None:
    assert translate.answer(200, mock(name)) == Taken("151220000000000")


def error(kind: str) -> bytes:
    return f'{{"status":"error","message":"no","error_type":"{kind}","data":null}}'.encode()


def test_a_refusal_is_told_in_words_that_can_be_kept() -> None:
    said = translate.answer(400, error("InputException").replace(b'"no"', b'"no\\u0000 money' + b"!" * 5000 + b'"'))
    assert isinstance(said, Refused)
    assert said.reason.startswith("no money!")
    assert len(said.reason) < 600


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (400, error("InputException"), Refused),
        (400, error("MarginException"), Refused),
        (403, error("TokenException"), Refused),
        (429, b"whatever", NotTaken),
        (503, error("NetworkException"), Silent),
        (500, error("GeneralException"), Silent),
        (500, error("OrderException"), Silent),
        (400, error("NetworkException"), Silent),
        (400, b"<html>", Silent),
        (408, b"", Silent),
        (200, b"<html>", Silent),
        (200, b'{"status":"success","data":{}}', Silent),
        (200, error("InputException"), Silent),
        (302, b"", Silent),
    ],
)
def test_only_what_kite_documents_as_no_is_a_no(status: int, body: bytes, means: type[object]) -> None:
    assert isinstance(translate.answer(status, body), means)


def test_kites_recorded_book_and_trades_are_read() -> None:
    rows = translate.rows(200, mock("orders"), NOON)
    assert {row.state for row in rows} <= set(RowState)
    by_id = {row.broker_order_id: row for row in rows}
    assert by_id["100000000000000"].state is RowState.CANCELLED
    ioc = by_id["300000000000000"]
    assert (ioc.state, ioc.filled_quantity, ioc.terms.price) == (RowState.COMPLETE, 1, Decimal("109.4"))
    assert ioc.at == datetime(2021, 5, 31, 9, 50, 28, tzinfo=UTC)
    trades = translate.trades(200, mock("trades"))
    assert (trades[0].trade_id, trades[0].quantity, trades[0].price) == ("10000000", 1, Decimal("420.65"))
    assert (trades[0].symbol, trades[0].product, trades[0].side) == ("NSE:SBIN", Product.CNC, Side.BUY)


def test_every_state_of_a_recorded_history_is_known_or_passing() -> None:
    states = [row.state for row in translate.rows(200, mock("order_info"), NOON)]
    assert states[0] is RowState.PASSING
    assert states[-1] in (RowState.OPEN, RowState.CANCELLED, RowState.COMPLETE)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"status":"success","data":null}', b'{"status":"success","data":[{}]}'])
def test_a_book_that_is_not_as_documented_proves_nothing(body: bytes) -> None:
    with pytest.raises(translate.BadAnswer):
        translate.rows(200, body, NOON)
    with pytest.raises(translate.BadAnswer):
        translate.rows(503, error("NetworkException"), NOON)


def test_a_book_or_trades_with_a_time_that_there_is_not_prove_nothing_either() -> None:
    """It ended the account's desk, each second anew."""
    book, trades = orjson.loads(mock("orders")), orjson.loads(mock("trades"))
    book["data"][0]["order_timestamp"] = book["data"][0]["exchange_update_timestamp"] = "2021-05-31 09:18:61"
    trades["data"][0]["fill_timestamp"] = "09:16:39"
    with pytest.raises(translate.BadAnswer, match="no time"):
        translate.rows(200, orjson.dumps(book), NOON)
    with pytest.raises(translate.BadAnswer, match="no time"):
        translate.trades(200, orjson.dumps(trades))


def test_kites_recorded_positions_are_read_without_the_products_that_we_do_not_trade() -> None:
    found = {(each.symbol, each.product): each for each in translate.positions(200, mock("positions"))}
    assert found["MCX:LEADMINI17DECFUT", Product.NRML].quantity == 1
    assert found["MCX:GOLDGUINEA17DECFUT", Product.NRML].quantity == 0
    assert found["MCX:LEADMINI17DECFUT", Product.NRML].instrument is None
    assert ("NSE:SBIN", Product.MIS) not in found, "it is a cover order's"


def test_of_delivery_the_days_trades_are_read() -> None:
    row = {"exchange": "NSE", "tradingsymbol": "SBIN", "product": "CNC", "quantity": 12, "overnight_quantity": 10}
    body = {"status": "success", "data": {"net": [{**row, "day_buy_quantity": 5, "day_sell_quantity": 3}], "day": []}}
    [found] = translate.positions(200, orjson.dumps(body))
    assert (found.symbol, found.instrument, found.quantity) == ("NSE:SBIN", SBIN, 2)


@pytest.mark.parametrize(("status", "body"), [(403, b"{}"), (200, b"<html>"), (200, b'{"status":"success","data":{}}')])
def test_positions_that_are_none_prove_nothing(status: int, body: bytes) -> None:
    with pytest.raises(translate.BadAnswer):
        translate.positions(status, body)
