"""Which price of an instrument is shown."""

from datetime import UTC, datetime, timedelta

from libs.common.contracts.ids import InstrumentId
from services.gateway.memory.quotes import QuoteView
from tests.services.gateway.said import quote

NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
NAME = InstrumentId("NSE:INFY")


def told(view: QuoteView, ltp: float, seconds: float, now: float) -> None:
    """A price of a moment, told at another; both in seconds after noon."""
    view.update([quote(NAME, ltp, NOON + timedelta(seconds=seconds))], NOON + timedelta(seconds=now))


def test_the_newest_price_counts_whichever_road_it_came_by() -> None:
    view = QuoteView()
    told(view, 101, seconds=2, now=2)
    told(view, 100, seconds=1, now=3)
    assert view.ltp(NAME) == 101


def test_a_price_of_a_wrong_clock_does_not_hide_those_that_are_right() -> None:
    view = QuoteView()
    told(view, 999, seconds=86_400, now=0)
    told(view, 100, seconds=1, now=1)
    assert view.ltp(NAME) == 100
