"""What the demo says where it cannot be told."""

import json

import pytest

from tests.tools.test_client import server
from tools.client import Platform
from tools.demo.contract import NothingToTrade, choose_leg


async def test_by_night_the_demo_says_that_the_market_is_closed() -> None:
    """Else it would say that its alerts come too late: an algo does not trade on the price of the evening."""
    quote = {"ltp": 24402.3, "market_open": False, "stale": False}
    async with server(iter([(200, json.dumps(quote))]), []) as url, Platform(url) as platform:
        with pytest.raises(NothingToTrade, match="its market is closed"):
            await choose_leg(platform)
