"""Redis may be empty, but what it shows is true."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.market import Quote, QuotesConflated
from tests.tools.reconcile.memory import MemoryCache
from tests.tools.reconcile.test_checks.seeding import NOWHERE, check
from tests.tools.reconcile.world.held import INSTRUMENT
from tests.tools.reconcile.world.log import BEGINNING
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Report, Rule, rows


def quote(at: datetime, ltp: float) -> Quote:
    shown = {"ltp": ltp, "bid": ltp, "ask": ltp, "open": ltp, "high": ltp, "low": ltp, "previous_close": ltp}
    sizes = {"bid_quantity": 1, "ask_quantity": 1, "volume": 1, "oi": 0}
    return Quote.model_validate({"instrument": INSTRUMENT, "at": at, "source": FeedSource.SIMULATED, **shown, **sizes})


async def check_cache(
    world: World, shown: Quote | None, sessions: dict[str, str], lived_on: timedelta = timedelta(seconds=2)
) -> Report:
    """`lived_on`: for how long marketdata told of other quotes after this one."""
    told = quote(world.now, 100.0)
    world.say(topics.QUOTES, QuotesConflated(shard="all", at=world.now, quotes=(told,)))
    world.now += lived_on
    world.say(topics.QUOTES, QuotesConflated(shard="all", at=world.now, quotes=()))
    quotes = {INSTRUMENT: shown.model_dump_json().encode()} if shown else {}
    return await check(world, cache=MemoryCache(quotes, sessions))


def session(world: World, **more: Any) -> rows.Session:
    ends = world.now + timedelta(hours=8)
    return rows.Session(
        **{
            "session_id": NOWHERE,
            "role": "trader",
            "active": True,
            "revoked_at": None,
            "expires_at": ends,
            "updated_at": world.now - timedelta(hours=1),
            **more,
        }
    )


async def test_redis_that_shows_what_its_owners_say_is_sound() -> None:
    world = busy_world().settle()
    world.rows[rows.Session].append(session(world))
    report = await check_cache(world, quote(world.now, 100.0), {str(NOWHERE): "trader"})
    assert report.passed, report.text()
    assert report.findings.checked[Rule.CACHE] == 4


@pytest.mark.parametrize(
    ("later", "ltp", "words"),
    [(timedelta(0), 101.0, "marketdata told"), (timedelta(seconds=-5), 100.0, "marketdata told one of")],
    ids=["another_price", "an_old_quote"],
)
async def test_a_quote_in_redis_that_its_owner_did_not_say_is_named(later: timedelta, ltp: float, words: str) -> None:
    world = busy_world().settle()
    report = await check_cache(world, quote(world.now + later, ltp), {})
    assert report.broken == [Rule.CACHE]
    assert words in report.text()


async def test_a_quote_in_redis_that_cannot_be_read_is_named() -> None:
    world = busy_world().settle()
    told = quote(world.now, 100.0)
    world.say(topics.QUOTES, QuotesConflated(shard="all", at=world.now, quotes=(told,)))
    world.now += timedelta(seconds=2)
    world.say(topics.QUOTES, QuotesConflated(shard="all", at=world.now, quotes=()))
    report = await check(world, cache=MemoryCache({INSTRUMENT: b"{"}, {}))
    assert report.broken == [Rule.CACHE]
    assert "cannot be read in Redis" in report.text()


async def test_a_quote_that_marketdata_was_killed_before_saving_breaks_nothing() -> None:
    world = busy_world().settle()
    earlier = quote(world.now - timedelta(milliseconds=500), 99.0)
    report = await check_cache(world, earlier, {}, lived_on=timedelta(milliseconds=200))
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (None, "knows no such session"),
        ({"revoked_at": BEGINNING - timedelta(hours=1)}, "though it has ended"),
        ({"active": False}, "though it has ended"),
        ({"role": "viewer"}, "its user is viewer"),
    ],
    ids=["made_up", "revoked", "of_a_deactivated_user", "with_an_older_role"],
)
async def test_a_session_in_redis_that_should_not_be_is_named(known: dict[str, Any] | None, words: str) -> None:
    world = busy_world().settle()
    if known is not None:
        world.rows[rows.Session].append(session(world, **known))
    report = await check_cache(world, quote(world.now, 100.0), {str(NOWHERE): "trader"})
    assert report.broken == [Rule.CACHE]
    assert words in report.text()


async def test_an_empty_redis_breaks_nothing() -> None:
    world = busy_world().settle()
    assert (await check_cache(world, None, {})).passed
