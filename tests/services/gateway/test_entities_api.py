"""Accounts, signal groups, algos, limits, panics, market data over HTTP."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from libs.common import ids
from libs.common.contracts.accounts import (
    Account,
    AccountDeleted,
    AccountDeleteRequested,
    AccountSaved,
    AccountSaveRequested,
)
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import SignalGroupId
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.market_days import MarketDays
from libs.common.security import WebhookSecrets
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.gateway.api.edge import edge_in
from tests.services.gateway import said
from tests.services.gateway.scene import Platform, envelope

ALGO: dict[str, Any] = {
    "name": "Buy CE",
    "product": "NRML",
    "legs": [
        {"kind": "OPTION", "underlying": "NIFTY", "expiry": "CURRENT_WEEK", "option_type": "CE", "strike": "ATM"}
        | {"side": "BUY", "lots": 1}
    ],
}


def refuse(code: str) -> Any:
    def answer(request: Message, _: Envelope) -> Sequence[Message]:
        return [RequestRefused(entity_id="x", request=type(request).__name__, code=code, reason="because")]

    return answer


async def test_an_account_lives_from_creation_to_deletion(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    made = await asha.client.post("/api/v2/accounts/", json={"name": "Paper", "broker": "paper"})
    assert made.status_code == 201, made.text
    account = made.json()
    url = f"/api/v2/accounts/{account['account_id']}"
    assert (account["version"], account["active"], account["opening_balance"]) == (1, True, "10000000")
    assert (await asha.client.get(url)).json()["name"] == "Paper"
    changed = await asha.client.put(url, json={"name": "Main", "labels": ["nse"]})
    assert (changed.json()["name"], changed.json()["version"]) == ("Main", 2)
    assert (await asha.client.post(f"{url}/deactivate")).json()["active"] is False
    status = (await asha.client.get(f"{url}/status")).json()
    assert (status["can_trade"], status["open_orders"], status["open_positions"]) == (False, 0, 0)
    assert (await asha.client.post(f"{url}/activate")).json()["active"] is True
    assert len((await asha.client.get("/api/v2/accounts")).json()["data"]) == 2
    assert (await asha.client.delete(url)).status_code == 204
    assert (await asha.client.get(url)).status_code == 404


async def test_an_account_that_is_saved_after_its_deletion_is_there_again(platform: Platform) -> None:
    """A late fill opened a position in it."""
    asha = await platform.person("asha")
    url = f"/api/v2/accounts/{asha.account_id}"
    shown = (await asha.client.get(url)).json()
    account = Account(
        account_id=asha.account_id, user_id=asha.user_id, name=shown["name"], broker=Broker.PAPER, active=False
    )
    whose = {"account_id": asha.account_id, "user_id": asha.user_id}
    await platform.project(AccountDeleted(**whose))
    assert (await asha.client.get(url)).status_code == 404
    await platform.project(AccountSaved(**whose, account=account, version=shown["version"] + 1))
    again = (await asha.client.get(url)).json()
    assert (again["name"], again["active"], again["version"]) == (shown["name"], False, shown["version"] + 1)
    platform.answer = said.yes
    closed = await asha.client.post("/api/v2/trading/positions/close-all", json={"account_id": str(asha.account_id)})
    assert closed.status_code == 200


async def test_nobody_owns_without_end(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's custom symbols are one list, and everybody's algos share one feed."""
    asha, edge = await platform.person("asha"), edge_in(platform.runtime)
    monkeypatch.setattr(edge, "settings", edge.settings.model_copy(update={"owned": 2}))
    platform.answer = said.yes
    made = [await asha.client.post("/api/v2/accounts/", json={"name": name}) for name in ("second", "third")]
    assert [answer.status_code for answer in made] == [201, 409]
    assert made[1].json()["code"] == "too_many"
    assert "2 accounts" in made[1].json()["detail"]
    keys = [await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"}) for _ in range(3)]
    assert [answer.status_code for answer in keys] == [201, 201, 409]
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{keys[0].json()['key_id']}")).status_code == 204
    assert (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).status_code == 201
    url = f"/api/v2/accounts/{made[0].json()['account_id']}"
    assert (await asha.client.put(url, json={"name": "renamed"})).status_code == 200
    assert (await asha.client.delete(url)).status_code == 204
    assert (await asha.client.post("/api/v2/accounts/", json={"name": "third"})).status_code == 201


@pytest.mark.parametrize(("code", "status"), [("conflict", 409), ("invalid", 422), ("not_found", 404)])
async def test_a_refusal_of_the_owner_becomes_a_problem(platform: Platform, code: str, status: int) -> None:
    asha = await platform.person("asha")
    platform.answer = refuse(code)
    answer = await asha.client.delete(f"/api/v2/accounts/{asha.account_id}")
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (status, code, "because")
    assert isinstance(platform.asked[-1], AccountDeleteRequested)


async def test_a_change_carries_the_version_that_its_author_saw(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    await asha.client.put(f"/api/v2/accounts/{asha.account_id}", json={"name": "Mine", "version": 7})
    request = platform.asked[-1]
    assert isinstance(request, AccountSaveRequested)
    assert (request.expected_version, request.account.name) == (7, "Mine")


async def test_a_request_without_an_outcome_in_time_can_be_asked_for(platform: Platform) -> None:
    asha = await platform.person("asha")
    taken = await asha.client.post("/api/v2/accounts/", json={"name": "Slow"})
    assert taken.status_code == 202
    assert (await asha.client.get(taken.json()["status_url"])).json()["status"] == "PENDING"
    [request] = platform.asked
    assert isinstance(request, AccountSaveRequested)
    saved = said.account_saved(asha.user_id, request.account_id)
    await platform.project(saved, correlation_id=UUID(taken.json()["id"]))
    assert (await asha.client.get(taken.json()["status_url"])).json()["type"] == "AccountSaved"


async def test_a_signal_group_comes_with_everything_to_paste(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    made = await asha.client.post("/api/v2/signals/", json={"name": "EMA", "max_signals_per_day": 5})
    assert made.status_code == 201, made.text
    group = made.json()
    hook = group["webhook"]
    secrets = WebhookSecrets(platform.runtime.memory.settings.webhook_secret)
    group_id = SignalGroupId(UUID(group["group_id"]))
    assert secrets.verify_token(hook["token"], group_id, 0)
    assert secrets.verify_url_id(hook["webhook_url"].rsplit("/", 1)[1], group_id, 0)
    assert secrets.signing_key(group_id, 0).decode() == hook["signing_key"]
    assert hook["token"] in hook["tradingview_url"]
    assert hook["payloads"]["entry"]["strategy_id"] == group["group_id"]
    assert hook["payloads"]["exit"]["signal_type"] == "exit"
    rotated = (await asha.client.post(f"/api/v2/signals/{group['group_id']}/rotate")).json()
    assert (rotated["rotation"], rotated["version"]) == (1, 2)
    assert rotated["webhook"]["token"] != hook["token"]
    assert "webhook" not in (await asha.client.get("/api/v2/signals/")).json()["data"][0]


async def test_a_key_that_may_only_read_does_not_see_webhook_secrets(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    group = (await asha.client.post("/api/v2/signals/", json={"name": "EMA"})).json()
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "r", "scopes": ["read"]})).json()["api_key"]
    reader = await platform.client(**{"X-API-Key": key})
    url = f"/api/v2/signals/{group['group_id']}"
    assert "webhook" in (await asha.client.get(url)).json()
    assert "webhook" not in (await reader.get(url)).json()


async def test_openalgo_101_an_algo_trades_only_in_its_owners_accounts_on_his_signals(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    platform.answer = said.yes
    group = (await asha.client.post("/api/v2/signals/", json={"name": "EMA"})).json()
    own = {"accounts": [{"account_id": str(asha.account_id)}], "mappings": [{"group_id": group["group_id"]}]}
    made = await asha.client.post("/api/v2/algos/", json=ALGO | own)
    assert made.status_code == 201, made.text
    algo = made.json()
    foreign = {"accounts": [{"account_id": str(ravi.account_id)}]}
    assert (await asha.client.post("/api/v2/algos/", json=ALGO | foreign)).status_code == 404
    stolen = {"accounts": [{"account_id": str(ravi.account_id)}], "mappings": own["mappings"]}
    assert (await ravi.client.post("/api/v2/algos/", json=ALGO | stolen)).status_code == 404
    url = f"/api/v2/algos/{algo['algo_id']}"
    assert (await asha.client.post(f"{url}/deactivate")).json()["active"] is False
    assert (await asha.client.put(url, json={"name": "Other"})).json()["version"] == 3
    assert (await ravi.client.get(url)).status_code == 404
    assert (await asha.client.delete(url)).status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"level": "USER", "max_daily_loss": "5000"}, 201),
        ({"level": "ACCOUNT", "stop_loss": "100"}, 422),
        ({"level": "USER", "instrument": "NSE:SBIN"}, 422),
        ({"level": "ALL"}, 422),
        ({"level": "USER", "stop_loss": "-5"}, 422),
        ({"level": "ACCOUNT", "account_id": str(ids.new_id())}, 404),
        ({"level": "STRATEGY", "strategy_id": str(ids.new_id())}, 404),
    ],
)
async def test_a_limit_has_a_whole_scope_of_its_owners(platform: Platform, body: dict[str, str], status: int) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    answer = await asha.client.post("/api/v2/risk/limits/", json=body)
    assert answer.status_code == status, answer.text


async def test_a_limit_on_an_instrument_that_is_not_listed_is_refused(platform: Platform) -> None:
    """A slip in its name, and the stop-loss would guard nothing."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    await platform.project(said.listed("SBIN"))
    body = {"level": "INSTRUMENT", "account_id": str(asha.account_id), "stop_loss": "1000"}
    slip = await asha.client.post("/api/v2/risk/limits/", json={**body, "instrument": "NSE:SBNI"})
    assert (slip.status_code, slip.json()["code"], slip.json()["instrument"]) == (404, "instrument_unknown", "NSE:SBNI")
    made = await asha.client.post("/api/v2/risk/limits/", json={**body, "instrument": "NSE:SBIN"})
    assert made.status_code == 201, made.text
    url = f"/api/v2/risk/limits/{made.json()['limit_id']}"
    assert (await asha.client.put(url, json={**body, "instrument": "NSE:SBNI"})).status_code == 404


async def test_a_limit_is_replaced_whole_and_deleted(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    body = {"level": "ACCOUNT", "account_id": str(asha.account_id), "stop_loss": "1000"}
    limit = (await asha.client.post("/api/v2/risk/limits/", json=body)).json()
    url = f"/api/v2/risk/limits/{limit['limit_id']}"
    changed = (await asha.client.put(url, json={**body, "stop_loss": None, "target": "500"})).json()
    assert (changed["stop_loss"], changed["target"], changed["version"]) == (None, "500", 2)
    assert (await asha.client.delete(url)).status_code == 204
    assert (await asha.client.get("/api/v2/risk/limits/")).json()["data"] == []


async def test_a_panic_stops_a_scope_until_it_is_reset(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    url = f"/api/v2/risk/panic/account/{asha.account_id}"
    raised = await asha.client.post(url, json={"reason": "fire"})
    assert (raised.status_code, raised.json()["in_force"], raised.json()["epoch"]) == (200, True, 1)
    request = platform.asked[-1]
    assert isinstance(request, PanicRequested)
    assert (request.scope, request.reason, request.requested_by) == (
        f"ACCOUNT:{asha.account_id}",
        "fire",
        asha.user_id,
    )
    status = (await asha.client.get(f"/api/v2/accounts/{asha.account_id}/status")).json()
    assert (status["can_trade"], status["halted_by"][0]["reason"]) == (False, "fire")
    assert len((await asha.client.get("/api/v2/risk/panic/")).json()["data"]) == 1
    assert (await asha.client.post(f"{url}/reset")).json()["in_force"] is False
    assert (await asha.client.get("/api/v2/risk/panic/")).json()["data"] == []


async def test_who_is_no_admin_says_so_to_whoever_decides_on_a_panic_and_hears_403(platform: Platform) -> None:
    """Whether an admin stopped it trading knows; who asks the gateway does."""
    admin, ravi = await platform.person("asha"), await platform.person("ravi")
    url = f"/api/v2/risk/panic/account/{ravi.account_id}"

    def guarded(request: Message, found: Envelope) -> Sequence[Message]:
        if isinstance(request, PanicResetRequested) and not request.by_admin:
            kind = type(request).__name__
            return [RequestRefused(entity_id=str(request.panic_id), request=kind, code="forbidden", reason="an admin")]
        return said.yes(request, found)

    platform.answer = guarded
    assert (await admin.client.post(url, json={"reason": "fire"})).json()["in_force"] is True
    refused = await ravi.client.post(f"{url}/reset")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await admin.client.post(f"{url}/reset")).json()["in_force"] is False
    assert [request.by_admin for request in platform.asked if hasattr(request, "by_admin")] == [True, False, True]


@pytest.mark.parametrize("is_read_first", [False, True])
async def test_a_panic_that_took_long_is_told_to_whoever_asks_again_though_orders_were_cancelled_for_it(
    platform: Platform, is_read_first: bool
) -> None:
    """Seen with an instance of trading that was stopped: what the panic cancelled hid that it was raised."""
    asha = await platform.person("asha")
    pending = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(pending), said.accepted(pending))
    url, key = f"/api/v2/risk/panic/account/{asha.account_id}", {"Idempotency-Key": "red"}
    first = await asha.client.post(url, json={"reason": "fire"}, headers=key)
    assert first.status_code == 202
    request = platform.asked[-1]
    assert isinstance(request, PanicRequested)
    told = [*said.yes(request, envelope(request)), said.cancelled(pending)]
    for message in reversed(told) if is_read_first else told:
        await platform.project(message, correlation_id=request.panic_id)
    again = await asha.client.post(url, json={"reason": "fire"}, headers=key)
    assert (again.status_code, again.json()["in_force"]) == (200, True)
    ended = (await asha.client.get(first.json()["status_url"])).json()
    assert ended["type"] == "PanicRaised"


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
    place = page["paths"]["/api/v2/trading/orders/place"]["post"]
    assert {"201", "202", "422", "503"} <= place["responses"].keys()
    assert place["requestBody"]["content"]["application/json"]["schema"]["properties"]["instrument"]


async def test_admins_see_the_books_of_others_and_trade_only_in_their_own(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    order = said.terms(ravi.user_id, ravi.account_id)
    await platform.project(said.submitted(order))
    assert len((await asha.client.get(f"/api/v2/trading/orders/?user_id={ravi.user_id}")).json()["data"]) == 1
    assert (await asha.client.get(f"/api/v2/accounts/{ravi.account_id}")).status_code == 200
    assert (await ravi.client.get(f"/api/v2/trading/orders/?user_id={asha.user_id}")).status_code == 403
    cancel = await asha.client.post("/api/v2/trading/orders/cancel", json={"order_id": str(order.order_id)})
    assert cancel.status_code == 404
