"""Which contract the demo's algo trades: an option at the money, of the expiry that comes first."""

from datetime import date, timedelta

from tools.client import Json, Platform

UNDERLYING = "NIFTY"
SPOT = "NSE_INDEX:NIFTY"
SEEN = 200
"""The nearest expiry comes first: more than it lists of one kind, so that the next one is among them."""
LONGEST_WEEK = timedelta(days=10)


class NothingToTrade(Exception):
    """There is no contract that the demo's algo could enter now; says why."""


async def choose_leg(platform: Platform) -> Json:
    """One lot at the money. An old instrument dump may list no weeks any more: then the month."""
    quote = await platform.get(f"/api/v2/market/quotes/{SPOT}")
    if not quote["market_open"]:
        raise NothingToTrade(f"{SPOT} is at {quote['ltp']}, and its market is closed: nobody trades by night")
    query = {"underlying": UNDERLYING, "kind": "OPTION", "option_type": "CE", "exchange": "NFO", "limit": SEEN}
    listed = (await platform.get("/api/v2/market/contracts/search", **query))["data"]
    expiries = sorted({date.fromisoformat(contract["expiry"]) for contract in listed})
    if not expiries:
        raise NothingToTrade(f"no {UNDERLYING} CE is listed")
    weekly = len(expiries) > 1 and expiries[1] - expiries[0] <= LONGEST_WEEK
    return {
        "kind": "OPTION",
        "underlying": UNDERLYING,
        "expiry": "CURRENT_WEEK" if weekly else "CURRENT_MONTH",
        "option_type": "CE",
        "strike": "ATM",
        "side": "BUY",
        "lots": 1,
    }


def in_words(leg: Json) -> str:
    """`buy 1 lot NIFTY ATM CE, current week`"""
    expiry = leg["expiry"].replace("_", " ").lower()
    return f"{leg['side'].lower()} {leg['lots']} lot {leg['underlying']} {leg['strike']} {leg['option_type']}, {expiry}"
