"""What an operator may choose about market data. Environment variables: MARKETDATA_*, REPLAY_*, SHARED_DATA."""

from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.contracts.masters import MasterSource
from services.marketdata.domain.pricing import DIVIDEND_YIELD, RISK_FREE_RATE

PUBLISHED = "published"


def _named(path: object) -> object:
    """Compose passes an empty text where nothing is set."""
    return path or None


class FeedKind(StrEnum):
    SIMULATOR = "simulator"
    REPLAY = "replay"
    LIVE = "live"


class MarketDataSettings(BaseSettings):
    """`MARKETDATA_FEED=replay MARKETDATA_SEED=7 …`"""

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_", frozen=True, extra="ignore")

    feed: FeedKind = FeedKind.SIMULATOR
    """simulator, replay or live."""
    seed: int = 20
    """The simulator's randomness: the same seed draws the same market."""
    tick_rate: float = Field(default=1.0, gt=0, le=100)
    """Multiplies the simulator's ticks per second (some 350 at 1)."""
    step_ms: int = Field(default=100, ge=10, le=1000)
    """How often the feed is asked for what is due."""
    masters: dict[MasterSource, str | list[str]] = Field(default_factory=dict)
    """Where brokers' instrument dumps are, as JSON: `{"zerodha": "published", "dhan": "/data/dhan.csv"}`.

    An address (https), a file (its name may hold `*`: the last match counts), several of either, or `published` for
    the addresses that the broker publishes. Of two brokers' terms for one contract those of the first named count.
    """
    masters_at: time = time(8, 40)
    """When dumps are fetched every day, Indian time: the exchanges' are made anew by 08:30."""
    masters_ca: Annotated[Path | None, BeforeValidator(_named)] = None
    """A PEM file of authorities that dumps' https addresses are checked against instead of the public ones: for a
    mirror inside, or a proxy that signs by itself."""


class TickerSettings(BaseModel):
    """One login at a broker that gives live prices."""

    broker: Literal[MasterSource.ZERODHA] = MasterSource.ZERODHA
    credentials: Path
    """A file with the day's login as JSON: `{"api_key": "…", "access_token": "…"}`, read anew for every connection."""
    connections: int = Field(default=3, ge=1, le=3)
    address: str = "wss://ws.kite.trade"
    quotes: str = "https://api.kite.trade"
    """Where quotes are asked for while the ticker gives nothing."""


class LiveSettings(BaseSettings):
    """Only read by the live feed."""

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_", frozen=True, extra="ignore")

    tickers: list[TickerSettings] = Field(min_length=1)
    """As JSON, the preferred first: `[{"credentials": "/run/secrets/kite.json"}]`. Others take over what it loses."""


class PricingSettings(BaseSettings):
    """What implied volatilities and Greeks are worked out with."""

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_", frozen=True, extra="ignore")

    risk_free_rate: float = Field(default=RISK_FREE_RATE, ge=-0.05, le=0.5)
    """Continuous, a year: 0.065 is 6.5 %."""
    dividend_yield: float = Field(default=DIVIDEND_YIELD, ge=0, le=0.5)
    """Of a spot whose options have no future of their own expiry to be priced on."""
    dividend_yields: dict[str, float] = {}
    """By underlying, where it differs: `{"SBIN": 0.018}`."""
    chain_hz: float = Field(default=4.0, ge=1, le=10)
    """How often a chain that somebody watches is told of."""

    def dividends_of(self, underlying: str) -> float:
        return self.dividend_yields.get(underlying, self.dividend_yield)


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
    """How many times faster than it happened."""
    recording: Recording = Recording.TICKS
    """What is played: ticks or candles."""
    bar_label: BarLabel = BarLabel.END
    """Which end of its minute a recorded candle's label names: start or end."""
    rescale: Rescale = Rescale.AUTO
    """auto: multiply recorded prices so that the spot starts at the middle of the listed strikes; off: as recorded."""
    strikes: int = Field(default=12, ge=0, le=100)
    """How many listed strikes on each side of the money get derived option prices."""


class HistorySettings(BaseSettings):
    """Where missing history is fetched, and where archived days go. All of it may be left out."""

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_HISTORY_", frozen=True, extra="ignore")

    url: str = ""
    """A history API in Kite Connect's dialect, such as https://api.kite.trade."""
    api_key: str = ""
    access_token: SecretStr = SecretStr("")
    archive: Path = Path(".local/archive")
    """The folder of `archive` and `restore`: TABLE/YYYY-MM-DD.parquet."""
    uploads: Annotated[Path | None, BeforeValidator(_named)] = None
    """The folder in which a file that is being imported by route waits, without a name; the system's by default. Two
    of them at once for each instance.
    """
    import_bytes: int = Field(default=67_108_864, ge=1024, validation_alias="HISTORY_IMPORT_BYTES")
    """The longest file that the route takes: a million candles of CSV, ten years of NSE. The gateway has it too."""
    import_s: float = Field(default=60.0, gt=0, validation_alias="HISTORY_IMPORT_S")
    """How long such a file may take to arrive. The gateway has it too."""
