"""Argon2id with a pepper, in a thread: hashing takes tens of milliseconds and must not stop the loop."""

import asyncio
import hashlib
import hmac

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE = 2
"""More at a time would only take memory from each other."""


class Passwords:
    def __init__(self, pepper: str) -> None:
        self._pepper = pepper.encode()
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, self._peppered(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Takes as long for a user who does not exist (None)."""
        if self._nobodys is None:
            self._nobodys = await self.hash("nobody's password")
        async with self._slots:
            right = await asyncio.to_thread(self._verify, password_hash or self._nobodys, password)
        return right and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, self._peppered(password))
        except (VerificationError, InvalidHashError):
            return False

    def _peppered(self, password: str) -> bytes:
        return hmac.digest(self._pepper, password.encode(), hashlib.sha256)
