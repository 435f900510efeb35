"""Signals' arrival log and marketdata's candles, asked of the services that own them."""

from collections.abc import Mapping

import httpx

from libs.common.problems import Problem

_TIMEOUT = httpx.Timeout(5.0, connect=1.0)


class Internal:
    def __init__(self, signals_url: str, marketdata_url: str, internal_token: str) -> None:
        self._urls = {"signals": signals_url.rstrip("/"), "marketdata": marketdata_url.rstrip("/")}
        self._headers = {"X-Internal-Token": internal_token}

    async def get(self, service: str, path: str, parameters: Mapping[str, object]) -> tuple[int, bytes]:
        """The service's own answer, its problems included; a Problem 503 when it does not answer."""
        wanted = {name: str(value) for name, value in parameters.items() if value is not None}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, headers=self._headers) as client:
                answer = await client.get(self._urls[service] + path, params=wanted)
        except httpx.HTTPError as error:
            detail = f"the {service} service does not answer; try again"
            raise Problem(503, "unavailable", detail, headers={"Retry-After": "2"}) from error
        if answer.status_code >= 500:
            raise Problem(503, "unavailable", f"the {service} service cannot answer now", headers={"Retry-After": "2"})
        return answer.status_code, answer.content
