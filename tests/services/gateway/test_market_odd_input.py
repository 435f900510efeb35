"""What nobody sane asks of /api/v2/market: an answer, or a problem that says what is wrong with the question."""

from itertools import cycle, product

import pytest

from libs.common.problems import PROBLEM_JSON
from tests.services.gateway.test_market_api import Place, place

__all__ = ["place"]
SYMBOLS = [
    "nse%3Asbin",
    "SBIN",
    "NSE:",
    "NSE:SBIN%00",
    "NSE:%F0%9F%98%80",
    "%FF",
    "NSE:SBIN%2FX",
    "NSE:SBIN'--",
    "NIFTY",
    "%2E%2E",
    "NSE:" + "A" * 300,
    "LSE:VOD",
    "%25",
]
EDGES = ["0001-01-01T00:00:00%2B05:30", "9999-12-31T23:59:59-12:00", "1600-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]
HISTORY = [
    "",
    "?interval=7m",
    "?interval=1M",
    "?interval=",
    "?interval=1m%00",
    "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    "?from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
    "?from=yesterday",
    "?from=2026-13-45",
    "?from=1e400",
    "?to=",
    "?limit=0",
    "?limit=-1",
    "?limit=5001",
    "?limit=99999999999999999999",
    "?limit=x",
    "?adjusted=maybe",
    "?adjusted=1",
    "?format=xls",
    "?format=CSV",
    "?format=csv&format=json",
    "?exchange=LSE",
    "?exchange=BSE",
    "?from=1&to=2",
    *(
        f"?{name}={edge}&adjusted={adjusted}"
        for name, edge, adjusted in product(("from", "to"), EDGES, ("true", "false"))
    ),
    *(f"?format=parquet&interval=1d&from={edge}" for edge in EDGES),
]
CHAINS = [
    "",
    "?expiry=2020-01-01",
    "?expiry=0001-01-01",
    "?expiry=9999-12-31",
    "?expiry=soon",
    "?strikes=-1",
    "?strikes=501",
    "?strikes=99999999999999999999",
    "?strikes=1.5",
    "?exchange=NFO",
    "?exchange=MCX",
    "?exchange=x",
]
DAYS = ["", "?day=0001-01-01", "?day=9999-12-31", "?day=2026-02-30", "?day=0", "?day=2100-01-01"]
OTHERS = [
    "contracts/search?q=%00",
    "contracts/search?underlying=%00",
    "contracts/search?q=%25%5F'",
    "contracts/search?strike=NaN",
    "contracts/search?strike=1e300",
    "contracts/search?strike=Infinity",
    "contracts/search?expiry=0001-01-01",
    "contracts/search?expiry=9999-12-31",
    "contracts/search?limit=-1",
    "contracts/search?q=%F0%9F%98%80%20x",
    "contracts/lookup?source=zerodha&token=%00",
    "contracts/lookup?source=zerodha&symbol=%00",
    "contracts/lookup?source=nobody",
    "contracts/lookup?source=zerodha",
    "contracts/expiries/%00",
    "contracts/expiries/%2E%2E",
    "contracts/expiries/" + "A" * 2000,
    "custom-symbols/1",
    "custom-symbols/%00",
    "corporate-actions/NSE:SBIN%00",
    "indices?x=%00",
    "exchanges",
    "intervals",
]
PATHS = [
    *(
        f"{kind}/{symbol}"
        for kind in ("quotes", "depth", "history", "option-chain", "contracts", "corporate-actions")
        for symbol in SYMBOLS
    ),
    *(f"option-chain/{symbol}/expiries" for symbol in SYMBOLS),
    *(f"history/{symbol}/quality" for symbol in SYMBOLS),
    *(f"history/NSE:SBIN{rest}" for rest in HISTORY),
    *(f"history/NSE:SBIN/quality{rest}" for rest in DAYS),
    *(f"option-chain/NIFTY{rest}" for rest in CHAINS),
    *(f"depth/NSE:SBIN?levels={levels}" for levels in ("0", "21", "-1", "x", "")),
    *OTHERS,
]


async def test_whatever_is_asked_is_answered_or_refused_with_the_reason(place: Place) -> None:
    await place.market.memory.series.create_tables()
    faults = []
    accepts = cycle(("*/*", "text/html", "application/xml;q=0.1, */*;q=0", "\x01"))
    for path, accept in zip(PATHS, accepts, strict=False):
        answer = await place.asha.client.get(f"/api/v2/market/{path}", headers={"Accept": accept})
        media = answer.headers.get("content-type", "")
        if answer.status_code == 200 and media != PROBLEM_JSON:
            continue
        good = answer.status_code in (404, 409, 422) and media == PROBLEM_JSON
        if not good or len(answer.json()["detail"]) < 9:
            faults.append(f"{path[:100]} → {answer.status_code} {media} {answer.text[:160]}")
    assert faults == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"symbols": []}',
        b'{"symbols": "NSE:SBIN"}',
        b'{"symbols": [1]}',
        b'{"symbols": ["\\u0000"]}',
        b'{"symbols": ["NSE:SBIN\\u0000"]}',
        b'{"symbols": [null]}',
        b"\xff",
        b'{"symbols": ["NSE:SBIN"], "x": 1}',
        b"[" * 30_000,
    ],
)
async def test_whatever_is_posted_is_refused_with_the_reason(place: Place, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in (
        "quotes/bulk",
        "history/NSE:SBIN/import",
        "history/NSE:SBIN/backfill",
        "custom-symbols/",
        "contracts/download",
    ):
        answer = await place.asha.client.post(f"/api/v2/market/{path}", content=body, headers=headers)
        assert answer.status_code in (400, 403, 404, 409, 422), (path, answer.text)
        assert answer.headers["content-type"] == PROBLEM_JSON
