"""Redis against its owners. It may be empty or away: nothing is lost with it. What it shows must be true."""

from datetime import datetime, timedelta

from tools.reconcile.cache import Cache, CacheAway
from tools.reconcile.rows import Session
from tools.reconcile.rules import Findings, Rule, Subject
from tools.reconcile.tables import Tables

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
