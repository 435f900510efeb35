"""Dumps of which there is no recording: rows as the brokers' documentation describes them become the same contracts.

Every broker's rows are one share, one index, one future and one option where its dump has them.
"""

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from libs.common.contracts.masters import MasterSource
from services.marketdata.adapters.masters import FORMATS, load

DAY = date(2026, 11, 20)
SHARE, INDEX = "NSE:SBIN", "NSE_INDEX:NIFTY"
FUTURE, OPTION = "NFO:NIFTY24NOV26FUT", "NFO:NIFTY24NOV2624000CE"
ALL = {SHARE, INDEX, FUTURE, OPTION}

XTS = "\n".join(
    (
        "NSECM|3045|8|SBIN|SBIN-EQ|EQ|SBIN-EQ|1100100003045|900|700|67663|0.05|1|1|SBIN|INE062A01020|1|1|SBI-EQ|0|-1|-1",
        "NSECM|26000|16|NIFTY 50|NIFTY 50|INDEX|NIFTY 50-INDEX|26000|0|0|0|0.05|1|1|NIFTY 50|NIFTY50|1|1||||-1|NIFTY",
        "NSEFO|43651|1|NIFTY|NIFTY26NOVFUT|FUTIDX|NIFTY-FUTIDX|1|27500|22500|1801|0.05|65|1|-1|Nifty 50"
        "|2026-11-24T14:30:00|NIFTY 24NOV2026|1|1|NIFTY26NOVFUT",
        "NSEFO|43650|2|NIFTY|NIFTY26N2424000CE|OPTIDX|NIFTY-OPTIDX|2|588|114.5|1801|0.05|65|1|-1|Nifty 50"
        "|2026-11-24T14:30:00|24000|3|NIFTY 24NOV2026 CE 24000|1|1|NIFTY26N2424000CE",
        "NSEFO|9|4|NIFTY|NIFTY26NOV26DECFUT|FUTIDX|NIFTY-FUTIDX|3|1|1|1|0.05|65|1|-1||2026-11-24T14:30:00|SPD|1|1|SPD",
    )
)
ALICEBLUE = """Exch,Exchange Segment,Symbol,Token,Instrument Type,Option Type,Strike Price,Instrument Name,\
Formatted Ins Name,Trading Symbol,Expiry Date,Lot Size,Tick Size,Group Name
NSE,nse_cm,SBIN,3045,,,,STATE BANK OF INDIA,SBIN,SBIN-EQ,,1,0.05,EQ
NSE,nse_cm,667GS2035,9,,,,GOI LOAN,GOI LOAN,667GS2035-GS,,1,0.05,GS
NFO,nse_fo,NIFTY,43651,FUTIDX,XX,,NIFTY,NIFTY NOV FUT,NIFTY24NOV26F,2026-11-24,65,0.05,
NFO,nse_fo,NIFTY,43650,OPTIDX,CE,24000.0,NIFTY,NIFTY 24NOV26 24000 CE,NIFTY24NOV26C24000,2026-11-24,65,0.05,
"""
DESCRIBED: Mapping[MasterSource, tuple[list[str], set[str]]] = {
    MasterSource.FIRSTOCK: (
        [
            "Exchange,Token,LotSize,TradingSymbol,CompanyName,ISIN,TickSize,FreezeQty\n"
            "NSE,3045,1,SBIN-EQ,STATE BANK OF INDIA,INE062A01020,0.05,100000\n"
            "NSE,9,1,667GS2035-GS,GOI LOAN,IN0020210152,0.05,\n",
            "Exchange,Token,LotSize,TradingSymbol,CompanyName,TickSize,Expiry,Instrument,OptionType,StrikePrice,"
            "FreezeQty\n"
            "NFO,43651,65,NIFTY24NOV26F,NIFTY,0.05,24-NOV-2026,FUTIDX,XX,0,1800\n"
            "NFO,43650,65,NIFTY24NOV26C24000,NIFTY,0.05,24-NOV-2026,OPTIDX,CE,24000,1800\n",
        ],
        {SHARE, FUTURE, OPTION},
    ),
    MasterSource.DEFINEDGE: (
        [
            "NSE,3045,SBIN,SBIN-EQ,EQ,0,5,1,XX,0,2,1,INE062A01020,1,STATE BANK OF INDIA\n"
            "NSE,26000,Nifty 50,NIFTY 50,UNDIND,0,5,1,XX,0,2,1,,1,\n"
            "NFO,43651,NIFTY,NIFTY24NOV26F,FUTIDX,24112026,5,65,XX,0,2,1,,1,\n"
            "NFO,43650,NIFTY,NIFTY24NOV26C24000,OPTIDX,24112026,5,65,CE,2400000,2,1,,1,\n"
        ],
        ALL,
    ),
    MasterSource.ALICEBLUE: ([ALICEBLUE, "symbol,exch,token\nNIFTY 50,NSE,26000\n"], ALL),
    MasterSource.FIVEPAISA: (
        [
            "Exch,ExchType,ScripCode,Name,Expiry,ScripType,StrikeRate,FullName,TickSize,LotSize,QtyLimit,Multiplier,"
            "SymbolRoot,BOCOAllowed,ISIN,ScripData,Series\n"
            "N,C,3045,SBIN,,EQ,0,STATE BANK OF INDIA,0.05,1,0,1,SBIN,Y,INE062A01020,SBIN_EQ,EQ\n"
            "N,C,999920000,NIFTY,,EQ,0,NIFTY,0.05,1,0,1,NIFTY,N,,NIFTY_EQ,EQ\n"
            "N,D,43651,NIFTY 24 Nov 2026,2026-11-24 14:30:00,XX,0,NIFTY,0.05,65,1800,1,NIFTY,Y,,x,\n"
            "N,D,43650,NIFTY 24 Nov 2026 CE 24000.00,2026-11-24 14:30:00,CE,24000,NIFTY,0.05,65,1800,1,NIFTY,Y,,x,\n"
        ],
        ALL,
    ),
    **{
        source: ([json.dumps({"type": "success", "code": "s-mkt-0001", "result": XTS})], ALL)
        for source in (
            MasterSource.IIFL,
            MasterSource.FIVEPAISAXTS,
            MasterSource.COMPOSITEDGE,
            MasterSource.IBULLS,
            MasterSource.WISDOM,
        )
    },
    MasterSource.IIFLCAPITAL: (
        [
            "Exchange,Trading Symbol,Instrument ID,Instrument Type,Option Type,Strike Price,"
            "Underlying Instrument Symbol,Underlying Instrument Name,Expiry,Lot Size,Tick Size\n"
            "NSEEQ,SBIN-EQ,3045,EQ,,,,,,1,0.05\n"
            "NSEEQ,NIFTY 50,26000,INDEX,,,,,,1,0.05\n"
            "NSEFO,NIFTY26NOVFUT,43651,FUTIDX,XX,,NIFTY,NIFTY 50,24-Nov-2026,65,0.05\n"
            "NSEFO,NIFTY26N2424000CE,43650,OPTIDX,CE,24000,NIFTY,NIFTY 50,24-Nov-2026,65,0.05\n"
        ],
        ALL,
    ),
    MasterSource.KOTAK: (
        [
            "pSymbol,pGroup,pExchSeg,pInstType,pSymbolName,pTrdSymbol,pOptionType,pScripRefKey,pISIN,pDesc,dTickSize ,"
            "lLotSize,lExpiryDate ,dStrikePrice;\n"
            "3045,EQ,nse_cm,,SBIN,SBIN-EQ,,SBIN,INE062A01020,STATE BANK OF INDIA,5,1,-1,-1\n"
            "26000,,nse_cm,,NIFTY,NIFTY,,NIFTY,,NIFTY,5,1,-1,-1\n"
            "43651,,nse_fo,FUTIDX,NIFTY,NIFTY26NOVFUT,XX,NIFTY24NOV26FUT,,,5,65,1480006800,-1\n"
            "43650,,nse_fo,OPTIDX,NIFTY,NIFTY26N2424000CE,CE,NIFTY24NOV2624000.00CE,,,5,65,1480006800,2400000\n"
        ],
        ALL,
    ),
    MasterSource.MOTILAL: (
        [
            "exchange,exchangename,scripcode,scripname,marketlot,scripshortname,issuspended,instrumentname,expirydate,"
            "strikeprice,optiontype,ticksize\n"
            "1,NSE,3045,SBIN EQ,1,SBIN,N,EQUITY,0,0,EQ,0.05\n"
            "1,NSE,26000,Nifty 50,1,Nifty 50,N,INDEX,0,0,,0.05\n"
            "1,NSE,7,GONE EQ,1,GONE,Y,EQUITY,0,0,EQ,0.05\n"
            "2,NSEFO,43651,NIFTY 24-Nov-2026,65,NIFTY,N,FUTIDX,1480006800,0,XX,0.05\n"
            "2,NSEFO,43650,NIFTY 24-Nov-2026 CE 24000,65,NIFTY,N,OPTIDX,1480006800,24000,CE,0.05\n"
        ],
        ALL,
    ),
    MasterSource.PAYTM: (
        [
            "security_id,symbol,name,series,tick_size,lot_size,instrument_type,segment,upper_limit,lower_limit,"
            "expiry_date,strike_price,freeze_quantity,exchange\n"
            "3045,SBIN,State Bank of India,EQ,0.05,1,ES,E,900,700,,,100000,NSE\n"
            "26000,NIFTY 50,Nifty 50,,0.05,1,I,I,,,,,,NSE\n"
            "43651,NIFTY26NOVFUT,NIFTY,,0.05,65,FUTIDX,D,,,2026-11-24,,1800,NSE\n"
            "43650,NIFTY26N2424000CE,NIFTY,,0.05,65,OPTIDX,D,,,2026-11-24,24000,1800,NSE\n"
        ],
        ALL,
    ),
    MasterSource.POCKETFUL: (
        [
            "exchange_token,trading_symbol,symbol,company_name,expiry,strike,tick_size,lot_size,instrument_name,"
            "option_type,segment,exchange\n"
            "3045,SBIN-EQ,SBIN,STATE BANK OF INDIA,,,0.05,1,,,EQ,NSE\n"
            "26000,Nifty 50,Nifty 50,,,,0.05,1,,,INDICES,NSE\n"
            "43651,NIFTY24NOV26F,NIFTY,,2026-11-24,,0.05,65,FUTIDX,XX,FO,NFO\n"
            "43650,NIFTY24NOV26C24000,NIFTY,,2026-11-24,24000,0.05,65,OPTIDX,CE,FO,NFO\n"
        ],
        ALL,
    ),
    MasterSource.TRADEJINI: (
        [
            "id,dispName,excToken,lot,tick,asset,freezeQty\n"
            "EQT_SBIN_EQ_NSE,SBIN,3045,1,0.05,equity,100000\nEQT_667GS2035_GS_NSE,GOI,9,1,0.05,equity,\n",
            "id,dispName,excToken,lot,tick,asset\nIDX_Nifty 50_NSE,Nifty 50,26000,1,0.05,index\n",
            "id,dispName,excToken,lot,tick,asset,freezeQty\n"
            "FUTIDX_NIFTY_NFO_2026-11-24,NIFTY NOV FUT,43651,65,0.05,future,1800\n",
            "id,dispName,excToken,lot,tick,asset,freezeQty\n"
            "OPTIDX_NIFTY_NFO_2026-11-24_24000_CE,NIFTY 24000 CE,43650,65,0.05,option,1800\n",
        ],
        ALL,
    ),
    MasterSource.DHAN_SANDBOX: (
        [
            "SEM_EXM_EXCH_ID,SEM_SEGMENT,SEM_SMST_SECURITY_ID,SEM_INSTRUMENT_NAME,SEM_EXPIRY_CODE,SEM_TRADING_SYMBOL,"
            "SEM_LOT_UNITS,SEM_CUSTOM_SYMBOL,SEM_EXPIRY_DATE,SEM_STRIKE_PRICE,SEM_OPTION_TYPE,SEM_TICK_SIZE,"
            "SEM_EXPIRY_FLAG,SEM_EXCH_INSTRUMENT_TYPE,SEM_SERIES,SM_SYMBOL_NAME\n"
            "NSE,E,3045,EQUITY,0,SBIN,1,State Bank,,,,5,NA,ES,EQ,STATE BANK OF INDIA\n"
            "NSE,I,26000,INDEX,0,NIFTY,1,Nifty 50,,,,0.05,NA,INDEX,X,NIFTY\n"
            "NSE,D,43651,FUTIDX,0,NIFTY-Nov2026-FUT,65,NIFTY NOV FUT,2026-11-24 14:30:00,-0.01,XX,5,M,FUT,,NIFTY\n"
            "NSE,D,43650,OPTIDX,0,NIFTY-Nov2026-24000-CE,65,NIFTY CALL,2026-11-24 14:30:00,24000,CE,5,W,OP,,NIFTY\n"
        ],
        ALL,
    ),
    MasterSource.INDMONEY: (
        [
            "EXCH,SEGMENT,SECURITY_ID,INSTRUMENT_NAME,EXPIRY_CODE,TRADING_SYMBOL,LOT_UNITS,CUSTOM_SYMBOL,EXPIRY_DATE,"
            "STRIKE_PRICE,OPTION_TYPE,TICK_SIZE,EXPIRY_FLAG,SEM_EXCH_INSTRUMENT_TYPE,SERIES,SYMBOL_NAME\n"
            "NSE,E,3045,EQUITY,0,SBIN,1,State Bank,,,,5,NA,ES,EQ,STATE BANK OF INDIA\n"
            "NSE,D,43650,OPTIDX,0,NIFTY-Nov2026-24000-CE,65,NIFTY CALL,2026-11-24 14:30:00,24000,CE,5,W,OP,,NIFTY\n"
        ],
        {SHARE, OPTION},
    ),
}


def loaded(tmp_path: Path, source: MasterSource, contents: list[str]) -> tuple[pl.DataFrame, int]:
    paths = [tmp_path / f"dump-{n}" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    dump = load(source, paths, DAY)
    return dump.table, dump.unreadable


@pytest.mark.parametrize("source", DESCRIBED)
def test_rows_as_described_become_the_same_contracts_at_every_broker(tmp_path: Path, source: MasterSource) -> None:
    contents, expected = DESCRIBED[source]
    table, unreadable = loaded(tmp_path, source, contents)
    found: dict[str, dict[str, Any]] = {row["instrument"]: row for row in table.to_dicts()}
    assert (set(found), unreadable) == (expected, 0)
    share, option = found[SHARE], found[OPTION]
    assert (share["kind"], share["lot_size"], share["tick_size"]) == ("EQUITY", 1, "0.05")
    assert (share["series"], option["series"]) == ("EQ", None)
    terms = [option[name] for name in ("underlying", "expiry", "strike", "option_type", "lot_size", "tick_size")]
    assert terms == ["NIFTY", date(2026, 11, 24), "24000", "CE", 65, "0.05"]
    assert (option["freeze_quantity"], option["spot"]) == (1755, INDEX)
    if source is not MasterSource.TRADEJINI:
        assert {share["token"], option["token"]} == {"3045", "43650"}


@pytest.mark.parametrize("source", DESCRIBED)
def test_a_contract_whose_expiry_cannot_be_read_is_counted_and_not_guessed(
    tmp_path: Path, source: MasterSource
) -> None:
    contents, expected = DESCRIBED[source]
    broken = [*contents[:-1], EXPIRY.sub("soon", contents[-1])]
    if source is MasterSource.ALICEBLUE:
        broken = [EXPIRY.sub("soon", contents[0]), contents[1]]
    if source is MasterSource.TRADEJINI:
        broken = [content.replace("2026-11-24", "2026-13-24") for content in contents]
    table, unreadable = loaded(tmp_path, source, broken)
    assert set(table["instrument"]) == expected - {FUTURE, OPTION}
    assert unreadable == len(expected & {FUTURE, OPTION})


EXPIRY = re.compile(r"2026-11-24|(?i:24-nov-2026)|24112026|1480006800")


def test_every_broker_has_a_format() -> None:
    """All but what is no broker's: the feed's own list and users' symbols."""
    assert set(MasterSource) - set(FORMATS) == {MasterSource.FEED, MasterSource.CUSTOM}
    assert len(FORMATS) == 27
