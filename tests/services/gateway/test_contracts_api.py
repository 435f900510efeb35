"""The contract master over HTTP: search, dumps, custom symbols, corporate actions."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import (
    ContractsDownloadRequested,
    CorporateActionsImported,
    CorporateActionsImportRequested,
    CustomSymbolDeleted,
    CustomSymbolDeleteRequested,
    CustomSymbolSaved,
    CustomSymbolSaveRequested,
    MasterSource,
)
from tests.services.gateway.scene import Platform

PAIR: dict[str, Any] = {
    "symbol": "pair",
    "name": "State Bank against Infosys",
    "legs": [{"instrument": "nse:sbin", "weight": "1"}, {"instrument": "NSE:INFY", "weight": "-0.5"}],
}


def marketdata(request: Message, _: Envelope) -> Sequence[Message]:
    """What marketdata says when it has no objection."""
    match request:
        case CustomSymbolSaveRequested():
            return [
                CustomSymbolSaved(
                    custom_symbol_id=request.custom_symbol_id,
                    user_id=request.user_id,
                    custom_symbol=request.custom_symbol,
                    version=request.expected_version + 1,
                )
            ]
        case CustomSymbolDeleteRequested():
            return [CustomSymbolDeleted(custom_symbol_id=request.custom_symbol_id, user_id=request.user_id)]
        case CorporateActionsImportRequested():
            return [
                CorporateActionsImported(import_id=request.import_id, user_id=request.user_id, actions=request.actions)
            ]
        case _:
            return ()


@pytest.fixture
async def market(platform: Platform) -> Platform:
    platform.answer = marketdata
    shares = {"SBIN": "STATE BANK OF INDIA", "INFY": "INFOSYS LIMITED", "RELIANCE": "RELIANCE INDUSTRIES"}
    await platform.project(
        *(
            InstrumentListed(
                instrument=InstrumentId(f"NSE:{symbol}"),
                exchange=Exchange.NSE,
                symbol=symbol,
                name=name,
                kind=InstrumentKind.EQUITY,
                lot_size=1,
                tick_size=Decimal("0.05"),
            )
            for symbol, name in shares.items()
        )
    )
    return platform


@pytest.mark.parametrize("typed", ["relaince", "RELIANSE", "reliance industreis", "infosis", "SBNI"])
async def test_a_misspelled_name_is_found_and_what_was_looked_for_is_said(market: Platform, typed: str) -> None:
    asha = await market.person("asha")
    answer = (await asha.client.get("/api/v2/market/contracts/search", params={"q": typed})).json()
    assert len(answer["data"]) == 1
    assert answer["corrected"]


async def test_a_search_that_means_something_is_not_corrected(market: Platform) -> None:
    asha = await market.person("asha")
    for typed in ("reli", "state", "SBIN"):
        answer = (await asha.client.get("/api/v2/market/contracts/search", params={"q": typed})).json()
        assert (len(answer["data"]), answer["corrected"]) == (1, None)
    nothing = (await asha.client.get("/api/v2/market/contracts/search", params={"q": "zzzzqqqq"})).json()
    assert nothing == {"data": [], "corrected": None}


async def test_a_custom_symbol_lives_from_creation_to_deletion(market: Platform) -> None:
    asha, bala = await market.person("asha"), await market.person("bala", role="trader")
    made = await asha.client.post("/api/v2/market/custom-symbols", json=PAIR)
    assert made.status_code == 201, made.text
    symbol = made.json()
    assert (symbol["instrument"], symbol["legs"][0]["instrument"]) == ("CUSTOM:PAIR", "NSE:SBIN")
    url = f"/api/v2/market/custom-symbols/{symbol['custom_symbol_id']}"
    changed = await asha.client.put(url, json={"legs": [{"instrument": "NSE:SBIN", "weight": 2}]})
    assert (changed.json()["version"], len(changed.json()["legs"])) == (2, 1)
    assert (await bala.client.get(url)).json()["symbol"] == "PAIR"
    assert (await bala.client.delete(url)).status_code == 404
    assert (await asha.client.delete(url)).status_code == 204
    assert (await asha.client.get(url)).status_code == 404


async def test_everybodys_custom_symbols_are_told_by_the_page(market: Platform) -> None:
    """All that users had made came at once, however many: a few of a thousand each kept everybody's orders waiting."""
    asha, bala = await market.person("asha"), await market.person("bala", role="trader")
    url = "/api/v2/market/custom-symbols/"
    for n, person in enumerate((asha, bala, asha)):
        assert (await person.client.post(url, json=PAIR | {"symbol": f"PAIR{n}"})).status_code == 201
    first = (await bala.client.get(url, params={"limit": 2})).json()
    then = (await bala.client.get(url, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [[each["symbol"] for each in page["data"]] for page in (first, then)] == [["PAIR0", "PAIR1"], ["PAIR2"]]
    assert then["next_cursor"] is None
    most = (await bala.client.get(url)).json()
    assert (len(most["data"]), most["next_cursor"]) == (3, None)
    assert (await bala.client.get(url, params={"limit": 501})).status_code == 422


async def test_what_marketdata_refuses_becomes_a_problem(market: Platform) -> None:
    def refuse(request: Message, _: Envelope) -> Sequence[Message]:
        return [RequestRefused(entity_id="x", request=type(request).__name__, code="conflict", reason="taken")]

    asha = await market.person("asha")
    market.answer = refuse
    answer = await asha.client.post("/api/v2/market/custom-symbols", json=PAIR)
    assert (answer.status_code, answer.json()["detail"]) == (409, "taken")


async def test_corporate_actions_come_as_json_or_csv_and_only_from_admins(market: Platform) -> None:
    asha, bala = await market.person("asha"), await market.person("bala", role="trader")
    url = "/api/v2/market/corporate-actions"
    split = {"instrument": "NSE:SBIN", "kind": "split", "ex_date": "2014-11-20", "old": 1, "new": 10}
    assert (await asha.client.post(url, json=[split])).json()["imported"] == 1
    text = (
        "instrument,kind,ex_date,old,new,amount\nNSE:SBIN,split,2014-11-20,1,10,\nNSE:ITC,dividend,2026-05-28,,,7.85\n"
    )
    answer = await asha.client.post(url, content=text, headers={"Content-Type": "text/csv"})
    assert answer.json()["imported"] == 2
    text = "instrument,kind,ex_date,withdrawn\nNSE:SBIN,split,2014-11-20,true\n"
    answer = await asha.client.post(url, content=text, headers={"Content-Type": "text/csv"})
    assert answer.json()["imported"] == 1
    (asked,) = [m.actions for m in market.asked if isinstance(m, CorporateActionsImportRequested)][-1:]
    assert [each.withdrawn for each in asked] == [True]
    assert (await bala.client.post(url, json=[split])).status_code == 403
    wrong = await asha.client.post(url, json=[split, {**split, "ex_date": "soon"}])
    assert wrong.status_code == 422
    assert "row 1, ex_date" in wrong.json()["detail"]
    assert (await asha.client.post(url, json=[])).status_code == 422


async def test_an_admin_asks_for_dumps_and_others_do_not(market: Platform) -> None:
    asha, bala = await market.person("asha"), await market.person("bala", role="trader")
    url = "/api/v2/market/contracts/download"
    answer = await asha.client.post(url, json={"sources": ["zerodha", "dhan"]})
    assert (answer.status_code, answer.json()["status_url"]) == (202, url)
    asked: list[MasterSource] = []
    for _ in range(200):
        asked = [m.source for m in market.asked if isinstance(m, ContractsDownloadRequested)]
        if len(asked) == 2:
            break
        await asyncio.sleep(0.1)
    assert set(asked) == {MasterSource.ZERODHA, MasterSource.DHAN}
    assert (await bala.client.post(url, json={"sources": ["zerodha"]})).status_code == 403


async def test_while_marketdata_is_away_its_routes_say_so(market: Platform) -> None:
    asha = await market.person("asha")
    for path in ("download", "lookup?source=zerodha&token=1", "expiries/NIFTY", "NSE:SBIN"):
        answer = await asha.client.get(f"/api/v2/market/contracts/{path}")
        assert answer.status_code == 503, path
    assert (await asha.client.get("/api/v2/market/contracts/nonsense")).status_code == 422
