"""The vault: each account's broker credentials, sealed with a key of their own, which the server's secret wraps.

AES-256-GCM twice. The account and the broker are bound into both seals, so a row copied to another account opens
nothing. Neither the plain text nor any key is written, logged or sent.
"""

import os
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import TypeAdapter

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId
from libs.common.database import Connection

SAVE = """
WITH compared AS (
    INSERT INTO broker_comparisons (account_id, due_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (account_id) DO UPDATE SET due_at = excluded.due_at, claim = NULL
)
INSERT INTO broker_credentials AS c VALUES ($1, $2, $3, $4, 1, $5)
ON CONFLICT (account_id) DO UPDATE
   SET broker = excluded.broker, wrapped_key = excluded.wrapped_key, sealed = excluded.sealed,
       version = c.version + 1, updated_at = excluded.updated_at
RETURNING version
"""
"""Its positions are compared at once: until now they may not have been readable."""
SELECT = "SELECT broker, wrapped_key, sealed FROM broker_credentials WHERE account_id = $1"
_NONCE = 12


class VaultLocked(Exception):
    """The credentials were sealed under another secret, or tampered with: they must be set anew."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a broker knows an account by. Its text form shows nothing.

    With `api_secret` what the broker posts to us can be told from what others do; orders need none. With
    `source_address` whatever is asked for the account leaves from that address of ours or not at all.
    """

    api_key: str = field(repr=False)
    access_token: str = field(repr=False)
    api_secret: str | None = field(default=None, repr=False)
    source_address: str | None = None


_SECRETS: TypeAdapter[Secrets] = TypeAdapter(Secrets)


@dataclass(frozen=True, slots=True)
class Sealed:
    wrapped_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class Vault:
    def __init__(self, secret: str) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"trading.broker-credentials.v1")
        self._wrapping = AESGCM(derived.derive(secret.encode()))

    def seal(self, account_id: AccountId, broker: Broker, secrets: Secrets) -> Sealed:
        """With a fresh key each time."""
        key, bound = AESGCM.generate_key(256), _bound(account_id, broker)
        return Sealed(_encrypt(self._wrapping, key, bound), _encrypt(AESGCM(key), _SECRETS.dump_json(secrets), bound))

    def unseal(self, account_id: AccountId, broker: Broker, sealed: Sealed) -> Secrets:
        bound = _bound(account_id, broker)
        try:
            key = _decrypt(self._wrapping, sealed.wrapped_key, bound)
            return _SECRETS.validate_json(_decrypt(AESGCM(key), sealed.sealed, bound))
        except InvalidTag as error:
            raise VaultLocked(f"the credentials of account {account_id} do not open: set them again") from error


def _bound(account_id: AccountId, broker: Broker) -> bytes:
    return account_id.bytes + broker.encode()


def _encrypt(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)


class Credentials:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def save(self, account_id: AccountId, broker: Broker, sealed: Sealed, now: datetime) -> int:
        """How often this account's credentials were set."""
        version: int = await self._connection.fetchval(SAVE, account_id, broker, sealed.wrapped_key, sealed.sealed, now)
        return version

    async def get(self, account_id: AccountId, broker: Broker) -> Sealed | None:
        row = await self._connection.fetchrow(SELECT, account_id)
        return None if row is None or row["broker"] != broker else Sealed(row["wrapped_key"], row["sealed"])
