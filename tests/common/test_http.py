"""What every service's listener answers, on a real runtime."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer
from fastapi import APIRouter
from pydantic import BaseModel

from libs.common import http
from libs.common.messaging.errors import MessagingUnavailable
from libs.common.problems import Problem
from libs.common.runtime import Runtime
from libs.common.service import Memory, Service, Store
from libs.common.testing.apps import opened, served
from tests.common import described


class Body(BaseModel):
    lots: int


def routes(_: Runtime[Store, Memory]) -> APIRouter:
    router = APIRouter()

    @router.post("/orders")
    async def place(body: Body) -> dict[str, int]:
        if body.lots == 0:
            raise Problem(422, "lot_size", "0 is not a multiple of 65", limit="65")
        if body.lots < 0:
            raise MessagingUnavailable("no broker")
        if body.lots > 100:
            raise RuntimeError("a bug with a secret inside")
        return {"lots": body.lots}

    return router


SERVICE = Service(name="walkforward", store=Store, memory=Memory, routes=routes)


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[Runtime[Store, Memory]]:
    async with opened(SERVICE) as runtime:
        yield runtime


@pytest.fixture
async def client(runtime: Runtime[Store, Memory]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http.build_app(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_live_ready_and_metrics_answer(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "live", "service": "walkforward"}
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["postgres"]) == (200, True)
    assert "batch_messages" in (await client.get("/metrics")).text


async def test_not_ready_until_consuming(client: httpx.AsyncClient, runtime: Runtime[Store, Memory]) -> None:
    runtime.ready["consumer"] = False
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")


async def test_not_ready_while_kafka_is_away_but_serving(
    client: httpx.AsyncClient, runtime: Runtime[Store, Memory]
) -> None:
    """All of `make status` was green in such an outage but for Kafka itself. The edge goes on asking: the answers to
    who wants to trade are the service's own.
    """
    there, runtime.producer = runtime.producer, AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    try:
        ready = await client.get("/health/ready")
        serving = await client.get("/health/serving")
    finally:
        await runtime.producer.stop()
        runtime.producer = there
    assert (ready.status_code, ready.json()["checks"]) == (503, {"kafka": False, "postgres": True, "running": True})
    assert serving.status_code == 200


async def test_not_ready_while_postgresql_is_away_but_serving(
    client: httpx.AsyncClient, runtime: Runtime[Store, Memory]
) -> None:
    async with asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0) as nowhere:
        there, runtime.pool = runtime.pool, nowhere
        try:
            ready = await client.get("/health/ready")
            serving = await client.get("/health/serving")
        finally:
            runtime.pool = there
    assert (ready.status_code, ready.json()["checks"]) == (503, {"kafka": True, "postgres": False, "running": True})
    assert serving.status_code == 200


async def test_not_ready_once_the_drain_has_begun(client: httpx.AsyncClient, runtime: Runtime[Store, Memory]) -> None:
    assert (await client.get("/health/serving")).status_code == 200
    runtime.stopping.set()
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/serving")).status_code == 503


@pytest.mark.parametrize(
    ("lots", "status", "code"),
    [(0, 422, "lot_size"), (-1, 503, "unavailable"), (101, 500, "internal_error"), ("many", 422, "invalid")],
)
async def test_every_error_is_a_problem_of_one_shape(
    client: httpx.AsyncClient, lots: object, status: int, code: str
) -> None:
    answer = await client.post("/orders", json={"lots": lots})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["code"] == code
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert "secret" not in answer.text


async def test_every_error_is_described_as_it_is_sent(client: httpx.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    for lots in (0, -1, 101, "many"):
        described.check(page, "/orders", await client.post("/orders", json={"lots": lots}))
    told = page["paths"]["/orders"]["post"]["responses"]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    assert {status: answer["content"] for status, answer in told.items() if status != "200"} == {
        "422": problem,
        "4XX": problem,
        "5XX": problem,
    }
    assert page["components"]["schemas"].keys() == {"Body", "ProblemDetails"}


@pytest.mark.servers
async def test_after_a_fault_of_ours_the_next_request_on_the_connection_is_answered() -> None:
    """The server closes a connection after a fault: whoever keeps it, an edge for all its clients, has to be told."""
    async with served(SERVICE) as (url, _), httpx.AsyncClient(base_url=url) as client:
        for _ in range(2):
            fault = await client.post("/orders", json={"lots": 101})
            assert (fault.status_code, fault.headers.get("connection")) == (500, "close")
            assert (await client.post("/orders", json={"lots": 1})).status_code == 200


async def test_a_body_that_is_no_json_is_told_where_it_breaks(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", content=b'{"lots": }', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "body: not JSON from character 9: Expecting value")


@pytest.mark.servers
async def test_head_is_answered_as_get_without_a_body() -> None:
    async with served(SERVICE) as (url, _), httpx.AsyncClient(base_url=url) as client:
        got = await client.get("/health/live")
        for _ in range(2):
            asked = await client.head("/health/live")
            assert (asked.status_code, asked.content) == (200, b"")
            assert asked.headers["content-length"] == str(len(got.content))
        assert (await client.head("/nowhere")).status_code == 404
        assert (await client.head("/orders")).status_code == 405
        assert (await client.get("/health/live")).json() == got.json()


async def test_an_unknown_path_is_a_problem_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_unavailable_answer_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    assert (await client.post("/orders", json={"lots": -1})).headers["retry-after"] == "1"


async def test_callers_are_asked_to_part_once_the_drain_has_begun(
    client: httpx.AsyncClient, runtime: Runtime[Store, Memory]
) -> None:
    assert "connection" not in (await client.post("/orders", json={"lots": 1})).headers
    runtime.stopping.set()
    answer = await client.post("/orders", json={"lots": 1})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
