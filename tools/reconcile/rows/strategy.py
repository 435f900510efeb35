"""Strategy's copies."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Strategy(Row):
    __slots__ = ()
    service: ClassVar[str] = "strategy"


@dataclass(frozen=True, slots=True)
class StrategyAccount(_Strategy):
    source: ClassVar[str] = "accounts"
    account_id: UUID
    user_id: UUID
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class StrategyHolding(_Strategy):
    source: ClassVar[str] = "holdings"
    algo_id: UUID
    account_id: UUID
    state: str


@dataclass(frozen=True, slots=True)
class StrategyAlgo(_Strategy):
    source: ClassVar[str] = "algos"
    algo_id: UUID


@dataclass(frozen=True, slots=True)
class StrategyUser(_Strategy):
    source: ClassVar[str] = "users"
    user_id: UUID
    may_trade: bool
    version: int
