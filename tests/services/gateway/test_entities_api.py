"""Accounts, signal groups and algos over HTTP, and what their users may do."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
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
from libs.common.contracts.algos import AlgoDeleted, AlgoSaveRequested
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AlgoId, SignalGroupId
from libs.common.contracts.signals import SignalGroupSaveRequested
from libs.common.security import WebhookSecrets
from services.gateway.api import edge
from services.gateway.api.edge import edge_in
from services.gateway.domain.idempotency import KEPT
from tests.services.gateway import said
from tests.services.gateway.scene import Platform, shortest_pause

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


async def test_a_request_of_which_nothing_can_come_any_more_is_not_found(platform: Platform) -> None:
    """Who slipped in an id, or asked on after the day for which it is told, heard for ever that it is under way."""
    asha, now = await platform.person("asha"), platform.runtime.clock.now()

    def asked_at(moment: datetime) -> UUID:
        return ids.derive(ids.first_of(moment), "asked")

    told = {
        asked_at(now - KEPT + timedelta(minutes=1)): 200,
        asked_at(now - KEPT - timedelta(minutes=1)): 404,
        asked_at(now + timedelta(hours=1)): 200,  # the clock was set back since
        asked_at(now + timedelta(days=365)): 404,
        UUID("8f14e45f-ceea-467f-9a0b-2c1d3e4f5a6b"): 404,
    }
    for request_id, status in told.items():
        answer = await asha.client.get(f"/api/v2/system/requests/{request_id}")
        assert answer.status_code == status, answer.text
        assert status == 404 or answer.json()["status"] == "PENDING"
    late = asked_at(now - 2 * KEPT)
    await platform.project(said.account_saved(asha.user_id, asha.account_id), correlation_id=late)
    assert (await asha.client.get(f"/api/v2/system/requests/{late}")).json()["status"] == "ENDED"


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
    assert (hook["payloads"]["exit"]["symbol"], hook["payloads"]["exit"]["exchange"]) == ("{{ticker}}", "{{exchange}}")
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
    on = (await asha.client.post(f"{url}/activate")).json()
    assert (on["name"], on["active"], on["version"], on["legs"]) == ("Other", True, 4, algo["legs"])
    assert [each["algo_id"] for each in (await asha.client.get("/api/v2/algos/")).json()["data"]] == [algo["algo_id"]]
    assert (await ravi.client.get(url)).status_code == 404
    assert (await asha.client.delete(url)).status_code == 204


async def test_an_algo_has_as_many_legs_as_the_page_for_code_generators_says(platform: Platform) -> None:
    """It said 20, and strategy refused more than 10."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    schemas = (await asha.client.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["AlgoBody"]["properties"]["legs"]["maxItems"] == 100
    own = ALGO | {"accounts": [{"account_id": str(asha.account_id)}]}
    statuses = [
        (await asha.client.post("/api/v2/algos/", json=own | {"legs": ALGO["legs"] * count})).status_code
        for count in (100, 101)
    ]
    assert statuses == [201, 422]


async def test_an_algo_is_switched_off_though_an_account_or_a_group_of_it_is_gone(platform: Platform) -> None:
    """Seen: 404, and it went on entering in its other accounts."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    groups = [(await asha.client.post("/api/v2/signals/", json={"name": name})).json() for name in ("EMA", "RSI")]
    second = (await asha.client.post("/api/v2/accounts/", json={"name": "Second"})).json()
    linked = [{"account_id": str(asha.account_id)}, {"account_id": second["account_id"]}]
    mapped = [{"group_id": group["group_id"]} for group in groups]
    made = await asha.client.post("/api/v2/algos/", json=ALGO | {"accounts": linked, "mappings": mapped})
    url = f"/api/v2/algos/{made.json()['algo_id']}"
    assert (await asha.client.delete(f"/api/v2/accounts/{second['account_id']}")).status_code == 204
    assert (await asha.client.delete(f"/api/v2/signals/{groups[0]['group_id']}")).status_code == 204
    off = await asha.client.post(f"{url}/deactivate")
    assert (off.status_code, off.json()["active"]) == (200, False), off.text
    assert (await asha.client.put(url, json={"accounts": linked[:1], "mappings": mapped[1:]})).status_code == 200
    gone = await asha.client.put(url, json={"accounts": linked})
    assert gone.status_code == 404, "named anew"


async def test_what_was_deleted_at_another_instance_is_soon_gone_here_too(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits over it, which guarded nothing, and algos that trade in it were taken there for as long as that ran."""
    monkeypatch.setattr(edge, "OWNER_KNOWN_S", 0.05, raising=False)
    asha = await platform.person("asha")
    platform.answer = said.yes
    linked = ALGO | {"accounts": [{"account_id": str(asha.account_id)}]}
    algo = (await asha.client.post("/api/v2/algos/", json=linked)).json()["algo_id"]
    limit = {"level": "STRATEGY", "strategy_id": algo, "stop_loss": "1000"}
    assert (await asha.client.post("/api/v2/risk/limits/", json=limit)).status_code == 201
    gone = AlgoDeleted(algo_id=AlgoId(UUID(algo)), user_id=asha.user_id)
    await platform.project(gone, said.account_deleted(asha.user_id, asha.account_id))
    await asyncio.sleep(0.1)
    for path, body in (("risk/limits/", limit), ("algos/", linked)):
        answer = await asha.client.post(f"/api/v2/{path}", json=body)
        assert (answer.status_code, answer.json().get("code")) == (404, "not_found"), path


async def test_admins_see_the_books_of_others_and_trade_only_in_their_own(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    order = said.terms(ravi.user_id, ravi.account_id)
    await platform.project(said.submitted(order))
    assert len((await asha.client.get(f"/api/v2/trading/orders/?user_id={ravi.user_id}")).json()["data"]) == 1
    assert (await asha.client.get(f"/api/v2/accounts/{ravi.account_id}")).status_code == 200
    assert (await ravi.client.get(f"/api/v2/trading/orders/?user_id={asha.user_id}")).status_code == 403
    cancel = await asha.client.post("/api/v2/trading/orders/cancel", json={"order_id": str(order.order_id)})
    assert cancel.status_code == 404


async def test_nobody_waits_while_a_thousand_algos_of_many_accounts_are_listed(platform: Platform) -> None:
    """All of their 16 MB were read and written anew: who asked for them again and again held up everybody's orders."""
    asha = await platform.person("asha")
    await platform.runtime.pool.execute(
        """
        INSERT INTO entities (kind, entity_id, user_id, version, body, deleted, updated_at)
        SELECT 'algo', gen_random_uuid(), $1::uuid, n, jsonb_build_object('name', 'Algo ' || n, 'accounts', (
                   SELECT jsonb_agg(jsonb_build_object('account_id', gen_random_uuid(), 'multiplier', '1'))
                     FROM generate_series(1, 200))), false, $2
          FROM generate_series(1, 1000) AS n
        """,
        asha.user_id,
        said.NOW,
    )
    pause, answer = await shortest_pause(lambda: asha.client.get("/api/v2/algos/"), 0.06)
    assert pause < 0.06
    told = answer.json()["data"]
    assert (answer.headers["content-type"], len(told), len(told[0]["accounts"])) == ("application/json", 1000, 200)
    assert {each["updated_at"] for each in told} == {"2026-11-24T06:30:00+00:00"}
    assert sorted(each["version"] for each in told) == list(range(1, 1001))


async def test_a_change_of_version_0_is_a_change_of_that_version(platform: Platform) -> None:
    """It was taken for none: who had never read the account overwrote what another had just saved."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    group = (await asha.client.post("/api/v2/signals/", json={"name": "G"})).json()["group_id"]
    algo = (
        await asha.client.post("/api/v2/algos/", json=ALGO | {"accounts": [{"account_id": str(asha.account_id)}]})
    ).json()["algo_id"]
    for path in (f"accounts/{asha.account_id}", f"signals/{group}", f"algos/{algo}"):
        await asha.client.put(f"/api/v2/{path}", json={"name": "Mine", "version": 0})
        request = platform.asked[-1]
        assert isinstance(request, AccountSaveRequested | SignalGroupSaveRequested | AlgoSaveRequested)
        assert request.expected_version == 0, path


async def test_an_admin_who_names_a_user_and_an_account_of_another_is_shown_neither(platform: Platform) -> None:
    """The user was passed over: the other's orders, fills, profit and violations stood there as his."""
    admin, asha, ravi = await platform.person("admin"), await platform.person("asha"), await platform.person("ravi")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.filled(order, version=2), said.position(order))
    for path in ("trading/orders/", "trading/tradebook/", "trading/positions/pnl", "risk/violations/"):
        for whose, status in ((asha, 200), (ravi, 404)):
            query = {"account_id": str(asha.account_id), "user_id": str(whose.user_id)}
            answer = await admin.client.get(f"/api/v2/{path}", params=query)
            assert answer.status_code == status, (path, answer.text)
