"""Where an account's positions differ from its broker's: shown, asked for, told on the risk channel."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common import ids
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.brokers import PositionDifference, PositionsCompared, PositionsCompareRequested
from libs.common.contracts.enums import Broker, Product
from services.gateway.store import rebuild
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform

SQUARED_OFF = PositionDifference(broker_symbol="NSE:SBIN", instrument=said.SBIN, product=Product.MIS, ours=10, theirs=0)
SHOWN = {"broker_symbol": "NSE:SBIN", "instrument": "NSE:SBIN", "product": "MIS", "ours": 10, "theirs": 0}


def compared(of: Person, version: int, *differences: PositionDifference, problem: str = "") -> PositionsCompared:
    return PositionsCompared(
        account_id=of.account_id,
        user_id=of.user_id,
        broker=Broker.ZERODHA,
        differences=differences,
        problem=problem,
        version=version,
        compared_at=said.NOW,
    )


def url(of: Person) -> str:
    return f"/api/v2/accounts/{of.account_id}/broker-positions"


async def shown(of: Person, by: Person | None = None) -> Any:
    answer = await (by or of).client.get(url(of))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_difference_is_shown_until_it_is_gone_and_an_older_word_changes_nothing(platform: Platform) -> None:
    asha = await platform.person("asha")
    nothing = await shown(asha)
    assert (nothing["differences"], nothing["compared_at"], nothing["version"]) == ([], None, 0)
    await platform.project(compared(asha, 2, SQUARED_OFF))
    assert (await shown(asha))["differences"] == [SHOWN]
    status = (await asha.client.get(f"/api/v2/accounts/{asha.account_id}/status")).json()
    assert status["broker_positions"]["differences"] == [SHOWN]
    await platform.project(compared(asha, 1))
    assert (await shown(asha))["version"] == 2
    await platform.project(compared(asha, 3, SQUARED_OFF, problem="its token is over"), compared(asha, 4))
    gone = await shown(asha)
    assert (gone["differences"], gone["problem"], gone["version"]) == ([], "", 4)


async def test_it_is_nobodys_business_but_the_owners_and_admins(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    assert (await ravi.client.get(url(asha))).status_code == 404
    assert (await ravi.client.post(f"{url(asha)}/compare")).status_code == 404
    assert platform.asked == []


async def test_whoever_asks_hears_what_was_found_or_why_nothing_can_be(platform: Platform) -> None:
    asha = await platform.person("asha")

    def found(request: Message, _: Envelope) -> Sequence[Message]:
        return [compared(asha, 1, SQUARED_OFF)] if isinstance(request, PositionsCompareRequested) else []

    platform.answer = found
    answer = await asha.client.post(f"{url(asha)}/compare")
    assert (answer.status_code, answer.json()["differences"]) == (200, [SHOWN])
    assert answer.json() == await shown(asha)

    def refused(request: Message, _: Envelope) -> Sequence[Message]:
        return [RequestRefused(entity_id="x", request=type(request).__name__, code="invalid", reason="on paper")]

    platform.answer = refused
    none = await asha.client.post(f"{url(asha)}/compare")
    assert (none.status_code, none.json()["detail"]) == (422, "on paper")


async def test_a_key_asks_once_and_hears_the_answer_later(platform: Platform) -> None:
    asha = await platform.person("asha")
    key = {"Idempotency-Key": str(ids.new_id())}
    pending = await asha.client.post(f"{url(asha)}/compare", headers=key)
    assert pending.status_code == 202
    [asked] = platform.asked
    assert isinstance(asked, PositionsCompareRequested)
    request_id = pending.json()["id"]
    await platform.project(compared(asha, 1, SQUARED_OFF), correlation_id=UUID(request_id))
    again = await asha.client.post(f"{url(asha)}/compare", headers=key)
    assert (again.status_code, again.json()["differences"]) == (200, [SHOWN])
    outcome = await asha.client.get(pending.json()["status_url"])
    assert outcome.status_code == 200


async def test_a_rebuild_forgets_it_for_the_log_to_tell_again(platform: Platform) -> None:
    asha = await platform.person("asha")
    await platform.project(compared(asha, 5, SQUARED_OFF))
    async with platform.runtime.pool.acquire() as connection:
        await rebuild.forget(connection, said.NOW)
        assert await connection.fetchval("SELECT count(*) FROM broker_positions") == 0
