"""Another password, or another e-mail: what a thief who has a session, or knew the password, makes of it."""

import asyncio

import asyncpg
import pytest

from services.gateway.memory.passwords import Passwords
from tests.services.gateway.scene import PASSWORD, Person, Platform
from tests.services.gateway.test_auth_api import LOGIN, PROFILE
from tests.services.gateway.test_turns import until_waiting

CHANGE = "/api/v2/auth/change-password"


def change_while_the_next_is_checked(owner: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next password that anybody sends is checked, and before anything comes of that its owner has another."""
    verify = Passwords.verify

    async def verify_and_change(passwords: Passwords, password_hash: str | None, password: str) -> bool:
        right = await verify(passwords, password_hash, password)
        monkeypatch.setattr(Passwords, "verify", verify)
        body = {"current_password": PASSWORD, "new_password": "another long password"}
        assert (await owner.client.post(CHANGE, json=body)).status_code == 204
        return right

    monkeypatch.setattr(Passwords, "verify", verify_and_change)


async def test_a_new_password_ends_the_other_sessions(platform: Platform) -> None:
    asha = await platform.person("asha")
    other = await platform.client()
    tokens = (await other.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).json()
    other.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await other.get(PROFILE)).status_code == 200
    wrong = {"current_password": "something else", "new_password": "another long password"}
    assert (await asha.client.post(CHANGE, json=wrong)).status_code == 401
    right = {"current_password": PASSWORD, "new_password": "another long password"}
    assert (await asha.client.post(CHANGE, json=right)).status_code == 204
    assert (await asha.client.get(PROFILE)).status_code == 200
    assert (await other.get(PROFILE)).status_code == 401
    assert (await other.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).status_code == 401


async def test_who_has_a_stolen_session_guesses_few_passwords_and_keeps_its_owner_from_no_new_one(
    platform: Platform,
) -> None:
    """The owner heard 429 for as long as the thief went on, and nothing else ends the thief's session."""
    asha = await platform.person("asha")
    thief = asha.client
    guess = {"current_password": "a guess of the thief", "new_password": "mine from now on"}
    guesses = [(await thief.post(CHANGE, json=guess)).status_code for _ in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    login = await (await platform.client()).post(LOGIN, json={"email": asha.email, "password": PASSWORD})
    owner = await platform.client(Authorization=f"Bearer {login.json()['access_token']}")
    fresh = {"current_password": PASSWORD, "new_password": "a brand new password"}
    assert (await owner.post(CHANGE, json=fresh)).status_code == 204
    assert (await thief.get(PROFILE)).status_code == 401


async def test_a_password_is_not_changed_without_an_end_of_the_other_sessions(
    platform: Platform, pool: asyncpg.Pool
) -> None:
    """Seen: told that nothing was taken, he could not send it again, and whoever else had come in stayed."""
    asha = await platform.person("asha")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE sessions IN SHARE MODE")
        body = {"current_password": PASSWORD, "new_password": "another long password"}
        changing = asyncio.create_task(asha.client.post(CHANGE, json=body))
        await until_waiting(pool, 1)
        await pool.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        assert (await changing).status_code == 503
    assert (await asha.client.post(CHANGE, json=body)).status_code == 204


async def test_who_logs_in_with_the_old_password_while_it_is_changed_stays_outside(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: a session that began between the check of its password and the change outlived the change."""
    asha, thief = await platform.person("asha"), await platform.client()
    change_while_the_next_is_checked(asha, monkeypatch)
    answer = await thief.post(LOGIN, json={"email": asha.email, "password": PASSWORD})
    assert (answer.status_code, answer.json().get("code")) == (401, "wrong_credentials")
    assert (await thief.post(LOGIN, json={"email": asha.email, "password": "another long password"})).is_success


async def test_who_knew_the_old_password_does_not_change_it_again_while_it_is_changed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His change, checked before the owner's and kept after it, ended the owner's session and made the password his."""
    asha, thief = await platform.person("asha"), await platform.client()
    tokens = (await thief.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).json()
    thief.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    change_while_the_next_is_checked(asha, monkeypatch)
    answer = await thief.post(CHANGE, json={"current_password": PASSWORD, "new_password": "the password of a thief"})
    assert (answer.status_code, answer.json().get("code") if answer.content else "") == (401, "wrong_credentials")
    assert (await asha.client.get(PROFILE)).status_code == 200
    assert (await thief.post(LOGIN, json={"email": asha.email, "password": "another long password"})).is_success


async def test_another_email_takes_the_password(platform: Platform) -> None:
    """Whoever had stolen a session gave the account an address of his own, and its owner logged in no more."""
    asha = await platform.person("asha")
    thief, other = asha.client, {"email": "thief@example.com"}
    refused = await thief.put(PROFILE, json=other)
    assert (refused.status_code, refused.json().get("code")) == (422, "invalid"), refused.text
    guess = {**other, "current_password": "a guess of the thief"}
    guesses = [(await thief.put(PROFILE, json=guess)).status_code for _ in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    login = await (await platform.client()).post(LOGIN, json={"email": asha.email, "password": PASSWORD})
    owner = await platform.client(Authorization=f"Bearer {login.json()['access_token']}")
    assert (await owner.put(PROFILE, json={"email": "ASHA@example.com", "username": "asha.k"})).status_code == 200
    moved = await owner.put(PROFILE, json={"email": "asha@example.org", "current_password": PASSWORD})
    assert (moved.status_code, moved.json()["email"], moved.json()["username"]) == (200, "asha@example.org", "asha.k")
    assert (await owner.post(LOGIN, json={"email": "asha@example.org", "password": PASSWORD})).status_code == 200


async def test_a_name_that_is_changed_while_the_password_for_another_email_is_checked_stays(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered, and a quarter of a second later it was the old one again."""
    asha = await platform.person("asha")
    verify = Passwords.verify

    async def verify_and_rename(passwords: Passwords, password_hash: str | None, password: str) -> bool:
        right = await verify(passwords, password_hash, password)
        renamed = await asha.client.put(PROFILE, json={"username": "asha.k"})
        assert (renamed.status_code, renamed.json()["username"]) == (200, "asha.k")
        return right

    monkeypatch.setattr(Passwords, "verify", verify_and_rename)
    moved = await asha.client.put(PROFILE, json={"email": "asha@example.org", "current_password": PASSWORD})
    assert (moved.status_code, moved.json()["email"], moved.json()["username"]) == (200, "asha@example.org", "asha.k")


async def test_who_knew_the_old_password_gives_no_other_email_while_it_is_changed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change shut him out; but the e-mail, by which its owner logs in, was the thief's a moment later."""
    asha = await platform.person("asha")
    login = await (await platform.client()).post(LOGIN, json={"email": asha.email, "password": PASSWORD})
    thief = await platform.client(Authorization=f"Bearer {login.json()['access_token']}")
    change_while_the_next_is_checked(asha, monkeypatch)
    stolen = await thief.put(PROFILE, json={"email": "thief@example.com", "current_password": PASSWORD})
    assert (stolen.status_code, stolen.json().get("code")) == (401, "wrong_credentials"), stolen.text
    assert (await asha.client.get(PROFILE)).json()["email"] == asha.email
