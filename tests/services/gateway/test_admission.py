"""What a client hears when more is asked than can be done."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.ids import UserId
from libs.common.ids import new_id
from services.gateway.memory.admission import FEWEST, LATE_S, MOST, START, Admission
from tests.services.gateway import said
from tests.services.gateway.scene import Platform
from tests.services.gateway.test_orders_api import PLACE, limit_order

SOMEBODY = UserId(new_id())


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


async def test_who_fills_all_the_room_keeps_out_himself_and_not_the_others(platform: Platform) -> None:
    """Seen: one user's flood was every other user's outage."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    admission = platform.runtime.memory.admission
    admission.limit = 4
    first = [asyncio.create_task(asha.client.post(PLACE, json=limit_order(asha))) for _ in range(4)]
    while admission.under_way < 4:
        await asyncio.sleep(0.01)
    assert (await asha.client.post(PLACE, json=limit_order(asha))).status_code == 503
    more = [asyncio.create_task(bina.client.post(PLACE, json=limit_order(bina))) for _ in range(2)]
    async with asyncio.timeout(10):
        while admission.under_way < 6:
            await asyncio.sleep(0.01)
    assert (await bina.client.post(PLACE, json=limit_order(bina))).status_code == 503
    assert {answer.status_code for answer in await asyncio.gather(*first, *more)} == {202}
    assert (admission.under_way, admission.refused) == (0, 2)


async def test_who_calls_all_that_he_sends_an_exit_does_not_fill_the_place(platform: Platform) -> None:
    """Exits were let in whatever was under way: with that word in each of his orders one user made everybody wait."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    admission = platform.runtime.memory.admission
    admission.limit = 2
    leaving = limit_order(asha, purpose="EXIT")
    first = [asyncio.create_task(asha.client.post(PLACE, json=leaving)) for _ in range(2)]
    while admission.under_way < 2:
        await asyncio.sleep(0.01)
    refused = await asha.client.post(PLACE, json=leaving)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    other = await bina.client.post(PLACE, json=limit_order(bina, purpose="EXIT"))
    assert other.status_code == 202
    assert {answer.status_code for answer in await asyncio.gather(*first)} == {202}
    platform.answer = said.yes
    assert (await asha.client.post(PLACE, json=leaving)).status_code == 201
    assert (admission.under_way, admission.refused) == (0, 1)


async def test_in_an_overload_who_repeats_an_order_hears_what_became_of_it_and_not_that_it_was_not_taken(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    order, key = limit_order(asha), {"Idempotency-Key": "mine"}
    first = await asha.client.post(PLACE, json=order, headers=key)
    admission = platform.runtime.memory.admission
    admission.limit = 0
    again = await asha.client.post(PLACE, json=order, headers=key)
    assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (201, first.json(), "true")
    other = await asha.client.post(PLACE, json=limit_order(asha, quantity=2), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    unknown = await asha.client.post(PLACE, json=order, headers={"Idempotency-Key": "another"})
    assert (unknown.status_code, unknown.json()["code"]) == (503, "overloaded")
    assert admission.refused == 1


async def test_in_an_overload_an_order_that_is_being_carried_out_is_not_told_as_not_taken(platform: Platform) -> None:
    """Not even before anything is kept of it. Whichever comes first to the database, the other hears of it."""
    asha = await platform.person("asha")
    order, key = limit_order(asha), {"Idempotency-Key": "mine"}
    admission = platform.runtime.memory.admission
    async with platform.runtime.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE idempotency_keys IN EXCLUSIVE MODE")
        first = asyncio.create_task(asha.client.post(PLACE, json=order, headers=key))
        while not admission.under_way:
            await asyncio.sleep(0.01)
        admission.limit = 0
        again = asyncio.create_task(asha.client.post(PLACE, json=order, headers=key))
        await asyncio.wait((again,), timeout=0.5)
    answers = await asyncio.gather(first, again)
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert admission.refused == 0


async def test_in_an_overload_each_mistake_is_still_told_as_what_it_is(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.runtime.memory.admission.limit = 0
    order = limit_order(asha)
    broken = await asha.client.post(PLACE, json={**order, "side": "HOLD"})
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid")
    stranger = await (await platform.client()).post(PLACE, json=order)
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated")
    huge = await asha.client.post(PLACE, content=b" " * 1_048_577)
    assert huge.status_code == 413
    assert platform.runtime.memory.admission.refused == 0


async def test_a_refusal_in_an_overload_looks_like_every_other_answer(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.runtime.memory.admission.limit = 0

    async def in_pieces() -> AsyncIterator[bytes]:
        yield orjson.dumps(limit_order(asha))

    usual = await asha.client.get(PLACE)
    whole = await asha.client.post(PLACE, json=limit_order(asha))
    pieces = await asha.client.post(PLACE, content=in_pieces())
    assert whole.status_code == pieces.status_code == 503
    assert whole.json() == pieces.json()
    assert whole.headers == pieces.headers
    assert usual.headers.keys() <= whole.headers.keys()


async def test_the_status_page_tells_how_many_orders_are_under_way(platform: Platform) -> None:
    asha = await platform.person("asha")
    status = (await asha.client.get("/api/v2/system/status")).json()["admission"]
    assert status == {"orders_under_way": 0, "limit": START, "refused": 0}


@given(st.lists(st.integers(0, 9), max_size=3_000), st.integers(0, MOST))
def test_of_all_users_together_at_most_twice_as_many_come_in(comers: list[int], limit: int) -> None:
    admission, users = Admission(), [UserId(new_id()) for _ in range(10)]
    admission.limit = float(limit)
    for comer in comers:
        if admission.takes() or admission.has_share(users[comer]):
            admission.begin(users[comer])
    assert admission.under_way <= 2 * limit


def test_of_more_users_than_there_is_room_for_none_has_a_share() -> None:
    admission = Admission()
    for _ in range(START):
        admission.begin(UserId(new_id()))
    assert not admission.has_share(UserId(new_id()))


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5)), max_size=300))
def test_the_limit_stays_within_its_bounds_whatever_the_answers(answers: list[tuple[float, float]]) -> None:
    admission, now = Admission(), 0.0
    for seconds, later in answers:
        now += later
        admission.begin(SOMEBODY)
        admission.end(SOMEBODY, seconds, now)
        assert FEWEST <= admission.limit <= MOST
        assert admission.under_way == 0


@dataclass
class Line:
    """Orders that stand in one line before a platform that decides so many a second: what comes of them."""

    admission: Admission = field(default_factory=Admission)
    capacity: float = 400.0
    now: float = 0.0
    refused: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds, of those answered in the last `offer`."""
    _standing: deque[float] = field(default_factory=deque)
    _due: float = 0.0
    _done: float = 0.0

    def offer(self, rate: float, seconds: float, *, deciding: bool = True) -> None:
        """So many orders a second for so long, decided meanwhile or (while partitions move) not."""
        self.waits = []
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self._due += rate * 0.01
            while self._due >= 1:
                self._due -= 1
                if self.admission.takes():
                    self.admission.begin(SOMEBODY)
                    self._standing.append(self.now)
                else:
                    self.refused += 1
            self._done = min(self._done + self.capacity * 0.01 * deciding, len(self._standing))
            while self._done >= 1:
                self._done -= 1
                wait = self.now - self._standing.popleft()
                self.waits.append(wait)
                self.admission.end(SOMEBODY, wait, self.now)


@pytest.mark.parametrize("capacity", [190, 400])
@pytest.mark.parametrize("pause", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("before", [0.0, 60.0])
def test_no_order_is_refused_for_a_pause_in_which_partitions_move(pause: float, before: float, capacity: float) -> None:
    line = Line(capacity=capacity)
    line.offer(110, before)
    for _ in range(5):
        line.offer(110, pause, deciding=False)
        line.offer(110, 3)
    assert line.refused == 0


@pytest.mark.parametrize("slow", [0, 20, 50])
def test_no_order_is_refused_for_two_slow_seconds(slow: float) -> None:
    """A service that starts takes a core for so long: waits grow, and nobody asked for more than before."""
    line = Line(capacity=250)
    for _ in range(5):
        line.offer(110, 20)
        line.capacity = slow
        line.offer(110, 2)
        line.capacity = 250
    line.offer(110, 3)
    assert line.refused == 0


@pytest.mark.parametrize("capacity", [150, 300, 600, 1000])
def test_under_five_times_the_load_what_is_taken_is_decided_quickly(capacity: float) -> None:
    line = Line(capacity=capacity)
    line.offer(capacity * 5, 6)
    line.offer(capacity * 5, 24)
    assert line.refused > 0
    assert max(line.waits) < LATE_S * 2
    assert len(line.waits) > 0.95 * capacity * 24, "what can be decided is not refused"


def test_no_order_is_refused_for_a_pause_once_an_overload_is_over() -> None:
    line = Line()
    line.offer(2000, 30)
    line.offer(110, 10)
    before = line.refused
    line.offer(110, 2, deciding=False)
    line.offer(110, 3)
    assert line.refused == before


def test_a_platform_that_decides_more_is_let_have_more() -> None:
    line = Line(capacity=1500)
    line.offer(1400, 5)
    line.offer(1400, 0.2, deciding=False)
    line.offer(1600, 10)
    assert line.admission.limit > START


def test_an_idle_platform_does_not_open_the_gates() -> None:
    line = Line()
    line.offer(5, 600)
    assert line.admission.limit == START
