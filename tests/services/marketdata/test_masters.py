"""Every broker's dump becomes the same table: real files where there are some, the documented format elsewhere."""

import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.masters import MasterSource
from services.marketdata.adapters.masters import FORMATS, MasterMalformed, contracts, load
from services.marketdata.domain import symbols

Row = Mapping[str, Any]
REAL = {
    MasterSource.ZERODHA: (["zerodha/instruments-nfo-bfo-2026-08.csv"], date(2026, 8, 14), 39_941),
    MasterSource.UPSTOX: (["upstox/NSE-2025-08-14.csv.gz"], date(2025, 8, 14), 43_000),
    MasterSource.DHAN: (["dhan/api-scrip-master-2026-07-01.csv"], date(2026, 7, 1), 9_000),
    MasterSource.FYERS: (["fyers/NSE_CM-2024-10-30.csv", "fyers/NSE_CD-2024-10-30.csv"], date(2024, 10, 30), 14_000),
    MasterSource.SHOONYA: (
        ["shoonya/NSE_symbols-2024-09.txt", "shoonya/MCX_symbols-2024-09.txt"],
        date(2024, 9, 16),
        8_900,
    ),
}


def real(shared_data: Path, source: MasterSource) -> pl.DataFrame:
    files, day, least = REAL[source]
    dump = load(source, [shared_data / "masters" / file for file in files], day)
    assert dump.unreadable == 0
    assert dump.table.height >= least
    return dump.table


def written(tmp_path: Path, source: MasterSource, content: str | bytes, day: date = date(2026, 11, 20)) -> list[Row]:
    path = tmp_path / "dump"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(load(source, [path], day).table.to_dicts())


def one(table: pl.DataFrame, instrument: str) -> Row:
    (row,) = table.filter(pl.col("instrument") == instrument).to_dicts()
    return row


@pytest.mark.parametrize("source", REAL)
def test_every_instrument_of_a_real_dump_has_a_symbol_that_reads_back_and_its_brokers_own_names(
    shared_data: Path, source: MasterSource
) -> None:
    table = real(shared_data, source)
    assert table["instrument"].is_unique().all()
    assert table["token"].null_count() == table["broker_symbol"].null_count() == 0
    for listed in contracts(table):
        parsed = symbols.parse(listed.exchange, listed.symbol)
        assert (str(parsed), listed.instrument) == (listed.symbol, symbols.instrument_id(listed.exchange, parsed))
        assert (listed.lot_size > 0, listed.tick_size > 0) == (True, True)
        if isinstance(parsed, symbols.Option):
            terms = (listed.underlying, listed.expiry, listed.strike, listed.option_type)
            assert terms == (parsed.underlying, parsed.expiry, parsed.strike, parsed.option_type)


def test_lots_are_those_of_the_contract_and_freezes_are_whole_lots_of_it(shared_data: Path) -> None:
    upstox = real(shared_data, MasterSource.UPSTOX)
    bank = one(upstox, "NFO:BANKNIFTY28AUG2555000CE")
    assert (bank["lot_size"], bank["freeze_quantity"]) == (35, 595)
    zerodha = real(shared_data, MasterSource.ZERODHA)
    assert one(zerodha, "NFO:NIFTY25AUG2624000CE")["freeze_quantity"] == 1755
    for table in (upstox, zerodha):
        freezes = table.drop_nulls("freeze_quantity")
        assert (freezes["freeze_quantity"] % freezes["lot_size"]).sum() == 0


def test_expiries_are_the_dumps_and_months_are_those_that_it_marks(shared_data: Path) -> None:
    """NIFTY's December 2029 contract expires on a Monday; USDINR lists a Friday after its month's contract."""
    zerodha = real(shared_data, MasterSource.ZERODHA)
    nifty = zerodha.filter((pl.col("underlying") == "NIFTY") & (pl.col("kind") == "OPTION"))
    assert date(2029, 12, 24) in nifty["expiry"].to_list()
    weeks = set(nifty.filter(~pl.col("monthly"))["expiry"])
    assert weeks == {date(2026, 8, 18), date(2026, 9, 1), date(2026, 9, 8), date(2026, 9, 15)}
    upstox = real(shared_data, MasterSource.UPSTOX)
    dollar = upstox.filter((pl.col("underlying") == "USDINR") & (pl.col("kind") == "FUTURE"))
    month = {row["expiry"]: row["monthly"] for row in dollar.to_dicts()}
    assert (month[date(2025, 8, 26)], month[date(2025, 8, 29)]) == (True, False)


def test_a_stocks_contract_is_named_by_its_symbol_and_not_by_the_company(shared_data: Path) -> None:
    option = one(real(shared_data, MasterSource.UPSTOX), "NFO:PATANJALI30SEP251860CE")
    assert (option["underlying"], option["spot"], option["token"]) == ("PATANJALI", "NSE:PATANJALI", "NSE_FO|115506")


def test_brokers_agree_on_what_they_both_list(shared_data: Path) -> None:
    """The same share by Dhan, Upstox, Fyers and Shoonya; the same index by four names."""
    tables = {source: real(shared_data, source) for source in REAL if source is not MasterSource.ZERODHA}
    for instrument in ("NSE:SBIN", "NSE:M&M", "NSE:BAJAJ-AUTO", "NSE_INDEX:NIFTY", "NSE_INDEX:BANKNIFTY"):
        for table in tables.values():
            assert one(table, instrument)["lot_size"] == 1
    tokens = {source: one(table, "NSE:SBIN")["token"] for source, table in tables.items()}
    assert tokens == {
        MasterSource.UPSTOX: "NSE_EQ|INE062A01020",
        MasterSource.DHAN: "3045",
        MasterSource.FYERS: "10100000003045",
        MasterSource.SHOONYA: "3045",
    }
    common = tables[MasterSource.FYERS].join(tables[MasterSource.SHOONYA], on="instrument")
    assert common.height > 2_400
    others = common.filter(~pl.col("broker_symbol").str.contains("-S[MT]$"))
    assert others.filter(pl.col("lot_size") != pl.col("lot_size_right")).is_empty()
    """Lots of SME shares were revised in between."""


@pytest.mark.parametrize(
    ("contract", "worth"),
    [
        ("GOLD04OCT24FUT", 100),  # a kilogram, quoted for 10 grams
        ("GOLDM04OCT24FUT", 10),
        ("GOLDGUINEA30SEP24FUT", 1),
        ("ZINC30SEP24FUT", 5000),  # five tonnes, quoted for a kilogram
        ("KAPAS29NOV24FUT", 200),
        ("CRUDEOIL19SEP24FUT", 100),
        ("NATURALGAS25SEP24FUT", 1250),
        ("SILVERMIC29NOV24FUT", 1),
    ],
)
def test_a_lot_of_a_commodity_is_what_its_price_counts(shared_data: Path, contract: str, worth: int) -> None:
    """A lot of GOLDM blocked, gained and lost ten times what it is worth, one of ZINC a thousandth."""
    assert one(real(shared_data, MasterSource.SHOONYA), f"MCX:{contract}")["lot_size"] == worth


def test_bonds_are_no_shares(shared_data: Path) -> None:
    for source in (MasterSource.DHAN, MasterSource.UPSTOX, MasterSource.FYERS, MasterSource.SHOONYA):
        names = real(shared_data, source).filter(pl.col("kind") == "EQUITY")["symbol"].to_list()
        assert not {"656MH32", "715RJ53", "94SFL28", "ICICM58", "8MN30"} & set(names)


ANGEL = [
    {"token": "3045", "symbol": "SBIN-EQ", "name": "SBIN", "expiry": "", "strike": "-1.000000", "lotsize": "1"}
    | {"instrumenttype": "", "exch_seg": "NSE", "tick_size": "5.000000"},
    {"token": "43650", "symbol": "NIFTY24NOV2624000CE", "name": "NIFTY", "expiry": "24NOV2026", "lotsize": "65"}
    | {"strike": "2400000.000000", "instrumenttype": "OPTIDX", "exch_seg": "NFO", "tick_size": "5.000000"},
    {"token": "1401", "symbol": "USDINR27NOV2684.25CE", "name": "USDINR", "expiry": "27NOV2026", "lotsize": "1"}
    | {"strike": "842500000.000000", "instrumenttype": "OPTCUR", "exch_seg": "CDS", "tick_size": "25000.000000"},
    {"token": "99926000", "symbol": "Nifty 50", "name": "NIFTY", "expiry": "", "strike": "0.000000", "lotsize": "1"}
    | {"instrumenttype": "AMXIDX", "exch_seg": "NSE", "tick_size": "0.000000"},
]


def test_angels_strikes_are_in_paise_and_those_of_currencies_finer(tmp_path: Path) -> None:
    found = {row["instrument"]: row for row in written(tmp_path, MasterSource.ANGEL, json.dumps(ANGEL))}
    assert found.keys() == {
        "NSE:SBIN",
        "NFO:NIFTY24NOV2624000CE",
        "CDS:USDINR27NOV2684.25CE",
        "NSE_INDEX:NIFTY",
    }
    assert found["CDS:USDINR27NOV2684.25CE"]["tick_size"] == "0.0025"
    assert found["NFO:NIFTY24NOV2624000CE"]["freeze_quantity"] == 1755


def test_mstock_has_angels_fields_and_strikes_in_rupees(tmp_path: Path) -> None:
    (row,) = written(tmp_path, MasterSource.MSTOCK, json.dumps([ANGEL[1] | {"strike": "24000.000000"}]))
    assert row["instrument"] == "NFO:NIFTY24NOV2624000CE"


def test_upstoxs_json_has_expiries_in_milliseconds_and_ticks_in_paise(tmp_path: Path) -> None:
    option = {
        "segment": "NSE_FO",
        "name": "BANKNIFTY",
        "expiry": 1_764_095_399_000,
        "instrument_type": "PE",
        "underlying_symbol": "BANKNIFTY",
        "instrument_key": "NSE_FO|51414",
        "lot_size": 35,
        "freeze_quantity": 600.0,
        "tick_size": 5.0,
        "trading_symbol": "BANKNIFTY 52000 PE 25 NOV 25",
        "strike_price": 52000.0,
        "weekly": False,
    }
    share = {"segment": "NSE_EQ", "name": "STATE BANK OF INDIA", "instrument_type": "EQ", "lot_size": 1}
    share |= {"instrument_key": "NSE_EQ|INE062A01020", "tick_size": 10.0, "trading_symbol": "SBIN"}
    packed = gzip.compress(json.dumps([option, share]).encode())
    found = {row["instrument"]: row for row in written(tmp_path, MasterSource.UPSTOX, packed)}
    assert found.keys() == {"NFO:BANKNIFTY25NOV2552000PE", "NSE:SBIN"}
    bank = found["NFO:BANKNIFTY25NOV2552000PE"]
    assert (bank["freeze_quantity"], bank["tick_size"], bank["monthly"]) == (595, "0.05", True)


DHAN_HEADER = (
    "SEM_EXM_EXCH_ID,SEM_SEGMENT,SEM_SMST_SECURITY_ID,SEM_INSTRUMENT_NAME,SEM_EXPIRY_CODE,SEM_TRADING_SYMBOL,"
    "SEM_LOT_UNITS,SEM_CUSTOM_SYMBOL,SEM_EXPIRY_DATE,SEM_STRIKE_PRICE,SEM_OPTION_TYPE,SEM_TICK_SIZE,SEM_EXPIRY_FLAG,"
    "SEM_EXCH_INSTRUMENT_TYPE,SEM_SERIES,SM_SYMBOL_NAME"
)
DHAN = f"""{DHAN_HEADER}
NSE,D,43650,OPTIDX,0,NIFTY-Nov2026-24000-CE,65,NIFTY 24 NOV 24000 CALL,2026-11-24 14:30:00,24000.00000,CE,5,W,OP,,NIFTY
NSE,D,52000,FUTSTK,0,BAJAJ-AUTO-Nov2026-FUT,75,BAJAJ AUTO NOV FUT,2026-11-24 14:30:00,-0.01,XX,100,M,FUT,,
MCX,M,460000,OPTFUT,0,CRUDEOIL-17Nov2026-5000-PE,100,CRUDEOIL PE,2026-11-17 23:30:00,5000,PE,10,M,OP,,CRUDEOIL
"""


def test_dhans_contracts_go_by_their_segment_and_their_ticks_are_paise(tmp_path: Path) -> None:
    found = {row["instrument"]: row for row in written(tmp_path, MasterSource.DHAN, DHAN)}
    assert {"NFO:NIFTY24NOV2624000CE", "NFO:BAJAJ-AUTO24NOV26FUT"} <= found.keys()
    assert (found["NFO:NIFTY24NOV2624000CE"]["tick_size"], found["NFO:BAJAJ-AUTO24NOV26FUT"]["tick_size"]) == (
        "0.05",
        "1",
    )
    assert [found[i]["monthly"] for i in ("NFO:NIFTY24NOV2624000CE", "NFO:BAJAJ-AUTO24NOV26FUT")] == [False, True]


ZERODHA = """instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,\
instrument_type,segment,exchange
779521,3045,SBIN,STATE BANK OF INDIA,0.0,,0.0,0.05,1,EQ,NSE,NSE
1,1,MAXHEIGHTS-BE,MAX HEIGHTS,0.0,,0.0,0.01,1,EQ,NSE,NSE
2,2,BAJAJ-AUTO,BAJAJ AUTO,0.0,,0.0,0.5,1,EQ,NSE,NSE
3,3,667GS2035-GS,GOI LOAN,0.0,,0.0,0.01,1,EQ,NSE,NSE
256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE
265,1,SENSEX,BSE SENSEX,0.0,,0.0,0.0,0,EQ,INDICES,BSE
4,4,CRUDEOIL26DECFUT,CRUDEOIL,0.0,2026-12-18,0.0,1.0,100,FUT,MCX-FUT,MCX
5,5,GIFTNIFTY,GIFT NIFTY,0.0,,0.0,0.0,0,EQ,INDICES,GLOBAL
"""


def test_zerodhas_shares_lose_their_series_and_its_indices_get_openalgos_names(tmp_path: Path) -> None:
    found = {row["instrument"]: row["kind"] for row in written(tmp_path, MasterSource.ZERODHA, ZERODHA)}
    assert found == {
        "NSE:SBIN": "EQUITY",
        "NSE:MAXHEIGHTS": "EQUITY",
        "NSE:BAJAJ-AUTO": "EQUITY",
        "NSE_INDEX:NIFTY": "INDEX",
        "BSE_INDEX:SENSEX": "INDEX",
        "MCX:CRUDEOIL18DEC26FUT": "FUTURE",
    }


def test_nses_series_of_a_share_is_kept_beside_its_symbol(tmp_path: Path) -> None:
    found = {row["instrument"]: row["series"] for row in written(tmp_path, MasterSource.ZERODHA, ZERODHA)}
    assert {name: series for name, series in found.items() if series} == {
        "NSE:SBIN": "EQ",
        "NSE:MAXHEIGHTS": "BE",
        "NSE:BAJAJ-AUTO": "EQ",
    }


def test_brokers_agree_on_the_series_of_shares(shared_data: Path) -> None:
    """Six weeks lie between their dumps, in which one share in eight was moved."""
    shoonya, fyers = (
        {row["instrument"]: row["series"] for row in real(shared_data, source).to_dicts() if row["series"]}
        for source in (MasterSource.SHOONYA, MasterSource.FYERS)
    )
    both = shoonya.keys() & fyers.keys()
    assert len(both) > 2000
    assert sum(shoonya[each] == fyers[each] for each in both) > 0.8 * len(both)


def test_bses_groups_tell_what_is_delivered_trade_by_trade(shared_data: Path) -> None:
    """Those are not bought for the day: their brokers refused each such order."""
    found = {row["instrument"]: row["series"] for row in real(shared_data, MasterSource.DHAN).to_dicts()}
    groups = Counter(series for name, series in found.items() if name.startswith("BSE:"))
    assert groups.keys() == {"EQ", "T", "XT", "MT", "TS", "P", "Z", "ZP", None}
    assert groups["EQ"] > 3_000
    assert groups["XT"] > 500
    assert found["BSE:RELIANCE"] == "EQ"


def test_of_a_share_that_kite_lists_under_several_series_the_ordinary_one_counts(shared_data: Path) -> None:
    """By the other's token it had no price."""
    dump = load(MasterSource.ZERODHA, [shared_data / "kite-mocks" / "instruments_nse.csv"], date(2017, 11, 24))
    found = {row["instrument"]: row for row in dump.table.to_dicts()}
    assert (found["NSE:CDSL"]["token"], found["NSE:ABCAPITAL"]["token"]) == ("5420545", "5533185")
    assert found["NSE:CDSL"]["series"] is None, "nobody can tell in which it trades today"
    assert [found[f"NSE:{name}"]["series"] for name in ("SSWL", "HERCULES")] == ["EQ", "BE"]


def test_the_noren_familys_zipped_files_are_read_with_either_spelling(tmp_path: Path) -> None:
    shoonya = (
        "Exchange,Token,LotSize,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,\n"
        "NFO,43650,65,NIFTY,NIFTY24NOV26C24000,24-NOV-2026,OPTIDX,CE,24000,0.05,\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("NFO_symbols.txt", shoonya)
    flattrade = (
        "Exchange,Token,Lotsize,Symbol,Tradingsymbol,Instrument,Expiry,Strike,Optiontype\n"
        "NFO,43650,65,NIFTY,NIFTY24NOV26C24000,OPTIDX,24-NOV-2026,24000,CE\n"
    )
    for source, content in ((MasterSource.SHOONYA, packed.getvalue()), (MasterSource.FLATTRADE, flattrade.encode())):
        (row,) = written(tmp_path, source, content)
        assert (row["instrument"], row["tick_size"]) == ("NFO:NIFTY24NOV2624000CE", "0.05")


def test_growws_contracts_carry_their_freeze(tmp_path: Path) -> None:
    content = (
        "exchange,exchange_token,trading_symbol,groww_symbol,name,instrument_type,segment,series,isin,"
        "underlying_symbol,underlying_exchange_token,expiry_date,strike_price,lot_size,tick_size,freeze_quantity\n"
        "NSE,43650,NIFTY26NOV24000CE,NSE-NIFTY-24Nov26-24000-CE,,CE,FNO,,,NIFTY,26000,2026-11-24,24000,65,0.05,1800\n"
        "NSE,3045,SBIN,NSE-SBIN,State Bank of India,EQ,CASH,EQ,INE062A01020,,,,,1,0.05,\n"
    )
    found = {row["instrument"]: row for row in written(tmp_path, MasterSource.GROWW, content)}
    assert found.keys() == {"NFO:NIFTY24NOV2624000CE", "NSE:SBIN"}
    assert found["NFO:NIFTY24NOV2624000CE"]["freeze_quantity"] == 1755


def test_a_row_that_makes_no_sense_is_counted_and_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    no_expiry = "6,6,X26DECFUT,X,0.0,soon,0.0,1.0,100,FUT,NFO-FUT,NFO"
    no_strike = "7,7,Y26DEC10CE,Y,0.0,2026-12-29,0.0,1.0,75,CE,NFO-OPT,NFO"
    path.write_text(f"{ZERODHA}{no_expiry}\n{no_strike}\n")
    dump = load(MasterSource.ZERODHA, [path], date(2026, 11, 20))
    assert (dump.table.height, dump.unreadable) == (6, 2)


@pytest.mark.parametrize("source", FORMATS)
def test_another_brokers_file_is_refused_by_name(tmp_path: Path, source: MasterSource) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(MasterMalformed, match=r"wrong\.csv"):
        load(source, [path], date(2026, 11, 20))


def test_listings_have_exact_decimals(shared_data: Path) -> None:
    by_kind = {listed.kind: listed for listed in contracts(real(shared_data, MasterSource.FYERS))}
    assert by_kind[InstrumentKind.OPTION].exchange is Exchange.CDS
    assert isinstance(by_kind[InstrumentKind.OPTION].strike, Decimal)
    assert not by_kind[InstrumentKind.INDEX].tradable


@pytest.mark.parametrize(("places", "value"), [((6, 8), b"\x01\x00"), ((8, 10), b"\x63\x00")], ids=["locked", "packed"])
def test_a_zip_that_cannot_be_unpacked_is_refused_with_the_reason(
    tmp_path: Path, places: tuple[int, int], value: bytes
) -> None:
    """A broker may put a password on its file, or pack it in a manner that Python does not know (here: WinZip AES)."""
    path = tmp_path / "NFO_symbols.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("NFO_symbols.txt", "Exchange,Token\n")
    content = bytearray(path.read_bytes())
    for header, place in zip((b"PK\x03\x04", b"PK\x01\x02"), places, strict=True):
        start = content.index(header) + place
        content[start : start + 2] = value
    path.write_bytes(content)
    with pytest.raises(MasterMalformed, match=r"NFO_symbols\.txt\.zip is .*(encrypted|compression)"):
        load(MasterSource.SHOONYA, [path], date(2026, 11, 20))
