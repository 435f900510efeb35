"""What the demo says where it cannot be told."""

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
