"""A recorded log is handled again, also one that has what nobody can handle."""

import os
from collections.abc import AsyncIterator, Sequence

import pytest

from libs.common.contracts import topics
from libs.common.ids import new_id
from libs.common.messaging.log import Logged
from tools import replay

pytestmark = pytest.mark.servers
TOPIC = topics.ORDER_REQUESTS.name


def poison(offset: int) -> Logged:
    said = {"id": str(new_id()), "type": "OrderRequested", "source": "/tests", "time": "2026-11-20T05:00:00Z"}
    headers = [("ce_specversion", b"1.0"), *((f"ce_{name}", text.encode()) for name, text in said.items())]
    return Logged(TOPIC, 0, offset, 1_795_150_800_000 + offset, b"an account", headers, b"{not json")


async def each(records: Sequence[Logged]) -> AsyncIterator[Logged]:
    for record in records:
        yield record


async def test_what_cannot_be_handled_is_passed_over_and_named() -> None:
    kept = [poison(offset) for offset in (3, 4)]
    done = await replay.replay("risk", lambda _: [each(kept)], os.environ["POSTGRES_ADMIN_URL"])
    assert done.handled == 0
    assert [said.partition(":")[0] for said in done.given_up] == [f"{TOPIC}/0@3", f"{TOPIC}/0@4"]
