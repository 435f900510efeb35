"""What the platform tells of itself and of its prices over HTTP."""

import asyncio
import json
from datetime import date
from time import process_time

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.market_days import MarketDays
from libs.common.problems import PROBLEM_JSON
from libs.common.settings import MarketHours
from libs.common.testing.caches import patient_redis
from libs.common.trading_calendar import TradingCalendar
from tests.common import described
from tests.services.gateway import said
from tests.services.gateway.scene import PASSWORD, Platform

PLACE = "/api/v2/trading/orders/place"


async def test_quotes_say_their_source_and_age(platform: Platform) -> None:
    asha = await platform.person("asha")
    now = platform.runtime.clock.now()
    platform.runtime.memory.quotes.update([said.quote(said.SBIN, 815.25, platform.runtime.clock.now())], now)
    for url in ("/api/v2/market/quotes/NSE:SBIN", "/api/v2/market/quotes/sbin?exchange=NSE"):
        found = (await asha.client.get(url)).json()
        assert (found["ltp"], found["source"], found["stale"]) == (815.25, "REPLAYED", False)
    assert (await asha.client.get("/api/v2/market/quotes/NSE:NOPE")).json()["code"] == "instrument_unknown"
    bulk = await asha.client.post("/api/v2/market/quotes/bulk", json={"symbols": ["NSE:SBIN", "NSE:NOPE"]})
    assert ([q["ltp"] for q in bulk.json()["data"]], bulk.json()["missing"]) == ([815.25], ["NSE:NOPE"])


async def test_what_another_service_owns_is_a_503_while_it_is_away(platform: Platform) -> None:
    asha = await platform.person("asha")
    for url in ("/api/v2/market/history/NSE:SBIN", "/api/v2/webhooks/logs/"):
        answer = await asha.client.get(url)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]


async def test_openalgo_1809_system_tells_of_the_parts_the_feed_and_the_version(platform: Platform) -> None:
    asha = await platform.person("asha")
    health = await (await platform.client()).get("/api/v2/system/health")
    assert (health.status_code, health.json()["parts"]["kafka"], health.json()["parts"]["redis"]) == (200, True, True)
    status = (await asha.client.get("/api/v2/system/status")).json()
    assert (status["feed"]["stale"], status["stream_clients"]) == (True, 0)
    assert (await asha.client.get("/api/v2/system/version")).json()["api"] == "v2"


async def test_who_asks_often_how_the_platform_is_keeps_its_servers_from_nothing(platform: Platform) -> None:
    """Nobody has to log in for it, and each asked PostgreSQL, Redis, and Kafka for all that it knows of its topics."""
    nobody = await platform.client()
    async with patient_redis() as redis:
        before = (await redis.info("commandstats")).get("cmdstat_ping", {"calls": 0})["calls"]
        answers = await asyncio.gather(*(nobody.get("/api/v2/system/health") for _ in range(50)))
        asked = (await redis.info("commandstats"))["cmdstat_ping"]["calls"] - before
    assert {answer.status_code for answer in answers} == {200}
    assert asked < 10, f"50 who asked at once were {asked} questions"


async def test_status_tells_to_which_day_holidays_are_known(platform: Platform) -> None:
    asha, memory = await platform.person("asha"), platform.runtime.memory
    told = []
    for calendar in (
        TradingCalendar(MarketHours.CONTINUOUS),
        TradingCalendar(MarketHours.EXCHANGE, MarketDays()),
        TradingCalendar(MarketHours.EXCHANGE, MarketDays(known_until=date(2027, 12, 31))),
    ):
        memory.calendar = calendar
        told.append((await asha.client.get("/api/v2/system/status")).json()["calendar"])
    assert [each["holidays_known_until"] for each in told] == [None, "2026-12-31", "2027-12-31"]
    today, until = memory.calendar.trading_day(platform.runtime.clock.now()), (date(2026, 12, 31), date(2027, 12, 31))
    assert [each["sessions_provisional"] for each in told] == [False, *(today > day for day in until)]


async def test_the_openapi_page_describes_every_route_and_the_problems(platform: Platform) -> None:
    client = await platform.client()
    page = (await client.get("/openapi.json")).json()
    operations = [
        (path, method, operation) for path, methods in page["paths"].items() for method, operation in methods.items()
    ]
    assert len(operations) > 75
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    assert {"HTTPBearer", "APIKeyHeader"} <= page["components"]["securitySchemes"].keys()
    for path, method, operation in operations:
        assert operation["tags"], path
        public = path.split("/")[-1] in ("register", "login", "refresh", "health", "version", "postback")
        assert public or operation.get("security"), (method, path)
        errors = {status: told for status, told in operation["responses"].items() if status[0] in "45"}
        assert {"4XX", "5XX"} <= errors.keys(), path
        if path == "/api/v2/system/health":
            assert errors.pop("503")["content"].keys() == {"application/json"}
        for status, told in errors.items():
            model = "OrderProblem" if (path, status) == (PLACE, "422") else "ProblemDetails"
            schema = {"$ref": f"#/components/schemas/{model}"}
            assert told["content"] == {PROBLEM_JSON: {"schema": schema}}, (path, status)
    assert not {"HTTPValidationError", "ValidationError"} & page["components"]["schemas"].keys()
    assert page["components"]["schemas"]["ProblemDetails"]["required"] == ["type", "title", "status", "code", "detail"]
    place = page["paths"][PLACE]["post"]
    assert {"201", "202", "422", "503"} <= place["responses"].keys()
    assert place["requestBody"]["content"]["application/json"]["schema"]["properties"]["instrument"]


async def test_while_the_openapi_page_is_made_everybody_else_is_answered(platform: Platform) -> None:
    """Half a second after each start, for anybody who asked for it, without a login."""
    asked = asyncio.create_task((await platform.client()).get("/openapi.json"))
    began = before = stopwatch()
    longest = 0.0
    while not asked.done():
        await asyncio.sleep(0.001)
        longest, before = max(longest, stopwatch() - before), stopwatch()
    assert (await asked).status_code == 200
    assert longest < (stopwatch() - began) / 4


async def test_the_openapi_page_is_written_once_however_often_it_is_asked_for(platform: Platform) -> None:
    """Anybody may ask, without a login: each time it was written anew, milliseconds in which no order was answered."""
    nobody = await platform.client()
    page = (await nobody.get("/openapi.json")).json()
    began = process_time()
    for _ in range(20):
        json.dumps(page)
    written = process_time() - began
    began = process_time()
    for _ in range(20):
        assert (await nobody.get("/openapi.json")).status_code == 200
    assert process_time() - began < written / 2


async def test_errors_are_sent_as_the_openapi_page_says(platform: Platform) -> None:
    asha, nobody = await platform.person("asha"), await platform.client()
    page = (await nobody.get("/openapi.json")).json()
    account, limits, register = "/api/v2/accounts/{account_id}", "/api/v2/risk/limits/", "/api/v2/auth/register"
    platform.runtime.ready["consumer"] = False
    long_key = {"Idempotency-Key": "k" * 1_000}
    body = {"email": asha.email, "username": "another", "password": PASSWORD}
    for status, path, answer in (
        (400, limits, await asha.client.post(limits, json={"level": "USER", "max_order_value": "1"}, headers=long_key)),
        (401, account, await nobody.get(f"/api/v2/accounts/{asha.account_id}")),
        (404, account, await asha.client.get(f"/api/v2/accounts/{ids.new_id()}")),
        (409, register, await nobody.post(register, json=body)),
        (413, PLACE, await asha.client.post(PLACE, content=b" " * 1_100_000)),
        (422, account, await asha.client.get("/api/v2/accounts/mine")),
        (422, PLACE, await asha.client.post(PLACE, json={})),
        (503, "/api/v2/system/health", await nobody.get("/api/v2/system/health")),
    ):
        assert answer.status_code == status, answer.text
        described.check(page, path, answer)
