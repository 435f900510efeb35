"""An owner asks what would become of an alert; signals answers, the gateway only says who asks."""

from collections.abc import AsyncIterator

import pytest

from libs.common import ids
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
