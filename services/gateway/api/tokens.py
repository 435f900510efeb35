"""Access and refresh tokens, API keys."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from uuid import UUID

import jwt

_MAC = 16
KEY_PREFIX = "oae_"


def access_token(user_id: UUID, session_id: UUID, secret: str, now: datetime, life_s: int) -> str:
    claims = {"sub": str(user_id), "sid": str(session_id), "iat": now, "exp": now + timedelta(seconds=life_s)}
    return jwt.encode(claims, secret, "HS256")


def refresh_token(session_id: UUID, secret: str) -> str:
    """Opaque to its holder: the session, randomness, and a mark that only we can make."""
    body = session_id.bytes + secrets.token_bytes(32)
    return urlsafe_b64encode(body + _mark(body, secret)).decode()


def session_of(token: str, secret: str) -> UUID | None:
    """The session of a refresh token that we once gave out, whether it is still good or not."""
    try:
        raw = urlsafe_b64decode(token.encode())
    except ValueError:
        return None
    body, mark = raw[:-_MAC], raw[-_MAC:]
    if len(body) != 48 or not hmac.compare_digest(mark, _mark(body, secret)):
        return None
    return UUID(bytes=body[:16])


def api_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _mark(body: bytes, secret: str) -> bytes:
    return hmac.digest(b"refresh" + secret.encode(), body, hashlib.sha256)[:_MAC]
