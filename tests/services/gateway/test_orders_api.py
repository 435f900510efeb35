"""Orders over HTTP: what a trader sends and is told."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Envelope, Message
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus
from libs.common.contracts.ids import AccountId, SquareOffId, StrategyId
from libs.common.contracts.orders import (
    OrderCancelRefused,
    OrderCancelRequested,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderOutcomeUnknown,
    OrderRejected,
    OrderRequested,
)
from libs.common.runtime import LAST_LOOK_SECONDS, SEND_SECONDS
from services.gateway.settings import GatewaySettings
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform

PLACE = "/api/v2/trading/orders/place"


def limit_order(person: Person, **changes: object) -> dict[str, object]:
    order = {
        "account_id": str(person.account_id),
        "instrument": "NSE:SBIN",
        "side": "BUY",
        "quantity": 10,
        "order_type": "LIMIT",
        "product": "MIS",
        "price": "812.50",
    }
    return {**order, **changes}


async def test_openalgo_1183_an_accepted_order_is_answered_with_its_state_and_is_in_the_book(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert (order["status"], order["price"], order["broker_order_id"]) == ("ACCEPTED", "812.50", "P-1")
    read = await asha.client.get(f"/api/v2/trading/orders/{order['order_id']}")
    assert read.json() == order
    [listed] = (await asha.client.get("/api/v2/trading/orders/")).json()["data"]
    assert listed == order
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_exit_names_the_square_off_that_it_is_of(platform: Platform) -> None:
    """What closed a position by itself was not to be told: a limit, a panic or the end of the session."""
    asha = await platform.person("asha")
    closing = SquareOffId(ids.new_id())
    entry, exit_ = said.terms(asha.user_id, asha.account_id), said.terms(asha.user_id, asha.account_id)
    exit_ = exit_.model_copy(update={"purpose": OrderPurpose.SQUARE_OFF, "square_off_id": closing})
    await platform.project(said.submitted(entry), said.submitted(exit_))
    await platform.project(said.accepted(exit_))
    wanted = {str(entry.order_id): None, str(exit_.order_id): str(closing)}
    listed = (await asha.client.get("/api/v2/trading/orders/")).json()["data"]
    assert {row["order_id"]: row["square_off_id"] for row in listed} == wanted
    shown = (await asha.client.get(f"/api/v2/trading/orders/{exit_.order_id}")).json()
    assert (shown["purpose"], shown["square_off_id"]) == ("SQUARE_OFF", str(closing))


async def test_the_message_of_an_order_has_the_orders_id_and_dies_soon(platform: Platform) -> None:
    """After a 503 nothing trades: risk denies what it sees later than the answer."""
    asha = await platform.person("asha")
    seen: list[tuple[OrderRequested, Envelope]] = []

    def answer(request: Message, envelope: Envelope) -> Sequence[Message]:
        assert isinstance(request, OrderRequested)
        seen.append((request, envelope))
        return said.yes(request, envelope)

    platform.answer = answer
    placed = (await asha.client.post(PLACE, json=limit_order(asha))).json()
    [(request, envelope)] = seen
    assert envelope.id == envelope.correlation_id == request.order_id == UUID(placed["order_id"])
    assert request.expires_at - request.requested_at <= timedelta(seconds=2)
    assert request.price == Decimal("812.50")
    assert envelope.user_id == asha.user_id


async def test_a_denied_order_says_rule_limit_and_value_and_is_in_the_book(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = lambda request, _: [said.denied(request)] if isinstance(request, OrderRequested) else []
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["rule"], problem["limit"], problem["value"]) == (
        "order_denied",
        "LOT_SIZE",
        "75",
        "10",
    )
    [listed] = (await asha.client.get("/api/v2/trading/orders/")).json()["data"]
    assert (listed["order_id"], listed["status"], listed["limit"]) == (problem["order_id"], "DENIED", "75")
    violations = (await asha.client.get("/api/v2/risk/violations/")).json()["data"]
    assert [v["type"] for v in violations] == ["OrderDenied"]


async def test_an_order_that_the_venue_rejects_is_a_problem_with_its_reason(platform: Platform) -> None:
    asha = await platform.person("asha")

    def reject(request: Message, _: Envelope) -> Sequence[Message]:
        assert isinstance(request, OrderRequested)
        fact = said.fact(request, OrderStatus.REJECTED, 2)
        return [said.submitted(request), OrderRejected(**fact, reason="no such token")]

    platform.answer = reject
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        422,
        "order_rejected",
        "no such token",
    )


async def test_an_order_without_an_outcome_in_time_is_answered_202_and_shown_as_requested(platform: Platform) -> None:
    asha = await platform.person("asha")
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert answer.status_code == 202
    url = answer.json()["status_url"]
    assert (await asha.client.get(url)).json()["status"] == "REQUESTED"
    [request] = [r for r in platform.asked if isinstance(r, OrderRequested)]
    await platform.project(said.submitted(request), said.accepted(request), said.filled(request))
    status = (await asha.client.get(url)).json()
    assert (status["status"], status["is_final"]) == ("FILLED", True)
    assert [event["event"] for event in status["history"]] == ["OrderSubmitted", "OrderAccepted", "FillReported"]


async def test_an_order_whose_events_another_instance_projects_is_answered_from_the_projection(
    platform: Platform,
) -> None:
    """The waiting instance is told by Redis, or looks for itself while Redis is away."""
    asha = await platform.person("asha")
    platform.runtime.memory.siblings.alone = False

    async def elsewhere() -> None:
        while not platform.asked:
            await asyncio.sleep(0.005)
        [request] = platform.asked
        assert isinstance(request, OrderRequested)
        await platform.project_elsewhere(said.submitted(request), said.accepted(request))

    task = asyncio.create_task(elsewhere())
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    await task
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"price": None}, "a LIMIT order needs a price"),
        ({"order_type": "MARKET"}, "a MARKET order takes no price"),
        ({"order_type": "SL"}, "needs a trigger_price"),
        ({"quantity": 0}, "greater than 0"),
        ({"quantity": 2.5}, "integer"),
        ({"instrument": "SBIN"}, "write NSE:SBIN"),
        ({"price": "-1"}, "greater than 0"),
        ({"surprise": 1}, "Extra inputs"),
        ({"purpose": "SQUARE_OFF"}, "positions/close"),
        ({"side": "HOLD"}, "BUY"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_at_the_edge(
    platform: Platform, changes: dict[str, object], words: str
) -> None:
    asha = await platform.person("asha")
    body = {name: value for name, value in limit_order(asha, **changes).items() if value is not None}
    answer = await asha.client.post(PLACE, json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    assert words in answer.text
    assert not platform.asked


async def test_freqtrade_3265_nobody_trades_in_the_account_of_another(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    platform.answer = said.yes
    answer = await ravi.client.post(PLACE, json=limit_order(asha))
    assert answer.status_code == 404
    placed = (await asha.client.post(PLACE, json=limit_order(asha))).json()
    for method, path, body in (
        ("POST", "/api/v2/trading/orders/cancel", {"order_id": placed["order_id"]}),
        ("POST", "/api/v2/trading/orders/modify", {"order_id": placed["order_id"], "quantity": 5}),
        ("GET", f"/api/v2/trading/orders/{placed['order_id']}", None),
        ("GET", f"/api/v2/trading/orders/{placed['order_id']}/status", None),
        ("GET", f"/api/v2/trading/orders/?account_id={asha.account_id}", None),
        ("GET", f"/api/v2/trading/positions/{asha.account_id}", None),
        ("GET", f"/api/v2/trading/funds/{asha.account_id}", None),
        ("GET", f"/api/v2/trading/tradebook/{asha.account_id}", None),
        ("GET", f"/api/v2/risk/exposure/{asha.account_id}", None),
        ("POST", "/api/v2/trading/orders/cancel-all", {"account_id": str(asha.account_id)}),
        ("POST", "/api/v2/trading/positions/close-all", {"account_id": str(asha.account_id)}),
        ("POST", f"/api/v2/risk/panic/account/{asha.account_id}", None),
        ("DELETE", f"/api/v2/accounts/{asha.account_id}", None),
        ("POST", f"/api/v2/accounts/{asha.account_id}/deactivate", None),
    ):
        answer = await ravi.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (path, answer.text)
    assert (await ravi.client.get("/api/v2/trading/orders/")).json()["data"] == []
    assert len([r for r in platform.asked if getattr(r, "user_id", None) == ravi.user_id]) == 0


async def test_an_order_is_modified_and_cancelled(platform: Platform) -> None:
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))

    def answer(request: Message, _: Envelope) -> Sequence[Message]:
        match request:
            case OrderModifyRequested():
                return [said.modified(order, request.quantity or 0)]
            case OrderCancelRequested():
                return [said.cancelled(order, version=4)]
            case _:
                return []

    platform.answer = answer
    modified = await asha.client.post(
        "/api/v2/trading/orders/modify", json={"order_id": str(order.order_id), "quantity": 20, "price": "813"}
    )
    assert modified.status_code == 200, modified.text
    assert (modified.json()["quantity"], modified.json()["price"]) == (20, "813.00")
    cancelled = await asha.client.post("/api/v2/trading/orders/cancel", json={"order_id": str(order.order_id)})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    late = await asha.client.post("/api/v2/trading/orders/cancel", json={"order_id": str(order.order_id)})
    assert (late.status_code, late.json()["code"]) == (409, "order_not_open")


async def test_an_order_that_is_changed_all_day_is_changed_as_quickly_in_the_evening(platform: Platform) -> None:
    """Each change wrote everything anew that had happened to it, and everybody's events waited behind that."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order), said.modified(order, 11))
    await platform.runtime.pool.execute(
        """
        UPDATE orders SET history = history || (
            SELECT string_agg(format('{"at":"2026-11-24T06:30:00.%s+00:00","event":"OrderModified","status":"ACCEPTED",'
                                     '"filled_quantity":0,"reason":"\\"},{\\"at\\":"},', lpad(n::text, 6, '0')), '')
              FROM generate_series(1, 200000) AS n)
        """
    )
    took: list[float] = []
    while len(took) < 20 and (not took or min(took) >= 0.05):  # the machine does something else; what is slow stays so
        began = stopwatch()
        await platform.project(said.modified(order, 12 + len(took), version=4 + len(took)))
        took.append(stopwatch() - began)
    assert min(took) < 0.05, took
    shown = (await asha.client.get(f"/api/v2/trading/orders/{order.order_id}/status")).json()
    assert 100 < len(shown["history"]) < 1_000
    newest = [(event["event"], event["filled_quantity"]) for event in shown["history"]]
    assert newest == [("OrderModified", 0)] * len(newest)
    assert shown["history"][-1].get("reason") is None


async def test_a_refused_modify_or_cancel_says_why(platform: Platform) -> None:
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))

    def answer(request: Message, _: Envelope) -> Sequence[Message]:
        if isinstance(request, OrderModifyRequested):
            who = {"order_id": order.order_id, "account_id": order.account_id, "user_id": order.user_id}
            if request.quantity == 1:
                return [OrderModifyRefused(**who, reason="it is filled already")]
            return [
                OrderModifyRefused(**who, rule=DenialRule.MARGIN, reason="margin 9 exceeds 8", limit="8", value="9")
            ]
        return [OrderCancelRefused(**said.fact(order, OrderStatus.ACCEPTED, 3), reason="too late")]

    platform.answer = answer
    body = {"order_id": str(order.order_id)}
    modified = await asha.client.post("/api/v2/trading/orders/modify", json={**body, "quantity": 999})
    told = modified.json()
    assert (modified.status_code, told["code"]) == (422, "modify_refused")
    assert (told["rule"], told["limit"], told["value"]) == ("MARGIN", "8", "9")
    late = await asha.client.post("/api/v2/trading/orders/modify", json={**body, "quantity": 1})
    assert (late.status_code, late.json()["code"]) == (409, "modify_refused")
    assert late.json()["detail"] == "it is filled already"
    cancelled = await asha.client.post("/api/v2/trading/orders/cancel", json=body)
    assert (cancelled.status_code, cancelled.json()["detail"]) == (409, "too late")


async def test_the_book_is_paged_by_cursor_without_gaps_or_repeats(platform: Platform) -> None:
    asha = await platform.person("asha")
    orders = [said.terms(asha.user_id, asha.account_id, at=said.NOW + timedelta(seconds=i // 3)) for i in range(50)]
    await platform.project(*(said.submitted(order) for order in orders))
    seen: list[str] = []
    url = "/api/v2/trading/orders/?limit=7"
    cursor = ""
    while True:
        page = (await asha.client.get(url + cursor)).json()
        seen += [order["order_id"] for order in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await platform.project(said.submitted(said.terms(asha.user_id, asha.account_id, at=said.NOW + timedelta(1))))
    newest_first = sorted(orders, key=lambda order: (order.requested_at, order.order_id), reverse=True)
    assert seen == [str(order.order_id) for order in newest_first]
    assert (await asha.client.get(url + "&cursor=nonsense")).json()["code"] == "invalid_cursor"


async def test_the_book_can_be_narrowed(platform: Platform) -> None:
    asha = await platform.person("asha")
    strategy = ids.new_id()
    plain = said.terms(asha.user_id, asha.account_id)
    of_strategy = plain.model_copy(update={"order_id": ids.new_id(), "strategy_id": strategy})
    infy = plain.model_copy(update={"order_id": ids.new_id(), "instrument": "NSE:INFY"})
    late = plain.model_copy(update={"order_id": ids.new_id(), "requested_at": said.NOW + timedelta(hours=2)})
    await platform.project(*(said.submitted(each) for each in (plain, of_strategy, infy, late)))
    await platform.project(said.accepted(infy), said.cancelled(infy))

    async def found(query: str) -> set[str]:
        answer = await asha.client.get(f"/api/v2/trading/orders/?{query}")
        assert answer.status_code == 200, answer.text
        return {order["order_id"] for order in answer.json()["data"]}

    assert await found(f"strategy_id={strategy}") == {str(of_strategy.order_id)}
    assert await found("symbol=INFY&exchange=NSE") == {str(infy.order_id)} == await found("status=CANCELLED")
    assert len(await found("open=true")) == 3
    assert await found("open=true&status=CANCELLED") == set()
    assert len(await found("status=SUBMITTED&status=CANCELLED")) == 4
    assert await found("from=2026-11-24T07:00:00Z") == {str(late.order_id)}
    assert len(await found("to=2026-11-24T07:00:00Z")) == 3


async def test_cancel_all_asks_every_account_and_names_the_orders(platform: Platform) -> None:
    asha = await platform.person("asha")
    second = AccountId(ids.new_id())
    await platform.project(said.account_saved(asha.user_id, second))
    platform.answer = said.yes
    answer = await asha.client.post("/api/v2/trading/orders/cancel-all", json={})
    assert (answer.status_code, answer.json()) == (200, {"order_ids": [], "pending": []})
    assert {request.account_id for request in platform.asked} == {asha.account_id, second}  # type: ignore[attr-defined]


def test_an_order_is_dead_before_its_client_hears_that_it_was_not_taken() -> None:
    life = GatewaySettings.model_fields["order_life_s"].default
    assert life + 0.1 <= SEND_SECONDS + LAST_LOOK_SECONDS


async def test_an_order_that_nobody_has_settled_for_weeks_is_counted_as_open(platform: Platform) -> None:
    """After a week it was not, while the account could not be deleted for what was open in it."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id, at=platform.runtime.clock.now() - timedelta(days=20))
    unknown = OrderOutcomeUnknown(**said.fact(order, OrderStatus.OUTCOME_UNKNOWN, 2), reason="no answer in 5 s")
    await platform.project(said.submitted(order), unknown)
    status = (await asha.client.get(f"/api/v2/accounts/{asha.account_id}/status")).json()
    assert status["open_orders"] == 1


@pytest.mark.parametrize("status", OrderStatus)
async def test_an_order_is_listed_as_open_for_as_long_as_it_may_trade(platform: Platform, status: OrderStatus) -> None:
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order))
    await platform.runtime.pool.execute("UPDATE orders SET status = $1", status.value)
    for query in ("open=true", "open=true&status=OUTCOME_UNKNOWN&status=FILLED"):
        listed = (await asha.client.get(f"/api/v2/trading/orders/?{query}")).json()["data"]
        wanted = not status.is_final and ("status" not in query or status is OrderStatus.OUTCOME_UNKNOWN)
        assert [each["status"] for each in listed] == ([status] if wanted else [])
    counted = (await asha.client.get(f"/api/v2/accounts/{asha.account_id}/status")).json()["open_orders"]
    assert counted == (not status.is_final)


async def test_what_is_open_is_found_as_quickly_after_years_of_orders(platform: Platform) -> None:
    """All orders that there ever were of the user were read for it, on a screen that asks each second, and before a
    strategy was closed: up to a tenth of a second for each 200,000.
    """
    asha = await platform.person("asha")
    platform.answer = said.yes
    strategy, pool = StrategyId(ids.new_id()), platform.runtime.pool
    await pool.execute(
        """
        INSERT INTO orders (order_id, account_id, user_id, strategy_id, instrument, side, quantity, order_type, product,
                            validity, purpose, requested_at, status, filled_quantity, version, seq, updated_at, history)
        SELECT gen_random_uuid(), $1, $2, $3, 'NSE:SBIN', 'BUY', 1, 'MARKET', 'MIS', 'DAY', 'ENTRY',
               $4::timestamptz - n * interval '1 min', 'FILLED', 1, 3, n, $4, repeat('x', 400)
          FROM generate_series(1, 200000) AS n
        """,
        asha.account_id,
        asha.user_id,
        strategy,
        platform.runtime.clock.now(),
    )
    await pool.execute("ANALYZE orders")
    client, account = asha.client, asha.account_id

    async def slowest() -> float:
        took = []
        for method, path, body in (
            ("GET", "trading/orders/?open=true", None),
            ("GET", f"trading/orders/?open=true&account_id={account}", None),
            ("GET", f"accounts/{account}/status", None),
            ("POST", "trading/positions/close", {"strategy_id": str(strategy)}),
        ):
            began = stopwatch()
            answer = await client.request(method, f"/api/v2/{path}", json=body)
            took.append(stopwatch() - began)
            assert answer.status_code in (200, 404), answer.text
        return max(took)

    rounds = [await slowest()]
    while rounds[-1] >= 0.03 and len(rounds) < 10:  # the machine does something else; what is slow stays so
        rounds.append(await slowest())
    assert rounds[-1] < 0.03, rounds
