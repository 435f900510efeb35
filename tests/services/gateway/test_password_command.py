"""`python -m services.gateway password`, for who lost his."""

import asyncio
import os
import sys
from pathlib import Path

from services.gateway.api.edge import edge_in
from tests.services.gateway.scene import PASSWORD, Platform
from tests.services.gateway.test_auth_api import LOGIN, PROFILE

PROJECT = Path(__file__).resolve().parents[3]


async def typed(platform: Platform, *words: str) -> tuple[int | None, str, str]:
    """How it ended, what it told, and of which fault."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway", *words),
        env={**os.environ, "GATEWAY_DATABASE_URL": platform.runtime.own_settings.database_url},
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, fault = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, told.decode(), fault.decode()


async def test_who_lost_his_password_comes_in_by_the_one_that_an_operator_is_told(platform: Platform) -> None:
    """Nobody could let him in again, be he the only super admin or the owner of what is open."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    assert (await asha.client.get(PROFILE)).status_code == 200
    status, told, fault = await typed(platform, "password", "Asha@example.com")
    assert (status, fault) == (0, ""), fault
    fresh = told.split()[-1]
    edge_in(platform.runtime).forget_identities()
    assert (await asha.client.get(PROFILE)).status_code == 401, "a thief may have it"
    assert (await ravi.client.get(PROFILE)).status_code == 200
    client = await platform.client()
    for password, expected in ((PASSWORD, 401), (fresh, 200)):
        answer = await client.post(LOGIN, json={"email": asha.email, "password": password})
        assert answer.status_code == expected
    assert fresh not in str(await platform.runtime.pool.fetch("SELECT * FROM users"))


async def test_an_email_of_nobody_is_told_in_one_line(platform: Platform) -> None:
    status, told, fault = await typed(platform, "password", "nobody@example.com")
    assert (status, told, fault) == (1, "", "nobody logs in as nobody@example.com\n")
