"""How patient the webhook listener is, and how much it keeps."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SignalsSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SIGNALS_", frozen=True, extra="ignore")

    webhook_secret: str = Field(min_length=16)
    """What URL ids, tokens and signing keys derive from; the gateway holds the same one."""
    max_body_bytes: int = 65_536
    body_seconds: float = 1.2
    """How long a sender may take over its body: less than `answer_seconds`, of which the decision needs the rest."""
    answer_seconds: float = 1.8
    """When a decision takes longer the sender hears 503: TradingView gives up after three seconds."""
    max_in_flight: int = 200
    """Alerts being decided at once; one more hears 503. So does one of a webhook that has as many as are left free, or
    of whose user there are twice as many.
    """
    stale_after_s: int = 0
    """Refuse alerts whose `timestamp` or `timenow` is older; 0 takes them at any age."""
    kept_payload_characters: int = 4_096
    """How much of an alert's body stays in the log."""
    kept_days: int = Field(default=30, ge=1)
    """How long arrivals stay in the log, in which alike ones are found for up to a day."""
