"""Kite's order API over HTTP. Every call ends in time, and tells whether a byte of it can have reached the broker."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import httpx

from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from services.trading.adapters.zerodha import translate
from services.trading.domain.book import Book
from services.trading.domain.calls import Answer, NotTaken, Refused, Request, Silent
from services.trading.domain.comparing import Theirs
from services.trading.store.brokers.credentials import Secrets

CONNECTIONS = 500


class HeldUp(Exception):
    """The process was held up between its last look at the panic epochs and the first byte: nothing is sent."""


class Kite:
    """One for all accounts of the process. `connect_s` and `call_s` bound each call.

    Every request has a connection of its own: on one that is kept, an answer that comes twice is taken for the answer
    to the next request, and the next order for the one before it. That is worth a TLS handshake.
    """

    def __init__(self, url: str, connect_s: float, call_s: float) -> None:
        self._url = url
        self._call_s = call_s
        self._bounds = httpx.Timeout(call_s, connect=connect_s, pool=connect_s)
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._clients: dict[str | None, httpx.AsyncClient] = {}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _from(self, source_address: str | None) -> httpx.AsyncClient:
        """Who asks from one address of ours and no other: an address that went away fails before a byte has left."""
        client = self._clients.get(source_address)
        if client is None:
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0)
            transport = httpx.AsyncHTTPTransport(
                verify=self._tls, limits=limits, trust_env=False, local_address=source_address
            )
            client = httpx.AsyncClient(base_url=self._url, timeout=self._bounds, transport=transport, trust_env=False)
            self._clients[source_address] = client
        return client

    async def ask(
        self, request: Request, broker_order_id: str | None, secrets: Secrets, is_fresh: Callable[[], bool]
    ) -> Answer:
        """Ask once. `is_fresh` is asked just before the first byte: False keeps the call from being made."""
        try:
            method, path, form = _call(request, broker_order_id)
        except ValueError as error:
            return Refused(str(error))
        leaving = _Leaving(is_fresh)
        try:
            async with asyncio.timeout(self._call_s):
                sent = await self._from(secrets.source_address).request(
                    method, path, data=form, headers=_headers(secrets), extensions={"trace": leaving.trace}
                )
        except HeldUp as error:
            return NotTaken(str(error))
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            told = f"{type(error).__name__} while asking zerodha"
            return Silent(told) if leaving.began else NotTaken(f"zerodha cannot be reached ({type(error).__name__})")
        return translate.answer(sent.status_code, sent.content)

    async def book(self, secrets: Secrets, began_at: datetime) -> Book:
        """The day's orders and trades. Trades are read last: a fill that the orders count is among them."""
        try:
            orders = await self._get("/orders", secrets)
            trades = await self._get("/trades", secrets)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise translate.BadAnswer(f"{type(error).__name__} while reading the book of zerodha") from error
        rows = translate.rows(orders.status_code, orders.content, began_at)
        return Book(rows, translate.trades(trades.status_code, trades.content), began_at)

    async def positions(self, secrets: Secrets) -> list[Theirs]:
        """What the account holds there now, but for holdings."""
        try:
            found = await self._get("/portfolio/positions", secrets)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise translate.BadAnswer(f"{type(error).__name__} while reading the positions at zerodha") from error
        return translate.positions(found.status_code, found.content)

    async def _get(self, path: str, secrets: Secrets) -> httpx.Response:
        async with asyncio.timeout(self._call_s):
            return await self._from(secrets.source_address).get(path, headers=_headers(secrets))


def is_ours(address: str) -> bool:
    """Whether something of this machine can leave from the address, and from no other."""
    if ip_address(address).is_unspecified:
        return False
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


class _Leaving:
    """Sees the moments before a request's head and its body are written. Without its body an order is none."""

    def __init__(self, is_fresh: Callable[[], bool]) -> None:
        self._is_fresh = is_fresh
        self.began = False

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        if event.endswith((".send_request_headers.started", ".send_request_body.started")):
            if not self._is_fresh():
                raise HeldUp("we were held up before it could leave")
            self.began = True


def _call(request: Request, broker_order_id: str | None) -> tuple[str, str, Mapping[str, str] | None]:
    path = f"/orders/{translate.VARIETY}"
    match request:
        case BrokerOrderRequested():
            return "POST", path, translate.order_form(request)
        case BrokerModifyRequested():
            return "PUT", f"{path}/{broker_order_id}", translate.change_form(request)
        case BrokerCancelRequested():
            return "DELETE", f"{path}/{broker_order_id}", None


def _headers(secrets: Secrets) -> Mapping[str, str]:
    return {"X-Kite-Version": "3", "Authorization": f"token {secrets.api_key}:{secrets.access_token}"}
