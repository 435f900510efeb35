"""State that can be had again from the log: the gateway's projections, risk's ledger, and any service's decisions."""

import asyncio
import sys
from collections.abc import Collection
from pathlib import Path

import asyncpg
import pytest

from libs.common.ids import new_id
from libs.common.messaging.log import reading
from libs.common.settings import kafka_of
from tests.chaos.audit import quiet
from tests.chaos.scenario import AT_REST_SECONDS, FULL, Chaos, Scenario, place
from tests.chaos.wishes import Kind
from tests.chaos.world import Account, User
from tools import replay
from tools.backup import pieces, records
from tools.client import Platform
from tools.digest import differing, digest
from tools.reconcile import Options, Sources, reconcile

REBUILT = ("gateway", "risk")
IN_TURN = ("marketdata", "strategy", "signals", "walkforward", "trading", "risk", "gateway")
"""Each ends when what it said was heard by those after it: a stop that rests fires as long as prices move, and who is
rebuilt has all of the log in hand before it ends.
"""
KEPT = {"gateway.users", "gateway.sessions", "gateway.api_keys"}
"""Told by nobody's events: a rebuild leaves them alone."""
EMPTY = {"gateway.broker_positions"}
"""No account of these tests is at a broker."""
SPLIT = {"instrument": "NSE:SBIN", "kind": "split", "ex_date": "2099-01-01", "old": 1, "new": 2}
"""On a day that no scenario lives to see."""
SMALL_BATCHES = 3
UNTOLD = """
    INSERT INTO risk.recent_orders (account_id, terms, cleared_at)
    VALUES ($1, 'told by no event', now() + interval '1 day')
"""
TAKE_UNTOLD = "DELETE FROM risk.recent_orders WHERE account_id = $1"
"""A row that a rebuild would leave out, and that no order's fill moves while the service runs on."""


@pytest.mark.on_a_new_log
@pytest.mark.scenario(12)
async def test_projections_and_risks_state_built_anew_from_the_log_are_what_they_were(chaos: Chaos) -> None:
    limits = await set_limits(chaos)
    await tell_split(chaos)
    stopped = chaos.world.users[-1].spare[-1]
    async with chaos.scenario(12, "rebuild from the log") as scenario:
        await stop(scenario, stopped)
        await asyncio.sleep(chaos.pick(20, 4))
        scenario.faults_done += len(REBUILT)
    for service in IN_TURN:
        assert await quiet(chaos.admin_url) == []
        if service in REBUILT:
            await have_heard_all(chaos)
        await scenario.faults.take_away(service)
    before = await digest(chaos.admin_url, REBUILT)
    of_the_log = before.keys() - KEPT
    await spoil(chaos.admin_url, of_the_log)
    spoiled = differing(before, await digest(chaos.admin_url, REBUILT))
    for service in REBUILT:
        command = (sys.executable, "-m", f"services.{service}", "rebuild")
        await asyncio.to_thread(chaos.stack.execute, command)
    after = await digest(chaos.admin_url, REBUILT)
    for service in IN_TURN:
        await scenario.faults.bring_back(service)
    assert spoiled == sorted(of_the_log - EMPTY), "a rebuild that does nothing would not be seen"
    assert differing(before, after) == []
    for service in IN_TURN:
        await scenario.faults.ready(service)
    await lift(chaos, limits, stopped)
    await tell_split(chaos, withdrawn=True)
    if chaos.full:
        async with chaos.scenario(12, "orders after a rebuild"):
            await asyncio.sleep(5)


async def have_heard_all(chaos: Chaos) -> None:
    """On a slow machine the last words of who was taken away may be on Kafka alone: a rebuild would hear them first."""
    report = await reconcile(Sources.of(chaos.stack.environment()), Options(wait_s=AT_REST_SECONDS))
    assert report.exit_code == 0, report.text()


async def stop(scenario: Scenario, account: Account) -> None:
    """So that there is a panic in force, what it closes, and a halt, to be built anew."""
    async with Platform(scenario.chaos.world.gateway_url, patience=30) as person:
        person.use_key(account.user.api_key)
        await place(scenario, person, scenario.flow.order(Kind.MARKET, account))
        await person.post(f"/api/v2/risk/panic/account/{account.account_id}", {"reason": "chaos"})


async def spoil(url: str, tables: Collection[str]) -> None:
    """A row of each table is gone, and every position another, as by a bug or somebody's hand."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")  # also what others refer to
            for table in tables:
                gone = f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})"  # noqa: S608
                await connection.execute(gone)
            await connection.execute("UPDATE gateway.positions SET quantity = quantity + 1")
            await connection.execute("UPDATE risk.exposures SET quantity = quantity + 1")
    finally:
        await connection.close()


async def set_limits(chaos: Chaos) -> dict[str, User]:
    """So that risk has watches and recent orders to build anew; whose each is."""
    limit = {"level": "USER", "trailing_stop": "1000000", "identical_order_window_s": 1, "max_open_positions": 999}
    made = {}
    async with Platform(chaos.world.gateway_url) as platform:
        for user in chaos.world.users:
            platform.use_key(user.api_key)
            first = user.accounts[0]
            scope = {"level": "INSTRUMENT", "account_id": first.account_id, "instrument": first.instrument.name}
            for each in (limit, {**scope, "trailing_stop": "1000000"}):
                made[(await platform.post("/api/v2/risk/limits/", each))["limit_id"]] = user
    return made


async def tell_split(chaos: Chaos, *, withdrawn: bool = False) -> None:
    """So that risk has one to build anew."""
    async with Platform(chaos.world.gateway_url, patience=60) as platform:
        platform.use_key(chaos.world.admin_key)
        await platform.post("/api/v2/market/corporate-actions/", [{**SPLIT, "withdrawn": withdrawn}])


async def lift(chaos: Chaos, limits: dict[str, User], stopped: Account) -> None:
    async with Platform(chaos.world.gateway_url, patience=60) as platform:
        platform.use_key(stopped.user.api_key)
        await platform.post(f"/api/v2/risk/panic/account/{stopped.account_id}/reset")
        for limit_id, user in limits.items():
            platform.use_key(user.api_key)
            await platform.delete(f"/api/v2/risk/limits/{limit_id}")


@pytest.mark.scenario(12)
async def test_a_service_that_runs_is_not_rebuilt_under_its_own_hands(chaos: Chaos) -> None:
    account_id = new_id()
    connection = await asyncpg.connect(chaos.admin_url, timeout=10)
    try:
        await connection.execute(UNTOLD, account_id)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.risk", "rebuild"),
            env=chaos.stack.environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert (process.returncode, b"still run" in said) == (1, True), said.decode()
        assert await connection.execute(TAKE_UNTOLD, account_id) == "DELETE 1"
    finally:
        await connection.close()


@pytest.mark.scenario(12)
@pytest.mark.parametrize("service", replay.SERVICES if FULL else ("trading", "risk"))
async def test_nautilus_3878_a_recorded_log_gives_the_same_state_and_the_same_words_each_time(
    chaos: Chaos, service: str, recording: Path
) -> None:
    """In other batches too, so that nothing depends on what came along (also test_nautilus_3878)."""
    first = await replay.replay(service, replay.recorded(recording, {}), chaos.admin_url)
    again = await replay.replay(service, replay.recorded(recording, {}), chaos.admin_url, batch=SMALL_BATCHES)
    assert first.handled > 0
    assert differing(first.tables, again.tables) == []
    assert (first.said, first.given_up) == (again.said, again.given_up)


@pytest.fixture(scope="session")
async def recording(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of what these tests did so far."""
    await quiet(chaos.admin_url)
    root = tmp_path_factory.mktemp("recording")
    async with reading(kafka_of(chaos.stack.environment()), records.KEPT) as log:
        assert (await pieces.copy(log, root, None)).records
    return root
