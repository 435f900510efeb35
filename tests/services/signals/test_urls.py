"""What is meant may stand in the webhook's URL, for senders whose body is their own, as ChartInk's."""

import hashlib
import hmac
from typing import Any

import httpx
import orjson
import pytest

from libs.common.contracts.enums import SignalSource
from libs.common.contracts.signals import SignalGroup
from tests.services.signals.test_trial import tried
from tests.services.signals.webhooks import SECRETS, TRADINGVIEW, Make, custom, problem, the_fate, token

SCAN = {
    "stocks": "SBIN,INFY",
    "trigger_prices": "812.5,1503",
    "triggered_at": "2:34 pm",
    "scan_name": "Breakouts",
    "scan_url": "breakouts",
    "alert_name": "Alert for Breakouts",
    "webhook_url": "https://example.org",
}


async def understood(client: httpx.AsyncClient, group: SignalGroup, said: dict[str, str], body: bytes) -> Any:
    answer = await tried(client, group, body, said=said)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_scan_enters_and_exits_by_what_its_url_says(client: httpx.AsyncClient, make: Make) -> None:
    """Seen: its body says nothing of that, nobody can change it, and each was refused (422)."""
    group = await make(duplicate_window_s=60)
    problem(await client.post(custom(group), json=SCAN), 422, "invalid")
    entered = await client.post(custom(group), params={"action": "buy"}, json=SCAN)
    left = await client.post(custom(group), params={"action": "sell", "signal_type": "exit"}, json=SCAN)
    assert (entered.status_code, left.status_code) == (202, 202), left.text
    named = {"strategy_id": str(group.group_id), "token": token(group), "action": "exit_short"}
    assert (await client.post(TRADINGVIEW, params=named, json=SCAN)).status_code == 202
    again = await client.post(TRADINGVIEW, params=named, json=SCAN)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")


async def test_a_trial_tells_what_would_become_of_it(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    found = await understood(client, group, {"action": "short"}, b'{"alert_name": "Alert for Breakouts"}')
    assert (found["fate"], found["signal"]["action"], found["signal"]["signal_type"]) == ("ACCEPTED", "SELL", "entry")
    found = await understood(client, group, {"action": "buy"}, orjson.dumps(SCAN))
    assert found["signal"]["stocks"] == ["SBIN", "INFY"]
    found = await understood(client, group, {"action": "buy"}, b'{"symbol": "SBIN", "exchange": "NSE"}')
    assert (found["signal"]["symbol"], found["signal"]["exchange"]) == ("SBIN", "NSE")
    found = await understood(client, group, {"action": "maybe"}, b"{}")
    assert (found["fate"], found["field"]) == ("INVALID", "action")


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ({"action": "buy"}, {"action": "buy"}),
        ({"action": "buy"}, {"side": "sell"}),
        ({"action": "exit", "signal_type": "exit"}, {"signal_type": "entry"}),
    ],
)
async def test_what_stands_in_the_url_and_in_the_body_is_refused(
    client: httpx.AsyncClient, make: Make, said: dict[str, str], body: dict[str, str]
) -> None:
    group = await make()
    answer = problem(await client.post(custom(group), params=said, json=body), 422, "invalid")
    assert "in the URL and in the body" in answer["detail"]
    assert (await the_fate(client, group))[0] == "INVALID"


async def test_what_is_signed_says_what_is_meant_itself(client: httpx.AsyncClient, make: Make) -> None:
    """Else who reads an alert on its way could send it again and turn it round."""
    group = await make(source=SignalSource.CUSTOM, signature_required=True)
    body = b'{"alert_name": "Breakouts"}'
    key = SECRETS.signing_key(group.group_id, group.rotation)
    signed = {"X-Signature": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}
    answer = await client.post(custom(group), params={"action": "sell"}, content=body, headers=signed)
    assert "nobody signs" in problem(answer, 422, "invalid")["detail"]
