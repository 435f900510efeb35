"""What a client of the WebSocket learns."""

import asyncio
from collections import defaultdict

import orjson
from websockets.asyncio.client import connect

from tests.e2e.trader import SHARE, SOON, Facts, Trader
from tools.stream import Stream


async def test_a_client_that_reconnects_learns_what_it_missed(trader: Trader, facts: Facts) -> None:
    async with Stream(facts["stream_url"], facts["api_key"]) as absent:
        seen = await trader.rest()
        assert await absent.until(lambda h: h.row.get("order_id") == seen["order_id"], 10)
        await absent.drop()
        missed = await trader.buy(1)
        await trader.sees_filled(missed["order_id"])
        heard_before = len(absent.heard)
        await absent.resume()
        learnt = await absent.until(lambda h: h.row.get("order_id") == missed["order_id"], 10, since=heard_before)
        assert learnt
        assert learnt.row["status"] == "FILLED"
        again = [h for h in absent.heard[heard_before:] if h.row.get("order_id") == seen["order_id"]]
        assert again == [], "what was known already is not told again"
    await trader.cancel(seen["order_id"])
    await trader.close_all()


async def test_prices_flow_to_who_watches_them_and_say_that_they_are_recorded(facts: Facts) -> None:
    watched = [SHARE, "NSE_INDEX:NIFTY"]
    prices = defaultdict[str, set[str]](set)
    async with connect(facts["stream_url"], proxy=None) as socket, asyncio.timeout(SOON):
        await socket.send(orjson.dumps({"action": "authenticate", "api_key": facts["api_key"]}).decode())
        await socket.send(orjson.dumps({"action": "subscribe", "quotes": watched}).decode())
        while not all(len(prices[each]) > 3 for each in watched):
            frame = orjson.loads(await socket.recv())
            for quote in frame["data"] if frame.get("channel") == "quotes" else ():
                assert (quote["source"], quote["stale"], quote["ltp"] > 0) == ("REPLAYED", False, True)
                prices[quote["instrument"]].add(quote["at"])
    assert prices.keys() == set(watched)
