"""Redis against its owners. It may be empty or away: nothing is lost with it. What it shows must be true."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from libs.common.contracts import topics
from libs.common.contracts.market import Quote, QuotesConflated
from tools.reconcile.cache import Cache, CacheAway
from tools.reconcile.log import Log
from tools.reconcile.record import Record
from tools.reconcile.rows import Session
from tools.reconcile.rules import Findings, Rule, Subject
from tools.reconcile.tables import Tables

LATELY_S = 10.0
SAVED_S = 1.5
"""How long marketdata may take from telling of a quote to saving it."""
STALE = timedelta(seconds=65)
"""A session's role is believed for a minute."""


async def check_sessions(cache: Cache, tables: Tables, now: datetime, findings: Findings) -> None:
    """No session is shown that has ended more than a minute ago, nor with a role that its user has no more."""
    try:
        shown = await cache.sessions()
    except CacheAway as error:
        findings.cannot(Rule.CACHE, f"Redis is away: {error}")
        return
    known = {str(row.session_id): row async for row in tables.read(Session)}
    for session_id, role in shown.items():
        about = Subject(f"session {session_id}", (session_id,))
        row = known.get(session_id)
        if row is None:
            findings.expect(Rule.CACHE, False, about, "is in Redis, and the gateway knows no such session")
            continue
        ended = row.revoked_at is not None and now - row.revoked_at > STALE
        ended = ended or now - row.expires_at > STALE or (not row.active and now - row.updated_at > STALE)
        findings.expect(Rule.CACHE, not ended, about, "is in Redis, though it has ended")
        same = role == row.role or now - row.updated_at <= STALE
        findings.expect(Rule.CACHE, same, about, f"is {role} in Redis, its user is {row.role}")


async def check_quotes(cache: Cache, log: Log, findings: Findings) -> None:
    """Every quote that marketdata told of lately is shown, or a newer one. What it told of last it may have left
    unsaved: it was killed, or is about to save it.
    """
    told = _told(await asyncio.to_thread(log.newest, topics.QUOTES.name, LATELY_S))
    if not told:
        findings.cannot(Rule.CACHE, "no quote was told of for longer than it takes to save one: the feed is off")
        return
    try:
        shown = await cache.quotes()
    except CacheAway as error:
        findings.cannot(Rule.CACHE, f"Redis is away: {error}")
        return
    for instrument, quote in told.items():
        value = shown.get(instrument)
        if value is None:
            findings.cannot(Rule.CACHE, "Redis has no quote of an instrument since it was emptied")
        else:
            _quote(value, quote, findings)


def _told(records: Sequence[Record]) -> dict[str, Quote]:
    """By the time of the last record, not ours: who told it lived until then."""
    saved = max((record.millis for record in records), default=0) - SAVED_S * 1000
    told = (QuotesConflated.model_validate_json(record.value) for record in records if record.millis <= saved)
    return {quote.instrument: quote for each in told for quote in each.quotes}


def _quote(value: bytes, told: Quote, findings: Findings) -> None:
    about = Subject(f"quote of {told.instrument}", (told.instrument,))
    try:
        shown = Quote.model_validate_json(value)
    except ValidationError as error:
        findings.expect(Rule.CACHE, False, about, f"cannot be read in Redis: {error}")
        return
    what = f"is of {shown.at} in Redis, marketdata told one of {told.at}"
    if findings.expect(Rule.CACHE, shown.at >= told.at, about, what) and shown.at == told.at:
        findings.expect(Rule.CACHE, shown == told, about, f"is {shown} in Redis, marketdata told {told}")
