"""Where brokers are, how long we wait for them, and what their credentials are sealed with: TRADING_* variables."""

from datetime import timedelta

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.trading.domain.calls import Patience

KITE = "https://api.kite.trade"
KITE_UPDATES = "wss://ws.kite.trade"


class TradingSettings(BaseSettings):
    """The vault's secret has no default: without it the process does not start."""

    model_config = SettingsConfigDict(env_prefix="TRADING_", frozen=True, extra="ignore")

    vault_secret: SecretStr = Field(min_length=32)
    """Wraps the keys that brokers' credentials are sealed with. With a new one every account must log in again."""
    zerodha_url: str = KITE
    """Kite Connect, or a stub of it (`python -m tools.stub_broker`)."""
    zerodha_updates_url: str = ""
    """The WebSocket of its order updates; empty: Kite's own, or none where `zerodha_url` is not Kite's."""

    broker_connect_s: float = 2.0
    broker_call_s: float = Field(default=5.0, gt=0)
    """From the first byte to the whole answer; after that nobody knows what the broker did."""
    broker_fresh_s: float = 0.5
    """From the last look at the panic epochs to the first byte; who was held up in between sends nothing."""
    broker_grace_s: float = 2.0
    """How long after the last possible answer an order book counts as evidence."""
    broker_absent_reads: int = Field(default=6, ge=2)
    """So many books in a row, over `broker_absent_s`, must lack an order before it counts as refused."""
    broker_absent_s: float = 30.0
    broker_leave_s: float = 20.0
    """An order, or a change of one, that could not be sent for so long is refused."""
    broker_change_s: float = 10.0
    """A change that the broker took and the exchange does not show for so long was refused."""
    broker_poll_s: float = 1.0
    """Between two looks at an account's order book while something is open there."""
    broker_calls_per_s: int = Field(default=10, ge=1)
    """Orders, changes and cancels of one account: the exchanges' limit for people without an algo id."""
    broker_orders_per_minute: int = Field(default=400, ge=1)
    """New orders of one account: Zerodha's limit. One in ten is kept for exits; an entry beyond the rest waits, or is
    refused after `broker_leave_s`."""
    broker_lease_s: float = 20.0
    """Longer than a call: how soon another instance takes over an account whose own died."""
    broker_accounts: int = 500
    """Accounts that one instance works for at once."""
    broker_compare_s: float = Field(default=60.0, gt=0)
    """Between two looks at an account's positions while a market is open."""
    broker_compare_again_s: float = Field(default=5.0, gt=0)
    """Until a difference is looked at again before it counts: some reads of the order book."""

    @property
    def updates_url(self) -> str:
        return self.zerodha_updates_url or (KITE_UPDATES if self.zerodha_url == KITE else "")

    @property
    def patience(self) -> Patience:
        return Patience(
            call=timedelta(seconds=self.broker_call_s),
            fresh=timedelta(seconds=self.broker_fresh_s),
            grace=timedelta(seconds=self.broker_grace_s),
            to_leave=timedelta(seconds=self.broker_leave_s),
            absent_reads=self.broker_absent_reads,
            absent_for=timedelta(seconds=self.broker_absent_s),
            change_shows=timedelta(seconds=self.broker_change_s),
        )
