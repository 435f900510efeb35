"""docs/api.md against the API that is served."""

import asyncio
import re
from pathlib import Path
from typing import Any

import jsonschema
import orjson

from tests.common import described
from tests.services.gateway import said
from tests.services.gateway.scene import Platform
from tests.services.gateway.test_entities_api import ALGO

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()
API = "/api/v2"


def listed() -> set[tuple[str, str]]:
    """The rows of the table at the end: a path and its methods."""
    rows = re.findall(r"^\| `(/[^`]+)` \| ([A-Z ]+) \|", PAGE.partition("## Every route")[2], re.MULTILINE)
    return {(method, API + path) for path, methods in rows for method in methods.split()}


async def test_the_page_lists_every_route_that_is_served_and_no_other(platform: Platform) -> None:
    document = (await (await platform.client()).get("/openapi.json")).json()
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {each for each in served if each[1].startswith(API)} == listed()


def test_every_route_that_the_text_speaks_of_is_in_the_table() -> None:
    """With or without the slash at its end: both are answered."""
    spoken = re.findall(r"\b(GET|POST|PUT|DELETE) (/[a-z][\w/{}-]*)[`?\s]", PAGE.partition("## Every route")[0])
    whole = {(method, shape(path)) for method, path in spoken if path.count("{") == path.count("}")}
    assert len(whole) > 15
    assert whole <= {(method, shape(path.removeprefix(API))) for method, path in listed()}


def shape(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path).rstrip("/")


async def test_what_is_answered_is_what_the_page_for_code_generators_says(platform: Platform) -> None:
    """Clients made from it refuse a field that it does not name where it says that there are no others."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    group = (await asha.client.post("/api/v2/signals/", json={"name": "EMA"})).json()
    account = str(asha.account_id)
    made = {
        "/algos/": ALGO | {"accounts": [{"account_id": account}], "mappings": [{"group_id": group["group_id"]}]},
        "/risk/limits/": {"level": "USER", "max_order_value": "1000"},
    }
    for path, body in made.items():
        answer = await asha.client.post(API + path, json=body)
        assert answer.status_code == 201, answer.text
    order = said.terms(asha.user_id, asha.account_id)
    denied = said.denied(said.terms(asha.user_id, asha.account_id))
    await platform.project(
        said.submitted(order), said.accepted(order), said.filled(order), said.position(order), denied
    )
    document = (await asha.client.get("/openapi.json")).json()
    ids = {"{signal_id}": group["group_id"], "{account_id}": account, "{order_id}": str(order.order_id)}
    faults = []
    for path in ("accounts", "signals", *map(strip, made), "trading/orders", "trading/positions", "trading/tradebook"):
        for shown in {f"{API}/{path}/", f"{API}/{path}/{key_of(path)}"} & document["paths"].keys():
            url = re.sub(r"{\w+}", lambda name: ids[name[0]], shown)
            answer = await asha.client.get(url)
            assert answer.status_code == 200, (url, answer.text)
            assert answer.json().get("data") != [], url
            faults += [f"{shown}: {fault}" for fault in unlike(document, shown, answer.json())]
    assert faults == []


async def test_what_is_answered_before_its_end_is_known_is_told_by_the_page_too(platform: Platform) -> None:
    """Clients made from it take a status that it does not name for a fault: the closing was asked for once more."""
    asha = await platform.person("asha")
    document = (await asha.client.get("/openapi.json")).json()
    limit = {"level": "USER", "max_order_value": "1000"}
    position = {"account_id": str(asha.account_id), "instrument": "NSE:SBIN"}
    asked: dict[str, dict[str, Any] | None] = {
        "/accounts/": {"name": "Second"},
        "/risk/limits/": limit,
        "/risk/panic/user": None,
        "/trading/orders/place": {**position, "side": "BUY", "quantity": 1, "product": "MIS"},
        "/trading/orders/cancel-all": {},
        "/trading/positions/close": position,
        "/trading/positions/close-all": {},
    }
    answers = await asyncio.gather(*(asha.client.post(API + path, json=body) for path, body in asked.items()))
    for path, answer in zip(asked, answers, strict=True):
        assert answer.status_code == 202, (path, answer.text)
        described.check(document, API + path, answer)


async def test_whatever_the_page_for_code_generators_refers_to_is_in_it(platform: Platform) -> None:
    document = (await (await platform.client()).get("/openapi.json")).json()
    pointers = set(re.findall(r'"\$ref":"#/([^"]+)"', orjson.dumps(document).decode()))
    assert len(pointers) > 50
    assert {pointer for pointer in pointers if not found(document, pointer.split("/"))} == set()


def found(document: Any, names: list[str]) -> bool:
    return not names or (names[0] in document and found(document[names[0]], names[1:]))


def strip(path: str) -> str:
    return path.strip("/")


def key_of(path: str) -> str:
    """Those of which the test knows one."""
    return {"accounts": "{account_id}", "signals": "{signal_id}", "trading/orders": "{order_id}"}.get(path, "")


def unlike(document: dict[str, Any], path: str, answer: dict[str, Any]) -> list[str]:
    """What the page does not say, whether it says that there is nothing else or is silent."""
    schemas = document["components"]["schemas"]
    found = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    errors = [
        each.message
        for each in jsonschema.Draft202012Validator(found | {"components": {"schemas": schemas}}).iter_errors(answer)
    ]
    rows = answer.get("data", [answer])
    named = found
    while "$ref" in named:
        named = schemas[named["$ref"].rpartition("/")[2]]
        if "data" in named.get("properties", {}):
            named = named["properties"]["data"]["items"]
    if "properties" in named:
        errors += sorted({f"{name} is not told of" for row in rows for name in row.keys() - named["properties"].keys()})
    return errors
