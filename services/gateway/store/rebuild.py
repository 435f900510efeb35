"""Forget every projection, so that the log can tell them anew."""

from datetime import datetime

from libs.common.database import Connection
from services.gateway.store import outcomes

PROJECTIONS = (
    "fills",
    "positions",
    "strategy_positions",
    "funds",
    "entities",
    "outcomes",
    "square_offs",
    "panics",
    "signals",
    "risk_events",
    "instruments",
    "instrument_words",
    "broker_positions",
)


async def forget(connection: Connection, _: datetime) -> None:
    """Users, keys and idempotency keys are nobody's projection and stay; so do the counters, which only grow, and
    orders that nobody has decided on yet.
    """
    await connection.execute(f"TRUNCATE {', '.join(PROJECTIONS)}")
    await connection.execute("DELETE FROM orders WHERE version > 0")


async def settle(connection: Connection, now: datetime) -> None:
    await outcomes.forget_old(connection, now)
