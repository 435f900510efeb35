"""What the contract master costs: reading a dump, taking it over, searching it, and knowing it in every service.

    python -m bench.contracts

Makes its own data (a dump of 114,000 rows in Zerodha's format, 200,000 instruments) and its own databases on the server
of POSTGRES_ADMIN_URL. What needs a memory of its own is measured in a process of its own.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
import psutil

from bench.latency import percentiles
from bench.report import Figures
from deploy.local import environment
from deploy.local.instance import Instance
from libs.common.clock import stopwatch
from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import MasterSource
from libs.common.testing import Databases
from services.gateway.domain.search import parse
from services.gateway.memory.spelling import Spelling
from services.gateway.store import GatewayStore, instruments
from services.marketdata.adapters import masters
from services.marketdata.domain.masters import STAGED, fault_of_dump
from services.marketdata.store import ContractStore
from services.risk.memory import RiskMemory
from services.strategy.domain.chain import Chain
from services.walkforward.memory import WalkforwardMemory

DAY = date(2026, 8, 18)
NOW = datetime(2026, 8, 18, 6, tzinfo=UTC)
EXPIRIES = (date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27))
UNDERLYINGS = 220
STRIKES = 86
SEARCHED = 200_000
ROUNDS = 40
MIB = 2**20
HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange"
)
SYLLABLES = tuple("TATA BANK STEEL POWER INFO SUN ADANI BAJAJ FIN AUTO INDIA OIL GAS MARU CIPLA GODREJ HAVELLS".split())  # noqa: SIM905


def measure() -> dict[str, Figures]:
    found = {part: json.loads(_apart(part)) for part in ("load", "risk", "strategy", "walkforward")}
    return {"contracts": {**found, **asyncio.run(_in_databases())}}


async def measured(instance: Instance) -> dict[str, Figures]:
    """Within the suite: its own databases beside the stack's, dropped afterwards; settings are those of the stack."""
    os.environ.update(environment.load(instance))
    return await asyncio.to_thread(measure)


def _apart(part: str) -> str:
    command = [sys.executable, "-m", "bench.contracts", part]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def load() -> Figures:
    """Read and normalise a dump as marketdata does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instruments.csv"
        path.write_text("\n".join([HEADER, *dump()]))
        before = psutil.Process().memory_info().rss
        began = stopwatch()
        table = masters.load(MasterSource.ZERODHA, [path], DAY).table
        seconds = stopwatch() - began
        grown = (psutil.Process().memory_info().rss - before) / MIB
        return {"rows": table.height, "seconds": round(seconds, 2), "grown_mib": round(grown), "peak_mib": _peak()}


def risk() -> Figures:
    memory = RiskMemory()
    return _known(memory.know)


def strategy() -> Figures:
    chain = Chain()

    def learn(listed: list[InstrumentListed]) -> None:
        for each in listed:
            chain.learn(each)

    return _known(learn)


def walkforward() -> Figures:
    memory = WalkforwardMemory()

    def learn(listed: list[InstrumentListed]) -> None:
        for each in listed:
            memory.learn(each)

    return _known(learn)


def _known(learn: Callable[[list[InstrumentListed]], None]) -> Figures:
    """Decode and learn 200,000 listings, 2,000 at a time, as a service does when it starts."""
    with tempfile.TemporaryFile() as file:
        for listed in universe():
            file.write(listed.__pydantic_serializer__.to_json(listed) + b"\n")
        file.seek(0)
        before = psutil.Process().memory_info().rss
        began = stopwatch()
        batch: list[InstrumentListed] = []
        for line in file:
            batch.append(InstrumentListed.model_validate_json(line))
            if len(batch) == 2_000:
                learn(batch)
                batch = []
        learn(batch)
        seconds = stopwatch() - began
    grown = (psutil.Process().memory_info().rss - before) / MIB
    return {"instruments": SEARCHED, "seconds": round(seconds, 2), "grown_mib": round(grown)}


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def names() -> list[str]:
    rng = random.Random(3)
    found = {"NIFTY", "BANKNIFTY"}
    while len(found) < UNDERLYINGS:
        found.add("".join(rng.sample(SYLLABLES, 2)))
    return sorted(found)


def dump() -> Iterator[str]:
    """Options on every underlying, in the spelling of Zerodha's file."""
    token = 0
    for name in names():
        for expiry in EXPIRIES:
            for strike in range(1000, 1000 + 50 * STRIKES, 50):
                for kind in ("CE", "PE"):
                    token += 1
                    symbol = f"{name}{expiry:%y%b}{strike}{kind}".upper()
                    terms = f"{name},0.0,{expiry},{strike}.0,0.05,65,{kind},NFO-OPT,NFO"
                    yield f"{token * 256 + 2},{token},{symbol},{terms}"


def universe() -> Iterator[InstrumentListed]:
    """200,000 instruments: 8,000 shares with names, the rest options."""
    rng = random.Random(5)
    for n in range(8_000):
        words = rng.sample(SYLLABLES, 3)
        yield InstrumentListed(
            instrument=InstrumentId(f"NSE:{words[0]}{n}"),
            exchange=Exchange.NSE,
            symbol=f"{words[0]}{n}",
            name=" ".join((*words, "LIMITED")),
            kind=InstrumentKind.EQUITY,
            lot_size=1,
            tick_size=Decimal("0.05"),
        )
    left = SEARCHED - 8_000
    while True:
        for name in names():
            for week in range(6):
                expiry = DAY + timedelta(days=7 * week)
                for strike in range(20_000, 20_000 + 100 * 76, 100):
                    for option in OptionType:
                        if left == 0:
                            return
                        left -= 1
                        symbol = f"{name}{expiry:%d%b%y}{strike}{option}".upper()
                        yield InstrumentListed(
                            instrument=InstrumentId(f"NFO:{symbol}"),
                            exchange=Exchange.NFO,
                            symbol=symbol,
                            name=name,
                            kind=InstrumentKind.OPTION,
                            underlying=name,
                            expiry=expiry,
                            strike=Decimal(strike),
                            option_type=option,
                            lot_size=65,
                            tick_size=Decimal("0.05"),
                        )


async def _in_databases() -> dict[str, Figures]:
    try:
        return {"take_over": await take_over(), **await search()}
    finally:
        await Databases.drop_all()


async def take_over() -> Figures:
    """A dump into the database, judged, merged and handed out for publishing; and the same one on the next day."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instruments.csv"
        path.write_text("\n".join([HEADER, *dump()]))
        table = masters.load(MasterSource.ZERODHA, [path], DAY).table
    rows = table.select(STAGED).write_csv(include_header=False).encode()
    pool = await Databases.pool("marketdata")
    figures: Figures = {"rows": table.height}
    for name in ("first_s", "same_again_s"):
        began = stopwatch()
        async with pool.acquire() as connection, connection.transaction():
            master = ContractStore(connection).master
            await master.stage(rows)
            assert fault_of_dump(await master.census(MasterSource.ZERODHA, DAY), 0) is None
            await master.replace(MasterSource.ZERODHA, DAY)
        async with pool.acquire() as connection, connection.transaction():
            await ContractStore(connection).master.compare(DAY, [MasterSource.ZERODHA], announce=True)
        taken = 1
        while taken:
            async with pool.acquire() as connection, connection.transaction():
                taken = len(await ContractStore(connection).publish_pending(1_000, NOW))
        figures[name] = round(stopwatch() - began, 2)
    return figures


async def search() -> dict[str, Figures]:
    pool = await Databases.pool("gateway")
    batch: list[InstrumentListed] = []
    for listed in universe():
        batch.append(listed)
        if len(batch) == 2_000:
            await _project(pool, batch)
            batch = []
    await _project(pool, batch)
    await pool.execute("ANALYZE instruments")
    spelling = Spelling()

    async def look(query: str, filters: instruments.Filters) -> int:
        """As the gateway's route does it."""
        asked, underlyings = parse(query), await spelling.underlyings(pool)
        rows = await instruments.search(pool, asked, filters, underlyings, 20)
        for guess in asked.with_names(await spelling.meant(pool, asked.names)) if not rows else ():
            rows = rows or await instruments.search(pool, guess, filters, underlyings, 20)
        return len(rows)

    none = instruments.Filters()
    wanted = {
        "prefix": [(q, none) for q in ("nif", "bankn", "nifty 24", "tata", "steel 21", "n", "sun li", "22000 ce")],
        "exact": [("NIFTY25AUG2624000CE", none), ("nifty 25 aug 24000 pe", none), ("banknifty 21000 ce sep", none)],
        "fuzzy": [(q, none) for q in ("NITFY 24000 CE", "bnaknifty", "steeel", "adnai limitde", "godrje", "havels")],
        "filtered": [
            ("", instruments.Filters(underlying="NIFTY", expiry=DAY + timedelta(days=7))),
            ("", instruments.Filters(underlying="BANKNIFTY", strike=Decimal(22_000))),
            ("", instruments.Filters(strike=Decimal(21_500), option_type=OptionType.CE)),
            ("23000 pe", instruments.Filters(underlying="NIFTY", expiry=DAY)),
        ],
    }
    return {f"search_{name}": await _timed(look, queries) for name, queries in wanted.items()}


async def _project(pool: asyncpg.Pool, batch: list[InstrumentListed]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        store = GatewayStore(connection)
        for listed in batch:
            store.instruments.listed(listed)
        await store.instruments.flush(connection)


Look = Callable[[str, instruments.Filters], Awaitable[int]]


async def _timed(look: Look, queries: list[tuple[str, instruments.Filters]]) -> Figures:
    taken: list[float] = []
    found = [await look(*query) for query in queries]
    for _ in range(ROUNDS):
        for query in queries:
            began = stopwatch()
            await look(*query)
            taken.append(stopwatch() - began)
    return {"instruments": SEARCHED, "queries": len(queries), "empty": found.count(0), **percentiles(taken)}


def main(words: list[str]) -> None:
    parts = {"load": load, "risk": risk, "strategy": strategy, "walkforward": walkforward}
    print(json.dumps(parts[words[0]]() if words else measure(), indent=None if words else 2))


if __name__ == "__main__":
    main(sys.argv[1:])
