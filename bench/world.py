"""The user, accounts and instruments that the load uses: made once over the API, then found again."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from deploy.local import bootstrap, kept
from deploy.local.instance import Instance
from tools.client import Json, Platform, Refused
from tools.demo.contract import choose_leg

ACCOUNTS = 200
CAPITAL = "100000000000"
EMAIL = "bench@example.com"
STOCKS = (
    *("RELIANCE", "HDFCBANK", "ICICIBANK", "INFY", "TCS", "SBIN", "ITC", "LT", "AXISBANK", "KOTAKBANK", "BHARTIARTL"),
    *("HINDUNILVR", "MARUTI", "SUNPHARMA", "TITAN", "BAJFINANCE", "WIPRO", "ONGC", "NTPC", "POWERGRID", "TATASTEEL"),
    *("COALINDIA", "HCLTECH", "ASIANPAINT"),
)
MOST_INSTRUMENTS = 24


@dataclass(frozen=True)
class Instrument:
    """What may be ordered, and a price far below the market at which a purchase rests."""

    name: str
    quantity: int
    product: str
    resting_price: str


@dataclass(frozen=True)
class World:
    gateway_url: str
    stream_url: str
    signals_url: str
    api_key: str
    accounts: list[str]
    books_account: str
    instruments: list[Instrument]

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.api_key}


async def find_world(instance: Instance) -> World:
    """Takes up the stored user and accounts if the stack still knows them, else makes new ones."""
    place = instance.home / "bench" / "world.json"
    stored: Json = kept.facts(place)
    facts = bootstrap.addresses(instance)
    async with Platform(facts["gateway_url"], patience=30) as platform:
        if not await _known(platform, stored):
            stored = await _make(platform)
            place.parent.mkdir(parents=True, exist_ok=True)
            kept.keep(place, json.dumps(stored))
        instruments = await tradable(platform)
    return World(
        facts["gateway_url"],
        facts["stream_url"],
        facts["signals_url"],
        stored["api_key"],
        stored["accounts"],
        stored["books_account"],
        instruments,
    )


async def _known(platform: Platform, stored: Mapping[str, str]) -> bool:
    if not stored:
        return False
    platform.use_key(stored["api_key"])
    try:
        await platform.get(f"/api/v2/accounts/{stored['books_account']}")
    except Refused:
        return False
    return True


async def _make(platform: Platform) -> Json:
    password = secrets.token_hex(12)
    email = EMAIL.replace("@", f"+{secrets.token_hex(4)}@")
    person = {"email": email, "username": email.partition("@")[0].replace("+", "."), "password": password}
    await platform.post("/api/v2/auth/register", person)
    await platform.log_in(email, password)
    key = await platform.post("/api/v2/auth/api-keys", {"name": "bench"})
    names = [f"bench {n:03}" for n in range(ACCOUNTS)]
    accounts: list[str] = []
    for start in range(0, len(names), 20):
        accounts += await asyncio.gather(*(_account(platform, name) for name in names[start : start + 20]))
    return {"api_key": key["api_key"], "accounts": accounts, "books_account": await _account(platform, "bench books")}


async def _account(platform: Platform, name: str) -> str:
    made = await platform.post("/api/v2/accounts/", {"name": name, "opening_balance": CAPITAL})
    account_id: str = made["account_id"]
    return account_id


async def tradable(platform: Platform) -> list[Instrument]:
    """What the running feed prices: with the simulator stocks, with the replay also options at the money."""
    leg = await choose_leg(platform)
    search = {"underlying": leg["underlying"], "kind": "OPTION", "exchange": "NFO", "limit": 200}
    options = (await platform.get("/api/v2/market/contracts/search", **search))["data"]
    stocks = [await _stock(platform, symbol) for symbol in STOCKS]
    listed = {each["instrument"]: each for each in [*filter(None, stocks), *options]}
    quotes = (await platform.post("/api/v2/market/quotes/bulk", {"symbols": list(listed)}))["data"]
    alive = [quote for quote in quotes if quote["bid"] > 0 and quote["ask"] > 0 and not quote["stale"]]
    if not alive:
        raise SystemExit("the feed prices none of the instruments that the load knows: is it on?")
    return [instrument(listed[quote["instrument"]], quote["ltp"]) for quote in alive[:MOST_INSTRUMENTS]]


async def _stock(platform: Platform, symbol: str) -> Json | None:
    found = (await platform.get("/api/v2/market/contracts/search", q=symbol, exchange="NSE", limit=1))["data"]
    return found[0] if found and found[0]["symbol"] == symbol else None


def instrument(contract: Json, ltp: float) -> Instrument:
    """A purchase rests half the price band below the market, or at half the price where there is no band."""
    tick = Decimal(contract["tick_size"])
    depth = Decimal(contract["price_band"] or 1) / 2
    price = (Decimal(str(ltp)) * (1 - depth) / tick).to_integral_value(ROUND_FLOOR) * tick
    return Instrument(contract["instrument"], contract["lot_size"], "MIS", str(max(price, tick)))
