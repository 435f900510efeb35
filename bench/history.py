"""How long a client waits for a million one-minute candles of an instrument, and what memory that takes on the way."""

import asyncio
import http.client
import json
from urllib.parse import quote, urlencode, urlsplit

import httpx
import psutil

from bench.report import Figures
from bench.window import Bench
from deploy.local.instance import Instance
from libs.common.clock import stopwatch
from tools.client import Platform

ROWS = 1_000_000
FROM, TO = "2000-01-01T00:00:00Z", "2008-01-01T00:00:00Z"
"""Years that no other history of a local stack has."""
FORMATS = ("csv", "parquet", "arrow", "ndjson")
ADJUSTED = ("csv", "parquet")
ACTIONS = (
    {"kind": "split", "ex_date": "2002-01-01", "old": 1, "new": 2},
    {"kind": "dividend", "ex_date": "2004-01-01", "amount": 1},
)
"""Within the benched years, so that both change what is read. The close before the dividend is 19."""
CHUNK = 262_144
SAMPLE_SECONDS = 0.05
PATIENCE = 240.0


async def measure(bench: Bench, instance: Instance) -> dict[str, Figures]:
    name = bench.world.instruments[0].name
    async with httpx.AsyncClient(base_url=instance.url("questdb"), timeout=120, trust_env=False) as questdb:
        await prepare(questdb, name)
    figures: Figures = {"rows": ROWS}
    for form in FORMATS:
        await download(bench, name, form)
        figures[form] = await download(bench, name, form)
    await act(bench, instance, name)
    for form in ADJUSTED:
        await download(bench, name, form, adjusted=True)
        figures[f"adjusted_{form}"] = await download(bench, name, form, adjusted=True)
    return {"history": figures}


async def act(bench: Bench, instance: Instance, name: str) -> None:
    """Imports the split and the dividend, which only an admin may: the demo user is one, as the first of the stack."""
    facts = json.loads((instance.home / "demo.json").read_text())
    path = "/api/v2/market/corporate-actions/"
    async with Platform(bench.world.gateway_url, patience=30) as admin:
        await admin.log_in(facts["email"], facts["password"])
        await admin.post(path, [{"instrument": name, **action} for action in ACTIONS])
    wanted = {"interval": "1m", "from": FROM, "to": "2000-01-02T00:00:00Z", "limit": 1}
    closes = []
    for adjusted in ("false", "true"):
        answer = await bench.platform.get(f"/api/v2/market/history/{quote(name)}", **wanted, adjusted=adjusted)
        closes.append(float(answer["candles"][0]["close"]))
    if closes[1] >= closes[0]:
        raise SystemExit(f"the history is not adjusted: a close of {closes[0]} is {closes[1]}")


async def prepare(questdb: httpx.AsyncClient, name: str) -> None:
    """A million candles in sessions of 375 minutes, unless an earlier run has left them."""
    count = f"SELECT count() FROM candles WHERE instrument = '{name}' AND ts >= '{FROM}' AND ts < '{TO}'"  # noqa: S608
    if await _number(questdb, count) == ROWS:
        return
    await questdb.get(
        "/exec",
        params={
            "query": f"INSERT INTO candles SELECT '{name}', 'SIMULATED', x % 97, 1 + x % 97, x % 89 * 0.05, x % 97,"  # noqa: S608
            " x % 1000, 0, dateadd('m', ((x - 1) % 375)::int,"
            f" dateadd('d', ((x - 1) / 375)::int, '2000-01-01T03:45:00.000000Z')) FROM long_sequence({ROWS})"
        },
    )
    began = stopwatch()
    while await _number(questdb, count) < ROWS:
        if stopwatch() - began > PATIENCE:
            raise SystemExit(f"QuestDB has not taken {ROWS} candles in {PATIENCE:.0f} s")
        await asyncio.sleep(0.5)


async def _number(questdb: httpx.AsyncClient, question: str) -> int:
    answer = await questdb.get("/exec", params={"query": question})
    return int(answer.json()["dataset"][0][0])


async def download(bench: Bench, name: str, form: str, *, adjusted: bool = False) -> Figures:
    """Seconds until the last byte, and by how much the two services grew meanwhile."""
    processes = {each: bench.meter.programs[each] for each in ("marketdata", "gateway")}
    before = {each: process.memory_info().rss for each, process in processes.items()}
    peak = dict(before)
    done = asyncio.create_task(asyncio.to_thread(_read, bench, name, form, adjusted))
    while not done.done():
        for each, process in processes.items():
            peak[each] = max(peak[each], _memory(process))
        await asyncio.sleep(SAMPLE_SECONDS)
    seconds, size = done.result()
    return {
        "seconds": round(seconds, 2),
        "megabytes": round(size / 1e6, 1),
        **{f"{each}_grew_mb": round((peak[each] - before[each]) / 1e6, 1) for each in processes},
    }


def _memory(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _read(bench: Bench, name: str, form: str, adjusted: bool) -> tuple[float, int]:
    """The smallest client there is: the measured machine runs it too."""
    place = urlsplit(bench.world.gateway_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    asked = {"interval": "1m", "from": FROM, "to": TO, "format": form, "adjusted": str(adjusted).lower()}
    wanted = urlencode(asked)
    began = stopwatch()
    connection.request("GET", f"/api/v2/market/history/{quote(name)}?{wanted}", headers=bench.world.headers)
    answer = connection.getresponse()
    size = 0
    while chunk := answer.read(CHUNK):
        size += len(chunk)
    if answer.status != 200:
        raise SystemExit(f"history answered {answer.status}")
    return stopwatch() - began, size
