"""The order book of an account with many orders: what a page costs, and whether reading it holds up orders."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import orjson

from bench import latency
from bench.load import offer
from bench.orders import PLACE, Kind, Mix, order
from bench.report import Figures
from bench.window import CONNECTIONS, Bench, clear, measure
from bench.wire import Pool, request
from libs.common.clock import stopwatch

ORDERS = 10_000
FILLING_RATE = 300.0
OK = 200
PAGES = 400
ROWS = 50
BOOK = "/api/v2/trading/orders/"
POLL_EVERY = 0.02
RATE, SECONDS = 100.0, 15.0


async def books(bench: Bench, mix: Mix) -> dict[str, Figures]:
    await fill_up(bench)
    cursors = await walk(bench)
    pages = await read(bench, cursors)
    await measure(bench, mix, RATE, 5)
    alone = await measure(bench, mix, RATE, SECONDS)
    async with polling(bench) as polls:
        beside = await measure(bench, mix, RATE, SECONDS)
    await clear(bench)
    return {
        "books": {
            "page": {**latency.percentiles(pages), "rows": ROWS, "pages": len(pages), "orders_in_book": ORDERS},
            "orders_alone": latency.percentiles(alone.accepted),
            "orders_beside_polling": {**latency.percentiles(beside.accepted), "polls": len(polls)},
            "poll": latency.percentiles(polls),
        }
    }


async def fill_up(bench: Bench) -> None:
    """Places what is missing to a full book, and cancels it again: the orders stay in it."""
    missing = ORDERS - len(await walk(bench, most=ORDERS // ROWS)) * ROWS
    if missing <= 0:
        return
    print(f"  filling a book with {missing} orders")
    body = order(bench.world.books_account, bench.world.instruments[0], Kind.RESTING)
    content = request("POST", PLACE, bench.world.headers, body)
    async with Pool(bench.world.gateway_url, CONNECTIONS) as pool:
        await offer(pool, [(content, Kind.RESTING)] * missing, FILLING_RATE)
    await clear(bench)


async def walk(bench: Bench, most: int = ORDERS // ROWS) -> list[str | None]:
    """The cursor of every page, from the newest to the oldest."""
    cursors: list[str | None] = []
    cursor: str | None = None
    async with Pool(bench.world.gateway_url, 1) as pool:
        while len(cursors) < most:
            _, body = await pool.call(page(bench, cursor))
            answer = orjson.loads(body)
            if len(answer["data"]) < ROWS:
                break
            cursors.append(cursor)
            cursor = answer["next_cursor"]
            if cursor is None:
                break
    return cursors


async def read(bench: Bench, cursors: list[str | None]) -> list[float]:
    """Pages from anywhere in the book, one after the other."""
    requests = [page(bench, cursor) for cursor in random.Random(5).choices(cursors, k=PAGES)]
    taken: list[float] = []
    async with Pool(bench.world.gateway_url, 1) as pool:
        for content in requests:
            began = stopwatch()
            status, body = await pool.call(content)
            taken.append(stopwatch() - began)
            if status != OK:
                raise SystemExit(f"a page of the book answered {status}: {body[:200]!r}")
    return taken[20:]


@contextlib.asynccontextmanager
async def polling(bench: Bench) -> AsyncIterator[list[float]]:
    """A client that asks for the first page again and again."""
    taken: list[float] = []

    async def poll(pool: Pool) -> None:
        while True:
            began = stopwatch()
            await pool.call(page(bench, None))
            taken.append(stopwatch() - began)
            await asyncio.sleep(POLL_EVERY)

    async with Pool(bench.world.gateway_url, 1) as pool:
        task = asyncio.create_task(poll(pool))
        yield taken
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def page(bench: Bench, cursor: str | None) -> bytes:
    query = f"?account_id={bench.world.books_account}&limit={ROWS}" + (f"&cursor={cursor}" if cursor else "")
    return request("GET", BOOK + query, bench.world.headers)
