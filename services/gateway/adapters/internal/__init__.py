"""Signals' arrival log, marketdata's candles and trading's vault, asked of the services that own them."""

import ssl
from collections.abc import AsyncIterator, Mapping

import httpx
from fastapi import Response
from fastapi.responses import StreamingResponse

from libs.common.problems import PROBLEM_JSON, Problem

_TLS = ssl.create_default_context()
"""Made once: reading the certificates takes longer than most answers."""
_TIMEOUT = httpx.Timeout(5.0, connect=1.0)
_PATIENT = httpx.Timeout(60.0, connect=1.0)
"""For what takes long, each chunk of it."""
_CHUNK = 262_144
_KEPT_HEADERS = ("content-type", "content-disposition", "retry-after")


class Internal:
    def __init__(self, signals_url: str, marketdata_url: str, internal_token: str, trading_url: str = "") -> None:
        urls = {"signals": signals_url, "marketdata": marketdata_url, "trading": trading_url}
        self._urls = {service: url.rstrip("/") for service, url in urls.items()}
        self._headers = {"X-Internal-Token": internal_token}

    async def get(self, service: str, path: str, parameters: Mapping[str, object]) -> tuple[int, bytes]:
        """The service's own answer, its problems included; a Problem 503 when it does not answer."""
        wanted = {name: str(value) for name, value in parameters.items() if value is not None}
        return await self._ask("GET", service, path, parameters=wanted)

    async def put(self, service: str, path: str, body: bytes) -> tuple[int, bytes]:
        """As `get`, with a JSON body."""
        return await self._ask("PUT", service, path, body=body)

    async def post(
        self, service: str, path: str, body: bytes, parameters: Mapping[str, object] | None = None
    ) -> tuple[int, bytes]:
        """As `put`."""
        wanted = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        return await self._ask("POST", service, path, parameters=wanted, body=body)

    async def _ask(
        self,
        method: str,
        service: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, bytes]:
        headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers
        try:
            async with _client(_TIMEOUT, headers) as client:
                answer = await client.request(method, self._urls[service] + path, params=parameters, content=body)
        except httpx.HTTPError as error:
            detail = f"the {service} service does not answer; try again"
            raise Problem(503, "unavailable", detail, headers={"Retry-After": "2"}) from error
        if answer.status_code >= 500:
            raise Problem(503, "unavailable", f"the {service} service cannot answer now", headers={"Retry-After": "2"})
        return answer.status_code, answer.content

    async def pass_on(
        self,
        service: str,
        path: str,
        parameters: Mapping[str, object],
        *,
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> Response:
        """The service's answer as it comes, and the body, whatever their length: never more in memory than a chunk.

        With a body it is a POST; what the body raises is raised, and the service hears that its client is gone.
        A Problem 503 when the service does not answer; its own problems are passed on.
        """
        wanted = {name: str(value) for name, value in parameters.items() if value is not None}
        client = _client(_PATIENT, self._headers)
        method = "GET" if body is None else "POST"
        try:
            request = client.build_request(method, self._urls[service] + path, params=wanted, content=body)
            answer = await client.send(request, stream=True)
        except BaseException as error:
            await client.aclose()
            if not isinstance(error, httpx.HTTPError):
                raise
            detail = f"the {service} service does not answer; try again"
            raise Problem(503, "unavailable", detail, headers={"Retry-After": "2"}) from error
        if answer.status_code >= 500 and not _speaks_of_a_broker(answer):
            await client.aclose()
            raise Problem(503, "unavailable", f"the {service} service cannot answer now", headers={"Retry-After": "2"})
        kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        return StreamingResponse(_chunks(client, answer), answer.status_code, headers=kept)


def _client(timeout: httpx.Timeout, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """Past every proxy that the machine names for the way out: it would hear the token."""
    return httpx.AsyncClient(timeout=timeout, headers=headers, verify=_TLS, trust_env=False)


def _speaks_of_a_broker(answer: httpx.Response) -> bool:
    """A service's own 502 says what somebody outside refused it, which the client is to read."""
    return answer.status_code == httpx.codes.BAD_GATEWAY and answer.headers.get("content-type") == PROBLEM_JSON


async def _chunks(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    """An answer that breaks off ends the client's too, so that half a file is never taken for a whole one."""
    try:
        async for chunk in answer.aiter_raw(_CHUNK):
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()
