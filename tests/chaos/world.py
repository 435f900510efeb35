"""Who trades in the failure tests: a few users with many accounts, webhooks with algos behind them, and prices."""

import asyncio
import contextlib
import random
from dataclasses import asdict, dataclass, field
from decimal import Decimal

from bench.world import Instrument, tradable
from libs.common.ids import new_id
from tools.client import Json, Platform, Refused
from tools.demo.contract import choose_leg

CAPITAL = "100000000000"
ALERTS_A_MINUTE = 600
SPARE = 6
PANICKERS_ACCOUNTS = 2


@dataclass(frozen=True, eq=False)
class Receiver:
    """A signal group with an algo that buys one lot in one account for each alert."""

    group_id: str
    url: str
    algo_id: str
    account_id: str


@dataclass(frozen=True)
class Traded(Instrument):
    """With where its price was when the world was made, about which triggers are set."""

    last_price: Decimal
    tick_size: Decimal


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
    instrument: Traded


@dataclass(frozen=True)
class World:
    gateway_url: str
    stream_url: str
    signals_url: str
    admin_key: str
    users: list[User]
    panicker: User
    """Whom the flow leaves alone: he panics now and then, and nobody else is touched."""
    instruments: list[Traded]

    @property
    def everybody(self) -> list[User]:
        return [*self.users, self.panicker]

    @property
    def accounts(self) -> list[Account]:
        return [account for user in self.users for account in user.accounts]

    @property
    def receivers(self) -> list[Receiver]:
        return [receiver for user in self.users for receiver in user.receivers]


async def make_world(facts: dict[str, str], users: int, accounts: int, seed: int) -> World:
    """`facts` is the demo user's, who was first and so is super admin."""
    async with Platform(facts["gateway_url"], patience=60) as platform:
        platform.use_key(facts["api_key"])
        instruments = await priced(platform)
        leg = await choose_leg(platform)
    drawn = random.Random(seed)
    made = [await make_user(facts["gateway_url"], instruments, accounts + SPARE, drawn) for _ in range(users)]
    for user in made:
        user.spare.extend(user.accounts[accounts:])
        del user.accounts[accounts:]
        await receive(facts["gateway_url"], user, leg)
    panicker = await make_user(facts["gateway_url"], instruments, PANICKERS_ACCOUNTS, drawn)
    await limit(facts["gateway_url"], panicker)
    return World(
        facts["gateway_url"], facts["stream_url"], facts["signals_url"], facts["api_key"], made, panicker, instruments
    )


async def priced(platform: Platform) -> list[Traded]:
    """The feed may need a moment after the services are ready."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Refused, SystemExit, LookupError):
                found = await tradable(platform)
                return await asyncio.gather(*(traded(platform, each) for each in found))
            await asyncio.sleep(0.5)


async def traded(platform: Platform, instrument: Instrument) -> Traded:
    contract = await platform.get(f"/api/v2/market/contracts/{instrument.name}")
    quote = await platform.get(f"/api/v2/market/quotes/{instrument.name}")
    return Traded(**asdict(instrument), last_price=Decimal(str(quote["ltp"])), tick_size=Decimal(contract["tick_size"]))


async def make_user(gateway_url: str, instruments: list[Traded], accounts: int, drawn: random.Random) -> User:
    """What each account trades is drawn: a seed gives each the same again, whatever their ids are."""
    name = f"chaos.{new_id().hex[-10:]}"
    email, password = f"{name}@example.com", f"Chaos-{new_id().hex}"
    async with Platform(gateway_url, patience=60) as platform:
        await platform.post("/api/v2/auth/register", {"email": email, "username": name, "password": password})
        await platform.log_in(email, password)
        key = await platform.post("/api/v2/auth/api-keys", {"name": "chaos"})
        user = User(email, password, key["api_key"])
        ids = await asyncio.gather(*(new_account(platform) for _ in range(accounts)))
        user.accounts.extend(Account(each, user, drawn.choice(instruments)) for each in ids)
    return user


async def receive(gateway_url: str, user: User, leg: Json) -> None:
    async with Platform(gateway_url, patience=60) as platform:
        platform.use_key(user.api_key)
        for account in user.accounts[:2]:
            user.receivers.append(await new_receiver(platform, leg, account.account_id))


async def limit(gateway_url: str, panicker: User) -> None:
    """Of his first account: what a hundred of its shares gain or lose within seconds."""
    account = panicker.accounts[0]
    amount = str(max(1, account.instrument.last_price // 100))
    terms = {"level": "ACCOUNT", "account_id": account.account_id, "stop_loss": amount, "target": amount}
    async with Platform(gateway_url, patience=60) as platform:
        platform.use_key(panicker.api_key)
        await platform.post("/api/v2/risk/limits/", terms)


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
    algo_id = (await platform.post("/api/v2/algos/", algo))["algo_id"]
    return Receiver(group["group_id"], group["webhook"]["webhook_url"], algo_id, account_id)
