"""Argon2id with a pepper, in a thread: hashing takes tens of milliseconds and must not stop the loop."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from libs.common.problems import unavailable

_AT_ONCE = 2
"""More at a time would only take memory from each other."""
_MOST_WAITING = 64
"""About a second's work. Whoever comes when so many wait is told to come again, instead of waiting longer than anybody
waits for an answer, behind guesses that nobody asked for.
"""


class Passwords:
    def __init__(self, pepper: str, at_once: int = _AT_ONCE, most_waiting: int = _MOST_WAITING) -> None:
        self._pepper = pepper.encode()
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
        self._slots = asyncio.Semaphore(at_once)
        self._most_in_hand = at_once + most_waiting
        self._in_hand = 0
        self._nobodys: str | None = None

    def ensure_room(self) -> None:
        """A Problem 503 when too many passwords wait to be hashed."""
        if self._in_hand >= self._most_in_hand:
            raise unavailable("too many passwords are being checked at once")

    async def hash(self, password: str) -> str:
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, self._peppered(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Takes as long for a user who does not exist (None)."""
        async with self._turn():
            if self._nobodys is None:
                self._nobodys = await asyncio.to_thread(self._hasher.hash, self._peppered("nobody's password"))
            right = await asyncio.to_thread(self._verify, password_hash or self._nobodys, password)
        return right and password_hash is not None

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self.ensure_room()
        self._in_hand += 1
        try:
            async with self._slots:
                yield
        finally:
            self._in_hand -= 1

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, self._peppered(password))
        except (VerificationError, InvalidHashError):
            return False

    def _peppered(self, password: str) -> bytes:
        return hmac.digest(self._pepper, password.encode(), hashlib.sha256)
