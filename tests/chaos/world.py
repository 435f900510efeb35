"""Who trades in the failure tests: a few users with many accounts, webhooks with algos behind them, and prices."""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

from bench.world import Instrument, tradable
from libs.common.ids import new_id
from tools.client import Json, Platform, Refused
from tools.demo.contract import choose_leg

CAPITAL = "100000000000"
ALERTS_A_MINUTE = 600
SPARE = 6


@dataclass(frozen=True, eq=False)
class Receiver:
    """A signal group with an algo that buys one lot in one account for each alert."""

    group_id: str
    url: str


@dataclass(frozen=True, eq=False)
class User:
    email: str
    password: str
    api_key: str
    accounts: list["Account"] = field(default_factory=list)
    receivers: list[Receiver] = field(default_factory=list)
    spare: list["Account"] = field(default_factory=list)
    """Accounts that the flow leaves alone."""

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.api_key}


@dataclass(frozen=True, eq=False)
class Account:
    account_id: str
    user: User
    instrument: Instrument


@dataclass(frozen=True)
class World:
    gateway_url: str
    stream_url: str
    signals_url: str
    admin_key: str
    users: list[User]
    instruments: list[Instrument]

    @property
    def accounts(self) -> list[Account]:
        return [account for user in self.users for account in user.accounts]

    @property
    def receivers(self) -> list[Receiver]:
        return [receiver for user in self.users for receiver in user.receivers]


async def make_world(facts: dict[str, str], users: int, accounts: int) -> World:
    """`facts` is the demo user's, who was first and so is super admin."""
    async with Platform(facts["gateway_url"], patience=60) as platform:
        platform.use_key(facts["api_key"])
        instruments = await priced(platform)
        leg = await choose_leg(platform)
    made = [await make_user(facts["gateway_url"], instruments, accounts, leg) for _ in range(users)]
    return World(facts["gateway_url"], facts["stream_url"], facts["signals_url"], facts["api_key"], made, instruments)


async def priced(platform: Platform) -> list[Instrument]:
    """The feed may need a moment after the services are ready."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Refused, SystemExit, LookupError):
                return await tradable(platform)
            await asyncio.sleep(0.5)


async def make_user(gateway_url: str, instruments: list[Instrument], accounts: int, leg: Json) -> User:
    name = f"chaos.{new_id().hex[-10:]}"
    email, password = f"{name}@example.com", f"Chaos-{new_id().hex}"
    async with Platform(gateway_url, patience=60) as platform:
        await platform.post("/api/v2/auth/register", {"email": email, "username": name, "password": password})
        await platform.log_in(email, password)
        key = await platform.post("/api/v2/auth/api-keys", {"name": "chaos"})
        user = User(email, password, key["api_key"])
        ids = await asyncio.gather(*(new_account(platform) for _ in range(accounts + SPARE)))
        drawn = random.Random(name)
        made = [Account(each, user, drawn.choice(instruments)) for each in ids]
        user.accounts.extend(made[:accounts])
        user.spare.extend(made[accounts:])
        for account in user.accounts[:2]:
            user.receivers.append(await new_receiver(platform, leg, account.account_id))
    return user


async def new_account(platform: Platform) -> str:
    body = {"name": f"chaos {new_id().hex[-8:]}", "opening_balance": CAPITAL}
    account_id: str = (await platform.post("/api/v2/accounts/", body))["account_id"]
    return account_id


async def new_receiver(platform: Platform, leg: Json, account_id: str) -> Receiver:
    name = f"chaos {new_id().hex[-8:]}"
    limits = {"max_per_minute": ALERTS_A_MINUTE, "max_signals_per_day": 10_000, "duplicate_window_s": 300}
    group = await platform.post("/api/v2/signals/", {"name": name, **limits})
    algo = {
        "name": name,
        "legs": [leg],
        "product": "MIS",
        "accounts": [{"account_id": account_id}],
        "mappings": [{"group_id": group["group_id"]}],
        "on_repeat": "add",
    }
    await platform.post("/api/v2/algos/", algo)
    return Receiver(group["group_id"], group["webhook"]["webhook_url"])
