"""Whether everything that was answered is in the books, once: read back over the API, page by page."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from bench.load import Attempt
from tools.client import Platform

PAGE = 500
ANSWERED_WITH_AN_ORDER = (201, 202)
Row = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Verdict:
    """`lost`: answered but not in the book, filled but not in the position. `duplicated`: there twice, or unasked."""

    lost: int
    duplicated: int


async def book_since(platform: Platform, path: str, since: datetime) -> list[Row]:
    """Every row of a paged book from an instant on."""
    rows: list[Row] = []
    query: dict[str, object] = {"limit": PAGE, "from": since.isoformat()}
    while True:
        page = await platform.get(path, **query)
        rows += page["data"]
        if page["next_cursor"] is None:
            return rows
        query["cursor"] = page["next_cursor"]


async def positions(platform: Platform) -> Counter[Key]:
    held = await platform.get("/api/v2/trading/positions/")
    return Counter({(p["account_id"], p["instrument"], p["product"]): p["quantity"] for p in held["data"]})


async def audit(platform: Platform, attempts: Iterable[Attempt], before: Counter[Key], since: datetime) -> Verdict:
    """Compares what was answered with the order book, and the change of every position with the fills."""
    attempts = list(attempts)
    told = [order_id(attempt) for attempt in attempts if attempt.status in ANSWERED_WITH_AN_ORDER]
    unknown = sum(1 for attempt in attempts if attempt.status not in (*ANSWERED_WITH_AN_ORDER, 422))
    refused = {order_id(attempt) for attempt in attempts if attempt.status == 422}
    orders = await book_since(platform, "/api/v2/trading/orders/", since)
    fills = await book_since(platform, "/api/v2/trading/tradebook/", since)
    listed = Counter(order["order_id"] for order in orders)
    missing = sum(1 for each in told if each not in listed)
    repeated = sum(count - 1 for count in listed.values()) + len(told) - len(set(told))
    unasked = max(0, len(listed.keys() - set(told) - refused) - unknown)
    off = unbooked(fills, before, await positions(platform)) + unfilled(orders, fills)
    return Verdict(lost=missing + off, duplicated=repeated + unasked)


def unbooked(fills: list[Row], before: Counter[Key], after: Counter[Key]) -> int:
    """Positions whose change is not the sum of their fills."""
    expected = Counter(before)
    for fill in fills:
        sign = 1 if fill["side"] == "BUY" else -1
        expected[fill["account_id"], fill["instrument"], fill["product"]] += sign * fill["quantity"]
    return sum(1 for key in expected.keys() | after.keys() if expected[key] != after[key])


def unfilled(orders: list[Row], fills: list[Row]) -> int:
    """Orders whose filled quantity is not the sum of their fills."""
    filled: dict[str, int] = defaultdict(int)
    for fill in fills:
        filled[fill["order_id"]] += fill["quantity"]
    return sum(1 for order in orders if order["filled_quantity"] != filled[order["order_id"]])


def order_id(attempt: Attempt) -> str:
    """In a 202, whose outcome is open, the request's id is the order's."""
    answer = orjson.loads(attempt.body)
    found: str = answer.get("order_id") or answer.get("id", "")
    return found
