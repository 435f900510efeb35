"""Positions over HTTP: valued, held of an earlier day, closed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.enums import FeedSource, Product
from libs.common.contracts.ids import AccountId, InstrumentId, StrategyId
from libs.common.contracts.masters import CorporateActionKind
from libs.common.contracts.orders import LeftOpen, SquareOffCompleted, SquareOffRequested, SquareOffStarted
from libs.common.contracts.portfolio import (
    BookAdjusted,
    PositionAdjusted,
    PositionChanged,
    PositionUnadjusted,
    PositionUnsettled,
)
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform, shortest_pause
from tests.services.gateway.test_entities_api import ALGO


async def test_positions_are_valued_at_the_last_price_and_closed(platform: Platform) -> None:
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.position(order), said.funds(order), said.filled(order))
    memory = platform.runtime.memory
    memory.quotes.update([said.quote(said.SBIN, 815.25, platform.runtime.clock.now())], platform.runtime.clock.now())
    [position] = (await asha.client.get("/api/v2/trading/positions/")).json()["data"]
    assert (position["ltp"], position["mtm"], position["value"]) == ("815.25", "30.00", "8152.50")
    pnl = (await asha.client.get("/api/v2/trading/positions/pnl")).json()
    assert (pnl["mtm"], len(pnl["accounts"]), pnl["strategies"]) == ("30.00", 1, [])
    exposure = (await asha.client.get(f"/api/v2/risk/exposure/{asha.account_id}")).json()
    assert (exposure["gross_value"], exposure["used_margin"], exposure["mtm"]) == ("8152.50", "1625.00", "30.00")
    [fill] = (await asha.client.get("/api/v2/trading/tradebook/")).json()["data"]
    assert fill["price"] == "812.25"
    for asked, found in (("instrument=NSE:SBIN", 1), ("symbol=SBIN&exchange=NSE", 1), ("instrument=NSE:INFY", 0)):
        assert len((await asha.client.get(f"/api/v2/trading/tradebook/?{asked}")).json()["data"]) == found, asked
    assert (await asha.client.get(f"/api/v2/trading/funds/{asha.account_id}")).json()["available"] == "9998375.00"
    platform.answer = said.yes
    body = {"account_id": str(asha.account_id), "symbol": "SBIN", "exchange": "NSE", "product": "MIS"}
    closed = await asha.client.post("/api/v2/trading/positions/close", json=body)
    assert (closed.status_code, closed.json()["data"][0]["status"]) == (200, "COMPLETED")
    request = platform.asked[-1]
    assert isinstance(request, SquareOffRequested)
    assert (request.instrument, request.product, request.reason) == ("NSE:SBIN", "MIS", "CLOSE")


async def test_an_admin_who_asks_for_the_profit_of_another_is_not_shown_his_own(platform: Platform) -> None:
    """Whose it was to be was passed over in silence."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    memory, now = platform.runtime.memory, platform.runtime.clock.now()
    memory.quotes.update([said.quote(said.SBIN, 815.25, now)], now)
    await platform.project(said.position(said.terms(ravi.user_id, ravi.account_id)))
    pnl = "/api/v2/trading/positions/pnl"
    assert (await asha.client.get(pnl)).json()["mtm"] == "0.00"
    assert (await asha.client.get(f"{pnl}?user_id={ravi.user_id}")).json()["mtm"] == "30.00"
    assert (await ravi.client.get(f"{pnl}?user_id={asha.user_id}")).status_code == 403


async def test_what_is_valued_at_an_old_price_says_so(platform: Platform) -> None:
    """The instrument had no news for hours, and its position looked live."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    carried_on = carried(asha, Product.CNC, 10, 0, 0)
    await platform.project(said.position(order), carried_on, said.funds(order))
    memory, now = platform.runtime.memory, platform.runtime.clock.now()
    paths = {
        "/api/v2/trading/positions/": "data",
        "/api/v2/trading/holdings/": "data",
        "/api/v2/risk/exposure/": "data",
        "/api/v2/trading/positions/pnl": None,
    }

    async def shown() -> list[dict[str, object]]:
        answers = [(await asha.client.get(path)).json() for path in paths]
        flat = [answer["data"] if name else [answer] for answer, name in zip(answers, paths.values(), strict=True)]
        return [each for answer in flat for each in (*answer, *answer[0].get("accounts", ()))]

    unpriced = await shown()
    assert len(unpriced) == 6
    assert [(each["ltp_at"], each["stale"]) for each in unpriced] == [(None, True)] * 6
    for age, stale in ((3600, True), (5, False)):
        at = now - timedelta(seconds=age)
        memory.quotes.update([said.quote(said.SBIN, 815.25, at)], now)
        for each in await shown():
            assert datetime.fromisoformat(str(each["ltp_at"])) == at
            assert each["stale"] is stale


async def test_a_position_and_a_holding_say_where_their_price_comes_from(platform: Platform) -> None:
    """A simulated price looked like one of the exchange's there, and there alone."""
    asha = await platform.person("asha")
    await platform.project(carried(asha, Product.CNC, 10, 0, 0))
    memory, now = platform.runtime.memory, platform.runtime.clock.now()
    for source in (None, FeedSource.SIMULATED, FeedSource.DERIVED):
        if source:
            told = said.quote(said.SBIN, 815.25, now).model_copy(update={"source": source})
            memory.quotes.update([told], now)
        for path in ("positions/", f"positions/{asha.account_id}", "holdings/", f"holdings/{asha.account_id}"):
            [shown] = (await asha.client.get(f"/api/v2/trading/{path}")).json()["data"]
            assert (shown["ltp"], shown["ltp_source"]) == ("815.25" if source else None, source)


async def test_what_went_flat_is_listed_with_its_profit_until_its_day_is_over(platform: Platform) -> None:
    """All that was ever traded was listed for ever."""
    asha = await platform.person("asha")
    memory, now = platform.runtime.memory, platform.runtime.clock.now()
    memory.quotes.update([said.quote(said.SBIN, 815.25, now)], now)
    order = said.terms(asha.user_id, asha.account_id)
    held = said.position(order).model_copy(update={"product": Product.NRML})
    await platform.project(held, said.closed(order, Decimal("25.00")), said.funds(order))
    lists = ("/api/v2/trading/positions/", f"/api/v2/trading/positions/{asha.account_id}")
    sums = ("/api/v2/trading/positions/pnl", "/api/v2/risk/exposure/", f"/api/v2/risk/exposure/{asha.account_id}")

    async def listed(query: str = "") -> list[list[tuple[str, int, str]]]:
        found = [(await asha.client.get(path + query)).json()["data"] for path in lists]
        return [[(row["product"], row["quantity"], row["realised_pnl"]) for row in rows] for rows in found]

    assert await listed() == 2 * [[("MIS", 0, "25.00"), ("NRML", 10, "0.00")]]
    assert await listed("?open=true") == 2 * [[("NRML", 10, "0.00")]]
    assert (await asha.client.get(sums[0])).json()["mtm"] == "55.00"

    await platform.project(said.next_day(order))
    assert await listed() == 2 * [[("NRML", 10, "0.00")]]
    assert [(await asha.client.get(path)).json().get("mtm") for path in sums] == ["30.00", None, "30.00"]
    [exposed] = (await asha.client.get(sums[1])).json()["data"]
    assert (exposed["mtm"], exposed["open_positions"]) == ("30.00", 1)


async def test_amounts_have_two_digits_and_prices_as_many_as_they_need(platform: Platform) -> None:
    """They had none, four or six, as the books happened to keep them."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id).model_copy(update={"price": Decimal("83.25750000")})
    held = said.position(order)
    net = held.net.model_copy(update={"average_price": Decimal("812.2500"), "realised_pnl": Decimal("-1234.567500")})
    funds = said.funds(order).model_copy(update={"realised_pnl": Decimal("-1234.567500"), "available": Decimal(9)})
    paid = {"price": Decimal(812), "average_price": Decimal("812.2500")}
    bought = said.filled(order, 4, version=2).model_copy(update=paid)
    await platform.project(said.submitted(order), bought, held.model_copy(update={"net": net, "book": net}), funds)
    now = platform.runtime.clock.now()
    platform.runtime.memory.quotes.update([said.quote(said.SBIN, 815.5, now)], now)

    async def shown(path: str, *names: str) -> list[object]:
        answer = (await asha.client.get(f"/api/v2{path}")).json()
        [row] = answer.get("data", [answer])
        return [row[name] for name in names]

    assert await shown("/trading/orders/", "price", "trigger_price", "average_price") == ["83.2575", None, "812.25"]
    assert await shown(f"/trading/orders/{order.order_id}/status", "average_price") == ["812.25"]
    assert await shown("/trading/tradebook/", "price") == ["812.00"]
    prices = await shown("/trading/positions/", "average_price", "ltp")
    amounts = ("realised_pnl", "unrealised_pnl", "mtm")
    assert (prices, await shown("/trading/positions/pnl", *amounts)) == (
        ["812.25", "815.50"],
        ["-1234.57", "32.50", "-1202.07"],
    )
    assert await shown("/trading/positions/", *amounts, "margin", "sold_value") == [
        "-1234.57",
        "32.50",
        "-1202.07",
        "1625.00",
        "0.00",
    ]
    assert await shown("/trading/funds/", "opening_balance", "realised_pnl", "available") == [
        "10000000.00",
        "-1234.57",
        "9.00",
    ]
    assert await shown("/risk/exposure/", "gross_value", "used_margin", "mtm") == ["8155.00", "1625.00", "-1202.07"]


async def test_closing_what_is_neither_listed_nor_held_is_not_told_as_done(platform: Platform) -> None:
    """A slip in the name, and a trader would believe that he is flat. What is unknown here is closed all the same."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.position(order), said.listed("INFY"))
    platform.answer = said.yes
    url, body = "/api/v2/trading/positions/close", {"account_id": str(asha.account_id)}
    slip = await asha.client.post(url, json={**body, "instrument": "NSE:SBNI"})
    assert (slip.status_code, slip.json()["code"], slip.json()["instrument"]) == (404, "instrument_unknown", "NSE:SBNI")
    assert [type(request) for request in platform.asked] == [SquareOffRequested]
    for name in ("NSE:SBIN", "NSE:INFY"):
        closed = await asha.client.post(url, json={**body, "instrument": name})
        assert (closed.status_code, closed.json()["data"][0]["status"]) == (200, "COMPLETED"), name
    two = await asha.client.post(url, json={**body, "instrument": "NSE:SBIN", "symbol": "INFY"})
    assert (two.status_code, len(platform.asked)) == (422, 3)


async def test_closing_a_strategy_that_there_is_not_is_not_told_as_done(platform: Platform) -> None:
    """Whose hand slipped in its id heard 200, with nothing in it, and took his position for closed."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    url, linked = "/api/v2/trading/positions/close", {"accounts": [{"account_id": str(asha.account_id)}]}
    slip = await asha.client.post(url, json={"strategy_id": str(ids.new_id())})
    assert (slip.status_code, slip.json()["code"], platform.asked) == (404, "not_found", [])
    idle = (await asha.client.post("/api/v2/algos/", json=ALGO | linked)).json()["algo_id"]
    for _ in range(2):
        closed = await asha.client.post(url, json={"strategy_id": idle})
        assert (closed.status_code, closed.json()) == (200, {"data": []})
        assert (await asha.client.delete(f"/api/v2/algos/{idle}")).status_code in (204, 410)


async def test_closing_a_strategy_that_there_is_not_in_one_account_is_not_told_as_done_either(
    platform: Platform,
) -> None:
    """The account was there, so that he heard COMPLETED. What is unknown here is closed all the same."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    url, account = "/api/v2/trading/positions/close", {"account_id": str(asha.account_id)}
    slip = await asha.client.post(url, json={**account, "strategy_id": str(ids.new_id())})
    assert (slip.status_code, slip.json().get("code")) == (404, "not_found"), slip.text
    assert [type(request) for request in platform.asked] == [SquareOffRequested]
    idle = (await asha.client.post("/api/v2/algos/", json=ALGO | {"accounts": [account]})).json()["algo_id"]
    traded = said.terms(asha.user_id, asha.account_id).model_copy(update={"strategy_id": StrategyId(ids.new_id())})
    await platform.project(said.position(traded))
    for strategy_id in (idle, str(traded.strategy_id)):
        closed = await asha.client.post(url, json={**account, "strategy_id": strategy_id})
        assert (closed.status_code, closed.json()["data"][0]["status"]) == (200, "COMPLETED")


async def test_an_admin_sees_anothers_profit_by_strategy_too(platform: Platform) -> None:
    admin, ravi = await platform.person("asha"), await platform.person("ravi")
    other = await platform.person("meera")
    strategy_id = StrategyId(ids.new_id())
    for person in (ravi, admin):
        order = said.terms(person.user_id, person.account_id).model_copy(update={"strategy_id": strategy_id})
        await platform.project(said.position(order))
    url = f"/api/v2/trading/positions/pnl?account_id={ravi.account_id}"
    for client in (admin.client, ravi.client):
        seen = (await client.get(url)).json()
        assert [each["account_id"] for each in seen["accounts"]] == [str(ravi.account_id)]
        assert [each["strategy_id"] for each in seen["strategies"]] == [str(strategy_id)]
    assert (await other.client.get(url)).status_code == 404


def carried(asha: Person, product: Product, quantity: int, bought: int, sold: int) -> PositionChanged:
    """A CNC position of which so much was traded today."""
    changed = said.position(said.terms(asha.user_id, asha.account_id), quantity)
    price = changed.net.average_price
    values = {"bought_value": price * bought, "sold_value": price * sold}
    state = changed.net.model_copy(update={"bought_quantity": bought, "sold_quantity": sold, **values})
    return changed.model_copy(update={"net": state, "book": state, "product": product})


@pytest.mark.parametrize(
    ("product", "quantity", "bought", "sold", "held"),
    [
        (Product.CNC, 10, 0, 0, 10),
        (Product.CNC, 10, 10, 0, 0),
        (Product.CNC, 10, 4, 0, 6),
        (Product.CNC, 6, 0, 4, 6),
        (Product.CNC, 8, 2, 4, 8),
        (Product.CNC, -5, 0, 5, 0),
        (Product.MIS, 10, 0, 0, 0),
    ],
)
async def test_shares_of_an_earlier_day_are_holdings_and_todays_are_not(
    platform: Platform, product: Product, quantity: int, bought: int, sold: int, held: int
) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    await platform.project(carried(asha, product, quantity, bought, sold))
    memory = platform.runtime.memory
    memory.quotes.update([said.quote(said.SBIN, 815.25, platform.runtime.clock.now())], platform.runtime.clock.now())
    url = f"/api/v2/trading/holdings/{asha.account_id}"
    for path in ("/api/v2/trading/holdings/", url):
        found = (await asha.client.get(path)).json()["data"]
        assert [(each["quantity"], each["ltp"]) for each in found] == ([(held, "815.25")] if held else [])
        assert all(Decimal(each["pnl"]) == 3 * held for each in found)
    assert (await ravi.client.get("/api/v2/trading/holdings/")).json()["data"] == []
    assert (await ravi.client.get(url)).status_code == 404


async def test_what_is_bought_today_changes_nothing_about_what_earlier_shares_cost(platform: Platform) -> None:
    """A hundred that were bought at 100 had cost 150 each, until midnight, once a hundred more were bought at 200."""
    asha = await platform.person("asha")
    memory, now = platform.runtime.memory, platform.runtime.clock.now()
    memory.quotes.update([said.quote(said.SBIN, 300.0, now)], now)
    bought = carried(asha, Product.CNC, 200, 100, 0)
    averaged = {"average_price": Decimal(150), "bought_value": Decimal(20_000)}
    sold = {"quantity": 150, "sold_quantity": 50, "sold_value": Decimal(15_000), "realised_pnl": Decimal(7_500)}
    for version, state in ((1, averaged), (2, averaged | sold)):
        net = bought.net.model_copy(update=state)
        await platform.project(bought.model_copy(update={"net": net, "version": version}))
        [held] = (await asha.client.get("/api/v2/trading/holdings/")).json()["data"]
        shown = [held[name] for name in ("quantity", "average_price", "invested", "value", "pnl")]
        assert shown == [100, "100.00", "10000.00", "30000.00", "20000.00"]


async def test_who_holds_what_could_not_be_settled_reads_it_among_his_violations(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    await platform.project(
        PositionUnsettled(
            account_id=asha.account_id,
            user_id=asha.user_id,
            instrument=said.SBIN,
            product=Product.NRML,
            quantity=100,
            expiry=said.NOW.date(),
            reason="no feed tells the settlement prices of MCX",
        )
    )
    [told] = (await asha.client.get(f"/api/v2/risk/violations/?account_id={asha.account_id}")).json()["data"]
    assert (told["type"], told["event"]["quantity"]) == ("PositionUnsettled", 100)
    assert told["event"]["reason"] == "no feed tells the settlement prices of MCX"
    assert (await ravi.client.get("/api/v2/risk/violations/")).json()["data"] == []


async def test_whose_shares_were_split_reads_how_many_they_were(platform: Platform) -> None:
    """Overnight he held twice as many at half the price, and nothing told him why."""
    asha = await platform.person("asha")
    await platform.project(
        PositionAdjusted(
            adjustment_id=ids.new_id(),
            account_id=asha.account_id,
            user_id=asha.user_id,
            instrument=said.SBIN,
            product=Product.CNC,
            kind=CorporateActionKind.SPLIT,
            ex_date=said.NOW.date(),
            old=1,
            new=2,
            before=100,
            quantity=200,
            books=(BookAdjusted(strategy_id=None, before=100, quantity=200),),
        )
    )
    [told] = (await asha.client.get(f"/api/v2/risk/violations/?account_id={asha.account_id}")).json()["data"]
    assert (told["type"], told["event"]["before"], told["event"]["quantity"]) == ("PositionAdjusted", 100, 200)


async def test_whose_shares_were_split_at_a_broker_reads_that_they_are_not_booked(platform: Platform) -> None:
    """A loss of half was shown, and nothing told why."""
    asha = await platform.person("asha")
    await platform.project(
        PositionUnadjusted(
            account_id=asha.account_id,
            user_id=asha.user_id,
            instrument=said.SBIN,
            product=Product.CNC,
            kind=CorporateActionKind.SPLIT,
            ex_date=said.NOW.date(),
            old=1,
            new=2,
            quantity=100,
            shares=200,
        )
    )
    [told] = (await asha.client.get(f"/api/v2/risk/violations/?account_id={asha.account_id}")).json()["data"]
    assert (told["type"], told["event"]["quantity"], told["event"]["shares"]) == ("PositionUnadjusted", 100, 200)


async def test_a_strategy_is_closed_though_an_account_in_which_it_traded_was_deleted(platform: Platform) -> None:
    """It was asked for that one too, and the answer was its 404, while the others were being closed."""
    asha = await platform.person("asha")
    strategy, gone = StrategyId(ids.new_id()), AccountId(ids.new_id())
    await platform.project(said.account_saved(asha.user_id, gone))
    for account in (asha.account_id, gone):
        order = said.terms(asha.user_id, account).model_copy(update={"strategy_id": strategy})
        await platform.project(said.position(order), said.closed(order, Decimal(5)), said.funds(order))
    await platform.project(said.account_deleted(asha.user_id, gone))

    def answer(request: Message, found: Envelope) -> Sequence[Message]:
        if isinstance(request, SquareOffRequested) and request.account_id == gone:
            kind = type(request).__name__
            return [RequestRefused(entity_id=str(gone), request=kind, code="not_found", reason="there is no account")]
        return said.yes(request, found)

    platform.answer = answer
    closed = await asha.client.post("/api/v2/trading/positions/close", json={"strategy_id": str(strategy)})
    assert closed.status_code == 200, closed.text
    assert [each["account_id"] for each in closed.json()["data"]] == [str(asha.account_id)]


async def test_the_funds_of_a_deleted_account_are_shown_no_more(platform: Platform) -> None:
    """Nobody can trade with them, and they stood among what is available for ever."""
    asha = await platform.person("asha")
    gone = AccountId(ids.new_id())
    await platform.project(said.account_saved(asha.user_id, gone))
    await platform.project(*(said.funds(said.terms(asha.user_id, each)) for each in (asha.account_id, gone)))
    lists = ("/api/v2/trading/funds/", "/api/v2/risk/exposure/")

    async def shown() -> list[set[str]]:
        return [{row["account_id"] for row in (await asha.client.get(path)).json()["data"]} for path in lists]

    assert await shown() == 2 * [{str(asha.account_id), str(gone)}]
    await platform.project(said.account_deleted(asha.user_id, gone))
    assert await shown() == 2 * [{str(asha.account_id)}]
    await platform.project(said.account_saved(asha.user_id, gone, version=2))
    assert await shown() == 2 * [{str(asha.account_id), str(gone)}], "a late fill brought it back"


async def test_a_deleted_account_is_in_the_days_profit_on_its_last_day_alone(platform: Platform) -> None:
    """It stood there for ever, with zeros."""
    asha = await platform.person("asha")
    gone, strategy = AccountId(ids.new_id()), StrategyId(ids.new_id())
    order = said.terms(asha.user_id, gone).model_copy(update={"strategy_id": strategy})
    await platform.project(said.account_saved(asha.user_id, gone), said.position(order))
    await platform.project(said.closed(order, Decimal(5)), said.position(said.terms(asha.user_id, asha.account_id)))
    await platform.project(said.account_deleted(asha.user_id, gone))

    async def shown() -> tuple[set[str], set[str]]:
        pnl = (await asha.client.get("/api/v2/trading/positions/pnl")).json()
        return {each["account_id"] for each in pnl["accounts"]}, {each["strategy_id"] for each in pnl["strategies"]}

    assert await shown() == ({str(asha.account_id), str(gone)}, {str(strategy)})
    await platform.project(said.next_day(order))
    assert await shown() == ({str(asha.account_id)}, set())


async def test_the_books_of_a_deleted_account_are_still_read(platform: Platform) -> None:
    """They are in the lists of all accounts; of this account alone, for the taxes, say, they were not found."""
    root, asha, ravi = [await platform.person(name) for name in ("root", "asha", "ravi")]
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order), said.filled(order))
    platform.answer = said.yes
    assert (await asha.client.delete(f"/api/v2/accounts/{asha.account_id}")).status_code == 204
    for book in (
        f"tradebook/{asha.account_id}",
        f"tradebook/?account_id={asha.account_id}",
        f"orders/?account_id={asha.account_id}",
    ):
        for person, status in ((asha, 200), (root, 200), (ravi, 404)):
            answer = await person.client.get(f"/api/v2/trading/{book}")
            assert answer.status_code == status, (book, answer.text)
            if status == 200:
                assert [row["order_id"] for row in answer.json()["data"]] == [str(order.order_id)]
    assert (await asha.client.get(f"/api/v2/accounts/{asha.account_id}")).status_code == 404


async def test_the_days_profit_is_told_as_quickly_after_years_of_trading(platform: Platform) -> None:
    """All that was ever traded was read and valued: seconds for this, in which nobody's order was answered. Read alone
    it is a tenth of a second yet, for who looks every second.
    """
    asha = await platform.person("asha")
    strategy = StrategyId(ids.new_id())
    held = said.terms(asha.user_id, asha.account_id).model_copy(update={"strategy_id": strategy})
    await platform.project(said.position(held), said.funds(held))
    idle = AccountId(ids.new_id())
    for table, names, values in (
        ("positions", "bought_quantity, sold_quantity, bought_value, sold_value, margin, seq,", "0, 0, 0, 0, 0, 1,"),
        ("strategy_positions", "strategy_id,", f"'{strategy}'::uuid,"),
    ):
        await platform.runtime.pool.execute(
            f"""
            INSERT INTO {table} ({names} account_id, instrument, product, user_id, quantity, average_price,
                                 realised_pnl, version, updated_at)
            SELECT {values} $1, 'NFO:X' || n, 'MIS', $2, 0, 0, 0, 1, $3
              FROM generate_series(1, 300000) AS n
            """,  # noqa: S608 - names of our own
            idle,
            asha.user_id,
            said.NOW,
        )
        await platform.runtime.pool.execute(f"ANALYZE {table}")
    took: list[float] = []
    pnl: dict[str, Any] = {}
    while len(took) < 10 and (not took or min(took) >= 0.04):  # the machine does something else; what is slow stays so
        began = stopwatch()
        pnl = (await asha.client.get("/api/v2/trading/positions/pnl")).json()
        took.append(stopwatch() - began)
    assert {each["account_id"] for each in pnl["accounts"]} == {str(asha.account_id), str(idle)}
    assert [each["strategy_id"] for each in pnl["strategies"]] == [str(strategy)]
    assert min(took) < 0.04, took


async def test_a_closing_that_names_an_exchange_and_no_symbol_is_refused(platform: Platform) -> None:
    """It was passed over: all that the strategy held on other exchanges was closed too."""
    asha = await platform.person("asha")
    body = {"strategy_id": str(ids.new_id()), "exchange": "NFO"}
    answer = await asha.client.post("/api/v2/trading/positions/close", json=body)
    assert (answer.status_code, answer.json()["code"], platform.asked) == (422, "invalid", [])


async def test_what_expired_in_a_deleted_account_is_shown_no_more(platform: Platform) -> None:
    """Nobody settles it: it would stand among what is open for ever."""
    asha = await platform.person("asha")
    gone = AccountId(ids.new_id())
    order = said.terms(asha.user_id, gone).model_copy(update={"strategy_id": StrategyId(ids.new_id())})
    await platform.project(said.account_saved(asha.user_id, gone), said.position(order))
    url = "/api/v2/trading/positions/"
    assert len((await asha.client.get(url)).json()["data"]) == 1
    await platform.project(said.account_deleted(asha.user_id, gone))
    assert (await asha.client.get(url)).json()["data"] == []
    pnl = (await asha.client.get(f"{url}pnl")).json()
    assert {each["stale"] for each in (pnl, *pnl["accounts"], *pnl["strategies"])} == {False}


async def test_a_close_that_takes_long_says_where_to_look(platform: Platform) -> None:
    asha = await platform.person("asha")

    def begin(request: Message, _: Envelope) -> Sequence[Message]:
        return [SquareOffStarted(**request.model_dump(), cancelling=1, closing=0)]

    platform.answer = begin
    answer = await asha.client.post("/api/v2/trading/positions/close-all")
    assert answer.status_code == 202
    [square_off] = answer.json()["data"]
    found = await asha.client.get(f"/api/v2/trading/positions/square-offs/{square_off['square_off_id']}")
    assert (square_off["reason"], found.json()["status"], found.json()["reason"]) == ("CLOSE", "STARTED", "CLOSE")


async def test_a_close_names_the_contracts_that_it_had_to_leave(platform: Platform) -> None:
    """It said COMPLETED, and a position in an expired contract was still there without a word."""
    asha = await platform.person("asha")
    left = [f"NFO:NIFTY17NOV26{24_000 + n}CE" for n in range(2)]

    def close(request: Message, _: Envelope) -> Sequence[Message]:
        scope = request.model_dump()
        return [SquareOffStarted(**scope, cancelling=0, closing=2), SquareOffCompleted(**scope, expired=tuple(left))]

    platform.answer = close
    answer = await asha.client.post("/api/v2/trading/positions/close-all")
    [square_off] = answer.json()["data"]
    assert (answer.status_code, square_off["status"], square_off["expired"]) == (200, "COMPLETED", left)
    found = await asha.client.get(f"/api/v2/trading/positions/square-offs/{square_off['square_off_id']}")
    assert (found.json()["status"], found.json()["expired"]) == ("COMPLETED", left)


async def test_a_close_says_what_it_left_open_and_is_not_called_completed(platform: Platform) -> None:
    asha = await platform.person("asha")
    sbin = LeftOpen(
        strategy_id=None, instrument=InstrumentId("NSE:SBIN"), product=Product.CNC, quantity=10, reason="NSE is closed"
    )

    def close(request: Message, _: Envelope) -> Sequence[Message]:
        scope = request.model_dump()
        return [SquareOffStarted(**scope, cancelling=0, closing=2), SquareOffCompleted(**scope, left=(sbin,))]

    platform.answer = close
    answer = await asha.client.post("/api/v2/trading/positions/close-all")
    [square_off] = answer.json()["data"]
    left = [sbin.model_dump(mode="json")]
    assert (answer.status_code, square_off["status"], square_off["left"]) == (200, "INCOMPLETE", left)
    found = await asha.client.get(f"/api/v2/trading/positions/square-offs/{square_off['square_off_id']}")
    assert (found.json()["status"], found.json()["left"]) == ("INCOMPLETE", left)


async def test_nobody_waits_while_ten_thousand_positions_are_listed(platform: Platform) -> None:
    """Whoever asked for them again and again, or subscribed to them, held up everybody's orders."""
    asha = await platform.person("asha")
    await platform.runtime.pool.execute(
        """
        INSERT INTO positions (account_id, instrument, product, user_id, quantity, average_price, realised_pnl, margin,
                               bought_quantity, sold_quantity, bought_value, sold_value, version, seq, updated_at)
        SELECT gen_random_uuid(), 'NSE:SBIN', 'MIS', $1::uuid, n, 812.25, 0, 1625, n, 0, 812.25 * n, 0, 1, n, $2
          FROM generate_series(1, 10000) AS n
        """,
        asha.user_id,
        said.NOW,
    )
    pause, answer = await shortest_pause(lambda: asha.client.get("/api/v2/trading/positions/"), 0.04)
    assert pause < 0.04
    told = answer.json()["data"]
    assert (answer.headers["content-type"], len(told)) == ("application/json", 10_000)
    assert sorted(each["quantity"] for each in told) == list(range(1, 10_001))
    assert {(each["average_price"], each["stale"]) for each in told} == {("812.25", True)}
