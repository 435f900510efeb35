"""The whole platform on an instance of its own, harmed on purpose.

`make chaos-short` runs a short version of every scenario; `make chaos` the full ones. SEED=… repeats a run's choices,
SCENARIO=1,7 runs only these.
"""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from deploy.local import bootstrap, environment
from deploy.local.instance import Instance
from deploy.local.servers import wipe
from deploy.local.stack import Stack
from tests.chaos import report
from tests.chaos.scenario import CHOICES, FULL, SEED, Chaos
from tests.chaos.world import World, make_world

HERE = Path(__file__).parent
USERS, ACCOUNTS = (4, 12) if FULL else (2, 12)
LONGEST_LOG = 20_000
"""Orders after which a full run goes on with an empty platform: the checker's time grows with the log."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What stands here drives all services, in the order of the scenarios' numbers; SCENARIO picks some by them."""
    wanted = {int(number) for number in os.environ.get("SCENARIO", "").split(",") if number}
    ours = [item for item in items if HERE in item.path.parents]
    picked = [item for item in ours if not wanted or number_of(item) in wanted]
    if not FULL:
        picked = [item for item in picked if not item.get_closest_marker("in_full")]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
    others = [item for item in items if item not in ours]
    before = items.index(ours[0]) if ours else 0
    items[:] = [*others[:before], *sorted(picked, key=place_of), *others[before:]]
    if len(picked) < len(ours):
        config.hook.pytest_deselected(items=[item for item in ours if item not in picked])


def number_of(item: pytest.Item) -> int:
    marker = item.get_closest_marker("scenario")
    return marker.args[0] if marker else 0


def place_of(item: pytest.Item) -> tuple[bool, int]:
    """What moves the clock comes last: what was written in the future stays."""
    marker = item.get_closest_marker("scenario")
    return bool(marker and marker.kwargs.get("last")), number_of(item)


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
    if FULL and not os.environ.get("SCENARIO"):
        shutil.rmtree(stack.instance.home / "chaos", ignore_errors=True)
    stack.start_servers()
    stack.set_up()
    stack.start_services()
    return stack


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The stack ends with the last test here, when that has put away what it used: nobody else needs its memory."""
    is_last = nextitem is None or HERE not in nextitem.path.parents
    if is_last and not os.environ.get("CHAOS_KEEP"):
        Stack("chaos").down()


@pytest.fixture(scope="session")
async def chaos(stack: Stack) -> Chaos:
    return Chaos(stack, await new_world(stack), SEED, FULL)


async def begin_anew(chaos: Chaos) -> None:
    stack = chaos.stack
    await asyncio.to_thread(stack.down)
    await asyncio.to_thread(wipe, stack.instance)
    (stack.instance.home / "demo.json").unlink(missing_ok=True)
    await asyncio.to_thread(stack.start_servers)
    await asyncio.to_thread(stack.set_up)
    await asyncio.to_thread(stack.start_services)
    chaos.world, chaos.orders = await new_world(stack), 0


async def new_world(stack: Stack) -> World:
    facts = await asyncio.to_thread(bootstrap.demo, stack.instance)
    return await make_world(facts, USERS, ACCOUNTS, SEED)


@pytest.fixture(autouse=True)
async def all_there(chaos: Chaos, request: pytest.FixtureRequest) -> None:
    """A scenario begins with everything in its place, whatever the one before left behind."""
    if chaos.orders > LONGEST_LOG or (request.node.get_closest_marker("on_a_new_log") and chaos.full and chaos.orders):
        await begin_anew(chaos)
    elif not await asyncio.to_thread(chaos.stack.complete):
        await asyncio.to_thread(chaos.stack.start_servers)
        await asyncio.to_thread(chaos.stack.start_services)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if FULL:
        instance = Instance("chaos")
        if not report.write(instance.home / "chaos", instance):
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
