"""Backups under load, more load, everything gone, and back: what was saved is there once, nothing is sent again."""

import asyncio
import shutil
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import stopwatch
from tests.chaos.audit import quiet
from tests.chaos.flow import Flow
from tests.chaos.scenario import Chaos
from tools.backup import manifest, restoring, taking
from tools.client import Platform, Refused
from tools.reconcile import Sources, reconcile

LONGEST_PAUSE_MS = 2000


@pytest.mark.scenario(13)
async def test_what_a_backup_has_is_back_after_everything_was_lost_and_nothing_is_sent_twice(
    chaos: Chaos, tmp_path: Path
) -> None:
    async with Flow(chaos.world, chaos.seed + 13, tmp_path / "journal.jsonl") as flow:
        flow.start(chaos.rate)
        first = await taking.take(chaos.stack, tmp_path)
        await asyncio.sleep(chaos.pick(10, 3))
        before = await orders(chaos)
        backup = await taking.take(chaos.stack, tmp_path)
        assert manifest.verify(backup)["records"] > 0
        await asyncio.to_thread(shutil.rmtree, first)
        await asyncio.sleep(chaos.pick(10, 2))
        await flow.settle()
    lost_at_most = await orders(chaos)
    facts = manifest.verify(backup)
    assert facts["paused_ms"] < chaos.within(LONGEST_PAUSE_MS)

    restored = await asyncio.to_thread(restoring.restore, chaos.stack, backup)
    back = await orders(chaos)
    assert before <= back <= lost_at_most
    assert restored.after is not None
    assert restored.after["OrderSubmitted"] > 0, "what came after the backup is listed for a person"
    await asyncio.to_thread(chaos.stack.start_services)
    assert await quiet(chaos.admin_url) == []
    report = await reconcile(Sources.of(chaos.stack.environment()))
    assert report.passed, report.text()
    await trading_is_halted_until_a_person_lifts_it(chaos)
    async with chaos.scenario(13, "backup under load, everything lost, restore") as scenario:
        scenario.faults_done += 1
        scenario.figures["orders after the backup, which went with what was lost"] = len(lost_at_most - back)
        scenario.figures["the backup stopped the order path for"] = f"{facts['paused_ms']:.0f} ms"
        await asyncio.sleep(chaos.pick(5, 1))


async def trading_is_halted_until_a_person_lifts_it(chaos: Chaos) -> None:
    account = chaos.world.accounts[0]
    order = {
        "account_id": account.account_id,
        "instrument": account.instrument.name,
        "side": "BUY",
        "quantity": account.instrument.quantity,
        "product": account.instrument.product,
        "order_type": "MARKET",
    }
    async with Platform(chaos.world.gateway_url, patience=60) as platform:
        platform.use_key(account.user.api_key)
        with pytest.raises(Refused, match="halted for ALL"):
            await platform.post("/api/v2/trading/orders/place", order)
        platform.use_key(chaos.world.admin_key)
        await platform.post("/api/v2/risk/panic/global/reset")


async def orders(chaos: Chaos) -> set[UUID]:
    connection = await asyncpg.connect(chaos.admin_url, timeout=10)
    rows = await connection.fetch("SELECT order_id FROM trading.orders")
    await connection.close()
    return {row[0] for row in rows}


@pytest.mark.scenario(13)
async def test_a_backup_that_is_not_whole_is_refused_before_anything_is_touched(chaos: Chaos, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n")
    manifest.write(tmp_path, {"taken_at": "now", "records": 0, "ends": {}})
    assert manifest.verify(tmp_path)["records"] == 0
    (tmp_path / "env").write_text("A=2\n")
    began = stopwatch()
    with pytest.raises(manifest.Damaged, match="env is not what was written"):
        restoring.restore(chaos.stack, tmp_path)
    (tmp_path / "env").unlink()
    with pytest.raises(manifest.Damaged, match="env is missing"):
        restoring.restore(chaos.stack, tmp_path)
    (tmp_path / manifest.NAME).rename(tmp_path / "elsewhere")
    with pytest.raises(manifest.Damaged, match="not finished"):
        restoring.restore(chaos.stack, tmp_path)
    assert chaos.stack.complete(), f"still up {stopwatch() - began:.1f} s later"
