"""How long strategy trusts a price, a signal and an order request."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class StrategySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STRATEGY_", frozen=True, extra="ignore")

    spot_max_age_s: int = 15
    """No strike is chosen from an older spot price."""
    signal_max_age_s: int = 60
    """No entry follows a signal that waited longer (an outage); exits follow at any age."""
    order_ttl_s: int = 10
    """When risk no longer lets an entry through."""
    reversal_patience_s: int = 60
    """How long an entry waits for the old position to be closed, and an exit before it may be asked for again."""
