"""Whatever is asked with the ids of somebody else, it is as if there were nothing; and who may not, may nowhere."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from libs.common import ids
from libs.common.contracts.enums import SquareOffReason
from libs.common.contracts.ids import InstrumentId, SquareOffId
from libs.common.contracts.masters import CustomLeg, CustomSymbol, CustomSymbolSaved
from libs.common.contracts.orders import SquareOffStarted
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.test_entities_api import ALGO
from tests.services.gateway.test_orders_api import limit_order

API = "/api/v2"
OPEN = {
    "/auth/register",
    "/auth/login",
    "/auth/refresh",
    "/system/health",
    "/system/version",
    "/accounts/{account_id}/postback",
}
"""What nobody logs in for: a postback is signed."""
HARMLESS = {"/market/quotes/bulk"}
"""A POST that changes nothing."""
OF_ONESELF = {"/auth/logout", "/auth/profile", "/auth/change-password", "/auth/api-keys", "/auth/api-keys/{key_id}"}
"""Whoever logged in may change who he is; no key may."""
FOR_ALL = {
    ("GET", "/market/custom-symbols/{custom_symbol_id}"),
    ("POST", "/accounts/{account_id}/postback"),
    ("GET", "/system/requests/{request_id}"),
}


async def routes(client: httpx.AsyncClient) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path, as the page for code generators describes them."""
    paths = (await client.get("/openapi.json")).json()["paths"].items()
    return {
        (method.upper(), path.removeprefix(API)): route
        for path, methods in paths
        for method, route in methods.items()
        if path.startswith(API)
    }


def filled(path: str, named: dict[str, str]) -> str:
    for name, value in named.items():
        path = path.replace(f"{{{name}}}", value)
    return API + path


IDS = (
    "account_id",
    "order_id",
    "algo_id",
    "strategy_id",
    "signal_id",
    "limit_id",
    "key_id",
    "user_id",
    "custom_symbol_id",
    "square_off_id",
    "request_id",
)
SOMETHING = {"symbol": "NSE:SBIN", "underlying": "NIFTY", **{name: str(ids.new_id()) for name in IDS}}


async def test_nobody_is_answered_anything_without_a_credential(platform: Platform) -> None:
    await platform.person("asha")
    nobody = await platform.client()
    for method, path in await routes(nobody):
        if path not in OPEN:
            answer = await nobody.request(method, filled(path, SOMETHING), json={})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)


@pytest.mark.parametrize("who", ["viewer", "key"])
async def test_who_may_only_look_changes_nothing_anywhere(platform: Platform, who: str) -> None:
    await platform.person("asha")
    vani = await platform.person("vani", role="viewer" if who == "viewer" else None)
    client = vani.client
    if who == "key":
        body = {"name": "screen", "scopes": ["read"]}
        key = (await client.post(f"{API}/auth/api-keys", json=body)).json()["api_key"]
        client = await platform.client(**{"X-API-Key": key})
    for method, path in await routes(client):
        if method == "GET" or path in OPEN | HARMLESS or (path in OF_ONESELF and who == "viewer"):
            continue
        answer = await client.request(method, filled(path, SOMETHING), json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
    assert platform.asked == []


async def belongings(platform: Platform, asha: Person) -> dict[str, str]:
    """One of everything, with its id as the paths name it."""
    platform.answer = said.yes
    group = (await asha.client.post(f"{API}/signals/", json={"name": "EMA"})).json()
    linked = {"accounts": [{"account_id": str(asha.account_id)}], "mappings": [{"group_id": group["group_id"]}]}
    algo = (await asha.client.post(f"{API}/algos/", json=ALGO | linked)).json()
    limit = (await asha.client.post(f"{API}/risk/limits/", json={"level": "USER", "stop_loss": "1"})).json()
    key = (await asha.client.post(f"{API}/auth/api-keys", json={"name": "bot"})).json()
    order = said.terms(asha.user_id, asha.account_id)
    legs = (CustomLeg(instrument=InstrumentId("NSE:SBIN"), weight=Decimal(1)),)
    pair = CustomSymbol(
        custom_symbol_id=ids.new_id(), user_id=asha.user_id, symbol="PAIR", name="Pair", legs=legs, tick_size=Decimal(1)
    )
    closing = SquareOffStarted(
        square_off_id=SquareOffId(ids.new_id()),
        account_id=asha.account_id,
        user_id=asha.user_id,
        strategy_id=None,
        instrument=None,
        product=None,
        reason=SquareOffReason.CLOSE,
        cancelling=0,
        closing=1,
    )
    await platform.project(
        said.submitted(order),
        said.accepted(order),
        said.filled(order),
        said.position(order),
        closing,
        CustomSymbolSaved(custom_symbol_id=pair.custom_symbol_id, user_id=asha.user_id, custom_symbol=pair, version=1),
    )
    return {
        "account_id": str(asha.account_id),
        "order_id": str(order.order_id),
        "algo_id": algo["algo_id"],
        "strategy_id": algo["algo_id"],
        "signal_id": group["group_id"],
        "limit_id": limit["limit_id"],
        "key_id": key["key_id"],
        "user_id": str(asha.user_id),
        "custom_symbol_id": str(pair.custom_symbol_id),
        "square_off_id": str(closing.square_off_id),
    }


BODIES: dict[str, dict[str, object]] = {
    "/accounts/{account_id}/credentials": {"api_key": "k", "access_token": "t"},
    "/risk/limits/{limit_id}": {"level": "USER", "stop_loss": "1"},
}


async def test_what_belongs_to_another_is_not_found_by_its_id(platform: Platform) -> None:
    await platform.person("admin")
    asha, bina = await platform.person("asha"), await platform.person("bina")
    hers = await belongings(platform, asha)
    asked, tried = len(platform.asked), 0
    for method, path in await routes(bina.client):
        if "_id}" not in path or (method, path) in FOR_ALL:
            continue
        answer = await bina.client.request(method, filled(path, hers), json=BODIES.get(path, {}))
        expected = (403, "forbidden") if path.startswith("/admin/") else (404, "not_found")
        assert (answer.status_code, answer.json()["code"]) == expected, (method, path, answer.text)
        tried += 1
    assert tried > 30
    assert len(platform.asked) == asked


async def test_what_belongs_to_another_is_not_found_where_a_body_names_it(platform: Platform) -> None:
    await platform.person("admin")
    asha, bina = await platform.person("asha"), await platform.person("bina")
    hers = await belongings(platform, asha)
    mine: dict[str, object] = {"account_id": str(bina.account_id)}
    account: dict[str, object] = {"account_id": hers["account_id"]}
    order: dict[str, object] = {"order_id": hers["order_id"]}
    strategy: dict[str, object] = {"strategy_id": hers["strategy_id"]}
    settled = {"outcome": "CANCELLED", "reason": "the broker told me so"}
    bodies: list[tuple[str, dict[str, object]]] = [
        ("trading/orders/place", limit_order(asha)),
        ("trading/orders/place", limit_order(bina, strategy_id=hers["strategy_id"])),
        ("trading/orders/modify", order | {"quantity": 5}),
        ("trading/orders/cancel", order),
        ("trading/orders/settle", order | settled),
        ("trading/orders/cancel-all", account),
        ("trading/positions/close", account | {"instrument": "NSE:SBIN"}),
        ("trading/positions/close", strategy),
        ("trading/positions/close", account | strategy),
        ("trading/positions/close-all", account),
        ("risk/limits/", account | {"level": "ACCOUNT", "stop_loss": "1"}),
        ("risk/limits/", strategy | {"level": "STRATEGY", "stop_loss": "1"}),
        ("risk/limits/", account | {"level": "INSTRUMENT", "instrument": "NSE:SBIN", "stop_loss": "1"}),
        ("algos/", ALGO | {"accounts": [account]}),
        ("algos/", ALGO | {"accounts": [mine, account]}),
        ("algos/", ALGO | {"accounts": [mine], "mappings": [{"group_id": hers["signal_id"]}]}),
    ]
    asked = len(platform.asked)
    for path, body in bodies:
        answer = await bina.client.post(f"{API}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (path, body, answer.text)
    assert len(platform.asked) == asked


async def test_books_and_lists_of_another_are_not_shown_by_a_query(platform: Platform) -> None:
    await platform.person("admin")
    asha, bina = await platform.person("asha"), await platform.person("bina")
    hers = await belongings(platform, asha)
    tried = 0
    for (method, path), route in (await routes(bina.client)).items():
        queries = {each["name"] for each in route.get("parameters", ()) if each["in"] == "query"}
        for name, expected in (("user_id", (403, "forbidden")), ("account_id", (404, "not_found"))):
            if method == "GET" and name in queries:
                answer = await bina.client.get(filled(path, {}), params={name: hers[name]})
                assert (answer.status_code, answer.json()["code"]) == expected, (path, name)
                tried += 1
    assert tried > 10
    for path in ("trading/orders/", "trading/tradebook/", "trading/positions/", "trading/funds/", "risk/exposure/"):
        assert (await bina.client.get(f"{API}/{path}")).json()["data"] == [], path
    told = await bina.client.get(f"{API}/trading/orders/", params={"strategy_id": hers["strategy_id"]})
    assert told.json()["data"] == []
