"""What the platform tells of itself and of its prices over HTTP."""

from datetime import date

from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from tests.services.gateway import said
from tests.services.gateway.scene import Platform


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


async def test_system_tells_of_the_parts_and_the_feed(platform: Platform) -> None:
    asha = await platform.person("asha")
    health = await (await platform.client()).get("/api/v2/system/health")
    assert (health.status_code, health.json()["parts"]["kafka"], health.json()["parts"]["redis"]) == (200, True, True)
    status = (await asha.client.get("/api/v2/system/status")).json()
    assert (status["feed"]["stale"], status["stream_clients"]) == (True, 0)
    assert (await asha.client.get("/api/v2/system/version")).json()["api"] == "v2"


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
        problems = [told for status, told in operation["responses"].items() if status in ("401", "404", "503")]
        described = [told["content"]["application/json"]["schema"] for told in problems]
        assert all(schema == {"$ref": "#/components/schemas/ProblemDetails"} for schema in described), path
    assert page["components"]["schemas"]["ProblemDetails"]["required"] == ["type", "title", "status", "code", "detail"]
    place = page["paths"]["/api/v2/trading/orders/place"]["post"]
    assert {"201", "202", "422", "503"} <= place["responses"].keys()
    assert place["requestBody"]["content"]["application/json"]["schema"]["properties"]["instrument"]
