"""Positions, fills, funds."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from libs.common.contracts.brokers import PositionDifference
from libs.common.contracts.enums import Exchange, FeedSource, Product, Side, SquareOffReason
from libs.common.contracts.orders import LeftOpen
from services.gateway.api.models.common import Answer, Body, Strategy
from services.gateway.domain.symbols import one_instrument


class ClosePositions(Body):
    """Either an account's position (`account_id`, `instrument`, `product`) or all that a strategy opened."""

    account_id: UUID | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    symbol: Annotated[str, StringConstraints(max_length=60)] | None = None
    exchange: Exchange | None = None
    product: Product | None = None
    strategy_id: Strategy | None = None

    @model_validator(mode="after")
    def says_what(self) -> "ClosePositions":
        if (self.instrument, self.symbol, self.exchange) != (None, None, None):
            self.instrument = one_instrument(self.instrument, self.symbol, self.exchange)
        if self.strategy_id is None and (self.account_id is None or self.instrument is None):
            raise ValueError("name account_id and instrument, or strategy_id")
        return self


class CloseAll(Body):
    account_id: UUID | None = None


class SquareOffView(Answer):
    """`expired` are the contracts that a completed one left, since nobody can trade them any more; `left` what an
    incomplete one did not close, and why, as since its market was closed.
    """

    square_off_id: UUID
    account_id: UUID
    status: str = Field(examples=["COMPLETED", "INCOMPLETE", "STARTED", "PENDING"])
    reason: SquareOffReason | None = Field(default=None, description="SESSION_END: MIS ends before its market closes")
    expired: list[str] = Field(default=[])
    left: list[LeftOpen] = Field(default=[])


class PositionView(Answer):
    """`ltp_at` is the time of the price it is valued at, `ltp_source` where that comes from, `stale` that it may not be
    the market's any more, as its quote says; also while no price is known, and what was paid stands for it.
    """

    account_id: UUID
    user_id: UUID
    instrument: str
    product: Product
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    value: Decimal
    ltp: Decimal | None
    ltp_at: datetime | None
    ltp_source: FeedSource | None
    stale: bool
    bought_quantity: int
    sold_quantity: int
    bought_value: Decimal
    sold_value: Decimal
    margin: Decimal
    version: int
    seq: int
    updated_at: datetime


class HoldingView(Answer):
    """`quantity` can be sold; `average_price` and `invested` are what was paid for it before today. `value` and `pnl`
    are null while no price is known, `stale` as of a position.
    """

    account_id: UUID
    instrument: str
    quantity: int
    average_price: Decimal
    invested: Decimal
    ltp: Decimal | None
    ltp_at: datetime | None
    ltp_source: FeedSource | None
    stale: bool
    value: Decimal | None
    pnl: Decimal | None


class Pnl(Answer):
    """`ltp_at` is the oldest price that an open position is valued at, null while one has none or nothing is open;
    `stale` that one of them is.
    """

    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    ltp_at: datetime | None
    stale: bool
    accounts: list[dict[str, Any]]
    strategies: list[dict[str, Any]]


class FillView(Answer):
    """A trade of an order; or, without an `order_id`, the settlement of a contract that expired in a paper account."""

    fill_id: UUID
    order_id: UUID | None
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: Side
    product: Product
    quantity: int
    price: Decimal
    broker_fill_id: str
    filled_at: datetime
    seq: int


class FundsView(Answer):
    account_id: UUID
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    updated_at: datetime
    seq: int


class BrokerPositions(Answer):
    """Where our positions and the broker's differ. `moving` were left out of the last look, since an order of theirs is
    under way; while `problem` says why the broker's cannot be read, the differences are those of `compared_at`, which
    is null until a first look. `version` counts what was told, 0: nothing yet.
    """

    account_id: UUID
    differences: list[PositionDifference]
    moving: list[str]
    problem: str
    compared_at: datetime | None
    version: int
