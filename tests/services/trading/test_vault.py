"""Brokers' credentials: sealed per account, opened by nobody else, set by trading's internal route alone."""

import asyncpg
import httpx
import pytest

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId
from libs.common.ids import new_id
from libs.common.testing import deliver
from services.trading.app import app
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Sealed, Secrets, Vault, VaultLocked
from tests.services.trading.broker_world import SECRET
from tests.services.trading.making import USER, account_save

OURS, OTHER = AccountId(new_id()), AccountId(new_id())
PLAIN = Secrets("kite-app", "todays-token")


def test_what_is_sealed_opens_for_its_account_and_broker_under_the_same_secret() -> None:
    sealed = Vault(SECRET).seal(OURS, Broker.ZERODHA, PLAIN)
    assert Vault(SECRET).unseal(OURS, Broker.ZERODHA, sealed) == PLAIN
    assert b"todays-token" not in sealed.sealed + sealed.wrapped_key


@pytest.mark.parametrize(
    ("secret", "account_id", "broker"),
    [("t" * 40, OURS, Broker.ZERODHA), (SECRET, OTHER, Broker.ZERODHA), (SECRET, OURS, Broker.PAPER)],
)
def test_it_opens_for_nobody_else(secret: str, account_id: AccountId, broker: Broker) -> None:
    sealed = Vault(SECRET).seal(OURS, Broker.ZERODHA, PLAIN)
    with pytest.raises(VaultLocked, match="set them again"):
        Vault(secret).unseal(account_id, broker, sealed)


@pytest.mark.parametrize("place", [0, 12, -1])
def test_a_changed_byte_opens_nothing(place: int) -> None:
    sealed = Vault(SECRET).seal(OURS, Broker.ZERODHA, PLAIN)
    for name in ("sealed", "wrapped_key"):
        broken = bytearray(getattr(sealed, name))
        broken[place] ^= 1
        parts = {"sealed": sealed.sealed, "wrapped_key": sealed.wrapped_key, name: bytes(broken)}
        with pytest.raises(VaultLocked):
            Vault(SECRET).unseal(OURS, Broker.ZERODHA, Sealed(**parts))


def test_two_seals_of_the_same_have_nothing_in_common() -> None:
    vault = Vault(SECRET)
    one, two = (vault.seal(OURS, Broker.ZERODHA, PLAIN) for _ in range(2))
    assert one.sealed != two.sealed
    assert one.wrapped_key != two.wrapped_key


def test_their_text_form_shows_nothing() -> None:
    assert "todays-token" not in f"{PLAIN} {PLAIN!r}"
    assert "kite-app" not in f"{PLAIN} {PLAIN!r}"


async def an_account(pool: asyncpg.Pool, broker: Broker) -> AccountId:
    account_id = AccountId(new_id())
    wish = account_save(account_id=account_id)
    wish = wish.model_copy(update={"account": wish.account.model_copy(update={"broker": broker})})
    async with pool.acquire() as connection, connection.transaction():
        await deliver(app, connection, wish)
    return account_id


def body(**changes: str) -> dict[str, str]:
    return {"user_id": str(USER), "api_key": "kite-app", "access_token": "todays-token", **changes}


async def test_they_are_set_and_replaced_and_never_shown(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    account_id = await an_account(pool, Broker.ZERODHA)
    for version, token in ((1, "mondays"), (2, "tuesdays")):
        answer = await client.put(f"/internal/accounts/{account_id}/credentials", json=body(access_token=token))
        assert answer.json() == {"account_id": str(account_id), "broker": "zerodha", "version": version}
    async with pool.acquire() as connection:
        sealed = await TradingStore(connection).credentials.get(account_id, Broker.ZERODHA)
    assert sealed is not None
    assert Vault(SECRET).unseal(account_id, Broker.ZERODHA, sealed) == Secrets("kite-app", "tuesdays")


async def test_openalgo_216_only_its_owner_s_request_and_only_with_the_platform_s_token(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    account_id = await an_account(pool, Broker.ZERODHA)
    url = f"/internal/accounts/{account_id}/credentials"
    assert (await client.put(url, json=body(user_id=str(new_id())))).status_code == 404
    assert (await client.put(f"/internal/accounts/{new_id()}/credentials", json=body())).status_code == 404
    assert (await client.put(url, json=body(), headers={"X-Internal-Token": "guess"})).status_code == 401
    assert (await client.put(url, json=body(more="x"))).status_code == 422
    assert await pool.fetchval("SELECT count(*) FROM broker_credentials") == 0


@pytest.mark.parametrize("name", ["api_key", "access_token", "api_secret"])
@pytest.mark.parametrize("copied", ["todays-token\n", " todays-token", "todays-\u200btoken", "todays token"])
async def test_what_no_header_can_carry_is_refused_when_it_is_set(
    client: httpx.AsyncClient, pool: asyncpg.Pool, name: str, copied: str
) -> None:
    """Else each order would be of unknown outcome, and the order book that tells could not be read."""
    account_id = await an_account(pool, Broker.ZERODHA)
    answer = await client.put(f"/internal/accounts/{account_id}/credentials", json=body(**{name: copied}))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)
    assert "todays" not in answer.text
    assert await pool.fetchval("SELECT count(*) FROM broker_credentials") == 0


async def test_a_paper_account_has_none(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    account_id = await an_account(pool, Broker.PAPER)
    answer = await client.put(f"/internal/accounts/{account_id}/credentials", json=body())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_an_account_does_not_change_its_broker(pool: asyncpg.Pool) -> None:
    account_id = await an_account(pool, Broker.ZERODHA)
    async with pool.acquire() as connection, connection.transaction():
        [refused] = await deliver(app, connection, account_save(account_id=account_id, version=1))
    assert refused.code == "conflict"  # type: ignore[attr-defined]
