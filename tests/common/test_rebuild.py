"""A rebuild takes as long as it takes: nobody waits for it, and what it has done so far would be in vain."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from libs.common import database
from libs.common.contracts.base import Message
from libs.common.database import Connection
from libs.common.messaging.rebuild import rebuild
from libs.common.service import Context, on
from tests.common.ledger import DepositRequested, Ledger, LedgerMemory, LedgerStore, deposit_of


async def book(request: DepositRequested, ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    """A rebuild says nothing."""
    await ctx.store.deposit(request.account_id, request.amount)
    return []


async def test_a_rebuild_of_years_ends_though_a_statement_takes_long_and_kafka_too(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To forget the rows of some days took more than the ten seconds of a statement: it never came further."""
    async with ledger.running():
        await ledger.request(deposit_of("a", 5), deposit_of("a", 2))
        await ledger.eventually({"a": 7})
    monkeypatch.setattr(database, "STATEMENT_S", 0.5)
    monkeypatch.setattr(database, "_FORSAKEN_MS", "500")
    monkeypatch.setenv(f"{ledger.name.upper()}_DATABASE_URL", ledger.url)
    monkeypatch.setenv(f"{ledger.name.upper()}_PORT", "0")

    async def forget(connection: Connection, _: datetime) -> None:
        await connection.execute("DELETE FROM balances")
        await connection.execute("SELECT pg_sleep(1)")
        await asyncio.sleep(1)

    source = replace(ledger.service, consumes=[on(ledger.requests, DepositRequested, book)])
    done = await rebuild(ledger.service, source, forget=forget)
    assert done.handled == 2
    assert await ledger.balances() == {"a": 7}
