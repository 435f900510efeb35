"""An order that nobody answered for, settled by hand: who may, what is asked, what is shown."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from libs.common import ids
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import OrderOutcomeUnknown, OrderRejected, OrderSettled, OrderSettleRequested
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform

URL = "/api/v2/trading/orders/settle"
WHY = "no such order in the contract note"


async def lost(platform: Platform, of: Person) -> UUID:
    """An order of unknown outcome."""
    order = said.terms(of.user_id, of.account_id)
    unknown = OrderOutcomeUnknown(**_fact(of, order.order_id, 2), reason="silence")
    await platform.project(said.submitted(order), unknown)
    return order.order_id


def _fact(
    of: Person, order_id: UUID, version: int, status: OrderStatus = OrderStatus.OUTCOME_UNKNOWN
) -> dict[str, Any]:
    whose = {"order_id": order_id, "account_id": of.account_id, "user_id": of.user_id}
    return {**whose, "instrument": said.SBIN, "status": status, "version": version}


def trading(of: Person) -> Any:
    def answer(request: Message, _: Envelope) -> Sequence[Message]:
        if not isinstance(request, OrderSettleRequested):
            return []
        settled = OrderSettled(
            **_fact(of, request.order_id, 3),
            settled_by=request.user_id,
            outcome=request.outcome,
            traded_quantity=request.quantity,
            traded_price=request.price,
            reason=f"settled by hand: {request.reason}",
        )
        ended = OrderRejected(**_fact(of, request.order_id, 4, OrderStatus.REJECTED), reason=settled.reason)
        return [settled, ended]

    return answer


def body(order_id: UUID, **changes: Any) -> dict[str, Any]:
    return {"order_id": str(order_id), "outcome": "NOT_TAKEN", "reason": WHY, **changes}


async def test_its_owner_settles_it_and_its_history_tells_who_and_why(platform: Platform) -> None:
    asha = await platform.person("asha", "trader")
    order_id = await lost(platform, asha)
    platform.answer = trading(asha)
    answer = await asha.client.post(URL, json=body(order_id))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["settled_by"], answer.json()["outcome"]) == (str(asha.user_id), "NOT_TAKEN")
    history = (await asha.client.get(answer.json()["status_url"])).json()
    assert history["status"] == "REJECTED"
    [settled] = [each for each in history["history"] if each["event"] == "OrderSettled"]
    assert WHY in settled["reason"]


async def test_what_traded_is_handed_on_as_it_was_told(platform: Platform) -> None:
    asha = await platform.person("asha", "trader")
    order_id = await lost(platform, asha)
    platform.answer = trading(asha)
    told = {"outcome": "CANCELLED", "quantity": 4, "price": "812.40", "broker_order_id": "261123000000017"}
    assert (await asha.client.post(URL, json=body(order_id, **told))).status_code == 200
    [asked] = [each for each in platform.asked if isinstance(each, OrderSettleRequested)]
    assert (asked.quantity, asked.price, asked.broker_order_id) == (4, Decimal("812.40"), "261123000000017")
    assert (asked.user_id, asked.account_id) == (asha.user_id, asha.account_id)


async def test_an_admin_may_and_nobody_else_and_no_key(platform: Platform) -> None:
    root = await platform.person("root")
    asha, ravi = await platform.person("asha", "trader"), await platform.person("ravi", "trader")
    viewer = await platform.person("vera", "viewer")
    order_id = await lost(platform, asha)
    assert (await ravi.client.post(URL, json=body(order_id))).status_code == 404
    assert (await viewer.client.post(URL, json=body(order_id))).status_code == 403
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot", "scopes": ["read", "trade"]})).json()
    bot = await platform.client(**{"X-API-Key": key["api_key"]})
    assert (await bot.post(URL, json=body(order_id))).status_code == 403
    assert platform.asked == []
    platform.answer = trading(asha)
    done = await root.client.post(URL, json=body(order_id))
    assert (done.status_code, done.json()["settled_by"]) == (200, str(root.user_id))


async def test_an_admin_whose_answer_came_too_late_hears_at_the_address_that_he_was_given(platform: Platform) -> None:
    """What he asked for of another's order was not found there once it was done: it is of that other."""
    root = await platform.person("root")
    asha, ravi = await platform.person("asha", "trader"), await platform.person("ravi", "trader")
    order_id = await lost(platform, asha)
    taken = await root.client.post(URL, json=body(order_id))
    assert taken.status_code == 202
    [asked] = platform.asked
    await platform.project(*trading(asha)(asked, None), correlation_id=UUID(taken.json()["id"]))
    url = taken.json()["status_url"]
    ended = await root.client.get(url)
    assert (ended.status_code, ended.json().get("type")) == (200, "OrderSettled")
    assert (await asha.client.get(url)).status_code == 200
    assert (await ravi.client.get(url)).status_code == 404


async def test_a_refusal_says_why_and_a_key_is_carried_out_once(platform: Platform) -> None:
    asha = await platform.person("asha", "trader")
    order_id = await lost(platform, asha)

    def refuse(request: Message, _: Envelope) -> Sequence[Message]:
        name = type(request).__name__
        return [RequestRefused(entity_id=str(order_id), request=name, code="conflict", reason="it may still tell")]

    platform.answer = refuse
    no = await asha.client.post(URL, json=body(order_id))
    assert (no.status_code, no.json()["detail"]) == (409, "it may still tell")
    platform.answer = trading(asha)
    platform.asked.clear()
    key = {"Idempotency-Key": str(ids.new_id())}
    first = await asha.client.post(URL, json=body(order_id), headers=key)
    again = await asha.client.post(URL, json=body(order_id), headers=key)
    assert (first.status_code, again.json()) == (200, first.json())
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "   "},
        {"outcome": "LOST"},
        {"quantity": -1},
        {"quantity": True},
        {"price": "0"},
        {"broker_order_id": "'; DROP"},
        {"settled_by": "somebody"},
    ],
)
async def test_what_cannot_be_meant_is_refused_at_once(platform: Platform, wrong: dict[str, Any]) -> None:
    asha = await platform.person("asha", "trader")
    assert (await asha.client.post(URL, json=body(ids.new_id(), **wrong))).status_code == 422
    assert platform.asked == []
