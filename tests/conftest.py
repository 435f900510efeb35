"""Real servers for every test that needs one; `make test` starts them and sets the environment."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from libs.common.database import Connection
from libs.common.telemetry import configure_logging
from libs.common.testing import Databases

ROOT = Path(__file__).resolve().parents[1]
TEST_ENVIRONMENT = ROOT / ".local" / "test" / "env"
IS_ADDRESS = re.compile("^(KAFKA_BOOTSTRAP|REDIS_URL|QUESTDB_URL|POSTGRES_ADMIN_URL|[A-Z]+_DATABASE_URL)$")


def pytest_configure() -> None:
    """Take the test stack's addresses from the file that it wrote, unless the environment has them already.

    Tests on recorded market data skip where there is none, but never in CI. What is logged is written as services write
    it: structlog's own way shows a failure with everything around it, and the loop stands still for a second meanwhile.
    """
    configure_logging("tests", "INFO")
    structlog.configure(cache_logger_on_first_use=False)  # each test has an output of its own
    recorded = Path(os.environ.get("SHARED_DATA") or ROOT / ".." / "shared" / "data")
    if os.environ.get("CI") and not (recorded / "ticks").is_dir():
        raise pytest.UsageError(f"no recorded market data in {recorded}: set SHARED_DATA")
    if not TEST_ENVIRONMENT.exists() or "POSTGRES_ADMIN_URL" in os.environ:
        return
    for line in TEST_ENVIRONMENT.read_text().splitlines():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever any of its fixtures asks for, it needs; what stands in tests/e2e needs the services too."""
    for item in items:
        if "real_servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
        if (ROOT / "tests" / "e2e") in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def real_servers() -> None:
    """Asked for by each fixture that asks a server; a test that asks one by itself is marked `servers`."""


@pytest.fixture(autouse=True)
def told_of_no_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that needs none is given no address, so that one which does and does not say so fails wherever it runs,
    and not only on a machine without servers.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not any(map(request.node.get_closest_marker, ("servers", "e2e"))):
            for name in filter(IS_ADDRESS.search, list(os.environ)):
                patch.delenv(name)
        yield


def service_of(request: pytest.FixtureRequest) -> str:
    """tests/services/risk/test_store.py is about risk."""
    parts = request.path.relative_to(ROOT).parts
    assert parts[:2] == ("tests", "services"), f"{request.path} is not below tests/services"
    return parts[2]


@pytest.fixture
async def pool(request: pytest.FixtureRequest, real_servers: None) -> AsyncIterator[asyncpg.Pool]:
    """The service's migrated database, empty before and after."""
    service = service_of(request)
    await Databases.empty(service)
    yield await Databases.pool(service)
    await Databases.empty(service)


@pytest.fixture
async def connection(request: pytest.FixtureRequest, real_servers: None) -> AsyncIterator[Connection]:
    """A connection to the service's migrated database, in a transaction that is rolled back."""
    pool = await Databases.pool(service_of(request))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


@pytest.fixture(scope="session", autouse=True)
async def drop_databases() -> AsyncIterator[None]:
    yield
    await Databases.drop_all()
