"""What a client hears when more is asked than can be done."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.memory.admission import FEWEST, LATE_S, MOST, Admission
from tests.services.gateway import said
from tests.services.gateway.scene import Platform
from tests.services.gateway.test_orders_api import PLACE, limit_order


async def test_an_order_too_many_is_refused_at_once_and_an_exit_is_not(platform: Platform) -> None:
    asha = await platform.person("asha")
    admission = platform.runtime.memory.admission
    admission.limit = 2
    first = [asyncio.create_task(asha.client.post(PLACE, json=limit_order(asha))) for _ in range(2)]
    while admission.under_way < 2:
        await asyncio.sleep(0.01)
    refused = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "k"})
    told = (refused.status_code, refused.json()["code"], refused.headers["Retry-After"])
    assert told == (503, "overloaded", "1")
    platform.answer = said.yes
    leaving = await asha.client.post(PLACE, json=limit_order(asha, purpose="EXIT"))
    assert leaving.status_code == 201
    await asyncio.gather(*first)
    again = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "k"})
    assert again.status_code == 201
    assert (admission.under_way, admission.refused) == (0, 1)


async def test_the_status_page_tells_how_many_orders_are_under_way(platform: Platform) -> None:
    asha = await platform.person("asha")
    status = (await asha.client.get("/api/v2/system/status")).json()["admission"]
    assert status == {"orders_under_way": 0, "limit": MOST // 4, "refused": 0}


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5)), max_size=300))
def test_the_limit_stays_within_its_bounds_whatever_the_answers(answers: list[tuple[float, float]]) -> None:
    admission, now = Admission(), 0.0
    for seconds, later in answers:
        now += later
        admission.begin()
        admission.end(seconds, now)
        assert FEWEST <= admission.limit <= MOST
        assert admission.under_way == 0


def test_the_limit_shrinks_under_late_answers_and_grows_back_under_quick_ones() -> None:
    admission, start = Admission(), Admission().limit
    for n in range(20):
        admission.begin()
        admission.end(LATE_S * 2, n * 1.0)
    assert admission.limit == FEWEST
    for _ in range(int(admission.limit)):
        admission.begin()
    for _ in range(20_000):
        admission.begin()
        admission.end(LATE_S / 2, 30.0)
        if not admission.takes():
            continue
        admission.begin()
    assert admission.limit > start


def test_an_idle_platform_does_not_open_the_gates() -> None:
    admission = Admission()
    for n in range(1000):
        admission.begin()
        admission.end(LATE_S / 10, float(n))
    assert admission.limit == Admission().limit
