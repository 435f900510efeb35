"""What a client of the WebSocket learns."""

from tests.e2e.trader import Facts, Trader
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
