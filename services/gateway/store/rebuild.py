"""Forget every projection, so that the gateway reads the log from its beginning and builds them anew."""

from libs.common.service import Connection

PROJECTIONS = (
    "orders",
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
)
_HOW_FAR = ("message_offsets", "message_inbox", "message_parked")


async def forget(connection: Connection) -> None:
    """Users, keys and idempotency keys are nobody's projection and stay; so do the counters, which only grow."""
    await connection.execute(f"TRUNCATE {', '.join((*PROJECTIONS, *_HOW_FAR))}")
