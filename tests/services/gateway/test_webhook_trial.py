"""An owner asks what would become of an alert, or what became of it; signals answers, the gateway says who asks."""

from collections.abc import AsyncIterator

import orjson
import pytest

from libs.common import ids
from libs.common.contracts.algos import SignalActedOn, SignalSkipped
from libs.common.contracts.enums import SignalType
from libs.common.contracts.ids import AlgoId, SignalId
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.test_history_api import Marketdata

ALERT = b'{"action": "buy", "symbol": "NIFTY"}'


@pytest.fixture(autouse=True)
async def signals(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Marketdata]:
    """There before the gateway is, which takes its address from the environment."""
    stub = Marketdata()
    stub.media, stub.answer = "application/json", [b'{"fate": "ACCEPTED", "reason": "", "field": null, "signal": {}}']
    monkeypatch.setenv("GATEWAY_SIGNALS_URL", await stub.open())
    yield stub
    stub.close()


async def a_group(platform: Platform, asha: Person) -> str:
    platform.answer = said.yes
    made = await asha.client.post("/api/v2/signals/", json={"name": "EMA"})
    return str(made.json()["group_id"])


async def test_the_alert_goes_to_signals_as_it_is_with_its_owner_s_name(
    platform: Platform, signals: Marketdata
) -> None:
    asha = await platform.person("asha")
    group_id = await a_group(platform, asha)
    answer = await asha.client.post(f"/api/v2/webhooks/{group_id}/test", content=ALERT)
    assert (answer.status_code, answer.json()["fate"]) == (200, "ACCEPTED")
    assert f"POST /internal/webhooks/{group_id}/test?user_id={asha.user_id}" in signals.asked
    assert ALERT.decode() in signals.asked
    url = {"action": "buy", "signal_type": "entry"}
    assert (await asha.client.post(f"/api/v2/webhooks/{group_id}/test", params=url, content=b"{}")).status_code == 200
    assert f"test?user_id={asha.user_id}&action=buy&signal_type=entry" in signals.asked


async def test_nobody_tries_another_s_group(platform: Platform, signals: Marketdata) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    group_id = await a_group(platform, asha)
    assert (await ravi.client.post(f"/api/v2/webhooks/{group_id}/test", content=ALERT)).status_code == 404
    assert (await asha.client.post(f"/api/v2/webhooks/{ids.new_id()}/test", content=ALERT)).status_code == 404
    assert signals.asked == ""


async def test_the_log_tells_what_algos_did_with_an_alert_and_why_not(platform: Platform, signals: Marketdata) -> None:
    """Seen: it said that the alert was accepted, and nothing but a stream of that day said why nobody traded."""
    asha, algo_id = await platform.person("asha"), AlgoId(ids.new_id())
    taken, skipped, refused = ids.new_id(), ids.new_id(), None
    own = {"algo_id": algo_id, "user_id": asha.user_id}
    order_ids = (str(ids.new_id()), str(ids.new_id()))
    acted = {"signal_id": SignalId(taken), "signal_type": SignalType.ENTRY, "order_ids": order_ids}
    await platform.project(
        SignalActedOn.model_validate({**own, **acted}),
        SignalSkipped.model_validate({**own, "signal_id": SignalId(skipped), "reason": "the algo is inactive"}),
    )
    arrivals = [{"fate": "ANY", "signal_id": each and str(each)} for each in (refused, skipped, taken)]
    signals.answer = [orjson.dumps({"logs": arrivals, "next_before": None})]
    answer = await asha.client.get("/api/v2/webhooks/logs/")
    assert answer.status_code == 200, answer.text
    none, why, what = (each["decisions"] for each in answer.json()["data"])
    assert none == []
    assert [(each["type"], each["algo_id"], each["reason"]) for each in why] == [
        ("SignalSkipped", str(algo_id), "the algo is inactive")
    ]
    assert [(each["type"], each["orders"], each["square_offs"]) for each in what] == [("SignalActedOn", 2, 0)]
    ravi = await platform.person("ravi")
    assert not any(each["decisions"] for each in (await ravi.client.get("/api/v2/webhooks/logs/")).json()["data"])
