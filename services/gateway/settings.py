"""What can be configured: GATEWAY_* environment variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """The secrets have no default: without them the process does not start."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="ignore")

    jwt_secret: str = Field(min_length=32)
    """Signs access tokens and marks refresh tokens as ours. Changing it signs everybody out."""
    password_pepper: str = Field(min_length=16)
    """Mixed into every password before Argon2id. Changing it makes every password wrong."""
    webhook_secret: str = Field(min_length=16)
    """Signal groups' URLs, tokens and signing keys derive from it; the signals service has the same."""

    access_token_s: int = 900
    refresh_token_s: int = 14 * 86400
    registration_open: bool = True
    """False lets only the first user register himself."""
    login_attempts: int = 10
    """Failed and successful logins per e-mail from one address within `login_window_s`."""
    login_window_s: int = 300
    failed_logins: int = 100
    """Failed logins from one address (of IPv6: from one /64) within `login_window_s`, whatever the e-mails. Those that
    succeed do not count, so that many people may come from behind one router.
    """
    registrations: int = 100
    """From one address (of IPv6: from one /64) within `login_window_s`, those that were refused too."""
    requests_at_once: int = Field(default=3, ge=1)
    """Of one user, but for orders and ways out: so many are at work in one instance that came with any of his API keys,
    and as many that came with none. The next wait for their turn. Twice as many should be fewer than ten, the
    connections to the database.
    """
    requests: int = Field(default=2_000, ge=1)
    """Of one user within `request_window_s`, counted like those at work; those that were refused too."""
    request_window_s: int = Field(default=10, ge=1)
    owned: int = 1_000
    """How many accounts one user may have, and as many algos, signal groups, risk limits, custom symbols, API keys."""

    answer_s: float = 2.0
    """How long a command waits for the event that ends it before the answer is 202."""
    order_life_s: float = 1.6
    """Risk denies an order that it sees later than this, and 503 is said later still (by `Runtime.send`, after 1.75 s),
    so it is never followed by a trade. In between, a confirmation of Kafka's comes back to us.
    """
    command_life_s: float = 10.0
    """How long an idempotency key stays in flight when nobody can tell whether its instance lives."""

    signals_url: str = "http://127.0.0.1:8001"
    marketdata_url: str = "http://127.0.0.1:8005"
    trading_url: str = "http://127.0.0.1:8002"
    signals_public_url: str = "http://127.0.0.1:8001"
    """What TradingView sees: the base of the webhook URLs that are shown."""

    import_bytes: int = Field(default=67_108_864, ge=1024, validation_alias="HISTORY_IMPORT_BYTES")
    """The longest file of price history that an admin may send. marketdata has it too."""
    import_s: float = Field(default=60.0, gt=0, validation_alias="HISTORY_IMPORT_S")
    """How long such a file may take to arrive. marketdata has it too."""

    cors_origins: str = ""
    """Comma-separated origins that browsers may call from; none by default."""
    stream_connections: int = 100
    """WebSocket connections of one user to one instance."""
    stream_topics: int = 3000
    """Instruments that one user may stream, by mode, over all his connections to one instance."""
    stream_chains: int = 50
    """Option chains that one user may stream over all his connections to one instance."""
    stream_quotes: int = 500
    """Quotes that one WebSocket client may subscribe to."""
    stream_screens: int = 2000
    """The same over all connections of one user to one instance: each is sent them anew ten times a second."""
