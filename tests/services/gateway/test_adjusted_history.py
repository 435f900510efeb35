"""`adjusted=true` from the public route to QuestDB and back: the real gateway before the real marketdata."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms
from libs.common.runtime import Runtime
from libs.common.testing.apps import served
from services.marketdata.app import app as marketdata
from services.marketdata.domain.intervals import Interval
from tests.services.gateway.scene import Person, Platform
from tests.services.marketdata.samples import OPEN, listed
from tests.services.marketdata.test_history import candle, history, write

DAY = timedelta(days=1)
MONDAY = date(2026, 11, 23)
SYMBOL = f"A{ids.new_id().hex[-10:].upper()}"
STOCK = InstrumentId(f"NSE:{SYMBOL}")
PRICES = (500.0, 100.0, 98.0, 49.5)
"""One candle a day; it closes a rupee above its opening. 1 share becomes 5 on Tuesday, 2 rupees are paid on Wednesday,
and every share gets another on Thursday."""
PAID = (101.0 - 2.0) / 101.0
FACTORS = (0.2 * PAID * 0.5, PAID * 0.5, 0.5, 1.0)
SHARES = (10, 2, 2, 1)


@pytest.fixture(autouse=True)
async def market(monkeypatch: pytest.MonkeyPatch, real_servers: None) -> AsyncIterator[Runtime[Any, Any]]:
    """There before the gateway is, which takes its address from the environment."""
    async with served(marketdata, clock=FixedClock(OPEN + 30 * DAY)) as (url, runtime):
        monkeypatch.setenv("GATEWAY_MARKETDATA_URL", url)
        runtime.memory.listed = {STOCK: listed(SYMBOL)}
        await runtime.memory.series.create_tables()
        await write(runtime.memory.series, [candle(STOCK, OPEN + n * DAY, price) for n, price in enumerate(PRICES)])
        for interval in (Interval.ONE_MINUTE, Interval.ONE_DAY):
            assert len(await history(runtime.memory.series, STOCK, interval, 4)) == 4
        await runtime.pool.execute("DELETE FROM corporate_actions")
        yield runtime
        await runtime.pool.execute("DELETE FROM corporate_actions")


async def happened(market: Runtime[Any, Any], *actions: CorporateActionTerms) -> None:
    async with market.transaction() as unit:
        await unit.store.corporate_actions.save(actions, unit.now)


def action(kind: CorporateActionKind, days: int, **terms: Any) -> CorporateActionTerms:
    return CorporateActionTerms(instrument=STOCK, kind=kind, ex_date=MONDAY + days * DAY, **terms)


WEEK = (
    action(CorporateActionKind.SPLIT, 1, old=1, new=5),
    action(CorporateActionKind.DIVIDEND, 2, amount=Decimal(2)),
    action(CorporateActionKind.BONUS, 3, old=1, new=1),
)


async def asked(person: Person, **wanted: str) -> bytes:
    answer = await person.client.get(f"/api/v2/market/history/{STOCK}", params=wanted)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("interval", ["1m", "1d"])
async def test_every_format_shows_prices_as_if_all_had_happened_before(
    platform: Platform, market: Runtime[Any, Any], interval: str
) -> None:
    await happened(market, *WEEK)
    asha = await platform.person("asha")

    async def content(form: str) -> bytes:
        return await asked(asha, interval=interval, adjusted="true", format=form)

    opens = [round(price * factor, 4) for price, factor in zip(PRICES, FACTORS, strict=True)]
    closes = [round((price + 1) * factor, 4) for price, factor in zip(PRICES, FACTORS, strict=True)]
    volumes = [10 * shares for shares in SHARES]
    page = orjson.loads(await content("json"))
    assert page["adjusted"]
    frames = [
        pl.DataFrame(page["candles"]),
        pl.read_parquet(io.BytesIO(await content("parquet"))),
        pl.read_ipc_stream(io.BytesIO(await content("arrow"))),
        pl.read_ndjson(io.BytesIO(await content("ndjson"))),
    ]
    for frame in frames:
        assert frame["open"].to_list() == pytest.approx(opens)
        assert frame["close"].to_list() == pytest.approx(closes)
        assert frame["volume"].to_list() == volumes
    lines = list(csv.DictReader(io.StringIO((await content("csv")).decode())))
    assert [float(line["open"]) for line in lines] == pytest.approx(opens)
    assert [int(line["volume"]) for line in lines] == volumes


async def test_what_is_stored_stays_as_it_was_traded(platform: Platform, market: Runtime[Any, Any]) -> None:
    await happened(market, *WEEK)
    page = orjson.loads(await asked(await platform.person("asha")))
    assert not page["adjusted"]
    assert [row["open"] for row in page["candles"]] == list(PRICES)


async def test_an_action_after_the_last_candle_counts_and_one_before_the_first_does_not(
    platform: Platform, market: Runtime[Any, Any]
) -> None:
    await happened(
        market,
        action(CorporateActionKind.DIVIDEND, -5, amount=Decimal(7)),
        action(CorporateActionKind.DIVIDEND, 4, amount=Decimal("5.05")),
    )
    page = orjson.loads(await asked(await platform.person("asha"), adjusted="true"))
    assert page["candles"][-1]["close"] == pytest.approx(50.5 - 5.05)


async def test_what_is_announced_for_later_changes_nothing_yet(platform: Platform, market: Runtime[Any, Any]) -> None:
    await happened(
        market,
        action(CorporateActionKind.SPLIT, 31, old=1, new=2),
        action(CorporateActionKind.DIVIDEND, 31, amount=Decimal(1)),
    )
    page = orjson.loads(await asked(await platform.person("asha"), adjusted="true"))
    assert [row["open"] for row in page["candles"]] == list(PRICES)


async def test_a_range_after_an_action_is_not_changed_by_it(platform: Platform, market: Runtime[Any, Any]) -> None:
    await happened(market, *WEEK)
    since = (OPEN + 3 * DAY).isoformat()
    page = orjson.loads(await asked(await platform.person("asha"), adjusted="true", **{"from": since}))
    assert [row["open"] for row in page["candles"]] == [49.5]


@pytest.mark.parametrize(
    ("days", "amount", "why"), [(20, "1", "no candle of the 10 days before"), (2, "200", "from a price of 101.0")]
)
async def test_a_dividend_that_cannot_be_taken_out_is_said_and_not_left_in(
    platform: Platform, market: Runtime[Any, Any], days: int, amount: str, why: str
) -> None:
    await happened(market, action(CorporateActionKind.DIVIDEND, days, amount=Decimal(amount)))
    asha = await platform.person("asha")
    answer = await asha.client.get(f"/api/v2/market/history/{STOCK}", params={"adjusted": "true", "format": "csv"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_adjustable")
    assert why in answer.json()["detail"]
    assert len(orjson.loads(await asked(asha))["candles"]) == 4
