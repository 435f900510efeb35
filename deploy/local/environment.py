"""The environment of an instance: what every process reads, kept in its `env` file with its secrets."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from deploy.local.instance import PROJECT, SERVICES, Instance
from deploy.local.kept import keep

SECRETS = (
    "POSTGRES_PASSWORD",
    *(f"{service.upper()}_DATABASE_PASSWORD" for service in SERVICES),
    "GATEWAY_JWT_SECRET",
    "GATEWAY_PASSWORD_PEPPER",
    "GATEWAY_WEBHOOK_SECRET",
    "TRADING_VAULT_SECRET",
    "INTERNAL_TOKEN",
)
SET_UP_ALONE = ("POSTGRES_", "KAFKA_REPLICATION", "KAFKA_MIN_INSYNC")
"""What the jobs that provision, migrate and make topics are given, and no service."""
CHOICES = {
    "MARKETDATA_FEED": "simulator",
    "MARKETDATA_RISK_FREE_RATE": "0.065",
    "MARKETDATA_DIVIDEND_YIELD": "0.012",
    "MARKETDATA_CHAIN_HZ": "4",
    "MARKETDATA_MASTERS": "{}",
    "MARKETDATA_MASTERS_AT": "08:40",
    "MARKETDATA_MASTERS_CA": "",
    "MARKETDATA_TICKERS": "[]",
    "MARKETDATA_HISTORY_URL": "",
    "MARKETDATA_HISTORY_API_KEY": "",
    "MARKETDATA_HISTORY_ACCESS_TOKEN": "",
    "HISTORY_IMPORT_BYTES": "67108864",
    "HISTORY_IMPORT_S": "60",
    "TRADING_ZERODHA_URL": "https://api.kite.trade",
    "TRADING_ZERODHA_UPDATES_URL": "",
    "RISK_INTRADAY_CUTOFF_MINUTES": "10",
    "REPLAY_SPEED": "1",
    "MARKET_HOURS": "continuous",
    "MARKET_DAYS": "",
    "KAFKA_REPLICATION": "1",
    "KAFKA_MIN_INSYNC": "1",
    "LOG_LEVEL": "INFO",
}
FEEDS = ("simulator", "replay", "live")


class ChoiceError(Exception):
    """What a person chose is nothing that the stack could start with; says what may be chosen."""


def load(instance: Instance) -> dict[str, str]:
    """The variables of the instance; what is missing is added to its file, what is there is kept."""
    kept = read(instance)
    variables = {name: secrets.token_hex(24) for name in SECRETS} | CHOICES | kept
    variables.setdefault("SHARED_DATA", str((PROJECT / ".." / "shared" / "data").resolve()))
    variables |= addresses(instance, variables)
    if variables != kept:
        write(instance, variables)
    return variables


def addresses(instance: Instance, known: Mapping[str, str]) -> dict[str, str]:
    """What follows from ports, passwords and PUBLIC_URL, so never kept from an earlier start."""
    database = f"127.0.0.1:{instance.port('postgres')}/openalgo"
    found = {
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{instance.port('kafka')}",
        "REDIS_URL": f"redis://127.0.0.1:{instance.port('redis')}/0",
        "QUESTDB_URL": instance.url("questdb"),
        "POSTGRES_ADMIN_URL": f"postgresql://postgres:{known['POSTGRES_PASSWORD']}@{database}",
        "MARKETDATA_HISTORY_ARCHIVE": str(instance.home / "archive"),
        "MARKETDATA_HISTORY_UPLOADS": str(instance.home / "archive"),
        "GATEWAY_MARKETDATA_URL": instance.url("marketdata"),
        "GATEWAY_SIGNALS_URL": instance.url("signals"),
        "GATEWAY_TRADING_URL": instance.url("trading"),
        "GATEWAY_SIGNALS_PUBLIC_URL": known.get("PUBLIC_URL") or instance.url("signals"),
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
        "SIGNALS_TRUSTED_PROXIES": "127.0.0.1",
        "SIGNALS_WEBHOOK_SECRET": known["GATEWAY_WEBHOOK_SECRET"],
    }
    for service in SERVICES:
        prefix = service.upper()
        password = known[f"{prefix}_DATABASE_PASSWORD"]
        found[f"{prefix}_HOST"] = "127.0.0.1"
        found[f"{prefix}_PORT"] = str(instance.port(service))
        found[f"{prefix}_DATABASE_URL"] = f"postgresql://{service}:{password}@{database}"
    return found


def of_service(service: str, variables: Mapping[str, str]) -> dict[str, str]:
    """A service sees its own variables and the shared ones: no other service's secrets, not the administrator's."""
    others = [f"{name.upper()}_" for name in SERVICES if name != service]
    hidden = (*SET_UP_ALONE, *others)
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(hidden) and not name.endswith("_DATABASE_PASSWORD")
    }


def read(instance: Instance) -> dict[str, str]:
    if not instance.env_file.exists():
        return {}
    lines = instance.env_file.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, value in pairs}


def write(instance: Instance, variables: Mapping[str, str]) -> None:
    instance.home.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
    keep(instance.env_file, text)


def choose(instance: Instance, choices: Mapping[str, str]) -> bool:
    """Keeps a person's choices, such as the feed; tells whether they change anything. ChoiceError keeps none."""
    variables = load(instance)
    chosen = {**variables, **choices}
    check(chosen)
    if chosen == variables:
        return False
    write(instance, chosen)
    return True


def check(chosen: Mapping[str, str]) -> None:
    """A service that cannot start would say the same, a minute and a half later."""
    feed, speed, data = chosen["MARKETDATA_FEED"], chosen["REPLAY_SPEED"], chosen["SHARED_DATA"]
    if feed not in FEEDS:
        raise ChoiceError(f"FEED={feed} is none of {', '.join(FEEDS)}")
    if not _is_speed(speed):
        raise ChoiceError(
            f"SPEED={speed} is no number up to 1000: 1 is as fast as it was recorded, 10 ten times faster"
        )
    if feed == "replay" and not Path(data).is_dir():
        raise ChoiceError(f"FEED=replay finds no folder {data}: SHARED_DATA=… says where recordings are")


def _is_speed(text: str) -> bool:
    try:
        return 0 < float(text) <= 1000
    except ValueError:
        return False
