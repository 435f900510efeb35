"""How the paper market behaves, from the environment (WALKFORWARD_…)."""

from datetime import timedelta
from decimal import Decimal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.walkforward.domain.market import FillModel, Liquidity


class WalkforwardSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WALKFORWARD_", frozen=True, extra="ignore")

    latency_ms: int = Field(default=0, ge=0, le=60_000)
    """How much later than its arrival an order meets the market."""
    stale_after_s: int = Field(default=60, ge=1)
    """A price older than this is not believed: orders wait for the next tick."""
    liquidity: Liquidity = Liquidity.DISPLAYED
    """displayed: what the feed shows at each price, anything where it shows no quantity. unlimited: anything."""
    displayed_fraction: Decimal = Field(default=Decimal(1), gt=0, le=1)
    """The share of the shown quantity that paper orders can have."""
    half_spread_ticks: int = Field(default=0, ge=0, le=1_000)
    """Where the feed has no bid and ask: how far from the last price each side stands."""
    keep_days: int = Field(default=30, ge=1)
    """How long finished orders are remembered, against the same order arriving again."""

    @property
    def latency(self) -> timedelta:
        return timedelta(milliseconds=self.latency_ms)

    @property
    def stale_after(self) -> timedelta:
        return timedelta(seconds=self.stale_after_s)

    @property
    def fill_model(self) -> FillModel:
        return FillModel(self.liquidity, self.displayed_fraction, self.half_spread_ticks)
