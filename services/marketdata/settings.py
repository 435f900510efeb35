"""What an operator may choose about market data. Environment variables: MARKETDATA_*, REPLAY_*, SHARED_DATA."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class FeedKind(StrEnum):
    SIMULATOR = "simulator"
    REPLAY = "replay"


class MarketDataSettings(BaseSettings):
    """`MARKETDATA_FEED=replay MARKETDATA_SEED=7 …`"""

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_", frozen=True, extra="ignore")

    feed: FeedKind = FeedKind.SIMULATOR
    seed: int = 20
    """The simulator's randomness: the same seed draws the same market."""
    tick_rate: float = Field(default=1.0, gt=0, le=100)
    """Multiplies the simulator's ticks per second (some 350 at 1)."""
    step_ms: int = Field(default=100, ge=10, le=1000)
    """How often the feed is asked for what is due."""


class Recording(StrEnum):
    TICKS = "ticks"
    CANDLES = "candles"


class BarLabel(StrEnum):
    """Which end of its minute a recorded candle's label names; vendors differ, so it is never guessed."""

    START = "start"
    END = "end"


class Rescale(StrEnum):
    AUTO = "auto"
    """Multiply recorded prices so that the spot starts at the middle of the listed strikes."""
    OFF = "off"


class ReplaySettings(BaseSettings):
    """Only read by the replay feed."""

    model_config = SettingsConfigDict(env_prefix="REPLAY_", frozen=True, extra="ignore")

    shared_data: Path = Field(default=Path("../shared/data"), validation_alias="SHARED_DATA")
    """Instrument dumps in `masters/`, recorded ticks in `ticks/`, candles in `candles-1min/`."""
    speed: float = Field(default=1.0, gt=0, le=1000)
    recording: Recording = Recording.TICKS
    bar_label: BarLabel = BarLabel.END
    rescale: Rescale = Rescale.AUTO
    strikes: int = Field(default=12, ge=0, le=100)
    """How many listed strikes on each side of the money get derived option prices."""
