"""Registration, sessions, profile, API keys."""

from datetime import timedelta
from uuid import UUID

from fastapi import Request, Response

from libs.common import ids
from libs.common.problems import Problem
from libs.common.telemetry import log
from services.gateway.api import models, tokens
from services.gateway.api.edge import Edge, Json, Person, Reader, Revoker, Router, TheEdge, no_such
from services.gateway.domain.addresses import counted_as
from services.gateway.domain.roles import Identity, role_of_newcomer
from services.gateway.store import people

router = Router(prefix="/auth", tags=["auth"])


@router.post("/register", status_code=201, response_model=models.Profile, responses=models.PROBLEMS)
async def register(body: models.Registration, request: Request, edge: TheEdge) -> Response:
    """The first user becomes super admin, the others traders; registration may be closed."""
    if not edge.settings.registration_open:
        async with edge.strangers:
            if await people.is_anybody(edge.runtime.pool):
                raise _closed()
    edge.memory.passwords.ensure_room()
    window_s = edge.settings.login_window_s
    if await edge.memory.cache.count(f"login:registered:{_address(request)}", window_s) > edge.settings.registrations:
        raise _too_many("too many registrations from your address", window_s, "too_many_registrations")
    password_hash = await edge.memory.passwords.hash(body.password)
    user_id = ids.new_id()
    async with edge.strangers, edge.runtime.transaction() as unit:
        connection = unit.store.connection
        users = await people.count_users(connection)
        if users and not edge.settings.registration_open:
            raise _closed()
        user = {
            "user_id": user_id,
            "email": body.email.lower(),
            "username": body.username,
            "role": role_of_newcomer(users).value,
            "password_hash": password_hash,
            "created_at": unit.now,
        }
        if not await people.add_user(connection, user):
            raise Problem(409, "taken", "this e-mail or user name is taken")
    log.info("user_registered", user_id=str(user_id), role=user["role"])
    return Json(await people.user(edge.runtime.pool, user_id), 201)


@router.post("/login", response_model=models.Tokens, responses=models.PROBLEMS)
async def login(body: models.Login, request: Request, edge: TheEdge) -> Response:
    """A short access token and a refresh token that is good once."""
    email, cache, window_s = body.email.lower(), edge.memory.cache, edge.settings.login_window_s
    address = _address(request)
    edge.memory.passwords.ensure_room()
    if await cache.counted(f"login:failed:{address}") >= edge.settings.failed_logins:
        raise _too_many("too many failed logins from your address", window_s)
    if await cache.count(f"login:{address}:{email}", window_s) > edge.settings.login_attempts:
        raise _too_many("too many logins for this e-mail from your address", window_s)
    pool = edge.runtime.pool
    async with edge.strangers:
        user = await people.password_by_email(pool, email)
    right = await edge.memory.passwords.verify(user["password_hash"] if user else None, body.password)
    session_id, now = ids.new_id(), edge.runtime.clock.now()
    token = tokens.refresh_token(session_id, edge.settings.jwt_secret)
    until = now + timedelta(seconds=edge.settings.refresh_token_s)
    begun = False
    if user and right:
        async with edge.strangers:
            begun = await people.begin_session(pool, session_id, user, tokens.digest(token), now, until)
    if user is None or not begun:
        await cache.count(f"login:failed:{address}", window_s)
        log.info("login_failed", address=address)
        raise Problem(401, "wrong_credentials", "the e-mail or the password is wrong")
    return _tokens(edge, user["user_id"], session_id, token)


@router.post("/refresh", response_model=models.Tokens, responses=models.PROBLEMS)
async def refresh(body: models.Refresh, edge: TheEdge) -> Response:
    """A new pair for the newest refresh token. An older one is a theft: the session ends for thief and owner."""
    session_id = tokens.session_of(body.refresh_token, edge.settings.jwt_secret)
    if session_id is None:
        raise Problem(401, "wrong_token", "this is no refresh token of ours")
    now = edge.runtime.clock.now()
    token = tokens.refresh_token(session_id, edge.settings.jwt_secret)
    until = now + timedelta(seconds=edge.settings.refresh_token_s)
    old, new = tokens.digest(body.refresh_token), tokens.digest(token)
    async with edge.strangers:
        user = await people.rotate_session(edge.runtime.pool, session_id, old, new, now, until)
        if user is None:
            await _end_session(edge, session_id)
            log.warning("refresh_token_reused", session_id=str(session_id))
            raise Problem(401, "token_reused", "this refresh token was used before or its session ended; log in again")
    return _tokens(edge, user["user_id"], session_id, token)


@router.post("/logout", status_code=204, responses=models.PROBLEMS)
async def logout(identity: Revoker, edge: TheEdge) -> Response:
    await _end_session(edge, UUID(identity.credential))
    return Response(status_code=204)


@router.get("/profile", response_model=models.Profile, responses=models.PROBLEMS)
async def profile(identity: Reader, edge: TheEdge) -> Response:
    return Json(await people.user(edge.runtime.pool, identity.user_id))


@router.put("/profile", response_model=models.Profile, responses=models.PROBLEMS)
async def change_profile(body: models.ProfileChange, identity: Person, edge: TheEdge) -> Response:
    pool = edge.runtime.pool
    user = await people.user(pool, identity.user_id)
    if user is None:
        raise no_such("profile", identity.user_id)
    email = body.email.lower() if body.email and body.email.lower() != user["email"] else None
    checked = None
    if email is not None:
        # By it he logs in: whoever has stolen a session would lock him out with another.
        if body.current_password is None:
            raise Problem(422, "invalid", "current_password: send it to change the e-mail, by which you log in")
        checked = await _check_password(edge, identity, body.current_password)
    now = edge.runtime.clock.now()
    changed = await people.set_profile(pool, identity.user_id, body.username, email, checked, now)
    if changed is None:
        raise Problem(409, "taken", "this e-mail or user name is taken")
    if not changed:
        raise _wrong_password()
    return Json(await people.user(pool, identity.user_id))


@router.post("/change-password", status_code=204, responses=models.PROBLEMS)
async def change_password(body: models.PasswordChange, identity: Revoker, edge: TheEdge) -> Response:
    """Ends every other session of yours."""
    pool, now = edge.runtime.pool, edge.runtime.clock.now()
    stored = await _check_password(edge, identity, body.current_password)
    password_hash = await edge.memory.passwords.hash(body.new_password)
    async with pool.acquire() as connection, connection.transaction():
        if not await people.set_password(connection, identity.user_id, stored, password_hash, now):
            raise _wrong_password()
        ended = await people.revoke_sessions(connection, identity.user_id, now, but=UUID(identity.credential))
    await edge.memory.cache.drop(*(f"session:{session_id}" for session_id in ended))
    edge.forget_identities()
    return Response(status_code=204)


@router.post("/api-keys", status_code=201, response_model=models.NewKey, responses=models.PROBLEMS)
async def create_key(body: models.KeyRequest, identity: Person, edge: TheEdge) -> Response:
    """The key is shown once; we keep its hash."""
    edge.check_room("API keys", len(await people.keys(edge.runtime.pool, identity.user_id)))
    secret = tokens.api_key()
    key = {
        "key_id": ids.new_id(),
        "user_id": identity.user_id,
        "name": body.name,
        "prefix": secret[:10],
        "key_hash": tokens.digest(secret),
        "scopes": sorted({scope.value for scope in body.scopes}),
        "created_at": edge.runtime.clock.now(),
    }
    await people.add_key(edge.runtime.pool, key)
    shown = {name: key[name] for name in ("key_id", "name", "prefix", "scopes", "created_at")}
    return Json({**shown, "api_key": secret}, 201)


@router.get("/api-keys", response_model=models.Listing[models.KeyView], responses=models.PROBLEMS)
async def list_keys(identity: Reader, edge: TheEdge) -> Response:
    return Json({"data": await people.keys(edge.runtime.pool, identity.user_id)})


@router.delete("/api-keys/{key_id}", status_code=204, responses=models.PROBLEMS)
async def delete_key(key_id: UUID, identity: Revoker, edge: TheEdge) -> Response:
    """Here it ends at once, on other instances within five seconds."""
    was_good = await people.revoke_key(edge.runtime.pool, identity.user_id, key_id, edge.runtime.clock.now())
    if was_good is None:
        raise no_such("API key", key_id)
    if was_good:
        edge.forget_identities()
    return Response(status_code=204)


async def _check_password(edge: Edge, identity: Identity, password: str) -> str:
    """The hash of it that is stored; a Problem 401 when it is not his, 429 when he tried too often."""
    edge.memory.passwords.ensure_room()
    window_s = edge.settings.login_window_s
    # By session: whoever has copied one must not keep the owner, who shuts him out by a new password, from it.
    attempts = await edge.memory.cache.count(f"password:{identity.credential}", window_s)
    if attempts > edge.settings.login_attempts:
        raise _too_many("too many attempts; wait a while", window_s, "too_many_attempts")
    stored = await people.password_of(edge.runtime.pool, identity.user_id)
    if not await edge.memory.passwords.verify(stored, password):
        raise _wrong_password()
    return stored


def _wrong_password() -> Problem:
    return Problem(401, "wrong_credentials", "the current password is wrong")


def _closed() -> Problem:
    return Problem(403, "registration_closed", "this installation takes no new users")


def _address(request: Request) -> str:
    return counted_as(request.client.host) if request.client else "unknown"


def _too_many(detail: str, window_s: int, code: str = "too_many_logins") -> Problem:
    return Problem(429, code, detail, headers={"Retry-After": str(window_s)})


def _tokens(edge: Edge, user_id: UUID, session_id: UUID, token: str) -> Response:
    settings = edge.settings
    access = tokens.access_token(
        user_id, session_id, settings.jwt_secret, edge.runtime.clock.now(), settings.access_token_s
    )
    return Json(
        {
            "access_token": access,
            "refresh_token": token,
            "token_type": "Bearer",
            "expires_in": settings.access_token_s,
        }
    )


async def _end_session(edge: Edge, session_id: UUID) -> None:
    if await people.revoke_session(edge.runtime.pool, session_id, edge.runtime.clock.now()):
        await edge.memory.cache.drop(f"session:{session_id}")
        edge.forget_identities()
