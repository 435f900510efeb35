"""What waits between the services: rows that should have left long ago, messages that were set aside."""

import json
from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta

from tools.reconcile.fold import Facts
from tools.reconcile.rows import SERVICES, DiscardedRow, OutboxRow, ParkedRow
from tools.reconcile.rules import Findings, Rule, Subject
from tools.reconcile.tables import Tables


async def check_delivery(
    tables: Tables, now: datetime, oldest: timedelta, explained: Collection[str], findings: Findings
) -> None:
    for service in SERVICES:
        await _outbox(service, tables, now, oldest, findings)
        await _parked(service, tables, explained, findings)


async def _outbox(service: str, tables: Tables, now: datetime, oldest: timedelta, findings: Findings) -> None:
    findings.checked[Rule.OUTBOX] += 1
    async for row in tables.read(OutboxRow, service):
        about = Subject(f"message {row.message_id}", (str(row.message_id),))
        age = now - row.said_at
        waits = f"waits in the outbox of {service} for {age.total_seconds():.0f} s"
        what = f"{row.type} for {row.topic}, key {row.key}, {waits}"
        findings.expect(Rule.OUTBOX, age <= oldest, about, what, row.said_at)


async def _parked(service: str, tables: Tables, explained: Collection[str], findings: Findings) -> None:
    """The first of a key is the one that failed; the others wait behind it and share its explanation."""
    findings.checked[Rule.PARKED] += 1
    key, is_explained = "", False
    async for row in tables.read(ParkedRow, service):
        message_id = message_id_of(row)
        if row.key != key:
            key, is_explained = row.key, message_id in explained
        is_explained = is_explained or message_id in explained
        about = Subject(f"message {message_id or 'without an id'}", (message_id or row.key,))
        place = f"{row.topic}[{row.partition}]@{row.message_offset}"
        what = f"{row.type or 'a message'} at {place}, key {row.key}, is parked in {service}: {row.reason}"
        findings.expect(Rule.PARKED, is_explained, about, what, row.parked_at)


async def discarded(tables: Tables) -> AsyncIterator[tuple[str, int, int]]:
    """The places of what somebody gave up by command."""
    for service in SERVICES:
        async for row in tables.read(DiscardedRow, service):
            yield row.topic, row.partition, row.message_offset


async def check_readable(facts: Facts, tables: Tables, findings: Findings) -> None:
    """What cannot be read can be folded into nothing: whoever it is for has parked it too, or somebody gave it up."""
    findings.checked[Rule.READABLE] += facts.records - len(facts.unreadable)
    if not facts.unreadable:
        return
    aside = {place async for place in discarded(tables)}
    for service in SERVICES:
        aside |= {(row.topic, row.partition, row.message_offset) async for row in tables.read(ParkedRow, service)}
    for record in facts.unreadable:
        if (record.topic, record.partition, record.offset) in aside:
            findings.cannot(Rule.READABLE, "it was set aside")
            continue
        about = Subject(f"message {record.id or 'without an id'}", (record.id or record.key,))
        what = f"is no {record.type} that can be read, and nobody set it aside ({record.place}, key {record.key})"
        findings.expect(Rule.READABLE, False, about, what, record.sent_at)


def message_id_of(row: ParkedRow) -> str:
    """From its headers, kept as [[name, value], …]; empty for a message that has none."""
    try:
        headers = dict(json.loads(row.headers))
    except (ValueError, TypeError):
        return ""
    return str(headers.get("ce_id", ""))
