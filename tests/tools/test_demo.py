"""What the demo says where it cannot be told."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.instance import PROJECT
from tests.tools.test_client import server
from tools.client import Platform
from tools.demo.contract import NothingToTrade, choose_leg


async def test_by_night_the_demo_says_that_the_market_is_closed() -> None:
    """Else it would say that its alerts come too late: an algo does not trade on the price of the evening."""
    quote = {"ltp": 24402.3, "market_open": False, "stale": False}
    async with server(iter([(200, json.dumps(quote))]), []) as url, Platform(url) as platform:
        with pytest.raises(NothingToTrade, match="its market is closed"):
            await choose_leg(platform)


async def test_what_is_listed_for_half_years_alone_is_traded_by_the_month() -> None:
    """What is left of the recorded dump after 2027 has a strike every 1,500: none was found at the round thousand."""
    quote = {"ltp": 25_020.5, "market_open": True, "stale": False}
    listed = [{"expiry": day, "strike": strike} for day in ("2028-06-27", "2028-12-26") for strike in (24_000, 25_500)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        found = [] if "25000" in asked else listed
        body = json.dumps(quote if "/quotes/" in asked else {"data": found})
        writer.write(f"HTTP/1.1 200 X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening, Platform(url) as platform:
        leg = await choose_leg(platform)
    assert (leg["underlying"], leg["expiry"], leg["strike"]) == ("NIFTY", "CURRENT_MONTH", "ATM")


@pytest.mark.parametrize("text", ["", '{"gateway_url": "http', "[]", '{"gateway_url": "http://127.0.0.1:9"}'])
def test_a_login_that_was_written_by_half_is_told_of_in_one_line(text: str, tmp_path: Path) -> None:
    facts = tmp_path / "demo.json"
    facts.write_text(text)
    done = subprocess.run(words(facts), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "`make up` writes it anew" in done.stderr


def test_whoever_stops_the_demo_hears_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        facts = tmp_path / "demo.json"
        facts.write_text(json.dumps({"gateway_url": url, "stream_url": url, "account_id": "1", "api_key": "2"}))
        demo = subprocess.Popen(words(facts), cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        with demo, silent.accept()[0]:
            demo.send_signal(signal.SIGINT)
            assert demo.communicate(timeout=30)[1] == ""
    assert demo.returncode == 130


def words(facts: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "tools.demo", "--facts", str(facts))
