"""`python -m services.trading halt`, as an operator types it when something is wrong already."""

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.servers
async def test_a_halt_that_postgresql_refuses_ends_with_one_line_that_says_what_to_do() -> None:
    admin = urlsplit(os.environ["POSTGRES_ADMIN_URL"])
    refused = admin._replace(netloc=f"nobody:wrong@{admin.hostname}:{admin.port}").geturl()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.trading", "halt", "a test"),
        env={**os.environ, "TRADING_DATABASE_URL": refused},
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    (line,) = told.decode().splitlines()
    assert "password authentication failed" in line
    assert "TRADING_DATABASE_URL" in line
