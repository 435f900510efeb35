"""How long risk takes to revalue 100,000 open positions on one conflated batch of prices.

    python -m bench.revaluation [positions]

Runs risk's own memory, as its quotes stream does: take the prices, value every position, sum by instrument, strategy,
account and user, and hold 1,000 limits against the sums. Prints milliseconds.
"""

import asyncio
import json
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bench.latency import percentiles
from libs.common import ids
from libs.common.clock import FixedClock, stopwatch
from libs.common.contracts.enums import BreachKind, FeedSource, Product, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, StrategyId, UserId
from libs.common.contracts.market import Quote, QuotesConflated
from services.risk.domain.instruments import trading_day
from services.risk.domain.ledger import Exposure
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from services.risk.streams import revalue

POSITIONS = 100_000
INSTRUMENTS = 500
ACCOUNTS = 400
ROUNDS = 200
LIMITS = 1_000
NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
FAR = Decimal(10**15)
"""An amount that no watch reaches: what is measured is the watching."""


def positions(count: int) -> list[Exposure]:
    """Open net positions, each the whole of one strategy's book: `count` of both, two accounts to a user."""
    rng = random.Random(7)
    users = [UserId(ids.new_id()) for _ in range(ACCOUNTS // 2)]
    accounts = [AccountId(ids.new_id()) for _ in range(ACCOUNTS)]
    strategies = [StrategyId(ids.new_id()) for _ in range(ACCOUNTS)]
    found: list[Exposure] = []
    for n in range(count):
        owner, place = n % ACCOUNTS, n // ACCOUNTS
        net = Exposure(
            account_id=accounts[owner],
            strategy_id=None,
            instrument=InstrumentId(f"NSE:S{(place + owner) % INSTRUMENTS}"),
            product=Product.MIS if place < INSTRUMENTS else Product.CNC,
            user_id=users[owner // 2],
            quantity=rng.choice((-1, 1)) * rng.randrange(1, 500),
            average_price=Decimal(rng.randrange(1000, 500000)) / 100,
            realised_pnl=Decimal(rng.randrange(-500000, 500000)) / 100,
            pnl_day=trading_day(NOW),
            version=1,
        )
        found += (net, replace(net, strategy_id=strategies[owner]))
    return found


def watches(held: list[Exposure]) -> dict[RiskLimitId, list[Watch]]:
    """A stop-loss and a trailing stop on accounts, users, strategies and instruments, LIMITS in all."""
    rng = random.Random(11)
    found: dict[RiskLimitId, list[Watch]] = {}
    for n in range(LIMITS):
        each = rng.choice(held)
        level = (RiskLevel.ACCOUNT, RiskLevel.USER, RiskLevel.STRATEGY, RiskLevel.INSTRUMENT)[n % 4]
        limit_id = RiskLimitId(ids.new_id())
        in_account = level in (RiskLevel.ACCOUNT, RiskLevel.INSTRUMENT)
        found[limit_id] = [
            Watch(
                limit_id=limit_id,
                kind=kind,
                version=1,
                user_id=each.user_id,
                level=level,
                account_id=each.account_id if in_account else None,
                strategy_id=each.strategy_id if level is RiskLevel.STRATEGY else None,
                instrument=each.instrument if level is RiskLevel.INSTRUMENT else None,
                amount=FAR,
                armed=True,
                day=trading_day(NOW),
                baseline=Decimal(0),
                peak=None,
            )
            for kind in (BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP)
        ]
    return found


def prices(rng: random.Random, at: datetime) -> QuotesConflated:
    """A new price for every instrument that is held."""

    def quote(n: int) -> Quote:
        last = rng.randrange(1000, 500000) / 100
        return Quote(
            instrument=InstrumentId(f"NSE:S{n}"),
            at=at,
            source=FeedSource.SIMULATED,
            ltp=last,
            bid=last,
            ask=last,
            bid_quantity=1,
            ask_quantity=1,
            open=last,
            high=last,
            low=last,
            previous_close=last,
            volume=1,
            oi=0,
        )

    return QuotesConflated(shard="0", at=at, quotes=tuple(quote(n) for n in range(INSTRUMENTS)))


async def measure(count: int = POSITIONS, rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds per batch: median, 95th and 99th percentile, and the worst."""
    memory = RiskMemory()
    memory.clock = FixedClock(NOW)
    memory.begun = trading_day(NOW)
    held = positions(count)
    memory.hold(held)
    memory.rewatch(watches(held))
    rng = random.Random(13)
    batches = [prices(rng, NOW + timedelta(milliseconds=100 * n)) for n in range(20)]
    await revalue(batches[:1], memory)
    taken: list[float] = []
    for n in range(rounds):
        began = stopwatch()
        await revalue([batches[n % len(batches)]], memory)
        taken.append(stopwatch() - began)
    worst = round(max(taken) * 1000, 2)
    return {"positions": count, "instruments": INSTRUMENTS, "limits": LIMITS, **percentiles(taken), "max_ms": worst}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else POSITIONS
    print(json.dumps(asyncio.run(measure(count))))


if __name__ == "__main__":
    main()
