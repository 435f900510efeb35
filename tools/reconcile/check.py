"""The whole check: read the log, wait until the stack is at rest, open the tables, hold all against all."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime

from libs.common.clock import SystemClock
from tools.reconcile.checks.answers import check_answers
from tools.reconcile.checks.brokers import check_calls, check_seen, learn_departures
from tools.reconcile.checks.cache import check_quotes, check_sessions
from tools.reconcile.checks.copies import check_copies
from tools.reconcile.checks.delivery import check_delivery, check_readable, discarded
from tools.reconcile.checks.orders import check_orders
from tools.reconcile.checks.owner import check_owner
from tools.reconcile.checks.panics import check_epochs, check_heard
from tools.reconcile.checks.settlements import check_adjusted, check_settlements
from tools.reconcile.checks.signals import check_signals
from tools.reconcile.fold import Fold
from tools.reconcile.record import Partition
from tools.reconcile.report import Report
from tools.reconcile.rest import unrest
from tools.reconcile.rows import Panic
from tools.reconcile.rules import Findings
from tools.reconcile.sources import Options, Sources
from tools.reconcile.trail import trails

LOOK_S = 0.3


async def reconcile(sources: Sources, options: Options | None = None) -> Report:
    """Prove every rule, or name the first counterexample of each that is broken. Closes the sources.

    Raises LogUnreadable or TablesUnreadable when Kafka or a database does not answer.
    """
    try:
        return await _reconcile(sources, options or Options())
    finally:
        sources.log.close()
        await sources.tables.close()
        if sources.cache is not None:
            await sources.cache.close()


async def _reconcile(sources: Sources, options: Options) -> Report:
    began = time.monotonic()
    findings = Findings()
    findings.explained.update(sources.explained)
    fold = Fold(findings)
    await sources.tables.begin()
    fold.discarded = {place async for place in discarded(sources.tables)}
    until, why = await _read(sources, fold, options.wait_s)
    now = options.now or SystemClock().now()
    await _check(sources, fold, options, findings, now, at_rest=why is None)
    kept, left_out = await asyncio.to_thread(trails, sources.log, until, findings.first, options.trail)
    facts = fold.facts
    return Report(
        findings,
        orders=len(facts.orders),
        fills=sum(len(known.fills) for known in facts.orders.values()),
        messages=facts.records,
        repeats=facts.repeats,
        unreadable=len(facts.unreadable),
        seconds=time.monotonic() - began,
        unrest=why,
        trails=kept,
        left_out=left_out,
    )


async def _read(sources: Sources, fold: Fold, wait_s: float) -> tuple[Mapping[Partition, int], str | None]:
    """Until a moment is found at which the log's end and every schema tell the same; or why there was none."""
    deadline = time.monotonic() + wait_s
    while True:
        spans = await asyncio.to_thread(sources.log.spans)
        fold.begin(spans)
        until = {partition: span.high for partition, span in spans.items()}
        await asyncio.to_thread(_take, sources, fold, until)
        await sources.tables.begin()
        spans = await asyncio.to_thread(sources.log.spans)
        found = await unrest(fold.facts, sources.tables, until, spans)
        if found is None:
            return until, None
        if time.monotonic() > deadline:
            return until, found.what
        await asyncio.sleep(LOOK_S)


def _take(sources: Sources, fold: Fold, until: Mapping[Partition, int]) -> None:
    for record in sources.log.read(until):
        fold.take(record)


async def _check(
    sources: Sources, fold: Fold, options: Options, findings: Findings, now: datetime, *, at_rest: bool
) -> None:
    facts, tables = fold.facts, sources.tables
    await learn_departures(facts, tables)
    panics = [row async for row in tables.read(Panic)]
    check_epochs(facts, panics, options.grace_s, now, findings)
    await check_delivery(tables, now, options.outbox_age, sources.explained, findings)
    if not at_rest:
        return
    check_heard(facts, panics, now, findings)
    owner = await check_owner(facts, tables, findings)
    check_orders(facts, owner.accounts, now, findings)
    await check_settlements(facts, tables, findings)
    check_adjusted(facts, findings)
    await check_signals(facts, tables, sources.answered, now, findings)
    await check_calls(tables, findings)
    if sources.seen is not None:
        await check_seen(facts, owner.accounts, sources.seen, tables, findings)
    await check_readable(facts, tables, findings)
    await check_answers(facts, tables, sources.answered, findings)
    await check_copies(facts, owner, tables, now, findings)
    if sources.cache is not None:
        await check_sessions(sources.cache, tables, now, findings)
        await check_quotes(sources.cache, sources.log, findings)
