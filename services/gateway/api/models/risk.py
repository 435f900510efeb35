"""Limits, exposure, violations, panics."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from libs.common.contracts.enums import RiskLevel
from services.gateway.api.models.common import Answer, Body, Money, SavedAt, Whole
from services.gateway.domain.symbols import instrument_of


class RiskLimitBody(Body):
    """Limits of one scope; what is left out limits nothing. Losses are positive rupees."""

    level: RiskLevel
    account_id: UUID | None = None
    strategy_id: UUID | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    max_order_value: Annotated[Money, Field(gt=0)] | None = None
    max_open_positions: Whole | None = Field(default=None, ge=0, le=1_000_000)
    max_daily_loss: Annotated[Money, Field(gt=0)] | None = None
    stop_loss: Annotated[Money, Field(gt=0)] | None = None
    target: Annotated[Money, Field(gt=0)] | None = None
    trailing_stop: Annotated[Money, Field(gt=0)] | None = None
    identical_order_window_s: Whole | None = Field(default=None, ge=1, le=86_400)
    active: bool = True

    @model_validator(mode="after")
    def scope_is_whole(self) -> "RiskLimitBody":
        needed = {
            RiskLevel.USER: (),
            RiskLevel.ACCOUNT: ("account_id",),
            RiskLevel.STRATEGY: ("strategy_id",),
            RiskLevel.INSTRUMENT: ("account_id", "instrument"),
        }.get(self.level)
        if needed is None:
            raise ValueError("level ALL has no limits, only a panic")
        for name in ("account_id", "strategy_id", "instrument"):
            if (name in needed) != (getattr(self, name) is not None):
                raise ValueError(f"a limit of level {self.level} {'needs' if name in needed else 'takes no'} {name}")
        if self.instrument is not None:
            self.instrument = instrument_of(self.instrument)
            if self.instrument is None:
                raise ValueError("instrument: write NSE:SBIN")
        return self


class RiskLimitView(RiskLimitBody):
    limit_id: UUID
    user_id: UUID
    version: int
    updated_at: SavedAt = None


class ExposureView(Answer):
    """`ltp_at` is the oldest price that an open position is valued at, null while one has none or nothing is open;
    `stale` that one of them is.
    """

    account_id: UUID
    gross_value: Decimal
    net_value: Decimal
    used_margin: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    ltp_at: datetime | None
    stale: bool
    open_positions: int


class ViolationView(Answer):
    event_id: UUID
    type: str
    at: datetime
    event: dict[str, Any]


class PanicBody(Body):
    reason: Annotated[str, StringConstraints(max_length=200)] = "asked for by a person"


class PanicView(Answer):
    scope: str
    level: RiskLevel
    epoch: int
    in_force: bool
    panic_id: UUID
