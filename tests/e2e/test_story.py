"""From an alert to the stop-loss exit, as `make demo` tells it."""

import asyncio
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from deploy.local import bootstrap
from deploy.local.instance import PROJECT
from deploy.local.stack import Stack
from libs.common.ids import new_id
from tests.e2e.trader import Facts
from tools.client import Platform, Refused
from tools.demo.__main__ import knock, tell
from tools.demo.narrator import Narrator

STEPS = (
    "Connected",
    "Signal group",
    "Algo",
    "Risk limit",
    "Alert",
    "SignalReceived",
    "OrderRequested",
    "OrderCleared",
    "OrderAccepted",
    "FillReported",
    "Position",
    "MTMBreached",
    "Square-off",
    "Flat",
)


async def test_openalgo_672_995_an_alert_trades_an_option_on_a_recorded_day_until_its_stop_loss(
    platform: Platform, facts: Facts
) -> None:
    said = io.StringIO()
    told = await tell(facts, Narrator(said))
    places = [said.getvalue().find(f" {step} ") for step in STEPS]
    assert -1 not in places, said.getvalue()
    assert places == sorted(places), said.getvalue()
    assert told.alerted_at < told.submitted_at <= told.filled_at < told.breached_at < told.flat_at

    held = (await platform.get(f"/api/v2/trading/positions/{facts['account_id']}"))["data"]
    assert [each["quantity"] for each in held if each["instrument"] == told.instrument] == [0]
    order = await platform.get(f"/api/v2/trading/orders/{told.order_id}/status")
    events = [each["event"] for each in order["history"]]
    assert events[0] == "OrderSubmitted"
    assert events[-1] == "FillReported"
    fills = await platform.get(f"/api/v2/trading/tradebook/{facts['account_id']}", limit=2)
    bought, sold = sorted(fills["data"], key=lambda fill: str(fill["side"]))
    assert bought["order_id"] == told.order_id
    assert (Decimal(sold["price"]) - Decimal(bought["price"])) * bought["quantity"] == told.pnl


async def test_the_demo_leaves_nothing_behind_but_the_books(platform: Platform, facts: Facts) -> None:
    paths = ("/api/v2/signals/", "/api/v2/algos/", "/api/v2/risk/limits/")
    before = [await platform.get(path) for path in paths]
    await tell(facts, Narrator(io.StringIO()))
    assert [await platform.get(path) for path in paths] == before


async def test_a_demo_of_which_a_step_fails_says_which_and_ends_as_failed(
    platform: Platform, facts: Facts, tmp_path: Path
) -> None:
    """In an account that cannot pay for one lot; what it had set up is gone all the same."""
    poor = await platform.post("/api/v2/accounts/", {"name": f"poor {new_id().hex[-6:]}", "opening_balance": "1"})
    paths = ("/api/v2/signals/", "/api/v2/algos/", "/api/v2/risk/limits/")
    before = [await platform.get(path) for path in paths]
    file = tmp_path / "demo.json"
    file.write_text(json.dumps({**facts, "account_id": poor["account_id"]}))
    call = (sys.executable, "-m", "tools.demo", "--facts", str(file))
    done = await asyncio.to_thread(subprocess.run, call, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("  FAILED after step 7. OrderCleared: waited for"), done.stdout
    assert [await platform.get(path) for path in paths] == before


async def test_a_login_that_the_platform_does_not_know_any_more_is_made_anew(stack: Stack, facts: Facts) -> None:
    """After a restore the key in demo.json was another database's, and nobody could tell why the demo heard nothing."""
    path = stack.instance.demo_file
    known = path.read_text()
    try:
        for wrong in ({"api_key": "oae_of_another_database"}, {"account_id": str(new_id())}):
            path.write_text(json.dumps({**facts, **wrong}))
            with pytest.raises(Refused):
                await knock({**facts, **wrong})
            made = await asyncio.to_thread(bootstrap.demo, stack.instance)
            await knock(made)
            assert made["email"] == facts["email"]
        path.unlink()
        with pytest.raises(SystemExit, match="another password here"):
            await asyncio.to_thread(bootstrap.demo, stack.instance)
    finally:
        path.write_text(known)


class Saboteur(Narrator):
    """Kills a service right after a step was told."""

    def __init__(self, stack: Stack, after: dict[str, str]) -> None:
        super().__init__(io.StringIO())
        self.stack = stack
        self.after = dict(after)

    def step(self, name: str, text: str, seconds: float) -> None:
        super().step(name, text, seconds)
        if service := self.after.pop(name, None):
            self.stack.kill(service)


async def test_the_story_is_only_delayed_when_every_service_is_killed_once(stack: Stack, facts: Facts) -> None:
    killed_after = {
        "Signal group": "signals",
        "Alert": "strategy",
        "SignalReceived": "risk",
        "OrderCleared": "walkforward",
        "OrderAccepted": "gateway",
        "FillReported": "marketdata",
        "MTMBreached": "trading",
    }
    saboteur = Saboteur(stack, killed_after)
    told = await tell(facts, saboteur)
    assert saboteur.after == {}
    assert told.flat_at > told.breached_at
