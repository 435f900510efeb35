"""Contracts that are projected, and found again by what somebody types."""

from decimal import Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.database import Connection
from libs.common.testing import deliver
from services.gateway.app import app
from services.gateway.domain.search import parse
from services.gateway.store import instruments


def listed(symbol: str, kind: InstrumentKind, **more: object) -> InstrumentListed:
    exchange = Exchange.NFO if kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION) else Exchange.NSE
    fields = {
        "instrument": InstrumentId(f"{exchange}:{symbol}"),
        "exchange": exchange,
        "symbol": symbol,
        "name": symbol,
        "kind": kind,
        "lot_size": 75,
        "tick_size": Decimal("0.05"),
        **more,
    }
    return InstrumentListed.model_validate(fields)


async def search(connection: Connection, query: str, kind: InstrumentKind | None = None) -> list[str]:
    known = await instruments.underlyings(connection)
    rows = await instruments.search(connection, parse(query), instruments.Filters(kind=kind), known, limit=5)
    return [row["symbol"] for row in rows]


def universe() -> list[InstrumentListed]:
    """Shares, an index, and the options of some underlyings, two of which look alike."""
    found = [
        listed("SBIN", InstrumentKind.EQUITY, name="STATE BANK OF INDIA"),
        listed("SBICARD", InstrumentKind.EQUITY),
        listed("MARUTI", InstrumentKind.EQUITY, name="MARUTI SUZUKI INDIA"),
        listed("AMARUTI", InstrumentKind.EQUITY, name="NO RELATION OF MARUTI"),
        listed("GONE", InstrumentKind.EQUITY, tradable=False, delisted=True),
    ]
    for underlying in ("NIFTY", "BANKNIFTY", "NIFTYNXT50", "BAJAJ-AUTO"):
        for month in ("NOV", "DEC"):
            expiry = "2026-11-24" if month == "NOV" else "2026-12-24"
            future = f"{underlying}24{month}26FUT"
            found.append(listed(future, InstrumentKind.FUTURE, underlying=underlying, expiry=expiry))
            for strike in range(21_000, 25_300, 100):
                for option in OptionType:
                    found.append(
                        listed(
                            f"{underlying}24{month}26{strike}{option}",
                            InstrumentKind.OPTION,
                            underlying=underlying,
                            expiry=expiry,
                            strike=Decimal(strike),
                            option_type=option,
                        )
                    )
    return found


UNIVERSE = universe()


async def test_contracts_are_found_by_what_the_words_of_a_search_mean(connection: Connection) -> None:
    await deliver(app, connection, *UNIVERSE)
    assert (await search(connection, "sbin"))[0] == "SBIN"
    assert await search(connection, "state bank") == ["SBIN"]
    assert await search(connection, "mar") == ["MARUTI", "AMARUTI"]
    assert await search(connection, "100%_") == []
    assert await search(connection, "gone") == []
    assert await search(connection, "nifty 24000 ce dec") == ["NIFTY24DEC2624000CE", "NIFTYNXT5024DEC2624000CE"]
    assert (await search(connection, "nifty24000pe"))[0] == "NIFTY24NOV2624000PE"
    assert (await search(connection, "nifty 249"))[:2] == ["NIFTY24NOV2624900CE", "NIFTY24NOV2624900PE"]
    assert (await search(connection, "NIFTY24NOV2622000PE"))[0] == "NIFTY24NOV2622000PE"
    assert (await search(connection, "nifty24nov26220"))[0] == "NIFTY24NOV2622000CE"
    assert (await search(connection, "niftynxt50 dec fut")) == ["NIFTYNXT5024DEC26FUT"]
    assert (await search(connection, "bajaj auto nov fut")) == ["BAJAJ-AUTO24NOV26FUT"]
    assert {s[-7:] for s in await search(connection, "23000 pe")} == {"23000PE"}
    assert await search(connection, "24000", kind=InstrumentKind.EQUITY) == []
    assert len(await search(connection, "")) == 5
