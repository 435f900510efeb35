from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common.clock import stopwatch
from libs.common.contracts.market import InstrumentListed
from libs.common.service import Connection
from libs.common.testing import NOON
from services.marketdata.adapters.replay.masters import load_master
from services.marketdata.store import ContractStore
from tests.services.marketdata.samples import listed


@pytest.fixture
async def store(connection: Connection) -> ContractStore:
    await connection.execute("DELETE FROM contracts")
    return ContractStore(connection)


async def publish(store: ContractStore, *master: InstrumentListed) -> list[InstrumentListed]:
    changes = await store.changes(master)
    await store.save(changes, NOON)
    return changes


async def test_a_first_start_publishes_the_whole_master(store: ContractStore) -> None:
    assert await publish(store, listed("SBIN"), listed("INFY")) == [listed("SBIN"), listed("INFY")]


async def test_a_restart_with_the_same_master_publishes_nothing(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("INFY"))
    assert await publish(store, listed("INFY"), listed("SBIN")) == []


async def test_only_what_changed_is_published_again(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("INFY"))
    changed = listed("SBIN", tick_size="0.10")
    assert await publish(store, changed, listed("INFY")) == [changed]
    assert (await store.changes([changed, listed("INFY")])) == []


async def test_a_contract_that_left_the_master_is_said_once_to_be_untradable(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("GONE"))
    (gone,) = await publish(store, listed("SBIN"))
    assert (gone.symbol, gone.tradable) == ("GONE", False)
    assert await publish(store, listed("SBIN")) == []


async def test_a_contract_that_comes_back_is_tradable_again(store: ContractStore) -> None:
    await publish(store, listed("SBIN"))
    await publish(store)
    assert await publish(store, listed("SBIN")) == [listed("SBIN")]


async def test_forty_thousand_contracts_are_compared_and_kept_in_seconds(
    store: ContractStore, shared_data: Path
) -> None:
    master = load_master(shared_data / "masters", date(2026, 8, 18))
    began = stopwatch()
    assert len(await publish(store, *master)) == len(master) > 40_000
    assert await publish(store, *master) == []
    assert stopwatch() - began < 10


async def test_a_strike_of_any_notation_is_the_same_contract_after_a_round_trip(store: ContractStore) -> None:
    await publish(store, listed().model_copy(update={"strike": Decimal("292.5")}))
    assert await publish(store, listed().model_copy(update={"strike": Decimal("292.5")})) == []
