"""Configuration: environment variables only, checked before anything starts."""

import os
import re
import ssl
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_network
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
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


class KafkaSecurity(StrEnum):
    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        return self in (self.SSL, self.SASL_SSL)

    @property
    def has_sasl(self) -> bool:
        return self in (self.SASL_PLAINTEXT, self.SASL_SSL)


class SaslMechanism(StrEnum):
    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


def _or_none(text: object) -> object:
    """Compose passes an empty text where nothing is set."""
    return text or None


class KafkaSettings(BaseSettings):
    """Where Kafka is, and how it lets us in: what every client of it needs, be it a service's or a command's."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap: str
    kafka_security_protocol: KafkaSecurity = KafkaSecurity.PLAINTEXT
    """What Kafka's listener at that address speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    kafka_sasl_mechanism: Annotated[SaslMechanism | None, BeforeValidator(_or_none)] = Field(
        default=None, validate_default=True
    )
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: with SASL_SSL and SASL_PLAINTEXT."""
    kafka_sasl_username: str = Field(default="", validate_default=True)
    kafka_sasl_password: SecretStr = Field(default=SecretStr(""), validate_default=True)
    kafka_ssl_ca_file: str = ""
    """A PEM file of the authorities that Kafka's certificate is checked against; the public ones where it is empty."""
    kafka_ssl_certificate_file: str = ""
    """A PEM file of our own certificate and its chain, where Kafka asks its clients for one."""
    kafka_ssl_key_file: str = Field(default="", validate_default=True)
    """Its private key as PEM, under no password."""

    @field_validator("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _goes_with_sasl(cls, value: object, info: ValidationInfo) -> object:
        protocol: KafkaSecurity | None = info.data.get("kafka_security_protocol")
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        if protocol and protocol.has_sasl and not given:
            known = ": PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512" if info.field_name == "kafka_sasl_mechanism" else ""
            raise ValueError(f"KAFKA_SECURITY_PROTOCOL={protocol} needs it{known}")
        if protocol and given and not protocol.has_sasl:
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={protocol} sends no name and no password: say "
                f"{'SASL_SSL' if protocol.has_tls else 'SASL_SSL or SASL_PLAINTEXT'} there, or leave this empty"
            )
        return value

    @field_validator("kafka_ssl_ca_file", "kafka_ssl_certificate_file", "kafka_ssl_key_file")
    @classmethod
    def _goes_with_tls(cls, path: str, info: ValidationInfo) -> str:
        protocol: KafkaSecurity | None = info.data.get("kafka_security_protocol")
        if protocol and path and not protocol.has_tls:
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={protocol} is without TLS: say "
                f"{'SASL_SSL' if protocol.has_sasl else 'SSL or SASL_SSL'} there, or leave this empty"
            )
        if path and not os.access(path, os.R_OK):
            raise ValueError(f"there is no file {path} that this user may read")
        return path

    @field_validator("kafka_ssl_ca_file")
    @classmethod
    def _holds_authorities(cls, path: str) -> str:
        if path:
            try:
                _checking(path)
            except OSError as error:
                raise ValueError(f"{path} holds no certificate as PEM ({error})") from error
        return path

    @field_validator("kafka_ssl_key_file")
    @classmethod
    def _belongs_to_certificate(cls, path: str, info: ValidationInfo) -> str:
        certificate = info.data.get("kafka_ssl_certificate_file")
        if certificate is None:  # it was refused itself
            return path
        if bool(path) != bool(certificate):
            raise ValueError("it and KAFKA_SSL_CERTIFICATE_FILE go together: set both, or none")
        try:
            _checking("", certificate, path)
        except OSError as error:
            raise ValueError(
                f"{path} is no unencrypted PEM key of the certificate in {certificate} ({error})"
            ) from error
        return path

    def tls(self) -> ssl.SSLContext | None:
        """By which a Kafka with TLS is known, and knows us."""
        if not self.kafka_security_protocol.has_tls:
            return None
        return _checking(self.kafka_ssl_ca_file, self.kafka_ssl_certificate_file, self.kafka_ssl_key_file)


def _checking(authorities: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities or None)
    if certificate:
        context.load_cert_chain(certificate, key, "")  # without a password OpenSSL would ask the terminal for one
    return context


class CommonSettings(KafkaSettings):
    """What every service needs. The variable names are the field names in capitals."""

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


def load(settings: type[T], given: Mapping[str, Any] = MappingProxyType({})) -> T:
    """Read `settings` from what is given and the environment, or stop the process with one clear line."""
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings(**given)
    except NoJson as error:  # its text alone has the field
        field = "".join(re.findall(r'field "(\w+)"', str(error)))
        raise SettingsError("settings: " + f"{prefix}{field}".upper() + f": no JSON ({error.__cause__})") from error
    except ValidationError as error:
        problems = [f"{prefix}{'.'.join(map(str, e['loc']))}".upper() + f": {e['msg']}" for e in error.errors()]
        raise SettingsError(f"settings: {'; '.join(problems)}") from error


def kafka_of(variables: Mapping[str, str]) -> KafkaSettings:
    """Of an instance's environment, which a command reads from its file."""
    return load(KafkaSettings, {name.lower(): value for name, value in variables.items() if name.startswith("KAFKA_")})


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
