"""Alerts, as TradingView sends them."""

import asyncio
from collections import Counter

import httpx
import pytest

from libs.common.ids import new_id
from tests.e2e.trader import SOON, Trader
from tools.client import Json, Platform, Refused
from tools.stream import Stream


async def group_of(platform: Platform, **rules: object) -> Json:
    return await platform.post("/api/v2/signals/", {"name": f"e2e {new_id().hex[-6:]}", **rules})


async def test_fifty_alike_alerts_at_once_are_one_signal(platform: Platform, stream: Stream) -> None:
    group = await group_of(platform, duplicate_window_s=60)
    alert = {"signal_type": "entry", "symbol": "NIFTY", "action": "buy", "alert_name": group["name"]}
    url = group["webhook"]["webhook_url"]
    async with httpx.AsyncClient(timeout=10) as sender:
        answers = await asyncio.gather(*(sender.post(url, json=alert) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: 49}
    (signal_id,) = {answer.json()["signal_id"] for answer in answers}
    seen = await stream.until(lambda h: h.channel == "signals" and h.row["signal_id"] == signal_id, 10)
    assert seen
    logs = await platform.get("/api/v2/webhooks/logs/", group_id=group["group_id"], limit=100)
    assert Counter(arrival["fate"] for arrival in logs["data"]) == {"ACCEPTED": 1, "DUPLICATE": 49}


async def test_an_alert_by_token_is_taken_and_a_wrong_token_is_not(platform: Platform) -> None:
    group = await group_of(platform)
    alert = {"strategy_id": group["group_id"], "signal_type": "exit", "symbol": "NIFTY", "action": "sell"}
    async with httpx.AsyncClient(timeout=10) as sender:
        taken = await sender.post(group["webhook"]["tradingview_url"], json=alert)
        refused = await sender.post(group["webhook"]["tradingview_url"] + "x", json=alert)
    assert (taken.status_code, refused.status_code) == (202, 401)
    assert refused.json()["code"] == "unauthorized"


async def test_a_group_takes_alerts_until_it_is_switched_off_and_from_when_it_is_switched_on_again(
    platform: Platform,
) -> None:
    group = await group_of(platform)
    path = f"/api/v2/signals/{group['group_id']}"
    async with httpx.AsyncClient(timeout=10, trust_env=False) as sender:

        async def alerted() -> tuple[int, str]:
            alert = {"signal_type": "exit", "symbol": "NIFTY", "action": "sell", "alert_id": new_id().hex}
            answer = await sender.post(group["webhook"]["webhook_url"], json=alert)
            return answer.status_code, answer.json().get("code", "")

        assert await alerted() == (202, "")
        assert (await platform.post(f"{path}/deactivate"))["active"] is False
        assert await alerted() == (403, "disabled")
        renamed = await platform.put(path, {"name": f"{group['name']} again"})
        assert (renamed["active"], (await platform.get(path))["name"]) == (False, f"{group['name']} again")
        assert (await platform.post(f"{path}/activate"))["active"] is True
        assert await alerted() == (202, "")
        logs = await platform.get("/api/v2/webhooks/logs/", group_id=group["group_id"])
        assert [arrival["fate"] for arrival in logs["data"]] == ["ACCEPTED", "DISABLED", "ACCEPTED"]
        await platform.delete(path)
        assert await alerted() == (401, "unauthorized")
    with pytest.raises(Refused, match="404 not_found"):
        await platform.get(path)


async def test_a_scan_of_chartink_trades_the_stocks_that_it_names(trader: Trader) -> None:
    """Seen: what an algo traded stood in its legs alone, whatever the scan had found."""
    group = await group_of(trader.platform)
    legs = [{"kind": "EQUITY", "instrument": f"NSE:{symbol}", "side": "BUY", "lots": 1} for symbol in ("SBIN", "INFY")]
    algo = {
        "name": group["name"],
        "legs": legs,
        "entry_legs": "named",
        "product": "MIS",
        "accounts": [{"account_id": trader.account_id}],
        "mappings": [{"group_id": group["group_id"]}],
    }
    made = await trader.platform.post("/api/v2/algos/", algo)
    assert made["entry_legs"] == "named"

    async def scanned(stocks: str, **said: str) -> str:
        body = {"stocks": stocks, "trigger_prices": "1,2", "triggered_at": "2:34 pm", "scan_name": "Breakouts"}
        async with httpx.AsyncClient(timeout=10, trust_env=False) as sender:
            answer = await sender.post(group["webhook"]["webhook_url"], params=said, json=body)
        assert answer.status_code == 202, answer.text
        signal_id: str = answer.json()["signal_id"]
        return signal_id

    async def told(signal_id: str) -> list[tuple[str, int, str | None]]:
        """What the algo did about it, once the log says so."""
        for _ in range(int(SOON / 0.2)):
            logs = await trader.platform.get(f"/api/v2/signals/{group['group_id']}/logs")
            [decisions] = [each["decisions"] for each in logs["data"] if each["signal_id"] == signal_id]
            if decisions:
                return [(each["type"], each["orders"], each.get("reason")) for each in decisions]
            await asyncio.sleep(0.2)
        raise AssertionError("no algo told what it did")

    async def holds(quantity: int) -> bool:
        place = (trader.account_id, "NSE:SBIN", quantity)
        return bool(
            await trader.stream.until(
                lambda h: (
                    h.channel == "positions" and (h.row["account_id"], h.row["instrument"], h.row["quantity"]) == place
                ),
                SOON,
            )
        )

    assert sorted(await told(await scanned("EDUCOMP,SBIN", action="buy"))) == [
        ("SignalActedOn", 1, None),
        ("SignalSkipped", 0, "the algo has no leg of EDUCOMP"),
    ]
    assert await holds(1)
    repeated = await scanned("SBIN", action="buy")
    assert await told(repeated) == [
        ("SignalSkipped", 0, "NSE:SBIN: in position already; the algo ignores repeated entries")
    ]
    another = await scanned("INFY", action="sell", signal_type="exit")
    assert await told(another) == [("SignalSkipped", 0, "NSE:INFY: nothing is open")]
    assert await told(await scanned("SBIN", action="sell", signal_type="exit")) == [("SignalActedOn", 0, None)]
    assert await holds(0)
