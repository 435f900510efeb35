"""The whole platform on the test stack, as `make up FEED=replay` starts it; the tests talk to it as users do."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import services
from deploy.local import bootstrap
from deploy.local.instance import PROJECT
from deploy.local.servers import postgres_binaries
from deploy.local.stack import Stack
from libs.common import topology
from libs.common.service import Start
from tests.e2e.emptying import empty
from tests.e2e.trader import Facts, Trader
from tools.client import Platform, Refused
from tools.stream import Stream

HERE = Path(__file__).parent
SHARED_DATA = Path(os.environ.get("SHARED_DATA", PROJECT / ".." / "shared" / "data")).resolve()
PRICED = ("NSE:SBIN", "NSE_INDEX:NIFTY")


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The services end with the last test here: they would answer what later tests write to the same topics."""
    if nextitem is None or HERE not in nextitem.path.parents:
        Stack("test").stop_services()


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Every service, trading the recorded ticks of 2021-05-25 and 2021-06-09 against a real instrument dump."""
    if not (SHARED_DATA / "ticks").is_dir():
        pytest.skip(f"no recorded market data in {SHARED_DATA}: set SHARED_DATA")
    stack = Stack("test")
    stack.start_servers()
    stack.set_up()
    forget_what_was_told(stack)
    stack.start_services({"MARKETDATA_FEED": "replay", "SHARED_DATA": str(SHARED_DATA), "LOG_LEVEL": "INFO"})
    return stack


def forget_what_was_told(stack: Stack) -> None:
    """Nothing that earlier tests told on topics that a starting service reads back, all of it or some seconds.

    Their clocks may be ahead of ours: such a quote counts as recent for days, and as newer than every real one, so that
    an order which should rest is priced by it. The contracts that they listed are in no table of ours, so that nobody
    tells that they are gone, and an algo would choose one that has no price. Ours are told anew.
    """
    told = {
        stream.topic.name
        for service in topology.services(services)
        for stream in service.streams
        if stream.start in {Start.RECENT, Start.BEGINNING}
    }
    empty(stack.environment()["KAFKA_BOOTSTRAP"], told)
    forget = "DELETE FROM marketdata.contracts; DELETE FROM marketdata.pending_listings"
    admin = stack.environment()["POSTGRES_ADMIN_URL"]
    stack.execute((str(postgres_binaries() / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--command={forget}", admin))


@pytest.fixture(scope="session")
async def facts(stack: Stack) -> Facts:
    """What `make up` writes for a newcomer: the first user is super admin and has a paper account and a key.

    Returns when a first order went through: the feed has prices, and the services have read what earlier tests wrote.
    """
    facts = bootstrap.demo(stack.instance)
    async with Platform(facts["gateway_url"]) as platform, Stream(facts["stream_url"], facts["api_key"]) as stream:
        platform.use_key(facts["api_key"])
        await priced(platform)
        # An earlier test's panic lies on the log like any other.
        await platform.post("/api/v2/risk/panic/global/reset")
        trader = await Trader.arrive(platform, stream)
        order = await trader.buy_patiently(1)
        await trader.sees_filled(order["order_id"])
        await trader.close_all()
    return facts


@pytest.fixture
async def platform(facts: Facts) -> AsyncIterator[Platform]:
    async with Platform(facts["gateway_url"], patience=60) as platform:
        platform.use_key(facts["api_key"])
        yield platform


@pytest.fixture
async def stream(facts: Facts) -> AsyncIterator[Stream]:
    async with Stream(facts["stream_url"], facts["api_key"]) as stream:
        yield stream


@pytest.fixture
async def trader(platform: Platform, stream: Stream) -> Trader:
    """A person with a fresh account."""
    return await Trader.arrive(platform, stream)


async def priced(platform: Platform) -> None:
    """The feed may need a moment after the services are ready."""
    async with asyncio.timeout(30):
        for instrument in PRICED:
            while not await has_quote(platform, instrument):
                await asyncio.sleep(0.2)


async def has_quote(platform: Platform, instrument: str) -> bool:
    try:
        return not (await platform.get(f"/api/v2/market/quotes/{instrument}"))["stale"]
    except Refused:
        return False
