"""Configuration: environment variables only, checked before anything starts."""

import os
import re
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as NoJson

T = TypeVar("T", bound=BaseSettings)


class MarketHours(StrEnum):
    """EXCHANGE follows the trading calendar; CONTINUOUS makes every IST day one session, for simulated feeds."""

    EXCHANGE = "exchange"
    CONTINUOUS = "continuous"


def _address(*schemes: str) -> AfterValidator:
    """Of one that it cannot read a client says what it read instead, be it the beginning of a password; we log that."""

    def is_whole(url: str) -> bool:
        try:
            parts = urlsplit(url)
            has_port = parts.port != 0
        except ValueError:
            return False
        rest = parts.path + parts.query + parts.fragment
        return has_port and parts.scheme in schemes and parts.netloc.count("@") <= 1 and "@" not in rest

    def checked(url: str) -> str:
        if not is_whole(url):
            raise ValueError(
                f"write {schemes[0]}://NAME:PASSWORD@HOST:PORT/NAME, and in a password %2F for /, %23 for #, %3F for ? "
                "and %40 for @"
            )
        return url

    return AfterValidator(checked)


class CommonSettings(BaseSettings):
    """What every service needs. The variable names are the field names in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap: str
    redis_url: Annotated[str, _address("redis", "rediss", "unix")]
    questdb_url: str
    internal_token: str = Field(min_length=16)
    """Opens the services' internal routes to each other; an empty one would open them to everybody."""
    market_hours: MarketHours = MarketHours.CONTINUOUS
    """exchange: the trading calendar decides; continuous: markets never close, for simulated feeds."""
    instance_id: str = "0"
    """Distinguishes the instances of one service; stable over restarts: who starts anew takes what he held at once."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


class SettingsError(SystemExit):
    """The environment lacks something; the text names each variable and what is wrong with it."""


def load(settings: type[T]) -> T:
    """Read `settings` from the environment or stop the process with one clear line."""
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings()
    except NoJson as error:  # its text alone has the field
        field = "".join(re.findall(r'field "(\w+)"', str(error)))
        raise SettingsError("settings: " + f"{prefix}{field}".upper() + f": no JSON ({error.__cause__})") from error
    except ValidationError as error:
        problems = [f"{prefix}{'.'.join(map(str, e['loc']))}".upper() + f": {e['msg']}" for e in error.errors()]
        raise SettingsError(f"settings: {'; '.join(problems)}") from error


def variable(name: str) -> str:
    """One that only a command reads; stops the process with one clear line where it is not set."""
    if not (value := os.environ.get(name)):
        raise SettingsError(f"settings: {name}: Field required")
    return value


def whole_number(name: str, default: int) -> int:
    """The same of a number, which need not be set."""
    given = os.environ.get(name) or str(default)
    if not (given.isascii() and given.isdigit()):
        raise SettingsError(f"settings: {name}: {given!r} is no whole number")
    return int(given)


def service_settings(service: str) -> "ServiceSettings":
    """The database and listener of one service: `<SERVICE>_DATABASE_URL`, `<SERVICE>_HOST`, `<SERVICE>_PORT`, ..."""

    class Settings(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix=f"{service.upper()}_", frozen=True, extra="ignore")

    return load(Settings)


def _are_addresses(text: str) -> str:
    """The server takes what is no address for a name, and then believes nobody, without a word."""
    for each in text.split(",") if text else ():
        try:
            ip_network(each.strip())
        except ValueError as error:
            raise ValueError(
                f"{error}; write the edge's, such as 127.0.0.1 or 172.30.77.0/24, comma-separated"
            ) from error
    return text


class ServiceSettings(BaseSettings):
    database_url: Annotated[str, _address("postgresql", "postgres")]
    host: str = "127.0.0.1"
    port: int
    trusted_proxies: Annotated[str, AfterValidator(_are_addresses)] = "127.0.0.1,::1"
    """Comma-separated addresses and networks whose X-Forwarded-For names the client: the edge's. Of all others it
    is not believed, or everybody could be anybody to what counts by address. Empty: nobody is.
    """
    request_s: float = 20.0
    """How long a client may take to send one request whole, from its first byte (or from connecting)."""
    unfinished_requests: int = 1000
    """Connections that may owe a request at once for longer than the grace; the one that owes longest is closed."""
    unfinished_grace_s: float = 5.0
    """Until then nobody is closed for the number of the others: thousands who connect at once and each send a request
    promptly are all answered.
    """
    unfinished_at_once: int = 8000
    """Connections that may owe a request at once, however young; never more than half of the process's descriptors."""
    unfinished_bytes: int = 64 * 2**20
    """What the requests that have not arrived whole may hold together; past it, the one that holds most is closed."""
    untaken_s: float = 60.0
    """How long a client may take nothing of an answer that waits for him, before his connection is closed."""
    untaken_bytes: int = 128 * 2**20
    """What answers that wait for their clients may hold together; past it, the connection of the longest is closed."""
