"""Positions, watches and prices in memory: what a new price makes fire."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.contracts.ids import InstrumentId, RiskLimitId
from services.risk.domain.ledger import Exposure
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from tests.services.risk.scene import (
    ACCOUNT,
    NOW,
    SBIN,
    STRATEGY,
    TODAY,
    USER,
    conflated,
    quote,
)


def held(quantity: int, average: Any = 100, **terms: Any) -> Exposure:
    facts: dict[str, Any] = {"pnl_day": TODAY, "version": 1, **terms}
    where = (facts.pop("account_id", ACCOUNT), facts.pop("strategy_id", None), facts.pop("instrument", SBIN))
    return Exposure(
        *where, facts.pop("product", Product.MIS), USER, quantity=quantity, average_price=Decimal(average), **facts
    )


def watch(kind: BreachKind, amount: int, level: RiskLevel = RiskLevel.ACCOUNT, **terms: Any) -> Watch:
    in_account = level in (RiskLevel.ACCOUNT, RiskLevel.INSTRUMENT)
    facts: dict[str, Any] = {
        "limit_id": RiskLimitId(ids.new_id()),
        "version": 1,
        "user_id": USER,
        "account_id": ACCOUNT if in_account else None,
        "strategy_id": STRATEGY if level is RiskLevel.STRATEGY else None,
        "instrument": SBIN if level is RiskLevel.INSTRUMENT else None,
        "armed": True,
        "day": TODAY,
        "baseline": Decimal(0),
        "peak": None,
        **terms,
    }
    return Watch(kind=kind, amount=Decimal(amount), level=level, **facts)


def watching(*watches: Watch) -> RiskMemory:
    memory = RiskMemory()
    memory.clock = FixedClock(NOW)
    memory.begun = TODAY
    memory.rewatch({each.limit_id: [each] for each in watches})
    return memory


def price(memory: RiskMemory, last: float, instrument: InstrumentId = SBIN, age: float = 0) -> list[Watch]:
    """What a new price makes fire."""
    memory.crossed.clear()
    memory.take([conflated(quote(instrument, last, memory.clock.now() - timedelta(seconds=age)))])
    memory.revalue()
    return [each.watch for each in memory.crossed.values()]


def pass_time(memory: RiskMemory, seconds: float) -> None:
    memory.clock = FixedClock(memory.clock.now() + timedelta(seconds=seconds))
