"""The public REST API as a patient user calls it: waits out an outage, and never does a thing twice by retrying."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from libs.common.clock import stopwatch
from libs.common.ids import new_id

Json = dict[str, Any]
"""An answer's body, whose shape the gateway's OpenAPI page tells."""

AWAY = frozenset({502, 503, 504})
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Refused(Exception):
    """The platform understood and said no (RFC 9457); or whoever answered is not the platform: then without a code."""

    def __init__(self, request: str, status: int, problem: Json) -> None:
        said = f" {problem['code']}" if "code" in problem else ", which is no answer of the platform's"
        super().__init__(f"{request} answered {status}{said}: {problem.get('detail')}")
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = problem


class Away(Exception):
    """The platform did not answer within our patience; says what it was asked and what it said last."""


class Platform:
    """Every change carries an Idempotency-Key, so that repeating it after a lost answer is safe."""

    def __init__(self, url: str, patience: float = 120.0) -> None:
        self.patience = patience
        self.http = httpx.AsyncClient(base_url=url, timeout=15.0, trust_env=False)
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    def use_key(self, api_key: str) -> None:
        self.http.headers["X-API-Key"] = api_key

    async def log_in(self, email: str, password: str) -> None:
        answer = await self.post("/api/v2/auth/login", {"email": email, "password": password})
        self.http.headers.pop("X-API-Key", None)
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    async def alert(self, url: str, content: Json) -> Json:
        """As TradingView sends one, but again until it is answered: the group's duplicate window makes that safe."""
        return await self.call("POST", url, content, taken=True)

    async def get(self, path: str, **query: object) -> Json:
        return await self.call("GET", path, query={name: str(value) for name, value in query.items()})

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> Json:
        return await self.call("POST", path, body, key=key)

    async def put(self, path: str, body: object) -> Json:
        return await self.call("PUT", path, body)

    async def delete(self, path: str) -> Json:
        return await self.call("DELETE", path)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        key: str | None = None,
        taken: bool = False,
    ) -> Json:
        """Asks until it is answered; raises Refused for a no, Away for silence.

        202 says that the outcome is open: asking again with the same key tells it, unless `taken` is all we want.
        """
        headers = {} if method == "GET" else {"Idempotency-Key": key or str(new_id())}
        deadline = stopwatch() + self.patience
        pause = FIRST_PAUSE
        while True:
            said = await self._once(method, path, body, query, headers)
            if isinstance(said, httpx.Response) and (taken or said.status_code != httpx.codes.ACCEPTED):
                return _content(f"{method} {path}", said)
            if stopwatch() > deadline:
                raise Away(f"{method} {path} was not answered in {self.patience:.0f} s; last: {_words(said)}")
            self.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None, headers: dict[str, str]
    ) -> httpx.Response | str:
        """The answer, or why there is none yet."""
        try:
            answer = await self.http.request(method, path, json=body, params=query, headers=headers)
        except httpx.TransportError as error:
            return repr(error)
        if answer.status_code in AWAY or _in_flight(answer):
            return _words(answer)
        return answer


def _words(said: httpx.Response | str) -> str:
    return said if isinstance(said, str) else f"{said.status_code} {said.text[:200]}"


def _in_flight(answer: httpx.Response) -> bool:
    """Our own earlier try is still at work under the same key."""
    return answer.status_code == httpx.codes.CONFLICT and "idempotency_key_in_flight" in answer.text


def _content(request: str, answer: httpx.Response) -> Json:
    try:
        content = answer.json() if answer.content else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refused(request, answer.status_code, {"detail": answer.text[:200]})
    if answer.is_error:
        raise Refused(request, answer.status_code, content)
    return content
