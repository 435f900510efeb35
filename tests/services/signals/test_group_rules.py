"""A group's own rules for an alert: switched on, in hours, within its rate, its day and its window."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import new_id
from libs.common.settings import MarketHours
from libs.common.testing import NOON, service_app
from services.signals.app import app
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, logged, problem, the_fate


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
    refused = problem(await client.post(TRADINGVIEW, json=alert(group)), 410, "expired")
    newest, first = await logged(client, group)
    assert (newest["fate"], newest["reason"], first["fate"]) == ("EXPIRED", refused["detail"], "ACCEPTED")


async def test_market_hours_are_those_of_the_exchange(
    pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_HOURS", MarketHours.EXCHANGE)
    group = await make(market_hours_only=True)
    clock.at = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
    async with service_app(app, clock=clock) as client:
        problem(await client.post(TRADINGVIEW, json=alert(group)), 403, "market_closed")
        assert (await the_fate(client, group))[0] == "MARKET_CLOSED"
        assert (await client.post(TRADINGVIEW, json=alert(group, signal_type="exit"))).status_code == 202
        clock.at = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
        assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_commodities_are_traded_in_the_evening(
    pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: every alert after 15:40, sent as we tell to send it, was refused: `{{ticker}}` has no exchange."""
    monkeypatch.setenv("MARKET_HOURS", MarketHours.EXCHANGE)
    group = await make(market_hours_only=True)
    clock.at = datetime(2026, 11, 25, 15, tzinfo=UTC)
    async with service_app(app, clock=clock) as client:
        gold = alert(group, symbol="GOLD1!", exchange="MCX")
        assert (await client.post(TRADINGVIEW, json=gold)).status_code == 202
        nifty = alert(group, symbol="NIFTY1!", exchange="NSE")
        assert "NFO is closed" in problem(await client.post(TRADINGVIEW, json=nifty), 403, "market_closed")["detail"]


async def test_calls_above_the_rate_are_told_when_to_come_again(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    group = await make(max_per_minute=6)
    statuses = [(await client.post(TRADINGVIEW, json=alert(group, price=n))).status_code for n in range(6)]
    assert statuses == [202] * 6
    refused = await client.post(TRADINGVIEW, json=alert(group))
    told = problem(refused, 429, "rate_limited")
    assert refused.headers["retry-after"] == "10"
    newest = (await logged(client, group))[0]
    assert (newest["fate"], newest["reason"]) == ("RATE_LIMITED", told["detail"])
    clock.at = datetime.fromtimestamp(clock.at.timestamp() + 10.01, UTC)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


@pytest.mark.parametrize("redis", [True, False])
async def test_however_many_enter_what_they_opened_can_be_closed(
    redis: bool, pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: entries used up the rate, and the exit behind them heard 429, which TradingView does not send again."""
    if not redis:
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    group = await make(max_per_minute=2)
    async with service_app(app, clock=clock) as client:

        async def send(kind: str) -> int:
            return (await client.post(TRADINGVIEW, json=alert(group, signal_type=kind))).status_code

        assert [await send("entry") for _ in range(3)] == [202, 202, 429]
        assert [await send("exit") for _ in range(3)] == [202, 202, 429]


async def test_what_cannot_be_read_takes_nothing_from_the_rate(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(max_per_minute=1)
    for _ in range(3):
        problem(await client.post(TRADINGVIEW, json=alert(group, action="hold")), 422, "invalid")
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_a_clock_that_was_set_back_keeps_no_alert_out(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    """Seen: for as long as that every alert heard 429, exits too, and was told to come again in a second."""
    group = await make(max_per_minute=1)
    clock.at = NOON + timedelta(hours=1)
    assert [(await client.post(TRADINGVIEW, json=alert(group))).status_code for _ in range(2)] == [202, 429]
    clock.at = NOON
    assert [(await client.post(TRADINGVIEW, json=alert(group))).status_code for _ in range(2)] == [202, 429]


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
    told = problem(refused, 429, "daily_limit")
    assert refused.headers["retry-after"] == str(12 * 3600)
    newest, first = await logged(client, group)
    assert (newest["fate"], newest["reason"], first["fate"]) == ("DAILY_LIMIT", told["detail"], "ACCEPTED")
    clock.at = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_an_alert_that_was_held_up_for_longer_than_the_operator_allows_is_refused_and_logged(
    pool: asyncpg.Pool, make: Make, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALS_STALE_AFTER_S", "300")
    group = await make()
    late, fresh = ((clock.at - timedelta(seconds=age)).isoformat() for age in (301, 299))
    async with service_app(app, clock=clock) as client:
        refused = problem(await client.post(TRADINGVIEW, json=alert(group, timestamp=late)), 422, "stale")
        assert await the_fate(client, group) == ("STALE", refused["detail"])
        assert (await client.post(TRADINGVIEW, json=alert(group, timestamp=fresh))).status_code == 202


async def test_a_repetition_within_the_window_is_not_passed_on(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(duplicate_window_s=30)
    first = await client.post(TRADINGVIEW, json=alert(group, alert_id="x", price=1))
    again = await client.post(TRADINGVIEW, json=alert(group, alert_id="x", price=2))
    assert again.status_code == 200
    assert again.json() == {"status": "duplicate", "signal_id": first.json()["signal_id"]}
    assert [row["fate"] for row in await logged(client, group)] == ["DUPLICATE", "ACCEPTED"]


async def test_an_exit_repeats_no_entry_whatever_id_it_has(client: httpx.AsyncClient, make: Make) -> None:
    """Seen: whose alerts all carry one id heard that the exit was taken before, and the position stayed open."""
    group = await make(duplicate_window_s=300)
    for kind in ("entry", "exit"):
        answer = await client.post(TRADINGVIEW, json=alert(group, alert_id="ema", signal_type=kind))
        assert (kind, answer.status_code) == (kind, 202)
    again = await client.post(TRADINGVIEW, json=alert(group, alert_id="ema", signal_type="exit", price=1))
    assert again.json()["status"] == "duplicate"


async def test_an_alert_for_the_other_side_repeats_none(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(duplicate_window_s=300)
    for side in ("buy", "sell"):
        answer = await client.post(TRADINGVIEW, json=alert(group, alert_id="ema", action=side))
        assert (side, answer.status_code) == (side, 202)


async def test_an_alert_for_another_account_repeats_none(client: httpx.AsyncClient, make: Make) -> None:
    """Seen: who sends one for each account, all with the id of what happened, stayed in the market in all but one."""
    group = await make(duplicate_window_s=300)
    first, second = ({"alert_id": "ema", "signal_type": "exit", "account_id": str(new_id())} for _ in range(2))
    for fields in (first, second):
        assert (await client.post(TRADINGVIEW, json=alert(group, **fields))).status_code == 202
    again = await client.post(TRADINGVIEW, json=alert(group, **first, price=1))
    assert again.json()["status"] == "duplicate"


async def test_an_alert_about_another_stock_repeats_none(client: httpx.AsyncClient, make: Make) -> None:
    """Seen: of a strategy on several charts, whose alerts carry the id of its order, one stock alone was traded."""
    group = await make(duplicate_window_s=300)
    named = ({"symbol": "SBIN"}, {"symbol": "INFY"}, {"symbol": "SBIN", "exchange": "BSE"}, {"stocks": "SBIN,INFY"})
    for fields in named:
        answer = await client.post(TRADINGVIEW, json=alert(group, alert_id="Long", **fields))
        assert (fields, answer.status_code) == (fields, 202)
    for fields in named:
        again = await client.post(TRADINGVIEW, json=alert(group, alert_id="Long", price=1, **fields))
        assert (again.status_code, again.json()["status"]) == (200, "duplicate")


async def test_an_exit_from_a_position_that_was_opened_since_repeats_none(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    """Seen: the second position of the window stayed open: its exit said the same as that of the first."""
    group = await make(duplicate_window_s=60)
    for seconds, kind in ((0, "entry"), (50, "exit"), (61, "entry"), (70, "exit")):
        clock.at = NOON + timedelta(seconds=seconds)
        answer = await client.post(TRADINGVIEW, json=alert(group, signal_type=kind))
        assert (seconds, answer.status_code) == (seconds, 202)
    again = await client.post(TRADINGVIEW, json=alert(group, signal_type="exit"))
    assert again.json()["status"] == "duplicate"


@pytest.mark.parametrize("between", [{"action": "sell"}, {"signal_type": "exit", "action": "sell"}])
@pytest.mark.parametrize("fields", [{}, {"alert_id": "ema"}])
async def test_an_entry_after_the_position_was_closed_or_turned_round_repeats_none(
    client: httpx.AsyncClient, make: Make, clock: FixedClock, between: dict[str, str], fields: dict[str, str]
) -> None:
    """Seen: an algo that reverses stayed short on the second buy signal of the window, another out of the market."""
    group = await make(duplicate_window_s=300)
    for seconds, changes in ((0, {}), (40, between), (61, {})):
        clock.at = NOON + timedelta(seconds=seconds)
        answer = await client.post(TRADINGVIEW, json=alert(group, **fields, **changes))
        assert (seconds, answer.status_code) == (seconds, 202)
    again = await client.post(TRADINGVIEW, json=alert(group, **fields))
    assert again.json()["status"] == "duplicate"


@pytest.mark.parametrize(("seconds", "fields"), [(59, {}), (299, {"timestamp": "2026-11-23T06:30:00Z"})])
async def test_an_entry_that_may_have_been_sent_again_is_one_whatever_came_between(
    client: httpx.AsyncClient, make: Make, clock: FixedClock, seconds: int, fields: dict[str, str]
) -> None:
    """By who had no answer: the position that was closed meanwhile must not be opened by that."""
    group = await make(duplicate_window_s=300)
    first = await client.post(TRADINGVIEW, json=alert(group, **fields))
    assert (await client.post(TRADINGVIEW, json=alert(group, action="sell"))).status_code == 202
    clock.at = NOON + timedelta(seconds=seconds)
    again = await client.post(TRADINGVIEW, json=alert(group, **fields))
    assert again.json() == {"status": "duplicate", "signal_id": first.json()["signal_id"]}


async def test_an_exit_from_one_account_lets_no_entry_for_another_in_again(
    client: httpx.AsyncClient, make: Make, clock: FixedClock
) -> None:
    group = await make(duplicate_window_s=300)
    one, other = ({"account_id": str(new_id())} for _ in range(2))
    for fields in (one, {**other, "signal_type": "exit"}):
        assert (await client.post(TRADINGVIEW, json=alert(group, **fields))).status_code == 202
    clock.at = NOON + timedelta(seconds=61)
    assert (await client.post(TRADINGVIEW, json=alert(group, **one))).json()["status"] == "duplicate"
    assert (await client.post(TRADINGVIEW, json=alert(group, signal_type="exit"))).status_code == 202
    assert (await client.post(TRADINGVIEW, json=alert(group, **one))).status_code == 202


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
        """Until nothing more comes for a second."""
        found: list[SignalReceived] = []
        async with asyncio.timeout(20):
            while True:
                polled = await self.consumer.getmany(timeout_ms=1000)
                found.extend(
                    SignalReceived.model_validate_json(record.value or b"")
                    for batch in polled.values()
                    for record in batch
                )
                if found and not polled:
                    return found

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()
