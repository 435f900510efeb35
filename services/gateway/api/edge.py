"""What every route stands on: the runtime, who asks, JSON out."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Collection
from typing import Annotated, Any, TypeAlias, cast
from uuid import UUID

import jwt
import orjson
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from jwt.types import Options
from starlette.requests import HTTPConnection

from libs.common.clock import stopwatch
from libs.common.contracts.ids import AccountId, StrategyId, UserId
from libs.common.problems import Problem
from libs.common.runtime import Runtime
from services.gateway.adapters.internal import Internal
from services.gateway.api.bodies import StrictRoute
from services.gateway.api.commands import Commands
from services.gateway.domain import roles, views
from services.gateway.domain.roles import Identity, Role
from services.gateway.memory import GatewayMemory
from services.gateway.memory.glance import Glance
from services.gateway.settings import GatewaySettings
from services.gateway.store import GatewayStore, entities, people
from services.gateway.store.entities import Kind

GatewayRuntime: TypeAlias = Runtime[GatewayStore, GatewayMemory]
Credential: TypeAlias = tuple[bool, str]
"""Whether it was sent as an API key, and what was sent."""

KNOWN_S = 5.0
"""A credential that was good is believed for so long: the longest that a revoked one still works."""
RENEWED_S = 2.0
"""After so long it is looked up again beside what it is used for: in an overload a look takes seconds, and hundreds who
waited for it were refused late.
"""
OWNER_KNOWN_S = 60.0
"""The longest that what was deleted at another instance counts as somebody's here."""
SESSION_CACHED_S = 60
POSTBACKS_AT_ONCE = 4
"""Passed on to trading, whose time belongs to orders: one that is refused only makes us hear later what happened."""
SERVERS_SEEN_S = 1.0
"""Anybody may ask whether they answer, and each look is a question to all of them."""
KEYS_AT_ONCE = 3
"""API keys that are looked up: anybody may send any number that nobody has, without a login."""
STRANGERS_AT_ONCE = 3
"""Who ask the database something before they are known: to log in, to register, or for a new pair of tokens."""


class Route(StrictRoute):
    """A path that ends with a slash answers without it too."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if path.endswith("/"):
            self.path_regex = re.compile(self.path_regex.pattern.removesuffix("/$") + "/?$")

    async def know(self, request: Request) -> None:
        await edge_of(request).identify_sender(request)


class Router(APIRouter):
    def __init__(self, prefix: str = "", tags: list[str] | None = None) -> None:
        super().__init__(prefix="/api/v2" + prefix, tags=list(tags or []), route_class=Route)


class Json(Response):
    """JSON by orjson: decimals as strings, times in RFC 3339."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(orjson.dumps(content, default=str), status_code, headers)


def listing(told: bytes) -> Response:
    """A list that was written in JSON already."""
    return Response(b'{"data":%b}' % told, media_type=Json.media_type)


class Edge:
    """One per process; routes find it in the request's scope."""

    def __init__(self, runtime: GatewayRuntime, settings: GatewaySettings) -> None:
        self.runtime = runtime
        self.settings = settings
        self.commands = Commands(runtime, settings)
        self.internal = Internal(
            settings.signals_url,
            settings.marketdata_url,
            runtime.settings.internal_token,
            trading_url=settings.trading_url,
        )
        self.postbacks = asyncio.Semaphore(POSTBACKS_AT_ONCE)
        self.strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self.servers: Glance[dict[str, bool]] = Glance(SERVERS_SEEN_S)
        self._keys = asyncio.Semaphore(KEYS_AT_ONCE)
        self._identities: dict[Credential, tuple[Identity, float]] = {}
        """And when each was looked up, by a clock that nobody moves."""
        self._asked: dict[Credential, asyncio.Task[Identity]] = {}
        """What is being looked up, unless rights changed meanwhile."""
        self._owners: dict[tuple[Kind, UUID], tuple[UserId, float]] = {}
        """And when each was looked up last, as identities."""

    @property
    def memory(self) -> GatewayMemory:
        return self.runtime.memory

    @property
    def turns_orders_away(self) -> bool:
        """Whether most orders are refused now."""
        return not self.memory.admission.takes() or self.runtime.sends_nothing

    def last_prices(self) -> views.Prices:
        """What positions are valued at now."""
        return self.memory.quotes.last_prices(self.runtime.clock.now())

    async def identify(self, *, token: str | None = None, api_key: str | None = None) -> Identity:
        """Who holds this credential; a Problem 401 when nobody does."""
        secret = api_key or token
        if not secret:
            raise Problem(401, "unauthenticated", "send Authorization: Bearer <token> or X-API-Key", headers=_ASK)
        credential = bool(api_key), secret
        known = self._identities.get(credential)
        age = stopwatch() - known[1] if known else KNOWN_S
        if known and age < RENEWED_S:
            return known[0]
        asked = self._asked.get(credential)
        if asked is None:
            asked = self._asked[credential] = asyncio.create_task(self._look_up(credential))
            asked.add_done_callback(_take_note)
        if known and age < KNOWN_S:
            return known[0]
        return await asyncio.shield(asked)

    async def _look_up(self, credential: Credential) -> Identity:
        """Once for all who send it meanwhile: hundreds of a flood would each wait for a connection to the database, and
        those who are refused after that wait hear it late. A credential that is none any more is forgotten at once.
        """
        try:
            by_key, secret = credential
            identity = await (self._by_key(secret) if by_key else self._by_token(secret))
            if self._asked.get(credential) is asyncio.current_task():
                if len(self._identities) > 10_000:
                    self._identities.clear()
                self._identities[credential] = (identity, stopwatch())
            return identity
        except Problem:
            self._identities.pop(credential, None)
            raise
        finally:
            if self._asked.get(credential) is asyncio.current_task():
                del self._asked[credential]

    def forget_identities(self) -> None:
        """Someone's rights changed on this instance: ask again for everyone."""
        self._identities.clear()
        self._asked.clear()

    def sessions(self) -> dict[UUID, Role]:
        """That are believed to go on, and of whom."""
        known = (identity for identity, at in self._identities.values() if stopwatch() - at < KNOWN_S)
        return {UUID(identity.credential): identity.role for identity in known if not identity.by_key}

    async def forget_sessions(self, sessions: Collection[UUID]) -> None:
        """They ended, or are of another role now. Redis tells what was before on to everybody, unless whoever changed
        that could say so there: he has lost it, or died.
        """
        await self.memory.cache.drop(*(f"session:{session_id}" for session_id in sessions))
        names = {str(session_id) for session_id in sessions}
        known = self._identities.items()
        self._identities = {credential: found for credential, found in known if found[0].credential not in names}

    async def identify_sender(self, connection: HTTPConnection) -> Identity:
        """The same as the `Known` dependency, without its machinery."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        bearer = token if scheme.lower() == "bearer" else None
        return await self.identify(token=bearer, api_key=connection.headers.get("x-api-key"))

    async def identify_trader(self, connection: HTTPConnection) -> Identity:
        """For the road that has to be fast: as `Trader`."""
        return permitted(await self.identify_sender(connection))

    async def _by_key(self, api_key: str) -> Identity:
        async with self._keys:
            row = await people.key_user(self.runtime.pool, hashlib.sha256(api_key.encode()).digest())
        if row is None:
            raise Problem(401, "unauthenticated", "this API key is unknown or revoked", headers=_ASK)
        may_trade = roles.Scope.TRADE in row["scopes"]
        return Identity(UserId(row["user_id"]), Role(row["role"]), str(row["key_id"]), by_key=True, may_trade=may_trade)

    async def _by_token(self, token: str) -> Identity:
        try:
            claims = jwt.decode(token, self.settings.jwt_secret, ["HS256"], options=_TOKEN)
        except jwt.ExpiredSignatureError as error:
            detail = "the access token has expired: POST /api/v2/auth/refresh gives another"
            raise Problem(401, "unauthenticated", detail, headers=_ASK) from error
        except jwt.InvalidTokenError as error:
            detail = f"this is no access token of ours ({error}): POST /api/v2/auth/login gives one"
            raise Problem(401, "unauthenticated", detail, headers=_ASK) from error
        role = await self.session_role(UUID(claims["sid"]))
        if role is None:
            raise Problem(401, "unauthenticated", "this session has ended; log in again", headers=_ASK)
        return Identity(UserId(UUID(claims["sub"])), role, claims["sid"])

    async def session_role(self, session_id: UUID) -> Role | None:
        """From Redis, or from the database when Redis does not know or is away."""
        cache = self.memory.cache
        cached = await cache.get(f"session:{session_id}")
        if cached:
            return Role(cached)
        row = await people.session_user(self.runtime.pool, session_id, self.runtime.clock.now())
        if row is None:
            return None
        await cache.put(f"session:{session_id}", row["role"], SESSION_CACHED_S)
        return Role(row["role"])

    async def owner(self, kind: Kind, entity_id: UUID) -> UserId | None:
        """Owners never change, so they are remembered; but what they own may be deleted, elsewhere too."""
        found = self._owners.get((kind, entity_id))
        if found is not None:
            if stopwatch() - found[1] < OWNER_KNOWN_S:
                return found[0]
            self._owners[kind, entity_id] = found[0], stopwatch()  # one looks, and hundreds need not wait for it
        stored = await entities.owner(self.runtime.pool, kind, entity_id)
        if stored is None:
            self.forget_owner(kind, entity_id)
            return None
        if len(self._owners) > 100_000:
            self._owners.clear()
        self._owners[kind, entity_id] = UserId(stored), stopwatch()
        return UserId(stored)

    async def ever_owner(self, kind: Kind, entity_id: UUID) -> UserId | None:
        """Also of what was deleted: its books stay, and so does a panic over it."""
        if (owner := await self.owner(kind, entity_id)) is not None:
            return owner
        stored = await entities.last_owner(self.runtime.pool, kind, entity_id)
        return None if stored is None else UserId(stored)

    def forget_owner(self, kind: Kind, entity_id: UUID) -> None:
        self._owners.pop((kind, entity_id), None)

    async def own_account(self, identity: Identity, account_id: UUID) -> AccountId:
        """The account, if it is the caller's; nobody learns which others exist."""
        if await self.owner(Kind.ACCOUNT, account_id) != identity.user_id:
            raise no_such("account", account_id)
        return AccountId(account_id)

    async def visible_account(self, identity: Identity, account_id: UUID) -> AccountId:
        """An account whose books the caller may read, those of one that was deleted, too."""
        owner = await self.ever_owner(Kind.ACCOUNT, account_id)
        if owner is None or not roles.may_see(identity, owner):
            raise no_such("account", account_id)
        return AccountId(account_id)

    async def books_of(
        self, identity: Identity, user_id: UUID | None, account_id: UUID | None
    ) -> tuple[UserId | None, AccountId | None]:
        """Whose books are asked for, or those of which account; one that is not of the user who is named is unknown."""
        owner = self.whose(identity, user_id)
        if account_id is None:
            return owner, None
        account = await self.visible_account(identity, account_id)
        if user_id is not None and await self.ever_owner(Kind.ACCOUNT, account_id) != user_id:
            raise no_such("account", account_id)
        return None, account

    async def own_strategy(self, identity: Identity, strategy_id: UUID) -> StrategyId:
        """An algo of the caller's, or an id that he made up for his own books."""
        owner = await self.owner(Kind.ALGO, strategy_id)
        if owner is not None and owner != identity.user_id:
            raise no_such("strategy", strategy_id)
        return StrategyId(strategy_id)

    def check_room(self, what: str, owned: int) -> None:
        """A Problem 409 when somebody owns as much as one user may: what all own is watched and listed for all."""
        if owned >= self.settings.owned:
            raise Problem(409, "too_many", f"you have {owned} {what}, as many as one user may: delete some first")

    def whose(self, identity: Identity, user_id: UUID | None) -> UserId:
        """Whose books are asked for: one's own, or for admins anybody's."""
        if user_id is None or user_id == identity.user_id:
            return identity.user_id
        if not identity.role.is_admin:
            raise Problem(403, "forbidden", "only admins see the books of others")
        return UserId(user_id)


def _take_note(looked_up: "asyncio.Task[Identity]") -> None:
    """Everybody who waited for it may be gone by now, and nobody else hears of a failure."""
    if not looked_up.cancelled():
        looked_up.exception()


_TOKEN: Options = {"require": ["exp", "sub", "sid"], "verify_iat": False}
"""A token of a moment that is still to come is of a clock that was set back since, or of an instance whose is ahead."""
_ASK = {"WWW-Authenticate": "Bearer"}
ANYBODY_KNOWN: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]
_BEARER = HTTPBearer(auto_error=False, description="Access token of POST /api/v2/auth/login")
_API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="Key of POST /api/v2/auth/api-keys")


def edge_of(connection: HTTPConnection) -> Edge:
    return cast(Edge, connection.scope["edge"])


def edge_in(runtime: GatewayRuntime) -> Edge:
    """The edge that the routes of this process stand on."""
    return cast(Edge, runtime.memory.edge)


def no_such(what: str, which: object) -> Problem:
    return Problem(404, "not_found", f"you have no {what} {which}")


async def the_edge(connection: HTTPConnection) -> Edge:
    return edge_of(connection)


async def known(
    connection: HTTPConnection,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    api_key: Annotated[str | None, Security(_API_KEY)],
) -> Identity:
    return await edge_of(connection).identify(token=bearer.credentials if bearer else None, api_key=api_key)


Known: TypeAlias = Annotated[Identity, Depends(known)]


async def reader(connection: HTTPConnection, identity: Known) -> AsyncIterator[Identity]:
    """Whoever is known, when it is his turn: until his request is answered, but for a file that is still being sent."""
    turns = edge_of(connection).memory.turns
    turns.count(identity, stopwatch())
    async with turns.turn(identity):
        yield identity


Reader: TypeAlias = Annotated[Identity, Depends(reader, scope="function")]


async def book_reader(connection: HTTPConnection, identity: Reader) -> AsyncIterator[Identity]:
    """The same for what years have filled."""
    async with edge_of(connection).memory.turns.turn_of_book(identity):
        yield identity


BookReader: TypeAlias = Annotated[Identity, Depends(book_reader, scope="function")]


def permitted(identity: Identity) -> Identity:
    if (refusal := roles.refusal_to_change(identity)) is not None:
        raise Problem(403, "forbidden", refusal)
    return identity


async def trader(identity: Reader) -> Identity:
    return permitted(identity)


async def leaver(identity: Known) -> Identity:
    """A trader who changes or cancels an order, gets out or stops: never told that he asks too much."""
    return permitted(identity)


async def admin(identity: Reader) -> Identity:
    if (refusal := roles.refusal_to_administer(identity)) is not None:
        raise Problem(403, "forbidden", refusal)
    return identity


async def person(identity: Reader) -> Identity:
    """Somebody who logged in: an API key must not make more of itself."""
    if identity.by_key:
        raise Problem(403, "forbidden", "log in for this; an API key does not suffice")
    return identity


async def revoker(identity: Known) -> Identity:
    """The same, who shuts out whoever uses his credentials: heard while the other asks too much."""
    return await person(identity)


TheEdge: TypeAlias = Annotated[Edge, Depends(the_edge)]
Trader: TypeAlias = Annotated[Identity, Depends(trader)]
Leaver: TypeAlias = Annotated[Identity, Depends(leaver)]
Admin: TypeAlias = Annotated[Identity, Depends(admin)]
Person: TypeAlias = Annotated[Identity, Depends(person)]
Revoker: TypeAlias = Annotated[Identity, Depends(revoker)]
