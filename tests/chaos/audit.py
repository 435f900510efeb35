"""Whether the platform kept its word: what clients were told, against its books over the API, and the keys it kept.

The checker (`tools.reconcile`) proves the rest from the log and the services' own tables.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from bench.audit import Key, Row, book_since, positions, unbooked, unfilled
from deploy.local.instance import SERVICES
from tests.chaos.flow import Flow
from tests.chaos.wishes import CARRIED_OUT, OPEN, Kind, Wish
from tests.chaos.world import User
from tools.client import Platform

UNDECIDED = ("REQUESTED", "SUBMITTED", "OUTCOME_UNKNOWN")
QUIET_SECONDS = 60.0
TRADEBOOK = "/api/v2/trading/tradebook/"
EVER = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass
class Verdict:
    orders: int = 0
    alerts: int = 0
    faults: list[str] = field(default_factory=list)
    """In words, the first counterexample of each kind."""
    lost: int = 0
    doubled: int = 0

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.faults)

    def lose(self, count: int, words: str) -> None:
        if count:
            self.lost += count
            self.faults.append(f"{count} lost: {words}")

    def double(self, count: int, words: str) -> None:
        if count:
            self.doubled += count
            self.faults.append(f"{count} doubled: {words}")

    def break_word(self, count: int, words: str) -> None:
        if count:
            self.faults.append(f"{count}: {words}")


async def quiet(admin_url: str) -> list[str]:
    """Waits until nothing is on its way any more: no outbox row, no undecided order; what still is, in words."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + QUIET_SECONDS
        calm = 0
        while True:
            left = await _unsettled(connection)
            calm = 0 if left else calm + 1
            if calm >= 2 or loop.time() > deadline:
                return left
            await asyncio.sleep(0.3)
    finally:
        await connection.close()


async def _unsettled(connection: asyncpg.Connection) -> list[str]:
    found = []
    for service in SERVICES:
        rows = await connection.fetchval(f"SELECT count(*) FROM {service}.message_outbox")  # noqa: S608
        if rows:
            found.append(f"{rows} rows in {service}'s outbox")
    waiting = 0
    for service in SERVICES:
        waiting += await connection.fetchval(f"SELECT count(*) FROM {service}.message_parked")  # noqa: S608
    if waiting:
        found.append(f"{waiting} messages are parked")
    undecided = await connection.fetch(
        "SELECT order_id, status FROM gateway.orders WHERE status = ANY($1::text[]) LIMIT 1000", list(UNDECIDED)
    )
    if undecided:
        found.append(f"{len(undecided)} orders are undecided, such as {undecided[0]['order_id']}")
    return found


async def audit(flow: Flow, since: datetime, admin_url: str) -> Verdict:
    """Of one scenario's flow, once it is settled and the platform quiet."""
    verdict = Verdict()
    verdict.orders = sum(1 for wish in flow.orders if wish.ids)
    verdict.alerts = sum(1 for wish in flow.wishes if not wish.account and wish.ids)
    check_answers(flow, verdict)
    names = await kept_keys(flow.wishes, admin_url)
    for user in flow.world.everybody:
        wishes = [wish for wish in flow.wishes if wish.account and wish.account.user is user]
        async with Platform(flow.world.gateway_url, patience=60) as platform:
            platform.use_key(user.api_key)
            await check_books(platform, user, wishes, names, since, verdict)
    return verdict


def check_answers(flow: Flow, verdict: Verdict) -> None:
    several = [wish for wish in flow.wishes if len(wish.ids) > 1]
    words = f"one wish named {several[0].ids} (key {several[0].key})" if several else ""
    verdict.double(sum(len(wish.ids) - 1 for wish in several), words)
    named = Counter(each for wish in flow.wishes for each in wish.ids)
    shared = [each for each, count in named.items() if count > 1]
    verdict.lose(len(shared), f"two wishes were answered with the same id {shared[:1]}")


async def check_books(
    platform: Platform, user: User, wishes: list[Wish], names: dict[str, str], since: datetime, verdict: Verdict
) -> None:
    orders, fills, held = await books(platform, since)
    book = {order["order_id"]: order for order in orders}
    verdict.double(len(orders) - len(book), "an order is listed twice in the book")
    told = [wish for wish in wishes if wish.ids]
    missing = [wish for wish in told for each in wish.ids if each not in book]
    words = f"{missing[0].ids} was answered {missing[0].statuses} and is not in the book" if missing else ""
    verdict.lose(len(missing), words)
    undecided = [order for order in orders if order["status"] in UNDECIDED]
    verdict.lose(
        len(undecided), f"{undecided[0]['order_id']} is {undecided[0]['status']} for ever" if undecided else ""
    )
    check_unasked(orders, wishes, names, verdict)
    check_refusals(book, wishes, names, verdict)
    check_cancels(book, wishes, verdict)
    check_changes(book, wishes, verdict)
    verdict.break_word(unbooked(fills, Counter(), held), "positions are not the sum of their fills")
    verdict.break_word(unfilled([*book.values()], fills_of(fills, book)), "orders are not the sum of their fills")


async def books(platform: Platform, since: datetime) -> tuple[list[Row], list[Row], Counter[Key]]:
    """Orders since then, all fills and what is held, of one moment: an order that rests may fill while they are read,
    page by page. So they are read again until none did; TimeoutError after a minute of it.
    """
    async with asyncio.timeout(QUIET_SECONDS):
        fills = await book_since(platform, TRADEBOOK, EVER)
        while True:
            orders = await book_since(platform, "/api/v2/trading/orders/", since)
            held = await positions(platform)
            after = await book_since(platform, TRADEBOOK, EVER)
            if len(after) == len(fills):
                return orders, fills, held
            fills = after


def fills_of(fills: list[Row], book: dict[str, Row]) -> list[Row]:
    return [fill for fill in fills if fill["order_id"] in book]


def check_unasked(orders: Iterable[Row], wishes: list[Wish], names: dict[str, str], verdict: Verdict) -> None:
    """Every order in the book was wished for by a client, an alert or a square-off."""
    known = {each for wish in wishes for each in wish.ids} | {names[wish.key] for wish in wishes if wish.key in names}
    unasked = [
        order
        for order in orders
        if order["order_id"] not in known and order["strategy_id"] is None and order["purpose"] != "SQUARE_OFF"
    ]
    verdict.double(len(unasked), f"nobody asked for order {unasked[0]['order_id']}" if unasked else "")


def check_refusals(book: dict[str, Row], wishes: list[Wish], names: dict[str, str], verdict: Verdict) -> None:
    """`503: nothing was taken and nothing will trade` is a promise."""
    refused = [wish for wish in wishes if wish.status is None and set(wish.statuses) <= {429, 503} and wish.statuses]
    traded = [
        book[names[wish.key]]
        for wish in refused
        if names.get(wish.key) in book and book[names[wish.key]]["status"] != "DENIED"
    ]
    words = f"{traded[0]['order_id']} is {traded[0]['status']} though every answer was 503" if traded else ""
    verdict.break_word(len(traded), words)


def check_cancels(book: dict[str, Row], wishes: Iterable[Wish], verdict: Verdict) -> None:
    """`200` says that the order is cancelled, and nothing follows that here: whatever ended it before is a 409."""
    told = [wish for wish in wishes if wish.kind is Kind.CANCEL and CARRIED_OUT in wish.statuses]
    lost = [wish for wish in told if book.get(wish.of or "", {}).get("status") != "CANCELLED"]
    words = ""
    if lost:
        found = book.get(lost[0].of or "", {}).get("status", "not in the book")
        words = f"{lost[0].of} is {found}, and its cancel was answered {lost[0].statuses}"
    verdict.lose(len(lost), words)


def check_changes(book: dict[str, Row], wishes: Iterable[Wish], verdict: Verdict) -> None:
    """`200` says that the order has this quantity: it keeps it, whatever ends it, until another change is made."""
    changes: dict[str, list[Wish]] = defaultdict(list)
    for wish in wishes:
        if wish.kind is Kind.MODIFY:
            changes[wish.of or ""].append(wish)
    lost = []
    for order_id, asked in changes.items():
        if any(CARRIED_OUT in wish.statuses for wish in asked):
            made = {quantity_of(wish) for wish in asked if may_be_last(wish, asked)}
            found = book.get(order_id, {}).get("quantity")
            if found not in made:
                lost.append(f"{order_id} has {found}, its changes make {sorted(made)}")
    verdict.lose(len(lost), lost[0] if lost else "")


def may_be_last(wish: Wish, asked: list[Wish]) -> bool:
    """Whether it can have been made after all others. One without an answer, or with an open one, may still be."""
    if CARRIED_OUT in wish.statuses:
        later = [each for each in asked if CARRIED_OUT in each.statuses and each.due > wish.answered]
        return wish.status != CARRIED_OUT or not later
    return wish.status is None or wish.status == OPEN


def quantity_of(wish: Wish) -> int:
    quantity: int = json.loads(wish.content.partition(b"\r\n\r\n")[2])["quantity"]
    return quantity


async def kept_keys(wishes: Iterable[Wish], admin_url: str) -> dict[str, str]:
    """The order id that the gateway gave each Idempotency-Key, also where no answer ever told it."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        keys = [wish.key for wish in wishes if wish.kind.is_order]
        rows = await connection.fetch(
            "SELECT key, message_id FROM gateway.idempotency_keys WHERE key = ANY($1::text[])", keys
        )
    finally:
        await connection.close()
    return {row["key"]: str(row["message_id"]) for row in rows}
