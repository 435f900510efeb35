"""The webhooks as a sender meets them: the real application on a real database, Redis and Kafka."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.clock import FixedClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.enums import SignalSource
from libs.common.contracts.signals import SignalGroup, SignalGroupDeleteRequested, SignalReceived
from libs.common.ids import new_id
from libs.common.settings import MarketHours
from libs.common.testing import NOON, deliver, served, service_app
from services.signals.app import app
from tests.services.signals.conftest import SECRETS
from tests.services.signals.test_domain import a_group, save

TRADINGVIEW = "/api/v2/webhooks/tradingview"
Make = Callable[..., Awaitable[SignalGroup]]


@pytest.fixture
async def make(pool: asyncpg.Pool) -> Make:
    """Save a group as a request from the gateway would."""

    async def make(**changes: object) -> SignalGroup:
        group = a_group(**changes)
        async with pool.acquire() as connection, connection.transaction():
            await deliver(app, connection, save(group))
        return group

    return make


@pytest.fixture
async def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
async def client(pool: asyncpg.Pool, clock: FixedClock) -> AsyncIterator[httpx.AsyncClient]:
    async with service_app(app, clock=clock) as client:
        yield client


def token(group: SignalGroup) -> str:
    return SECRETS.token(group.group_id, group.rotation)


def custom(group: SignalGroup) -> str:
    return f"/api/v2/webhooks/custom/{SECRETS.url_id(group.group_id, group.rotation)}"


def alert(group: SignalGroup, **fields: object) -> dict[str, object]:
    return {"strategy_id": str(group.group_id), "token": token(group), "action": "buy", "symbol": "NIFTY", **fields}


async def logged(client: httpx.AsyncClient, group: SignalGroup, limit: int = 100) -> list[dict[str, Any]]:
    answer = await client.get(
        "/internal/webhooks/logs",
        params={"user_id": str(group.user_id), "limit": limit},
        headers={"X-Internal-Token": os.environ["INTERNAL_TOKEN"]},
    )
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["logs"]
    return rows


async def the_fate(client: httpx.AsyncClient, group: SignalGroup) -> tuple[str, str]:
    [row] = await logged(client, group)
    return row["fate"], row["reason"]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["detail"]
    return body


async def test_an_alert_is_accepted_and_logged(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    answer = await client.post(TRADINGVIEW, json=alert(group))
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "accepted"
    [row] = await logged(client, group)
    assert (row["fate"], row["signal_id"]) == ("ACCEPTED", answer.json()["signal_id"])
    assert row["processing_ms"] > 0
    assert row["source_ip"]
    assert token(group) not in row["payload"]


async def test_the_token_may_stand_in_the_query(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    body = {"group_id": str(group.group_id), "action": "buy"}
    assert (await client.post(TRADINGVIEW, params={"token": token(group)}, json=body)).status_code == 202


async def test_a_url_of_its_own_needs_neither_id_nor_token(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM)
    assert (await client.post(custom(group), json={"action": "buy"})).status_code == 202


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/x-www-form-urlencoded", None])
async def test_the_content_type_does_not_matter(
    client: httpx.AsyncClient, make: Make, content_type: str | None
) -> None:
    group = await make()
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post(TRADINGVIEW, content=b"\xef\xbb\xbf" + orjson.dumps(alert(group)), headers=headers)
    assert answer.status_code == 202, answer.text


async def test_nobody_learns_whether_the_group_or_the_token_is_wrong(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    wrong_token = await client.post(TRADINGVIEW, json=alert(group, token="wrong"))
    wrong_group = await client.post(TRADINGVIEW, json=alert(group, strategy_id=str(new_id())))
    no_token = await client.post(TRADINGVIEW, json=alert(group, token=None))
    assert wrong_token.text == wrong_group.text == no_token.text
    problem(wrong_token, 401, "unauthorized")
    assert [row["fate"] for row in await logged(client, group)] == ["UNAUTHORIZED"] * 2


async def test_a_url_that_does_not_verify_is_unknown(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM)
    stale = SECRETS.url_id(group.group_id, group.rotation + 1)
    for wrong in (stale, "nonsense", "%00", "é"):
        problem(await client.post(f"/api/v2/webhooks/custom/{wrong}", json={"action": "buy"}), 401, "unauthorized")
    assert (await the_fate(client, group))[0] == "UNAUTHORIZED"


async def test_strangers_cannot_flood_the_log(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    for _ in range(70):
        assert (await client.post(TRADINGVIEW, json=alert(group, token="wrong"))).status_code == 401
    assert len(await logged(client, group, limit=500)) == 60
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_a_required_signature_is_checked_over_the_raw_body(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM, signature_required=True)
    body = b'{ "action":  "buy" }'
    key = SECRETS.signing_key(group.group_id, group.rotation)
    good = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    assert (await client.post(custom(group), content=body, headers={"X-Signature": good})).status_code == 202
    for wrong in ({}, {"X-Signature": good[:-1] + "x"}, {"X-Signature": good.removeprefix("sha256=")}):
        answer = await client.post(custom(group), content=body, headers=wrong)
        assert "X-Signature" in problem(answer, 401, "unauthorized")["detail"]
    other = await client.post(custom(group), content=body + b" ", headers={"X-Signature": good})
    problem(other, 401, "unauthorized")


async def test_a_malformed_body_is_told_where_it_breaks(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    answer = await client.post(custom(group), content=b'{"action": "buy", "price": }')
    assert "column" in problem(answer, 400, "malformed")["detail"]
    assert (await the_fate(client, group))[0] == "MALFORMED"
    problem(await client.post(TRADINGVIEW, content=b"not json"), 400, "malformed")
    problem(await client.post(TRADINGVIEW, content=b""), 400, "malformed")


async def test_a_field_that_is_not_understood_is_named(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    body = problem(await client.post(TRADINGVIEW, json=alert(group, action="hold")), 422, "invalid")
    assert body["field"] == "action"
    assert (await the_fate(client, group)) == ("INVALID", body["detail"])


async def test_without_a_group_the_missing_field_is_named(client: httpx.AsyncClient) -> None:
    assert problem(await client.post(TRADINGVIEW, json={"action": "buy"}), 422, "invalid")["field"] == "strategy_id"


async def test_more_than_64_kib_is_refused_and_logged(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    fitting = orjson.dumps({"action": "buy"}).ljust(65_536)
    assert (await client.post(custom(group), content=fitting)).status_code == 202
    problem(await client.post(custom(group), content=fitting + b" "), 413, "oversized")
    assert [row["fate"] for row in await logged(client, group)] == ["OVERSIZED", "ACCEPTED"]
    problem(await client.post(TRADINGVIEW, content=fitting + b" "), 413, "oversized")


async def test_an_endless_body_is_cut_off(pool: asyncpg.Pool, make: Make) -> None:
    group = await make()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 16_384
            yield b" " * 16_384

    async with served(app) as (url, _), httpx.AsyncClient(base_url=url) as client:
        try:
            answer = await client.post(custom(group), content=endless())
            assert answer.status_code == 413
        except httpx.TransportError:
            pass  # the listener hung up before we had finished: the answer may be lost
        fates = [row["fate"] for row in await logged(client, group)]
    assert sent < 50_000_000
    assert fates == ["OVERSIZED"]


async def test_a_body_that_trickles_is_not_waited_for(pool: asyncpg.Pool) -> None:
    async with served(app) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {TRADINGVIEW} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        began = stopwatch()
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert b"408" in status
    assert stopwatch() - began < 3


async def test_a_group_that_is_off_answers_403(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(active=False)
    problem(await client.post(TRADINGVIEW, json=alert(group)), 403, "disabled")
    assert (await the_fate(client, group))[0] == "DISABLED"


async def test_an_expired_group_answers_410_from_the_next_indian_day(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    group = await make(expiry_date=date(2026, 11, 24))
    clock.at = datetime(2026, 11, 24, 18, 29, 59, tzinfo=UTC)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202
    clock.at = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    problem(await client.post(TRADINGVIEW, json=alert(group)), 410, "expired")


async def test_market_hours_are_those_of_the_exchange(
    pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_HOURS", MarketHours.EXCHANGE)
    group = await make(market_hours_only=True)
    clock.at = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
    async with service_app(app, clock=clock) as client:
        problem(await client.post(TRADINGVIEW, json=alert(group)), 403, "market_closed")
        assert (await the_fate(client, group))[0] == "MARKET_CLOSED"
        clock.at = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
        assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_calls_above_the_rate_are_told_when_to_come_again(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    group = await make(max_per_minute=6)
    statuses = [(await client.post(TRADINGVIEW, json=alert(group, price=n))).status_code for n in range(6)]
    assert statuses == [202] * 6
    refused = await client.post(TRADINGVIEW, json=alert(group))
    problem(refused, 429, "rate_limited")
    assert refused.headers["retry-after"] == "10"
    clock.at = datetime.fromtimestamp(clock.at.timestamp() + 10.01, UTC)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_the_rate_is_limited_without_redis(
    pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    group = await make(max_per_minute=2)
    async with service_app(app, clock=clock) as client:
        statuses = [(await client.post(TRADINGVIEW, json=alert(group))).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]


async def test_the_days_limit_ends_at_indian_midnight(client: httpx.AsyncClient, make: Make, clock: FixedClock) -> None:
    group = await make(max_signals_per_day=1)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202
    refused = await client.post(TRADINGVIEW, json=alert(group))
    problem(refused, 429, "daily_limit")
    assert refused.headers["retry-after"] == str(12 * 3600)
    clock.at = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_a_repetition_within_the_window_is_not_passed_on(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(duplicate_window_s=30)
    first = await client.post(TRADINGVIEW, json=alert(group, alert_id="x", price=1))
    again = await client.post(TRADINGVIEW, json=alert(group, alert_id="x", price=2))
    assert again.status_code == 200
    assert again.json() == {"status": "duplicate", "signal_id": first.json()["signal_id"]}
    assert [row["fate"] for row in await logged(client, group)] == ["DUPLICATE", "ACCEPTED"]


async def test_fifty_alike_at_once_make_one_signal(pool: asyncpg.Pool, make: Make) -> None:
    group = await make(duplicate_window_s=30)
    async with signals_said() as said, service_app(app) as client:
        answers = await asyncio.gather(*(client.post(TRADINGVIEW, json=alert(group)) for _ in range(50)))
        rows = await logged(client, group, limit=100)
        signals = [signal for signal in await said() if signal.group_id == group.group_id]
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    assert len({answer.json()["signal_id"] for answer in answers}) == 1
    assert sorted(row["fate"] for row in rows) == ["ACCEPTED"] + ["DUPLICATE"] * 49
    assert [str(signal.signal_id) for signal in signals] == [answers[0].json()["signal_id"]]


async def test_alike_alerts_at_two_instances_make_one_signal(pool: asyncpg.Pool, make: Make) -> None:
    groups = [await make(duplicate_window_s=30) for _ in range(20)]
    async with service_app(app) as one, service_app(app) as other:
        for client in (one, other):
            await client.post(TRADINGVIEW, json=alert(groups[0], price=1))
        for group in groups:
            answers = await asyncio.gather(*(client.post(TRADINGVIEW, json=alert(group)) for client in (one, other)))
            assert sorted(answer.status_code for answer in answers) == [200, 202]


async def test_fifty_different_at_once_are_counted_exactly(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(max_signals_per_day=20)
    answers = await asyncio.gather(*(client.post(TRADINGVIEW, json=alert(group, price=n)) for n in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] * 20 + [429] * 30


async def test_a_deleted_group_is_unknown(client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        request = SignalGroupDeleteRequested(group_id=group.group_id, user_id=group.user_id)
        await deliver(app, connection, request)
    problem(await client.post(TRADINGVIEW, json=alert(group)), 401, "unauthorized")


async def test_a_stuck_database_is_a_503_before_the_sender_gives_up(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE signal_groups IN ACCESS EXCLUSIVE MODE")
        began = stopwatch()
        answer = await client.post(TRADINGVIEW, json=alert(group))
        waited = stopwatch() - began
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
    assert waited < 2
    await asyncio.sleep(0.2)
    assert await logged(client, group) == []


async def test_what_was_answered_503_is_not_taken_after_all(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM signal_groups WHERE group_id = $1 FOR UPDATE", group.group_id)
        problem(await client.post(TRADINGVIEW, json=alert(group)), 503, "unavailable")
    await asyncio.sleep(0.2)
    assert await logged(client, group) == []
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_the_log_is_for_the_gateway_alone(client: httpx.AsyncClient) -> None:
    query = {"user_id": str(new_id())}
    for headers in ({}, {"X-Internal-Token": "wrong"}, {"X-Internal-Token": "é".encode()}):
        answer = await client.get("/internal/webhooks/logs", params=query, headers=headers)  # type: ignore[arg-type]
        problem(answer, 401, "unauthorized")


async def test_the_log_says_where_it_continues(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    for n in range(3):
        await client.post(TRADINGVIEW, json=alert(group, price=n))
    headers = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
    query: dict[str, Any] = {"user_id": str(group.user_id), "group_id": str(group.group_id), "limit": 2}
    first = (await client.get("/internal/webhooks/logs", params=query, headers=headers)).json()
    query["before"] = first["next_before"]
    second = (await client.get("/internal/webhooks/logs", params=query, headers=headers)).json()
    assert [len(first["logs"]), len(second["logs"]), second["next_before"]] == [2, 1, None]


def signals_said() -> "_SignalsSaid":
    return _SignalsSaid()


class _SignalsSaid:
    """What is published on the signals topic from here on."""

    async def __aenter__(self) -> Callable[[], Awaitable[list[SignalReceived]]]:
        self.consumer = AIOKafkaConsumer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"], enable_auto_commit=False)
        await self.consumer.start()
        partitions = [TopicPartition(topics.SIGNALS.name, n) for n in range(topics.SIGNALS.partitions)]
        self.consumer.assign(partitions)
        for partition, end in (await self.consumer.end_offsets(partitions)).items():
            self.consumer.seek(partition, end)
        return self._read

    async def _read(self) -> list[SignalReceived]:
        found: list[SignalReceived] = []
        for _ in range(4):
            polled = await self.consumer.getmany(timeout_ms=500)
            found.extend(
                SignalReceived.model_validate_json(record.value or b"") for batch in polled.values() for record in batch
            )
        return found

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()


# -- what would become of an alert


async def tried(
    client: httpx.AsyncClient, group: SignalGroup, body: bytes, user: object = None, key: str = ""
) -> httpx.Response:
    return await client.post(
        f"/internal/webhooks/{group.group_id}/test",
        params={"user_id": str(user or group.user_id)},
        content=body,
        headers={"X-Internal-Token": key or os.environ["INTERNAL_TOKEN"]},
    )


async def test_a_trial_tells_what_would_be_understood_and_leaves_no_trace(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make(max_signals_per_day=1)
    for _ in range(3):
        answer = await tried(client, group, b'{"action": "exit_short", "ticker": "NIFTY", "qty": "75"}')
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["fate"], found["reason"], found["field"]) == ("ACCEPTED", "", None)
        signal = found["signal"]
        assert (signal["signal_type"], signal["action"], signal["symbol"], signal["quantity"]) == (
            "exit",
            "BUY",
            "NIFTY",
            75,
        )
    assert await logged(client, group) == []
    assert await pool.fetchval("SELECT counted FROM signal_groups") in (0, None)
    assert await pool.fetchval("SELECT count(*) FROM message_outbox") == 0


@pytest.mark.parametrize(
    ("body", "fate", "field"),
    [
        (b"not json", "MALFORMED", None),
        (b'{"action": "dance"}', "INVALID", "action"),
        (b'{"action": "buy", "pad": "' + b"x" * 70_000 + b'"}', "OVERSIZED", None),
    ],
)
async def test_a_trial_tells_what_is_wrong_with_an_alert(
    client: httpx.AsyncClient, make: Make, body: bytes, fate: str, field: str | None
) -> None:
    found = (await tried(client, await make(), body)).json()
    assert (found["fate"], found["field"], found["signal"]) == (fate, field, None)
    assert found["reason"]


async def test_a_trial_follows_the_rules_of_the_group(client: httpx.AsyncClient, make: Make) -> None:
    off, full = await make(active=False), await make(max_signals_per_day=1)
    assert (await tried(client, off, b'{"action": "buy"}')).json()["fate"] == "DISABLED"
    assert (await client.post(TRADINGVIEW, json=alert(full))).status_code == 202
    assert (await tried(client, full, b'{"action": "sell"}')).json()["fate"] == "DAILY_LIMIT"


async def test_only_the_gateway_tries_and_only_for_the_owner(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    problem(await tried(client, group, b"{}", user=new_id()), 404, "not_found")
    problem(await tried(client, group, b"{}", key="guess"), 401, "unauthorized")
