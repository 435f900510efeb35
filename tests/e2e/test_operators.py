"""What whoever runs the platform sees of it: commands, files, ports, health, metrics, traces."""

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

import httpx
import psutil

from deploy.local.instance import PROJECT, SERVERS, SERVICES
from deploy.local.stack import Stack
from libs.common.clock import SystemClock
from libs.common.contracts import topics
from libs.common.ids import new_id
from tests.chaos.log import records
from tests.e2e.trader import SHARE, SOON, Facts, Trader

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
ROAD = (
    topics.SIGNALS,
    topics.STRATEGY_DECISIONS,
    topics.ORDER_REQUESTS,
    topics.RISK_DECISIONS,
    topics.TRADING_EVENTS,
    topics.VENUE_REQUESTS,
    topics.EXECUTIONS,
)
OF_AN_ORDER = {
    "OrderRequested",
    "OrderCleared",
    "OrderSubmitted",
    "VenueOrderRequested",
    "ExecutionReported",
    "OrderAccepted",
    "FillReported",
}
"""What is said of an order that trades at once."""
SAID_BY = {
    "strategy": "SignalActedOn",
    "risk": "OrderCleared",
    "trading": "FillReported",
    "walkforward": "ExecutionReported",
}
OF_EVERYBODY = {"batch_messages_count", "batch_seconds_count", "outbox_oldest_seconds", "parked_messages"}


def command(*words: str) -> str:
    """What `make` prints for it."""
    call = (sys.executable, "-m", "deploy.local", "--instance", "test", *words)
    done = subprocess.run(call, env=os.environ, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_second_make_up_says_that_the_stack_runs_and_where_and_starts_nothing(
    stack: Stack, facts: Facts
) -> None:
    before = stack.supervisor.pids()
    said = await asyncio.to_thread(command, "up")
    assert said.startswith("The stack is already running.\n")
    assert "Starting" not in said
    for fact in ("gateway_url", "stream_url", "signals_url", "email", "password"):
        assert facts[fact] in said
    assert "make demo" in said
    assert stack.supervisor.pids() == before
    states = [tuple(line.split()[:3]) for line in (await asyncio.to_thread(command, "status")).splitlines()]
    assert states == [(name, "RUNNING", "ready") for name in SERVERS | SERVICES]


async def test_the_login_and_the_secrets_are_their_owners_alone(stack: Stack, facts: Facts) -> None:
    for path in (stack.instance.demo_file, stack.instance.env_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert json.loads(stack.instance.demo_file.read_text()).keys() == {
        "gateway_url",
        "stream_url",
        "signals_url",
        "email",
        "password",
        "account_id",
        "api_key",
    }
    assert ".local/" in (PROJECT / ".gitignore").read_text().splitlines()


async def test_nothing_of_it_listens_to_other_machines(stack: Stack, facts: Facts) -> None:
    heard = {name: listening(psutil.Process(pid)) for name, pid in stack.supervisor.pids().items()}
    for name in SERVERS | SERVICES:
        assert stack.instance.port(name) in {port for _, port in heard[name]}, name
    assert {address for found in heard.values() for address, _ in found} <= LOOPBACK


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Where a program and what it started take connections from."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's come and go
            taking = (each for each in one.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
            found |= {(each.laddr.ip, each.laddr.port) for each in taking}
    return found


async def test_each_service_tells_how_it_does_on_a_port_of_its_own(stack: Stack, trader: Trader) -> None:
    await enters_on_an_alert(trader, {})
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        for service in SERVICES:
            url = stack.instance.url(service)
            live, ready = [await client.get(f"{url}/health/{each}") for each in ("live", "ready")]
            assert live.json() == {"status": "live", "service": service}
            assert ready.status_code == 200, ready.text
            assert {"kafka", "postgres", "consumer"} <= ready.json()["checks"].keys()
            told = figures((await client.get(f"{url}/metrics")).text)
            assert told.keys() >= OF_EVERYBODY
            assert any(name.startswith("consumer_lag_messages{") for name in told), service
            assert told["parked_messages"] == 0
            if said := SAID_BY.get(service):
                assert told["batch_messages_count"] > 0
                assert told[f'stage_seconds_count{{type="{said}"}}'] > 0, "an order's way to this stage is measured"
                assert any(name.startswith("handler_seconds_count{type=") for name in told)


def figures(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def test_one_trace_leads_from_an_alert_to_its_fill(stack: Stack, trader: Trader) -> None:
    since, trace_id = SystemClock().now(), new_id().hex
    signal_id, order_id = await enters_on_an_alert(trader, header(trace_id))
    traces = await asyncio.to_thread(traces_of, stack, since, {signal_id, order_id})
    assert traces.keys() >= {"SignalReceived", "SignalActedOn", *OF_AN_ORDER}
    assert set().union(*traces.values()) == {trace_id}, dict(traces)


async def test_one_trace_leads_from_a_request_to_its_fill(stack: Stack, trader: Trader) -> None:
    since, trace_id = SystemClock().now(), new_id().hex
    trader.platform.http.headers.update(header(trace_id))
    order_id = (await trader.buy(1))["order_id"]
    await trader.sees_filled(order_id)
    traces = await asyncio.to_thread(traces_of, stack, since, {order_id})
    assert traces.keys() >= OF_AN_ORDER
    assert set().union(*traces.values()) == {trace_id}, dict(traces)
    await trader.close_all()


def header(trace_id: str) -> dict[str, str]:
    """W3C's, as a caller with a trace of his own sends it."""
    return {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}


def traces_of(stack: Stack, since: datetime, ids: Collection[str]) -> dict[str, set[str]]:
    """The trace that each type of message belongs to, of those that name one of the ids."""
    bootstrap = stack.environment()["KAFKA_BOOTSTRAP"]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for topic in ROAD:
        for record in records(bootstrap, topic.name, since):
            if any(each.encode() in record.value for each in ids):
                found[record.type].add(record.traceparent[3:35])
    return found


async def enters_on_an_alert(trader: Trader, headers: dict[str, str]) -> tuple[str, str]:
    """The signal, and its order, which is filled and closed again."""
    name = f"e2e {new_id().hex[-6:]}"
    group = await trader.platform.post("/api/v2/signals/", {"name": name})
    algo = {
        "name": name,
        "legs": [{"kind": "EQUITY", "instrument": SHARE, "side": "BUY", "lots": 1}],
        "product": "MIS",
        "accounts": [{"account_id": trader.account_id}],
        "mappings": [{"group_id": group["group_id"]}],
    }
    await trader.platform.post("/api/v2/algos/", algo)
    alert = {"signal_type": "entry", "symbol": "SBIN", "action": "buy"}
    async with httpx.AsyncClient(timeout=10, trust_env=False) as sender:
        taken = await sender.post(group["webhook"]["webhook_url"], json=alert, headers=headers)
    assert taken.status_code == 202, taken.text
    filled = await trader.stream.until(
        lambda h: h.channel == "orders" and (h.row["account_id"], h.row["status"]) == (trader.account_id, "FILLED"),
        SOON,
    )
    assert filled, "the alert's order was not seen to be filled"
    await trader.close_all()
    return taken.json()["signal_id"], filled.row["order_id"]
