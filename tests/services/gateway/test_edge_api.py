"""What holds for every request: headers, origins, body length, repeated deletions."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import httpx
import jwt
import orjson
import psutil
import pytest

from libs.common.problems import PROBLEM_JSON
from libs.common.testing import service_app
from services.gateway.api.edge import edge_in
from services.gateway.app import app
from tests.services.gateway import said
from tests.services.gateway.scene import Platform
from tests.services.gateway.streaming import Live

ORIGIN = "https://app.example.com"


async def test_browsers_of_other_origins_are_not_let_in_unless_configured(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service_app(app) as client:
        answer = await client.get("/api/v2/system/version", headers={"Origin": ORIGIN})
        assert "access-control-allow-origin" not in answer.headers
    monkeypatch.setenv("GATEWAY_CORS_ORIGINS", f"{ORIGIN}, https://other.example.com")
    async with service_app(app) as client:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/api/v2/trading/orders/place", headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
        assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]
        answer = await client.get("/api/v2/system/version", headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        readable = answer.headers.get("access-control-expose-headers", "").split(", ")
        assert {"Retry-After", "Idempotency-Replayed", "Location"} <= set(readable), "a browser hides the others"
        stranger = await client.get("/api/v2/system/version", headers={"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in stranger.headers


async def test_the_page_of_the_api_loads_nothing_from_elsewhere(pool: asyncpg.Pool) -> None:
    """A script of another's host would run where a trader's session is; and there may be no internet."""
    async with service_app(app) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 3
        for path in loaded:
            assert path.startswith("/docs/files/"), path
            found = await client.get(path)
            assert (found.status_code, len(found.content) > 1000) == (200, True)
        lost = await client.get("/docs/files/none.js")
        assert (lost.status_code, lost.headers["content-type"]) == (404, PROBLEM_JSON)


async def test_who_lost_his_way_is_told_where_to_go(platform: Platform) -> None:
    asha = await platform.person("asha")
    lost = await asha.client.get("/api/v2/orders")
    assert (lost.status_code, lost.headers["content-type"]) == (404, PROBLEM_JSON)
    assert "/docs" in lost.json()["detail"]
    wrong = await asha.client.delete("/api/v2/accounts/")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, PROBLEM_JSON)
    assert wrong.headers["Allow"] in wrong.json()["detail"]
    settings = edge_in(platform.runtime).settings
    claims = jwt.decode(asha.tokens["access_token"], settings.jwt_secret, ["HS256"])
    old = jwt.encode({**claims, "exp": 1_700_000_000}, settings.jwt_secret, "HS256")
    for token, way in ((old, "/auth/refresh"), ("nonsense", "/auth/login")):
        answer = await asha.client.get("/api/v2/accounts/", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert way in answer.json()["detail"]


@pytest.mark.parametrize("sent", ["hello", "BREW /pot HTTP/1.1", "POST / HTTP/1.1\r\nContent-Length: -5"])
async def test_what_is_no_request_is_answered_with_a_problem_too(live: Live, sent: str) -> None:
    address = urlsplit(live.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    async with asyncio.timeout(10):
        writer.write(f"{sent}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"content-type: {PROBLEM_JSON}".encode() in head
    assert (orjson.loads(body)["status"], orjson.loads(body)["code"]) == (400, "malformed")


async def test_a_body_without_an_announced_length_is_cut_off_too(platform: Platform) -> None:
    asha = await platform.person("asha")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 65_536

    for path in ("/api/v2/accounts/", "/api/v2/trading/orders/place"):
        answer = await asha.client.post(path, content=endless(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json"), path


async def test_a_repeated_deletion_is_answered_like_the_first(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    url, key = f"/api/v2/accounts/{asha.account_id}", {"Idempotency-Key": "gone"}
    assert (await asha.client.delete(url, headers=key)).status_code == 204
    again = await asha.client.delete(url, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.content) == (204, "true", b"")
    assert len(platform.asked) == 1


async def test_openalgo_804_requests_leave_no_descriptor_behind(live: Live) -> None:
    """Each request leaked some, and after hours nothing could be opened any more."""
    asha = await live.person("asha")
    url = urlsplit(live.url)

    async def visit(client: httpx.AsyncClient) -> None:
        """Answers of every kind, a stream, and a request that is sent by half."""
        order = {"account_id": str(asha.user_id), "instrument": "NSE:SBIN", "side": "BUY", "quantity": 1}
        await client.post("/api/v2/trading/orders/place", json={**order, "product": "MIS"})
        await client.post("/api/v2/trading/orders/place", json={})
        for path in ("trading/orders/", "market/history/NSE:SBIN", "nothing/here", "system/health"):
            await client.get(f"/api/v2/{path}")
        async with live.reader(asha, channels=["orders"]):
            pass
        _, half = await asyncio.open_connection(url.hostname, url.port)
        half.write(b"POST /api/v2/trading/orders/place HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        await half.drain()
        half.close()
        await half.wait_closed()

    async def pay(visits: int) -> None:
        headers = {"Authorization": f"Bearer {asha.tokens['access_token']}"}
        async with httpx.AsyncClient(base_url=live.url, headers=headers, trust_env=False) as client:
            for _ in range(visits):
                await visit(client)

    opened = psutil.Process().num_fds
    await pay(3)
    await asyncio.sleep(0.3)
    warm = opened()
    await pay(15)
    for _ in range(200):  # the other side of what was closed may take a moment
        if opened() <= warm + 5:
            break
        await asyncio.sleep(0.05)
    assert opened() <= warm + 5
