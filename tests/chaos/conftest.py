"""The whole platform on an instance of its own, harmed on purpose.

`make test` runs a short version of every scenario; `make chaos` the full ones. SEED=… repeats a run's choices,
SCENARIO=1,7 runs only these.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from deploy.local import bootstrap, environment
from deploy.local.servers import wipe
from deploy.local.stack import Stack
from tests.chaos.scenario import Chaos
from tests.chaos.world import make_world

HERE = Path(__file__).parent
FULL = bool(os.environ.get("CHAOS"))
SEED = int(os.environ.get("SEED") or random.randrange(1_000_000))
CHOICES = {"MARKETDATA_FEED": "simulator", "LOG_LEVEL": "INFO", "WALKFORWARD_LIQUIDITY": "unlimited"}
"""With what the simulated market shows, closing everything at once would take it minutes."""
USERS, ACCOUNTS = (4, 12) if FULL else (2, 12)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What stands here drives all services; SCENARIO picks some by their numbers."""
    wanted = {int(number) for number in os.environ.get("SCENARIO", "").split(",") if number}
    dropped = []
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.e2e)
        marker = item.get_closest_marker("scenario")
        if wanted and (marker is None or marker.args[0] not in wanted):
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def pytest_report_header() -> str:
    return f"chaos: SEED={SEED} ({'full' if FULL else 'short'})"


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Every service on the simulated feed, with nothing stored from before; left running by whoever left it so."""
    stack = Stack("chaos")
    environment.choose(stack.instance, CHOICES)
    if not stack.supervisor.running():
        stack.down()
        wipe(stack.instance)
    stack.start_servers()
    stack.set_up()
    stack.start_services()
    os.environ["CHAOS_ADMIN_URL"] = stack.environment()["POSTGRES_ADMIN_URL"]
    return stack


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The stack ends with the last test here: nobody else needs its memory and its CPU."""
    is_last = nextitem is None or HERE not in nextitem.path.parents
    if is_last and not os.environ.get("CHAOS_KEEP"):
        Stack("chaos").down()


@pytest.fixture(scope="session")
async def chaos(stack: Stack) -> Chaos:
    facts = await asyncio.to_thread(bootstrap.demo, stack.instance)
    world = await make_world(facts, USERS, ACCOUNTS)
    return Chaos(stack, world, SEED, FULL)


@pytest.fixture(autouse=True)
async def all_there(chaos: Chaos) -> None:
    """A scenario begins with everything in its place, whatever the one before left behind."""
    await asyncio.to_thread(chaos.stack.start_servers)
    await asyncio.to_thread(chaos.stack.start_services)
